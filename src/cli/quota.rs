//! `sop security quota`: how many requests who may have let in within a window of time.

use clap::Args;
use kernel::Millis;
use serde_json::{Value, json};

use super::call::{Globals, Mutation};
use super::exit::{Exit, Run};
use super::output::{answer, cell, fields, table};
use super::security::{list, millis, present};

#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("what").multiple(false))]
pub struct Quota {
    /// List them, with what is used now; so it is without an option, too
    #[arg(long, group = "what")]
    list: bool,
    /// Set one under this name; given again, its terms are those of the last one
    #[arg(long, group = "what", value_name = "NAME", requires_all = ["principal", "action", "limit", "window"])]
    set: Option<String>,
    /// End the one of this name
    #[arg(long, group = "what", value_name = "NAME")]
    clear: Option<String>,
    /// Whom it is for: agent/alpha, or each of a kind: 'agent/*'
    #[arg(long, requires = "set", value_name = "PRINCIPAL")]
    principal: Option<String>,
    /// What it is of: an action such as gap.scan, all of a noun such as 'todo.*', or '*'
    #[arg(long, requires = "set", value_name = "ACTION")]
    action: Option<String>,
    /// So many requests may be let in
    #[arg(long, requires = "set", value_name = "N")]
    limit: Option<u64>,
    /// In a window of this span, such as 1h or 1d, which begins at its multiples since 1970-01-01T00:00Z
    #[arg(long, requires = "set", value_name = "SPAN", value_parser = millis)]
    window: Option<u64>,
    /// Why, in words; sealed
    #[arg(long, default_value = "", hide_default_value = true, requires = "set")]
    reason: String,
    #[command(flatten)]
    mutation: Mutation,
}

pub async fn run(globals: &Globals, asked: Quota) -> Run {
    let (remote, format) = (globals.remote()?, globals.output);
    let Quota { list: _, set, clear, principal, action, limit, window, reason, mutation } = asked;
    match (set, clear) {
        (Some(name), _) => {
            let arguments = present(json!({
                "name": name, "principal": principal, "action": action, "limit": limit, "window_ms": window,
                "reason": reason,
            }));
            let set = remote.change("quota.set", &arguments, mutation.id()).await?;
            answer(format, &set, |set| {
                fields([
                    ("quota", cell(&set["name"])),
                    ("for", cell(&set["principal"])),
                    ("of", cell(&set["action"])),
                    ("limit", format!("{} in {}", cell(&set["limit"]), span(&set["window_ms"]))),
                ])
            })?;
        }
        (None, Some(name)) => {
            let cleared = remote.change("quota.clear", &json!({ "name": name }), mutation.id()).await?;
            answer(format, &cleared, |told| format!("There is no quota {} any more.", cell(&told["name"])))?;
        }
        (None, None) => answer(format, &remote.read("quota.list", &json!({})).await?, listed)?,
    }
    Ok(Exit::Ok)
}

fn listed(listed: &Value) -> String {
    let mut rows = Vec::new();
    for quota in list(listed, "quotas") {
        let part = |name: &str| cell(&quota[name]);
        let row = |who: String, used: String| {
            let window = span(&quota["window_ms"]);
            [
                part("name"),
                who,
                part("action"),
                used,
                part("limit"),
                window,
                part("window_ends_at"),
                part("by"),
                part("reason"),
            ]
        };
        let known = listed["uncounted"].is_null();
        let whose = part("principal");
        let uses = list(quota, "uses");
        if !uses.iter().any(|one| one["principal"] == quota["principal"]) {
            let each = whose.ends_with("/*") || !known;
            rows.push(row(whose, if each { "-".to_owned() } else { "0".to_owned() }));
        }
        rows.extend(uses.iter().map(|one| row(cell(&one["principal"]), cell(&one["used"]))));
    }
    let headings = ["QUOTA", "WHO", "OF", "USED", "LIMIT", "WINDOW", "WINDOW ENDS", "BY", "REASON"];
    let shown = if rows.is_empty() { "There is no quota.".to_owned() } else { table(headings, rows) };
    match &listed["uncounted"] {
        Value::Null => shown,
        why => format!("{shown}\n{}", cell(&why["reason"])),
    }
}

/// One of whoever asks who he is.
pub fn own(quota: &Value) -> String {
    let part = |name: &str| cell(&quota[name]);
    let window = span(&quota["window_ms"]);
    let (name, used, limit, action, until) =
        (part("name"), part("used"), part("limit"), part("action"), part("window_ends_at"));
    format!("{name}: {used} of {limit} of {action} in {window}, until {until}")
}

fn span(millis: &Value) -> String {
    Millis(millis.as_u64().unwrap_or_default()).to_string()
}
