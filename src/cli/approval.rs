//! `sop approval`: list, show, approve, deny, withdraw. Asked for with `--request-approval` on the command itself.

use clap::Subcommand;
use serde_json::{Value, json};

use super::call::{Globals, Mutation};
use super::exit::{Exit, Run};
use super::output::{answer, cell, fields, table};

#[derive(Subcommand, Debug)]
pub enum Approval {
    /// List what leave was asked for
    List {
        /// Only those in this state: pending, approved, used, denied, withdrawn, stale or expired
        #[arg(long)]
        state: Option<String>,
        /// Only what this one asked for, such as agent/alpha
        #[arg(long, value_name = "PRINCIPAL")]
        asker: Option<String>,
        /// Only leave for this, such as retention.prune
        #[arg(long)]
        action: Option<String>,
    },
    /// Show what exactly would be done, by whom, why, until when, and who decided how
    Show {
        /// The number of the request
        request: u64,
    },
    /// Let it be done, once
    Approve {
        /// The number of the request
        request: u64,
        #[command(flatten)]
        mutation: Mutation,
    },
    /// Let it not be done, whoever approved it
    Deny {
        /// The number of the request
        request: u64,
        /// Why, in words; sealed
        #[arg(long, default_value = "")]
        reason: String,
        #[command(flatten)]
        mutation: Mutation,
    },
    /// Take back what you asked for, or what you approved
    Withdraw {
        /// The number of the request
        request: u64,
        #[command(flatten)]
        mutation: Mutation,
    },
}

pub async fn run(globals: &Globals, command: Approval) -> Run {
    let (remote, format) = (globals.remote()?, globals.output);
    match command {
        Approval::List { state, asker, action } => {
            let mut arguments = json!({ "state": state, "asker": asker, "action": action });
            if let Some(arguments) = arguments.as_object_mut() {
                arguments.retain(|_, value| !value.is_null());
            }
            answer(format, &remote.read("approval.list", &arguments).await?, listed)?;
        }
        Approval::Show { request } => {
            answer(format, &remote.read("approval.show", &json!({ "request": request })).await?, shown)?;
        }
        Approval::Approve { request, mutation } => {
            let decided = remote.change("approval.approve", &json!({ "request": request }), mutation.id()).await?;
            answer(format, &decided, |decided| {
                let what = match decided["state"].as_str() {
                    Some("approved") => "it can be done now, once",
                    Some("pending") => "more have to approve",
                    _ => "it has ended since",
                };
                let [have, needed] = ["have", "needed"].map(|key| cell(&decided[key]));
                format!("Request {request} has {have} of {needed} approvals: {what}.")
            })?;
        }
        Approval::Deny { request, reason, mutation } => {
            let arguments = json!({ "request": request, "reason": reason });
            let decided = remote.change("approval.deny", &arguments, mutation.id()).await?;
            answer(format, &decided, |_| format!("Request {request} is denied."))?;
        }
        Approval::Withdraw { request, mutation } => {
            let decided = remote.change("approval.withdraw", &json!({ "request": request }), mutation.id()).await?;
            answer(format, &decided, |_| format!("Request {request} is withdrawn."))?;
        }
    }
    Ok(Exit::Ok)
}

/// What a request for approvals came to.
pub fn requested(asked: &Value) -> String {
    let [request, have, needed, until] = ["request", "have", "needed", "expires_at"].map(|key| cell(&asked[key]));
    format!(
        "Nothing was done. Leave is asked for: request {request}, {have} of {needed} approvals, until {until}.\n\
         Others decide with `sop approval approve {request}` or `sop approval deny {request}`; once it is approved, give the \
         same command again without --request-approval."
    )
}

fn listed(listed: &Value) -> String {
    let requests = listed["requests"].as_array().map(Vec::as_slice).unwrap_or_default();
    if requests.is_empty() {
        return "No leave was asked for.".to_owned();
    }
    let row = |request: &Value| {
        let approvals = format!("{} of {}", cell(&request["have"]), cell(&request["needed"]));
        let [number, state, asker, action, resource, until] =
            ["request", "state", "asker", "action", "resource", "expires_at"].map(|key| cell(&request[key]));
        [number, state, approvals, asker, action, resource, until]
    };
    table(["REQUEST", "STATE", "APPROVALS", "BY", "ACTION", "RESOURCE", "UNTIL"], requests.iter().map(row))
}

fn shown(request: &Value) -> String {
    let by = match &request["issuer"] {
        Value::Null => cell(&request["asker"]),
        issuer => format!("{}, by a token that {} issued", cell(&request["asker"]), cell(issuer)),
    };
    let each = request["approvals"].as_array().into_iter().flatten();
    let approved: Vec<_> =
        each.map(|approval| format!("{} at {}", cell(&approval["by"]), cell(&approval["at"]))).collect();
    let approved = if approved.is_empty() { "nobody yet".to_owned() } else { approved.join("; ") };
    let mut rows = vec![
        ("request", cell(&request["request"])),
        ("state", cell(&request["state"])),
        ("would do", format!("{} on {}", cell(&request["action"]), cell(&request["resource"]))),
        ("with", cell(&request["arguments"])),
        ("by", by),
        ("why", cell(&request["reason"])),
        ("asked at", cell(&request["asked_at"])),
        ("until", cell(&request["expires_at"])),
        ("needs", format!("{} approvals", cell(&request["needed"]))),
        ("approved by", approved),
    ];
    if let end @ Value::Object(_) = &request["end"] {
        let how = match &end["by"] {
            Value::Null => format!("{} at {}", cell(&end["how"]), cell(&end["at"])),
            by => format!("{} by {} at {}", cell(&end["how"]), cell(by), cell(&end["at"])),
        };
        rows.push(("ended", how));
        if !end["reason"].is_null() {
            rows.push(("because", cell(&end["reason"])));
        }
    }
    if let used @ Value::Object(_) = &request["used"] {
        rows.push(("used", format!("by the command {} at {}", cell(&used["command"]), cell(&used["at"]))));
    }
    if request["stale"] == true {
        let what = "what it would be done to has changed since, so it is good for nothing".to_owned();
        rows.push(("stale", what));
    }
    rows.push(("content", cell(&request["content"])));
    let claims = request["claims"].as_array().map(|_| format!("\n\n{}", super::prove::claims(&request["claims"])));
    format!("{}{}", fields(rows), claims.unwrap_or_default())
}
