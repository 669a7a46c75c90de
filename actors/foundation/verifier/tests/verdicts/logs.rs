//! A log is accepted as it was signed, and no changed copy is; the first bad record is named.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use evidence::note::Key;
use evidence::tile::{self, Edge, Kind, Tile};
use evidence::tree;
use journal::bundle::Entry;
use journal::envelope::{Record, link};
use proptest::prelude::*;
use tempfile::TempDir;
use verifier::Bad;
use verifier::log::{Failure, Wanted, verify};
use verifier::note::{Key as Trusted, Trust};

use crate::notes::witness;
use crate::world::{Files, World, files, lay};

fn verdict(place: &Path, files: &Files, trust: &Trust, noted: Option<&str>) -> Result<u64, Bad> {
    lay(place, files);
    let wanted = Wanted { from: 1, noted: noted.map(str::to_owned), ..Wanted::default() };
    match verify(place, trust, &wanted) {
        Ok(verified) => Ok(verified.checkpoint.size),
        Err(Failure::Bad(bad)) => Err(bad),
        Err(Failure::Io(path, error)) => panic!("{}: {error}", path.display()),
    }
}

/// The files of a log over `records`, hashed as the authority does it, under the checkpoint of `log`.
fn rehashed(log: &Files, records: &[Vec<u8>]) -> Files {
    let mut files = Files::from([("checkpoint".into(), log[Path::new("checkpoint")].clone())]);
    let mut edge = Edge::default();
    let mut bundle = Vec::new();
    let mut full: Vec<(Tile, Vec<u8>)> = Vec::new();
    for record in records {
        let entry = Entry::of(record);
        if let Entry::Blob { digest, .. } = entry {
            files.insert(format!("blobs/{digest}").into(), record.clone());
        }
        entry.put(&mut bundle);
        edge.push(tree::leaf(entry.bytes()), |tile, hashes| full.push((tile, tile::bytes(hashes))));
        if edge.size().is_multiple_of(256) {
            full.push((Tile::full(Kind::Entries, edge.size() / 256 - 1), std::mem::take(&mut bundle)));
        }
    }
    full.extend(edge.partial().map(|(tile, hashes)| (tile, tile::bytes(hashes))));
    if !bundle.is_empty() {
        let width = edge.leaves().len();
        full.push((Tile { kind: Kind::Entries, number: edge.size() / 256, width }, bundle));
    }
    files.extend(full.into_iter().map(|(tile, bytes)| (tile.path().into(), bytes)));
    files
}

/// Links every record from the one with index `from` on to the one before, as a forger would.
fn relinked(records: &[Vec<u8>], from: usize) -> Vec<Vec<u8>> {
    let mut forged = records.to_vec();
    for at in from.max(1)..forged.len() {
        let previous = link(&forged[at - 1]);
        let record = Record { previous, ..Record::decode(&forged[at]).unwrap() };
        forged[at].clear();
        record.encode(&mut forged[at]);
    }
    forged
}

fn edited(record: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    Record { principal: "operator/else".into(), ..Record::decode(record).unwrap() }.encode(&mut bytes);
    bytes
}

#[test]
fn what_was_signed_is_accepted_at_every_size() {
    let place = TempDir::new().unwrap();
    for size in [2, 3, 255, 256, 257, 511, 512, 700] {
        let world = World::of(size);
        let log = files(&world.log());
        assert_eq!(verdict(&place.path().join("copy"), &log, &world.trust(), None), Ok(size));
        assert_eq!(rehashed(&log, &world.records()), log, "a forger's files of the same records are the same");
        let note = world.evidence.checkpoint().unwrap().1;
        assert_eq!(verdict(&place.path().join("copy"), &log, &world.trust(), Some(&note)), Ok(size));
    }
}

#[test]
fn reading_begins_where_it_is_asked_to() {
    let world = World::of(600);
    let from = |from| {
        let wanted = Wanted { from, ..Wanted::default() };
        verify(&world.log(), &world.trust(), &wanted)
    };
    let all = from(1).unwrap();
    assert_eq!((all.from, all.streams, all.bundles, all.blobs, all.tiles), (1, 2, 3, 1, 4));
    assert_eq!(all.head, Some(link(world.records().last().unwrap()).0));
    let rest = from(257).unwrap();
    assert_eq!((rest.from, rest.bundles, rest.head), (257, 2, all.head));
    assert_eq!(from(520).unwrap().from, 513);
    assert!(matches!(from(769), Err(Failure::Bad(_))), "there is nothing so far");
    // Records that are gone are no harm to those after them; hashes that are gone are.
    std::fs::remove_file(world.log().join("tile/entries/000")).unwrap();
    assert!(matches!(from(1), Err(Failure::Bad(Bad { at: Some(1), .. }))));
    assert_eq!(from(257).unwrap().bundles, 2);
    std::fs::remove_file(world.log().join("tile/0/000")).unwrap();
    assert!(matches!(from(257), Err(Failure::Bad(Bad { at: Some(1), .. }))));
}

/// What left a log is what a record of it says; what is missing besides, and what nobody recorded, is damage.
#[test]
fn what_has_left_a_log_is_what_it_says_itself() {
    let world = World::of(600);
    let records = world.records();
    let record = world.prune(256);
    let intact = files(&world.log());
    let place = TempDir::new().unwrap();
    let place = place.path().join("copy");
    let verified = |files: &Files, from| {
        lay(&place, files);
        let wanted = Wanted { from, ..Wanted::default() };
        match verify(&place, &world.trust(), &wanted) {
            Ok(verified) => Ok((verified.from, verified.bundles, verified.pruned)),
            Err(Failure::Bad(bad)) => Err(bad.at),
            Err(Failure::Io(path, error)) => panic!("{}: {error}", path.display()),
        }
    };
    let pruned = Some((256, record));
    assert_eq!(verified(&intact, 1), Ok((257, 2, pruned)));
    assert_eq!(verified(&intact, 300), Ok((257, 2, pruned)));
    assert_eq!(verified(&intact, 600), Ok((513, 1, pruned)), "what says so is read in any case");
    let with = |change: &dyn Fn(&mut Files)| {
        let mut copy = intact.clone();
        change(&mut copy);
        copy
    };
    let says = |text: &str| with(&|copy| drop(copy.insert("minimum".into(), text.into())));
    let gone = |name: &str| with(&|copy| drop(copy.remove(Path::new(name)).unwrap()));
    assert_eq!(verified(&gone("minimum"), 1), Err(Some(1)), "nothing says that it left");
    assert_eq!(verified(&gone("tile/entries/001"), 1), Err(Some(257)), "it did not leave");
    assert_eq!(verified(&gone("tile/0/000"), 1), Err(Some(1)), "hashes stay");
    let mut more = says(&format!("minimum 512\nrecord {record}\n"));
    more.remove(Path::new("tile/entries/001"));
    assert_eq!(verified(&more, 1), Err(Some(record)), "the record says less");
    let other = says(&format!("minimum 256\nrecord {}\n", record - 1));
    assert_eq!(verified(&other, 1), Err(Some(record - 1)), "another record says nothing of it");
    for text in
        ["", "minimum 256\n", "minimum 257\nrecord 602\n", "minimum 256\nrecord 9999\n", "minimum 256\nrecord 0602\n"]
    {
        assert_eq!(verified(&says(text), 1), Err(None), "{text:?}");
    }
    // A copy that has them still is whole, too.
    let mut again = with(&|copy| drop(copy.remove(Path::new("minimum"))));
    again.extend(rehashed(&intact, &records[..256]).into_iter().filter(|(name, _)| name.starts_with("tile/entries")));
    assert_eq!(verified(&again, 1), Ok((1, 3, None)));
}

/// One row for each way to change a log, with the record that is named.
#[test]
fn every_kind_of_change_is_found_and_named() {
    let (world, earlier) = (World::of(700), World::of(400));
    let place = TempDir::new().unwrap();
    let (log, records, trust) = (files(&world.log()), world.records(), world.trust());
    let noted = world.evidence.checkpoint().unwrap().1;
    let with = |change: &dyn Fn(&mut Files)| {
        let mut copy = log.clone();
        change(&mut copy);
        copy
    };
    let bytes =
        |name: &str, change: &dyn Fn(&mut Vec<u8>)| with(&|copy| change(copy.get_mut(&PathBuf::from(name)).unwrap()));
    let gone = |name: &str| with(&|copy| drop(copy.remove(&PathBuf::from(name)).unwrap()));
    let of = |change: &dyn Fn(&mut Vec<Vec<u8>>)| {
        let mut changed = records.clone();
        change(&mut changed);
        changed
    };
    let edit = |number: usize| of(&|records| records[number - 1] = edited(&records[number - 1]));
    // With tiles of what was signed, and others' entries.
    let entries_only = |records: &[Vec<u8>]| {
        let mut copy = log.clone();
        copy.retain(|name, _| !name.starts_with("tile/entries") && !name.starts_with("blobs"));
        for (name, bytes) in rehashed(&log, records) {
            if name.starts_with("tile/entries") || name.starts_with("blobs") {
                copy.insert(name, bytes);
            }
        }
        copy
    };
    // The tile of the bundle is made to fit; those above are not.
    let and_its_tile = |records: &[Vec<u8>], number: usize| {
        let mut copy = entries_only(records);
        let name = PathBuf::from(format!("tile/0/{number:03}"));
        let bytes = rehashed(&log, records)[&name].clone();
        copy.insert(name, bytes);
        copy
    };
    let dropped = of(&|records| drop(records.remove(99)));
    let exchanged = of(&|records| records.swap(299, 300));
    let shorter = of(&|records| records.truncate(650));
    for (row, copy, at) in [
        ("an edited record", entries_only(&edit(17)), Some(17)),
        ("an edited record of the last bundle", entries_only(&edit(699)), Some(699)),
        ("an edited record, and its tile", and_its_tile(&edit(300), 1), Some(300)),
        ("an edited record, and all hashes", rehashed(&log, &edit(300)), Some(300)),
        ("an edited record, linked anew", entries_only(&relinked(&edit(300), 300)), Some(300)),
        ("an edited record, linked anew, and all hashes", rehashed(&log, &relinked(&edit(300), 300)), None),
        ("the last record, edited", entries_only(&edit(700)), Some(700)),
        ("a dropped record", entries_only(&dropped), Some(100)),
        ("a dropped record, and all hashes", rehashed(&log, &dropped), Some(100)),
        ("exchanged records", entries_only(&exchanged), Some(300)),
        ("exchanged records, and all hashes", rehashed(&log, &exchanged), Some(300)),
        ("the first record of another log", entries_only(&of(&|all| all[0] = earlier.records()[1].clone())), Some(1)),
        ("a cut log", entries_only(&shorter), Some(513)),
        ("a cut log, and all hashes", rehashed(&log, &shorter), Some(513)),
        ("no last bundle", gone("tile/entries/002.p/188"), Some(513)),
        ("no bundle", gone("tile/entries/001"), Some(257)),
        ("no tile", gone("tile/0/001"), Some(257)),
        ("no last tile", gone("tile/0/002.p/188"), None),
        ("no tile above", gone("tile/1/000.p/2"), None),
        ("a tile with another hash", bytes("tile/0/001", &|bytes| bytes[32 * 43] ^= 1), Some(300)),
        ("a last tile with another hash", bytes("tile/0/002.p/188", &|bytes| bytes[32 * 7] ^= 1), Some(520)),
        ("a tile above with another hash", bytes("tile/1/000.p/2", &|bytes| bytes[40] ^= 1), None),
        ("a tile that is longer", bytes("tile/0/000", &|bytes| bytes.push(0)), Some(1)),
        ("a bundle that is longer", bytes("tile/entries/000", &|bytes| bytes.push(0)), Some(256)),
        ("a bundle that is cut", bytes("tile/entries/001", &|bytes| bytes.truncate(bytes.len() - 1)), Some(512)),
        (
            "an edited blob",
            {
                let blob = log.keys().find(|name| name.starts_with("blobs")).unwrap().clone();
                bytes(&blob.display().to_string(), &|bytes| bytes[9_000] ^= 4)
            },
            Some(301),
        ),
        ("no blob", with(&|copy| copy.retain(|name, _| !name.starts_with("blobs"))), Some(301)),
        ("no checkpoint", gone("checkpoint"), None),
        (
            "a checkpoint of more",
            {
                let text =
                    String::from_utf8(log[Path::new("checkpoint")].clone()).unwrap().replacen("\n700\n", "\n701\n", 1);
                with(&|copy| drop(copy.insert("checkpoint".into(), text.clone().into_bytes())))
            },
            None,
        ),
        ("another authority's log", files(&earlier.log()), None),
        ("a log without tiles", with(&|copy| copy.retain(|name, _| name.ends_with("checkpoint"))), Some(1)),
    ] {
        let found = verdict(&place.path().join("copy"), &copy, &trust, Some(&noted));
        let bad = found.expect_err(row);
        assert_eq!(bad.at, at, "{row}: {bad}");
        assert_ne!(copy, log, "{row}");
    }
    assert_eq!(verdict(&place.path().join("copy"), &log, &trust, Some(&noted)), Ok(700));
}

/// What is well signed can still be another history than the one that was noted.
#[test]
fn a_history_that_was_replaced_is_found_by_what_was_noted() {
    let world = World::of(300);
    let place = TempDir::new().unwrap();
    let (trust, records) = (world.trust(), world.records());
    let key = std::fs::read_to_string(world.home.path().join("keys/log")).unwrap();
    let key = Key::parse(key.trim_end()).unwrap();
    let signed = |records: &[Vec<u8>]| {
        let mut log = rehashed(&files(&world.log()), records);
        let mut edge = Edge::default();
        for record in records {
            edge.push(tree::leaf(Entry::of(record).bytes()), |_, _| ());
        }
        let (size, root) = (edge.size(), edge.root());
        let note = key.sign(&format!("{}\n{size}\n{root}\n", key.public().name()));
        log.insert("checkpoint".into(), note.clone().into_bytes());
        (log, note)
    };
    let (old, noted) = signed(&records[..270]);
    let mut forged = records.clone();
    forged[99] = edited(&forged[99]);
    let (forged, _) = signed(&relinked(&forged, 100));
    let (now, newest) = signed(&records);
    let place = place.path().join("copy");
    assert_eq!(verdict(&place, &now, &trust, Some(&noted)), Ok(300));
    assert_eq!(
        verdict(&place, &forged, &trust, None),
        Ok(300),
        "it is well signed, and nothing in it contradicts itself"
    );
    let bad = verdict(&place, &forged, &trust, Some(&noted)).unwrap_err();
    assert!(bad.what.contains("first 270 records"), "{bad}");
    let bad = verdict(&place, &old, &trust, Some(&newest)).unwrap_err();
    assert_eq!(bad.at, Some(271), "{bad}");
}

/// Every byte of every file of a small log, and one bit of each.
#[test]
fn no_flipped_bit_goes_unseen() {
    let world = World::of(12);
    let (log, trust) = (files(&world.log()), world.trust());
    let place = TempDir::new().unwrap();
    let place = place.path().join("copy");
    lay(&place, &log);
    let mut named = BTreeSet::new();
    for (name, bytes) in &log {
        for byte in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[byte] ^= 1 << (byte % 8);
            std::fs::write(place.join(name), &flipped).unwrap();
            let Err(Failure::Bad(bad)) = verify(&place, &trust, &Wanted::default()) else {
                panic!("byte {byte} of {} may be anything", name.display())
            };
            named.extend(bad.at);
        }
        std::fs::write(place.join(name), bytes).unwrap();
    }
    assert_eq!(named, (1..=12).collect(), "each record was the first bad one");
    assert!(verify(&place, &trust, &Wanted::default()).is_ok());
}

/// A log of two levels, for changes at random.
fn two_levels() -> &'static (World, Files) {
    static LOG: std::sync::OnceLock<(World, Files)> = std::sync::OnceLock::new();
    LOG.get_or_init(|| {
        let world = World::of(700);
        let log = files(&world.log());
        (world, log)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]
    /// Bytes that were changed, cut, doubled or mixed up anywhere: the verdict is bad, and there is one.
    #[test]
    fn nothing_makes_it_lose_its_head(file in 0_usize..100, at in any::<proptest::sample::Index>(), byte in 1_u8.., how in 0..4) {
        let (world, log) = two_levels();
        let (name, bytes) = log.iter().nth(file % log.len()).unwrap();
        let at = at.index(bytes.len());
        let mut changed = bytes.clone();
        match how {
            0 => changed[at] ^= byte,
            1 => changed.truncate(at),
            2 => changed.insert(at, byte),
            _ => changed[at..].reverse(),
        }
        prop_assume!(changed != *bytes);
        let place = TempDir::new().unwrap();
        let mut copy = log.clone();
        copy.insert(name.clone(), changed);
        prop_assert!(verdict(&place.path().join("copy"), &copy, &world.trust(), None).is_err());
    }
}

#[test]
fn witnesses_may_be_behind_and_saw_the_beginning() {
    let world = World::of(600);
    let (place, log, records) = (TempDir::new().unwrap(), files(&world.log()), world.records());
    let place = place.path().join("copy");
    let signer = Key::parse(std::fs::read_to_string(world.home.path().join("keys/log")).unwrap().trim_end()).unwrap();
    let tree_of = |records: &[Vec<u8>]| {
        let mut edge = Edge::default();
        for record in records {
            edge.push(tree::leaf(Entry::of(record).bytes()), |_, _| {});
        }
        format!("{}\n{}\n{}\n", signer.public().name(), edge.size(), edge.root())
    };
    let (vkey, cosign) = witness(1, "w/one");
    let trust = Trust { witnesses: vec![Trusted::witness(&vkey).unwrap()], quorum: 1, ..world.trust() };
    let with = |file: &str, text: &str| {
        let mut log = log.clone();
        log.insert(file.into(), format!("{}{}", signer.sign(text), cosign(text, 7)).into_bytes());
        log
    };
    let bad = |files: &Files| verdict(&place, files, &trust, None).unwrap_err();
    assert!(bad(&log).what.contains("by 0 of the given witnesses, 1 must"));
    assert_eq!(verdict(&place, &with("checkpoint", &tree_of(&records)), &trust, None), Ok(600));
    for size in [1, 256, 300, 600] {
        assert_eq!(verdict(&place, &with("cosigned", &tree_of(&records[..size])), &trust, None), Ok(600), "{size}");
        let wanted = Wanted { from: 1, ..Wanted::default() };
        let cosigned = verify(&place, &trust, &wanted).unwrap().cosigned.unwrap();
        assert_eq!((cosigned.size, cosigned.cosigned), (size as u64, vec![("w/one".to_owned(), 7)]));
    }
    // Another history, a longer one, and one that the witness did not see.
    let mut other = records.clone();
    other.swap(7, 8);
    assert!(bad(&with("cosigned", &tree_of(&other[..300]))).what.contains("when the witnesses saw them"));
    other.extend(records.clone());
    let longer = bad(&with("cosigned", &tree_of(&other[..700])));
    assert_eq!(longer.at, Some(601));
    let mut unseen = log.clone();
    unseen.insert("cosigned".into(), log[Path::new("checkpoint")].clone());
    assert!(bad(&unseen).what.contains("of those in cosigned"));
    let mut torn = with("cosigned", &tree_of(&records[..300]));
    torn.get_mut(Path::new("cosigned")).unwrap().truncate(40);
    assert!(bad(&torn).what.contains("no signed note"));
}
