//! Reads the keys of issuers ahead of the tokens: an actor for each, the only ones that wait for a file or a network. So one
//! issuer that does not answer delays no other.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use config::KeysAt;
use host::Clock;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use supervisors::{Child, ChildRef};
use tokio::time::Instant;

use crate::{Believed, Issuers, Keys, Known, NoKeys, PAUSE};

/// The bytes of a set of keys; longer ones are something else.
pub const LONGEST: usize = 128 << 10;
/// For one answer.
const WITHIN: Duration = Duration::from_secs(10);
/// After a failure, unless it is looked more often anyway.
const AGAIN_AFTER: Duration = Duration::from_secs(30);

/// The body of an answer, or why there is none.
pub type Fetching = Pin<Box<dyn Future<Output = Result<Vec<u8>, String>> + Send>>;
/// Gets what lies at an address.
pub type Fetch = Arc<dyn Fn(String) -> Fetching + Send + Sync>;

/// Who can be told that keys are missing.
pub(crate) struct Reader {
    actor: ActorRef<Msg>,
    /// Whether it was told already.
    told: Arc<AtomicBool>,
}

impl Issuers {
    /// The children that read the keys, one for each issuer.
    pub fn children(&self, clock: &Clock, fetch: &Fetch) -> Vec<Child> {
        let child = |(place, believed): (usize, &Arc<Believed>)| {
            let reference = ChildRef::new(format!("issuer.{}", place + 1));
            let (believed, clock, fetch) = (believed.clone(), clock.clone(), fetch.clone());
            Child::actor::<Refreshing, _>(&reference, move || {
                (Refreshing, (believed.clone(), clock.clone(), fetch.clone()))
            })
        };
        self.0.iter().enumerate().map(child).collect()
    }
}

impl Believed {
    /// Somebody's token is signed with a key that is not known. Waits for nobody.
    pub(crate) fn wanted(&self) {
        let reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reader) = &*reader
            && !reader.told.swap(true, Ordering::SeqCst)
        {
            // Refused while it ends; the next one reads everything anew.
            let _ = reader.actor.cast(Msg::Wanted);
        }
    }

    async fn look(&self, clock: &Clock, fetch: &Fetch) -> Result<(), String> {
        let text = match &self.issuer.keys {
            KeysAt::File(path) => file(path)?,
            KeysAt::Address(address) => {
                let answer = tokio::time::timeout(WITHIN, fetch(address.clone())).await;
                answer.map_err(|_| format!("no answer within {WITHIN:?}"))??
            }
        };
        let keys = Keys::parse(&text, &self.issuer.algorithms).map_err(|NoKeys(why)| why)?;
        self.learn(Known { keys, at: clock.now() });
        Ok(())
    }
}

/// Whoever can write to that file can be anybody.
fn file(path: &Path) -> Result<Vec<u8>, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    let file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.mode() & 0o7777;
    if mode & 0o022 != 0 {
        return Err(format!("others than its owner can write to {} (mode {mode:04o})", path.display()));
    }
    let mut text = Vec::new();
    file.take(LONGEST as u64 + 1).read_to_end(&mut text).map_err(failed)?;
    if LONGEST < text.len() {
        return Err(format!("{} is longer than {LONGEST} bytes", path.display()));
    }
    Ok(text)
}

struct Refreshing;

enum Msg {
    /// Its time has come.
    Due,
    /// Somebody's token asks for it.
    Wanted,
}

struct State {
    believed: Arc<Believed>,
    clock: Clock,
    fetch: Fetch,
    told: Arc<AtomicBool>,
    /// When it was looked last.
    looked: Option<Instant>,
    /// Whether the last look failed.
    failed: bool,
}

impl State {
    /// Looks once, and says how it went where that is news.
    async fn look(&mut self) {
        self.told.store(false, Ordering::SeqCst);
        let looked = self.believed.look(&self.clock, &self.fetch).await;
        self.looked = Some(Instant::now());
        let name = &self.believed.issuer.name;
        match &looked {
            Ok(()) if self.failed => tracing::info!(issuer = name, "the issuer's keys are read again"),
            Ok(()) => {}
            Err(why) => {
                tracing::warn!(code = "issuers.keys", issuer = name, why, "the issuer's keys cannot be read");
            }
        }
        self.failed = looked.is_err();
    }
}

impl Actor for Refreshing {
    type Msg = Msg;
    type State = State;
    type Arguments = (Arc<Believed>, Clock, Fetch);

    async fn pre_start(
        &self,
        myself: ActorRef<Msg>,
        (believed, clock, fetch): Self::Arguments,
    ) -> Result<State, ActorProcessingErr> {
        let told = Arc::<AtomicBool>::default();
        let reader = Reader { actor: myself.clone(), told: told.clone() };
        *believed.reader.lock().unwrap_or_else(PoisonError::into_inner) = Some(reader);
        myself.cast(Msg::Due)?;
        Ok(State { believed, clock, fetch, told, looked: None, failed: false })
    }

    async fn handle(&self, myself: ActorRef<Msg>, msg: Msg, state: &mut State) -> Result<(), ActorProcessingErr> {
        match msg {
            Msg::Due => {
                state.look().await;
                let refresh = state.believed.issuer.refresh;
                let after = if state.failed { refresh.min(AGAIN_AFTER) } else { refresh };
                myself.send_after(after, || Msg::Due);
            }
            Msg::Wanted => {
                let pause = PAUSE.min(state.believed.issuer.refresh);
                let rested = state.looked.map(|looked| looked.elapsed());
                match rested.and_then(|rested| pause.checked_sub(rested)) {
                    Some(left) if !left.is_zero() => {
                        myself.send_after(left, || Msg::Wanted);
                    }
                    _ => state.look().await,
                }
            }
        }
        Ok(())
    }
}
