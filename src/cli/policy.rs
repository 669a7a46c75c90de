//! `sop policy`: propose, validate, test, activate, roll back, list, show.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use host::Clock;
use policy::Policies;
use serde_json::{Value, json};

use super::call::{Globals, Mutation};
use super::exit::{Exit, Failure, Run};
use super::output::{answer, cell, count, fields, plain_lines, problem_line, table};
use super::table::{self, Table};
use super::{replay, rights};

#[derive(Subcommand, Debug)]
pub enum Policy {
    /// Propose a policy text as a new, numbered epoch
    Propose {
        /// File with the policies; - reads standard input
        file: PathBuf,
        /// Prove what it allows, here, and hand what came of it along (exit code 2: it can be otherwise, 1: not proven)
        #[arg(long)]
        with_proof: bool,
        #[command(flatten)]
        asked: super::prove::Asked,
        #[command(flatten)]
        mutation: Mutation,
    },
    /// Check a policy text without proposing it (exit code 2: it has problems)
    Validate {
        /// File with the policies; - reads standard input
        file: PathBuf,
    },
    /// Try a table of expected decisions (exit code 2: some are otherwise)
    Test {
        /// File with the cases, in TOML; - reads standard input
        file: PathBuf,
        /// Epoch to try; else the active one
        #[arg(long, conflicts_with = "policy")]
        epoch: Option<u64>,
        /// Try the policies in this file instead; no daemon is asked
        #[arg(long, value_name = "FILE")]
        policy: Option<PathBuf>,
    },
    /// Prove what a policy text allows for every request there can be (exit code 2: it can be otherwise, 1: not proven)
    Prove(super::prove::Prove),
    /// Make a proposed epoch the one that decides
    Activate {
        /// Its number, as in `sop policy list`
        epoch: u64,
        /// Refuse if another epoch than this one is active by now
        #[arg(long, value_name = "EPOCH")]
        expected_active: Option<u64>,
        /// Refuse if it would have decided otherwise than was decided (`door.replayed_at_change`)
        #[arg(long)]
        expect_no_flips: bool,
        /// Also where somebody claims a request for which what was to be proven does not hold
        #[arg(long)]
        despite_counterexample: bool,
        #[command(flatten)]
        mutation: Mutation,
    },
    /// Judge what was decided again, by another policy (exit code 2: it would have decided something otherwise)
    Replay {
        /// The number of an epoch, or a file with policies that are none yet; - reads standard input
        #[arg(value_name = "EPOCH|FILE")]
        against: String,
        /// First sequence number
        #[arg(long, value_name = "SEQUENCE")]
        since: Option<u64>,
        /// Of the last records only, so many
        #[arg(long, value_name = "N")]
        last: Option<u64>,
    },
    /// Go back to the epoch that decided before
    Rollback {
        /// Refuse if another epoch than this one is active by now
        #[arg(long, value_name = "EPOCH")]
        expected_active: Option<u64>,
        #[command(flatten)]
        mutation: Mutation,
    },
    /// List the policy epochs
    List,
    /// List the roles that policies are for, and what each may do
    Roles,
    /// Propose the active policies and a role more
    AddRole(rights::AddRole),
    /// Show the text of an epoch; of the active one, if none is named
    Show {
        /// Its number, as in `sop policy list`
        epoch: Option<u64>,
    },
}

pub async fn run(globals: &Globals, command: Policy) -> Run {
    let format = globals.output;
    if let Policy::Test { file, epoch, policy } = command {
        return test(globals, &file, epoch, policy.as_deref()).await;
    }
    let remote = globals.remote()?;
    match command {
        Policy::Propose { file, with_proof, asked, mutation } => {
            let text = read(&file)?;
            let proposed = remote.change("policy.propose", &json!({ "text": text }), mutation.id()).await;
            let proposed = proposed.map_err(|failure| match failure.problem.code.as_str() {
                "governance.invalid_policy" => {
                    failure.note(format!("all problems: sop policy validate {}", file.display()))
                }
                _ => failure,
            })?;
            let Some(epoch) = proposed["epoch"].as_u64().filter(|_| with_proof) else {
                answer(format, &proposed, self::proposed)?;
                return Ok(Exit::Ok);
            };
            let id = Clock::system().command_id();
            let found = super::prove::claimed(&remote, &file, &text, epoch, &asked, id).await;
            let found = found.map_err(|failure| {
                failure.note(format!(
                    "policy epoch {epoch} is proposed, and nothing is claimed of it: sop policy prove {epoch} --attach"
                ))
            })?;
            let mut told = proposed.clone();
            told["proof"] = found.told.clone();
            answer(format, &told, |told| {
                format!("{}\n\n{}", super::prove::attached(&told["proof"]), self::proposed(told))
            })?;
            return Ok(found.exit());
        }
        Policy::Validate { file } => {
            let validated = remote.read("policy.validate", &json!({ "text": read(&file)? })).await?;
            answer(format, &validated, |validated| verdict(&file, validated))?;
            if validated["valid"] != true {
                return Ok(Exit::Findings);
            }
        }
        Policy::Prove(prove) => return super::prove::run(&remote, format, &prove).await,
        Policy::Replay { against, since, last } => return replay::run(globals, &against, since, last).await,
        Policy::Activate { epoch, expected_active, expect_no_flips, despite_counterexample, mutation } => {
            let mut arguments = json!({ "epoch": epoch });
            expect(&mut arguments, expected_active);
            if expect_no_flips {
                arguments["expect_no_flips"] = json!(true);
            }
            if despite_counterexample {
                arguments["despite_counterexample"] = json!(true);
            }
            let active = remote.change("policy.activate", &arguments, mutation.id()).await?;
            answer(format, &active, now_active)?;
        }
        Policy::Rollback { expected_active, mutation } => {
            let mut arguments = json!({});
            expect(&mut arguments, expected_active);
            let active = remote.change("policy.rollback", &arguments, mutation.id()).await?;
            answer(format, &active, now_active)?;
        }
        Policy::Test { .. } => unreachable!("it needs no daemon, and was seen to above"),
        Policy::Roles => return rights::roles(globals).await,
        Policy::AddRole(role) => return rights::add_role(globals, role).await,
        Policy::List => answer(format, &remote.read("policy.list", &json!({})).await?, listed)?,
        Policy::Show { epoch } => {
            let arguments = epoch.map_or_else(|| json!({}), |epoch| json!({ "epoch": epoch }));
            answer(format, &remote.read("policy.show", &arguments).await?, shown)?;
        }
    }
    Ok(Exit::Ok)
}

async fn test(globals: &Globals, file: &Path, epoch: Option<u64>, policy: Option<&Path>) -> Run {
    let table = Table::parse(file, &read(file)?)?;
    let (by, text) = if let Some(policy) = policy {
        (policy.display().to_string(), read(policy)?)
    } else {
        let arguments = epoch.map_or_else(|| json!({}), |epoch| json!({ "epoch": epoch }));
        let shown = globals.remote()?.read("policy.show", &arguments).await?;
        (format!("epoch {}", cell(&shown["epoch"])), shown["text"].as_str().unwrap_or_default().to_owned())
    };
    let policies = Policies::compile(&text).map_err(|problems| {
        let file = policy.map_or_else(|| PathBuf::from(&by), Path::to_owned);
        invalid(&file, &json!(problems))
    })?;
    let judged = table.judged(&by, &policies);
    answer(globals.output, &judged, table::report)?;
    Ok(if judged["failed"] == 0 { Exit::Ok } else { Exit::Findings })
}

/// Also what it would let its author do that the author may not do now: whoever activates it should know.
pub fn proposed(proposed: &Value) -> String {
    let (epoch, digest) = (cell(&proposed["epoch"]), cell(&proposed["digest"]));
    let widens = proposed["widens"].as_array().into_iter().flatten().filter_map(Value::as_str).collect::<Vec<_>>();
    let widens = match widens.len() {
        0 => String::new(),
        1..=5 => format!("It lets its author do what it may not do now: {}\n", widens.join(", ")),
        more => {
            format!("It lets its author do what it may not do now: {} and {} more\n", widens[..5].join(", "), more - 5)
        }
    };
    let flips = replay::told(&proposed["flips"]).map(|told| format!("{told}\n")).unwrap_or_default();
    format!(
        "Policy epoch {epoch} is proposed (digest {digest}).\n{widens}{flips}To make it decide: sop policy activate {epoch}"
    )
}

/// The text of a file, or of standard input for `-`.
pub fn read(file: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let read = match file.to_str() {
        Some("-") => std::io::stdin().lock().read_to_string(&mut text).map(|_| text),
        _ => std::fs::read_to_string(file),
    };
    read.map_err(|error| {
        let detail = format!("{} cannot be read: {error}", file.display());
        Failure::new("cli.file_unreadable", detail, "name a file of UTF-8 text, or - for standard input")
    })
}

/// A text that was found wanting before the daemon was asked.
pub fn invalid(file: &Path, problems: &Value) -> Failure {
    let remedy = "mend the text; with a running daemon, `sop policy validate` checks it again";
    let detail = format!("{} holds no valid policies", file.display());
    lines(file, problems).into_iter().fold(Failure::new("policy.invalid", detail, remedy), Failure::note)
}

/// One line a problem, as compilers say it.
pub fn lines(file: &Path, problems: &Value) -> Vec<String> {
    let line = |problem: &Value| {
        let place = match (problem["line"].as_u64(), problem["column"].as_u64()) {
            (Some(line), Some(column)) => format!("{}:{line}:{column}", file.display()),
            _ => file.display().to_string(),
        };
        let about = problem["policy"].as_str().map(|policy| format!("in policy {policy:?}, ")).unwrap_or_default();
        problem_line(
            &format!("{place}: error"),
            &cell(&problem["code"]),
            &format!("{about}{}", cell(&problem["message"])),
        )
    };
    problems.as_array().into_iter().flatten().map(line).collect()
}

fn verdict(file: &Path, validated: &Value) -> String {
    if validated["valid"] == true {
        let policies = count(validated["policies"].as_array().map_or(0, Vec::len) as u64, "policy rule");
        return format!("{} is valid: {policies}.", file.display());
    }
    let mut lines = lines(file, &validated["problems"]);
    if let Some(more) = validated["more"].as_u64().filter(|more| 0 < *more) {
        lines.push(format!("{}: and {more} more", file.display()));
    }
    lines.join("\n")
}

fn now_active(active: &Value) -> String {
    let flips = replay::told(&active["flips"]).map(|told| format!("\n{told}")).unwrap_or_default();
    let claims = if active["claims"].is_null() {
        String::new()
    } else {
        format!("\n{}", super::prove::claims(&active["claims"]))
    };
    format!("Policy epoch {} decides from now on.{flips}{claims}", cell(&active["active"]))
}

fn listed(listed: &Value) -> String {
    let row = |epoch: &Value| {
        let digest: String = cell(&epoch["digest"]).chars().take(16).collect();
        let active = if epoch["active"] == true { "active" } else { "" };
        let author = if epoch["author"].is_null() { "built in".to_owned() } else { cell(&epoch["author"]) };
        [
            cell(&epoch["epoch"]),
            active.to_owned(),
            author,
            cell(&epoch["proposed_at"]),
            digest,
            super::prove::verdict(&epoch["claimed"]),
        ]
    };
    table(
        ["EPOCH", "STATE", "AUTHOR", "PROPOSED", "DIGEST", "CLAIMED"],
        listed["epochs"].as_array().into_iter().flatten().map(row),
    )
}

fn shown(shown: &Value) -> String {
    let head = fields([
        ("epoch", format!("{}{}", cell(&shown["epoch"]), if shown["active"] == true { ", active" } else { "" })),
        ("author", if shown["author"].is_null() { "built in".to_owned() } else { cell(&shown["author"]) }),
        ("proposed", cell(&shown["proposed_at"])),
        ("digest", cell(&shown["digest"])),
    ]);
    let claims =
        if shown["epoch"] == 0 { String::new() } else { format!("\n\n{}", super::prove::claims(&shown["claims"])) };
    format!("{head}{claims}\n\n{}", plain_lines(shown["text"].as_str().unwrap_or_default()))
}

fn expect(arguments: &mut Value, expected_active: Option<u64>) {
    if let Some(epoch) = expected_active {
        arguments["expected_active"] = json!(epoch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_are_said_as_compilers_do() {
        let validated = json!({ "valid": false, "more": 2, "problems": [
            { "line": 3, "column": 9, "policy": "wide", "code": "policy.unknown_action", "message": "no such action" },
            { "line": null, "column": null, "policy": null, "code": "policy.too_long", "message": "too long" },
        ] });
        assert_eq!(
            verdict(Path::new("a.cedar"), &validated),
            "a.cedar:3:9: error[policy.unknown_action]: in policy \"wide\", no such action\n\
             a.cedar: error[policy.too_long]: too long\na.cedar: and 2 more"
        );
    }

    #[test]
    fn epochs_are_listed() {
        let digest = "ab".repeat(32);
        let epochs = json!({ "epochs": [
            { "epoch": 0, "active": false, "digest": digest, "author": null, "proposed_at": null },
            { "epoch": 1, "active": true, "digest": digest, "author": "operator/root", "proposed_at": "2026-01-01T00:00:00.000Z", "claimed": "not_proven" },
        ] });
        assert_eq!(
            listed(&epochs),
            "EPOCH  STATE   AUTHOR         PROPOSED                  DIGEST            CLAIMED\n    \
             0          built in       -                         abababababababab  -\n    \
             1  active  operator/root  2026-01-01T00:00:00.000Z  abababababababab  NOT PROVEN"
        );
    }
}
