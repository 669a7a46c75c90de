//! `sop backup`: create, list, show, verify over the socket; verify and restore of a directory without a daemon.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use backup::BackupId;
use clap::Subcommand;
use journal::archive::{self, Archive, ArchiveError};
use serde_json::{Value, json};
use sop::boot::Places;

use super::call::{Globals, Mutation};
use super::exit::{Exit, Failure, Run};
use super::output::{answer, bytes, cell, count, fields, table};

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
        /// backup-3, to ask the daemon; or a directory such as ./backup-3, which needs none
        what: String,
        #[command(flatten)]
        mutation: Mutation,
    },
    /// Make a store from a backup, in an empty directory (--data); needs no daemon
    Restore {
        /// The backup
        directory: PathBuf,
    },
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
        Backup::Verify { what, mutation } => {
            let found = if let Ok(backup) = what.parse::<BackupId>() {
                let arguments = json!({ "backup": backup });
                globals.remote()?.change("backup.verify", &arguments, mutation.id()).await?
            } else {
                offline(Path::new(&what))
            };
            answer(format, &found, shown)?;
            if found["state"] == "broken" {
                return Ok(Exit::Findings);
            }
        }
        Backup::Restore { directory } => return restore(globals, &directory),
    }
    Ok(Exit::Ok)
}

fn offline(directory: &Path) -> Value {
    match archive::verify(directory) {
        Ok(archive) => told(directory, &archive, "verified"),
        Err(error) => {
            json!({ "backup": directory, "state": "broken", "code": error.code(), "why": error.to_string() })
        }
    }
}

fn told(directory: &Path, archive: &Archive, state: &str) -> Value {
    json!({
        "backup": directory,
        "state": state,
        "made_at": archive.created_at,
        "last": archive.head.sequence,
        "head": archive.head.link,
        "entries": archive.entries,
        "bytes": archive.bytes,
        "manifest": archive.manifest,
    })
}

fn restore(globals: &Globals, directory: &Path) -> Run {
    let Some(data) = globals.data.as_deref() else {
        let remedy = "name an empty directory, or one that is not there yet, with --data";
        return Err(Failure::new("cli.data", "a restore does not guess where to", remedy));
    };
    let unusable = |error: std::io::Error| {
        let detail = format!("{} cannot be restored into: {error}", data.display());
        Failure::new("cli.data", detail, "name an empty directory, or one that is not there yet, with --data")
    };
    if data.try_exists().map_err(unusable)? && data.read_dir().map_err(unusable)?.next().is_some() {
        let detail = format!("{} is not empty, and nothing is restored over what is there", data.display());
        return Err(Failure::new(
            "cli.data",
            detail,
            "name an empty directory, or one that is not there yet, with --data",
        ));
    }
    // Before anything is made.
    archive::verify(directory).map_err(|error| refused(&error))?;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(data).map_err(unusable)?;
    let places = Places::of(data);
    let restored = archive::restore(directory, &places.journal).map_err(|error| refused(&error))?;
    let mut found = told(directory, &restored, "restored");
    found["data"] = json!(data);
    found["credential"] = json!(places.credential);
    answer(globals.output, &found, |found| {
        format!(
            "{} restored from {} into {}.\nhead {}\n\nNo credential is in a backup: put the copy that you kept at {},\nor \
             name it with --credential. Then start with `sop up --data {}`.",
            count(restored.entries, "record"),
            cell(&found["backup"]),
            cell(&found["data"]),
            cell(&found["head"]),
            cell(&found["credential"]),
            cell(&found["data"]),
        )
    })?;
    Ok(Exit::Ok)
}

fn refused(error: &ArchiveError) -> Failure {
    let remedy = match error {
        ArchiveError::NoBackup { .. } => "name the directory of a backup, such as sop-data/backups/backup-3",
        ArchiveError::Format { .. } => "restore it with the release that made it",
        ArchiveError::Broken { .. } => "nothing was restored: use another backup, or another copy of this one",
        ArchiveError::Io { .. } | ArchiveError::Stopped { .. } | ArchiveError::Store(_) => {
            "see the reason, and restore into a directory that is empty"
        }
    };
    Failure::new(error.code(), error.to_string(), remedy)
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
        ("why", "why"),
        ("asked for", "started_at"),
        ("since", "changed_at"),
        ("made", "made_at"),
        ("entries", "entries"),
        ("last", "last"),
        ("head", "head"),
        ("manifest", "manifest"),
        ("directory", "directory"),
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
