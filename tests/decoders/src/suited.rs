//! What the suites make, and the keys of it. Nothing is opened or verified that was not made, and a key has one form.

use std::sync::LazyLock;

use suites::{
    Agreement, Cipher, Domain, Policy, Purpose, Secret, Signature, Suite, Wrap, agreeing, sealing, signing, wrapping,
};

const PURPOSE: Purpose = Purpose::new("seed");
const DOMAIN: Domain = Domain::Trust;
const MESSAGE: &[u8] = b"what is signed";
const ABOUT: &[u8] = b"agent/ada";
const TEXTS: [&[u8]; 3] = [b"", b"ask Ada", &[7; 32]];

static POLICY: LazyLock<Policy> = LazyLock::new(Policy::default);

/// The quick ones, each with what it signed.
static SIGNERS: LazyLock<Vec<(signing::PrivateKey, Vec<u8>)>> = LazyLock::new(|| {
    let suites = [Signature::Ed25519, Signature::EcdsaP256, Signature::MlDsa65, Signature::Ed25519MlDsa65];
    let signer = |suite: Signature| {
        let allowed = POLICY.allow(DOMAIN, suite).expect("the default allows it");
        let key = allowed.generate().expect("a key");
        let signed = allowed.sign(&key, PURPOSE, MESSAGE).expect("a signature");
        (key, signed.to_bytes())
    };
    suites.map(signer).into()
});

pub fn signatures() -> Vec<Vec<u8>> {
    SIGNERS.iter().map(|(_, signed)| signed.clone()).collect()
}

/// A signature has one form, and verifies if it was made.
pub fn signed(bytes: &[u8]) {
    let Ok(signed) = signing::Signed::read(bytes) else { return };
    assert_eq!(signed.to_bytes(), bytes, "a signature has one form");
    for (key, made) in SIGNERS.iter() {
        let accepted = POLICY.accept(DOMAIN, key.suite()).expect("the default accepts it");
        if accepted.verify(key.public(), PURPOSE, MESSAGE, &signed).is_ok() {
            assert_eq!(made, bytes, "this was never signed");
        }
    }
}

fn sealing_key(suite: Cipher) -> sealing::Key {
    sealing::Key::read(suite, Secret::new(vec![5; 32])).expect("32 bytes are a key")
}

fn wrapping_key(suite: Wrap) -> wrapping::Key {
    wrapping::Key::read(suite, Secret::new(vec![5; 32])).expect("32 bytes are a key")
}

/// Sealed texts, and the last of them wrapped.
pub fn sealed_texts() -> Vec<Vec<u8>> {
    let seal = |suite, text| {
        let allowed = POLICY.allow(DOMAIN, suite).expect("the default allows it");
        allowed.seal_again(&sealing_key(suite), PURPOSE, ABOUT, b"", text).expect("a sealed text")
    };
    let wrap = |suite| {
        let allowed = POLICY.allow(DOMAIN, suite).expect("the default allows it");
        let secret = Secret::new(TEXTS[2].to_vec());
        allowed.wrap(&wrapping_key(suite), PURPOSE, ABOUT, &secret).expect("a wrapped key")
    };
    let sealed = Cipher::all().flat_map(|suite| TEXTS.map(|text| seal(suite, text)));
    sealed.chain(Wrap::all().map(wrap)).collect()
}

/// What is opened or unwrapped was sealed or wrapped.
pub fn sealed(bytes: &[u8]) {
    static MADE: LazyLock<Vec<Vec<u8>>> = LazyLock::new(sealed_texts);
    for suite in Cipher::all() {
        let accepted = POLICY.accept(DOMAIN, suite).expect("the default accepts it");
        if let Ok(text) = accepted.open(&sealing_key(suite), PURPOSE, ABOUT, bytes) {
            assert!(MADE.iter().any(|made| made == bytes) && TEXTS.contains(&text.expose()), "this was never sealed");
        }
    }
    for suite in Wrap::all() {
        let accepted = POLICY.accept(DOMAIN, suite).expect("the default accepts it");
        if let Ok(secret) = accepted.unwrap(&wrapping_key(suite), PURPOSE, ABOUT, bytes) {
            assert!(MADE.iter().any(|made| made == bytes) && secret.expose() == TEXTS[2], "this was never wrapped");
        }
    }
}

/// The tag of a suite [2], and a public key of it, or the bytes of a private one.
pub fn keys() -> Vec<Vec<u8>> {
    static KEYS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
        let tagged = |suite: Suite, key: &[u8]| [&suite.tag().to_be_bytes()[..], key].concat();
        let signers = SIGNERS.iter().flat_map(|(key, _)| {
            [key.public().bytes(), key.secret().expose()].map(|bytes| tagged(key.suite().into(), bytes))
        });
        let agreeing = Agreement::all().flat_map(|suite| {
            let key = POLICY.allow(DOMAIN, suite).expect("the default allows it").generate().expect("a key");
            [key.public().bytes(), key.secret().expose()].map(|bytes| tagged(suite.into(), bytes))
        });
        signers.chain(agreeing).collect()
    });
    KEYS.clone()
}

/// A key has one form, and a bare one where a format wants that; what is read is used without harm.
pub fn key(bytes: &[u8]) {
    let Some((tag, bytes)) = bytes.split_first_chunk() else { return };
    match Suite::tagged(u16::from_be_bytes(*tag)) {
        Some(Suite::Signature(suite)) => {
            if let Ok(public) = signing::PublicKey::read(suite, bytes) {
                assert!(public.bytes() == bytes || public.bare() == Some(bytes), "a key has one form");
                assert_eq!(signing::PublicKey::read(suite, public.bytes()), Ok(public));
            }
            if let Ok(private) = signing::PrivateKey::read(suite, Secret::new(bytes.to_vec())) {
                assert_eq!(private.secret().expose(), bytes, "a key has one form");
            }
        }
        Some(Suite::Agreement(suite)) => {
            let allowed = POLICY.allow(DOMAIN, suite).expect("the default allows it");
            if let Ok(public) = agreeing::PublicKey::read(suite, bytes) {
                assert!(public.bytes() == bytes || public.bare() == bytes, "a key has one form");
                // With a key of small order there is no secret.
                let made = allowed.encapsulate(&public, PURPOSE);
                assert!(made.is_ok() || suite == Agreement::X25519, "with what is read, there is a secret: {made:?}");
            }
            if let Ok(private) = agreeing::PrivateKey::read(suite, Secret::new(bytes.to_vec())) {
                assert_eq!(private.secret().expose(), bytes, "a key has one form");
                // Of a private key of which only the public half is as it was, nothing says so but another secret.
                let (capsule, _) =
                    allowed.encapsulate(private.public(), PURPOSE).expect("with an own key there is a secret");
                let opened = allowed.accepted().decapsulate(&private, PURPOSE, &capsule);
                assert!(opened.is_ok(), "what was made for it has a secret in it");
            }
        }
        _ => {}
    }
}
