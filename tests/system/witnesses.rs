//! Witnesses of the tile log: asked while the authority works, believed what they sign, and waited for by nobody.
//!
//! The witnesses here are the tests' own (C2SP tlog-witness): they check signatures with the auditor's verifier and proofs
//! with others' code, and misbehave in each way that there is.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use host::{Clock, OwnedTask};
use kit::{Client, adopt_starter};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use verifier::log::{Failure, Wanted};
use verifier::note::{Key, Trust};

use crate::{Place, failed};

/// How a witness answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// As it should.
    Honest,
    /// With the signature of another key under its own name, and under that of the other.
    Stranger,
    /// With a signature over something else.
    Forger,
    /// With the signature over the checkpoint of another size.
    OtherSize,
    Unknown,
    Forbids,
    Elsewhere,
    Broken,
    /// With what is no answer.
    Babbles,
    /// With more than anybody reads.
    Floods,
    /// That there is a conflict, and not with what.
    Mumbles,
    /// A byte now and then.
    Drips,
    Silent,
}

/// What it saw of a log.
#[derive(Clone, Debug, Default)]
struct Seen {
    size: u64,
    root: String,
}

/// A witness on this machine. It goes when it is dropped.
struct Witness {
    name: String,
    pair: Arc<Ed25519KeyPair>,
    address: String,
    manner: Arc<Mutex<Manner>>,
    seen: Arc<Mutex<Seen>>,
    /// Requests that it has answered as it should.
    answered: watch::Receiver<u64>,
    _task: OwnedTask,
}

fn pair(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
}

/// The vkey of a witness.
fn vkey(name: &str, pair: &Ed25519KeyPair) -> String {
    let key = [&[4], pair.public_key().as_ref()].concat();
    let id = digest(&SHA256, &[name.as_bytes(), b"\n", &key].concat());
    let id = u32::from_be_bytes(*id.as_ref().first_chunk().unwrap());
    format!("{name}+{id:08x}+{}", STANDARD.encode(key))
}

/// The line with which it says that it saw a checkpoint now.
fn line(name: &str, pair: &Ed25519KeyPair, text: &str) -> String {
    let time = Clock::system().now().0 / 1_000;
    let id = digest(&SHA256, &[name.as_bytes(), b"\n\x04", pair.public_key().as_ref()].concat());
    let signature = pair.sign(format!("cosignature/v1\ntime {time}\n{text}").as_bytes());
    let bytes = [&id.as_ref()[..4], &time.to_be_bytes(), signature.as_ref()].concat();
    format!("— {name} {}\n", STANDARD.encode(bytes))
}

impl Witness {
    async fn new(name: &str, seed: u8, manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}/w", listener.local_addr().unwrap());
        let (name, pair) = (name.to_owned(), Arc::new(pair(seed)));
        let (manner, record) = (Arc::new(Mutex::new(manner)), Arc::<Mutex<Seen>>::default());
        let (tell, answered) = watch::channel(0);
        let answers =
            Answers { name: name.clone(), pair: pair.clone(), manner: manner.clone(), seen: record.clone(), tell };
        let answers = Arc::new(answers);
        let task = OwnedTask::spawn(async move {
            let mut connections = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                let answers = answers.clone();
                connections.push(OwnedTask::spawn(async move {
                    // Whoever hangs up needs no answer.
                    let _ = answers.answer(stream).await;
                }));
            }
        });
        Self { name, pair, address, manner, seen: record, answered, _task: task }
    }

    fn vkey(&self) -> String {
        vkey(&self.name, &self.pair)
    }

    /// As the configuration has it.
    fn option(&self) -> String {
        format!("{} {}", self.vkey(), self.address)
    }

    fn behave(&self, manner: Manner) {
        *self.manner.lock().unwrap() = manner;
    }
}

struct Answers {
    name: String,
    pair: Arc<Ed25519KeyPair>,
    manner: Arc<Mutex<Manner>>,
    seen: Arc<Mutex<Seen>>,
    tell: watch::Sender<u64>,
}

impl Answers {
    async fn answer(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let body = request(&mut stream, "/w/add-checkpoint").await?;
        let manner = *self.manner.lock().unwrap();
        let text = body.split_once("\n\n").map(|(_, note)| note[..=note.find("\n\n").unwrap()].to_owned()).unwrap();
        let larger = text.replacen('\n', "\n1", 1);
        let (status, answer) = match manner {
            Manner::Honest => {
                let answer = self.add(&body);
                self.tell.send_modify(|answered| *answered += 1);
                answer
            }
            Manner::Stranger => (200, line(&self.name, &pair(99), &text) + &line("w/stranger", &pair(99), &text)),
            Manner::Forger => (200, line(&self.name, &self.pair, "something else\n")),
            Manner::OtherSize => (200, line(&self.name, &self.pair, &larger)),
            Manner::Unknown => (404, String::new()),
            Manner::Forbids => (403, String::new()),
            Manner::Elsewhere => (307, String::new()),
            Manner::Broken => (500, "{}".to_owned()),
            Manner::Babbles => (200, "<html>hello</html>\n".to_owned()),
            Manner::Floods => (200, line(&self.name, &self.pair, &text).repeat(10_000)),
            Manner::Mumbles => (409, "many\n".to_owned()),
            Manner::Drips => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n").await?;
                for _ in 0..1_000 {
                    stream.write_all(b"-").await?;
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
                return Ok(());
            }
            Manner::Silent => return std::future::pending().await,
        };
        let elsewhere =
            if status == 307 { format!("Location: {}/other\r\n", "http://127.0.0.1:9") } else { String::new() };
        let head =
            format!("HTTP/1.1 {status} X\r\n{elsewhere}Content-Length: {}\r\nConnection: close\r\n\r\n", answer.len());
        stream.write_all((head + &answer).as_bytes()).await?;
        stream.shutdown().await
    }

    /// `add-checkpoint`, as it should be.
    fn add(&self, body: &str) -> (u16, String) {
        let (head, note) = body.split_once("\n\n").unwrap();
        let mut lines = head.lines();
        let old: u64 = lines.next().unwrap().strip_prefix("old ").unwrap().parse().unwrap();
        let hash = |line: &str| tlog_tiles::Hash(STANDARD.decode(line).unwrap().try_into().unwrap());
        let proof: Vec<_> = lines.map(hash).collect();
        let text = &note[..=note.find("\n\n").unwrap()];
        let parts: Vec<&str> = text.lines().collect();
        let (size, root) = (parts[1].parse::<u64>().unwrap(), parts[2]);
        let mut seen = self.seen.lock().unwrap();
        if size < old {
            return (400, String::new());
        }
        if old != seen.size {
            return (409, format!("{}\n", seen.size));
        }
        let consistent = match old {
            0 => proof.is_empty(),
            _ if old == size => proof.is_empty() && seen.root == root,
            _ => tlog_tiles::check_tree(&proof, size, hash(root), old, hash(&seen.root)).is_ok(),
        };
        if !consistent {
            return (422, String::new());
        }
        *seen = Seen { size, root: root.to_owned() };
        (200, line(&self.name, &self.pair, text) + &line("w/another", &pair(98), text))
    }
}

/// The body of a request to a path.
pub async fn request(stream: &mut TcpStream, path: &str) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    loop {
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        if head.starts_with(&format!("POST {path} HTTP/1.1")) && length == Some(body.len()) {
            return Ok(body.to_owned());
        }
    }
}

/// A daemon that asks these, and needs so many.
async fn asking(witnesses: &[String], quorum: usize) -> Place {
    let mut place = Place::new();
    configure(&place, witnesses, quorum);
    place.daemon.start().await;
    let secret = place.daemon.credential();
    adopt_starter(&mut Client::new("operator", Arc::new(place.daemon.client())), &secret).await;
    place
}

fn configure(place: &Place, witnesses: &[String], quorum: usize) {
    let witnesses: Vec<_> = witnesses.iter().map(|witness| format!("\"{witness}\"")).collect();
    place.daemon.configure(&format!("[log]\nwitnesses = [{}]\nquorum = {quorum}\n", witnesses.join(", ")));
}

async fn worked(place: &Place, records: u32) {
    let (client, secret) = (place.daemon.client(), place.daemon.credential());
    for _ in 0..records {
        client.call("policy.list", &json!({}), Some(secret.expose()), None).await.unwrap();
    }
}

async fn status(place: &Place) -> Value {
    place.daemon.client().get("/v1/status").await.unwrap()
}

/// Waits until a checkpoint with the quorum covers all that is recorded.
async fn cosigned(place: &mut Place) -> u64 {
    let head = status(place).await["head"].as_u64().unwrap();
    place
        .daemon
        .until("is cosigned", async |client| {
            let status = client.get("/v1/status").await.unwrap();
            head <= status["witnesses"]["size"].as_u64().unwrap_or_default()
        })
        .await;
    head
}

fn asked(place: &Place, arguments: &[&str]) -> Value {
    let output = place.daemon.run(&[arguments, &["-o", "json"]].concat());
    assert!(matches!(output.code, Some(0 | 2)), "{output:?}");
    serde_json::from_str(&output.stdout).unwrap()
}

/// What an auditor believes.
fn trust(place: &Place, witnesses: &[String], quorum: usize) -> Trust {
    let key = asked(place, &["audit", "key"])["key"].as_str().unwrap().to_owned();
    let witnesses = witnesses.iter().map(|vkey| Key::witness(vkey).unwrap()).collect();
    Trust { witnesses, quorum, ..Trust::of(Key::log(&key).unwrap()) }
}

fn of_log(directory: &Path, trust: &Trust) -> verifier::log::Verified {
    match verifier::log::verify(directory, trust, &Wanted::default()) {
        Ok(verified) => verified,
        Err(Failure::Bad(bad)) => panic!("{bad}"),
        Err(Failure::Io(path, error)) => panic!("{}: {error}", path.display()),
    }
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_given_away_is_what_the_quorum_saw() {
    let first = Witness::new("w/first", 1, Manner::Honest).await;
    let second = Witness::new("w/second", 2, Manner::Honest).await;
    let by_hand = ("w/by-hand", pair(3));
    let keys = [first.vkey(), second.vkey(), vkey(by_hand.0, &by_hand.1)];
    let mut place = asking(&[first.option(), second.option(), keys[2].clone()], 2).await;
    worked(&place, 10).await;
    let head = cosigned(&mut place).await;
    let (trust, home) = (trust(&place, &keys, 2), place.home.path().to_owned());
    let file = |name: &str| home.join(name).display().to_string();

    let told = place.daemon.run(&["audit", "proof", &head.to_string(), "--file", &file("one.tlog-proof")]);
    assert!(told.code == Some(0) && told.stdout.contains("by 2 of 3 witnesses"), "{told:?}");
    let proven = verifier::proof::verify(&fs::read_to_string(home.join("one.tlog-proof")).unwrap(), &trust).unwrap();
    assert_eq!((proven.sequence, proven.checkpoint.cosigned.len()), (head, 2));
    // Without an end, up to what they saw.
    let exported = asked(&place, &["audit", "export", &file("export"), "--proofs"]);
    assert!(head <= exported["last"].as_u64().unwrap(), "{exported}");
    let verified = verifier::export::verify(&home.join("export"), &trust).unwrap_or_else(|error| panic!("{error:?}"));
    assert_eq!(verified.checkpoint.cosigned.len(), 2);
    let readme = fs::read_to_string(home.join("export/README.md")).unwrap();
    assert!(readme.contains(&format!("--witness '{}'", keys[0])) && readme.contains("--quorum 2"), "{readme}");
    let verified = place.daemon.run(&["audit", "verify", "--deep"]);
    assert_eq!(verified.code, Some(0), "{verified:?}");
    for words in ["2 of 3 witnesses have cosigned", "w/first has cosigned the first", "what w/by-hand saw"] {
        assert!(verified.stdout.contains(words), "{words}: {verified:?}");
    }
    let shown = place.daemon.run(&["status"]);
    assert!(
        shown.stdout.contains("(2 of 3 must)") && shown.stdout.contains("w/by-hand nothing yet, by hand"),
        "{shown:?}"
    );

    // One is gone: nothing waits for it, and nothing is given away that the quorum did not see.
    let before = cosigned(&mut place).await;
    drop(second);
    worked(&place, 5).await;
    let last = status(&place).await["head"].to_string();
    let told = place.daemon.run(&["audit", "proof", &last]);
    failed(&told, 1, &["error[evidence.not_cosigned]", "sop status"]);
    assert_eq!(asked(&place, &["audit", "proof", &before.to_string()])["record"], before);
    place
        .daemon
        .until("says who is missing", async |client| {
            let status = client.get("/v1/status").await.unwrap();
            status["witnesses"]["each"][1]["code"] == "witness.unreachable"
        })
        .await;
    let health = place.daemon.run(&["health"]);
    assert_eq!(health.code, Some(0), "it is not for long yet: {health:?}");

    // The third one is asked by hand.
    let note = asked(&place, &["audit", "checkpoint", "--cosigned"])["checkpoint"].as_str().unwrap().to_owned();
    let text = &note[..=note.find("\n\n").unwrap()];
    let signed = format!("{note}{}", line(by_hand.0, &by_hand.1, text));
    fs::write(home.join("cosigned"), &signed).unwrap();
    fs::write(home.join("wrong"), format!("{note}{}", line(by_hand.0, &by_hand.1, "x\n"))).unwrap();
    fs::write(home.join("stranger"), format!("{note}{}", line("w/stranger", &pair(9), text))).unwrap();
    fs::write(home.join("bare"), text).unwrap();
    for (name, code) in [("wrong", "evidence.wrong_cosignature"), ("bare", "evidence.not_our_checkpoint")] {
        failed(&place.daemon.run(&["audit", "cosign", &file(name)]), 1, &[code]);
    }
    let kept = asked(&place, &["audit", "cosign", &file("cosigned")]);
    assert_eq!((&kept["new"], &kept["quorum"]), (&json!(true), &json!(2)), "{kept}");
    assert_eq!(asked(&place, &["audit", "cosign", &file("cosigned")])["new"], false);
    let records = asked(&place, &["audit", "list", "--stream", "outcomes", "--limit", "1000"]);
    assert!(records.to_string().contains("audit.cosign"), "it is on record");

    // All of it is there after a kill, in a backup, and in what is restored from it.
    place.daemon.kill();
    place.daemon.start().await;
    let after = status(&place).await["witnesses"]["size"].as_u64().unwrap();
    assert!(before <= after, "{before} {after}");
    let log = of_log(&place.daemon.data.join("evidence"), &trust);
    assert_eq!(log.cosigned.as_ref().unwrap_or(&log.checkpoint).size, after);
    let made = asked(&place, &["backup", "create"]);
    let logs = fs::read_dir(place.daemon.data.join("backups")).unwrap().map(|entry| entry.unwrap().path());
    let copied = logs.filter(|path| path.join("checkpoint").exists()).collect::<Vec<_>>();
    let in_backup = of_log(&copied[0], &trust);
    assert_eq!(in_backup.cosigned.unwrap_or(in_backup.checkpoint).size, after);
    let restored = home.join("restored");
    let backup = made["directory"].as_str().unwrap();
    let done =
        place.daemon.command(&["backup", "restore", backup, "--data", restored.to_str().unwrap()]).output().unwrap();
    assert!(done.status.success(), "{done:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_lies_is_not_believed_and_who_is_late_not_waited_for() {
    let manners = [
        (Manner::Stranger, "witness.wrong_key"),
        (Manner::Forger, "witness.wrong_cosignature"),
        (Manner::OtherSize, "witness.wrong_cosignature"),
        (Manner::Unknown, "witness.unknown_log"),
        (Manner::Forbids, "witness.unknown_key"),
        (Manner::Elsewhere, "witness.redirected"),
        (Manner::Broken, "witness.status"),
        (Manner::Babbles, "witness.garbage"),
        (Manner::Floods, "witness.unreachable"),
        (Manner::Mumbles, "witness.garbage"),
        (Manner::Drips, "witness.timed_out"),
        (Manner::Silent, "witness.timed_out"),
    ];
    let mut witnesses = vec![Witness::new("w/honest", 1, Manner::Honest).await];
    for (number, (manner, _)) in (2..).zip(manners) {
        witnesses.push(Witness::new(&format!("w/{manner:?}"), number, manner).await);
    }
    let options: Vec<_> = witnesses.iter().map(Witness::option).collect();
    let mut place = asking(&options, 1).await;
    worked(&place, 10).await;
    cosigned(&mut place).await;
    let codes: BTreeMap<_, _> = manners.iter().map(|(manner, code)| (format!("w/{manner:?}"), *code)).collect();
    place
        .daemon
        .until("says what is wrong with each", async |client| {
            let status = client.get("/v1/status").await.unwrap();
            let each = status["witnesses"]["each"].as_array().unwrap();
            each[1..].iter().all(|one| one["code"] == codes[one["name"].as_str().unwrap()] && one["size"].is_null())
        })
        .await;
    let client = place.daemon.client();
    let health = client.get("/health").await.unwrap();
    assert_eq!((&health["phase"], &health["ready"]), (&json!("ready"), &json!(true)), "{health}");
    let verified = place.daemon.run(&["audit", "verify", "--deep"]);
    assert_eq!(verified.code, Some(0), "{verified:?}");
    // Nobody's line is kept but the honest one's.
    let kept = fs::read_to_string(place.daemon.data.join("evidence/cosigned")).unwrap();
    assert_eq!(kept.matches("\n— ").count(), 2, "{kept}");
    // Who mends its ways is believed.
    witnesses[1].behave(Manner::Honest);
    place
        .daemon
        .until("is cosigned by the one that mended its ways", async |client| {
            let status = client.get("/v1/status").await.unwrap();
            status["witnesses"]["each"][1]["size"].is_u64() && status["witnesses"]["each"][1]["code"].is_null()
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_history_than_the_one_that_was_seen_is_loud() {
    let witness = Witness::new("w/one", 1, Manner::Honest).await;
    let mut place = asking(&[witness.option()], 1).await;
    worked(&place, 5).await;
    let first = cosigned(&mut place).await;
    place.daemon.stop();
    let older = place.home.path().join("older");
    copy(&place.daemon.data, &older);
    place.daemon.start().await;
    worked(&place, 20).await;
    let seen = cosigned(&mut place).await;
    place.daemon.kill();
    // Somebody puts an older state back.
    fs::rename(&place.daemon.data, place.home.path().join("newer")).unwrap();
    fs::rename(&older, &place.daemon.data).unwrap();
    place.daemon.start().await;
    let disputed = |code: &'static str| {
        async move |client: &http::Client| {
            let status = client.get("/v1/status").await.unwrap();
            status["witnesses"]["each"][0]["code"] == code
        }
    };
    worked(&place, 1).await;
    place.daemon.until("has less than was seen", disputed("witness.ahead")).await;
    let (verified, health) = (place.daemon.run(&["audit", "verify"]), place.daemon.run(&["health"]));
    assert!(verified.code == Some(2) && verified.stdout.contains("w/one saw another history"), "{verified:?}");
    assert!(health.code == Some(2) && health.stdout.contains("witness.ahead"), "{health:?}");
    assert!(place.daemon.client().get("/health/ready").await.is_ok(), "commands are taken");
    worked(&place, u32::try_from(seen).unwrap()).await;
    place.daemon.until("has gone another way", disputed("witness.forked")).await;
    let gaps = place.daemon.run(&["gap", "list"]);
    assert!(gaps.stdout.contains("log_disputed"), "{gaps:?}");
    assert!(
        place.daemon.stderr().contains("saw another history") || {
            fs::read_to_string(place.daemon.data.join("logs/sop_operations.log"))
                .unwrap()
                .contains("saw another history")
        }
    );
    let (cosigned, size) = {
        let status = status(&place).await;
        (status["witnesses"]["size"].as_u64().unwrap(), status["head"].as_u64().unwrap())
    };
    assert!(
        first <= cosigned && cosigned < seen && seen < size,
        "nobody cosigned what came after: {cosigned} {seen} {size}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_between_the_answer_and_its_keeping_it_asks_again() {
    let witness = Witness::new("w/one", 1, Manner::Honest).await;
    let mut place = asking(&[witness.option()], 1).await;
    let trust = trust(&place, &[witness.vkey()], 1);
    for round in 0..6 {
        let mut answered = witness.answered.clone();
        answered.mark_unchanged();
        worked(&place, 3).await;
        // The witness has it on record, and perhaps nobody else.
        answered.changed().await.unwrap();
        place.daemon.kill();
        let saw = witness.seen.lock().unwrap().size;
        place.daemon.start().await;
        assert!(saw <= cosigned(&mut place).await, "round {round}");
        of_log(&place.daemon.data.join("evidence"), &trust);
        let verified = place.daemon.run(&["audit", "verify", "--deep"]);
        assert_eq!(verified.code, Some(0), "round {round}: {verified:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quorum_that_is_missing_is_said() {
    let keys = [vkey("w/one", &pair(1)), vkey("w/two", &pair(2))];
    let mut place = asking(&keys, 2).await;
    let verified = place.daemon.run(&["audit", "verify"]);
    assert!(verified.code == Some(2) && verified.stdout.starts_with("QUORUM MISSING: "), "{verified:?}");
    assert!(
        verified.stdout.contains("(evidence.not_cosigned)") && verified.stdout.contains("\nIntact: "),
        "{verified:?}"
    );
    for arguments in [&["audit", "proof", "1"][..], &["audit", "export", "nowhere"]] {
        failed(&place.daemon.run(arguments), 1, &["error[evidence.not_cosigned]"]);
    }
    failed(&place.daemon.run(&["audit", "checkpoint", "--cosigned"]), 1, &["error[evidence.no_witness]"]);
    place.daemon.stop();
    let within = "\ncosigned_within = \"1s\"\n";
    let both = keys.clone().map(|key| format!("\"{key}\"")).join(", ");
    place.daemon.configure(&format!("[log]\nwitnesses = [{both}]\nquorum = 2{within}"));
    place.daemon.start().await;
    place
        .daemon
        .until("is degraded", async |client| {
            let health = client.get("/health").await.unwrap();
            health["reasons"].to_string().contains("evidence.not_cosigned") && health["ready"] == true
        })
        .await;
    place.daemon.stop();
    for (option, words) in [
        (format!("witnesses = [\"{}x\"]", keys[0]), "config.invalid_value"),
        (format!("witnesses = [\"{}\"]\nquorum = 2", keys[0]), "can never cosign"),
        (format!("witnesses = [\"{} ftp://w\"]", keys[0]), "no address of a witness"),
    ] {
        place.daemon.configure(&format!("[log]\n{option}\n"));
        failed(&place.daemon.run(&["up"]), 1, &[words, "log."]);
    }
}
