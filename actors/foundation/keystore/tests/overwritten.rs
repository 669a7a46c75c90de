//! No secret is left behind in memory that is given back: the allocator of this test looks at what it gets.
//!
//! What the provider keeps in its own memory is not seen here, nor what lies on stacks; that it overwrites what it frees is its
//! promise.

#![expect(unsafe_code, reason = "an allocator is unsafe to write, and this one only looks before it hands on")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};

use keystore::{Cost, Given, Keystore, Name, NewRoot, Share};
use suites::{Domain, Policy, Purpose, Secret, Signature};
use tempfile::TempDir;

const PURPOSE: Purpose = Purpose::new("trial");
/// So much of a secret is looked for.
const MARK: usize = 16;

struct Watching;

/// Both zero: nothing is looked for.
static MARKS: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];
static FOUND: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Watching = Watching;

// SAFETY: it is the system's allocator, which is asked for zeros so that all of a block may be read before it is given back.
unsafe impl GlobalAlloc for Watching {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let mark = [MARKS[0].load(SeqCst), MARKS[1].load(SeqCst)];
        if mark != [0, 0] {
            // SAFETY: the block is the caller's, was zeros when it came to be, and nobody else has it any more.
            let bytes = unsafe { std::slice::from_raw_parts(block, layout.size()) };
            let half = |bytes: &[u8]| u64::from_ne_bytes(*bytes.first_chunk().expect("eight bytes"));
            let is_marked = |window: &[u8]| [half(window), half(&window[8..])] == mark;
            FOUND.fetch_add(bytes.windows(MARK).filter(|window| is_marked(window)).count(), SeqCst);
        }
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(block, layout) }
    }
}

/// For its owner alone, as a store wants it.
fn directory() -> TempDir {
    tempfile::Builder::new().permissions(Permissions::from_mode(0o700)).tempdir().unwrap()
}

/// How often `secret` was in what was given back while `done` was done.
fn left_behind(secret: &[u8], done: impl FnOnce()) -> usize {
    FOUND.store(0, SeqCst);
    for (mark, half) in MARKS.iter().zip(secret.chunks(8)) {
        mark.store(u64::from_ne_bytes(half.try_into().expect("a mark has 16 bytes")), SeqCst);
    }
    done();
    for mark in &MARKS {
        mark.store(0, SeqCst);
    }
    FOUND.load(SeqCst)
}

#[test]
fn nothing_is_left_behind() {
    let plain = vec![0xa7_u8; 64];
    assert!(0 < left_behind(&[0xa7; MARK], || drop(plain)), "what is not overwritten is seen");

    let (home, policy) = (directory(), Policy::default());
    let name = Name { id: 1, version: 1 };
    let key = |byte: u8| Given::Key(Secret::new(vec![byte; 32]));
    let open = || Keystore::open(home.path(), Policy::default()).unwrap();
    let lived = || {
        let store = open();
        store.initialise(NewRoot::of(key(0xb3), Cost::RECOMMENDED).unwrap()).unwrap();
        store.generate(name, Domain::System, PURPOSE, Signature::Ed25519.into()).unwrap();
        store.sign(name, PURPOSE, b"it").unwrap();
        store.seal_up();
        store.unseal(&key(0xb3)).unwrap();
        store.rotate_root(NewRoot::of(key(0xc5), Cost::RECOMMENDED).unwrap()).unwrap();
        store.rewrap(9).unwrap();
        assert!(open().unseal(&key(0xb3)).is_err());
        store.destroy(name).unwrap();
    };
    assert_eq!(left_behind(&[0xb3; MARK], lived), 0, "the root key");
    assert_eq!(left_behind(&[0xc5; MARK], || open().unseal(&key(0xc5)).unwrap()), 0, "the next one");

    let path = home.path().join("digits");
    let digits = "d7".repeat(32);
    let fetched = || {
        let source = keystore::Source::File(path.clone());
        assert!(source.fetch(|_| None).unwrap().is_some());
    };
    let mut open_file = std::fs::OpenOptions::new();
    let mut file =
        std::os::unix::fs::OpenOptionsExt::mode(&mut open_file, 0o600).write(true).create(true).open(&path).unwrap();
    std::io::Write::write_all(&mut file, digits.as_bytes()).unwrap();
    assert_eq!(left_behind(&digits.as_bytes()[..MARK], fetched), 0, "the digits of a file");
    assert_eq!(left_behind(&[0xd7; MARK], fetched), 0, "the key of a file");

    let (_, shares) = NewRoot::shared(&policy, 2, 3).unwrap();
    let text = shares[0].reveal();
    let (from, end) = (text.expose().len() - 9 - 64, text.expose().len() - 9);
    let part = text.expose()[from..end].to_vec();
    let read = || drop(Share::read(std::str::from_utf8(text.expose()).unwrap()).unwrap().reveal());
    assert_eq!(left_behind(&part[..MARK], read), 0, "the text of a share");
    let passphrase = || Given::Passphrase(Secret::new(vec![0xe9; 40]));
    let spoken = || drop(NewRoot::of(passphrase(), Cost::new(19_456, 2, 1).unwrap()).unwrap());
    assert_eq!(left_behind(&[0xe9; MARK], spoken), 0, "a passphrase");
}
