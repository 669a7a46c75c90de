//! `sop policy prove`: what holds of a text for every request there can be. The solver is a program of the caller's machine,
//! started here: the daemon starts none. Whoever doubts what came of it asks his own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use kernel::CommandId;
use policy::Policies;
use prover::solver::{Cvc5, Trouble};
use prover::{Finding, Prover, Verdict};
use serde_json::{Value, json};

use super::call::{Mutation, Remote};
use super::exit::{Exit, Failure, Run};
use super::output::{Format, answer, cell, plain_lines, table};
use super::policy::{invalid, read};

#[derive(Args, Debug)]
pub struct Prove {
    /// File with the policies, - for standard input; with --attach, the number of a proposed epoch
    file: PathBuf,
    /// Hand what came of it to the authority, as your claim about that epoch: whoever activates it sees it
    #[arg(long)]
    attach: bool,
    #[command(flatten)]
    mutation: Mutation,
    #[command(flatten)]
    asked: Asked,
}

/// What is to be proven.
#[derive(Args, Debug)]
pub struct Asked {
    /// What it is compared with: the number of an epoch, or a file. The active epoch, if not said
    #[arg(long, value_name = "EPOCH|FILE")]
    against: Option<String>,
    /// File with permits that say what may be allowed anew
    #[arg(long, value_name = "FILE")]
    declare: Option<PathBuf>,
    /// File with permits that say what must never be allowed, each under an @id
    #[arg(long, value_name = "FILE")]
    never: Option<PathBuf>,
    /// How long the solver may take over one question
    #[arg(long, value_name = "SPAN", default_value = "60s", value_parser = humantime::parse_duration)]
    within: Duration,
}

pub async fn run(remote: &Remote, format: Format, prove: &Prove) -> Run {
    let Prove { file, attach, mutation, asked } = prove;
    if !attach {
        let found = found(remote, file, &read(file)?, asked).await?.map_err(|trouble| unproven(&trouble))?;
        answer(format, &found.told, shown)?;
        return Ok(found.exit());
    }
    let remedy = "name the epoch, as in `sop policy list`: sop policy prove 2 --attach";
    let epoch: u64 = file
        .to_str()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| Failure::new("prove.no_epoch", "what came of a file is attached to no epoch", remedy))?;
    let text = remote.read("policy.show", &json!({ "epoch": epoch })).await?;
    let text = text["text"].as_str().unwrap_or_default();
    let found = claimed(remote, file, text, epoch, asked, mutation.id()).await?;
    answer(format, &found.told, attached)?;
    Ok(found.exit())
}

/// Proves what is asked for of a proposed epoch, and claims what came of it: also that nothing did.
pub async fn claimed(
    remote: &Remote,
    file: &Path,
    text: &str,
    epoch: u64,
    asked: &Asked,
    id: CommandId,
) -> Result<Found, Failure> {
    let found = match found(remote, file, text, asked).await? {
        Ok(found) => found,
        Err(trouble) => {
            let (old, against) = other(remote, asked.against.as_deref()).await?;
            let why = format!("there is no proof: {trouble}");
            let goals = ["never_errors", "grants_nothing_new"].map(
                |property| json!({ "property": property, "verdict": "unknown", "why": why, "corners": 0, "asked": 0 }),
            );
            let digests = json!({ "text": compiled(file, text)?.digest(), "against": old.digest() });
            let told = json!({ "solver": null, "against": against, "digests": digests, "findings": goals });
            Found { told, worst: Exit::Failed }
        }
    };
    let Found { mut told, worst } = found;
    let goals = told["findings"].as_array().into_iter().flatten().map(|finding| {
        let (verdict, detail) = match finding["verdict"].as_str() {
            Some("holds") => ("proven", String::new()),
            Some("violated") => {
                let by = &finding["by"];
                ("counterexample", format!("by {}: {}", cell(&by["policies"]), by["request"].as_str().unwrap_or_default()))
            }
            _ => ("not_proven", cell(&finding["why"])),
        };
        json!({ "property": name(finding), "verdict": verdict, "detail": detail.chars().take(DETAIL_MAX).collect::<String>() })
    });
    let arguments = json!({
        "epoch": epoch,
        "text": told["digests"]["text"],
        "against": told["digests"]["against"],
        "solver": told["solver"].as_str().unwrap_or_default(),
        "goals": goals.collect::<Vec<_>>(),
    });
    told["claim"] = remote.change("policy.claim", &arguments, id).await?;
    Ok(Found { told, worst })
}

/// Longest that is said of one goal in a claim, in characters; the whole of it is told to whoever proves.
const DETAIL_MAX: usize = 400;

/// What came of it, as it is told, and how a command ends that does.
pub struct Found {
    pub told: Value,
    worst: Exit,
}

impl Found {
    pub fn exit(&self) -> Exit {
        self.worst
    }
}

async fn found(remote: &Remote, file: &Path, text: &str, asked: &Asked) -> Result<Result<Found, Trouble>, Failure> {
    let new = compiled(file, text)?;
    let (old, against) = other(remote, asked.against.as_deref()).await?;
    let optional = |file: &Option<PathBuf>| match file {
        Some(file) => read(file).and_then(|text| compiled(file, &text)),
        None => compiled(Path::new("-"), ""),
    };
    let (declared, never) = (optional(&asked.declare)?, optional(&asked.never)?);
    let solver = Cvc5::found(asked.within);
    // Asked first: without one, each question would be asked in vain.
    let version = match solver.version() {
        Ok(version) => version,
        Err(trouble) => return Ok(Err(trouble)),
    };
    let prover = Prover::new(solver);
    let mut findings = vec![prover.never_errors(&new), prover.grants_nothing_new(&old, &new, &declared)];
    findings.extend(prover.never(&new, &never));
    let told = json!({
        "solver": version,
        "against": against,
        "digests": { "text": new.digest().to_string(), "against": old.digest().to_string() },
        "findings": findings,
    });
    let any = |is: fn(&Verdict) -> bool| findings.iter().any(|Finding { verdict, .. }| is(verdict));
    let worst = if any(|verdict| matches!(verdict, Verdict::Violated { .. })) {
        Exit::Findings
    } else if any(|verdict| matches!(verdict, Verdict::Unknown { .. })) {
        Exit::Failed
    } else {
        Exit::Ok
    };
    Ok(Ok(Found { told, worst }))
}

/// The text that the new one is compared with, and what it is called.
async fn other(remote: &Remote, against: Option<&str>) -> Result<(Policies, String), Failure> {
    let epoch = match against {
        Some(text) => match text.parse::<u64>() {
            Ok(epoch) => Some(epoch),
            Err(_) => return Ok((compiled(Path::new(text), &read(Path::new(text))?)?, text.to_owned())),
        },
        None => None,
    };
    let arguments = epoch.map_or_else(|| json!({}), |epoch| json!({ "epoch": epoch }));
    let shown = remote.read("policy.show", &arguments).await?;
    let name = format!("epoch {}", cell(&shown["epoch"]));
    Ok((compiled(Path::new(&name), shown["text"].as_str().unwrap_or_default())?, name))
}

fn compiled(file: &Path, text: &str) -> Result<Policies, Failure> {
    Policies::compile(text).map_err(|problems| invalid(file, &json!(problems)))
}

fn unproven(trouble: &Trouble) -> Failure {
    let remedy =
        "install cvc5 (Debian: apt-get install cvc5), or name one in $CVC5; until then treat the change as not proven";
    Failure::new("prove.no_solver", format!("not proven: {trouble}"), remedy)
}

fn name(finding: &Value) -> String {
    match finding["id"].as_str() {
        Some(id) => format!("never {id}"),
        None => cell(&finding["property"]).replace('_', " "),
    }
}

/// What came of it, and that it is on record.
pub fn attached(found: &Value) -> String {
    let (epoch, verdict) = (cell(&found["claim"]["epoch"]), verdict(&found["claim"]["claimed"]));
    format!(
        "{}\nAttached to policy epoch {epoch} as your claim: {verdict}. The authority has not checked it.",
        shown(found)
    )
}

/// A verdict of a claim, as people read it.
pub fn verdict(verdict: &Value) -> String {
    match verdict.as_str() {
        Some("proven") => "proven".to_owned(),
        Some("counterexample") => "COUNTEREXAMPLE".to_owned(),
        Some(_) => "NOT PROVEN".to_owned(),
        None => "-".to_owned(),
    }
}

/// What is claimed of an epoch.
pub fn claims(claims: &Value) -> String {
    let claims = claims.as_array().map(Vec::as_slice).unwrap_or_default();
    if claims.is_empty() {
        return "NOT PROVEN: nobody claims to have proven anything of it.".to_owned();
    }
    let one = |claim: &Value| {
        let goals = claim["goals"].as_array().map(Vec::as_slice).unwrap_or_default();
        let rows = goals.iter().map(|goal| {
            [
                cell(&goal["property"]),
                verdict(&goal["verdict"]),
                plain_lines(goal["detail"].as_str().unwrap_or_default()),
            ]
        });
        let against = match &claim["against_epoch"] {
            Value::Null => format!("a text that is no epoch ({})", cell(&claim["against"])),
            epoch => format!("epoch {}", cell(epoch)),
        };
        let solver = if claim["solver"].is_null() { "no solver".to_owned() } else { cell(&claim["solver"]) };
        let head = format!(
            "{}, as {} claims (the authority has not checked it), at {}, against {against}, by {solver}:",
            verdict(&claim["verdict"]),
            cell(&claim["claimed_by"]),
            cell(&claim["at"]),
        );
        format!("{head}\n{}", table(["PROPERTY", "VERDICT", "WHY"], rows))
    };
    claims.iter().map(one).collect::<Vec<_>>().join("\n\n")
}

fn shown(found: &Value) -> String {
    let findings = found["findings"].as_array().map(Vec::as_slice).unwrap_or_default();
    let rows = findings.iter().map(|finding| {
        let verdict = match finding["verdict"].as_str() {
            Some("holds") => "holds".to_owned(),
            Some("violated") => "VIOLATED".to_owned(),
            _ => format!("NOT PROVEN: {}", cell(&finding["why"])),
        };
        [name(finding), cell(&finding["corners"]), cell(&finding["asked"]), verdict]
    });
    let mut parts = vec![table(["PROPERTY", "CORNERS", "ASKED", "VERDICT"], rows)];
    for finding in findings.iter().filter(|finding| finding["verdict"] == "violated") {
        let by = &finding["by"];
        let policies = cell(&by["policies"]);
        let request = plain_lines(by["request"].as_str().unwrap_or_default());
        parts.push(format!("{} does not hold of this request, by {policies}:\n{request}", name(finding)));
    }
    let solver = if found["solver"].is_null() { "no solver".to_owned() } else { cell(&found["solver"]) };
    parts.push(format!("Against {}, by {solver}.", cell(&found["against"])));
    parts.join("\n\n")
}
