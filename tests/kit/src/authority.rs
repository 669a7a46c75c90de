//! An authority in this process, over a directory that may have had one before.

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use config::{Config, Sources};
use door::Secret;
use host::Clock;
use http::{Api, Call, HttpActor, Refused, Source};
use journal::WrapLog;
use journal::envelope::Record;
use kernel::{CommandId, Kin, Principal, Sequence};
use serde_json::{Value, json};
use sop::boot::Parts;
use sop::desk::Desk;
use supervisors::{Child, ChildRef, Report};

use crate::{Client, Line, Lost};

/// The policy that the first operator activates.
pub const STARTER: &str = include_str!("../../../config/policies/starter.cedar");

/// Pause of a client before it asks again: shorter than the remedies ask for, to be in the way.
const AGAIN_AFTER: Duration = Duration::from_millis(2);

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
        let desk = Arc::new(Desk { parts: parts.clone(), dev: true });
        let (socket, api) = (config.http.socket.clone(), desk.clone());
        let edge = Child::actor::<HttpActor, _>(&ChildRef::new("http"), move || {
            let limits = http::Limits::default();
            (HttpActor, http::Arguments { socket: socket.clone(), api: api.clone(), limits })
        });
        parts.start(&config, vec![edge]).await.expect("the authority starts");
        if !parts.is_bootstrapped() {
            parts.bootstrap().await.expect("the first operator is made");
        }
        let root = parts.operator_secret().expect("bootstrap wrote the credential");
        Self { parts, root, desk }
    }

    /// Lets `operator` put the starter policy into force.
    pub async fn adopt_starter(&self, operator: &mut Client) {
        adopt_starter(operator, self.root.expose()).await;
    }

    /// All that is durable.
    ///
    /// # Panics
    /// If it cannot be read.
    pub fn records(&self) -> Vec<Record> {
        self.parts.journal.read(Sequence(1), usize::MAX).expect("the journal is open")
    }

    pub async fn stop(&self) -> Report {
        self.parts.shutdown(Duration::from_secs(30)).await
    }
}

/// Proposes and activates the starter policy.
pub async fn adopt_starter(operator: &mut Client, credential: &str) {
    let by = root();
    let proposed = operator.ask(Some(&by), credential, "policy.propose", json!({ "text": STARTER })).await.yes();
    let epoch = json!({ "epoch": proposed["epoch"] });
    operator.ask(Some(&by), credential, "policy.activate", epoch).await.yes();
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
            source: Source { uid: 0, pid: None },
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
