//! Asks witnesses to cosign what was signed (C2SP tlog-witness), so that nobody can be shown another history.
//!
//! One round at a time: the newest checkpoint goes to all witnesses that are due, since only what the same checkpoint has of
//! them makes a quorum. What is signed meanwhile waits for the next round. Who does not answer, or not rightly, is asked
//! again after a pause that doubles; the log and the journal wait for nobody.
//!
//! # Invariants
//! 1. A witness is believed what its key signed, and nothing else: what it says otherwise is shown, and changes nothing.
//! 2. No answer is longer than what there is to say, or takes longer than [`TIMEOUT`].

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use evidence::checkpoint::Checkpoint;
use evidence::{CosignError, Evidence, LogError};
use host::OwnedTask;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use supervisors::{Child, ChildRef};

use crate::evidence::off_the_workers;

/// For all that one witness is asked in a round.
pub const TIMEOUT: Duration = Duration::from_secs(10);
/// Longest answer that is read: a few lines.
pub const ANSWER_MAX: usize = 16 << 10;
/// Between two rounds.
const REST: Duration = Duration::from_secs(1);
/// Before a witness is asked again that failed; doubles with each further time.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
const AGAIN_AFTER_MAX: Duration = Duration::from_mins(5);

/// What a witness answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
}

/// The answer, or why there is none.
pub type Posting = Pin<Box<dyn Future<Output = Result<Answer, String>> + Send>>;

/// Sends a body to an address, follows nobody elsewhere, and reads [`ANSWER_MAX`] bytes at most.
pub type Post = Arc<dyn Fn(String, String) -> Posting + Send + Sync>;

/// What is wrong with a witness, or what a witness says is wrong with us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    pub code: &'static str,
    pub what: String,
    /// It saw another history of this log than the one that is here.
    pub other_history: bool,
}

impl Trouble {
    fn new(code: &'static str, what: impl Into<String>) -> Self {
        Self { code, what: what.into(), other_history: false }
    }

    fn history(code: &'static str, what: impl Into<String>) -> Self {
        Self { other_history: true, ..Self::new(code, what) }
    }
}

impl From<LogError> for Trouble {
    fn from(error: LogError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}

/// How one witness stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    pub name: String,
    /// Its vkey.
    pub key: String,
    /// None: it is asked by hand.
    pub address: Option<String>,
    /// Records under the last checkpoint that it cosigned, and when it did, in seconds since 1970.
    pub seen: Option<(u64, u64)>,
    /// Why it was not the newest one, when it was asked last.
    pub trouble: Option<Trouble>,
    /// How often it failed since the start.
    pub failures: u64,
}

#[derive(Clone, Default)]
struct Noted {
    trouble: Option<Trouble>,
    failures: u64,
}

/// Asks the witnesses of a log.
#[derive(Clone)]
pub struct Witnessing {
    evidence: Evidence,
    addresses: Arc<[Option<String>]>,
    post: Post,
    noted: Arc<Mutex<Vec<Noted>>>,
}

impl Witnessing {
    /// Where each of the witnesses of `evidence` is asked, in their order; none for one that is asked by hand.
    pub fn new(evidence: &Evidence, addresses: Vec<Option<String>>, post: Post) -> Self {
        let noted = Arc::new(Mutex::new(vec![Noted::default(); addresses.len()]));
        Self { evidence: evidence.clone(), addresses: addresses.into(), post, noted }
    }

    /// The child to put into the tree, after the log.
    pub fn child(self) -> Child {
        let reference = ChildRef::new("witness");
        Child::actor::<Asks, _>(&reference, move || (Asks, self.clone()))
    }

    pub fn standing(&self) -> Vec<Standing> {
        let witnesses = &self.evidence.witnesses().all;
        let known = self.evidence.seen().into_iter().zip(self.noted().clone());
        let standing = witnesses.iter().zip(self.addresses.iter()).zip(known);
        standing
            .map(|((witness, address), (seen, Noted { trouble, failures }))| Standing {
                name: witness.name().to_owned(),
                key: witness.to_string(),
                address: address.clone(),
                seen,
                trouble,
                failures,
            })
            .collect()
    }

    /// Asks one witness for its cosignature on a checkpoint, and keeps that.
    ///
    /// # Errors
    /// [`Trouble`].
    pub async fn ask(&self, witness: usize, checkpoint: &Checkpoint, note: &str) -> Result<(), Trouble> {
        let address = self.addresses[witness].as_deref().unwrap_or_default();
        let lines = tokio::time::timeout(TIMEOUT, self.lines(witness, address, checkpoint, note)).await;
        let lines = lines.map_err(|_| Trouble::new("witness.timed_out", format!("no answer within {TIMEOUT:?}")))??;
        let (evidence, note) = (self.evidence.clone(), format!("{note}{lines}"));
        let kept = off_the_workers(move || evidence.cosign(&note)).await.map_err(interrupted)?;
        let own = kept.and_then(|(cosigned, _)| {
            let its = cosigned.by().any(|(by, _)| by == witness);
            its.then_some(()).ok_or(CosignError::NoWitness)
        });
        own.map_err(|error| match error {
            CosignError::NoWitness => Trouble::new("witness.wrong_key", "its answer has no cosignature of its key"),
            CosignError::Wrong { .. } => Trouble::new("witness.wrong_cosignature", error.to_string()),
            CosignError::NotOurs(_) => Trouble::new("witness.garbage", "its answer is no cosignature"),
            CosignError::OtherHistory { .. } => Trouble::history(error.code(), error.to_string()),
            CosignError::Log(error) => error.into(),
        })
    }

    /// The lines that the witness gives, not looked at yet.
    async fn lines(
        &self,
        witness: usize,
        address: &str,
        checkpoint: &Checkpoint,
        note: &str,
    ) -> Result<String, Trouble> {
        let size = checkpoint.size;
        // What it saw last, as far as we know; it says if it knows better.
        let mut old = self.evidence.seen()[witness].map_or(0, |(seen, _)| seen).min(size);
        let mut again = false;
        loop {
            let evidence = self.evidence.clone();
            let proof = off_the_workers(move || evidence.consistency(old, size)).await.map_err(interrupted)??;
            let proof = proof.iter().fold(String::new(), |lines, hash| lines + &hash.to_string() + "\n");
            let body = format!("old {old}\n{proof}\n{note}");
            let Answer { status, body } = (self.post)(format!("{address}/add-checkpoint"), body)
                .await
                .map_err(|why| Trouble::new("witness.unreachable", why))?;
            let text = std::str::from_utf8(&body).ok().filter(|_| body.len() <= ANSWER_MAX);
            match status {
                200 => {
                    let text =
                        text.filter(|text| text.ends_with('\n') && text.lines().all(|line| line.starts_with("— ")));
                    let garbage = || Trouble::new("witness.garbage", "its answer is no cosignature");
                    return text.map(str::to_owned).ok_or_else(garbage);
                }
                409 if !again => {
                    let seen = text.and_then(|text| text.strip_suffix('\n')).and_then(number);
                    let garbage = || Trouble::new("witness.garbage", "it says Conflict, and not with what");
                    old = seen.ok_or_else(garbage)?;
                    again = true;
                    if size < old {
                        return Err(self.ahead(old));
                    }
                }
                409 => return Err(Trouble::new("witness.conflict", "it says each time that it saw something else")),
                422 => {
                    let what = format!(
                        "it refuses the tree of {size} records: the one of {old} that it saw before is not its beginning"
                    );
                    return Err(Trouble::history("witness.forked", what));
                }
                403 => return Err(Trouble::new("witness.unknown_key", "it does not know the key of this log")),
                404 => return Err(Trouble::new("witness.unknown_log", "it does not know this log")),
                300..400 => return Err(Trouble::new("witness.redirected", "it sends elsewhere, where nobody goes")),
                status => return Err(Trouble::new("witness.status", format!("it answers with status {status}"))),
            }
        }
    }

    /// It saw more than it was shown.
    fn ahead(&self, seen: u64) -> Trouble {
        let signed = self.evidence.sizes().borrow().0;
        if seen <= signed {
            return Trouble::new("witness.passed", "it was shown a newer checkpoint meanwhile");
        }
        let what = format!("it saw a tree of {seen} records, and the log has {signed}: what was signed is lost");
        Trouble::history("witness.ahead", what)
    }

    fn note(&self, witness: usize, outcome: Result<(), Trouble>) {
        let name = self.evidence.witnesses().all[witness].name();
        let noted = &mut self.noted()[witness];
        match outcome {
            Ok(()) => {
                if noted.trouble.take().is_some() {
                    tracing::info!(code = "witness.answers", witness = name, "the witness cosigns again");
                }
            }
            Err(trouble) => {
                noted.failures += 1;
                let Trouble { code, what, other_history } = &trouble;
                if noted.trouble.as_ref().is_none_or(|known| known.code != *code) {
                    if *other_history {
                        tracing::error!(code, witness = name, what, "a witness saw another history of this log");
                    } else {
                        tracing::warn!(code, witness = name, what, "a witness does not cosign");
                    }
                }
                noted.trouble = Some(trouble);
            }
        }
    }

    fn noted(&self) -> MutexGuard<'_, Vec<Noted>> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn interrupted<E>(_: E) -> Trouble {
    Trouble::new("witness.interrupted", "the work was interrupted")
}

/// A number in its one form.
fn number(text: &str) -> Option<u64> {
    text.parse::<u64>().ok().filter(|number| number.to_string() == text)
}

struct Asks;

enum Msg {
    /// Something was signed.
    Signed,
    /// It is time to look.
    Due,
    /// A witness answered, or was not asked to the end.
    Answered { witness: usize, outcome: Result<(), Trouble> },
}

/// When a witness is asked next, if there is something to ask for.
#[derive(Clone, Copy)]
struct Pace {
    not_before: Instant,
    pause: Duration,
}

struct State {
    witnessing: Witnessing,
    paces: Vec<Pace>,
    /// Those that are being asked.
    round: Vec<OwnedTask>,
    unanswered: usize,
    /// A look is on its way, for then.
    due: Option<Instant>,
    not_before: Instant,
    _ears: OwnedTask,
}

/// Tells what came of it, also if it comes to no end.
struct Tell {
    actor: ActorRef<Msg>,
    witness: usize,
    outcome: Option<Result<(), Trouble>>,
}

impl Tell {
    fn told(mut self, outcome: Result<(), Trouble>) {
        self.outcome = Some(outcome);
    }
}

impl Drop for Tell {
    fn drop(&mut self) {
        let outcome = self.outcome.take().unwrap_or_else(|| Err(interrupted(())));
        // Who is gone needs not be told.
        let _ = self.actor.send_message(Msg::Answered { witness: self.witness, outcome });
    }
}

impl State {
    /// Begins a round if it is time, or sees to it that there is a look when it is.
    async fn look(&mut self, myself: &ActorRef<Msg>) {
        let evidence = self.witnessing.evidence.clone();
        let signed = evidence.sizes().borrow().0;
        if self.unanswered != 0 || signed == 0 {
            return;
        }
        let seen = evidence.seen();
        let behind = |witness: &usize| {
            self.witnessing.addresses[*witness].is_some() && seen[*witness].is_none_or(|(seen, _)| seen < signed)
        };
        let behind: Vec<usize> = (0..seen.len()).filter(behind).collect();
        let Some(next) = behind.iter().map(|witness| self.paces[*witness].not_before.max(self.not_before)).min() else {
            return;
        };
        let now = Instant::now();
        if now < next {
            self.look_at(myself, next, now);
            return;
        }
        let newest = off_the_workers(move || evidence.checkpoint()).await;
        let Ok(Ok((checkpoint, note))) = newest else {
            // It cannot be read at present; the log says why.
            self.not_before = now + REST;
            self.look_at(myself, self.not_before, now);
            return;
        };
        self.not_before = now + REST;
        let due: Vec<usize> = behind.into_iter().filter(|witness| self.paces[*witness].not_before <= now).collect();
        self.unanswered = due.len();
        let asked = |witness| {
            let (witnessing, checkpoint, note) = (self.witnessing.clone(), checkpoint.clone(), note.clone());
            let tell = Tell { actor: myself.clone(), witness, outcome: None };
            OwnedTask::spawn(async move {
                tell.told(witnessing.ask(witness, &checkpoint, &note).await);
            })
        };
        self.round = due.into_iter().map(asked).collect();
    }

    fn look_at(&mut self, myself: &ActorRef<Msg>, then: Instant, now: Instant) {
        if self.due.is_none_or(|due| then < due) {
            self.due = Some(then);
            myself.send_after(then.saturating_duration_since(now), || Msg::Due);
        }
    }
}

impl Actor for Asks {
    type Msg = Msg;
    type State = State;
    type Arguments = Witnessing;

    async fn pre_start(&self, myself: ActorRef<Msg>, witnessing: Witnessing) -> Result<State, ActorProcessingErr> {
        let mut sizes = witnessing.evidence.sizes();
        let ears = async move {
            loop {
                if myself.send_message(Msg::Signed).is_err() || sizes.changed().await.is_err() {
                    return;
                }
            }
        };
        let now = Instant::now();
        let paces = vec![Pace { not_before: now, pause: AGAIN_AFTER }; witnessing.addresses.len()];
        let (round, unanswered, due, not_before) = (Vec::new(), 0, None, now);
        Ok(State { witnessing, paces, round, unanswered, due, not_before, _ears: OwnedTask::spawn(ears) })
    }

    async fn handle(&self, myself: ActorRef<Msg>, message: Msg, state: &mut State) -> Result<(), ActorProcessingErr> {
        match message {
            Msg::Signed => {}
            Msg::Due => state.due = None,
            Msg::Answered { witness, outcome } => {
                let pace = &mut state.paces[witness];
                if outcome.is_ok() {
                    *pace = Pace { not_before: Instant::now(), pause: AGAIN_AFTER };
                } else {
                    pace.not_before = Instant::now() + pace.pause;
                    pace.pause = (pace.pause * 2).min(AGAIN_AFTER_MAX);
                }
                state.witnessing.note(witness, outcome);
                state.unanswered -= 1;
                if state.unanswered == 0 {
                    state.round.clear();
                }
            }
        }
        state.look(&myself).await;
        Ok(())
    }
}
