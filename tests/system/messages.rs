//! Messages over the socket and the command line: kept over a kill, dead when their time is over, back when an operator
//! says so, and gone with the protocol that they are for.

use std::sync::Arc;

use door::{Secret, SecretKind};
use kernel::{Kin, Principal};
use kit::{Client, admit, adopt_starter, root};
use serde_json::{Value, json};

use crate::{Place, failed};

fn id() -> String {
    host::Clock::system().command_id().to_string()
}

/// "hello", in base64.
const HELLO: &str = "aGVsbG8=";

fn letter(source: &str, to: &str) -> Value {
    json!({ "source": source, "to": to, "kind": "note", "payload": HELLO })
}

/// Follows the record from `next` on until `fact` is recorded of a message; no clock of ours is asked.
async fn until_recorded(client: &http::Client, operator: &Secret, message: &str, fact: &str) -> Value {
    let mut next = json!(1);
    for _ in 0..100 {
        let asked = json!({ "from": next, "wait_ms": 20_000 });
        let told = client.call("message.list", &asked, Some(operator.expose()), None).await.unwrap();
        let found =
            told["facts"].as_array().unwrap().iter().find(|one| one["message"] == message && one["fact"] == fact);
        if let Some(found) = found {
            return found.clone();
        }
        next = told["next"].clone();
    }
    panic!("{fact} was never recorded of {message}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_outlives_a_kill_and_ends_as_the_record_says() {
    let mut place = Place::started().await;
    let (operator, by) = (place.daemon.credential(), root());
    let mut client = Client::new("operator", Arc::new(place.daemon.client()));
    adopt_starter(&mut client, &operator).await;
    admit(&mut client, &operator, "agent/alpha").await;
    for (protocol, depends_on, speaks_to) in [("SCP", json!([]), json!([])), ("ARP", json!(["SCP"]), json!(["SCP"]))] {
        let admit = json!({ "protocol": protocol, "depends_on": depends_on, "speaks_to": speaks_to });
        client.ask(Some(&by), operator.expose(), "protocol.admit", admit).await.yes();
    }

    // An agent sends by a token that was issued for it, and in its own name only; so does a protocol, to whom it may.
    let mut token_of = async |subject: &Principal| {
        let token = Secret::generate(SecretKind::Token);
        let issue = json!({
            "id": id(), "secret_digest": token.digest(), "kind": "operation", "subject": subject, "audience": "sop",
            "operation": "message.send", "uses": 9,
        });
        client.ask(Some(&by), operator.expose(), "token.issue", issue).await.yes();
        token
    };
    let (agent, arp) = (Principal::new(Kin::Agent, "alpha").unwrap(), Principal::new(Kin::Protocol, "ARP").unwrap());
    let (agents, arps) = (token_of(&agent).await, token_of(&arp).await);
    let sent = client.ask(Some(&agent), agents.expose(), "message.send", letter("agent/alpha", "ARP")).await.yes();
    assert_eq!((&sent["state"], &sent["position"]), (&json!("waiting"), &json!(1)));
    let told = client.ask(Some(&agent), agents.expose(), "message.send", letter("agent/beta", "ARP")).await;
    assert_eq!(told.code(), Some("policy.not_permitted"));
    client.ask(Some(&arp), arps.expose(), "message.send", letter("protocol/ARP", "SCP")).await.yes();
    let told = client.ask(Some(&arp), arps.expose(), "message.send", letter("protocol/ARP", "UIP")).await;
    assert_eq!(told.code(), Some("nexus.not_on_its_list"));
    let brief = json!({
        "source": "operator/root", "to": "ARP", "kind": "note", "payload": HELLO, "lifetime_ms": 1_000,
        "priority": "low",
    });
    let brief = client.ask(Some(&by), operator.expose(), "message.send", brief).await.yes();

    // What was acknowledged is there after a kill, byte for byte.
    place.daemon.kill();
    place.daemon.start().await;
    let mut client = Client::new("operator", Arc::new(place.daemon.client()));
    let (message, brief) = (sent["message"].as_str().unwrap(), brief["message"].as_str().unwrap());
    let show = json!({ "message": message, "payload": true });
    let shown = client.ask(Some(&by), operator.expose(), "message.show", show).await.yes();
    assert_eq!((&shown["state"], &shown["payload"]), (&json!("waiting"), &json!(HELLO)));
    let record = client.ask(Some(&by), operator.expose(), "audit.show", json!({ "record": message })).await.yes();
    assert_eq!(record["records"][0]["body"]["payload"]["bytes"], 5, "the record is shown without what it holds");

    // Its time ends by the daemon's clock; a dead letter waits again, for as long as before, and ends again.
    let died = until_recorded(&place.daemon.client(), &operator, brief, "died").await;
    assert_eq!((&died["death"], &died["to"]), (&json!("expired"), &json!("ARP")));
    let dead = client.ask(Some(&by), operator.expose(), "message.dead", json!({})).await.yes();
    assert_eq!(dead["messages"][0]["message"], brief);
    client.ask(Some(&by), operator.expose(), "message.requeue", json!({ "message": brief })).await.yes();
    until_recorded(&place.daemon.client(), &operator, brief, "requeued").await;

    // Revoking a protocol's tokens withdraws it, although another depends on it; what waited for it is a dead letter.
    let told =
        client.ask(Some(&by), operator.expose(), "protocol.withdraw", json!({ "protocol": "SCP", "reason": "x" }));
    assert_eq!(told.await.code(), Some("nexus.depended_on"));
    client.ask(Some(&by), operator.expose(), "token.revoke", json!({ "subject": "protocol/SCP" })).await.yes();
    let credential = operator.clone();
    let withdrawn = async |client: &http::Client| {
        let shown = client.call("protocol.show", &json!({ "protocol": "SCP" }), Some(credential.expose()), None).await;
        shown.is_ok_and(|shown| shown["state"] == "withdrawn" && shown["revoked"] == true)
    };
    place.daemon.until("has withdrawn what was revoked", withdrawn).await;
    let dead = client.ask(Some(&by), operator.expose(), "message.dead", json!({})).await.yes();
    let of_scp = dead["messages"].as_array().unwrap().iter().filter(|one| one["to"] == "SCP");
    assert_eq!(of_scp.map(|one| one["death"].as_str().unwrap()).collect::<Vec<_>>(), ["withdrawn"]);
    let told = client.ask(Some(&by), operator.expose(), "message.send", letter("operator/root", "SCP")).await;
    assert_eq!(told.code(), Some("nexus.not_admitted"));
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_from_the_command_line() {
    let place = Place::started().await;
    let operator = place.daemon.credential();
    let mut client = Client::new("operator", Arc::new(place.daemon.client()));
    adopt_starter(&mut client, &operator).await;
    let done = |arguments: &[&str]| {
        let output = place.daemon.run(arguments);
        assert_eq!(output.code, Some(0), "{arguments:?}: {output:?}");
        output.stdout
    };
    assert_eq!(done(&["protocol", "list"]), "No protocols.\n");
    assert_eq!(done(&["message", "tail"]), "No such messages.\n");
    assert_eq!(done(&["message", "dead"]), "No dead letters.\n");
    done(&["protocol", "admit", "SCP"]);
    done(&["protocol", "admit", "ARP", "--depends-on", "SCP", "--speaks-to", "SCP", "--speaks-to", "ARP"]);
    failed(&place.daemon.run(&["protocol", "withdraw", "SCP", "--reason", "x"]), 1, &["ARP depends on it"]);
    let send = |more: &[&str]| {
        let output = done(&[&["message", "send", "--to", "ARP", "--kind", "note", "-o", "json"], more].concat());
        let sent: Value = serde_json::from_str(&output).unwrap();
        sent["message"].as_str().unwrap().to_owned()
    };

    // Any bytes come out as they went in, and only where they are asked for.
    let file = place.home.path().join("payload");
    let bytes: Vec<u8> = (0..=255).cycle().take(32 * 1024).collect();
    std::fs::write(&file, &bytes).unwrap();
    let whole = send(&["--file", file.to_str().unwrap(), "--priority", "high", "--ttl", "1h"]);
    let data = place.daemon.data.to_str().unwrap();
    let shown = place.daemon.command(&["message", "show", &whole, "--payload", "--data", data]).output().unwrap();
    assert!(shown.stdout == bytes, "{} bytes, {}", shown.stdout.len(), String::from_utf8_lossy(&shown.stderr));
    std::fs::write(&file, [bytes, vec![7]].concat()).unwrap();
    let refused = ["message", "send", "--to", "ARP", "--kind", "note", "--file", file.to_str().unwrap()];
    failed(&place.daemon.run(&refused), 1, &["nexus.payload_too_large", "remedy"]);
    let text = send(&["--text", "a secret plan"]);
    assert_eq!(done(&["message", "show", &text, "--payload"]), "a secret plan");
    for listed in [vec!["message", "tail"], vec!["protocol", "show", "ARP"], vec!["message", "show", &text]] {
        assert!(!done(&listed).contains("secret plan"), "{listed:?}");
    }
    assert!(!done(&["audit", "show", &text]).contains("secret plan"));
    assert!(done(&["message", "tail", "--to", "SCP"]).contains("No such messages"));
    failed(&place.daemon.run(&["message", "requeue", &text]), 1, &["nexus.not_dead"]);

    // A lane is full at 256, and the next one is not.
    let (by, full) = (root(), json!({ "source": "operator/root", "to": "SCP", "kind": "note" }));
    for _ in 0..256 {
        client.ask(Some(&by), operator.expose(), "message.send", full.clone()).await.yes();
    }
    let normal = ["message", "send", "--to", "SCP", "--kind", "note"];
    failed(&place.daemon.run(&normal), 1, &["nexus.lane_full", "the normal lane of SCP", "remedy"]);
    done(&[&normal[..], &["--priority", "critical"]].concat());
    assert!(done(&["protocol", "list"]).contains("1/0/256/0"));

    let withdrawn = done(&["protocol", "withdraw", "ARP", "--reason", "not needed"]);
    assert_eq!(withdrawn, "ARP is withdrawn; 2 messages died with it.\n");
    assert!(done(&["message", "dead"]).contains("ARP was withdrawn"));
    failed(&place.daemon.run(&["message", "requeue", &text]), 1, &["nexus.not_admitted"]);
    done(&["protocol", "admit", "ARP", "--depends-on", "SCP"]);
    assert!(done(&["message", "requeue", &text]).contains("waits again, at place 1"));
    assert_eq!(done(&["message", "discard", &whole]), format!("{whole} is discarded.\n"));
    assert_eq!(done(&["message", "dead"]), "No dead letters.\n");
    let tail = done(&["message", "tail", "--to", "ARP", "-n", "3"]);
    assert_eq!(tail.lines().count(), 3, "{tail}");
    assert!(tail.contains("died") && tail.contains("requeued") && tail.contains("discarded"), "{tail}");
}
