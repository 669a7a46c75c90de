//! Snapshots: what a machine was at a durable version, kept so that the next start need not read all that led to it.
//!
//! They are a cache. Each is a file of its own beside the journal, not a value in fjall, where something so large would be
//! written again and again: `snapshots/<stream>/<version>` in the journal's directory, and whoever removes one loses time
//! and nothing else. So none of them is synced: one that a loss of power tears is told by its sum, and the journal has all
//! of it.
//!
//! ```text
//! magic "sop snapshot 1\n"   stream u8 length, text   revision u32   shape [u8; 32]
//! version u64   sequence u64   link [u8; 32] after the record that the version ends with
//! content, which is the host's
//! blake3 of all before [u8; 32]
//! ```
//!
//! # Invariants
//! 1. A file is there under its name whole, or not at all while the process lives; after that its sum tells.
//! 2. What is not exactly as written is not given out.

use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

use kernel::{Digest, Position, Sequence};

use crate::store::Head;

const MAGIC: &[u8] = b"sop snapshot 1\n";
const SUM_BYTES: usize = 32;
/// The newest, and one for the case that it is no good.
const KEPT: usize = 2;
const BUFFER_BYTES: usize = 1 << 18;

/// What a snapshot says that it is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    pub stream: String,
    pub revision: u32,
    /// Of the types that wrote the content.
    pub shape: Digest,
    pub version: Position,
    /// Where the record of this version lies, and the link after it.
    pub head: Head,
}

/// Why a snapshot is of no use.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    #[error("it cannot be read: {0}")]
    Unread(#[from] io::Error),
    #[error("it is not as it was written")]
    Damaged,
}

/// The snapshots of one stream.
#[derive(Clone, Debug)]
pub struct Snapshots(PathBuf);

impl Snapshots {
    /// Those beside the journal in `path`.
    pub fn of(path: &Path, stream: &str) -> Self {
        Self(path.join("snapshots").join(stream))
    }

    /// The versions that there are files of, the newest first. None, if they cannot be listed.
    pub fn versions(&self) -> Vec<Position> {
        let files = fs::read_dir(&self.0).into_iter().flatten().flatten();
        let mut versions: Vec<_> = files.filter_map(|file| version_of(file.file_name().to_str()?)).collect();
        versions.sort_unstable_by(|a, b| b.cmp(a));
        versions
    }

    /// The label and the content of the one of `version`.
    ///
    /// # Errors
    /// [`Unusable`], if one byte is not as it was written.
    pub fn read(&self, version: Position) -> Result<(Label, Vec<u8>), Unusable> {
        opened(fs::read(self.file(version))?, version).ok_or(Unusable::Damaged)
    }

    /// Writes one, and removes those that are older than the one before it. Answers how many bytes it has.
    ///
    /// # Errors
    /// Those of the disk, and of `content`; then what was there is there.
    pub fn write(&self, label: &Label, content: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<u64> {
        fs::create_dir_all(&self.0)?;
        let making = self.0.join("making");
        let file = Summed { file: File::create(&making)?, hasher: blake3::Hasher::new(), bytes: 0 };
        let mut file = BufWriter::with_capacity(BUFFER_BYTES, file);
        let written = (|| {
            file.write_all(&label.bytes())?;
            content(&mut file)?;
            file.flush()?;
            let Summed { file, hasher, bytes } = file.get_mut();
            file.write_all(hasher.finalize().as_bytes())?;
            fs::rename(&making, self.file(label.version))?;
            Ok(*bytes + SUM_BYTES as u64)
        })();
        if written.is_err() {
            // Of a full disk nothing is kept back for what is not there.
            let _ = fs::remove_file(&making);
        }
        for old in self.versions().into_iter().filter(|version| *version <= label.version).skip(KEPT) {
            self.remove(old);
        }
        written
    }

    /// Removes the one of `version`. If it cannot be, it is only of no use again.
    pub fn remove(&self, version: Position) {
        let _ = fs::remove_file(self.file(version));
    }

    fn file(&self, version: Position) -> PathBuf {
        self.0.join(format!("{:020}", version.0))
    }
}

/// The label and the content of the snapshot of `version` that `bytes` are; `None` if one of them is not as it was written.
pub fn opened(mut bytes: Vec<u8>, version: Position) -> Option<(Label, Vec<u8>)> {
    let (written, sum) = bytes.split_last_chunk::<SUM_BYTES>()?;
    if blake3::hash(written).as_bytes() != sum {
        return None;
    }
    let mut rest = written;
    let label = Label::take(&mut rest).filter(|label| label.version == version)?;
    let begin = written.len() - rest.len();
    bytes.truncate(bytes.len() - SUM_BYTES);
    bytes.drain(..begin);
    Some((label, bytes))
}

/// Of the one form that a name has.
fn version_of(name: &str) -> Option<Position> {
    let version = name.parse().ok()?;
    (format!("{version:020}") == name).then_some(Position(version))
}

impl Label {
    /// What a snapshot begins with.
    ///
    /// # Panics
    /// If the name of the stream has over 255 bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let length = u8::try_from(self.stream.len()).expect("the name of a stream is short");
        let mut bytes = MAGIC.to_vec();
        bytes.push(length);
        bytes.extend_from_slice(self.stream.as_bytes());
        bytes.extend_from_slice(&self.revision.to_le_bytes());
        bytes.extend_from_slice(&self.shape.0);
        bytes.extend_from_slice(&self.version.0.to_le_bytes());
        bytes.extend_from_slice(&self.head.bytes());
        bytes
    }

    fn take(rest: &mut &[u8]) -> Option<Self> {
        let mut take = |count: usize| {
            let (taken, after) = rest.split_at_checked(count)?;
            *rest = after;
            Some(taken)
        };
        if take(MAGIC.len())? != MAGIC {
            return None;
        }
        let length = take(1)?[0];
        let stream = String::from_utf8(take(usize::from(length))?.to_vec()).ok()?;
        let revision = u32::from_le_bytes(take(4)?.try_into().ok()?);
        let shape = Digest(take(32)?.try_into().ok()?);
        let version = Position(u64::from_le_bytes(take(8)?.try_into().ok()?));
        let head = Head::of(take(40)?)?;
        (head.sequence != Sequence(0)).then_some(Self { stream, revision, shape, version, head })
    }
}

/// Counts and hashes what it writes.
struct Summed {
    file: File,
    hasher: blake3::Hasher,
    bytes: u64,
}

impl Write for Summed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.bytes += written as u64;
        if written == 0 && !bytes.is_empty() { Err(ErrorKind::WriteZero.into()) } else { Ok(written) }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTENT: &[u8] = b"all that a machine knows";

    fn label(version: u64) -> Label {
        let head = Head { sequence: Sequence(version + 7), link: Digest([4; 32]) };
        Label { stream: "notes".into(), revision: 3, shape: Digest([9; 32]), version: Position(version), head }
    }

    fn written(path: &Path, version: u64) -> Snapshots {
        let snapshots = Snapshots::of(path, "notes");
        let bytes = snapshots.write(&label(version), |file| file.write_all(CONTENT)).unwrap();
        assert_eq!(bytes, fs::metadata(snapshots.file(Position(version))).unwrap().len());
        snapshots
    }

    #[test]
    fn what_was_written_is_read_and_the_last_two_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Snapshots::of(dir.path(), "notes").versions(), []);
        for version in [5, 90, 100, 1_000] {
            written(dir.path(), version);
        }
        let snapshots = written(dir.path(), 2_000);
        assert_eq!(snapshots.versions(), [Position(2_000), Position(1_000)]);
        assert_eq!(snapshots.read(Position(1_000)).unwrap(), (label(1_000), CONTENT.to_vec()));
        assert!(matches!(snapshots.read(Position(100)), Err(Unusable::Unread(_))));
        snapshots.remove(Position(2_000));
        assert_eq!(snapshots.versions(), [Position(1_000)]);
        assert_eq!(Snapshots::of(dir.path(), "others").versions(), []);
    }

    #[test]
    fn no_flipped_bit_no_missing_end_and_no_other_name_passes() {
        let dir = tempfile::tempdir().unwrap();
        let snapshots = written(dir.path(), 8);
        let file = snapshots.file(Position(8));
        let written = fs::read(&file).unwrap();
        assert_eq!(opened(written.clone(), Position(8)), Some((label(8), CONTENT.to_vec())));
        for bit in 0..written.len() * 8 {
            let mut flipped = written.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(opened(flipped, Position(8)), None, "bit {bit}");
        }
        for length in 0..written.len() {
            assert_eq!(opened(written[..length].to_vec(), Position(8)), None, "{length} bytes");
        }
        assert_eq!(opened([&written[..], &[0]].concat(), Position(8)), None);
        fs::write(snapshots.file(Position(9)), &written).unwrap();
        assert!(matches!(snapshots.read(Position(9)), Err(Unusable::Damaged)));
    }

    #[test]
    fn what_cannot_be_written_leaves_what_was_there() {
        let dir = tempfile::tempdir().unwrap();
        let snapshots = written(dir.path(), 8);
        let failed = snapshots.write(&label(9), |file| {
            file.write_all(CONTENT)?;
            Err(ErrorKind::StorageFull.into())
        });
        assert_eq!(failed.unwrap_err().kind(), ErrorKind::StorageFull);
        assert_eq!(snapshots.versions(), [Position(8)]);
        assert!(!snapshots.0.join("making").exists());
        // Left by a process that was killed.
        fs::write(snapshots.0.join("making"), &CONTENT[..7]).unwrap();
        fs::write(snapshots.0.join("7"), CONTENT).unwrap();
        assert_eq!(written(dir.path(), 9).versions(), [Position(9), Position(8)]);
    }
}
