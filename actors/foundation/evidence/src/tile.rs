//! Where hashes and entries lie in the files of C2SP tlog-tiles, and the right edge of a tree that grows.
//!
//! A tile has up to 256 hashes of one level: level 0 are the leaves, and each hash of a higher level is the root over a full
//! tile of the level below. An entry bundle has the entries whose leaves are in the tile of level 0 with the same number.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::tree::{Hash, Nodes, complete, empty, node};

/// Hashes of a full tile, and entries of a full bundle.
pub const WIDTH: usize = 256;

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Entries,
    Hashes(u8),
}

/// One file of a log: full, if it has [`WIDTH`] of what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tile {
    pub kind: Kind,
    pub number: u64,
    pub width: usize,
}

impl Tile {
    pub const fn full(kind: Kind, number: u64) -> Self {
        Self { kind, number, width: WIDTH }
    }

    /// The tile of that kind and number in the tree of `size`: `None` if it has nothing in it.
    pub fn of(kind: Kind, number: u64, size: u64) -> Option<Self> {
        let level = match kind {
            Kind::Entries => 0,
            Kind::Hashes(level) => level,
        };
        let width = size.checked_shr(8 * u32::from(level)).unwrap_or(0).checked_sub(number * WIDTH as u64)?;
        let width = usize::try_from(width).unwrap_or(WIDTH).min(WIDTH);
        (width != 0).then_some(Self { kind, number, width })
    }

    /// From the directory of the log: `tile/0/x001/067`, `tile/entries/003.p/12`.
    pub fn path(self) -> String {
        let mut path = match self.kind {
            Kind::Entries => "tile/entries/".to_owned(),
            Kind::Hashes(level) => format!("tile/{level}/"),
        };
        let mut groups = vec![self.number % 1_000];
        let mut rest = self.number / 1_000;
        while rest != 0 {
            groups.push(rest % 1_000);
            rest /= 1_000;
        }
        for group in groups[1..].iter().rev() {
            write!(path, "x{group:03}/").expect("text takes all");
        }
        write!(path, "{:03}", groups[0]).expect("text takes all");
        if self.width < WIDTH {
            write!(path, ".p/{}", self.width).expect("text takes all");
        }
        path
    }
}

/// The hashes of a tile, if `bytes` are so many.
pub fn hashes(bytes: &[u8], width: usize) -> Option<Vec<Hash>> {
    let (hashes, rest) = bytes.as_chunks::<32>();
    (hashes.len() == width && rest.is_empty()).then(|| hashes.iter().map(|hash| Hash(*hash)).collect())
}

pub fn bytes(hashes: &[Hash]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| hash.0).collect()
}

/// The hashes on the right of a tree that no full tile has yet: all that it takes to let it grow, and its root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edge {
    size: u64,
    /// By level; each has fewer than [`WIDTH`].
    levels: Vec<Vec<Hash>>,
}

impl Edge {
    /// The edge of the tree of `size`, whose last tiles are read by `read`.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn read<E>(size: u64, mut read: impl FnMut(Tile) -> Result<Vec<Hash>, E>) -> Result<Self, E> {
        let mut levels = Vec::new();
        for level in 0.. {
            let count = size.checked_shr(8 * u32::from(level)).unwrap_or(0);
            if count == 0 {
                break;
            }
            let (number, width) = (count / WIDTH as u64, count % WIDTH as u64);
            levels.push(match usize::try_from(width).expect("under 256") {
                0 => Vec::new(),
                width => read(Tile { kind: Kind::Hashes(level), number, width })?,
            });
        }
        Ok(Self { size, levels })
    }

    pub fn size(&self) -> u64 {
        self.size
    }

    /// The leaves after the last full tile.
    pub fn leaves(&self) -> &[Hash] {
        self.levels.first().map_or(&[], Vec::as_slice)
    }

    /// Adds a leaf, and gives the tiles that are full by it to `full`, lower levels first.
    pub fn push(&mut self, leaf: Hash, mut full: impl FnMut(Tile, &[Hash])) {
        self.size += 1;
        let mut hash = leaf;
        for level in 0.. {
            if self.levels.len() == level {
                self.levels.push(Vec::with_capacity(WIDTH));
            }
            self.levels[level].push(hash);
            if self.levels[level].len() < WIDTH {
                return;
            }
            let number = (self.size >> (8 * (level + 1))) - 1;
            let kind = Kind::Hashes(u8::try_from(level).expect("2^64 entries have eight levels"));
            full(Tile::full(kind, number), &self.levels[level]);
            hash = complete(&self.levels[level]);
            self.levels[level].clear();
        }
    }

    /// The tiles that are not full, and have something in them.
    pub fn partial(&self) -> impl Iterator<Item = (Tile, &[Hash])> {
        (0_u8..).zip(&self.levels).filter(|(_, hashes)| !hashes.is_empty()).map(|(level, hashes)| {
            let number = self.size >> (8 * (u32::from(level) + 1));
            (Tile { kind: Kind::Hashes(level), number, width: hashes.len() }, hashes.as_slice())
        })
    }

    pub fn root(&self) -> Hash {
        let mut root: Option<Hash> = None;
        // Complete subtrees from the right: each takes what is smaller to its right.
        for mut hashes in self.levels.iter().map(Vec::as_slice) {
            while !hashes.is_empty() {
                let (rest, last) = hashes.split_at(hashes.len() - (1 << hashes.len().trailing_zeros()));
                let subtree = complete(last);
                root = Some(root.map_or(subtree, |right| node(subtree, right)));
                hashes = rest;
            }
        }
        root.unwrap_or_else(empty)
    }
}

/// The nodes of the tree of `size`, out of its tiles, each of which `read` gives once.
pub struct Tiled<R> {
    size: u64,
    read: R,
    tiles: BTreeMap<Tile, Vec<Hash>>,
}

impl<E, R: FnMut(Tile) -> Result<Vec<Hash>, E>> Tiled<R> {
    pub fn new(size: u64, read: R) -> Self {
        Self { size, read, tiles: BTreeMap::new() }
    }
}

impl<E, R: FnMut(Tile) -> Result<Vec<Hash>, E>> Nodes for Tiled<R> {
    type Error = E;

    fn subtree(&mut self, height: u32, index: u64) -> Result<Hash, E> {
        let level = u8::try_from(height / 8).expect("2^64 entries have eight levels");
        let (first, count) = (index << (height % 8), 1 << (height % 8));
        let number = first / WIDTH as u64;
        let tile = Tile::of(Kind::Hashes(level), number, self.size).expect("a node of the tree is in a tile of it");
        if !self.tiles.contains_key(&tile) {
            let hashes = (self.read)(tile)?;
            self.tiles.insert(tile, hashes);
        }
        let first = usize::try_from(first % WIDTH as u64).expect("under 256");
        Ok(complete(&self.tiles[&tile][first..first + count]))
    }
}
