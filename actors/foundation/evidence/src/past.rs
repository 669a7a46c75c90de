//! The log as what the journal has of its older records: every byte that is given was signed.
//!
//! A bundle is believed if the hashes of its entries make the hash that the tree has for them, and the tree if it makes the
//! root that was signed. Tiles of single hashes are not asked: the entries themselves give them.

use journal::store::StoreError;
use journal::{Kept, Past};
use kernel::Sequence;

use crate::files::{LogError, Places, damaged};
use crate::minimum::Minimum;
use crate::tile::{Kind, Tile, WIDTH};
use crate::tree::{Hash, Nodes, complete, leaf, root};

impl Past for Places {
    fn open(&self) -> Result<Box<dyn Kept>, StoreError> {
        let signed = Signed::open(self.clone()).map_err(refused)?;
        Ok(Box::new(signed))
    }
}

/// What a checkpoint covers.
struct Signed {
    places: Places,
    size: u64,
    /// Of each full bundle the root over its entries.
    bundles: Vec<Hash>,
    /// The hashes of the entries after the last full one.
    leaves: Vec<Hash>,
    minimum: Option<Minimum>,
}

impl Signed {
    fn open(places: Places) -> Result<Self, LogError> {
        if !places.begun()? {
            return Ok(Self { places, size: 0, bundles: Vec::new(), leaves: Vec::new(), minimum: None });
        }
        let key = places.public()?;
        let as_signed = places.checkpoint(&key)?;
        let (size, signed_root) = (as_signed.0.size, as_signed.0.root);
        let of = |kind| (0..).map_while(move |number| Tile::of(kind, number, size));
        let mut bundles = Vec::new();
        for tile in of(Kind::Hashes(1)) {
            bundles.extend(places.hashes(tile)?);
        }
        let leaves = match Tile::of(Kind::Hashes(0), size / WIDTH as u64, size) {
            Some(tile) => places.hashes(tile)?,
            None => Vec::new(),
        };
        let mut signed = Self { places, size, bundles, leaves, minimum: None };
        let Ok(root) = root(&mut signed, size);
        if root == signed_root {
            signed.minimum = signed.places.minimum(&as_signed, &key)?;
            return Ok(signed);
        }
        Err(damaged("tile/1", "the hashes of the tree do not give the root that was signed".into()))
    }

    fn bundle(&self, number: u64) -> Result<Vec<Vec<u8>>, LogError> {
        let Some(tile) = Tile::of(Kind::Entries, number, self.size) else { return Ok(Vec::new()) };
        let entries = match (self.places.entries(tile), &self.minimum) {
            (Err(LogError::Damaged { .. }), Some(minimum)) if minimum.covers(number) => {
                let (at, first) = (Sequence(number * WIDTH as u64 + 1), Sequence(minimum.index + 1));
                return Err(LogError::Pruned { at, first, place: minimum.place.clone() });
            }
            (entries, _) => entries?.1,
        };
        let hashes: Vec<_> = entries.iter().map(|entry| leaf(entry)).collect();
        let place = usize::try_from(number).unwrap_or(usize::MAX);
        let as_signed = match self.bundles.get(place) {
            Some(signed) => complete(&hashes) == *signed,
            None => hashes == self.leaves,
        };
        if !as_signed {
            let at = Some(Sequence(number * WIDTH as u64 + 1));
            return Err(LogError::Damaged {
                file: tile.path(),
                what: "its entries are not what was signed".into(),
                at,
            });
        }
        entries.into_iter().map(|entry| self.places.record(entry)).collect()
    }
}

impl Nodes for Signed {
    type Error = std::convert::Infallible;

    fn subtree(&mut self, height: u32, index: u64) -> Result<Hash, Self::Error> {
        // Bundles are full, so that a node is made of whole ones, or of leaves after them.
        let (hashes, first, count) = match height.checked_sub(WIDTH.ilog2()) {
            Some(above) => (&self.bundles, index << above, 1 << above),
            None => (&self.leaves, (index << height) % WIDTH as u64, 1 << height),
        };
        let first = usize::try_from(first).expect("a place in what is in memory");
        Ok(complete(&hashes[first..][..count]))
    }
}

impl Kept for Signed {
    fn last(&self) -> Sequence {
        Sequence(self.size)
    }

    fn records(&mut self, from: Sequence) -> Result<Vec<Vec<u8>>, StoreError> {
        let Some(index) = from.0.checked_sub(1) else { return Ok(Vec::new()) };
        let mut records = self.bundle(index / WIDTH as u64).map_err(refused)?;
        records.drain(..usize::try_from(index % WIDTH as u64).unwrap_or(WIDTH).min(records.len()));
        Ok(records)
    }
}

/// As the journal says it: what it lacks, and where that should have come from.
fn refused(error: LogError) -> StoreError {
    match error {
        LogError::Damaged { file, what, at } => {
            let what = format!("{file} of the tile log, which has it, too: {what}");
            StoreError::DamagedFrom { at: at.unwrap_or(Sequence(1)), what }
        }
        LogError::Pruned { at, first, place } => StoreError::Pruned { at, first, place },
        LogError::Journal(error) => error,
        LogError::Io { .. } | LogError::Locked => StoreError::Io { why: error.to_string() },
        error => StoreError::Damaged { what: error.to_string() },
    }
}
