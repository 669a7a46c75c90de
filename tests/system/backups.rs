//! A backup made under load, and an authority that starts from it.

use std::collections::BTreeMap;
use std::path::Path;
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
    failed(&other.run(&["backup", "restore", &directory]), 1, &["error[cli.data]", "is not empty"]);

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
    let directory = place.daemon.data.join("backups/backup-2");
    let entries = directory.join("entries/000000000000.bin");
    let mut bytes = std::fs::read(&entries).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&entries, bytes).unwrap();

    let found = place.daemon.run(&["backup", "verify", "backup-2"]);
    assert_eq!(found.code, Some(2), "{found:?}");
    assert!(found.stdout.contains("broken") && found.stdout.contains("entries/000000000000.bin"), "{found:?}");
    let listed = place.daemon.run(&["backup", "list"]);
    assert!(listed.stdout.contains("last good: backup-1"), "{listed:?}");
    let directory = directory.to_str().unwrap();
    let offline = place.daemon.run(&["backup", "verify", directory]);
    assert_eq!(offline.code, Some(2), "{offline:?}");
    let other = Daemon::new(env!("CARGO_BIN_EXE_sop"), &place.home.path().join("other"));
    let refused = other.run(&["backup", "restore", directory]);
    failed(&refused, 1, &["error[archive.broken]", "entries/000000000000.bin", "nothing was restored"]);
    assert!(!other.data.exists(), "nothing was made");
    failed(&other.run(&["backup", "restore", "/nowhere"]), 1, &["error[archive.none]"]);
    failed(&place.daemon.run(&["backup", "verify", "backup-9"]), 1, &["error[backup.unknown]"]);
    let unmade = place.daemon.run(&["backup", "show", "9"]);
    failed(&unmade, 1, &["error[backup.unknown]", "sop backup list"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_a_kill_interrupted_is_made_by_the_next_start() {
    let mut place = Place::started().await;
    let mut setup = Client::new("setup", Arc::new(place.daemon.client()));
    let root = place.daemon.credential();
    adopt_starter(&mut setup, &root).await;
    let started = setup.ask(None, root.expose(), "backup.create", serde_json::json!({ "wait": false })).await.yes();
    let position = started["record"].as_u64().unwrap() - 1;
    place.daemon.kill();
    // As a kill in the midst leaves it, whenever it came.
    let half = place.daemon.data.join("backups/.backup-1.making/entries");
    std::fs::create_dir_all(&half).unwrap();
    std::fs::write(half.join("000000000000.bin"), "half").unwrap();
    let interrupted = place.daemon.data.join("backups/backup-1");
    if interrupted.exists() {
        std::fs::remove_dir_all(half.parent().unwrap()).unwrap();
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
    let left: Vec<_> = std::fs::read_dir(place.daemon.data.join("backups")).unwrap().collect();
    assert_eq!(left.len(), 1, "nothing else is left: {left:?}");
}
