//! A door over real hosts in a tree, over a journal in a directory, with a clock that stands until it is moved.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use approvals::Approvals;
use door::{
    Ask, Carriers, Carries, Checking, Credential, Decisions, Denied, Done, Door, Follower, Foreign, Gate, Hand,
    Issuers, Known, Limits as Rate, Outcomes, Promise, Seal, Secret, Sight, Sought, Things, Trace, Unread, Verdict,
    judge,
};
use governance::Governance;
use host::{Answer, Clock, Error, Handle, Limits, Order, View};
use identity::Identity;
use journal::envelope::Record;
use journal::store::{Group, Log, StoreError};
use journal::{Journal, Keeper};
use kernel::{
    CommandId, CredentialId, Decision, Denial, Digest, Layer, Machine, Millis, Personal, Position, Principal,
};
use kernel::{Recorded, Timestamp, TokenId};
use policy::{Policies, Value};
use proofs::{Proofs, Receipt};
use supervisors::{ChildRef, Exhausted, NodeState, Strategy, Supervisor, Tree};
use tempfile::TempDir;
use tokens::{Grant, Issue, Tokens, UseState};

use crate::shelf::{Command, Shelf};

pub const NOON: Timestamp = Timestamp(1_800_000_000_000);
pub const LONG: Duration = Duration::from_hours(1);
pub const ROOT: &str = "the operator's secret";
pub const OPEN: &str = "@id(\"all\") permit (principal, action, resource);";

/// How the disk answers a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Pass,
    /// The sync does not come back until the mode changes.
    Hold,
    /// Fails; whether the group was `written` cannot be seen from outside.
    Fail {
        written: bool,
    },
}

#[derive(Clone)]
pub struct Disk(Arc<(Mutex<Switch>, Condvar)>);

struct Switch {
    mode: Mode,
    /// Groups that pass before the mode holds.
    first: u64,
}

impl Default for Disk {
    fn default() -> Self {
        Self(Arc::new((Mutex::new(Switch { mode: Mode::Pass, first: 0 }), Condvar::new())))
    }
}

impl Disk {
    pub fn set(&self, mode: Mode) {
        self.after(0, mode);
    }

    /// Lets `first` groups pass, then does as `mode` says.
    pub fn after(&self, first: u64, mode: Mode) {
        *self.0.0.lock().unwrap() = Switch { mode, first };
        self.0.1.notify_all();
    }
}

struct Told {
    log: Box<dyn Log>,
    disk: Disk,
}

impl Log for Told {
    fn append_group(&mut self, group: &Group) -> Result<(), StoreError> {
        let (switch, changed) = &*self.disk.0;
        let mut held = switch.lock().unwrap();
        if 0 < held.first {
            held.first -= 1;
            return self.log.append_group(group);
        }
        let mode = changed.wait_while(held, |switch| switch.mode == Mode::Hold).unwrap().mode;
        match mode {
            Mode::Pass | Mode::Hold => self.log.append_group(group),
            Mode::Fail { written } => {
                if written {
                    self.log.append_group(group)?;
                }
                Err(StoreError::Io { why: "EIO".into() })
            }
        }
    }
}

/// The one thing that there is to act upon.
struct Thing(Arc<Mutex<Option<u8>>>);

impl Things for Thing {
    fn now<'a>(&'a self, _: &'a str, _: &'a str) -> Known<'a> {
        let unknown = || Denial::new(Layer::Availability, "approvals.target_unknown", "it cannot be known", "wait");
        let thing = self.0.lock().unwrap().map(|thing| Some(Digest([thing; 32]))).ok_or_else(unknown);
        Box::pin(std::future::ready(thing))
    }
}

/// How the gate behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attitude {
    /// All evidence proves what it is for.
    Believes,
    Refuses,
    IsDown,
    CannotSign,
    /// It believes, and knows nothing of what it signed.
    Disowns,
    /// It cannot tell now what it signed.
    Doubts,
}

struct Gatekeeper(Arc<Mutex<Attitude>>);

impl Gatekeeper {
    fn answer<T>(&self, no: Attitude, code: &str, yes: T) -> Result<T, Denial> {
        let no = *self.0.lock().unwrap() == no;
        if no { Err(Denial::new(Layer::Decide, code, "it is not so", "mend it")) } else { Ok(yes) }
    }
}

impl Gate for Gatekeeper {
    fn check<'a>(&'a self, _: Checking<'a>) -> Promise<'a, ()> {
        let refused = self.answer(Attitude::Refuses, "test.refused", ());
        Box::pin(std::future::ready(refused.and(self.answer(Attitude::IsDown, "test.down", ()))))
    }

    fn sign(&self, text: String) -> Promise<'_, String> {
        let signed = self.answer(Attitude::CannotSign, "test.unsigned", format!("signed: {text}"));
        Box::pin(std::future::ready(signed))
    }

    fn is_signed(&self, receipt: &Receipt) -> Option<bool> {
        let (note, text) = (&receipt.checked.note, receipt.text());
        match *self.0.lock().unwrap() {
            Attitude::Doubts => None,
            attitude => Some(attitude != Attitude::Disowns && note.strip_prefix("signed: ") == Some(text.as_str())),
        }
    }
}

/// One issuer elsewhere. Its tokens say in the second of their parts what is wrong with them, if something is.
struct Elsewhere;

/// What it signed about somebody, good for five minutes from noon, or what has this fault.
pub fn foreign(fault: &str) -> String {
    format!("ey.{fault}.signature")
}

pub const ISSUER: &str = "https://idp.example";

impl Issuers for Elsewhere {
    fn claimed(&self, token: &str) -> Option<u32> {
        (!token.contains("issuer")).then_some(0)
    }

    fn name(&self, _: u32) -> &str {
        ISSUER
    }

    fn read(&self, token: &str, _: Timestamp) -> Result<Foreign, Unread> {
        let until = NOON + Millis::minutes(5);
        let keys_until = if token.contains("old") { NOON } else { until + Millis(1) };
        let from = if token.contains("early") { NOON + Millis::minutes(1) } else { NOON };
        match token.split('.').nth(1) {
            Some("good" | "old" | "early") => Ok(Foreign {
                issuer: ISSUER.into(),
                subject: "alpha".into(),
                claims: Vec::new(),
                from,
                until,
                keys_until,
            }),
            Some("issuer") => Err(Unread::Issuer),
            Some("algorithm") => Err(Unread::Algorithm),
            Some("key") => Err(Unread::Key),
            Some("signature") => Err(Unread::Signature),
            Some("audience") => Err(Unread::Audience),
            Some("claim") => Err(Unread::Claim),
            Some("stale") => Err(Unread::KeysStale),
            _ => Err(Unread::Malformed),
        }
    }
}

/// Reads the forms of [`form`]. So many keys were revoked.
struct Forms(Arc<AtomicU64>);

/// The bearer form of a token, with words of what was taken off, `;` between them, or with the code of what is wrong with it.
pub fn form(token: u8, words: &str) -> String {
    format!("sop_bt_{token}:{words}")
}

struct Form {
    token: TokenId,
    words: Vec<String>,
}

impl Form {
    fn words(&self, name: &str) -> impl Iterator<Item = &str> {
        self.words.iter().filter_map(move |word| word.strip_prefix(name)?.strip_prefix('='))
    }
}

impl Carries for Form {
    fn token(&self) -> TokenId {
        self.token
    }

    fn signed_by(&self) -> String {
        "token-root.1".to_owned()
    }

    fn hands(&self) -> Vec<Hand> {
        let hand = |to: &str| Hand {
            from: "agent/alpha".parse().unwrap(),
            to: to.parse().unwrap(),
            key: Some(format!("ed25519/{}", "0".repeat(64))),
        };
        self.words("to").map(hand).collect()
    }

    fn is_narrowed(&self) -> bool {
        !self.words.is_empty()
    }

    fn permits(&self, sought: &Sought<'_>) -> Result<(), Denial> {
        let is_met = self.words("at").all(|at| sought.audience == Some(at))
            && self.words("does").all(|does| does == sought.operation || sought.work == Some(does))
            && self.words("on").all(|on| on == sought.target)
            && self.words("until").all(|until| sought.now.0 < until.parse().unwrap());
        if is_met {
            return Ok(());
        }
        Err(Denial::new(Layer::Token, "bearer.not_for", "it is not good for that", "use it for what it says"))
    }
}

impl Carriers for Forms {
    fn read(&self, text: &str, _: Timestamp) -> Result<Arc<dyn Carries>, Denial> {
        let no = |code: &str, layer| Err(Denial::new(layer, code, "it does not count", "show another"));
        let (token, words) = text.strip_prefix("sop_bt_").and_then(|text| text.split_once(':')).unwrap_or_default();
        let Ok(token) = token.parse::<u8>() else { return no("bearer.malformed", Layer::Token) };
        match words {
            "busy" => no("bearer.busy", Layer::Availability),
            fault if fault.starts_with("bearer.") => no(fault, Layer::Token),
            _ if self.0.load(Ordering::SeqCst) != 0 => no("bearer.key_revoked", Layer::Token),
            words => {
                let words = words.split(';').filter(|word| !word.is_empty()).map(ToOwned::to_owned).collect();
                Ok(Arc::new(Form { token: TokenId(token.into()), words }))
            }
        }
    }

    fn generation(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// How long a receipt is good.
pub const RECEIPT_LIFE: Millis = Millis::minutes(5);

type Meanwhile = Box<dyn FnOnce() + Send>;

/// What a world is made of; the defaults are those of a small, healthy one.
#[derive(Clone)]
pub struct Setup {
    pub dir: Arc<TempDir>,
    pub now: Arc<AtomicU64>,
    /// Done once, when a thread of this name next looks at the clock.
    pub meanwhile: Arc<Mutex<Option<Meanwhile>>>,
    pub reserve_bytes: u64,
    /// That the shelf keeps.
    pub outcomes: usize,
    /// The same of the tokens.
    pub uses: usize,
    /// Commands that governance takes at once.
    pub permits: usize,
    pub disk: Disk,
    pub seal: Option<PathBuf>,
    /// How often one may ask.
    pub rate: Rate,
    /// What there is to act upon; nothing, if that cannot be known.
    pub thing: Arc<Mutex<Option<u8>>>,
    /// How evidence is taken.
    pub gate: Arc<Mutex<Attitude>>,
    /// So many of the keys that sign bearer forms were revoked.
    pub keys_revoked: Arc<AtomicU64>,
    /// What who listens was told.
    pub traces: Arc<Mutex<Vec<Trace>>>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            dir: Arc::new(tempfile::tempdir().unwrap()),
            now: Arc::new(AtomicU64::new(NOON.0)),
            meanwhile: Arc::default(),
            reserve_bytes: 0,
            outcomes: 1_000,
            uses: Limits::default().outcomes,
            permits: 1_000,
            disk: Disk::default(),
            seal: None,
            rate: Rate::default(),
            thing: Arc::new(Mutex::new(Some(0))),
            gate: Arc::new(Mutex::new(Attitude::Believes)),
            keys_revoked: Arc::default(),
            traces: Arc::default(),
        }
    }
}

/// The id of the credential that the operator has had from the beginning: of the digest of its secret.
pub fn root_credential() -> CredentialId {
    let digest = Secret::of(ROOT).digest();
    CredentialId(u64::from_be_bytes(digest.0[..8].try_into().unwrap()))
}

pub const HASTY: &str = "hasty";

impl Setup {
    pub fn seal_file(&self) -> PathBuf {
        self.seal.clone().unwrap_or_else(|| self.dir.path().join("sealed"))
    }

    /// What is acted upon is now another.
    pub fn set_thing(&self, thing: u8) {
        *self.thing.lock().unwrap() = Some(thing);
    }

    pub fn set_gate(&self, attitude: Attitude) {
        *self.gate.lock().unwrap() = attitude;
    }

    pub fn thing_is_unknown(&self) {
        *self.thing.lock().unwrap() = None;
    }

    fn clock(&self) -> Clock {
        let (now, meanwhile) = (self.now.clone(), self.meanwhile.clone());
        Clock::from_fn(move || {
            if std::thread::current().name() == Some(HASTY) {
                let act = meanwhile.lock().unwrap().take();
                if let Some(act) = act {
                    act();
                }
            }
            Timestamp(now.load(Ordering::SeqCst))
        })
    }

    pub async fn start(self) -> World {
        let disk = self.disk.clone();
        let limits = journal::Limits { reserve_bytes: self.reserve_bytes, ..journal::Limits::default() };
        let wrap = move |log| Box::new(Told { log, disk: disk.clone() }) as Box<dyn Log>;
        let journal = Journal::with_log(&self.dir.path().join("journal"), limits, Box::new(wrap));
        let (clock, limits) = (self.clock(), Limits::default());
        let (governance_view, tokens_view) =
            (Arc::new(Follower::<Governance>::default()), Arc::new(Follower::<Tokens>::default()));
        let view: Arc<dyn View<Governance>> = governance_view.clone();
        let governance = Handle::new(&journal, &clock, Limits { permits: self.permits, ..limits }, Some(view));
        let identity_view = Arc::new(Follower::<Identity>::default());
        let view: Arc<dyn View<Identity>> = identity_view.clone();
        let identity = Handle::new(&journal, &clock, limits, Some(view));
        let view: Arc<dyn View<Tokens>> = tokens_view.clone();
        let tokens = Handle::new(&journal, &clock, Limits { outcomes: self.uses, ..limits }, Some(view));
        let decisions = Handle::<Decisions>::new(&journal, &clock, limits, None);
        let outcomes_view = Arc::new(Follower::<Outcomes>::default());
        let view: Arc<dyn View<Outcomes>> = outcomes_view.clone();
        let outcomes = Handle::<Outcomes>::new(&journal, &clock, limits, Some(view));
        let kept = Limits { outcomes: self.outcomes, ..limits };
        let things = Handle::<Shelf>::new(&journal, &clock, kept, None);
        let seal = Seal::new(&self.seal_file());
        let approvals_view = Arc::new(Follower::<Approvals>::default());
        let view: Arc<dyn View<Approvals>> = approvals_view.clone();
        let approvals = Handle::new(&journal, &clock, limits, Some(view));
        let door = Door::new(
            clock.clone(),
            (governance.clone(), governance_view),
            (identity.clone(), identity_view),
            (tokens.clone(), tokens_view),
            decisions.clone(),
            (outcomes.clone(), outcomes_view),
            seal,
        );
        let door = door.with_issuers(Arc::new(Elsewhere));
        let door = door.with_carriers(Arc::new(Forms(self.keys_revoked.clone())));
        let traces = self.traces.clone();
        let door = door.with_tell(Box::new(move |trace| traces.lock().unwrap().push(trace)));
        let door = door.with_past(&journal);
        let thing = Box::new(Thing(self.thing.clone()));
        let door = door.with_limits(self.rate).with_approvals(approvals.clone(), approvals_view.clone(), thing);
        let proofs_view = Arc::new(Follower::<Proofs>::default());
        let view: Arc<dyn View<Proofs>> = proofs_view.clone();
        let proofs = Handle::new(&journal, &clock, limits, Some(view));
        let gate = Box::new(Gatekeeper(self.gate.clone()));
        let door = Arc::new(door.with_proofs(proofs.clone(), proofs_view.clone(), gate, RECEIPT_LIFE));
        let kept = journal.clone();
        let keeper = ChildRef::new("journal");
        let root = Supervisor::new("root", Strategy::OneForOne)
            .child(supervisors::Child::actor(&keeper, move || (Keeper, kept.clone())))
            .child(governance.child().budget(0, LONG).on_exhausted(Exhausted::Quarantine))
            .child(identity.child().budget(0, LONG).on_exhausted(Exhausted::Quarantine))
            .child(tokens.child().budget(0, LONG).on_exhausted(Exhausted::Quarantine))
            .child(decisions.child().budget(0, LONG).on_exhausted(Exhausted::Quarantine))
            .child(outcomes.child().budget(0, LONG).on_exhausted(Exhausted::Quarantine))
            .child(approvals.child().budget(0, LONG).on_exhausted(Exhausted::Quarantine))
            .child(proofs.child().budget(0, LONG).on_exhausted(Exhausted::Quarantine))
            .child(things.child().budget(0, LONG).on_exhausted(Exhausted::Quarantine));
        let tree = Tree::start(root, 1).await.unwrap();
        World {
            setup: self,
            journal,
            clock,
            governance,
            identity,
            tokens,
            approvals,
            approvals_view,
            proofs,
            proofs_view,
            shelf: things,
            door,
            tree,
        }
    }
}

pub struct World {
    pub setup: Setup,
    pub journal: Journal,
    clock: Clock,
    pub governance: Handle<Governance>,
    pub identity: Handle<Identity>,
    pub tokens: Handle<Tokens>,
    pub approvals: Handle<Approvals>,
    pub approvals_view: Arc<Follower<Approvals>>,
    pub proofs: Handle<Proofs>,
    pub proofs_view: Arc<Follower<Proofs>>,
    pub shelf: Handle<Shelf>,
    pub door: Arc<Door>,
    pub tree: Tree,
}

impl Drop for World {
    /// A test that ends early must not leave the committer waiting.
    fn drop(&mut self) {
        self.setup.disk.set(Mode::Pass);
    }
}

impl World {
    /// With an operator, and a policy that permits everything to everybody.
    pub async fn open() -> Self {
        Self::with(Setup::default(), OPEN).await
    }

    pub async fn with(setup: Setup, policy: &str) -> Self {
        let world = setup.start().await;
        world.bootstrap().await;
        world.activate(policy).await;
        world
    }

    /// Ends the process, as far as the hosts can tell, and starts another over the same directory.
    pub async fn again(self) -> Self {
        self.again_with(|_| ()).await
    }

    pub async fn again_with(self, change: impl FnOnce(&mut Setup)) -> Self {
        self.tree.shutdown(LONG).await;
        self.journal.close();
        let mut setup = Setup { disk: Disk::default(), ..self.setup.clone() };
        change(&mut setup);
        drop(self);
        setup.start().await
    }

    pub async fn bootstrap(&self) {
        let credential = Secret::of(ROOT).digest();
        done(
            self.governance
                .execute(self.own(governance::Command::Bootstrap { operator: "root".into(), credential }))
                .await,
        );
        // As the route does.
        let found = identity::Command::Found { operator: "operator/root".parse().unwrap(), secret: credential };
        let route = Principal::internal("route.governance-identity");
        done(self.identity.execute(Order { principal: route, ..self.own(found) }).await);
    }

    /// Past the door, as the operator.
    pub async fn identify(&self, command: identity::Command) -> identity::Reply {
        done(self.identity.execute(self.own(command)).await)
    }

    pub async fn admit(&self, principal: &str, can: &str, until: Option<Timestamp>) {
        let principal: Principal = principal.parse().unwrap();
        let owner = (principal.kin != kernel::Kin::Operator).then(|| "operator/root".parse().unwrap());
        let terms = identity::Terms { owner, can: [can.parse().unwrap()].into(), until, attestation: None };
        self.identify(identity::Command::Admit { principal, terms, reason: Personal::default() }).await;
    }

    /// Past the door, as the operator.
    pub async fn activate(&self, text: &str) -> u64 {
        let proposed = self.governance.execute(self.own(governance::Command::Propose { text: text.into() })).await;
        let governance::Reply::Proposed { epoch, .. } = done(proposed) else { panic!("proposed") };
        done(
            self.governance
                .execute(self.own(governance::Command::Activate {
                    epoch,
                    expected_active: None,
                    despite_counterexample: false,
                }))
                .await,
        );
        epoch
    }

    /// Past the door, a token for `agent/alpha` with its number as its secret.
    pub async fn issue(&self, number: u8, operation: &str, uses: u32) -> TokenId {
        self.issue_to("agent/alpha", number, operation, uses, Grant::Operation).await
    }

    pub async fn issue_to(&self, who: &str, number: u8, operation: &str, uses: u32, grant: Grant) -> TokenId {
        self.issue_for(door::AUDIENCE, who, number, operation, uses, grant).await
    }

    pub async fn issue_for(
        &self,
        audience: &str,
        who: &str,
        number: u8,
        operation: &str,
        uses: u32,
        grant: Grant,
    ) -> TokenId {
        let id = TokenId(number.into());
        let subject: Principal = who.parse().unwrap();
        if self.door.identity_view().read(|identity| identity.show(&subject).is_none()) {
            self.admit(who, "*", None).await;
        }
        let command = tokens::Command::Issue(Issue {
            id,
            secret: Secret::of(&secret(number)).digest(),
            grant,
            subject: who.parse().unwrap(),
            audience: audience.into(),
            operation: operation.into(),
            uses: Some(uses),
            lifetime: None,
            bounds: tokens::Bounds::default(),
        });
        done(self.tokens.execute(self.own(command)).await);
        id
    }

    pub async fn revoke(&self, id: TokenId) {
        let command = tokens::Command::Revoke { id, reason: tokens::Reason::Withdrawn };
        done(self.tokens.execute(self.own(command)).await);
    }

    pub async fn revoke_subject(&self, subject: &str) {
        let command = tokens::Command::RevokeSubject { subject: subject.parse().unwrap() };
        done(self.tokens.execute(self.own(command)).await);
    }

    /// What the judge says of a request to what is durable now.
    pub fn judged(&self, ask: &Ask) -> Verdict {
        self.door.governance_view().read(|governance| {
            let policies = Policies::compile(governance.active_text()).unwrap();
            let identity = self.door.identity_view().read(Identity::clone);
            self.door.tokens_view().read(|tokens| {
                judge(&Sight {
                    now: self.now(),
                    governance,
                    identity: &identity,
                    tokens,
                    policies: Ok(&policies),
                    sealed: self.door.sealed().as_ref(),
                    generation: self.generation(),
                    action: ask.action,
                    resource: &ask.resource,
                    context: &ask.context,
                    credential: ask
                        .credential
                        .as_ref()
                        .map_or(Credential::Nothing, |secret| Credential::Secret(secret.digest())),
                    certificate: ask.certificate.as_deref(),
                    approved: door::Approved::default(),
                    proven: &BTreeSet::new(),
                })
            })
        })
    }

    fn own<C>(&self, command: C) -> Order<C> {
        self.by("operator/root", command)
    }

    /// What `who` says, past the door.
    pub fn by<C>(&self, who: &str, command: C) -> Order<C> {
        Order {
            command,
            command_id: self.clock.command_id(),
            principal: who.parse::<Principal>().unwrap(),
            decision: Decision::default(),
            cause: None,
            asked: None,
        }
    }

    pub async fn put(&self, ask: &Ask, things: u64) -> Result<Done<Shelf>, Denied> {
        self.door.perform(ask, &self.shelf, Command::Put { things }).await
    }

    /// What who listens was told since he was last asked.
    pub fn traces(&self) -> Vec<Trace> {
        std::mem::take(&mut *self.setup.traces.lock().unwrap())
    }

    pub async fn on_shelf(&self) -> u64 {
        self.shelf.inspect(|shelf| shelf.0).await.unwrap()
    }

    pub fn later(&self, span: Millis) {
        self.setup.now.fetch_add(span.0, Ordering::SeqCst);
    }

    /// The clock is set back.
    pub fn earlier(&self, span: Millis) {
        self.setup.now.fetch_sub(span.0, Ordering::SeqCst);
    }

    pub fn now(&self) -> Timestamp {
        Timestamp(self.setup.now.load(Ordering::SeqCst))
    }

    /// Ends a host for good: it is not restarted by itself.
    pub async fn kill<M: Machine>(&self, handle: &Handle<M>) {
        let path = format!("root/{}", M::NAME);
        self.tree.kill(&path).await.unwrap();
        let is_down = || matches!(self.tree.snapshot().find(&path).unwrap().state, NodeState::Quarantined { .. });
        while handle.is_up() || !is_down() {
            tokio::task::yield_now().await;
        }
    }

    pub async fn restart<M: Machine>(&self, handle: &Handle<M>) {
        self.tree.restart(&format!("root/{}", M::NAME)).await.unwrap();
        handle.up().await;
    }

    /// The facts of a stream, and the refusals.
    pub fn records(&self, stream: &str) -> Vec<Record> {
        let all = self.journal.read_stream(stream, Position(1), Position(u64::MAX), usize::MAX).unwrap();
        all.into_iter().filter(|record| 2 <= record.kind_id).collect()
    }

    pub fn decisions(&self) -> Vec<door::Event> {
        let read = |record: &Record| journal::codec::read((record.kind_id, record.schema), &record.body).unwrap();
        self.records("decisions").iter().map(read).collect()
    }

    pub fn kinds<E: Recorded>(&self, stream: &str) -> Vec<&'static str> {
        let name = |record: &Record| {
            E::KINDS.iter().find(|kind| kind.id == record.kind_id).map_or("concluded", |kind| kind.name)
        };
        self.records(stream).iter().map(name).collect()
    }

    /// The spent uses of a token and what is known of each.
    pub fn uses(&self, id: TokenId) -> Vec<(u32, UseState)> {
        let now = self.now();
        let uses = self.door.tokens_view().read(|tokens| tokens.uses(id, now)).unwrap();
        uses.into_iter().map(|spent| (spent.number, spent.state)).collect()
    }

    pub fn left(&self, id: TokenId) -> u32 {
        let now = self.now();
        self.door.tokens_view().read(|tokens| tokens.show(id, now)).unwrap().left
    }

    pub fn stop(&self) -> Option<governance::Stop> {
        self.door.governance_view().read(|governance| governance.stop().cloned())
    }

    pub fn generation(&self) -> u64 {
        self.governance.durable().0 + self.identity.durable().0 + self.tokens.durable().0
    }
}

pub fn done<M: Machine>(answer: Result<Answer<M>, Error>) -> M::Reply {
    match answer.unwrap().outcome {
        Ok(reply) => reply,
        Err(refusal) => panic!("{refusal}"),
    }
}

pub fn secret(number: u8) -> String {
    format!("the secret of token {number}")
}

/// The `number`-th command id made at `at`.
pub fn id_at(at: Timestamp, number: u8) -> CommandId {
    CommandId::new(at, [number; 10])
}

/// By the operator, at noon.
pub fn ask(number: u8, action: &'static str, resource: &str) -> Ask {
    Ask {
        action,
        resource: resource.into(),
        context: BTreeMap::new(),
        credential: Some(Secret::of(ROOT)),
        command_id: id_at(NOON, number),
        source: door::Source::User(1_000),
        certificate: None,
        bound: door::Bound::default(),
    }
}

pub fn by(secret: &str, ask: Ask) -> Ask {
    Ask { credential: Some(Secret::of(secret)), ..ask }
}

/// By the bearer of a token.
pub fn bearing(token: u8, ask: Ask) -> Ask {
    by(&secret(token), ask)
}

pub fn with(mut ask: Ask, name: &str, value: impl Into<Value>) -> Ask {
    ask.context.insert(name.into(), value.into());
    ask
}

/// An answer in a word or two: `7`, `7, again`, or the code of a denial.
pub fn told(answer: Result<Done<Shelf>, Denied>) -> String {
    match answer {
        Ok(Done { reply, repeated: true, .. }) => format!("{reply}, again"),
        Ok(Done { reply, .. }) => reply.to_string(),
        Err(Denied { denial, .. }) => denial.code,
    }
}

/// `allowed`, or the code of the denial.
pub fn word<T>(answer: Result<T, Denied>) -> String {
    answer.map_or_else(|denied| denied.denial.code, |_| "allowed".to_owned())
}

pub const NOBODYS: Digest = Digest([9; 32]);

/// A reason, as whoever has the keys would give it.
pub fn said(reason: &str) -> impl FnOnce(Principal) -> std::future::Ready<Option<Personal>> {
    let reason = Personal::plain(reason);
    |_| std::future::ready(Some(reason))
}
