//! Policies: propose, validate, activate, roll back, list, show.

use door::Denied;
use governance::{Claim, Command, Epoch, Goal, Governance, PROBLEMS_MAX, Reply};
use kernel::Digest;
use policy::Policies;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Desk, Given, Request, flag, number, optional_number, replay, rights, time, unknown};

/// Actions that a denial names of those that an author would win.
const ESCALATED_SHOWN: usize = 5;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    text: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Activate {
    #[serde(deserialize_with = "number")]
    epoch: u64,
    #[serde(default, deserialize_with = "optional_number")]
    expected_active: Option<u64>,
    /// Refuse if it would have decided otherwise than was decided.
    #[serde(default, deserialize_with = "flag")]
    expect_no_flips: bool,
    /// Also where somebody claims that it does not hold what was to be proven.
    #[serde(default, deserialize_with = "flag")]
    despite_counterexample: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Claimed {
    #[serde(deserialize_with = "number")]
    epoch: u64,
    /// blake3 of the text that was proven something of.
    text: Digest,
    against: Digest,
    #[serde(default)]
    solver: String,
    goals: Vec<Goal>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rollback {
    #[serde(default, deserialize_with = "optional_number")]
    expected_active: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Show {
    #[serde(default, deserialize_with = "optional_number")]
    epoch: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

pub async fn answer(desk: &Desk, mut request: Request) -> Given {
    match request.ask.action {
        "policy.propose" => {
            let Text { text } = request.arguments()?;
            let widens = escalated(desk, &request, &text).await?;
            let mut proposed = command(desk, request, "*", Command::Propose { text: text.clone() }).await?;
            proposed["widens"] = json!(widens);
            proposed["flips"] = replay::before(desk, text, &proposed["record"]).await;
            Ok(proposed)
        }
        "policy.claim" => {
            let Claimed { epoch, text, against, solver, goals } = request.arguments()?;
            let claim = Claim { text, against, solver, goals };
            command(desk, request, &epoch.to_string(), Command::Claim { epoch, claim }).await
        }
        "policy.activate" => {
            let Activate { epoch, expected_active, expect_no_flips, despite_counterexample } = request.arguments()?;
            if expect_no_flips {
                replay::expect_none(desk, &request.ask, epoch).await?;
            }
            let activate = Command::Activate { epoch, expected_active, despite_counterexample };
            let mut answer = command(desk, request, &epoch.to_string(), activate).await?;
            answer["flips"] = replay::before(desk, replay::text_of(desk, epoch)?, &answer["record"]).await;
            answer["claims"] = desk.door().governance_view().read(|governance| claims(governance, epoch));
            Ok(answer)
        }
        "policy.rollback" => {
            let Rollback { expected_active } = request.arguments()?;
            command(desk, request, "*", Command::Rollback { expected_active }).await
        }
        "policy.validate" => {
            let Text { text } = request.arguments()?;
            desk.door().witness(&request.about("*")).await?;
            Ok(validated(&text))
        }
        "policy.list" => {
            let Nothing {} = request.arguments()?;
            desk.door().witness(&request.about("*")).await?;
            let epochs =
                desk.door().governance_view().read(|governance| governance.epochs().map(epoch).collect::<Vec<_>>());
            Ok(json!({ "epochs": epochs }))
        }
        "policy.show" => {
            let Show { epoch: number } = request.arguments()?;
            let number =
                number.unwrap_or_else(|| desk.door().governance_view().read(governance::Governance::active_epoch));
            desk.door().witness(&request.about(number)).await?;
            let shown = desk.door().governance_view().read(|governance| governance.show(number));
            let what = format!("policy epoch {number}");
            let shown = shown.ok_or_else(|| unknown("governance.unknown_epoch", &what, "see `sop policy list`"))?;
            let mut answer = epoch(shown.epoch);
            answer["text"] = shown.text.into();
            answer["claims"] = desk.door().governance_view().read(|governance| claims(governance, number));
            Ok(answer)
        }
        "policy.replay" => replay::answer(desk, request).await,
        action => unreachable!("{action} is no action on policies"),
    }
}

/// What the text would let its author do that the author may not do now; to propose that is a right of its own.
async fn escalated(desk: &Desk, request: &Request, text: &str) -> Result<Vec<&'static str>, Denied> {
    let mut ask = request.ask.clone();
    let author = desk.door().identify(&ask).await?;
    let widens = rights::escalation(desk, &author, text)?;
    if widens.is_empty() {
        return Ok(widens);
    }
    (ask.action, ask.command_id) = ("policy.escalate", desk.parts.clock.command_id());
    desk.door().witness(&ask).await.map_err(|mut denied| {
        let shown = widens.iter().take(ESCALATED_SHOWN).copied().collect::<Vec<_>>().join(", ");
        let more = match widens.len().saturating_sub(ESCALATED_SHOWN) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let reason = &denied.denial.reason;
        denied.denial.reason = format!("{author} would win {shown}{more} by this text; {reason}");
        denied
    })?;
    Ok(widens)
}

async fn command(desk: &Desk, request: Request, resource: &str, command: Command) -> Given {
    let done = desk.door().perform(&request.about(resource), desk.door().governance(), command).await?;
    Ok(match done.reply {
        Reply::Proposed { epoch, digest } => json!({ "epoch": epoch, "digest": digest, "record": done.first }),
        Reply::Claimed { epoch, verdict } => json!({ "epoch": epoch, "claimed": verdict, "record": done.first }),
        Reply::Active { epoch } => json!({ "active": epoch, "record": done.first }),
        reply @ (Reply::Bootstrapped { .. } | Reply::Stopped { .. } | Reply::Running) => {
            unreachable!("{reply:?} answers no command of the desk's")
        }
    })
}

fn validated(text: &str) -> Value {
    match Policies::compile(text) {
        Ok(policies) => {
            json!({ "valid": true, "policies": policies.ids().collect::<Vec<_>>(), "problems": [], "more": 0 })
        }
        Err(problems) => {
            let shown = &problems[..problems.len().min(PROBLEMS_MAX)];
            json!({ "valid": false, "policies": [], "problems": shown, "more": problems.len() - shown.len() })
        }
    }
}

fn epoch(epoch: Epoch) -> Value {
    json!({
        "epoch": epoch.number,
        "active": epoch.active,
        "digest": epoch.digest,
        "author": epoch.author,
        "proposed_at": epoch.proposed_at.map(time),
        "claimed": epoch.claimed,
    })
}

/// What is claimed to have come of proving something of an epoch, and by whom: the authority checks none of it.
pub fn claims(governance: &Governance, number: u64) -> Value {
    let epoch_of = |digest: Digest| governance.epochs().find(|epoch| epoch.digest == digest).map(|epoch| epoch.number);
    let one = |claimed: &governance::Claimed| {
        let governance::Claimed { claim, by, at } = claimed;
        json!({
            "claimed_by": by,
            "at": time(*at),
            "checked": false,
            "verdict": claim.verdict(),
            "solver": Some(&claim.solver).filter(|solver| !solver.is_empty()),
            "text": claim.text,
            "against": claim.against,
            "against_epoch": epoch_of(claim.against),
            "goals": claim.goals,
        })
    };
    governance.claims(number).map(one).collect()
}
