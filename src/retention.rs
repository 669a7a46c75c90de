//! What may leave the tile log and why no more may, and how it leaves: where the classes that are configured, the holds of two
//! concerns, the backups and the log itself meet.
//!
//! The store keeps every record: what leaves is the log's own copy, once a backup that was read again has it. docs/retention.md
//! says why.
//!
//! # Invariants
//! 1. It is on record, and signed, before anything is taken away; and it is looked at anew after that, so that a hold that
//!    came in between is respected.
//! 2. The backup is read, all of it, right before, and kept from then on.
//! 3. Nothing leaves the log while everything is stopped.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ::retention::{Archive, BUNDLE, Class, Command, Event, Hold, Plan, Pruning, Retention, clipped};
use backup::{BackupId, Backups};
use config::Classes;
use evidence::LogError;
use host::Order;
use journal::envelope::Record;
use journal::store::StoreError;
use journal::{Journal, codec};
use kernel::{Decision, Denial, Layer, Machine as _, Millis, Position, Principal, Refuse as _, Sequence, Timestamp};
use subjects::Subjects;
use vault::{Target, VaultError};
use workers::pruner::{Looked, Stop};

use crate::beside::Signer;
use crate::boot::Parts;

/// Records read at once.
const CHUNK: u64 = 256;

/// How long each class stays; none for ever.
#[derive(Clone, Debug)]
pub struct Rules(BTreeMap<Class, Option<Millis>>);

impl Rules {
    pub fn of(classes: &Classes) -> Self {
        let Classes { authority, operations, messages, .. } = *classes;
        let all = [(Class::Authority, authority), (Class::Operations, operations), (Class::Messages, messages)];
        let millis = |span: std::time::Duration| Millis(u64::try_from(span.as_millis()).unwrap_or(u64::MAX));
        Self(all.into_iter().map(|(class, span)| (class, span.map(millis))).collect())
    }

    /// How long a class stays.
    pub fn span(&self, class: Class) -> Option<Millis> {
        self.0.get(&class).copied().flatten()
    }

    /// For the record.
    fn text(&self) -> String {
        let each = self.0.iter().map(|(class, span)| match span {
            Some(span) => format!("{class} {span}"),
            None => format!("{class} never"),
        });
        each.collect::<Vec<_>>().join(", ")
    }
}

/// Why a record stays, and all after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stays {
    /// The first one that does; none where there are no more.
    pub at: Option<Sequence>,
    /// Stable, for programs.
    pub code: &'static str,
    pub why: String,
    /// When that is over, if time ends it.
    pub until: Option<Timestamp>,
}

impl Stays {
    fn at(record: &Record, code: &'static str, why: String) -> Self {
        let why = format!("record {} of {} {why}", record.sequence, record.stream);
        Self { at: Some(record.sequence), code, why, until: None }
    }

    fn from(at: u64, code: &'static str, why: impl Into<String>) -> Self {
        Self { at: Some(Sequence(at)), code, why: why.into(), until: None }
    }
}

/// What may leave the log.
#[derive(Clone, Debug)]
pub struct Outlook {
    /// How many records have left it, by what is on record.
    pub left: u64,
    /// How many would have, then.
    pub minimum: u64,
    pub stays: Stays,
    /// The holds that were looked at.
    pub changes: u64,
    /// The backup that has them.
    pub archive: Option<Archive>,
    rules: String,
}

impl Outlook {
    pub fn plan(self) -> Plan {
        let none = || Archive { backup: 0, manifest: kernel::Digest::default(), place: String::new() };
        let Self { minimum, stays, changes, archive, rules, .. } = self;
        Plan { minimum, changes, archive: archive.unwrap_or_else(none), rules, why: clipped(&stays.why) }
    }
}

/// Why it cannot be said, or done.
#[derive(Debug, thiserror::Error)]
pub enum Unknown {
    #[error(transparent)]
    Machine(#[from] host::Error),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Journal(#[from] StoreError),
    #[error("the work was interrupted")]
    Interrupted,
}

impl Unknown {
    /// What to tell who asked.
    pub fn denial(&self) -> Denial {
        let code = match self {
            Self::Machine(error) => return error.denial(),
            Self::Log(error) => error.code(),
            Self::Journal(error) => error.code(),
            Self::Interrupted => "retention.interrupted",
        };
        let remedy = "repeat it when `sop status` shows that all is well";
        Denial::new(Layer::Availability, code, self.to_string(), remedy)
    }

    /// Whether it is about to be restarted, and then it is done again.
    fn passes(&self) -> bool {
        let closed = |error: &StoreError| matches!(error, StoreError::Closed);
        match self {
            Self::Machine(_) | Self::Log(LogError::NotYet { .. }) => true,
            Self::Log(LogError::Journal(error)) | Self::Journal(error) => closed(error),
            Self::Log(_) | Self::Interrupted => false,
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "reading blocks; a flag ends what takes something away, with its actor")]
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Unknown> + Send + 'static) -> Result<T, Unknown> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Unknown::Interrupted)?
}

/// A backup that was found whole, and the last record that it has for certain.
struct Candidate {
    archive: Archive,
    last: u64,
}

/// Works out what may leave the log now.
///
/// # Errors
/// [`Unknown`].
pub async fn outlook(parts: &Parts) -> Result<Outlook, Unknown> {
    let look = |retention: &Retention| {
        let holds: Vec<_> = retention.holds().map(|(name, hold)| (name.to_owned(), hold.clone())).collect();
        (retention.minimum(), retention.changes(), holds)
    };
    let (left, changes, holds) = parts.retention.inspect(look).await?;
    let held = |subjects: &Subjects| {
        let held = subjects.list().filter(|(_, subject)| !subject.cases.is_empty());
        held.map(|(name, _)| name.clone()).collect::<Vec<_>>()
    };
    let subjects = parts.subjects.inspect(held).await?;
    let verified = |backups: &Backups| backups.last_verified().cloned();
    let verified = parts.backups.inspect(verified).await?;
    let candidate = verified.and_then(|found| {
        let contents = found.contents?;
        // Those of earlier releases are copies of another kind.
        let place = contents.directory.contains('/').then(|| clipped(&parts.backup_of(&contents.directory)))?;
        let archive = Archive { backup: found.id.0, manifest: contents.manifest, place };
        Some(Candidate { archive, last: contents.last })
    });
    let (rules, now, journal, log) =
        (parts.rules.clone(), parts.clock.now(), parts.journal.clone(), parts.evidence.clone());
    blocking(move || {
        let size = log.checkpoint()?.0.size;
        // The newest bundle stays, and what says what left.
        let newest = size.saturating_sub(1) / BUNDLE * BUNDLE;
        let last = candidate.as_ref().map_or(0, |candidate| candidate.last).min(newest);
        let looking = Looking { rules: &rules, holds: &holds, subjects: &subjects, now };
        let found = looking.first_that_stays(&journal, left, last)?;
        let stays = found.unwrap_or_else(|| match &candidate {
            None => Stays::from(left + 1, "no_backup", "no backup was found whole: see `sop backup verify`"),
            Some(candidate) if candidate.last < newest => {
                let why =
                    format!("the last verified backup, backup-{}, ends with record {last}", candidate.archive.backup);
                Stays::from(last + 1, "no_backup", why)
            }
            Some(_) => Stays::from(last + 1, "newest", "the newest records stay"),
        });
        let could = stays.at.map_or(last, |at| at.0 - 1).min(last) / BUNDLE * BUNDLE;
        let archive = candidate.map(|candidate| candidate.archive);
        Ok(Outlook { left, minimum: could.max(left), stays, changes, archive, rules: rules.text() })
    })
    .await
}

/// What is known of each record that is looked at.
struct Looking<'a> {
    rules: &'a Rules,
    holds: &'a [(String, Hold)],
    subjects: &'a [Principal],
    now: Timestamp,
}

impl Looking<'_> {
    /// The first record after `left` and up to `last` that stays.
    fn first_that_stays(&self, journal: &Journal, left: u64, last: u64) -> Result<Option<Stays>, StoreError> {
        let mut next = left + 1;
        while next <= last {
            let wanted = usize::try_from(CHUNK.min(last + 1 - next)).expect("small");
            let records = journal.raw(Sequence(next), wanted)?;
            if records.is_empty() {
                return Err(StoreError::Damaged { what: format!("record {next} is missing") });
            }
            for bytes in &records {
                let record = Record::decode(bytes)
                    .map_err(|error| StoreError::DamagedFrom { at: Sequence(next), what: error.to_string() })?;
                if let Some(stays) = self.stays(&record, bytes) {
                    return Ok(Some(stays));
                }
                next += 1;
            }
        }
        Ok(None)
    }

    fn stays(&self, record: &Record, bytes: &[u8]) -> Option<Stays> {
        let at = record.sequence.0;
        if let Some((name, _)) = self.holds.iter().find(|(_, hold)| hold.scope.holds(at, &record.stream)) {
            return Some(Stays::at(record, "held", format!("is held by {name}")));
        }
        let named = |subject: &&Principal| {
            let name = subject.name().as_bytes();
            bytes.windows(name.len()).any(|part| part == name)
        };
        if let Some(subject) = self.subjects.iter().find(named) {
            return Some(Stays::at(record, "subject", format!("has the name of {subject}, who is held for a case")));
        }
        let class = Class::of(&record.stream);
        let Some(span) = self.rules.span(class) else {
            return Some(Stays::at(record, "class", format!("is of the class {class}, which never leaves")));
        };
        let until = record.time + span;
        if self.now < until {
            let why = format!("is of the class {class}, which stays for {span}");
            return Some(Stays { until: Some(until), ..Stays::at(record, "young", why) });
        }
        None
    }
}

fn order(parts: &Parts, command: Command) -> Order<Command> {
    Order {
        command,
        command_id: parts.clock.command_id(),
        principal: Principal::internal("pruner"),
        decision: Decision::default(),
        cause: None,
        asked: None,
    }
}

/// Asks for what may leave the log to leave it, if there is anything and nobody stopped everything.
pub async fn ask(parts: &Parts) -> Looked {
    if parts.door.sealed().is_some() {
        return Looked::Hindered;
    }
    let outlook = match outlook(parts).await {
        Ok(outlook) => outlook,
        Err(error) if error.passes() => return Looked::NotYet,
        Err(error) => {
            tracing::warn!(code = "retention.unknown", %error, "what may leave the tile log cannot be said");
            return Looked::Hindered;
        }
    };
    if outlook.minimum <= outlook.left {
        return Looked::Idle;
    }
    match parts.retention.execute(order(parts, Command::Prune { plan: outlook.plan() })).await {
        Ok(answer) => {
            if let Err(refusal) = answer.outcome {
                tracing::info!(code = refusal.code(), "refused: {refusal}");
            }
            Looked::Done
        }
        Err(_) => Looked::NotYet,
    }
}

/// Carries out what was asked for.
pub async fn carry_out(parts: &Parts, at_it: &Arc<Mutex<()>>, stop: Stop) -> Looked {
    let pruning = match parts.retention.inspect(|retention| retention.outstanding().cloned()).await {
        Ok(None) => return Looked::Idle,
        Ok(Some(pruning)) => pruning,
        Err(_) => return Looked::NotYet,
    };
    if parts.door.sealed().is_some() {
        return Looked::Hindered;
    }
    let minimum = pruning.minimum;
    let command = match carried_out(parts, at_it, stop, &pruning).await {
        Ok(Came::Gone) => Command::Finish { minimum },
        Ok(Came::Between(why)) => Command::Abandon { minimum, why: clipped(&why) },
        Ok(Came::Stopped) => return Looked::NotYet,
        Err(error) if error.passes() => return Looked::NotYet,
        Err(error) => {
            tracing::warn!(code = "retention.stuck", %error, minimum, "what is to leave the tile log cannot, and is tried again");
            return Looked::Hindered;
        }
    };
    match parts.retention.execute(order(parts, command)).await {
        Ok(answer) => {
            match answer.outcome {
                Ok(reply) => tracing::info!(code = "retention.done", ?reply, minimum, "done"),
                Err(refusal) => tracing::info!(code = refusal.code(), "refused: {refusal}"),
            }
            Looked::Done
        }
        Err(_) => Looked::NotYet,
    }
}

/// What became of it.
enum Came {
    Gone,
    /// Something did, and all stays.
    Between(String),
    Stopped,
}

async fn carried_out(parts: &Parts, at_it: &Arc<Mutex<()>>, stop: Stop, pruning: &Pruning) -> Result<Came, Unknown> {
    let (journal, log, minimum, alone) =
        (parts.journal.clone(), parts.evidence.clone(), pruning.minimum, at_it.clone());
    let (record, raised) = blocking(move || {
        let record = said_in(&journal, minimum)?;
        // What an earlier incarnation was at is over.
        let _alone = alone.lock().unwrap_or_else(PoisonError::into_inner);
        Ok((record, log.minimum()?.is_some_and(|raised| raised.record == record)))
    })
    .await?;
    if !raised && let Some(why) = comes_between(parts, &stop, pruning).await? {
        return Ok(Came::Between(why));
    }
    let (log, alone, door) = (parts.evidence.clone(), at_it.clone(), parts.door.clone());
    let ended = blocking(move || {
        let _alone = alone.lock().unwrap_or_else(PoisonError::into_inner);
        let mut go_on = || !stop.load(Ordering::SeqCst) && door.sealed().is_none();
        Ok(go_on() && log.prune(minimum, record, &mut go_on)?)
    });
    Ok(if ended.await? { Came::Gone } else { Came::Stopped })
}

/// Whether anything keeps these records from leaving after all; if not, their archive is kept from now on.
async fn comes_between(parts: &Parts, stop: &Stop, pruning: &Pruning) -> Result<Option<String>, Unknown> {
    let backup = BackupId(pruning.archive.backup);
    let name = move |backups: &Backups| Some(backups.show(backup)?.contents.as_ref()?.directory.clone());
    let Some(name) = parts.backups.inspect(name).await? else { return Ok(Some(format!("there is no {backup}"))) };
    let (target, log, wanted, stop) = (parts.shelf().clone(), parts.evidence.clone(), pruning.clone(), stop.clone());
    let beside = parts.signer.clone();
    let bad = blocking(move || {
        let read = target.open().map_err(Unread::from);
        let read = read.and_then(|target| read_again(&*target, &name, (&log, &beside), &wanted, &stop));
        Ok(read.err())
    })
    .await?;
    match bad {
        Some(Unread::Log(error)) => return Err(error.into()),
        Some(Unread::Vault(VaultError::Journal(StoreError::Closed) | VaultError::Stopped { .. })) => {
            return Err(StoreError::Closed.into());
        }
        Some(error) => return Ok(Some(format!("{backup} cannot be relied on: {error}"))),
        None => {}
    }
    // Reading that takes its time.
    let now = outlook(parts).await?;
    if now.minimum < pruning.minimum {
        return Ok(Some(now.stays.why));
    }
    let archive = Order {
        command: backup::Command::Archive { backup, last: pruning.minimum },
        command_id: parts.clock.command_id(),
        principal: Principal::internal("pruner"),
        decision: Decision::default(),
        cause: None,
        asked: None,
    };
    Ok(parts.backups.execute(archive).await?.outcome.err().map(|refusal| refusal.to_string()))
}

/// Why a backup is no archive.
#[derive(Debug, thiserror::Error)]
enum Unread {
    #[error(transparent)]
    Vault(#[from] VaultError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("{0}")]
    Another(String),
}

/// Reads all of a backup, and holds it against the log.
fn read_again(
    target: &dyn Target,
    name: &str,
    (log, beside): (&evidence::Evidence, &Signer),
    wanted: &Pruning,
    stop: &AtomicBool,
) -> Result<(), Unread> {
    let another = |what: &str| Err(Unread::Another(what.to_owned()));
    let mut go_on = || if stop.load(Ordering::SeqCst) { Err("its worker ended".to_owned()) } else { Ok(()) };
    let checked = vault::verify(target, name, &mut go_on, &mut |_| Ok(()))?;
    beside.judge(&checked.point, name)?;
    if checked.manifest != wanted.archive.manifest {
        return another("its manifest is not the one it was made with");
    }
    let (key, signed) = checked.point.signed()?;
    if key != log.public()? {
        return another("it is of another log");
    }
    if checked.point.last < wanted.minimum {
        return another("it does not have these records");
    }
    if log.root_at(signed.size)? != signed.root {
        return another("it is not what the log is");
    }
    Ok(())
}

/// The record by which these records leave the log.
fn said_in(journal: &Journal, minimum: u64) -> Result<Sequence, Unknown> {
    let mut before = journal.stream_heads()?.get(Retention::NAME).map_or(0, |head| head.version.0);
    while 0 < before {
        let from = before.saturating_sub(CHUNK - 1).max(1);
        let records = journal.read_stream(Retention::NAME, Position(from), Position(before), usize::MAX)?;
        for record in records.into_iter().rev() {
            if let Ok(Some(Event::Pruning(said))) = codec::fact(&record)
                && said.minimum == minimum
            {
                return Ok(record.sequence);
            }
        }
        before = from - 1;
    }
    Err(StoreError::Damaged { what: format!("nothing says that {minimum} records leave the log") }.into())
}
