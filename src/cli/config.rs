//! `sop config`: what is in force, and whether it is valid. Needs no daemon.

use clap::Subcommand;
use config::{Config, Problem};
use serde_json::{Value, json};

use super::call::{Globals, invalid};
use super::exit::{Exit, Run};
use super::output::{Format, answer, plain, plain_lines, print};

#[derive(Subcommand, Clone, Copy, Debug)]
pub enum Command {
    /// Print what is in force, and where each value comes from
    Show,
    /// Check the configuration (exit code 2: it has problems)
    Validate,
}

pub fn run(globals: &Globals, command: Command) -> Run {
    let loaded = Config::load(&globals.sources());
    match (command, loaded) {
        (Command::Show, Ok(config)) => match globals.output {
            Format::Table => print(&format!("{}\n", plain_lines(&config.print())))?,
            Format::Json => answer(Format::Json, &options(&config), |_| String::new())?,
        },
        (Command::Show, Err(problems)) => return Err(invalid(&problems)),
        (Command::Validate, Ok(_)) => {
            answer(globals.output, &json!({ "valid": true, "problems": [] }), |_| {
                "The configuration is valid.".to_owned()
            })?;
        }
        (Command::Validate, Err(problems)) => {
            let found = json!({ "valid": false, "problems": problems.iter().map(shown).collect::<Vec<_>>() });
            let lines = || problems.iter().map(|problem| plain(&problem.to_string())).collect::<Vec<_>>().join("\n");
            answer(globals.output, &found, |_| lines())?;
            return Ok(Exit::Findings);
        }
    }
    Ok(Exit::Ok)
}

fn options(config: &Config) -> Value {
    let option = |(key, value, origin): (&str, &str, &config::Origin)| json!({ "key": key, "value": value, "origin": origin.to_string() });
    json!({ "options": config.options().map(option).collect::<Vec<_>>() })
}

fn shown(problem: &Problem) -> Value {
    json!({
        "code": problem.code,
        "key": problem.key,
        "file": problem.file,
        "line": problem.place.map(|(line, _)| line),
        "column": problem.place.map(|(_, column)| column),
        "message": problem.message,
        "remedy": problem.remedy,
    })
}
