//! Protocols and messages: protocols are admitted, withdrawn and shown; messages sent, followed, shown, requeued and
//! discarded.
//!
//! What a message holds travels as base64, as its bytes may be any, and is given by `message.show` alone, if asked for.

use std::time::Duration;

use ::nexus::{Command, Counters, Dead, Death, Event, Filter, Message, MessageId, Nexus, Priority, Protocol, Reply};
use ::nexus::{Standing, Waiting};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use journal::codec;
use journal::envelope::Record;
use journal::store::StoreError;
use kernel::{Denial, Kin, Layer, Machine as _, Millis, Position, Principal};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Desk, Given, Request, malformed, optional_number, parsed, personal, time, unknown, with};

/// Facts listed at once if nothing is asked.
const LIST_DEFAULT: u64 = 50;
/// And at most.
const LIST_MAX: u64 = 1_000;
/// Records read at once: each may hold a payload.
const CHUNK: u64 = 64;
/// How long a follower waits at most before it is told that there is nothing new.
const WAIT_MAX: Duration = Duration::from_secs(20);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Admit {
    protocol: String,
    #[serde(default)]
    depends_on: Vec<String>,
    #[serde(default)]
    speaks_to: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Withdraw {
    protocol: String,
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ShowProtocol {
    protocol: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Send {
    source: Principal,
    to: String,
    #[serde(default)]
    priority: Priority,
    kind: String,
    #[serde(default = "any_bytes")]
    content_type: String,
    /// In base64 (RFC 4648, with padding).
    #[serde(default)]
    payload: String,
    #[serde(default, deserialize_with = "optional_number")]
    lifetime_ms: Option<u64>,
}

fn any_bytes() -> String {
    "application/octet-stream".to_owned()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    /// First position in the stream; without it, the newest facts are listed.
    #[serde(default, deserialize_with = "optional_number")]
    from: Option<u64>,
    #[serde(default, deserialize_with = "optional_number")]
    limit: Option<u64>,
    to: Option<String>,
    /// Wait so long for something to list.
    #[serde(default, deserialize_with = "optional_number")]
    wait_ms: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Show {
    #[serde(deserialize_with = "parsed")]
    message: MessageId,
    #[serde(default, deserialize_with = "flag")]
    payload: bool,
}

/// A flag that may come as text, as it does from a query.
fn flag<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    #[serde(deserialize_with = "parsed")]
    message: MessageId,
}

pub async fn answer(desk: &Desk, mut request: Request) -> Given {
    match request.ask.action {
        "protocol.admit" => {
            let Admit { protocol, depends_on, speaks_to } = request.arguments()?;
            let ask = request.about(&protocol);
            let admitted = Principal::new(Kin::Protocol, &protocol);
            let answer = changed(desk, ask, Command::Admit { protocol, depends_on, speaks_to }).await?;
            if let Ok(admitted) = admitted {
                desk.parts.acquainted_with(&admitted).await;
            }
            Ok(answer)
        }
        "protocol.withdraw" => {
            let Withdraw { protocol, reason } = request.arguments()?;
            let ask = request.about(&protocol);
            let reason = personal::sealed(desk, &ask, "reason", reason).await?;
            changed(desk, ask, Command::Withdraw { protocol, reason }).await
        }
        "protocol.list" => {
            let Nothing {} = request.arguments()?;
            desk.door().witness(&request.about("*")).await?;
            let look = |nexus: &Nexus| (nexus.protocols().collect::<Vec<_>>(), nexus.counters());
            let (protocols, counters) = desk.parts.nexus.inspect(look).await.map_err(|error| error.denial())?;
            let protocols: Vec<_> = protocols.iter().map(protocol_shown).collect();
            personal::opened(desk, json!({ "protocols": protocols, "messages": counted(&counters) })).await
        }
        "protocol.show" => {
            let ShowProtocol { protocol } = request.arguments()?;
            desk.door().witness(&request.about(&protocol)).await?;
            let what = format!("protocol {protocol:?}");
            let look = move |nexus: &Nexus| {
                let mut answer = protocol_shown(&nexus.protocol(&protocol)?);
                let filter = Filter { destination: Some(protocol), ..Filter::default() };
                answer["messages"] = nexus.waiting(&filter).map(waiting_shown).collect();
                Some(answer)
            };
            let found = desk.parts.nexus.inspect(look).await.map_err(|error| error.denial())?;
            let found = found.ok_or_else(|| unknown("nexus.unknown_protocol", &what, "see `sop protocol list`"))?;
            personal::opened(desk, found).await
        }
        "message.send" => {
            let Send { source, to, priority, kind, content_type, payload, lifetime_ms } = request.arguments()?;
            let payload = BASE64_STANDARD.decode(payload);
            let payload = payload.map_err(|error| malformed(&format!("payload is no base64: {error}")))?;
            let ask = with(request.about(&to), "source", source.to_string().as_str());
            let ask = with(with(ask, "priority", priority.as_str()), "kind", kind.as_str());
            let lifetime = lifetime_ms.map(Millis);
            let message = Message { source, destination: to, priority, kind, content_type, payload, lifetime };
            changed(desk, ask, Command::Send(message)).await
        }
        "message.list" => {
            let asked = request.arguments()?;
            desk.door().witness(&request.about("*")).await?;
            followed(desk, asked).await
        }
        "message.dead" => {
            let Nothing {} = request.arguments()?;
            desk.door().witness(&request.about("*")).await?;
            let look = |nexus: &Nexus| json!({ "messages": nexus.dead().map(dead_shown).collect::<Vec<_>>() });
            desk.parts.nexus.inspect(look).await.map_err(|error| error.denial().into())
        }
        "message.show" => {
            let Show { message, payload } = request.arguments()?;
            desk.door().witness(&request.about(message)).await?;
            let look = move |nexus: &Nexus| {
                let (mut answer, letter) = match (nexus.message(message), nexus.dead_message(message)) {
                    (Some(letter), _) => (waiting_shown(letter), letter),
                    (None, Some(dead)) => (dead_shown(dead), &dead.message),
                    (None, None) => return None,
                };
                if payload {
                    answer["payload"] = BASE64_STANDARD.encode(&letter.payload).into();
                }
                Some(answer)
            };
            let found = desk.parts.nexus.inspect(look).await.map_err(|error| error.denial())?;
            let remedy = format!("see `sop audit show {message}` for what it was, and `sop message tail` for its end");
            let what = format!("message {message} that waits or is dead");
            found.ok_or_else(|| unknown("nexus.unknown_message", &what, &remedy))
        }
        "message.requeue" => {
            let Named { message } = request.arguments()?;
            changed(desk, request.about(message), Command::Requeue { message }).await
        }
        "message.discard" => {
            let Named { message } = request.arguments()?;
            changed(desk, request.about(message), Command::Discard { message }).await
        }
        action => unreachable!("{action} is no action on protocols or messages"),
    }
}

async fn changed(desk: &Desk, ask: door::Ask, command: Command) -> Given {
    let done = desk.door().perform(&ask, &desk.parts.nexus, command).await?;
    let mut answer = match done.reply {
        Reply::Admitted => json!({ "protocol": ask.resource, "state": "admitted" }),
        Reply::Withdrawn { messages } => {
            json!({ "protocol": ask.resource, "state": "withdrawn", "messages": messages })
        }
        Reply::Sent { id, position_in_lane } => {
            json!({ "message": id, "to": ask.resource, "state": "waiting", "position": position_in_lane })
        }
        Reply::Requeued { position_in_lane } => {
            json!({ "message": ask.resource, "state": "waiting", "position": position_in_lane })
        }
        Reply::Discarded => json!({ "message": ask.resource, "state": "discarded" }),
        reply @ (Reply::Acknowledged { .. } | Reply::Failed { .. } | Reply::Expired { .. }) => {
            unreachable!("{reply:?} answers no command of the desk's")
        }
    };
    answer["record"] = json!(done.first);
    answer["repeated"] = json!(done.repeated);
    Ok(answer)
}

/// What became of messages, in the order of the record, and the position to go on from.
async fn followed(desk: &Desk, asked: List) -> Given {
    let List { from, limit, to, wait_ms } = asked;
    let limit = limit.unwrap_or(LIST_DEFAULT);
    if limit == 0 || LIST_MAX < limit {
        return Err(malformed(&format!("limit is 1 to {LIST_MAX}")).into());
    }
    let limit = usize::try_from(limit).expect("checked");
    let wait = wait_ms.map_or(Duration::ZERO, Duration::from_millis).min(WAIT_MAX);
    let told = |record: &Record| told(record, to.as_deref());
    let Some(from) = from else { return newest(desk, limit, told).await };
    let until = tokio::time::Instant::now() + wait;
    let mut durable = desk.parts.journal.durable();
    let (mut found, mut next) = (Vec::new(), from.max(1));
    loop {
        durable.borrow_and_update();
        loop {
            let records = read(desk, next, u64::MAX)?;
            if records.is_empty() {
                break;
            }
            for record in &records {
                next = record.version.0 + 1;
                found.extend(told(record));
                if limit <= found.len() {
                    return Ok(json!({ "facts": found, "next": next }));
                }
            }
            tokio::task::yield_now().await;
        }
        // The records of others move the journal, too: what is waited for is time or something to tell.
        let changed = tokio::time::timeout_at(until, durable.changed());
        if !found.is_empty() || !matches!(changed.await, Ok(Ok(()))) {
            return Ok(json!({ "facts": found, "next": next }));
        }
    }
}

async fn newest(desk: &Desk, limit: usize, told: impl Fn(&Record) -> Option<Value>) -> Given {
    let last = desk.parts.nexus.durable().0;
    let (mut found, mut before) = (Vec::new(), last + 1);
    while 1 < before && found.len() < limit {
        let from = before.saturating_sub(CHUNK).max(1);
        found.extend(read(desk, from, before - 1)?.iter().rev().filter_map(&told));
        before = from;
        tokio::task::yield_now().await;
    }
    found.truncate(limit);
    found.reverse();
    Ok(json!({ "facts": found, "next": last + 1 }))
}

fn read(desk: &Desk, from: u64, to: u64) -> Result<Vec<Record>, Denial> {
    let chunk = usize::try_from(CHUNK).expect("small");
    desk.parts.journal.read_stream(Nexus::NAME, Position(from), Position(to), chunk).map_err(|error: StoreError| {
        let remedy = "verify the journal with `sop audit verify`";
        Denial::new(Layer::Availability, "journal.unreadable", error.to_string(), remedy)
    })
}

/// What a record says of a message to `destination`, without what the message holds.
fn told(record: &Record, destination: Option<&str>) -> Option<Value> {
    let event: Event = codec::fact(record).ok()??;
    let to = event.destination()?;
    if destination.is_some_and(|wanted| wanted != to) {
        return None;
    }
    let mut fact = match &event {
        Event::Sent(sent) => json!({
            "fact": "sent",
            "message": sent.message,
            "source": sent.source,
            "priority": Priority::from_lane(sent.priority),
            "kind": sent.kind,
            "content_type": sent.content_type,
            "bytes": sent.payload.len(),
            "cause": sent.cause,
            "expires_at": time(sent.expires_at),
        }),
        Event::Delivered(delivered) => json!({ "fact": "delivered", "message": delivered.message }),
        Event::Failed(failed) => {
            json!({ "fact": "failed", "message": failed.message, "attempt": failed.attempt, "why": failed.why })
        }
        Event::Died(died) => {
            json!({ "fact": "died", "message": died.message, "death": Death::from_tag(died.death), "why": died.why })
        }
        Event::Requeued(requeued) => {
            json!({ "fact": "requeued", "message": requeued.message, "expires_at": time(requeued.expires_at) })
        }
        Event::Discarded(discarded) => json!({ "fact": "discarded", "message": discarded.message }),
        Event::Forgotten(forgotten) => json!({ "fact": "forgotten", "message": forgotten.message }),
        Event::Admitted(_) | Event::Withdrawn(_) | Event::ProtocolForgotten(_) => return None,
    };
    fact["position"] = json!(record.version);
    fact["sequence"] = json!(record.sequence);
    fact["at"] = time(record.time).into();
    fact["to"] = to.into();
    fact["principal"] = record.principal.as_str().into();
    Some(fact)
}

fn protocol_shown(protocol: &Protocol) -> Value {
    let (state, since, reason, revoked) = match &protocol.standing {
        Standing::Admitted => ("admitted", protocol.admitted_at, None, None),
        Standing::Withdrawn { at, reason, revoked } => ("withdrawn", *at, Some(reason), Some(revoked)),
    };
    let [critical, high, normal, low] = protocol.depth;
    json!({
        "protocol": protocol.name,
        "state": state,
        "since": time(since),
        "reason": reason,
        "revoked": revoked,
        "depends_on": protocol.depends_on,
        "speaks_to": protocol.speaks_to,
        "waiting": { "critical": critical, "high": high, "normal": normal, "low": low },
        "bytes": protocol.bytes,
    })
}

fn waiting_shown(letter: &Waiting) -> Value {
    json!({
        "message": letter.id,
        "state": "waiting",
        "source": letter.source,
        "to": letter.destination,
        "priority": letter.priority,
        "kind": letter.kind,
        "content_type": letter.content_type,
        "bytes": letter.payload.len(),
        "cause": letter.cause,
        "lifetime_ms": letter.lifetime,
        "sent_at": time(letter.sent_at),
        "expires_at": time(letter.expires_at),
        "attempts": letter.attempts,
        "why": letter.why,
    })
}

fn dead_shown(dead: &Dead) -> Value {
    let mut shown = waiting_shown(&dead.message);
    shown["state"] = "dead".into();
    shown["death"] = json!(dead.death);
    shown["died_at"] = time(dead.at).into();
    shown["why"] = dead.why.as_str().into();
    shown
}

fn counted(counters: &Counters) -> Value {
    let Counters { sent, waiting, delivered, dead, discarded, forgotten, failed, requeued } = counters;
    json!({
        "sent": sent,
        "waiting": waiting,
        "delivered": delivered,
        "dead": dead,
        "discarded": discarded,
        "forgotten": forgotten,
        "failed_attempts": failed,
        "requeued": requeued,
    })
}
