//! Leases over the socket and the command line: bounded, queued, kept over a kill, and ended with their owner's tokens.

use std::sync::Arc;

use door::{Secret, SecretKind};
use kernel::{Kin, Principal};
use kit::{Client, admit, adopt_starter, root};
use serde_json::{Value, json};

use crate::{Place, failed};

fn id() -> String {
    host::Clock::system().command_id().to_string()
}

fn request(lease: &str, owner: &str, amount: u64, wait: bool) -> Value {
    json!({ "lease": lease, "pool": "gpu", "owner": owner, "amount": amount, "wait": wait })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_ends_with_the_tokens_of_its_owner_and_who_waits_has_it() {
    let mut place = Place::started().await;
    let (operator, by) = (place.daemon.credential(), root());
    let mut client = Client::new("operator", Arc::new(place.daemon.client()));
    adopt_starter(&mut client, &operator).await;
    admit(&mut client, &operator, "agent/alpha").await;
    let pool = json!({ "pool": "gpu", "capacity": 4, "unit": "card" });
    client.ask(Some(&by), operator.expose(), "resource.define", pool).await.yes();

    // An agent leases by a token that was issued for it, and for itself only.
    let (token, agent) = (Secret::generate(SecretKind::Token), Principal::new(Kin::Agent, "alpha").unwrap());
    let issue = json!({
        "id": id(), "secret_digest": token.digest(), "kind": "operation", "subject": agent, "audience": "sop",
        "operation": "lease.request", "uses": 9,
    });
    client.ask(Some(&by), operator.expose(), "token.issue", issue).await.yes();
    let (held, waiting) = (id(), id());
    let granted = client.ask(Some(&agent), token.expose(), "lease.request", request(&held, "agent/alpha", 3, false));
    let granted = granted.await.yes();
    assert_eq!((&granted["state"], &granted["fencing"]), (&json!("held"), &json!(1)));
    let told = client.ask(Some(&agent), token.expose(), "lease.request", request(&id(), "agent/beta", 1, false)).await;
    assert_eq!(told.code(), Some("policy.not_permitted"));
    let told = client.ask(Some(&agent), token.expose(), "lease.request", request(&id(), "agent/alpha", 2, false)).await;
    assert_eq!(told.code(), Some("allocator.exhausted"));
    let queued = client.ask(Some(&by), operator.expose(), "lease.request", request(&waiting, "agent/beta", 2, true));
    assert_eq!(queued.await.yes()["position"], 1);

    // What was acknowledged is there after a kill, and numbers go on.
    place.daemon.kill();
    place.daemon.start().await;
    let mut client = Client::new("operator", Arc::new(place.daemon.client()));
    let shown = client.ask(Some(&by), operator.expose(), "resource.show", json!({ "pool": "gpu" })).await.yes();
    assert_eq!((&shown["leased"], &shown["free"], &shown["waiting"]), (&json!(3), &json!(1), &json!(1)));

    let revoke = json!({ "subject": "agent/alpha" });
    client.ask(Some(&by), operator.expose(), "token.revoke", revoke).await.yes();
    let credential = operator.clone();
    let follows = async |client: &http::Client| {
        let lease = client.call("lease.show", &json!({ "lease": waiting }), Some(credential.expose()), None).await;
        lease.is_ok_and(|lease| lease["state"] == "held" && lease["fencing"] == 2)
    };
    place.daemon.until("has granted what waited", follows).await;
    let ended = client.ask(Some(&by), operator.expose(), "lease.show", json!({ "lease": held })).await.yes();
    assert_eq!(ended["state"], "revoked");
    let released = json!({ "lease": waiting, "fencing": 1 });
    let told = client.ask(Some(&by), operator.expose(), "lease.release", released).await;
    assert_eq!(told.code(), Some("allocator.fenced"), "that number was another's");
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_from_the_command_line() {
    let place = Place::started().await;
    let operator = place.daemon.credential();
    adopt_starter(&mut Client::new("operator", Arc::new(place.daemon.client())), &operator).await;
    let done = |arguments: &[&str]| {
        let output = place.daemon.run(arguments);
        assert_eq!(output.code, Some(0), "{arguments:?}: {output:?}");
        output.stdout
    };
    assert_eq!(done(&["resource", "show"]), "No pools.\n");
    done(&["resource", "define", "gpu", "--capacity", "2", "--unit", "card"]);
    let granted =
        done(&["lease", "request", "gpu", "--amount", "2", "--lifetime", "10m", "--for", "agent/alpha", "-o", "json"]);
    let granted: Value = serde_json::from_str(&granted).unwrap();
    let lease = granted["lease"].as_str().unwrap();
    let words = ["allocator.exhausted", "0 are free", "remedy"];
    failed(&place.daemon.run(&["lease", "request", "gpu"]), 1, &words);
    assert!(done(&["lease", "request", "gpu", "--wait", "--priority", "2"]).contains("position  1"));
    failed(&place.daemon.run(&["lease", "renew", lease, "--fencing", "7"]), 1, &["allocator.fenced"]);
    assert!(done(&["lease", "renew", lease, "--fencing", "1", "--lifetime", "1h"]).contains("is held until"));
    failed(&place.daemon.run(&["resource", "resize", "gpu", "--capacity", "1"]), 1, &["2 are leased"]);
    assert!(done(&["lease", "list", "--state", "waiting"]).contains("operator/root"));
    assert_eq!(done(&["lease", "release", lease, "--fencing", "1"]), format!("{lease} is released.\n"));
    assert_eq!(done(&["lease", "release", lease]), format!("{lease} had ended before.\n"));
    assert!(done(&["lease", "show", lease]).contains("released"));
    assert!(done(&["lease", "list", "--owner", "operator/root"]).contains("held"));
    assert!(done(&["resource", "resize", "gpu", "--capacity", "1", "--expected", "2"]).contains("capacity of 1"));
    let shown = done(&["resource", "show", "gpu"]);
    assert!(shown.contains("card") && shown.contains("operator/root"), "{shown}");
    assert!(done(&["audit", "list"]).contains("allocator.granted"));
}
