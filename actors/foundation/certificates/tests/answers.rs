//! What is made, as a library that is not ours verifies it.

use certificates::{Authority, CertificateError, Issued, ROOT_LIFE, is_name, signs};
use kernel::{Millis, Timestamp};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use suites::signing::PrivateKey;
use suites::{Domain, Policy, Secret, Signature};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

const NOON: Timestamp = Timestamp(1_763_726_400_000);
const DAY: Millis = Millis::hours(24);

fn ago(time: Millis) -> Timestamp {
    Timestamp(NOON.0 - time.0)
}

struct One {
    authority: Authority,
    key: PrivateKey,
}

fn authority(version: u32, suite: Signature, since: Timestamp) -> One {
    let policy = Policy::default();
    let key = policy.allow(Domain::Trust, suite).unwrap().generate().unwrap();
    One { authority: Authority { version, suite, public: key.public().bytes().to_vec(), since }, key }
}

impl One {
    fn root(&self) -> CertificateDer<'static> {
        der(&self.authority.root(self.key.secret()).unwrap())
    }

    fn vouched(&self, before: &Self) -> CertificateDer<'static> {
        der(&self.authority.vouched(&before.authority, before.key.secret()).unwrap())
    }

    fn server(&self, names: &[&str], now: Timestamp, life: Millis) -> Result<Issued, CertificateError> {
        let names: Vec<_> = names.iter().copied().map(str::to_owned).collect();
        self.authority.server(self.key.secret(), &names, now, life)
    }
}

fn der(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

/// Whether a client that believes `root` takes `server` for `name`, at `now`.
fn takes(root: &CertificateDer<'_>, chain: &[CertificateDer<'_>], server: &str, name: &str, now: Timestamp) -> bool {
    let anchors: [TrustAnchor<'_>; 1] = [anchor_from_trusted_cert(root).unwrap()];
    let certificate = der(server);
    let certificate = EndEntityCert::try_from(&certificate).unwrap();
    let now = UnixTime::since_unix_epoch(std::time::Duration::from_millis(now.0));
    let algorithms = webpki::ALL_VERIFICATION_ALGS;
    let led = certificate.verify_for_usage(algorithms, &anchors, chain, now, KeyUsage::server_auth(), None, None);
    led.is_ok() && certificate.verify_is_valid_for_subject_name(&ServerName::try_from(name).unwrap()).is_ok()
}

#[test]
fn a_server_is_believed_by_its_names_in_its_time_by_who_believes_its_authority() {
    for suite in [Signature::EcdsaP256, Signature::EcdsaP384] {
        let (own, other) = (authority(1, suite, NOON), authority(1, suite, NOON));
        let issued = own.server(&["sop.example.org", "*.in.test", "10.0.0.7", "::1"], NOON, DAY).unwrap();
        assert_eq!(issued.until, NOON + DAY);
        for (row, root, name, at, taken) in [
            ("its name", &own, "sop.example.org", NOON, true),
            ("of a domain", &own, "a.in.test", NOON, true),
            ("its address", &own, "10.0.0.7", NOON, true),
            ("its address, of version 6", &own, "::1", NOON, true),
            ("on a clock that is behind", &own, "::1", ago(Millis::minutes(59)), true),
            ("another name", &own, "example.org", NOON, false),
            ("another address", &own, "10.0.0.8", NOON, false),
            ("too early", &own, "::1", ago(Millis::hours(2)), false),
            ("at its last second", &own, "::1", NOON + DAY, true),
            ("after its end", &own, "::1", NOON + DAY + Millis::seconds(1), false),
            ("another authority", &other, "sop.example.org", NOON, false),
        ] {
            assert_eq!(takes(&root.root(), &[], &issued.certificate, name, at), taken, "{suite} {row}");
        }
    }
}

#[test]
fn who_believes_an_authority_is_led_to_those_after_it_and_to_none_before() {
    let first = authority(1, Signature::EcdsaP256, NOON);
    let second = authority(2, Signature::EcdsaP384, NOON + DAY);
    let third = authority(3, Signature::EcdsaP256, NOON + DAY + DAY);
    let chain = [third.vouched(&second), second.vouched(&first)];
    let now = NOON + Millis::hours(72);
    let server = |one: &One| one.server(&["sop"], now, DAY).unwrap().certificate;
    assert!(takes(&first.root(), &chain, &server(&third), "sop", now));
    assert!(takes(&second.root(), &chain, &server(&third), "sop", now));
    assert!(takes(&third.root(), &chain, &server(&third), "sop", now));
    // Made anew, as when its file was lost, it is the same authority.
    assert_ne!(third.root(), third.root());
    assert!(!takes(&third.root(), &chain, &server(&first), "sop", now));
    assert!(!takes(&first.root(), &chain[..1], &server(&third), "sop", now), "one step of the way is missing");
}

#[test]
fn nothing_outlives_its_authority() {
    let (old, new) = (authority(1, Signature::EcdsaP256, NOON), authority(2, Signature::EcdsaP256, NOON + DAY));
    let end = NOON + ROOT_LIFE;
    let issued = old.server(&["sop"], Timestamp(end.0 - Millis::hours(1).0), DAY).unwrap();
    assert_eq!(issued.until, end);
    assert_eq!(old.server(&["sop"], end, DAY), Err(CertificateError::Ended));
    let last = new.server(&["sop"], end, DAY).unwrap().certificate;
    let chain = [new.vouched(&old)];
    assert!(takes(&new.root(), &[], &last, "sop", end + Millis::minutes(1)));
    assert!(!takes(&old.root(), &chain, &last, "sop", end + Millis::minutes(1)));
}

#[test]
fn what_signs_no_certificates_is_refused() {
    let own = authority(1, Signature::EcdsaP256, NOON);
    let other = authority(1, Signature::EcdsaP256, NOON);
    let names = ["sop".to_owned()];
    assert_eq!(own.authority.root(other.key.secret()), Err(CertificateError::OtherKey));
    assert_eq!(own.authority.root(&Secret::new(vec![1; 32])), Err(CertificateError::OtherKey));
    assert_eq!(own.authority.server(other.key.secret(), &names, NOON, DAY), Err(CertificateError::OtherKey));
    let edwards = authority(1, Signature::Ed25519, NOON);
    let refused = Err(CertificateError::Suite(Signature::Ed25519));
    assert_eq!(edwards.authority.root(edwards.key.secret()), refused);
    assert!(!signs(Signature::Ed25519) && !signs(Signature::RsaPss3072) && signs(Signature::EcdsaP384));
}

#[test]
fn a_server_is_named_as_names_go() {
    for (name, is_one) in [
        ("sop", true),
        ("sop.example.org", true),
        ("*.example.org", true),
        ("127.0.0.1", true),
        ("fe80::1", true),
        ("", false),
        ("*", false),
        ("*.org", false),
        ("a..b", false),
        ("-a", false),
        ("a b", false),
        ("a.*.b", false),
        ("ä.example", false),
        ("a\n", false),
        ("https://sop", false),
    ] {
        assert_eq!(is_name(name), is_one, "{name:?}");
    }
    assert!(!is_name(&"a".repeat(64)) && !is_name(&["a"; 128].join(".")));
}
