//! What it costs to move the keys of a keystore to another root key.
//!
//! Each key has a file of its own, sealed under a data key that is wrapped under the root key: moving it is reading it, wrapping its
//! data key anew and writing it whole, with one sync for each batch. The keys are of `--objects N` (100,000), ciphers of 32 bytes, as
//! a store of that many would hold; `--quick` takes 10,000. There is no peer: other keystores keep their keys in one database.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Instant;

use keystore::{Cost, Given, Keystore, Name, NewRoot};
use suites::{Cipher, Domain, Policy, Purpose, Secret};

const BATCH: usize = 256;

fn main() {
    let given = std::env::args().skip_while(|argument| argument != "--objects").nth(1);
    let quick = std::env::args().any(|argument| argument == "--quick");
    let objects: u128 = given.map_or(if quick { 10_000 } else { 100_000 }, |number| number.parse().expect("a number"));
    // On the disk that the rest is built on, not in memory.
    let home = std::env::current_exe().ok().and_then(|path| Some(path.parent()?.to_owned())).expect("a directory");
    let home =
        tempfile::Builder::new().permissions(Permissions::from_mode(0o700)).tempdir_in(home).expect("a directory");
    let root = |byte| Given::Key(Secret::new(vec![byte; 32]));
    let new = |byte| NewRoot::of(root(byte), Cost::RECOMMENDED).expect("a root key");
    let store = Keystore::open(home.path(), Policy::default()).expect("a keystore");
    store.initialise(new(1)).expect("a root key");
    let began = Instant::now();
    for id in 0..objects {
        let made =
            store.generate(Name { id, version: 1 }, Domain::System, Purpose::new("bench"), Cipher::Aes256Gcm.into());
        made.expect("a key");
    }
    let rate = |count: u128, began: Instant| {
        f64::from(u32::try_from(count).expect("not so many")) / began.elapsed().as_secs_f64()
    };
    println!("{objects} keys generated, each synced by itself: {:.0}/s", rate(objects, began));
    store.rotate_root(new(2)).expect("another root key");
    let (began, mut moved) = (Instant::now(), 0);
    loop {
        let done = store.rewrap(BATCH).expect("a batch");
        assert!(done.stuck.is_empty(), "{done:?}");
        moved += done.moved as u128;
        if done.left == 0 {
            break;
        }
    }
    assert_eq!(moved, objects);
    println!(
        "{moved} keys moved to another root key, a sync for {BATCH}: {:.0}/s, {:.1} s",
        rate(moved, began),
        began.elapsed().as_secs_f64()
    );
}
