//! What stands behind the transport: one interface, implemented by the composition root and by fakes in tests.

use std::fmt;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use kernel::{CommandId, Denial};
use serde::Serialize;
use serde_json::Value;

use crate::PeerCertificate;

/// Everything that can be asked for over HTTP.
pub trait Api: Send + Sync + 'static {
    /// What [`call`](Api::call) understands. Read once, when the server starts.
    fn actions(&self) -> Vec<ActionInfo>;

    /// Answers one call, of an action that is in [`actions`](Api::actions).
    ///
    /// The future is dropped when the caller hangs up or the time is over. What it has handed on by then takes its course,
    /// and a repeat with the same command id gets the outcome.
    fn call(&self, call: Call) -> Answer<'_>;

    /// Whether commands are taken now.
    ///
    /// # Errors
    /// What is missing, and what to do about it.
    fn ready(&self) -> Result<(), Denial>;

    /// What anybody who can reach the socket may know. Answers also when everything else is down.
    fn status(&self) -> Value;

    /// The reasons for which commands are not taken, or all is not well. Open to anybody, and always answered, like
    /// [`status`](Api::status).
    fn health(&self) -> Value;

    /// Figures in the text form of Prometheus, version 0.0.4. Open and answered likewise.
    fn metrics(&self) -> String;
}

/// What a call comes to, sooner or later.
pub type Answer<'a> = Pin<Box<dyn Future<Output = Result<Value, Refused>> + Send + 'a>>;

/// One line of `GET /v1/actions`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ActionInfo {
    pub name: &'static str,
    /// Changes nothing, and may therefore be asked for by GET as well.
    pub reads_only: bool,
    pub summary: &'static str,
}

/// One request, read and found well-formed.
pub struct Call {
    pub action: String,
    /// Always an object. The values of a GET are strings.
    pub arguments: Value,
    /// The secret of `Authorization: Bearer`, unchecked.
    pub bearer: Option<String>,
    /// From `Idempotency-Key`; always a UUIDv7.
    pub command_id: Option<CommandId>,
    pub source: Source,
    /// The certificate of the client's end of the connection, if one was shown; who it is, is for the door to say.
    pub certificate: Option<Arc<PeerCertificate>>,
}

/// Arguments can carry secrets too, so only their names are shown.
impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&String> = self.arguments.as_object().map(|object| object.keys().collect()).unwrap_or_default();
        f.debug_struct("Call")
            .field("action", &self.action)
            .field("arguments", &names)
            .field("bearer", &self.bearer.as_ref().map(|_| "(hidden)"))
            .field("command_id", &self.command_id)
            .field("source", &self.source)
            .field("certificate", &self.certificate.as_ref().map(|shown| shown.fingerprint))
            .finish()
    }
}

/// Who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// On the socket: the process that opened the connection, as the operating system says (`SO_PEERCRED`).
    Process { uid: u32, pid: Option<i32> },
    /// Over TCP: where it comes from, and no more than that.
    Address(IpAddr),
}

/// A no, and where the reasons for it are recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub denial: Box<Denial>,
    /// What to give to `sop explain`.
    pub decision: Option<CommandId>,
}

impl Refused {
    pub fn new(denial: Denial, decision: Option<CommandId>) -> Self {
        Self { denial: Box::new(denial), decision }
    }
}

impl From<Denial> for Refused {
    fn from(denial: Denial) -> Self {
        Self::new(denial, None)
    }
}
