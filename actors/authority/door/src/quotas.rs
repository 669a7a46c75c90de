//! Quotas: how many requests of some actions each principal may have let in within a window of time.
//!
//! What a quota covers stands in identity. What is used of it is in the records of what was let in, and nowhere else: it is
//! counted in memory as requests end, and after a start once more from those records. So a count that was acknowledged is
//! there after a kill, and no request is written down a second time for it.
//!
//! # Invariants
//! 1. What is under way counts as used until it has come to nothing. So no more records of what was let in lie in a window,
//!    by their own times, than the quota has; who comes while the last of it is under way waits for what becomes of that.
//! 2. One command is one use, however often it is repeated. What may have been done, and is not known to be, counts until
//!    the window ends or a repeat finds out.
//! 3. Until the records of the window were read, what a quota covers is denied.
//! 4. Kept are those principals only who asked, in this window, for what a quota covers of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use host::{Clock, Handle};
use identity::{Allowance, Identity, Quota};
use journal::Journal;
use journal::envelope::{Answer, Record};
use journal::store::StoreError;
use kernel::{CommandId, Denial, Kin, Layer, Machine as _, Millis, Principal, Sequence, Timestamp, TokenUse};
use tokio::sync::Notify;

use crate::{Decisions, Follower};

/// What no quota is of. Whoever set one must be able to end it, and an emergency must be able to begin and to end.
fn is_exempt(principal: &Principal, action: &str) -> bool {
    let noun = |noun: &str| action.split_once('.').is_some_and(|(first, _)| first == noun);
    matches!(action, "quota.clear" | "quota.list" | "system.stop" | "system.resume")
        // It may take approvals or proofs to end one.
        || principal.kin == Kin::Operator && (noun("approval") || noun("proof"))
}

/// Whether capability let it in, and no policy: what is asked about a request, and not the request.
fn is_by_capability(policies: &[String]) -> bool {
    policies.iter().any(|policy| policy.starts_with("capability:"))
}

#[derive(Default)]
pub(crate) struct Quotas {
    /// The version of identity that is known here; 0 before the first look.
    seen: AtomicU64,
    any: AtomicBool,
    books: Mutex<Books>,
    /// Something that was under way has ended.
    ended: Notify,
}

#[derive(Default)]
struct Books {
    all: Vec<Book>,
    /// Where the records are that are not in yet.
    uncounted: Option<Journal>,
}

/// What is used of one quota, in the window that `now` was in when somebody last looked.
#[derive(Clone, Debug)]
struct Book {
    name: String,
    since: Timestamp,
    allowance: Allowance,
    began: Timestamp,
    uses: BTreeMap<Principal, Uses>,
}

#[derive(Clone, Debug, Default)]
struct Uses {
    used: u64,
    under_way: BTreeMap<Key, UnderWay>,
    /// Denials since the last use.
    denied: u64,
}

/// A command id may name a question as well as a command.
type Key = (CommandId, &'static str);

#[derive(Clone, Copy, Debug, Default)]
struct UnderWay {
    /// Those who wait for its outcome; a repeat waits with the first.
    waiting: u32,
    /// Since when somebody does not know whether it was done.
    in_doubt: Option<Timestamp>,
}

/// A request for which there is room.
#[must_use = "what is not said to have ended counts as used"]
pub(crate) struct Held<'a> {
    quotas: &'a Quotas,
    clock: Clock,
    principal: Principal,
    key: Key,
    books: Vec<(String, Timestamp)>,
    /// It was handed to its machine.
    sent: bool,
}

/// What became of a request that was held for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Became {
    /// It was done now.
    Done,
    /// It had been done before, under the same command id.
    Repeated,
    /// It was not done, and what was before stays as it was.
    Nothing,
    /// It was refused, and never will be done.
    Refused,
    Unknown,
}

pub(crate) enum Room<'a> {
    /// No quota is of it.
    Uncovered,
    Held(Held<'a>),
    /// Only what is under way keeps it out.
    Busy(Box<UsedUp>),
    UsedUp(Box<UsedUp>),
    /// It is not known yet what is used.
    Uncounted,
}

/// No use is left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UsedUp {
    principal: Principal,
    name: String,
    allowance: Allowance,
    /// Until the window ends.
    pub wait: Millis,
    /// Denials, counted from 1; 0 of one that nobody asked for.
    pub number: u64,
}

/// How much of a quota is used by somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Used {
    pub name: String,
    pub allowance: Allowance,
    pub principal: Principal,
    /// What is under way included.
    pub used: u64,
    /// First instant of the next window.
    pub until: Timestamp,
}

impl UsedUp {
    pub fn denial(&self) -> Denial {
        let Self { principal, name, allowance, wait, .. } = self;
        let Allowance { action, limit, window, .. } = allowance;
        let reason = format!("{principal} has used up its quota {name}: {limit} of {action} in {window}");
        let remedy = "wait as long as the answer says; an operator sees it with `sop security quota`, and sets another one or clears it";
        Denial::new(Layer::Limit, "door.quota_used_up", reason, remedy).rule(format!("quota {name}")).retry_after(*wait)
    }

    /// For who waited for what was under way, and it did not end.
    pub fn busy(&self) -> Denial {
        let Self { principal, name, .. } = self;
        let reason = format!("all that {principal} has left of its quota {name} is under way");
        let remedy = "repeat with the same command id: what is under way may come to nothing";
        let denial = Denial::new(Layer::Limit, "door.quota_busy", reason, remedy);
        denial.rule(format!("quota {name}")).retry_after(Millis(500))
    }
}

/// While it is not known what is used.
pub(crate) fn uncounted() -> Denial {
    let reason = "what is used of the quota for this is being counted";
    let remedy = "repeat with the same command id; if it stays so, see the log";
    let denial = Denial::new(Layer::Availability, "door.quota_uncounted", reason, remedy);
    denial.rule("quotas").retry_after(Millis(500))
}

impl Quotas {
    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is any quota. Identity must have been up once.
    pub fn any(&self, identity: &Handle<Identity>, view: &Follower<Identity>) -> bool {
        // Before the view, so that it is never ahead of what was seen there.
        let seen = identity.durable().0;
        if self.seen.load(Ordering::Acquire) < seen {
            let mut books = self.books();
            books.take_up(
                view.read(|identity| identity.quotas().map(|(name, quota)| (name.to_owned(), quota.clone())).collect()),
            );
            self.any.store(!books.all.is_empty(), Ordering::Release);
            self.seen.fetch_max(seen, Ordering::AcqRel);
        }
        self.any.load(Ordering::Acquire)
    }

    /// Keeps room for a request.
    pub fn hold(&self, principal: &Principal, key: Key, policies: &[String], clock: &Clock) -> Room<'_> {
        let (action, now) = (key.1, clock.now());
        if is_exempt(principal, action) || is_by_capability(policies) {
            return Room::Uncovered;
        }
        let mut books = self.books();
        let uncounted = books.uncounted.is_some();
        let mut covering: Vec<_> = books.covering(principal, action, now).collect();
        if covering.is_empty() {
            return Room::Uncovered;
        }
        if uncounted {
            return Room::Uncounted;
        }
        let mut busy = None;
        for book in &mut covering {
            if let Some(used_up) = book.used_up(principal, now).filter(|_| !book.is_held(principal, key)) {
                let uses = book.uses.entry(principal.clone()).or_default();
                uses.denied += 1;
                return Room::UsedUp(Box::new(UsedUp { number: uses.denied, ..used_up }));
            }
            busy = busy.or_else(|| book.busy(principal, key, now));
        }
        if let Some(busy) = busy {
            return Room::Busy(Box::new(busy));
        }
        let keep = |book: &mut Book| {
            let uses = book.uses.entry(principal.clone()).or_default();
            uses.under_way.entry(key).or_default().waiting += 1;
            (book.name.clone(), book.since)
        };
        let books = covering.into_iter().map(keep).collect();
        Room::Held(Held { quotas: self, clock: clock.clone(), principal: principal.clone(), key, books, sent: false })
    }

    /// The quota that keeps such a request out, if one does; takes nothing of it.
    pub fn used_up(&self, principal: &Principal, action: &str, now: Timestamp) -> Option<UsedUp> {
        if is_exempt(principal, action) {
            return None;
        }
        let mut books = self.books();
        if books.uncounted.is_some() {
            return None;
        }
        books.covering(principal, action, now).find_map(|book| book.used_up(principal, now))
    }

    /// Waits until something that was under way has ended; take it before what it is to wait for is looked at.
    pub fn ended(&self) -> tokio::sync::futures::Notified<'_> {
        self.ended.notified()
    }

    /// What is used now: of all, or of what covers one principal. Nothing, while that is not known.
    pub fn used(&self, of: Option<&Principal>, now: Timestamp) -> Option<Vec<Used>> {
        let mut books = self.books();
        if books.uncounted.is_some() {
            return None;
        }
        let mut all = Vec::new();
        for book in &mut books.all {
            book.turn(now);
            let shown = |principal: &Principal, uses: Option<&Uses>| Used {
                name: book.name.clone(),
                allowance: book.allowance.clone(),
                principal: principal.clone(),
                used: uses.map_or(0, Uses::all),
                until: book.began + book.allowance.window,
            };
            match of {
                Some(one) if book.allowance.whose.covers(one) => all.push(shown(one, book.uses.get(one))),
                Some(_) => {}
                None => {
                    let those = book.uses.iter().filter(|(_, uses)| uses.all() != 0);
                    all.extend(those.map(|(principal, uses)| shown(principal, Some(uses))));
                }
            }
        }
        Some(all)
    }

    /// From now on, what a quota covers is denied until [`Quotas::count`] has come to its end.
    pub fn uncounted(&self, journal: Journal) {
        self.books().uncounted = Some(journal);
    }

    pub fn is_counted(&self) -> bool {
        self.books().uncounted.is_none()
    }

    /// Counts what the records have, from the newest back to where the oldest window began, unless that was done. One at a
    /// time: until its end nothing is let in that it could count twice.
    pub fn count(&self, now: Timestamp) -> Result<(), StoreError> {
        let (mut counted, journal) = {
            let mut books = self.books();
            let Some(journal) = books.uncounted.clone() else { return Ok(()) };
            books.all.iter_mut().for_each(|book| book.turn(now));
            (books.all.clone(), journal)
        };
        if let Some(from) = counted.iter().map(Book::from).min() {
            let mut paid = BTreeSet::new();
            let mut before = journal.head()?.sequence.0 + 1;
            while 1 < before {
                let first = before.saturating_sub(CHUNK).max(1);
                let records = journal.read(Sequence(first), usize::try_from(before - first).expect("small"))?;
                let over = records.first().is_none_or(|record| record.time + DISORDER < from);
                for record in records.iter().filter(|record| from <= record.time) {
                    if let Some((principal, action)) = let_in(record) {
                        note(&mut counted, &principal, action, record, &mut paid);
                    }
                }
                if over {
                    break;
                }
                before = first;
            }
        }
        let mut books = self.books();
        for book in &mut books.all {
            let Some(counted) = counted.iter().find(|counted| counted.is(&book.name, book.since)) else { continue };
            if counted.began == book.began {
                book.uses.clone_from(&counted.uses);
            }
        }
        books.uncounted = None;
        Ok(())
    }
}

/// Records read at once.
const CHUNK: u64 = 1_024;

/// Records of different streams may come into the journal out of the order of their times by as much.
const DISORDER: Millis = Millis::minutes(2);

/// After this, what nobody waits for any more has been done, or never will be.
const DOUBT: Millis = Millis::minutes(1);

/// Who was let in for what, if a record says that; of more records of one command it is the first.
fn let_in(record: &Record) -> Option<(Principal, &str)> {
    let asked = record.asked.as_deref()?;
    let is_denied = record.stream == Decisions::NAME && record.kind_id == crate::decisions::records::DENIED;
    if record.index != 0
        || is_denied
        || matches!(record.answer, Answer::Refusal(_))
        || is_by_capability(&record.decision.policies)
    {
        return None;
    }
    let principal: Principal = record.principal.parse().ok()?;
    let counts = principal.kin != Kin::Internal && !is_exempt(&principal, asked.action());
    counts.then(|| (principal, asked.action()))
}

/// Counts one record. What rests on one use of a token is one request, however many records rest on it.
fn note(
    books: &mut [Book],
    principal: &Principal,
    action: &str,
    record: &Record,
    paid: &mut BTreeSet<(String, u128, u32)>,
) {
    for book in books.iter_mut().filter(|book| book.allowance.covers(principal, action) && book.from() <= record.time) {
        let again = record
            .decision
            .token
            .is_some_and(|TokenUse { token, number }| !paid.insert((book.name.clone(), token.0, number)));
        if !again {
            book.uses.entry(principal.clone()).or_default().used += 1;
        }
    }
}

impl Books {
    /// What is in force now; what was used of what still is stays.
    fn take_up(&mut self, quotas: Vec<(String, Quota)>) {
        let mut before = std::mem::take(&mut self.all);
        for (name, Quota { allowance, since, .. }) in quotas {
            let known = before.iter().position(|book| book.is(&name, since)).map(|place| before.swap_remove(place));
            self.all.push(match known {
                Some(book) => Book { allowance, ..book },
                None => Book { name, since, began: Timestamp(0), allowance, uses: BTreeMap::new() },
            });
        }
    }

    fn covering(&mut self, principal: &Principal, action: &str, now: Timestamp) -> impl Iterator<Item = &mut Book> {
        self.all.iter_mut().filter_map(move |book| {
            book.allowance.covers(principal, action).then(|| {
                book.turn(now);
                book
            })
        })
    }
}

impl Book {
    fn is(&self, name: &str, since: Timestamp) -> bool {
        self.name == name && self.since == since
    }

    /// What lies before is not counted.
    fn from(&self) -> Timestamp {
        self.began.max(self.since)
    }

    /// Drops what was used in a window that has ended. What is under way may end in this one.
    fn turn(&mut self, now: Timestamp) {
        let began = self.allowance.began(now);
        if self.began < began {
            self.began = began;
            self.uses.retain(|_, uses| {
                (uses.used, uses.denied) = (0, 0);
                // What is in doubt since shortly before may have been done in this one.
                let late = |since: Timestamp| began <= since + DOUBT;
                uses.under_way.retain(|_, one| one.waiting != 0 || one.in_doubt.is_some_and(late));
                !uses.under_way.is_empty()
            });
        }
    }

    fn is_held(&self, principal: &Principal, key: Key) -> bool {
        self.uses.get(principal).is_some_and(|uses| uses.under_way.contains_key(&key))
    }

    fn used_up(&self, principal: &Principal, now: Timestamp) -> Option<UsedUp> {
        let uses = self.uses.get(principal)?;
        let in_doubt = uses.under_way.values().filter(|one| one.waiting == 0).count();
        (self.allowance.limit <= uses.used + in_doubt as u64).then(|| self.kept_out(principal, now))
    }

    fn busy(&self, principal: &Principal, key: Key, now: Timestamp) -> Option<UsedUp> {
        let uses = self.uses.get(principal)?;
        let full = self.allowance.limit <= uses.all() && !uses.under_way.contains_key(&key);
        full.then(|| self.kept_out(principal, now))
    }

    fn kept_out(&self, principal: &Principal, now: Timestamp) -> UsedUp {
        let (name, allowance) = (self.name.clone(), self.allowance.clone());
        let wait = self.began + allowance.window - now;
        UsedUp { principal: principal.clone(), name, allowance, wait, number: 0 }
    }
}

impl Uses {
    fn all(&self) -> u64 {
        self.used + self.under_way.len() as u64
    }

    fn end(&mut self, key: Key, became: Became, now: Timestamp) {
        let Some(one) = self.under_way.get_mut(&key) else { return };
        one.waiting = one.waiting.saturating_sub(1);
        match became {
            Became::Unknown => one.in_doubt = Some(now),
            // By this one, or by the one that did not get to know.
            Became::Done => (self.used, self.denied, one.in_doubt) = (self.used + 1, 0, None),
            Became::Repeated if one.in_doubt.is_some() => (self.used, one.in_doubt) = (self.used + 1, None),
            Became::Refused => one.in_doubt = None,
            Became::Repeated | Became::Nothing => {}
        }
        if one.waiting == 0 && one.in_doubt.is_none() {
            self.under_way.remove(&key);
        }
    }
}

impl Held<'_> {
    /// From here on it may be done.
    pub fn send(&mut self) {
        self.sent = true;
    }

    pub fn end(mut self, became: Became) {
        self.put_back(became);
    }

    fn put_back(&mut self, became: Became) {
        let (mut books, now) = (self.quotas.books(), self.clock.now());
        for (name, since) in std::mem::take(&mut self.books) {
            let Some(book) = books.all.iter_mut().find(|book| book.is(&name, since)) else { continue };
            // Where another window has begun since, it may lie in that.
            book.turn(now);
            if let Some(uses) = book.uses.get_mut(&self.principal) {
                uses.end(self.key, became, now);
            }
        }
        drop(books);
        self.quotas.ended.notify_waiters();
    }
}

impl Drop for Held<'_> {
    /// Who asked may have stopped waiting.
    fn drop(&mut self) {
        if !self.books.is_empty() {
            self.put_back(if self.sent { Became::Unknown } else { Became::Nothing });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const HOUR: Millis = Millis::hours(1);
    const AT: Timestamp = Timestamp(10 * HOUR.0);

    fn key(number: u128) -> Key {
        (CommandId(number), "todo.release")
    }

    fn by() -> Principal {
        "agent/alpha".parse().unwrap()
    }

    /// One quota, of one use in an hour, and a clock that the test turns.
    fn quotas() -> (Quotas, Arc<AtomicU64>, Clock) {
        let quotas = Quotas::default();
        let allowance =
            Allowance { whose: "agent/*".parse().unwrap(), action: "*".parse().unwrap(), limit: 1, window: HOUR };
        let quota =
            Quota { allowance, since: Timestamp(0), by: by(), reason: kernel::Personal::default(), at: Timestamp(0) };
        quotas.books().take_up(vec![("puts".to_owned(), quota)]);
        let time = Arc::new(AtomicU64::new(AT.0));
        let told = time.clone();
        (quotas, time, Clock::from_fn(move || Timestamp(told.load(Ordering::Relaxed))))
    }

    fn word(room: &Room<'_>) -> &'static str {
        match room {
            Room::Uncovered => "uncovered",
            Room::Held(_) => "held",
            Room::Busy(_) => "busy",
            Room::UsedUp(_) => "used up",
            Room::Uncounted => "uncounted",
        }
    }

    fn hold<'a>(quotas: &'a Quotas, number: u128, clock: &Clock) -> Room<'a> {
        quotas.hold(&by(), key(number), &[], clock)
    }

    /// Its asker stops waiting once it was handed to its machine, or before.
    fn given_up(quotas: &Quotas, number: u128, clock: &Clock, sent: bool) {
        let Room::Held(mut held) = hold(quotas, number, clock) else { panic!("there is room") };
        if sent {
            held.send();
        }
    }

    #[test]
    fn what_was_given_up_counts_if_it_may_have_been_done() {
        for (sent, other) in [(false, "held"), (true, "used up")] {
            let (quotas, _, clock) = quotas();
            given_up(&quotas, 1, &clock, sent);
            assert_eq!(word(&hold(&quotas, 2, &clock)), other, "sent: {sent}");
            assert_eq!(word(&hold(&quotas, 1, &clock)), "held", "a repeat finds out");
        }
    }

    #[test]
    fn a_repeat_finds_out() {
        for (became, used, other, next) in [
            (Became::Repeated, 1, "used up", "held"),
            (Became::Done, 1, "used up", "held"),
            (Became::Refused, 0, "held", "held"),
            // The doubt stays, into the next window.
            (Became::Nothing, 1, "used up", "used up"),
            (Became::Unknown, 1, "used up", "used up"),
        ] {
            let (quotas, time, clock) = quotas();
            time.store((AT + HOUR).0 - 1, Ordering::Relaxed);
            given_up(&quotas, 1, &clock, true);
            let Room::Held(held) = hold(&quotas, 1, &clock) else { panic!("it is held for already") };
            held.end(became);
            assert_eq!(quotas.used(Some(&by()), clock.now()).unwrap()[0].used, used, "{became:?}");
            assert_eq!(word(&hold(&quotas, 2, &clock)), other, "{became:?}");
            time.store((AT + HOUR).0, Ordering::Relaxed);
            assert_eq!(word(&hold(&quotas, 2, &clock)), next, "{became:?}, in the next window");
        }
        // Without a doubt, a repeat uses nothing.
        let (quotas, _, clock) = quotas();
        let Room::Held(held) = hold(&quotas, 1, &clock) else { panic!("there is room") };
        held.end(Became::Repeated);
        assert_eq!(quotas.used(Some(&by()), AT).unwrap()[0].used, 0);
    }

    #[test]
    fn another_window_begins_with_what_may_be_done_in_it() {
        let turned = |given_up_before: Option<Millis>| {
            let (quotas, time, clock) = quotas();
            let waits = given_up_before.is_none();
            time.store((AT + HOUR).0 - given_up_before.map_or(1, |before| before.0), Ordering::Relaxed);
            let held = waits.then(|| hold(&quotas, 1, &clock));
            if !waits {
                given_up(&quotas, 1, &clock, true);
            }
            time.store((AT + HOUR).0, Ordering::Relaxed);
            let other = word(&hold(&quotas, 2, &clock));
            drop(held);
            other
        };
        for (given_up_before, other) in
            [(Some(DOUBT), "used up"), (Some(Millis(DOUBT.0 + 1)), "held"), (Some(HOUR), "held"), (None, "busy")]
        {
            assert_eq!(turned(given_up_before), other, "{given_up_before:?}");
        }
    }
}
