//! What is written down for ever: names, tags, and the bytes of everything that is signed, sealed, wrapped and agreed upon.
//!
//! Each golden value was computed by another implementation from the description in the crate, with OpenSSL's primitives. Lines
//! are added here, none is changed.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ED25519, ML_DSA_65, UnparsedPublicKey};
use suites::{
    Accepted, Agreement, Allowed, Cipher, Domain, Family, Hash, Policy, Purpose, Secret, Signature, Suite, Wrap,
    agreeing, sealing, signing, wrapping,
};

const MANIFEST: Purpose = Purpose::new("backup-manifest");
const TEXT: Purpose = Purpose::new("subject-text");
const ROOT: Purpose = Purpose::new("root");
const LINK: Purpose = Purpose::new("link");

fn hex(bytes: &[u8]) -> String {
    let digit = |digit: u8| char::from_digit(u32::from(digit), 16).unwrap();
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    hex.as_bytes().chunks(2).map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn sha256(bytes: &[u8]) -> String {
    hex(digest(&SHA256, bytes).as_ref())
}

fn secret(byte: u8, length: usize) -> Secret {
    Secret::new(vec![byte; length])
}

fn may<S: Family>(policy: &Policy, domain: Domain, suite: S) -> (Allowed<'_, S>, Accepted<'_, S>) {
    (policy.allow(domain, suite).unwrap(), policy.accept(domain, suite).unwrap())
}

#[test]
fn names_tags_and_strengths() {
    let all: Vec<_> = Suite::ALL.map(|suite| (suite.name(), suite.tag(), suite.bits())).into();
    let golden = [
        ("sha256", 0x0101, 128),
        ("sha384", 0x0102, 192),
        ("sha512", 0x0103, 256),
        ("sha3-256", 0x0104, 128),
        ("blake3", 0x0105, 128),
        ("aes-256-gcm", 0x0201, 256),
        ("chacha20-poly1305", 0x0202, 256),
        ("aes-256-kw", 0x0301, 256),
        ("aes-256-kwp", 0x0302, 256),
        ("ed25519", 0x0401, 128),
        ("ecdsa-p256", 0x0402, 128),
        ("ecdsa-p384", 0x0403, 192),
        ("rsa-pss-2048", 0x0404, 112),
        ("rsa-pss-3072", 0x0405, 128),
        ("rsa-pss-4096", 0x0406, 128),
        ("ml-dsa-65", 0x0407, 192),
        ("ed25519+ml-dsa-65", 0x0408, 192),
        ("x25519", 0x0501, 128),
        ("ml-kem-768", 0x0502, 192),
    ];
    assert_eq!(all, golden);
    assert_eq!(Domain::ALL.map(Domain::name), ["consensus", "trust", "governance", "system"]);
    for suite in Suite::ALL {
        assert_eq!((Suite::tagged(suite.tag()), suite.name().parse()), (Some(suite), Ok(suite)));
    }
    assert_eq!((Suite::tagged(0), Hash::tagged(0x0201), Cipher::tagged(0x0201)), (None, None, Some(Cipher::Aes256Gcm)));
}

#[test]
fn a_signature() {
    let policy = Policy::default();
    let key = signing::PrivateKey::read(Signature::Ed25519, secret(1, 32)).unwrap();
    let spki = "302a300506032b65700321008a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c";
    assert_eq!(hex(key.public().bytes()), spki);

    let (allowed, accepted) = may(&policy, Domain::System, Signature::Ed25519);
    let signed = allowed.sign(&key, MANIFEST, b"what is in it").unwrap();
    let golden = "010401e0932399d908ce3f92ade9c90ceccedd2a1cb55f882553bafa4b65bab1b9369925d1775e953a043394581eb9470b7656af45\
                  0b09341fa64c6d2cdccda9e61c0e";
    assert_eq!(hex(&signed.to_bytes()), golden);
    let read = signing::Signed::read(&bytes(golden)).unwrap();
    assert_eq!(accepted.verify(key.public(), MANIFEST, b"what is in it", &read), Ok(()));

    // A standard has it so: the text, and nothing else.
    let note = "example.com/log\n1\nAAAA\n";
    let golden = "ad1cce8979503508b81c08b141c23f3a2e366874184256f2a57a45bce3a1f3fb7fbcbaa49d04deaf70f933d94d9ae9d399b7f0f371b1\
                  f82f069217585343fc0b";
    assert_eq!(hex(&allowed.sign_note(&key, note).unwrap()), golden);
    assert_eq!(accepted.verify_note(key.public(), note, &bytes(golden)), Ok(()));
}

/// What one half signs names both.
#[test]
fn a_hybrid_signature() {
    let policy = Policy::default();
    let key = signing::PrivateKey::read(Signature::Ed25519MlDsa65, Secret::new([[1; 32], [7; 32]].concat())).unwrap();
    let (ed25519, ml_dsa) = key.public().bytes().split_at(32);
    assert_eq!(hex(ed25519), "8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c");
    let alone = signing::PrivateKey::read(Signature::MlDsa65, secret(7, 32)).unwrap();
    assert_eq!(alone.public().bare(), Some(ml_dsa));
    let spki = "84c7bb18d0b5cd9b177ea26de1aaf13fd2640f8a164393a2ef1547dbe857f3ef";
    assert_eq!(sha256(alone.public().bytes()), spki);

    let (allowed, _) = may(&policy, Domain::System, Signature::Ed25519MlDsa65);
    for (text, signed, signature) in [
        (
            "sop signed 1\nsuite ed25519+ml-dsa-65\ndomain system\npurpose backup-manifest\n\nit",
            true,
            allowed.sign(&key, MANIFEST, b"it").unwrap().to_bytes(),
        ),
        (
            "sop signed 1\nsuite ed25519+ml-dsa-65\ndomain system\npurpose note\n\nit\n",
            false,
            allowed.sign_note(&key, "it\n").unwrap(),
        ),
    ] {
        let signature = if signed { signature.strip_prefix(&[1, 4, 8]).unwrap() } else { &signature };
        let (first, second) = signature.split_at(64);
        UnparsedPublicKey::new(&ED25519, ed25519).verify(text.as_bytes(), first).unwrap();
        UnparsedPublicKey::new(&ML_DSA_65, ml_dsa).verify(text.as_bytes(), second).unwrap();
    }
}

#[test]
fn a_sealed_text() {
    let policy = Policy::default();
    for (suite, golden) in [
        (Cipher::Aes256Gcm, "010201171d92df5afdc5ce00e21b1734912f00ca7f78eb5fe560c37e61e2a26648c9e1c4f2"),
        (Cipher::ChaCha20Poly1305, "0102020d343137f229ed2ca6a4e2e22530e51ccf8333bf418a86855650512774c056248d16"),
    ] {
        let (allowed, accepted) = may(&policy, Domain::System, suite);
        let key = sealing::Key::read(suite, secret(2, 32)).unwrap();
        let sealed = allowed.seal_again(&key, TEXT, b"agent/ada", b"command 7", b"a text").unwrap();
        assert_eq!(hex(&sealed), golden, "{suite}");
        assert_eq!(sealed.len(), b"a text".len() + sealing::OVERHEAD);
        let opened = accepted.open(&key, TEXT, b"agent/ada", &bytes(golden)).unwrap();
        assert_eq!(opened.expose(), b"a text", "{suite}");
    }
}

#[test]
fn a_wrapped_key() {
    let policy = Policy::default();
    for (suite, length, golden) in [
        (Wrap::Aes256Kw, 32, "01030108f3546f010a4fcf7047aa657a92ed7a74dd061dcb9b0dd7d556ebeeabbdb2fe2bb26ecf18162429"),
        (
            Wrap::Aes256Kwp,
            33,
            "010302516064a0e4ece2f976f9199f75f9d7c7de700adeb2c7624983893f5fc13c9ef3a5b8bbae0829c6814366b9298f921100",
        ),
    ] {
        let (allowed, accepted) = may(&policy, Domain::System, suite);
        let root = wrapping::Key::read(suite, secret(5, 32)).unwrap();
        let wrapped = allowed.wrap(&root, ROOT, b"key 7 version 1", &secret(6, length)).unwrap();
        assert_eq!(hex(&wrapped), golden, "{suite}");
        assert_eq!(accepted.unwrap(&root, ROOT, b"key 7 version 1", &bytes(golden)), Ok(secret(6, length)), "{suite}");
    }
}

#[test]
fn an_agreed_secret() {
    let policy = Policy::default();
    let (allowed, accepted) = may(&policy, Domain::Trust, Agreement::X25519);
    let [three, four] = [3, 4].map(|byte| agreeing::PrivateKey::read(Agreement::X25519, secret(byte, 32)).unwrap());
    let spki = "302a300506032b656e0321005dfedd3b6bd47f6fa28ee15d969d5bb0ea53774d488bdaf9df1c6e0124b3ef22";
    assert_eq!(hex(three.public().bytes()), spki);
    let agreed = "e14c66ecce448528fb7cd0d68e67fdcc88d93fffd24adf12aebe65f7f5f29de2";
    assert_eq!(hex(allowed.agree(&three, four.public(), LINK).unwrap().expose()), agreed);
    assert_eq!(hex(allowed.agree(&four, three.public(), LINK).unwrap().expose()), agreed);
    let carried = accepted.decapsulate(&three, LINK, four.public().bare()).unwrap();
    assert_eq!(hex(carried.expose()), "90c48aa517f29468553a4c9487058316cfb36ffd6dfd546436e4081be46f8df7");

    let known = include_str!("../src/known.txt").split("\n\n").find(|block| block.contains("intermediate/ML-KEM-768"));
    let field = |name: &str| bytes(known.unwrap().lines().find_map(|line| line.strip_prefix(name)).unwrap());
    let key = agreeing::PrivateKey::read(Agreement::MlKem768, Secret::new(field("secret "))).unwrap();
    assert_eq!(sha256(key.public().bytes()), "cecf68428c77cda1cdaa8fd6b185431774611d10f81d380110077ff95de14c43");
    let (_, accepted) = may(&policy, Domain::Trust, Agreement::MlKem768);
    let carried = accepted.decapsulate(&key, LINK, &field("capsule ")).unwrap();
    assert_eq!(hex(carried.expose()), "19da5c9253622803e0bb98ae575e482f56fab7f0b397e601535153a4ffb2ce3d");
}

#[test]
fn a_digest() {
    let digest = Policy::default().allow(Domain::System, Hash::Sha256).unwrap().digest(b"abc");
    let text = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!((digest.to_string().as_str(), text.parse()), (text, Ok(digest)));
}
