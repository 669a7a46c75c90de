//! Retention: how long records stay in the tile log, what holds them there, and what leaves it.

use std::collections::BTreeMap;

use kernel::{Denial, Layer};
use retention::{Class, Command, Hold, Pruning, Reply, Retention, Scope};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Desk, Given, Request, audit, malformed, optional_number, personal, time};
use crate::retention::{Outlook, outlook};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Held {
    name: String,
    #[serde(default)]
    reason: String,
    stream: Option<String>,
    #[serde(default, deserialize_with = "optional_number")]
    from: Option<u64>,
    #[serde(default, deserialize_with = "optional_number")]
    to: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Prune {
    /// Answer when it is done; else at once.
    #[serde(default = "yes")]
    wait: bool,
}

fn yes() -> bool {
    true
}

pub async fn answer(desk: &Desk, mut request: Request) -> Given {
    match request.ask.action {
        "retention.list" => {
            let Nothing {} = request.arguments()?;
            desk.door().witness(&request.about("*")).await?;
            let look = |retention: &Retention| {
                retention.holds().map(|(name, hold)| (name.to_owned(), hold.clone())).collect::<Vec<_>>()
            };
            let holds = desk.parts.retention.inspect(look).await.map_err(|error| error.denial())?;
            let holds: Vec<_> = holds.iter().map(|(name, hold)| shown_hold(name, hold)).collect();
            personal::opened(desk, json!({ "holds": holds })).await
        }
        "retention.show" => {
            let Nothing {} = request.arguments()?;
            desk.door().witness(&request.about("*")).await?;
            shown(desk).await
        }
        "retention.hold" => {
            let Held { name, reason, stream, from, to } = request.arguments()?;
            let streams = streams(desk);
            if let Some(stream) = stream.as_ref().filter(|stream| !streams.contains(&stream.as_str())) {
                let known = streams.join(", ");
                return Err(malformed(&format!("there is no stream {stream:?}, but {known}")).into());
            }
            let ask = request.about(&name);
            let asker = desk.door().identify(&ask).await?;
            let reason = personal::sealed_for(desk, &ask, asker, "reason", reason).await?;
            let scope = Scope { stream, first: from.unwrap_or(1), last: to.unwrap_or(u64::MAX) };
            let command = Command::Hold { name: name.clone(), reason, scope };
            let done = desk.door().perform(&ask, &desk.parts.retention, command).await?;
            let Reply::Held { pruned } = done.reply else { unreachable!("a hold is answered as one") };
            Ok(json!({ "name": name, "state": "held", "pruned": pruned, "record": done.first }))
        }
        "retention.release" => {
            let Named { name } = request.arguments()?;
            let command = Command::Release { name: name.clone() };
            let done = desk.door().perform(&request.about(&name), &desk.parts.retention, command).await?;
            Ok(json!({ "name": name, "state": "released", "record": done.first }))
        }
        "retention.prune" => {
            let Prune { wait } = request.arguments()?;
            let ask = request.about("*");
            // Looking takes its time: not for strangers.
            desk.door().identify(&ask).await?;
            let outlook = outlook(&desk.parts).await.map_err(|error| error.denial())?;
            let command = Command::Prune { plan: outlook.plan() };
            let done = desk.door().perform(&ask, &desk.parts.retention, command).await?;
            let Reply::Pruning { minimum } = done.reply else { unreachable!("a pruning is answered as one") };
            if wait {
                pruned(desk, minimum).await
            } else {
                Ok(json!({ "minimum": minimum, "state": "pruning", "record": done.first }))
            }
        }
        action => unreachable!("{action} is no action on retention"),
    }
}

/// Waits until they have left, or stay after all; the server's request timeout bounds the wait.
async fn pruned(desk: &Desk, minimum: u64) -> Given {
    let mut durable = desk.parts.journal.durable();
    loop {
        durable.borrow_and_update();
        let look = |retention: &Retention| {
            let going = retention.outstanding().map(|pruning| pruning.minimum);
            (going, retention.ended().cloned(), retention.done().cloned())
        };
        let (going, ended, done) = desk.parts.retention.inspect(look).await.map_err(|error| error.denial())?;
        if going != Some(minimum) {
            let why = ended.filter(|ended| ended.minimum == minimum).and_then(|ended| ended.why);
            if let Some(why) = why {
                let reason = format!("the first {minimum} records stay after all: {why}");
                let remedy = "see `sop retention show`, and ask again when that is mended or over";
                return Err(Denial::new(Layer::Decide, "retention.abandoned", reason, remedy).into());
            }
            let done = done.as_ref().map(shown_pruning);
            return Ok(json!({ "minimum": minimum, "state": "pruned", "pruned": done }));
        }
        if durable.changed().await.is_err() {
            return Ok(json!({ "minimum": minimum, "state": "pruning" }));
        }
    }
}

async fn shown(desk: &Desk) -> Given {
    let Outlook { left, minimum, stays, archive, .. } = outlook(&desk.parts).await.map_err(|error| error.denial())?;
    let look = |retention: &Retention| {
        (retention.done().cloned(), retention.outstanding().cloned(), retention.ended().cloned())
    };
    let (done, outstanding, ended) = desk.parts.retention.inspect(look).await.map_err(|error| error.denial())?;
    let log = desk.parts.evidence.clone();
    let online = audit::blocking(move || log.minimum()).await?;
    let online = online.map_err(|error| audit::no_evidence(&error))?.map_or(0, |minimum| minimum.index);
    let mut of: BTreeMap<Class, Vec<&str>> = BTreeMap::new();
    for stream in streams(desk) {
        of.entry(Class::of(stream)).or_default().push(stream);
    }
    let classes: Vec<_> = Class::ALL
        .into_iter()
        .map(|class| {
            let stays = desk.parts.rules.span(class).map(|span| span.0);
            json!({ "class": class, "stays_ms": stays, "streams": of.get(&class) })
        })
        .collect();
    Ok(json!({
        "classes": classes,
        "online_from": online + 1,
        "pruned": done.as_ref().map(shown_pruning),
        "pruning": outstanding.as_ref().map(shown_pruning),
        "last_refused": ended.and_then(|ended| ended.why),
        "may_leave": minimum - left,
        "minimum": minimum,
        "archive": archive.as_ref().filter(|_| left < minimum).map(|archive| format!("backup-{}", archive.backup)),
        "stays_from": stays.at,
        "stays_code": stays.code,
        "stays_why": stays.why,
        "stays_until": stays.until.map(time),
    }))
}

fn streams(desk: &Desk) -> Vec<&'static str> {
    desk.parts.machines().map(|(name, _)| name).into()
}

fn shown_hold(name: &str, hold: &Hold) -> Value {
    json!({
        "name": name,
        "stream": hold.scope.stream,
        "from": hold.scope.first,
        "to": (hold.scope.last != u64::MAX).then_some(hold.scope.last),
        "reason": hold.reason,
        "by": hold.by,
        "at": time(hold.at),
    })
}

fn shown_pruning(pruning: &Pruning) -> Value {
    json!({
        "minimum": pruning.minimum,
        "archive": format!("backup-{}", pruning.archive.backup),
        "place": pruning.archive.place,
        "manifest": pruning.archive.manifest,
        "rules": pruning.rules,
        "by": pruning.by,
        "asked_at": time(pruning.asked_at),
    })
}
