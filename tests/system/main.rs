//! The real binary, as its users meet it: started, misused, stopped, and with its disk taken away.

mod approvals;
mod authority;
mod authzen;
mod backups;
mod bearers;
mod certificates;
mod chaos;
mod config;
mod crew;
mod damage;
mod decided;
mod disk;
mod evidence;
mod foreign;
mod founding;
mod health;
mod incidents;
mod input;
mod keys;
mod leases;
mod live;
mod log_key;
mod messages;
mod outcomes;
mod personal;
mod proof_gate;
mod proofs;
mod quarantine;
mod quotas;
mod retention;
mod samples;
mod secrets;
mod security;
mod seeds;
mod service;
mod signed;
mod start;
mod stops;
mod subscriptions;
mod syncs;
mod tcp;
mod trials;
mod witnesses;

use kit::{Daemon, Output};
use tempfile::TempDir;

/// A daemon over a directory of its own.
struct Place {
    daemon: Daemon,
    home: TempDir,
}

impl Place {
    /// Nothing runs yet.
    fn new() -> Self {
        let home = TempDir::new().unwrap();
        Self { daemon: Daemon::new(env!("CARGO_BIN_EXE_sop"), home.path()), home }
    }

    async fn started() -> Self {
        let mut place = Self::new();
        place.daemon.start().await;
        place
    }
}

/// That it failed so, in these words.
fn failed(output: &Output, code: i32, words: &[&str]) {
    assert_eq!(output.code, Some(code), "{output:?}");
    for word in words {
        assert!(output.stderr.contains(word), "{word:?} is not said: {output:?}");
    }
}
