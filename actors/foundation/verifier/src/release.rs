//! Releases (`sop crypto sign releases`): files that an authority signed, apart from them.
//!
//! A signed note of a key for releases, with this text:
//!
//! ```text
//! sop release v1
//! name <the name of the file>
//! length <its bytes>
//! sha256 <of its content>
//! blake3 <of its content>
//! ```

use sha2::{Digest as _, Sha256};

use crate::beside::{Chain, Signer};
use crate::note::Trust;
use crate::{Bad, blake3, hex, number};

/// A file that is what was signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// As it was called when it was signed.
    pub name: String,
    pub length: u64,
    pub sha256: String,
    pub blake3: String,
    pub signer: Signer,
}

/// Checks that `note` is of this content, and signed by the key, or by one that follows it and is not revoked.
///
/// # Errors
/// [`Bad`].
pub fn verify(content: &[u8], note: &str, key: &Chain) -> Result<Release, Bad> {
    let trust = Trust { log: None, beside: vec![key.clone()], witnesses: Vec::new(), quorum: 0 };
    let (text, signers) = trust.text(note, "signature")?;
    // Of which record a release is, nobody can say: what a revoked key signed counts no more.
    let signer = signers.into_iter().flatten().find(|signer| signer.revoked.is_none());
    let signer = signer
        .ok_or_else(|| Bad::new("what signed it is revoked, and a release says of no record that it is older"))?;
    let parsed = || {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        (lines.next()? == "sop release v1").then_some(())?;
        let mut line = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned);
        let (name, length) = (line("name")?, number(&line("length")?)?);
        let (sha256, blake3) = (line("sha256")?, line("blake3")?);
        lines.next().is_none().then_some(Release { name, length, sha256, blake3, signer })
    };
    let release = parsed().ok_or_else(|| Bad::new("what was signed is no release"))?;
    if release.length != content.len() as u64 {
        return Err(Bad::new(format!("it has {} bytes, and what was signed has {}", content.len(), release.length)));
    }
    if release.sha256 != hex(&Sha256::digest(content)) || release.blake3 != hex(&blake3::hash(content)) {
        return Err(Bad::new("it is not what was signed: its digests are others"));
    }
    Ok(release)
}
