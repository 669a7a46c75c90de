//! Attestations (`sop audit attest`): what an authority said, under the key of its log, of itself at one moment.
//!
//! A signed note whose first line cannot be the name of a log, so that it is never taken for a checkpoint:
//!
//! ```text
//! attestation v1 of <name of the log>
//! time <milliseconds since 1970>
//! program <version> blake3 <of the running binary>
//! configuration blake3 <of every option in force, as `name = value` lines in their order>
//! policy epoch <number> blake3 <of the text of the policies in force>
//! checkpoint <records> <root>
//! state <machine> <version of its stream> <blake3 of its state>     one for each machine, by name
//! ```

use std::collections::BTreeMap;

use crate::beside::Signer;
use crate::note::Trust;
use crate::tree::Hash;
use crate::{Bad, blake3, hex, number};

/// What was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attestation {
    pub origin: String,
    pub time: u64,
    pub version: String,
    pub program: String,
    pub configuration: String,
    pub policy_epoch: u64,
    pub policies: String,
    pub size: u64,
    pub root: Hash,
    /// Of each machine the version of its stream, and the digest of its state.
    pub states: BTreeMap<String, (u64, String)>,
    /// BLAKE3 of the whole note: its name in the records.
    pub digest: String,
    /// Who signed it beside the key of the log, of those that were asked for.
    pub beside: Vec<Signer>,
}

/// The attestation in a note that the keys that are asked for have signed.
///
/// # Errors
/// [`Bad`].
pub fn verify(note: &str, trust: &Trust) -> Result<Attestation, Bad> {
    let (text, signers) = trust.text(note, "attestation")?;
    let said = parse(text, note).filter(|attestation| attestation.origin == trust.origin());
    let said = said.ok_or_else(|| Bad::new(format!("what was signed is no attestation of {}", trust.origin())))?;
    let beside = trust.counting(signers, said.size, "attestation")?;
    Ok(Attestation { beside, ..said })
}

fn parse(text: &str, note: &str) -> Option<Attestation> {
    let mut lines = text.strip_suffix('\n')?.split('\n').peekable();
    let origin = lines.next()?.strip_prefix("attestation v1 of ")?.to_owned();
    let time = number(lines.next()?.strip_prefix("time ")?)?;
    let (version, program) = lines.next()?.strip_prefix("program ")?.split_once(" blake3 ")?;
    let configuration = lines.next()?.strip_prefix("configuration blake3 ")?;
    let (epoch, policies) = lines.next()?.strip_prefix("policy epoch ")?.split_once(" blake3 ")?;
    let (size, root) = lines.next()?.strip_prefix("checkpoint ")?.split_once(' ')?;
    let mut states = BTreeMap::new();
    let mut last = "";
    for line in lines {
        let mut words = line.strip_prefix("state ")?.split(' ');
        let (name, version, digest) = (words.next()?, number(words.next()?)?, is_digest(words.next()?)?);
        // By name: so that one moment has one text.
        (last < name && words.next().is_none()).then_some(())?;
        last = name;
        states.insert(name.to_owned(), (version, digest));
    }
    Some(Attestation {
        origin,
        time,
        version: version.to_owned(),
        program: is_digest(program)?,
        configuration: is_digest(configuration)?,
        policy_epoch: number(epoch)?,
        policies: is_digest(policies)?,
        size: number(size)?,
        root: Hash::parse(root)?,
        states,
        digest: hex(&blake3::hash(note.as_bytes())),
        beside: Vec::new(),
    })
}

fn is_digest(text: &str) -> Option<String> {
    let digits = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    (text.len() == 64 && text.bytes().all(digits)).then(|| text.to_owned())
}
