//! The bearer form of tokens, against the library that it is made with and against two other kinds of signed tokens.
//!
//! `cargo bench -p sop-bearer --bench bearer`, with `-- --quick` for fewer pairs. A ratio is time of ours over time of the peer's, so that less is
//! better; see [`pairs`] for how it comes about. What the peers' tokens say is the same: six claims and an end.

use std::hint::black_box;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bearer::{Cache, Carried, Claims, Key, PREFIX, PublicKey, Registry, Signed, Use, mint};
use biscuit_auth::{Algorithm, Biscuit, BlockBuilder, KeyPair, PrivateKey};
use kernel::{Millis, Timestamp, TokenId};
use pasetors::keys::{AsymmetricKeyPair, Generate as _};
use pasetors::token::UntrustedToken;
use pasetors::{
    Public,
    version4::{PublicToken, V4},
};

#[expect(dead_code, reason = "what has callers is for the other benches")]
#[path = "pairs/mod.rs"]
mod pairs;

use pairs::{conditions, median, ratio};

const TIMES: u32 = 400;
const NOON: Timestamp = Timestamp(1_800_000_000_000);

struct Everything(PublicKey);

impl Registry for Everything {
    type No = ();

    fn revocations(&self) -> u64 {
        0
    }

    fn key(&self, _: Option<u32>) -> Result<PublicKey, ()> {
        Ok(self.0)
    }

    fn stands(&self, _: &Carried) -> Result<(), ()> {
        Ok(())
    }
}

fn claims() -> Claims {
    Claims {
        id: TokenId(0x0190_c3a2_7b5e_7cc3_98c4_dc0c_0c07_398f),
        kind: "operation".into(),
        subject: "agent/alpha".parse().expect("a principal"),
        issuer: "operator/root".parse().expect("a principal"),
        audience: "arp".into(),
        operation: "deploy".into(),
        target: None,
        request: None,
        todo: None,
        starts_at: NOON,
        expires_at: NOON + Millis::minutes(15),
    }
}

/// What is compared: ours, and the peer's.
type Row<'a> = (&'a str, &'a dyn Fn(), &'a dyn Fn());

/// So long each of them takes.
fn timed(work: &dyn Fn()) -> Duration {
    let began = Instant::now();
    (0..TIMES).for_each(|_| work());
    began.elapsed() / TIMES
}

fn main() {
    let pairs = pairs::pairs();
    let seed = [7; 32];
    let (key, pair) =
        (Key::of(&seed), KeyPair::from(&PrivateKey::from_bytes(&seed, Algorithm::Ed25519).expect("a seed")));
    let (public, theirs) = (key.public(), pair.public());
    let text = mint(&key, &claims());
    let bytes = URL_SAFE_NO_PAD.decode(&text[PREFIX.len()..]).expect("it was encoded");
    let source = Biscuit::from(&bytes, theirs).expect("it is one").print_block_source(0).expect("it has one");
    let plain = URL_SAFE_NO_PAD.encode(&bytes);
    let block = BlockBuilder::new().code(&source).expect("it was printed");
    let carried = Carried::verify(&text, &public).expect("it is ours");
    let wanted = Use { audience: "arp", operation: "deploy", work: None, target: None, request: None, now: NOON };
    let cache = Cache::new(1_000);
    let paseto = AsymmetricKeyPair::<V4>::generate().expect("randomness");
    let said = serde_json::json!({ "token": claims().id, "kind": "operation", "sub": "agent/alpha", "iss": "operator/root", "aud": "arp",
        "operation": "deploy", "exp": 4_000_000_000_u64 });
    let message = said.to_string();
    let signed = PublicToken::sign(&paseto.secret, message.as_bytes(), None, None).expect("a message");
    let der = key_of(&seed);
    let (encoding, decoding) =
        (jsonwebtoken::EncodingKey::from_ed_der(&der), jsonwebtoken::DecodingKey::from_ed_der(&theirs.to_bytes()));
    let header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::EdDSA);
    let jwt = jsonwebtoken::encode(&header, &said, &encoding).expect("it signs");
    let mut validation = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::EdDSA);
    validation.set_audience(&["arp"]);

    let ours_check = || drop(black_box(Signed::check(&text, &public).map(drop)));
    let their_check = || drop(black_box(Biscuit::from_base64(&plain, theirs)));
    let ours_mint = || drop(black_box(mint(&key, &claims())));
    let their_mint = || {
        let built = Biscuit::builder().merge(block.clone()).build(&pair).and_then(|token| token.to_base64());
        drop(black_box(built));
    };
    let hit = || drop(black_box(cache.verify(&text, &Everything(public), NOON)));
    let datalog = || drop(black_box(carried.permits(&wanted)));
    let paseto_sign = || drop(black_box(PublicToken::sign(&paseto.secret, message.as_bytes(), None, None)));
    let paseto_verify = || {
        let untrusted = UntrustedToken::<Public, V4>::try_from(&signed);
        drop(black_box(PublicToken::verify(&paseto.public, &untrusted.expect("it is one"), None, None)));
    };
    let jwt_sign = || drop(black_box(jsonwebtoken::encode(&header, &said, &encoding)));
    let jwt_verify = || drop(black_box(jsonwebtoken::decode::<serde_json::Value>(&jwt, &decoding, &validation)));
    assert!(jsonwebtoken::decode::<serde_json::Value>(&jwt, &decoding, &validation).is_ok(), "the peer's is good");

    println!("bearer forms of one block, {} bytes; {pairs} interleaved pairs of {TIMES}; {}", text.len(), conditions());
    println!("{:<28} {:>20} {:>9} {:>9}", "", "ratio (min..max)", "ours µs", "peer µs");
    let rows: [Row<'_>; 7] = [
        ("signatures to biscuit", &ours_check, &their_check),
        ("mint to biscuit", &ours_mint, &their_mint),
        ("through the cache to biscuit", &hit, &their_check),
        ("verify to paseto v4.public", &ours_check, &paseto_verify),
        ("verify to jwt EdDSA", &ours_check, &jwt_verify),
        ("mint to paseto v4.public", &ours_mint, &paseto_sign),
        ("mint to jwt EdDSA", &ours_mint, &jwt_sign),
    ];
    for (name, ours, peer) in rows {
        timed(ours);
        timed(peer);
        let compared: Vec<_> = (0..pairs)
            .map(|pair| {
                if pair % 2 == 0 {
                    let ours = timed(ours);
                    (ours, timed(peer))
                } else {
                    let peer = timed(peer);
                    (timed(ours), peer)
                }
            })
            .collect();
        let micros = |of: fn(&(Duration, Duration)) -> Duration| median(&compared, |pair| of(pair).as_secs_f64() * 1e6);
        println!(
            "{name:<28} {:>20} {:>9.2} {:>9.2}",
            ratio(&compared, Duration::as_secs_f64),
            micros(|pair| pair.0),
            micros(|pair| pair.1)
        );
    }
    let alone: Vec<_> = (0..pairs).map(|_| (timed(&datalog), Duration::ZERO)).collect();
    println!("the datalog alone: {:.2} µs", median(&alone, |pair| pair.0.as_secs_f64() * 1e6));
    println!("after: {}", conditions());
}

/// PKCS#8 (RFC 8410) of a seed.
fn key_of(seed: &[u8; 32]) -> Vec<u8> {
    let head = [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
    [&head[..], seed].concat()
}
