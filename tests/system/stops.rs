//! The emergency stop, while all is well and while nothing can be written; and the way back.

use std::sync::Arc;

use kit::{Client, admit, adopt_starter, root};
use serde_json::{Value, json};

use crate::Place;

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_stops_everything_over_a_restart_until_its_own_digest_ends_it() {
    let mut place = Place::started().await;
    let secret = place.daemon.credential();
    let mut client = Client::new("operator", Arc::new(place.daemon.client()));
    let by = root();
    adopt_starter(&mut client, &secret).await;
    admit(&mut client, &secret, "agent/a").await;
    let token = door::Secret::generate(door::SecretKind::Token);
    let id = host::Clock::system().command_id().to_string();
    let issue = json!({
        "id": id, "secret_digest": token.digest(), "kind": "operation", "subject": "agent/a", "audience": "press",
        "operation": "print",
    });
    client.ask(Some(&by), secret.expose(), "token.issue", issue.clone()).await.yes();

    let stopped = place.daemon.run(&["emergency-stop", "--reason", "fire in the hall"]);
    assert_eq!(stopped.code, Some(0), "{stopped:?}");
    for again in [false, true] {
        if again {
            place.daemon.kill();
            place.daemon.spawn();
            place.daemon.answers().await;
        }
        let status = place.daemon.client().get("/v1/status").await.unwrap();
        assert_eq!((&status["state"], &status["sealed"]["reason"]), (&json!("sealed"), &json!("fire in the hall")));
        let told = client.ask(Some(&by), secret.expose(), "token.issue", issue.clone()).await;
        assert_eq!(told.code(), Some("door.sealed"));
    }
    // A route revokes what was alive; it may be at it still.
    let is_revoked = async |client: &http::Client| {
        let shown = client.call("token.show", &json!({ "id": id }), Some(secret.expose()), None).await;
        shown.is_ok_and(|token| token["state"] == "revoked")
    };
    place.daemon.until("has revoked the token", is_revoked).await;

    let wrong = place.daemon.run(&["resume", "--digest", &"0".repeat(64)]);
    assert_ne!(wrong.code, Some(0), "{wrong:?}");
    let status = place.daemon.client().get("/v1/status").await.unwrap();
    let digest = status["sealed"]["digest"].as_str().unwrap();
    let resumed = place.daemon.run(&["resume", "--digest", digest]);
    assert_eq!(resumed.code, Some(0), "{resumed:?}");
    place.daemon.ready().await;
    assert!(!place.daemon.data.join("sealed").exists());
    let told = client.ask(Some(&by), secret.expose(), "token.issue", issue).await;
    assert!(told.code().is_none(), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_works_while_nothing_can_be_written() {
    let mut place = Place::started().await;
    place.daemon.stop();
    place.daemon.configure("[store]\nreserve = \"1TiB\"\n");
    place.daemon.spawn();
    place.daemon.answers().await;
    place.daemon.until("governance is up", async |client| up(client).await).await;
    let stopped = place.daemon.run(&["-o", "json", "emergency-stop", "--reason", "fire"]);
    let told: Value = serde_json::from_str(&stopped.stdout).unwrap_or_else(|error| panic!("{error}: {stopped:?}"));
    assert_eq!(
        (&told["sealed"], &told["recorded"], &told["kept_in_file"]),
        (&json!(true), &json!(false), &json!(true))
    );
    assert_eq!(place.daemon.client().get("/v1/status").await.unwrap()["state"], "sealed");

    place.daemon.kill();
    place.daemon.configure("");
    place.daemon.spawn();
    place.daemon.answers().await;
    let recorded = async |client: &http::Client| {
        client.get("/v1/status").await.is_ok_and(|status| status["sealed"]["digest"].is_string())
    };
    place.daemon.until("records the stop", recorded).await;
    let status = place.daemon.client().get("/v1/status").await.unwrap();
    assert_eq!(status["state"], "sealed");
    let resumed = place.daemon.run(&["resume", "--digest", status["sealed"]["digest"].as_str().unwrap()]);
    assert_eq!(resumed.code, Some(0), "{resumed:?}");
    place.daemon.ready().await;
}

/// Whether all machines are up: then only the disk is in the way.
async fn up(client: &http::Client) -> bool {
    let status = client.get("/v1/status").await.unwrap_or_default();
    status["reasons"].as_array().is_some_and(|reasons| reasons.iter().all(|why| why.as_str().unwrap().contains("free")))
}
