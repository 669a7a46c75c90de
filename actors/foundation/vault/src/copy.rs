//! Adds to a place what is new in a log, and reads a log in a place again.

use evidence::checkpoint::Checkpoint;
use evidence::cosigned::COSIGNED;
use evidence::note::PublicKey;
use evidence::tile::{self, Edge, Kind, Tile, Tiled, WIDTH};
use evidence::tree::{self, Hash};
use journal::bundle::{self, Entry, blob_name};
use journal::envelope::{Record, link};
use journal::store::Head;
use journal::{Chain, Journal};
use kernel::{Digest, Sequence};

use crate::point::{CHECKPOINT, FORMAT, KEY, Point, Sign, log_name, point_name, points, read};
use crate::target::Target;
use crate::{VaultError, broken};

/// Asked before each bundle; its error ends the work with that reason.
pub(crate) type GoOn<'a> = &'a mut dyn FnMut() -> Result<(), String>;

/// Given every record.
type Each<'a> = &'a mut dyn FnMut(Sequence, &[u8]) -> Result<(), VaultError>;

/// The files of one log somewhere.
#[derive(Clone, Copy)]
pub(crate) struct Files<'a> {
    pub target: &'a dyn Target,
    /// Before every name: empty, or a folder with its slash.
    pub folder: &'a str,
    /// What has the records that have left these files.
    pub older: Option<Older<'a>>,
}

/// Where the records are that a log has lost.
#[derive(Clone, Copy)]
pub struct Older<'a> {
    pub journal: &'a Journal,
    /// The log has its entries from this one on.
    pub minimum: u64,
}

impl Older<'_> {
    /// So many records from one on, if they have left the log.
    fn records(&self, first: Sequence, count: usize) -> Result<Option<Vec<Vec<u8>>>, VaultError> {
        if self.minimum < first.0 {
            return Ok(None);
        }
        let records = self.journal.raw(first, count)?;
        Ok((records.len() == count).then_some(records))
    }
}

/// A log that a backup is made of.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    pub files: &'a dyn Target,
    pub older: Option<Older<'a>>,
}

impl Files<'_> {
    fn name(&self, name: &str) -> String {
        format!("{}{name}", self.folder)
    }

    /// The file of a tile; that of one which is not full may have become the beginning of a full one.
    fn either(&self, tile: Tile) -> Result<(Tile, Vec<u8>), VaultError> {
        let full = Tile::full(tile.kind, tile.number);
        for found in [tile, full] {
            if let Some(bytes) = self.target.get(&self.name(&found.path()))? {
                return Ok((found, bytes));
            }
        }
        Err(broken(&self.name(&tile.path()), "it is missing"))
    }

    fn hashes(&self, tile: Tile) -> Result<Vec<Hash>, VaultError> {
        let (found, bytes) = self.either(tile)?;
        let hashes = tile::hashes(&bytes, found.width);
        let mut hashes =
            hashes.ok_or_else(|| broken(&self.name(&found.path()), "it has not the length of its hashes"))?;
        hashes.truncate(tile.width);
        Ok(hashes)
    }

    /// The bundle of the first `tile.width` entries with that number.
    fn bundle(&self, tile: Tile) -> Result<Vec<u8>, VaultError> {
        let (found, mut bytes) = match (self.either(tile), &self.older) {
            (Err(missing @ VaultError::Broken { .. }), Some(older)) => {
                let records = older.records(Sequence(tile.number * WIDTH as u64 + 1), tile.width)?.ok_or(missing)?;
                let mut bytes = Vec::new();
                for record in &records {
                    Entry::of(record).put(&mut bytes);
                }
                (tile, bytes)
            }
            (found, _) => found?,
        };
        let mut rest = &bytes[..];
        for _ in 0..tile.width {
            bundle::take(&mut rest).ok_or_else(|| broken(&self.name(&found.path()), "it ends too early"))?;
        }
        if found == tile && !rest.is_empty() {
            return Err(broken(&self.name(&found.path()), "it has more than its entries"));
        }
        bytes.truncate(bytes.len() - rest.len());
        Ok(bytes)
    }

    /// The record `at`, which is kept by itself.
    fn blob(&self, digest: Digest, at: Sequence) -> Result<Vec<u8>, VaultError> {
        let name = self.name(&blob_name(digest));
        let bytes = match (self.target.get(&name)?, &self.older) {
            (None, Some(older)) => older.records(at, 1)?.and_then(|mut records| records.pop()),
            (found, _) => found,
        };
        let bytes = bytes.ok_or_else(|| broken(&name, "it is missing"))?;
        if link(&bytes) == digest { Ok(bytes) } else { Err(broken(&name, "it is not what its name says")) }
    }

    /// The root of the first `size` records in the log of `checkpoint`.
    fn root_at(&self, checkpoint: &Checkpoint, size: u64) -> Result<Hash, VaultError> {
        tree::root(&mut Tiled::new(checkpoint.size, |tile| self.hashes(tile)), size)
    }

    /// The newest checkpoint that witnesses have cosigned, if it is of the beginning of the log of `checkpoint`.
    pub fn cosigned(&self, key: &PublicKey, checkpoint: &Checkpoint) -> Result<Option<Vec<u8>>, VaultError> {
        let Some(note) = self.target.get(&self.name(COSIGNED))? else { return Ok(None) };
        let opened = std::str::from_utf8(&note).ok().and_then(|note| Checkpoint::open(note, key).ok());
        let Some(older) = opened.filter(|older| older.size <= checkpoint.size) else { return Ok(None) };
        Ok((self.root_at(checkpoint, older.size)? == older.root).then_some(note))
    }
}

/// Where what [`walk`] finds goes.
pub(crate) trait Sink {
    /// A file of the log that is not one of hashes. `counts` if it stays as it is for ever.
    fn file(&mut self, name: &str, bytes: &[u8], counts: bool) -> Result<(), VaultError>;
    /// A file of hashes, as the entries make it.
    fn hashes(&mut self, tile: Tile, hashes: &[Hash]) -> Result<(), VaultError>;
    fn record(&mut self, at: Sequence, bytes: &[u8]) -> Result<(), VaultError>;
}

/// Reads the entries of the log of `checkpoint` from bundle `first` on, and makes its hashes out of them, which give the
/// root that was signed or an error at the end. What comes before is believed as far as its hashes belong to that root.
pub(crate) fn walk(
    files: Files<'_>,
    checkpoint: &Checkpoint,
    first: u64,
    go_on: GoOn<'_>,
    sink: &mut dyn Sink,
) -> Result<(), VaultError> {
    let mut edge = Edge::read(first * WIDTH as u64, |tile| {
        let wide = Tile::of(tile.kind, tile.number, checkpoint.size);
        let mut hashes = files.hashes(wide.expect("a tree has the tiles of its beginning"))?;
        hashes.truncate(tile.width);
        Ok::<_, VaultError>(hashes)
    })?;
    for number in first.. {
        let Some(tile) = Tile::of(Kind::Entries, number, checkpoint.size) else { break };
        go_on().map_err(|why| VaultError::Stopped { why })?;
        let bundle = files.bundle(tile)?;
        let full = tile.width == WIDTH;
        let mut rest = &bundle[..];
        let mut made = Vec::new();
        for at in (number * WIDTH as u64 + 1..).map(Sequence).take(tile.width) {
            let entry = bundle::take(&mut rest).expect("it was found to have so many");
            match Entry::read(entry) {
                Some(Entry::Record(record)) => sink.record(at, record)?,
                Some(Entry::Blob { digest, .. }) => {
                    let blob = files.blob(digest, at)?;
                    sink.file(&blob_name(digest), &blob, full)?;
                    sink.record(at, &blob)?;
                }
                None => {
                    let what = format!("record {at}: a marker has 33 bytes");
                    return Err(broken(&files.name(&tile.path()), what));
                }
            }
            edge.push(tree::leaf(entry), |tile, hashes| made.push((tile, hashes.to_vec())));
        }
        for (tile, hashes) in made {
            sink.hashes(tile, &hashes)?;
        }
        sink.file(&tile.path(), &bundle, full)?;
    }
    for (tile, hashes) in edge.partial() {
        sink.hashes(tile, hashes)?;
    }
    if edge.root() == checkpoint.root {
        return Ok(());
    }
    Err(broken(&files.name(CHECKPOINT), "the entries do not give the root that was signed"))
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Making {
    pub backup: u64,
    /// Where the backup ends.
    pub last: Head,
    /// The release that makes it.
    pub sop: String,
    /// RFC 3339.
    pub created_at: String,
    /// Compare everything that is there already, and put right what is not as it should be.
    pub all: bool,
}

/// A backup that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    pub point: Point,
    /// The blake3 of the point, and so of everything.
    pub manifest: Digest,
    /// The name of the point in the target.
    pub name: String,
    /// Files that were there already, and were not what they should be.
    pub mended: u64,
}

/// Makes a backup of the log in `source`, up to the checkpoint in `note`: adds what is new, reads that again, and then
/// puts the point there, signed by whoever signs now. What has left the log is in it, too: it is there already, or comes from the journal. A point that is there already is that backup.
///
/// # Errors
/// [`VaultError`]; then there is no such backup that was not there before.
pub fn make(
    source: Source<'_>,
    target: &dyn Target,
    (key, note): (&PublicKey, &str),
    asked: &Making,
    sign: Sign<'_>,
    go_on: GoOn<'_>,
) -> Result<Made, VaultError> {
    let checkpoint = Checkpoint::open(note, key).map_err(|error| broken(CHECKPOINT, error.to_string()))?;
    let log = log_name(key);
    let folder = format!("{log}/");
    let name = point_name(&log, asked.backup);
    let held = target.hold(&log)?;
    let there = Files { target, folder: &folder, older: None };
    let here = Files { target: source.files, folder: "", older: source.older };
    if let Some((point, manifest)) = read(target, &name)? {
        return again(there, point, manifest, asked, key);
    }
    let newest = extends(here, there, &log, key, &checkpoint)?;
    let (from, full_bytes) = match &newest {
        Some((point, size)) if !asked.all => (*size, point.full_bytes),
        _ => (0, 0),
    };
    let first = from / WIDTH as u64;
    let mut copying = Copying { to: there, alone: held.is_some(), mend: asked.all, copied: 0, mended: 0 };
    copying.put(KEY, format!("{key}\n").as_bytes())?;
    walk(here, &checkpoint, first, go_on, &mut copying).map_err(|error| match error {
        VaultError::Broken { file, what } if !file.starts_with(&folder) => VaultError::Source { file, what },
        other => other,
    })?;
    if asked.all {
        copying.edges_of_others(here, &checkpoint, &log)?;
    }
    target.sync()?;
    let (copied, mended) = (copying.copied, copying.mended);
    let mut reading =
        Reading { files: there, full: full_bytes, rest: 0, bytes: 0, records: 0, each: &mut |_, _| Ok(()) };
    walk(there, &checkpoint, first, go_on, &mut reading)?;
    let point = Point {
        format: FORMAT,
        sop: asked.sop.clone(),
        backup: asked.backup,
        created_at: asked.created_at.clone(),
        last: asked.last.sequence.0,
        head: asked.last.link,
        bytes: reading.full + reading.rest,
        full_bytes: reading.full,
        copied,
        key: key.to_string(),
        checkpoint: note.to_owned(),
        signature: None,
    };
    let point = point.sealed(&name, key.name(), sign);
    point.signed()?;
    // First what a stranger verifies, as it stands for what is there anyway; then the point.
    target.put(&format!("{folder}{CHECKPOINT}"), note.as_bytes())?;
    if let Some(cosigned) = here.cosigned(key, &checkpoint)? {
        target.put(&format!("{folder}{COSIGNED}"), &cosigned)?;
    }
    target.sync()?;
    let text = point.text();
    // An attempt of ours may have been done, and its answer lost: then the one that is there is this one.
    if !target.put_new(&name, &text)? && target.get(&name)?.as_deref() != Some(&text) {
        return Err(VaultError::InUse { place: target.place() });
    }
    target.sync()?;
    Ok(Made { manifest: Digest(*blake3::hash(&text).as_bytes()), point, name, mended })
}

/// What an earlier attempt made, whose end was never heard of.
fn again(
    there: Files<'_>,
    point: Point,
    manifest: Digest,
    asked: &Making,
    key: &PublicKey,
) -> Result<Made, VaultError> {
    let name = point_name(&log_name(key), point.backup);
    let (signer, checkpoint) = point.signed()?;
    if signer != *key || point.last() != asked.last || point.backup != asked.backup {
        return Err(broken(&name, format!("there is another backup in its place, up to record {}", point.last)));
    }
    if there.root_at(&checkpoint, checkpoint.size)? != checkpoint.root {
        return Err(broken(&name, "its files do not give the root that was signed"));
    }
    // It may have been put there, and not be there for good.
    there.target.sync()?;
    Ok(Made { point, manifest, name, mended: 0 })
}

/// The newest backup of this log in a target, and the size of its tree, if the log that is there goes on in `checkpoint`.
fn extends(
    here: Files<'_>,
    there: Files<'_>,
    log: &str,
    key: &PublicKey,
    checkpoint: &Checkpoint,
) -> Result<Option<(Point, u64)>, VaultError> {
    let mut newest: Option<(Point, Checkpoint)> = None;
    for backup in points(there.target, log)? {
        let name = point_name(log, backup);
        // One that cannot be read is for a verification to tell; it is no reason to make no more.
        let Ok(Some((point, _))) = read(there.target, &name) else {
            tracing::warn!(
                code = "archive.broken",
                name,
                "a backup in the place cannot be read, and counts for nothing"
            );
            continue;
        };
        let Ok((_, signed)) = point.signed() else { continue };
        if point.key != key.to_string() {
            continue;
        }
        if newest.as_ref().is_none_or(|(_, known)| known.size < signed.size) {
            newest = Some((point, signed));
        }
    }
    let Some((point, signed)) = newest else { return Ok(None) };
    let (place, both) = (there.target.place(), signed.size.min(checkpoint.size));
    let (ours, theirs) = if checkpoint.size < signed.size {
        (checkpoint.root, there.root_at(&signed, both)?)
    } else {
        (here.root_at(checkpoint, both)?, signed.root)
    };
    if ours != theirs {
        return Err(VaultError::Forked { place, first: Sequence(both) });
    }
    if checkpoint.size < signed.size {
        return Err(VaultError::Ahead { place, there: signed.size, here: checkpoint.size });
    }
    Ok(Some((point, signed.size)))
}

/// Puts there what is not there.
struct Copying<'a> {
    to: Files<'a>,
    /// Nobody else writes there.
    alone: bool,
    mend: bool,
    copied: u64,
    mended: u64,
}

impl Copying<'_> {
    fn put(&mut self, name: &str, bytes: &[u8]) -> Result<(), VaultError> {
        let (name, target) = (self.to.name(name), self.to.target);
        match target.get(&name) {
            Ok(Some(found)) if found == bytes => return Ok(()),
            // Left by a run that lost power; or, in what earlier backups have, damaged since.
            Ok(Some(_)) | Err(VaultError::Broken { .. }) if self.alone || self.mend => {
                target.put(&name, bytes)?;
                self.mended += 1;
            }
            Ok(Some(_)) => return Err(broken(&name, "somebody else put something else there")),
            Ok(None) => {
                if !target.put_new(&name, bytes)? && target.get(&name)?.as_deref() != Some(bytes) {
                    return Err(broken(&name, "somebody else put something else there"));
                }
            }
            Err(error) => return Err(error),
        }
        self.copied += bytes.len() as u64;
        Ok(())
    }
}

impl Copying<'_> {
    /// What only earlier backups have: the tiles at the right of their trees, which are the beginnings of ours.
    fn edges_of_others(&mut self, here: Files<'_>, checkpoint: &Checkpoint, log: &str) -> Result<(), VaultError> {
        for backup in points(self.to.target, log)? {
            let Ok(Some((point, _))) = read(self.to.target, &point_name(log, backup)) else { continue };
            let Ok((_, signed)) = point.signed() else { continue };
            let covered = if signed.size <= checkpoint.size { signed.size } else { 0 };
            for tile in partial(covered) {
                let wide =
                    Tile::of(tile.kind, tile.number, checkpoint.size).expect("a tree has the tiles of its beginning");
                match tile.kind {
                    Kind::Entries => {
                        let mut bundle = here.bundle(wide)?;
                        let mut rest = &bundle[..];
                        for _ in 0..tile.width {
                            bundle::take(&mut rest);
                        }
                        bundle.truncate(bundle.len() - rest.len());
                        self.put(&tile.path(), &bundle)?;
                    }
                    Kind::Hashes(_) => {
                        let mut hashes = here.hashes(wide)?;
                        hashes.truncate(tile.width);
                        self.put(&tile.path(), &tile::bytes(&hashes))?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// The files of a tree that are not full, each of which only a tree of just that size has.
pub(crate) fn partial(size: u64) -> impl Iterator<Item = Tile> {
    let levels = (0_u8..8).map(Kind::Hashes).chain([Kind::Entries]);
    levels.filter_map(move |kind| {
        let level = if let Kind::Hashes(level) = kind { u32::from(level) } else { 0 };
        let number = size.checked_shr(8 * (level + 1)).unwrap_or(0);
        Tile::of(kind, number, size).filter(|tile| tile.width < WIDTH)
    })
}

impl Sink for Copying<'_> {
    fn file(&mut self, name: &str, bytes: &[u8], _: bool) -> Result<(), VaultError> {
        self.put(name, bytes)
    }

    fn hashes(&mut self, tile: Tile, hashes: &[Hash]) -> Result<(), VaultError> {
        self.put(&tile.path(), &tile::bytes(hashes))
    }

    fn record(&mut self, _: Sequence, _: &[u8]) -> Result<(), VaultError> {
        Ok(())
    }
}

/// Reads what is there, and counts it.
struct Reading<'a> {
    files: Files<'a>,
    /// Bytes of what never changes, and of the rest.
    full: u64,
    rest: u64,
    /// Bytes that were read.
    bytes: u64,
    records: u64,
    each: Each<'a>,
}

impl Reading<'_> {
    fn count(&mut self, bytes: u64, counts: bool) {
        self.bytes += bytes;
        *(if counts { &mut self.full } else { &mut self.rest }) += bytes;
    }
}

impl Sink for Reading<'_> {
    fn file(&mut self, _: &str, bytes: &[u8], counts: bool) -> Result<(), VaultError> {
        self.count(bytes.len() as u64, counts);
        Ok(())
    }

    fn hashes(&mut self, tile: Tile, hashes: &[Hash]) -> Result<(), VaultError> {
        if self.files.hashes(tile)? != hashes {
            return Err(broken(
                &self.files.name(&tile.path()),
                "it and the entries that it is of do not belong together",
            ));
        }
        self.count(hashes.len() as u64 * 32, tile.width == WIDTH);
        Ok(())
    }

    fn record(&mut self, at: Sequence, bytes: &[u8]) -> Result<(), VaultError> {
        self.records += 1;
        (self.each)(at, bytes)
    }
}

/// A backup that was read again, and is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    pub point: Point,
    pub manifest: Digest,
    /// Records under its checkpoint.
    pub records: u64,
    /// Bytes that were read.
    pub bytes: u64,
}

/// Reads everything under the checkpoint of the backup `name`, and checks it: the signature, every entry and hash up to
/// the root, every record, and their chain up to the end of the backup. `each` is given every record.
///
/// # Errors
/// [`VaultError`]: what is wrong, and in which file.
pub fn verify(
    target: &dyn Target,
    name: &str,
    go_on: GoOn<'_>,
    each: &mut dyn FnMut(&Record) -> Result<(), VaultError>,
) -> Result<Checked, VaultError> {
    let none = || VaultError::NoBackup { place: format!("{}/{name}", target.place()) };
    let (point, manifest) = read(target, name)?.ok_or_else(none)?;
    let (key, checkpoint) = point.signed()?;
    let log = name.split_once("/backups/").map(|(log, _)| log).ok_or_else(none)?;
    if log_name(&key) != *log.rsplit('/').next().unwrap_or_default() {
        return Err(broken(name, "it lies among the backups of another log"));
    }
    let folder = format!("{log}/");
    let mut chain = Chain::from(Sequence(1));
    let mut ends = Digest::default();
    let mut look = |at: Sequence, bytes: &[u8]| {
        let wrong = |what: String| broken(&folder, format!("record {at}: {what}"));
        let record = Record::decode(bytes).map_err(|error| wrong(error.to_string()))?;
        if let Some(what) = chain.next(at, &record, bytes) {
            return Err(wrong(what));
        }
        if at.0 == point.last {
            ends = chain.head();
        }
        each(&record)
    };
    let files = Files { target, folder: &folder, older: None };
    let mut reading = Reading { files, full: 0, rest: 0, bytes: 0, records: 0, each: &mut look };
    walk(files, &checkpoint, 0, go_on, &mut reading)?;
    let (records, bytes, counted) = (reading.records, reading.bytes, (reading.full + reading.rest, reading.full));
    if ends != point.head {
        return Err(broken(name, "its head is not the link of its last record"));
    }
    if counted != (point.bytes, point.full_bytes) {
        return Err(broken(name, "it has not the bytes that it says"));
    }
    Ok(Checked { point, manifest, records, bytes })
}
