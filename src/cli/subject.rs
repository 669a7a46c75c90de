//! `sop subject`: list, show, erase, hold, release.

use clap::Subcommand;
use kernel::Principal;
use serde_json::{Value, json};

use super::call::{Globals, Mutation};
use super::exit::{Exit, Run};
use super::output::{answer, cell, fields, table};

#[derive(Subcommand, Debug)]
pub enum Subject {
    /// List whose texts are sealed, held or erased
    List,
    /// Show a subject's key, cases and erasures
    Show {
        /// agent/alpha
        subject: Principal,
    },
    /// Destroy a subject's key, and with it every text that was sealed for it, in all copies; nothing brings it back
    Erase {
        /// agent/alpha
        subject: Principal,
        #[command(flatten)]
        mutation: Mutation,
    },
    /// Let nothing of a subject be erased until a case is released
    Hold {
        /// agent/alpha
        subject: Principal,
        /// The name that the matter has elsewhere
        #[arg(long)]
        case: String,
        /// Why, in words; sealed
        #[arg(long, default_value = "", hide_default_value = true)]
        reason: String,
        #[command(flatten)]
        mutation: Mutation,
    },
    /// End a hold
    Release {
        /// agent/alpha
        subject: Principal,
        #[arg(long)]
        case: String,
        #[command(flatten)]
        mutation: Mutation,
    },
}

pub async fn run(globals: &Globals, command: Subject) -> Run {
    let (remote, format) = (globals.remote()?, globals.output);
    match command {
        Subject::List => answer(format, &remote.read("subject.list", &json!({})).await?, listed)?,
        Subject::Show { subject } => {
            answer(format, &remote.read("subject.show", &json!({ "subject": subject })).await?, shown)?;
        }
        Subject::Erase { subject, mutation } => {
            let erased = remote.change("subject.erase", &json!({ "subject": subject }), mutation.id()).await?;
            answer(format, &erased, |erased| {
                format!("{} is erased: no text that was sealed for it opens any more.", cell(&erased["subject"]))
            })?;
        }
        Subject::Hold { subject, case, reason, mutation } => {
            let arguments = json!({ "subject": subject, "case": case, "reason": reason });
            let held = remote.change("subject.hold", &arguments, mutation.id()).await?;
            answer(format, &held, |held| format!("{} is held for {}.", cell(&held["subject"]), cell(&held["case"])))?;
        }
        Subject::Release { subject, case, mutation } => {
            let arguments = json!({ "subject": subject, "case": case });
            let released = remote.change("subject.release", &arguments, mutation.id()).await?;
            answer(format, &released, |released| {
                format!("{} is held for {} no more.", cell(&released["subject"]), cell(&released["case"]))
            })?;
        }
    }
    Ok(Exit::Ok)
}

fn listed(listed: &Value) -> String {
    let subjects = listed["subjects"].as_array().map(Vec::as_slice).unwrap_or_default();
    if subjects.is_empty() {
        return "No subjects: nothing was sealed yet.".to_owned();
    }
    let count = |value: &Value| value.as_array().map_or(0, Vec::len).to_string();
    let row = |one: &Value| [cell(&one["subject"]), cell(&one["key"]), count(&one["cases"]), count(&one["erasures"])];
    table(["SUBJECT", "KEY", "CASES", "ERASURES"], subjects.iter().map(row))
}

fn shown(subject: &Value) -> String {
    let mut known = vec![("subject", cell(&subject["subject"])), ("key", cell(&subject["key"]))];
    for case in subject["cases"].as_array().into_iter().flatten() {
        let part = |name: &str| cell(&case[name]);
        known
            .push(("held for", format!("{} since {} by {}: {}", part("case"), part("at"), part("by"), part("reason"))));
    }
    for erasure in subject["erasures"].as_array().into_iter().flatten() {
        known.push(("erased", format!("{} by {}", cell(&erasure["done_at"]), cell(&erasure["by"]))));
    }
    fields(known)
}
