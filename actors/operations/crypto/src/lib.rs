//! Crypto: which key signs for what, which did before, and which no longer counts.
//!
//! A pure [`Machine`]. It knows keys by their purpose and version, and their public parts; the private ones are the keystore's,
//! which makes and destroys them after that is on record here, and says so. A suite is the tag that it has in `suites`; which of
//! them may be used is for whoever asks, and for the keystore.
//!
//! # Invariants
//! 1. At most one key signs for a purpose. There is one from the first that was made on, but between the revocation of the one
//!    in use and the making of the next.
//! 2. Which key signs changes in one commit: the next begins as the one before ends.
//! 3. A key that was revoked or destroyed signs no more, whatever happens.
//! 4. What a key signed before the record that it is revoked since counts for ever; that record is never moved to a later one.
//! 5. A version is one key for ever, also if it was never made.
//! 6. Only the authority's own worker says what became of a key.

#![no_std]

extern crate alloc;

mod purpose;
pub mod records;
mod vocabulary;

use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use kernel::{CommandId, Context, Kin, Machine, Outcome, Position, Principal};
use serde::{Deserialize, Serialize};

pub use purpose::{KeyId, NoKey, Purpose};
use records::{
    AbandonedV1, ActivatedV1, DestroyedV1, DestroyingV1, HastenedV1, MadeV1, MovedV1, OrderedV1, RevokedV1, RootedV1,
    SuspectV1, UpdatedV1, UpdatingV1, VerifiedV1, VerifyingV1,
};
pub use vocabulary::*;

/// Every key that there ever was.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Crypto {
    /// By their versions, the first of which is 1.
    keys: BTreeMap<Purpose, Vec<Version>>,
    /// The last round over them.
    verified: Option<Round>,
    updated: Option<Round>,
    root: Option<String>,
}

impl Machine for Crypto {
    const NAME: &'static str = "crypto";
    const REVISION: u32 = 1;

    type Command = Command;
    type Event = Event;
    type Reply = Reply;
    type Refusal = Refusal;

    fn decide(&self, command: &Command, cx: &Context) -> Result<Outcome<Self>, Refusal> {
        let (by, at) = (cx.principal.to_string(), cx.now);
        match command {
            Command::Generate { keys, missing } => {
                // One for each purpose, whatever was asked.
                let wanted: BTreeMap<Purpose, u16> = keys.iter().copied().collect();
                let (mut events, mut keys) = (Vec::new(), Vec::new());
                for (purpose, suite) in wanted {
                    let (next, is_first) = (self.next(purpose), self.active(purpose).is_none());
                    match next {
                        Some(_) if *missing => {}
                        Some((key, _)) => return Err(Refusal::Staged { key }),
                        None if *missing && !is_first => {}
                        None => {
                            let (key, ordered) = self.order(purpose, suite, is_first, cx)?;
                            events.push(ordered);
                            keys.push(key);
                        }
                    }
                }
                if keys.is_empty() { Err(Refusal::NoneMissing) } else { Ok(Outcome::new(events, Reply::Keys { keys })) }
            }
            Command::Rotate { purpose, suite } => {
                let purposes: Vec<_> = match purpose {
                    Some(purpose) => vec![*purpose],
                    None => self.keys.keys().copied().filter(|purpose| self.current(*purpose).is_some()).collect(),
                };
                let (mut events, mut keys) = (Vec::new(), Vec::new());
                for purpose in purposes {
                    let usual = self.suite_to_come(purpose).ok_or(Refusal::NoKeyFor { purpose })?;
                    let suite = suite.unwrap_or(usual);
                    let (key, event) = self.succeed(purpose, suite, cx)?;
                    events.extend(event);
                    keys.push(key);
                }
                if keys.is_empty() {
                    return Err(Refusal::NoKeys);
                }
                Ok(Outcome::new(events, Reply::Keys { keys }))
            }
            Command::Revoke { since: 0, .. } => Err(Refusal::NoRecord),
            Command::Revoke { reason, .. } if reason.is_longer_than(REASON_MAX) => Err(Refusal::ReasonTooLong),
            Command::Revoke { key, since, reason } => {
                let version = self.known(*key)?;
                if version.made.is_none() {
                    return Err(Refusal::NotMade { key: *key });
                }
                if let Some(Revoked { since: before, .. }) = version.revoked.as_ref().filter(|it| it.since <= *since) {
                    return Err(Refusal::RevokedBefore { key: *key, since: *before });
                }
                let KeyId { purpose, version: number } = *key;
                let revoked = RevokedV1 {
                    purpose: purpose.tag(),
                    version: number,
                    since: *since,
                    reason: reason.clone(),
                    id: cx.command_id,
                    by,
                    at,
                };
                let (mut events, mut next) = (vec![Event::Revoked(revoked)], None);
                if version.state == State::Active {
                    // What is being made may be of another suite: it is what somebody wanted next.
                    let suite = self.next(purpose).map_or(version.suite, |(_, staged)| staged.suite);
                    // That there can be no other one keeps nobody from ending this one.
                    if let Ok((key, event)) = self.succeed(purpose, suite, cx) {
                        events.extend(event);
                        next = Some(key);
                    }
                }
                Ok(Outcome::new(events, Reply::Revoked { next }))
            }
            Command::Destroy { key } => match self.known(*key)? {
                Version { state: State::Destroyed, .. } => Ok(Outcome::already(Reply::Destroying)),
                Version { state: State::Active, .. } => Err(Refusal::InUse { key: *key }),
                Version { made: None, .. } => Err(Refusal::NotMade { key: *key }),
                Version { .. } => {
                    let KeyId { purpose, version } = *key;
                    let destroying = DestroyingV1 { purpose: purpose.tag(), version, by, at };
                    Ok(Outcome::new(vec![Event::Destroying(destroying)], Reply::Destroying))
                }
            },
            Command::Verify => {
                if let Some(id) = outstanding(self.verified.as_ref()) {
                    return Ok(Outcome::already(Reply::Verifying { id }));
                }
                let id = cx.command_id;
                Ok(Outcome::new(vec![Event::Verifying(VerifyingV1 { id, by, at })], Reply::Verifying { id }))
            }
            Command::UpdateRefs => {
                if let Some(id) = outstanding(self.updated.as_ref()) {
                    return Ok(Outcome::already(Reply::Updating { id }));
                }
                let id = cx.command_id;
                Ok(Outcome::new(vec![Event::Updating(UpdatingV1 { id, by, at })], Reply::Updating { id }))
            }
            _ if cx.principal.kin != Kin::Internal => Err(Refusal::WorkersOnly),
            Command::Made { public, .. } if PUBLIC_MAX < public.len() => Err(Refusal::TooLong),
            Command::Made { voucher: Some(Voucher { signed, .. }), .. } if SIGNATURE_MAX < signed.len() => {
                Err(Refusal::TooLong)
            }
            Command::Made { key, public, voucher } => {
                let version = self.awaited(*key)?;
                let KeyId { purpose, version: number } = *key;
                // One that was revoked meanwhile vouches for nobody.
                let active = self.active(purpose).map(|(key, _)| key.version);
                let voucher = voucher.clone().filter(|voucher| Some(voucher.by) == active);
                let (vouched_by, voucher) = voucher.map_or((0, Vec::new()), |voucher| (voucher.by, voucher.signed));
                let (purpose, public) = (purpose.tag(), public.clone());
                let made = MadeV1 { purpose, version: number, public, vouched_by, voucher, at };
                let mut events = vec![Event::Made(made)];
                if version.activates {
                    events.push(activated(*key, cx));
                }
                Ok(Outcome::new(events, Reply::Noted))
            }
            Command::Abandon { key, why } => {
                self.awaited(*key)?;
                short(why)?;
                let KeyId { purpose, version } = *key;
                let abandoned = AbandonedV1 { purpose: purpose.tag(), version, why: why.clone(), at };
                Ok(Outcome::new(vec![Event::Abandoned(abandoned)], Reply::Noted))
            }
            Command::Destroyed { key } => match self.known(*key)? {
                Version { state: State::Destroyed, destroyed_at: None, .. } => {
                    let KeyId { purpose, version } = *key;
                    let destroyed = DestroyedV1 { purpose: purpose.tag(), version, at };
                    Ok(Outcome::new(vec![Event::Destroyed(destroyed)], Reply::Noted))
                }
                Version { .. } => Err(Refusal::NotAwaited),
            },
            Command::Verified { id, tried, suspects, suspected } => {
                if outstanding(self.verified.as_ref()) != Some(*id) {
                    return Err(Refusal::NotAwaited);
                }
                let named = suspects.iter().flat_map(|Suspect { key, code, why }| [key, code, why]);
                named.into_iter().try_for_each(|text| short(text))?;
                if NAMED_MAX < suspects.len() {
                    return Err(Refusal::TooLong);
                }
                let suspects = suspects.iter().cloned().map(|Suspect { key, code, why }| SuspectV1 { key, code, why });
                let (tried, suspected) = (*tried, *suspected);
                let verified = VerifiedV1 { id: *id, tried, suspects: suspects.collect(), suspected, at };
                Ok(Outcome::new(vec![Event::Verified(verified)], Reply::Noted))
            }
            Command::Moved { id, moved, left } => {
                if outstanding(self.updated.as_ref()) != Some(*id) {
                    return Err(Refusal::NotAwaited);
                }
                let moved = MovedV1 { id: *id, moved: *moved, left: *left, at };
                Ok(Outcome::new(vec![Event::Moved(moved)], Reply::Noted))
            }
            Command::Updated { id, stuck, stuck_in_all } => {
                if outstanding(self.updated.as_ref()) != Some(*id) {
                    return Err(Refusal::NotAwaited);
                }
                stuck.iter().try_for_each(|text| short(text))?;
                if NAMED_MAX < stuck.len() {
                    return Err(Refusal::TooLong);
                }
                let updated = UpdatedV1 { id: *id, stuck: stuck.clone(), stuck_in_all: *stuck_in_all, at };
                Ok(Outcome::new(vec![Event::Updated(updated)], Reply::Noted))
            }
            Command::Rooted { root } if self.root.as_ref() == Some(root) => Ok(Outcome::already(Reply::Noted)),
            Command::Rooted { root } => {
                short(root)?;
                Ok(Outcome::new(vec![Event::Rooted(RootedV1 { root: root.clone(), at })], Reply::Noted))
            }
        }
    }

    fn evolve(&mut self, event: &Event, _at: Position) {
        match event.clone() {
            Event::Ordered(OrderedV1 { purpose, version, id, suite, activates, by, at }) => {
                let versions = self.keys.entry(Purpose::tagged(purpose)).or_default();
                assert_eq!(versions.len() + 1, version as usize, "a version is one key for ever");
                versions.push(Version {
                    id,
                    suite,
                    state: State::PreActive,
                    by: recorded(&by),
                    asked_at: at,
                    activates,
                    made: None,
                    activated_at: None,
                    ended_at: None,
                    revoked: None,
                    abandoned: None,
                    destroyed_at: None,
                });
            }
            Event::Hastened(HastenedV1 { purpose, version, .. }) => self.at(purpose, version).activates = true,
            Event::Made(MadeV1 { purpose, version, public, vouched_by, voucher, at }) => {
                let voucher = (vouched_by != 0).then_some(Voucher { by: vouched_by, signed: voucher });
                let made = self.at(purpose, version).made.replace(Made { public, voucher, at });
                assert_eq!(made, None, "a key is made once");
            }
            Event::Abandoned(AbandonedV1 { purpose, version, why, at }) => {
                let version = self.at(purpose, version);
                assert_eq!(version.made, None, "what is made is not abandoned");
                version.state = State::Destroyed;
                version.abandoned = Some(why);
                version.destroyed_at = Some(at);
            }
            Event::Activated(ActivatedV1 { purpose, version, at }) => {
                let before = self.keys.entry(Purpose::tagged(purpose)).or_default();
                for before in before.iter_mut().filter(|version| version.state == State::Active) {
                    before.state = State::VerifyOnly;
                    before.ended_at = Some(at);
                }
                let version = self.at(purpose, version);
                assert_eq!(version.state, State::PreActive, "what has ended signs no more");
                assert!(version.made.is_some(), "only what is made signs");
                version.state = State::Active;
                version.activated_at = Some(at);
            }
            Event::Revoked(RevokedV1 { purpose, version, since, reason, id, by, at }) => {
                let version = self.at(purpose, version);
                if version.state != State::Destroyed {
                    version.state = State::Revoked;
                }
                version.ended_at.get_or_insert(at);
                let revoked = Revoked { since, reason, id, by: recorded(&by), at };
                let before = version.revoked.replace(revoked);
                assert!(before.is_none_or(|before| since < before.since), "no signature counts again");
            }
            Event::Destroying(DestroyingV1 { purpose, version, .. }) => {
                let version = self.at(purpose, version);
                assert_ne!(version.state, State::Active, "what is in use is not destroyed");
                version.state = State::Destroyed;
            }
            Event::Destroyed(DestroyedV1 { purpose, version, at }) => {
                let version = self.at(purpose, version);
                assert_eq!(version.state, State::Destroyed, "it was asked for");
                version.destroyed_at = Some(at);
            }
            Event::Verifying(VerifyingV1 { id, by, at }) => self.verified = Some(round(id, &by, at)),
            Event::Verified(VerifiedV1 { id, tried, suspects, suspected, at }) => {
                let found = suspects.into_iter().map(|SuspectV1 { key, code, why }| Suspect { key, code, why });
                let round = begun(&mut self.verified, id);
                *round = Round {
                    done_at: Some(at),
                    done: tried,
                    found: found.collect(),
                    found_in_all: suspected,
                    ..round.clone()
                };
            }
            Event::Updating(UpdatingV1 { id, by, at }) => self.updated = Some(round(id, &by, at)),
            Event::Moved(MovedV1 { id, moved, left, .. }) => {
                let round = begun(&mut self.updated, id);
                round.done += moved;
                round.left = left;
            }
            Event::Updated(UpdatedV1 { id, stuck, stuck_in_all, at }) => {
                let found = stuck.into_iter().map(|key| Suspect { key, code: String::new(), why: String::new() });
                let round = begun(&mut self.updated, id);
                *round = Round {
                    done_at: Some(at),
                    left: 0,
                    found: found.collect(),
                    found_in_all: stuck_in_all,
                    ..round.clone()
                };
            }
            Event::Rooted(RootedV1 { root, .. }) => self.root = Some(root),
        }
    }
}

/// What is decided.
impl Crypto {
    /// The key after the one in use comes into use: the one that was made for it now, another once it is made.
    fn succeed(&self, purpose: Purpose, suite: u16, cx: &Context) -> Result<(KeyId, Option<Event>), Refusal> {
        match self.next(purpose) {
            Some((key, staged)) if staged.suite != suite => Err(Refusal::OtherSuite { key }),
            Some((key, Version { made: Some(_), .. })) => Ok((key, Some(activated(key, cx)))),
            Some((key, Version { activates: true, .. })) => Ok((key, None)),
            Some((key, _)) => {
                let (by, at) = (cx.principal.to_string(), cx.now);
                let hastened = HastenedV1 { purpose: purpose.tag(), version: key.version, by, at };
                Ok((key, Some(Event::Hastened(hastened))))
            }
            None => self.order(purpose, suite, true, cx).map(|(key, ordered)| (key, Some(ordered))),
        }
    }

    fn order(&self, purpose: Purpose, suite: u16, activates: bool, cx: &Context) -> Result<(KeyId, Event), Refusal> {
        let so_many = self.keys.get(&purpose).map_or(0, Vec::len);
        let version = u32::try_from(so_many).ok().filter(|so_many| *so_many < VERSIONS_MAX);
        let version = version.ok_or(Refusal::TooMany { purpose })? + 1;
        let (by, at, id) = (cx.principal.to_string(), cx.now, cx.command_id);
        let ordered = OrderedV1 { purpose: purpose.tag(), version, id, suite, activates, by, at };
        Ok((purpose.key(version), Event::Ordered(ordered)))
    }

    /// The one that is to be in use after the one that is: being made, or made.
    fn next(&self, purpose: Purpose) -> Option<(KeyId, &Version)> {
        self.of(purpose).find(|(_, version)| version.state == State::PreActive)
    }

    /// The one in use, or else the last that was or is to be.
    fn current(&self, purpose: Purpose) -> Option<&Version> {
        let last = || self.of(purpose).rev().map(|(_, version)| version).find(|version| version.abandoned.is_none());
        self.active(purpose).map(|(_, version)| version).or_else(last)
    }

    fn known(&self, key: KeyId) -> Result<&Version, Refusal> {
        self.show(key).ok_or(Refusal::NoKey { key })
    }

    fn awaited(&self, key: KeyId) -> Result<&Version, Refusal> {
        let version = self.known(key)?;
        let is_awaited = version.state == State::PreActive && version.made.is_none();
        if is_awaited { Ok(version) } else { Err(Refusal::NotAwaited) }
    }

    fn at(&mut self, purpose: u8, version: u32) -> &mut Version {
        let versions = self.keys.get_mut(&Purpose::tagged(purpose));
        versions
            .and_then(|versions| versions.get_mut(version as usize - 1))
            .expect("only what was asked for comes about")
    }
}

/// What is shown.
impl Crypto {
    /// All of them, by purpose and version.
    pub fn keys(&self) -> impl Iterator<Item = (KeyId, &Version)> {
        self.keys.keys().flat_map(|purpose| self.of(*purpose))
    }

    /// Those for a purpose, by version.
    pub fn of(&self, purpose: Purpose) -> impl DoubleEndedIterator<Item = (KeyId, &Version)> {
        let versions = self.keys.get(&purpose).map_or(&[][..], Vec::as_slice).iter().enumerate();
        let number = |at: usize| u32::try_from(at + 1).expect("bounded by VERSIONS_MAX");
        versions.map(move |(at, version)| (purpose.key(number(at)), version))
    }

    pub fn show(&self, key: KeyId) -> Option<&Version> {
        let at = usize::try_from(key.version).ok()?.checked_sub(1)?;
        self.keys.get(&key.purpose)?.get(at)
    }

    /// The one key that signs for a purpose.
    pub fn active(&self, purpose: Purpose) -> Option<(KeyId, &Version)> {
        let versions = self.keys.get(&purpose)?;
        let at = versions.iter().rposition(|version| version.state == State::Active)?;
        Some((purpose.key(u32::try_from(at + 1).expect("bounded by VERSIONS_MAX")), &versions[at]))
    }

    /// Of which suite the key after the one in use will be, unless another is named; none without one to follow.
    pub fn suite_to_come(&self, purpose: Purpose) -> Option<u16> {
        let current = self.current(purpose)?;
        // Of the next one, if somebody had that made.
        Some(self.next(purpose).map_or(current.suite, |(_, next)| next.suite))
    }

    /// What a signature comes to that a key made and a record has.
    pub fn judge(&self, key: KeyId, record: u64) -> Verdict {
        match self.show(key) {
            Some(Version { activated_at: Some(_), revoked, .. }) => match revoked {
                Some(Revoked { since, .. }) if *since <= record => Verdict::RevokedSince(*since),
                _ => Verdict::Counts,
            },
            Some(Version { activated_at: None, .. }) | None => Verdict::NeverSigned,
        }
    }

    /// What is to be done: keys first, as somebody waits to sign.
    pub fn tasks(&self) -> impl Iterator<Item = Task> {
        let task = |(key, version): (KeyId, &Version)| match version {
            Version { state: State::PreActive, made: None, id, suite, .. } => {
                Some(Task::Make { key, id: *id, suite: *suite })
            }
            Version { state: State::Destroyed, destroyed_at: None, id, .. } => Some(Task::Destroy { key, id: *id }),
            Version { .. } => None,
        };
        let update = outstanding(self.updated.as_ref()).map(|id| Task::UpdateRefs { id });
        let verify = outstanding(self.verified.as_ref()).map(|id| Task::Verify { id });
        self.keys().filter_map(task).chain(update).chain(verify)
    }

    /// The last round in which each key was tried.
    pub fn verified(&self) -> Option<&Round> {
        self.verified.as_ref()
    }

    /// The last round in which each key was wrapped under the root key in use.
    pub fn updated(&self) -> Option<&Round> {
        self.updated.as_ref()
    }

    /// The root key that was in use last, as the keystore names it.
    pub fn root(&self) -> Option<&str> {
        self.root.as_deref()
    }
}

fn activated(key: KeyId, cx: &Context) -> Event {
    Event::Activated(ActivatedV1 { purpose: key.purpose.tag(), version: key.version, at: cx.now })
}

fn outstanding(round: Option<&Round>) -> Option<CommandId> {
    round.filter(|round| round.done_at.is_none()).map(|round| round.id)
}

fn round(id: CommandId, by: &str, at: kernel::Timestamp) -> Round {
    let found = Vec::new();
    Round { id, by: recorded(by), asked_at: at, done_at: None, done: 0, left: 0, found, found_in_all: 0 }
}

fn begun(round: &mut Option<Round>, id: CommandId) -> &mut Round {
    let round = round.as_mut().expect("only what was asked for is done");
    assert_eq!(round.id, id, "one round at a time");
    round
}

/// What the key in use signs of the one that is to follow it.
pub fn succession(key: KeyId, suite: u16, public: &[u8]) -> Vec<u8> {
    let mut text = alloc::format!("sop key succession 1\n{key}\n{suite:#06x}\n").into_bytes();
    text.extend(public);
    text
}

/// The beginning of a text, in [`TEXT_MAX`] bytes.
pub fn clipped(text: &str) -> String {
    let mut end = text.len().min(TEXT_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

fn short(text: &str) -> Result<(), Refusal> {
    if text.len() <= TEXT_MAX { Ok(()) } else { Err(Refusal::TooLong) }
}

fn recorded(principal: &str) -> Principal {
    principal.parse().expect("a recorded principal was one when it was recorded")
}
