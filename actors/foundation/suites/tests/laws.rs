//! What holds whatever is given.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select, subsequence};
use suites::{
    Agreement, Cipher, Domain, FLOOR_BITS, Family, Hash, Kind, Policy, Purpose, Secret, Signature, Suite, Wrap,
    agreeing, hashing, sealing, signing, wrapping,
};

const PURPOSES: [Purpose; 3] = [Purpose::new("a"), Purpose::new("b"), Purpose::new("a.b")];

fn domain() -> impl Strategy<Value = Domain> {
    select(&Domain::ALL[..])
}

fn purpose() -> impl Strategy<Value = Purpose> {
    select(&PURPOSES[..])
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..96)
}

/// Those whose keys are made in no time, and RSA's are not.
fn signature() -> impl Strategy<Value = Signature> {
    let quick = Signature::all().filter(|suite| !suite.name().starts_with("rsa"));
    select(quick.collect::<Vec<_>>())
}

/// Everything that can be made, everywhere.
fn open() -> Policy {
    let mut policy = Policy::default();
    for domain in Domain::ALL {
        let names = Suite::ALL.into_iter().filter(|suite| suite.makes()).map(Suite::name);
        policy.set(domain, FLOOR_BITS, names, []).unwrap();
    }
    policy
}

fn flipped(bytes: &[u8], at: Index, bit: u8) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let at = at.index(bytes.len());
    bytes[at] ^= 1 << bit;
    bytes
}

fn allows<S: Family>(policy: &Policy, domain: Domain, suite: Suite) -> Option<(bool, bool)> {
    S::of(suite).map(|suite| (policy.allow(domain, suite).is_ok(), policy.accept(domain, suite).is_ok()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Under the purpose and domain, of the message, with the key: and with nothing else.
    #[test]
    fn a_signature_is_of_what_was_signed(
        suite in signature(), made in domain(), asked in domain(), purposes in (purpose(), purpose()),
        messages in (bytes(), bytes()), at in any::<Index>(), bit in 0_u8..8,
    ) {
        let policy = open();
        let key = policy.allow(made, suite).unwrap().generate().unwrap();
        let signed = policy.allow(made, suite).unwrap().sign(&key, purposes.0, &messages.0).unwrap();
        let read = signing::Signed::read(&signed.to_bytes()).unwrap();
        prop_assert_eq!(&read, &signed);
        let again = signing::PrivateKey::read(suite, key.secret().clone()).unwrap();
        let public = signing::PublicKey::read(suite, key.public().bytes()).unwrap();
        prop_assert_eq!((again.public(), key.public()), (&public, &public));

        let verify = |message: &[u8], signed: &signing::Signed| {
            policy.accept(asked, suite).unwrap().verify(&public, purposes.1, message, signed)
        };
        let is_same = made == asked && purposes.0 == purposes.1;
        prop_assert_eq!(verify(&messages.0, &signed).is_ok(), is_same);
        prop_assert_eq!(verify(&messages.1, &signed).is_ok(), is_same && messages.0 == messages.1);
        if let Ok(changed) = signing::Signed::read(&flipped(&signed.to_bytes(), at, bit)) {
            prop_assert!(verify(&messages.0, &changed).is_err(), "a changed bit");
        }
    }

    #[test]
    fn what_is_sealed_is_opened_by_the_same_only(
        suite in select(Cipher::all().collect::<Vec<_>>()), made in domain(), asked in domain(),
        purposes in (purpose(), purpose()), about in (bytes(), bytes()), text in bytes(), at in any::<Index>(), bit in 0_u8..8,
        occasion in proptest::option::of(bytes()),
    ) {
        let policy = open();
        let allowed = policy.allow(made, suite).unwrap();
        let key = allowed.generate().unwrap();
        let sealed = match &occasion {
            Some(occasion) => allowed.seal_again(&key, purposes.0, &about.0, occasion, &text),
            None => allowed.seal(&key, purposes.0, &about.0, &text),
        };
        let sealed = sealed.unwrap();
        let key = sealing::Key::read(suite, key.secret().clone()).unwrap();
        let open = |about: &[u8], sealed: &[u8]| policy.accept(asked, suite).unwrap().open(&key, purposes.1, about, sealed);
        let is_same = made == asked && purposes.0 == purposes.1;
        prop_assert_eq!(open(&about.0, &sealed).ok(), is_same.then(|| Secret::new(text)));
        prop_assert_eq!(open(&about.1, &sealed).is_ok(), is_same && about.0 == about.1);
        prop_assert!(open(&about.0, &flipped(&sealed, at, bit)).is_err(), "a changed bit");
    }

    #[test]
    fn what_is_wrapped_is_unwrapped_by_the_same_only(
        suite in select(Wrap::all().collect::<Vec<_>>()), made in domain(), asked in domain(),
        purposes in (purpose(), purpose()), about in (bytes(), bytes()), groups in 2_usize..40, at in any::<Index>(),
        bit in 0_u8..8,
    ) {
        let policy = open();
        let root = policy.allow(made, suite).unwrap().generate().unwrap();
        let secret = Secret::new(vec![bit; 8 * groups]);
        let wrapped = policy.allow(made, suite).unwrap().wrap(&root, purposes.0, &about.0, &secret).unwrap();
        let root = wrapping::Key::read(suite, root.secret().clone()).unwrap();
        let unwrap = |about: &[u8], wrapped: &[u8]| {
            policy.accept(asked, suite).unwrap().unwrap(&root, purposes.1, about, wrapped)
        };
        let is_same = made == asked && purposes.0 == purposes.1;
        prop_assert_eq!(unwrap(&about.0, &wrapped).ok(), is_same.then_some(secret));
        prop_assert_eq!(unwrap(&about.1, &wrapped).is_ok(), is_same && about.0 == about.1);
        prop_assert!(unwrap(&about.0, &flipped(&wrapped, at, bit)).is_err(), "a changed bit");
    }

    #[test]
    fn a_capsule_carries_one_secret_to_one_key(
        suite in select(Agreement::all().collect::<Vec<_>>()), made in domain(), asked in domain(),
        purposes in (purpose(), purpose()), at in any::<Index>(), bit in 0_u8..8,
    ) {
        let policy = open();
        let allowed = policy.allow(made, suite).unwrap();
        let key = allowed.generate().unwrap();
        let (capsule, secret) = allowed.encapsulate(key.public(), purposes.0).unwrap();
        let open = |capsule: &[u8]| policy.accept(asked, suite).unwrap().decapsulate(&key, purposes.1, capsule).ok();
        let is_same = made == asked && purposes.0 == purposes.1;
        prop_assert_eq!(open(&capsule).as_ref() == Some(&secret), is_same);
        prop_assert_ne!(open(&flipped(&capsule, at, bit)), Some(secret), "a changed bit");
    }

    /// What it says of itself is what it does; what is made is strong enough and can be checked; a refusal changes nothing.
    #[test]
    fn a_policy_is_what_it_says(
        allowed in subsequence(Suite::ALL.to_vec(), 0..=19), accepted in subsequence(Suite::ALL.to_vec(), 0..=4),
        of in domain(), bits in 100_u16..260,
    ) {
        let mut policy = Policy::default();
        let set = policy.set(of, bits, allowed.iter().map(|suite| suite.name()), accepted.iter().map(|suite| suite.name()));
        if set.is_err() {
            prop_assert_eq!(&policy, &Policy::default());
        } else {
            prop_assert_eq!(policy.makes(of).collect::<Vec<_>>(), allowed);
            prop_assert_eq!(policy.checks(of).collect::<Vec<_>>(), accepted);
        }
        for (domain, suite) in Domain::ALL.into_iter().flat_map(|domain| Suite::ALL.map(|suite| (domain, suite))) {
            let answer = match suite.kind() {
                Kind::Hash => allows::<Hash>(&policy, domain, suite),
                Kind::Cipher => allows::<Cipher>(&policy, domain, suite),
                Kind::Wrap => allows::<Wrap>(&policy, domain, suite),
                Kind::Signature => allows::<Signature>(&policy, domain, suite),
                Kind::Agreement => allows::<Agreement>(&policy, domain, suite),
            };
            let (makes, checks) = answer.expect("it is of its kind");
            prop_assert_eq!(makes, policy.makes(domain).any(|one| one == suite));
            prop_assert_eq!(checks, makes || policy.checks(domain).any(|one| one == suite));
            prop_assert!(!makes || (suite.makes() && policy.bits(domain) <= suite.bits()));
        }
    }

    /// Whatever bytes come: a refusal, or the one form of what they are.
    #[test]
    fn nothing_that_is_read_panics(bytes in vec(any::<u8>(), 0..128), suite in select(&Suite::ALL[..]), tagged in any::<bool>()) {
        let policy = open();
        let bytes = if tagged { [&[1], &suite.tag().to_be_bytes()[..], &bytes].concat() } else { bytes };
        if let Ok(signed) = signing::Signed::read(&bytes) {
            prop_assert_eq!(signed.to_bytes(), bytes.clone());
        }
        match suite {
            Suite::Hash(_) => {
                let text = String::from_utf8_lossy(&bytes);
                if let Ok(digest) = text.parse::<hashing::Digest>() {
                    prop_assert_eq!(digest.to_string(), text);
                }
            }
            Suite::Cipher(suite) => {
                let key = sealing::Key::read(suite, Secret::new(vec![1; 32])).unwrap();
                prop_assert!(policy.accept(Domain::System, suite).unwrap().open(&key, PURPOSES[0], b"", &bytes).is_err());
            }
            Suite::Wrap(suite) => {
                let key = wrapping::Key::read(suite, Secret::new(vec![1; 32])).unwrap();
                prop_assert!(policy.accept(Domain::System, suite).unwrap().unwrap(&key, PURPOSES[0], b"", &bytes).is_err());
            }
            Suite::Signature(suite) => {
                if let Ok(key) = signing::PublicKey::read(suite, &bytes) {
                    prop_assert!(key.bytes() == bytes || key.bare() == Some(&bytes[..]));
                }
                if let Ok(key) = signing::PrivateKey::read(suite, Secret::new(bytes.clone())) {
                    prop_assert_eq!(key.secret().expose(), bytes);
                }
            }
            Suite::Agreement(suite) => {
                if let Ok(key) = agreeing::PublicKey::read(suite, &bytes) {
                    prop_assert!(key.bytes() == bytes || key.bare() == bytes);
                }
                let key = policy.allow(Domain::System, suite).unwrap().generate().unwrap();
                let _ = policy.accept(Domain::System, suite).unwrap().decapsulate(&key, PURPOSES[0], &bytes);
            }
        }
    }
}
