//! Quotas over the socket and the command line: no more than there is, over a kill, and said to whoever is kept out.

use std::sync::Arc;

use door::{Secret, SecretKind};
use http::ClientError;
use identity::CredentialId;
use kit::{Client, admit, adopt_starter, root};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{Place, failed};

/// With an agent that has a key.
async fn started() -> (Place, Secret) {
    let place = Place::started().await;
    let secret = place.daemon.credential();
    let mut client = Client::new("operator", Arc::new(place.daemon.client()));
    adopt_starter(&mut client, &secret).await;
    admit(&mut client, &secret, "agent/alpha").await;
    let id = CredentialId(0x17);
    let key = Secret::generate(SecretKind::Key(id));
    let make = json!({ "id": id, "principal": "agent/alpha", "secret_digest": key.digest(), "label": "ci" });
    client.ask(Some(&root()), secret.expose(), "credential.create", make).await.yes();
    (place, key)
}

fn set(place: &Place, limit: &str) {
    let quota = ["--principal", "agent/*", "--action", "gap.*", "--limit", limit, "--window", "31d", "--reason", "new"];
    let output = place.daemon.run(&[&["security", "quota", "--set", "looks"], &quota[..]].concat());
    assert_eq!(output.code, Some(0), "{output:?}");
}

fn listed(place: &Place) -> Value {
    let output = place.daemon.run(&["security", "quota", "-o", "json"]);
    serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_at_once_get_what_there_is_and_a_kill_gives_nothing_back() {
    let (mut place, key) = started().await;
    set(&place, "10");
    let mut callers = JoinSet::new();
    for _ in 0..64 {
        let (client, key) = (place.daemon.client(), key.expose().to_owned());
        callers.spawn(async move { client.call("gap.list", &json!({}), Some(&key), None).await });
    }
    let (mut let_in, mut kept_out) = (0, Vec::new());
    while let Some(answered) = callers.join_next().await {
        match answered.unwrap() {
            Ok(_) => let_in += 1,
            Err(ClientError::Refused(problem)) => kept_out.push(problem),
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!((let_in, kept_out.len()), (10, 54));
    assert!(kept_out.iter().all(|problem| problem.code == "door.quota_used_up" && problem.status == 429));
    assert!(kept_out.iter().all(|problem| problem.retry_after_ms.is_some_and(|wait| 0 < wait)));
    assert_eq!(kept_out.iter().filter(|problem| problem.decision.is_some()).count(), 1, "the first is on record");
    for again in [false, true] {
        if again {
            place.daemon.kill();
            place.daemon.start().await;
        }
        let quotas = listed(&place);
        let [one] = quotas["quotas"].as_array().unwrap().as_slice() else { panic!("{quotas}") };
        assert_eq!(one["uses"], json!([{ "principal": "agent/alpha", "used": 10 }]), "after a kill: {again}");
        assert_eq!((&one["reason"], &one["by"]), (&json!("new"), &json!("operator/root")));
        let known = place.daemon.client().call("security.whoami", &json!({}), Some(key.expose()), None).await.unwrap();
        assert_eq!((&known["quotas"][0]["used"], &known["quotas"][0]["limit"]), (&json!(10), &json!(10)));
        let told = place.daemon.client().call("gap.list", &json!({}), Some(key.expose()), None).await;
        assert!(matches!(told, Err(ClientError::Refused(problem)) if problem.code == "door.quota_used_up"));
        let other = place.daemon.client().call("todo.list", &json!({}), Some(key.expose()), None).await;
        assert!(other.is_ok(), "nothing else is of it: {other:?}");
    }
    set(&place, "11");
    let told = place.daemon.client().call("gap.list", &json!({}), Some(key.expose()), None).await;
    assert!(told.is_ok(), "one more: {told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_says_how_long_and_nobody_locks_himself_out() {
    let (place, key) = started().await;
    let file = place.home.path().join("alpha.key");
    std::fs::write(&file, key.expose()).unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    set(&place, "1");
    let alpha = |words: &[&str]| place.daemon.run(&[words, &["--credential", file.to_str().unwrap()]].concat());
    assert_eq!(alpha(&["gap", "list"]).code, Some(0));
    failed(&alpha(&["gap", "list"]), 3, &["error[door.quota_used_up]", "quota looks", "retry after: ", "explain"]);
    let can = place.daemon.run(&["can-i", "gap.list", "--as", "agent/alpha"]);
    assert!(can.stdout.contains("quota looks") || can.stderr.contains("quota looks"), "{can:?}");
    let known = alpha(&["whoami"]);
    assert!(known.stdout.contains("looks: 1 of 1 of gap.* in 744h"), "{known:?}");

    let run = |words: &[&str]| place.daemon.run(words);
    let all = ["--principal", "operator/root", "--action", "*", "--limit", "1", "--window", "31d"];
    let set = |name| run(&[&["security", "quota", "--set", name], &all[..]].concat());
    assert_eq!(set("all").code, Some(0));
    assert_eq!(run(&["gap", "list"]).code, Some(0));
    failed(&run(&["gap", "list"]), 3, &["error[door.quota_used_up]", "quota all"]);
    failed(&set("more"), 3, &["error[door.quota_used_up]"]);
    assert!(run(&["security", "quota"]).stdout.contains("operator/root"));
    let stopped = run(&["emergency-stop", "--reason", "whatever the quota"]);
    assert_eq!(stopped.code, Some(0), "{stopped:?}");
    let status = place.daemon.client().get("/v1/status").await.unwrap();
    let resumed = run(&["resume", "--digest", status["sealed"]["digest"].as_str().unwrap()]);
    assert_eq!(resumed.code, Some(0), "{resumed:?}");
    assert_eq!(run(&["security", "quota", "--clear", "all"]).code, Some(0));
    assert_eq!(run(&["gap", "list"]).code, Some(0));

    let quota = |more: &[&str]| run(&[&["security", "quota"], more].concat());
    let wrong = |words: &[&str], told: &[&str]| failed(&quota(words), 1, told);
    let terms = |whose, action, limit, window| {
        ["--set", "x", "--principal", whose, "--action", action, "--limit", limit, "--window", window]
    };
    wrong(&terms("agent/nobody", "*", "1", "1d"), &["identity.not_admitted"]);
    wrong(&terms("king/*", "*", "1", "1d"), &["request.arguments", "king"]);
    wrong(&terms("internal/*", "*", "1", "1d"), &["identity.quota_internal"]);
    wrong(&terms("agent/*", "gap.scam", "1", "1d"), &["request.arguments", "gap.scam"]);
    wrong(&terms("agent/*", "*", "0", "1d"), &["identity.quota_limit"]);
    wrong(&terms("agent/*", "*", "1", "1ms"), &["identity.quota_window"]);
    wrong(&["--set", "x"], &["--principal"]);
    wrong(&["--clear", "x"], &["identity.unknown_quota"]);
}
