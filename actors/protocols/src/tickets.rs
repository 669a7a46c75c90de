//! Tickets: the authority of a protocol to speak to others, as tokens drawn for it and warrants opened with them.
//!
//! A ticket is drawn when it is first needed, is used until shortly before it expires, and outlives restarts of the
//! protocol. Policy decides on it as on anybody's request: the warrant is opened through the door.

use std::collections::BTreeMap;
use std::sync::Arc;

use door::{AUDIENCE, Ask, Bound, Secret, SecretKind, Source, Warrant};
use host::{Clock, Order};
use kernel::{Asked, Decision, Denial, Layer, Millis, Principal, Refuse as _, TokenId};
use tokens::{Bounds, Grant, Issue, Reason, Reply, Tokens};
use tokio::sync::Mutex;

use crate::line::withdrawn;
use crate::runtime::Seat;

/// A ticket that nobody renews ends after this.
const LIFETIME: Millis = Millis::hours(1);
/// A new one is drawn when it has less than this left.
const RENEW_BEFORE: Millis = Millis::minutes(5);
/// One to open the warrant with, and one that it stands on.
const USES: u32 = 2;
/// Tickets that are kept; beyond, all are drawn anew as they are needed.
const KEPT_MAX: usize = 256;

/// What a ticket is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Purpose {
    Call { protocol: String, operation: String },
    Send { destination: String, priority: &'static str, kind: String },
}

/// The tickets of one protocol.
#[derive(Default)]
pub(crate) struct Tickets(Mutex<BTreeMap<Purpose, Ticket>>);

struct Ticket {
    warrant: Warrant,
    /// The admission that it was drawn under.
    admission: u64,
}

/// A decision to let a protocol do something, and what it was asked.
pub(crate) struct Leave {
    pub decision: Arc<Decision>,
    pub asked: Arc<Asked>,
}

impl Leave {
    fn of(warrant: &Warrant) -> Result<Self, Denial> {
        Ok(Self { decision: warrant.check()?, asked: warrant.asked().clone() })
    }
}

impl Seat {
    /// Whether this protocol may do so now, by a ticket that it has or can draw; and what was asked for that.
    pub async fn may(&self, purpose: &Purpose) -> Result<Leave, Denial> {
        let admission = self.bell.admission().ok_or_else(|| withdrawn(self.me.name()))?;
        let mut kept = self.tickets.0.lock().await;
        if let Some(ticket) = kept.get(purpose).filter(|ticket| ticket.admission == admission) {
            let now = self.shared.clock.now();
            let soon = ticket.warrant.expires_at().is_some_and(|end| end <= now + RENEW_BEFORE);
            if !soon {
                return Leave::of(&ticket.warrant);
            }
            // One that was revoked is not replaced: that is for whoever admits.
            match ticket.warrant.check() {
                Err(denial) if denial.code != "tokens.expired" => return Err(denial),
                Ok(_) | Err(_) => {}
            }
        }
        let ticket = Ticket { warrant: self.draw(purpose).await?, admission };
        let leave = Leave::of(&ticket.warrant)?;
        if KEPT_MAX <= kept.len() {
            kept.clear();
        }
        kept.insert(purpose.clone(), ticket);
        Ok(leave)
    }

    async fn draw(&self, purpose: &Purpose) -> Result<Warrant, Denial> {
        let (door, clock) = (&self.shared.door, &self.shared.clock);
        let (ask, audience, operation) = match purpose {
            Purpose::Call { protocol, operation } => {
                self.speaks_to(protocol).await?;
                (call(clock, protocol, operation), protocol.as_str(), operation.as_str())
            }
            Purpose::Send { destination, priority, kind } => {
                let ask = about(clock, "message.send", destination);
                let context =
                    [("source", self.me.to_string()), ("priority", (*priority).into()), ("kind", kind.clone())];
                let context = context.map(|(name, value)| (name.to_owned(), value.as_str().into()));
                (Ask { context: context.into(), ..ask }, AUDIENCE, "message.send")
            }
        };
        let (secret, id) = (Secret::generate(SecretKind::Token), fresh());
        let issue = Issue {
            id,
            secret: secret.digest(),
            grant: if audience.starts_with(tokens::TEST_NAMESPACE) { Grant::Test } else { Grant::Operation },
            subject: self.me.clone(),
            audience: audience.to_owned(),
            operation: operation.to_owned(),
            uses: Some(USES),
            lifetime: Some(LIFETIME),
            bounds: Bounds::default(),
        };
        self.tell(tokens::Command::Issue(issue)).await?;
        // A revocation before the issue is found here, and one after it has ended the token.
        let me = self.me.clone();
        let revoked = door.tokens().inspect(move |tokens: &Tokens| tokens.subject_revoked_at(&me)).await;
        let revoked = revoked.map_err(|error| error.denial())?;
        let admitted = self.admitted_at().await?;
        if revoked.is_some_and(|revoked| admitted.is_none_or(|admitted| admitted <= revoked)) {
            self.tell(tokens::Command::Revoke { id, reason: Reason::SubjectRevoked }).await?;
            return Err(withdrawn(self.me.name()));
        }
        door.open(&Ask { credential: Some(secret), ..ask }).await.map_err(|denied| denied.denial)
    }

    async fn tell(&self, command: tokens::Command) -> Result<Reply, Denial> {
        let order = Order {
            command,
            command_id: self.shared.clock.command_id(),
            principal: Principal::internal("protocols"),
            decision: Decision::default(),
            cause: None,
            asked: None,
        };
        let answer = self.shared.door.tokens().execute(order).await.map_err(|error| error.denial())?;
        answer.outcome.map_err(|refusal| Denial { layer: Layer::Token, ..refusal.denial() })
    }
}

/// A request to call `operation` of `protocol`, without a credential.
pub(crate) fn call(clock: &Clock, protocol: &str, operation: &str) -> Ask {
    let context = [("operation".to_owned(), operation.into())].into();
    Ask { context, ..about(clock, "protocol.call", protocol) }
}

fn about(clock: &Clock, action: &'static str, resource: &str) -> Ask {
    Ask {
        action,
        resource: resource.to_owned(),
        context: BTreeMap::new(),
        credential: None,
        command_id: clock.command_id(),
        // Asked inside the process: there is no peer.
        source: Source::User(0),
        certificate: None,
        bound: Bound::default(),
    }
}

fn fresh() -> TokenId {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the system gives randomness");
    TokenId(u128::from_be_bytes(bytes))
}
