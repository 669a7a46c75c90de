//! Keys beside that of the log: what is given must have signed, what follows it is as good, and what is revoked is not.

use std::fs;

use base64ct::{Base64, Encoding as _};
use evidence::BesideKey;
use evidence::note::Key as LogKey;
use suites::signing::PrivateKey;
use suites::{Domain, Policy, Purpose, Signature};
use verifier::beside::{Chain, Key};
use verifier::note::Trust;
use verifier::{attestation, release};

use crate::program::run;

const LOG: &str = "sop/one";

/// A key of the authority's keystore, as its own libraries make and use it.
struct Kept {
    name: &'static str,
    domain: Domain,
    purpose: Purpose,
    private: PrivateKey,
}

impl Kept {
    fn new(name: &'static str, suite: Signature) -> Self {
        let (domain, purpose) = match name.split_once('.').unwrap().0 {
            "checkpoints" => (Domain::System, Purpose::new("checkpoints")),
            "receipts" => (Domain::Governance, Purpose::new("receipts")),
            "releases" => (Domain::Trust, Purpose::new("releases")),
            other => panic!("{other}"),
        };
        let private = Policy::default().allow(domain, suite).unwrap().generate().unwrap();
        Self { name, domain, purpose, private }
    }

    fn of(&self, log: &str) -> BesideKey {
        let tag = suites::Suite::from(self.private.suite()).tag();
        BesideKey::new(log, self.name, tag, self.private.public().bytes())
    }

    fn vkey(&self) -> String {
        self.of(LOG).to_string()
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let policy = Policy::default();
        let allowed = policy.allow(self.domain, self.private.suite()).unwrap();
        allowed.sign(&self.private, self.purpose, message).unwrap().to_bytes()
    }

    fn line(&self, text: &str) -> String {
        self.of(LOG).line(&self.sign(text.as_bytes())) + "\n"
    }

    fn chain(&self) -> Chain {
        Chain::of(Key::parse(&self.vkey()).unwrap())
    }

    /// The line of a succession, vouched for by another one.
    fn follows(&self, by: &Self) -> String {
        let tag = suites::Suite::from(self.private.suite()).tag();
        let mut said = format!("sop key succession 1\n{}\n{tag:#06x}\n", self.name).into_bytes();
        said.extend(self.private.public().bytes());
        let version = by.name.rsplit_once('.').unwrap().1;
        format!("key {} by {version} {}\n", self.vkey(), Base64::encode_string(&by.sign(&said)))
    }
}

fn text(size: u64) -> String {
    format!("{LOG}\n{size}\n{}\n", verifier::tree::leaf(b"any"))
}

fn alone(chain: Chain) -> Trust {
    Trust { log: None, beside: vec![chain], witnesses: Vec::new(), quorum: 0 }
}

#[test]
fn what_is_given_must_have_signed_and_nothing_else_counts() {
    let log = LogKey::generate(|_| LOG.to_owned()).unwrap();
    let text = text(9);
    let note = log.sign(&text);
    for suite in [Signature::Ed25519, Signature::MlDsa65, Signature::Ed25519MlDsa65] {
        let (kept, other) = (Kept::new("checkpoints.1", suite), Kept::new("checkpoints.1", suite));
        let receipts = Kept::new("receipts.1", suite);
        let both = Trust {
            beside: vec![kept.chain()],
            ..Trust::of(verifier::note::Key::log(&log.public().to_string()).unwrap())
        };
        let signed = format!("{note}{}", kept.line(&text));
        let line = kept.line(&text);
        let found = both.checkpoint(&signed).unwrap();
        assert_eq!(
            (found.size, found.beside[0].name.as_str(), found.beside[0].suite),
            (9, "sop/one/checkpoints.1", suite.name())
        );
        assert_eq!(alone(kept.chain()).checkpoint(&signed).unwrap().size, 9, "it is enough by itself");
        assert_eq!(alone(kept.chain()).checkpoint(&format!("{text}\n{line}")).unwrap().size, 9);
        assert!(both.checkpoint(&format!("{text}\n{line}")).is_err(), "and not, if the log's is asked for, too");
        let under = |name: &str, line: &str| line.replacen(kept.of(LOG).name(), name, 1);
        let as_receipt = {
            // The same key, asked to sign a receipt of this text.
            let policy = Policy::default();
            let allowed = policy.allow(Domain::Governance, suite).unwrap();
            let signature = allowed.sign(&kept.private, Purpose::new("receipts"), text.as_bytes()).unwrap().to_bytes();
            kept.of(LOG).line(&signature) + "\n"
        };
        let bare = {
            let policy = Policy::default();
            let signature = policy.allow(Domain::System, suite).unwrap().sign_note(&kept.private, &text).unwrap();
            kept.of(LOG).line(&signature) + "\n"
        };
        let signature = kept.sign(text.as_bytes());
        let framed = |signature: &[u8]| kept.of(LOG).line(signature) + "\n";
        let another_tag = [&[1, 4, 3], &signature[3..]].concat();
        let longer = [&signature[..], &[0]].concat();
        for (row, lines) in [
            ("no line", String::new()),
            ("of the same name, and another key", other.line(&text)),
            ("of a key for another purpose", receipts.line(&text)),
            ("for another purpose", as_receipt),
            ("bound to nothing", bare),
            ("over another text", kept.line(&self::text(8))),
            ("of another log", under("sop/two/checkpoints.1", &line)),
            ("of another version", under("sop/one/checkpoints.2", &line)),
            ("cut", framed(&signature[..signature.len() - 1])),
            ("empty but for its head", framed(&signature[..3])),
            ("longer", framed(&longer)),
            ("of another suite, it says", framed(&another_tag)),
            ("of another form", framed(&[&[2], &signature[1..]].concat())),
            ("right, and then wrong", line.clone() + &framed(&longer)),
            ("no line at all", line.replacen("— ", "- ", 1)),
            ("without its end", line.trim_end().to_owned()),
            ("oversized", line.clone() + &kept.of(LOG).line(&vec![7; 50_000]) + "\n"),
        ] {
            for trust in [both.clone(), alone(kept.chain())] {
                assert!(trust.checkpoint(&format!("{note}{lines}")).is_err(), "{suite}: {row}");
            }
        }
        // Twice is once.
        assert_eq!(both.checkpoint(&format!("{signed}{}", kept.line(&text))).unwrap().beside.len(), 1);
        // A bit of it changed, each in a place of its own.
        for at in (0..signature.len()).step_by(signature.len() / 16) {
            let mut changed = signature.clone();
            changed[at] ^= 1;
            assert!(both.checkpoint(&format!("{note}{}", framed(&changed))).is_err(), "{suite}: byte {at}");
        }
        for half in [&signature[..67], &signature[..signature.len().min(3_312)]] {
            if half.len() < signature.len() {
                assert!(both.checkpoint(&format!("{note}{}", framed(half))).is_err(), "{suite}: half of it");
            }
        }
    }
}

#[test]
fn who_trusts_one_can_follow_to_those_after_it() {
    let keys: Vec<_> = ["checkpoints.1", "checkpoints.2", "checkpoints.3"]
        .into_iter()
        .map(|name| Kept::new(name, if name.ends_with('2') { Signature::Ed25519 } else { Signature::Ed25519MlDsa65 }))
        .collect();
    let [one, two, three] = &keys[..] else { unreachable!() };
    let receipts = Kept::new("receipts.1", Signature::Ed25519);
    let title = "sop succession v1\n";
    let first = format!("key {}\n", one.vkey());
    let whole = format!("{title}{first}key {}\n{}{}", receipts.vkey(), two.follows(one), three.follows(two));
    let text = text(50);
    let seen = |chain: Result<Chain, String>, by: &Kept| {
        chain.is_ok_and(|chain| alone(chain).checkpoint(&format!("{text}\n{}", by.line(&text))).is_ok())
    };
    for key in &keys {
        assert!(seen(one.chain().followed(&whole), key), "{}", key.name);
    }
    // From where one begins to trust, and not before.
    assert!(seen(two.chain().followed(&whole), three) && !seen(two.chain().followed(&whole), one));
    assert!(!seen(Ok(one.chain()), two), "without a succession it is that key alone");
    // What is revoked signs from then on in vain, and vouches for nobody.
    let revoked = |since: u64| whole.replacen(&one.vkey(), &format!("{} revoked {since}", one.vkey()), 1);
    assert!(seen(one.chain().followed(&revoked(51)), one) && !seen(one.chain().followed(&revoked(50)), one));
    assert!(!seen(one.chain().followed(&revoked(51)), two));
    for (row, file) in [
        ("nothing", String::new()),
        ("another file", whole.replacen("v1", "v2", 1)),
        ("cut", whole[..whole.len() - 1].to_owned()),
        ("cut in a line", whole[..whole.len() - 40].to_owned()),
        ("a word", format!("{whole}hello\n")),
        ("an empty line", format!("{title}\n{first}")),
        ("vouched for by another", format!("{title}{first}{}", two.follows(three).replacen(" by 3 ", " by 1 ", 1))),
        (
            "another key by a name that is known",
            format!("{title}key {}\n", Kept::new("checkpoints.1", Signature::Ed25519).vkey()),
        ),
        ("a number in another form", whole.replacen(" by 1 ", " by 01 ", 1)),
    ] {
        assert!(one.chain().followed(&file).is_err(), "{row}");
    }
    // By nobody who is known, it is not followed.
    assert!(!seen(one.chain().followed(&format!("{title}{first}{}", three.follows(two))), three));
    assert!(!seen(one.chain().followed(&format!("{title}{first}key {}\n", two.vkey())), two));
}

#[test]
fn an_attestation_has_such_a_line_too_and_no_checkpoint_is_one() {
    let log = LogKey::generate(|_| LOG.to_owned()).unwrap();
    let kept = Kept::new("checkpoints.1", Signature::Ed25519MlDsa65);
    let digest = verifier::hex(&[1; 32]);
    let said = format!(
        "attestation v1 of {LOG}\ntime 17\nprogram 0.1.0 blake3 {digest}\nconfiguration blake3 {digest}\npolicy epoch 3 blake3 {digest}\n\
         checkpoint 9 {}\n",
        verifier::tree::leaf(b"any")
    );
    let note = log.sign(&said) + &kept.line(&said);
    assert_eq!(attestation::verify(&note, &alone(kept.chain())).unwrap().beside[0].name, "sop/one/checkpoints.1");
    assert!(alone(kept.chain()).checkpoint(&note).is_err());
    let checkpoint = log.sign(&text(9)) + &kept.line(&text(9));
    assert!(attestation::verify(&checkpoint, &alone(kept.chain())).is_err());
}

#[test]
fn a_release_is_what_was_signed_byte_for_byte() {
    let kept = Kept::new("releases.1", Signature::Ed25519MlDsa65);
    let content = b"the program".to_vec();
    let of = |name: &str, length: usize, content: &[u8]| {
        use sha2::Digest as _;
        let sha256 = verifier::hex(&sha2::Sha256::digest(content));
        format!("sop release v1\nname {name}\nlength {length}\nsha256 {sha256}\nblake3 {}\n", blake3::hash(content))
    };
    let said = of("sop-1.0", content.len(), &content);
    let note = format!("{said}\n{}", kept.line(&said));
    assert_eq!(release::verify(&content, &note, &kept.chain()).unwrap().name, "sop-1.0");
    let signed = |said: &str| format!("{said}\n{}", kept.line(said));
    for (row, content, note) in [
        ("another file", b"the progrom".to_vec(), note.clone()),
        ("cut", content[1..].to_vec(), note.clone()),
        ("another text", content.clone(), note.replacen("sop-1.0", "sop-1.1", 1)),
        ("another length", content.clone(), signed(&of("sop-1.0", 12, &content))),
        ("one digest of another", content.clone(), signed(&said.replacen("blake3 ", "blake3 0", 1))),
        ("another form", content.clone(), signed(&said.replacen("v1", "v2", 1))),
        ("a line more", content.clone(), signed(&format!("{said}and so on\n"))),
        ("a checkpoint", content.clone(), signed(&text(9))),
    ] {
        assert!(release::verify(&content, &note, &kept.chain()).is_err(), "{row}");
    }
    let title = format!("sop succession v1\nkey {} revoked 7\n", kept.vkey());
    assert!(
        release::verify(&content, &note, &kept.chain().followed(&title).unwrap()).unwrap_err().what.contains("revoked")
    );

    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name).display().to_string();
    fs::write(at("file"), &content).unwrap();
    fs::write(at("file.sig"), &note).unwrap();
    let call = |key: &str, file: &str| run(&["release", &at(file), "--signature", &at("file.sig"), "--key", key]);
    let (code, told, _) = call(&kept.vkey(), "file");
    assert!(code == 0 && told.starts_with("Signed: a release.\nname    sop-1.0\n"), "{told}");
    fs::write(at("other"), b"the progrom").unwrap();
    assert_eq!(call(&kept.vkey(), "other").0, 2);
    assert_eq!(call(&kept.vkey(), "missing").0, 74);
    for wrong in [Kept::new("checkpoints.1", Signature::Ed25519).vkey(), "no key".to_owned()] {
        assert_eq!(call(&wrong, "file").0, 64);
    }
    assert_eq!(run(&["release", &at("file"), "--key", &kept.vkey()]).0, 64);
}

#[test]
fn the_program_takes_such_a_key_beside_or_instead_of_the_logs() {
    let world = crate::world::World::of(9);
    let (log, key) = (world.log().display().to_string(), world.vkey());
    let kept = Kept::new("checkpoints.1", Signature::Ed25519MlDsa65);
    let (checkpoint, note) = world.evidence.checkpoint().unwrap();
    let own = kept.of(&checkpoint.origin);
    let call = |keys: &[&str]| {
        let keys: Vec<_> = keys.iter().flat_map(|key| ["--key", key]).collect();
        run(&[&["log", &log], &keys[..]].concat())
    };
    let vkey = own.to_string();
    for keys in [&[key.as_str(), &vkey][..], &[&vkey]] {
        let (code, told, _) = call(keys);
        assert!(code == 2 && told.contains("is not signed by") && told.contains("checkpoints.1"), "{told}");
    }
    let noted = world.home.path().join("noted").display().to_string();
    fs::write(&noted, &note).unwrap();
    fs::write(world.log().join("checkpoint"), note + &own.line(&kept.sign(checkpoint.to_string().as_bytes())) + "\n")
        .unwrap();
    for keys in [&[key.as_str(), &vkey][..], &[&vkey], &[&key]] {
        let (code, told, _) = call(keys);
        assert!(code == 0 && told.contains("(ed25519+ml-dsa-65)") == keys.contains(&vkey.as_str()), "{told}");
    }
    // What was noted before there was such a key is good by the log's alone.
    let (code, told, _) = run(&["log", &log, "--key", &key, "--key", &vkey, "--noted", &noted]);
    assert_eq!(code, 0, "{told}");
    let receipts = Kept::new("receipts.1", Signature::Ed25519).of(&checkpoint.origin).to_string();
    for keys in [&[key.as_str(), &key][..], &[&key, &kept.vkey()], &[&receipts], &[&key, "no key"]] {
        assert_eq!(call(keys).0, 64, "{keys:?}");
    }
}
