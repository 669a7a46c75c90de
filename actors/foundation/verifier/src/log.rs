//! The directory of a log (C2SP tlog-tiles), checked from the signature down to each byte of each record.
//!
//! The hashes on the right edge of the tree must give the root that was signed. From there each tile is known by the hash
//! over it in the tile above, each entry by its hash in the tile of its bundle, and each record, besides, by the chain. So
//! what was changed is found where it was changed, and the first record that is not what was signed has a number. If the
//! edge itself does not give the root, nothing below is known to be right, and only contradictions can be named.
//!
//! A log may have lost its oldest bundles, not their hashes, if the file `minimum` names a record of this log that says so; a
//! bundle that is missing otherwise is damage.

use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use crate::note::{Checkpoint, NOTE_MAX, Trust};
use crate::record::{Chain, Record, marker};
use crate::tree::{Hash, empty, leaf, node, over, span};
use crate::{Bad, blake3, hex};

/// Hashes of a tile, entries of a bundle.
const WIDTH: u64 = 256;
/// A bundle has no more: 256 entries and their lengths.
const FILE_MAX: u64 = 256 * (65_535 + 2);
/// A record has no more: an answer and a body, and what lies around them.
const BLOB_MAX: u64 = 1 << 28;

/// Why there is no verdict, or a bad one.
#[derive(Debug)]
pub enum Failure {
    Bad(Bad),
    /// A file is there, and cannot be read.
    Io(PathBuf, std::io::Error),
}

impl Failure {
    pub(crate) fn bad(self) -> Option<Bad> {
        match self {
            Self::Bad(bad) => Some(bad),
            Self::Io(..) => None,
        }
    }
}

impl From<Bad> for Failure {
    fn from(bad: Bad) -> Self {
        Self::Bad(bad)
    }
}

/// A log that is what was signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    pub checkpoint: Checkpoint,
    /// The older one that the witnesses have cosigned, if they have not cosigned that one.
    pub cosigned: Option<Checkpoint>,
    /// First record that was read; the hashes of those before it were.
    pub from: u64,
    pub streams: usize,
    pub tiles: u64,
    pub bundles: u64,
    pub blobs: u64,
    /// BLAKE3 of the last record; `None` if none was read.
    pub head: Option<[u8; 32]>,
    /// The size of the checkpoint that was noted earlier.
    pub noted: Option<u64>,
    /// How many records have left the log, and which record says so.
    pub pruned: Option<(u64, u64)>,
    /// How far each stream has come.
    pub versions: BTreeMap<String, u64>,
    /// The first record of a decision that names what was looked for.
    pub found: Option<u64>,
}

/// What is looked at.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// The records from this one on; those before it in its bundle are read, too.
    pub from: u64,
    /// A checkpoint that was noted earlier, as a signed note.
    pub noted: Option<String>,
    /// A tree that was known earlier, if it was said by somebody else than a checkpoint.
    pub tree: Option<(u64, Hash)>,
    /// What the record of a decision is to name.
    pub named: Option<String>,
}

/// Checks the log in `directory`.
///
/// # Errors
/// [`Failure`].
pub fn verify(directory: &Path, trust: &Trust, wanted: &Wanted) -> Result<Verified, Failure> {
    let note = read(&directory.join("checkpoint"), NOTE_MAX as u64 + 1)?;
    let note = note.ok_or_else(|| Bad::new("checkpoint is missing"))?;
    let note = String::from_utf8(note).map_err(|_| Bad::new("the checkpoint is no text"))?;
    // The witnesses may be behind: then they saw the beginning of it.
    let (checkpoint, cosigned) = match trust.checkpoint(&note) {
        Ok(checkpoint) => (checkpoint, None),
        Err(bad) => {
            let (newest, older) = behind(directory, trust, &note, bad)?;
            (newest, Some(older))
        }
    };
    let noted = match &wanted.noted {
        None => None,
        // Who witnesses a new one need not have witnessed the old one.
        Some(note) => Some(
            Trust { quorum: 0, ..trust.clone() }
                .older_checkpoint(note)
                .map_err(|bad| Bad { what: format!("of the checkpoint that was noted: {}", bad.what), ..bad })?,
        ),
    };
    let size = checkpoint.size;
    let noted = noted.map(|noted| (noted.size, noted.root)).or(wanted.tree);
    if let Some((earlier, _)) = noted.filter(|(earlier, _)| size < *earlier) {
        let what = format!("the log ends here, and had {earlier} records when its checkpoint was noted");
        return Err(Bad::at(size + 1, what).into());
    }
    let mut from = (wanted.from.max(1) - 1) / WIDTH * WIDTH + 1;
    if size != 0 && size < from {
        return Err(Bad::new(format!("there is no record {}: {size} are signed", wanted.from)).into());
    }
    let pruned = minimum(directory, size)?;
    if let Some((index, record)) = pruned {
        // What says so is read, whatever else is wanted.
        from = from.min((record - 1) / WIDTH * WIDTH + 1).max(index + 1);
    }
    let mut tiles = Tiles::open(directory, &checkpoint)?;
    let named = wanted.named.as_deref().unwrap_or_default().as_bytes();
    let chain = Chain::from(from);
    let mut looking =
        Looking { directory, size, chain, known: false, bundles: 0, blobs: 0, named, found: None, pruned };
    for number in (from - 1) / WIDTH..size.div_ceil(WIDTH) {
        looking.bundle(number, &mut tiles)?;
    }
    if let Some(why) = tiles.unsound {
        return Err(why.into());
    }
    if let Some((size, root)) = noted
        && tiles.root_of(size)? != root
    {
        let what =
            format!("one of the first {size} records is not what it was when the checkpoint of {size} was noted");
        return Err(Bad::new(what).into());
    }
    if let Some(older) = &cosigned
        && tiles.root_of(older.size)? != older.root
    {
        let what = format!("one of the first {} records is not what it was when the witnesses saw them", older.size);
        return Err(Bad::new(what).into());
    }
    // Tiles of records that were not asked for are read, too: none of them may be missing.
    for number in 0..(from - 1) / WIDTH {
        tiles.full(0, number)?;
    }
    Ok(Verified {
        from,
        streams: looking.chain.streams(),
        tiles: tiles.read,
        bundles: looking.bundles,
        blobs: looking.blobs,
        head: looking.chain.head(),
        noted: noted.map(|(size, _)| size),
        versions: looking.chain.versions(),
        found: looking.found,
        pruned,
        cosigned,
        checkpoint,
    })
}

/// How many records the log has lost, by the file that says so, and the record by which that is to be believed.
fn minimum(directory: &Path, size: u64) -> Result<Option<(u64, u64)>, Failure> {
    let Some(bytes) = read(&directory.join("minimum"), NOTE_MAX as u64)? else { return Ok(None) };
    let parsed = std::str::from_utf8(&bytes).ok().and_then(|text| {
        let (index, record) = text.strip_suffix('\n')?.split_once('\n')?;
        let number = |line: &str, name: &str| line.strip_prefix(name)?.parse::<u64>().ok();
        let (index, record) = (number(index, "minimum ")?, number(record, "record ")?);
        let sound = index.is_multiple_of(WIDTH) && index < record && record <= size;
        (sound && format!("minimum {index}\nrecord {record}\n") == text).then_some((index, record))
    });
    let bad = || Bad::new("the file minimum does not say which records have left the log, and by which record");
    parsed.map(Some).ok_or_else(|| bad().into())
}

/// The newest checkpoint, which the witnesses have not cosigned, and the older one beside it that they have; or `bad`, which is why
/// the newest one is not enough.
fn behind(directory: &Path, trust: &Trust, note: &str, bad: Bad) -> Result<(Checkpoint, Checkpoint), Failure> {
    let newest = match (Trust { quorum: 0, ..trust.clone() }).checkpoint(note) {
        Ok(newest) if trust.quorum != 0 => newest,
        _ => return Err(bad.into()),
    };
    let Some(older) = read(&directory.join("cosigned"), NOTE_MAX as u64 + 1)? else { return Err(bad.into()) };
    let older = String::from_utf8(older).map_err(|_| Bad::new("the cosigned checkpoint is no text"))?;
    let older = trust
        .older_checkpoint(&older)
        .map_err(|bad| Bad { what: format!("of those in cosigned: {}", bad.what), ..bad })?;
    if newest.size < older.size {
        let what = format!("the log ends here, and had {} records when the witnesses saw it", older.size);
        return Err(Bad::at(newest.size + 1, what).into());
    }
    Ok((newest, older))
}

/// Where a tile or bundle of so many hashes or entries lies.
fn path(kind: &str, number: u64, width: u64) -> String {
    let mut groups = format!("{:03}", number % 1_000);
    let mut rest = number / 1_000;
    while rest != 0 {
        groups = format!("x{:03}/{groups}", rest % 1_000);
        rest /= 1_000;
    }
    if width == WIDTH { format!("tile/{kind}/{groups}") } else { format!("tile/{kind}/{groups}.p/{width}") }
}

/// The content of a file; `None` if there is none.
fn read(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, Failure> {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        fs::File::open(path)?.take(limit).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    match read() {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::Io(path.to_owned(), error)),
    }
}

/// A tile or bundle, and its name: one that is not full may have become the beginning of a full one.
fn either(directory: &Path, kind: &str, number: u64, width: u64) -> Result<(String, Option<Vec<u8>>), Failure> {
    for width in [width, WIDTH] {
        let name = path(kind, number, width);
        if let Some(bytes) = read(&directory.join(&name), FILE_MAX + 1)? {
            return Ok((name, Some(bytes)));
        }
    }
    Ok((path(kind, number, width), None))
}

/// The hashes of a log, each known to be under the root that was signed.
struct Tiles<'a> {
    directory: &'a Path,
    size: u64,
    /// Of each level those after its last full tile.
    edge: Vec<Vec<Hash>>,
    /// Why they are not what was signed.
    unsound: Option<Bad>,
    /// Of each level the full tile that was asked for last.
    last: BTreeMap<u32, (u64, Vec<Hash>)>,
    read: u64,
}

impl<'a> Tiles<'a> {
    fn open(directory: &'a Path, checkpoint: &Checkpoint) -> Result<Self, Failure> {
        let size = checkpoint.size;
        let mut tiles = Self { directory, size, edge: Vec::new(), unsound: None, last: BTreeMap::new(), read: 0 };
        for level in 0..8 {
            let count = size >> (8 * level);
            if count == 0 {
                break;
            }
            let hashes = match count % WIDTH {
                0 => Vec::new(),
                width => match tiles.file(level, count / WIDTH, width)? {
                    Ok(hashes) => hashes,
                    Err(what) => {
                        tiles.unsound.get_or_insert_with(|| Bad::new(what));
                        Vec::new()
                    }
                },
            };
            tiles.edge.push(hashes);
        }
        // Subtrees from the right: each takes what is smaller to its right.
        let mut root: Option<Hash> = None;
        for hashes in &tiles.edge {
            let mut rest = hashes.as_slice();
            while !rest.is_empty() {
                let (before, last) = rest.split_at(rest.len() - (1 << rest.len().trailing_zeros()));
                root = Some(root.map_or_else(|| over(last), |right| node(over(last), right)));
                rest = before;
            }
        }
        if root.unwrap_or_else(empty) != checkpoint.root {
            let what = format!("the tree of these {size} records does not have the root that was signed");
            tiles.unsound.get_or_insert_with(|| Bad::new(what));
        }
        Ok(tiles)
    }

    /// What is in the file of a tile, right or not.
    fn file(&mut self, level: u32, number: u64, width: u64) -> Result<Result<Vec<Hash>, String>, Failure> {
        let (name, bytes) = either(self.directory, &level.to_string(), number, width)?;
        let Some(bytes) = bytes else { return Ok(Err(format!("{name} is missing"))) };
        self.read += 1;
        let (hashes, rest) = bytes.as_chunks::<32>();
        let hashes: Vec<_> = hashes.iter().map(|hash| Hash(*hash)).collect();
        let partial = name.contains(".p/");
        let wanted = usize::try_from(width).expect("at most 256");
        let there = if partial { wanted } else { 256 };
        if hashes.len() != there || !rest.is_empty() {
            return Ok(Err(format!("{name} does not have the length of its hashes")));
        }
        Ok(Ok(hashes[..wanted].to_vec()))
    }

    /// The hash over a full tile, if it is known.
    fn over(&mut self, level: u32, number: u64) -> Result<Option<Hash>, Failure> {
        if self.unsound.is_some() {
            return Ok(None);
        }
        let above = level + 1;
        let slot = usize::try_from(number % WIDTH).expect("under 256");
        if number / WIDTH < self.size.checked_shr(8 * (above + 1)).unwrap_or(0) {
            return Ok(Some(self.full(above, number / WIDTH)?[slot]));
        }
        Ok(self.edge.get(above as usize).and_then(|edge| edge.get(slot)).copied())
    }

    /// The hashes of a full tile.
    fn full(&mut self, level: u32, number: u64) -> Result<Vec<Hash>, Failure> {
        if let Some((_, hashes)) = self.last.get(&level).filter(|(last, _)| *last == number) {
            return Ok(hashes.clone());
        }
        let known = self.over(level, number)?;
        let found = self.file(level, number, WIDTH)?;
        match (found, known) {
            (Ok(hashes), Some(known)) if over(&hashes) == known => {
                self.last.insert(level, (number, hashes.clone()));
                Ok(hashes)
            }
            (Ok(hashes), _) => {
                let name = path(&level.to_string(), number, WIDTH);
                Err(Bad::at(self.first_of(level, number, &hashes)?, format!("{name} is not what was signed")).into())
            }
            (Err(what), _) => Err(Bad::at(number * (WIDTH << (8 * level)) + 1, what).into()),
        }
    }

    /// The first record under the first hash of a tile that the tiles below do not have.
    fn first_of(&mut self, level: u32, number: u64, hashes: &[Hash]) -> Result<u64, Failure> {
        let first = number * WIDTH;
        let mut at = first;
        if level != 0 {
            for hash in hashes {
                match self.file(level - 1, at, WIDTH)? {
                    Ok(below) if over(&below) == *hash => at += 1,
                    _ => break,
                }
            }
            if at == first + WIDTH {
                at = first;
            }
        }
        Ok(at * (1_u64 << (8 * level)) + 1)
    }

    /// The hashes of the entries of a bundle.
    fn leaves(&mut self, number: u64) -> Result<Vec<Hash>, Failure> {
        if let Some(why) = &self.unsound {
            return Err(why.clone().into());
        }
        if number < self.size / WIDTH { self.full(0, number) } else { Ok(self.edge[0].clone()) }
    }

    /// The root over the first `size` entries.
    fn root_of(&mut self, size: u64) -> Result<Hash, Failure> {
        if size == 0 {
            return Ok(empty());
        }
        span(0, size, &mut |from, to| {
            let count = to - from;
            if !count.is_power_of_two() {
                return Ok(None);
            }
            let level = count.ilog2() / 8;
            let first = from >> (8 * level);
            let slot = usize::try_from(first % WIDTH).expect("under 256");
            let count = 1_usize << (count.ilog2() % 8);
            let full = first / WIDTH < self.size.checked_shr(8 * (level + 1)).unwrap_or(0);
            let hashes = if full { self.full(level, first / WIDTH)? } else { self.edge[level as usize].clone() };
            Ok(Some(over(&hashes[slot..slot + count])))
        })
    }
}

struct Looking<'a> {
    directory: &'a Path,
    size: u64,
    chain: Chain,
    /// Whether the record before is known to be what was signed.
    known: bool,
    bundles: u64,
    blobs: u64,
    named: &'a [u8],
    found: Option<u64>,
    pruned: Option<(u64, u64)>,
}

impl Looking<'_> {
    /// Checks the entries of a bundle, and the records that they are.
    fn bundle(&mut self, number: u64, tiles: &mut Tiles<'_>) -> Result<(), Failure> {
        let first = number * WIDTH + 1;
        let width = WIDTH.min(self.size - number * WIDTH);
        let (name, bytes) = either(self.directory, "entries", number, width)?;
        let Some(bytes) = bytes else { return Err(Bad::at(first, format!("{name} is missing")).into()) };
        self.bundles += 1;
        let mut rest = bytes.as_slice();
        let entries: Vec<_> = (0..width).map_while(|_| take(&mut rest)).collect();
        let whole = entries.len() as u64 == width;
        let leaves = tiles.leaves(number);
        let expected = match leaves {
            Ok(leaves) => leaves,
            Err(Failure::Bad(bad)) => {
                let hashes: Vec<_> = entries.iter().map(|entry| leaf(entry)).collect();
                let there = tiles.file(0, number, width)?.unwrap_or_default();
                let other = there.iter().zip(&hashes).position(|(there, hash)| there != hash);
                let differs = |at: usize| first + at as u64;
                if width == WIDTH && whole && tiles.over(0, number)?.is_some_and(|known| over(&hashes) == known) {
                    // The records are right, and the tile is not.
                    return Err(Bad { at: other.map(differs).or(bad.at), ..bad }.into());
                }
                if let Some(at) = other {
                    let what = format!("its hash is not the one in the tile; and {}", bad.what);
                    return Err(Bad::at(differs(at), what).into());
                }
                for (at, entry) in (first..).zip(&entries) {
                    self.record(at, entry)?;
                    self.known = false;
                }
                if !whole {
                    return Err(Bad::at(first + entries.len() as u64, format!("{name} ends too early")).into());
                }
                // Nothing contradicts itself here: if nothing does further on, this is the verdict.
                return if tiles.unsound.is_some() {
                    Ok(())
                } else {
                    let what = format!("one of the records up to {} is not what was signed", first + width - 1);
                    Err(Bad::at(first, what).into())
                };
            }
            Err(failure) => return Err(failure),
        };
        for (at, (index, expected)) in (first..).zip(expected.iter().enumerate()) {
            let entry = entries.get(index).ok_or_else(|| Bad::at(at, format!("{name} ends too early")))?;
            if leaf(entry) != *expected {
                return Err(Bad::at(at, "it is not the record that was signed").into());
            }
            self.known = true;
            self.record(at, entry)?;
        }
        // One that is not full may have become the beginning of a full one.
        let its_own = width == WIDTH || name.contains(".p/");
        if its_own && !rest.is_empty() {
            return Err(Bad::at(first + width - 1, format!("{name} has more than its entries")).into());
        }
        Ok(())
    }

    fn record(&mut self, at: u64, entry: &[u8]) -> Result<(), Failure> {
        let blob;
        let bytes = match marker(entry) {
            None => entry,
            Some(digest) => {
                let name = format!("blobs/{}", hex(&digest));
                let found = read(&self.directory.join(&name), BLOB_MAX)?;
                blob = found.ok_or_else(|| Bad::at(at, format!("{name} is missing")))?;
                if blake3::hash(&blob) != digest {
                    return Err(Bad::at(at, format!("{name} is not the record that was signed")).into());
                }
                self.blobs += 1;
                &blob
            }
        };
        self.chain.take(bytes).map_err(|(before, what)| {
            let earlier = before && !self.known && 1 < at;
            let what = if earlier { "the record after it does not carry its hash".to_owned() } else { what };
            Bad::at(if earlier { at - 1 } else { at }, what)
        })?;
        if let Some((index, _)) = self.pruned.filter(|(_, record)| *record == at)
            && !Record::read(bytes).is_ok_and(|record| record.prunes() == Some(index))
        {
            let what = format!("the file minimum says that {index} records have left the log, and this one does not");
            return Err(Bad::at(at, what).into());
        }
        if !self.named.is_empty() && self.found.is_none() {
            let names = |record: &Record<'_>| {
                // In its body, until what was asked stood in the envelope.
                let asked = record.asked.as_ref().is_some_and(|asked| asked.resource.as_bytes() == self.named);
                let named = asked || record.body.windows(self.named.len()).any(|part| part == self.named);
                record.stream == "decisions" && named
            };
            self.found = Record::read(bytes).is_ok_and(|record| names(&record)).then_some(at);
        }
        Ok(())
    }
}

/// The first entry of a bundle.
fn take<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, after) = rest.split_first_chunk::<2>()?;
    let (entry, after) = after.split_at_checked(u16::from_be_bytes(*length).into())?;
    *rest = after;
    Some(entry)
}
