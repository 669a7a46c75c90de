//! The three command lines of the first runbook, each by its equivalent.

use serde_json::Value;

use crate::Place;

#[tokio::test(flavor = "multi_thread")]
async fn initialise_the_full_stack() {
    let mut place = Place::new();
    let mut first = place.daemon.command(&["--initialize", "--full-stack"]);
    let mut first = first.arg("--data").arg(&place.daemon.data).stdout(std::process::Stdio::null()).spawn().unwrap();
    for _ in 0..12_000 {
        if place.daemon.client().get("/v1/health/ready").await.is_ok() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let ready = place.daemon.client().get("/v1/health/ready").await;
    first.kill().unwrap();
    first.wait().unwrap();
    assert_eq!(ready.unwrap()["ready"], true);
    place.daemon.start().await;
    assert_eq!(place.daemon.run(&["status"]).code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn follow_the_log() {
    let mut place = Place::started().await;
    let log = place.daemon.data.join("logs/sop_operations.log");
    let said =
        async |_: &http::Client| std::fs::read_to_string(&log).is_ok_and(|text| text.contains("everything is up"));
    place.daemon.until("says that it is up", said).await;
    let lines: Vec<Value> =
        std::fs::read_to_string(&log).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.iter().all(|line| line["timestamp"].is_string() && line["level"].is_string()), "{lines:?}");
    let shown = place.daemon.run(&["logs"]);
    assert_eq!(shown.code, Some(0), "{shown:?}");
    assert!(shown.stdout.contains("everything is up"), "{shown:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn shut_down_in_an_emergency() {
    for line in [&["emergency-stop", "--reason", "emergency shutdown"][..], &["--emergency-shutdown"]] {
        let place = Place::started().await;
        let stopped = place.daemon.run(line);
        assert_eq!(stopped.code, Some(0), "{line:?} {stopped:?}");
        let status = place.daemon.client().get("/v1/status").await.unwrap();
        assert_eq!((&status["state"], &status["sealed"]["reason"]), (&"sealed".into(), &"emergency shutdown".into()));
    }
}
