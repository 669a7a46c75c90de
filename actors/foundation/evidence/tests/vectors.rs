//! Known answers: of Certificate Transparency for the tree, of Go's checksum database for notes, of the specifications for
//! paths. None of them was made by this code.

use evidence::checkpoint::{Checkpoint, Proof, ProofError};
use evidence::note::{Key, NoteError, PublicKey};
use evidence::tile::{Edge, Kind, Tile, Tiled, WIDTH};
use evidence::tree::{self, Hash, Nodes, complete, leaf};

/// The entries that the tests of Certificate Transparency use.
const ENTRIES: [&[u8]; 8] = [
    b"",
    b"\x00",
    b"\x10",
    b"\x20\x21",
    b"\x30\x31",
    b"\x40\x41\x42\x43",
    b"\x50\x51\x52\x53\x54\x55\x56\x57",
    b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
];

/// The roots of the trees of the first one, two, and so on.
const ROOTS: [&str; 8] = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

/// The tree of these entries, without tiles.
struct Leaves<'a>(&'a [&'a [u8]]);

impl Nodes for Leaves<'_> {
    type Error = std::convert::Infallible;

    fn subtree(&mut self, height: u32, index: u64) -> Result<Hash, Self::Error> {
        let (from, count) = (usize::try_from(index << height).unwrap(), 1 << height);
        Ok(complete(&self.0[from..from + count].iter().map(|entry| leaf(entry)).collect::<Vec<_>>()))
    }
}

fn hex(hash: &Hash) -> String {
    kernel::Digest(hash.0).to_string()
}

#[test]
fn roots() {
    assert_eq!(hex(&tree::empty()), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    let mut edge = Edge::default();
    for ((size, known), entry) in (1..).zip(ROOTS).zip(ENTRIES) {
        let Ok(root) = tree::root(&mut Leaves(&ENTRIES), size);
        assert_eq!(hex(&root), known, "of {size}");
        edge.push(leaf(entry), |_, _| unreachable!("eight fill no tile"));
        assert_eq!(hex(&edge.root()), known, "of the edge of {size}");
    }
}

#[test]
fn inclusion_proofs() {
    for (index, size, known) in [
        (0, 1, &[][..]),
        (
            0,
            8,
            &[
                "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
            ],
        ),
        (
            5,
            8,
            &[
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ],
        ),
        (2, 3, &["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]),
        (
            1,
            5,
            &[
                "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            ],
        ),
    ] {
        let Ok(proof) = tree::inclusion(&mut Leaves(&ENTRIES), index, size);
        assert_eq!(proof.iter().map(hex).collect::<Vec<_>>(), known, "{index} in {size}");
    }
}

#[test]
fn consistency_proofs() {
    for (old, new, known) in [
        (1, 1, &[][..]),
        (
            1,
            8,
            &[
                "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
            ],
        ),
        (
            6,
            8,
            &[
                "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ],
        ),
        (
            2,
            5,
            &[
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            ],
        ),
    ] {
        let Ok(proof) = tree::consistency(&mut Leaves(&ENTRIES), old, new);
        assert_eq!(proof.iter().map(hex).collect::<Vec<_>>(), known, "{old} in {new}");
    }
}

#[test]
fn paths() {
    for (tile, path) in [
        (Tile::full(Kind::Hashes(0), 0), "tile/0/000"),
        (Tile::full(Kind::Hashes(4), 1_234_067), "tile/4/x001/x234/067"),
        (Tile { kind: Kind::Hashes(0), number: 1, width: 1 }, "tile/0/001.p/1"),
        (Tile { kind: Kind::Entries, number: 1_000, width: 255 }, "tile/entries/x001/000.p/255"),
        (Tile::full(Kind::Entries, 999), "tile/entries/999"),
    ] {
        assert_eq!(tile.path(), path);
    }
}

/// As the specification counts the tiles of a tree of 70,000, and of one of 256.
#[test]
fn the_tiles_of_a_size() {
    let width = |level, number, size| Tile::of(Kind::Hashes(level), number, size).map(|tile| tile.width);
    assert_eq!(width(0, 272, 70_000), Some(WIDTH));
    assert_eq!(width(0, 273, 70_000), Some(112));
    assert_eq!(width(0, 274, 70_000), None);
    assert_eq!((width(1, 0, 70_000), width(1, 1, 70_000)), (Some(WIDTH), Some(17)));
    assert_eq!((width(2, 0, 70_000), width(3, 0, 70_000)), (Some(1), None));
    assert_eq!((width(0, 0, 256), width(0, 1, 256), width(1, 0, 256)), (Some(WIDTH), None, Some(1)));

    let mut full = 0;
    let mut edge = Edge::default();
    for number in 0..70_000_u32 {
        edge.push(leaf(&number.to_be_bytes()), |_, _| full += 1);
    }
    assert_eq!(full, 273 + 1);
    let partial: Vec<_> = edge.partial().map(|(tile, _)| tile.path()).collect();
    assert_eq!(partial, ["tile/0/273.p/112", "tile/1/001.p/17", "tile/2/000.p/1"]);
}

/// A key and a note of the package golang.org/x/mod/sumdb/note.
const SECRET: &str = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
const PUBLIC: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
const TEXT: &str =
    "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
const SIGNATURE: &str =
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

#[test]
fn notes() {
    let key = Key::parse(SECRET).unwrap();
    assert_eq!((key.public().to_string().as_str(), key.secret().as_str()), (PUBLIC, SECRET));
    let note = format!("{TEXT}\n{SIGNATURE}");
    assert_eq!(key.sign(TEXT), note);
    let public = PublicKey::parse(PUBLIC).unwrap();
    let other = "— witness AAAAAAA=\n";
    for (row, note, answer) in [
        ("as it is", note.clone(), Ok(TEXT)),
        ("with another's signature", format!("{note}{other}"), Ok(TEXT)),
        ("another text", note.replace("answer", "remedy"), Err(NoteError::Forged)),
        ("another's alone", format!("{TEXT}\n{other}"), Err(NoteError::Unsigned)),
        ("unsigned", TEXT.to_owned(), Err(NoteError::Malformed)),
        ("cut", note[..note.len() - 1].to_owned(), Err(NoteError::Malformed)),
        ("with a control character", note.replace("problem", "prob\tlem"), Err(NoteError::Malformed)),
        ("nothing", String::new(), Err(NoteError::Malformed)),
    ] {
        assert_eq!(public.open(&note), answer, "{row}");
    }
}

#[test]
fn keys_that_are_none() {
    for vkey in [
        "",
        "PeterNeumann",
        "PeterNeumann+c74f20a3",
        // Another name, another hash, another algorithm, a byte less.
        "Somebody+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "PeterNeumann+c74f20a4+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "PeterNeumann+c74f20a3+Ahpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10Q=",
    ] {
        assert_eq!(PublicKey::parse(vkey), Err(NoteError::Key), "{vkey}");
        assert!(Key::parse(&format!("PRIVATE+KEY+{vkey}")).is_err(), "{vkey}");
    }
}

#[test]
fn checkpoints_have_one_form() {
    let key = Key::parse(SECRET).unwrap();
    let root = tree::empty();
    let good = Checkpoint { origin: "PeterNeumann".into(), size: 7, root };
    assert_eq!(Checkpoint::open(&key.sign(&good.to_string()), key.public()), Ok(good));
    for (row, text) in [
        ("of another log", format!("SomebodyElse\n7\n{root}\n")),
        ("with a zero before the size", format!("PeterNeumann\n07\n{root}\n")),
        ("with a sign before it", format!("PeterNeumann\n+7\n{root}\n")),
        ("with a size too large", format!("PeterNeumann\n18446744073709551616\n{root}\n")),
        ("with a short root", "PeterNeumann\n7\nAAAA\n".to_owned()),
        ("with more", format!("PeterNeumann\n7\n{root}\nmore\n")),
        ("with less", "PeterNeumann\n7\n".to_owned()),
    ] {
        assert!(Checkpoint::open(&key.sign(&text), key.public()).is_err(), "{row}");
    }
}

#[test]
fn proofs_as_text() {
    let key = Key::parse(SECRET).unwrap();
    let mut leaves = Leaves(&ENTRIES);
    let (Ok(root), Ok(hashes)) = (tree::root(&mut leaves, 8), tree::inclusion(&mut leaves, 2, 8));
    let checkpoint = key.sign(&Checkpoint { origin: "PeterNeumann".into(), size: 8, root }.to_string());
    let proof = Proof { extra: Some(ENTRIES[2].to_vec()), index: 2, hashes, checkpoint };
    let text = proof.to_string();
    assert!(text.starts_with("c2sp.org/tlog-proof@v1\nextra EA==\nindex 2\n"), "{text}");
    assert_eq!(Proof::parse(&text), Ok(proof.clone()));
    assert_eq!(proof.verify(ENTRIES[2], key.public()).map(|checkpoint| checkpoint.size), Ok(8));
    assert_eq!(proof.verify(ENTRIES[3], key.public()), Err(ProofError::Broken));
    assert_eq!(Proof { index: 3, ..proof.clone() }.verify(ENTRIES[2], key.public()), Err(ProofError::Broken));
    assert_eq!(Proof { index: 8, ..proof.clone() }.verify(ENTRIES[2], key.public()), Err(ProofError::Broken));
    let bare = Proof { extra: None, ..proof };
    assert_eq!(Proof::parse(&bare.to_string()), Ok(bare));
    for (row, text) in [
        ("another version", text.replace("@v1", "@v2")),
        ("another form of the index", text.replace("index 2", "index 02")),
        ("no index", text.replace("index 2\n", "")),
        ("a short hash", text.replace("index 2\n", "index 2\nAAAA\n")),
        ("extra that is none", text.replace("EA==", "EA=")),
        ("no checkpoint", text.split("\n\n").next().unwrap().to_owned()),
    ] {
        assert_eq!(Proof::parse(&text), Err(ProofError::Malformed), "{row}");
    }
}

#[test]
fn a_tiled_tree_is_the_same_tree() {
    let mut tiles = std::collections::BTreeMap::new();
    let mut edge = Edge::default();
    let (size, mut leaves) = (66_000_u64, Vec::new());
    for number in 0..size {
        leaves.push(leaf(&number.to_be_bytes()));
        edge.push(leaves[leaves.len() - 1], |tile, hashes| {
            tiles.insert(tile, hashes.to_vec());
        });
    }
    tiles.extend(edge.partial().map(|(tile, hashes)| (tile, hashes.to_vec())));
    let read = |tile| tiles.get(&tile).cloned().ok_or(tile);
    assert_eq!(Edge::read(size, read), Ok(edge.clone()));
    assert_eq!(tree::root(&mut Tiled::new(size, read), size), Ok(edge.root()));
    for index in [0, 255, 256, 40_000, 65_535, 65_536, size - 1] {
        let proof = tree::inclusion(&mut Tiled::new(size, read), index, size).unwrap();
        let leaf = leaves[usize::try_from(index).unwrap()];
        assert!(tree::is_included(&proof, index, size, leaf, edge.root()), "{index}");
    }
}
