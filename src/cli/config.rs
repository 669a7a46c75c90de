//! `sop config`: what is in force, whether it is valid, and a file to start from. Needs no daemon.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use config::{Config, Files, Problem, Sources, template};
use serde_json::{Value, json};

use super::call::{Globals, invalid};
use super::exit::{Exit, Failure, Run};
use super::output::{Format, answer, plain, plain_lines, print};

#[derive(Subcommand, Clone, Debug)]
pub enum Command {
    /// Write a file with every option explained and commented out, to be edited
    Init(Init),
    /// Print what is in force, and where each value comes from
    Show,
    /// Check the configuration (exit code 2: it has problems)
    Validate,
}

#[derive(Args, Clone, Debug)]
pub struct Init {
    /// Where to write; `-` is standard output. Else --config or $SOP_CONFIG, else sop.toml in the data directory
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Replace a file that is there
    #[arg(long)]
    force: bool,
}

/// Whether it leaves a file behind.
pub fn writes(command: &Command) -> bool {
    matches!(command, Command::Init(_))
}

pub fn run(globals: &Globals, command: Command) -> Run {
    if let Command::Init(init) = command {
        return self::init(globals, init);
    }
    let loaded = Config::load(&globals.sources());
    match (command, loaded) {
        (Command::Init(_), _) => unreachable!("it needs nothing loaded"),
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

fn init(globals: &Globals, Init { file, force }: Init) -> Run {
    let Files { named, beside_the_data } = Config::files(&globals.sources());
    let file = file.or(named).unwrap_or_else(|| beside_the_data.clone());
    if file.as_os_str() == "-" {
        let text = template(false);
        match globals.output {
            Format::Table => print(&text)?,
            Format::Json => answer(Format::Json, &json!({ "text": text }), |_| String::new())?,
        }
        return Ok(Exit::Ok);
    }
    let beside = place(&file) == place(&beside_the_data);
    if beside && let Some(data) = file.parent() {
        // As the daemon would make it, so that it finds nothing to mend.
        let made = DirBuilder::new().recursive(true).mode(0o700).create(data);
        made.map_err(|error| unwritten(&file, &error))?;
    }
    write(&file, &template(beside), force)?;
    answer(globals.output, &json!({ "written": file }), |_| {
        let shown = plain(&file.display().to_string());
        let named = if beside { String::new() } else { format!(" --config {shown}") };
        format!("{shown} is written, and changes nothing until it is edited.\nWhat is in force: sop config show{named}")
    })?;
    Ok(Exit::Ok)
}

/// One path for one file, whichever way leads there.
fn place(file: &Path) -> PathBuf {
    let absolute = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    match (absolute.parent().map(fs::canonicalize), absolute.file_name()) {
        (Some(Ok(directory)), Some(name)) => directory.join(name),
        _ => absolute,
    }
}

/// Puts `text` there whole or not at all, and not before it has been read back as a valid configuration.
fn write(file: &Path, text: &str, force: bool) -> Result<(), Failure> {
    if !force && fs::symlink_metadata(file).is_ok() {
        return Err(exists(file));
    }
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let draft = file.with_file_name(name);
    let written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft).and_then(|mut draft| {
        draft.write_all(text.as_bytes())?;
        draft.sync_all()
    });
    let done = written.map_err(|error| unwritten(file, &error)).and_then(|()| {
        let drafted = Sources { config: Some(draft.clone()), ..Sources::default() };
        Config::load(&drafted).map_err(|problems| invalid(&problems))?;
        if force {
            return fs::rename(&draft, file).map_err(|error| unwritten(file, &error));
        }
        // Unlike a rename, a link never takes the place of a file that somebody has made meanwhile.
        fs::hard_link(&draft, file).map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => exists(file),
            _ => unwritten(file, &error),
        })
    });
    // Gone already if it was renamed.
    let _ = fs::remove_file(&draft);
    done
}

fn exists(file: &Path) -> Failure {
    let detail = format!("{} is there already", file.display());
    Failure::new("cli.config_exists", detail, "edit it, name another file with --file, or replace it with --force")
}

fn unwritten(file: &Path, error: &io::Error) -> Failure {
    let detail = format!("{} cannot be written: {error}", file.display());
    Failure::new("cli.config_unwritten", detail, "name a file that you may make with --file, or `-` to print it")
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
