//! `sop audit` and `sop explain`: what was recorded, whether it is whole, and why a request was allowed or denied.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, Subcommand};
use evidence::checkpoint::Proof;
use evidence::export::{Ends, Export, ExportError};
use evidence::note::PublicKey;
use kernel::Sequence;
use serde_json::{Value, json};

use super::call::{Globals, Mutation, Remote};
use super::exit::{Exit, Failure, Run};
use super::output::{answer, cell, count, fields, json as as_json, plain_lines, table};
use super::policy::read;
use super::token::arguments;

#[derive(Subcommand, Debug)]
pub enum Audit {
    /// List records: the newest, or those from a sequence number on
    List(List),
    /// Show a record, or all records of a command
    Show {
        /// A sequence number or a command id
        record: String,
    },
    /// Re-read the records and verify their chain (exit code 2: it is broken)
    Verify {
        /// First sequence number: what was before it is not read again
        #[arg(long, value_name = "SEQUENCE")]
        from: Option<u64>,
        /// Every file of the tile log, too
        #[arg(long)]
        deep: bool,
    },
    /// Show the key that signs the records, as verifiers of signed notes take it
    Key {
        /// One that signs beside it, or did, such as checkpoints.1
        key: Option<String>,
        /// Which ones of the keystore sign beside it, or did
        #[arg(long, conflicts_with = "key")]
        all: bool,
        /// Write down which key followed which, for `sop-verify --succession`, in a new file
        #[arg(long, value_name = "FILE")]
        succession: Option<PathBuf>,
    },
    /// Show what was signed last, as a signed note
    Checkpoint {
        /// The one that most witnesses have cosigned, and of those the newest
        #[arg(long)]
        cosigned: bool,
    },
    /// Keep the cosignature of a witness that is asked by hand (C2SP tlog-cosignature)
    Cosign {
        /// A file with a checkpoint of this log, its signature, and that of the witness; or - for standard input
        file: PathBuf,
        #[command(flatten)]
        mutation: Mutation,
    },
    /// Prove that a record was signed, to somebody who has the key (C2SP tlog-proof)
    Proof {
        /// A sequence number
        record: u64,
        /// Write it to a new file, such as 7.tlog-proof
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Let the authority say, signed and on record, how it is: its states, policies, configuration and program
    Attest {
        /// Write it to a new file
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Give records away: a directory that proves what is in it, and says how to check that
    Export {
        /// First sequence number
        #[arg(long, value_name = "SEQUENCE", default_value_t = 1)]
        from: u64,
        /// Last sequence number; without it, the newest
        #[arg(long, value_name = "SEQUENCE")]
        to: Option<u64>,
        /// A proof of each record alone, too (C2SP tlog-proof)
        #[arg(long)]
        proofs: bool,
        /// Where to: a directory that is not there yet
        directory: PathBuf,
    },
}

#[derive(Args, Debug)]
pub struct List {
    /// First sequence number; without it, the newest are listed
    #[arg(long, value_name = "SEQUENCE")]
    from: Option<u64>,
    /// At most so many, up to 1000; else 50
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Of this stream only, such as tokens
    #[arg(long)]
    stream: Option<String>,
    /// Of this principal only, such as operator/root
    #[arg(long)]
    principal: Option<String>,
    /// What was asked for, such as token.issue
    #[arg(long)]
    action: Option<String>,
    /// What it was asked about, such as todo-7
    #[arg(long)]
    resource: Option<String>,
    /// Of decisions, those that let a request in
    #[arg(long)]
    allowed: bool,
    /// Of decisions, those that denied or refused one
    #[arg(long, conflicts_with = "allowed")]
    denied: bool,
    /// Of requests, those that ended so, or are under way
    #[arg(long, value_name = "OUTCOME", value_parser = ["succeeded", "refused", "failed", "unknown", "open"])]
    outcome: Option<String>,
    /// Recorded in this span, such as 1h
    #[arg(long, value_name = "SPAN", value_parser = humantime::parse_duration)]
    last: Option<Duration>,
    /// What bears on security: denials, authority that changed, what was detected, incidents
    #[arg(long)]
    security: bool,
}

/// What `sop logs --audit` asks for.
pub fn of_logs(limit: u64, last: Option<Duration>, security: bool) -> Audit {
    Audit::List(List {
        from: None,
        limit: Some(limit),
        stream: None,
        principal: None,
        action: None,
        resource: None,
        allowed: false,
        denied: false,
        outcome: None,
        last,
        security,
    })
}

pub async fn run(globals: &Globals, command: Audit) -> Run {
    let remote = globals.remote()?;
    let format = globals.output;
    match command {
        Audit::List(List {
            from,
            limit,
            stream,
            principal,
            action,
            resource,
            allowed,
            denied,
            outcome,
            last,
            security,
        }) => {
            let since = last.map(super::incident::ago);
            let arguments = arguments([
                ("from", json!(from)),
                ("limit", json!(limit)),
                ("stream", json!(stream)),
                ("principal", json!(principal)),
                ("action", json!(action)),
                ("resource", json!(resource)),
                ("allowed", if allowed || denied { json!(allowed) } else { Value::Null }),
                ("outcome", json!(outcome)),
                ("since", json!(since)),
                ("security", if security { json!(true) } else { Value::Null }),
            ]);
            answer(format, &remote.read("audit.list", &arguments).await?, |found| listed(found, "No such records."))?;
        }
        Audit::Show { record } => {
            answer(format, &remote.read("audit.show", &json!({ "record": record })).await?, shown)?;
        }
        Audit::Key { key, all, succession } => {
            let more = all || key.is_some() || succession.is_some();
            let asked = arguments([("all", if more { json!(true) } else { Value::Null })]);
            let found = remote.read("audit.key", &asked).await?;
            if let Some(file) = &succession {
                written(file, &followed(&found))?;
            }
            match key {
                None if all => answer(format, &found, keys)?,
                None => answer(format, &found, |found| cell(&found["key"]))?,
                Some(key) => {
                    let mut beside = found["beside"].as_array().into_iter().flatten();
                    let one = beside.find(|one| one["key"] == *key).ok_or_else(|| {
                        let detail = format!("{} is no key that signs beside that of the log", plain_lines(&key));
                        Failure::new("cli.key", detail, "see `sop audit key --all`")
                    })?;
                    answer(format, one, |one| cell(&one["vkey"]))?;
                }
            }
        }
        Audit::Checkpoint { cosigned } => {
            let asked = arguments([("cosigned", if cosigned { json!(true) } else { Value::Null })]);
            let found = remote.read("audit.checkpoint", &asked).await?;
            answer(format, &found, |found| {
                plain_lines(found["checkpoint"].as_str().unwrap_or_default()).trim_end().to_owned()
            })?;
        }
        Audit::Cosign { file, mutation } => {
            let asked = json!({ "checkpoint": read(&file)? });
            let kept = remote.change("audit.cosign", &asked, mutation.id()).await?;
            answer(format, &kept, |kept| {
                let by = kept["by"].as_array().into_iter().flatten();
                let by: Vec<_> = by.map(|by| format!("{} at {}", cell(&by["name"]), cell(&by["at"]))).collect();
                let has = if kept["quorum_met"] == true { "" } else { ", not met yet" };
                fields([
                    ("checkpoint", format!("{} records, root {}", cell(&kept["size"]), cell(&kept["root"]))),
                    ("cosigned", by.join(", ")),
                    ("new", cell(&kept["new"])),
                    ("quorum", format!("{}{has}", cell(&kept["quorum"]))),
                ])
            })?;
        }
        Audit::Proof { record, file } => {
            let found = remote.read("audit.proof", &json!({ "record": record })).await?;
            let text = proof(&found)?;
            match file {
                None => answer(format, &found, |_| text.trim_end().to_owned())?,
                Some(file) => {
                    written(&file, &text)?;
                    answer(format, &found, |found| {
                        let key = cell(&found["key"]);
                        let mut lines =
                            vec![("record", record.to_string()), ("proof", file.display().to_string()), ("key", key)];
                        lines.extend(demanded(found));
                        fields(lines)
                    })?;
                }
            }
        }
        Audit::Attest { file } => {
            let found = remote.read("audit.attest", &json!({})).await?;
            let text = found["attestation"].as_str().unwrap_or_default();
            match file {
                None => answer(format, &found, |_| plain_lines(text).trim_end().to_owned())?,
                Some(file) => {
                    written(&file, text)?;
                    answer(format, &found, |found| {
                        let (name, record) = (file.display().to_string(), cell(&found["record"]));
                        fields([("attestation", name), ("blake3", cell(&found["digest"])), ("record", record)])
                    })?;
                }
            }
        }
        Audit::Export { from, to, proofs, directory } => {
            let exported = exported(&remote, from, to, proofs, &directory).await?;
            answer(format, &exported, |found| {
                let records = format!("{} to {}", cell(&found["first"]), cell(&found["last"]));
                let signed = format!("{} records, root {}", cell(&found["size"]), cell(&found["root"]));
                let place = cell(&found["directory"]);
                let mut lines =
                    vec![("records", records), ("in", place), ("signed", signed), ("key", cell(&found["key"]))];
                lines.extend(demanded(found));
                fields(lines)
            })?;
        }
        Audit::Verify { from, deep } => {
            let asked = arguments([("from", json!(from)), ("deep", if deep { json!(true) } else { Value::Null })]);
            let verified = remote.read("audit.verify", &asked).await?;
            answer(format, &verified, verdict)?;
            if verified["intact"] != true || !verified["witnesses"]["missing"].is_null() {
                return Ok(Exit::Findings);
            }
        }
    }
    Ok(Exit::Ok)
}

/// The key of the log, and those beside it.
fn keys(found: &Value) -> String {
    let beside = found["beside"].as_array().map(Vec::as_slice).unwrap_or_default();
    let row = |key: &Value| {
        let state = match &key["revoked_since"] {
            Value::Null => cell(&key["state"]),
            since => format!("{} since {}", cell(&key["state"]), cell(since)),
        };
        [cell(&key["key"]), state, cell(&key["suite"]), cell(&key["active_since"]), cell(&key["vouched_by"])]
    };
    let mut shown = cell(&found["key"]);
    if !beside.is_empty() {
        let states = table(["BESIDE", "STATE", "SUITE", "IN USE SINCE", "VOUCHED BY"], beside.iter().map(row));
        shown = format!("{shown}\n\n{states}");
    }
    for missed in found["missed"].as_array().into_iter().flatten() {
        let (what, key, since) = (cell(&missed["purpose"]), cell(&missed["key"]), cell(&missed["since"]));
        shown = format!("{shown}\n\nnot signed by {key} since {since}: {what}: {}", cell(&missed["why"]));
    }
    shown
}

/// Which key followed which, as the verifier takes it.
fn followed(found: &Value) -> String {
    let line = |key: &Value| {
        let text = |name: &str| key[name].as_str().unwrap_or_default();
        let revoked = key["revoked_since"].as_u64().map(|since| format!(" revoked {since}")).unwrap_or_default();
        let by = text("vouched_by").rsplit_once('.').map(|(_, version)| format!(" by {version} {}", text("voucher")));
        format!("key {}{revoked}{}\n", text("vkey"), by.unwrap_or_default())
    };
    let keys = found["beside"].as_array().into_iter().flatten();
    std::iter::once("sop succession v1\n".to_owned()).chain(keys.map(line)).collect()
}

/// Whose cosignatures a proof carries, if that is asked for.
fn demanded(found: &Value) -> Option<(&'static str, String)> {
    let keys = found["witnesses"]["keys"].as_array()?;
    let quorum = cell(&found["witnesses"]["quorum"]);
    let of = keys.len();
    Some(("cosigned", format!("by {quorum} of {of} witnesses, at least: the newest checkpoint that is")))
}

/// The text of a proof, if it proves what it should.
fn proof(found: &Value) -> Result<String, Failure> {
    let text = found["proof"].as_str().unwrap_or_default();
    let proven = || {
        let key = PublicKey::parse(found["key"].as_str()?).ok()?;
        let proof = Proof::parse(text).ok()?;
        proof.verify(proof.extra.as_deref()?, &key).ok()
    };
    proven().map(|_| text.to_owned()).ok_or_else(|| {
        let remedy = "verify the records with `sop audit verify`";
        Failure::new("cli.proof", "what the daemon answered proves nothing", remedy)
    })
}

/// Writes the records of the daemon into a directory, with proofs; what it says is proven before it is there.
async fn exported(remote: &Remote, from: u64, to: Option<u64>, each: bool, directory: &Path) -> Result<Value, Failure> {
    let strange = || {
        let remedy = "verify the records with `sop audit verify`";
        Failure::new("cli.proof", "what the daemon answered proves nothing", remedy)
    };
    let asked = arguments([("from", json!(from)), ("to", json!(to)), ("prove", json!(true))]);
    let proven = remote.read("audit.export", &asked).await?;
    let ends = || {
        let proof = |name: &str| Proof::parse(proven[name].as_str()?).ok();
        let key = PublicKey::parse(proven["key"].as_str()?).ok()?;
        let witnesses = proven["witnesses"]["keys"].as_array().into_iter().flatten();
        let witnesses = witnesses.filter_map(|key| key.as_str().map(str::to_owned)).collect();
        let quorum = proven["witnesses"]["quorum"].as_u64().unwrap_or_default();
        Some(Ends { key, first: proof("first")?, last: proof("last")?, witnesses, quorum })
    };
    let (ends, to) = (ends().ok_or_else(strange)?, proven["to"].as_u64().ok_or_else(strange)?);
    let mut export = Export::begin(directory, Sequence(from)).map_err(unwritten)?;
    while export.next().0 <= to {
        let page = remote.read("audit.export", &json!({ "from": export.next(), "to": to })).await?;
        let records = page["records"].as_array().filter(|records| !records.is_empty()).ok_or_else(strange)?;
        for record in records {
            let bytes = STANDARD.decode(record["record"].as_str().unwrap_or_default()).map_err(|_| strange())?;
            export.push(&bytes, &record["shown"].to_string()).map_err(unwritten)?;
        }
    }
    let exported = export.finish(&ends, each).map_err(unwritten)?;
    Ok(json!({
        "first": exported.first,
        "last": exported.last,
        "directory": directory.display().to_string(),
        "origin": exported.checkpoint.origin,
        "size": exported.checkpoint.size,
        "root": exported.checkpoint.root.to_string(),
        "key": ends.key.to_string(),
        "witnesses": proven["witnesses"],
    }))
}

fn unwritten(error: ExportError) -> Failure {
    match error {
        ExportError::Taken { .. } | ExportError::Io { .. } => {
            Failure::new("cli.file", error.to_string(), "name a new directory, in a directory of yours")
        }
        ExportError::NoRecord { .. } | ExportError::Unproven { .. } => {
            Failure::new("cli.proof", error.to_string(), "verify the records with `sop audit verify`")
        }
    }
}

pub(super) fn written(file: &Path, text: &str) -> Result<(), Failure> {
    let mut new = OpenOptions::new();
    let written = new.write(true).create_new(true).open(file).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| {
        let detail = format!("{} could not be written: {error}", file.display());
        Failure::new("cli.file", detail, "name a new file, in a directory of yours")
    })
}

/// `sop explain`.
pub async fn explain(globals: &Globals, decision: &str) -> Run {
    let explained = globals.remote()?.read("decision.explain", &json!({ "decision": decision })).await?;
    answer(globals.output, &explained, reasons)?;
    Ok(Exit::Ok)
}

fn listed(found: &Value, nothing: &str) -> String {
    let records = found["records"].as_array().map(Vec::as_slice).unwrap_or_default();
    let withheld = match found["withheld"].as_u64() {
        None | Some(0) => String::new(),
        Some(withheld) => format!("\n\n{} withheld: no policy lets you read them.", count(withheld, "record")),
    };
    if records.is_empty() {
        return format!("{nothing}{withheld}");
    }
    let row = |record: &Value| {
        let (refused, ended) = (&record["refused"], &record["ended"]);
        let about = match (refused.as_str(), record["outcome"].as_str()) {
            (Some(code), _) => format!("refused: {code} {}", about(record)),
            (None, Some("failed")) => format!("failed: {} {}", cell(&ended["code"]), about(record)),
            (None, Some("open")) if !ended["deadline"].is_null() => {
                format!("until {}: {}", cell(&ended["deadline"]), about(record))
            }
            (None, _) => about(record),
        };
        [
            cell(&record["sequence"]),
            cell(&record["time"]),
            cell(&record["stream"]),
            cell(&record["kind"]),
            cell(&record["principal"]),
            cell(&record["command"]),
            cell(&record["outcome"]),
            about.trim_end().to_owned(),
        ]
    };
    table(["SEQ", "TIME", "STREAM", "KIND", "PRINCIPAL", "COMMAND", "OUTCOME", "ABOUT"], records.iter().map(row))
        + &withheld
}

fn about(record: &Value) -> String {
    match &record["about"] {
        Value::Object(fields) if !fields.is_empty() => cell(&record["about"]),
        _ => String::new(),
    }
}

fn shown(found: &Value) -> String {
    let records = found["records"].as_array().map(Vec::as_slice).unwrap_or_default();
    records.iter().map(one).collect::<Vec<_>>().join("\n\n")
}

fn one(record: &Value) -> String {
    let decision = &record["decision"];
    let mut parts = vec![fields([
        ("record", format!("{}, {}", cell(&record["sequence"]), cell(&record["kind"]))),
        ("time", cell(&record["time"])),
        (
            "stream",
            format!(
                "{}, version {}, epoch {}",
                cell(&record["stream"]),
                cell(&record["version"]),
                cell(&record["epoch"])
            ),
        ),
        ("principal", cell(&record["principal"])),
        (
            "command",
            format!(
                "{}  ({} of {})",
                cell(&record["command"]),
                record["index"].as_u64().unwrap_or_default() + 1,
                cell(&record["count"])
            ),
        ),
        (
            "decision",
            format!(
                "policy epoch {}, policies {}, generation {}, token {}",
                cell(&decision["policy_epoch"]),
                cell(&decision["policies"]),
                cell(&decision["generation"]),
                cell(&decision["token"])
            ),
        ),
        ("asked", asked(&record["asked"])),
        ("cause", cell(&record["cause"])),
        ("refused", cell(&record["refused"])),
        ("outcome", outcome(record)),
        ("previous", cell(&record["previous"])),
        ("digest", cell(&record["digest"])),
    ])];
    for part in ["body", "answer"] {
        if !record[part].is_null() {
            parts.push(format!("{part}\n{}", indented(&as_json(&record[part]))));
        }
    }
    parts.join("\n")
}

/// What became of a request, when, and by which records it is known.
fn outcome(shown: &Value) -> String {
    let (outcome, ended) = (cell(&shown["outcome"]), &shown["ended"]);
    let mut words = vec![outcome];
    for (word, key) in [("", "code"), ("at ", "at"), ("by record ", "record"), ("because of record ", "cause")] {
        if !ended[key].is_null() {
            words.push(format!("{word}{}", cell(&ended[key])));
        }
    }
    if ended["corrected"] == true {
        words.push("unknown at first".to_owned());
    }
    if shown["outcome"] == "open" && !ended["deadline"].is_null() {
        words.push(format!("until {} at the latest", cell(&ended["deadline"])));
    }
    words.join(", ")
}

/// What was asked, and in which standing.
fn asked(asked: &Value) -> String {
    if asked.is_null() {
        return cell(asked);
    }
    let mut words = vec![format!("{} on {}", cell(&asked["action"]), cell(&asked["resource"]))];
    if asked["context"] != json!({}) {
        words.push(cell(&asked["context"]));
    }
    words.extend(standing(&asked["standing"]));
    words.join(", ")
}

/// A standing in words, as far as there is something to say.
fn standing(standing: &Value) -> Vec<String> {
    let mut words = Vec::new();
    if standing["via_token"] == true {
        words.push("by a token".to_owned());
    }
    if !standing["credential"].is_null() {
        words.push(format!("by credential {}", cell(&standing["credential"])));
    }
    for (one, many, key) in [("role", "roles", "roles"), ("proof", "proofs", "proofs")] {
        let names: Vec<_> = standing[key].as_array().into_iter().flatten().map(cell).collect();
        if !names.is_empty() {
            words.push(format!("{} {}", if names.len() == 1 { one } else { many }, names.join(" ")));
        }
    }
    if let Some(approvals) = standing["approvals"].as_u64().filter(|approvals| 0 < *approvals) {
        words.push(count(approvals, "approval"));
    }
    words
}

fn indented(text: &str) -> String {
    plain_lines(text).lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

fn verdict(verified: &Value) -> String {
    let range = format!(
        "{} from {} to {}, {}",
        count(verified["records"].as_u64().unwrap_or_default(), "record"),
        cell(&verified["from"]),
        cell(&verified["last"]),
        count(verified["streams"].as_u64().unwrap_or_default(), "stream")
    );
    let mut lines = if verified["intact"] == true {
        let missing = &verified["witnesses"];
        let quorum =
            missing["missing"].as_str().map(|code| format!("QUORUM MISSING: {} ({code})", cell(&missing["why"])));
        let intact = [format!("Intact: {range}."), format!("head {}", cell(&verified["head"]))];
        quorum.into_iter().chain(intact).collect()
    } else {
        let at = match &verified["broken_at"] {
            Value::Null => String::new(),
            at => format!(" at {}", cell(at)),
        };
        let broken = format!("BROKEN{at}: {}", cell(&verified["broken"]));
        vec![broken, format!("read {range}")]
    };
    for (title, key) in [("checked", "checked"), ("not checked", "not_checked")] {
        lines.extend([String::new(), title.to_owned()]);
        lines.extend(verified[key].as_array().into_iter().flatten().map(|item| format!("  - {}", cell(item))));
    }
    lines.join("\n")
}

fn reasons(explained: &Value) -> String {
    let verdict = if explained["allowed"] == true { "allowed" } else { "DENIED" };
    let mut known = vec![
        ("verdict", verdict.to_owned()),
        ("decision", cell(&explained["decision"])),
        ("at", cell(&explained["at"])),
        ("principal", cell(&explained["principal"])),
    ];
    for (name, key) in [
        ("action", "action"),
        ("resource", "resource"),
        ("context", "context"),
        ("layer", "layer"),
        ("code", "code"),
        ("reason", "reason"),
        ("rule", "rule"),
        ("remedy", "remedy"),
        ("retry after", "retry_after"),
        ("token", "token"),
    ] {
        if explained.get(key).is_some_and(|value| !value.is_null() && *value != json!({})) {
            known.push((name, cell(&explained[key])));
        }
    }
    if !explained["outcome"].is_null() {
        known.push(("outcome", outcome(explained)));
    }
    let stood = standing(&explained["standing"]);
    if !stood.is_empty() {
        known.push(("standing", stood.join(", ")));
    }
    known.push(("policy epoch", cell(&explained["policy_epoch"])));
    let mut parts = vec![fields(known)];
    let layers = explained["layers"].as_array().map(Vec::as_slice).unwrap_or_default();
    if !layers.is_empty() {
        let row = |step: &Value| [cell(&step["layer"]), cell(&step["verdict"]), cell(&step["why"])];
        parts.push(table(["LAYER", "VERDICT", "WHY"], layers.iter().map(row)));
    }
    for policy in explained["policies"].as_array().into_iter().flatten() {
        let name = format!("policy {}", cell(&policy["id"]));
        parts.push(match policy["source"].as_str() {
            Some(source) => format!("{name}\n{}", indented(source)),
            None => name,
        });
    }
    let help = help(explained);
    if !help.is_empty() {
        parts.push(help.join("\n"));
    }
    parts.push(listed(explained, "No records."));
    parts.join("\n\n")
}

/// What would make an allow of it, and who can see to that.
fn help(explained: &Value) -> Vec<String> {
    let near = explained["near"].as_array().into_iter().flatten();
    let mut help: Vec<_> = near.map(|near| format!("it would be allowed if {}", cell(&near["words"]))).collect();
    let permission = &explained["permission"];
    if let Some(command) = permission["registry"]["command"].as_str() {
        help.push(format!("what would admit it: {command}"));
    }
    if let (Some(text), false) = (permission["policy"]["text"].as_str(), permission["policy"]["held"] == true) {
        let enough =
            if permission["policy"]["suffices"] == true { "" } else { ", were there no policy that forbids it" };
        help.push(format!("what would permit it{enough}:\n{}", indented(text.trim_end())));
    }
    for ask in explained["ask"].as_array().into_iter().flatten() {
        let who: Vec<_> = ask["who"].as_array().into_iter().flatten().map(cell).collect();
        let who = if who.is_empty() { "nobody".to_owned() } else { who.join(", ") };
        help.push(format!("who may {}: {who}{}", cell(&ask["for"]), if ask["more"] == true { ", …" } else { "" }));
    }
    help
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denial_is_explained_with_what_would_change_it() {
        let explained = json!({ "allowed": false, "decision": "d", "at": "t", "principal": "agent/a", "action": "gap.scan",
            "resource": "*", "context": {}, "layer": "policy", "code": "policy.not_permitted", "reason": "no", "rule": null,
            "remedy": "ask", "policy_epoch": 1, "policies": [], "records": [] });
        assert_eq!(
            reasons(&explained),
            "verdict       DENIED\ndecision      d\nat            t\nprincipal     agent/a\naction        gap.scan\nresource      \
             *\nlayer         policy\ncode          policy.not_permitted\nreason        no\nremedy        ask\npolicy epoch  \
             1\n\nNo records."
        );
        let more = json!({ "near": [{ "words": "an operator asked" }],
            "permission": { "registry": { "held": true }, "policy": { "held": false, "suffices": true, "text": "permit (…);\n" } },
            "ask": [{ "for": "policy.activate", "who": ["operator/root"], "more": true }] });
        assert_eq!(
            help(&more),
            [
                "it would be allowed if an operator asked",
                "what would permit it:\n  permit (…);",
                "who may policy.activate: operator/root, …",
            ]
        );
    }

    #[test]
    fn a_request_is_said_in_words() {
        let standing = json!({ "via_token": true, "roles": ["auditor"], "approvals": 2, "proofs": ["a", "b"] });
        let full = json!({ "action": "token.issue", "resource": "*", "context": { "uses": 1 }, "standing": standing });
        assert_eq!(asked(&full), "token.issue on *, uses=1, by a token, role auditor, proofs a b, 2 approvals");
        let own =
            json!({ "via_token": false, "credential": "0000000000000017", "roles": [], "approvals": 0, "proofs": [] });
        let by_own = json!({ "action": "todo.list", "resource": "*", "context": {}, "standing": own });
        assert_eq!(asked(&by_own), "todo.list on *, by credential 0000000000000017");
        let none = json!({ "via_token": false, "roles": [], "approvals": 0, "proofs": [] });
        let plain = json!({ "action": "todo.list", "resource": "*", "context": {}, "standing": none });
        assert_eq!(asked(&plain), "todo.list on *");
    }

    #[test]
    fn what_became_of_a_request_is_said_in_words() {
        let ended = json!({ "code": "backup.failed", "at": "t", "record": 9, "cause": 8, "corrected": true,
            "deadline": "d" });
        assert_eq!(
            outcome(&json!({ "outcome": "failed", "ended": ended })),
            "failed, backup.failed, at t, by record 9, because of record 8, unknown at first"
        );
        assert_eq!(outcome(&json!({ "outcome": "open", "ended": { "deadline": "d" } })), "open, until d at the latest");
        assert_eq!(outcome(&json!({ "outcome": null, "ended": null })), "-");
    }

    #[test]
    fn a_broken_chain_is_loud() {
        let verified = json!({ "intact": false, "records": 1, "streams": 1, "from": 1, "last": 1, "head": "h",
            "broken_at": 2, "broken": "the link does not fit", "checked": ["a"], "not_checked": [] });
        assert_eq!(
            verdict(&verified),
            "BROKEN at 2: the link does not fit\nread 1 record from 1 to 1, 1 stream\n\nchecked\n  - a\n\nnot checked"
        );
    }
}
