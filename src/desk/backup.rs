//! Backups: create, list, show, verify, drill, hold, release.

use backup::{Backup, BackupId, Backups, Command, Reply, State};
use kernel::{Denial, Layer};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Desk, Given, Request, audit, parsed, time, unknown};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    /// Answer when the backup is made; else at once.
    #[serde(default = "yes")]
    wait: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Verify {
    #[serde(deserialize_with = "parsed")]
    backup: BackupId,
    #[serde(default = "yes")]
    wait: bool,
}

fn yes() -> bool {
    true
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Drill {
    backup: Option<String>,
    #[serde(default = "yes")]
    wait: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Hold {
    #[serde(deserialize_with = "parsed")]
    backup: BackupId,
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Show {
    #[serde(deserialize_with = "parsed")]
    backup: BackupId,
}

pub async fn answer(desk: &Desk, mut request: Request) -> Given {
    match request.ask.action {
        "backup.create" => {
            let Create { wait } = request.arguments()?;
            let done = desk.door().perform(&request.about("*"), &desk.parts.backups, Command::Create).await?;
            let Reply::Started { backup } = done.reply else { unreachable!("a backup is answered as one") };
            if wait { made(desk, backup).await } else { Ok(json!({ "backup": backup, "record": done.first })) }
        }
        "backup.verify" => {
            let Verify { backup, wait } = request.arguments()?;
            let command = Command::Verify { backup };
            let done = desk.door().perform(&request.about(backup), &desk.parts.backups, command).await?;
            if !wait {
                return Ok(json!({ "backup": backup, "record": done.first }));
            }
            let mut found = ended(desk, backup).await?;
            found["signature"] = json!(signature(desk, backup).await?);
            Ok(found)
        }
        "backup.drill" => {
            let Drill { backup, wait } = request.arguments()?;
            let named = backup.map(|backup| backup.parse::<BackupId>()).transpose();
            let backup = named.map_err(|error| super::malformed(&error))?;
            let about = backup.map_or_else(|| "*".to_owned(), |backup| backup.to_string());
            let command = Command::Drill { backup };
            let done = desk.door().perform(&request.about(about), &desk.parts.backups, command).await?;
            let Reply::Drilling { backup } = done.reply else { unreachable!("a drill is answered as one") };
            if wait { ended(desk, backup).await } else { Ok(json!({ "backup": backup, "record": done.first })) }
        }
        "backup.hold" => {
            let Hold { backup, reason } = request.arguments()?;
            let command = Command::Hold { backup, reason };
            desk.door().perform(&request.about(backup), &desk.parts.backups, command).await?;
            Ok(look_up(desk, backup).await?.unwrap_or_default())
        }
        "backup.release" => {
            let Show { backup } = request.arguments()?;
            let command = Command::Release { backup };
            desk.door().perform(&request.about(backup), &desk.parts.backups, command).await?;
            Ok(look_up(desk, backup).await?.unwrap_or_default())
        }
        "backup.list" => {
            let List {} = request.arguments()?;
            desk.door().witness(&request.about("*")).await?;
            let look = |backups: &Backups| {
                // What is gone is still shown by its number.
                let listed: Vec<_> = backups.list().filter(|one| one.state != State::Expired).cloned().collect();
                (listed, backups.last_good().map(|backup| backup.id))
            };
            let (listed, last_good) = desk.parts.backups.inspect(look).await.map_err(|error| error.denial())?;
            let listed: Vec<_> = listed.iter().map(|backup| shown(desk, backup, None)).collect();
            Ok(json!({ "backups": listed, "last_good": last_good }))
        }
        "backup.show" => {
            let Show { backup } = request.arguments()?;
            desk.door().witness(&request.about(backup)).await?;
            let found = look_up(desk, backup).await?;
            found.ok_or_else(|| unknown("backup.unknown", &backup, "see `sop backup list`"))
        }
        action => unreachable!("{action} is no action on backups"),
    }
}

async fn made(desk: &Desk, backup: BackupId) -> Given {
    let found = ended(desk, backup).await?;
    if found["state"] == "failed" {
        let reason = format!("{backup} failed: {}", found["why"].as_str().unwrap_or_default());
        let remedy = "mend the cause and make another one; earlier backups are as they were";
        return Err(Denial::new(Layer::Decide, "backup.failed", reason, remedy).into());
    }
    Ok(found)
}

/// Waits until nobody works on the backup; the server's request timeout bounds the wait.
async fn ended(desk: &Desk, backup: BackupId) -> Given {
    let mut durable = desk.parts.journal.durable();
    loop {
        durable.borrow_and_update();
        let look = move |backups: &Backups| {
            let found = backups.show(backup).filter(|found| !found.checking && found.state != State::Running);
            (found.cloned(), archive_of(backups, backup))
        };
        let (found, archive) = desk.parts.backups.inspect(look).await.map_err(|error| error.denial())?;
        if let Some(found) = found {
            return Ok(shown(desk, &found, archive));
        }
        if durable.changed().await.is_err() {
            return Ok(json!({ "backup": backup }));
        }
    }
}

/// Who signed it, in words; nothing, if it cannot be read now, or is of an earlier form.
async fn signature(desk: &Desk, backup: BackupId) -> Result<Option<String>, Denial> {
    let name = move |backups: &Backups| Some(backups.show(backup)?.contents.as_ref()?.directory.clone());
    let name = desk.parts.backups.inspect(name).await.map_err(|error| error.denial())?;
    let Some(name) = name.filter(|name| name.contains('/')) else { return Ok(None) };
    let (shelf, signer) = (desk.parts.shelf().clone(), desk.parts.signer.clone());
    let judged = move || {
        let point = vault::Found { target: shelf.open().ok()?, name: name.clone() }.point().ok()?;
        Some(signer.judge(&point, &name).map_or_else(|error| error.to_string(), |manifest| manifest.told()))
    };
    audit::blocking(judged).await
}

async fn look_up(desk: &Desk, backup: BackupId) -> Result<Option<Value>, Denial> {
    let look = move |backups: &Backups| (backups.show(backup).cloned(), archive_of(backups, backup));
    let (found, archive) = desk.parts.backups.inspect(look).await.map_err(|error| error.denial())?;
    Ok(found.map(|found| shown(desk, &found, archive)))
}

/// The last record that has left the tile log, if that backup is kept for those.
fn archive_of(backups: &Backups, backup: BackupId) -> Option<u64> {
    backups.archive().filter(|(archive, _)| *archive == backup).map(|(_, last)| last)
}

fn shown(desk: &Desk, backup: &Backup, archive: Option<u64>) -> Value {
    let contents = backup.contents.as_ref();
    let directory = contents.map(|contents| desk.parts.backup_of(&contents.directory));
    json!({
        "backup": backup.id,
        "state": backup.state,
        "checking": backup.checking,
        "started_at": time(backup.started_at),
        "changed_at": time(backup.changed_at),
        "last": contents.map(|contents| contents.last),
        "head": contents.map(|contents| contents.head),
        "entries": contents.map(|contents| contents.entries),
        "bytes": contents.map(|contents| contents.bytes),
        "manifest": contents.map(|contents| contents.manifest),
        "directory": directory,
        "why": backup.why,
        "held": backup.held,
        "archive_of": archive.map(|last| format!("1 to {last}")),
        "drilled_at": backup.drill.as_ref().map(|drill| time(drill.at)),
        "drill": backup.drill.as_ref().map(|drill| if drill.found.is_some() { "passed" } else { "failed" }),
        "drill_why": backup.drill.as_ref().and_then(|drill| drill.why.clone()),
        "drill_state": backup.drill.as_ref().and_then(|drill| Some(drill.found.as_ref()?.state)),
    })
}
