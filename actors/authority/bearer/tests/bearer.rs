//! What a bearer form says, what narrows it, and what is not taken for one.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bearer::{
    BLOCKS_MAX, Carried, Claims, Key, Narrower, PREFIX, Refusal, Signed, TEXT_MAX, Use, attenuate, inspect, mint,
};
use biscuit_auth::builder::Scope;
use biscuit_auth::{BlockBuilder, UnverifiedBiscuit};
use kernel::{Digest, Millis, Principal, Refuse, Timestamp, TokenId};
use proptest::collection::vec;
use proptest::prelude::*;

const NOON: Timestamp = Timestamp(1_800_000_000_000);

fn principal(text: &str) -> Principal {
    text.parse().unwrap()
}

fn key() -> Key {
    Key::of(&[7; 32])
}

fn claims() -> Claims {
    Claims {
        id: TokenId(0x0190_c3a2_7b5e_7cc3_98c4_dc0c_0c07_398f),
        kind: "operation".into(),
        subject: principal("agent/alpha"),
        issuer: principal("operator/root"),
        audience: "arp".into(),
        operation: "deploy".into(),
        target: None,
        request: None,
        todo: None,
        starts_at: NOON,
        expires_at: NOON + Millis::minutes(15),
    }
}

fn wanted() -> Use<'static> {
    Use {
        audience: "arp",
        operation: "deploy",
        work: None,
        target: Some("web"),
        request: Some(Digest([1; 32])),
        now: NOON,
    }
}

fn verified(text: &str) -> Carried {
    Carried::verify(text, &key().public()).unwrap()
}

/// The code of the refusal, if it is one.
fn said(text: &str, wanted: &Use<'_>) -> Option<&'static str> {
    verified(text).permits(wanted).err().map(|refusal| refusal.code())
}

#[test]
fn what_is_minted_says_what_was_issued_and_permits_no_more() {
    let bare = mint(&key(), &claims());
    assert!(bare.starts_with("sop_bt_") && bearer::is_bearer(&bare) && bare.len() < 1_200, "{}", bare.len());
    assert_eq!(verified(&bare).claims(), &claims());
    assert_eq!(inspect(&bare).unwrap().claims, claims());
    let (target, request) = (Some("web".to_owned()), Some(Digest([1; 32])));
    let full = Claims { target, request, todo: Some(17), kind: "test".into(), ..claims() };
    let bound = mint(&key(), &full);
    assert_eq!(verified(&bound).claims(), &full);
    let late = NOON + Millis::minutes(15);
    for (row, text, wanted, expected) in [
        ("good", &bare, wanted(), None),
        ("good, bound", &bound, wanted(), None),
        ("with nothing said of what does not matter", &bare, Use { target: None, request: None, ..wanted() }, None),
        ("elsewhere", &bare, Use { audience: "scp", ..wanted() }, Some("bearer.not_for")),
        ("otherwise", &bare, Use { operation: "stop", ..wanted() }, Some("bearer.not_for")),
        ("on another", &bound, Use { target: Some("db"), ..wanted() }, Some("bearer.not_for")),
        ("on nothing", &bound, Use { target: None, ..wanted() }, Some("bearer.not_for")),
        ("another request", &bound, Use { request: Some(Digest([2; 32])), ..wanted() }, Some("bearer.not_for")),
        ("no request", &bound, Use { request: None, ..wanted() }, Some("bearer.not_for")),
        ("too early", &bare, Use { now: Timestamp(NOON.0 - 1), ..wanted() }, Some("bearer.not_for")),
        ("at the last instant", &bare, Use { now: Timestamp(late.0 - 1), ..wanted() }, None),
        ("expired", &bare, Use { now: late, ..wanted() }, Some("bearer.expired")),
    ] {
        assert_eq!(said(text, &wanted), expected, "{row}");
    }
    // An instant within a second is said to the second, and never the later one.
    let within = Claims { starts_at: Timestamp(NOON.0 + 1), expires_at: Timestamp(NOON.0 + 2_999), ..claims() };
    let read = verified(&mint(&key(), &within)).claims().clone();
    assert_eq!((read.starts_at, read.expires_at), (NOON, NOON + Millis::seconds(2)));
}

#[test]
fn who_holds_one_takes_something_off() {
    let bare = mint(&key(), &claims());
    let name = |text: &str| Some(text.to_owned());
    for (row, narrower, other) in [
        ("the target", Narrower { target: name("web"), ..Narrower::default() }, Use { target: Some("db"), ..wanted() }),
        (
            "the audience",
            Narrower { audience: name("arp"), ..Narrower::default() },
            Use { audience: "scp", ..wanted() },
        ),
        (
            "the operation",
            Narrower { operation: name("deploy"), ..Narrower::default() },
            Use { operation: "x", ..wanted() },
        ),
        (
            "the request",
            Narrower { request: Some(Digest([1; 32])), ..Narrower::default() },
            Use { request: None, ..wanted() },
        ),
        (
            "the end",
            Narrower { until: Some(NOON + Millis::seconds(5)), ..Narrower::default() },
            Use { now: NOON + Millis::seconds(5), ..wanted() },
        ),
    ] {
        let less = attenuate(&bare, &narrower, None).unwrap();
        assert_eq!(said(&less, &wanted()), None, "{row}");
        assert_eq!(said(&less, &other), Some("bearer.not_for"), "{row}");
        assert_eq!(verified(&less).claims(), &claims(), "{row}: it is the same token");
        assert_eq!(verified(&less).says().narrowed.len(), 1, "{row}");
    }
    for bad in ["", "a\nb", &"a".repeat(1_025)] {
        let narrower = Narrower { target: name(bad), ..Narrower::default() };
        assert_eq!(attenuate(&bare, &narrower, None), Err(Refusal::BadNarrowing), "{bad:?}");
    }
    let mut long = bare;
    for _ in 1..BLOCKS_MAX {
        long = attenuate(&long, &Narrower::default(), None).unwrap();
    }
    assert_eq!(said(&long, &wanted()), None);
    assert_eq!(attenuate(&long, &Narrower::default(), None), Err(Refusal::TooLong));
}

#[test]
fn the_hands_that_it_went_through_are_seen() {
    let (alpha, beta, gamma) = (principal("agent/alpha"), principal("agent/beta"), principal("agent/gamma"));
    let signer = Key::of(&[9; 32]);
    let hop =
        |from: &Principal, to: &Principal| Narrower { hop: Some((from.clone(), to.clone())), ..Narrower::default() };
    let first = attenuate(&mint(&key(), &claims()), &hop(&alpha, &beta), Some(&signer)).unwrap();
    let narrower = Narrower { target: Some("web".into()), ..hop(&beta, &gamma) };
    let second = attenuate(&first, &narrower, None).unwrap();
    let hops =
        verified(&second).says().hops.iter().map(|hop| (hop.from.clone(), hop.to.clone(), hop.key)).collect::<Vec<_>>();
    assert_eq!(hops, [(alpha, beta.clone(), Some(signer.public())), (beta, gamma, None)]);
    assert_eq!((said(&second, &wanted()), inspect(&second).unwrap().hops.len()), (None, 2));
    assert_eq!(said(&second, &Use { target: Some("db"), ..wanted() }), Some("bearer.not_for"));
    // A block that is signed narrows as one that is not.
    let less =
        attenuate(&first, &Narrower { target: Some("web".into()), ..Narrower::default() }, Some(&signer)).unwrap();
    assert_eq!(said(&less, &Use { target: Some("db"), ..wanted() }), Some("bearer.not_for"));
}

/// With a block of somebody else's words behind it.
/// In whose hands it is stands in what each of them signed, one after the other.
#[test]
fn it_is_in_the_hands_of_the_last_of_an_unbroken_chain() {
    let (alpha, beta) = (Key::of(&[1; 32]), Key::of(&[2; 32]));
    let (alphas, betas) = (alpha.public(), beta.public());
    let known = |who: &Principal, key: &bearer::PublicKey| match who.to_string().as_str() {
        "agent/alpha" => *key == alphas,
        "agent/beta" => *key == betas,
        _ => false,
    };
    let hop = |from: &str, to: &str| Narrower { hop: Some((principal(from), principal(to))), ..Narrower::default() };
    let (to_beta, to_gamma) = (hop("agent/alpha", "agent/beta"), hop("agent/beta", "agent/gamma"));
    let broken = |number| Err(Refusal::BrokenChain { number });
    for (row, hands, holder) in [
        ("nobody's", vec![], Ok("agent/alpha")),
        ("one", vec![(&to_beta, Some(&alpha))], Ok("agent/beta")),
        ("two", vec![(&to_beta, Some(&alpha)), (&to_gamma, Some(&beta))], Ok("agent/gamma")),
        ("unsigned", vec![(&to_beta, None)], broken(1)),
        ("signed by another", vec![(&to_beta, Some(&beta))], broken(1)),
        ("not his to hand on", vec![(&to_gamma, Some(&beta))], broken(1)),
        ("twice by the first", vec![(&to_beta, Some(&alpha)), (&to_beta, Some(&alpha))], broken(2)),
        ("unsigned after", vec![(&to_beta, Some(&alpha)), (&to_gamma, None)], broken(2)),
    ] {
        let text = hands.iter().fold(mint(&key(), &claims()), |text, (hop, key)| attenuate(&text, hop, *key).unwrap());
        let carried = verified(&text);
        let said = carried.says().holder(known).map(ToString::to_string);
        assert_eq!(said, holder.map(ToOwned::to_owned), "{row}");
    }
}

fn with(code: &str) -> String {
    behind(&mint(&key(), &claims()), BlockBuilder::new().code(code).unwrap())
}

fn behind(text: &str, block: BlockBuilder) -> String {
    let bytes = URL_SAFE_NO_PAD.decode(&text[PREFIX.len()..]).unwrap();
    let biscuit = UnverifiedBiscuit::from(bytes).unwrap().append(block).unwrap();
    format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(biscuit.to_vec().unwrap()))
}

#[test]
fn what_a_later_block_says_adds_nothing() {
    let code = r#"token("x"); subject("operator/root"); audience("scp"); at("scp"); does("stop"); time(1999-01-01T00:00:00Z);
        expires(2999-01-01T00:00:00Z)"#;
    let text = with(code);
    assert_eq!(verified(&text).claims(), &claims());
    for other in [Use { audience: "scp", ..wanted() }, Use { operation: "stop", ..wanted() }] {
        assert_eq!(said(&text, &other), Some("bearer.not_for"));
    }
    assert_eq!(said(&text, &Use { now: NOON + Millis::hours(1), ..wanted() }), Some("bearer.expired"));
}

#[test]
fn what_costs_more_than_its_length_is_refused() {
    let many = |line: &str| (0..17).map(|number| line.replace('#', &number.to_string())).collect::<String>();
    let queries = (0..5).map(|number| format!("on(\"{number}\")")).collect::<Vec<_>>().join(" or ");
    for (row, code) in [
        ("a rule", "at($x) <- does($x)".to_owned()),
        ("a scope of a check", r#"check if at("arp") trusting previous"#.to_owned()),
        ("a closure", "check if [1, 2].any($x -> $x > 1)".to_owned()),
        ("a pattern", r#"check if on($x), $x.matches("(a+)+")"#.to_owned()),
        ("a function of others", "check if true.extern::f()".to_owned()),
        ("a join", "check if on($x), at($y), does($z)".to_owned()),
        ("many facts", many("f(#);")),
        ("many checks", many("check if on(\"#\");")),
        ("many queries", format!("check if {queries}")),
        ("a hop of nobody", r#"hands_on("x", "y")"#.to_owned()),
    ] {
        let signed = Signed::check(&with(&code), &key().public()).unwrap();
        assert_eq!(signed.read().map(drop), Err(Refusal::Strange), "{row}");
    }
    let five = r#"check if on("web");"#.repeat(5);
    let mut long = mint(&key(), &claims());
    for number in 0..10 {
        assert!(Carried::verify(&long, &key().public()).is_ok(), "{number} blocks of five lines");
        long = behind(&long, BlockBuilder::new().code(&five).unwrap());
    }
    assert_eq!(Carried::verify(&long, &key().public()).map(drop), Err(Refusal::Strange));
    // Whom a block trusts is its own affair.
    let trusting = BlockBuilder::new().code(r#"at("scp"); check if subject($x)"#).unwrap().scope(Scope::Previous);
    let text = behind(&mint(&key(), &claims()), trusting);
    assert_eq!(
        [said(&text, &wanted()), said(&text, &Use { audience: "scp", ..wanted() })],
        [None, Some("bearer.not_for")]
    );
    assert!(
        verified(&with(r#"check if on("web") or on("db"); check if at($x), $x.starts_with("a")"#))
            .permits(&wanted())
            .is_ok()
    );
}

#[test]
fn what_is_no_token_of_ours_is_refused() {
    let text = mint(&key(), &claims());
    let check = |text: &str| Signed::check(text, &key().public()).map(drop);
    assert_eq!(Signed::check(&text, &Key::of(&[8; 32]).public()).map(drop), Err(Refusal::Forged));
    for bad in [
        "",
        "sop_bt_",
        "sop_bt_!",
        "sop_tk_00",
        &text[1..],
        &text[..text.len() - 4],
        &text.replace("sop_bt_", "sop_op_"),
    ] {
        assert!(matches!(check(bad), Err(Refusal::Malformed | Refusal::Forged)), "{bad}");
    }
    assert_eq!(check(&format!("{text}{}", "A".repeat(TEXT_MAX))), Err(Refusal::TooLong));
    let shown = format!("{:?}", verified(&text));
    assert!(!shown.contains(&text[PREFIX.len()..PREFIX.len() + 24]), "{shown}");
}

/// Every bit of it: refused, or the same.
#[test]
fn a_flipped_bit_is_no_other_token() {
    let narrower = Narrower { target: Some("web".into()), ..Narrower::default() };
    let text = attenuate(&mint(&key(), &claims()), &narrower, None).unwrap();
    let bytes = URL_SAFE_NO_PAD.decode(&text[PREFIX.len()..]).unwrap();
    let taken_off = verified(&text).says().narrowed.clone();
    for (place, bit) in (0..bytes.len()).map(|place| (place, place % 8)) {
        let mut other = bytes.clone();
        other[place] ^= 1 << bit;
        let other = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(other));
        if let Ok(read) = Carried::verify(&other, &key().public()) {
            assert_eq!((read.claims(), &read.says().narrowed), (&claims(), &taken_off), "byte {place}");
        }
    }
}

fn narrower() -> impl Strategy<Value = Narrower> {
    let few = |names: &'static [&'static str]| prop::option::of(prop::sample::select(names).prop_map(str::to_owned));
    let until = prop::option::of((0..20_u64).prop_map(|minutes| NOON + Millis::minutes(minutes)));
    let request = prop::option::of((1..3_u8).prop_map(|request| Digest([request; 32])));
    let names = (few(&["arp", "scp"]), few(&["deploy", "stop"]), few(&["web", "db"]));
    (names, request, until).prop_map(|((audience, operation, target), request, until)| Narrower {
        audience,
        operation,
        target,
        request,
        until,
        hop: None,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever is asked, a longer chain says yes to nothing that a shorter one says no to; and each block does what it says.
    #[test]
    fn no_chain_adds_authority(chain in vec((narrower(), any::<bool>()), 1..6), minutes in 0..20_u64) {
        let (signer, now) = (Key::of(&[9; 32]), NOON + Millis::minutes(minutes));
        let mut texts = vec![mint(&key(), &claims())];
        for (narrower, signed) in &chain {
            let longer = attenuate(texts.last().unwrap(), narrower, signed.then_some(&signer)).unwrap();
            texts.push(longer);
        }
        let carried: Vec<_> = texts.iter().map(|text| verified(text)).collect();
        for audience in ["arp", "scp"] {
            for operation in ["deploy", "stop"] {
                for target in [None, Some("web"), Some("db")] {
                    for request in [None, Some(Digest([1; 32])), Some(Digest([2; 32]))] {
                        let wanted = Use { audience, operation, work: None, target, request, now };
                        let allowed: Vec<_> = carried.iter().map(|one| one.permits(&wanted).is_ok()).collect();
                        prop_assert!(allowed.windows(2).all(|pair| pair[0] || !pair[1]), "{:?} {:?}", wanted, allowed);
                        let meets = |narrower: &Narrower| {
                            let Narrower { audience: a, operation: o, target: t, request: r, until, .. } = narrower;
                            a.as_deref().is_none_or(|a| a == audience)
                                && o.as_deref().is_none_or(|o| o == operation)
                                && t.as_deref().is_none_or(|t| target == Some(t))
                                && r.is_none_or(|r| request == Some(r))
                                && until.is_none_or(|until| now < until)
                        };
                        let own = audience == "arp" && operation == "deploy" && minutes < 15;
                        let expected = own && chain.iter().all(|(narrower, _)| meets(narrower));
                        prop_assert_eq!(allowed.last(), Some(&expected));
                    }
                }
            }
        }
    }
}
