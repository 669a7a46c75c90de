//! A secret is in the one file that was made for it, and nowhere else.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use door::{Secret, SecretKind};
use kit::{Client, Daemon, admit, adopt_starter, root};
use serde_json::json;

use crate::Place;

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_in_the_journal_the_log_or_the_status() {
    let mut place = Place::new();
    place.daemon.configure("[log]\nlevel = \"trace\"\n");
    place.daemon.start().await;
    let operator = place.daemon.credential();
    let mut client = Client::new("operator", Arc::new(place.daemon.client()));
    adopt_starter(&mut client, &operator).await;
    admit(&mut client, &operator, "agent/a").await;
    let token = Secret::generate(SecretKind::Token);
    let id = host::Clock::system().command_id().to_string();
    let issue = json!({
        "id": id, "secret_digest": token.digest(), "kind": "operation", "subject": "agent/a", "audience": "press",
        "operation": "print",
    });
    let by = root();
    client.ask(Some(&by), operator.expose(), "token.issue", issue).await.yes();
    let validate = json!({ "id": id, "secret": token.expose(), "audience": "press", "operation": "print" });
    let told = client.ask(Some(&by), operator.expose(), "token.validate", validate).await.yes();
    assert_eq!(told["valid"], true);
    let consume = json!({
        "id": id, "secret": token.expose(), "audience": "press", "operation": "print", "request": token.digest(),
    });
    client.ask(Some(&by), operator.expose(), "token.consume", consume).await.yes();
    // Secrets that are wrong are secrets of somebody.
    let typo = format!("{}0", operator.expose());
    client.ask(None, &typo, "token.list", json!({})).await;
    let malformed = json!({ "id": id, "secret": token.expose(), "surprise": 1 });
    client.ask(Some(&by), operator.expose(), "token.validate", malformed).await;
    let status = place.daemon.run(&["status", "-o", "json"]);
    place.daemon.stop();

    let mut read = 0;
    for file in files(place.home.path()) {
        if file.ends_with("credentials/operator") {
            continue;
        }
        let bytes = std::fs::read(&file).unwrap();
        read += bytes.len();
        for secret in [&operator, &token] {
            assert!(!holds(&bytes, secret), "{} holds a secret", file.display());
        }
    }
    assert!(0 < read, "there is something to look at");
    assert!(![&operator, &token].iter().any(|secret| holds(status.stdout.as_bytes(), secret)));
    let own = std::fs::read(place.daemon.data.join("credentials/operator")).unwrap();
    assert!(holds(&own, &operator), "what is searched for is found where it is");
}

/// Minted after its record, and again by a repeat until it is used; and what signs it is in its file alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_bearer_form_is_written_again_until_it_is_used_and_is_in_no_other_file() {
    let mut place = Place::new();
    place.daemon.configure("[log]\nlevel = \"trace\"\n");
    place.daemon.start().await;
    let mut client = Client::new("operator", Arc::new(place.daemon.client()));
    let operator = place.daemon.credential();
    adopt_starter(&mut client, &operator).await;
    admit(&mut client, &operator, "agent/a").await;
    let kept = tempfile::tempdir().unwrap();
    let at = |name: &str| kept.path().join(name).to_str().unwrap().to_owned();
    let id = host::Clock::system().command_id().to_string();
    let issue = |daemon: &Daemon, form: &str| {
        let asked = [
            "token",
            "issue",
            "--kind",
            "operation",
            "--subject",
            "agent/a",
            "--audience",
            "press",
            "--operation",
            "print",
        ];
        let more = ["--command-id", &id, "--secret-file", &at("secret"), "--bearer-file", &at(form)];
        daemon.run(&[&asked[..], &more[..]].concat())
    };
    for form in ["first", "second"] {
        let issued = issue(&place.daemon, form);
        assert_eq!(issued.code, Some(0), "{issued:?}");
    }
    let over = issue(&place.daemon, "first");
    assert!(over.code == Some(1) && over.stderr.contains("cli.secret_file"), "{over:?}");
    let read = |name: &str| std::fs::read_to_string(at(name)).unwrap().trim_end().to_owned();
    let [first, second] = ["first", "second"].map(read);
    assert_ne!(first, second, "another form");
    let about = ["--audience", "press", "--operation", "print"];
    let validate = |daemon: &Daemon, form: &str| {
        daemon.run(&[&["token", "validate", &id, "--secret-file", &at(form)], &about[..]].concat()).code
    };
    assert_eq!([validate(&place.daemon, "first"), validate(&place.daemon, "second")], [Some(0); 2], "of one token");
    let by = root();
    let malformed = json!({ "id": id, "secret": first, "surprise": 1 });
    client.ask(Some(&by), operator.expose(), "token.consume", malformed).await;
    let (request, digest) = ("--request", "00".repeat(32));
    let consume = |daemon: &Daemon, form: &str| {
        daemon.run(&[&["token", "consume", &id, "--secret-file", &at(form), request, &digest], &about[..]].concat())
    };
    // Across a kill, too: what is remembered is nothing that matters.
    place.daemon.kill();
    place.daemon.start().await;
    assert_eq!(consume(&place.daemon, "first").code, Some(0));
    let again = consume(&place.daemon, "second");
    assert!(again.code == Some(0) && again.stdout.contains("paid for this request before"), "{again:?}");
    let used = issue(&place.daemon, "third");
    assert!(used.code == Some(1) && used.stderr.contains("bearer.used"), "{used:?}");
    assert!(!std::fs::exists(at("third")).unwrap());
    place.daemon.stop();

    let own = place.daemon.data.join("keys/tokens");
    let key = std::fs::read_to_string(&own).unwrap().trim_end().to_owned();
    let secrets = [first, second, key].map(|text| Secret::of(&text));
    for file in files(place.home.path()).into_iter().filter(|file| *file != own) {
        let bytes = std::fs::read(&file).unwrap();
        assert!(!secrets.iter().any(|secret| holds(&bytes, secret)), "{} holds one", file.display());
    }
    assert!(holds(&std::fs::read(&own).unwrap(), &secrets[2]), "what is searched for is found where it is");
}

fn holds(bytes: &[u8], secret: &Secret) -> bool {
    // Not the prefix, which says what sort of secret it is and may stand anywhere.
    let random = &secret.expose().as_bytes()[secret.expose().len() - 64..];
    bytes.windows(random.len()).any(|window| window == random)
}

pub fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] })
        .filter(|path| path.is_file())
        .collect()
}
