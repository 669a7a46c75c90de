//! Records given away: a directory that proves what is in it, and says how to check that.
//!
//! ```text
//! README.md             what is here, and how to verify it
//! key                   of the log, to be compared with the one that was noted
//! checkpoint            the signed note
//! first.tlog-proof      of the first and of the last record, under that checkpoint: with the entries between they prove
//! last.tlog-proof       every one of them ([`crate::run`])
//! entries               the records, each a length (u16, big endian) and so many bytes
//! blobs/<blake3>        a record over 65,535 bytes
//! records.jsonl         the same records, a line each, to be read; follows from `entries` byte for byte
//! shown.jsonl           what the authority shows for them; nothing proves that
//! proofs/<n>.tlog-proof if asked for: the proof of each record alone
//! ```
//!
//! # Invariants
//! 1. It is there whole and proven, or not at all: it is made under another name, checked, synced and renamed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use journal::bundle::{Entry, blob_name};
use journal::envelope::{Answer, Record, link};
use kernel::{Asked, Attribute, CredentialId, Sequence, Standing};
use serde::Serialize;

use crate::checkpoint::{Checkpoint, Proof, ProofError};
use crate::note::PublicKey;
use crate::run::Run;
use crate::tree::{Hash, leaf};

/// Why there is no export.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error("{} is there already", path.display())]
    Taken { path: PathBuf },
    #[error("what came as record {at} is not that record")]
    NoRecord { at: Sequence },
    #[error("the proofs do not prove these records: {why}")]
    Unproven { why: String },
    #[error("{} cannot be written: {why}", path.display())]
    Io { path: PathBuf, why: io::Error },
}

impl From<ProofError> for ExportError {
    fn from(error: ProofError) -> Self {
        Self::Unproven { why: error.to_string() }
    }
}

/// A directory that proves what is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    pub first: Sequence,
    pub last: Sequence,
    pub checkpoint: Checkpoint,
}

/// The proofs of both ends, under one checkpoint, and the key that signed it.
pub struct Ends {
    pub key: PublicKey,
    pub first: Proof,
    pub last: Proof,
    /// The vkeys of those who are asked to cosign, and how many of them have.
    pub witnesses: Vec<String>,
    pub quorum: u64,
}

/// A record as a line of `records.jsonl`. The order is part of the form.
#[derive(Serialize)]
struct Line<'a> {
    sequence: u64,
    time: u64,
    stream: &'a str,
    version: u64,
    epoch: u64,
    kind: u32,
    schema: u16,
    index: u16,
    count: u16,
    principal: &'a str,
    policy_epoch: u64,
    policies: &'a [String],
    generation: u64,
    token: Option<String>,
    token_use: Option<u32>,
    command: String,
    command_digest: String,
    cause: Option<u64>,
    previous: String,
    /// Only where there is one, so that older lines are as they were.
    #[serde(skip_serializing_if = "Option::is_none")]
    asked: Option<AskedLine<'a>>,
    reply: Option<&'a str>,
    refusal: Option<&'a str>,
    body: String,
    digest: String,
}

#[derive(Serialize)]
struct AskedLine<'a> {
    action: &'a str,
    resource: &'a str,
    context: BTreeMap<&'a str, Shown<'a>>,
    via_token: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    credential: Option<CredentialId>,
    roles: &'a BTreeSet<String>,
    approvals: u32,
    proofs: &'a BTreeSet<String>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Shown<'a> {
    Text(&'a str),
    Long(i64),
    Bool(bool),
}

impl<'a> AskedLine<'a> {
    fn of(asked: &'a Asked) -> Self {
        let value = |value: &'a Attribute| match value {
            Attribute::Text(text) => Shown::Text(text),
            Attribute::Long(number) => Shown::Long(*number),
            Attribute::Bool(truth) => Shown::Bool(*truth),
        };
        let context = asked.context().iter().map(|(name, found)| (name.as_str(), value(found))).collect();
        let Standing { via_token, credential, roles, approvals, proofs } = asked.standing();
        let (via_token, credential, approvals) = (*via_token, *credential, *approvals);
        let (action, resource) = (asked.action(), asked.resource());
        Self { action, resource, context, via_token, credential, roles, approvals, proofs }
    }
}

/// The line that stands for a record: a function of its bytes alone.
fn line(record: &Record, bytes: &[u8]) -> String {
    let text = |json| std::str::from_utf8(json).unwrap_or_default();
    let (reply, refusal) = match &record.answer {
        Answer::None => (None, None),
        Answer::Reply(json) => (Some(text(json)), None),
        Answer::Refusal(json) => (None, Some(text(json))),
    };
    let line = Line {
        sequence: record.sequence.0,
        time: record.time.0,
        stream: &record.stream,
        version: record.version.0,
        epoch: record.epoch.0,
        kind: record.kind_id,
        schema: record.schema,
        index: record.index,
        count: record.count,
        principal: &record.principal,
        policy_epoch: record.decision.policy_epoch,
        policies: &record.decision.policies,
        generation: record.decision.generation,
        token: record.decision.token.map(|token| token.token.to_string()),
        token_use: record.decision.token.map(|token| token.number),
        command: record.command_id.to_string(),
        command_digest: record.command_digest.to_string(),
        cause: record.cause.map(|cause| cause.0),
        previous: record.previous.to_string(),
        asked: record.asked.as_deref().map(AskedLine::of),
        reply,
        refusal,
        body: STANDARD.encode(&record.body),
        digest: link(bytes).to_string(),
    };
    serde_json::to_string(&line).expect("numbers and text are JSON")
}

/// An export that is being written. It is gone if it does not come to its end.
pub struct Export {
    making: PathBuf,
    place: PathBuf,
    entries: BufWriter<File>,
    records: BufWriter<File>,
    shown: BufWriter<File>,
    first: Sequence,
    leaves: Vec<Hash>,
    done: bool,
}

impl Export {
    /// Begins an export in `place`, where nothing is yet, of the records from `first` on.
    ///
    /// # Errors
    /// [`ExportError`].
    pub fn begin(place: &Path, first: Sequence) -> Result<Self, ExportError> {
        if place.symlink_metadata().is_ok() {
            return Err(ExportError::Taken { path: place.to_owned() });
        }
        let mut name = std::ffi::OsString::from(".");
        name.push(place.file_name().unwrap_or_default());
        name.push(".making");
        let making = place.with_file_name(name);
        match fs::remove_dir_all(&making) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at(&making)(error)),
            Ok(()) | Err(_) => {}
        }
        DirBuilder::new().mode(0o700).create(&making).map_err(at(&making))?;
        let (entries, records, shown) =
            (new(&making.join("entries"))?, new(&making.join("records.jsonl"))?, new(&making.join("shown.jsonl"))?);
        let [entries, records, shown] = [entries, records, shown].map(BufWriter::new);
        let place = place.to_owned();
        Ok(Self { making, place, entries, records, shown, first, leaves: Vec::new(), done: false })
    }

    /// The record that comes next.
    pub fn next(&self) -> Sequence {
        Sequence(self.first.0 + self.leaves.len() as u64)
    }

    /// Adds the next record, and the JSON that the authority shows for it.
    ///
    /// # Errors
    /// [`ExportError`].
    pub fn push(&mut self, bytes: &[u8], shown: &str) -> Result<(), ExportError> {
        let at_record = self.next();
        let record = Record::decode(bytes).ok().filter(|record| record.sequence == at_record);
        let record = record.ok_or(ExportError::NoRecord { at: at_record })?;
        let entry = Entry::of(bytes);
        if let Entry::Blob { digest, .. } = entry {
            let blob = self.making.join(blob_name(digest));
            let folder = self.making.join("blobs");
            DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(at(&folder))?;
            write(&blob, bytes)?;
        }
        let mut framed = Vec::with_capacity(entry.bytes().len() + 2);
        entry.put(&mut framed);
        self.entries.write_all(&framed).map_err(at(&self.making))?;
        writeln!(self.records, "{}", line(&record, bytes)).map_err(at(&self.making))?;
        writeln!(self.shown, "{}", shown.replace('\n', " ")).map_err(at(&self.making))?;
        self.leaves.push(leaf(entry.bytes()));
        Ok(())
    }

    /// Ends the export: what is in it is proven by `ends`, and if `each` is set, each record alone, too.
    ///
    /// # Errors
    /// [`ExportError`]; then nothing is left of it.
    pub fn finish(mut self, ends: &Ends, each: bool) -> Result<Exported, ExportError> {
        for file in [&mut self.entries, &mut self.records, &mut self.shown] {
            file.flush().and_then(|()| file.get_ref().sync_all()).map_err(at(&self.making))?;
        }
        let Ends { key, first, last, .. } = ends;
        let unproven = |why: &str| ExportError::Unproven { why: why.to_owned() };
        let checkpoint = Checkpoint::open(&first.checkpoint, key).map_err(ProofError::from)?;
        let last_record = Sequence(self.next().0 - 1);
        let indexes = (first.index + 1, last.index + 1);
        if first.checkpoint != last.checkpoint || indexes != (self.first.0, last_record.0) {
            return Err(unproven("they are not those of its ends"));
        }
        let leaves = std::mem::take(&mut self.leaves);
        let run = Run::new(first.index, checkpoint.size, leaves, &first.hashes, &last.hashes);
        let run = run.filter(|run| run.root() == checkpoint.root);
        let run = run.ok_or_else(|| unproven("they do not lead to the root that was signed"))?;
        if each {
            self.prove_each(&run, &first.checkpoint, first.index)?;
        }
        let text = |name: &str, text: &str| write(&self.making.join(name), text.as_bytes());
        text("checkpoint", &first.checkpoint)?;
        text("key", &format!("{key}\n"))?;
        text("first.tlog-proof", &first.to_string())?;
        text("last.tlog-proof", &last.to_string())?;
        text("README.md", &readme(ends, &checkpoint, self.first, last_record, each))?;
        let sync = |directory: &Path| File::open(directory).and_then(|file| file.sync_all()).map_err(at(directory));
        sync(&self.making)?;
        fs::rename(&self.making, &self.place).map_err(at(&self.place))?;
        self.done = true;
        sync(self.place.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")))?;
        Ok(Exported { first: self.first, last: last_record, checkpoint })
    }

    fn prove_each(&self, run: &Run, note: &str, first: u64) -> Result<(), ExportError> {
        let folder = self.making.join("proofs");
        DirBuilder::new().mode(0o700).create(&folder).map_err(at(&folder))?;
        let entries = self.making.join("entries");
        let mut file = BufReader::new(File::open(&entries).map_err(at(&entries))?);
        let mut length = [0; 2];
        let mut index = first;
        while index - first < run.len() {
            file.read_exact(&mut length).map_err(at(&entries))?;
            let mut entry = vec![0; usize::from(u16::from_be_bytes(length))];
            file.read_exact(&mut entry).map_err(at(&entries))?;
            let hashes = run.inclusion(index);
            let proof = Proof { extra: Some(entry), index, hashes, checkpoint: note.to_owned() };
            write(&folder.join(format!("{}.tlog-proof", index + 1)), proof.to_string().as_bytes())?;
            index += 1;
        }
        Ok(())
    }
}

impl Drop for Export {
    fn drop(&mut self) {
        if !self.done {
            // What is left is made anew the next time.
            let _ = fs::remove_dir_all(&self.making);
        }
    }
}

fn readme(ends: &Ends, checkpoint: &Checkpoint, first: Sequence, last: Sequence, each: bool) -> String {
    let Checkpoint { origin, size, root } = checkpoint;
    let Ends { key, witnesses, quorum, .. } = ends;
    let (mut demand, mut cosigned, mut shown) = (
        String::new(),
        String::new(),
        "That the key is the authority's, and that nobody was shown another history: compare the checkpoint with those that others noted.",
    );
    if *quorum != 0 {
        let of = witnesses.len();
        let keys = witnesses.iter().fold(String::new(), |keys, key| keys + "    " + key + "\n");
        cosigned = format!(
            "\
\nAt least {quorum} of these {of} witnesses saw the checkpoint as the one that the log went on with, and cosigned it (c2sp.org/tlog-cosignature).
Compare their keys, too, with those that they publish:

{keys}"
        );
        // As a shell takes it, whatever a witness is called.
        let quoted = |key: &String| format!("'{}'", key.replace('\'', "'\\''"));
        demand = witnesses.iter().fold(String::new(), |all, key| all + " \\\n        --witness " + &quoted(key));
        demand = format!("{demand} --quorum {quorum}");
        shown = "That the keys are those of the authority and of the witnesses. That nobody was shown another history rests on the witnesses.";
    }
    let each = if each { "\n| `proofs/<n>.tlog-proof` | the proof of record n alone (C2SP tlog-proof) |" } else { "" };
    format!(
        "\
# Records {first} to {last} of {origin}

An authority recorded and signed them. Nothing here has to be believed: it can be verified with the log's public key, which you noted when you
trusted it. Compare that key with the one in `key`; one that came only with these files proves nothing.

    {key}

The signed tree has {size} records and the root `{root}`.
{cosigned}
## To verify all of it

    sop-verify export . --key \"$(cat the-key-that-you-noted)\"{demand}

`sop-verify` is a program apart from the authority's, with its source beside the authority's. It ends with 0 if all is as it was signed, and with 2 and the
first bad record if not.

## To verify it without that

Each `.tlog-proof` is a proof as c2sp.org/tlog-proof has it: the entry (`extra`, base64), its index (that of record 1 is 0), the hashes from its
sibling up to the root (RFC 6962, SHA-256), and the signed checkpoint (c2sp.org/signed-note, c2sp.org/tlog-checkpoint).

The proofs of the first and of the last record prove those between, too. Of the hashes in `first.tlog-proof` take those that are left of the path, of
those in `last.tlog-proof` those that are right of it; compute the leaves from `entries`; the root over all of them must be the signed one.

An entry is the record, or, of a record over 65,535 bytes, 0x42 and its BLAKE3: that record is in `blobs`. Each record carries the BLAKE3 of the one before.

## What is here

| file | what it is |
|---|---|
| `entries` | the records: of each its length (u16, big endian), and its bytes |
| `records.jsonl` | the same, one line of JSON each; `sop-verify` compares it byte by byte with `entries` |
| `shown.jsonl` | the bodies as the authority shows them. No signature covers this file: what counts is `body` in `records.jsonl` |
| `first.tlog-proof`, `last.tlog-proof`, `checkpoint`, `key` | see above |{each}

## What it does not prove

{shown} The times are the
authority's own.
"
    )
}

fn new(path: &Path) -> Result<File, ExportError> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(at(path))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), ExportError> {
    let written = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    written().map_err(at(path))
}

fn at(path: &Path) -> impl Fn(io::Error) -> ExportError {
    let path = path.to_owned();
    move |why| ExportError::Io { path: path.clone(), why }
}
