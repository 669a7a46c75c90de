//! Clients that work over the socket while something is done to the daemon.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use kit::work::{Pool, Worker};
use kit::{Client, Dice, Ledger, Line};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::Place;

const CLIENTS: usize = 6;

/// Clients at work, until they are told to stop.
pub struct Crew {
    stop: Arc<AtomicBool>,
    turns: Arc<watch::Sender<u64>>,
    workers: JoinSet<Ledger>,
}

impl Crew {
    pub fn at_work(place: &Place, seed: u64) -> Self {
        let (stop, turns) = (Arc::new(AtomicBool::new(false)), Arc::new(watch::Sender::new(0)));
        let (pool, mut workers) = (Arc::<Pool>::default(), JoinSet::new());
        let line: Arc<dyn Line> = Arc::new(place.daemon.client());
        let scanned = place.home.path().join("scanned");
        std::fs::create_dir(&scanned).unwrap();
        for number in 0..CLIENTS {
            let client = Client::new(&format!("c{number}"), line.clone());
            let (dice, root) = (Dice::new(seed, number as u64), place.daemon.credential());
            let mut worker = Worker::new(number, client, root, dice, pool.clone(), &scanned);
            let (stop, turns) = (stop.clone(), turns.clone());
            workers.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    worker.turn().await;
                    turns.send_modify(|turns| *turns += 1);
                }
                worker.client.ledger
            });
        }
        Self { stop, turns, workers }
    }

    pub async fn does(&self, more: u64) {
        let enough = *self.turns.borrow() + more;
        self.turns.subscribe().wait_for(|turns| enough <= *turns).await.unwrap();
    }

    pub async fn stopped(self) -> Vec<Ledger> {
        self.stop.store(true, Ordering::Relaxed);
        self.workers.join_all().await
    }
}
