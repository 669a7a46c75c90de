//! No secret is left behind in memory that is given back: the allocator of this test looks at what it gets.
//!
//! What the provider keeps in its own memory is not seen here, nor what lies on stacks; that it overwrites what it frees is its
//! promise.

#![expect(unsafe_code, reason = "an allocator is unsafe to write, and this one only looks before it hands on")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};

use suites::{
    Agreement, Cipher, Domain, Policy, Purpose, Secret, Signature, Wrap, agreeing, sealing, signing, wrapping,
};

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

/// From where a third of a secret is over: in PKCS#8 and in ML-KEM's form, too, nothing public lies there.
fn mark(secret: &Secret) -> Vec<u8> {
    let from = (secret.expose().len() - MARK) / 3;
    secret.expose()[from..from + MARK].to_vec()
}

#[test]
fn nothing_is_left_behind() {
    let policy = Policy::default();
    let domain = Domain::Trust;
    let plain = vec![0xa7_u8; 64];
    assert!(0 < left_behind(&[0xa7; MARK], || drop(plain)), "what is not overwritten is seen");

    for suite in Signature::all().filter(|suite| policy.allow(domain, *suite).is_ok()) {
        let allowed = policy.allow(domain, suite).unwrap();
        let key = allowed.generate().unwrap();
        let mark = mark(key.secret());
        let used = || {
            let again = signing::PrivateKey::read(suite, key.secret().clone()).unwrap();
            let signed = allowed.sign(&again, PURPOSE, b"it").unwrap();
            allowed.accepted().verify(key.public(), PURPOSE, b"it", &signed).unwrap();
            assert!(signing::PrivateKey::read(Signature::RsaPss2048, key.secret().clone()).is_err());
            drop((key, again));
        };
        assert_eq!(left_behind(&mark, used), 0, "{suite}");
    }

    for suite in Cipher::all() {
        let allowed = policy.allow(domain, suite).unwrap();
        let key = allowed.generate().unwrap();
        let sealed = allowed.seal(&key, PURPOSE, b"ada", &[0xb3; 100]).unwrap();
        let opened = || {
            let text = allowed.accepted().open(&key, PURPOSE, b"ada", &sealed).unwrap();
            assert_eq!(text.expose(), [0xb3; 100]);
        };
        assert_eq!(left_behind(&[0xb3; MARK], opened), 0, "{suite}: the text");
        let sealed = || drop(allowed.seal(&key, PURPOSE, b"ada", &[0xb3; 100]).unwrap());
        assert_eq!(left_behind(&[0xb3; MARK], sealed), 0, "{suite}: the text to be sealed");
        let mark = mark(key.secret());
        let used = || drop(sealing::Key::read(suite, key.secret().clone()).unwrap());
        assert_eq!(left_behind(&mark, used), 0, "{suite}");
        assert_eq!(left_behind(&mark, || drop(key)), 0, "{suite}");
    }

    for suite in Wrap::all() {
        let allowed = policy.allow(domain, suite).unwrap();
        let root = allowed.generate().unwrap();
        let secret = Secret::new(vec![0xc5; 32]);
        let carried = || {
            let wrapped = allowed.wrap(&root, PURPOSE, b"key 1", &secret).unwrap();
            assert_eq!(allowed.accepted().unwrap(&root, PURPOSE, b"key 1", &wrapped), Ok(secret.clone()));
            assert!(allowed.accepted().unwrap(&root, PURPOSE, b"key 2", &wrapped).is_err());
        };
        assert_eq!(left_behind(&[0xc5; MARK], carried), 0, "{suite}: the secret");
        let mark = mark(root.secret());
        let used = || drop(wrapping::Key::read(suite, root.secret().clone()).unwrap());
        assert_eq!(left_behind(&mark, used), 0, "{suite}");
        assert_eq!(left_behind(&mark, || drop(root)), 0, "{suite}");
    }

    for suite in Agreement::all() {
        let allowed = policy.allow(domain, suite).unwrap();
        let key = allowed.generate().unwrap();
        let (capsule, secret) = allowed.encapsulate(key.public(), PURPOSE).unwrap();
        let again = || drop(allowed.accepted().decapsulate(&key, PURPOSE, &capsule).unwrap());
        assert_eq!(left_behind(&mark(&secret), again), 0, "{suite}: the secret");
        let mark = mark(key.secret());
        let used = || drop(agreeing::PrivateKey::read(suite, key.secret().clone()).unwrap());
        assert_eq!(left_behind(&mark, used), 0, "{suite}");
        assert_eq!(left_behind(&mark, || drop(key)), 0, "{suite}");
    }

    // RFC 7748, 5.2: what the two share before anything is derived from it.
    let key = agreeing::PrivateKey::read(
        Agreement::X25519,
        Secret::new(hex("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4")),
    );
    let (key, other) = (key.unwrap(), hex("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c"));
    let shared = hex("c3da55379de9c6908e94ea4df28d084f");
    let allowed = policy.allow(domain, Agreement::X25519).unwrap();
    let agreed = || drop(allowed.accepted().decapsulate(&key, PURPOSE, &other).unwrap());
    assert_eq!(left_behind(&shared, agreed), 0, "x25519: the bare secret");
}

fn hex(digits: &str) -> Vec<u8> {
    digits.as_bytes().chunks(2).map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}
