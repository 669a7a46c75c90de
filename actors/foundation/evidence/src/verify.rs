//! Whether the journal is what was signed, and the log what the checkpoint says.
//!
//! The quick check rests on the chain: each record carries the hash of the one before, so a journal whose chain is whole and
//! whose newest signed record is what was signed has every record that was signed. The deep one relies on nothing: it
//! computes the whole tree again, out of the records of the journal, and compares every file of the log.

use journal::Journal;
use journal::bundle::{Entry, blob_name};
use journal::envelope::{link, previous};
use journal::store::StoreError;
use kernel::{Digest, Sequence};

use crate::checkpoint::Checkpoint;
use crate::files::{LogError, Places, are_leaves, damaged};
use crate::minimum::Minimum;
use crate::note::PublicKey;
use crate::tile::{self, Edge, Kind, Tile, WIDTH};
use crate::tree::{Hash, Nodes as _, complete, leaf};

/// How much is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// The signature, the root, and the newest bundle against the records.
    Newest,
    /// Every tile, bundle and blob, against the records.
    All,
    /// The same of the bundle with this record, and of those after it; what is before counts by its hashes.
    From(Sequence),
}

/// What was found to be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    pub checkpoint: Checkpoint,
    /// Entries that were compared with their records.
    pub entries: u64,
    /// Files of the log that were read for it.
    pub files: u64,
    /// From where on the log has its entries, if not from the first one.
    pub minimum: Option<Minimum>,
}

/// Checks the log in `places` and the journal against the checkpoint of `key`.
///
/// # Errors
/// [`LogError::NotExtended`] if the journal is not what was signed, [`LogError::Damaged`] if the log is not.
pub fn verify(journal: &Journal, places: &Places, key: &PublicKey, depth: Depth) -> Result<Checked, LogError> {
    let signed = places.checkpoint(key)?;
    let edge = places.edge(&signed.0)?;
    let minimum = places.minimum(&signed, key)?;
    let looking = Looking { journal: Some(journal), places, checkpoint: signed.0, minimum };
    let head = journal.head()?.sequence;
    if head.0 < looking.checkpoint.size {
        return Err(looking.not_extended(Sequence(head.0 + 1)));
    }
    let (entries, files) = match depth {
        Depth::Newest => looking.newest(&edge)?,
        Depth::All => looking.from(Sequence(1))?,
        Depth::From(first) => looking.from(first)?,
    };
    Ok(Checked { checkpoint: looking.checkpoint, entries, files, minimum: looking.minimum })
}

/// Checks every file of the log in `places` against the checkpoint of `key`, and that its records are one chain: all that
/// can be said where no journal is open. Of what lies below the minimum there are the hashes alone.
///
/// # Errors
/// [`LogError::Damaged`] if it is not what was signed.
pub fn alone(places: &Places, key: &PublicKey) -> Result<Checked, LogError> {
    let signed = places.checkpoint(key)?;
    places.edge(&signed.0)?;
    let minimum = places.minimum(&signed, key)?;
    let looking = Looking { journal: None, places, checkpoint: signed.0, minimum };
    let (entries, files) = looking.from(Sequence(1))?;
    Ok(Checked { checkpoint: looking.checkpoint, entries, files, minimum: looking.minimum })
}

struct Looking<'a> {
    /// Without, the records are those of the log itself.
    journal: Option<&'a Journal>,
    places: &'a Places,
    checkpoint: Checkpoint,
    minimum: Option<Minimum>,
}

impl Looking<'_> {
    fn not_extended(&self, first: Sequence) -> LogError {
        let Checkpoint { size, root, .. } = self.checkpoint;
        LogError::NotExtended { first, size, root }
    }

    fn records(&self, tile: Tile) -> Result<Vec<Vec<u8>>, LogError> {
        let first = first(tile);
        let Some(journal) = self.journal else {
            let (_, entries) = self.places.entries(tile)?;
            return entries.into_iter().map(|entry| self.places.record(entry)).collect();
        };
        match journal.raw(first, tile.width) {
            Ok(records) if records.len() == tile.width => Ok(records),
            Ok(records) => Err(self.not_extended(Sequence(first.0 + records.len() as u64))),
            Err(error @ (StoreError::Closed | StoreError::Io { .. })) => Err(error.into()),
            Err(_) => Err(self.first_bad(first)),
        }
    }

    fn newest(&self, edge: &Edge) -> Result<(u64, u64), LogError> {
        let size = self.checkpoint.size;
        let Some(last) = size.checked_sub(1) else { return Ok((0, 0)) };
        let number = last / WIDTH as u64;
        let bundle = Tile::of(Kind::Entries, number, size).expect("the last entry is in it");
        let leaves = if bundle.width < WIDTH {
            edge.leaves().to_vec()
        } else {
            let leaves = self.places.hashes(Tile { kind: Kind::Hashes(0), ..bundle })?;
            if complete(&leaves) != self.places.nodes(size).subtree(8, number)? {
                let tile = Tile::full(Kind::Hashes(0), number);
                return Err(damaged(&tile.path(), "it is not what was signed".into()));
            }
            leaves
        };
        let (_, entries) = self.places.entries(bundle)?;
        are_leaves(bundle, &entries, &leaves)?;
        for (record, entry) in self.records(bundle)?.iter().zip(&entries) {
            if Entry::of(record).bytes() != entry {
                return Err(self.first_bad(first(bundle)));
            }
        }
        Ok((entries.len() as u64, edge.partial().count() as u64 + 2))
    }

    /// The first record that is not what was signed, of which one is at or after `known`.
    fn first_bad(&self, known: Sequence) -> LogError {
        let Some(journal) = self.journal else {
            return damaged("checkpoint", "the entries do not give the root that was signed".into());
        };
        for number in 0.. {
            let Some(tile) = Tile::of(Kind::Hashes(0), number, self.checkpoint.size) else { break };
            let first = first(tile);
            let Ok(leaves) = self.places.hashes(tile) else { break };
            let records = journal.raw(first, tile.width).unwrap_or_default();
            let good =
                records.iter().zip(&leaves).take_while(|(record, hash)| leaf(Entry::of(record).bytes()) == **hash);
            let good = good.count();
            if good < tile.width {
                return self.not_extended(Sequence(first.0 + good as u64));
            }
        }
        self.not_extended(known)
    }

    fn from(&self, from: Sequence) -> Result<(u64, u64), LogError> {
        let size = self.checkpoint.size;
        let begin = (from.0.max(1) - 1).min(size) / WIDTH as u64;
        let mut edge = self.edge_at(begin * WIDTH as u64)?;
        let (mut files, mut compared) = (edge.partial().count() as u64, 0);
        // Of what left, nobody knows here what the next one must carry.
        let mut head = Some(Digest::default());
        for number in begin.. {
            let Some(bundle) = Tile::of(Kind::Entries, number, size) else { break };
            let leaves = self.places.hashes(Tile { kind: Kind::Hashes(0), ..bundle })?;
            let mut full = Vec::new();
            let gone = self.minimum.as_ref().is_some_and(|minimum| minimum.covers(number));
            if gone && self.journal.is_none() {
                for hash in leaves {
                    edge.push(hash, |tile, hashes| full.push((tile, hashes.to_vec())));
                }
                files += 1 + self.compare_above(&full)?;
                head = None;
                continue;
            }
            let entries = if gone { None } else { Some(self.places.entries(bundle)?.1) };
            for (at, record) in (first(bundle).0..).map(Sequence).zip(&self.records(bundle)?) {
                let index = usize::try_from((at.0 - 1) % WIDTH as u64).expect("under 256");
                let entry = Entry::of(record);
                let broken = |file: String, what: &str| LogError::Damaged { file, what: what.into(), at: Some(at) };
                if self.journal.is_none() && head.is_some() && previous(record).ok() != head {
                    return Err(broken(bundle.path(), "its record does not follow from the one before"));
                }
                head = Some(link(record));
                let hash = leaf(entry.bytes());
                let as_written = entries.as_ref().is_none_or(|entries| entry.bytes() == entries[index]);
                match (hash == leaves[index], as_written) {
                    // Nothing but the hash is there to say which of the two it is.
                    (false, _) if gone => return Err(self.not_extended(at)),
                    (true, true) => {}
                    (true, false) => return Err(broken(bundle.path(), "an entry is not its record")),
                    (false, true) => {
                        let tile = Tile { kind: Kind::Hashes(0), ..bundle };
                        return Err(broken(tile.path(), "a hash is not that of its entry"));
                    }
                    (false, false) => return Err(self.not_extended(at)),
                }
                compared += 1;
                if let Entry::Blob { digest, .. } = entry
                    && !gone
                {
                    if self.places.blob(digest)? != *record {
                        return Err(broken(blob_name(digest), "it is not its record"));
                    }
                    files += 1;
                }
                edge.push(hash, |tile, hashes| full.push((tile, hashes.to_vec())));
            }
            files += self.compare_above(&full)? + if gone { 1 } else { 2 };
        }
        for (tile, hashes) in edge.partial() {
            self.compare(tile, hashes)?;
        }
        if edge.root() != self.checkpoint.root {
            // Every leaf was that of its record, so it is the signed root that is of other records.
            return Err(self.first_bad(Sequence(1)));
        }
        Ok((compared, files + edge.partial().filter(|(tile, _)| tile.kind != Kind::Hashes(0)).count() as u64))
    }

    /// The edge that the tree had when it was of `size`, out of the tiles of now. Whether they are right shows at the root.
    fn edge_at(&self, size: u64) -> Result<Edge, LogError> {
        Edge::read(size, |tile| {
            let now = Tile::of(tile.kind, tile.number, self.checkpoint.size).expect("a part of what is there");
            let mut hashes = self.places.hashes(now)?;
            hashes.truncate(tile.width);
            Ok(hashes)
        })
    }

    /// Compares the full tiles that came of a bundle, but for that of its own leaves, which were taken one by one.
    fn compare_above(&self, full: &[(Tile, Vec<Hash>)]) -> Result<u64, LogError> {
        let above = full.iter().filter(|(tile, _)| tile.kind != Kind::Hashes(0));
        above.clone().try_for_each(|(tile, hashes)| self.compare(*tile, hashes))?;
        Ok(above.count() as u64)
    }

    fn compare(&self, tile: Tile, hashes: &[Hash]) -> Result<(), LogError> {
        let found = self.places.hashes(tile)?;
        if tile::bytes(&found) == tile::bytes(hashes) {
            return Ok(());
        }
        Err(damaged(&tile.path(), "it is not what its entries make".into()))
    }
}

fn first(tile: Tile) -> Sequence {
    Sequence(tile.number * WIDTH as u64 + 1)
}
