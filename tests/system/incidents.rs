//! What somebody does who should not is detected, contained and kept as evidence; a kill in between loses and doubles nothing.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use door::{Secret, SecretKind};
use identity::CredentialId;
use kernel::TokenId;
use kit::{Client, Output, admit, adopt_starter, root};
use serde_json::{Value, json};

use crate::{Place, failed};

async fn started(configuration: &str) -> (Place, Client) {
    let mut place = Place::new();
    place.daemon.configure(configuration);
    place.daemon.start().await;
    let mut setup = Client::new("setup", Arc::new(place.daemon.client()));
    adopt_starter(&mut setup, &place.daemon.credential()).await;
    (place, setup)
}

fn json_of(place: &Place, command: &[&str]) -> Value {
    let output = place.daemon.run(&[command, &["-o", "json"]].concat());
    serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
}

/// The events there are: kind and subject to the event.
fn events(place: &Place) -> BTreeMap<(String, String), Value> {
    events_in(place, &[])
}

fn events_in(place: &Place, state: &[&str]) -> BTreeMap<(String, String), Value> {
    let events = json_of(place, &[&["security", "events"], state].concat());
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let all = events["events"].as_array().unwrap().iter();
    let all: Vec<_> = all.map(|event| ((text(&event["kind"]), text(&event["subject"])), event.clone())).collect();
    let known: BTreeMap<_, _> = all.iter().cloned().collect();
    assert_eq!(known.len(), all.len(), "one event of a kind and a subject: {all:?}");
    known
}

fn file(place: &Place, name: &str, secret: &str) -> String {
    let path = place.home.path().join(name);
    std::fs::write(&path, secret).unwrap();
    std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    path.to_str().unwrap().to_owned()
}

fn by(place: &Place, file: &str, command: &[&str]) -> Output {
    place.daemon.run(&[&["--credential", file][..], command].concat())
}

fn number(event: &Value) -> String {
    event["event"].to_string()
}

/// A call that is denied, and with which code.
async fn denied(place: &Place, secret: &Secret, action: &str, arguments: Value) -> String {
    let told = place.daemon.client().call(action, &arguments, Some(secret.expose()), None).await;
    match told {
        Err(http::ClientError::Refused(problem)) => problem.denial().code,
        told => panic!("{action}: {told:?}"),
    }
}

/// One use of a token for looking at gaps.
async fn looked(place: &Place, token: &Secret) {
    place.daemon.client().call("gap.list", &json!({}), Some(token.expose()), None).await.unwrap();
}

/// A token of the agent's for looking at gaps.
async fn issued(setup: &mut Client, operator: &Secret, uses: u32) -> (Secret, TokenId) {
    let (token, id) = (Secret::generate(SecretKind::Token), TokenId(host::Clock::system().command_id().0));
    let issue = json!({
        "id": id, "secret_digest": token.digest(), "kind": "operation", "subject": "agent/alpha", "audience": "sop",
        "operation": "gap.list", "uses": uses,
    });
    setup.ask(Some(&root()), operator.expose(), "token.issue", issue).await.yes();
    (token, id)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_should_not_be_is_seen_contained_and_kept() {
    let soon =
        "[journal]\nsegment = \"64KiB\"\n[retention]\nauthority = \"1s\"\noperations = \"1s\"\nmessages = \"1s\"\n";
    let (mut place, mut setup) = started(soon).await;
    let operator = place.daemon.credential();
    admit(&mut setup, &operator, "agent/alpha").await;
    let key = Secret::generate(SecretKind::Key(CredentialId(1)));
    let make =
        json!({ "id": CredentialId(1), "principal": "agent/alpha", "secret_digest": key.digest(), "label": "key" });
    setup.ask(Some(&root()), operator.expose(), "credential.create", make).await.yes();
    let pool = place.daemon.run(&["resource", "define", "gpu", "--capacity", "2", "--unit", "card"]);
    assert_eq!(pool.code, Some(0), "{pool:?}");
    let lease =
        place.daemon.run(&["lease", "request", "gpu", "--amount", "1", "--lifetime", "10m", "--for", "agent/alpha"]);
    assert_eq!(lease.code, Some(0), "{lease:?}");
    let (once, _) = issued(&mut setup, &operator, 1).await;
    let (revoked, id) = issued(&mut setup, &operator, 2).await;
    let (live, _) = issued(&mut setup, &operator, 5).await;

    // Whatever it should not do, it does.
    looked(&place, &once).await;
    assert_eq!(denied(&place, &once, "gap.list", json!({})).await, "tokens.double_spend");
    setup.ask(Some(&root()), operator.expose(), "token.revoke", json!({ "id": id })).await.yes();
    assert_eq!(denied(&place, &revoked, "gap.list", json!({})).await, "tokens.revoked");
    for _ in 0..10 {
        assert_eq!(denied(&place, &key, "policy.list", json!({})).await, "policy.forbidden");
        let stranger = Secret::generate(SecretKind::Token);
        assert_eq!(denied(&place, &stranger, "policy.list", json!({})).await, "door.unknown_credential");
    }
    let guess = Secret::generate(SecretKind::Key(CredentialId(1)));
    for _ in 0..5 {
        assert_eq!(denied(&place, &guess, "gap.list", json!({})).await, "door.unknown_credential");
    }
    let seen = events(&place);
    let about = |kind: &str, subject: &str| {
        seen.get(&(kind.to_owned(), subject.to_owned())).unwrap_or_else(|| panic!("{kind} of {subject}: {seen:?}"))
    };
    let of =
        |kind: &str| seen.iter().find(|((found, _), _)| found == kind).unwrap_or_else(|| panic!("{kind}: {seen:?}")).1;
    let (burst, spend) = (about("denied_burst", "agent/alpha"), about("double_spend", "agent/alpha"));
    let after = about("use_after_revocation", "agent/alpha");
    assert!(about("privilege_change", "agent/alpha")["detail"].as_str().unwrap().contains("operator/root admitted it"));
    assert!(about("privilege_change", "policy")["detail"].as_str().unwrap().contains("activated epoch"));
    assert!(of("lockout")["subject"].as_str().unwrap().contains("from user"), "{seen:?}");
    assert_eq!(
        (of("stranger_burst")["detail"].as_str(), of("stranger_burst")["count"].as_u64()),
        (Some("door.unknown_credential"), Some(8))
    );
    // The two by tokens are denials, too.
    assert_eq!((&burst["count"], &spend["count"], burst["severity"].as_str()), (&json!(11), &json!(1), Some("medium")));
    let first = after["evidence"][0].to_string();
    let record = place.daemon.run(&["audit", "show", &first]);
    assert!(record.stdout.contains("tokens.revoked"), "{record:?}");

    // A kill forgets nothing of it, and finds nothing twice.
    place.daemon.kill();
    place.daemon.start().await;
    assert_eq!(events(&place), seen);

    // Triage, and an incident of what is not nothing.
    let lockout = number(of("lockout"));
    assert_eq!(place.daemon.run(&["security", "event", "ack", &lockout]).code, Some(0));
    assert_eq!(
        place.daemon.run(&["security", "event", "dismiss", &lockout, "--reason", "a typing error"]).code,
        Some(0)
    );
    let told = place.daemon.run(&["security", "event", "show", &lockout]);
    assert!(told.stdout.contains("a typing error") && told.stdout.contains("dismissed"), "{told:?}");
    failed(&place.daemon.run(&["security", "event", "ack", &lockout]), 1, &["error[security.dismissed]"]);
    let open = ["incident", "open", "alpha went wild", "--event", &number(spend), "--event", &number(burst)];
    assert_eq!(place.daemon.run(&open).code, Some(0));
    let escalated = place.daemon.run(&["security", "event", "escalate", &number(after), "--incident", "1"]);
    assert!(escalated.code == Some(0) && escalated.stdout.contains("incident-1"), "{escalated:?}");
    let agent = file(&place, "alpha.key", key.expose());
    failed(&by(&place, &agent, &["incident", "list"]), 3, &["policy.not_permitted"]);
    let plan = json_of(&place, &["incident", "contain", "1"]);
    let steps = |answer: &Value| {
        let step = |step: &Value| {
            format!(
                "{} {} {}",
                step["measure"].as_str().unwrap(),
                step["subject"].as_str().unwrap(),
                step["state"].as_str().unwrap()
            )
        };
        answer["steps"].as_array().unwrap().iter().map(step).collect::<Vec<_>>()
    };
    assert_eq!(
        steps(&plan),
        ["freeze agent/alpha proposed", "revoke agent/alpha proposed", "fence agent/alpha proposed"]
    );
    looked(&place, &live).await;

    // Contained: nothing opens any more, whatever it had.
    let contained = json_of(&place, &["incident", "contain", "1", "--apply"]);
    assert_eq!(
        steps(&contained),
        ["freeze agent/alpha done", "revoke agent/alpha done", "fence agent/alpha done"],
        "{contained}"
    );
    assert_eq!(denied(&place, &key, "gap.list", json!({})).await, "door.suspended");
    assert_eq!(place.daemon.run(&["security", "resume", "agent/alpha"]).code, Some(0));
    assert_eq!(denied(&place, &live, "gap.list", json!({})).await, "tokens.revoked");
    let leases = json_of(&place, &["lease", "list", "--owner", "agent/alpha"]);
    assert!(leases["leases"].as_array().unwrap().iter().all(|lease| lease["state"] != "held"), "{leases}");
    let command = contained["steps"][1]["command"].as_str().unwrap();
    let shown = place.daemon.run(&["audit", "show", command]);
    assert!(
        shown.stdout.contains("token.revoke") && shown.stdout.contains("operator/root"),
        "each step is on record: {shown:?}"
    );
    place.daemon.kill();
    place.daemon.start().await;
    assert_eq!(
        steps(&json_of(&place, &["incident", "contain", "1", "--apply"])),
        steps(&contained),
        "what is done is done"
    );

    // The evidence stays until it is released.
    let held = json_of(&place, &["incident", "hold", "1"]);
    let from = held["hold"]["from"].as_u64().unwrap();
    assert!(from < 256, "{held}");
    let secret = operator.expose().to_owned();
    super::retention::recorded(&place, &secret, 700).await;
    super::retention::backed_up(&place);
    failed(&place.daemon.run(&["retention", "prune"]), 1, &["error[retention.nothing]", "is held by incident-1"]);
    failed(&place.daemon.run(&["retention", "release", "incident-1"]), 1, &["error[retention.of_incident]"]);
    failed(
        &place.daemon.run(&["retention", "hold", "incident-9", "--reason", "x"]),
        1,
        &["error[retention.of_incident]"],
    );
    assert_eq!(place.daemon.run(&["incident", "note", "1", "asked the owner"]).code, Some(0));
    let closed = place.daemon.run(&["incident", "close", "1", "--postmortem", "a loop without a pause"]);
    assert!(closed.code == Some(0) && closed.stdout.contains("stays held"), "{closed:?}");
    failed(&place.daemon.run(&["incident", "note", "1", "more"]), 1, &["error[security.closed]"]);
    assert_eq!(place.daemon.run(&["incident", "release", "1"]).code, Some(0));
    super::retention::until_minimum(&mut place, &secret, 512, "minimum").await;
    assert_eq!(place.daemon.run(&["retention", "prune"]).code, Some(0));
    let shown = place.daemon.run(&["incident", "show", "1"]);
    for word in [
        "alpha went wild",
        "closed",
        "a loop without a pause",
        "asked the owner",
        "freeze agent/alpha: suspended",
        "double_spend",
    ] {
        assert!(shown.stdout.contains(word), "{word}: {shown:?}");
    }
    assert_eq!(json_of(&place, &["incident", "list"])["incidents"], json!([]));
    let (_, _, metrics) = super::health::page(&place.daemon.socket, "/metrics");
    assert!(
        metrics.contains("sop_incidents_open 0") && metrics.contains("sop_security_events_total{kind=\"lockout\"} 1"),
        "{metrics}"
    );

    // What happens again is another event.
    assert_eq!(denied(&place, &live, "gap.list", json!({})).await, "tokens.revoked");
    let again =
        events_in(&place, &["--state", "new"])[&("use_after_revocation".to_owned(), "agent/alpha".to_owned())].clone();
    assert!(again["event"] != after["event"] && again["state"] == "new", "{again}");
}

/// Killed right after each answer: what was not reported yet is found by the next start, once.
#[tokio::test(flavor = "multi_thread")]
async fn a_kill_loses_and_doubles_nothing() {
    let (mut place, mut setup) = started("").await;
    let operator = place.daemon.credential();
    for round in 0..4 {
        for number in 0..5 {
            admit(&mut setup, &operator, &format!("agent/a{round}-{number}")).await;
        }
        place.daemon.kill();
        place.daemon.start().await;
    }
    let seen = events(&place);
    for round in 0..4 {
        for number in 0..5 {
            let key = ("privilege_change".to_owned(), format!("agent/a{round}-{number}"));
            let event = seen.get(&key).unwrap_or_else(|| panic!("{key:?} is lost: {seen:?}"));
            assert_eq!((&event["count"], event["evidence"].as_array().map(Vec::len)), (&json!(1), Some(1)), "{event}");
        }
    }
}

/// Whoever reads the audit reads what the policies let him, and nothing else; that he did is in it.
#[tokio::test(flavor = "multi_thread")]
async fn the_audit_shows_what_its_reader_may_read() {
    const SCOPED: &str = r#"
        @id("auditor") permit (principal == Agent::"auditor", action in [Action::"audit.list", Action::"audit.show", Action::"decision.explain", Action::"audit.export", Action::"subscription.create", Action::"subscription.read"], resource);
        @id("no-identities") forbid (principal is Agent, action, resource == Audit::"identity");
        @id("tokens-only") permit (principal == Agent::"clerk", action == Action::"audit.list", resource == Audit::"tokens");
    "#;
    let (place, mut setup) = started("").await;
    let operator = place.daemon.credential();
    let policy = place.home.path().join("scoped.cedar");
    std::fs::write(&policy, format!("{}\n{SCOPED}", include_str!("../../config/policies/starter.cedar"))).unwrap();
    let epoch = json_of(&place, &["policy", "propose", policy.to_str().unwrap()])["epoch"].to_string();
    assert_eq!(place.daemon.run(&["policy", "activate", &epoch]).code, Some(0));
    let mut keys = Vec::new();
    for (number, name) in [(1, "auditor"), (2, "clerk")] {
        let agent = format!("agent/{name}");
        admit(&mut setup, &operator, &agent).await;
        let id = CredentialId(number);
        let key = Secret::generate(SecretKind::Key(id));
        let make = json!({ "id": id, "principal": agent, "secret_digest": key.digest(), "label": "key" });
        setup.ask(Some(&root()), operator.expose(), "credential.create", make).await.yes();
        keys.push(file(&place, name, key.expose()));
    }
    let [auditor, clerk] = &keys[..] else { unreachable!("two") };
    let told = |output: Output| serde_json::from_str::<Value>(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    // The first use of a key is on record, among the identities.
    assert!(keys.iter().all(|key| by(&place, key, &["whoami"]).code == Some(0)));
    let all = json_of(&place, &["audit", "list", "--limit", "1000", "--from", "1"]);
    let of = |listed: &Value, stream: &str| {
        listed["records"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|record| record["stream"] == stream)
            .cloned()
            .collect::<Vec<_>>()
    };
    let hidden = of(&all, "identity");
    assert!(!hidden.is_empty() && all["withheld"] == 0, "{all}");
    let list = ["audit", "list", "--limit", "1000", "--from", "1", "-o", "json"];
    let scoped = told(by(&place, auditor, &list));
    assert!(of(&scoped, "identity").is_empty() && !of(&scoped, "governance").is_empty(), "{scoped}");
    assert_eq!(scoped["withheld"], hidden.len(), "{scoped}");
    let one = hidden[0]["sequence"].to_string();
    for command in [["audit", "show", &one], ["explain", hidden.last().unwrap()["command"].as_str().unwrap(), "-ojson"]]
    {
        let command: Vec<_> = command.into_iter().filter(|part| *part != "-ojson").collect();
        failed(&by(&place, auditor, &command), 3, &["policy.forbidden", "on identity"]);
    }
    let shown = by(&place, auditor, &["audit", "show", &of(&all, "governance")[0]["sequence"].to_string()]);
    assert_eq!(shown.code, Some(0), "{shown:?}");
    let export = place.home.path().join("export");
    failed(
        &by(&place, auditor, &["audit", "export", export.to_str().unwrap()]),
        3,
        &["policy.forbidden", "on identity"],
    );

    // A subscription shows no more than the audit.
    let secret = std::fs::read_to_string(auditor).unwrap();
    let client = place.daemon.client();
    client.call("subscription.create", &json!({ "name": "all", "from": 0 }), Some(&secret), None).await.unwrap();
    let read =
        client.call("subscription.read", &json!({ "name": "all", "limit": 1000 }), Some(&secret), None).await.unwrap();
    assert!(of(&read, "identity").is_empty() && !of(&read, "governance").is_empty(), "{read}");

    // One stream and no other.
    failed(&by(&place, clerk, &["audit", "list"]), 3, &["policy.not_permitted"]);
    let tokens = by(&place, clerk, &["audit", "list", "--stream", "tokens"]);
    assert_eq!(tokens.code, Some(0), "{tokens:?}");
    failed(&by(&place, clerk, &["audit", "list", "--stream", "identity"]), 3, &["policy.forbidden"]);

    // That it was asked is on record, and bears on security where it was denied.
    let asked = json_of(&place, &["audit", "list", "--principal", "agent/auditor", "--action", "audit.list"]);
    assert_eq!(asked["records"].as_array().map(Vec::len), Some(1), "{asked}");
    let security = json_of(&place, &["logs", "--audit", "--security", "--last", "1h", "-n", "1000"]);
    let records = security["records"].as_array().unwrap();
    assert!(records.iter().any(|record| record["principal"] == "agent/clerk"), "{security}");
    assert!(records.iter().all(|record| record["stream"] != "todos" && record["stream"] != "health"), "{security}");
}
