//! An authority of door, tokens and nexus over a journal in a directory, with the protocols of a test after them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use door::{Ask, Decisions, Door, Follower, Outcomes, Seal, Secret};
use governance::Governance;
use host::{Answer, Clock, Error, Handle, Limits, Order, View};
use identity::Identity;
use journal::{Journal, Keeper};
use kernel::{Decision, Machine, Principal, TokenId};
use nexus::{Command, Message, MessageId, Nexus, Priority, Reply};
use protocols::{Bells, Draft, Protocol, Reference, Runtime};
use supervisors::{Backoff, Child, ChildRef, Exhausted, Strategy, Supervisor, Tree};
use tempfile::TempDir;
use tokens::{Grant, Issue, Tokens};

pub const LONG: Duration = Duration::from_hours(1);
pub const OPEN: &str = "@id(\"all\") permit (principal, action, resource);";
const ROOT: &str = "the operator's secret";

/// The parts, before anything runs: protocols are added to it.
pub struct Plan {
    dir: Arc<TempDir>,
    journal: Journal,
    clock: Clock,
    nexus: Handle<Nexus>,
    door: Arc<Door>,
    runtime: Runtime,
    protocols: Vec<Child>,
    lists: Vec<(String, Vec<String>, Vec<String>)>,
}

impl Plan {
    pub fn new() -> Self {
        Self::over(Arc::new(tempfile::tempdir().unwrap()))
    }

    pub fn over(dir: Arc<TempDir>) -> Self {
        let journal = Journal::new(&dir.path().join("journal"), journal::Limits::default());
        let (clock, limits) = (Clock::system(), Limits::default());
        let (governance_view, tokens_view, bells) = (
            Arc::new(Follower::<Governance>::default()),
            Arc::new(Follower::<Tokens>::default()),
            Arc::<Bells>::default(),
        );
        let view: Arc<dyn View<Governance>> = governance_view.clone();
        let governance = Handle::new(&journal, &clock, limits, Some(view));
        let identity_view = Arc::new(Follower::<Identity>::default());
        let view: Arc<dyn View<Identity>> = identity_view.clone();
        let identity = Handle::new(&journal, &clock, limits, Some(view));
        let view: Arc<dyn View<Tokens>> = tokens_view.clone();
        let tokens = Handle::new(&journal, &clock, limits, Some(view));
        let view: Arc<dyn View<Nexus>> = bells.clone();
        let nexus = Handle::new(&journal, &clock, limits, Some(view));
        let decisions = Handle::<Decisions>::new(&journal, &clock, limits, None);
        let outcomes_view = Arc::new(Follower::<Outcomes>::default());
        let view: Arc<dyn View<Outcomes>> = outcomes_view.clone();
        let outcomes = (Handle::new(&journal, &clock, limits, Some(view)), outcomes_view);
        let seal = Seal::new(&dir.path().join("sealed"));
        let (governance, identity) = ((governance, governance_view), (identity, identity_view));
        let door = Door::new(clock.clone(), governance, identity, (tokens, tokens_view), decisions, outcomes, seal);
        let door = Arc::new(door);
        let runtime = Runtime::new(&door, &nexus, &clock, &bells);
        Self { dir, journal, clock, nexus, door, runtime, protocols: Vec::new(), lists: Vec::new() }
    }

    /// A protocol, admitted with its lists once the tree runs.
    pub fn protocol<P: Protocol>(
        &mut self,
        name: &str,
        lists: (&[&str], &[&str]),
        permits: usize,
        make: impl Fn() -> P + Send + Sync + 'static,
    ) -> Reference<P> {
        let [depends_on, speaks_to] =
            [lists.0, lists.1].map(|list| list.iter().map(ToString::to_string).collect::<Vec<_>>());
        let limits = protocols::Limits { permits };
        let (reference, child) = self.runtime.protocol(name, &depends_on, limits, make).unwrap();
        self.protocols
            .push(child.budget(10_000, LONG).backoff(Backoff::exp(Duration::from_millis(1), Duration::from_millis(2))));
        self.lists.push((name.to_owned(), depends_on, speaks_to));
        reference
    }

    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    pub async fn start(self) -> World {
        let Self { dir, journal, clock, nexus, door, protocols, lists, .. } = self;
        let (kept, keeper) = (journal.clone(), ChildRef::new("journal"));
        let root = Supervisor::new("root", Strategy::OneForOne)
            .on_exhausted(Exhausted::Quarantine)
            .child(Child::actor(&keeper, move || (Keeper, kept.clone())))
            .child(door.governance().child())
            .child(door.identity().child())
            .child(door.tokens().child())
            .child(door.decisions().child())
            .child(door.outcomes().child())
            .child(nexus.child());
        let root = protocols.into_iter().fold(root, Supervisor::child);
        let tree = Tree::start(root, 1).await.unwrap();
        let world = World { dir, journal, clock, nexus, door, tree };
        if world.door.governance_view().read(|governance| governance.operators().next().is_none()) {
            let credential = Secret::of(ROOT).digest();
            let bootstrap = governance::Command::Bootstrap { operator: "root".into(), credential };
            world.own(world.door.governance(), bootstrap).await;
            // As the route does.
            let found = identity::Command::Found { operator: "operator/root".parse().unwrap(), secret: credential };
            world.by("internal/route.governance-identity", world.door.identity(), found).await;
            let terms = identity::Terms {
                owner: Some("operator/root".parse().unwrap()),
                can: [identity::Capability::all()].into(),
                until: None,
                attestation: None,
            };
            let (principal, reason) = ("agent/alpha".parse().unwrap(), kernel::Personal::default());
            world.own(world.door.identity(), identity::Command::Admit { principal, terms, reason }).await;
            let propose = governance::Command::Propose { text: OPEN.into() };
            let governance::Reply::Proposed { epoch, .. } = world.own(world.door.governance(), propose).await else {
                panic!("proposed")
            };
            let activate =
                governance::Command::Activate { epoch, expected_active: None, despite_counterexample: false };
            world.own(world.door.governance(), activate).await;
        }
        for (protocol, depends_on, speaks_to) in lists {
            world.let_in(protocol, depends_on, speaks_to).await;
        }
        world
    }
}

pub struct World {
    dir: Arc<TempDir>,
    pub journal: Journal,
    pub clock: Clock,
    pub nexus: Handle<Nexus>,
    pub door: Arc<Door>,
    pub tree: Tree,
}

impl World {
    /// Past the door, as the operator.
    pub async fn own<M: Machine>(&self, machine: &Handle<M>, command: M::Command) -> M::Reply {
        self.by("operator/root", machine, command).await
    }

    async fn by<M: Machine>(&self, who: &str, machine: &Handle<M>, command: M::Command) -> M::Reply {
        let principal = who.parse::<Principal>().unwrap();
        let (command_id, decision) = (self.clock.command_id(), Decision::default());
        done(machine.execute(Order { command, command_id, principal, decision, cause: None, asked: None }).await)
    }

    /// A token for `agent/alpha`.
    pub async fn token(&self, audience: &str, operation: &str) -> (TokenId, Secret) {
        let secret = Secret::generate(door::SecretKind::Token);
        let id = TokenId(u128::from_be_bytes(secret.digest().0[..16].try_into().unwrap()));
        let issue = Issue {
            id,
            secret: secret.digest(),
            grant: Grant::Operation,
            subject: "agent/alpha".parse().unwrap(),
            audience: audience.into(),
            operation: operation.into(),
            uses: Some(2),
            lifetime: None,
            bounds: tokens::Bounds::default(),
        };
        self.own(self.door.tokens(), tokens::Command::Issue(issue)).await;
        (id, secret)
    }

    pub async fn revoke_subject(&self, subject: &str) {
        let command = tokens::Command::RevokeSubject { subject: subject.parse().unwrap() };
        self.own(self.door.tokens(), command).await;
    }

    pub async fn readmit(&self, protocol: &str, speaks_to: &[&str]) {
        self.own(
            &self.nexus,
            Command::Withdraw { protocol: protocol.into(), reason: kernel::Personal::plain("for a test") },
        )
        .await;
        self.admit(protocol, speaks_to).await;
    }

    pub async fn admit(&self, protocol: &str, speaks_to: &[&str]) {
        let speaks_to = speaks_to.iter().map(ToString::to_string).collect();
        self.let_in(protocol.into(), vec![], speaks_to).await;
    }

    async fn let_in(&self, protocol: String, depends_on: Vec<String>, speaks_to: Vec<String>) {
        let admitted = Principal::new(kernel::Kin::Protocol, &protocol).unwrap();
        self.own(&self.nexus, Command::Admit { protocol, depends_on, speaks_to }).await;
        // As the route does.
        let arrive = identity::Command::Arrive { protocol: admitted, can: [identity::Capability::all()].into() };
        self.by("internal/route.nexus-identity", self.door.identity(), arrive).await;
    }

    pub async fn send(&self, to: &str, kind: &str, text: &str, priority: Priority) -> MessageId {
        let message: Message =
            Draft::new(to, kind).text(text).priority(priority).from("operator/root".parse().unwrap());
        match self.own(&self.nexus, Command::Send(message)).await {
            Reply::Sent { id, .. } => id,
            other => panic!("{other:?}"),
        }
    }

    /// Waits until the nexus is as `wanted`.
    pub async fn until(&self, wanted: impl Fn(&Nexus) -> bool + Clone + Send + 'static) {
        let mut durable = self.journal.durable();
        loop {
            durable.borrow_and_update();
            let wanted = wanted.clone();
            if self.nexus.inspect(move |nexus| wanted(nexus)).await.unwrap() {
                return;
            }
            durable.changed().await.unwrap();
        }
    }

    pub fn ask(&self, action: &'static str) -> Ask {
        Ask {
            action,
            resource: "*".into(),
            context: BTreeMap::new(),
            credential: Some(root()),
            command_id: self.clock.command_id(),
            source: door::Source::User(0),
            certificate: None,
            bound: door::Bound::default(),
        }
    }

    /// Ends everything in order, and gives the directory.
    pub async fn end(self) -> Arc<TempDir> {
        assert!(self.tree.shutdown(LONG).await.is_graceful());
        self.journal.close();
        self.dir
    }
}

/// The operator's credential.
pub fn root() -> Secret {
    Secret::of(ROOT)
}

fn done<M: Machine>(answer: Result<Answer<M>, Error>) -> M::Reply {
    match answer.unwrap().outcome {
        Ok(reply) => reply,
        Err(refusal) => panic!("{refusal}"),
    }
}
