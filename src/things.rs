//! What can be acted upon, and what of it matters to who approves an act: an approval is stale once that has changed.
//!
//! Where a request names one thing, its state is that thing's record, without what moves by itself or by use: counters, the
//! uses of a token, how far a subscription has been read. That there is no such thing is a state, too. Where nothing single
//! is named, there is nothing to be stale but the time: such an approval is bound to its content and its expiry.

use std::sync::Arc;

use allocator::{Allocator, Lease, LeaseId, Pool};
use backup::{Backup, BackupId, Backups};
use crypto::{Crypto, KeyId, Purpose};
use door::{Follower, Known};
use governance::Governance;
use host::{Clock, Handle};
use journal::codec;
use kernel::{Denial, Digest, Layer, Machine, Principal, TokenId};
use nexus::{MessageId, Nexus, Protocol};
use retention::Retention;
use serde::Serialize;
use subjects::Subjects;
use subscriptions::Subscriptions;
use todos::{TodoId, Todos};
use tokens::{Token, Tokens};

/// Whatever a request can be about.
pub struct Things {
    pub clock: Clock,
    pub governance: Arc<Follower<Governance>>,
    pub tokens: Arc<Follower<Tokens>>,
    pub subscriptions: Arc<Follower<Subscriptions>>,
    pub todos: Handle<Todos>,
    pub allocator: Handle<Allocator>,
    pub nexus: Handle<Nexus>,
    pub backups: Handle<Backups>,
    pub subjects: Handle<Subjects>,
    pub retention: Handle<Retention>,
    pub crypto: Arc<Follower<Crypto>>,
}

impl door::Things for Things {
    fn now<'a>(&'a self, action: &'a str, resource: &'a str) -> Known<'a> {
        Box::pin(self.state(action, resource))
    }
}

impl Things {
    async fn state(&self, action: &str, resource: &str) -> Result<Option<Digest>, Denial> {
        let now = self.clock.now();
        let noun = action.split_once('.').map_or(action, |(noun, _)| noun);
        // The id that a resource is; none for "*", and for what is not one.
        macro_rules! id {
            ($id:ty) => {
                match resource.parse::<$id>() {
                    Ok(id) => id,
                    Err(_) => return Ok(None),
                }
            };
        }
        match noun {
            "policy" if action != "policy.propose" => {
                let active = self.governance.read(|governance| {
                    let text = governance.active_text();
                    (governance.active_epoch(), Digest(*blake3::hash(text.as_bytes()).as_bytes()))
                });
                // Whoever approves an activation has read what is claimed of it.
                let claims = match resource.parse() {
                    Ok(epoch) if action == "policy.activate" => {
                        self.governance.read(|governance| governance.claims(epoch).cloned().collect::<Vec<_>>())
                    }
                    _ => Vec::new(),
                };
                if claims.is_empty() { digest(noun, &active) } else { digest(noun, &(active, claims)) }
            }
            "token" => {
                let id = id!(TokenId);
                let token = self.tokens.read(|tokens| tokens.show(id, now));
                // What is left of it is for its bearer.
                digest(noun, &token.map(|token| Token { left: 0, state: tokens::State::Active, ..token }))
            }
            "todo" => {
                let id = id!(TodoId);
                digest(noun, &look(&self.todos, move |todos| todos.show(id, now)).await?)
            }
            "resource" if resource != "*" => {
                let name = resource.to_owned();
                let pool = look(&self.allocator, move |allocator| allocator.pool(&name, now)).await?;
                let defined = |Pool { unit, capacity, .. }: Pool| (unit, capacity);
                digest(noun, &pool.map(defined))
            }
            "lease" => {
                let id = id!(LeaseId);
                let lease = look(&self.allocator, move |allocator| allocator.show(id, now)).await?;
                // The others in the queue are no concern of it.
                digest(noun, &lease.map(|lease| Lease { position: None, ..lease }))
            }
            "protocol" if resource != "*" => self.protocol(resource).await,
            "message" if action == "message.send" => self.protocol(resource).await,
            "message" => {
                let id = id!(MessageId);
                digest(noun, &look(&self.nexus, move |nexus| nexus.dead_message(id).cloned()).await?)
            }
            "backup" => {
                let id = id!(BackupId);
                let backup = look(&self.backups, move |backups| backups.show(id).cloned()).await?;
                let kept = |Backup { id, state, started_at, held, .. }: Backup| (id, state, started_at, held);
                digest(noun, &backup.map(kept))
            }
            "subject" => {
                let subject = id!(Principal);
                digest(noun, &look(&self.subjects, move |subjects| subjects.show(&subject).cloned()).await?)
            }
            "crypto" => match (resource.parse::<KeyId>(), resource.parse::<Purpose>()) {
                (Ok(key), _) => digest(noun, &self.crypto.read(|keys| keys.show(key).cloned())),
                // Who approves that another one takes its place has seen this one in it.
                (_, Ok(purpose)) => {
                    let active = |keys: &Crypto| keys.active(purpose).map(|(key, version)| (key, version.clone()));
                    digest(noun, &self.crypto.read(active))
                }
                (Err(_), Err(_)) => Ok(None),
            },
            // What may leave the log hangs on all that holds it.
            "retention" => digest(noun, &look(&self.retention, Retention::changes).await?),
            "subscription" if resource != "*" => {
                let made = |subscriptions: &Subscriptions| {
                    let found = subscriptions.list().find(|(name, _)| *name == resource);
                    found.map(|(_, one)| (one.owner.clone(), one.wanted.clone(), one.created_at))
                };
                digest(noun, &self.subscriptions.read(made))
            }
            _ => Ok(None),
        }
    }

    async fn protocol(&self, name: &str) -> Result<Option<Digest>, Denial> {
        let name = name.to_owned();
        let protocol = look(&self.nexus, move |nexus| nexus.protocol(&name)).await?;
        let lists = |Protocol { standing, depends_on, speaks_to, admitted_at, .. }: Protocol| {
            (standing, depends_on, speaks_to, admitted_at)
        };
        digest("protocol", &protocol.map(lists))
    }
}

async fn look<M: Machine, R: Send + 'static>(
    machine: &Handle<M>,
    look: impl FnOnce(&M) -> R + Send + 'static,
) -> Result<R, Denial> {
    machine.inspect(look).await.map_err(|error| error.denial())
}

fn digest<T: Serialize>(noun: &str, state: &T) -> Result<Option<Digest>, Denial> {
    codec::digest(noun, state).map(Some).map_err(|error| {
        let reason = format!("what it is now cannot be told: {error}");
        Denial::new(Layer::Availability, "approvals.target_unknown", reason, "see the log of the daemon")
    })
}
