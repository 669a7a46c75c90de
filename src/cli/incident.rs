//! `sop security events`, `sop security event` and `sop incident`: what was detected, and what is done about it.

use std::time::{Duration, UNIX_EPOCH};

use clap::{Args, Subcommand};
use host::Clock;
use kernel::Principal;
use serde_json::{Value, json};

use super::call::{Globals, Mutation};
use super::exit::{Exit, Run};
use super::output::{answer, cell, fields, table};

#[derive(Args, Debug)]
pub struct Events {
    /// Only what was seen in this span, such as 1h
    #[arg(long, value_name = "SPAN", value_parser = humantime::parse_duration)]
    last: Option<Duration>,
    /// Only those in this state: new, acknowledged, dismissed or incident
    #[arg(long)]
    state: Option<String>,
    /// Only of this kind, such as denied_burst
    #[arg(long)]
    kind: Option<String>,
    /// Only about this one, such as agent/alpha
    #[arg(long)]
    subject: Option<String>,
}

#[derive(Subcommand, Debug)]
pub enum Event {
    /// Show what was detected, and which records show it
    Show {
        #[arg(value_parser = event_number)]
        event: u64,
    },
    /// Say that somebody looks at it
    #[command(visible_alias = "acknowledge")]
    Ack {
        #[arg(value_parser = event_number)]
        event: u64,
        #[command(flatten)]
        mutation: Mutation,
    },
    /// Say that it is nothing; if it happens again, that is another event
    Dismiss {
        #[arg(value_parser = event_number)]
        event: u64,
        /// Why, in words; sealed
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        mutation: Mutation,
    },
    /// Open an incident because of it, or make it part of one
    Escalate {
        #[arg(value_parser = event_number)]
        event: u64,
        /// The incident that it becomes part of
        #[arg(long, value_parser = incident_number, conflicts_with = "title")]
        incident: Option<u64>,
        /// What the new incident is called; sealed
        #[arg(long)]
        title: Option<String>,
        #[command(flatten)]
        mutation: Mutation,
    },
}

#[derive(Subcommand, Debug)]
pub enum Incident {
    /// Open an incident
    Open {
        /// What it is called; sealed
        title: String,
        /// low, medium or high; the highest of its events, unless it is said
        #[arg(long)]
        severity: Option<String>,
        /// Who sees to it; you, unless it is said
        #[arg(long)]
        owner: Option<Principal>,
        /// An event that it is about; may be given again
        #[arg(long = "event", value_name = "EVENT", value_parser = event_number)]
        events: Vec<u64>,
        #[command(flatten)]
        mutation: Mutation,
    },
    /// List incidents that are open
    List {
        /// Those that are closed, too
        #[arg(long)]
        all: bool,
    },
    /// Show an incident: its events, its containment, its timeline
    Show {
        #[arg(value_parser = incident_number)]
        incident: u64,
    },
    /// Write into the timeline
    Note {
        #[arg(value_parser = incident_number)]
        incident: u64,
        /// In words; sealed
        text: String,
        #[command(flatten)]
        mutation: Mutation,
    },
    /// Show what would contain it, or do it: suspend, revoke tokens, end leases, withdraw protocols
    Contain {
        #[arg(value_parser = incident_number)]
        incident: u64,
        /// Whom; all whom its events are about besides you, unless it is said. May be given again
        #[arg(long = "subject", value_name = "PRINCIPAL")]
        subjects: Vec<Principal>,
        /// Do it: each step is asked for as by yourself, and what came of it is noted
        #[arg(long)]
        apply: bool,
        #[command(flatten)]
        mutation: Mutation,
    },
    /// Keep the evidence: nothing from the first record that shows it on leaves the tile log
    Hold {
        #[arg(value_parser = incident_number)]
        incident: u64,
        /// The first of them
        #[arg(long, value_name = "SEQUENCE")]
        from: Option<u64>,
        /// The last of them; all that come, unless it is said
        #[arg(long, value_name = "SEQUENCE")]
        to: Option<u64>,
        #[command(flatten)]
        mutation: Mutation,
    },
    /// Keep the evidence no longer
    Release {
        #[arg(value_parser = incident_number)]
        incident: u64,
        #[command(flatten)]
        mutation: Mutation,
    },
    /// Close it, with what was learnt
    Close {
        #[arg(value_parser = incident_number)]
        incident: u64,
        /// What happened, why, and what is done about it; sealed
        #[arg(long)]
        postmortem: String,
        #[command(flatten)]
        mutation: Mutation,
    },
}

fn event_number(text: &str) -> Result<u64, String> {
    numbered(text, "event-")
}

fn incident_number(text: &str) -> Result<u64, String> {
    numbered(text, "incident-")
}

fn numbered(text: &str, prefix: &str) -> Result<u64, String> {
    text.strip_prefix(prefix).unwrap_or(text).parse().map_err(|_| format!("such as {prefix}3, or 3"))
}

pub async fn events(globals: &Globals, asked: Events) -> Run {
    let Events { last, state, kind, subject } = asked;
    let since = last.map(ago);
    let arguments = json!({ "state": state, "kind": kind, "subject": subject, "since": since });
    let found = globals.remote()?.read("event.list", &given(arguments)).await?;
    answer(globals.output, &found, listed)?;
    Ok(Exit::Ok)
}

pub async fn event(globals: &Globals, command: Event) -> Run {
    let (remote, format) = (globals.remote()?, globals.output);
    match command {
        Event::Show { event } => {
            let found = remote.read("event.show", &json!({ "event": event })).await?;
            answer(format, &found, shown_event)?;
        }
        Event::Ack { event, mutation } => {
            let found = remote.change("event.acknowledge", &json!({ "event": event }), mutation.id()).await?;
            answer(format, &found, |_| format!("event-{event} is acknowledged."))?;
        }
        Event::Dismiss { event, reason, mutation } => {
            let arguments = json!({ "event": event, "reason": reason });
            let found = remote.change("event.dismiss", &arguments, mutation.id()).await?;
            answer(format, &found, |_| format!("event-{event} is dismissed."))?;
        }
        Event::Escalate { event, incident, title, mutation } => {
            let arguments = given(json!({ "event": event, "incident": incident, "title": title }));
            let found = remote.change("event.escalate", &arguments, mutation.id()).await?;
            answer(format, &found, |found| {
                let incident = cell(&found["incident"]);
                format!("event-{event} is part of incident-{incident}: see `sop incident contain {incident}`.")
            })?;
        }
    }
    Ok(Exit::Ok)
}

pub async fn incident(globals: &Globals, command: Incident) -> Run {
    let (remote, format) = (globals.remote()?, globals.output);
    match command {
        Incident::Open { title, severity, owner, events, mutation } => {
            let arguments = json!({ "title": title, "severity": severity, "owner": owner, "events": events });
            let opened = remote.change("incident.open", &given(arguments), mutation.id()).await?;
            answer(format, &opened, |opened| format!("incident-{} is open.", cell(&opened["incident"])))?;
        }
        Incident::List { all } => {
            answer(format, &remote.read("incident.list", &json!({ "all": all })).await?, incidents)?;
        }
        Incident::Show { incident } => {
            answer(format, &remote.read("incident.show", &json!({ "incident": incident })).await?, shown)?;
        }
        Incident::Note { incident, text, mutation } => {
            let arguments = json!({ "incident": incident, "text": text });
            let noted = remote.change("incident.note", &arguments, mutation.id()).await?;
            answer(format, &noted, |_| format!("Noted in incident-{incident}."))?;
        }
        Incident::Contain { incident, subjects, apply, mutation } => {
            let arguments = json!({ "incident": incident, "subjects": subjects, "apply": apply });
            let contained = remote.change("incident.contain", &arguments, mutation.id()).await?;
            let steps = || contained["steps"].as_array().into_iter().flatten();
            answer(format, &contained, |contained| {
                let told = if apply { "" } else { "\n\nNothing was done: give the same command with --apply." };
                format!("{}{told}", containment(contained))
            })?;
            if apply && steps().any(|step| step["state"] != "done") {
                return Ok(Exit::Findings);
            }
        }
        Incident::Hold { incident, from, to, mutation } => {
            let arguments = given(json!({ "incident": incident, "from": from, "to": to }));
            let held = remote.change("incident.hold", &arguments, mutation.id()).await?;
            answer(format, &held, |held| {
                let upto = held["hold"]["to"].as_u64().map_or("on".to_owned(), |to| format!("to {to}"));
                let from = cell(&held["hold"]["from"]);
                format!("The records from {from} {upto} are held for incident-{incident}.")
            })?;
        }
        Incident::Release { incident, mutation } => {
            let released = remote.change("incident.release", &json!({ "incident": incident }), mutation.id()).await?;
            answer(format, &released, |_| format!("Nothing is held for incident-{incident} any more."))?;
        }
        Incident::Close { incident, postmortem, mutation } => {
            let arguments = json!({ "incident": incident, "postmortem": postmortem });
            let closed = remote.change("incident.close", &arguments, mutation.id()).await?;
            answer(format, &closed, |closed| {
                let held = if closed["hold"].is_null() { "" } else { " Its evidence stays held until it is released." };
                format!("incident-{incident} is closed.{held}")
            })?;
        }
    }
    Ok(Exit::Ok)
}

/// When a span that ends now began.
pub fn ago(span: Duration) -> String {
    let span = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    let began = Duration::from_millis(Clock::system().now().0.saturating_sub(span));
    humantime::format_rfc3339_millis(UNIX_EPOCH + began).to_string()
}

/// Without what was not given.
fn given(mut arguments: Value) -> Value {
    if let Some(arguments) = arguments.as_object_mut() {
        arguments.retain(|_, value| !value.is_null());
    }
    arguments
}

fn row(found: &Value) -> [String; 7] {
    let part = |key: &str| cell(&found[key]);
    let state = match found["incident"].as_u64() {
        Some(incident) => format!("incident-{incident}"),
        None => part("state"),
    };
    [
        format!("event-{}", part("event")),
        part("severity"),
        part("kind"),
        part("subject"),
        part("count"),
        part("last_at"),
        state,
    ]
}

const HEADINGS: [&str; 7] = ["EVENT", "SEVERITY", "KIND", "SUBJECT", "COUNT", "LAST", "STATE"];

fn listed(listed: &Value) -> String {
    let events = listed["events"].as_array().map(Vec::as_slice).unwrap_or_default();
    if events.is_empty() { "No events.".to_owned() } else { table(HEADINGS, events.iter().map(row)) }
}

fn shown_event(found: &Value) -> String {
    let part = |key: &str| cell(&found[key]);
    let evidence: Vec<_> = found["evidence"].as_array().into_iter().flatten().map(cell).collect();
    let evidence = if evidence.is_empty() { "none: only the door saw it".to_owned() } else { evidence.join(", ") };
    let mut rows = vec![
        ("event", format!("event-{}", part("event"))),
        ("kind", part("kind")),
        ("subject", part("subject")),
        ("severity", part("severity")),
        ("state", part("state")),
        ("detail", part("detail")),
        ("count", part("count")),
        ("first", part("first_at")),
        ("last", part("last_at")),
        ("records", evidence),
    ];
    if !found["incident"].is_null() {
        rows.push(("incident", format!("incident-{}", part("incident"))));
    }
    let triage = &found["triage"];
    if !triage.is_null() {
        rows.push(("by", format!("{} at {}", cell(&triage["by"]), cell(&triage["at"]))));
        if !triage["reason"].is_null() {
            rows.push(("because", cell(&triage["reason"])));
        }
    }
    fields(rows)
}

fn incidents(listed: &Value) -> String {
    let incidents = listed["incidents"].as_array().map(Vec::as_slice).unwrap_or_default();
    if incidents.is_empty() {
        return "No incidents.".to_owned();
    }
    let row = |found: &Value| {
        let part = |key: &str| cell(&found[key]);
        let held = if found["hold"].is_null() { "no" } else { "yes" };
        let name = format!("incident-{}", part("incident"));
        [name, part("state"), part("severity"), part("owner"), part("opened_at"), held.to_owned(), part("title")]
    };
    table(["INCIDENT", "STATE", "SEVERITY", "OWNER", "OPENED", "HOLDS", "TITLE"], incidents.iter().map(row))
}

fn containment(found: &Value) -> String {
    let steps = found["steps"].as_array().map(Vec::as_slice).unwrap_or_default();
    if steps.is_empty() {
        return "Nothing is to be contained: name whom with --subject.".to_owned();
    }
    let row = |step: &Value| ["step", "measure", "subject", "state", "answer"].map(|key| cell(&step[key]));
    table(["STEP", "MEASURE", "SUBJECT", "STATE", "ANSWER"], steps.iter().map(row))
}

fn shown(found: &Value) -> String {
    let part = |key: &str| cell(&found[key]);
    let mut rows = vec![
        ("incident", format!("incident-{}", part("incident"))),
        ("title", part("title")),
        ("state", part("state")),
        ("severity", part("severity")),
        ("owner", part("owner")),
        ("opened", part("opened_at")),
    ];
    if !found["hold"].is_null() {
        let upto = found["hold"]["to"].as_u64().map_or("on".to_owned(), |to| format!("to {to}"));
        rows.push(("holds", format!("the records from {} {upto}", cell(&found["hold"]["from"]))));
    }
    let closed = &found["closed"];
    if !closed.is_null() {
        rows.push(("closed", format!("by {} at {}", cell(&closed["by"]), cell(&closed["at"]))));
        rows.push(("learnt", cell(&closed["postmortem"])));
    }
    let mut parts = vec![fields(rows)];
    let events = found["events"].as_array().map(Vec::as_slice).unwrap_or_default();
    if !events.is_empty() {
        parts.push(table(HEADINGS, events.iter().map(row)));
    }
    if found["steps"].as_array().is_some_and(|steps| !steps.is_empty()) {
        parts.push(containment(found));
    }
    let timeline = found["timeline"].as_array().map(Vec::as_slice).unwrap_or_default();
    let entry = |entry: &Value| {
        let said = if entry["text"].is_null() { &entry["what"] } else { &entry["text"] };
        [
            cell(&entry["at"]),
            cell(&entry["by"]),
            cell(&entry["act"]),
            if said.is_null() { String::new() } else { cell(said) },
        ]
    };
    parts.push(table(["AT", "BY", "WHAT", ""], timeline.iter().map(entry)));
    parts.join("\n\n")
}
