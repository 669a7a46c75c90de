//! `sop retention`: show, list, hold, release, prune.

use std::time::Duration;

use clap::Subcommand;
use serde_json::{Value, json};

use super::call::{Globals, Mutation};
use super::exit::{Exit, Run};
use super::output::{Format, answer, cell, count, fields, print, table};

#[derive(Subcommand, Debug)]
pub enum Retention {
    /// Show how long records stay in the tile log, which have left it, and which may leave it now and why no more
    Show,
    /// List what holds records in the tile log
    List,
    /// Keep records in the tile log, whatever their class says; without --stream, --from and --to all of them
    Hold {
        /// The name that the matter has elsewhere
        name: String,
        /// Why, in words; sealed
        #[arg(long)]
        reason: String,
        /// Those of one stream only
        #[arg(long)]
        stream: Option<String>,
        /// The first of them
        #[arg(long, value_name = "SEQUENCE")]
        from: Option<u64>,
        /// The last of them
        #[arg(long, value_name = "SEQUENCE")]
        to: Option<u64>,
        #[command(flatten)]
        mutation: Mutation,
    },
    /// End a hold
    Release {
        name: String,
        #[command(flatten)]
        mutation: Mutation,
    },
    /// Let what may leave the tile log leave it, once the backup that has it was read again
    Prune {
        #[command(flatten)]
        mutation: Mutation,
    },
}

pub async fn run(globals: &Globals, command: Retention) -> Run {
    let (remote, format) = (globals.remote()?, globals.output);
    match command {
        Retention::Show => answer(format, &remote.read("retention.show", &json!({})).await?, shown)?,
        Retention::List => answer(format, &remote.read("retention.list", &json!({})).await?, listed)?,
        Retention::Hold { name, reason, stream, from, to, mutation } => {
            let arguments = json!({ "name": name, "reason": reason, "stream": stream, "from": from, "to": to });
            let held = remote.change("retention.hold", &given(arguments), mutation.id()).await?;
            answer(format, &held, |held| {
                let name = cell(&held["name"]);
                match held["pruned"].as_u64() {
                    None | Some(0) => format!("Held for {name}."),
                    Some(left) => format!(
                        "Held for {name}. The first {} had left the tile log before; the backup that has them is kept.",
                        count(left, "record")
                    ),
                }
            })?;
        }
        Retention::Release { name, mutation } => {
            let released = remote.change("retention.release", &json!({ "name": name }), mutation.id()).await?;
            answer(format, &released, |released| format!("Nothing is held for {} any more.", cell(&released["name"])))?;
        }
        Retention::Prune { mutation } => {
            if globals.dry_run && format == Format::Table {
                let found = remote.read("retention.show", &json!({})).await?;
                print(&format!("{}\n\n", fields(outlook(&found))))?;
            }
            let pruned = remote.change("retention.prune", &json!({}), mutation.id()).await?;
            answer(format, &pruned, |pruned| {
                let first = count(pruned["minimum"].as_u64().unwrap_or_default(), "record");
                match pruned["state"].as_str() {
                    Some("pruned") => {
                        let (archive, place) = (cell(&pruned["pruned"]["archive"]), cell(&pruned["pruned"]["place"]));
                        format!("The first {first} have left the tile log. {archive} has them: {place}")
                    }
                    _ => format!("The first {first} are about to leave the tile log: see `sop retention show`."),
                }
            })?;
        }
    }
    Ok(Exit::Ok)
}

/// Without what was not given.
fn given(mut arguments: Value) -> Value {
    if let Some(arguments) = arguments.as_object_mut() {
        arguments.retain(|_, value| !value.is_null());
    }
    arguments
}

fn span(stays: &Value) -> String {
    stays.as_u64().map_or("for ever".to_owned(), |ms| humantime::format_duration(Duration::from_millis(ms)).to_string())
}

fn listed(listed: &Value) -> String {
    let holds = listed["holds"].as_array().map(Vec::as_slice).unwrap_or_default();
    if holds.is_empty() {
        return "Nothing is held.".to_owned();
    }
    let row = |hold: &Value| ["name", "stream", "from", "to", "at", "by", "reason"].map(|key| cell(&hold[key]));
    table(["NAME", "STREAM", "FROM", "TO", "SINCE", "BY", "REASON"], holds.iter().map(row))
}

fn shown(found: &Value) -> String {
    let row = |class: &Value| {
        let streams = class["streams"].as_array().into_iter().flatten().filter_map(Value::as_str);
        [cell(&class["class"]), span(&class["stays_ms"]), streams.collect::<Vec<_>>().join(" ")]
    };
    let classes = found["classes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let classes = table(["CLASS", "STAYS", "STREAMS"], classes.iter().map(row));
    let mut known = Vec::new();
    let told = |pruning: &Value| {
        let part = |name: &str| cell(&pruning[name]);
        format!(
            "records 1 to {}, asked for by {} at {}; {} has them: {}",
            part("minimum"),
            part("by"),
            part("asked_at"),
            part("archive"),
            part("place")
        )
    };
    for (name, key) in [("have left", "pruned"), ("leave", "pruning")] {
        if !found[key].is_null() {
            known.push((name, told(&found[key])));
        }
    }
    if !found["last_refused"].is_null() {
        known.push(("last", format!("nothing left after all: {}", cell(&found["last_refused"]))));
    }
    known.extend(outlook(found));
    format!("{classes}\n\n{}", fields(known))
}

fn outlook(found: &Value) -> Vec<(&'static str, String)> {
    let (may, minimum) = (found["may_leave"].as_u64().unwrap_or_default(), cell(&found["minimum"]));
    let mut known = vec![("online", format!("from record {}", cell(&found["online_from"])))];
    known.push((
        "may leave",
        match may {
            0 => "nothing".to_owned(),
            _ => format!("{}, up to {minimum}; {} has them", count(may, "record"), cell(&found["archive"])),
        },
    ));
    let until = found["stays_until"].as_str().map_or_else(String::new, |until| format!(", until {until}"));
    known.push(("no more, as", format!("{}{until}", cell(&found["stays_why"]))));
    known
}
