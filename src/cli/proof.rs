//! `sop proof`: verifiers, declare, withdraw, list, show. Evidence is given with `--prove` on the command itself.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Subcommand;
use serde_json::{Value, json};

use super::call::{Globals, Mutation};
use super::exit::{Exit, Failure, Run};
use super::output::{answer, cell, fields, table};

#[derive(Subcommand, Debug)]
pub enum Proof {
    /// List which proofs there are, and how each is checked
    Verifiers,
    /// Say how a proof is checked from now on
    #[command(subcommand)]
    Declare(Declare),
    /// Let there be no such proof any more
    Withdraw {
        /// Its name, as policies have it
        name: String,
        #[command(flatten)]
        mutation: Mutation,
    },
    /// List receipts of what was proven
    List {
        /// Only those in this state: live, spent, expired or void
        #[arg(long)]
        state: Option<String>,
        /// Only what this one proved, such as agent/alpha
        #[arg(long, value_name = "PRINCIPAL")]
        asker: Option<String>,
        /// Only of this proof, such as manifest
        #[arg(long, value_name = "NAME")]
        proof: Option<String>,
        /// Only for this, such as retention.prune
        #[arg(long)]
        action: Option<String>,
    },
    /// Show what was proven, for exactly what, until when, and what it was spent on
    Show {
        /// The number of the receipt
        receipt: u64,
    },
}

#[derive(Subcommand, Debug)]
pub enum Declare {
    /// The evidence is a content with a digest
    Digest {
        /// Its name, as policies have it
        name: String,
        /// The digest of the content, such as sha256:… or blake3:…
        #[arg(long, conflicts_with = "argument")]
        digest: Option<String>,
        /// The argument of the request that has the digest, such as sha256:backup for the SHA-256 in `backup`
        #[arg(long, required_unless_present = "digest")]
        argument: Option<String>,
        #[command(flatten)]
        mutation: Mutation,
    },
    /// The evidence is exactly the files of a list
    Manifest {
        /// Its name, as policies have it
        name: String,
        /// The list, as `sha256sum` writes it
        #[arg(long, value_name = "FILE")]
        file: PathBuf,
        #[command(flatten)]
        mutation: Mutation,
    },
    /// The evidence is the goal, signed by a key or by one that it vouches for
    Signature {
        /// Its name, as policies have it
        name: String,
        /// The key at the root, NAME+ID+KEY
        #[arg(long, value_name = "VKEY")]
        root: String,
        #[command(flatten)]
        mutation: Mutation,
    },
    /// The evidence is a recorded decision that allowed an action, and would be made again
    PolicyTrace {
        /// Its name, as policies have it
        name: String,
        /// What was allowed, such as backup.verify
        #[arg(long)]
        action: String,
        /// Not longer ago than this
        #[arg(long, value_name = "SPAN", value_parser = span)]
        within: Option<u64>,
        #[command(flatten)]
        mutation: Mutation,
    },
    /// A prover outside says so, over HTTP
    External {
        /// Its name, as policies have it
        name: String,
        /// Where it is asked: https, or http on this machine
        #[arg(long)]
        url: String,
        /// The digest of the kernel by which it must prove
        #[arg(long, value_name = "DIGEST")]
        kernel: String,
        /// The key that signs its verdicts, NAME+ID+KEY
        #[arg(long, value_name = "VKEY")]
        key: String,
        /// How long it is waited for; else 5s
        #[arg(long, value_name = "SPAN", value_parser = span)]
        timeout: Option<u64>,
        #[command(flatten)]
        mutation: Mutation,
    },
}

fn span(text: &str) -> Result<u64, String> {
    let span = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    u64::try_from(span.as_millis()).map_err(|error| error.to_string())
}

pub async fn run(globals: &Globals, command: Proof) -> Run {
    let (remote, format) = (globals.remote()?, globals.output);
    match command {
        Proof::Verifiers => answer(format, &remote.read("proof.verifiers", &json!({})).await?, verifiers)?,
        Proof::Declare(declare) => {
            let (name, verifier, mutation) = declared(declare)?;
            let arguments = json!({ "name": name, "verifier": verifier });
            let answered = remote.change("proof.declare", &arguments, mutation.id()).await?;
            answer(format, &answered, |answered| {
                format!("{name} is checked so from now on: revision {}.", cell(&answered["revision"]))
            })?;
        }
        Proof::Withdraw { name, mutation } => {
            let withdrawn = remote.change("proof.withdraw", &json!({ "name": name }), mutation.id()).await?;
            answer(format, &withdrawn, |_| format!("There is no proof {name} any more."))?;
        }
        Proof::List { state, asker, proof, action } => {
            let mut arguments = json!({ "state": state, "asker": asker, "proof": proof, "action": action });
            if let Some(arguments) = arguments.as_object_mut() {
                arguments.retain(|_, value| !value.is_null());
            }
            answer(format, &remote.read("proof.list", &arguments).await?, listed)?;
        }
        Proof::Show { receipt } => {
            answer(format, &remote.read("proof.show", &json!({ "receipt": receipt })).await?, shown)?;
        }
    }
    Ok(Exit::Ok)
}

fn declared(declare: Declare) -> Result<(String, Value, Mutation), Failure> {
    Ok(match declare {
        Declare::Digest { name, digest, argument, mutation } => {
            let (field, text) = match (&digest, &argument) {
                (Some(digest), _) => ("digest", digest),
                (None, argument) => ("argument", argument.as_ref().expect("clap asks for one of them")),
            };
            let split = text.split_once(':').filter(|(algorithm, _)| ["sha256", "blake3"].contains(algorithm));
            let (algorithm, value) = split.ok_or_else(|| {
                let detail = format!("{text:?} does not begin with sha256: or blake3:");
                Failure::new("cli.algorithm", detail, "say by which algorithm, such as sha256:…")
            })?;
            (name, json!({ "kind": "digest", "algorithm": algorithm, field: value }), mutation)
        }
        Declare::Manifest { name, file, mutation } => {
            let text = fs::read_to_string(&file).map_err(|error| unreadable(&file, &error))?;
            let files = checks::listed(&text).map_err(|failure| {
                let remedy = "make the list with `sha256sum FILE…`";
                Failure::new("cli.manifest", format!("{}: {failure}", file.display()), remedy)
            })?;
            (name, json!({ "kind": "manifest", "files": files }), mutation)
        }
        Declare::Signature { name, root, mutation } => (name, json!({ "kind": "signature", "root": root }), mutation),
        Declare::PolicyTrace { name, action, within, mutation } => {
            let mut verifier = json!({ "kind": "policy-trace", "action": action });
            if let Some(within) = within {
                verifier["within_ms"] = within.into();
            }
            (name, verifier, mutation)
        }
        Declare::External { name, url, kernel, key, timeout, mutation } => {
            let mut verifier = json!({ "kind": "external", "url": url, "kernel": kernel, "key": key });
            if let Some(timeout) = timeout {
                verifier["timeout_ms"] = timeout.into();
            }
            (name, verifier, mutation)
        }
    })
}

/// What `--prove` says: the name of a proof, and where its evidence lies.
#[derive(Clone, Debug)]
pub struct Given {
    pub proof: String,
    pub evidence: Option<PathBuf>,
}

pub fn given(text: &str) -> Result<Given, String> {
    let (proof, evidence) = match text.split_once('=') {
        Some((proof, path)) => (proof, Some(PathBuf::from(path))),
        None => (text, None),
    };
    if proof.is_empty() || evidence.as_ref().is_some_and(|path| path.as_os_str().is_empty()) {
        return Err("NAME=FILE, or NAME alone to see what has to be proven".to_owned());
    }
    Ok(Given { proof: proof.to_owned(), evidence })
}

/// The evidence that lies there, in base64: a file as it is, a directory as all files below it.
pub fn evidence(path: &Path) -> Result<String, Failure> {
    let failed = |error: &std::io::Error| unreadable(path, error);
    if !path.is_dir() {
        let bytes = fs::read(path).map_err(|error| failed(&error))?;
        return Ok(STANDARD.encode(bytes));
    }
    let (mut files, mut left) = (BTreeMap::new(), vec![path.to_owned()]);
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(&directory).map_err(|error| failed(&error))? {
            let entry = entry.map_err(|error| failed(&error))?.path();
            if entry.is_dir() {
                left.push(entry);
                continue;
            }
            let bytes = fs::read(&entry).map_err(|error| unreadable(&entry, &error))?;
            let name = entry.strip_prefix(path).expect("it lies below").to_string_lossy().into_owned();
            files.insert(name, STANDARD.encode(bytes));
        }
    }
    Ok(STANDARD.encode(json!({ "files": files }).to_string()))
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    let detail = format!("{} cannot be read: {error}", path.display());
    Failure::new("cli.evidence_unreadable", detail, "name a file or a directory that you may read")
}

/// What has to be proven.
pub fn goal(goal: &Value) -> String {
    let [proof, digest] = ["proof", "goal"].map(|key| cell(&goal[key]));
    let verifier = &goal["verifier"];
    let text = goal["text"].as_str().unwrap_or_default();
    format!(
        "Nothing was done. To be proven, by a verifier of kind {}: goal {digest}\n\n{text}\nGive the same command with --prove {proof}=EVIDENCE.",
        cell(&verifier["kind"])
    )
}

fn verifiers(listed: &Value) -> String {
    let all = listed["verifiers"].as_array().map(Vec::as_slice).unwrap_or_default();
    if all.is_empty() {
        return "No proof is declared.".to_owned();
    }
    let row = |one: &Value| {
        let [name, revision, by, at] = ["name", "revision", "by", "at"].map(|key| cell(&one[key]));
        [name, cell(&one["verifier"]["kind"]), pins(&one["verifier"]), revision, by, at]
    };
    table(["NAME", "KIND", "BY WHAT", "REVISION", "DECLARED BY", "AT"], all.iter().map(row))
}

fn pins(verifier: &Value) -> String {
    let field = |key: &str| cell(&verifier[key]);
    match verifier["kind"].as_str().unwrap_or_default() {
        "digest" if verifier["digest"].is_null() => format!("{} in {}", field("algorithm"), field("argument")),
        "digest" => format!("{}:{}", field("algorithm"), field("digest")),
        "manifest" => format!("{} files", verifier["files"].as_object().map_or(0, serde_json::Map::len)),
        "signature" => field("root"),
        "policy-trace" => match verifier["within_ms"].as_u64() {
            Some(within) => format!("{}, at most {within} ms ago", field("action")),
            None => field("action"),
        },
        "external" => format!("{}, kernel {}, key {}", field("url"), field("kernel"), field("key")),
        other => other.to_owned(),
    }
}

fn listed(listed: &Value) -> String {
    let receipts = listed["receipts"].as_array().map(Vec::as_slice).unwrap_or_default();
    if receipts.is_empty() {
        return "No receipts.".to_owned();
    }
    let row = |receipt: &Value| {
        ["receipt", "state", "proof", "asker", "action", "resource", "expires_at"].map(|key| cell(&receipt[key]))
    };
    table(["RECEIPT", "STATE", "PROOF", "BY", "ACTION", "RESOURCE", "UNTIL"], receipts.iter().map(row))
}

fn shown(receipt: &Value) -> String {
    let field = |key: &str| cell(&receipt[key]);
    let mut rows = vec![
        ("receipt", field("receipt")),
        ("state", field("state")),
        ("proof", format!("{}, by revision {} of its verifier", field("proof"), field("revision"))),
        ("by", field("asker")),
        ("for", format!("{} on {}", field("action"), field("resource"))),
        ("checked at", field("at")),
        ("until", field("expires_at")),
        ("goal", field("goal")),
        ("content", field("content")),
        ("target", field("target")),
        ("evidence", field("evidence")),
    ];
    if let used @ Value::Object(_) = &receipt["spent"] {
        rows.push(("spent", format!("on the command {} at {}", cell(&used["command"]), cell(&used["at"]))));
    }
    let note = receipt["note"].as_str().unwrap_or_default();
    format!("{}\n\n{}", fields(rows), note.trim_end())
}
