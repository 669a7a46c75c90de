//! What is read of a token: a row for each way in which one can be wrong, and what holds for every damage.

use std::path::PathBuf;
use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use config::{Algorithm, Issuer};
use door::{Issuers as _, Unread};
use issuers::{Issuers, Keys};
use kernel::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

const NOON: Timestamp = Timestamp(1_800_000_000_000);
const SECOND: u64 = 1_800_000_000;
const NAME: &str = "https://idp.example";

/// The keys of an issuer, of each kind.
struct Signer {
    elliptic: EcdsaKeyPair,
    edwards: Ed25519KeyPair,
    rsa: RsaKeyPair,
}

fn text(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Signer {
    fn new() -> Self {
        Self {
            elliptic: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(),
            edwards: Ed25519KeyPair::generate().unwrap(),
            rsa: RsaKeyPair::generate(KeySize::Rsa2048).unwrap(),
        }
    }

    fn keys(&self) -> Value {
        let point = self.elliptic.public_key().as_ref();
        // DER of two numbers, of 257 bytes and of 3 (PKCS #1); the first begins with a zero.
        let rsa = self.rsa.public_key().as_ref();
        let (n, e) = (&rsa[9..265], &rsa[267..]);
        json!({ "keys": [
            { "kty": "EC", "crv": "P-256", "kid": "e", "use": "sig", "x": text(&point[1..33]), "y": text(&point[33..]) },
            { "kty": "OKP", "crv": "Ed25519", "kid": "d", "alg": "EdDSA", "x": text(self.edwards.public_key()) },
            { "kty": "RSA", "kid": "r", "n": text(n), "e": text(e) },
            { "kty": "oct", "kid": "s", "k": text(b"a secret that everybody knows") },
        ] })
    }

    fn sign(&self, header: &Value, payload: &Value) -> String {
        let signed = format!("{}.{}", text(header.to_string()), text(payload.to_string()));
        let random = SystemRandom::new();
        let signature = match header["alg"].as_str() {
            Some("ES256") => self.elliptic.sign(&random, signed.as_bytes()).unwrap().as_ref().to_vec(),
            Some("EdDSA") => self.edwards.sign(signed.as_bytes()).as_ref().to_vec(),
            Some("RS256") => {
                let mut signature = vec![0; self.rsa.public_modulus_len()];
                self.rsa.sign(&RSA_PKCS1_SHA256, &random, signed.as_bytes(), &mut signature).unwrap();
                signature
            }
            // By HMAC with the public key as the secret, as those try who know that a library takes any algorithm for any key.
            Some("HS256") => {
                let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, self.elliptic.public_key().as_ref());
                aws_lc_rs::hmac::sign(&key, signed.as_bytes()).as_ref().to_vec()
            }
            _ => Vec::new(),
        };
        format!("{signed}.{}", text(signature))
    }
}

fn line(rest: &str) -> Issuer {
    format!("{NAME} audience=sop algorithms=ES256,EdDSA,RS256 keys=/nowhere {rest}").parse().unwrap()
}

fn believing(issuer: Issuer, keys: &Value) -> Arc<Issuers> {
    let known = Keys::parse(keys.to_string().as_bytes(), &issuer.algorithms).unwrap();
    let issuers = Issuers::new(vec![issuer]);
    issuers.learn(0, known, NOON);
    issuers
}

fn payload() -> Value {
    json!({ "iss": NAME, "sub": "alpha", "aud": "sop", "exp": SECOND + 60, "nbf": SECOND, "groups": ["dev", "ops"] })
}

fn with(mut value: Value, name: &str, to: Value) -> Value {
    if to.is_null() {
        value.as_object_mut().unwrap().remove(name);
    } else {
        value[name] = to;
    }
    value
}

#[test]
fn what_is_wrong_with_a_token() {
    let (signer, other) = (Signer::new(), Signer::new());
    let issuers = believing(line("claims=groups:ops"), &signer.keys());
    let strict =
        believing("https://idp.example audience=sop algorithms=ES256 keys=/nowhere".parse().unwrap(), &signer.keys());
    let header = || json!({ "alg": "ES256", "kid": "e", "typ": "JWT" });
    let sign = |header: &Value, payload: &Value| signer.sign(header, payload);
    let good = sign(&header(), &payload());
    let (head, rest) = good.split_once('.').unwrap();
    let (body, signature) = rest.split_once('.').unwrap();
    let said = |name: &str, to: Value| sign(&header(), &with(payload(), name, to));
    let named = |name: &str, to: Value| sign(&with(header(), name, to), &payload());
    let changed = text(with(payload(), "sub", json!("root")).to_string());
    let none = text(json!({ "alg": "none" }).to_string());
    for (row, token, answer) in [
        ("good", good.clone(), Ok(())),
        ("by Ed25519", sign(&json!({ "alg": "EdDSA", "kid": "d" }), &payload()), Ok(())),
        ("by RSA", sign(&json!({ "alg": "RS256", "kid": "r", "typ": "at+jwt" }), &payload()), Ok(())),
        ("of that type, in full", named("typ", json!("application/at+jwt")), Ok(())),
        ("no key named, and one that fits", named("kid", Value::Null), Ok(())),
        ("several audiences", said("aud", json!(["other", "sop"])), Ok(())),
        ("no beginning", said("nbf", Value::Null), Ok(())),
        ("fractions of a second", said("exp", json!(1_800_000_060.5)), Ok(())),
        ("nothing", String::new(), Err(Unread::Malformed)),
        ("two parts", format!("{head}.{body}"), Err(Unread::Malformed)),
        ("four parts", format!("{good}.{signature}"), Err(Unread::Malformed)),
        ("no base64url", format!("{head}=.{body}.{signature}"), Err(Unread::Malformed)),
        ("no JSON", format!("{}.{body}.{signature}", text("ey")), Err(Unread::Malformed)),
        ("no object", format!("{}.{body}.{signature}", text("[]")), Err(Unread::Malformed)),
        ("no algorithm", named("alg", Value::Null), Err(Unread::Malformed)),
        ("another type of token", named("typ", json!("logout+jwt")), Err(Unread::Malformed)),
        ("what must be understood", named("crit", json!(["exp"])), Err(Unread::Malformed)),
        ("a key's name that is none", named("kid", json!(7)), Err(Unread::Malformed)),
        ("no issuer", said("iss", Value::Null), Err(Unread::Issuer)),
        ("another issuer", said("iss", json!("https://idp.example.org")), Err(Unread::Issuer)),
        ("issuers", said("iss", json!([NAME])), Err(Unread::Issuer)),
        ("alg none", format!("{none}.{body}."), Err(Unread::Algorithm)),
        ("alg None", named("alg", json!("None")), Err(Unread::Algorithm)),
        ("HMAC with the public key", named("alg", json!("HS256")), Err(Unread::Algorithm)),
        (
            "HMAC with the published secret",
            sign(&json!({ "alg": "HS256", "kid": "s" }), &payload()),
            Err(Unread::Algorithm),
        ),
        ("the key of another algorithm", named("kid", json!("r")), Err(Unread::Algorithm)),
        ("an unknown key", named("kid", json!("f")), Err(Unread::Key)),
        ("signed by another", other.sign(&header(), &payload()), Err(Unread::Signature)),
        ("another payload", format!("{head}.{changed}.{signature}"), Err(Unread::Signature)),
        ("no signature", format!("{head}.{body}."), Err(Unread::Signature)),
        ("half a signature", good[..good.len() - 40].to_owned(), Err(Unread::Signature)),
        ("no audience", said("aud", Value::Null), Err(Unread::Audience)),
        ("another audience", said("aud", json!("sop2")), Err(Unread::Audience)),
        ("other audiences", said("aud", json!(["so", "p"])), Err(Unread::Audience)),
        ("no subject", said("sub", Value::Null), Err(Unread::Claim)),
        ("an empty subject", said("sub", json!("")), Err(Unread::Claim)),
        ("a number for a subject", said("sub", json!(7)), Err(Unread::Claim)),
        ("no end", said("exp", Value::Null), Err(Unread::Claim)),
        ("an end in words", said("exp", json!("never")), Err(Unread::Claim)),
        ("an end beyond time", said("exp", json!(1e300)), Err(Unread::Claim)),
        ("an end before time", said("exp", json!(-1)), Err(Unread::Claim)),
        ("a beginning in words", said("nbf", json!("now")), Err(Unread::Claim)),
        ("without the claim", said("groups", Value::Null), Err(Unread::Claim)),
        ("the claim of another", said("groups", json!(["dev"])), Err(Unread::Claim)),
    ] {
        assert_eq!(issuers.read(&token, NOON).map(drop), answer, "{row}");
    }
    let foreign = issuers.read(&good, NOON).unwrap();
    assert_eq!((foreign.issuer.as_str(), foreign.subject.as_str()), (NAME, "alpha"));
    let claims = [("groups", "dev"), ("groups", "ops")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(foreign.claims, claims);
    assert_eq!((foreign.from, foreign.until), (Timestamp(NOON.0 - 30_000), Timestamp(NOON.0 + 90_000)), "with leeway");
    let edwards = sign(&json!({ "alg": "EdDSA", "kid": "d" }), &payload());
    assert_eq!(strict.read(&edwards, NOON).map(drop), Err(Unread::Algorithm), "what is not pinned is not taken");
    assert_eq!(issuers.claimed(&good), Some(0));
    assert_eq!(issuers.claimed(&said("iss", json!("https://other.example"))), None);
}

#[test]
fn keys_grow_old_and_change() {
    let (signer, next) = (Signer::new(), Signer::new());
    let issuers = Issuers::new(vec![line("refresh=1m max_age=10m")]);
    let header = json!({ "alg": "EdDSA", "kid": "d" });
    let token = signer.sign(&header, &payload());
    assert_eq!(issuers.read(&token, NOON).map(drop), Err(Unread::KeysStale), "never read");
    let keys = |signer: &Signer| Keys::parse(signer.keys().to_string().as_bytes(), &[Algorithm::EdDsa]).unwrap();
    issuers.learn(0, keys(&signer), NOON);
    let last = Timestamp(NOON.0 + 600_000 - 1);
    assert_eq!(issuers.read(&token, last).unwrap().keys_until, Timestamp(NOON.0 + 600_000));
    assert_eq!(issuers.read(&token, Timestamp(last.0 + 1)).map(drop), Err(Unread::KeysStale));
    issuers.learn(0, keys(&next), last);
    assert_eq!(issuers.read(&token, last).map(drop), Err(Unread::Signature), "under the same name another key");
    assert!(issuers.read(&next.sign(&header, &payload()), Timestamp(last.0 + 1)).is_ok());
}

#[test]
fn what_is_no_set_of_keys() {
    let signer = Signer::new();
    let parse =
        |text: &str, algorithms: &[Algorithm]| Keys::parse(text.as_bytes(), algorithms).map(drop).map_err(|no| no.0);
    let all = [Algorithm::Es256, Algorithm::EdDsa, Algorithm::Rs256];
    assert_eq!(parse(&signer.keys().to_string(), &all), Ok(()));
    let secret = json!({ "keys": [{ "kty": "oct", "k": "c2VjcmV0" }] }).to_string();
    let mut sealing = signer.keys();
    sealing["keys"].as_array_mut().unwrap().truncate(1);
    sealing["keys"][0]["use"] = json!("enc");
    let many = json!({ "keys": vec![signer.keys()["keys"][0].clone(); 65] }).to_string();
    for (row, text, algorithms, said) in [
        ("nothing", String::new(), &all[..], "no JSON"),
        ("a page", "<html>".to_owned(), &all, "no JSON"),
        ("no set", "{}".to_owned(), &all, "no set of keys"),
        ("an empty set", r#"{"keys":[]}"#.to_owned(), &all, "none of its 0 keys"),
        ("secrets", secret, &all, "none of its 1 keys"),
        ("a key for something else", sealing.to_string(), &all, "none of its 1 keys"),
        ("too many", many, &all, "65 keys"),
        ("none that is pinned", signer.keys().to_string(), &[], "none of its 4 keys"),
    ] {
        let why = parse(&text, algorithms).unwrap_err();
        assert!(why.contains(said), "{row}: {why}");
    }
}

#[test]
fn an_issuer_is_one_line() {
    let issuer = line("claims=groups:ops,email_verified leeway=0s refresh=1s max_age=2s");
    assert_eq!(issuer.claims, [("groups".into(), Some("ops".into())), ("email_verified".into(), None)]);
    assert_eq!(issuer.keys, config::KeysAt::File(PathBuf::from("/nowhere")));
    let no = |text: &str| text.parse::<Issuer>().unwrap_err().to_string();
    let whole = "https://i audience=sop algorithms=ES256 keys=https://i/k";
    for (text, said) in [
        ("", "no URL"),
        ("idp audience=sop algorithms=ES256 keys=/k", "no URL"),
        ("https://i algorithms=ES256 keys=/k", "audience is missing"),
        ("https://i audience=sop keys=/k", "algorithms is missing"),
        ("https://i audience=sop algorithms=ES256", "keys is missing"),
        ("https://i audience=sop algorithms=none keys=/k", "none is no algorithm"),
        ("https://i audience=sop algorithms=ES256,HS256 keys=/k", "HS256 is no algorithm"),
        ("https://i audience=sop algorithms=ES256 keys=http://i/k", "neither"),
        ("https://i audience=sop algorithms=ES256 keys=ftp://i/k", "neither"),
        ("https://i audience=sop algorithms=ES256 keys=https://a@i/k", "neither"),
        (&format!("{whole} audience=other"), "twice"),
        (&format!("{whole} color=red"), "color=red"),
        (&format!("{whole} leeway=1h"), "leeway=1h is no span"),
        (&format!("{whole} refresh=1h max_age=1m"), "max_age is shorter"),
        (&format!("{whole} claims=:x"), "claims=:x"),
    ] {
        assert!(no(text).contains(said), "{text}: {}", no(text));
    }
    assert!("https://i audience=sop algorithms=ES256 keys=http://127.0.0.1:8080/k".parse::<Issuer>().is_ok());
}

proptest! {
    /// Whatever is done to a good token: what is still read of it is what was signed.
    #[test]
    fn damage_is_found(place in 0..400_usize, with in any::<u8>()) {
        use std::sync::OnceLock;
        static MADE: OnceLock<(Arc<Issuers>, String)> = OnceLock::new();
        let (issuers, good) = MADE.get_or_init(|| {
            let signer = Signer::new();
            let token = signer.sign(&json!({ "alg": "EdDSA", "kid": "d" }), &payload());
            (believing(line(""), &signer.keys()), token)
        });
        let mut bytes = good.clone().into_bytes();
        let place = place % bytes.len();
        bytes[place] = with % 128;
        let damaged = String::from_utf8(bytes).unwrap();
        prop_assert!(damaged == *good || issuers.read(&damaged, NOON).is_err(), "{}", damaged);
    }
}
