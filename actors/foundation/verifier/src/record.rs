//! The record: what lies around its body, and the chain that it is a link of.
//!
//! Integers are little endian; a text is a u16 and so many bytes of UTF-8, a part a u32 and so many bytes:
//!
//! ```text
//! 0x53  layout 1|2|3  codec 1  answer 0|1|2   kind u32   schema u16   index u16   count u16
//! sequence u64   version u64   epoch u64   time u64   stream text   principal text
//! policy epoch u64   generation u64   0 | 1, token u128, use u32   policies u16, a text each
//! command u128   its digest [32]   0 | 1, cause u64   previous [32]
//! in layouts 2 and 3, what was asked at the door:
//!   action text   resource text   attributes u8: name text, 0 and a text | 1 and an i64 | 2 and 0 | 1; by name, ascending
//!   by a token 0 | 1   approvals u32   roles u8, a text each, ascending   proofs u8, a text each, ascending
//!   in layout 3, by which credential: u64
//! answer part   body part
//! ```
//!
//! `previous` is the BLAKE3 of the whole record before, or zeros. A record over 65,535 bytes is a blob, and its entry is a
//! marker: 0x42 and the BLAKE3 of the record.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use base64ct::{Base64, Encoding as _};

use crate::{blake3, hex};

/// An answer, and a body, are shorter than this.
const PART_MAX: u32 = 64 * 1024;

/// Names of what was asked are no longer than this, its other texts no longer than that.
const NAME_MAX: usize = 64;
const TEXT_MAX: usize = 4_096;
/// So many attributes at most, roles, and proofs.
const ATTRIBUTES_MAX: usize = 8;
const STANDING_MAX: usize = 64;

/// The BLAKE3 of the record that an entry stands for, if it is a marker.
pub fn marker(entry: &[u8]) -> Option<[u8; 32]> {
    entry.strip_prefix(&[0x42])?.try_into().ok()
}

/// One record, borrowed from its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    pub kind: u32,
    pub schema: u16,
    pub index: u16,
    pub count: u16,
    pub sequence: u64,
    pub version: u64,
    pub epoch: u64,
    /// Milliseconds since 1970, by the authority's clock.
    pub time: u64,
    pub stream: &'a str,
    pub principal: &'a str,
    pub policy_epoch: u64,
    pub generation: u64,
    pub token: Option<(u128, u32)>,
    pub policies: Vec<&'a str>,
    pub command: u128,
    pub command_digest: [u8; 32],
    pub cause: Option<u64>,
    pub previous: [u8; 32],
    pub asked: Option<Asked<'a>>,
    /// Whether it is a refusal, and its text.
    pub answer: Option<(bool, &'a [u8])>,
    pub body: &'a [u8],
}

/// What was asked, and what the authority knew of whoever asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked<'a> {
    pub action: &'a str,
    pub resource: &'a str,
    pub context: Vec<(&'a str, Attribute<'a>)>,
    pub via_token: bool,
    pub credential: Option<u64>,
    pub approvals: u32,
    pub roles: Vec<&'a str>,
    pub proofs: Vec<&'a str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attribute<'a> {
    Text(&'a str),
    Long(i64),
    Bool(bool),
}

struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn u128(&mut self) -> Option<u128> {
        self.array().map(u128::from_le_bytes)
    }

    fn is_there(&mut self) -> Option<bool> {
        match self.array()? {
            [0] => Some(false),
            [1] => Some(true),
            _ => None,
        }
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = self.u16()?;
        std::str::from_utf8(self.take(length.into())?).ok()
    }

    fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    fn text_within(&mut self, max: usize) -> Option<&'a str> {
        self.text().filter(|text| text.len() <= max)
    }

    fn asked(&mut self, by_credential: bool) -> Option<Asked<'a>> {
        let (action, resource) = (self.text_within(NAME_MAX)?, self.text_within(TEXT_MAX)?);
        let attribute = |bytes: &mut Self| {
            let name = bytes.text_within(NAME_MAX)?;
            let value = match bytes.u8()? {
                0 => Attribute::Text(bytes.text_within(TEXT_MAX)?),
                1 => Attribute::Long(i64::from_le_bytes(bytes.array()?)),
                2 => Attribute::Bool(bytes.is_there()?),
                _ => return None,
            };
            Some((name, value))
        };
        let context: Vec<_> = (0..self.u8()?).map(|_| attribute(self)).collect::<Option<_>>()?;
        let is_good = context.len() <= ATTRIBUTES_MAX && context.is_sorted_by(|(one, _), (next, _)| one < next);
        let (via_token, approvals) = (self.is_there()?, self.u32()?);
        let (roles, proofs) = (self.names()?, self.names()?);
        let credential = if by_credential { Some(self.u64()?) } else { None };
        is_good.then_some(Asked { action, resource, context, via_token, credential, approvals, roles, proofs })
    }

    fn names(&mut self) -> Option<Vec<&'a str>> {
        let names: Vec<_> = (0..self.u8()?).map(|_| self.text_within(NAME_MAX)).collect::<Option<_>>()?;
        (names.len() <= STANDING_MAX && names.is_sorted_by(|one, next| one < next)).then_some(names)
    }

    fn part(&mut self) -> Option<&'a [u8]> {
        let length = self.u32().filter(|length| *length < PART_MAX)?;
        self.take(usize::try_from(length).ok()?)
    }
}

impl<'a> Record<'a> {
    /// How many records leave the log, if this one says so: the first number of such a body, in bincode's varint form.
    pub fn prunes(&self) -> Option<u64> {
        if (self.stream, self.kind, self.schema) != ("retention", 987, 1) {
            return None;
        }
        let mut body = Bytes(self.body);
        match body.array()? {
            [251] => body.u16().map(u64::from),
            [252] => body.u32().map(u64::from),
            [253] => body.u64(),
            [small @ 0..=250] => Some(small.into()),
            _ => None,
        }
    }

    /// # Errors
    /// If `bytes` are not one record, to the last of them.
    pub fn read(bytes: &'a [u8]) -> Result<Self, String> {
        Self::parse(&mut Bytes(bytes)).ok_or_else(|| "it is no record".to_owned())
    }

    fn parse(bytes: &mut Bytes<'a>) -> Option<Self> {
        let [0x53, layout @ 1..=3, 1, answered] = bytes.array()? else { return None };
        let (kind, schema, index, count) = (bytes.u32()?, bytes.u16()?, bytes.u16()?, bytes.u16()?);
        let (sequence, version, epoch, time) = (bytes.u64()?, bytes.u64()?, bytes.u64()?, bytes.u64()?);
        let (stream, principal) = (bytes.text()?, bytes.text()?);
        let (policy_epoch, generation) = (bytes.u64()?, bytes.u64()?);
        let token = if bytes.is_there()? { Some((bytes.u128()?, bytes.u32()?)) } else { None };
        let policies = (0..bytes.u16()?).map(|_| bytes.text()).collect::<Option<_>>()?;
        let (command, command_digest) = (bytes.u128()?, bytes.array()?);
        let cause = if bytes.is_there()? { Some(bytes.u64()?) } else { None };
        let previous = bytes.array()?;
        let asked = if layout == 1 { None } else { Some(bytes.asked(layout == 3)?) };
        let answer = match (answered, bytes.part()?) {
            (0, []) => None,
            (1, reply) => Some((false, reply)),
            (2, refusal) => Some((true, refusal)),
            _ => return None,
        };
        let body = bytes.part()?;
        bytes.0.is_empty().then_some(Self {
            kind,
            schema,
            index,
            count,
            sequence,
            version,
            epoch,
            time,
            stream,
            principal,
            policy_epoch,
            generation,
            token,
            policies,
            command,
            command_digest,
            cause,
            previous,
            asked,
            answer,
            body,
        })
    }

    /// The record as a line of JSON, in the one form that exports have it. `bytes` are its own.
    pub fn json(&self, bytes: &[u8]) -> String {
        let mut line = String::with_capacity(1024);
        let mut field = |name: &str, value: String| {
            let _ = write!(line, "{}\"{name}\":{value}", if line.is_empty() { '{' } else { ',' });
        };
        let answer = self.answer.map(|(refused, text)| (refused, String::from_utf8_lossy(text)));
        let said = |wanted: bool| match &answer {
            Some((refused, text)) if *refused == wanted => quoted(text),
            _ => "null".to_owned(),
        };
        field("sequence", self.sequence.to_string());
        field("time", self.time.to_string());
        field("stream", quoted(self.stream));
        field("version", self.version.to_string());
        field("epoch", self.epoch.to_string());
        field("kind", self.kind.to_string());
        field("schema", self.schema.to_string());
        field("index", self.index.to_string());
        field("count", self.count.to_string());
        field("principal", quoted(self.principal));
        field("policy_epoch", self.policy_epoch.to_string());
        field("policies", list(&self.policies));
        field("generation", self.generation.to_string());
        field("token", self.token.map_or("null".to_owned(), |(token, _)| quoted(&uuid(token))));
        field("token_use", self.token.map_or("null".to_owned(), |(_, number)| number.to_string()));
        field("command", quoted(&uuid(self.command)));
        field("command_digest", quoted(&hex(&self.command_digest)));
        field("cause", self.cause.map_or("null".to_owned(), |cause| cause.to_string()));
        field("previous", quoted(&hex(&self.previous)));
        if let Some(asked) = &self.asked {
            field("asked", asked.json());
        }
        field("reply", said(false));
        field("refusal", said(true));
        field("body", quoted(&Base64::encode_string(self.body)));
        field("digest", quoted(&hex(&blake3::hash(bytes))));
        line.push('}');
        line
    }
}

impl Asked<'_> {
    fn json(&self) -> String {
        let Self { action, resource, context, via_token, credential, approvals, roles, proofs } = self;
        let credential =
            credential.map(|credential| format!("\"credential\":\"{credential:016x}\",")).unwrap_or_default();
        let attribute = |(name, value): &(&str, Attribute<'_>)| {
            let value = match value {
                Attribute::Text(text) => quoted(text),
                Attribute::Long(number) => number.to_string(),
                Attribute::Bool(truth) => truth.to_string(),
            };
            format!("{}:{value}", quoted(name))
        };
        format!(
            "{{\"action\":{},\"resource\":{},\"context\":{{{}}},\"via_token\":{via_token},{credential}\"roles\":{},\"approvals\":{approvals},\"proofs\":{}}}",
            quoted(action),
            quoted(resource),
            context.iter().map(attribute).collect::<Vec<_>>().join(","),
            list(roles),
            list(proofs),
        )
    }
}

fn list(texts: &[&str]) -> String {
    format!("[{}]", texts.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(","))
}

fn uuid(id: u128) -> String {
    let digits = format!("{id:032x}");
    [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-")
}

fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            c if c < ' ' => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// What a stream has reached.
#[derive(Clone, Copy)]
struct Reached {
    version: u64,
    epoch: u64,
    time: u64,
}

/// What is known of the records so far, and what must follow.
pub struct Chain {
    next: u64,
    /// BLAKE3 of the record before; `None` where the beginning was not read.
    link: Option<[u8; 32]>,
    from_the_first: bool,
    streams: BTreeMap<Box<str>, Reached>,
}

impl Chain {
    /// Begins with the record `first`.
    pub fn from(first: u64) -> Self {
        let from_the_first = first == 1;
        Self { next: first, link: from_the_first.then_some([0; 32]), from_the_first, streams: BTreeMap::new() }
    }

    pub fn streams(&self) -> usize {
        self.streams.len()
    }

    /// How far each stream has come.
    pub fn versions(&self) -> BTreeMap<String, u64> {
        self.streams.iter().map(|(name, reached)| (name.to_string(), reached.version)).collect()
    }

    /// The BLAKE3 of the last record.
    pub fn head(&self) -> Option<[u8; 32]> {
        self.link
    }

    /// Takes the next record.
    ///
    /// # Errors
    /// What is wrong with it, and whether it is the record before that may be wrong instead.
    pub fn take(&mut self, bytes: &[u8]) -> Result<(), (bool, String)> {
        let record = Record::read(bytes).map_err(|what| (false, what))?;
        let here = |what: String| Err((false, what));
        if record.sequence != self.next {
            return here(format!("record {} lies in its place", record.sequence));
        }
        if self.link.is_some_and(|link| link != record.previous) {
            return Err((true, "it does not carry the hash of the record before".to_owned()));
        }
        let known = self.streams.get(record.stream).copied();
        if let Some(Reached { version, epoch, time }) = known {
            if version.checked_add(1) != Some(record.version) {
                return here(format!("version {} of {} follows version {version}", record.version, record.stream));
            }
            if record.epoch < epoch {
                return here(format!("epoch {} of {} follows epoch {epoch}", record.epoch, record.stream));
            }
            if record.time < time {
                return here(format!("the time of {} goes back", record.stream));
            }
        } else if self.from_the_first && record.version != 1 {
            return here(format!("the first record of {} has version {}", record.stream, record.version));
        }
        let reached = Reached { version: record.version, epoch: record.epoch, time: record.time };
        match self.streams.get_mut(record.stream) {
            Some(known) => *known = reached,
            None => drop(self.streams.insert(record.stream.into(), reached)),
        }
        self.next += 1;
        self.link = Some(blake3::hash(bytes));
        Ok(())
    }
}
