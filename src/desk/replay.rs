//! `policy.replay`: what another policy would have decided, and how much of it is said beside a proposal and an activation.

use kernel::{Denial, Layer, Sequence};
use policy::Policies;
use serde::Deserialize;
use serde_json::{Value, json};

use super::audit::blocking;
use super::{Desk, Given, Request, malformed, optional_number, time, unknown};
use crate::decided::{self, Change, Flip, Replayed};
use door::{Ask, Denied};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Replay {
    /// One of both: an epoch, or a text that is none yet.
    #[serde(default, deserialize_with = "optional_number")]
    epoch: Option<u64>,
    text: Option<String>,
    /// First sequence number.
    #[serde(default, deserialize_with = "optional_number")]
    since: Option<u64>,
    /// Last sequence number; without it, the newest.
    #[serde(default, deserialize_with = "optional_number")]
    to: Option<u64>,
    /// Of the last records only, so many.
    #[serde(default, deserialize_with = "optional_number")]
    last: Option<u64>,
}

pub async fn answer(desk: &Desk, mut request: Request) -> Given {
    let Replay { epoch, text, since, to, last } = request.arguments()?;
    let newest = desk.parts.journal.durable().borrow().0;
    match epoch {
        Some(epoch) => desk.door().witness(&request.about(epoch)).await?,
        None => desk.door().witness(&request.about("*")).await?,
    };
    let text = match (epoch, text) {
        (Some(epoch), None) => text_of(desk, epoch)?,
        (None, Some(text)) => text,
        _ => return Err(malformed(&"name an epoch, or give a text").into()),
    };
    if last == Some(0) {
        return Err(malformed(&"last is 1 at least").into());
    }
    let to = to.unwrap_or(newest).min(newest);
    let first_of_last = last.map_or(1, |last| to.saturating_sub(last) + 1);
    let from = since.unwrap_or(1).max(first_of_last).max(1);
    let replayed = replayed(desk, text, from, to).await?;
    Ok(shown(&replayed, from, to))
}

/// The text of an epoch.
pub fn text_of(desk: &Desk, epoch: u64) -> Result<String, Denied> {
    let shown = desk.door().governance_view().read(|governance| governance.show(epoch));
    let what = format!("policy epoch {epoch}");
    shown.map(|shown| shown.text).ok_or_else(|| unknown("governance.unknown_epoch", &what, "see `sop policy list`"))
}

async fn replayed(desk: &Desk, text: String, from: u64, to: u64) -> Result<Replayed, Denied> {
    let journal = desk.parts.journal.clone();
    let work = blocking(move || {
        let policies = Policies::compile(&text).map_err(|problems| {
            let first = problems.first().map(ToString::to_string).unwrap_or_default();
            let remedy = "see all problems with `sop policy validate`";
            Denial::new(Layer::Decide, "policy.invalid", format!("the policies are not valid: {first}"), remedy)
        })?;
        decided::replay(&journal, &policies, Sequence(from), Sequence(to)).map_err(|error| {
            let remedy = "verify the journal with `sop audit verify`";
            Denial::new(Layer::Availability, "journal.unreadable", error.to_string(), remedy)
        })
    });
    work.await?.map_err(Denied::from)
}

fn shown(replayed: &Replayed, from: u64, to: u64) -> Value {
    let mut answer = counted(replayed);
    answer["from"] = from.into();
    answer["to"] = to.into();
    answer["next"] = json!(replayed.next);
    answer["flips"] = replayed.flips.iter().map(flip).collect();
    answer["not_judged"] =
        replayed.not_judged.iter().map(|(why, decisions)| json!({ "why": why, "decisions": decisions })).collect();
    answer
}

/// Numbers, and nothing of who asked what.
fn counted(replayed: &Replayed) -> Value {
    let action = |(action, count): (&&str, &decided::Count)| json!({ "action": action, "judged": count.judged, "flips": count.flips });
    json!({
        "records": replayed.looked_at,
        "judged": replayed.count().judged,
        "flipped": replayed.count().flips,
        "by_action": replayed.by_action.iter().map(action).collect::<Vec<_>>(),
    })
}

fn flip(flip: &Flip) -> Value {
    let Flip { record, at, command, principal, action, resource, change } = flip;
    let (was, before, now, after) = match change {
        Change::Denied { by, code, rule } => {
            ("allowed", json!({ "policies": by }), "denied", json!({ "code": code, "rule": rule }))
        }
        Change::Allowed { code, rule, by } => {
            ("denied", json!({ "code": code, "rule": rule }), "allowed", json!({ "policies": by }))
        }
    };
    json!({
        "record": record,
        "at": time(*at),
        "command": command,
        "principal": principal,
        "action": action,
        "resource": resource,
        "was": was,
        "before": before,
        "now": now,
        "after": after,
    })
}

/// What a text would have decided otherwise of the decisions before the `record` of its proposal or activation, as far as is
/// configured: numbers by action, and the same whenever the command is repeated. Nothing, if that is nothing or cannot be told
/// now: what was asked for is done.
pub async fn before(desk: &Desk, text: String, record: &Value) -> Value {
    let newest = record.as_u64().unwrap_or_default().saturating_sub(1);
    let records = desk.parts.replayed_at_change;
    if records == 0 {
        return Value::Null;
    }
    let from = newest.saturating_sub(records) + 1;
    match replayed(desk, text, from, newest).await {
        Ok(replayed) => {
            let mut answer = counted(&replayed);
            if let Some(actions) = answer["by_action"].as_array_mut() {
                actions.retain(|action| action["flips"] != 0);
            }
            answer
        }
        Err(denied) => {
            tracing::warn!(code = denied.denial.code, "it could not be told what the policies change");
            Value::Null
        }
    }
}

/// Refuses to go on where a text decides otherwise than was decided. It shows what only the audit shows, so whoever asks for it
/// must be allowed to.
pub async fn expect_none(desk: &Desk, ask: &Ask, epoch: u64) -> Result<(), Denied> {
    let replay = Ask {
        action: "policy.replay",
        resource: epoch.to_string(),
        command_id: desk.parts.clock.command_id(),
        ..ask.clone()
    };
    desk.door().witness(&replay).await?;
    let newest = desk.parts.journal.durable().borrow().0;
    let mut from = (newest + 1).saturating_sub(desk.parts.replayed_at_change.max(1)).max(1);
    let mut flips = 0;
    loop {
        let replayed = replayed(desk, text_of(desk, epoch)?, from, newest).await?;
        flips += replayed.count().flips;
        match replayed.next {
            Some(next) if flips == 0 => from = next.0,
            _ => break,
        }
    }
    if flips == 0 {
        return Ok(());
    }
    let reason = format!("epoch {epoch} would have decided otherwise than was decided, and none of that was expected");
    let remedy =
        format!("see what with `sop policy replay {epoch}`, and activate it without --expect-no-flips if it is meant");
    Err(Denial::new(Layer::Decide, "policy.flips", reason, remedy).rule("--expect-no-flips").into())
}
