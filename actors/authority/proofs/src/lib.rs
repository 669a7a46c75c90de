//! Proofs: which there are, how each is checked, and the receipts of what was checked, each good for one use.
//!
//! A pure [`Machine`]. That something must be proven stands in policy, and nowhere else; here stands what a proof of that name
//! is ([`Verifier`]), and what came of checking evidence, which others do outside. A receipt is bound to a [`Goal`]: to who
//! asks, to exactly what would be done, and to what the thing it would be done to was at that time. It is spent on a command
//! id before the effect is tried, and given back if there will be none. Validity is decided by the time of the command: what
//! the clock takes away was good for nothing by then.
//!
//! # Invariants
//! 1. A receipt is of evidence that was checked by the declaration in force when it came in, and good for nothing once that is
//!    another.
//! 2. One receipt, at most one command id at a time: it is spent on no second one unless the first gave it back.
//! 3. It is spent by its asker only, for the content that was proven, on a target that has not changed, before it expires.
//! 4. Only the door receives, spends and gives back; several receipts are spent together or not at all.
//! 5. Numbers of receipts and of declarations count from 1 without a gap, and none names two things.

#![no_std]

extern crate alloc;

mod goal;
pub mod records;
mod vocabulary;

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use kernel::{CommandId, Context, Digest, Kin, Machine, Outcome, Position, Principal, Timestamp};
use serde::{Deserialize, Serialize};

pub use goal::{Goal, line};
use records::{DeclaredV1, FileV1, ForgottenV1, ReceivedV1, ReleasedV1, SpentV1, WithdrawnV1};
pub use vocabulary::*;

/// Most facts of one [`Command::Forget`]: the clock asks again while something is due.
const FORGET_MAX: usize = 256;

/// Every proof that there is, and the receipts that may still matter to somebody.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proofs {
    verifiers: BTreeMap<String, Declared>,
    /// How often one was declared.
    revisions: u64,
    receipts: BTreeMap<u64, Entry>,
    /// How many there ever were.
    received: u64,
    by_content: BTreeMap<Digest, BTreeSet<u64>>,
    unspent: BTreeMap<Principal, BTreeSet<u64>>,
    /// The commands on which receipts are spent, with the receipts.
    held: BTreeSet<(CommandId, u64)>,
    /// In the order in which the clock takes them away.
    forgetting: BTreeSet<(Timestamp, u64)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    check: CommandId,
    asker: Principal,
    checked: Checked,
    at: Timestamp,
    kept_until: Timestamp,
    spent: Option<Spent>,
}

impl Machine for Proofs {
    const NAME: &'static str = "proofs";
    const REVISION: u32 = 1;

    type Command = Command;
    type Event = Event;
    type Reply = Reply;
    type Refusal = Refusal;

    fn decide(&self, command: &Command, cx: &Context) -> Result<Outcome<Self>, Refusal> {
        match command {
            Command::Declare { name, verifier } => self.declare(name, verifier, cx),
            Command::Withdraw { name } => {
                self.declared(name)?;
                let body = WithdrawnV1 { name: name.clone(), by: cx.principal.to_string(), at: cx.now };
                Ok(Outcome::new(vec![Event::Withdrawn(body)], Reply::Withdrawn))
            }
            Command::Receive(checked) => self.receive(checked, cx),
            Command::Spend(_) | Command::Release { .. } if cx.principal.kin != Kin::Internal => Err(Refusal::DoorOnly),
            Command::Spend(spend) => self.spend(spend, cx.now),
            Command::Release { command } => {
                let give_back = |number| Event::Released(ReleasedV1 { number, command: *command });
                let facts: Vec<_> = self.held_by(*command).map(give_back).collect();
                let reply = Reply::Released { receipts: facts.len() as u64 };
                Ok(Outcome::new(facts, reply))
            }
            Command::Forget => {
                let due = self.forgetting.iter().take_while(|(until, _)| *until <= cx.now).take(FORGET_MAX);
                let facts: Vec<_> = due.map(|&(_, number)| Event::Forgotten(ForgottenV1 { number })).collect();
                let reply = Reply::Forgotten { receipts: facts.len() as u64 };
                Ok(Outcome::new(facts, reply))
            }
        }
    }

    fn evolve(&mut self, event: &Event, _at: Position) {
        match event {
            Event::Declared(body) => {
                self.revisions += 1;
                assert_eq!(body.revision, self.revisions, "declarations are numbered without a gap");
                let (by, verifier) = (recorded(&body.by), verifier_of(body));
                let declared = Declared { revision: body.revision, verifier, by, at: body.at };
                self.verifiers.insert(body.name.clone(), declared);
            }
            Event::Withdrawn(WithdrawnV1 { name, .. }) => {
                let gone = self.verifiers.remove(name);
                assert!(gone.is_some(), "only what was declared is withdrawn");
            }
            Event::Received(body) => {
                let number = body.number;
                self.received += 1;
                assert_eq!(number, self.received, "receipts are numbered without a gap");
                let entry = Entry::new(body);
                self.by_content.entry(body.content).or_default().insert(number);
                self.unspent.entry(entry.asker.clone()).or_default().insert(number);
                self.forgetting.insert((entry.kept_until, number));
                self.receipts.insert(number, entry);
            }
            Event::Spent(SpentV1 { number, command, at }) => {
                let entry = self.receipts.get_mut(number).expect("only a receipt that there is is spent");
                let earlier = entry.spent.replace(Spent { command: *command, at: *at });
                assert_eq!(earlier, None, "receipt {number} was spent twice");
                take(&mut self.unspent, &entry.asker, *number);
                self.held.insert((*command, *number));
            }
            Event::Released(ReleasedV1 { number, command }) => {
                let entry = self.receipts.get_mut(number).expect("only a receipt that there is is given back");
                let held = entry.spent.take().map(|spent| spent.command);
                assert_eq!(held, Some(*command), "only who holds a receipt gives it back");
                self.unspent.entry(entry.asker.clone()).or_default().insert(*number);
                self.held.remove(&(*command, *number));
            }
            Event::Forgotten(ForgottenV1 { number }) => {
                let entry = self.receipts.remove(number).expect("a receipt is forgotten once");
                take(&mut self.by_content, &entry.checked.content, *number);
                take(&mut self.unspent, &entry.asker, *number);
                self.forgetting.remove(&(entry.kept_until, *number));
                if let Some(spent) = entry.spent {
                    self.held.remove(&(spent.command, *number));
                }
            }
        }
    }

    fn deadline(&self) -> Option<Timestamp> {
        self.forgetting.first().map(|(at, _)| *at)
    }

    fn due(&self, now: Timestamp) -> Option<Command> {
        self.deadline().filter(|deadline| *deadline <= now).map(|_| Command::Forget)
    }
}

/// What is answered.
impl Proofs {
    fn declare(&self, name: &str, verifier: &Verifier, cx: &Context) -> Result<Outcome<Self>, Refusal> {
        if !is_name(name) {
            return Err(Refusal::Name);
        }
        check(verifier)?;
        match self.verifiers.get(name) {
            Some(declared) if declared.verifier == *verifier => {
                return Ok(Outcome::already(Reply::Declared { revision: declared.revision }));
            }
            None if VERIFIERS_MAX <= self.verifiers.len() => return Err(Refusal::TooManyVerifiers),
            Some(_) | None => {}
        }
        let revision = self.revisions + 1;
        let body = written(revision, name, verifier, cx);
        Ok(Outcome::new(vec![Event::Declared(Box::new(body))], Reply::Declared { revision }))
    }

    fn receive(&self, checked: &Checked, cx: &Context) -> Result<Outcome<Self>, Refusal> {
        bounded("the action's name", checked.action.len(), ACTION_MAX)?;
        bounded("the resource", checked.resource.len(), RESOURCE_MAX)?;
        bounded("the receipt", checked.note.len(), NOTE_MAX)?;
        if self.declared(&checked.proof)?.revision != checked.revision {
            return Err(Refusal::VerifierChanged);
        }
        if checked.expires_at <= cx.now || cx.now + LIFETIME_MAX < checked.expires_at {
            return Err(Refusal::LifetimeOutOfRange);
        }
        let unspent = self.unspent.get(&cx.principal).into_iter().flatten();
        if LIVE_MAX <= unspent.filter(|number| cx.now < self.receipts[*number].checked.expires_at).count() {
            return Err(Refusal::TooMany);
        }
        let number = self.received + 1;
        let Checked { proof, revision, action, resource, content, target, goal, evidence, expires_at, note } =
            checked.clone();
        let body = ReceivedV1 {
            number,
            check: cx.command_id,
            asker: cx.principal.to_string(),
            proof,
            revision,
            action,
            resource,
            content,
            target,
            goal,
            evidence,
            note,
            at: cx.now,
            expires_at,
            kept_until: expires_at + KEPT,
        };
        Ok(Outcome::new(vec![Event::Received(Box::new(body))], Reply::Received { receipt: number, expires_at }))
    }

    fn spend(&self, spend: &Spend, now: Timestamp) -> Result<Outcome<Self>, Refusal> {
        let mut facts = Vec::new();
        for &number in &spend.receipts {
            let entry = self.receipts.get(&number).ok_or(Refusal::Unknown)?;
            let held = entry.spent.is_some_and(|spent| spent.command == spend.command);
            if entry.asker != spend.asker {
                return Err(Refusal::NotYours);
            }
            if entry.checked.content != spend.content || !entry.is_about(&spend.action, &spend.resource) {
                return Err(Refusal::OtherContent);
            }
            if let Some(spent) = entry.spent.filter(|_| !held) {
                return Err(Refusal::Used { command: spent.command });
            }
            // What was spent in time is nothing for an effect that comes later.
            if entry.checked.expires_at <= now {
                return Err(Refusal::Expired { at: entry.checked.expires_at });
            }
            if self.is_void(entry) {
                return Err(Refusal::VerifierChanged);
            }
            if entry.checked.target != spend.target {
                return Err(Refusal::Stale);
            }
            if !held {
                facts.push(Event::Spent(SpentV1 { number, command: spend.command, at: now }));
            }
        }
        Ok(Outcome::new(facts, Reply::Spent))
    }
}

/// What is known.
impl Proofs {
    /// In the order of their names.
    pub fn verifiers(&self) -> impl Iterator<Item = (&str, &Declared)> {
        self.verifiers.iter().map(|(name, declared)| (name.as_str(), declared))
    }

    /// How the proof of this name is checked.
    ///
    /// # Errors
    /// [`Refusal::UnknownVerifier`].
    pub fn declared(&self, name: &str) -> Result<&Declared, Refusal> {
        let unknown = || Refusal::UnknownVerifier { name: name.chars().take(NAME_MAX).collect() };
        self.verifiers.get(name).ok_or_else(unknown)
    }

    pub fn show(&self, number: u64, now: Timestamp) -> Option<Receipt> {
        self.receipts.get(&number).map(|entry| self.shown(number, entry, now))
    }

    /// In the order of their numbers.
    pub fn list<'a>(&'a self, filter: &'a Filter, now: Timestamp) -> impl Iterator<Item = Receipt> + 'a {
        let all = self.receipts.iter().map(move |(number, entry)| self.shown(*number, entry, now));
        all.filter(move |receipt| {
            filter.asker.as_ref().is_none_or(|asker| receipt.asker == *asker)
                && filter.proof.as_ref().is_none_or(|proof| receipt.checked.proof == *proof)
                && filter.action.as_ref().is_none_or(|action| receipt.checked.action == *action)
                && filter.state.is_none_or(|state| receipt.state == state)
        })
    }

    /// How many can be spent.
    pub fn live(&self, now: Timestamp) -> usize {
        let unspent = self.unspent.values().flatten().map(|number| &self.receipts[number]);
        unspent.filter(|entry| self.state(entry, now) == State::Live).count()
    }

    /// The receipt of a proof for exactly this: what is spent on the command already, else the newest that can be spent on a
    /// target like this, else the newest, whatever became of it.
    pub fn find(&self, proof: &str, spend: &Spend, now: Timestamp) -> Option<Receipt> {
        let numbers = self.by_content.get(&spend.content)?.iter().rev();
        let fits = |entry: &Entry| {
            entry.asker == spend.asker && entry.checked.proof == proof && entry.is_about(&spend.action, &spend.resource)
        };
        let found = numbers.map(|number| (*number, &self.receipts[number])).filter(|(_, entry)| fits(entry));
        let found: Vec<_> = found.map(|(number, entry)| self.shown(number, entry, now)).collect();
        let held = found.iter().find(|receipt| receipt.is_held_by(spend.command));
        let good = |receipt: &&Receipt| receipt.state == State::Live && receipt.checked.target == spend.target;
        held.or_else(|| found.iter().find(good)).or(found.first()).cloned()
    }

    /// The newest receipt of a proof by `asker` for the same action on the same resource that can be spent, whatever was said.
    pub fn akin(
        &self,
        proof: &str,
        asker: &Principal,
        (action, resource): (&str, &str),
        now: Timestamp,
    ) -> Option<Receipt> {
        let mut unspent = self.unspent.get(asker)?.iter().rev().map(|number| (*number, &self.receipts[number]));
        let fits = |entry: &Entry| entry.checked.proof == proof && entry.is_about(action, resource);
        let (number, entry) = unspent.find(|(_, entry)| fits(entry) && self.state(entry, now) == State::Live)?;
        Some(self.shown(number, entry, now))
    }

    /// The names of all proofs that there are receipts of for exactly this.
    pub fn proven(&self, spend: &Spend) -> BTreeSet<String> {
        let numbers = self.by_content.get(&spend.content).into_iter().flatten();
        let found = numbers.map(|number| &self.receipts[number]);
        let exactly =
            found.filter(|entry| entry.asker == spend.asker && entry.is_about(&spend.action, &spend.resource));
        exactly.map(|entry| entry.checked.proof.clone()).collect()
    }

    /// The receipt of a proof that is spent on this command.
    pub fn held(&self, command: CommandId, proof: &str, now: Timestamp) -> Option<Receipt> {
        let mut held = self.held_by(command).filter_map(|number| self.show(number, now));
        held.find(|receipt| receipt.checked.proof == proof)
    }

    /// Who proved something for this command, if receipts are spent on it.
    pub fn holder(&self, command: CommandId) -> Option<&Principal> {
        let number = self.held_by(command).next()?;
        Some(&self.receipts[&number].asker)
    }

    fn held_by(&self, command: CommandId) -> impl Iterator<Item = u64> {
        self.held.range((command, 0)..=(command, u64::MAX)).map(|(_, number)| *number)
    }

    fn is_void(&self, entry: &Entry) -> bool {
        self.verifiers.get(&entry.checked.proof).map(|declared| declared.revision) != Some(entry.checked.revision)
    }

    fn state(&self, entry: &Entry, now: Timestamp) -> State {
        if entry.spent.is_some() {
            State::Spent
        } else if entry.checked.expires_at <= now {
            State::Expired
        } else if self.is_void(entry) {
            State::Void
        } else {
            State::Live
        }
    }

    fn shown(&self, number: u64, entry: &Entry, now: Timestamp) -> Receipt {
        Receipt {
            number,
            check: entry.check,
            asker: entry.asker.clone(),
            checked: entry.checked.clone(),
            at: entry.at,
            state: self.state(entry, now),
            spent: entry.spent,
        }
    }
}

impl Receipt {
    /// The text that the authority signs: what the receipt is for, a line each. One empty line in it would end a signed note.
    pub fn text(&self) -> String {
        signed_text(self.check, &self.asker, &self.checked)
    }
}

/// What the authority signs of a check, before there is a receipt.
pub fn signed_text(check: CommandId, asker: &Principal, checked: &Checked) -> String {
    let Checked { goal, revision, evidence, expires_at, .. } = checked;
    let lines = goal_of(asker, checked).lines();
    let expires_at = expires_at.0;
    format!("{lines}goal {goal}\nverifier {revision}\nevidence {evidence}\ncheck {check}\nexpires {expires_at}\n")
}

/// What was proven.
pub fn goal_of(asker: &Principal, checked: &Checked) -> Goal {
    Goal {
        proof: checked.proof.clone(),
        principal: asker.clone(),
        action: checked.action.clone(),
        resource: checked.resource.clone(),
        content: checked.content,
        target: checked.target,
    }
}

impl Entry {
    fn new(body: &ReceivedV1) -> Self {
        let body = body.clone();
        Self {
            check: body.check,
            asker: recorded(&body.asker),
            checked: Checked {
                proof: body.proof,
                revision: body.revision,
                action: body.action,
                resource: body.resource,
                content: body.content,
                target: body.target,
                goal: body.goal,
                evidence: body.evidence,
                expires_at: body.expires_at,
                note: body.note,
            },
            at: body.at,
            kept_until: body.kept_until,
            spent: None,
        }
    }

    fn is_about(&self, action: &str, resource: &str) -> bool {
        self.checked.action == action && self.checked.resource == resource
    }
}

fn take<K: Ord>(index: &mut BTreeMap<K, BTreeSet<u64>>, key: &K, number: u64) {
    if let Some(numbers) = index.get_mut(key) {
        numbers.remove(&number);
        if numbers.is_empty() {
            index.remove(key);
        }
    }
}

fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-');
    !name.is_empty() && name.len() <= NAME_MAX && name.chars().all(plain)
}

fn bounded(what: &str, length: usize, max: usize) -> Result<(), Refusal> {
    if length <= max {
        return Ok(());
    }
    Err(Refusal::TooLong { what: what.to_owned(), max: u32::try_from(max).unwrap_or(u32::MAX) })
}

fn there(what: &str, text: &str, max: usize) -> Result<(), Refusal> {
    if text.is_empty() { Err(Refusal::Empty { what: what.to_owned() }) } else { bounded(what, text.len(), max) }
}

fn check(verifier: &Verifier) -> Result<(), Refusal> {
    match verifier {
        Verifier::Digest { expected: Expected::Pinned(_), .. } => Ok(()),
        Verifier::Digest { expected: Expected::Argument(name), .. } => there("the argument", name, ARGUMENT_MAX),
        Verifier::Manifest { files } => {
            if files.is_empty() {
                return Err(Refusal::Empty { what: "the manifest".to_owned() });
            }
            files.keys().try_for_each(|path| there("a path", path, PATH_MAX))?;
            bounded("the manifest", files.keys().map(|path| path.len() + 40).sum(), MANIFEST_MAX)
        }
        Verifier::Signature { root } => there("the root", root, KEY_MAX),
        Verifier::PolicyTrace { action, .. } => there("the action", action, ACTION_MAX),
        Verifier::External { url, key, timeout, .. } => {
            there("the address", url, URL_MAX)?;
            there("the prover's key", key, KEY_MAX)?;
            if timeout.0 == 0 || TIMEOUT_MAX < *timeout {
                return Err(Refusal::TimeoutOutOfRange { asked: *timeout });
            }
            Ok(())
        }
    }
}

fn written(revision: u64, name: &str, verifier: &Verifier, cx: &Context) -> DeclaredV1 {
    let mut body = DeclaredV1 {
        revision,
        name: name.to_owned(),
        verifier: 0,
        algorithm: None,
        digest: None,
        argument: None,
        files: Vec::new(),
        key: None,
        action: None,
        within: None,
        url: None,
        timeout: None,
        by: cx.principal.to_string(),
        at: cx.now,
    };
    match verifier.clone() {
        Verifier::Digest { algorithm, expected } => {
            body.verifier = 1;
            body.algorithm = Some(match algorithm {
                Algorithm::Sha256 => 1,
                Algorithm::Blake3 => 2,
            });
            match expected {
                Expected::Pinned(digest) => body.digest = Some(digest),
                Expected::Argument(argument) => body.argument = Some(argument),
            }
        }
        Verifier::Manifest { files } => {
            body.verifier = 2;
            body.files = files.into_iter().map(|(path, sha256)| FileV1 { path, sha256 }).collect();
        }
        Verifier::Signature { root } => (body.verifier, body.key) = (3, Some(root)),
        Verifier::PolicyTrace { action, within } => {
            (body.verifier, body.action, body.within) = (4, Some(action), within);
        }
        Verifier::External { url, kernel, key, timeout } => {
            (body.verifier, body.digest, body.key) = (5, Some(kernel), Some(key));
            (body.url, body.timeout) = (Some(url), Some(timeout));
        }
    }
    body
}

fn verifier_of(body: &DeclaredV1) -> Verifier {
    let read = || {
        let body = body.clone();
        Some(match body.verifier {
            1 => Verifier::Digest {
                algorithm: match body.algorithm? {
                    1 => Algorithm::Sha256,
                    2 => Algorithm::Blake3,
                    _ => return None,
                },
                expected: match (body.digest, body.argument) {
                    (Some(digest), None) => Expected::Pinned(digest),
                    (None, Some(argument)) => Expected::Argument(argument),
                    _ => return None,
                },
            },
            2 => Verifier::Manifest { files: body.files.into_iter().map(|file| (file.path, file.sha256)).collect() },
            3 => Verifier::Signature { root: body.key? },
            4 => Verifier::PolicyTrace { action: body.action?, within: body.within },
            5 => Verifier::External { url: body.url?, kernel: body.digest?, key: body.key?, timeout: body.timeout? },
            _ => return None,
        })
    };
    read().expect("a recorded verifier was one when it was recorded")
}

fn recorded(principal: &str) -> Principal {
    principal.parse().expect("a recorded principal was one when it was recorded")
}
