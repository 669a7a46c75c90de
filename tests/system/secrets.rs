//! A secret is in the one file that was made for it, and nowhere else.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use door::{Secret, SecretKind};
use kit::{Client, admit, adopt_starter, root};
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
