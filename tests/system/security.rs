//! Who may ask, over the socket and over restarts: keys, users of the machine, lockout, rates, and a store that is older
//! than all of it.

use std::sync::Arc;

use door::{Secret, SecretKind};
use http::ClientError;
use identity::CredentialId;
use journal::Import;
use journal::bundle;
use journal::envelope::{Record, link};
use journal::store::Head;
use kit::{Authority, Client, admit, adopt_starter, root};
use serde_json::{Value, json};

use crate::{Place, failed};

const WRONG: &str = "0000000000000000000000000000000000000000000000000000000000000000";

async fn started() -> (Place, Client, Secret) {
    let place = Place::started().await;
    let secret = place.daemon.credential();
    let mut client = Client::new("operator", Arc::new(place.daemon.client()));
    adopt_starter(&mut client, &secret).await;
    (place, client, secret)
}

/// The code of a no, and how long to wait.
async fn no(place: &Place, bearer: Option<&str>, action: &str) -> (String, Option<u64>) {
    match place.daemon.client().call(action, &json!({}), bearer, None).await {
        Err(ClientError::Refused(problem)) => (problem.code.clone(), problem.retry_after_ms),
        other => panic!("{action} is not denied: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_acts_until_its_holder_is_suspended_also_over_a_crash() {
    let (mut place, mut client, secret) = started().await;
    admit(&mut client, &secret, "agent/alpha").await;
    let id = CredentialId(0x17);
    let key = Secret::generate(SecretKind::Key(id));
    let make = json!({ "id": id, "principal": "agent/alpha", "secret_digest": key.digest(), "label": "ci" });
    client.ask(Some(&root()), secret.expose(), "credential.create", make).await.yes();
    let whoami = async |place: &Place| {
        let daemon = place.daemon.client();
        daemon.call("security.whoami", &json!({}), Some(key.expose()), None).await.unwrap()
    };
    let known = whoami(&place).await;
    assert_eq!((&known["principal"], &known["state"]), (&json!("agent/alpha"), &json!("active")));
    let list = async |place: &Place| place.daemon.client().call("gap.list", &json!({}), Some(key.expose()), None).await;
    assert!(list(&place).await.is_ok(), "the starter policy lets agents see gaps");
    client.ask(Some(&root()), secret.expose(), "security.suspend", json!({ "principal": "agent/alpha" })).await.yes();
    for again in [false, true] {
        if again {
            place.daemon.kill();
            place.daemon.start().await;
        }
        assert_eq!(no(&place, Some(key.expose()), "gap.list").await.0, "door.suspended");
        let known = whoami(&place).await;
        assert_eq!((&known["state"], &known["denied"]["code"]), (&json!("suspended"), &json!("door.suspended")));
    }
    client.ask(Some(&root()), secret.expose(), "security.resume", json!({ "principal": "agent/alpha" })).await.yes();
    assert!(list(&place).await.is_ok());
    let told = client.ask(Some(&root()), secret.expose(), "credential.revoke", json!({ "credential": id })).await.yes();
    assert_eq!(told["state"], "revoked");
    assert_eq!(no(&place, Some(key.expose()), "gap.list").await.0, "door.credential_revoked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_of_the_machine_needs_no_secret_once_he_is_bound() {
    let (place, mut client, secret) = started().await;
    let uid = rustix::process::getuid().as_raw();
    assert_eq!(no(&place, None, "gap.list").await.0, "door.no_credential");
    admit(&mut client, &secret, "agent/alpha").await;
    let bind = json!({ "uid": uid, "principal": "agent/alpha" });
    client.ask(Some(&root()), secret.expose(), "security.bind", bind).await.yes();
    let known = place.daemon.client().call("security.whoami", &json!({}), None, None).await.unwrap();
    assert_eq!(known["principal"], "agent/alpha");
    client.ask(Some(&root()), secret.expose(), "security.unbind", json!({ "uid": uid })).await.yes();
    assert_eq!(no(&place, None, "gap.list").await.0, "door.no_credential");
    let far = json!({ "uid": 1_u64 << 32, "principal": "agent/alpha" });
    let told = client.ask(Some(&root()), secret.expose(), "security.bind", far).await;
    assert_eq!(told.code(), Some("request.arguments"));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_guesses_is_locked_out_and_the_operator_is_not() {
    let (place, _, secret) = started().await;
    let wrong = format!("sop_0000000000000017_{WRONG}");
    for _ in 0..4 {
        assert_eq!(no(&place, Some(&wrong), "gap.list").await, ("door.unknown_credential".into(), None));
    }
    assert_eq!(no(&place, Some(&wrong), "gap.list").await, ("door.unknown_credential".into(), Some(1_000)));
    let (code, wait) = no(&place, Some(&wrong), "gap.list").await;
    assert!(code == "door.locked_out" && wait.is_some_and(|wait| wait <= 1_000), "{code} {wait:?}");
    assert!(place.daemon.client().call("gap.list", &json!({}), Some(secret.expose()), None).await.is_ok());
    let status = place.daemon.client().get("/v1/status").await.unwrap();
    assert_eq!(status["strangers_denied"], 6, "counted, and not recorded");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_is_for_each_and_says_how_long_to_wait() {
    let mut place = Place::new();
    place.daemon.configure("[door.limits]\nrequests_per_second = 1\nburst = 30\n");
    place.daemon.start().await;
    let secret = place.daemon.credential();
    let mut over = None;
    for _ in 0..100 {
        let client = place.daemon.client();
        if let Err(ClientError::Refused(problem)) =
            client.call("security.whoami", &json!({}), Some(secret.expose()), None).await
        {
            over = Some(problem);
            break;
        }
    }
    let over = over.expect("a hundred at once are more than thirty");
    assert_eq!((over.code.as_str(), over.rule.as_deref()), ("door.rate_limited", Some("1 a second, 30 at once")));
    assert!(over.retry_after_ms.is_some_and(|wait| 0 < wait && wait <= 1_000), "{over:?}");
    let stopped = place.daemon.run(&["emergency-stop", "--reason", "whatever the rate"]);
    assert_eq!(stopped.code, Some(0), "{stopped:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_keeps_secrets_and_refuses_what_is_not_right() {
    let (place, _, _) = started().await;
    let run = |arguments: &[&str]| place.daemon.run(arguments);
    let file = place.home.path().join("key");
    let path = file.to_str().unwrap();
    let made = run(&["security", "credentials", "--create", "operator/root", "--secret-file", path, "-o", "json"]);
    let told: Value = serde_json::from_str(&made.stdout).unwrap();
    let secret = std::fs::read_to_string(&file).unwrap();
    assert!(secret.starts_with(&format!("sop_{}_", told["credential"].as_str().unwrap())), "it names its credential");
    assert!(!made.stdout.contains(secret.trim()), "a secret that has a file is not shown");
    let word = |arguments: &[&str], words: &[&str]| failed(&run(arguments), 1, words);
    word(&["security", "admit", "agent/a", "--can", "gap.scam"], &["request.arguments", "gap.scam"]);
    word(&["security", "admit", "agent/a", "--can", "gap.*"], &["identity.no_owner", "--owner"]);
    word(&["security", "admit", "agent/a", "--owner", "operator/x", "--can", "*"], &["identity.bad_owner"]);
    word(&["security", "suspend", "agent/a"], &["identity.not_admitted", "sop security admit agent/a"]);
    word(&["security", "credentials", "--rotate"], &["cli.rotate"]);
    word(&["security", "credentials", "--rotate", "17"], &["--rotate"]);
    word(&["security", "credentials", "--revoke", "0000000000000017"], &["identity.unknown_credential"]);
    let none = run(&["security", "credentials", "--rotate", "--older-than", "1d"]);
    assert_eq!((none.code, none.stdout.as_str()), (Some(0), "Nothing is as old as that.\n"));
    let all = run(&["security", "credentials", "--rotate", "--older-than", "0s", "-o", "json"]);
    let all: Value = serde_json::from_str(&all.stdout).unwrap();
    let [rotated] = all["rotated"].as_array().unwrap().as_slice() else { panic!("the one key: {all}") };
    assert_eq!(rotated["replaces"], told["credential"]);
    let who = run(&["whoami"]);
    assert!(who.stdout.contains("operator/root") && who.code == Some(0), "{who:?}");
}

/// A store of the time before there was a registry: its operator and its protocols come into it by themselves.
#[tokio::test(flavor = "multi_thread")]
async fn an_older_store_makes_its_operator_and_protocols_known() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let bytes = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/journals/history-v0.1.bin")).unwrap();
    std::fs::create_dir_all(data.join("credentials")).unwrap();
    std::fs::write(data.join("credentials/operator"), "the secret of then").unwrap();
    let mut import = Import::begin(&data.join("journal")).unwrap();
    let (mut rest, mut head) = (&bytes[..], Head::default());
    while let Some(entry) = bundle::take(&mut rest) {
        let record = Record::decode(entry).unwrap();
        import.push(&record).unwrap();
        head = Head { sequence: record.sequence, link: link(entry) };
    }
    import.finish(head).unwrap();
    let authority = Authority::start(&data, "").await;
    let protocol = "protocol/inbox".parse().unwrap();
    authority.parts.acquainted_with(&protocol).await;
    authority.parts.door.identity_view().read(|identity| {
        let operator = identity.show(&root()).expect("the operator of then");
        assert!(operator.terms.can.iter().any(|capability| capability.as_str() == "*"));
        assert_eq!(identity.credentials().count(), 1, "by the credential of then");
        assert!(identity.show(&protocol).is_some_and(|known| known.terms.owner.is_none()));
        assert!(identity.list().all(|(name, _)| name.kin != kernel::Kin::Agent), "agents are for an operator to admit");
    });
    authority.stop().await;
}
