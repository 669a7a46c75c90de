//! A disk that does as it is told: holds groups up, and fails.

use std::sync::{Arc, Condvar, Mutex};

use journal::store::{Group, Log, StoreError};
use tokio::sync::watch;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Pass,
    /// The sync does not come back until the mode changes.
    Hold,
    /// The next group fails; whether it was `written` cannot be seen from outside.
    Fail {
        written: bool,
    },
}

/// The switch of the disk. Counts the groups that came to it.
#[derive(Clone)]
pub struct Disk(Arc<Inner>);

struct Inner {
    mode: Mutex<Mode>,
    changed: Condvar,
    arrived: watch::Sender<u64>,
}

impl Default for Disk {
    fn default() -> Self {
        let arrived = watch::Sender::new(0);
        Self(Arc::new(Inner { mode: Mutex::new(Mode::Pass), changed: Condvar::new(), arrived }))
    }
}

impl Disk {
    pub fn set(&self, mode: Mode) {
        *self.0.mode.lock().unwrap() = mode;
        self.0.changed.notify_all();
    }

    /// The groups that came so far.
    pub fn groups(&self) -> u64 {
        *self.0.arrived.borrow()
    }

    /// Waits until `group`, counted from 1, has come.
    pub async fn arrived(&self, group: u64) {
        self.0.arrived.subscribe().wait_for(|arrived| group <= *arrived).await.unwrap();
    }

    pub fn under(&self, log: Box<dyn Log>) -> Box<dyn Log> {
        Box::new(Told { log, disk: self.clone() })
    }
}

struct Told {
    log: Box<dyn Log>,
    disk: Disk,
}

impl Log for Told {
    fn append_group(&mut self, group: &Group) -> Result<(), StoreError> {
        let Inner { mode, changed, arrived } = &*self.disk.0;
        arrived.send_modify(|arrived| *arrived += 1);
        let mode = *changed.wait_while(mode.lock().unwrap(), |mode| *mode == Mode::Hold).unwrap();
        match mode {
            Mode::Pass | Mode::Fail { written: true } => self.log.append_group(group)?,
            Mode::Hold | Mode::Fail { written: false } => {}
        }
        if mode == Mode::Pass { Ok(()) } else { Err(StoreError::Io { why: "EIO".into() }) }
    }
}

/// A test that ends early must not leave the committer waiting.
pub struct LetGo(pub Disk);

impl Drop for LetGo {
    fn drop(&mut self) {
        self.0.set(Mode::Pass);
    }
}
