//! The actor whose life is that of the open journal.
//!
//! It takes no messages: whoever writes or reads holds a [`Journal`], which tells them when it is closed. What the actor
//! adds is a place in the supervision tree: the journal is open before the next child starts, and closed, with all that
//! was queued answered, before the actor counts as ended, also when it was killed.
//!
//! # Invariants
//! 1. An incarnation that ended leaves nothing open: its state is dropped before its task completes, and dropping closes.
//! 2. An opening whose incarnation was killed closes what it opened, and never what a later one did.

use std::path::PathBuf;

use ractor::{Actor, ActorProcessingErr, ActorRef};

use crate::Journal;
use crate::store::StoreError;

/// Opens the journal it is given, and closes it when it ends.
#[derive(Clone, Copy, Debug, Default)]
pub struct Keeper;

/// There is nothing to say to a keeper.
#[derive(Debug)]
pub enum Msg {}

/// Why a keeper did not start, with the code that a user looks up.
#[derive(Debug, thiserror::Error)]
#[error("{}: the journal in {} does not open", source.code(), path.display())]
pub struct NotOpened {
    path: PathBuf,
    source: StoreError,
}

/// One session of the journal. Dropping it closes the journal, unless that was opened anew since.
#[doc(hidden)]
pub struct Open {
    journal: Journal,
    session: u64,
}

impl Open {
    fn close(&self) {
        self.journal.close_session(self.session);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.close();
    }
}

impl Actor for Keeper {
    type Msg = Msg;
    type State = Open;
    type Arguments = Journal;

    async fn pre_start(&self, _: ActorRef<Msg>, journal: Journal) -> Result<Open, ActorProcessingErr> {
        let session = journal.ask_to_open();
        let opening = off_the_workers(move || match journal.open_session(session) {
            Ok(()) => Ok(Open { journal, session }),
            Err(source) => Err(NotOpened { path: journal.path().to_owned(), source }),
        });
        // Killed here, nobody takes what the thread opens: then it is dropped, and so closed, as soon as it is there.
        Ok(opening.await??)
    }

    async fn handle(&self, _: ActorRef<Msg>, message: Msg, _: &mut Open) -> Result<(), ActorProcessingErr> {
        match message {}
    }

    /// An orderly stop waits for the disk without holding up others; after a kill, dropping the state does the same.
    async fn post_stop(&self, _: ActorRef<Msg>, open: &mut Open) -> Result<(), ActorProcessingErr> {
        let open = Open { journal: open.journal.clone(), session: open.session };
        Ok(off_the_workers(move || drop(open)).await?)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a start and a stop wait for the disk; sessions make the stray ones harmless"
)]
fn off_the_workers<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> tokio::task::JoinHandle<T> {
    tokio::task::spawn_blocking(work)
}
