//! Actors to whom anything can be done, and the ledger that they keep of it.
//!
//! Each incarnation enters itself when it begins and is crossed out when its state is dropped, however it ends: what nobody
//! decides on shows here. Notes stand for acknowledged writes: the page they are on outlives the incarnations, as a journal
//! would.
//!
//! Invariant: a page is written under its lock alone, and nothing else is done meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::oneshot;

use super::judgement::{Law, Violation};
use crate::board::lock;
use crate::reference::ChildRef;
use crate::spec::Child;

/// After this a stalled handler is seen. Long, because a thread may be taken away for as long on a busy machine.
pub(super) const WATCHDOG: Duration = Duration::from_secs(1);

/// How long one that refuses to stop is waited for.
const SHUTDOWN: Duration = Duration::from_millis(100);

/// Everybody who plays in one tree.
#[derive(Clone, Default)]
pub struct Cast(Arc<Mutex<BTreeMap<Arc<str>, Arc<Role>>>>);

impl Cast {
    pub fn new() -> Self {
        Self::default()
    }

    /// The specification of one actor, which will be at `path` in the tree; permanent, unless more is said of it.
    ///
    /// # Panics
    /// If there is one for this path already.
    pub fn child(&self, path: &str) -> Child {
        let name = path.rsplit('/').next().unwrap_or(path);
        let role = Arc::new(Role::new(path.into(), name));
        let reference = role.reference.clone();
        let before = lock(&self.0).insert(path.into(), role.clone());
        assert!(before.is_none(), "{path} is played by one");
        Child::actor_with_epoch(&reference, move |epoch| (Player { role: role.clone(), epoch }, ()))
            .shutdown(SHUTDOWN)
            .watchdog(WATCHDOG)
    }

    pub(super) fn role(&self, path: &str) -> Option<Arc<Role>> {
        lock(&self.0).get(path).cloned()
    }

    pub(super) fn roles(&self) -> Vec<Arc<Role>> {
        lock(&self.0).values().cloned().collect()
    }
}

impl fmt::Debug for Cast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Cast").field(&lock(&self.0).len()).finish()
    }
}

/// What all incarnations of one actor share.
pub(super) struct Role {
    pub(super) path: Arc<str>,
    pub(super) reference: ChildRef<Msg>,
    /// So many starts fail.
    pub(super) fails: AtomicU32,
    /// The next start takes so many milliseconds.
    pub(super) slow: AtomicU64,
    /// The next stop is not obeyed.
    pub(super) refuses: AtomicBool,
    page: Mutex<Page>,
}

/// What is written down of one actor.
#[derive(Default)]
struct Page {
    alive: BTreeSet<u64>,
    latest: u64,
    /// Each note with the epoch that wrote it.
    written: Vec<(u64, u64)>,
    acknowledged: Vec<u64>,
    wrong: Option<Violation>,
}

impl Role {
    fn new(path: Arc<str>, name: &str) -> Self {
        Self {
            path,
            reference: ChildRef::new(name),
            fails: AtomicU32::default(),
            slow: AtomicU64::default(),
            refuses: AtomicBool::default(),
            page: Mutex::default(),
        }
    }

    fn begin(self: &Arc<Self>, epoch: u64) -> Life {
        let mut page = lock(&self.page);
        if !page.alive.is_empty() {
            let what = format!("{} begins as {epoch} while {:?} is alive", self.path, page.alive);
            page.wrong.get_or_insert(Violation::new(Law::OneIncarnation, what));
        }
        if epoch <= page.latest {
            let what = format!("{} begins as {epoch} after {}", self.path, page.latest);
            page.wrong.get_or_insert(Violation::new(Law::OneIncarnation, what));
        }
        page.alive.insert(epoch);
        page.latest = epoch;
        Life { role: self.clone(), epoch }
    }

    fn write(&self, epoch: u64, note: u64) {
        let mut page = lock(&self.page);
        if page.latest != epoch {
            let what = format!("{} was written as {epoch}, when {} had begun", self.path, page.latest);
            page.wrong.get_or_insert(Violation::new(Law::Acknowledged, what));
        }
        page.written.push((epoch, note));
    }

    pub(super) fn acknowledge(&self, note: u64) {
        lock(&self.page).acknowledged.push(note);
    }

    /// That this incarnation is alive and no other, or none.
    pub(super) fn check(&self, alive: Option<u64>) -> Result<(), Violation> {
        let page = lock(&self.page);
        if let Some(wrong) = &page.wrong {
            return Err(wrong.clone());
        }
        if page.alive.iter().copied().ne(alive) {
            let (path, found) = (&self.path, &page.alive);
            let what = format!("{path}: {found:?} is alive, and should be {alive:?}");
            return Err(Violation::new(Law::NothingLeft, what));
        }
        Ok(())
    }

    /// That every note that was acknowledged is there, and none twice.
    pub(super) fn check_notes(&self) -> Result<u64, Violation> {
        let page = lock(&self.page);
        let written: BTreeSet<u64> = page.written.iter().map(|(_, note)| *note).collect();
        let wrong = |what: &str| Err(Violation::new(Law::Acknowledged, format!("{}: a note {what}", self.path)));
        if written.len() < page.written.len() {
            return wrong("was taken twice");
        }
        if !page.written.is_sorted_by_key(|(epoch, _)| *epoch) {
            return wrong("came from an old incarnation");
        }
        if !page.acknowledged.iter().all(|note| written.contains(note)) {
            return wrong("that was acknowledged is not there");
        }
        Ok(u64::try_from(page.acknowledged.len()).unwrap_or(u64::MAX))
    }
}

/// Crosses an incarnation out of the ledger, however it ends.
struct Life {
    role: Arc<Role>,
    epoch: u64,
}

impl Drop for Life {
    fn drop(&mut self) {
        lock(&self.role.page).alive.remove(&self.epoch);
    }
}

pub(super) enum Msg {
    Panic,
    Stall,
    Block(Duration),
    Note(u64, oneshot::Sender<()>),
}

/// One incarnation of an actor of the cast.
struct Player {
    role: Arc<Role>,
    epoch: u64,
}

impl Actor for Player {
    type Msg = Msg;
    type State = Life;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Msg>, (): ()) -> Result<Life, ActorProcessingErr> {
        let life = self.role.begin(self.epoch);
        if self.role.fails.try_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
            return Err("as planned".into());
        }
        let slow = self.role.slow.swap(0, Ordering::SeqCst);
        if slow > 0 {
            tokio::time::sleep(Duration::from_millis(slow)).await;
        }
        Ok(life)
    }

    async fn handle(&self, _: ActorRef<Msg>, msg: Msg, _: &mut Life) -> Result<(), ActorProcessingErr> {
        match msg {
            // As a panic, but without a word on standard error.
            Msg::Panic => std::panic::resume_unwind(Box::new("as planned")),
            Msg::Stall => std::future::pending().await,
            Msg::Block(time) => std::thread::sleep(time),
            Msg::Note(note, reply) => {
                self.role.write(self.epoch, note);
                // The caller may have stopped waiting.
                let _ = reply.send(());
            }
        }
        Ok(())
    }

    async fn post_stop(&self, _: ActorRef<Msg>, _: &mut Life) -> Result<(), ActorProcessingErr> {
        if self.role.refuses.swap(false, Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role() -> Arc<Role> {
        Arc::new(Role::new("root/one".into(), "one"))
    }

    fn law(checked: Result<(), Violation>) -> Option<Law> {
        checked.err().map(|violation| violation.law)
    }

    #[test]
    fn the_ledger_sees_what_is_wrong() {
        let twice = role();
        let (_first, _second) = (twice.begin(1), twice.begin(2));
        assert_eq!(law(twice.check(Some(2))), Some(Law::OneIncarnation));

        let again = role();
        drop(again.begin(2));
        drop(again.begin(2));
        assert_eq!(law(again.check(None)), Some(Law::OneIncarnation));

        let orphan = role();
        let _life = orphan.begin(1);
        assert_eq!(law(orphan.check(None)), Some(Law::NothingLeft));
        assert_eq!(law(orphan.check(Some(1))), None);

        let old = role();
        drop(old.begin(1));
        let _life = old.begin(2);
        old.write(1, 7);
        assert_eq!(law(old.check(Some(2))), Some(Law::Acknowledged));
    }

    #[test]
    fn notes_are_there_once() {
        let role = role();
        let _life = role.begin(1);
        role.write(1, 7);
        role.acknowledge(7);
        assert_eq!(role.check_notes(), Ok(1));
        role.acknowledge(8);
        assert!(role.check_notes().is_err(), "lost");
        role.write(1, 8);
        assert_eq!(role.check_notes(), Ok(2));
        role.write(1, 8);
        assert!(role.check_notes().is_err(), "twice");
    }
}
