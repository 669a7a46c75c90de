//! The system itself: its status, its tree, kill and restart, emergency stop and resume.

use door::Outcomes;
use evidence::Standing;
use kernel::{Denial, Digest, Layer, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};
use supervisors::{Exit, Kind, Node, NodeState, NotFound, RestartError, Strategy};

use super::{Desk, Given, Request, health, parsed, personal, time};
use crate::boot::Parts;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Path {
    /// `sop/authority/tokens`; the first name may be left out.
    path: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stop {
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Resume {
    #[serde(deserialize_with = "parsed")]
    digest: Digest,
}

pub async fn answer(desk: &Desk, mut request: Request) -> Given {
    match request.ask.action {
        "system.tree" => {
            let Nothing {} = request.arguments()?;
            desk.door().witness(&request.about("*")).await?;
            Ok(desk.parts.tree().map_or(Value::Null, |tree| {
                let root = tree.snapshot();
                node(&root, &root)
            }))
        }
        "system.kill" => {
            let Path { path } = request.arguments()?;
            if !desk.dev {
                let reason = "actors are killed from outside in `sop dev` only";
                return Err(Denial::new(Layer::Admit, "system.dev_only", reason, "use `sop dev`")
                    .rule("dev only")
                    .into());
            }
            let path = full(&path);
            let killing = async {
                let Some(tree) = desk.parts.tree() else { return Err(starting().into()) };
                tree.kill(&path).await.map_err(|NotFound { path }| no_node(&path))?;
                Ok(json!({ "killed": path }))
            };
            desk.door().operate(&request.about(&path), killing).await
        }
        "system.restart" => {
            let Path { path } = request.arguments()?;
            let path = full(&path);
            let restarting = async {
                let Some(tree) = desk.parts.tree() else { return Err(starting().into()) };
                tree.restart(&path).await.map_err(|error| match error {
                    RestartError::NotFound(NotFound { path }) => no_node(&path),
                    error @ (RestartError::NotDown { .. } | RestartError::SupervisorDown { .. }) => {
                        Denial::new(Layer::Decide, "system.not_down", error.to_string(), "see `sop tree`")
                    }
                })?;
                Ok(json!({ "restarted": path }))
            };
            desk.door().operate(&request.about(&path), restarting).await
        }
        "system.stop" => {
            let Stop { reason } = request.arguments()?;
            let (ask, reason) = (request.about("*"), shortened(reason));
            let sealed = |by| personal::sealed_for(desk, &ask, by, "reason", reason);
            let stopped = desk.door().stop(&ask, async |by| sealed(by).await.ok()).await?;
            Ok(json!({
                "sealed": true,
                "recorded": stopped.recorded.is_ok(),
                "digest": stopped.recorded.as_ref().ok(),
                "not_recorded_because": stopped.recorded.err(),
                "kept_in_file": stopped.kept.is_ok(),
                "not_kept_because": stopped.kept.err(),
            }))
        }
        "system.resume" => {
            let Resume { digest } = request.arguments()?;
            desk.door().resume(&request.about("*"), digest).await?;
            Ok(json!({ "sealed": false }))
        }
        action => unreachable!("{action} is no action on the system"),
    }
}

/// What anybody at the socket may know. Answers from memory, whatever is down.
pub fn status(desk: &Desk) -> Value {
    let parts = &desk.parts;
    let look = health::look(desk);
    // That everything is stopped is a state of its own, with its own lines.
    let reasons: Vec<_> =
        look.reasons.iter().filter(|reason| reason.code != "door.sealed").map(|reason| &reason.sentence).collect();
    let sealed = desk.door().sealed();
    let stop = desk.door().governance_view().read(|governance| governance.stop().cloned());
    let state = match (&sealed, reasons.is_empty()) {
        (Some(_), _) => "sealed",
        (None, true) => "ready",
        (None, false) => "degraded",
    };
    let figures: serde_json::Map<_, _> =
        parts.journal.figures().read().into_iter().map(|(name, figure)| (name.to_owned(), figure.into())).collect();
    let answer = json!({
        "state": state,
        "reasons": reasons,
        "version": env!("CARGO_PKG_VERSION"),
        "redundancy": "one node: recovery, not high availability",
        "head": *parts.journal.durable().borrow(),
        "policy_epoch": desk.door().governance_view().read(governance::Governance::active_epoch),
        "sealed": sealed.map(|sealed| json!({
            "by": sealed.by,
            "reason": sealed.reason,
            "at": stop.as_ref().map(|stop| time(stop.at)),
            "digest": stop.map(|stop| stop.digest),
        })),
        "phase": look.phase,
        "quarantined": look.quarantined,
        "strangers_denied": desk.door().strangers().iter().map(|(_, _, count)| count).sum::<u64>(),
        "journal": figures,
        "log": log(&parts.evidence.standing()),
        "witnesses": witnesses(parts, desk.now()),
        "subscriptions": subscribed(parts),
        "operations": under_way(desk),
        "disk_free_bytes": parts.journal.free_bytes(),
    });
    personal::peeked(desk, answer)
}

/// A reason that is too long must not keep anybody from stopping.
fn shortened(reason: String) -> String {
    reason.chars().take(governance::REASON_MAX).collect()
}

/// How far the tile log is.
fn log(standing: &Standing) -> Value {
    json!({
        "size": standing.checkpoint.as_ref().map(|checkpoint| checkpoint.size),
        "lag": standing.lag,
        "failing": standing.failure.is_some(),
    })
}

/// How far those are who cosign the log; null if there is none.
fn witnesses(parts: &Parts, now: Timestamp) -> Value {
    let standing = parts.witnessing.standing();
    if standing.is_empty() {
        return Value::Null;
    }
    let (signed, cosigned) = *parts.evidence.sizes().borrow();
    let each = standing.into_iter().map(|witness| {
        json!({
            "name": witness.name,
            "key": witness.key,
            "address": witness.address,
            "size": witness.seen.map(|(size, _)| size),
            "lag": signed.saturating_sub(witness.seen.map_or(0, |(size, _)| size)),
            "at": witness.seen.map(|(_, at)| time(Timestamp(at.saturating_mul(1_000)))),
            "code": witness.trouble.as_ref().map(|trouble| trouble.code),
            "why": witness.trouble.map(|trouble| trouble.what),
        })
    });
    json!({
        "quorum": parts.evidence.witnesses().quorum,
        "size": (cosigned != 0).then_some(cosigned),
        "lag": signed.saturating_sub(cosigned),
        "waiting_ms": crate::witnesses::waiting(parts, now),
        "each": each.collect::<Vec<_>>(),
    })
}

/// How many follow the records, and how far behind the last of them is.
fn subscribed(parts: &Parts) -> Value {
    let (count, lag) = crate::subscriptions::lag(parts);
    json!({ "count": count, "lag": lag })
}

/// What was let in and is under way, and of how much nothing is known.
fn under_way(desk: &Desk) -> Value {
    let count = |outcomes: &Outcomes| json!({ "open": outcomes.open().count(), "unknown": outcomes.unknown().count() });
    desk.door().outcomes_view().read(count)
}

/// `root` knows who restarts with whom.
fn node(of: &Node, root: &Node) -> Value {
    let (state, why) = match &of.state {
        NodeState::Starting => ("starting", None),
        NodeState::Running => ("running", None),
        NodeState::Restarting => ("restarting", of.last_exit.as_ref().map(Exit::to_string)),
        NodeState::BackingOff { .. } => ("backing_off", of.last_exit.as_ref().map(Exit::to_string)),
        NodeState::Quarantined { reason } => ("quarantined", Some(reason.to_string())),
        NodeState::Stopping => ("stopping", None),
        NodeState::Stopped => ("stopped", None),
    };
    let strategy = match of.kind {
        Kind::Worker => None,
        Kind::Pool => Some("pool"),
        Kind::Supervisor { strategy: Strategy::OneForOne } => Some("one_for_one"),
        Kind::Supervisor { strategy: Strategy::OneForAll } => Some("one_for_all"),
        Kind::Supervisor { strategy: Strategy::RestForOne } => Some("rest_for_one"),
    };
    json!({
        "name": of.name,
        "path": of.path,
        "strategy": strategy,
        "state": state,
        "why": why,
        "epoch": of.epoch,
        "restarts": of.restarts,
        "last_exit": of.last_exit.as_ref().map(Exit::to_string),
        "mailbox": of.mailbox.map(|load| json!({
            "limit": load.limit,
            "waiting": load.waiting,
            "oldest_ms": load.oldest.map(|oldest| u64::try_from(oldest.as_millis()).unwrap_or(u64::MAX)),
            "refused": of.refused,
        })),
        "restarts_with_me": root.restarts_with(&of.path),
        "children": of.children.iter().map(|child| node(child, root)).collect::<Vec<_>>(),
    })
}

/// Paths may be given without the root's name.
fn full(path: &str) -> String {
    if path == "sop" || path.starts_with("sop/") { path.to_owned() } else { format!("sop/{path}") }
}

fn no_node(path: &str) -> Denial {
    Denial::new(Layer::Decide, "system.unknown", format!("the tree has no {path}"), "see `sop tree`")
}

pub fn starting() -> Denial {
    Denial::new(Layer::Availability, "system.starting", "the tree is starting", "repeat in a moment")
}
