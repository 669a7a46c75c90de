//! `sop health`: whether all is well, and if not, why and what to do.

use clap::Args;
use serde_json::{Value, json};

use super::call::Globals;
use super::exit::{Exit, Run};
use super::output::{answer, cell, fields, table};
use super::system::{found, nodes};

#[derive(Args, Debug)]
pub struct Health {
    /// Only this actor and what is below it: its name, or its path as in `sop tree`. Needs a credential
    #[arg(long, value_name = "PATH")]
    component: Option<String>,
}

pub async fn run(globals: &Globals, Health { component }: Health) -> Run {
    let health = globals.page("/v1/health").await?;
    let Some(component) = component else {
        answer(globals.output, &health, shown)?;
        return Ok(exit(&health));
    };
    let remote = globals.remote()?;
    let path = found(&remote, &component).await?;
    let tree = remote.read("system.tree", &json!({})).await?;
    let path = if path == "sop" || path.starts_with("sop/") { path } else { format!("sop/{path}") };
    let node = nodes(&tree).into_iter().find(|node| node["path"] == path.as_str());
    let node = node.ok_or_else(|| super::system::unknown(&component))?;
    let part = of(&health, node, &path);
    answer(globals.output, &part, of_component)?;
    Ok(exit(&part))
}

/// What of the whole concerns one node and what is below it.
fn of(health: &Value, node: &Value, path: &str) -> Value {
    let below = |reason: &&Value| {
        let subject = reason["subject"].as_str().unwrap_or_default();
        let machine = path.rsplit('/').next() == Some(subject);
        let rest = subject.strip_prefix(path);
        path == "sop" || machine || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let reasons: Vec<&Value> = health["reasons"].as_array().into_iter().flatten().filter(below).collect();
    let severities: Vec<&Value> = reasons.iter().map(|reason| &reason["severity"]).collect();
    let phase = match node["state"].as_str() {
        _ if severities.iter().any(|severity| *severity == "unready") => "unready",
        Some("running") if severities.is_empty() => "ready",
        Some("starting") if severities.is_empty() => "startup",
        _ => "degraded",
    };
    json!({
        "component": path,
        "phase": phase,
        "state": node["state"],
        "epoch": node["epoch"],
        "restarts": node["restarts"],
        "last_exit": if node["why"].is_null() { &node["last_exit"] } else { &node["why"] },
        "reasons": reasons,
    })
}

/// As the status has it: what is not simply ready is a finding.
fn exit(health: &Value) -> Exit {
    if health["phase"] == "ready" { Exit::Ok } else { Exit::Findings }
}

fn shown(health: &Value) -> String {
    let ready = if health["ready"] == true { "commands are taken" } else { "commands are refused" };
    with_reasons(fields([("phase", cell(&health["phase"])), ("ready", ready.to_owned())]), health)
}

fn of_component(part: &Value) -> String {
    let known = ["component", "phase", "state", "epoch", "restarts"].map(|name| (name, cell(&part[name])));
    with_reasons(fields(known.into_iter().chain([("last end", cell(&part["last_exit"]))])), part)
}

fn with_reasons(head: String, health: &Value) -> String {
    let reasons = health["reasons"].as_array().map(Vec::as_slice).unwrap_or_default();
    if reasons.is_empty() {
        return head;
    }
    let row = |reason: &Value| ["code", "severity", "since", "reason", "remedy"].map(|name| cell(&reason[name]));
    let reasons = table(["CODE", "SEVERITY", "SINCE", "REASON", "REMEDY"], reasons.iter().map(row));
    format!("{head}\n\n{reasons}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health() -> Value {
        json!({ "phase": "degraded", "live": true, "ready": true, "reasons": [
            { "code": "child.quarantined", "subject": "sop/operations/scanner", "severity": "degrades",
              "reason": "it is quarantined", "remedy": "mend it", "since": null },
            { "code": "machine.poisoned", "subject": "gaps", "severity": "degrades", "reason": "it is poisoned",
              "remedy": "report it", "since": "noon" }] })
    }

    fn node(path: &str) -> Value {
        json!({ "path": path, "state": "running", "epoch": 1, "restarts": 0, "last_exit": null, "why": null })
    }

    #[test]
    fn health_is_a_table_of_reasons() {
        assert_eq!(
            shown(&health()),
            "phase  degraded\nready  commands are taken\n\n\
             CODE               SEVERITY  SINCE  REASON             REMEDY\n\
             child.quarantined  degrades  -      it is quarantined  mend it\n\
             machine.poisoned   degrades  noon   it is poisoned     report it"
        );
        assert_eq!(
            shown(&json!({ "phase": "ready", "ready": true, "reasons": [] })),
            "phase  ready\nready  commands are taken"
        );
        assert_eq!((exit(&health()), exit(&json!({ "phase": "ready" }))), (Exit::Findings, Exit::Ok));
    }

    #[test]
    fn a_component_has_its_own_reasons_and_those_below() {
        let count = |path: &str| of(&health(), &node(path), path)["reasons"].as_array().unwrap().len();
        for (path, reasons) in [
            ("sop", 2),
            ("sop/operations", 1),
            ("sop/operations/scanner", 1),
            ("sop/operations/scan", 0),
            ("sop/operations/gaps", 1),
            ("sop/authority", 0),
        ] {
            assert_eq!(count(path), reasons, "{path}");
        }
        let authority = of(&health(), &node("sop/authority"), "sop/authority");
        assert_eq!((&authority["phase"], exit(&authority)), (&json!("ready"), Exit::Ok));
    }
}
