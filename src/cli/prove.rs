//! `sop policy prove`: what holds of a text for every request there can be. The solver is a program of the caller's machine,
//! started here: the daemon starts none. Whoever doubts what came of it asks his own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use policy::Policies;
use prover::solver::{Cvc5, Trouble};
use prover::{Finding, Prover, Verdict};
use serde_json::{Value, json};

use super::call::Remote;
use super::exit::{Exit, Failure, Run};
use super::output::{Format, answer, cell, plain_lines, table};
use super::policy::{invalid, read};

#[derive(Args, Debug)]
pub struct Prove {
    /// File with the policies; - reads standard input
    file: PathBuf,
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
    let new = compiled(&prove.file, &read(&prove.file)?)?;
    let (old, against) = other(remote, prove.against.as_deref()).await?;
    let optional = |file: &Option<PathBuf>| match file {
        Some(file) => read(file).and_then(|text| compiled(file, &text)),
        None => compiled(Path::new("-"), ""),
    };
    let (declared, never) = (optional(&prove.declare)?, optional(&prove.never)?);
    let solver = Cvc5::found(prove.within);
    // Asked first: without one, each question would be asked in vain.
    let version = solver.version().map_err(|trouble| unproven(&trouble))?;
    let prover = Prover::new(solver);
    let mut findings = vec![prover.never_errors(&new), prover.grants_nothing_new(&old, &new, &declared)];
    findings.extend(prover.never(&new, &never));
    let found = json!({
        "solver": version,
        "against": against,
        "digests": { "text": new.digest().to_string(), "against": old.digest().to_string() },
        "findings": findings,
    });
    answer(format, &found, shown)?;
    let any = |is: fn(&Verdict) -> bool| findings.iter().any(|Finding { verdict, .. }| is(verdict));
    Ok(if any(|verdict| matches!(verdict, Verdict::Violated { .. })) {
        Exit::Findings
    } else if any(|verdict| matches!(verdict, Verdict::Unknown { .. })) {
        Exit::Failed
    } else {
        Exit::Ok
    })
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

fn shown(found: &Value) -> String {
    let findings = found["findings"].as_array().map(Vec::as_slice).unwrap_or_default();
    let name = |finding: &Value| match finding["id"].as_str() {
        Some(id) => format!("never {id}"),
        None => cell(&finding["property"]).replace('_', " "),
    };
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
    parts.push(format!("Against {}, by {}.", cell(&found["against"]), cell(&found["solver"])));
    parts.join("\n\n")
}
