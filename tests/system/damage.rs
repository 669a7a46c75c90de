//! A journal whose files were damaged while nobody ran: refused with words, looked at, repaired, and started again.

use std::path::PathBuf;
use std::sync::Arc;

use kit::{Client, adopt_starter};
use serde_json::{Value, json};

use crate::{Place, failed};

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_journal_is_refused_named_and_repaired_from_its_other_copy() {
    let mut place = Place::started().await;
    let secret = place.daemon.credential();
    adopt_starter(&mut Client::new("operator", Arc::new(place.daemon.client())), &secret).await;
    failed(&place.daemon.run(&["state", "verify"]), 1, &["error[journal.locked]", "remedy: stop the daemon first"]);
    place.daemon.stop();
    let verify = |place: &Place| {
        let looked = place.daemon.run(&["state", "verify", "-o", "json"]);
        (looked.code, serde_json::from_str::<Value>(&looked.stdout).unwrap())
    };
    let (code, whole) = verify(&place);
    assert_eq!((code, &whole["state"], &whole["findings"]), (Some(0), &json!("whole"), &json!([])));

    let segment = place.daemon.data.join("journal/tail/00000000000000000001.seg");
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[300] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let words = ["error[journal.damaged]", "from record 1 on", "nothing was changed", "`sop state repair`"];
    failed(&place.daemon.run(&["up"]), 1, &words);
    let (code, damaged) = verify(&place);
    assert_eq!((code, &damaged["state"], &damaged["first_bad"]), (Some(2), &json!("damaged"), &json!(1)));

    let repaired = place.daemon.run(&["state", "repair", "-o", "json"]);
    assert_eq!(repaired.code, Some(0), "{repaired:?}");
    let repaired: Value = serde_json::from_str(&repaired.stdout).unwrap();
    assert_eq!((&repaired["state"], &repaired["last"]), (&json!("repaired"), &whole["last"]));
    assert_eq!(repaired["head"], whole["head"]);
    assert!(PathBuf::from(repaired["aside"].as_str().unwrap()).join("tail").is_dir());
    place.daemon.start().await;
    let client = place.daemon.client();
    let listed = client.call("policy.list", &json!({}), Some(secret.expose()), None).await.unwrap();
    assert_eq!(listed["epochs"].as_array().unwrap().len(), 2, "what was acknowledged is there");
    assert_eq!(place.daemon.stop().unwrap().code(), Some(0));
}
