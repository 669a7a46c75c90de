//! Known answers: what each primitive gives for what somebody else published, and what it must not take.
//!
//! `known.txt` has a block for each, in which a line is a name and bytes; `refused` says that it has to be. The file says where
//! each is from. More of the same form are run with `SUITES_KNOWN=FILE`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use aws_lc_rs::digest::{SHA256, digest};

use crate::{Domain, Policy, Secret, Signature, Suite, agreeing, sealing, signing, wrapping};

struct Known<'a> {
    source: &'a str,
    suite: Suite,
    fields: BTreeMap<&'a str, &'a str>,
}

impl<'a> Known<'a> {
    fn read(block: &'a str) -> Self {
        let mut lines = block.lines();
        let source = lines.next().and_then(|line| line.strip_prefix("# ")).expect("a block says where it is from");
        let mut fields: BTreeMap<_, _> = lines.map(|line| line.split_once(' ').unwrap_or((line, ""))).collect();
        let suite = fields.remove("suite").and_then(|name| name.parse().ok()).expect("a block is of a suite");
        Self { source, suite, fields }
    }

    fn get(&self, name: &str) -> Option<Vec<u8>> {
        let digits = self.fields.get(name)?.as_bytes().chunks(2);
        let byte = |pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok();
        digits.map(byte).collect::<Option<_>>().or_else(|| panic!("{}: {name} is in hexadecimal digits", self.source))
    }

    fn of(&self, name: &str) -> Vec<u8> {
        self.get(name).unwrap_or_else(|| panic!("{}: {name} is missing", self.source))
    }

    fn check(&self) {
        let is_refused = self.fields.contains_key("refused");
        let (source, same) = (self.source, |found: Option<&[u8]>, name: &str| {
            // Where it has to be refused, the bytes beside are not what it would have given.
            let expected = (!is_refused).then(|| self.of(name));
            assert_eq!(found.map(hex), expected.as_deref().map(hex), "{}: {name}", self.source);
        });
        match self.suite {
            Suite::Hash(suite) => {
                let policy = Policy::default();
                let found = policy.allow(Domain::System, suite).unwrap().digest(&self.of("message"));
                same(Some(found.bytes()), "digest");
            }
            Suite::Cipher(suite) => {
                let key = sealing::cipher(suite, &self.of("key"));
                let (nonce, about) = (self.of("nonce").try_into().unwrap(), self.of("about"));
                let mut text = self.of("sealed");
                let opened = sealing::open(&key, nonce, &about, &mut text).map(|()| text);
                same(opened.as_deref(), "text");
                if !is_refused {
                    let mut sealed = self.of("text");
                    sealing::seal(&key, nonce, &about, &mut sealed).unwrap();
                    same(Some(&sealed), "sealed");
                }
            }
            Suite::Wrap(suite) => {
                let key = self.of("key");
                let unwrapped = wrapping::unwrap(suite, &key, &self.of("wrapped"));
                same(unwrapped.as_ref().map(Secret::expose), "secret");
                if !is_refused {
                    same(wrapping::wrap(suite, &key, &self.of("secret")).as_deref(), "wrapped");
                }
            }
            Suite::Signature(suite) => self.check_signature(suite, is_refused),
            Suite::Agreement(suite) => {
                if let Some(public) = self.get("public") {
                    assert_eq!(agreeing::PublicKey::read(suite, &public).is_err(), is_refused, "{source}");
                    return;
                }
                let sent = self.get("other").or_else(|| self.get("capsule")).expect("there is another one");
                let key = agreeing::PrivateKey::read(suite, Secret::new(self.of("secret")));
                // That of another length is refused before it comes to this.
                let has_length = sent.len() == suite.capsule_len();
                let shared = key.ok().filter(|_| has_length).and_then(|key| key.shared(&sent));
                same(shared.as_ref().map(Secret::expose), "shared");
            }
        }
    }

    fn check_signature(&self, suite: Signature, is_refused: bool) {
        let source = self.source;
        let own = self.get("secret").map(|secret| signing::PrivateKey::read(suite, Secret::new(secret)).unwrap());
        if let Some(key) = &own {
            let bare = key.public().bare().expect("a key from a seed has bare bytes");
            if let Some(expected) = self.get("public_digest") {
                assert_eq!(hex(digest(&SHA256, bare).as_ref()), hex(&expected), "{source}");
                return;
            }
            if let Some(expected) = self.get("public") {
                assert_eq!(hex(bare), hex(&expected), "{source}");
            }
            if suite == Signature::Ed25519 {
                assert_eq!(hex(&key.sign(&self.of("message")).unwrap()), hex(&self.of("signature")), "{source}");
            }
        }
        let public = self.get("public").map(|public| signing::PublicKey::read(suite, &public));
        let public = public.unwrap_or_else(|| Ok(own.expect("there is a key").public().clone()));
        let verified = public.and_then(|key| key.verify(&self.of("message"), &self.of("signature")));
        assert_eq!(verified.is_err(), is_refused, "{source}: {verified:?}");
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("memory takes it");
        text
    })
}

#[test]
fn what_is_known_is_what_comes_out() {
    let text = include_str!("known.txt").to_owned();
    let more = std::env::var("SUITES_KNOWN").map(|path| std::fs::read_to_string(path).expect("a readable file"));
    let mut seen: BTreeMap<Suite, [usize; 2]> = BTreeMap::new();
    for text in [text, more.unwrap_or_default()] {
        for block in text.split("\n\n").filter(|block| !block.trim().is_empty()) {
            let known = Known::read(block);
            known.check();
            seen.entry(known.suite).or_default()[usize::from(known.fields.contains_key("refused"))] += 1;
        }
    }
    println!("answers that are known, and what has to be refused: {seen:?}");
    for suite in Suite::ALL {
        let [given, refused] = seen.get(&suite).copied().unwrap_or_default();
        let is_own = suite == Suite::Signature(Signature::Ed25519MlDsa65);
        assert!(is_own || 0 < given, "{suite} has a known answer");
        let takes_all = matches!(suite, Suite::Hash(_));
        assert!(is_own || takes_all || 0 < refused, "something is known that {suite} must not take");
    }
}
