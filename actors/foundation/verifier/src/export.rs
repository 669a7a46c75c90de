//! Records that were given away (`sop audit export`): each of them proven by the proofs of the first and the last one.
//!
//! The hashes left of the way to the first record, and those right of the way to the last one, are all of the tree that is
//! outside; what is between follows from the entries.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, ErrorKind, Read};
use std::path::Path;

use crate::log::Failure;
use crate::note::{Checkpoint, NOTE_MAX, Trust};
use crate::proof::Proof;
use crate::record::{Chain, Record, marker};
use crate::tree::{Hash, leaf, neighbours, span};
use crate::{Bad, blake3, hex};

/// An export that is what was signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    pub checkpoint: Checkpoint,
    pub first: u64,
    pub last: u64,
    pub streams: usize,
    pub blobs: u64,
    /// Proofs of single records.
    pub proofs: u64,
}

/// Longer than any proof with its record in base64.
const PROOF_MAX: u64 = 256 * 1024;
const BLOB_MAX: u64 = 1 << 28;

/// Checks the export in `directory`.
///
/// # Errors
/// [`Failure`].
pub fn verify(directory: &Path, trust: &Trust) -> Result<Verified, Failure> {
    let end = |name: &str| -> Result<(Proof, Checkpoint), Failure> {
        let proof = Proof::parse(&text(&directory.join(name), PROOF_MAX)?)?;
        let entry = proof.entry.as_deref().ok_or_else(|| Bad::new(format!("{name} has no record with it")))?;
        let checkpoint = proof.verify(entry, trust)?;
        Ok((proof, checkpoint))
    };
    let ((first, checkpoint), (last, _)) = (end("first.tlog-proof")?, end("last.tlog-proof")?);
    let note = text(&directory.join("checkpoint"), NOTE_MAX as u64 + 1)?;
    if first.note != last.note || first.note != note {
        return Err(Bad::new("the proofs and the checkpoint are not of one note").into());
    }
    if last.index < first.index {
        return Err(Bad::new("the last record is before the first one").into());
    }
    let mut reading = Reading {
        directory,
        entries: open(&directory.join("entries"))?,
        lines: open(&directory.join("records.jsonl"))?,
        chain: Chain::from(first.index + 1),
        blobs: 0,
    };
    let mut leaves = Vec::new();
    let mut broken = None;
    for at in first.index + 1..=last.index + 1 {
        let Some(entry) = take(&mut reading.entries, &directory.join("entries"))? else {
            return Err(broken.unwrap_or_else(|| Bad::at(at, "entries ends here")).into());
        };
        leaves.push(leaf(&entry));
        if broken.is_none()
            && let Err(failure) = reading.record(at, &entry)
        {
            match failure {
                Failure::Bad(bad) => broken = Some(bad),
                io @ Failure::Io(..) => return Err(io),
            }
        }
    }
    let mut more = [0];
    let path = directory.join("entries");
    if broken.is_none() && reading.entries.read(&mut more).map_err(|error| Failure::Io(path, error))? != 0 {
        return Err(Bad::new("entries has more than the records that are proven").into());
    }
    let root = root(&first, &last, checkpoint.size, &leaves);
    let proofs = each(directory, &first, &leaves, trust);
    if root != Some(checkpoint.root) {
        // A proof of one alone tells which it is, and so does the chain; without either it can be any of them.
        let named = [broken, proofs.err().and_then(Failure::bad)].into_iter().flatten().min_by_key(|bad| bad.at);
        let (from, to) = (first.index + 1, last.index + 1);
        let unknown = || Bad::new(format!("one of the records {from} to {to} is not what was signed"));
        return Err(named.unwrap_or_else(unknown).into());
    }
    if let Some(bad) = broken {
        return Err(bad.into());
    }
    let proofs = proofs?;
    let path = directory.join("records.jsonl");
    if reading.lines.read(&mut more).map_err(|error| Failure::Io(path, error))? != 0 {
        return Err(Bad::new("records.jsonl has more than the records that are proven").into());
    }
    let (first, last) = (first.index + 1, last.index + 1);
    Ok(Verified { checkpoint, first, last, streams: reading.chain.streams(), blobs: reading.blobs, proofs })
}

struct Reading<'a> {
    directory: &'a Path,
    entries: BufReader<File>,
    lines: BufReader<File>,
    chain: Chain,
    blobs: u64,
}

impl Reading<'_> {
    fn record(&mut self, at: u64, entry: &[u8]) -> Result<(), Failure> {
        let blob;
        let bytes = match marker(entry) {
            None => entry,
            Some(digest) => {
                let name = format!("blobs/{}", hex(&digest));
                let mut bytes = Vec::new();
                match File::open(self.directory.join(&name)).map(|file| file.take(BLOB_MAX).read_to_end(&mut bytes)) {
                    Ok(Ok(_)) if blake3::hash(&bytes) == digest => {}
                    _ => return Err(Bad::at(at, format!("{name} is not the record that was signed")).into()),
                }
                blob = bytes;
                self.blobs += 1;
                &blob
            }
        };
        self.chain.take(bytes).map_err(|(before, what)| {
            // Of the first record the one before is not here.
            let earlier = before && 1 < at;
            Bad::at(
                if earlier { at - 1 } else { at },
                if earlier { "the record after it does not carry its hash".into() } else { what },
            )
        })?;
        let record = Record::read(bytes).map_err(|what| Bad::at(at, what))?;
        let expected = record.json(bytes);
        let mut line = Vec::with_capacity(expected.len() + 1);
        let path = self.directory.join("records.jsonl");
        let limit = expected.len() as u64 + 1;
        self.lines.by_ref().take(limit).read_until(b'\n', &mut line).map_err(|error| Failure::Io(path, error))?;
        if line.strip_suffix(b"\n") != Some(expected.as_bytes()) {
            return Err(Bad::at(at, "its line in records.jsonl is not what the record says").into());
        }
        Ok(())
    }
}

/// The root to which the entries lead, between what the two proofs have on both sides.
fn root(first: &Proof, last: &Proof, size: u64, leaves: &[Hash]) -> Option<Hash> {
    let left = neighbours(first.index, size).into_iter().zip(&first.hashes).filter(|((_, to), _)| *to <= first.index);
    let right = neighbours(last.index, size).into_iter().zip(&last.hashes).filter(|((from, _), _)| last.index < *from);
    let outside: BTreeMap<(u64, u64), Hash> = left.chain(right).map(|(span, hash)| (span, *hash)).collect();
    span(0, size, &mut |from, to| {
        if let Some(hash) = outside.get(&(from, to)) {
            return Ok(Some(*hash));
        }
        if to - from != 1 {
            return Ok(None);
        }
        let index = from.checked_sub(first.index).and_then(|index| usize::try_from(index).ok()).ok_or(())?;
        leaves.get(index).copied().map(Some).ok_or(())
    })
    .ok()
}

/// Checks the proofs of single records that came along, and counts them.
fn each(directory: &Path, first: &Proof, leaves: &[Hash], trust: &Trust) -> Result<u64, Failure> {
    let folder = directory.join("proofs");
    match fs::read_dir(&folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(Failure::Io(folder, error)),
        Ok(_) => {}
    }
    for (sequence, expected) in (first.index + 1..).zip(leaves) {
        let path = folder.join(format!("{sequence}.tlog-proof"));
        if !path.exists() {
            return Err(Bad::at(sequence, "its proof is missing").into());
        }
        let proof = Proof::parse(&text(&path, PROOF_MAX)?).map_err(|bad| Bad { at: Some(sequence), ..bad })?;
        let entry = proof.entry.as_deref().unwrap_or_default();
        if proof.index + 1 != sequence || leaf(entry) != *expected {
            return Err(Bad::at(sequence, "the record in its proof is another one than in entries").into());
        }
        proof.verify(entry, trust).map_err(|bad| Bad { at: Some(sequence), ..bad })?;
    }
    Ok(leaves.len() as u64)
}

fn open(path: &Path) -> Result<BufReader<File>, Failure> {
    match File::open(path) {
        Ok(file) => Ok(BufReader::with_capacity(1 << 16, file)),
        Err(error) if error.kind() == ErrorKind::NotFound => Err(missing(path)),
        Err(error) => Err(Failure::Io(path.to_owned(), error)),
    }
}

fn missing(path: &Path) -> Failure {
    Bad::new(format!("{} is missing", path.file_name().unwrap_or_default().display())).into()
}

fn text(path: &Path, limit: u64) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    let read = open(path)?.take(limit).read_to_end(&mut bytes);
    read.map_err(|error| Failure::Io(path.to_owned(), error))?;
    String::from_utf8(bytes).map_err(|_| Bad::new(format!("{} is no text", path.display())).into())
}

/// The next entry; `None` if the file ends before or within it.
fn take(entries: &mut BufReader<File>, path: &Path) -> Result<Option<Vec<u8>>, Failure> {
    let mut length = [0; 2];
    let mut all = |buffer: &mut [u8]| match entries.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(Failure::Io(path.to_owned(), error)),
    };
    if !all(&mut length)? {
        return Ok(None);
    }
    let mut entry = vec![0; usize::from(u16::from_be_bytes(length))];
    Ok(all(&mut entry)?.then_some(entry))
}
