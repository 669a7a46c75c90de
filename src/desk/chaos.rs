//! Chaos on purpose: the tree of a development daemon is tried by a seeded plan, and how it takes that can be asked for.
//!
//! The plan is carried out by a task of the desk's own, as it kills the server through which it was asked for.
//!
//! Invariant: one plan at a time, and none but in `sop dev`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use door::outcomes::Ended;
use door::{Door, UnderWay};
use host::OwnedTask;
use kernel::{CommandId, Denial, Layer};
use serde::Deserialize;
use serde_json::{Value, json};
use supervisors::Tree;
use supervisors::chaos::{Cast, Judgement, Plan};

use super::{Desk, Given, Request, number, system};

/// Longest plan that can be asked for.
const LASTS_MAX: Duration = Duration::from_hours(1);

/// Between kills, on average: what they bring about is to be seen.
const PAUSE: Duration = Duration::from_millis(500);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    #[serde(deserialize_with = "number")]
    seed: u64,
    #[serde(deserialize_with = "number")]
    for_ms: u64,
}

/// The latest plan, if there was one.
#[derive(Debug, Default)]
pub struct Chaos(Mutex<Option<Run>>);

#[derive(Debug)]
struct Run {
    asked_by: CommandId,
    standing: Arc<Mutex<Standing>>,
    /// Ends with the desk.
    _task: OwnedTask,
}

#[derive(Debug, Default)]
struct Standing {
    judgement: Judgement,
    is_over: bool,
}

/// All writes behind these locks are single assignments.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub async fn answer(desk: &Desk, mut request: Request) -> Given {
    match request.ask.action {
        "system.chaos" => {
            let Asked { seed, for_ms } = request.arguments()?;
            let lasts = Duration::from_millis(for_ms);
            if !desk.dev {
                let reason = "a tree is tried in `sop dev` only";
                return Err(Denial::new(Layer::Admit, "system.dev_only", reason, "use `sop dev`")
                    .rule("dev only")
                    .into());
            }
            if LASTS_MAX < lasts {
                let reason = format!("a plan lasts at most {} s", LASTS_MAX.as_secs());
                return Err(Denial::new(Layer::Request, "system.chaos_long", reason, "ask for less").into());
            }
            let asked_by = request.ask.command_id;
            let under_way = desk.door().begin(&request.about("sop")).await?;
            match begun(desk, asked_by, seed, lasts, under_way) {
                Ok(()) => Ok(json!({ "seed": seed, "for_ms": for_ms })),
                Err((under_way, denial)) => {
                    let ended = Ended::Failed { code: denial.code.clone() };
                    desk.door().close(under_way, ended).await;
                    Err(denial.into())
                }
            }
        }
        "system.judgement" => {
            let Nothing {} = request.arguments()?;
            desk.door().witness(&request.about("sop")).await?;
            let run = lock(&desk.chaos.0);
            Ok(run.as_ref().map_or(Value::Null, |run| shown(&lock(&run.standing))))
        }
        action => unreachable!("{action} is no action on the tree's trial"),
    }
}

/// Begins a plan; a repeat finds it under way.
fn begun(
    desk: &Desk,
    asked_by: CommandId,
    seed: u64,
    lasts: Duration,
    under_way: UnderWay,
) -> Result<(), (UnderWay, Denial)> {
    let Some(tree) = desk.parts.tree() else { return Err((under_way, system::starting())) };
    let mut run = lock(&desk.chaos.0);
    match &*run {
        Some(run) if run.asked_by == asked_by => {}
        Some(run) if !lock(&run.standing).is_over => {
            let remedy = "wait until it is over; `system.judgement` says how it stands";
            let denial = Denial::new(Layer::Decide, "system.chaos_runs", "another plan is under way", remedy);
            return Err((under_way, denial));
        }
        _ => *run = Some(running(asked_by, desk.parts.door.clone(), under_way, tree, seed, lasts)),
    }
    Ok(())
}

fn running(asked_by: CommandId, door: Arc<Door>, under_way: UnderWay, tree: Tree, seed: u64, lasts: Duration) -> Run {
    tracing::warn!(code = "system.chaos", seed, ?lasts, "actors are being killed on purpose");
    let standing = Arc::new(Mutex::new(Standing::default()));
    let told = standing.clone();
    let task = OwnedTask::spawn(async move {
        let cast = Cast::new();
        let plan = Plan::new(seed, &tree, &cast, lasts).pause(PAUSE);
        let mut chaos = supervisors::chaos::Chaos::over(&tree, &cast).await;
        let judgement = chaos.run_and_tell(&plan, |judgement| lock(&told).judgement = judgement.clone()).await;
        let code = match (&judgement.violation, &judgement.ended) {
            (Some(_), _) => Some("system.chaos_violation"),
            (None, Some(_)) => Some("system.chaos_ended"),
            (None, None) => None,
        };
        *lock(&told) = Standing { judgement, is_over: true };
        door.close(under_way, code.map_or(Ended::Succeeded, |code| Ended::Failed { code: code.to_owned() })).await;
    });
    Run { asked_by, standing, _task: task }
}

fn shown(Standing { judgement, is_over }: &Standing) -> Value {
    json!({
        "seed": judgement.seed,
        "over": is_over,
        "kept": judgement.is_kept(),
        "violation": judgement.violation.as_ref().map(|(step, violation)| json!({
            "step": step,
            "law": violation.law.to_string(),
            "what": violation.what,
        })),
        "ended": judgement.ended,
        "steps": judgement.steps,
        "took_ms": u64::try_from(judgement.took.as_millis()).unwrap_or(u64::MAX),
        "faults": judgement.faults,
        "spared": judgement.spared,
        "decisions": judgement.decisions,
        "started": judgement.started,
        "joined": judgement.joined,
        "predicted": judgement.predicted,
        "answered": judgement.answered,
        "by_themselves": judgement.by_themselves,
        "text": judgement.to_string(),
    })
}
