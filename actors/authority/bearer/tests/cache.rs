//! What is remembered of a token, for how long, and of how many.

use std::cell::Cell;

use bearer::{Cache, Carried, Checked, Claims, Key, PublicKey, Refusal, Registry, mint};
use kernel::{Millis, Timestamp, TokenId};

const NOON: Timestamp = Timestamp(1_800_000_000_000);

#[derive(Default)]
struct Tokens {
    revocations: Cell<u64>,
    revoked: Cell<Option<TokenId>>,
    looks: Cell<u64>,
    /// Of the key whose version is 1; the one without versions is none's.
    key_revoked: Cell<bool>,
}

fn key(seed: u8) -> Key {
    Key::of(&[seed; 32]).numbered(seed.into())
}

impl Registry for Tokens {
    type No = &'static str;

    fn revocations(&self) -> u64 {
        self.revocations.get()
    }

    fn key(&self, version: Option<u32>) -> Result<PublicKey, &'static str> {
        match version {
            Some(1) if self.key_revoked.get() => Err("key revoked"),
            Some(version @ 1..=7) => Ok(key(u8::try_from(version).unwrap()).public()),
            Some(_) => Err("no such key"),
            None => Err("no key"),
        }
    }

    fn stands(&self, carried: &Carried) -> Result<(), &'static str> {
        self.looks.set(self.looks.get() + 1);
        self.key(carried.says().version)?;
        if self.revoked.get() == Some(carried.claims().id) { Err("revoked") } else { Ok(()) }
    }
}

impl Tokens {
    fn revoke(&self, id: TokenId) {
        self.revoked.set(Some(id));
        self.revocations.set(self.revocations.get() + 1);
    }

    fn revoke_key(&self) {
        self.key_revoked.set(true);
        self.revocations.set(self.revocations.get() + 1);
    }
}

fn token(key: &Key, id: u128) -> String {
    mint(
        key,
        &Claims {
            id: TokenId(id),
            kind: "operation".into(),
            subject: "agent/alpha".parse().unwrap(),
            issuer: "operator/root".parse().unwrap(),
            audience: "arp".into(),
            operation: "deploy".into(),
            target: None,
            request: None,
            todo: None,
            starts_at: NOON,
            expires_at: NOON + Millis::minutes(15),
        },
    )
}

#[test]
fn a_verdict_is_used_until_the_next_revocation_and_the_end() {
    let (key, cache, tokens) = (key(7), Cache::new(16), Tokens::default());
    let (one, other) = (token(&key, 1), token(&key, 2));
    let verify = |text: &str, now| cache.verify(text, &tokens, now).map(|carried| carried.claims().id);
    for _ in 0..3 {
        assert_eq!(verify(&one, NOON), Ok(TokenId(1)));
    }
    assert_eq!(tokens.looks.get(), 1, "once");
    tokens.revoke(TokenId(2));
    assert_eq!(verify(&other, NOON), Err(Checked::Denied("revoked")));
    assert_eq!(verify(&other, NOON), Err(Checked::Denied("revoked")));
    assert_eq!((tokens.looks.get(), cache.len()), (3, 1), "a no is not remembered");
    assert_eq!(verify(&one, NOON), Ok(TokenId(1)));
    assert_eq!(verify(&one, NOON), Ok(TokenId(1)));
    assert_eq!(tokens.looks.get(), 4, "once more, as it may be the one");
    tokens.revoke(TokenId(1));
    assert_eq!(verify(&one, NOON), Err(Checked::Denied("revoked")));
    let end = NOON + Millis::minutes(15);
    tokens.revoke(TokenId(3));
    assert_eq!(verify(&one, NOON), Ok(TokenId(1)), "this registry forgets, and the cache knows no better");
    assert_eq!(verify(&one, end), Err(Checked::Refused(Refusal::Expired { at: end })));
    assert_eq!(verify("sop_bt_AAAA", NOON), Err(Checked::Refused(Refusal::Malformed)));
}

/// One that is remembered is not taken once its key is revoked, and one of another key is.
#[test]
fn a_key_that_is_revoked_takes_what_it_signed_with_it() {
    let (cache, tokens) = (Cache::new(16), Tokens::default());
    let (one, other) = (token(&key(1), 1), token(&key(2), 2));
    let verify = |text: &str| cache.verify(text, &tokens, NOON).map(|carried| carried.claims().id);
    assert_eq!([verify(&one), verify(&other)], [Ok(TokenId(1)), Ok(TokenId(2))]);
    tokens.revoke_key();
    let fresh = token(&key(1), 3);
    for text in [&one, &fresh, &one] {
        assert_eq!(verify(text), Err(Checked::Denied("key revoked")));
    }
    assert_eq!(verify(&other), Ok(TokenId(2)));
    assert_eq!(verify(&token(&key(9), 4)), Err(Checked::Denied("no such key")));
    assert_eq!(verify(&token(&Key::of(&[2; 32]), 4)), Err(Checked::Denied("no key")));
    // The name of a key is signed by nobody: another one finds another key.
    assert_eq!(verify(&token(&Key::of(&[1; 32]).numbered(2), 4)), Err(Checked::Refused(Refusal::Forged)));
}

#[test]
fn there_is_room_for_so_many_and_what_is_asked_for_stays() {
    let (key, cache, tokens) = (key(7), Cache::new(8), Tokens::default());
    let favourite = token(&key, 0);
    for id in 1..40 {
        for text in [&token(&key, id), &favourite] {
            cache.verify(text, &tokens, NOON).unwrap();
        }
        assert!(cache.len() <= 8);
    }
    assert_eq!(tokens.looks.get(), 40, "the favourite was looked at once");
    assert!(!cache.is_empty());
}
