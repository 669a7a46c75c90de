//! Chaos over a real daemon: a development one takes it and is judged, and no other does.

use std::process::Stdio;

use serde_json::{Value, json};

use crate::{Place, failed};

/// A development daemon that permits its operator everything.
async fn developed() -> Place {
    let mut place = Place::new();
    place.daemon.manner = "dev";
    place.daemon.configure("[supervision]\nrestarts = 100\nbackoff_first = \"1ms\"\nbackoff_max = \"20ms\"\n");
    place.daemon.start().await;
    let permits =
        async |client: &http::Client| client.get("/v1/status").await.is_ok_and(|status| status["policy_epoch"] == 1);
    place.daemon.until("has its policy", permits).await;
    place
}

#[tokio::test(flavor = "multi_thread")]
async fn a_development_daemon_is_tried_and_judged() {
    let mut place = developed().await;
    let tried = place.daemon.run(&["chaos", "run", "--seed", "7", "--for", "4s"]);
    assert_eq!(tried.code, Some(0), "{tried:?}");
    for words in ["seed 7: ", "decisions judged", "\nkept: every invariant"] {
        assert!(tried.stdout.contains(words), "{words:?} is not said: {tried:?}");
    }
    let judgement = place.daemon.run(&["-o", "json", "chaos", "run", "--seed", "8", "--for", "3s"]);
    let judgement: serde_json::Value = serde_json::from_str(&judgement.stdout).unwrap();
    assert_eq!((&judgement["kept"], &judgement["over"]), (&true.into(), &true.into()), "{judgement}");
    assert!(judgement["steps"].as_u64() > Some(0), "{judgement}");

    let recorded = place.daemon.run(&["-o", "json", "audit", "list", "--limit", "1000"]);
    assert!(recorded.stdout.contains("system.chaos"), "{recorded:?}");
    let long = ["chaos", "run", "--for", "2h"];
    failed(&place.daemon.run(&long), 1, &["error[system.chaos_long]", "at most 3600 s"]);
    failed(&place.daemon.run(&["chaos", "run", "--for", "soon"]), 1, &["--for"]);
    assert!(place.daemon.stop().is_some_and(|status| status.success()));
}

/// What another hand kills while a plan runs has no cause in the plan, whatever the plan kills besides.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_plan_did_not_do_is_a_violation_and_one_plan_runs_at_a_time() {
    let mut place = developed().await;
    let secret = place.daemon.credential();
    let mut tried = place.daemon.command(&["chaos", "run", "--seed", "7", "--for", "10m"]);
    tried.arg("--data").arg(&place.daemon.data).stdout(Stdio::piped()).stderr(Stdio::piped());
    let tried = tried.spawn().unwrap();
    let runs = async |client: &http::Client| {
        let judgement = client.call("system.judgement", &json!({}), Some(secret.expose()), None).await;
        judgement.is_ok_and(|judgement: Value| judgement["over"] == false)
    };
    place.daemon.until("tries its tree", runs).await;

    let second = ["chaos", "run", "--seed", "8", "--for", "1s"];
    let words = ["error[system.chaos_runs]", "another plan is under way", "`system.judgement`"];
    failed(&place.daemon.run(&second), 1, &words);

    let killed = place.daemon.run(&["kill", "protocols"]);
    assert_eq!(killed.code, Some(0), "{killed:?}");
    let tried = tried.wait_with_output().unwrap();
    let said = String::from_utf8(tried.stdout).unwrap();
    assert_eq!(tried.status.code(), Some(2), "{said}");
    for words in
        ["\nVIOLATED in step ", " of seed 7: prediction (", "sop/protocols, incarnation ", "nothing was done to it"]
    {
        assert!(said.contains(words), "{words:?} is not said: {said}");
    }
    assert!(!said.contains("kept: every invariant"), "{said}");

    // It is over, and the next one is judged for itself.
    let next = place.daemon.run(&second);
    assert_eq!((next.code, next.stdout.contains("\nkept: every invariant")), (Some(0), true), "{next:?}");
    assert!(place.daemon.stop().is_some_and(|status| status.success()));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_other_daemon_is() {
    let place = Place::started().await;
    let before = place.daemon.run(&["tree"]);
    failed(&place.daemon.run(&["chaos", "run"]), 3, &["error[system.dev_only]", "`sop dev`"]);
    assert_eq!(place.daemon.run(&["tree"]).stdout, before.stdout);
}
