//! `sop policy replay`: what another policy would have decided.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use super::call::{Globals, Remote};
use super::exit::{Exit, Failure, Run};
use super::output::{answer, cell, count, table};
use super::policy::read;
use super::token::arguments;

/// Flips that are kept to be shown; all are counted.
const SHOWN_MAX: usize = 1_000;

/// Judges what was decided again, page by page. Exit code 2: something would have been decided otherwise.
pub async fn run(globals: &Globals, against: &str, since: Option<u64>, last: Option<u64>) -> Run {
    let remote = globals.remote()?;
    // An epoch is a number, and a file that is called like one can be named with its directory.
    let (epoch, text) = match against.parse::<u64>() {
        Ok(epoch) => (Some(epoch), None),
        Err(_) => (None, Some(read(Path::new(against))?)),
    };
    let replayed = all(&remote, &json!(epoch), &json!(text), since, last).await?;
    answer(globals.output, &replayed, shown)?;
    Ok(if replayed["flipped"] == 0 { Exit::Ok } else { Exit::Findings })
}

async fn all(
    remote: &Remote,
    epoch: &Value,
    text: &Value,
    since: Option<u64>,
    last: Option<u64>,
) -> Result<Value, Failure> {
    let page = |since: Value, to: Value, last: Value| {
        arguments([("epoch", epoch.clone()), ("text", text.clone()), ("since", since), ("to", to), ("last", last)])
    };
    let mut asked = page(json!(since), Value::Null, json!(last));
    let (mut records, mut judged, mut flipped) = (0, 0, 0);
    let mut by_action: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    let mut not_judged: BTreeMap<String, u64> = BTreeMap::new();
    let (mut flips, mut from) = (Vec::new(), Value::Null);
    let number = |value: &Value| value.as_u64().unwrap_or_default();
    loop {
        let mut found = remote.read("policy.replay", &asked).await?;
        if from.is_null() {
            from = found["from"].take();
        }
        records += number(&found["records"]);
        judged += number(&found["judged"]);
        flipped += number(&found["flipped"]);
        for action in found["by_action"].as_array().into_iter().flatten() {
            let (judged, flips) = by_action.entry(cell(&action["action"])).or_default();
            *judged += number(&action["judged"]);
            *flips += number(&action["flips"]);
        }
        for why in found["not_judged"].as_array().into_iter().flatten() {
            *not_judged.entry(cell(&why["why"])).or_default() += number(&why["decisions"]);
        }
        let room = SHOWN_MAX - flips.len();
        let more = found["flips"].as_array_mut().map(std::mem::take).unwrap_or_default();
        flips.extend(more.into_iter().take(room));
        let (next, to) = (found["next"].take(), found["to"].take());
        if next.is_null() {
            let by_action = by_action
                .into_iter()
                .map(|(action, (judged, flips))| json!({ "action": action, "judged": judged, "flips": flips }));
            let not_judged =
                not_judged.into_iter().map(|(why, decisions)| json!({ "why": why, "decisions": decisions }));
            return Ok(json!({
                "from": from,
                "to": to,
                "records": records,
                "judged": judged,
                "flipped": flipped,
                "by_action": by_action.collect::<Vec<_>>(),
                "not_judged": not_judged.collect::<Vec<_>>(),
                "flips": flips,
            }));
        }
        asked = page(next, to, Value::Null);
    }
}

fn shown(replayed: &Value) -> String {
    let range = format!("records {} to {}", cell(&replayed["from"]), cell(&replayed["to"]));
    let flipped = replayed["flipped"].as_u64().unwrap_or_default();
    let judged = count(replayed["judged"].as_u64().unwrap_or_default(), "decision");
    let mut parts = vec![match flipped {
        0 => format!("No flips: {judged} of {range} would be the same."),
        _ => format!("{} among {judged} of {range}.", count(flipped, "flip").to_uppercase()),
    }];
    let flips = replayed["flips"].as_array().map(Vec::as_slice).unwrap_or_default();
    if !flips.is_empty() {
        let row = |flip: &Value| {
            let by = |side: &Value| match &side["policies"] {
                Value::Null => format!("{} ({})", cell(&side["code"]), cell(&side["rule"])),
                policies => cell(policies),
            };
            [
                cell(&flip["record"]),
                cell(&flip["principal"]),
                cell(&flip["action"]),
                cell(&flip["resource"]),
                format!("{} by {}", cell(&flip["was"]), by(&flip["before"])),
                format!("{} by {}", cell(&flip["now"]), by(&flip["after"])),
            ]
        };
        parts.push(table(["SEQ", "PRINCIPAL", "ACTION", "RESOURCE", "WAS", "WOULD BE"], flips.iter().map(row)));
        let more = flipped.saturating_sub(flips.len() as u64);
        if 0 < more {
            parts.push(format!("and {more} more"));
        }
    }
    let actions = replayed["by_action"].as_array().map(Vec::as_slice).unwrap_or_default();
    if !actions.is_empty() {
        let row = |one: &Value| [cell(&one["action"]), cell(&one["judged"]), cell(&one["flips"])];
        parts.push(table(["ACTION", "JUDGED", "FLIPS"], actions.iter().map(row)));
    }
    let not_judged = replayed["not_judged"].as_array().map(Vec::as_slice).unwrap_or_default();
    if !not_judged.is_empty() {
        let line = |one: &Value| {
            format!("  - {}: {}", count(one["decisions"].as_u64().unwrap_or_default(), "decision"), cell(&one["why"]))
        };
        let lines: Vec<_> = std::iter::once("not judged".to_owned()).chain(not_judged.iter().map(line)).collect();
        parts.push(lines.join("\n"));
    }
    parts.join("\n\n")
}

/// What a proposal or an activation says of it, in a line.
pub fn told(flips: &Value) -> Option<String> {
    let flipped = flips["flipped"].as_u64()?;
    let judged = count(flips["judged"].as_u64().unwrap_or_default(), "decision");
    let records = count(flips["records"].as_u64().unwrap_or_default(), "record");
    let of = format!("the last {judged} (of {records})");
    let action = |one: &Value| format!("{} {}", cell(&one["flips"]), cell(&one["action"]));
    let actions: Vec<_> = flips["by_action"].as_array().into_iter().flatten().map(action).collect();
    Some(match flipped {
        0 => format!("It would have decided {of} as they were."),
        _ => format!("It would have decided {flipped} of {of} otherwise: {}.", actions.join(", ")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flips_are_shown_with_both_rules() {
        let replayed = json!({
            "from": 1, "to": 90, "records": 90, "judged": 12, "flipped": 1,
            "by_action": [{ "action": "todo.list", "judged": 12, "flips": 1 }],
            "not_judged": [{ "why": "recorded before requests were kept", "decisions": 3 }],
            "flips": [{
                "record": 7, "principal": "agent/a", "action": "todo.list", "resource": "*",
                "was": "allowed", "before": { "policies": ["all"] },
                "now": "denied", "after": { "code": "policy.forbidden", "rule": "not-agents" },
            }],
        });
        assert_eq!(
            shown(&replayed),
            "1 FLIP among 12 decisions of records 1 to 90.\n\n\
             SEQ  PRINCIPAL  ACTION     RESOURCE  WAS             WOULD BE\n  \
             7  agent/a    todo.list  *         allowed by all  denied by policy.forbidden (not-agents)\n\n\
             ACTION     JUDGED  FLIPS\ntodo.list      12      1\n\n\
             not judged\n  - 3 decisions: recorded before requests were kept"
        );
    }

    #[test]
    fn a_change_says_what_it_changes() {
        let flips = json!({ "records": 90, "judged": 12, "flipped": 0, "by_action": [] });
        assert_eq!(told(&flips).unwrap(), "It would have decided the last 12 decisions (of 90 records) as they were.");
        let flips = json!({ "records": 90, "judged": 12, "flipped": 2,
            "by_action": [{ "action": "todo.list", "judged": 4, "flips": 2 }] });
        assert_eq!(
            told(&flips).unwrap(),
            "It would have decided 2 of the last 12 decisions (of 90 records) otherwise: 2 todo.list."
        );
        assert_eq!(told(&Value::Null), None, "it is not to be told");
    }
}
