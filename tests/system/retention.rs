//! Records leave the tile log when they may, and not before; what has left is where it is said to be.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use journal::{Journal, Limits};
use kernel::Sequence;
use kit::{Client, adopt_starter};
use serde_json::{Value, json};

use crate::{Place, failed};

/// Everything may leave at once; the tail is cut early.
const SOON: &str =
    "[journal]\nsegment = \"64KiB\"\n[retention]\nauthority = \"1s\"\noperations = \"1s\"\nmessages = \"1s\"\n";

async fn started(configuration: &str) -> (Place, String) {
    let mut place = Place::new();
    place.daemon.configure(configuration);
    place.daemon.start().await;
    let root = place.daemon.credential();
    let mut setup = Client::new("setup", Arc::new(place.daemon.client()));
    adopt_starter(&mut setup, &root).await;
    let secret = root.expose().to_owned();
    (place, secret)
}

/// Asks until there are so many records: each reading is one.
pub async fn recorded(place: &Place, secret: &str, records: u64) {
    let client = place.daemon.client();
    loop {
        let listed = client.call("audit.list", &json!({ "limit": 1 }), Some(secret), None).await.unwrap();
        let last = listed["records"][0]["sequence"].as_u64().unwrap();
        if records <= last {
            return;
        }
        for _ in last..records {
            client.call("policy.list", &json!({}), Some(secret), None).await.unwrap();
        }
    }
}

/// One that was read again, and the directory that it is in.
pub fn backed_up(place: &Place) -> PathBuf {
    let made = place.daemon.run(&["backup", "create", "-o", "json"]);
    let made: Value = serde_json::from_str(&made.stdout).unwrap_or_else(|_| panic!("{made:?}"));
    let backup = made["backup"].as_str().unwrap();
    let verified = place.daemon.run(&["backup", "verify", backup]);
    assert!(verified.code == Some(0) && verified.stdout.contains("verified"), "{verified:?}");
    made["directory"].as_str().unwrap().into()
}

fn shown(place: &Place) -> Value {
    let shown = place.daemon.run(&["retention", "show", "-o", "json"]);
    serde_json::from_str(&shown.stdout).unwrap_or_else(|_| panic!("{shown:?}"))
}

/// Waits until so many records have left, or would.
pub async fn until_minimum(place: &mut Place, secret: &str, minimum: u64, key: &str) {
    let ask = async |client: &http::Client| {
        let shown = client.call("retention.show", &json!({}), Some(secret), None).await.unwrap_or_default();
        minimum <= shown[key].as_u64().unwrap_or_default()
    };
    place.daemon.until("lets them leave", ask).await;
}

fn bundle(data: &Path, number: u64) -> PathBuf {
    data.join(format!("evidence/tile/entries/{number:03}"))
}

fn records(path: &Path) -> Vec<Vec<u8>> {
    let journal = Journal::new(path, Limits::default());
    journal.open().unwrap();
    let records = journal.raw(Sequence(1), usize::MAX).unwrap();
    journal.close();
    records
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_leave_the_log_leaves_it_and_is_where_it_is_said_to_be() {
    let (mut place, secret) = started(SOON).await;
    let data = place.daemon.data.clone();
    recorded(&place, &secret, 800).await;
    assert_eq!(shown(&place)["stays_code"], "no_backup", "{}", shown(&place));
    failed(&place.daemon.run(&["retention", "prune"]), 1, &["error[retention.nothing]", "no backup was found whole"]);
    backed_up(&place);
    until_minimum(&mut place, &secret, 768, "minimum").await;

    // What is held stays, and all after it.
    let bad = place.daemon.run(&["retention", "hold", "case-1", "--reason", "x", "--stream", "nosuch"]);
    failed(&bad, 1, &["request.arguments", "nexus"]);
    let held = place.daemon.run(&["retention", "hold", "case-1", "--reason", "a suit", "--from", "600", "--to", "610"]);
    assert_eq!(held.code, Some(0), "{held:?}");
    let listed = place.daemon.run(&["retention", "list"]);
    assert!(listed.stdout.contains("case-1") && listed.stdout.contains("a suit"), "{listed:?}");
    let told = place.daemon.run(&["retention", "prune", "--dry-run"]);
    for word in [
        "512 records, up to 512",
        "backup-1",
        "record 600",
        "is held by case-1",
        "recorded as retention.pruning",
        "Nothing was done.",
    ] {
        assert!(told.stdout.contains(word), "{word}: {told:?}");
    }
    assert!(bundle(&data, 0).exists());
    let proof = |at: &str| {
        let proof = place.daemon.run(&["audit", "proof", at]);
        assert_eq!(proof.code, Some(0), "{proof:?}");
        // The checkpoint below goes on.
        proof.stdout.lines().take(3).map(str::to_owned).collect::<Vec<_>>()
    };
    let before = proof("100");
    let stop = place.daemon.run(&["emergency-stop", "--reason", "look"]);
    assert_eq!(stop.code, Some(0), "{stop:?}");
    failed(&place.daemon.run(&["retention", "prune"]), 3, &["door.sealed"]);
    let status = place.daemon.client().get("/v1/status").await.unwrap();
    let digest = status["sealed"]["digest"].as_str().unwrap().to_owned();
    assert_eq!(place.daemon.run(&["resume", "--digest", &digest]).code, Some(0));
    let pruned = place.daemon.run(&["retention", "prune"]);
    assert_eq!(pruned.code, Some(0), "{pruned:?}");
    assert!(pruned.stdout.contains("first 512 records") && pruned.stdout.contains("backup-1"), "{pruned:?}");
    assert!(!bundle(&data, 0).exists() && !bundle(&data, 1).exists() && bundle(&data, 2).exists());
    assert_eq!(proof("100"), before, "what was proven is proven");
    assert_eq!(place.daemon.run(&["audit", "show", "100"]).code, Some(0), "the store has it");
    failed(&place.daemon.run(&["retention", "prune"]), 1, &["error[retention.nothing]", "is held by case-1"]);

    // A subject that is held for a case holds what has its name.
    assert_eq!(place.daemon.run(&["retention", "release", "case-1"]).code, Some(0));
    let held = place.daemon.run(&["subject", "hold", "operator/root", "--case", "suit-7"]);
    assert_eq!(held.code, Some(0), "{held:?}");
    assert_eq!(shown(&place)["stays_code"], "subject", "{}", shown(&place));
    assert_eq!(place.daemon.run(&["subject", "release", "operator/root", "--case", "suit-7"]).code, Some(0));

    // All that reads it says what has left, and goes on.
    let verified = place.daemon.run(&["audit", "verify", "--deep"]);
    assert_eq!(verified.code, Some(0), "{verified:?}");
    for word in ["says that the first 512 have left", "the log's own copy of the records 1 to 512", "backup-1"] {
        assert!(verified.stdout.contains(word), "{word}: {verified:?}");
    }
    let archive = place.daemon.run(&["backup", "show", "backup-1"]);
    assert!(archive.stdout.contains("archive of") && archive.stdout.contains("1 to 512"), "{archive:?}");
    let directory = backed_up(&place);
    let pruned = place.daemon.run(&["retention", "prune", "-o", "json"]);
    let pruned: Value = serde_json::from_str(&pruned.stdout).unwrap_or_else(|_| panic!("{pruned:?}"));
    assert_eq!((&pruned["minimum"], &pruned["pruned"]["archive"]), (&768.into(), &"backup-2".into()), "{pruned}");
    let drilled = place.daemon.run(&["backup", "drill"]);
    assert!(drilled.code == Some(0) && drilled.stdout.contains("passed"), "{drilled:?}");
    assert!(place.daemon.stop().unwrap().success());

    let journal = data.join("journal");
    let all = records(&journal);
    let other = kit::Daemon::new(env!("CARGO_BIN_EXE_sop"), &place.home.path().join("other"));
    let restored = other.run(&["backup", "restore", directory.to_str().unwrap()]);
    assert_eq!(restored.code, Some(0), "{restored:?}");
    let again = records(&other.data.join("journal"));
    assert!(700 < again.len() && again[..] == all[..again.len()], "the same, from the first record on");
    let whole = place.daemon.run(&["state", "verify"]);
    assert!(whole.code == Some(0) && whole.stdout.contains("the first 768 have left it"), "{whole:?}");

    // The store is lost: nothing here has the first records any more, and it is said who has.
    std::fs::remove_dir_all(journal.join("store")).unwrap();
    let refused = place.daemon.run(&["up"]);
    failed(&refused, 1, &["evidence.pruned", "backup-2", "state repair --from-backup"]);
    failed(&place.daemon.run(&["state", "repair"]), 1, &["error[evidence.pruned]", "backup-2"]);
    let mended = place.daemon.run(&["state", "repair", "--from-backup", directory.to_str().unwrap()]);
    assert!(mended.code == Some(0) && mended.stdout.contains("repaired"), "{mended:?}");
    assert!(records(&journal) == all, "the same, from the first record to the last");
    place.daemon.start().await;
    let verified = place.daemon.run(&["audit", "verify", "--deep"]);
    assert_eq!(verified.code, Some(0), "{verified:?}");
    place.daemon.stop();

    // Raised by hand over what was taken away by hand.
    let minimum = data.join("evidence/minimum");
    let good = std::fs::read_to_string(&minimum).unwrap();
    std::fs::write(&minimum, good.replace("768", "1024")).unwrap();
    failed(&place.daemon.run(&["up"]), 1, &["evidence.damaged", "no record that was signed"]);
    std::fs::remove_file(&minimum).unwrap();
    let lost = place.daemon.run(&["state", "verify"]);
    assert!(lost.code == Some(2) && lost.stdout.contains("tile/entries/000: it is missing"), "{lost:?}");
    std::fs::write(&minimum, good).unwrap();
    place.daemon.start().await;
}

/// Killed at any moment: what is there can be used, and what was begun comes to its end.
#[tokio::test(flavor = "multi_thread")]
async fn a_pruning_that_is_killed_comes_to_its_end() {
    let mut dice = kit::Dice::new(kit::seed(), 0);
    let (mut place, secret) = started(SOON).await;
    let (mut minimum, mut carried_on) = (0, 0);
    for round in 1..=5 {
        recorded(&place, &secret, round * 256 + 300).await;
        backed_up(&place);
        until_minimum(&mut place, &secret, round * 256, "minimum").await;
        let client = place.daemon.client();
        let nothing = json!({});
        let prune = client.call("retention.prune", &nothing, Some(&secret), None);
        let within = std::time::Duration::from_micros(dice.below(60_000) as u64);
        // Nothing waits for this: it is the moment that chance chooses.
        let told = tokio::time::timeout(within, prune).await.is_ok_and(|answer| answer.is_ok());
        place.daemon.kill();
        place.daemon.start().await;
        let settled = async |client: &http::Client| {
            let shown = client.call("retention.show", &json!({}), Some(&secret), None).await.unwrap_or_default();
            shown["pruning"].is_null() && shown["classes"].is_array()
        };
        place.daemon.until("has carried on", settled).await;
        let found = shown(&place);
        let now = found["pruned"]["minimum"].as_u64().unwrap_or_default();
        assert!(minimum <= now && (!told || minimum < now), "round {round}: what was told is final: {found}");
        assert_eq!(found["online_from"], now + 1, "round {round}: {found}");
        let data = &place.daemon.data;
        for number in 0..round {
            assert_eq!(bundle(data, number).exists(), now <= number * 256, "round {round}: bundle {number}, {found}");
        }
        let verified = place.daemon.run(&["audit", "verify", "--deep"]);
        assert_eq!(verified.code, Some(0), "round {round}: {verified:?}");
        carried_on += u32::from(minimum < now && !told);
        minimum = now;
    }
    println!("up to {minimum}, {carried_on} carried on");
}

/// What is due leaves by itself, but not while everything is stopped; an archive that is damaged keeps it from leaving.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_due_leaves_by_itself_if_a_backup_has_it() {
    let (mut place, secret) = started(SOON).await;
    recorded(&place, &secret, 600).await;
    let directory = backed_up(&place);
    let log = directory.parent().unwrap().parent().unwrap();
    let bundle_of_backup = log.join("tile/entries/000");
    let good = std::fs::read(&bundle_of_backup).unwrap();
    std::fs::write(&bundle_of_backup, [&good[..100], b"x", &good[101..]].concat()).unwrap();
    until_minimum(&mut place, &secret, 512, "minimum").await;
    let refused = place.daemon.run(&["retention", "prune"]);
    failed(&refused, 1, &["error[retention.abandoned]", "backup-1 cannot be relied on"]);
    assert!(bundle(&place.daemon.data, 0).exists(), "all stays");
    std::fs::write(&bundle_of_backup, good).unwrap();
    assert_eq!(place.daemon.run(&["emergency-stop", "--reason", "look"]).code, Some(0));
    place.daemon.stop();
    place.daemon.configure(&format!("{SOON}every = \"1s\"\n"));
    place.daemon.spawn();
    place.daemon.answers().await;
    let known = async |client: &http::Client| {
        client.get("/v1/status").await.is_ok_and(|status| status["sealed"]["digest"].is_string())
    };
    place.daemon.until("knows the stop", known).await;
    let status = place.daemon.client().get("/v1/status").await.unwrap();
    assert!(bundle(&place.daemon.data, 0).exists(), "nothing leaves while everything is stopped");
    let digest = status["sealed"]["digest"].as_str().unwrap().to_owned();
    assert_eq!(place.daemon.run(&["resume", "--digest", &digest]).code, Some(0));
    until_minimum(&mut place, &secret, 513, "online_from").await;
    // The minimum is signed first, then the files go.
    let data = place.daemon.data.clone();
    let gone = async |_: &http::Client| !bundle(&data, 0).exists() && !bundle(&data, 1).exists();
    place.daemon.until("has taken them away", gone).await;
    let by = &shown(&place)["pruned"]["by"];
    assert_eq!(by, "internal/pruner");
}
