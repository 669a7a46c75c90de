//! What the desk and the library share of subscriptions: to read on from a cursor, and to know what was given out.
//!
//! A reader sees what the audit shows, and the door asks for that permission, too. What reading itself records is passed
//! over, or whoever follows everything would follow himself for ever.
//!
//! # Invariants
//! 1. What is given was recorded while its reader may read: a wait during which authority changed ends with nothing.
//! 2. What was given out is known since the process began, and forgotten with it: then it is read again.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use allocator::Allocator;
use approvals::Approvals;
use backup::Backups;
use crypto::Crypto;
use door::{Ask, Decisions, Denied, Done, Outcomes};
use gaps::Gaps;
use governance::Governance;
use health::Health;
use identity::Identity;
use journal::envelope::Record;
use journal::reader::{Bounds, Filter, Page, Reader};
use journal::store::StoreError;
use journal::{CONCLUDED, OPENED, codec};
use kernel::{Denial, Kind, Layer, Machine, Recorded, Refuse as _, Sequence};
use nexus::Nexus;
use retention::Retention;
use security::Security;
use subjects::Subjects;
use subscriptions::records::ACKNOWLEDGED;
use subscriptions::{Command, Subscriptions, Wanted};
use todos::Todos;
use tokens::Tokens;

use crate::boot::Parts;
use crate::decided;

/// Longest wait for a record.
pub const WAIT_MAX: Duration = Duration::from_secs(20);
/// The most that is given at once.
pub const BOUNDS: Bounds = Bounds { records: 1_000, bytes: 1 << 20 };

/// How often a waiting reader looks whether the journal is closed: an orderly stop waits for it.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Longest look for what is wanted among what is not, beyond the wait: then its reader is told how far it has come.
const LOOKING_MAX: Duration = Duration::from_secs(2);

/// How far each subscription was given out.
#[derive(Debug, Default)]
pub struct GivenOut(Mutex<BTreeMap<String, Sequence>>);

impl GivenOut {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Sequence>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, name: &str, position: Sequence) {
        let mut given = self.lock();
        let upto = given.entry(name.to_owned()).or_default();
        *upto = position.max(*upto);
    }

    fn is(&self, name: &str, position: Sequence) -> bool {
        self.lock().get(name).is_some_and(|upto| position <= *upto)
    }
}

/// Every registered kind.
pub fn kinds() -> impl Iterator<Item = &'static Kind> {
    const HOST: &[Kind] = &[OPENED, CONCLUDED];
    fn of<M: Machine>() -> &'static [Kind] {
        M::Event::KINDS
    }
    let all = [
        HOST,
        of::<Governance>(),
        of::<Identity>(),
        of::<Approvals>(),
        of::<Tokens>(),
        of::<Decisions>(),
        of::<Outcomes>(),
        of::<Allocator>(),
        of::<Health>(),
        of::<Gaps>(),
        of::<Todos>(),
        of::<Backups>(),
        of::<Nexus>(),
        of::<Subjects>(),
        of::<Retention>(),
        of::<Security>(),
        of::<Crypto>(),
        of::<Subscriptions>(),
    ];
    all.into_iter().flatten()
}

/// Which records are meant by the names of streams and kinds; none means all.
///
/// # Errors
/// [`Denial`] if there is no such stream or kind.
pub fn wanted(parts: &Parts, streams: &[String], named: &[String]) -> Result<Wanted, Denial> {
    let no = |what: &str, name: &String, known: Vec<&str>| {
        let remedy = format!("one of {}", known.join(", "));
        Denial::new(Layer::Request, "request.arguments", format!("there is no {what} {name:?}"), remedy)
    };
    let known = parts.machines().map(|(name, _)| name);
    if let Some(stream) = streams.iter().find(|stream| !known.contains(&stream.as_str())) {
        return Err(no("stream", stream, known.to_vec()));
    }
    let id = |name: &String| {
        let kind = kinds().find(|kind| kind.name == name);
        kind.map(|kind| kind.id).ok_or_else(|| no("kind", name, kinds().map(|kind| kind.name).collect()))
    };
    Ok(Wanted { streams: streams.iter().cloned().collect(), kinds: named.iter().map(id).collect::<Result<_, _>>()? })
}

/// Creates a subscription, or finds the one that it would be.
///
/// # Errors
/// [`Denied`].
pub async fn create(
    parts: &Parts,
    ask: &Ask,
    wanted: Wanted,
    from: Option<u64>,
) -> Result<Done<Subscriptions>, Denied> {
    let head = parts.journal.durable().borrow().0;
    let command = Command::Create { name: ask.resource.clone(), wanted, from, head };
    parts.door.perform(ask, &parts.subscriptions, command).await
}

/// What comes next of the subscription that `ask` is about, or nothing, if none of it is recorded within `wait`.
///
/// # Errors
/// [`Denied`].
pub async fn read(parts: &Parts, ask: &Ask, bounds: Bounds, wait: Duration) -> Result<Page, Denied> {
    let door = &parts.door;
    let authority = || (door.governance().durable(), door.identity().durable(), door.tokens().durable());
    let pass = parts.door.witness(ask).await?;
    let judged = authority();
    let (name, who) = (ask.resource.clone(), pass.principal.clone());
    let look = move |all: &Subscriptions| all.readable(&name, &who).cloned();
    let found = parts.subscriptions.inspect(look).await.map_err(|error| error.denial())?;
    let known = found.map_err(|refusal| refusal.denial())?;
    let Wanted { streams, kinds } = known.wanted;
    let filter = Filter { streams, kinds };
    let bounds = Bounds { records: bounds.records.min(BOUNDS.records), bytes: bounds.bytes.min(BOUNDS.bytes) };
    let position = Sequence(known.position);
    // What the audit would not show him, this does not either.
    let mut streams = BTreeMap::new();
    let mut shows = |stream: &str| {
        let asked = || door.permits(&pass, "audit.show", stream).is_ok();
        *streams.entry(stream.to_owned()).or_insert_with(asked)
    };
    let mut reader = Reader::new(&parts.journal, position, |record: &Record| {
        filter.wants(record) && !is_of_reading(record) && shows(&record.stream)
    });
    let page = within(&mut reader, bounds, wait.min(WAIT_MAX)).await.map_err(|error| unreadable(&error))?;
    if authority() != judged {
        // Judged anew when it is asked for again, and then given at once.
        return Ok(Page { records: Vec::new(), position, head: page.head });
    }
    parts.given_out.note(&ask.resource, page.position);
    Ok(page)
}

async fn within<W: FnMut(&Record) -> bool>(
    reader: &mut Reader<W>,
    bounds: Bounds,
    wait: Duration,
) -> Result<Page, StoreError> {
    let end = tokio::time::Instant::now() + wait;
    loop {
        let page = reader.read(bounds)?;
        let now = tokio::time::Instant::now();
        let late = if page.position < page.head { end + LOOKING_MAX } else { end };
        if !page.records.is_empty() || late <= now {
            return Ok(page);
        }
        // What is wanted may be far ahead: looking for it is work, and not waiting.
        let slice = if page.position < page.head { Duration::ZERO } else { LOOK_EVERY.min(end - now) };
        match tokio::time::timeout(slice, reader.next(bounds)).await {
            Ok(page) => return page,
            Err(_) => tokio::task::yield_now().await,
        }
    }
}

/// Notes that all up to `position` is done with.
///
/// # Errors
/// [`Denied`].
pub async fn acknowledge(parts: &Parts, ask: &Ask, position: Sequence) -> Result<Done<Subscriptions>, Denied> {
    let given = parts.given_out.is(&ask.resource, position);
    let command = Command::Acknowledge { name: ask.resource.clone(), position: position.0, given };
    parts.door.perform(ask, &parts.subscriptions, command).await
}

/// Ends a subscription.
///
/// # Errors
/// [`Denied`].
pub async fn delete(parts: &Parts, ask: &Ask) -> Result<Done<Subscriptions>, Denied> {
    let done = parts.door.perform(ask, &parts.subscriptions, Command::Delete { name: ask.resource.clone() }).await?;
    parts.given_out.lock().remove(&ask.resource);
    Ok(done)
}

/// How many subscriptions there are, and the most records that one of them has yet to look at.
pub fn lag(parts: &Parts) -> (usize, u64) {
    let (count, position) = parts.subscriptions_view.read(Subscriptions::furthest_behind);
    let head = parts.journal.durable().borrow().0;
    (count, position.map_or(0, |position| head.saturating_sub(position)))
}

/// What a read or an acknowledgement records of itself.
fn is_of_reading(record: &Record) -> bool {
    let kind = (record.kind_id, record.schema);
    let read = || {
        matches!(codec::fact(record), Ok(Some(door::Event::Answered(_))))
            && decided::asked(record).is_some_and(|asked| asked.action() == "subscription.read")
    };
    match record.stream.as_str() {
        Subscriptions::NAME => kind == (ACKNOWLEDGED.id, ACKNOWLEDGED.version),
        Decisions::NAME => read(),
        _ => false,
    }
}

fn unreadable(error: &StoreError) -> Denial {
    let remedy = "repeat when `sop status` shows the journal running; verify it with `sop audit verify`";
    Denial::new(Layer::Availability, "journal.unreadable", error.to_string(), remedy)
}
