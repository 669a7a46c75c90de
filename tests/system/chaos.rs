//! Chaos over a real daemon: a development one takes it and is judged, and no other does.

use crate::{Place, failed};

#[tokio::test(flavor = "multi_thread")]
async fn a_development_daemon_is_tried_and_judged() {
    let mut place = Place::new();
    place.daemon.manner = "dev";
    place.daemon.configure("[supervision]\nrestarts = 100\nbackoff_first = \"1ms\"\nbackoff_max = \"20ms\"\n");
    place.daemon.start().await;
    let permits =
        async |client: &http::Client| client.get("/v1/status").await.is_ok_and(|status| status["policy_epoch"] == 1);
    place.daemon.until("has its policy", permits).await;
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

#[tokio::test(flavor = "multi_thread")]
async fn no_other_daemon_is() {
    let place = Place::started().await;
    let before = place.daemon.run(&["tree"]);
    failed(&place.daemon.run(&["chaos", "run"]), 3, &["error[system.dev_only]", "`sop dev`"]);
    assert_eq!(place.daemon.run(&["tree"]).stdout, before.stdout);
}
