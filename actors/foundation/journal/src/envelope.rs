//! The record: an envelope of our own fixed layout around a body, chained by blake3.
//!
//! All integers are little endian; `text` is a `u16` length and UTF-8, `bytes` a `u32` length and the bytes.
//!
//! ```text
//! magic u8 = 0x53   layout u8 = 1|2|3 codec u8 = 1 (bincode 2 standard)   answer u8 = 0 none, 1 reply, 2 refusal
//! kind u32          schema u16      index u16      count u16
//! sequence u64      version u64     epoch u64      time u64 (ms since the Unix epoch)
//! stream text       principal text
//! policy epoch u64  generation u64  token u8 (0|1) [token id u128, use u32]   policies u16, then text each
//! command id u128   command digest [u8; 32]        cause u8 (0|1) [sequence u64]
//! previous [u8; 32]
//! in layouts 2 and 3, what was asked:
//!   action text     resource text
//!   attributes u8, of each: name text, sort u8, and 0 text | 1 number i64 | 2 truth u8 (0|1); by name, ascending
//!   via token u8 (0|1)   approvals u32   roles u8, then text each, ascending   proofs u8, then text each, ascending
//!   in layout 3, by which credential: u64
//! answer bytes      body bytes
//! ```
//!
//! # Invariants
//! 1. Decoding consumes every byte and refuses every value that encoding cannot have written, so one record has one form:
//!    layout 1 where there is no request, layout 3 where there is one by a credential, and layout 2 where there is one by
//!    none, each within the bounds of [`Asked`].
//! 2. `previous` is the blake3 of the whole record before it; of the first record, 32 zero bytes.
//! 3. `index`-of-`count` says where a command's records begin and end; a command without facts has one record, 0 of 0.
//! 4. What was asked stands in the first record of a command that came through the door, and in no other.

use std::collections::{BTreeMap, BTreeSet};

use kernel::{
    Asked, Attribute, CommandId, CredentialId, Decision, Digest, Epoch, Position, Sequence, Standing, Timestamp,
    TokenId, TokenUse,
};

const MAGIC: u8 = 0x53;
/// Without a request.
const LAYOUT: u8 = 1;
/// With one.
const LAYOUT_ASKED: u8 = 2;
/// With one by a credential.
const LAYOUT_CREDENTIAL: u8 = 3;
const CODEC_BINCODE_2: u8 = 1;

/// Largest answer kept beside a command's first record.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024 - 1;

/// What the caller was told, kept with the first record of its command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    None,
    /// JSON of the machine's reply.
    Reply(Vec<u8>),
    /// JSON of the machine's refusal.
    Refusal(Vec<u8>),
}

/// One record of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub kind_id: u32,
    pub schema: u16,
    pub index: u16,
    pub count: u16,
    pub sequence: Sequence,
    pub stream: String,
    pub version: Position,
    pub epoch: Epoch,
    pub time: Timestamp,
    pub principal: String,
    pub decision: Decision,
    pub command_id: CommandId,
    pub command_digest: Digest,
    /// The record whose route or worker asked for this one.
    pub cause: Option<Sequence>,
    pub previous: Digest,
    /// What was asked, and by whom in which standing; nothing in records of the authority's own commands, of all but the
    /// first of a command, and in those from before it was kept.
    pub asked: Option<Box<Asked>>,
    pub answer: Answer,
    pub body: Vec<u8>,
}

/// Bytes that are no record, and where it shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a record: {what} at byte {at}")]
pub struct NoRecord {
    pub what: &'static str,
    pub at: usize,
}

/// The link that the next record carries.
pub fn link(record: &[u8]) -> Digest {
    Digest(*blake3::hash(record).as_bytes())
}

/// The link that a record carries, without a look at the rest of it.
///
/// # Errors
/// [`NoRecord`] if it ends before.
pub fn previous(record: &[u8]) -> Result<Digest, NoRecord> {
    // Magic to time, and policy epoch and generation.
    let (fixed, authority) = (4 + 4 + 3 * 2 + 4 * 8, 2 * 8);
    let mut cursor = Cursor { record, at: fixed };
    cursor.skip_text()?;
    cursor.skip_text()?;
    cursor.take(authority)?;
    if cursor.flag()? {
        cursor.take(16 + 4)?;
    }
    for _ in 0..cursor.u16()? {
        cursor.skip_text()?;
    }
    cursor.take(16 + 32)?;
    if cursor.flag()? {
        cursor.take(8)?;
    }
    cursor.array().map(Digest)
}

impl Record {
    /// # Panics
    /// If a text is over 64 KiB or there are over 65,535 policies: limits of the door and the host, far below.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let (tag, answer): (u8, &[u8]) = match &self.answer {
            Answer::None => (0, &[]),
            Answer::Reply(json) => (1, json),
            Answer::Refusal(json) => (2, json),
        };
        let layout = match self.asked.as_deref() {
            None => LAYOUT,
            Some(asked) if asked.standing().credential.is_none() => LAYOUT_ASKED,
            Some(_) => LAYOUT_CREDENTIAL,
        };
        out.extend_from_slice(&[MAGIC, layout, CODEC_BINCODE_2, tag]);
        out.extend_from_slice(&self.kind_id.to_le_bytes());
        out.extend_from_slice(&self.schema.to_le_bytes());
        out.extend_from_slice(&self.index.to_le_bytes());
        out.extend_from_slice(&self.count.to_le_bytes());
        for number in [self.sequence.0, self.version.0, self.epoch.0, self.time.0] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        text(out, &self.stream);
        text(out, &self.principal);
        out.extend_from_slice(&self.decision.policy_epoch.to_le_bytes());
        out.extend_from_slice(&self.decision.generation.to_le_bytes());
        match self.decision.token {
            None => out.push(0),
            Some(TokenUse { token, number }) => {
                out.push(1);
                out.extend_from_slice(&token.0.to_le_bytes());
                out.extend_from_slice(&number.to_le_bytes());
            }
        }
        let policies = u16::try_from(self.decision.policies.len()).expect("a decision rests on few policies");
        out.extend_from_slice(&policies.to_le_bytes());
        for policy in &self.decision.policies {
            text(out, policy);
        }
        out.extend_from_slice(&self.command_id.0.to_le_bytes());
        out.extend_from_slice(&self.command_digest.0);
        match self.cause {
            None => out.push(0),
            Some(cause) => {
                out.push(1);
                out.extend_from_slice(&cause.0.to_le_bytes());
            }
        }
        out.extend_from_slice(&self.previous.0);
        if let Some(asked) = &self.asked {
            request(out, asked);
        }
        bytes(out, answer);
        bytes(out, &self.body);
    }

    /// # Errors
    /// [`NoRecord`] for anything but the exact bytes of one record.
    pub fn decode(record: &[u8]) -> Result<Self, NoRecord> {
        let mut cursor = Cursor { record, at: 0 };
        cursor.one_of(&[MAGIC], "magic")?;
        let layout = cursor.one_of(&[LAYOUT, LAYOUT_ASKED, LAYOUT_CREDENTIAL], "layout")?;
        cursor.one_of(&[CODEC_BINCODE_2], "codec")?;
        let tag = cursor.u8()?;
        let (kind_id, schema, index, count) = (cursor.u32()?, cursor.u16()?, cursor.u16()?, cursor.u16()?);
        let (sequence, version) = (Sequence(cursor.u64()?), Position(cursor.u64()?));
        let (epoch, time) = (Epoch(cursor.u64()?), Timestamp(cursor.u64()?));
        let (stream, principal) = (cursor.text()?, cursor.text()?);
        let (policy_epoch, generation) = (cursor.u64()?, cursor.u64()?);
        let token = if cursor.flag()? {
            Some(TokenUse { token: TokenId(cursor.u128()?), number: cursor.u32()? })
        } else {
            None
        };
        let policies = (0..cursor.u16()?).map(|_| cursor.text()).collect::<Result<_, _>>()?;
        let command_id = CommandId(cursor.u128()?);
        let command_digest = Digest(cursor.array()?);
        let cause = if cursor.flag()? { Some(Sequence(cursor.u64()?)) } else { None };
        let previous = Digest(cursor.array()?);
        let asked = match layout {
            LAYOUT => None,
            layout => Some(Box::new(cursor.asked(layout == LAYOUT_CREDENTIAL)?)),
        };
        let answer = cursor.bytes(ANSWER_BYTES_MAX)?;
        let body = cursor.bytes(crate::codec::BODY_BYTES_MAX)?.to_vec();
        let answer = match tag {
            0 if answer.is_empty() => Answer::None,
            1 => Answer::Reply(answer.to_vec()),
            2 => Answer::Refusal(answer.to_vec()),
            _ => return Err(NoRecord { what: "answer", at: 3 }),
        };
        if cursor.at != record.len() {
            return Err(NoRecord { what: "bytes left over", at: cursor.at });
        }
        let decision = Decision { policy_epoch, policies, generation, token };
        Ok(Self {
            kind_id,
            schema,
            index,
            count,
            sequence,
            stream,
            version,
            epoch,
            time,
            principal,
            decision,
            command_id,
            command_digest,
            cause,
            previous,
            asked,
            answer,
            body,
        })
    }
}

/// An [`Asked`] is within its bounds, so its lengths are within those of their fields.
fn request(out: &mut Vec<u8>, asked: &Asked) {
    let few = |count: usize| u8::try_from(count).expect("a request is bounded");
    text(out, asked.action());
    text(out, asked.resource());
    out.push(few(asked.context().len()));
    for (name, value) in asked.context() {
        text(out, name);
        match value {
            Attribute::Text(value) => {
                out.push(0);
                text(out, value);
            }
            Attribute::Long(number) => {
                out.push(1);
                out.extend_from_slice(&number.to_le_bytes());
            }
            Attribute::Bool(truth) => out.extend_from_slice(&[2, u8::from(*truth)]),
        }
    }
    let Standing { via_token, credential, roles, approvals, proofs } = asked.standing();
    out.push(u8::from(*via_token));
    out.extend_from_slice(&approvals.to_le_bytes());
    for names in [roles, proofs] {
        out.push(few(names.len()));
        for name in names {
            text(out, name);
        }
    }
    if let Some(CredentialId(credential)) = credential {
        out.extend_from_slice(&credential.to_le_bytes());
    }
}

fn text(out: &mut Vec<u8>, text: &str) {
    let length = u16::try_from(text.len()).expect("names are short");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).expect("bodies and answers are under 64 KiB");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(bytes);
}

struct Cursor<'a> {
    record: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], NoRecord> {
        let end = self.at.checked_add(length).filter(|end| *end <= self.record.len());
        let end = end.ok_or(NoRecord { what: "end too early", at: self.at })?;
        let taken = &self.record[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn skip_text(&mut self) -> Result<(), NoRecord> {
        let length = usize::from(self.u16()?);
        self.take(length).map(drop)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], NoRecord> {
        Ok(self.take(N)?.try_into().expect("take gives the length it was asked for"))
    }

    fn one_of(&mut self, known: &[u8], what: &'static str) -> Result<u8, NoRecord> {
        let byte = self.u8()?;
        if known.contains(&byte) { Ok(byte) } else { Err(NoRecord { what, at: self.at - 1 }) }
    }

    fn u8(&mut self) -> Result<u8, NoRecord> {
        Ok(self.array::<1>()?[0])
    }

    fn u16(&mut self) -> Result<u16, NoRecord> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, NoRecord> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, NoRecord> {
        self.array().map(u64::from_le_bytes)
    }

    fn u128(&mut self) -> Result<u128, NoRecord> {
        self.array().map(u128::from_le_bytes)
    }

    fn flag(&mut self) -> Result<bool, NoRecord> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(NoRecord { what: "flag", at: self.at - 1 }),
        }
    }

    fn text(&mut self) -> Result<String, NoRecord> {
        let length = usize::from(self.u16()?);
        let at = self.at;
        let text = std::str::from_utf8(self.take(length)?).map_err(|_| NoRecord { what: "text", at })?;
        Ok(text.to_owned())
    }

    fn asked(&mut self, by_credential: bool) -> Result<Asked, NoRecord> {
        let at = self.at;
        let (action, resource) = (self.text()?, self.text()?);
        let mut context = BTreeMap::new();
        for _ in 0..self.u8()? {
            let at = self.at;
            let name = self.text()?;
            let value = match self.u8()? {
                0 => Attribute::Text(self.text()?),
                1 => Attribute::Long(i64::from_le_bytes(self.array()?)),
                2 => Attribute::Bool(self.flag()?),
                _ => return Err(NoRecord { what: "sort of an attribute", at: self.at - 1 }),
            };
            if context.last_key_value().is_some_and(|(last, _)| name <= *last) {
                return Err(NoRecord { what: "order of attributes", at });
            }
            context.insert(name, value);
        }
        let (via_token, approvals) = (self.flag()?, self.u32()?);
        let (roles, proofs) = (self.names()?, self.names()?);
        let credential = if by_credential { Some(CredentialId(self.u64()?)) } else { None };
        let standing = Standing { via_token, credential, roles, approvals, proofs };
        Asked::whole(action, resource, context, standing).ok_or(NoRecord { what: "a request over its bounds", at })
    }

    fn names(&mut self) -> Result<BTreeSet<String>, NoRecord> {
        let mut names = BTreeSet::new();
        for _ in 0..self.u8()? {
            let at = self.at;
            let name = self.text()?;
            if names.last().is_some_and(|last| name <= *last) {
                return Err(NoRecord { what: "order of names", at });
            }
            names.insert(name);
        }
        Ok(names)
    }

    fn bytes(&mut self, limit: usize) -> Result<&'a [u8], NoRecord> {
        let at = self.at;
        match usize::try_from(self.u32()?) {
            Ok(length) if length <= limit => self.take(length),
            _ => Err(NoRecord { what: "length", at }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            kind_id: 201,
            schema: 1,
            index: 0,
            count: 2,
            sequence: Sequence(17),
            stream: "tokens".into(),
            version: Position(5),
            epoch: Epoch(3),
            time: Timestamp(1_700_000_000_000),
            principal: "operator/root".into(),
            decision: Decision {
                policy_epoch: 1,
                policies: vec!["operators-may".into(), "zebra".into()],
                generation: 9,
                token: Some(TokenUse { token: TokenId(77), number: 2 }),
            },
            command_id: CommandId(0xfeed),
            command_digest: Digest([3; 32]),
            cause: Some(Sequence(16)),
            previous: Digest([8; 32]),
            asked: None,
            answer: Answer::Reply(b"{\"ok\":1}".to_vec()),
            body: vec![1, 2, 3],
        }
    }

    /// With a request that has some of everything.
    fn asked() -> Record {
        let context = [("kind", "test".into()), ("truth", true.into()), ("uses", (-2).into())];
        let context = context.map(|(name, value)| (name.to_owned(), value)).into();
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let (roles, proofs) = (names(&["auditor", "keeper"]), names(&["manifest"]));
        let standing = Standing { via_token: true, credential: None, roles, approvals: 2, proofs };
        Record { asked: Some(Box::new(Asked::new("token.issue", "tøken-7", &context, &standing))), ..record() }
    }

    /// With a request by a credential.
    fn by_credential() -> Record {
        let asked = asked().asked.unwrap();
        let standing = Standing { via_token: false, credential: Some(CredentialId(0x17)), ..asked.standing().clone() };
        let asked = Asked::new(asked.action(), asked.resource(), asked.context(), &standing);
        Record { asked: Some(Box::new(asked)), ..record() }
    }

    fn encoded(record: &Record) -> Vec<u8> {
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        bytes
    }

    #[test]
    fn a_record_reads_back() {
        for record in [
            record(),
            Record { cause: None, decision: Decision::default(), answer: Answer::None, body: vec![], ..record() },
            Record { answer: Answer::Refusal(b"1".to_vec()), index: 0, count: 0, ..record() },
            asked(),
            by_credential(),
            Record {
                asked: Some(Box::new(Asked::new("", "", &BTreeMap::new(), &Standing::default()))),
                answer: Answer::None,
                body: vec![],
                ..record()
            },
        ] {
            assert_eq!(previous(&encoded(&record)), Ok(record.previous));
            assert_eq!(Record::decode(&encoded(&record)), Ok(record));
        }
    }

    #[test]
    fn every_flipped_bit_is_refused_or_read_as_another_record_with_the_flipped_bytes() {
        for bytes in [record(), asked(), by_credential()].map(|record| encoded(&record)) {
            for bit in 0..bytes.len() * 8 {
                let mut flipped = bytes.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                if let Ok(other) = Record::decode(&flipped) {
                    assert_eq!(previous(&flipped), Ok(other.previous), "bit {bit}");
                    assert_eq!(encoded(&other), flipped, "bit {bit}: one record has one form");
                    assert_ne!(link(&flipped), link(&bytes), "bit {bit}: the chain sees it");
                }
            }
        }
    }

    #[test]
    fn every_cut_is_refused() {
        // The link is followed by the request, if there is one, and by the answer and the body, with a length each.
        let after = 4 + b"{\"ok\":1}".len() + 4 + 3;
        for record_of in [record(), asked(), by_credential()] {
            let bytes = encoded(&record_of);
            let after = bytes.len() - encoded(&record()).len() + after;
            for length in 0..bytes.len() {
                assert!(Record::decode(&bytes[..length]).is_err(), "{length}");
                assert_eq!(previous(&bytes[..length]).is_ok(), bytes.len() - after <= length, "{length}");
            }
            let mut longer = bytes;
            longer.push(0);
            assert!(Record::decode(&longer).is_err());
        }
    }

    /// A request as encoding cannot have written it: out of order, told twice, or over its bounds.
    #[test]
    fn a_request_has_one_form() {
        let plain = |context: &[(&str, i64)], roles: &[&str], resource: &str| {
            let mut bytes = Vec::new();
            text(&mut bytes, "todo.show");
            text(&mut bytes, resource);
            bytes.push(u8::try_from(context.len()).unwrap());
            for (name, number) in context {
                text(&mut bytes, name);
                bytes.push(1);
                bytes.extend_from_slice(&number.to_le_bytes());
            }
            bytes.extend_from_slice(&[0, 0, 0, 0, 0]);
            bytes.push(u8::try_from(roles.len()).unwrap());
            for role in roles {
                text(&mut bytes, role);
            }
            bytes.push(0);
            let whole = encoded(&record());
            // Before the answer.
            let at = whole.len() - (4 + b"{\"ok\":1}".len() + 4 + 3);
            let mut all = [&whole[..at], &bytes, &whole[at..]].concat();
            all[1] = LAYOUT_ASKED;
            Record::decode(&all).map(|record| assert_eq!(encoded(&record), all)).map_err(|error| error.what)
        };
        let long = "r".repeat(Asked::TEXT_MAX + 1);
        let many: Vec<String> = (10..=10 + Asked::STANDING_MAX).map(|number| number.to_string()).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let nine = ["a", "b", "c", "d", "e", "f", "g", "h", "i"].map(|name| (name, 1));
        let over = Err("a request over its bounds");
        for (row, found, expected) in [
            ("one of each", plain(&[("a", 1)], &["r"], "todo-7"), Ok(())),
            ("attributes out of order", plain(&[("b", 1), ("a", 2)], &[], "*"), Err("order of attributes")),
            ("an attribute twice", plain(&[("a", 1), ("a", 1)], &[], "*"), Err("order of attributes")),
            ("roles out of order", plain(&[], &["s", "r"], "*"), Err("order of names")),
            ("a role twice", plain(&[], &["r", "r"], "*"), Err("order of names")),
            ("too many roles", plain(&[], &many, "*"), over),
            ("too many attributes", plain(&nine, &[], "*"), over),
            ("a long resource", plain(&[], &[], &long), over),
            ("a long name", plain(&[(&long[..=Asked::NAME_MAX], 1)], &[], "*"), over),
        ] {
            assert_eq!(found, expected, "{row}");
        }
    }

    /// Written by the first release, never edited: what yesterday's bytes mean.
    #[test]
    fn the_layout_is_what_it_was() {
        let digest = blake3::hash(&encoded(&record()));
        assert_eq!(encoded(&record()).len(), 238);
        assert_eq!(digest.to_hex().as_str(), "dd6a7cfb3a4d88487fd47f5afde6a6a79dfcbb07643f38c26017314d6ee16bf1");
    }
    /// As the first one, of the release that began to keep what was asked.
    #[test]
    fn the_layout_with_a_request_is_what_it_was() {
        let digest = blake3::hash(&encoded(&asked()));
        assert_eq!(encoded(&asked()).len(), 333);
        assert_eq!(digest.to_hex().as_str(), "4c83871f57fec591ac10a8e15e08152ebd03a85e46f8f28223ba1c9d1c30e410");
    }

    /// As the first one, of the release that began to keep by which credential.
    #[test]
    fn the_layout_with_a_credential_is_what_it_was() {
        let digest = blake3::hash(&encoded(&by_credential()));
        assert_eq!(encoded(&by_credential()).len(), 341);
        assert_eq!(digest.to_hex().as_str(), "48eb0d2e817287f341c6365ce0f19f7ea67804c3f5cff8278179f793cc37845e");
    }
}
