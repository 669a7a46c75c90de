//! A backup made under load, and an authority that starts from it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use journal::{Journal, Limits};
use kernel::{CommandId, Sequence};
use kit::{Answer, Authority, Client, Daemon, adopt_starter, seed};
use serde_json::Value;

use crate::crew::Crew;
use crate::{Place, failed};

fn records(path: &Path) -> Vec<Vec<u8>> {
    let journal = Journal::new(path, Limits::default());
    journal.open().unwrap();
    let records = journal.raw(Sequence(1), usize::MAX).unwrap();
    journal.close();
    records
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_restored_is_what_was_acknowledged_before_the_backup() {
    let mut place = Place::started().await;
    let mut setup = Client::new("setup", Arc::new(place.daemon.client()));
    adopt_starter(&mut setup, &place.daemon.credential()).await;
    let crew = Crew::at_work(&place, seed());
    crew.does(60).await;
    let made = place.daemon.run(&["backup", "create", "-o", "json"]);
    assert_eq!(made.code, Some(0), "{made:?}");
    let made: Value = serde_json::from_str(&made.stdout).unwrap();
    assert_eq!((&made["backup"], &made["state"]), (&"backup-1".into(), &"complete".into()));
    crew.does(60).await;
    let verified = place.daemon.run(&["backup", "verify", "backup-1"]);
    assert_eq!(verified.code, Some(0), "{verified:?}");
    assert!(verified.stdout.contains("verified"), "{verified:?}");
    let mut ledgers = crew.stopped().await;
    ledgers.push(setup.ledger);
    place.daemon.kill();

    let last = usize::try_from(made["last"].as_u64().unwrap()).unwrap();
    let directory = made["directory"].as_str().unwrap().to_owned();
    let offline = place.daemon.run(&["backup", "verify", &directory]);
    assert_eq!(offline.code, Some(0), "{offline:?}");
    let mut other = Daemon::new(env!("CARGO_BIN_EXE_sop"), &place.home.path().join("other"));
    let restored = other.run(&["backup", "restore", &directory]);
    assert_eq!(restored.code, Some(0), "{restored:?}");
    for word in [made["head"].as_str().unwrap(), &format!("{last} records"), "No credential is in a backup"] {
        assert!(restored.stdout.contains(word), "{word}: {restored:?}");
    }
    let (before, after) = (records(&place.daemon.data.join("journal")), records(&other.data.join("journal")));
    assert!(after.len() == last && before[..last] == after[..], "the same records, byte for byte");
    assert!(last < before.len(), "and the first authority went on");
    let compared = other.run(&["backup", "restore", &directory]);
    assert_eq!(compared.code, Some(0), "{compared:?}");
    for word in [&*format!("common    {last}"), "lost      none", "gained    none", "Nothing was changed", "--swap"] {
        assert!(compared.stdout.contains(word), "{word}: {compared:?}");
    }
    assert!(!compared.stdout.contains("another"), "every state is the same: {compared:?}");

    std::fs::create_dir(other.data.join("credentials")).unwrap();
    let credential = |data: &Path| data.join("credentials/operator");
    std::fs::copy(credential(&place.daemon.data), credential(&other.data)).unwrap();
    other.start().await;
    let listed = other.run(&["backup", "list"]);
    assert!(listed.stdout.contains("No backups."), "a backup does not hold its own making: {listed:?}");
    let again = other.run(&["backup", "create"]);
    assert_eq!(again.code, Some(0), "{again:?}");
    other.kill();

    let authority = Authority::start(&other.data, "").await;
    let (records, _) = authority.settled(&[]).await;
    authority.lives_as_recorded().await;
    let places: BTreeMap<CommandId, u64> =
        records.iter().rev().map(|record| (record.command_id, record.sequence.0)).collect();
    let (mut there, mut not_there) = (0, 0);
    for note in ledgers.iter().flat_map(|ledger| &ledger.notes) {
        let Answer::Done { first, .. } = &note.answer else { continue };
        if first.0 <= last as u64 {
            assert_eq!(places.get(&note.id), Some(&first.0), "{note:?} was done before the backup");
            there += 1;
        } else {
            assert_eq!(places.get(&note.id), None, "{note:?} was done after the backup");
            not_there += 1;
        }
    }
    assert!(10 < there && 10 < not_there, "{there} before, {not_there} after");
    assert!(authority.stop().await.is_graceful());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_was_tampered_with_is_refused() {
    let place = Place::started().await;
    let mut setup = Client::new("setup", Arc::new(place.daemon.client()));
    adopt_starter(&mut setup, &place.daemon.credential()).await;
    for backup in ["backup-1", "backup-2"] {
        let made = place.daemon.run(&["backup", "create"]);
        assert!(made.code == Some(0) && made.stdout.contains(backup), "{made:?}");
    }
    let shown = place.daemon.run(&["backup", "show", "backup-2", "-o", "json"]);
    let shown: Value = serde_json::from_str(&shown.stdout).unwrap();
    let directory = Path::new(shown["directory"].as_str().unwrap()).to_owned();
    let log = directory.parent().unwrap().parent().unwrap().to_owned();
    let entries = log.join("tile/entries");
    // The first backup rests on fewer entries: what comes after them is the second one's alone.
    let parts: Vec<_> = walked(&entries);
    let newest = parts.iter().max_by_key(|path| path.metadata().unwrap().len()).unwrap();
    let mut bytes = std::fs::read(newest).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(newest, bytes).unwrap();
    let named = newest.strip_prefix(log.parent().unwrap()).unwrap().to_str().unwrap().to_owned();

    let found = place.daemon.run(&["backup", "verify", "backup-2"]);
    assert_eq!(found.code, Some(2), "{found:?}");
    assert!(found.stdout.contains("broken") && found.stdout.contains("log-"), "{found:?}: {named}");
    let listed = place.daemon.run(&["backup", "list"]);
    assert!(listed.stdout.contains("last good: backup-1"), "{listed:?}");
    let directory = directory.to_str().unwrap();
    let offline = place.daemon.run(&["backup", "verify", directory]);
    assert_eq!(offline.code, Some(2), "{offline:?}");
    let other = Daemon::new(env!("CARGO_BIN_EXE_sop"), &place.home.path().join("other"));
    let refused = other.run(&["backup", "restore", directory]);
    failed(&refused, 1, &["error[archive.broken]", "log-", "nothing was restored"]);
    assert!(!other.data.exists(), "nothing was made");
    failed(&other.run(&["backup", "restore", "/nowhere"]), 1, &["error[archive.none]"]);
    // The next one puts right what it shares with it, and both are whole.
    let made = place.daemon.run(&["backup", "create"]);
    assert!(made.code == Some(0) && made.stdout.contains("backup-3"), "{made:?}");
    for backup in ["backup-1", "backup-2", "backup-3"] {
        let found = place.daemon.run(&["backup", "verify", backup]);
        assert!(found.code == Some(0) && found.stdout.contains("verified"), "{found:?}");
    }
    failed(&place.daemon.run(&["backup", "verify", "backup-9"]), 1, &["error[backup.unknown]"]);
    let unmade = place.daemon.run(&["backup", "show", "9"]);
    failed(&unmade, 1, &["error[backup.unknown]", "sop backup list"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_a_kill_interrupted_is_made_by_the_next_start() {
    // Until a kill comes before the end of it is on record.
    let (mut place, root, position) = loop {
        let mut place = Place::started().await;
        let mut setup = Client::new("setup", Arc::new(place.daemon.client()));
        let root = place.daemon.credential();
        adopt_starter(&mut setup, &root).await;
        let arguments = serde_json::json!({ "wait": false });
        let started = setup.ask(None, root.expose(), "backup.create", arguments).await.yes();
        let asked_at = started["record"].as_u64().unwrap();
        place.daemon.kill();
        if !has_more_of("backup", &place.daemon.data.join("journal"), asked_at) {
            break (place, root, asked_at - 1);
        }
    };
    // As a kill in the midst leaves it, whenever it came: part of the log, and no backup.
    let backups = place.daemon.data.join("backups");
    let points: Vec<_> = walked(&backups).into_iter().filter(|path| path.ends_with("backups/backup-1")).collect();
    for point in points {
        std::fs::remove_file(point).unwrap();
    }
    for half in walked(&backups).into_iter().filter(|path| path.to_string_lossy().contains("/entries/")) {
        std::fs::write(half, "half").unwrap();
    }

    place.daemon.start().await;
    let secret = root.expose().to_owned();
    let made = async |client: &http::Client| {
        let arguments = serde_json::json!({ "backup": "backup-1" });
        let shown = client.call("backup.show", &arguments, Some(&secret), None).await;
        shown.is_ok_and(|shown| shown["state"] == "complete" && shown["last"] == position)
    };
    place.daemon.until("has made its backup", made).await;
    let verified = place.daemon.run(&["backup", "verify", "1"]);
    assert_eq!(verified.code, Some(0), "{verified:?}");
}

/// Whether the stream has records after that one.
fn has_more_of(stream: &str, path: &Path, after: u64) -> bool {
    let journal = Journal::new(path, Limits::default());
    journal.open().unwrap();
    let records = journal.read(Sequence(after + 1), usize::MAX).unwrap();
    journal.close();
    records.iter().any(|record| record.stream == stream)
}

/// Every file below a directory.
fn walked(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(walked(&path)) } else { found.push(path) }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_restores_a_backup_and_comes_to_what_runs() {
    let place = Place::started().await;
    let mut setup = Client::new("setup", Arc::new(place.daemon.client()));
    adopt_starter(&mut setup, &place.daemon.credential()).await;
    failed(&place.daemon.run(&["backup", "drill"]), 1, &["error[backup.none_good]", "sop backup create"]);
    assert_eq!(place.daemon.run(&["backup", "create"]).code, Some(0));
    assert_eq!(place.daemon.run(&["todo", "list"]).code, Some(0));
    let drilled = place.daemon.run(&["backup", "drill", "-o", "json"]);
    assert_eq!(drilled.code, Some(0), "{drilled:?}");
    let drilled: Value = serde_json::from_str(&drilled.stdout).unwrap();
    assert_eq!((&drilled["drill"], &drilled["state"]), (&"passed".into(), &"verified".into()), "{drilled}");
    assert!(!place.daemon.data.join("drill").exists(), "nothing is left of it");
    let again = place.daemon.run(&["backup", "drill", "backup-1", "-o", "json"]);
    let again: Value = serde_json::from_str(&again.stdout).unwrap();
    assert_eq!(again["drill_state"], drilled["drill_state"], "the same backup comes to the same states");

    // What cannot be restored is noticed before it is needed.
    let point = Path::new(drilled["directory"].as_str().unwrap());
    for bundle in walked(&point.parent().unwrap().parent().unwrap().join("tile/entries")) {
        std::fs::write(bundle, "nothing").unwrap();
    }
    let failed = place.daemon.run(&["backup", "drill"]);
    assert_eq!(failed.code, Some(2), "{failed:?}");
    for word in ["state      broken", "drill      failed", "tile/entries"] {
        assert!(failed.stdout.contains(word), "{word}: {failed:?}");
    }
    let health = place.daemon.run(&["health"]);
    assert!(health.code == Some(2) && health.stdout.contains("backup.bad"), "{health:?}");
    assert_eq!(place.daemon.run(&["backup", "create"]).code, Some(0));
    assert_eq!(place.daemon.run(&["backup", "drill"]).code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_due_is_done_and_what_need_not_be_kept_is_let_go_of() {
    let mut place = Place::started().await;
    let mut setup = Client::new("setup", Arc::new(place.daemon.client()));
    let root = place.daemon.credential();
    adopt_starter(&mut setup, &root).await;
    assert_eq!(place.daemon.run(&["backup", "create"]).code, Some(0));
    let held = place.daemon.run(&["backup", "hold", "1", "--reason", "a case"]);
    assert!(held.code == Some(0) && held.stdout.contains("a case"), "{held:?}");
    place.daemon.stop();
    let target = place.home.path().join("elsewhere");
    let configuration = format!(
        "[backup]\ntarget = {target:?}\nevery = \"1s\"\nverify_every = \"1s\"\ndrill_every = \"1s\"\n[backup.retention]\nlast = 1\n"
    );
    place.daemon.configure(&configuration);
    place.daemon.start().await;
    let secret = root.expose().to_owned();
    let all = async |client: &http::Client| {
        let listed = client.call("backup.list", &serde_json::json!({}), Some(&secret), None).await.ok();
        let listed = listed.and_then(|listed| listed["backups"].as_array().cloned()).unwrap_or_default();
        let numbers: Vec<_> = listed.iter().map(|one| one["backup"].as_str().unwrap_or_default().to_owned()).collect();
        let drilled = listed.iter().any(|one| one["drill"] == "passed");
        // Some were made, drilled and let go of again; the one that is held is there still.
        drilled && numbers.contains(&"backup-1".to_owned()) && !numbers.contains(&"backup-2".to_owned())
    };
    place.daemon.until("makes, verifies and lets go of backups", all).await;
    let released = place.daemon.run(&["backup", "release", "1"]);
    assert_eq!(released.code, Some(0), "{released:?}");
    let gone = async |client: &http::Client| {
        let arguments = serde_json::json!({ "backup": "backup-1" });
        let shown = client.call("backup.show", &arguments, Some(&secret), None).await;
        shown.is_ok_and(|shown| shown["state"] == "expired")
    };
    place.daemon.until("lets go of what is released", gone).await;
    place.daemon.stop();
    let there = walked(&target).into_iter().filter(|path| path.to_string_lossy().contains("/backups/backup-")).count();
    assert!((1..4).contains(&there), "{there} backups are kept");
    let whole = place.daemon.run(&["backup", "verify", target.to_str().unwrap()]);
    assert_eq!(whole.code, Some(0), "{whole:?}");
}

/// How many records the checkpoint stands for.
fn signed(place: &Place) -> u64 {
    let checkpoint = place.daemon.run(&["audit", "checkpoint"]);
    checkpoint.stdout.lines().nth(1).and_then(|size| size.parse().ok()).unwrap_or_else(|| panic!("{checkpoint:?}"))
}

/// The state of a running authority, put back to an hour ago beside it, and in its place.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_is_compared_and_put_aside() {
    let mut place = Place::started().await;
    let mut setup = Client::new("setup", Arc::new(place.daemon.client()));
    let root = place.daemon.credential();
    adopt_starter(&mut setup, &root).await;
    let made = place.daemon.run(&["backup", "create", "-o", "json"]);
    let made: Value = serde_json::from_str(&made.stdout).unwrap();
    let (directory, last) = (made["directory"].as_str().unwrap().to_owned(), made["last"].as_u64().unwrap());
    for _ in 0..3 {
        assert_eq!(place.daemon.run(&["todo", "list"]).code, Some(0));
    }
    let running = place.daemon.run(&["backup", "restore", &directory, "--swap"]);
    failed(&running, 1, &["error[journal.locked]", "stop the daemon first"]);
    // What is asked at the end of this test: a log that has signed more than the backup has.
    let then = signed(&place);
    while signed(&place) <= then {}
    place.daemon.kill();

    let data = place.daemon.data.clone();
    let before = records(&data.join("journal"));
    let compared = place.daemon.run(&["backup", "restore", &directory, "-o", "json"]);
    let found: Value = serde_json::from_str(&compared.stdout).unwrap();
    assert_eq!((&found["state"], &found["there"]["common"]), (&"compared".into(), &last.into()), "{compared:?}");
    let streams = found["there"]["lost"].as_object().unwrap();
    let gone: u64 = streams.values().map(|number| number.as_u64().unwrap()).sum();
    assert_eq!(gone, before.len() as u64 - last);
    let same = |machine: &str| {
        let machines = found["there"]["machines"].as_array().unwrap();
        machines.iter().find(|one| one["machine"] == machine).unwrap()["same"].clone()
    };
    assert_eq!((same("governance"), same("backup")), (true.into(), false.into()), "{compared:?}");
    assert_eq!(records(&data.join("journal")), before, "nothing was changed");
    assert!(!data.join("restoring").exists());

    // Interrupted where it hurts most: what was there is aside, and nothing is in its place.
    let between = data.join("journal.restoring");
    std::fs::create_dir(&between).unwrap();
    std::fs::rename(data.join("journal"), data.join("journal.aside-before")).unwrap();
    let ended = place.daemon.run(&["up"]);
    assert!(ended.code == Some(1) && ended.stderr.contains("journal.half_restored"), "{ended:?}");
    std::fs::rename(data.join("journal.aside-before"), data.join("journal")).unwrap();

    let key = data.join("keys/log");
    let kept = place.home.path().join("key");
    std::fs::copy(&key, &kept).unwrap();
    // The log there has signed more than the backup has.
    let behind = place.daemon.run(&["backup", "restore", &directory, "--swap", "--key", kept.to_str().unwrap()]);
    failed(&behind, 1, &["error[archive.signed]", "one log"]);
    let swapped = place.daemon.run(&["backup", "restore", &directory, "--swap"]);
    assert_eq!(swapped.code, Some(0), "{swapped:?}");
    for word in ["put aside as", "another log, under another key", "lost "] {
        assert!(swapped.stdout.contains(word), "{word}: {swapped:?}");
    }
    assert_eq!(records(&data.join("journal")), before[..usize::try_from(last).unwrap()]);
    place.daemon.start().await;
    let made = place.daemon.run(&["backup", "create"]);
    assert!(made.code == Some(0) && made.stdout.contains("backup-1"), "it has no backup yet, in its log: {made:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_authority_goes_on_with_its_log_under_its_key() {
    let mut place = Place::started().await;
    let mut setup = Client::new("setup", Arc::new(place.daemon.client()));
    adopt_starter(&mut setup, &place.daemon.credential()).await;
    let made = place.daemon.run(&["backup", "create"]);
    assert_eq!(made.code, Some(0), "{made:?}");
    let key = place.daemon.run(&["audit", "key", "-o", "json"]).stdout;
    place.daemon.kill();
    let (from, kept) = (place.daemon.data.join("backups"), place.daemon.data.join("keys/log"));
    let mut other = Daemon::new(env!("CARGO_BIN_EXE_sop"), &place.home.path().join("other"));
    let (from, kept) = (from.to_str().unwrap(), kept.to_str().unwrap());
    let restored = other.run(&["backup", "restore", from, "--key", kept]);
    assert!(restored.code == Some(0) && restored.stdout.contains("goes on under its key"), "{restored:?}");
    std::fs::create_dir(other.data.join("credentials")).unwrap();
    let credential = |data: &Path| data.join("credentials/operator");
    std::fs::copy(credential(&place.daemon.data), credential(&other.data)).unwrap();
    other.start().await;
    assert_eq!(other.run(&["audit", "key", "-o", "json"]).stdout, key);
    let deep = other.run(&["audit", "verify", "--deep"]);
    assert_eq!(deep.code, Some(0), "{deep:?}");
    let wrong = place.home.path().join("wrong");
    std::fs::write(&wrong, "no key").unwrap();
    let third = Daemon::new(env!("CARGO_BIN_EXE_sop"), &place.home.path().join("third"));
    let refused = third.run(&["backup", "restore", from, "--key", wrong.to_str().unwrap()]);
    failed(&refused, 1, &["error[evidence.key]"]);
    let both = third.run(&["backup", "restore", from, "--key", kept, "--to-size", "3"]);
    assert!(both.code == Some(1) && both.stderr.contains("cannot be used with"), "{both:?}");
    let sized = third.run(&["backup", "restore", from, "--to-size", "3", "-o", "json"]);
    let sized: Value = serde_json::from_str(&sized.stdout).unwrap();
    assert!(sized["entries"].as_u64().unwrap() <= 3 && sized["state"] == "restored", "{sized}");
}

/// What a program was built without it does not try.
#[cfg(not(feature = "object-store"))]
#[tokio::test(flavor = "multi_thread")]
async fn an_object_store_is_refused_where_it_is_not_built_in() {
    let place = Place::new();
    place.daemon.configure("[backup]\ntarget = \"s3://backups/sop\"\n");
    let words = ["config.not_built", "sop.toml:2:10", "cargo build --release --features object-store"];
    for arguments in [&["up"][..], &["backup", "restore", "s3://backups/sop"]] {
        failed(&place.daemon.run(arguments), 1, &words);
    }
    let validated = place.daemon.run(&["config", "validate"]);
    assert!(validated.code == Some(2) && words.iter().all(|word| validated.stdout.contains(word)), "{validated:?}");
    assert!(!place.daemon.data.join("journal").exists(), "nothing was made");
    place.daemon.configure("");
    let refused = place.daemon.run(&["backup", "verify", "s3://backups/sop"]);
    failed(&refused, 1, &["error[archive.not_built]", "--features object-store"]);
    failed(&place.daemon.run(&["backup", "verify", "s3://a b"]), 1, &["error[cli.place]"]);
}
