//! `sop gap`: scan, list, show.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use gaps::GapId;
use serde_json::{Value, json};

use super::call::{Globals, Mutation, Remote};
use super::exit::{Exit, Failure, Run};
use super::output::{Format, answer, bytes, cell, count, fields, print, table};
use super::token::arguments;

const STATES: [&str; 3] = ["open", "closed", "all"];

#[derive(Subcommand, Debug)]
pub enum Gap {
    /// Scan a directory for gaps, and list those that are open (exit code 2: there are some)
    Scan {
        /// The directory
        path: PathBuf,
        #[command(flatten)]
        mutation: Mutation,
    },
    /// List gaps
    List(List),
    /// Show a gap and its evidence
    Show {
        /// gap-3, or 3
        gap: GapId,
    },
}

#[derive(Args, Debug)]
pub struct List {
    #[arg(long, value_parser = STATES, default_value = "open")]
    state: String,
    #[arg(long, value_parser = gaps::Kind::ALL.map(gaps::Kind::as_str))]
    kind: Option<String>,
    /// Of this scanned directory only
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
}

pub async fn run(globals: &Globals, command: Gap) -> Run {
    let remote = globals.remote()?;
    match command {
        Gap::Scan { path, mutation } => scan(globals.output, &remote, path, mutation).await,
        Gap::List(List { state, kind, root }) => {
            let root = root.map(|root| root.canonicalize().unwrap_or(root));
            let state = Some(state).filter(|state| state != "all");
            let arguments = arguments([("state", json!(state)), ("kind", json!(kind)), ("root", json!(root))]);
            answer(globals.output, &remote.read("gap.list", &arguments).await?, |found| {
                let counts = format!("{} open, {} closed in all", cell(&found["open"]), cell(&found["closed"]));
                match listed(found, true) {
                    Some(table) => format!("{table}\n\n{counts}"),
                    None => format!("No such gaps; {counts}."),
                }
            })?;
            Ok(Exit::Ok)
        }
        Gap::Show { gap } => {
            answer(globals.output, &remote.read("gap.show", &json!({ "gap": gap })).await?, shown)?;
            Ok(Exit::Ok)
        }
    }
}

async fn scan(format: Format, remote: &Remote, path: PathBuf, mutation: Mutation) -> Run {
    let root = std::path::absolute(&path).map_err(|error| {
        let detail = format!("{} is no path: {error}", path.display());
        Failure::new("cli.path", detail, "name a directory, such as .")
    })?;
    let scanned = remote.change("gap.scan", &json!({ "root": root }), mutation.id()).await?;
    answer(format, &scanned, summary)?;
    let open = scanned["open"].as_u64().unwrap_or_default();
    if open == 0 {
        return Ok(Exit::Ok);
    }
    // A token that is good for a scan is good for nothing else; to try would only leave a denial in the audit.
    if format == Format::Table && !remote.by_token() {
        let found = remote.read("gap.list", &json!({ "state": "open", "root": scanned["root"] })).await?;
        print(&format!("\n{}\n", listed(&found, false).unwrap_or_default()))?;
    }
    Ok(Exit::Findings)
}

fn summary(scanned: &Value) -> String {
    if scanned["root"].is_null() {
        return format!("{} was overtaken by a later scan of the same directory.", cell(&scanned["scan"]));
    }
    let number = |key: &str| scanned[key].as_u64().unwrap_or_default();
    let mut known = vec![
        ("scan", format!("{} of {}", cell(&scanned["scan"]), cell(&scanned["root"]))),
        ("open", cell(&scanned["open"])),
        (
            "changed",
            format!("{} opened, {} reopened, {} closed", number("opened"), number("reopened"), number("closed")),
        ),
        (
            "read",
            format!("{}, {}; {} skipped", count(number("files"), "file"), bytes(number("bytes")), number("skipped")),
        ),
    ];
    if 0 < number("unread") {
        known.push((
            "unread",
            format!("{} could not be read; their gaps stay as they were", count(number("unread"), "path")),
        ));
    }
    if scanned["truncated"] == true {
        known.push(("cut short", "a limit of [scan] was reached; see `sop config show`".to_owned()));
    }
    fields(known)
}

/// The gaps of an answer; `None` if there are none.
fn listed(found: &Value, with_root: bool) -> Option<String> {
    let gaps = found["gaps"].as_array().filter(|gaps| !gaps.is_empty())?;
    let row = |gap: &Value| {
        [cell(&gap["id"]), cell(&gap["state"]), cell(&gap["kind"]), place(gap, with_root), cell(&gap["title"])]
    };
    Some(table(["GAP", "STATE", "KIND", "PLACE", "TITLE"], gaps.iter().map(row)))
}

fn place(gap: &Value, with_root: bool) -> String {
    let (root, path) = (gap["root"].as_str().unwrap_or_default(), cell(&gap["path"]));
    let line = gap["line"].as_u64().filter(|line| 0 < *line).map(|line| format!(":{line}")).unwrap_or_default();
    if with_root && !root.is_empty() { format!("{}/{path}{line}", cell(&gap["root"])) } else { format!("{path}{line}") }
}

fn shown(gap: &Value) -> String {
    fields([
        ("gap", cell(&gap["id"])),
        ("state", cell(&gap["state"])),
        ("kind", cell(&gap["kind"])),
        ("title", cell(&gap["title"])),
        ("place", place(gap, true)),
        ("detail", cell(&gap["detail"])),
        ("opened", cell(&gap["opened_at"])),
        ("changed", cell(&gap["changed_at"])),
        ("reopened", format!("{} times", cell(&gap["reopened"]))),
        ("fingerprint", cell(&gap["fingerprint"])),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scan_is_summed_up() {
        let scanned = json!({ "scan": "scan-1", "root": "/r", "opened": 2, "reopened": 0, "closed": 1, "open": 3,
            "files": 1, "bytes": 2048, "skipped": 0, "unread": 1, "truncated": true });
        assert_eq!(
            summary(&scanned),
            "scan       scan-1 of /r\nopen       3\nchanged    2 opened, 0 reopened, 1 closed\nread       1 file, 2.0 KiB; 0 \
             skipped\nunread     1 path could not be read; their gaps stay as they were\ncut short  a limit of [scan] was \
             reached; see `sop config show`"
        );
    }
}
