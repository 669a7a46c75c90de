//! Protocols that run in the authority under test and are killed like everybody else: three in a chain that pass on what
//! they are written, and callers by tokens. A ledger outside of them notes what came to the end of the chain.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use door::{Secret, SecretKind};
use journal::codec;
use journal::envelope::Record;
use kernel::CommandId;
use kit::{Authority, Client, Dice, Ledger, Told, root};
use nexus::{Event, Nexus};
use protocols::{CallError, Cx, Draft, Fault, Letter, Line, Protocol, Reference, Rejected};
use serde_json::json;
use sop::tree::PROTOCOLS;
use sop::{Spawn, System};
use tokio::task::JoinSet;

/// Who is written to, who passes it on, and where it ends.
const NAMES: [&str; 3] = ["source", "relay", "sink"];
const CALLERS: usize = 4;
/// Between two calls of one caller, for there are others.
const PACE: Duration = Duration::from_millis(5);

/// What came to the end of the chain, and how often it was handled there.
type Ends = Arc<Mutex<BTreeMap<Vec<u8>, u64>>>;

/// One of the three.
pub struct Link {
    next: Option<&'static str>,
    ends: Ends,
    calls: u64,
}

impl Protocol for Link {
    type Request = ();
    /// How often this incarnation was asked.
    type Reply = u64;

    fn operation((): &()) -> &'static str {
        "count"
    }

    async fn call(&mut self, (): (), _: &mut Cx) -> Result<u64, Fault> {
        self.calls += 1;
        Ok(self.calls)
    }

    async fn message(&mut self, letter: &Letter, cx: &mut Cx) -> Result<(), Rejected> {
        match self.next {
            Some(next) => {
                let draft = Draft::new(next, letter.kind.clone()).priority(letter.priority);
                cx.post(draft.payload(letter.content_type.clone(), letter.payload.clone()));
            }
            None => *self.ends.lock().unwrap().entry(letter.payload.clone()).or_default() += 1,
        }
        Ok(())
    }
}

/// The chain, in the tree of an authority.
pub struct Chain {
    authority: Authority,
    ends: Ends,
    sink: Reference<Link>,
    called: Arc<Called>,
}

/// What calls came to.
#[derive(Debug, Default)]
pub struct Called {
    pub answered: AtomicU64,
    pub unanswered: AtomicU64,
    /// Revocations that a caller ran into.
    pub revoked: AtomicU64,
}

impl Chain {
    /// Who is to be written to.
    pub const SOURCE: &str = NAMES[0];

    /// Admitted by `operator`, who keeps a ledger like everybody who asks.
    pub async fn spawned(authority: &Authority, operator: &mut Client) -> Self {
        for (at, name) in NAMES.into_iter().enumerate().rev() {
            let next = &NAMES[at + 1..NAMES.len().min(at + 2)];
            let admit = json!({ "protocol": name, "depends_on": next, "speaks_to": next });
            operator.ask(Some(&root()), authority.root.expose(), "protocol.admit", admit).await.yes();
        }
        Self::over(authority, Ends::default(), Arc::default()).await
    }

    /// The same over the next authority.
    pub async fn again(&self, authority: &Authority) -> Self {
        Self::over(authority, self.ends.clone(), self.called.clone()).await
    }

    async fn over(authority: &Authority, ends: Ends, called: Arc<Called>) -> Self {
        let system = System::over(&authority.parts, Duration::from_mins(1)).expect("its operator was made");
        let mut sink = None;
        for (at, name) in NAMES.into_iter().enumerate().rev() {
            let next = NAMES.get(at + 1).copied();
            let spawn = Spawn::new(name);
            let spawn = next.into_iter().fold(spawn, |spawn, next| spawn.depends_on(next).speaks_to(next));
            let noted = ends.clone();
            let made = system.spawn(spawn, move || Link { next, ends: noted.clone(), calls: 0 }).await.unwrap();
            sink = sink.or(Some(made));
        }
        Self { authority: authority.clone(), ends, sink: sink.expect("there is a last one"), called }
    }

    /// Where they are in the tree.
    pub fn paths() -> impl Iterator<Item = String> {
        NAMES.iter().map(|name| format!("{PROTOCOLS}/{name}"))
    }

    /// Starts those who call the end of the chain.
    pub fn callers(&self, seed: u64, stop: &Arc<AtomicBool>, crew: &mut JoinSet<Ledger>) {
        for number in 0..CALLERS {
            let caller = Caller {
                client: Client::new(&format!("caller{number}"), Arc::new(self.authority.clone())),
                operator: self.authority.root.clone(),
                subject: format!("agent/caller{number}"),
                sink: self.sink.clone(),
                called: self.called.clone(),
                dice: Dice::new(seed, 1_000 + number as u64),
            };
            crew.spawn(caller.calls_until(stop.clone()));
        }
    }

    /// Waits until nothing is on its way.
    pub async fn is_empty(&self) {
        let mut durable = self.authority.parts.journal.durable();
        loop {
            durable.borrow_and_update();
            let depth = |nexus: &Nexus| NAMES.iter().flat_map(|name| nexus.depth(name)).sum::<usize>();
            if self.authority.parts.nexus.inspect(depth).await.is_ok_and(|waiting| waiting == 0) {
                return;
            }
            durable.changed().await.expect("the journal is open");
        }
    }

    /// That each message came to the end of the chain exactly once. Answers how many there were.
    pub fn judged(&self, records: &[Record]) -> usize {
        let mut sent: BTreeMap<CommandId, (String, Vec<u8>)> = BTreeMap::new();
        let mut follows: BTreeMap<CommandId, Vec<CommandId>> = BTreeMap::new();
        let mut delivered = BTreeSet::new();
        for record in records {
            match codec::read::<Event>((record.kind_id, record.schema), &record.body) {
                Ok(Event::Sent(letter)) => {
                    if let Some(cause) = letter.cause {
                        follows.entry(cause).or_default().push(letter.message);
                    }
                    sent.insert(letter.message, (letter.destination, letter.payload));
                }
                Ok(Event::Delivered(letter)) => drop(delivered.insert(letter.message)),
                _ => {}
            }
        }
        let mut came = BTreeSet::new();
        for (id, (_, payload)) in sent.iter().filter(|(_, (destination, _))| destination == Self::SOURCE) {
            let mut link = *id;
            for (at, name) in NAMES.into_iter().enumerate() {
                assert_eq!((sent[&link].0.as_str(), &sent[&link].1), (name, payload), "{id} takes its way");
                assert!(delivered.contains(&link), "{id} was delivered to {name}");
                match (follows.get(&link).map(Vec::as_slice).unwrap_or_default(), at + 1 < NAMES.len()) {
                    ([next], true) => link = *next,
                    ([], false) => {}
                    (next, _) => panic!("{next:?} follow from {id} at {name}"),
                }
            }
            came.insert(payload.clone());
        }
        let ends: BTreeSet<_> = self.ends.lock().unwrap().keys().cloned().collect();
        assert_eq!(ends, came, "what was handled is what was sent");
        came.len()
    }

    pub fn called(&self) -> &Called {
        &self.called
    }
}

/// Calls the end of the chain by one token after the other, each of which is revoked in the midst of it.
struct Caller {
    client: Client,
    operator: Secret,
    subject: String,
    sink: Reference<Link>,
    called: Arc<Called>,
    dice: Dice,
}

impl Caller {
    async fn calls_until(mut self, stop: Arc<AtomicBool>) -> Ledger {
        let terms = json!({ "principal": self.subject, "owner": "operator/root", "can": ["protocol.call"] });
        self.as_operator("security.admit", terms).await.yes();
        while !stop.load(Ordering::Relaxed) {
            let id = self.token_id();
            let secret = Secret::generate(SecretKind::Token);
            let issue = json!({
                "id": id, "secret_digest": secret.digest(), "kind": "operation", "subject": self.subject,
                "audience": self.sink.name(), "operation": "count", "uses": 50,
            });
            self.as_operator("token.issue", issue).await.yes();
            let Some(line) = self.line(&secret).await else { continue };
            let revoked = Arc::new(AtomicBool::new(false));
            let mut calls = JoinSet::new();
            for _ in 0..2 {
                calls.spawn(until_revoked(line.clone(), revoked.clone(), self.called.clone()));
            }
            for _ in 0..self.dice.below(10) {
                tokio::time::sleep(PACE).await;
            }
            self.as_operator("token.revoke", json!({ "id": id })).await.yes();
            // Who calls from now on calls after the acknowledgement.
            revoked.store(true, Ordering::SeqCst);
            calls.join_all().await;
        }
        self.client.ledger
    }

    /// A line by a token; `None` if its uses were lost on lines of which nothing was heard.
    async fn line(&self, secret: &Secret) -> Option<Line<Link>> {
        loop {
            match self.sink.line(secret, "count").await {
                Ok(line) => return Some(line),
                Err(denied) if denied.denial.code == "tokens.exhausted" => return None,
                Err(denied) if denied.denial.code == "door.not_capable" => return None,
                Err(_) => tokio::time::sleep(PACE).await,
            }
        }
    }

    async fn as_operator(&mut self, action: &'static str, arguments: serde_json::Value) -> Told {
        let secret = self.operator.clone();
        self.client.ask(Some(&root()), secret.expose(), action, arguments).await
    }

    fn token_id(&mut self) -> String {
        let mut entropy = [0; 10];
        entropy.copy_from_slice(&self.dice.bytes()[..10]);
        CommandId::new(kernel::Timestamp(self.dice.roll() >> 17), entropy).to_string()
    }
}

/// Calls until it is told that the token was revoked, which no call may survive that began after it was acknowledged.
async fn until_revoked(line: Line<Link>, revoked: Arc<AtomicBool>, called: Arc<Called>) {
    loop {
        let after = revoked.load(Ordering::SeqCst);
        match line.call(()).await {
            Ok(_) => {
                assert!(!after, "a call succeeded after the revocation of its token");
                called.answered.fetch_add(1, Ordering::Relaxed);
            }
            Err(CallError::Denied(denial)) if denial.code == "tokens.revoked" => {
                called.revoked.fetch_add(1, Ordering::Relaxed);
                return;
            }
            Err(_) => drop(called.unanswered.fetch_add(1, Ordering::Relaxed)),
        }
        tokio::time::sleep(PACE).await;
    }
}
