//! The record: an envelope of our own fixed layout around a body, chained by blake3.
//!
//! All integers are little endian; `text` is a `u16` length and UTF-8, `bytes` a `u32` length and the bytes.
//!
//! ```text
//! magic u8 = 0x53   layout u8 = 1   codec u8 = 1 (bincode 2 standard)   answer u8 = 0 none, 1 reply, 2 refusal
//! kind u32          schema u16      index u16      count u16
//! sequence u64      version u64     epoch u64      time u64 (ms since the Unix epoch)
//! stream text       principal text
//! policy epoch u64  generation u64  token u8 (0|1) [token id u128, use u32]   policies u16, then text each
//! command id u128   command digest [u8; 32]        cause u8 (0|1) [sequence u64]
//! previous [u8; 32]
//! answer bytes      body bytes
//! ```
//!
//! # Invariants
//! 1. Decoding consumes every byte and refuses every value that encoding cannot have written, so one record has one form.
//! 2. `previous` is the blake3 of the whole record before it; of the first record, 32 zero bytes.
//! 3. `index`-of-`count` says where a command's records begin and end; a command without facts has one record, 0 of 0.

use kernel::{CommandId, Decision, Digest, Epoch, Position, Sequence, Timestamp, TokenId, TokenUse};

const MAGIC: u8 = 0x53;
const LAYOUT: u8 = 1;
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
        out.extend_from_slice(&[MAGIC, LAYOUT, CODEC_BINCODE_2, tag]);
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
        bytes(out, answer);
        bytes(out, &self.body);
    }

    /// # Errors
    /// [`NoRecord`] for anything but the exact bytes of one record.
    pub fn decode(record: &[u8]) -> Result<Self, NoRecord> {
        let mut cursor = Cursor { record, at: 0 };
        for (byte, what) in [(MAGIC, "magic"), (LAYOUT, "layout"), (CODEC_BINCODE_2, "codec")] {
            if cursor.u8()? != byte {
                return Err(NoRecord { what, at: cursor.at - 1 });
            }
        }
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
            answer,
            body,
        })
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
            answer: Answer::Reply(b"{\"ok\":1}".to_vec()),
            body: vec![1, 2, 3],
        }
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
        ] {
            assert_eq!(previous(&encoded(&record)), Ok(record.previous));
            assert_eq!(Record::decode(&encoded(&record)), Ok(record));
        }
    }

    #[test]
    fn every_flipped_bit_is_refused_or_read_as_another_record_with_the_flipped_bytes() {
        let bytes = encoded(&record());
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

    #[test]
    fn every_cut_is_refused() {
        let bytes = encoded(&record());
        for length in 0..bytes.len() {
            assert!(Record::decode(&bytes[..length]).is_err(), "{length}");
            // It is followed by the answer and the body, with a length each.
            let after = 4 + b"{\"ok\":1}".len() + 4 + 3;
            assert_eq!(previous(&bytes[..length]).is_ok(), bytes.len() - after <= length, "{length}");
        }
        let mut longer = bytes;
        longer.push(0);
        assert!(Record::decode(&longer).is_err());
    }

    /// Written by the first release, never edited: what yesterday's bytes mean.
    #[test]
    fn the_layout_is_what_it_was() {
        let digest = blake3::hash(&encoded(&record()));
        assert_eq!(encoded(&record()).len(), 238);
        assert_eq!(digest.to_hex().as_str(), "dd6a7cfb3a4d88487fd47f5afde6a6a79dfcbb07643f38c26017314d6ee16bf1");
    }
}
