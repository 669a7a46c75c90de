//! The work of one client: it issues, consumes and revokes tokens, scans, claims, leases and releases, sometimes forges, and
//! says at once when it is told something that cannot be.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use door::{Secret, SecretKind};
use kernel::{CommandId, Digest, Kin, Principal, Timestamp};
use serde_json::{Value, json};

use crate::authority::root;
use crate::{Client, Dice, Told};

/// A line that a scan takes for something still to be done.
const MARKER: &str = concat!("// TO", "DO: mend this\n");

/// Single-use tokens that everybody may try to use.
#[derive(Default)]
pub struct Pool(Mutex<Vec<Held>>);

/// A token, with the secret.
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
        }
    }

    /// Does one thing, of one or more commands.
    ///
    /// # Panics
    /// If it is told what cannot be.
    pub async fn turn(&mut self) {
        match self.dice.below(19) {
            0..4 => self.issue().await,
            4..8 => self.consume().await,
            8 => self.revoke().await,
            9 | 10 => self.consume_shared().await,
            11 | 12 => self.work().await,
            13 => self.scan().await,
            14 => self.look().await,
            15..18 => self.lease().await,
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
            "audience": audience, "operation": operation, "uses": uses,
        });
        self.as_operator("token.issue", arguments).await.yes();
        Held { id, secret, left: uses }
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
            assert_eq!(told.code(), Some("tokens.exhausted"), "{}: all uses are spent", self.name);
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
        assert!(matches!(told.code(), None | Some("tokens.exhausted")), "{told:?}");
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
                    assert_eq!(told.code(), Some("tokens.exhausted"), "{}: one use, one effect", self.name);
                    return;
                }
                // Refused by the todos: the use is given back, and the next claim may have it.
                Some("todos.claimed" | "todos.closed" | "todos.claimed_otherwise") => {}
                // Nobody could say in time that it was to be given back.
                Some("tokens.exhausted") => return,
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
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Held>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
