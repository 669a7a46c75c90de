//! Looks at each record once, in order, and reports what the detectors find in it; and reports what the door tells, which
//! is in no record.
//!
//! # Invariants
//! 1. The machine says up to which record all was looked at, in the record of the finding itself: a kill between two findings
//!    loses none and doubles none.
//! 2. After a start the detectors see again what was there as long before as a finding can have its reason, so that they find
//!    what they would have found without it.
//! 3. What waits to be told is bounded ([`Told`]).

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use host::{Clock, Error, Handle, Order, OwnedTask};
use journal::Journal;
use journal::envelope::Record;
use journal::reader::{Bounds, Reader};
use journal::store::StoreError;
use kernel::{CommandId, Decision, Principal, Refuse as _, Sequence};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use security::detect::{Detectors, Rules, Seen};
use security::{Command, FINDINGS_MAX, Finding, Kind, OTHERS, Security};
use supervisors::{Child, ChildRef};
use tokio::sync::watch;

use crate::wake::{Timer, Wake, Waker};

/// Waits before asking again who is down or has no room.
const AGAIN_AFTER: Duration = Duration::from_millis(200);
/// Between two looks, so that many records are looked at in one.
const REST: Duration = Duration::from_millis(10);
const PAGE: Bounds = Bounds { records: 256, bytes: 1 << 20 };
/// That so many records show nothing is on record, too, so that a start need not look at them again.
const LOOKED_EVERY: u64 = 8_192;
/// A start looks back at most so many records.
const LOOKBACK_MAX: u64 = 65_536;
/// Kinds and subjects that wait to be told; what is more is told of all others together.
const TOLD_MAX: usize = 256;

/// What waits to be told.
#[derive(Debug, Default)]
pub struct Told {
    waiting: Mutex<Waiting>,
    calls: watch::Sender<()>,
    /// All records up to here were looked at, and what was found in them is on record.
    looked: watch::Sender<Sequence>,
}

#[derive(Debug, Default)]
struct Waiting {
    findings: BTreeMap<(Kind, String), Finding>,
    /// What is being told. Kept until it is answered, so that the next incarnation tells it under the same id.
    underway: Option<(CommandId, Vec<Finding>)>,
}

impl Told {
    /// Does not wait.
    pub fn tell(&self, mut finding: Finding) {
        {
            let waiting = &mut self.lock().findings;
            let key = (finding.kind, finding.subject.clone());
            if TOLD_MAX <= waiting.len() && !waiting.contains_key(&key) {
                OTHERS.clone_into(&mut finding.subject);
            }
            let key = (finding.kind, finding.subject.clone());
            match waiting.get_mut(&key) {
                Some(known) => {
                    known.count += finding.count;
                    known.detail = finding.detail;
                    known.last_at = known.last_at.max(finding.last_at);
                }
                None => drop(waiting.insert(key, finding)),
            }
        }
        self.calls.send_replace(());
    }

    /// Waits until all up to a record was looked at, and all that was told is on record.
    pub async fn settled(&self, upto: Sequence) {
        let done = |looked: &Sequence| {
            let Waiting { findings, underway } = &*self.lock();
            upto <= *looked && findings.is_empty() && underway.is_none()
        };
        // The sender is here.
        drop(self.looked.subscribe().wait_for(done).await);
    }

    /// What is to be told next, under that id for as long as it is not answered.
    fn next(&self, clock: &Clock) -> Option<(CommandId, Vec<Finding>)> {
        let Waiting { findings, underway } = &mut *self.lock();
        if underway.is_none() && !findings.is_empty() {
            let next = std::iter::from_fn(|| findings.pop_first().map(|(_, finding)| finding));
            *underway = Some((clock.command_id(), next.take(FINDINGS_MAX).collect()));
        }
        underway.clone()
    }

    fn answered(&self) {
        self.lock().underway = None;
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the detector works with.
#[derive(Clone)]
pub struct Detector {
    pub security: Handle<Security>,
    pub journal: Journal,
    pub clock: Clock,
    pub rules: Rules,
    /// What a record means.
    pub seen: fn(&Record) -> Vec<Seen>,
    pub told: Arc<Told>,
}

impl Detector {
    /// The child to put into the tree.
    pub fn child(self) -> Child {
        let reference = ChildRef::new("detector");
        Child::actor::<Detecting, _>(&reference, move || (Detecting, self.clone()))
    }

    async fn ask(&self, id: CommandId, command: Command, cause: Option<Sequence>) -> Result<(), Error> {
        let order = Order {
            command,
            command_id: id,
            principal: Principal::internal("detector"),
            decision: Decision::default(),
            cause,
            asked: None,
        };
        if let Err(refusal) = self.security.execute(order).await?.outcome {
            tracing::warn!(code = refusal.code(), "security refused: {refusal}");
        }
        Ok(())
    }

    /// The record before the first one that a finding after `looked` can have its reason in.
    fn lookback(&self, looked: Sequence) -> Result<Sequence, StoreError> {
        const CHUNK: u64 = 256;
        let last = self.journal.read(looked, 1)?.first().map(|record| record.time);
        let Some(last) = last.filter(|_| looked.0 != 0) else { return Ok(Sequence(0)) };
        let (since, mut from) = (last.0.saturating_sub(self.rules.lookback().0), looked.0);
        let earliest = looked.0.saturating_sub(LOOKBACK_MAX).max(1);
        while earliest < from {
            from = from.saturating_sub(CHUNK).max(earliest);
            if self.journal.read(Sequence(from), 1)?.first().is_some_and(|record| record.time.0 < since) {
                break;
            }
        }
        Ok(Sequence(from - 1))
    }
}

struct Detecting;

type Looked = Reader<fn(&Record) -> bool>;

struct Working {
    detector: Detector,
    detectors: Detectors,
    /// There once the machine has said where to go on.
    reader: Option<Looked>,
    /// All up to here is told, or shows nothing, and up to there it is on record.
    position: Sequence,
    on_record: Sequence,
    /// What is asked next, in order.
    ahead: VecDeque<(CommandId, Command, Option<Sequence>)>,
    waker: Waker,
    timer: Option<Timer>,
    /// Not looked before.
    rests_until: Instant,
    _ears: OwnedTask,
}

/// Why it is not done.
enum NotYet {
    Machine(Error),
    Journal(StoreError),
}

impl From<Error> for NotYet {
    fn from(error: Error) -> Self {
        Self::Machine(error)
    }
}

impl From<StoreError> for NotYet {
    fn from(error: StoreError) -> Self {
        Self::Journal(error)
    }
}

impl Working {
    /// Whether there is more.
    async fn look(&mut self) -> Result<bool, NotYet> {
        self.ask().await?;
        while let Some((id, findings)) = self.detector.told.next(&self.detector.clock) {
            self.detector.ask(id, Command::Tell { findings }, None).await?;
            self.detector.told.answered();
        }
        if self.reader.is_none() {
            let looked = Sequence(self.detector.security.inspect(Security::looked).await?);
            let from = self.detector.lookback(looked)?;
            (self.position, self.on_record) = (from, looked);
            self.detectors = Detectors::new(self.detector.rules);
            self.reader = Some(Reader::new(&self.detector.journal, from, |_: &Record| true));
        }
        let Some(reader) = &mut self.reader else { unreachable!("it was just made") };
        let page = reader.read(PAGE)?;
        for record in &page.records {
            let mut seen = (self.detector.seen)(record);
            if record.sequence.0 != self.position.0 + 1 {
                let what = format!("record {} does not follow record {}", record.sequence, self.position);
                seen.push(Seen::Gap { subject: "journal".to_owned(), what });
            }
            self.position = record.sequence;
            let findings = self.detectors.look(record.sequence, record.time, &seen);
            if self.on_record < record.sequence && !findings.is_empty() {
                let command = Command::Report { at: record.sequence.0, findings };
                self.ahead.push_back((self.detector.clock.command_id(), command, Some(record.sequence)));
            }
        }
        self.ask().await?;
        if self.on_record.0 + LOOKED_EVERY <= self.position.0 {
            let command = Command::Look { upto: self.position.0 };
            self.ahead.push_back((self.detector.clock.command_id(), command, None));
            self.ask().await?;
        }
        self.detector.told.looked.send_replace(self.position);
        Ok(page.position < page.head)
    }

    /// Asks what is next, until all of it is answered.
    async fn ask(&mut self) -> Result<(), NotYet> {
        while let Some((id, command, cause)) = self.ahead.front() {
            self.detector.ask(*id, command.clone(), *cause).await?;
            if let Some((_, Command::Report { at: upto, .. } | Command::Look { upto }, _)) = self.ahead.pop_front() {
                self.on_record = Sequence(upto);
            }
        }
        Ok(())
    }
}

impl Actor for Detecting {
    type Msg = Wake;
    type State = Working;
    type Arguments = Detector;

    async fn pre_start(&self, myself: ActorRef<Wake>, detector: Detector) -> Result<Working, ActorProcessingErr> {
        let waker = Waker::new(detector.journal.durable(), myself.clone());
        let mut calls = detector.told.calls.subscribe();
        let ears =
            OwnedTask::spawn(
                async move { while calls.changed().await.is_ok() && myself.send_message(Wake).is_ok() {} },
            );
        Ok(Working {
            detectors: Detectors::new(detector.rules),
            detector,
            reader: None,
            position: Sequence(0),
            on_record: Sequence(0),
            ahead: VecDeque::new(),
            waker,
            timer: None,
            rests_until: Instant::now(),
            _ears: ears,
        })
    }

    async fn handle(&self, myself: ActorRef<Wake>, _: Wake, working: &mut Working) -> Result<(), ActorProcessingErr> {
        let rest = working.rests_until.saturating_duration_since(Instant::now());
        if !rest.is_zero() {
            // What called is not heard yet, so that no more calls arrive.
            working.timer = Some(Timer::after(rest, &myself));
            return Ok(());
        }
        working.waker.heard();
        let wait = match working.look().await {
            Ok(true) => Some(Duration::ZERO),
            Ok(false) => {
                working.rests_until = Instant::now() + REST;
                None
            }
            Err(NotYet::Machine(error)) => {
                tracing::debug!(code = error.code(), "what was found is told again");
                Some(AGAIN_AFTER)
            }
            // Everything is about to be restarted; nobody is to be charged for having noticed first.
            Err(NotYet::Journal(StoreError::Closed)) => Some(AGAIN_AFTER),
            Err(NotYet::Journal(error)) => return Err(error.into()),
        };
        working.timer = wait.map(|wait| Timer::after(wait, &myself));
        Ok(())
    }
}
