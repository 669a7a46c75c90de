//! The policies of a fresh store: the files of a directory, all of them or none. Read once; later only proposals change what
//! decides.

use std::path::{Path, PathBuf};

use config::Config;
use policy::{Policies, Problem};
use serde_json::json;

use super::exit::Failure;
use super::policy as noun;

/// In the data directory, where no other is named.
const USUAL: &str = "policies";
const SUFFIX: &str = "cedar";

/// A policy to start with, and the name it is known by.
pub struct Policy {
    pub name: String,
    pub text: String,
}

/// The policies that the files `*.cedar` of the directory make, in the order of their names; none where the usual directory is
/// not there.
///
/// # Errors
/// What is wrong with any of them, with file and line; or that the directory that is named cannot be read.
pub fn policies(config: &Config) -> Result<Option<Policy>, Failure> {
    let usual = config.store.data.join(USUAL);
    let directory = config.door.policies.as_ref().unwrap_or(&usual);
    if config.door.policies.is_none() && !directory.exists() {
        return Ok(None);
    }
    let files = listed(directory)?;
    let (mut text, mut starts, mut wrong) = (String::new(), Vec::new(), Vec::new());
    for file in &files {
        let own = noun::read(file)?;
        if let Err(problems) = Policies::compile(&own) {
            wrong.extend(problems.into_iter().map(|problem| (file.clone(), problem)));
        }
        starts.push(1 + lines(&text));
        text += &own;
        text += if own.ends_with('\n') { "" } else { "\n" };
    }
    // What is wrong with all of them together only: two of one id.
    if wrong.is_empty()
        && let Err(problems) = Policies::compile(&text)
    {
        wrong.extend(problems.into_iter().map(|problem| placed(problem, &files, &starts)));
    }
    if wrong.is_empty() {
        return Ok(Some(Policy { name: directory.display().to_string(), text }));
    }
    let detail = format!("{} holds no valid policies", directory.display());
    let remedy = "mend the files; nothing of them is in force until all of them are right";
    let failure = Failure::new("policy.invalid", detail, remedy);
    let notes = wrong.iter().flat_map(|(file, problem)| noun::lines(file, &json!([problem])));
    Err(notes.fold(failure, Failure::note))
}

fn listed(directory: &Path) -> Result<Vec<PathBuf>, Failure> {
    let failed = |why: String| {
        let detail = format!("the policies of a fresh store cannot be read from {}: {why}", directory.display());
        Failure::new("policy.directory", detail, "name a directory with files *.cedar in door.policies, or none")
    };
    let entries = std::fs::read_dir(directory).map_err(|error| failed(error.to_string()))?;
    let paths: Result<Vec<_>, _> = entries.map(|entry| entry.map(|entry| entry.path())).collect();
    let mut files = paths.map_err(|error| failed(error.to_string()))?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == SUFFIX));
    files.sort();
    if files.is_empty() { Err(failed(format!("there is no *.{SUFFIX} in it"))) } else { Ok(files) }
}

fn lines(text: &str) -> u32 {
    u32::try_from(text.lines().count()).unwrap_or(u32::MAX)
}

/// A problem of the whole, in the file where it is.
fn placed(problem: Problem, files: &[PathBuf], starts: &[u32]) -> (PathBuf, Problem) {
    let Some(line) = problem.line else { return (files[0].clone(), problem) };
    let place = starts.iter().rposition(|start| *start <= line).unwrap_or_default();
    (files[place].clone(), Problem { line: Some(line - starts[place] + 1), ..problem })
}
