//! One row per answer: what a policy says, and why an operation is refused.

use kernel::{Millis, Refuse, Timestamp};
use suites::hashing::Digest;
use suites::signing::{PrivateKey, PublicKey, Signed};
use suites::{
    ALIASES, Agreement, Cipher, Domain, Family, Hash, Kind, Policy, PolicyError, Purpose, Refusal, Secret, Signature,
    Suite, Unknown, Wrap, agreeing, sealing, wrapping,
};

const PURPOSE: Purpose = Purpose::new("trial");
const OTHER: Purpose = Purpose::new("other");
const TRUST: Domain = Domain::Trust;

const HYBRID: Signature = Signature::Ed25519MlDsa65;

fn all_but(left_out: &str) -> Vec<&'static str> {
    Policy::default().makes(TRUST).map(Suite::name).filter(|name| *name != left_out).collect()
}

/// The default, and RSA-2048 is accepted in trust.
fn lenient() -> Policy {
    let mut policy = Policy::default();
    policy.set(TRUST, 128, all_but(""), ["rsa2048"]).unwrap();
    policy
}

#[test]
fn names() {
    for (name, suite, advice) in [
        ("ed25519", Suite::Signature(Signature::Ed25519), None),
        ("ED25519", Suite::Signature(Signature::Ed25519), None),
        ("sha256", Suite::Hash(Hash::Sha256), None),
        ("aes256", Suite::Cipher(Cipher::Aes256Gcm), Some("\"aes256\" means aes-256-gcm")),
        ("ecdsa", Suite::Signature(Signature::EcdsaP256), Some("\"ecdsa\" means ecdsa-p256")),
        ("RSA", Suite::Signature(Signature::RsaPss3072), Some("\"rsa\" means rsa-pss-3072")),
        (
            "rsa2048",
            Suite::Signature(Signature::RsaPss2048),
            Some(
                "\"rsa2048\" means rsa-pss-2048, which checks what others made, until 2031-01-01, and makes nothing new: use \
                 ed25519, or rsa-pss-3072 where RSA is demanded",
            ),
        ),
        (
            "rsa-pss-2048",
            Suite::Signature(Signature::RsaPss2048),
            Some(
                "rsa-pss-2048 checks what others made, until 2031-01-01, and makes nothing new: use ed25519, or rsa-pss-3072 \
                 where RSA is demanded",
            ),
        ),
    ] {
        let named = Suite::named(name).unwrap();
        assert_eq!((named.suite, named.advice().as_deref()), (suite, advice), "{name}");
        assert_eq!(name.parse(), Ok(suite), "{name}");
    }
    for name in ["", "md5", "sha1", "rsa1024", "ed25519 ", "dilithium3", "none", "0x0401"] {
        assert_eq!(Suite::named(name), Err(Unknown { name: name.to_owned(), kind: None }), "{name:?}");
    }
    let unknown = "ed25519".parse::<Hash>().unwrap_err();
    assert_eq!(unknown, Unknown { name: "ed25519".to_owned(), kind: Some(Kind::Hash) });
    assert_eq!(unknown.to_string(), "there is no hash called \"ed25519\"");
    assert_eq!(unknown.remedy(), "use one of: sha256, sha384, sha512, sha3-256, blake3");
    assert!(
        ALIASES.iter().all(|(alias, _)| Suite::ALL.iter().all(|suite| suite.name() != *alias)),
        "an alias hides none"
    );
}

#[test]
fn a_sunset() {
    let ends: Vec<_> = Suite::ALL.into_iter().filter(|suite| suite.sunset().is_some()).collect();
    assert_eq!(ends, [Suite::Signature(Signature::RsaPss2048)]);
    let sunset = ends[0].sunset().unwrap();
    // 61 years since 1970, 15 of them leap.
    assert_eq!(sunset.at, Timestamp(Millis::hours(24 * (61 * 365 + 15)).0));
    assert_eq!(sunset.left(Timestamp(sunset.at.0 - 3_600_000)), Some(Millis::hours(1)));
    assert_eq!(sunset.left(sunset.at), None, "the first instant at which it is over");
}

#[test]
fn the_default_policy() {
    let policy = Policy::default();
    let signatures = |domain| policy.makes(domain).filter_map(Signature::of).map(Signature::name).collect::<Vec<_>>();
    for (domain, expected) in [
        (Domain::Consensus, "ed25519 ed25519+ml-dsa-65 ml-dsa-65"),
        (TRUST, "ed25519 ed25519+ml-dsa-65 ml-dsa-65 ecdsa-p256 ecdsa-p384 rsa-pss-3072 rsa-pss-4096"),
        (Domain::Governance, "ed25519 ed25519+ml-dsa-65 ml-dsa-65 ecdsa-p384"),
        (Domain::System, "ed25519 ed25519+ml-dsa-65 ml-dsa-65"),
    ] {
        assert_eq!(signatures(domain).join(" "), expected, "{domain}");
        assert_eq!((policy.bits(domain), policy.checks(domain).count()), (128, 0), "{domain}");
        assert_eq!(policy.makes(domain).filter(|suite| suite.kind() != Kind::Signature).count(), 11, "{domain}");
        assert_eq!(policy.preferred::<Signature>(domain).suite(), Signature::Ed25519, "{domain}");
    }
    let refused = |domain, suite: Signature| (policy.allow(domain, suite).err(), policy.accept(domain, suite).err());
    let rsa = Suite::Signature(Signature::RsaPss3072);
    let (domain, suite) = (Domain::System, rsa);
    let both = (Some(Refusal::NotAllowed { suite, domain }), Some(Refusal::NotAccepted { suite, domain }));
    assert_eq!(refused(domain, Signature::RsaPss3072), both);
    assert_eq!(refused(TRUST, Signature::RsaPss3072), (None, None));
    let (domain, suite) = (TRUST, Suite::Signature(Signature::RsaPss2048));
    let both = (Some(Refusal::ChecksOnly { suite }), Some(Refusal::NotAccepted { suite, domain }));
    assert_eq!(refused(domain, Signature::RsaPss2048), both);
}

#[test]
fn a_policy_of_ones_own() {
    let set = |bits, allowed: &[&str], accepted: &[&str]| {
        let mut policy = Policy::default();
        let set = policy.set(TRUST, bits, allowed.iter().copied(), accepted.iter().copied());
        assert!(set.is_ok() || policy == Policy::default(), "what is refused changes nothing");
        set.map(|named| named.into_iter().map(|named| named.suite.name()).collect::<Vec<_>>().join(" "))
    };
    let (everything, domain) = (all_but(""), TRUST);
    let few = ["blake3", "aes-256-gcm", "aes-256-kw", "ml-dsa-65", "ml-kem-768"];
    let strong = ["sha512", "aes256", "aes-kw", "hybrid", "mlkem768"];
    let suite = |name: &str| name.parse::<Suite>().unwrap();
    let unknown = Unknown { name: "md5".to_owned(), kind: None };
    for (row, answer, expected) in [
        ("all that the default has", set(128, &everything, &[]), Ok(String::new())),
        ("one of each kind", set(128, &few, &[]), Ok(String::new())),
        (
            "under other names",
            set(192, &strong, &[]),
            Ok("aes-256-gcm aes-256-kw ed25519+ml-dsa-65 ml-kem-768".to_owned()),
        ),
        ("old ones besides", set(128, &few, &["rsa2048", "ed25519"]), Ok("rsa-pss-2048".to_owned())),
        ("weaker ones besides", set(192, &strong, &["ed25519", "sha256"]).map(|_| String::new()), Ok(String::new())),
        ("an unknown one", set(128, &["md5"], &[]), Err(PolicyError::Unknown(unknown))),
        ("no minimum", set(0, &few, &[]), Err(PolicyError::Floor { domain, bits: 0 })),
        ("under the floor", set(111, &few, &[]), Err(PolicyError::Floor { domain, bits: 111 })),
        ("a weak one", set(192, &few, &[]), Err(PolicyError::TooWeak { suite: suite("blake3"), domain, bits: 192 })),
        (
            "one that only checks",
            set(112, &["rsa2048"], &[]),
            Err(PolicyError::ChecksOnly { suite: suite("rsa2048"), domain }),
        ),
        ("one twice", set(128, &["ecdsa", "p256"], &[]), Err(PolicyError::Twice { suite: suite("ecdsa"), domain })),
        ("one in both", set(128, &few, &["blake3"]), Err(PolicyError::Twice { suite: suite("blake3"), domain })),
        ("no signature", set(128, &few[..3], &[]), Err(PolicyError::Nothing { kind: Kind::Signature, domain })),
        ("nothing", set(128, &[], &[]), Err(PolicyError::Nothing { kind: Kind::Hash, domain })),
    ] {
        assert_eq!(answer, expected, "{row}");
    }
    let mut policy = Policy::default();
    policy.set(TRUST, 192, strong, ["ed25519"]).unwrap();
    assert_eq!(policy.preferred::<Signature>(TRUST).suite(), HYBRID);
    assert!(policy.allow(TRUST, Signature::Ed25519).is_err() && policy.accept(TRUST, Signature::Ed25519).is_ok());
    assert!(policy.allow(Domain::System, Signature::Ed25519).is_ok(), "other domains are as they were");
    assert_eq!(policy.checks(TRUST).collect::<Vec<_>>(), [Suite::Signature(Signature::Ed25519)]);
}

#[test]
fn a_signature_is_refused() {
    let policy = lenient();
    let key = |suite: Signature| policy.allow(TRUST, suite).unwrap().generate().unwrap();
    let (own, hybrid) = (key(Signature::Ed25519), key(HYBRID));
    let sign = |domain, key: &PrivateKey, message: &[u8]| {
        policy.allow(domain, key.suite()).unwrap().sign(key, PURPOSE, message).unwrap()
    };
    let verify = |domain, key: &PublicKey, purpose, message: &[u8], signed: &Signed| {
        policy.accept(domain, key.suite()).unwrap().verify(key, purpose, message, signed)
    };
    let (signed, both) = (sign(TRUST, &own, b"it"), sign(TRUST, &hybrid, b"it"));
    let downgraded =
        |key: Signature, presented: Signature| Refusal::Downgraded { key: key.into(), presented: presented.into() };
    // The hybrid's own Ed25519 half, as a key of its own.
    let half = PublicKey::read(Signature::Ed25519, &hybrid.public().bytes()[..32]).unwrap();
    let half_signed = Signed::read(&[&[1, 4, 1], &both.signature()[..64]].concat()).unwrap();
    // Both halves, one of them of another message.
    let elsewhere = sign(TRUST, &hybrid, b"else");
    let mixed = |first: &Signed, second: &Signed| {
        Signed::read(&[&[1, 4, 8], &first.signature()[..64], &second.signature()[64..]].concat()).unwrap()
    };
    for (row, answer, expected) in [
        ("as it is", verify(TRUST, own.public(), PURPOSE, b"it", &signed), Ok(())),
        ("of both", verify(TRUST, hybrid.public(), PURPOSE, b"it", &both), Ok(())),
        ("another message", verify(TRUST, own.public(), PURPOSE, b"in", &signed), Err(Refusal::Forged)),
        ("another purpose", verify(TRUST, own.public(), OTHER, b"it", &signed), Err(Refusal::Forged)),
        ("another domain", verify(Domain::System, own.public(), PURPOSE, b"it", &signed), Err(Refusal::Forged)),
        ("another key", verify(TRUST, key(Signature::Ed25519).public(), PURPOSE, b"it", &signed), Err(Refusal::Forged)),
        (
            "a weaker suite for the hybrid",
            verify(TRUST, hybrid.public(), PURPOSE, b"it", &signed),
            Err(downgraded(HYBRID, Signature::Ed25519)),
        ),
        (
            "a stronger suite",
            verify(TRUST, own.public(), PURPOSE, b"it", &both),
            Err(downgraded(Signature::Ed25519, HYBRID)),
        ),
        ("one half, under its own key", verify(TRUST, &half, PURPOSE, b"it", &half_signed), Err(Refusal::Forged)),
        (
            "one half, under the key of both",
            verify(TRUST, hybrid.public(), PURPOSE, b"it", &half_signed),
            Err(downgraded(HYBRID, Signature::Ed25519)),
        ),
        (
            "Ed25519 wrong",
            verify(TRUST, hybrid.public(), PURPOSE, b"it", &mixed(&elsewhere, &both)),
            Err(Refusal::Forged),
        ),
        (
            "ML-DSA wrong",
            verify(TRUST, hybrid.public(), PURPOSE, b"it", &mixed(&both, &elsewhere)),
            Err(Refusal::Forged),
        ),
        (
            "the policy asked about another suite",
            policy.accept(TRUST, HYBRID).unwrap().verify(own.public(), PURPOSE, b"it", &signed),
            Err(Refusal::OtherSuite { asked: HYBRID.into(), given: Signature::Ed25519.into() }),
        ),
        (
            "likewise, to sign",
            policy.allow(TRUST, HYBRID).unwrap().sign(&own, PURPOSE, b"it").map(drop),
            Err(Refusal::OtherSuite { asked: HYBRID.into(), given: Signature::Ed25519.into() }),
        ),
        (
            "a signature that may not be made any more",
            policy.allow(TRUST, Signature::RsaPss2048).map(drop),
            Err(Refusal::ChecksOnly { suite: Signature::RsaPss2048.into() }),
        ),
    ] {
        assert_eq!(answer, expected, "{row}");
    }
    let bytes = both.to_bytes();
    let missing = Refusal::HalfMissing { suite: HYBRID.into() };
    let malformed = |suite: Signature| Refusal::Malformed { suite: suite.into() };
    for (row, bytes, expected) in [
        ("nothing", Vec::new(), Refusal::Unreadable),
        ("another form", [&[2], &bytes[1..]].concat(), Refusal::Unreadable),
        ("no suite", [&[1, 9, 9], &bytes[3..]].concat(), Refusal::Unreadable),
        ("a hash", [&[1, 1, 1], &bytes[3..]].concat(), Refusal::Unreadable),
        ("of the hybrid, Ed25519's alone", bytes[..3 + 64].to_vec(), missing),
        ("of the hybrid, ML-DSA's alone", [&bytes[..3], &bytes[3 + 64..]].concat(), missing),
        ("of the hybrid, neither", bytes[..3].to_vec(), malformed(HYBRID)),
        ("cut", bytes[..bytes.len() - 1].to_vec(), malformed(HYBRID)),
        ("with a byte more", [&bytes[..], &[0]].concat(), malformed(HYBRID)),
        ("of both, as Ed25519's", [&[1, 4, 1], &bytes[3..]].concat(), malformed(Signature::Ed25519)),
    ] {
        assert_eq!(Signed::read(&bytes), Err(expected), "{row}");
    }
    assert_eq!(Signed::read(&bytes), Ok(both));
}

#[test]
fn a_note() {
    let policy = Policy::default();
    for suite in [Signature::Ed25519, HYBRID, Signature::MlDsa65] {
        let (allowed, accepted) = (policy.allow(TRUST, suite).unwrap(), policy.accept(TRUST, suite).unwrap());
        let key = allowed.generate().unwrap();
        let signature = allowed.sign_note(&key, "log\n7\n").unwrap();
        assert_eq!(signature.len(), suite.signature_len());
        assert_eq!(accepted.verify_note(key.public(), "log\n7\n", &signature), Ok(()));
        assert_eq!(accepted.verify_note(key.public(), "log\n8\n", &signature), Err(Refusal::Forged));
        let cut = accepted.verify_note(key.public(), "log\n7\n", &signature[..64]);
        let expected = match suite {
            HYBRID => Err(Refusal::HalfMissing { suite: suite.into() }),
            Signature::MlDsa65 => Err(Refusal::Malformed { suite: suite.into() }),
            _ => Ok(()),
        };
        assert_eq!(cut, expected, "{suite}");
        for text in ["", "\n", "log", "log\n\n7\n", "\nlog\n", "log\r\n", "log\0\n", "sop signed 1\nsuite ed25519\n\n"]
        {
            assert_eq!(allowed.sign_note(&key, text), Err(Refusal::NoNote), "{text:?}");
            assert_eq!(accepted.verify_note(key.public(), text, &signature), Err(Refusal::NoNote), "{text:?}");
        }
    }
    // A message cannot be made to be a note: it is signed with a header, which has an empty line.
    let allowed = policy.allow(TRUST, Signature::Ed25519).unwrap();
    let key = allowed.generate().unwrap();
    let signed = allowed.sign(&key, PURPOSE, b"log\n7\n").unwrap();
    let verified = allowed.accepted().verify_note(key.public(), "log\n7\n", signed.signature());
    assert_eq!(verified, Err(Refusal::Forged));
}

#[test]
fn a_key_is_refused() {
    let policy = Policy::default();
    let of = |suite: Signature| policy.allow(TRUST, suite).unwrap().generate().unwrap();
    let (rsa, p256, p384) = (of(Signature::RsaPss3072), of(Signature::EcdsaP256), of(Signature::EcdsaP384));
    let (ed25519, ml_dsa, hybrid) = (of(Signature::Ed25519), of(Signature::MlDsa65), of(HYBRID));
    let bytes = |key: &PrivateKey| key.public().bytes().to_vec();
    // The same point with one coordinate and the side of the other.
    let compressed = {
        let (whole, mut short) = (bytes(&p256), bytes(&p256)[..26 + 33].to_vec());
        (short[1], short[24], short[26]) = (0x39, 0x22, 2 + (whole[90] & 1));
        short
    };
    // Two bytes shorter, and so is each of the three that hold it.
    let small_exponent = {
        let mut whole = bytes(&rsa);
        whole.truncate(whole.len() - 4);
        whole.extend([1, 3]);
        for length in [3, 22, 27] {
            whole[length] -= 2;
        }
        whole
    };
    let moved = { [&bytes(&p256)[..90], &[bytes(&p256)[90] ^ 1]].concat() };
    for (row, suite, bytes, is_read) in [
        ("as it is", Signature::RsaPss3072, bytes(&rsa), true),
        ("as it is", Signature::EcdsaP256, bytes(&p256), true),
        ("as it is", Signature::EcdsaP384, bytes(&p384), true),
        ("as it is", Signature::Ed25519, bytes(&ed25519), true),
        ("as it is", Signature::MlDsa65, bytes(&ml_dsa), true),
        ("as it is", HYBRID, bytes(&hybrid), true),
        ("bare", Signature::Ed25519, ed25519.public().bare().unwrap().to_vec(), true),
        ("bare", Signature::MlDsa65, ml_dsa.public().bare().unwrap().to_vec(), true),
        ("nothing", Signature::Ed25519, Vec::new(), false),
        ("of another suite", Signature::Ed25519, bytes(&p256), false),
        ("of another curve", Signature::EcdsaP256, bytes(&p384), false),
        ("of another curve", Signature::EcdsaP384, bytes(&p256), false),
        ("of another strength", Signature::RsaPss4096, bytes(&rsa), false),
        ("of another strength", Signature::RsaPss2048, bytes(&rsa), false),
        ("one half", HYBRID, bytes(&hybrid)[..32].to_vec(), false),
        ("the other half", HYBRID, bytes(&hybrid)[32..].to_vec(), false),
        ("one byte less", Signature::MlDsa65, bytes(&ml_dsa)[..1_973].to_vec(), false),
        ("one byte more", Signature::Ed25519, [bytes(&ed25519), vec![0]].concat(), false),
        ("a point not on the curve", Signature::EcdsaP256, moved, false),
        ("a compressed point", Signature::EcdsaP256, compressed, false),
        ("a small exponent", Signature::RsaPss3072, small_exponent, false),
    ] {
        let read = PublicKey::read(suite, &bytes);
        let expected = if is_read { None } else { Some(Refusal::BadKey { suite: suite.into() }) };
        assert_eq!(read.err(), expected, "{suite}, {row}");
    }
    for (row, suite, secret) in [
        ("too short", Signature::Ed25519, vec![1; 31]),
        ("too long", Signature::Ed25519, vec![1; 33]),
        ("too long", Signature::MlDsa65, vec![1; 64]),
        ("one half", HYBRID, vec![1; 32]),
        ("no PKCS#8", Signature::EcdsaP256, vec![1; 32]),
        ("of another curve", Signature::EcdsaP256, p384.secret().expose().to_vec()),
        ("of another strength", Signature::RsaPss4096, rsa.secret().expose().to_vec()),
        ("with a byte more", Signature::EcdsaP256, [p256.secret().expose(), &[0]].concat()),
        ("that only checks", Signature::RsaPss2048, rsa.secret().expose().to_vec()),
    ] {
        let read = PrivateKey::read(suite, Secret::new(secret));
        assert_eq!(read.map(drop), Err(Refusal::BadKey { suite: suite.into() }), "{suite}, {row}");
    }
}

/// Under each of these everything verifies that somebody cares to make; and some keys can be written twice.
#[test]
fn a_key_of_small_order_is_refused() {
    let y = |low: u8, rest: u8, high: u8| {
        let mut y = [rest; 32];
        (y[0], y[31]) = (low, high);
        y
    };
    let order_8 = "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05";
    let mut low: [u8; 32] = [0; 32];
    for (at, byte) in low.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&order_8[2 * at..2 * at + 2], 16).unwrap();
    }
    // 2^255 - 19 less that.
    let mut borrow = 0;
    let mut high = [0; 32];
    for (at, byte) in y(0xed, 0xff, 0x7f).into_iter().enumerate() {
        let difference = i16::from(byte) - i16::from(low[at]) - borrow;
        borrow = i16::from(difference < 0);
        high[at] = u8::try_from(difference.rem_euclid(256)).unwrap();
    }
    let points = [y(0, 0, 0), y(1, 0, 0), y(0xec, 0xff, 0x7f), low, high, y(0xed, 0xff, 0x7f), y(0xee, 0xff, 0x7f)];
    for mut point in points {
        for side in [0, 0x80] {
            point[31] = point[31] & 0x7f | side;
            let read = PublicKey::read(Signature::Ed25519, &point);
            assert_eq!(read, Err(Refusal::BadKey { suite: Signature::Ed25519.into() }), "{point:02x?}");
        }
    }
}

#[test]
fn what_is_sealed_is_not_opened() {
    let policy = Policy::default();
    for suite in Cipher::all() {
        let (allowed, accepted) = (policy.allow(TRUST, suite).unwrap(), policy.accept(TRUST, suite).unwrap());
        let (key, other) = (allowed.generate().unwrap(), allowed.generate().unwrap());
        let other_suite = if suite == Cipher::Aes256Gcm { Cipher::ChaCha20Poly1305 } else { Cipher::Aes256Gcm };
        let twin = sealing::Key::read(other_suite, key.secret().clone()).unwrap();
        let sealed = allowed.seal(&key, PURPOSE, b"ada", b"a text").unwrap();
        let mut renamed = sealed.clone();
        renamed[2] = 3 - renamed[2];
        let may_check_twin = policy.accept(TRUST, other_suite).unwrap();
        let elsewhere = policy.accept(Domain::System, suite).unwrap();
        let downgraded =
            |key: Cipher, presented: Cipher| Refusal::Downgraded { key: key.into(), presented: presented.into() };
        let no = Err(Refusal::NotOpened);
        for (row, opened, expected) in [
            ("as it is", accepted.open(&key, PURPOSE, b"ada", &sealed), Ok(Secret::new(b"a text".to_vec()))),
            ("another key", accepted.open(&other, PURPOSE, b"ada", &sealed), no.clone()),
            ("another purpose", accepted.open(&key, OTHER, b"ada", &sealed), no.clone()),
            ("another domain", elsewhere.open(&key, PURPOSE, b"ada", &sealed), no.clone()),
            ("about another", accepted.open(&key, PURPOSE, b"bob", &sealed), no.clone()),
            ("cut", accepted.open(&key, PURPOSE, b"ada", &sealed[..sealed.len() - 1]), no.clone()),
            ("without a tag", accepted.open(&key, PURPOSE, b"ada", &sealed[..15]), no.clone()),
            (
                "without a nonce",
                accepted.open(&key, PURPOSE, b"ada", &sealed[..14]),
                Err(Refusal::Malformed { suite: suite.into() }),
            ),
            ("nothing", accepted.open(&key, PURPOSE, b"ada", &[]), Err(Refusal::Unreadable)),
            ("another form", accepted.open(&key, PURPOSE, b"ada", &[0; 40]), Err(Refusal::Unreadable)),
            (
                "another kind",
                accepted.open(&key, PURPOSE, b"ada", &[&[1, 4, 1], &sealed[3..]].concat()),
                Err(Refusal::Unreadable),
            ),
            (
                "as of another suite",
                accepted.open(&key, PURPOSE, b"ada", &renamed),
                Err(downgraded(suite, other_suite)),
            ),
            (
                "the same secret as a key of another suite",
                may_check_twin.open(&twin, PURPOSE, b"ada", &sealed),
                Err(downgraded(other_suite, suite)),
            ),
            ("likewise, renamed", may_check_twin.open(&twin, PURPOSE, b"ada", &renamed), no.clone()),
            (
                "the policy asked about another suite",
                accepted.open(&twin, PURPOSE, b"ada", &sealed),
                Err(Refusal::OtherSuite { asked: suite.into(), given: other_suite.into() }),
            ),
        ] {
            assert_eq!(opened, expected, "{suite}, {row}");
        }
        assert_ne!(allowed.seal(&key, PURPOSE, b"ada", b"a text").unwrap(), sealed, "nonces are drawn");
        assert_eq!(key.sealed(), 2);
        let to_text = |occasion: &[u8]| allowed.seal_again(&key, PURPOSE, b"ada", occasion, b"a text").unwrap();
        assert_eq!(to_text(b"one"), to_text(b"one"), "the same again");
        assert_ne!(to_text(b"one")[3..15], to_text(b"two")[3..15], "and another nonce for another occasion");
        assert_eq!(key.sealed(), 6);

        key.has_sealed(sealing::TEXTS_MAX - 7);
        assert!(allowed.seal(&key, PURPOSE, b"ada", b"the last").is_ok());
        let worn = Refusal::Worn { suite: suite.into() };
        assert_eq!(allowed.seal(&key, PURPOSE, b"ada", b"one more"), Err(worn));
        assert_eq!(allowed.seal_again(&key, PURPOSE, b"ada", b"", b"one more"), Err(worn));
        assert!(accepted.open(&key, PURPOSE, b"ada", &sealed).is_ok(), "a worn key opens");
        let short = sealing::Key::read(suite, Secret::new(vec![0; 16]));
        assert_eq!(short.map(drop), Err(Refusal::BadKey { suite: suite.into() }));
    }
}

#[test]
fn what_is_wrapped_is_not_unwrapped() {
    let policy = Policy::default();
    for suite in Wrap::all() {
        let (allowed, accepted) = (policy.allow(TRUST, suite).unwrap(), policy.accept(TRUST, suite).unwrap());
        let (root, other) = (allowed.generate().unwrap(), allowed.generate().unwrap());
        let other_suite = if suite == Wrap::Aes256Kw { Wrap::Aes256Kwp } else { Wrap::Aes256Kw };
        let secret = Secret::new(vec![7; 32]);
        let wrapped = allowed.wrap(&root, PURPOSE, b"key 1", &secret).unwrap();
        let mut renamed = wrapped.clone();
        renamed[2] = 3 - renamed[2];
        let no = Err(Refusal::NotOpened);
        for (row, unwrapped, expected) in [
            ("as it is", accepted.unwrap(&root, PURPOSE, b"key 1", &wrapped), Ok(secret.clone())),
            ("another root", accepted.unwrap(&other, PURPOSE, b"key 1", &wrapped), no.clone()),
            ("another purpose", accepted.unwrap(&root, OTHER, b"key 1", &wrapped), no.clone()),
            ("put in the place of another", accepted.unwrap(&root, PURPOSE, b"key 2", &wrapped), no.clone()),
            ("cut", accepted.unwrap(&root, PURPOSE, b"key 1", &wrapped[..wrapped.len() - 8]), no.clone()),
            ("all cut", accepted.unwrap(&root, PURPOSE, b"key 1", &wrapped[..3]), no.clone()),
            (
                "another domain",
                policy.accept(Domain::System, suite).unwrap().unwrap(&root, PURPOSE, b"key 1", &wrapped),
                no.clone(),
            ),
            (
                "as of another suite",
                accepted.unwrap(&root, PURPOSE, b"key 1", &renamed),
                Err(Refusal::Downgraded { key: suite.into(), presented: other_suite.into() }),
            ),
            ("another form", accepted.unwrap(&root, PURPOSE, b"key 1", b"xx"), Err(Refusal::Unreadable)),
        ] {
            assert_eq!(unwrapped, expected, "{suite}, {row}");
        }
        let bad = Refusal::BadLength { suite: suite.into() };
        for (length, is_wrapped) in
            [(0, false), (1, true), (8, true), (15, true), (16, true), (33, true), (2_400, true)]
        {
            let is_wrapped = is_wrapped && (suite == Wrap::Aes256Kwp || (16 <= length && length % 8 == 0));
            let wrapped = allowed.wrap(&root, PURPOSE, b"", &Secret::new(vec![7; length]));
            assert_eq!(wrapped.err(), (!is_wrapped).then_some(bad), "{suite} of {length} bytes");
        }
        let short = wrapping::Key::read(suite, Secret::new(vec![0; 31]));
        assert_eq!(short.map(drop), Err(Refusal::BadKey { suite: suite.into() }));
    }
}

#[test]
fn no_secret_is_agreed_upon() {
    let policy = Policy::default();
    let bad = |suite: Agreement| Refusal::BadKey { suite: suite.into() };
    for suite in Agreement::all() {
        let (allowed, accepted) = (policy.allow(TRUST, suite).unwrap(), policy.accept(TRUST, suite).unwrap());
        let (ada, bob) = (allowed.generate().unwrap(), allowed.generate().unwrap());
        let (capsule, secret) = allowed.encapsulate(ada.public(), PURPOSE).unwrap();
        assert_eq!(capsule.len(), suite.capsule_len());
        let opened = |key: &agreeing::PrivateKey, purpose, capsule: &[u8]| accepted.decapsulate(key, purpose, capsule);
        assert_eq!(opened(&ada, PURPOSE, &capsule), Ok(secret.clone()));
        // Whoever has not the key, or changed the capsule, has another secret.
        let changed = [&capsule[..7], &[capsule[7] ^ 1], &capsule[8..]].concat();
        for (row, other) in [
            ("another key", opened(&bob, PURPOSE, &capsule)),
            ("another purpose", opened(&ada, OTHER, &capsule)),
            ("another capsule", opened(&ada, PURPOSE, &changed)),
            ("another domain", policy.accept(Domain::System, suite).unwrap().decapsulate(&ada, PURPOSE, &capsule)),
        ] {
            assert_ne!(other.unwrap(), secret, "{suite}, {row}");
        }
        let malformed = Err(Refusal::Malformed { suite: suite.into() });
        assert_eq!(opened(&ada, PURPOSE, &capsule[1..]), malformed);
        assert_eq!(opened(&ada, PURPOSE, &[&capsule[..], &[0]].concat()), malformed);
        let spki = agreeing::PublicKey::read(suite, ada.public().bytes());
        assert_eq!(spki.as_ref(), Ok(ada.public()));
        assert_eq!(agreeing::PublicKey::read(suite, ada.public().bare()), spki);
        assert_eq!(agreeing::PublicKey::read(suite, &ada.public().bytes()[1..]), Err(bad(suite)));
        let long = [ada.public().bytes(), &[0]].concat();
        assert_eq!(agreeing::PublicKey::read(suite, &long), Err(bad(suite)));
        let again = agreeing::PrivateKey::read(suite, ada.secret().clone()).unwrap();
        assert_eq!(again.public(), ada.public());
        let short = agreeing::PrivateKey::read(suite, Secret::new(ada.secret().expose()[1..].to_vec()));
        assert_eq!(short.map(drop), Err(bad(suite)));
    }

    let (x25519, ml_kem) = (Agreement::X25519, Agreement::MlKem768);
    let allowed = policy.allow(TRUST, x25519).unwrap();
    let (ada, bob) = (allowed.generate().unwrap(), allowed.generate().unwrap());
    let agreed = allowed.agree(&ada, bob.public(), PURPOSE).unwrap();
    assert_eq!(allowed.agree(&bob, ada.public(), PURPOSE), Ok(agreed.clone()));
    assert_ne!(allowed.agree(&bob, ada.public(), OTHER), Ok(agreed.clone()));
    assert_ne!(allowed.accepted().decapsulate(&bob, PURPOSE, ada.public().bare()), Ok(agreed), "another way to it");
    let zero = agreeing::PublicKey::read(x25519, &[0; 32]).unwrap();
    assert_eq!(allowed.agree(&ada, &zero, PURPOSE), Err(bad(x25519)));
    assert_eq!(allowed.encapsulate(&zero, PURPOSE), Err(bad(x25519)));
    assert_eq!(allowed.accepted().decapsulate(&ada, PURPOSE, &[0; 32]), Err(Refusal::NotOpened));

    let allowed_kem = policy.allow(TRUST, ml_kem).unwrap();
    let key = allowed_kem.generate().unwrap();
    let no_use = Err(Refusal::NoSuchUse { suite: ml_kem.into() });
    assert_eq!(allowed_kem.agree(&key, key.public(), PURPOSE), no_use);
    let other = Refusal::OtherSuite { asked: x25519.into(), given: ml_kem.into() };
    assert_eq!(allowed.encapsulate(key.public(), PURPOSE), Err(other));
    assert_eq!(allowed.agree(&ada, key.public(), PURPOSE), Err(other));
    // The public key in it is not the one of which it has the digest.
    let mut secret = key.secret().expose().to_vec();
    secret[1_152] ^= 1;
    assert_eq!(agreeing::PrivateKey::read(ml_kem, Secret::new(secret)).map(drop), Err(bad(ml_kem)));
}

#[test]
fn a_digest_is_refused() {
    let policy = Policy::default();
    for suite in Hash::all() {
        let (allowed, accepted) = (policy.allow(TRUST, suite).unwrap(), policy.accept(TRUST, suite).unwrap());
        let digest = allowed.digest(b"a content");
        assert_eq!((digest.suite(), digest.bytes().len()), (suite, suite.digest_len()));
        assert_eq!(accepted.check(&digest, b"a content"), Ok(()));
        assert_eq!(accepted.check(&digest, b"another"), Err(Refusal::OtherContent));
        let mut hasher = allowed.hasher();
        for piece in [&b"a con"[..], b"", b"tent"] {
            hasher.update(piece);
        }
        assert_eq!(hasher.finish(), digest);
        assert_eq!(Digest::new(suite, digest.bytes()), Some(digest));
        assert_eq!(Digest::new(suite, &digest.bytes()[1..]), None);
        let text = digest.to_string();
        assert_eq!(text.parse(), Ok(digest));
        let upper = format!("{suite}:{}", text.split_once(':').unwrap().1.to_uppercase());
        for text in
            ["", ":", suite.name(), &text[..text.len() - 1], &text[..text.len() - 2], &(text.clone() + "0"), &upper]
        {
            assert_eq!(text.parse::<Digest>(), Err(Refusal::Unreadable), "{text}");
        }
    }
    // As long, and of another suite.
    let digest = policy.allow(TRUST, Hash::Sha256).unwrap().digest(b"");
    let other = policy.accept(TRUST, Hash::Blake3).unwrap().check(&digest, b"");
    assert_eq!(other, Err(Refusal::OtherSuite { asked: Hash::Blake3.into(), given: Hash::Sha256.into() }));
}

/// RSA-2048 as somebody else signed with it: what a policy that accepts it does, and the default does not.
#[test]
fn what_others_signed_is_checked_where_it_is_accepted() {
    let known = include_str!("../src/known.txt").split("\n\n").find(|block| block.contains("rsa-pss-2048"));
    let public = known.unwrap().lines().find_map(|line| line.strip_prefix("public ")).unwrap();
    let public: Vec<_> =
        (0..public.len()).step_by(2).map(|at| u8::from_str_radix(&public[at..at + 2], 16).unwrap()).collect();
    let suite = Signature::RsaPss2048;
    let key = PublicKey::read(suite, &public).unwrap();
    let signed = Signed::read(&[&[1, 4, 4][..], &[0; 256]].concat()).unwrap();
    let policy = lenient();
    let accepted = policy.accept(TRUST, suite).unwrap();
    assert_eq!(accepted.verify(&key, PURPOSE, b"it", &signed), Err(Refusal::Forged));
    assert!(policy.accept(Domain::System, suite).is_err() && Policy::default().accept(TRUST, suite).is_err());
}

#[test]
fn nothing_shows_a_secret() {
    let policy = Policy::default();
    let secret = Secret::new(b"do not tell".to_vec());
    assert_eq!(format!("{secret:?}"), "Secret(..)");
    let signing = policy.allow(TRUST, HYBRID).unwrap().generate().unwrap();
    let sealing = policy.allow(TRUST, Cipher::Aes256Gcm).unwrap().generate().unwrap();
    let wrapping = policy.allow(TRUST, Wrap::Aes256Kw).unwrap().generate().unwrap();
    let agreeing = policy.allow(TRUST, Agreement::MlKem768).unwrap().generate().unwrap();
    assert_eq!(format!("{signing:?}"), "PrivateKey(ed25519+ml-dsa-65, ..)");
    assert_eq!(format!("{sealing:?} {wrapping:?}"), "Key(aes-256-gcm, ..) Key(aes-256-kw, ..)");
    assert_eq!(format!("{agreeing:?}"), "PrivateKey(ml-kem-768, ..)");
}

/// Actors hold them, and several threads at once.
#[test]
fn keys_are_shared() {
    fn is_shared<T: Send + Sync>() {}
    is_shared::<PrivateKey>();
    is_shared::<PublicKey>();
    is_shared::<sealing::Key>();
    is_shared::<wrapping::Key>();
    is_shared::<agreeing::PrivateKey>();
    is_shared::<agreeing::PublicKey>();
    is_shared::<Secret>();
    is_shared::<Policy>();
}

#[test]
fn each_refusal_says_what_to_do() {
    let (suite, domain) = (Suite::Signature(Signature::RsaPss2048), TRUST);
    let refusals = [
        Refusal::NotAllowed { suite, domain },
        Refusal::NotAccepted { suite, domain },
        Refusal::ChecksOnly { suite },
        Refusal::OtherSuite { asked: suite, given: suite },
        Refusal::Downgraded { key: suite, presented: suite },
        Refusal::HalfMissing { suite },
        Refusal::Malformed { suite },
        Refusal::Unreadable,
        Refusal::BadKey { suite },
        Refusal::Forged,
        Refusal::OtherContent,
        Refusal::NotOpened,
        Refusal::Worn { suite },
        Refusal::BadLength { suite },
        Refusal::NoNote,
        Refusal::NoSuchUse { suite },
        Refusal::Provider { suite },
    ];
    let kind = Kind::Signature;
    let errors = [
        PolicyError::Unknown(Unknown { name: String::new(), kind: None }),
        PolicyError::Floor { domain, bits: 0 },
        PolicyError::TooWeak { suite, domain, bits: 128 },
        PolicyError::ChecksOnly { suite, domain },
        PolicyError::Twice { suite, domain },
        PolicyError::Nothing { kind, domain },
    ];
    let all = refusals.iter().map(|one| one as &dyn Refuse).chain(errors.iter().map(|one| one as &dyn Refuse));
    let mut codes: Vec<_> = all
        .map(|one| {
            assert!(one.code().starts_with("suites.") && !one.remedy().is_empty() && !one.to_string().is_empty());
            one.code()
        })
        .collect();
    codes.sort_unstable();
    codes.dedup();
    assert_eq!(codes.len(), refusals.len() + errors.len(), "each has a code of its own");
}
