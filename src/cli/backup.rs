//! `sop backup`: create, list, show, verify over the socket; verify a copy, and restore, without a daemon.

use std::path::Path;

use backup::BackupId;
use clap::Subcommand;
use evidence::BesideKey;
use journal::archive;
use serde_json::{Value, json};
use vault::VaultError;

use super::call::{Globals, Mutation};
use super::exit::{Exit, Failure, Run};
use super::output::{answer, bytes, cell, fields, table};
use super::restore::{self, Restore, Source, Where};

#[derive(Subcommand, Debug)]
pub enum Backup {
    /// Make a backup of all that is recorded, while work goes on
    Create {
        #[command(flatten)]
        mutation: Mutation,
    },
    /// List backups
    List,
    /// Show a backup
    Show {
        /// backup-3, or 3
        backup: BackupId,
    },
    /// Read a backup again, and check all of it (exit code 2: it is not to be relied on)
    Verify {
        /// backup-3, to ask the daemon; or a place such as ./copy or s3://…, or a backup in it, which needs none
        what: String,
        /// Which one of those in the place; else the newest
        #[arg(long)]
        backup: Option<BackupId>,
        /// Of one in a place: this key must have signed it (`sop audit key backup-manifests.1`)
        #[arg(long, value_name = "VKEY", value_parser = BesideKey::parse)]
        signed_by: Option<BesideKey>,
        #[command(flatten)]
        mutation: Mutation,
    },
    /// Restore a backup for practice, replay it, and compare what comes of it with what runs (exit code 2: it does not fit)
    Drill {
        /// backup-3, or 3; else the last good one
        backup: Option<BackupId>,
        #[command(flatten)]
        mutation: Mutation,
    },
    /// Keep a backup, whatever else is kept
    Hold {
        /// backup-3, or 3
        backup: BackupId,
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        mutation: Mutation,
    },
    /// Keep a backup no longer than others
    Release {
        /// backup-3, or 3
        backup: BackupId,
        #[command(flatten)]
        mutation: Mutation,
    },
    /// Make a store from a backup in the directory --data, or compare it with what is there; needs that no daemon runs on it
    Restore(Restore),
}

/// Whether it works on files of its own, and changes them.
pub fn asks_nobody(command: &Backup) -> bool {
    matches!(command, Backup::Restore(_))
}

pub async fn run(globals: &Globals, command: Backup) -> Run {
    let format = globals.output;
    match command {
        Backup::Create { mutation } => {
            let made = globals.remote()?.change("backup.create", &json!({}), mutation.id()).await?;
            answer(format, &made, shown)?;
        }
        Backup::List => answer(format, &globals.remote()?.read("backup.list", &json!({})).await?, listed)?,
        Backup::Show { backup } => {
            answer(format, &globals.remote()?.read("backup.show", &json!({ "backup": backup })).await?, shown)?;
        }
        Backup::Verify { what, backup, signed_by, mutation } => {
            let found = if let Ok(backup) = what.parse::<BackupId>() {
                let arguments = json!({ "backup": backup });
                globals.remote()?.change("backup.verify", &arguments, mutation.id()).await?
            } else {
                offline(globals, Path::new(&what), backup, signed_by.as_ref())?
            };
            answer(format, &found, shown)?;
            if found["state"] == "broken" {
                return Ok(Exit::Findings);
            }
        }
        Backup::Drill { backup, mutation } => {
            let found = globals.remote()?.change("backup.drill", &json!({ "backup": backup }), mutation.id()).await?;
            answer(format, &found, shown)?;
            if found["drill"] != "passed" {
                return Ok(Exit::Findings);
            }
        }
        Backup::Hold { backup, reason, mutation } => {
            let arguments = json!({ "backup": backup, "reason": reason });
            let found = globals.remote()?.change("backup.hold", &arguments, mutation.id()).await?;
            answer(format, &found, shown)?;
        }
        Backup::Release { backup, mutation } => {
            let found = globals.remote()?.change("backup.release", &json!({ "backup": backup }), mutation.id()).await?;
            answer(format, &found, shown)?;
        }
        Backup::Restore(asked) => return restore::run(globals, &asked),
    }
    Ok(Exit::Ok)
}

/// Reads a backup by itself.
fn offline(
    globals: &Globals,
    place: &Path,
    backup: Option<BackupId>,
    by: Option<&BesideKey>,
) -> Result<Value, Failure> {
    let broken = |code: &str, why: String| json!({ "backup": place, "state": "broken", "code": code, "why": why });
    let found = match Source::find(&Where::of(globals, place)?, backup) {
        Ok(Source::Old(directory)) => {
            return Ok(match archive::verify(&directory) {
                Ok(archive) => json!({
                    "backup": place,
                    "state": "verified",
                    "made_at": archive.created_at,
                    "last": archive.head.sequence,
                    "head": archive.head.link,
                    "entries": archive.entries,
                    "bytes": archive.bytes,
                    "manifest": archive.manifest,
                }),
                Err(error) => broken(error.code(), error.to_string()),
            });
        }
        Ok(Source::Vault(found)) => found,
        // The way there says nothing about the backup.
        Err(error @ VaultError::Remote { .. }) => return Err(restore::failed(&error)),
        Err(error) => return Ok(broken(error.code(), error.to_string())),
    };
    Ok(match restore::judged(&found, by) {
        Ok((checked, manifest)) => json!({
            "backup": place,
            "state": "verified",
            "name": format!("backup-{}", checked.point.backup),
            "made_at": checked.point.created_at,
            "last": checked.point.last,
            "head": checked.point.head,
            "entries": checked.point.last,
            "signed": checked.records,
            "key": checked.point.key,
            "bytes": checked.point.bytes,
            "manifest": checked.manifest,
            "signature": manifest.told(),
        }),
        Err(error @ VaultError::Remote { .. }) => return Err(restore::failed(&error)),
        Err(error) => broken(error.code(), error.to_string()),
    })
}

fn listed(found: &Value) -> String {
    let backups = found["backups"].as_array().map(Vec::as_slice).unwrap_or_default();
    if backups.is_empty() {
        return "No backups.".to_owned();
    }
    let row = |backup: &Value| {
        [
            cell(&backup["backup"]),
            cell(&backup["state"]),
            cell(&backup["started_at"]),
            cell(&backup["entries"]),
            size(backup).unwrap_or_else(|| "-".to_owned()),
            cell(&backup["why"]),
        ]
    };
    let table = table(["BACKUP", "STATE", "ASKED FOR", "ENTRIES", "SIZE", "WHY"], backups.iter().map(row));
    format!("{table}\n\nlast good: {}", cell(&found["last_good"]))
}

fn size(backup: &Value) -> Option<String> {
    backup["bytes"].as_u64().map(bytes)
}

fn shown(backup: &Value) -> String {
    let mut known = Vec::new();
    for (name, key) in [
        ("backup", "backup"),
        ("state", "state"),
        ("name", "name"),
        ("why", "why"),
        ("asked for", "started_at"),
        ("since", "changed_at"),
        ("made", "made_at"),
        ("entries", "entries"),
        ("last", "last"),
        ("signed", "signed"),
        ("key", "key"),
        ("head", "head"),
        ("manifest", "manifest"),
        ("signature", "signature"),
        ("directory", "directory"),
        ("held", "held"),
        ("archive of", "archive_of"),
        ("drilled", "drilled_at"),
        ("drill", "drill"),
        ("drill why", "drill_why"),
        ("drill state", "drill_state"),
    ] {
        if !backup[key].is_null() {
            known.push((name, cell(&backup[key])));
        }
    }
    if let Some(size) = size(backup) {
        known.push(("size", size));
    }
    fields(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_broken_says_why() {
        let broken = json!({ "backup": "./b", "state": "broken", "code": "archive.broken", "why": "entries: a bit" });
        assert_eq!(shown(&broken), "backup  ./b\nstate   broken\nwhy     entries: a bit");
    }

    #[test]
    fn a_path_is_no_id() {
        for (what, id) in [("backup-3", true), ("3", true), ("./backup-3", false), ("backups/backup-3", false)] {
            assert_eq!(what.parse::<BackupId>().is_ok(), id, "{what}");
        }
    }
}
