//! The work of one client: it issues, consumes and revokes tokens, scans, claims, leases and releases, takes back all that an
//! agent may do, writes to protocols, asks for backups, sometimes forges, and says at once when it is told something that
//! cannot be.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bearer::Narrower;
use door::{Secret, SecretKind};
use kernel::{CommandId, Digest, Kin, Principal, Timestamp};
use serde_json::{Value, json};

use crate::authority::root;
use crate::{Client, Dice, Told};

/// A line that a scan takes for something still to be done.
const MARKER: &str = concat!("// TO", "DO: mend this\n");

/// A protocol that is admitted and does not run: what is written to it waits, or dies of old age.
const INBOX: &str = "inbox";

/// What all workers share.
#[derive(Default)]
pub struct Pool {
    /// Single-use tokens that everybody may try to use.
    tokens: Mutex<Vec<Held>>,
    /// A protocol that runs and is written to, too.
    reader: Option<String>,
    backups: Option<Mutex<Backups>>,
}

/// When backups are asked for: seldom, and less so the longer it takes, for each holds all before it.
struct Backups {
    /// Turns that have been taken, by all together.
    turns: u64,
    /// The turn that asks for the next one.
    next: u64,
}

/// A token, with the secret, or with its bearer form instead.
#[derive(Clone, Debug)]
struct Held {
    id: String,
    secret: Secret,
    left: u32,
}

/// One worker.
pub struct Worker {
    pub client: Client,
    name: String,
    agent: Principal,
    operator: Secret,
    dice: Dice,
    pool: Arc<Pool>,
    /// What this one scans, and where it leaves its marker.
    root: PathBuf,
    own: Vec<Held>,
    /// A todo that is held, with the secret of its token.
    claim: Option<(Value, Secret)>,
    /// A lease that was asked for, held or waiting.
    lease: Option<String>,
    /// Whether this one has seen to it that its agent may ask for anything.
    admitted: bool,
    /// Whether this one has seen to it that there is an inbox.
    inbox: bool,
}

impl Worker {
    pub fn new(number: usize, client: Client, operator: Secret, dice: Dice, pool: Arc<Pool>, root: &Path) -> Self {
        let name = format!("c{number}");
        let agent = Principal::new(Kin::Agent, &name).expect("a name");
        Self {
            client,
            name,
            agent,
            operator,
            dice,
            pool,
            root: root.to_owned(),
            own: Vec::new(),
            claim: None,
            lease: None,
            admitted: false,
            inbox: false,
        }
    }

    /// Does one thing, of one or more commands.
    ///
    /// # Panics
    /// If it is told what cannot be.
    pub async fn turn(&mut self) {
        if !self.admitted {
            let terms = json!({ "principal": self.agent, "owner": root(), "can": ["*"] });
            self.as_operator("security.admit", terms).await.yes();
            self.admitted = true;
        }
        if self.pool.wants_backup() {
            return self.backup().await;
        }
        match self.dice.below(24) {
            0..4 => self.issue().await,
            4..8 => self.consume().await,
            8 => self.revoke().await,
            9 | 10 => self.consume_shared().await,
            11 | 12 => self.work().await,
            13 => self.scan().await,
            14 => self.look().await,
            15..18 => self.lease().await,
            18 => self.revoke_all().await,
            19..22 => self.write().await,
            22 => self.dead_letter().await,
            _ => self.forge().await,
        }
    }

    async fn as_operator(&mut self, action: &'static str, arguments: Value) -> Told {
        let secret = self.operator.clone();
        self.client.ask(Some(&root()), secret.expose(), action, arguments).await
    }

    async fn as_agent(&mut self, bearer: &Secret, action: &'static str, arguments: Value) -> Told {
        let agent = self.agent.clone();
        self.client.ask(Some(&agent), bearer.expose(), action, arguments).await
    }

    async fn issued(&mut self, audience: &str, operation: &str, uses: u32) -> Held {
        let (id, secret) = (self.token_id(), Secret::generate(SecretKind::Token));
        let arguments = json!({
            "id": id, "secret_digest": secret.digest(), "kind": "operation", "subject": self.agent,
            "audience": audience, "operation": operation, "uses": uses, "bearer": self.dice.one_in(2),
        });
        let told = self.as_operator("token.issue", arguments).await.yes();
        // Nothing, if somebody has taken back all of its subject's before the answer.
        let secret = told["bearer"].as_str().map_or(secret, |form| self.narrowed(form, operation));
        Held { id, secret, left: uses }
    }

    /// The same, or one that was handed on with less.
    fn narrowed(&mut self, form: &str, operation: &str) -> Secret {
        if self.dice.one_in(2) {
            return Secret::of(form);
        }
        let hop = Some((self.agent.clone(), root()));
        let narrower = Narrower { operation: Some(operation.to_owned()), hop, ..Narrower::default() };
        let form = bearer::attenuate(form, &narrower, None).expect("it is a form");
        Secret::of(&form)
    }

    async fn issue(&mut self) {
        let shared = self.dice.one_in(3);
        let uses = if shared { 1 } else { 1 + u32::try_from(self.dice.below(3)).expect("small") };
        let held = self.issued("press", "print", uses).await;
        if shared { self.pool.lock().push(held) } else { self.own.push(held) }
    }

    async fn consume(&mut self) {
        if self.own.is_empty() {
            return self.issue().await;
        }
        let place = self.dice.below(self.own.len());
        let (held, request) = (self.own[place].clone(), Digest(self.dice.bytes()));
        let told = self.spend(&held, request).await;
        if held.left == 0 {
            // Of the one use that some have, it is a double spend.
            let spent = ["tokens.exhausted", "tokens.double_spend"];
            assert!(
                told.code().is_some_and(|code| spent.contains(&code)),
                "{}: all uses are spent: {told:?}",
                self.name
            );
            self.own.swap_remove(place);
            return;
        }
        let told = told.yes();
        assert_eq!(told["left"], held.left - 1, "{}: nobody else uses {}", self.name, held.id);
        self.own[place].left -= 1;
        if self.dice.one_in(4) {
            let again = self.spend(&held, request).await.yes();
            assert_eq!((&again["already"], &again["use"]), (&json!(true), &told["use"]), "one request is paid once");
        }
    }

    async fn consume_shared(&mut self) {
        let held = {
            let pool = self.pool.lock();
            if pool.is_empty() { None } else { Some(self.dice.pick(&pool).clone()) }
        };
        let Some(held) = held else { return self.issue().await };
        let request = Digest(self.dice.bytes());
        let told = self.spend(&held, request).await;
        // Everything of its subject may have been revoked meanwhile.
        assert!(matches!(told.code(), None | Some("tokens.double_spend" | "tokens.revoked")), "{told:?}");
        self.pool.lock().retain(|other| other.id != held.id);
    }

    async fn spend(&mut self, held: &Held, request: Digest) -> Told {
        let arguments = json!({
            "id": held.id, "secret": held.secret.expose(), "audience": "press", "operation": "print", "request": request,
        });
        self.as_operator("token.consume", arguments).await
    }

    async fn revoke(&mut self) {
        let Some(held) = self.own.pop() else { return self.issue().await };
        let told = self.as_operator("token.revoke", json!({ "id": held.id })).await.yes();
        // Also one whose uses are all spent: whoever spent them has not said what became of them.
        assert_eq!(told["revoked"], 1, "{}: {} was alive", self.name, held.id);
        let request = Digest(self.dice.bytes());
        let told = self.spend(&held, request).await;
        assert_eq!(told.code(), Some("tokens.revoked"), "{}: revocation is final", self.name);
    }

    /// Takes back all that the agent may do: its tokens end with the answer, what it leases a little later, by a route.
    async fn revoke_all(&mut self) {
        let Some(lease) = self.lease.take() else { return self.lease().await };
        let told = self.as_operator("token.revoke", json!({ "subject": self.agent })).await.yes();
        let alive = self.own.len() as u64;
        assert!(alive <= told["revoked"].as_u64().expect("a number"), "{}: {alive} were alive", self.name);
        for held in std::mem::take(&mut self.own) {
            let request = Digest(self.dice.bytes());
            let told = self.spend(&held, request).await;
            assert_eq!(told.code(), Some("tokens.revoked"), "{}: no token of it works", self.name);
        }
        if let Some((todo, token)) = self.claim.take() {
            let told = self.as_agent(&token, "todo.submit", json!({ "todo": todo, "note": "mended" })).await;
            assert_eq!(told.code(), Some("tokens.revoked"), "{}: nor that of its claim", self.name);
            self.as_operator("todo.release", json!({ "todo": todo })).await.yes();
        }
        let (by, secret) = (root(), self.operator.clone());
        let is_revoked = |shown: &Value| shown["state"] == "revoked";
        self.client.until(&by, secret.expose(), "lease.show", json!({ "lease": lease }), is_revoked).await;
    }

    /// Takes a todo by a token that is good for one claim, or goes on with the one that is held.
    async fn work(&mut self) {
        let Some((todo, token)) = self.claim.clone() else { return self.claim().await };
        let about = json!({ "todo": todo });
        let told = match self.dice.below(3) {
            0 => self.as_agent(&token, "todo.show", about).await,
            1 => self.as_agent(&token, "todo.submit", json!({ "todo": todo, "note": "mended" })).await,
            _ => {
                self.claim = None;
                self.as_agent(&token, "todo.release", about).await
            }
        };
        // A scan may have closed the todo meanwhile, which ends the claim and its token.
        let ended = ["tokens.revoked", "todos.closed", "todos.not_holder"];
        match told.code() {
            None => {}
            Some(code) if ended.contains(&code) => self.claim = None,
            Some(_) => panic!("{}: {told:?}", self.name),
        }
    }

    async fn claim(&mut self) {
        let listed = self.as_operator("todo.list", json!({ "state": "open" })).await.yes();
        let open = listed["todos"].as_array().expect("a list of todos").clone();
        if open.is_empty() {
            return self.scan().await;
        }
        let permit = self.issued("sop", "todo.claim", 1).await;
        for _ in 0..3 {
            let todo = self.dice.pick(&open)["id"].clone();
            let (told, secret) = self.claim_by(&permit, &todo).await;
            match told.code() {
                None => {
                    self.claim = Some((todo, secret));
                    let (told, _) = self.claim_by(&permit, &open[0]["id"]).await;
                    assert_eq!(told.code(), Some("tokens.double_spend"), "{}: one use, one effect", self.name);
                    return;
                }
                // Refused by the todos: the use is given back, and the next claim may have it.
                Some("todos.claimed" | "todos.closed" | "todos.claimed_otherwise") => {}
                // Nobody could say in time that it was to be given back.
                Some("tokens.double_spend") => return,
                Some(_) => panic!("{}: {told:?}", self.name),
            }
        }
    }

    async fn claim_by(&mut self, permit: &Held, todo: &Value) -> (Told, Secret) {
        let secret = Secret::generate(SecretKind::Token);
        let arguments = json!({
            "todo": todo, "holder": self.agent, "token": self.token_id(), "secret_digest": secret.digest(),
        });
        (self.as_agent(&permit.secret, "todo.claim", arguments).await, secret)
    }

    async fn scan(&mut self) {
        let file = self.root.join(format!("{}.rs", self.name));
        if file.exists() {
            std::fs::remove_file(&file).expect("the file is ours");
        } else {
            std::fs::write(&file, MARKER).expect("the directory is ours");
        }
        let wait = self.dice.one_in(2);
        let told = self.as_operator("gap.scan", json!({ "root": self.root, "wait": wait })).await;
        assert!(matches!(told.code(), None | Some("gaps.too_many_scans")), "{}: {told:?}", self.name);
    }

    /// Gives back what is leased, or takes back what waits; else asks for some of a pool that is too small for all.
    async fn lease(&mut self) {
        if let Some(lease) = self.lease.take() {
            let told = self.as_operator("lease.release", json!({ "lease": lease })).await.yes();
            assert_eq!(told["ended"], true, "{}: nobody else ends {lease}", self.name);
            return;
        }
        let pool = json!({ "pool": "presses", "capacity": 9, "unit": "press" });
        self.as_operator("resource.define", pool).await.yes();
        let lease = self.token_id();
        let arguments = json!({
            "lease": lease, "pool": "presses", "owner": self.agent, "amount": 1 + self.dice.below(3),
            "priority": self.dice.below(4), "lifetime_ms": 3_600_000, "wait": self.dice.one_in(2),
        });
        let told = self.as_operator("lease.request", arguments).await;
        match told.code() {
            None => self.lease = Some(lease),
            Some("allocator.exhausted") => {}
            Some(_) => panic!("{}: {told:?}", self.name),
        }
    }

    /// Writes to a protocol, in the operator's name or in the agent's by a token for it.
    async fn write(&mut self) {
        if !self.inbox {
            self.as_operator("protocol.admit", json!({ "protocol": INBOX })).await.yes();
            self.inbox = true;
        }
        let reader = self.pool.reader.clone().filter(|_| self.dice.one_in(2));
        // Nobody reads the inbox: some of it dies soon, and one lane of it becomes full.
        let soon = reader.is_none() && self.dice.one_in(4);
        let priority = match &reader {
            None if self.dice.one_in(2) => "normal",
            _ => *self.dice.pick(&["critical", "high", "normal", "low"]),
        };
        let to = reader.unwrap_or_else(|| INBOX.to_owned());
        let mut arguments = json!({
            "to": to, "priority": priority, "kind": "note", "lifetime_ms": if soon { 1_000 } else { 3_600_000 },
            // What has no other letters is base64 as it is.
            "payload": self.token_id().replace('-', ""),
        });
        let told = if self.dice.one_in(2) {
            arguments["source"] = json!(root());
            self.as_operator("message.send", arguments).await
        } else {
            arguments["source"] = json!(self.agent);
            let permit = self.issued("sop", "message.send", 1).await;
            let told = self.as_agent(&permit.secret, "message.send", arguments.clone()).await;
            if told.code().is_none() {
                let again = self.as_agent(&permit.secret, "message.send", arguments).await;
                assert_eq!(again.code(), Some("tokens.double_spend"), "{}: one use, one message", self.name);
            }
            told
        };
        match told.code() {
            None | Some("nexus.lane_full") => {}
            Some(_) => panic!("{}: {told:?}", self.name),
        }
    }

    /// Has a dead letter wait again, or takes it away.
    async fn dead_letter(&mut self) {
        let dead = self.as_operator("message.dead", json!({})).await.yes();
        let dead = dead["messages"].as_array().expect("a list of messages").clone();
        if dead.is_empty() {
            return self.write().await;
        }
        let message = json!({ "message": self.dice.pick(&dead)["message"] });
        let action = if self.dice.one_in(2) { "message.requeue" } else { "message.discard" };
        let told = self.as_operator(action, message).await;
        // Others look after the same ones.
        match told.code() {
            None | Some("nexus.not_dead" | "nexus.lane_full") => {}
            Some(_) => panic!("{}: {told:?}", self.name),
        }
    }

    /// Asks for a backup, and sometimes waits for it and has it read again.
    async fn backup(&mut self) {
        let wait = self.dice.one_in(2);
        let told = self.as_operator("backup.create", json!({ "wait": wait })).await;
        let made = match told {
            Told::Yes(made) => made,
            Told::No(denial) => return assert_eq!(denial.code, "backup.busy", "{}: {denial}", self.name),
        };
        if !wait {
            return;
        }
        assert!(made["state"] == "complete" || made["state"] == "verified", "{}: {made}", self.name);
        let again = json!({ "backup": made["backup"], "wait": self.dice.one_in(2) });
        let told = self.as_operator("backup.verify", again.clone()).await;
        match told {
            Told::Yes(read) => assert!(again["wait"] == false || read["state"] == "verified", "{}: {read}", self.name),
            Told::No(denial) => assert_eq!(denial.code, "backup.busy", "{}: {denial}", self.name),
        }
    }

    async fn look(&mut self) {
        self.as_operator("audit.list", json!({ "limit": 5 })).await.yes();
        if let Some(held) = self.own.last().cloned() {
            let shown = self.as_operator("token.show", json!({ "id": held.id })).await.yes();
            assert_eq!(shown["left"], held.left, "{}: what was acknowledged is seen", self.name);
        }
    }

    async fn forge(&mut self) {
        let nobody = Secret::generate(SecretKind::Operator);
        let told = self.client.ask(None, nobody.expose(), "token.list", json!({})).await;
        assert_eq!(told.code(), Some("door.unknown_credential"), "{}", self.name);
        let Some(held) = self.own.last().cloned() else { return };
        let told = self.as_agent(&held.secret, "token.list", json!({})).await;
        // The door says of an exhausted token what it cannot do; that it is exhausted is for the consumption to say.
        assert_eq!(told.code(), Some("door.not_capable"), "{}", self.name);
    }

    fn token_id(&mut self) -> String {
        let mut entropy = [0; 10];
        entropy.copy_from_slice(&self.dice.bytes()[..10]);
        CommandId::new(Timestamp(self.dice.roll() >> 17), entropy).to_string()
    }
}

impl Pool {
    /// For workers that ask for backups, too.
    pub fn with_backups() -> Self {
        Self { backups: Some(Mutex::new(Backups { turns: 0, next: 100 })), ..Self::default() }
    }

    /// For workers that write to `protocol`, which runs.
    pub fn with_reader(self, protocol: &str) -> Self {
        Self { reader: Some(protocol.to_owned()), ..self }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Held>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a turn, and says whether it is one for a backup.
    fn wants_backup(&self) -> bool {
        let Some(backups) = &self.backups else { return false };
        let mut backups = backups.lock().unwrap_or_else(PoisonError::into_inner);
        backups.turns += 1;
        let wanted = backups.next <= backups.turns;
        if wanted {
            backups.next *= 3;
        }
        wanted
    }
}
