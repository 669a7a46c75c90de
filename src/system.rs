//! The library's front: an authority inside a Rust program, with protocols of the program's own.
//!
//! A [`System`] holds the credential of the operator that its data directory was made with, and all that it does goes
//! through the door with it: what a program does is on record like what a person does at the command line.
//!
//! # Invariants
//! 1. Nothing here asks a machine past the door to change anything.
//! 2. What was withdrawn stays withdrawn until it is admitted by name: a restart of the program does not undo it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use allocator::LeaseId;
use config::{Config, Problem, Sources};
use door::{Ask, Bound, Denied, Secret, SecretKind, Source};
use host::Clock;
use journal::reader::{Bounds, Page};
use kernel::{Denial, Kin, Malformed, Millis, Personal, Principal, Sequence, Timestamp, TokenId};
use nexus::{Command, MessageId, Nexus, Reply, Standing};
use policy::Value;
use protocols::{Draft, Limits, Line, Protocol, Reference};
use supervisors::{AddError, RemoveError, Report};
use tokens::Grant;

use crate::boot::{BootError, Parts, Stopped};
use crate::subscriptions::{self, BOUNDS, WAIT_MAX};
use crate::tree::PROTOCOLS;

/// The policy that is activated first, where none was.
pub const STARTER: &str = include_str!("../config/policies/starter.cedar");

/// A running authority. Cheap to clone; dropping it stops nothing, [`System::shutdown`] does.
#[derive(Clone)]
pub struct System {
    parts: Arc<Parts>,
    credential: Secret,
    /// For each protocol, and for all of them together.
    deadline: Duration,
}

/// Why a system did not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the configuration is not right: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Config(Vec<Problem>),
    #[error("{0}")]
    Boot(#[from] BootError),
    #[error("the operator's credential is not at {path}")]
    NoCredential { path: std::path::PathBuf },
    #[error("the first policy was not activated: {0}")]
    Policy(Denial),
}

/// Why a protocol did not start.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    #[error("{0}")]
    Name(#[from] Malformed),
    #[error("denied: {0}")]
    Denied(Denied),
    #[error("{name} was withdrawn: admit it again first")]
    Withdrawn { name: String },
    #[error("{0}")]
    Start(#[from] AddError),
}

impl From<Denied> for SpawnError {
    fn from(denied: Denied) -> Self {
        Self::Denied(denied)
    }
}

/// A protocol that is to be started.
#[derive(Clone, Debug)]
pub struct Spawn {
    name: String,
    depends_on: Vec<String>,
    speaks_to: Vec<String>,
    limits: Limits,
}

impl Spawn {
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), depends_on: Vec::new(), speaks_to: Vec::new(), limits: Limits::default() }
    }

    /// It starts when that one is up, which was spawned before it.
    pub fn depends_on(mut self, name: impl Into<String>) -> Self {
        self.depends_on.push(name.into());
        self
    }

    /// It may call and write to that one.
    pub fn speaks_to(mut self, name: impl Into<String>) -> Self {
        self.speaks_to.push(name.into());
        self
    }

    /// Calls outstanding at once.
    pub fn permits(self, permits: usize) -> Self {
        Self { limits: Limits { permits }, ..self }
    }
}

/// A token that is to be issued: it lets `subject` ask one operation of one protocol.
#[derive(Clone, Debug)]
pub struct Token {
    subject: String,
    protocol: String,
    operation: String,
    uses: u32,
    lifetime: Millis,
}

impl Token {
    /// For 15 minutes, and to open up to 15 lines with.
    pub fn new(subject: impl Into<String>, protocol: impl Into<String>, operation: impl Into<String>) -> Self {
        let (subject, protocol, operation) = (subject.into(), protocol.into(), operation.into());
        Self { subject, protocol, operation, uses: 16, lifetime: Millis::minutes(15) }
    }

    /// Each line costs one, and one must be left over.
    pub fn uses(self, uses: u32) -> Self {
        Self { uses, ..self }
    }

    pub fn lifetime(self, lifetime: Millis) -> Self {
        Self { lifetime, ..self }
    }
}

impl System {
    /// Opens the data directory `data`. The first time it makes the directory, the first operator and the starter policy;
    /// the credential is written to `credentials/operator` in it, for its owner alone.
    ///
    /// # Errors
    /// [`OpenError`]; nothing is left running.
    pub async fn open(data: impl AsRef<Path>) -> Result<Self, OpenError> {
        let sources = Sources { data: Some(data.as_ref().to_owned()), ..Sources::default() };
        Self::with(&Config::load(&sources).map_err(OpenError::Config)?).await
    }

    /// As [`System::open`], with a configuration of one's own.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn with(config: &Config) -> Result<Self, OpenError> {
        let parts = Parts::new(config, Clock::system());
        parts.start(config, Vec::new()).await?;
        let deadline = config.supervision.shutdown_deadline;
        match Self::settled(&parts, deadline).await {
            Ok(system) => Ok(system),
            Err(error) => {
                parts.shutdown(deadline).await;
                Err(error)
            }
        }
    }

    async fn settled(parts: &Arc<Parts>, deadline: Duration) -> Result<Self, OpenError> {
        if !parts.is_bootstrapped() {
            parts.bootstrap().await?;
        }
        let system = Self::over(parts, deadline).ok_or_else(|| {
            let path = parts.places.credential.clone();
            OpenError::NoCredential { path }
        })?;
        if parts.door.governance_view().read(|governance| governance.history().is_empty()) {
            system.first_policy().await.map_err(|denied| OpenError::Policy(denied.denial))?;
        }
        Ok(system)
    }

    /// Over parts that run, by the operator's credential, if it lies where bootstrap put it.
    pub fn over(parts: &Arc<Parts>, deadline: Duration) -> Option<Self> {
        let credential = parts.operator_secret()?;
        Some(Self { parts: parts.clone(), credential, deadline })
    }

    async fn first_policy(&self) -> Result<(), Denied> {
        let governance = self.parts.door.governance();
        let propose = governance::Command::Propose { text: STARTER.to_owned() };
        let proposed = self.parts.door.perform(&self.ask("policy.propose", "*"), governance, propose).await?;
        let governance::Reply::Proposed { epoch, .. } = proposed.reply else {
            unreachable!("a proposal is answered as one, not with {:?}", proposed.reply)
        };
        let activate = governance::Command::Activate { epoch, expected_active: Some(0), despite_counterexample: false };
        let ask = self.ask("policy.activate", &epoch.to_string());
        self.parts.door.perform(&ask, governance, activate).await.map(drop)
    }

    /// What runs below, for what is not here.
    pub fn parts(&self) -> &Arc<Parts> {
        &self.parts
    }

    /// Admits a protocol, or changes its lists; also one that was withdrawn.
    ///
    /// # Errors
    /// [`Denied`].
    pub async fn admit(&self, spawn: &Spawn) -> Result<(), Denied> {
        let Spawn { name, depends_on, speaks_to, .. } = spawn.clone();
        let ask = self.ask("protocol.admit", &name);
        let command = Command::Admit { protocol: name, depends_on, speaks_to };
        self.parts.door.perform(&ask, &self.parts.nexus, command).await?;
        self.parts.acquainted_with(&protocol(&spawn.name)?).await;
        Ok(())
    }

    /// Lets an agent or an application ask for what `can` says (`gap.scan`, `gap.*`, `*`), for the operator of this system,
    /// or changes that.
    ///
    /// # Errors
    /// [`Denied`].
    pub async fn admit_agent(&self, principal: &str, can: &[&str]) -> Result<(), Denied> {
        let principal: Principal = principal.parse().map_err(|error| malformed(&error))?;
        let can = can.iter().map(|can| can.parse()).collect::<Result<_, _>>().map_err(|error| malformed(&error))?;
        let mut ask = self.ask("security.admit", &principal.to_string());
        let owner = self.operator();
        for (name, value) in [("kind", principal.kin.as_str()), ("owner", &owner.to_string())] {
            ask.context.insert(name.to_owned(), value.into());
        }
        let terms = identity::Terms { owner: Some(owner), can, until: None, attestation: None };
        let command = identity::Command::Admit { principal, terms, reason: Personal::default() };
        self.parts.door.perform(&ask, self.parts.door.identity(), command).await.map(drop)
    }

    /// Admits a protocol and starts it, supervised, as the last child of the tree's group `protocols`. `make` runs anew
    /// for every incarnation. Resolves when it is up.
    ///
    /// # Errors
    /// [`SpawnError`]; nothing of it is left running.
    pub async fn spawn<P: Protocol>(
        &self,
        spawn: Spawn,
        make: impl Fn() -> P + Send + Sync + 'static,
    ) -> Result<Reference<P>, SpawnError> {
        let Spawn { name, depends_on, speaks_to, limits } = &spawn;
        let (reference, child) = self.parts.protocols.protocol(name, depends_on, *limits, make)?;
        let wanted = name.clone();
        let known = self.parts.nexus.inspect(move |nexus: &Nexus| nexus.protocol(&wanted)).await;
        let known = known.map_err(|error| Denied::from(error.denial()))?;
        let set = |list: &[String]| list.iter().cloned().collect::<BTreeSet<_>>();
        match known {
            Some(nexus::Protocol { standing: Standing::Withdrawn { .. }, name, .. }) => {
                return Err(SpawnError::Withdrawn { name });
            }
            Some(known) if known.depends_on == set(depends_on) && known.speaks_to == set(speaks_to) => {}
            Some(_) | None => self.admit(&spawn).await?,
        }
        self.parts.acquainted_with(&protocol(name)?).await;
        let tree = self.parts.tree().expect("the system runs");
        tree.add(PROTOCOLS, child.shutdown(self.deadline)).await?;
        Ok(reference)
    }

    /// Stops a protocol in order. It stays admitted: what is sent to it waits until it is spawned again.
    ///
    /// # Errors
    /// [`RemoveError`].
    pub async fn remove(&self, name: &str) -> Result<(), RemoveError> {
        let tree = self.parts.tree().expect("the system runs");
        tree.remove(&format!("{PROTOCOLS}/{name}")).await.map(drop)
    }

    /// Issues a token and gives its secret, which is nowhere else.
    ///
    /// # Errors
    /// [`Denied`].
    pub async fn issue(&self, token: Token) -> Result<Secret, Denied> {
        let Token { subject, protocol, operation, uses, lifetime } = token;
        let id = TokenId(random());
        let mut ask = self.ask("token.issue", &id.to_string());
        let number = |number: u64| Value::Long(i64::try_from(number).unwrap_or(i64::MAX));
        for (name, value) in [
            ("kind", Value::from(Grant::Operation.kind().as_str())),
            ("subject", subject.as_str().into()),
            ("audience", protocol.as_str().into()),
            ("operation", operation.as_str().into()),
            ("lifetime_ms", number(lifetime.0)),
            ("uses", number(uses.into())),
        ] {
            ask.context.insert(name.to_owned(), value);
        }
        let secret = Secret::generate(SecretKind::Token);
        let subject = subject.parse().map_err(|error| malformed(&error))?;
        if let Err(denial) = self.parts.door.admits(&subject, "protocol.call") {
            return Err(self.parts.door.refuse(&ask, denial).await);
        }
        let issue = tokens::Issue {
            id,
            secret: secret.digest(),
            grant: Grant::Operation,
            subject,
            audience: protocol,
            operation,
            uses: Some(uses),
            lifetime: Some(lifetime),
            bounds: tokens::Bounds::default(),
        };
        self.parts.door.perform(&ask, self.parts.door.tokens(), tokens::Command::Issue(issue)).await?;
        Ok(secret)
    }

    /// Ends all that lets `subject` act: its tokens, its leases, and, of a protocol, its admission.
    ///
    /// # Errors
    /// [`Denied`].
    pub async fn revoke(&self, subject: &str) -> Result<(), Denied> {
        let subject: Principal = subject.parse().map_err(|error| malformed(&error))?;
        let ask = self.ask("token.revoke", &subject.to_string());
        let command = tokens::Command::RevokeSubject { subject };
        self.parts.door.perform(&ask, self.parts.door.tokens(), command).await.map(drop)
    }

    /// A line in the operator's own name.
    ///
    /// # Errors
    /// [`Denied`].
    pub async fn line<P: Protocol>(&self, to: &Reference<P>, operation: &str) -> Result<Line<P>, Denied> {
        to.line(&self.credential, operation).await
    }

    /// Sends a message in the operator's name.
    ///
    /// # Errors
    /// [`Denied`].
    pub async fn send(&self, draft: Draft) -> Result<MessageId, Denied> {
        let message = draft.from(self.operator());
        let mut ask = self.ask("message.send", &message.destination);
        let (source, priority) = (message.source.to_string(), message.priority.as_str());
        for (name, value) in [("source", source.as_str()), ("priority", priority), ("kind", &message.kind)] {
            ask.context.insert(name.to_owned(), value.into());
        }
        match self.parts.door.perform(&ask, &self.parts.nexus, Command::Send(message)).await?.reply {
            Reply::Sent { id, .. } => Ok(id),
            reply => unreachable!("a message is answered as sent, not with {reply:?}"),
        }
    }

    /// Defines a pool of units to be leased. The same again changes nothing.
    ///
    /// # Errors
    /// [`Denied`].
    pub async fn pool(&self, pool: &str, capacity: u64, unit: &str) -> Result<(), Denied> {
        let command = allocator::Command::Define { pool: pool.to_owned(), capacity, unit: unit.to_owned() };
        let ask = self.ask("resource.define", pool);
        self.parts.door.perform(&ask, &self.parts.allocator, command).await.map(drop)
    }

    /// Leases `amount` units of a pool for `lifetime`, now or not at all.
    ///
    /// # Errors
    /// [`Denied`], with a time to retry after where nothing is free.
    pub async fn lease(&self, pool: &str, amount: u64, lifetime: Millis) -> Result<Lease, Denied> {
        let id = LeaseId(random());
        let mut ask = self.lease_ask("lease.request", id);
        ask.context.insert("pool".to_owned(), pool.into());
        ask.context.insert("amount".to_owned(), i64::try_from(amount).unwrap_or(i64::MAX).into());
        ask.context.insert("priority".to_owned(), 0.into());
        let command = allocator::Command::Request(allocator::Request {
            lease: id,
            pool: pool.to_owned(),
            owner: self.operator(),
            amount,
            priority: 0,
            lifetime: Some(lifetime),
            wait: false,
        });
        match self.parts.door.perform(&ask, &self.parts.allocator, command).await?.reply {
            allocator::Reply::Granted { fencing, expires_at, .. } => {
                Ok(Lease { system: self.clone(), id, fencing, lifetime, expires_at })
            }
            reply => unreachable!("a request that does not wait is granted or refused, not answered with {reply:?}"),
        }
    }

    /// Follows what is recorded in `streams`, of `kinds` (none means all), under a name, from record `from` on or from now
    /// on. The same name again goes on where it was, in a later process too.
    ///
    /// # Errors
    /// [`Denied`]: there may be no such stream or kind, or the name may be taken.
    pub async fn subscribe(
        &self,
        name: &str,
        streams: &[&str],
        kinds: &[&str],
        from: Option<Sequence>,
    ) -> Result<Subscription, Denied> {
        let [streams, kinds] =
            [streams, kinds].map(|names| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>());
        let wanted = subscriptions::wanted(&self.parts, &streams, &kinds)?;
        let ask = self.ask("subscription.create", name);
        subscriptions::create(&self.parts, &ask, wanted, from.map(|from| from.0)).await?;
        Ok(Subscription { system: self.clone(), name: name.to_owned() })
    }

    /// Stops everything in order: the protocols first, the last one spawned before all others.
    pub async fn shutdown(&self) -> Report {
        self.parts.shutdown(self.deadline).await
    }

    /// Resolves when the authority cannot go on.
    pub async fn stopped(&self) -> Stopped {
        self.parts.stopped().await
    }

    fn operator(&self) -> Principal {
        let digest = self.credential.digest();
        let known =
            |identity: &identity::Identity| identity.by_secret(digest).map(|(_, known)| known.principal.clone());
        let known = self.parts.door.identity_view().read(known);
        // Who is not known any more is told so by the door.
        known.unwrap_or_else(|| "operator/unknown".parse().expect("a principal"))
    }

    fn ask(&self, action: &'static str, resource: &str) -> Ask {
        Ask {
            action,
            resource: resource.to_owned(),
            context: BTreeMap::new(),
            credential: Some(self.credential.clone()),
            command_id: self.parts.clock.command_id(),
            source: Source::User(rustix::process::getuid().as_raw()),
            certificate: None,
            bound: Bound::default(),
        }
    }

    fn lease_ask(&self, action: &'static str, lease: LeaseId) -> Ask {
        let mut ask = self.ask(action, &lease.to_string());
        ask.context.insert("owner".to_owned(), self.operator().to_string().as_str().into());
        ask
    }
}

/// Records that are followed under a name, each given at least once: what is not acknowledged is given again.
#[derive(Clone)]
pub struct Subscription {
    system: System,
    name: String,
}

impl Subscription {
    /// What comes next: at most `limit` records, waited for if there are none. Perhaps none: then ask again.
    ///
    /// # Errors
    /// [`Denied`].
    pub async fn next(&self, limit: usize) -> Result<Page, Denied> {
        let ask = self.system.ask("subscription.read", &self.name);
        let bounds = Bounds { records: limit.max(1), ..BOUNDS };
        subscriptions::read(&self.system.parts, &ask, bounds, WAIT_MAX).await
    }

    /// Says that all up to `position`, which a page gave, is done with.
    ///
    /// # Errors
    /// [`Denied`], also for what was not given out since the authority started.
    pub async fn acknowledge(&self, position: Sequence) -> Result<(), Denied> {
        let ask = self.system.ask("subscription.ack", &self.name);
        subscriptions::acknowledge(&self.system.parts, &ask, position).await.map(drop)
    }

    /// Ends it.
    ///
    /// # Errors
    /// [`Denied`].
    pub async fn delete(self) -> Result<(), Denied> {
        let ask = self.system.ask("subscription.delete", &self.name);
        subscriptions::delete(&self.system.parts, &ask).await.map(drop)
    }
}

/// Units of a pool, held until a deadline. Dropped without a release, it runs out at that deadline.
#[must_use = "it holds what others wait for"]
pub struct Lease {
    system: System,
    id: LeaseId,
    fencing: u64,
    lifetime: Millis,
    expires_at: Timestamp,
}

impl Lease {
    /// Show it where the resource is used, and refuse there whoever comes with a lower one than was seen before.
    pub fn fencing(&self) -> u64 {
        self.fencing
    }

    /// First instant at which it is no longer held.
    pub fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// Holds it for its lifetime from now.
    ///
    /// # Errors
    /// [`Denied`]: it may have run out, or been taken back.
    pub async fn renew(&mut self) -> Result<(), Denied> {
        let Self { system, id, fencing, lifetime, .. } = self;
        let command = allocator::Command::Renew { lease: *id, fencing: *fencing, lifetime: Some(*lifetime) };
        let ask = system.lease_ask("lease.renew", *id);
        if let allocator::Reply::Granted { expires_at, .. } =
            system.parts.door.perform(&ask, &system.parts.allocator, command).await?.reply
        {
            self.expires_at = expires_at;
        }
        Ok(())
    }

    /// Gives it back.
    ///
    /// # Errors
    /// [`Denied`].
    pub async fn release(self) -> Result<(), Denied> {
        let Self { system, id, fencing, .. } = &self;
        let command = allocator::Command::Release { lease: *id, fencing: Some(*fencing) };
        let ask = system.lease_ask("lease.release", *id);
        system.parts.door.perform(&ask, &system.parts.allocator, command).await.map(drop)
    }
}

fn protocol(name: &str) -> Result<Principal, Denied> {
    Principal::new(Kin::Protocol, name).map_err(|error| malformed(&error))
}

fn malformed(error: &Malformed) -> Denied {
    let remedy = "write it as agent/alpha";
    Denial::new(kernel::Layer::Request, "request.arguments", error.to_string(), remedy).into()
}

fn random() -> u128 {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the system gives randomness");
    u128::from_be_bytes(bytes)
}
