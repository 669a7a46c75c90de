//! An authority in this process, over a directory that may have had one before.

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use allocator::Allocator;
use backup::Backups;
use config::{Config, Sources};
use door::Secret;
use gaps::Gaps;
use governance::Governance;
use health::{Health, Phase};
use host::Clock;
use http::{Api, Call, HttpActor, Refused, Source};
use journal::WrapLog;
use journal::envelope::Record;
use kernel::{CommandId, Kin, Principal, Sequence};
use nexus::Nexus;
use serde_json::{Value, json};
use sop::boot::Parts;
use sop::desk::{Chaos, Desk};
use sop::states::States;
use supervisors::{Child, ChildRef, Report};
use todos::Todos;
use tokens::Tokens;

use crate::judge::{Judgement, judge, replay};
use crate::{Client, Ledger, Line, Lost};

/// The policy that the first operator activates.
pub const STARTER: &str = include_str!("../../../config/policies/starter.cedar");

/// Pause of a client before it asks again: shorter than the remedies ask for, to be in the way.
const AGAIN_AFTER: Duration = Duration::from_millis(2);

/// What clients left behind is worked off well within; what is not by then, never will be.
const IDLE: Duration = Duration::from_secs(10);

/// A running authority, and its operator.
#[derive(Clone)]
pub struct Authority {
    pub parts: Arc<Parts>,
    pub root: Secret,
    desk: Arc<Desk>,
}

impl Authority {
    /// Starts over `data`, with the options of `file`; over an empty directory it also makes the first operator.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn start(data: &Path, file: &str) -> Self {
        Self::start_over(data, file, Box::new(|log| log)).await
    }

    /// As [`Authority::start`], over a log that may fail.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn start_over(data: &Path, file: &str, wrap: WrapLog) -> Self {
        let config = config(data, file);
        let parts = Parts::with_log(&config, Clock::system(), wrap);
        let desk = Arc::new(Desk { parts: parts.clone(), dev: true, chaos: Chaos::default() });
        let (socket, api) = (config.http.socket.clone(), desk.clone());
        let edge = Child::actor::<HttpActor, _>(&ChildRef::new("http"), move || {
            let limits = http::Limits::default();
            (HttpActor, http::Arguments { socket: socket.clone(), tcp: None, api: api.clone(), limits })
        });
        parts.start(&config, vec![edge]).await.expect("the authority starts");
        if !parts.is_bootstrapped() {
            parts.bootstrap().await.expect("the first operator is made");
        }
        let root = parts.operator_secret().expect("bootstrap wrote the credential");
        Self { parts, root, desk }
    }

    /// All that is durable.
    ///
    /// # Panics
    /// If it cannot be read.
    pub fn records(&self) -> Vec<Record> {
        self.parts.journal.read(Sequence(1), usize::MAX).expect("the journal is open")
    }

    /// Judges once the routes and the scanner have nothing left to do and the start is on record, or nothing happens any
    /// more.
    pub async fn settled(&self, ledgers: &[Ledger]) -> (Vec<Record>, Judgement) {
        let mut durable = self.parts.journal.durable();
        loop {
            durable.borrow_and_update();
            let records = self.records();
            let judgement = judge(&records, ledgers);
            if judgement.complaints.is_empty() && replay::<Health>(&records).phase() != Phase::Startup {
                return (records, judgement);
            }
            match tokio::time::timeout(IDLE, durable.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return (records, judgement),
            }
        }
    }

    /// # Panics
    /// If a machine that runs, or a view of one, is not what the records make.
    pub async fn lives_as_recorded(&self) {
        let now = || *self.parts.journal.durable().borrow();
        let Parts { todos, gaps, allocator, backups, health, nexus, door, .. } = &*self.parts;
        loop {
            let (at, records) = (now(), self.records());
            let todos = todos.inspect(Todos::clone).await.expect("it is up");
            let allocator = allocator.inspect(Allocator::clone).await.expect("it is up");
            let gaps = gaps.inspect(Gaps::clone).await.expect("it is up");
            let nexus = nexus.inspect(Nexus::clone).await.expect("it is up");
            let backups = backups.inspect(Backups::clone).await.expect("it is up");
            let health = health.inspect(Health::clone).await.expect("it is up");
            let tokens = door.tokens().inspect(Tokens::clone).await.expect("it is up");
            let digests = self.parts.digests().await.expect("all are up");
            let views = (door.tokens_view().read(Tokens::clone), door.governance_view().read(Governance::clone));
            // The monitor and the clock go on with their work: what is compared is of one moment.
            if at != now() {
                continue;
            }
            assert_eq!(todos, replay(&records));
            assert_eq!(allocator, replay(&records));
            assert_eq!(gaps, replay(&records));
            assert_eq!(nexus, replay(&records));
            assert_eq!(backups, replay(&records));
            assert_eq!(health, replay(&records));
            assert_eq!(tokens, replay(&records));
            assert_eq!(views, (replay(&records), replay(&records)));
            let mut states = States::default();
            records.iter().try_for_each(|record| states.replay(record)).expect("what is recorded can be replayed");
            assert_eq!(digests, states.digests().expect("a state can be written down"));
            return;
        }
    }

    pub async fn stop(&self) -> Report {
        self.parts.shutdown(Duration::from_secs(30)).await
    }
}

/// Proposes and activates the starter policy.
pub async fn adopt_starter(operator: &mut Client, credential: &Secret) {
    let by = root();
    let proposed =
        operator.ask(Some(&by), credential.expose(), "policy.propose", json!({ "text": STARTER })).await.yes();
    let epoch = json!({ "epoch": proposed["epoch"] });
    operator.ask(Some(&by), credential.expose(), "policy.activate", epoch).await.yes();
}

/// Lets somebody ask for everything, for the first operator.
pub async fn admit(operator: &mut Client, credential: &Secret, principal: &str) {
    let terms = json!({ "principal": principal, "owner": root(), "can": ["*"] });
    operator.ask(Some(&root()), credential.expose(), "security.admit", terms).await.yes();
}

/// The first operator's name.
pub fn root() -> Principal {
    Principal::new(Kin::Operator, "root").expect("a name")
}

/// # Panics
/// If `file` is not right.
pub fn config(data: &Path, file: &str) -> Config {
    std::fs::create_dir_all(data).expect("a directory for the data");
    let path = data.join("test.toml");
    std::fs::write(&path, file).expect("the directory is writable");
    let sources = Sources {
        config: Some(path),
        data: Some(data.to_owned()),
        socket: Some(data.join("run/sock")),
        ..Sources::default()
    };
    Config::load(&sources).unwrap_or_else(|problems| panic!("{problems:?}"))
}

/// The desk without a socket before it.
impl Line for Authority {
    fn ask<'a>(
        &'a self,
        action: &'static str,
        arguments: &'a Value,
        bearer: &'a str,
        id: CommandId,
    ) -> Pin<Box<dyn Future<Output = Result<Value, Lost>> + Send + 'a>> {
        let call = Call {
            action: action.to_owned(),
            arguments: arguments.clone(),
            bearer: Some(bearer.to_owned()),
            command_id: Some(id),
            source: Source::Process { uid: 0, pid: None },
            certificate: None,
        };
        Box::pin(async move {
            let answered = self.desk.call(call).await;
            answered.map_err(|Refused { denial, decision }| Lost::Denied { denial: *denial, decision })
        })
    }

    fn again(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(tokio::time::sleep(AGAIN_AFTER))
    }
}
