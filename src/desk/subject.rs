//! Subjects: whose texts are sealed, held or erased.

use std::collections::BTreeMap;

use kernel::{CommandId, Principal};
use keyring::Standing;
use serde::Deserialize;
use serde_json::{Value, json};
use subjects::{Command, Reply, Subject, Subjects};

use super::{Desk, Given, Request, audit, personal, time, unknown};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    subject: Principal,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Hold {
    subject: Principal,
    case: String,
    #[serde(default)]
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Release {
    subject: Principal,
    case: String,
}

pub async fn answer(desk: &Desk, mut request: Request) -> Given {
    match request.ask.action {
        "subject.list" => {
            let List {} = request.arguments()?;
            desk.door().witness(&request.about("*")).await?;
            let look = |subjects: &Subjects| {
                subjects.list().map(|(name, known)| (name.clone(), known.clone())).collect::<BTreeMap<_, _>>()
            };
            let mut known = desk.parts.subjects.inspect(look).await.map_err(|error| error.denial())?;
            let keyring = desk.parts.keyring.clone();
            let keys = audit::blocking(move || keyring.subjects()).await?;
            let keys = keys.map_err(|error| personal::unsealed(&error))?;
            let mut keys: BTreeMap<_, _> = keys.into_iter().map(|one| (one.subject.clone(), one)).collect();
            known.extend(
                keys.keys()
                    .filter(|name| !known.contains_key(name))
                    .cloned()
                    .map(|name| (name, Subject::default()))
                    .collect::<Vec<_>>(),
            );
            let listed: Vec<_> = known.iter().map(|(name, subject)| shown(name, subject, keys.remove(name))).collect();
            personal::opened(desk, json!({ "subjects": listed })).await
        }
        "subject.show" => {
            let Named { subject } = request.arguments()?;
            desk.door().witness(&request.about(&subject)).await?;
            let found = look_up(desk, subject.clone()).await?;
            let nothing =
                || unknown("subjects.unknown", &format!("text or erasure of {subject}"), "see `sop subject list`");
            found.ok_or_else(nothing)
        }
        "subject.erase" => {
            let Named { subject } = request.arguments()?;
            let command = Command::Erase { subject: subject.clone() };
            let done = desk.door().perform(&request.about(&subject), &desk.parts.subjects, command).await?;
            let Reply::Erasing { erasure } = done.reply else { unreachable!("an erasure is answered as one") };
            erased(desk, subject, erasure).await
        }
        "subject.hold" => {
            let Hold { subject, case, reason } = request.arguments()?;
            let ask = request.about(&subject);
            let asker = desk.door().identify(&ask).await?;
            // Under the asker's key: the subject's own is not to be made by a hold.
            let reason = personal::sealed_for(desk, &ask, asker, "reason", reason).await?;
            let command = Command::Hold { subject: subject.clone(), case: case.clone(), reason };
            let done = desk.door().perform(&ask, &desk.parts.subjects, command).await?;
            Ok(json!({ "subject": subject, "case": case, "state": "held", "record": done.first }))
        }
        "subject.release" => {
            let Release { subject, case } = request.arguments()?;
            let command = Command::Release { subject: subject.clone(), case: case.clone() };
            let done = desk.door().perform(&request.about(&subject), &desk.parts.subjects, command).await?;
            Ok(json!({ "subject": subject, "case": case, "state": "released", "record": done.first }))
        }
        action => unreachable!("{action} is no action on subjects"),
    }
}

/// Waits until the key is gone, and that on record; the server's request timeout bounds the wait.
async fn erased(desk: &Desk, subject: Principal, erasure: CommandId) -> Given {
    let mut durable = desk.parts.journal.durable();
    loop {
        durable.borrow_and_update();
        let look = move |subjects: &Subjects| subjects.erasure(erasure).is_some_and(|one| one.done_at.is_some());
        let done = desk.parts.subjects.inspect(look).await.map_err(|error| error.denial())?;
        if done || durable.changed().await.is_err() {
            return Ok(
                json!({ "subject": subject, "erasure": erasure, "state": if done { "erased" } else { "erasing" } }),
            );
        }
    }
}

async fn look_up(desk: &Desk, subject: Principal) -> Result<Option<Value>, door::Denied> {
    let wanted = subject.clone();
    let look = move |subjects: &Subjects| subjects.show(&wanted).cloned();
    let known = desk.parts.subjects.inspect(look).await.map_err(|error| error.denial())?;
    let (keyring, wanted) = (desk.parts.keyring.clone(), subject.clone());
    let standing = audit::blocking(move || keyring.standing(&wanted)).await?;
    let standing = standing.map_err(|error| personal::unsealed(&error))?;
    if known.is_none() && standing.key.is_none() && standing.erased == 0 {
        return Ok(None);
    }
    personal::opened(desk, shown(&subject, &known.unwrap_or_default(), Some(standing))).await.map(Some)
}

fn shown(name: &Principal, subject: &Subject, standing: Option<Standing>) -> Value {
    let cases: Vec<_> = subject
        .cases
        .iter()
        .map(|(case, hold)| json!({ "case": case, "reason": hold.reason, "by": hold.by, "at": time(hold.at) }))
        .collect();
    let erasures: Vec<_> = subject
        .erasures
        .iter()
        .map(|one| {
            json!({
                "erasure": one.id,
                "by": one.by,
                "asked_at": time(one.asked_at),
                "done_at": one.done_at.map(time),
                "key": one.key.map(|key| format!("{key:016x}")),
            })
        })
        .collect();
    json!({
        "subject": name,
        "key": standing.and_then(|standing| standing.key).map(|key| format!("{key:016x}")),
        "cases": cases,
        "erasures": erasures,
    })
}
