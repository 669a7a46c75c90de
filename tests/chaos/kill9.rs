//! The daemon itself is killed at random moments, again and again over one data directory, while clients work over its
//! socket; what it acknowledged is there after each start, and nothing is done twice, by its protocols neither.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kernel::{CommandId, Sequence};
use kit::restored::Origin;
use kit::work::{Pool, Worker};
use kit::{Authority, Client, Daemon, Dice, Ledger, Line, adopt_starter, seed};
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinSet;

const CLIENTS: usize = 12;
const ROUNDS: usize = 25;
/// What is scanned.
const ROOTS: usize = 3;

/// The tail is cut many times in a run, and a snapshot is written every few records, so that many a kill comes in the midst of
/// either.
const CONFIGURATION: &str = r#"
[store]
reserve = "1MiB"

[journal]
segment = "64KiB"
snapshot_every = 5
"#;

/// Against a test that hangs; nothing is measured by it.
const NEVER: Duration = Duration::from_mins(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_that_is_killed_at_any_moment_keeps_what_it_acknowledged() {
    let seed = seed();
    let mut dice = Dice::new(seed, u64::MAX);
    let home = TempDir::new().unwrap();
    let mut daemon = Daemon::new(env!("CARGO_BIN_EXE_sop"), home.path());
    daemon.configure(CONFIGURATION);
    // Also the very first starts are killed, while there is no operator yet.
    for _ in 0..8 {
        killed_while_starting(&mut daemon, &mut dice).await;
    }
    daemon.start().await;
    let root = daemon.credential();
    let line: Arc<dyn Line> = Arc::new(daemon.client());
    let mut setup = Client::new("setup", line.clone());
    adopt_starter(&mut setup, &root).await;

    let (stop, turns) = (Arc::new(AtomicBool::new(false)), Arc::new(watch::Sender::new(0)));
    let (pool, mut crew) = (Arc::new(Pool::with_backups()), JoinSet::new());
    for number in 0..CLIENTS {
        let scanned = home.path().join(format!("root{}", number % ROOTS));
        std::fs::create_dir_all(&scanned).unwrap();
        let client = Client::new(&format!("c{number}"), line.clone());
        let dice = Dice::new(seed, number as u64);
        let mut worker = Worker::new(number, client, root.clone(), dice, pool.clone(), &scanned);
        let (stop, turns) = (stop.clone(), turns.clone());
        crew.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                worker.turn().await;
                turns.send_modify(|turns| *turns += 1);
            }
            worker.client.ledger
        });
    }

    let root_key = home.path().join("root.key");
    std::fs::write(&root_key, "5a".repeat(32)).unwrap();
    std::fs::set_permissions(&root_key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let with_root = format!("{CONFIGURATION}\n[crypto]\nroot_key = \"file:{}\"\n", root_key.display());
    let mut progress = turns.subscribe();
    for round in 0..ROUNDS {
        let enough = *progress.borrow() + dice.below(40);
        tokio::time::timeout(NEVER, progress.wait_for(|turns| enough <= *turns)).await.expect("it goes on").unwrap();
        daemon.kill();
        if round == 3 {
            // The key of the log leaves its file, and tokens are signed by another one, between two of the next kills.
            daemon.configure(&with_root);
        }
        if round % 4 == 0 || (3..6).contains(&round) {
            killed_while_starting(&mut daemon, &mut dice).await;
        }
        daemon.start().await;
    }
    stop.store(true, Ordering::Relaxed);
    let mut ledgers: Vec<Ledger> = vec![setup.ledger];
    while let Some(ended) = tokio::time::timeout(NEVER, crew.join_next()).await.expect("all are answered") {
        ledgers.push(ended.unwrap_or_else(|error| panic!("SOP_SEED={seed}: {error}")));
    }
    daemon.kill();
    let first = journal::tail::segments(&daemon.data.join("journal/tail")).unwrap().remove(0).first;
    assert!(1 < first.0, "SOP_SEED={seed}: the tail was never cut");

    let key = std::fs::read_to_string(daemon.data.join("keys/log")).unwrap();
    assert!(key.starts_with("sop/"), "SOP_SEED={seed}: it is in the keystore: {}", key.len());
    let others: Vec<_> =
        std::fs::read_dir(daemon.data.join("keys")).unwrap().map(|one| one.unwrap().file_name()).collect();
    assert!(!others.iter().any(|name| name == "log.plain" || name == "log.new"), "SOP_SEED={seed}: {others:?}");

    let authority = Authority::start(&daemon.data, &with_root).await;
    let (records, judgement) = authority.settled(&ledgers).await;
    println!("SOP_SEED={seed}: {ROUNDS} kills, {judgement}");
    assert_eq!(judgement.complaints, [""; 0], "SOP_SEED={seed}\n{}", daemon.stderr());
    assert!(judgement.paid > 0 && judgement.routed > 0 && judgement.repeated > 0, "{judgement:?}");
    assert!(judgement.granted > 0 && judgement.backups > 0, "{judgement:?}");
    let verified = authority.parts.journal.verify(Sequence(1)).unwrap();
    assert_eq!(verified.broken, None, "SOP_SEED={seed}");
    // The monitor and the clock go on with their work.
    assert!(records.len() as u64 <= verified.records, "SOP_SEED={seed}: {verified:?}");
    authority.lives_as_recorded().await;
    assert!(authority.stop().await.is_graceful());

    let origin = Origin { data: &daemon.data, records: &records, ledgers: &ledgers };
    let restore = |backup: &Path, data: &Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sop"));
        let done = command.args(["backup", "restore"]).arg(backup).arg("--data").arg(data).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    let restored = origin.is_restored_by(restore, CONFIGURATION).await;
    println!("SOP_SEED={seed}: {restored} backups restored");
}

/// Killed at some moment of its start, or as soon as it answers, which is before it is ready.
async fn killed_while_starting(daemon: &mut Daemon, dice: &mut Dice) {
    daemon.spawn();
    match dice.below(3) {
        0 => daemon.answers().await,
        // Nothing waits for this: it is the moment that chance chooses.
        _ => tokio::time::sleep(Duration::from_micros(dice.below(60_000) as u64)).await,
    }
    daemon.kill();
}

/// Lines that are written to the sample protocols of `sop dev`.
const LINES: usize = 80;
/// "is p | !p?" in base64.
const LINE: &str = "aXMgcCB8ICFwPw==";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_samples_answer_each_line_once_however_often_the_daemon_is_killed() {
    let seed = seed();
    let (mut dice, home) = (Dice::new(seed, u64::MAX), TempDir::new().unwrap());
    let mut daemon = Daemon::new(env!("CARGO_BIN_EXE_sop"), home.path());
    (daemon.manner, daemon.environment) = ("dev", [("HOME", home.path().into())].into());
    daemon.configure(CONFIGURATION);
    daemon.start().await;
    let root = daemon.credential();
    let asked = async |client: &http::Client, action: &str, arguments| {
        client.call(action, &arguments, Some(root.expose()), None).await.unwrap_or_default()
    };
    let admitted = async |client: &http::Client| {
        asked(client, "protocol.show", json!({ "protocol": "uip" })).await["state"] == "admitted"
    };
    daemon.until("has its samples", admitted).await;

    let mut writer = Client::new("writer", Arc::new(daemon.client()));
    for _ in 0..LINES {
        let line = json!({
            "source": kit::root(), "to": "uip", "kind": "line", "content_type": "text/plain", "payload": LINE,
        });
        writer.ask(Some(&kit::root()), root.expose(), "message.send", line).await.yes();
        if dice.one_in(4) {
            daemon.kill();
            daemon.start().await;
        }
    }
    let nothing_waits =
        async |client: &http::Client| asked(client, "protocol.list", json!({})).await["messages"]["waiting"] == 0;
    daemon.until("has answered everything", nothing_waits).await;
    daemon.kill();

    let journal = journal::Journal::new(&daemon.data.join("journal"), journal::Limits::default());
    journal.open().unwrap();
    let mut follows: BTreeMap<CommandId, Vec<(String, CommandId)>> = BTreeMap::new();
    let mut delivered = BTreeSet::new();
    for record in journal.read(Sequence(1), usize::MAX).unwrap() {
        match journal::codec::read::<nexus::Event>((record.kind_id, record.schema), &record.body) {
            Ok(nexus::Event::Sent(sent)) => {
                let what = format!("{} to {}", sent.kind, sent.destination);
                follows.entry(sent.cause.unwrap_or(CommandId(0))).or_default().push((what, sent.message));
            }
            Ok(nexus::Event::Delivered(letter)) => assert!(delivered.insert(letter.message), "SOP_SEED={seed}"),
            _ => {}
        }
    }
    journal.close();
    let next = |id: &CommandId| {
        let follows = follows.get(id).cloned().unwrap_or_default();
        let (what, ids): (Vec<_>, Vec<_>) = follows.into_iter().unzip();
        assert!(ids.iter().all(|id| delivered.contains(id)), "SOP_SEED={seed}: {what:?}");
        (what, ids)
    };
    for note in &writer.ledger.notes {
        let (what, asks) = next(&note.id);
        assert_eq!(what, ["ask to lap"], "SOP_SEED={seed}");
        let (what, ends) = next(&asks[0]);
        assert_eq!(what, ["keep to scp", "answer to uip"], "SOP_SEED={seed}");
        assert!(delivered.contains(&note.id) && ends.iter().all(|end| next(end).0.is_empty()), "SOP_SEED={seed}");
    }
    assert_eq!(delivered.len(), 4 * LINES, "SOP_SEED={seed}: each line is four letters, and nothing else was sent");
}
