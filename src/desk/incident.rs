//! Security events and incidents: list, triage, open, note, contain, hold the evidence, close.
//!
//! To contain is to ask for each step as its own request, by whoever asked for it all: the door judges it as any other, and
//! what came of it goes into the incident.

use std::collections::BTreeSet;

use door::{Ask, Denied};
use kernel::{CommandId, Digest, Principal, Refuse as _, Timestamp};
use security::{Command, Detection, Incident, Kind, Measure, Reply, Security, Severity, Triage, clipped};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Desk, Given, Request, approval, flag, malformed, number, optional_number, optional_time, personal, time, unknown,
};

/// Events listed at once.
const LIST_MAX: usize = security::EVENTS_MAX;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Events {
    state: Option<String>,
    kind: Option<Kind>,
    subject: Option<String>,
    /// Seen since then.
    #[serde(default, deserialize_with = "optional_time")]
    since: Option<Timestamp>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OneEvent {
    #[serde(deserialize_with = "number")]
    event: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Dismiss {
    #[serde(deserialize_with = "number")]
    event: u64,
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Escalate {
    #[serde(deserialize_with = "number")]
    event: u64,
    /// The incident that it becomes part of; a new one, unless it is said.
    #[serde(default, deserialize_with = "optional_number")]
    incident: Option<u64>,
    title: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Open {
    title: String,
    severity: Option<Severity>,
    owner: Option<Principal>,
    #[serde(default)]
    events: BTreeSet<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Incidents {
    /// Those that are closed, too.
    #[serde(default, deserialize_with = "flag")]
    all: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct One {
    #[serde(deserialize_with = "number")]
    incident: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    #[serde(deserialize_with = "number")]
    incident: u64,
    text: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Contain {
    #[serde(deserialize_with = "number")]
    incident: u64,
    #[serde(default)]
    subjects: BTreeSet<Principal>,
    /// Do it; else say what would be done.
    #[serde(default, deserialize_with = "flag")]
    apply: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Hold {
    #[serde(deserialize_with = "number")]
    incident: u64,
    #[serde(default, deserialize_with = "optional_number")]
    from: Option<u64>,
    #[serde(default, deserialize_with = "optional_number")]
    to: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Close {
    #[serde(deserialize_with = "number")]
    incident: u64,
    postmortem: String,
}

pub async fn answer(desk: &Desk, mut request: Request) -> Given {
    match request.ask.action {
        "event.list" => {
            let asked = request.arguments()?;
            desk.door().witness(&request.about("*")).await?;
            desk.parts.detected().await;
            events(desk, asked).await
        }
        "event.show" => {
            let OneEvent { event } = request.arguments()?;
            desk.door().witness(&request.about(event_name(event))).await?;
            shown_event(desk, event).await
        }
        "event.acknowledge" => {
            let OneEvent { event } = request.arguments()?;
            done(desk, &request.about(event_name(event)), Command::Acknowledge { event }).await?;
            shown_event(desk, event).await
        }
        "event.dismiss" => {
            let Dismiss { event, reason } = request.arguments()?;
            let ask = request.about(event_name(event));
            let reason = personal::sealed(desk, &ask, "reason", reason).await?;
            done(desk, &ask, Command::Dismiss { event, reason }).await?;
            shown_event(desk, event).await
        }
        "event.escalate" => {
            let Escalate { event, incident, title } = request.arguments()?;
            let ask = request.about(event_name(event));
            let incident = match (incident, title) {
                (Some(_), Some(_)) => return Err(malformed(&"that incident has its title").into()),
                (Some(incident), None) => {
                    done(desk, &ask, Command::Link { incident, event }).await?;
                    incident
                }
                (None, title) => {
                    let told = |security: &Security| {
                        let found = security.event(event)?;
                        Some(format!("{} of {}", found.kind.as_str(), found.subject))
                    };
                    let title = title.or_else(|| desk.parts.security_view.read(told)).unwrap_or_else(|| "?".to_owned());
                    let title = personal::sealed(desk, &ask, "title", clipped(&title)).await?;
                    let command = Command::Open { title, severity: None, owner: None, events: [event].into() };
                    opened(desk, &ask, command).await?
                }
            };
            shown(desk, incident).await
        }
        "incident.open" => {
            let Open { title, severity, owner, events } = request.arguments()?;
            let ask = request.about("*");
            let title = personal::sealed(desk, &ask, "title", title).await?;
            let incident = opened(desk, &ask, Command::Open { title, severity, owner, events }).await?;
            shown(desk, incident).await
        }
        "incident.list" => {
            let Incidents { all } = request.arguments()?;
            desk.door().witness(&request.about("*")).await?;
            let list = |security: &Security| {
                let wanted = security.incidents().filter(|(_, found)| all || found.closed.is_none());
                wanted.map(|(incident, found)| summary(incident, found)).collect::<Vec<_>>()
            };
            personal::opened(desk, json!({ "incidents": desk.parts.security_view.read(list) })).await
        }
        "incident.show" => {
            let One { incident } = request.arguments()?;
            desk.door().witness(&request.about(incident_name(incident))).await?;
            shown(desk, incident).await
        }
        "incident.note" => {
            let Said { incident, text } = request.arguments()?;
            let ask = request.about(incident_name(incident));
            let text = personal::sealed(desk, &ask, "text", text).await?;
            done(desk, &ask, Command::Note { incident, text }).await?;
            shown(desk, incident).await
        }
        "incident.contain" => contain(desk, request).await,
        "incident.hold" => {
            let Hold { incident, from, to } = request.arguments()?;
            let ask = request.about(incident_name(incident));
            done(desk, &ask, Command::Hold { incident, first: from, last: to }).await?;
            desk.parts.held_for(incident, true).await;
            shown(desk, incident).await
        }
        "incident.release" => {
            let One { incident } = request.arguments()?;
            done(desk, &request.about(incident_name(incident)), Command::Release { incident }).await?;
            desk.parts.held_for(incident, false).await;
            shown(desk, incident).await
        }
        "incident.close" => {
            let Close { incident, postmortem } = request.arguments()?;
            let ask = request.about(incident_name(incident));
            let postmortem = personal::sealed(desk, &ask, "postmortem", postmortem).await?;
            done(desk, &ask, Command::Close { incident, postmortem }).await?;
            shown(desk, incident).await
        }
        action => unreachable!("{action} is no action on events or incidents"),
    }
}

fn event_name(event: u64) -> String {
    format!("event-{event}")
}

fn incident_name(incident: u64) -> String {
    format!("incident-{incident}")
}

async fn done(desk: &Desk, ask: &Ask, command: Command) -> Result<(), Denied> {
    desk.door().perform(ask, &desk.parts.security, command).await.map(drop)
}

async fn opened(desk: &Desk, ask: &Ask, command: Command) -> Result<u64, Denied> {
    match desk.door().perform(ask, &desk.parts.security, command).await?.reply {
        Reply::Opened { incident } => Ok(incident),
        reply => unreachable!("an opening is answered as one, not with {reply:?}"),
    }
}

async fn events(desk: &Desk, asked: Events) -> Given {
    let Events { state, kind, subject, since } = asked;
    if let Some(state) = state.as_ref().filter(|state| !Triage::WORDS.contains(&state.as_str())) {
        return Err(malformed(&format!("there is no state {state:?}, but {}", Triage::WORDS.join(", "))).into());
    }
    let wanted = |found: &Detection| {
        state.as_ref().is_none_or(|state| found.triage.as_str() == state)
            && kind.is_none_or(|kind| found.kind == kind)
            && subject.as_ref().is_none_or(|subject| found.subject == *subject)
            && since.is_none_or(|since| since <= found.last_at)
    };
    let list = |security: &Security| {
        let wanted = security.events().filter(|(_, found)| wanted(found));
        wanted.take(LIST_MAX).map(|(event, found)| event_of(event, found)).collect::<Vec<_>>()
    };
    let looked = desk.parts.security_view.read(Security::looked);
    personal::opened(desk, json!({ "events": desk.parts.security_view.read(list), "looked_at": looked })).await
}

async fn shown_event(desk: &Desk, event: u64) -> Given {
    let found = desk.parts.security_view.read(|security| security.event(event).map(|found| event_of(event, found)));
    let none = || unknown("security.unknown_event", &event_name(event), "see `sop security events`");
    personal::opened(desk, found.ok_or_else(none)?).await
}

fn event_of(event: u64, found: &Detection) -> Value {
    let mut shown = json!({
        "event": event,
        "kind": found.kind,
        "subject": found.subject,
        "severity": found.kind.severity(),
        "state": found.triage.as_str(),
        "detail": found.detail,
        "count": found.count,
        "first_at": time(found.first_at),
        "last_at": time(found.last_at),
        "evidence": found.evidence,
    });
    match &found.triage {
        Triage::New => {}
        Triage::Acknowledged { by, at } => shown["triage"] = json!({ "by": by, "at": time(*at) }),
        Triage::Dismissed { by, reason, at } => {
            shown["triage"] = json!({ "by": by, "at": time(*at), "reason": reason });
        }
        Triage::Incident(incident) => shown["incident"] = json!(incident),
    }
    shown
}

fn summary(incident: u64, found: &Incident) -> Value {
    let steps = found.steps.iter().filter(|step| !step.done).count();
    json!({
        "incident": incident,
        "title": found.title,
        "state": if found.closed.is_some() { "closed" } else { "open" },
        "severity": found.severity,
        "owner": found.owner,
        "opened_at": time(found.opened_at),
        "events": found.events,
        "steps_left": steps,
        "hold": found.hold.map(|hold| json!({
            "from": hold.first,
            "to": Some(hold.last).filter(|last| *last != u64::MAX),
        })),
    })
}

async fn shown(desk: &Desk, incident: u64) -> Given {
    let found = desk.parts.security_view.read(|security| {
        let found = security.show(incident)?;
        let mut shown = summary(incident, found);
        let events = found.events.iter().filter_map(|event| Some(event_of(*event, security.event(*event)?)));
        shown["events"] = events.collect();
        let steps = found.steps.iter().enumerate().map(|(index, step)| {
            json!({
                "step": index + 1,
                "measure": step.measure,
                "subject": step.subject,
                "state": if step.done { "done" } else if step.tried == 0 { "planned" } else { "failed" },
                "command": step.last.as_ref().map(|(command, _)| command),
                "answer": step.last.as_ref().map(|(_, answer)| answer),
            })
        });
        shown["steps"] = steps.collect();
        let timeline = found.timeline.iter().map(|entry| {
            json!({
                "at": time(entry.at),
                "by": entry.by,
                "act": entry.act,
                "what": Some(&entry.what).filter(|what| !what.is_empty()),
                "text": entry.text,
            })
        });
        shown["timeline"] = timeline.collect();
        shown["closed"] = found.closed.as_ref().map_or(
            Value::Null,
            |closed| json!({ "by": closed.by, "at": time(closed.at), "postmortem": closed.postmortem }),
        );
        Some(shown)
    });
    let none = || unknown("security.unknown_incident", &incident_name(incident), "see `sop incident list`");
    personal::opened(desk, found.ok_or_else(none)?).await
}

/// Says what would be done, or does it: one step after the other, each asked for as if by hand.
async fn contain(desk: &Desk, mut request: Request) -> Given {
    let Contain { incident, subjects, apply } = request.arguments()?;
    let ask = request.about(incident_name(incident));
    if !apply {
        let asker = desk.door().witness(&ask).await?.principal;
        let planned = desk.parts.security_view.read(|security| security.plan(incident, &subjects, &asker));
        let planned = planned.map_err(|refusal| refusal.denial())?;
        let mut answer = shown(desk, incident).await?;
        let known = answer["steps"].as_array().map_or(0, Vec::len);
        let more = planned.into_iter().enumerate().map(|(index, (measure, subject))| {
            json!({ "step": known + index + 1, "measure": measure, "subject": subject, "state": "proposed" })
        });
        if let Some(steps) = answer["steps"].as_array_mut() {
            steps.extend(more);
        }
        return Ok(answer);
    }
    done(desk, &ask, Command::Plan { incident, subjects }).await?;
    let steps = desk.parts.security_view.read(|security| security.show(incident).map(|found| found.steps.clone()));
    for (index, step) in steps.unwrap_or_default().into_iter().enumerate() {
        if step.done {
            continue;
        }
        let number = u32::try_from(index + 1).expect("few");
        let hand = Hand { desk, ask: &ask, incident, step: number };
        let command = hand.id(step.measure.as_str());
        let (done, answer) = match hand.take(step.measure, &step.subject).await {
            Ok(answer) => (true, answer),
            Err(denied) => (false, format!("{}: {}", denied.denial.code, denied.denial.reason)),
        };
        let told = Command::Step { incident, step: number, done, command, answer: clipped(&answer) };
        let record = Ask { command_id: hand.id("told"), ..ask.clone() };
        desk.door().perform(&record, &desk.parts.security, told).await?;
    }
    shown(desk, incident).await
}

/// Takes one step.
struct Hand<'a> {
    desk: &'a Desk,
    /// The request to contain; each step rests on its credential.
    ask: &'a Ask,
    incident: u64,
    step: u32,
}

impl Hand<'_> {
    /// Of the incident, the step and the request to contain: a repeat of that repeats each step.
    fn id(&self, what: &str) -> CommandId {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"contain ").update(&self.incident.to_be_bytes()).update(&self.step.to_be_bytes());
        hasher.update(&self.ask.command_id.0.to_be_bytes()).update(what.as_bytes());
        let digest = Digest(*hasher.finalize().as_bytes());
        let mut entropy = [0; 10];
        entropy.copy_from_slice(&digest.0[..10]);
        CommandId::new(self.ask.command_id.made_at().unwrap_or_else(|| self.desk.now()), entropy)
    }

    async fn asked(&self, action: &'static str, what: &str, arguments: Value) -> Given {
        let ask = Ask {
            action,
            resource: "*".to_owned(),
            context: std::collections::BTreeMap::new(),
            credential: self.ask.credential.clone(),
            command_id: self.id(what),
            source: self.ask.source,
            certificate: self.ask.certificate.clone(),
            bound: approval::bound(action, &arguments),
        };
        Box::pin(self.desk.answer(Request { ask, arguments })).await
    }

    async fn take(&self, measure: Measure, subject: &Principal) -> Result<String, Denied> {
        let (what, reason) = (measure.as_str(), incident_name(self.incident));
        match measure {
            Measure::Freeze => {
                let arguments = json!({ "principal": subject, "reason": reason });
                let frozen = self.asked("security.suspend", what, arguments).await?;
                Ok(format!("suspended by record {}", frozen["record"]))
            }
            Measure::Revoke => {
                let revoked = self.asked("token.revoke", what, json!({ "subject": subject })).await?;
                Ok(format!("{} tokens revoked by record {}", revoked["revoked"], revoked["record"]))
            }
            Measure::Fence => {
                let mut ended = 0;
                for (index, lease) in self.leases(subject, "before").await?.into_iter().enumerate() {
                    // Whose tokens were revoked loses his leases by that, too: the next look says what is left.
                    let released =
                        self.asked("lease.release", &format!("{what} {index}"), json!({ "lease": lease })).await;
                    ended += u32::from(released.is_ok());
                }
                match self.leases(subject, "after").await?.len() {
                    0 => Ok(format!("no lease is left, {ended} were ended here")),
                    left => {
                        let what = format!("{left} leases of {subject} are left");
                        let remedy = "repeat the containment; see `sop lease list`";
                        Err(kernel::Denial::new(kernel::Layer::Decide, "security.not_fenced", what, remedy).into())
                    }
                }
            }
            Measure::Quarantine => {
                let arguments = json!({ "protocol": subject.name(), "reason": reason });
                self.asked("protocol.withdraw", what, arguments).await?;
                Ok("withdrawn".to_owned())
            }
        }
    }

    /// Its leases that have not ended.
    async fn leases(&self, subject: &Principal, when: &str) -> Result<Vec<Value>, Denied> {
        let listed = self.asked("lease.list", when, json!({ "owner": subject })).await?;
        let open = |lease: &&Value| ["held", "waiting"].contains(&lease["state"].as_str().unwrap_or_default());
        let leases = listed["leases"].as_array().map(Vec::as_slice).unwrap_or_default();
        Ok(leases.iter().filter(open).map(|lease| lease["id"].clone()).collect())
    }
}
