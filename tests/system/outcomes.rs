//! What becomes of operations, whatever becomes of the daemon.

use std::sync::Arc;

use kit::{Client, adopt_starter};
use serde_json::{Value, json};

use crate::Place;

/// Kills until one hits a backup that is being made.
const TRIES: usize = 50;

async fn asked(place: &Place, action: &str, arguments: Value) -> Value {
    let secret = place.daemon.credential();
    let told = place.daemon.client().call(action, &arguments, Some(secret.expose()), None).await;
    told.unwrap_or_else(|error| panic!("{action} {arguments}: {error}"))
}

async fn prepared(mut place: Place) -> Place {
    place.daemon.start().await;
    adopt_starter(&mut Client::new("operator", Arc::new(place.daemon.client())), &place.daemon.credential()).await;
    place
}

/// The newest requests for an action, oldest first.
async fn listed(place: &Place, filter: Value) -> Vec<Value> {
    asked(place, "audit.list", filter).await["records"].as_array().unwrap().clone()
}

/// The closing records of what a command began.
async fn closings(place: &Place, command: &Value) -> Vec<Value> {
    let of = listed(place, json!({ "stream": "outcomes", "limit": 1_000, "from": 1 })).await;
    let mut found = Vec::new();
    for record in of.iter().filter(|record| record["kind"] == "operation.closed") {
        let shown = asked(place, "audit.show", json!({ "record": record["sequence"].to_string() })).await;
        let body = &shown["records"][0]["body"];
        if body["operation"] == *command {
            found.push(body.clone());
        }
    }
    found
}

/// Waits until nothing is under way.
async fn closed(place: &mut Place) {
    let none = async |client: &http::Client| {
        client.get("/v1/status").await.is_ok_and(|status| status["operations"]["open"] == 0)
    };
    place.daemon.until("has nothing under way", none).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_is_cut_off_by_a_kill_has_its_closing_record_after_the_next_start() {
    let mut place = prepared(Place::new()).await;
    for _ in 0..TRIES {
        let begun = asked(&place, "backup.create", json!({ "wait": false })).await;
        place.daemon.kill();
        place.daemon.start().await;
        let backup = &begun["backup"];
        let filter = json!({ "action": "backup.create", "limit": 1 });
        let done = async || {
            let shown = asked(&place, "backup.show", json!({ "backup": backup })).await;
            shown["state"] != "running"
        };
        while !done().await {
            tokio::task::yield_now().await;
        }
        // The route tells of it next, and of the beginning before that, if it had not yet.
        while listed(&place, filter.clone()).await[0]["outcome"] == "open" {
            tokio::task::yield_now().await;
        }
        let [started] = &listed(&place, filter).await[..] else { panic!("one request") };
        assert_eq!(started["outcome"], "succeeded", "{started}");
        let [closing] = &closings(&place, &started["command"]).await[..] else { panic!("it is closed once") };
        assert_eq!((&closing["outcome"], &closing["stream"]), (&json!(0), &json!("backup")));

        let of = |sequence: &Value| json!({ "record": sequence.to_string() });
        let cause = asked(&place, "audit.show", of(&started["ended"]["cause"])).await;
        assert_eq!(cause["records"][0]["kind"], "backup.completed", "it is closed by what the machine recorded");
        let first = asked(&place, "audit.show", of(&started["sequence"])).await;
        assert_eq!(first["records"][0]["outcome"], "succeeded");
        // Made by the process that came after the one that was killed?
        if first["records"][0]["epoch"] != cause["records"][0]["epoch"] {
            return;
        }
    }
    panic!("no kill hit a backup in {TRIES} tries");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_cannot_be_written_is_closed_as_failed_with_its_code() {
    let mut place = prepared(Place::new()).await;
    // A file stands where the directory of the backups is to be.
    let backups = place.daemon.data.join("backups");
    let _ = std::fs::remove_dir_all(&backups);
    std::fs::write(&backups, "").unwrap();
    let denied = place.daemon.run(&["backup", "create"]);
    crate::failed(&denied, 1, &["error[backup.failed]"]);
    closed(&mut place).await;
    let [failed] = &listed(&place, json!({ "outcome": "failed" })).await[..] else { panic!("one failed") };
    assert_eq!((&failed["action"], &failed["ended"]["code"]), (&json!("backup.create"), &json!("backup.failed")));
    assert_eq!(closings(&place, &failed["command"]).await.len(), 1);
    let shown = place.daemon.run(&["audit", "list", "--outcome", "failed"]);
    assert!(shown.stdout.contains("failed: backup.failed"), "{shown:?}");
    let explained = place.daemon.run(&["explain", failed["command"].as_str().unwrap()]);
    for words in ["allowed", "failed, backup.failed", "because of record"] {
        assert!(explained.stdout.contains(words), "{words}: {explained:?}");
    }

    // And once the cause is mended, the next one is another operation.
    std::fs::remove_file(&backups).unwrap();
    assert_eq!(place.daemon.run(&["backup", "create"]).code, Some(0));
    closed(&mut place).await;
    let all = listed(&place, json!({ "action": "backup.create" })).await;
    assert_eq!(all.iter().map(|one| &one["outcome"]).collect::<Vec<_>>(), ["failed", "succeeded"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_process_itself_did_is_unknown_when_it_was_killed() {
    let mut place = Place::new();
    place.daemon.manner = "dev";
    place.daemon.start().await;
    let permits =
        async |client: &http::Client| client.get("/v1/status").await.is_ok_and(|status| status["policy_epoch"] == 1);
    place.daemon.until("has its policy", permits).await;
    asked(&place, "system.chaos", json!({ "seed": 1, "for_ms": 3_600_000 })).await;
    place.daemon.kill();
    place.daemon.start().await;
    closed(&mut place).await;
    let [unknown] = &listed(&place, json!({ "outcome": "unknown" })).await[..] else { panic!("one unknown") };
    assert_eq!((&unknown["action"], &unknown["ended"]["corrected"]), (&json!("system.chaos"), &json!(false)));
    assert_eq!(closings(&place, &unknown["command"]).await.len(), 1);
    let status = place.daemon.run(&["status"]);
    assert!(status.stdout.contains("1 ended unknown: `sop audit list --outcome unknown`"), "{status:?}");
    let figures = crate::health::metrics(&place.daemon.socket);
    assert_eq!(figures["sop_operations_ended_total"].at(&[("outcome", "unknown")]), Some(1.0));
    assert_eq!(figures["sop_operations_open"].at(&[]), Some(0.0));
}

/// Each request has its outcome, and what is no request has none.
#[tokio::test(flavor = "multi_thread")]
async fn the_audit_shows_what_became_of_each_request() {
    let place = prepared(Place::new()).await;
    asked(&place, "gap.scan", json!({ "root": place.home.path() })).await;
    let nobody = json!({ "name": "nobody" });
    let secret = place.daemon.credential();
    let refused = place.daemon.client().call("retention.release", &nobody, Some(secret.expose()), None).await;
    assert!(refused.is_err(), "there is no such hold");
    let scans = listed(&place, json!({ "action": "gap.scan" })).await;
    assert!(["open", "succeeded"].contains(&scans[0]["outcome"].as_str().unwrap()), "{scans:?}");
    let all = listed(&place, json!({ "from": 1, "limit": 1_000 })).await;
    for record in &all {
        let asked = !record["action"].is_null() && !record["principal"].as_str().unwrap().starts_with("internal/");
        assert_eq!(asked, !record["outcome"].is_null(), "{record}");
        assert_eq!(record["outcome"] == "refused", !record["refused"].is_null(), "{record}");
    }
    let refused = listed(&place, json!({ "outcome": "refused" })).await;
    assert_eq!(refused.iter().map(|one| &one["action"]).collect::<Vec<_>>(), ["retention.release"]);
    let wrong = place.daemon.run(&["audit", "list", "--outcome", "perhaps"]);
    crate::failed(&wrong, 1, &["perhaps"]);
}
