//! Keeps the authority's keys: has the keystore make, try, move and destroy them, as it stands in the records, and asks for the
//! next ones when their time has come. The private parts are [`keystore`]'s, the list the machine's.
//!
//! What is to be done is on record before it is done, and reported after. Killed in between, it is done again by the next start:
//! the keystore makes no second key by a name that has one, and destroys none twice.
//!
//! # Invariants
//! 1. Only the key in use signs, and the one that is to be the next one is tried; the others are compared with the records.
//! 2. What the records say was destroyed is not here: not back from an old copy of the keystore.

mod safe;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crypto::{Command, Crypto, KeyId, NAMED_MAX, Purpose, State, Suspect, Task, Version, Voucher, clipped, succession};
use host::{Clock, Error, Handle, Order};
use journal::Journal;
use kernel::{CommandId, Decision, Denial, Machine as _, Millis, Principal, Refuse as _, Timestamp};
use keystore::{Keeping, Keystore, KeystoreError, Name, RootId, Source, Standing};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use suites::signing::{PublicKey, Signed};
use supervisors::{Child, ChildRef};

pub use safe::{Brought, LOG, Safe, log_name, name, signature, told, used, usual};

use crate::evidence::off_the_workers;
use crate::wake::{Timer, Wake, Waker};

/// Waits before asking again who is down, or before a disk that failed is tried again.
const AGAIN_AFTER: Duration = Duration::from_millis(200);
/// Waits before looking for the root key again.
const ROOT_AFTER: Millis = Millis::seconds(2);
/// Waits before asking again for a key that was not made.
const ASKED_AGAIN_AFTER: Millis = Millis::hours(1);
/// Waits no longer before looking what is due: clocks are set.
const LATER: Duration = Duration::from_mins(1);
/// So many keys are wrapped anew between two reports.
const BATCH: usize = 256;
/// Who signs with these does not wait for the disk: they are opened before.
const AT_HAND: [Purpose; 4] = [Purpose::Checkpoints, Purpose::Receipts, Purpose::BackupManifests, Purpose::Releases];
/// A key is due up to so much of its time earlier, so that not all are at once.
const JITTER_PERCENT: u64 = 10;

/// What the worker works with.
#[derive(Clone)]
pub struct Custodian {
    pub crypto: Handle<Crypto>,
    pub safe: Safe,
    pub journal: Journal,
    pub clock: Clock,
    /// How long a key is in use; none for as long as nobody rotates it.
    pub rotate_every: Option<Duration>,
    /// For which purposes the first key is made without being asked for.
    pub wanted: Vec<Purpose>,
    /// Whether the keystore has a key that is on no list: then none is begun in its place.
    pub unlisted: Arc<dyn Fn() -> bool + Send + Sync>,
    /// Called when it was unsealed, and when keys were opened that are not waited for; it may block.
    pub opened: Arc<dyn Fn() + Send + Sync>,
}

impl Custodian {
    /// The child to put into the tree.
    pub fn child(self) -> Child {
        let reference = ChildRef::new("custodian");
        Child::actor::<Guard, _>(&reference, move || (Guard, self.clone()))
    }

    async fn report(&self, command: Command) -> Result<(), Ended> {
        let order = Order {
            command,
            command_id: self.clock.command_id(),
            principal: Principal::internal("custodian"),
            decision: Decision::default(),
            cause: None,
            asked: None,
        };
        if let Err(refusal) = self.crypto.execute(order).await?.outcome {
            tracing::warn!(code = refusal.code(), "refused: {refusal}");
        }
        Ok(())
    }

    /// What the records say was destroyed is so.
    async fn sweep(&self, store: &Keystore) -> Result<(), Ended> {
        let gone = |crypto: &Crypto| {
            let gone = crypto.keys().filter(|(_, version)| version.made.is_some() && version.destroyed_at.is_some());
            gone.map(|(key, version)| name(key.purpose, version.id, key.version)).collect::<Vec<_>>()
        };
        let (gone, store) = (self.crypto.inspect(gone).await?, store.clone());
        let sweep = move || {
            let keys = store.keys()?;
            let back = gone.into_iter().filter(|name| !matches!(keys.get(name), Some(Keeping::Destroyed { .. })));
            for name in back {
                tracing::warn!(code = "crypto.brought_back", key = %name, "a key that was destroyed is not known to be, and is destroyed again");
                store.destroy(name)?;
            }
            Ok::<_, KeystoreError>(())
        };
        Ok(off_the_workers(sweep).await??)
    }

    async fn carry_out(&self, store: &Keystore, task: Task) -> Result<(), Ended> {
        let store = store.clone();
        match task {
            Task::Make { key, id, suite } => {
                let name = name(key.purpose, id, key.version);
                let (domain, purpose) = used(key.purpose);
                let Some(suite) = signature(suite) else {
                    let why = format!("there is no signature {suite:#06x}");
                    return self.report(Command::Abandon { key, why }).await;
                };
                let tag = suites::Suite::from(suite).tag();
                let active = move |crypto: &Crypto| {
                    let active = crypto.active(key.purpose);
                    active.map(|(active, version)| (active.version, version.id))
                };
                let active = self.crypto.inspect(active).await?;
                let make = move || {
                    let about = store.generate(name, domain, purpose, suite.into())?;
                    // From the commit that says so it signs, and then nobody waits for it.
                    if AT_HAND.contains(&key.purpose) {
                        store.ready(name)?;
                    }
                    // Who is in use says who follows it. If it cannot, as it is damaged, all the more is another one needed.
                    let voucher = active.and_then(|(by, id)| {
                        let text = succession(key, tag, &about.public);
                        let signed = store.sign(safe::name(key.purpose, id, by), purpose, &text);
                        let said = |error: &KeystoreError| {
                            tracing::warn!(code = error.code(), %key, %error, "the key in use cannot vouch for the next one");
                        };
                        Some(Voucher { by, signed: signed.inspect_err(said).ok()?.to_bytes() })
                    });
                    Ok((about, voucher))
                };
                match off_the_workers(make).await? {
                    Ok((about, voucher)) => {
                        self.report(Command::Made { key, public: about.public, voucher }).await?;
                        tracing::info!(code = "crypto.made", %key, %suite, "a key is made");
                        Ok(())
                    }
                    Err(
                        error @ (KeystoreError::Suites(_)
                        | KeystoreError::NoKeys { .. }
                        | KeystoreError::Taken { .. }
                        | KeystoreError::Destroyed { .. }),
                    ) => {
                        tracing::warn!(code = error.code(), %key, %error, "a key cannot be made, and is given up");
                        self.report(Command::Abandon { key, why: clipped(&error.to_string()) }).await
                    }
                    Err(error) => Err(error.into()),
                }
            }
            Task::Destroy { key, id } => {
                let name = name(key.purpose, id, key.version);
                off_the_workers(move || store.destroy(name)).await??;
                self.report(Command::Destroyed { key }).await?;
                tracing::info!(code = "crypto.destroyed", %key, "a key is destroyed");
                Ok(())
            }
            Task::UpdateRefs { id } => {
                let moved = off_the_workers(move || store.rewrap(BATCH)).await??;
                let count = |number: usize| number as u64;
                if moved.moved != 0 || moved.left != 0 {
                    let (moved, left) = (count(moved.moved), count(moved.left));
                    self.report(Command::Moved { id, moved, left }).await?;
                }
                if moved.left != 0 {
                    return Ok(());
                }
                let stuck_in_all = count(moved.stuck.len());
                let stuck = moved.stuck.iter().take(NAMED_MAX).map(Name::to_string).collect();
                self.report(Command::Updated { id, stuck, stuck_in_all }).await
            }
            Task::Verify { id } => {
                let keys =
                    |crypto: &Crypto| crypto.keys().map(|(key, version)| (key, version.clone())).collect::<Vec<_>>();
                let (keys, safe) = (self.crypto.inspect(keys).await?, self.safe.clone());
                let (now, every) = (self.clock.now(), self.rotate_every);
                let (tried, suspects) = off_the_workers(move || tried(&safe, &store, id, &keys, now, every)).await??;
                let suspected = suspects.len() as u64;
                let suspects = suspects.into_iter().take(NAMED_MAX).collect();
                self.report(Command::Verified { id, tried, suspects, suspected }).await
            }
        }
    }
}

/// When a key that is in use is to be rotated, if it is to be in use for `every` at most.
pub fn due_at(key: KeyId, version: &Version, every: Duration) -> Option<Timestamp> {
    let every = u64::try_from(every.as_millis()).unwrap_or(u64::MAX);
    let earlier = every / 100 * JITTER_PERCENT;
    // As good as drawn, and the same whenever it is asked.
    let drawn = name(key.purpose, version.id, key.version).id % u128::from(earlier + 1);
    let due = version.activated_at?.0.saturating_add(every - u64::try_from(drawn).unwrap_or(earlier));
    Some(Timestamp(due))
}

/// Each key that should be here: how many there are, and which are not as they should be.
fn tried(
    safe: &Safe,
    store: &Keystore,
    id: CommandId,
    keys: &[(KeyId, Version)],
    now: Timestamp,
    every: Option<Duration>,
) -> Result<(u64, Vec<Suspect>), KeystoreError> {
    let mut kept = store.keys()?;
    let (mut tried, mut suspects) = (0, Vec::new());
    let known: BTreeMap<_, _> = keys.iter().map(|(key, version)| (*key, version)).collect();
    for (key, version) in keys {
        let found = kept.remove(&name(key.purpose, version.id, key.version));
        let mut suspect = |code: &str, why: &str| {
            suspects.push(Suspect { key: key.to_string(), code: code.to_owned(), why: clipped(why) });
        };
        let Some(made) = &version.made else { continue };
        if let Some(voucher) = &made.voucher
            && !vouches(safe, *key, version, voucher, known.get(&key.purpose.key(voucher.by)))
        {
            suspect("crypto.bad_voucher", "the key before did not sign that this one follows it");
        }
        if version.state == State::Destroyed {
            if matches!(found, Some(Keeping::Kept { .. })) {
                suspect("crypto.brought_back", "it is destroyed, and there");
            }
            continue;
        }
        tried += 1;
        let (domain, purpose) = used(key.purpose);
        let signature = signature(version.suite);
        match found {
            Some(Keeping::Kept { about, .. }) if about.public != made.public => {
                suspect("crypto.other_public", "its public part is not the one on record");
                continue;
            }
            Some(Keeping::Kept { about, .. })
                if about.domain != domain
                    || about.purpose != purpose.name()
                    || signature.map(Into::into) != Some(about.suite) =>
            {
                suspect("crypto.other_use", "it is kept for another use than the one on record");
                continue;
            }
            Some(Keeping::Kept { .. }) => {}
            Some(Keeping::Damaged) => {
                suspect("keystore.damaged", "its file is damaged");
                continue;
            }
            Some(Keeping::Destroyed { .. }) => {
                suspect("keystore.destroyed", "the keystore says that it was destroyed");
                continue;
            }
            None => {
                suspect("keystore.no_key", "the keystore does not have it");
                continue;
            }
        }
        let Some(suite) = signature else { continue };
        if !matches!(version.state, State::Active | State::PreActive) {
            continue;
        }
        let challenge = format!("sop key challenge 1\n{key}\n{id}\n");
        let answered = store.sign(name(key.purpose, version.id, key.version), purpose, challenge.as_bytes());
        let held = answered.and_then(|signed| {
            let public = PublicKey::read(suite, &made.public)?;
            Ok(safe.policy().accept(domain, suite)?.verify(&public, purpose, challenge.as_bytes(), &signed)?)
        });
        if let Err(error) = held {
            suspect(error.code(), &error.to_string());
        }
        if every.and_then(|every| due_at(*key, version, every)).is_some_and(|due| due <= now) {
            suspect("crypto.overdue", "it should have been rotated");
        }
    }
    suspects.extend(kept.into_iter().filter_map(|(name, keeping)| {
        let (code, why) = match keeping {
            Keeping::Destroyed { .. } => return None,
            Keeping::Kept { about, .. } if about.purpose == LOG.name() => return None,
            Keeping::Kept { .. } => ("crypto.unknown_key", "the keystore has it, and no record"),
            Keeping::Damaged => ("keystore.damaged", "its file is damaged"),
        };
        Some(Suspect { key: name.to_string(), code: code.to_owned(), why: why.to_owned() })
    }));
    Ok((tried, suspects))
}

/// Whether the key that was in use signed that this one follows it.
fn vouches(safe: &Safe, key: KeyId, version: &Version, voucher: &Voucher, by: Option<&&Version>) -> bool {
    let checked = || {
        let (by, made) = (by?, version.made.as_ref()?);
        let (domain, purpose) = used(key.purpose);
        let suite = signature(by.suite)?;
        let public = PublicKey::read(suite, &by.made.as_ref()?.public).ok()?;
        let text = succession(key, version.suite, &made.public);
        let signed = Signed::read(&voucher.signed).ok()?;
        safe.policy().accept(domain, suite).ok()?.verify(&public, purpose, &text, &signed).ok()
    };
    checked().is_some()
}

/// Why something was not brought to its end.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error(transparent)]
    Host(#[from] Error),
    #[error(transparent)]
    Keys(#[from] KeystoreError),
    #[error("the work panicked: {0}")]
    Work(#[from] tokio::task::JoinError),
}

struct Guard;

struct Working {
    custodian: Custodian,
    waker: Waker,
    timer: Option<Timer>,
    /// The root key in use, once it is.
    root: Option<RootId>,
    /// When it is looked for again.
    look_at: Timestamp,
    /// When the next key was asked for last: one that cannot be made is not asked for all the time.
    asked: BTreeMap<KeyId, Timestamp>,
    /// Once in each incarnation.
    swept: bool,
    /// Keys that are at hand, under the root key that they were opened with.
    at_hand: BTreeSet<Name>,
    /// Why one of those that should be is not.
    unopened: Option<Denial>,
    /// What failed last, so that it is said once.
    said: Option<String>,
}

impl Working {
    /// How long until it is to be looked at again, if nothing becomes durable before.
    async fn work(&mut self) -> Result<Option<Duration>, Ended> {
        let (safe, now) = (self.custodian.safe.clone(), self.custodian.clock.now());
        // To try a passphrase takes its time, and no other one comes while this runs.
        let comes = !matches!(safe.source(), None | Some(Source::Environment(_)));
        if self.root.is_none() && self.look_at <= now {
            let kept = |crypto: &Crypto| {
                crypto.keys().any(|(_, version)| version.made.is_some() && version.state != State::Destroyed)
            };
            let has_keys = self.custodian.crypto.inspect(kept).await? || (self.custodian.unlisted)();
            let (unsealing, opened) = (safe.clone(), self.custodian.opened.clone());
            let unseal = move || unsealing.unseal(has_keys).inspect(|_| opened());
            self.root = off_the_workers(unseal).await?;
            self.look_at = if comes { now + ROOT_AFTER } else { Timestamp(u64::MAX) };
            self.say(safe.sealed().map(|why| why.reason).as_ref());
        }
        let again = comes.then(|| Duration::from_millis(ROOT_AFTER.0));
        let Some(store) = safe.store() else {
            safe.was_tried();
            return Ok(again);
        };
        if !self.swept {
            self.custodian.sweep(&store).await?;
            self.swept = true;
        }
        let (is_open, every, asked) = (self.root.is_some(), self.custodian.rotate_every, self.asked.clone());
        let (wanted, policy) = (self.custodian.wanted.clone(), safe.policy().clone());
        let look = move |crypto: &Crypto| {
            // Without the root key, keys are destroyed, and no more.
            let task = crypto.tasks().find(|task| is_open || matches!(task, Task::Destroy { .. }));
            let makes = crypto.tasks().any(|task| matches!(task, Task::Make { .. }));
            let active = crypto.keys().filter(|(_, version)| version.state == State::Active);
            let due = active.filter_map(|(key, version)| {
                let again = asked.get(&key).map_or(Timestamp(0), |at| *at + ASKED_AGAIN_AFTER);
                Some((due_at(key, version, every?)?.max(again), key))
            });
            let never = wanted.into_iter().filter(|purpose| crypto.keys().all(|(key, _)| key.purpose != *purpose));
            let never =
                never.map(|purpose| (purpose, suites::Suite::from(usual(&policy, purpose)).tag())).collect::<Vec<_>>();
            (task, makes, crypto.root().map(str::to_owned), due.min(), never)
        };
        let (task, makes, known, due, never) = self.custodian.crypto.inspect(look).await?;
        if !is_open || (!makes && never.is_empty()) {
            safe.was_tried();
        }
        let root = self.root.map(|root| root.to_string());
        // Whatever is recorded wakes this again, so it is recorded once.
        if let Some(root) = root.filter(|root| known.as_ref() != Some(root)) {
            self.custodian.report(Command::Rooted { root }).await?;
        }
        if let Some(task) = task {
            return self.custodian.carry_out(&store, task).await.map(|()| Some(Duration::ZERO));
        }
        if !is_open {
            return Ok(again);
        }
        if !never.is_empty() {
            self.custodian.report(Command::Generate { keys: never, missing: true }).await?;
            return Ok(Some(Duration::ZERO));
        }
        self.have_at_hand(&store).await?;
        // It is looked at again, whatever else is to be done.
        let again = self.unopened.as_ref().map(|_| LATER);
        let Some((at, key)) = due else { return Ok(again) };
        if now < at {
            return Ok(Some(Duration::from_millis((at - now).0).min(LATER)));
        }
        self.asked.retain(|asked, _| asked.purpose != key.purpose);
        self.asked.insert(key, now);
        tracing::info!(code = "crypto.due", %key, "a key was in use for long enough, and is rotated");
        self.custodian.report(Command::Rotate { purpose: Some(key.purpose), suite: None }).await?;
        Ok(Some(Duration::ZERO))
    }

    /// Opens the keys that sign what nobody waits with, and the next ones.
    async fn have_at_hand(&mut self, store: &Keystore) -> Result<(), Ended> {
        let wanted = |crypto: &Crypto| {
            let signs = |version: &Version| matches!(version.state, State::Active | State::PreActive);
            let keys = crypto.keys().filter(|(key, version)| AT_HAND.contains(&key.purpose) && signs(version));
            let made = keys.filter(|(_, version)| version.made.is_some());
            made.map(|(key, version)| name(key.purpose, version.id, key.version)).collect::<BTreeSet<_>>()
        };
        let wanted = self.custodian.crypto.inspect(wanted).await?;
        let new: Vec<_> = wanted.difference(&self.at_hand).copied().collect();
        if new.is_empty() {
            return Ok(());
        }
        let (opening, opened) = (store.clone(), self.custodian.opened.clone());
        let open = move || {
            // One that cannot be opened keeps none of the others.
            let (ready, unopened): (Vec<_>, Vec<_>) =
                new.into_iter().map(|name| opening.ready(name).map(|()| name)).partition(Result::is_ok);
            opened();
            (ready, unopened.into_iter().find_map(Result::err))
        };
        let (ready, unopened) = off_the_workers(open).await?;
        self.at_hand.retain(|name| wanted.contains(name));
        self.at_hand.extend(ready.into_iter().flatten());
        self.say(unopened.as_ref().map(ToString::to_string).as_ref());
        self.unopened = unopened.as_ref().map(told);
        Ok(())
    }

    fn say(&mut self, why: Option<&String>) {
        if let Some(why) = why
            && self.said.as_ref() != Some(why)
        {
            tracing::warn!(code = "crypto.sealed", why, "no key is made or used");
            self.said = Some(why.clone());
        }
    }
}

impl Actor for Guard {
    type Msg = Wake;
    type State = Working;
    type Arguments = Custodian;

    async fn pre_start(&self, myself: ActorRef<Wake>, custodian: Custodian) -> Result<Working, ActorProcessingErr> {
        let waker = Waker::new(custodian.journal.moved(Crypto::NAME), myself);
        Ok(Working {
            custodian,
            waker,
            timer: None,
            root: None,
            look_at: Timestamp(0),
            asked: BTreeMap::new(),
            swept: false,
            at_hand: BTreeSet::new(),
            unopened: None,
            said: None,
        })
    }

    async fn handle(&self, myself: ActorRef<Wake>, _: Wake, working: &mut Working) -> Result<(), ActorProcessingErr> {
        working.waker.heard();
        let wait = match working.work().await {
            Ok(wait) => {
                working.custodian.safe.troubled(working.unopened.clone());
                wait
            }
            Err(fault @ Ended::Work(_)) => return Err(fault.into()),
            Err(error) => {
                if let Ended::Keys(error) = &error {
                    working.custodian.safe.troubled(Some(told(error)));
                    working.custodian.safe.was_tried();
                    working.say(Some(&error.to_string()));
                    // What cannot tell which root key is in use seals itself.
                    let store = working.custodian.safe.store();
                    if !store.is_some_and(|store| matches!(store.standing(), Standing::Unsealed { .. })) {
                        (working.root, working.look_at) = (None, Timestamp(0));
                        working.at_hand.clear();
                    }
                }
                Some(AGAIN_AFTER)
            }
        };
        working.timer = wait.map(|wait| Timer::after(wait, &myself));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_is_due_after_its_time_nor_long_before_it() {
        let day = 24 * 3_600_000;
        let version = |id| Version {
            id: CommandId(id),
            suite: 0x0401,
            state: State::Active,
            by: Principal::internal("custodian"),
            asked_at: Timestamp(0),
            activates: true,
            made: None,
            activated_at: Some(Timestamp(1_000 * day)),
            ended_at: None,
            revoked: None,
            abandoned: None,
            destroyed_at: None,
        };
        let due =
            |id, purpose: Purpose| due_at(purpose.key(1), &version(id), Duration::from_hours(100 * 24)).unwrap().0;
        let all: std::collections::BTreeSet<_> =
            (0..100).flat_map(|id| Purpose::ALL.map(|purpose| due(id, purpose))).collect();
        assert!(all.iter().all(|due| (1_090 * day..=1_100 * day).contains(due)), "{all:?}");
        assert!(500 < all.len(), "they are not all at once, also of one command");
        assert_eq!(due(7, Purpose::Receipts), due(7, Purpose::Receipts), "the same whenever it is asked");
        assert_eq!(
            due_at(Purpose::Receipts.key(1), &Version { activated_at: None, ..version(7) }, Duration::ZERO),
            None
        );
    }
}
