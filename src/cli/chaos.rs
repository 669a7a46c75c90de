//! `sop chaos run`: has a development daemon's supervision tried by a seeded plan, and says how it took it.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::call::{Globals, Mutation, Remote};
use super::exit::{Exit, Failure, Run};
use super::output::{Format, answer, complain, plain_lines};

/// Between two looks at how it stands.
const LOOK: Duration = Duration::from_secs(1);

/// How long the last step may take, beyond the time that was asked for: back-offs and time-outs follow on each other.
const PATIENCE: Duration = Duration::from_mins(5);

#[derive(Subcommand, Debug)]
pub enum Chaos {
    /// Kill actors and supervisors by a plan, and judge what follows (exit code 2: an invariant is violated; `sop dev` only)
    Run(Plan),
}

#[derive(Args, Debug)]
pub struct Plan {
    /// What the plan follows from: the same seed does the same to the same tree
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How long, such as 30s or 10m
    #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration, default_value = "30s")]
    lasts: Duration,
    #[command(flatten)]
    mutation: Mutation,
}

pub async fn run(globals: &Globals, Chaos::Run(Plan { seed, lasts, mutation }): Chaos) -> Run {
    let remote = globals.remote()?;
    let for_ms = u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX);
    remote.change("system.chaos", &json!({ "seed": seed, "for_ms": for_ms }), mutation.id()).await?;
    let judgement = judged(&remote, globals.output, lasts).await?;
    answer(globals.output, &judgement, |judgement| plain_lines(judgement["text"].as_str().unwrap_or_default()))?;
    Ok(if judgement["kept"] == true && judgement["ended"].is_null() { Exit::Ok } else { Exit::Findings })
}

/// Waits until it is over, and says now and then how far it is.
async fn judged(remote: &Remote, format: Format, lasts: Duration) -> Result<Value, Failure> {
    let looks = (lasts + PATIENCE).as_secs();
    for look in 1..=looks {
        tokio::time::sleep(LOOK).await;
        // The server is among those that are killed.
        let Ok(judgement) = remote.read("system.judgement", &json!({})).await else { continue };
        if judgement["over"] == true {
            return Ok(judgement);
        }
        if look.is_multiple_of(10) && matches!(format, Format::Table) {
            complain(&format!("{} steps, {} decisions judged\n", judgement["steps"], judgement["decisions"]));
        }
    }
    let detail = "the plan is not over, or the daemon does not say so";
    Err(Failure::unreachable("chaos.no_judgement", detail, "look with `sop tree`, and at the log with `sop logs`"))
}
