//! A journal whose files were damaged while nobody ran: refused with words, looked at, repaired, and started again.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kit::{Client, adopt_starter};
use serde_json::{Value, json};

use crate::{Place, failed};

fn looked(place: &Place) -> (Option<i32>, Value) {
    let looked = place.daemon.run(&["state", "verify", "-o", "json"]);
    (looked.code, serde_json::from_str::<Value>(&looked.stdout).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_journal_is_refused_named_and_repaired_from_its_other_copy() {
    let mut place = Place::started().await;
    let secret = place.daemon.credential();
    adopt_starter(&mut Client::new("operator", Arc::new(place.daemon.client())), &secret).await;
    failed(&place.daemon.run(&["state", "verify"]), 1, &["error[journal.locked]", "remedy: stop the daemon first"]);
    place.daemon.stop();
    let (code, whole) = looked(&place);
    assert_eq!((code, &whole["state"], &whole["findings"]), (Some(0), &json!("whole"), &json!([])));

    let segment = place.daemon.data.join("journal/tail/00000000000000000001.seg");
    let mut bytes = fs::read(&segment).unwrap();
    bytes[300] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let words = ["error[journal.damaged]", "from record 1 on", "nothing was changed", "`sop state repair`"];
    failed(&place.daemon.run(&["up"]), 1, &words);
    let (code, damaged) = looked(&place);
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

/// A tail that was cut: what it has no more is in the store and in the tile log, and either may be lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_lost_is_made_again_from_the_tile_log_and_what_is_left_of_the_tail() {
    let mut place = Place::new();
    place.daemon.configure("[journal]\nsegment = \"64KiB\"\n");
    place.daemon.start().await;
    let secret = place.daemon.credential();
    let (client, journal) = (place.daemon.client(), place.daemon.data.join("journal"));
    adopt_starter(&mut Client::new("operator", Arc::new(client)), &secret).await;
    let client = place.daemon.client();
    let first = |journal: &Path| journal::tail::segments(&journal.join("tail")).unwrap()[0].first.0;
    while first(&journal) == 1 {
        client.call("policy.list", &json!({}), Some(secret.expose()), None).await.unwrap();
    }
    place.daemon.stop();
    assert!(journal::tail::segments(&journal.join("tail")).unwrap().len() <= 3, "a start reads little");
    let (code, whole) = looked(&place);
    assert_eq!((code, &whole["state"], &whole["log"]), (Some(0), &json!("whole"), &json!("whole")), "{whole}");
    assert_eq!(whole["signed"], whole["last"]);

    fs::remove_dir_all(journal.join("store")).unwrap();
    place.daemon.start().await;
    let log = fs::read_to_string(place.daemon.data.join("logs/sop_operations.log")).unwrap();
    assert!(log.contains("journal.rebuilt"), "a line in the log says so");
    let intact = |place: &Place| {
        let verified = place.daemon.run(&["audit", "verify", "--deep", "-o", "json"]);
        assert_eq!(verified.code, Some(0), "{verified:?}");
        serde_json::from_str::<Value>(&verified.stdout).unwrap()["records"].as_u64().unwrap()
    };
    let records = intact(&place);
    assert!(whole["last"].as_u64().unwrap() < records);
    place.daemon.stop();

    // After an orderly stop it is the disk, of which somebody should know.
    for entry in fs::read_dir(journal.join("store")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            fs::write(path, "this is not what was here").unwrap();
        }
    }
    failed(&place.daemon.run(&["up"]), 1, &["error[journal.damaged]", "`sop state repair`"]);
    let repaired = place.daemon.run(&["state", "repair", "-o", "json"]);
    assert_eq!(repaired.code, Some(0), "{repaired:?}");
    let repaired: Value = serde_json::from_str(&repaired.stdout).unwrap();
    assert_eq!((&repaired["state"], &repaired["log"]), (&json!("repaired"), &json!("whole")), "{repaired}");
    assert!(repaired["from_log"].as_u64() > Some(0) && repaired["from_tail"].as_u64() > Some(0), "{repaired}");
    assert_eq!(repaired["from_store"], 0);
    place.daemon.start().await;
    assert!(records <= intact(&place));

    // And the other way round: what the log has lost is in the store.
    place.daemon.stop();
    fs::write(place.daemon.data.join("evidence/tile/entries/000"), "this is not what was here").unwrap();
    let (code, damaged) = looked(&place);
    assert_eq!(
        (code, &damaged["state"], &damaged["log"]),
        (Some(2), &json!("damaged"), &json!("damaged")),
        "{damaged}"
    );
    assert_eq!((&damaged["first_bad"], &damaged["findings"][0]["part"]), (&json!(1), &json!("evidence")));
    let repaired = place.daemon.run(&["state", "repair", "-o", "json"]);
    assert_eq!(repaired.code, Some(0), "{repaired:?}");
    let repaired: Value = serde_json::from_str(&repaired.stdout).unwrap();
    assert_eq!((&repaired["state"], &repaired["log"]), (&json!("whole"), &json!("again")), "{repaired}");
    assert_eq!(looked(&place).0, Some(0));
}
