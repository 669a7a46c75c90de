//! Subscriptions over the socket and the command line: at least once over kills, in order, none left out, and for nobody who
//! may not read the audit.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::sync::Arc;

use door::{Secret, SecretKind};
use http::ClientError;
use kit::{Client, adopt_starter};
use serde_json::{Value, json};

use crate::{Place, failed};

/// A daemon under the starter policy.
async fn started() -> Place {
    let place = Place::started().await;
    let secret = place.daemon.credential();
    adopt_starter(&mut Client::new("operator", Arc::new(place.daemon.client())), &secret).await;
    place
}

async fn by(place: &Place, secret: &Secret, action: &str, arguments: Value) -> Result<Value, String> {
    place.daemon.client().call(action, &arguments, Some(secret.expose()), None).await.map_err(|error| match error {
        ClientError::Refused(problem) => format!("{}: {}", problem.code, problem.detail),
        error => panic!("{action}: {error}"),
    })
}

async fn ask(place: &Place, action: &str, arguments: Value) -> Result<Value, String> {
    by(place, &place.daemon.credential(), action, arguments).await
}

async fn read(place: &Place, name: &str, limit: u64) -> (Vec<u64>, u64) {
    let page = ask(place, "subscription.read", json!({ "name": name, "limit": limit })).await.unwrap();
    (sequences(&page), page["position"].as_u64().unwrap())
}

fn sequences(page: &Value) -> Vec<u64> {
    page["records"].as_array().unwrap().iter().map(|record| record["sequence"].as_u64().unwrap()).collect()
}

async fn ack(place: &Place, name: &str, position: u64) -> Result<Value, String> {
    ask(place, "subscription.ack", json!({ "name": name, "position": position })).await
}

fn code(answer: Result<Value, String>) -> String {
    answer.unwrap_err().split(':').next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_and_not_acknowledged_is_read_again_after_a_kill() {
    let mut place = started().await;
    let created = json!({ "name": "policies", "streams": ["governance"], "kinds": ["governance.proposed", "governance.activated"], "from": 1 });
    assert_eq!(ask(&place, "subscription.create", created.clone()).await.unwrap()["position"], 0);
    let (first, position) = read(&place, "policies", 100).await;
    assert_eq!(first.len(), 2, "proposed and activated, and nothing else of the stream");

    place.daemon.kill();
    place.daemon.start().await;
    assert_eq!(code(ack(&place, "policies", position).await), "subscriptions.not_given", "nobody knows who has it");
    let (again, position) = read(&place, "policies", 100).await;
    assert_eq!(again, first, "the same records again");
    assert_eq!(code(ack(&place, "policies", position + 1_000).await), "subscriptions.not_given");
    assert_eq!(ack(&place, "policies", first[0]).await.unwrap()["position"], first[0]);
    assert_eq!(read(&place, "policies", 100).await.0, first[1..], "from the position on");

    // Two readers of one name get the same, and the slower one takes nothing back.
    let (one, other) = tokio::join!(read(&place, "policies", 1), read(&place, "policies", 1));
    assert_eq!(one.0, other.0);
    ack(&place, "policies", position).await.unwrap();
    assert_eq!(ack(&place, "policies", first[0]).await.unwrap()["position"], position);

    place.daemon.kill();
    place.daemon.start().await;
    assert_eq!(read(&place, "policies", 100).await.0, [0; 0], "what was acknowledged is done with");
    // Who starts again creates again, and goes on where it was.
    let repeated = ask(&place, "subscription.create", created).await.unwrap();
    assert_eq!(repeated["position"], position);
    let other = json!({ "name": "policies", "streams": ["tokens"] });
    assert_eq!(code(ask(&place, "subscription.create", other).await), "subscriptions.taken");

    ask(&place, "subscription.delete", json!({ "name": "policies" })).await.unwrap();
    for (action, more) in [("read", json!({})), ("ack", json!({ "position": 1 })), ("delete", json!({}))] {
        let mut arguments = json!({ "name": "policies" });
        arguments.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let answer = ask(&place, &format!("subscription.{action}"), arguments).await;
        assert_eq!(code(answer), "subscriptions.unknown", "{action}");
    }
}

/// Follows everything in small pages, over kills: each record once and in order but for those after the last
/// acknowledgement, which come again.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_out_and_reading_does_not_feed_itself() {
    let mut place = started().await;
    ask(&place, "subscription.create", json!({ "name": "all", "from": 1 })).await.unwrap();
    let mut given: Vec<u64> = Vec::new();
    for round in 0..3 {
        for _ in 0..20 {
            ask(&place, "policy.list", json!({})).await.unwrap();
        }
        let mut pages = 0;
        loop {
            let (sequences, position) = read(&place, "all", 7).await;
            if sequences.is_empty() {
                break;
            }
            pages += 1;
            if pages == 2 && round < 2 {
                // Read, and not acknowledged.
                place.daemon.kill();
                place.daemon.start().await;
                let (again, _) = read(&place, "all", 7).await;
                assert_eq!(again, sequences);
            }
            given.extend(&sequences);
            ack(&place, "all", position).await.unwrap();
            assert!(pages < 100, "whoever reads everything comes to an end");
        }
        assert!(2 < pages, "{pages}");
    }
    let all = ask(&place, "audit.list", json!({ "from": 1, "limit": 1_000 })).await.unwrap();
    let last = *given.last().unwrap();
    let of_reading = |record: &&Value| {
        record["kind"] != "subscriptions.acknowledged" && record["about"]["action"] != "subscription.read"
    };
    let expected: Vec<u64> = all["records"]
        .as_array()
        .unwrap()
        .iter()
        .filter(of_reading)
        .map(|record| record["sequence"].as_u64().unwrap())
        .filter(|sequence| *sequence <= last)
        .collect();
    assert_eq!(given, expected);

    let (_, position) = read(&place, "all", 100).await;
    ack(&place, "all", position).await.unwrap();
    // Who waits is told as soon as there is something, and nothing else.
    let waiting = ask(&place, "subscription.read", json!({ "name": "all", "wait_ms": 20_000 }));
    let (page, _) = tokio::join!(waiting, ask(&place, "gap.list", json!({})));
    let page = page.unwrap();
    assert_eq!(page["records"][0]["asked"]["action"], "gap.list", "{page}");
    let status: Value = serde_json::from_str(&place.daemon.run(&["status", "-o", "json"]).stdout).unwrap();
    assert_eq!(status["subscriptions"]["count"], 1);
    assert!(status["subscriptions"]["lag"].as_u64().is_some_and(|lag| 0 < lag), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_may_read_the_audit_reads_it_and_only_his_own() {
    let place = started().await;
    ask(&place, "subscription.create", json!({ "name": "roots", "from": 1 })).await.unwrap();
    let token = Secret::generate(SecretKind::Token);
    let issue = json!({
        "id": host::Clock::system().command_id().to_string(), "secret_digest": token.digest(), "kind": "operation",
        "subject": "agent/alpha", "audience": "sop", "operation": "subscription.read", "uses": 9,
    });
    let terms = json!({ "principal": "agent/alpha", "owner": "operator/root", "can": ["audit.*", "subscription.*"] });
    ask(&place, "security.admit", terms).await.unwrap();
    ask(&place, "token.issue", issue).await.unwrap();
    let reads = async || by(&place, &token, "subscription.read", json!({ "name": "roots" })).await.unwrap_err();
    assert!(reads().await.starts_with("policy.not_permitted"), "the starter policy lets no agent read");
    let starter = include_str!("../../config/policies/starter.cedar");
    let mut told = Vec::new();
    for more in ["", ", Action::\"audit.list\"", ", Action::\"audit.list\", Action::\"audit.show\""] {
        let text = format!(
            "{starter}\n@id(\"alpha-reads\")\npermit (principal is Agent, action in [Action::\"subscription.read\"{more}], resource);"
        );
        let epoch = ask(&place, "policy.propose", json!({ "text": text })).await.unwrap()["epoch"].clone();
        ask(&place, "policy.activate", json!({ "epoch": epoch })).await.unwrap();
        told.push(reads().await);
    }
    assert!(told[0].contains("may not audit.list on *, which subscription.read needs"), "{told:?}");
    assert!(told[1].contains("may not audit.show on *, which subscription.read needs"), "{told:?}");
    assert!(told[2].starts_with("subscriptions.foreign"), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn on_the_command_line() {
    let place = started().await;
    let run = |arguments: &[&str]| place.daemon.run(&[&["subscription"], arguments].concat());
    let none = run(&["list"]);
    assert_eq!((none.code, none.stdout.trim()), (Some(0), "No subscriptions."));
    failed(&run(&["create", "x", "--stream", "nobody"]), 1, &["there is no stream \"nobody\"", "governance"]);
    failed(&run(&["create", "x", "--kind", "todos.opend"]), 1, &["there is no kind", "todos.opened"]);
    failed(&run(&["create", "x", "--from", "99999"]), 1, &["subscriptions.ahead"]);
    failed(&run(&["create", "two words"]), 1, &["subscriptions.name"]);
    let created = run(&["create", "epochs", "--kind", "governance.activated", "--from", "1"]);
    assert_eq!((created.code, created.stdout.trim()), (Some(0), "epochs reads on after record 0."));
    let read = run(&["read", "epochs"]);
    assert!(read.stdout.contains("governance.activated") && read.stdout.contains("position "), "{read:?}");
    let read = run(&["read", "epochs", "--ack"]);
    assert!(read.stdout.contains("governance.activated"), "it was not acknowledged: {read:?}");
    let read = run(&["read", "epochs"]);
    assert!(read.stdout.starts_with("Nothing new; position "), "{read:?}");
    failed(&run(&["ack", "epochs", "99999"]), 1, &["subscriptions.not_given", "sop subscription read epochs"]);
    let listed = run(&["list"]);
    assert!(listed.stdout.contains("epochs  operator/root  all      governance.activated"), "{listed:?}");

    // Who follows gets a line a record, and what was printed is acknowledged.
    let data = place.daemon.data.to_str().unwrap();
    let follow = ["subscription", "read", "epochs", "--follow", "-o", "json", "--data", data];
    let mut follow = place.daemon.command(&follow);
    let mut follow = follow.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(follow.stdout.take().unwrap()).lines();
    let policy = place.home.path().join("another.cedar");
    std::fs::write(&policy, "permit (principal is Operator, action, resource);\n").unwrap();
    for arguments in [["policy", "propose", policy.to_str().unwrap()], ["policy", "activate", "2"]] {
        let done = place.daemon.run(&arguments);
        assert_eq!(done.code, Some(0), "{done:?}");
    }
    let line = lines.next().unwrap().unwrap();
    let line: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{:?}", lines.collect::<Vec<_>>()));
    assert_eq!((&line["kind"], &line["body"]["epoch"]), (&json!("governance.activated"), &json!(2)));
    follow.kill().unwrap();
    follow.wait().unwrap();

    let deleted = run(&["delete", "epochs"]);
    assert!(deleted.code == Some(0) && deleted.stdout.starts_with("epochs is deleted"), "{deleted:?}");
    failed(&run(&["read", "epochs"]), 1, &["error[subscriptions.unknown]", "sop subscription list"]);
}
