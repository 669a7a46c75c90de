//! The daemon itself is killed at random moments, again and again over one data directory, while clients work over its
//! socket; what it acknowledged is there after each start, and nothing is done twice.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kernel::Sequence;
use kit::restored::Origin;
use kit::work::{Pool, Worker};
use kit::{Authority, Client, Daemon, Dice, Ledger, Line, adopt_starter, seed};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinSet;

const CLIENTS: usize = 12;
const ROUNDS: usize = 25;
/// What is scanned.
const ROOTS: usize = 3;

const CONFIGURATION: &str = r#"
[store]
reserve = "1MiB"
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

    let mut progress = turns.subscribe();
    for round in 0..ROUNDS {
        let enough = *progress.borrow() + dice.below(40);
        tokio::time::timeout(NEVER, progress.wait_for(|turns| enough <= *turns)).await.expect("it goes on").unwrap();
        daemon.kill();
        if round % 4 == 0 {
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

    let authority = Authority::start(&daemon.data, CONFIGURATION).await;
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
