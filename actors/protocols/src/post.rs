//! The post: hears that something waits, hands letters to the protocol one at a time, and reports what became of each.
//!
//! A letter that was handled is acknowledged with what its handling posted, under one command id until the outcome is
//! known. One that was not is reported as failed. While nothing can be recorded, or everything is stopped, letters wait.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use host::{Error, Order, View};
use kernel::{CommandId, Decision, Denial, Layer, Position, Principal, Refuse as _, Timestamp};
use nexus::{Command, Event, Message, Nexus, Refusal};
use tokio::sync::{Notify, oneshot};

use crate::runtime::Seat;
use crate::tickets::Purpose;
use crate::{Draft, Letter};

/// Waits before asking again who is down, or what had no room.
const AGAIN_AFTER: Duration = Duration::from_millis(200);
/// After a failed attempt a letter is tried again, after four times as long each time: what it needs may be restarting.
const ATTEMPT_AGAIN_AFTER: Duration = Duration::from_millis(10);
/// How often follow-ups that find no room are tried before that is a failed attempt.
const ROOM_TRIES: u32 = 50;

/// One bell a protocol, rung when something may wait for it. The view of the nexus.
#[derive(Default)]
pub struct Bells(Mutex<BTreeMap<String, Arc<Bell>>>);

/// Rung when something may wait. Knows whether its protocol is admitted.
#[derive(Default)]
pub(crate) struct Bell {
    rung: Notify,
    admitted: AtomicBool,
    /// Counts admissions.
    admissions: AtomicU64,
}

impl Bells {
    pub(crate) fn of(&self, protocol: &str) -> Arc<Bell> {
        let mut bells = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        bells.entry(protocol.to_owned()).or_default().clone()
    }
}

impl Bell {
    pub fn is_admitted(&self) -> bool {
        self.admitted.load(Ordering::Acquire)
    }

    /// The number of the admission in force.
    pub fn admission(&self) -> Option<u64> {
        let number = self.admissions.load(Ordering::Acquire);
        self.is_admitted().then_some(number)
    }
}

impl View<Nexus> for Bells {
    /// Nothing: what is told from the beginning ends where it stood.
    fn reset(&self) {}

    fn restore(&self, nexus: &Nexus, _: Position) {
        for protocol in nexus.protocols() {
            let bell = self.of(&protocol.name);
            if protocol.is_admitted() {
                bell.admissions.fetch_add(1, Ordering::AcqRel);
            }
            bell.admitted.store(protocol.is_admitted(), Ordering::Release);
            if protocol.depth != [0; 4] {
                bell.rung.notify_one();
            }
        }
    }

    fn apply(&self, event: &Event, _: Position) {
        let rings = match event {
            Event::Admitted(admitted) => {
                let bell = self.of(&admitted.protocol);
                bell.admissions.fetch_add(1, Ordering::AcqRel);
                bell.admitted.store(true, Ordering::Release);
                None
            }
            Event::Withdrawn(withdrawn) => {
                self.of(&withdrawn.protocol).admitted.store(false, Ordering::Release);
                None
            }
            Event::Sent(_) | Event::Requeued(_) => event.destination(),
            _ => None,
        };
        if let Some(destination) = rings {
            self.of(destination).rung.notify_one();
        }
    }
}

/// What became of a letter in hand.
pub(crate) enum Handled {
    Done { posted: Vec<Draft> },
    Failed { why: String },
}

/// Delivers until `stop` is heard, then says so by dropping `done`. `hand` gives a letter to the protocol.
pub(crate) async fn deliver(
    seat: Arc<Seat>,
    hand: impl Fn(Letter, oneshot::Sender<Handled>) -> bool + Send,
    mut stop: oneshot::Receiver<()>,
    _done: oneshot::Sender<()>,
) {
    // Some may have waited before anybody listened.
    seat.bell.rung.notify_one();
    loop {
        tokio::select! {
            biased;
            _ = &mut stop => return,
            () = seat.bell.rung.notified() => {}
        }
        loop {
            let letter = match seat.next().await {
                Ok(Some(letter)) => letter,
                Ok(None) => break,
                Err(()) if pause(AGAIN_AFTER, &mut stop).await => continue,
                Err(()) => return,
            };
            let (tell, told) = oneshot::channel();
            let (id, attempts) = (letter.id, letter.attempts);
            if !hand(letter, tell) {
                return;
            }
            let handled = tokio::select! {
                biased;
                handled = told => handled,
                _ = &mut stop => return,
            };
            // The protocol ended with the letter in hand, and so shall we: nothing is known against the letter.
            let Ok(handled) = handled else { return };
            match seat.settle(id, handled, &mut stop).await {
                Settled::Delivered => {}
                Settled::Failed if pause(ATTEMPT_AGAIN_AFTER * 4_u32.pow(attempts), &mut stop).await => {}
                Settled::Failed | Settled::Not => return,
            }
        }
    }
}

/// Whether to go on after a while; not, if it is stopped.
async fn pause(span: Duration, stop: &mut oneshot::Receiver<()>) -> bool {
    tokio::select! {
        biased;
        _ = stop => false,
        () = tokio::time::sleep(span) => true,
    }
}

impl Seat {
    /// The next letter, if there is one.
    ///
    /// # Errors
    /// If nothing can be handled now.
    async fn next(&self) -> Result<Option<Letter>, ()> {
        if self.shared.door.sealed().is_some() {
            return Err(());
        }
        let (name, now) = (self.me.name().to_owned(), self.shared.clock.now());
        let look = move |nexus: &Nexus| nexus.upcoming(&name, 1, now).first().map(|letter| (*letter).clone());
        self.shared.nexus.inspect(look).await.map_err(drop)
    }

    /// Reports what became of a letter, until it is on record.
    async fn settle(&self, id: nexus::MessageId, handled: Handled, stop: &mut oneshot::Receiver<()>) -> Settled {
        let (mut command_id, mut tries) = (self.shared.clock.command_id(), 0);
        let mut handled = handled;
        loop {
            let reported = match &handled {
                Handled::Failed { why } => self.fail(id, why.clone(), command_id).await,
                Handled::Done { posted } => self.acknowledge(id, posted, command_id).await,
            };
            match reported {
                Ok(()) if matches!(handled, Handled::Done { .. }) => return Settled::Delivered,
                Ok(()) => return Settled::Failed,
                Err(Unsettled::Later) => {}
                Err(Unsettled::NoRoom { .. }) if tries < ROOM_TRIES => {
                    // The refusal is the outcome of that id.
                    (command_id, tries) = (self.shared.clock.command_id(), tries + 1);
                }
                Err(Unsettled::NoRoom { why } | Unsettled::Refused { why }) => {
                    let again = matches!(handled, Handled::Done { .. });
                    handled = Handled::Failed { why };
                    command_id = self.shared.clock.command_id();
                    if again {
                        continue;
                    }
                }
            }
            if !pause(AGAIN_AFTER, stop).await {
                return Settled::Not;
            }
        }
    }

    async fn acknowledge(&self, message: nexus::MessageId, posted: &[Draft], id: CommandId) -> Result<(), Unsettled> {
        let messages: Vec<_> = posted.iter().map(|draft| draft.clone().from(self.me.clone())).collect();
        // Judged by what it is: a protocol takes its own letters, and posts by its tickets.
        let mut decision = Decision { policies: vec!["capability:destination".to_owned()], ..Decision::default() };
        let mut asked = None;
        for message in &messages {
            match self.may(&sending(message)).await {
                Ok(leave) => {
                    (decision, asked) = ((*leave.decision).clone(), Some(Box::new((*leave.asked).clone())));
                }
                Err(denial) => return Err(Unsettled::of(denial)),
            }
        }
        if self.shared.door.sealed().is_some() {
            return Err(Unsettled::Later);
        }
        let command = Command::Acknowledge { message, follow_ups: messages };
        let order = Order { command, command_id: id, principal: self.me.clone(), decision, cause: None, asked };
        self.report(order).await
    }

    async fn fail(&self, message: nexus::MessageId, why: String, id: CommandId) -> Result<(), Unsettled> {
        tracing::warn!(code = "protocols.letter_failed", protocol = self.me.name(), %message, why, "a letter failed");
        let principal = Principal::internal("protocols");
        let command = Command::Fail { message, why };
        self.report(Order {
            command,
            command_id: id,
            principal,
            decision: Decision::default(),
            cause: None,
            asked: None,
        })
        .await
    }

    async fn report(&self, order: Order<Command>) -> Result<(), Unsettled> {
        match self.shared.nexus.execute(order).await {
            Ok(answer) => match answer.outcome {
                // It expired or was withdrawn meanwhile, or was settled before an answer was lost.
                Ok(_) | Err(Refusal::NotWaiting) => Ok(()),
                Err(refusal) if refusal.is_for_now() => Err(Unsettled::NoRoom { why: refusal.to_string() }),
                Err(refusal) => Err(Unsettled::Refused { why: refusal.to_string() }),
            },
            Err(error @ (Error::IdTaken | Error::Stale { .. } | Error::Untimely { .. } | Error::Fault { .. })) => {
                Err(Unsettled::Refused { why: error.to_string() })
            }
            Err(_) => Err(Unsettled::Later),
        }
    }

    /// Sends what was posted outside the handling of a letter, each by itself.
    pub async fn send(&self, posted: Vec<Draft>) -> Result<(), Denial> {
        for draft in posted {
            let message = draft.from(self.me.clone());
            let leave = self.may(&sending(&message)).await?;
            let order = Order {
                command: Command::Send(message),
                command_id: self.shared.clock.command_id(),
                principal: self.me.clone(),
                decision: (*leave.decision).clone(),
                cause: None,
                asked: Some(Box::new((*leave.asked).clone())),
            };
            let answer = self.shared.nexus.execute(order).await.map_err(|error| error.denial())?;
            answer.outcome.map_err(|refusal| refusal.denial())?;
        }
        Ok(())
    }

    /// When this protocol was admitted; `None` if it is not.
    pub async fn admitted_at(&self) -> Result<Option<Timestamp>, Denial> {
        let name = self.me.name().to_owned();
        let look = move |nexus: &Nexus| nexus.protocol(&name).filter(nexus::Protocol::is_admitted);
        let shown = self.shared.nexus.inspect(look).await.map_err(|error| error.denial())?;
        Ok(shown.map(|protocol| protocol.admitted_at))
    }

    /// Whether `other` is on this protocol's list.
    pub async fn speaks_to(&self, other: &str) -> Result<(), Denial> {
        let (name, other) = (self.me.name().to_owned(), other.to_owned());
        let wanted = other.clone();
        let look = move |nexus: &Nexus| nexus.protocol(&name).is_some_and(|known| known.speaks_to.contains(&wanted));
        if self.shared.nexus.inspect(look).await.map_err(|error| error.denial())? {
            return Ok(());
        }
        let refusal = Refusal::NotOnItsList { name: other };
        Err(Denial { layer: Layer::Admit, ..refusal.denial() }.rule(format!("what {} speaks to", self.me.name())))
    }
}

fn sending(message: &Message) -> Purpose {
    let Message { destination, priority, kind, .. } = message;
    Purpose::Send { destination: destination.clone(), priority: priority.as_str(), kind: kind.clone() }
}

/// What is on record of a letter that was in hand.
enum Settled {
    Delivered,
    Failed,
    /// Nothing yet: it was stopped before. The letter waits.
    Not,
}

/// Why nothing is known of a letter yet.
enum Unsettled {
    /// Nothing can be recorded now, or everything is stopped.
    Later,
    NoRoom {
        why: String,
    },
    Refused {
        why: String,
    },
}

impl Unsettled {
    fn of(denial: Denial) -> Self {
        match denial.layer {
            Layer::Availability | Layer::Commit | Layer::Limit | Layer::Seal => Self::Later,
            _ => Self::Refused { why: denial.reason },
        }
    }
}
