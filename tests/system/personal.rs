//! What is said about people is sealed wherever it is kept, and shown to who asks.

use std::path::Path;
use std::sync::Arc;

use door::{Secret, SecretKind};
use kit::{Client, admit, adopt_starter, root};
use serde_json::{Value, json};

use crate::Place;
use crate::health::page;

/// In every text below, and in nothing else.
const WORD: &str = "sciatica";

/// Whether a file below holds the word.
pub fn kept_in(directory: &Path, word: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(kept_in(&path, word));
        } else if path.is_file() {
            let bytes = std::fs::read(&path).unwrap();
            if bytes.windows(word.len()).any(|window| window == word.as_bytes()) {
                found.push(path.display().to_string());
            }
        }
    }
    found
}

/// Everything that a person can say of another, said once, for `agent/alpha` and the operator.
pub struct Said {
    pub client: Client,
    pub secret: Secret,
    pub token: String,
}

impl Said {
    pub async fn by(place: &Place, word: &str) -> Self {
        let secret = place.daemon.credential();
        let mut client = Client::new("operator", Arc::new(place.daemon.client()));
        adopt_starter(&mut client, &secret).await;
        admit(&mut client, &secret, "agent/alpha").await;
        let mut said = Self { client, secret, token: host::Clock::system().command_id().to_string() };
        let digest = Secret::generate(SecretKind::Token).digest();
        said.ask(
            "token.issue",
            json!({
                "id": said.token, "secret_digest": digest, "kind": "operation", "subject": "agent/alpha",
                "audience": "press", "operation": "print",
            }),
        )
        .await;
        said.ask("token.revoke", json!({ "id": said.token, "reason": format!("alpha's owner has {word}") })).await;
        said.ask("protocol.admit", json!({ "protocol": "LAP" })).await;
        said.ask("protocol.withdraw", json!({ "protocol": "LAP", "reason": format!("its author has {word}") })).await;
        let scanned = place.home.path().join("scanned");
        std::fs::create_dir_all(&scanned).unwrap();
        std::fs::write(scanned.join("a.md"), "[x](gone.md)\n").unwrap();
        said.ask("gap.scan", json!({ "root": scanned })).await;
        let open = async |client: &http::Client| {
            let listed = client.call("todo.list", &json!({}), Some(said.secret.expose()), None).await;
            listed.is_ok_and(|listed| listed["todos"].as_array().is_some_and(|todos| !todos.is_empty()))
        };
        let mut looks = 0;
        while !open(&place.daemon.client()).await {
            looks += 1;
            assert!(looks < 10_000, "the gap never became a todo");
            tokio::task::yield_now().await;
        }
        let (token, digest) =
            (host::Clock::system().command_id().to_string(), Secret::generate(SecretKind::Token).digest());
        let claim = json!({ "todo": "todo-1", "holder": "operator/root", "token": token, "secret_digest": digest });
        said.ask("todo.claim", claim).await;
        said.ask("todo.submit", json!({ "todo": "todo-1", "note": format!("late, as I had {word}") })).await;
        said
    }

    pub async fn ask(&mut self, action: &'static str, arguments: Value) -> Value {
        self.client.ask(Some(&root()), self.secret.expose(), action, arguments).await.yes()
    }

    /// The three texts, as they are shown.
    pub async fn shown(&mut self) -> [Value; 3] {
        let token = self.token.clone();
        let token = self.ask("token.show", json!({ "id": token })).await["revoked_because"]["other"].clone();
        let protocol = self.ask("protocol.show", json!({ "protocol": "LAP" })).await["reason"].clone();
        let todo = self.ask("todo.show", json!({ "todo": "todo-1" })).await["note"].clone();
        [token, protocol, todo]
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_of_people_is_kept_sealed_and_shown_to_who_asks() {
    let mut place = Place::new();
    place.daemon.configure("[log]\nlevel = \"trace\"\n");
    place.daemon.start().await;
    let mut said = Said::by(&place, WORD).await;
    let texts = ["alpha's owner has sciatica", "its author has sciatica", "late, as I had sciatica"];
    assert_eq!(said.shown().await, texts.map(Value::from));

    // Too long is refused by the machine, which never sees the text.
    let long = json!({ "todo": "todo-1", "note": WORD.repeat(100) });
    let told = said.client.ask(Some(&root()), said.secret.expose(), "todo.submit", long).await;
    assert_eq!(told.code(), Some("todos.note_too_long"));
    // Malformed, it is quoted to who sent it, and to nobody else.
    let malformed = json!({ "todo": WORD });
    assert_eq!(
        said.client.ask(Some(&root()), said.secret.expose(), "todo.show", malformed).await.code(),
        Some("request.arguments")
    );

    let stop = place.daemon.run(&["emergency-stop", "--reason", "sciatica again"]);
    assert_eq!(stop.code, Some(0), "{stop:?}");
    let denied =
        said.client.ask(Some(&root()), said.secret.expose(), "todo.release", json!({ "todo": "todo-1" })).await;
    assert_eq!(denied.code(), Some("door.sealed"));
    for again in [false, true] {
        if again {
            place.daemon.kill();
            place.daemon.spawn();
        }
        place.daemon.answers().await;
        let status = place.daemon.client().get("/v1/status").await.unwrap();
        assert_eq!(status["sealed"]["reason"], "sciatica again", "again: {again}");
    }
    let known = async |client: &http::Client| {
        client.get("/v1/status").await.is_ok_and(|status| status["sealed"]["digest"].is_string())
    };
    place.daemon.until("knows the stop", known).await;
    let resumed = place.daemon.run(&["resume", "--digest", &digest_of_stop(&place).await]);
    assert_eq!(resumed.code, Some(0), "{resumed:?}");
    place.daemon.ready().await;
    assert_eq!(said.shown().await, texts.map(Value::from), "also after a restart");

    let listed = said.ask("audit.list", json!({ "limit": 1000 })).await;
    let of_kind = |kind: &str| {
        let records = listed["records"].as_array().unwrap();
        records.iter().find(|record| record["kind"] == kind).unwrap()["sequence"].to_string()
    };
    for (kind, field, text) in [
        ("tokens.revoked", "text", texts[0]),
        ("nexus.withdrawn", "reason", texts[1]),
        ("todos.submitted", "note", texts[2]),
        ("governance.stopped", "reason", "sciatica again"),
    ] {
        let shown = said.ask("audit.show", json!({ "record": of_kind(kind) })).await;
        assert_eq!(shown["records"][0]["body"][field], text, "{kind}");
    }
    assert!(!listed.to_string().contains(WORD), "a line says what it is about, not what was said");
    let (.., metrics) = page(&place.daemon.socket, "/metrics");
    assert!(metrics.contains("sop_ready") && !metrics.contains(WORD));
    place.daemon.stop();
    assert_eq!(kept_in(place.home.path(), WORD), [""; 0]);
    assert!(!kept_in(place.home.path(), "operator/root").is_empty(), "there is something to look at");
}

async fn digest_of_stop(place: &Place) -> String {
    let status = place.daemon.client().get("/v1/status").await.unwrap();
    status["sealed"]["digest"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_erased_is_erased_everywhere_and_every_proof_stays() {
    let mut place = Place::started().await;
    let mut said = Said::by(&place, WORD).await;
    let [token, protocol, todo] = said.shown().await;
    assert_eq!(token, "alpha's owner has sciatica");
    let made = place.daemon.run(&["backup", "create"]);
    assert_eq!(made.code, Some(0), "{made:?}");
    let sequence = said.ask("audit.list", json!({ "limit": 1000 })).await["records"]
        .as_array()
        .unwrap()
        .iter()
        .find(|record| record["kind"] == "tokens.revoked")
        .unwrap()["sequence"]
        .to_string();
    let before = said.ask("audit.show", json!({ "record": sequence })).await["records"][0]["digest"].clone();
    let keys = place.daemon.data.join("keys/subjects");
    let copy = copied(&keys);

    // Held, nothing of it is erased.
    let run = |place: &Place, arguments: &[&str]| place.daemon.run(&[&["subject"], arguments].concat());
    assert_eq!(run(&place, &["hold", "agent/alpha", "--case", "suit-7", "--reason", "see sciatica"]).code, Some(0));
    let refused = run(&place, &["erase", "agent/alpha"]);
    assert!(refused.stderr.contains("subjects.held") && refused.stderr.contains("suit-7"), "{refused:?}");
    let shown = run(&place, &["show", "agent/alpha"]).stdout;
    assert!(shown.contains("see sciatica"), "{shown}");
    assert_eq!(run(&place, &["release", "agent/alpha", "--case", "suit-7"]).code, Some(0));

    let erased = run(&place, &["erase", "agent/alpha"]);
    assert_eq!(erased.code, Some(0), "{erased:?}");
    let gone = json!({ "subject": "agent/alpha", "state": "erased" });
    assert_eq!(said.shown().await, [gone.clone(), protocol.clone(), todo.clone()], "another's texts stay");
    for round in ["killed", "keys brought back", "as it was"] {
        place.daemon.kill();
        if round == "keys brought back" {
            for (path, bytes) in &copy {
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, bytes).unwrap();
            }
        }
        place.daemon.start().await;
        let stays = async |client: &http::Client| {
            let shown = client.call("token.show", &json!({ "id": said.token }), Some(said.secret.expose()), None).await;
            shown.is_ok_and(|token| token["revoked_because"]["other"] == gone)
        };
        place.daemon.until("keeps it erased", stays).await;
        assert_eq!(said.shown().await, [gone.clone(), protocol.clone(), todo.clone()], "{round}");
    }
    // The whole directory of keys is an old copy: the records know.
    place.daemon.kill();
    std::fs::remove_dir_all(&keys).unwrap();
    for (path, bytes) in &copy {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    place.daemon.start().await;
    let swept = async |client: &http::Client| {
        let shown = client.call("token.show", &json!({ "id": said.token }), Some(said.secret.expose()), None).await;
        shown.is_ok_and(|token| token["revoked_because"]["other"] == gone)
    };
    place.daemon.until("destroys what came back", swept).await;

    let shown = said.ask("audit.show", json!({ "record": sequence })).await;
    assert_eq!((&shown["records"][0]["body"]["text"], &shown["records"][0]["digest"]), (&gone, &before));
    let verified = place.daemon.run(&["audit", "verify", "--deep"]);
    assert_eq!(verified.code, Some(0), "{verified:?}");
    let proof = place.daemon.run(&["audit", "proof", &sequence]);
    assert_eq!(proof.code, Some(0), "{proof:?}");
    // Said of it afterwards is under another key.
    let again = run(&place, &["show", "agent/alpha"]).stdout;
    assert!(again.contains("erased"), "{again}");
    assert_eq!(run(&place, &["list"]).code, Some(0));
}

fn copied(directory: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(copied(&path));
        } else {
            found.push((path.clone(), std::fs::read(&path).unwrap()));
        }
    }
    found
}

/// An older backup has no record of the erasure, and no key: what was erased stays so.
#[tokio::test(flavor = "multi_thread")]
async fn an_older_backup_does_not_bring_back_who_was_erased() {
    let mut place = Place::started().await;
    let mut said = Said::by(&place, WORD).await;
    let [token, protocol, todo] = said.shown().await;
    assert_eq!(token, "alpha's owner has sciatica");
    let made = place.daemon.run(&["backup", "create", "-o", "json"]);
    let made: Value = serde_json::from_str(&made.stdout).unwrap();
    let directory = made["directory"].as_str().unwrap().to_owned();
    assert_eq!(place.daemon.run(&["subject", "erase", "agent/alpha"]).code, Some(0));
    place.daemon.stop();
    let swapped = place.daemon.run(&["backup", "restore", &directory, "--swap"]);
    assert_eq!(swapped.code, Some(0), "{swapped:?}");
    place.daemon.start().await;
    let gone = json!({ "subject": "agent/alpha", "state": "erased" });
    assert_eq!(said.shown().await, [gone.clone(), protocol, todo], "the note beside the key knows");
    // In another place, where no keys were put, there is none that opens anything.
    place.daemon.stop();
    let mut other = kit::Daemon::new(env!("CARGO_BIN_EXE_sop"), &place.home.path().join("other"));
    let restored = other.run(&["backup", "restore", &directory]);
    assert_eq!(restored.code, Some(0), "{restored:?}");
    std::fs::create_dir(other.data.join("credentials")).unwrap();
    std::fs::copy(place.daemon.data.join("credentials/operator"), other.data.join("credentials/operator")).unwrap();
    other.start().await;
    let shown = other.client().call("token.show", &json!({ "id": said.token }), Some(said.secret.expose()), None).await;
    assert_eq!(shown.unwrap()["revoked_because"]["other"]["state"], "no key");
    assert!(kept_in(&other.data, WORD).is_empty() && kept_in(&place.daemon.data.join("backups"), WORD).is_empty());
}

/// Killed at any moment of an erasure: what was told is final, and what was not is absent or carried on.
#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_that_is_killed_is_whole_or_was_never_asked_for() {
    let mut dice = kit::Dice::new(kit::seed(), 0);
    let mut place = Place::started().await;
    let said = Said::by(&place, WORD).await;
    let bearer = said.secret.expose();
    let (mut told, mut carried_on) = (false, false);
    for round in 0..12 {
        let client = place.daemon.client();
        let arguments = json!({ "subject": "agent/alpha" });
        let erase = client.call("subject.erase", &arguments, Some(bearer), None);
        let within = std::time::Duration::from_micros(dice.below(30_000) as u64);
        // Nothing waits for this: it is the moment that chance chooses.
        told |= tokio::time::timeout(within, erase).await.is_ok_and(|answer| answer.is_ok());
        place.daemon.kill();
        place.daemon.start().await;
        let client = place.daemon.client();
        let settled = async |client: &http::Client| {
            let shown = client.call("subject.show", &arguments, Some(bearer), None).await.unwrap_or_default();
            shown["erasures"].as_array().is_some_and(|all| all.iter().all(|one| one["done_at"].is_string()))
        };
        place.daemon.until("has carried on", settled).await;
        let shown = client.call("subject.show", &arguments, Some(bearer), None).await.unwrap();
        let erased = !shown["erasures"].as_array().unwrap().is_empty();
        let token = client.call("token.show", &json!({ "id": said.token }), Some(bearer), None).await.unwrap();
        let text = &token["revoked_because"]["other"];
        assert_eq!(text["state"] == "erased", erased, "round {round}: {shown} {text}");
        assert!(erased || !told, "round {round}: what was told is final");
        carried_on |= erased && !told;
    }
    println!("told: {told}, carried on: {carried_on}");
}
