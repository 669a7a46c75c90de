//! The desk: what each action takes and gives as JSON, one file a noun. Behind the desk is the [`Door`]; nothing here
//! decides anything.
//!
//! # Invariants
//! 1. Every action goes through [`Door::perform`], [`Door::witness`], [`Door::stop`] or [`Door::resume`]; only the status is
//!    open to strangers, and who asks may know who he is ([`Door::introduce`]). Each of them ends a trial before anything is done.
//! 2. Unknown arguments are refused. Times are RFC 3339, spans milliseconds, ids text.

mod approval;
mod audit;
mod authzen;
mod backup;
mod chaos;
mod crypto;
mod gap;
mod health;
mod incident;
mod lease;
mod metrics;
mod nexus;
mod permission;
mod personal;
mod policy;
mod proof;
mod quota;
mod replay;
mod retention;
mod rights;
mod security;
mod subject;
mod subscription;
mod system;
mod todo;
mod token;
mod trial;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use ::policy::{ACTIONS, Value as Attribute};
use door::{Ask, Certificate, Denied, Door, Secret};
use http::{ActionInfo, Answer, Api, Call, PeerCertificate, Refused, Source};
use kernel::{Denial, Layer, Principal, Timestamp};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::boot::Parts;

pub use chaos::Chaos;

/// Decided by capability, so not in the policies' catalogue.
const BY_CAPABILITY: [ActionInfo; 7] = [
    ActionInfo {
        name: "approval.request",
        reads_only: false,
        summary: "Ask leave for what approvals alone keep one from",
    },
    ActionInfo { name: "proof.goal", reads_only: true, summary: "Show what has to be proven for something" },
    ActionInfo {
        name: "proof.submit",
        reads_only: false,
        summary: "Give evidence for what proofs alone keep one from",
    },
    ActionInfo { name: door::TRY, reads_only: true, summary: "Say what would come of a request, and do nothing" },
    ActionInfo { name: "security.whoami", reads_only: true, summary: "Show who asks, and what he may ask for" },
    ActionInfo { name: "system.stop", reads_only: false, summary: "Stop everything, at once" },
    ActionInfo { name: "system.resume", reads_only: false, summary: "End the emergency stop" },
];

/// Answers calls over the parts of a running authority.
pub struct Desk {
    pub parts: Arc<Parts>,
    /// Whether actors may be killed from outside: `sop dev` only.
    pub dev: bool,
    /// What is done to the tree on purpose.
    pub chaos: Chaos,
}

/// What an action comes to.
type Given = Result<Value, Denied>;

type Answered<'a> = Pin<Box<dyn Future<Output = Given> + Send + 'a>>;

/// What can be asked for here.
fn asked_for() -> impl Iterator<Item = ActionInfo> {
    // A call stays inside one process: there is no text form of what is called with. And nobody escalates but by proposing.
    let asked = |action: &&::policy::Action| !["protocol.call", "policy.escalate"].contains(&action.name);
    let catalogue = ACTIONS.iter().filter(asked).map(|action| {
        let ::policy::Action { name, reads_only, summary, .. } = *action;
        ActionInfo { name, reads_only, summary }
    });
    catalogue.chain(BY_CAPABILITY)
}

/// The action of this name.
fn action(name: &str) -> Option<&'static str> {
    asked_for().find(|action| action.name == name).map(|action| action.name)
}

impl Api for Desk {
    fn actions(&self) -> Vec<ActionInfo> {
        asked_for().collect()
    }

    fn call(&self, call: Call) -> Answer<'_> {
        Box::pin(async move {
            let Some(action) = action(&call.action) else {
                let reason = format!("there is no action {:?}", call.action);
                return Err(Denial::new(Layer::Request, "request.unknown_action", reason, "see GET /v1/actions").into());
            };
            let request = Request {
                ask: Ask {
                    action,
                    resource: "*".to_owned(),
                    context: BTreeMap::new(),
                    credential: call.bearer.as_deref().map(Secret::of),
                    command_id: call.command_id.unwrap_or_else(|| self.parts.clock.command_id()),
                    source: match call.source {
                        Source::Process { uid, .. } => door::Source::User(uid),
                        Source::Address(address) => door::Source::network(address),
                    },
                    certificate: call.certificate.as_deref().map(|shown| Arc::new(certified(shown))),
                    bound: approval::bound(action, &call.arguments),
                },
                arguments: call.arguments,
            };
            let answer = self.answer(request).await;
            self.parts.requests.count(action, answer.as_ref().err().map(|denied| denied.denial.layer));
            answer.map_err(|Denied { denial, decision }| Refused::new(denial, decision))
        })
    }

    fn ready(&self) -> Result<(), Denial> {
        health::obstacles(self).into_iter().next().map_or(Ok(()), Err)
    }

    fn status(&self) -> Value {
        system::status(self)
    }

    fn health(&self) -> Value {
        health::shown(self)
    }

    fn metrics(&self) -> String {
        metrics::text(self)
    }
}

impl Desk {
    fn door(&self) -> &Door {
        &self.parts.door
    }

    /// Each in a box of its own, so that no call is moved and allocated at the size of the largest.
    fn answer(&self, request: Request) -> Answered<'_> {
        let Some((noun, _)) = request.ask.action.split_once('.') else { unreachable!("actions are noun.verb") };
        match noun {
            "policy" if ["policy.can", "policy.who", "policy.what", "policy.roles"].contains(&request.ask.action) => {
                Box::pin(rights::answer(self, request))
            }
            "policy" => Box::pin(policy::answer(self, request)),
            "authz" => Box::pin(authzen::answer(self, request)),
            "token" => Box::pin(token::answer(self, request)),
            "gap" => Box::pin(gap::answer(self, request)),
            "todo" => Box::pin(todo::answer(self, request)),
            "resource" | "lease" => Box::pin(lease::answer(self, request)),
            "security" | "credential" => Box::pin(security::answer(self, request)),
            "quota" => Box::pin(quota::answer(self, request)),
            "event" | "incident" => Box::pin(incident::answer(self, request)),
            "approval" => Box::pin(approval::answer(self, request)),
            "proof" => Box::pin(proof::answer(self, request)),
            "request" => Box::pin(trial::answer(self, request)),
            "subject" => Box::pin(subject::answer(self, request)),
            "crypto" => Box::pin(crypto::answer(self, request)),
            "retention" => Box::pin(retention::answer(self, request)),
            "backup" => Box::pin(backup::answer(self, request)),
            "protocol" | "message" => Box::pin(nexus::answer(self, request)),
            "subscription" => Box::pin(subscription::answer(self, request)),
            "audit" | "decision" => Box::pin(audit::answer(self, request)),
            "system" if ["system.chaos", "system.judgement"].contains(&request.ask.action) => {
                Box::pin(chaos::answer(self, request))
            }
            "system" => Box::pin(system::answer(self, request)),
            _ => unreachable!("every noun of the catalogue has a file here (tests/system/api.rs asks them all)"),
        }
    }

    /// Nobody is given what he could not use, as he may ask for nothing.
    async fn may_act(&self, ask: &Ask, subject: &Principal, action: &str) -> Result<(), Denied> {
        match self.door().admits(subject, action) {
            Ok(()) => Ok(()),
            Err(denial) => Err(self.door().refuse(ask, denial).await),
        }
    }

    fn now(&self) -> Timestamp {
        self.parts.clock.now()
    }
}

/// A certificate as the door takes it.
fn certified(shown: &PeerCertificate) -> Certificate {
    let PeerCertificate { fingerprint, authorities, names, until } = shown;
    Certificate { fingerprint: *fingerprint, authorities: authorities.clone(), names: names.clone(), until: *until }
}

/// One call on its way through the desk.
struct Request {
    ask: Ask,
    arguments: Value,
}

impl Request {
    /// The arguments, typed.
    fn arguments<T: DeserializeOwned>(&mut self) -> Result<T, Denied> {
        serde_json::from_value(std::mem::take(&mut self.arguments)).map_err(|error| malformed(&error).into())
    }

    /// Says what the request is about, for policy and record.
    fn about(mut self, resource: impl Display) -> Ask {
        self.ask.resource = resource.to_string();
        self.ask
    }
}

/// Adds an attribute of the action's context.
fn with(mut ask: Ask, name: &str, value: impl Into<Attribute>) -> Ask {
    ask.context.insert(name.to_owned(), value.into());
    ask
}

fn malformed(what: &dyn Display) -> Denial {
    let remedy = "see `sop <noun> <verb> --help`, or docs/api.md for the arguments of each action";
    Denial::new(Layer::Request, "request.arguments", format!("the arguments are not right: {what}"), remedy)
}

fn unknown(code: &str, what: &dyn Display, remedy: &str) -> Denied {
    Denial::new(Layer::Decide, code, format!("there is no {what}"), remedy).into()
}

/// RFC 3339 in UTC, to the millisecond.
fn time(at: Timestamp) -> String {
    humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(at.0)).to_string()
}

/// A time as [`time`] writes it, or in any other form of RFC 3339.
fn optional_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let at = humantime::parse_rfc3339(&text).map_err(serde::de::Error::custom)?;
    let since = at.duration_since(UNIX_EPOCH).map_err(serde::de::Error::custom)?;
    u64::try_from(since.as_millis()).map(|at| Some(Timestamp(at))).map_err(serde::de::Error::custom)
}

/// A number that may come as text, as it does from a query.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Number(u64),
        Text(String),
    }
    match Either::deserialize(deserializer)? {
        Either::Number(number) => Ok(number),
        Either::Text(text) => text.parse().map_err(serde::de::Error::custom),
    }
}

fn optional_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    number(deserializer).map(Some)
}

/// A yes or no that may come as text, too.
fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Flag(bool),
        Text(String),
    }
    match Either::deserialize(deserializer)? {
        Either::Flag(flag) => Ok(flag),
        Either::Text(text) => text.parse().map_err(serde::de::Error::custom),
    }
}

fn optional_flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<bool>, D::Error> {
    flag(deserializer).map(Some)
}

/// Any value with a text form.
fn parsed<'de, D: Deserializer<'de>, T: FromStr<Err: Display>>(deserializer: D) -> Result<T, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}
