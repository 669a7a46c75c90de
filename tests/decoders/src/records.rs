//! Records: the envelope, and the body of every kind.

use std::collections::BTreeMap;

use journal::codec;
use journal::envelope::{Answer, Record, link};
use kernel::{
    Asked, CommandId, CredentialId, Decision, Digest, Epoch, Machine, Position, Recorded, Sequence, Standing,
    Timestamp, TokenId, TokenUse,
};

const WRITTEN: &str = include_str!("../../journals/v0.1.txt");

/// The published bodies: id, version and bytes.
fn written() -> impl Iterator<Item = (u32, u16, Vec<u8>)> {
    WRITTEN.lines().map(|line| {
        let words: Vec<_> = line.split(' ').collect();
        let [id, version, _, hex] = words[..] else { panic!("four words: {line}") };
        let pairs = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).expect("digits"));
        let bytes = pairs.map(|pair| u8::from_str_radix(pair, 16).expect("digits")).collect();
        (id.parse().expect("an id"), version.parse().expect("a version"), bytes)
    })
}

/// A record of each published kind, one after the other as a journal has them.
pub fn chain() -> Vec<Vec<u8>> {
    let mut previous = Digest::default();
    let mut records = Vec::new();
    for (sequence, (kind_id, schema, body)) in (1..).zip(written()) {
        let whole = sequence % 2 == 0;
        let record = Record {
            kind_id,
            schema,
            index: 0,
            count: 1,
            sequence: Sequence(sequence),
            stream: "tokens".into(),
            version: Position(sequence),
            epoch: Epoch(1),
            time: Timestamp(1_700_000_000_000 + sequence),
            principal: "operator/root".into(),
            decision: Decision {
                policy_epoch: sequence,
                policies: if whole { vec!["a".into(), "é".into()] } else { vec![] },
                generation: 9,
                token: whole.then_some(TokenUse { token: TokenId(77), number: 2 }),
            },
            command_id: CommandId(0xfeed),
            command_digest: Digest([3; 32]),
            cause: whole.then_some(Sequence(16)),
            previous,
            asked: (sequence % 5 < 3).then(|| Box::new(asked(whole, sequence % 3 == 0))),
            answer: match sequence % 3 {
                0 => Answer::None,
                1 => Answer::Reply(b"{\"ok\":1}".to_vec()),
                _ => Answer::Refusal(b"\"no\"".to_vec()),
            },
            body,
        };
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        previous = link(&bytes);
        records.push(bytes);
    }
    records
}

/// A request that has some of everything, or nothing.
fn asked(whole: bool, by_credential: bool) -> Asked {
    let credential = by_credential.then_some(CredentialId(0x17));
    if !whole {
        return Asked::new("todo.list", "*", &BTreeMap::new(), &Standing { credential, ..Standing::default() });
    }
    let context = [("kind", "té\"st".into()), ("truth", true.into()), ("uses", (-2).into())];
    let context = context.map(|(name, value)| (name.to_owned(), value)).into();
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let (roles, proofs) = (names(&["auditor", "keeper"]), names(&["manifest"]));
    let standing = Standing { via_token: !by_credential, credential, roles, approvals: 2, proofs };
    Asked::new("token.issue", "token-7", &context, &standing)
}

pub fn envelopes() -> Vec<Vec<u8>> {
    chain()
}

/// What is a record has this one form.
pub fn envelope(bytes: &[u8]) {
    if let Ok(record) = Record::decode(bytes) {
        let mut written = Vec::new();
        record.encode(&mut written);
        assert_eq!(written, bytes, "a record has one form");
    }
}

/// Kind and version, little endian, then the body.
pub fn bodies() -> Vec<Vec<u8>> {
    let seed =
        |(id, version, body): (u32, u16, Vec<u8>)| [&id.to_le_bytes()[..], &version.to_le_bytes(), &body].concat();
    written().map(seed).collect()
}

/// What reads the bodies of a concern; `false` if the kind is none of its.
type Again = fn((u32, u16), &[u8]) -> bool;

const CONCERNS: [Again; 18] = [
    again::<governance::Governance>,
    again::<identity::Identity>,
    again::<tokens::Tokens>,
    again::<allocator::Allocator>,
    again::<approvals::Approvals>,
    again::<proofs::Proofs>,
    again::<gaps::Gaps>,
    again::<backup::Backups>,
    again::<nexus::Nexus>,
    again::<todos::Todos>,
    again::<door::Decisions>,
    again::<door::Outcomes>,
    again::<health::Health>,
    again::<retention::Retention>,
    again::<crypto::Crypto>,
    again::<security::Security>,
    again::<subjects::Subjects>,
    again::<subscriptions::Subscriptions>,
];

/// What is read as a fact is a fact that can be written and read again.
pub fn body(bytes: &[u8]) {
    if let Some((kind, body)) = split(bytes) {
        for again in CONCERNS {
            again(kind, body);
        }
    }
}

fn split(bytes: &[u8]) -> Option<((u32, u16), &[u8])> {
    let (id, rest) = bytes.split_first_chunk()?;
    let (version, body) = rest.split_first_chunk()?;
    Some(((u32::from_le_bytes(*id), u16::from_le_bytes(*version)), body))
}

fn again<M: Machine>(kind: (u32, u16), body: &[u8]) -> bool {
    if let Ok(event) = codec::read::<M::Event>(kind, body)
        && let Ok(written) = codec::write(&event)
    {
        let kind = (written.kind.id, written.kind.version);
        let read = codec::read::<M::Event>(kind, &written.bytes).expect("what is written can be read");
        assert_eq!(codec::write(&read).as_ref(), Ok(&written), "it is the same fact");
    }
    M::Event::KINDS.iter().any(|known| (known.id, known.version) == kind)
}

#[test]
fn no_concern_is_left_out() {
    for seed in bodies() {
        let (kind, body) = split(&seed).expect("a seed is whole");
        let known = CONCERNS.iter().filter(|again| again(kind, body)).count();
        assert_eq!(known, 1, "{kind:?} is of one concern");
    }
}
