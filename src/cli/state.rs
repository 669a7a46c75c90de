//! `sop state`: what lies on the disk, looked at and repaired while no daemon runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use clap::Subcommand;
use evidence::repair::Mended;
use evidence::verify::Checked;
use evidence::{LogError, Minimum};
use host::Clock;
use journal::repair::{self, Examined, Finding, Others, RepairError, Repaired};
use journal::store::StoreError;
use journal::{Journal, Limits};
use serde_json::{Value, json};
use sop::boot::Places;
use vault::Upto;

use super::call::Globals;
use super::exit::{Exit, Failure, Run};
use super::output::{answer, cell, count, fields, plain};
use super::restore::{self, Source, Where};

#[derive(Subcommand, Clone, Debug)]
pub enum State {
    /// Read the files of journal and tile log again, and check all of them against each other (exit code 2: they are damaged)
    Verify,
    /// Make a damaged journal whole from what its copies have, and its tile log, and put the damaged ones aside
    Repair {
        /// A backup of the same journal, for what both copies have lost
        #[arg(long, value_name = "DIR")]
        from_backup: Option<PathBuf>,
        /// Put the tile log aside with its key: the next start begins another one, under another key
        #[arg(long, conflicts_with = "dry_run")]
        new_log: bool,
    },
}

pub fn run(globals: &Globals, command: State) -> Run {
    let data = globals.load_anyhow()?.store.data;
    let places = Places::of(&data);
    match command {
        State::Verify => verify(globals, &places),
        State::Repair { from_backup, new_log } => {
            Globals { dry_run: false, ..globals.clone() }.asks_nobody()?;
            let log = match (globals.dry_run, new_log) {
                (true, _) => Log::Left,
                (false, false) => Log::Mended,
                (false, true) => Log::Another,
            };
            mend(globals, &places, from_backup.as_deref(), log)
        }
    }
}

fn verify(globals: &Globals, places: &Places) -> Run {
    let (journal, log) = (places.journal.as_path(), places.evidence());
    let examined = repair::examine(journal, Some(&log)).map_err(|error| refused(journal, &error))?;
    let Examined { findings, head, store, streams, orderly, torn } = &examined;
    let looked = Looked::at(&log);
    let findings = &[findings.as_slice(), looked.finding.as_slice()].concat();
    let first_bad = findings.iter().filter_map(|finding| finding.at).min();
    let state = if findings.is_empty() { "whole" } else { "damaged" };
    let found = json!({
        "journal": journal,
        "state": state,
        "first_bad": first_bad,
        "findings": shown(findings),
        "last": head.sequence,
        "head": head.link,
        "streams": streams,
        "store": store.map(|store| store.sequence),
        "orderly": orderly,
        "torn": torn,
        "log": looked.state,
        "signed": looked.signed,
        "minimum": looked.minimum.as_ref().map(|minimum| minimum.index),
    });
    answer(globals.output, &found, |found| {
        let mut lines = vec![
            ("journal", cell(&found["journal"])),
            ("state", state.to_owned()),
            ("records", format!("{} of {}", cell(&found["last"]), count(*streams as u64, "stream"))),
            ("head", cell(&found["head"])),
            ("last stop", if *orderly { "in order" } else { "not in order" }.to_owned()),
        ];
        if let Some(behind) = store.filter(|store| store.sequence < head.sequence && !orderly) {
            lines.push(("store", format!("up to {}; the next start brings it up to the tail", behind.sequence)));
        }
        if *torn {
            lines.push(("end", "a group that was never acknowledged; the next start cuts it off".to_owned()));
        }
        lines.push(("tile log", looked.sentence()));
        told(&mut lines, findings);
        if let Some(first) = first_bad {
            lines.push(("first bad", format!("record {first}")));
        }
        fields(lines)
    })?;
    Ok(if findings.is_empty() { Exit::Ok } else { Exit::Findings })
}

/// What a look at the tile log found.
struct Looked {
    state: &'static str,
    /// How many records are signed, if there is a log that can be believed.
    signed: Option<u64>,
    /// From where on it has its entries.
    minimum: Option<Minimum>,
    finding: Vec<Finding>,
}

impl Looked {
    fn at(log: &evidence::Places) -> Self {
        match evidence::repair::look(log) {
            Ok(None) => Self { state: "none", signed: None, minimum: None, finding: Vec::new() },
            Ok(Some(Checked { checkpoint, minimum, .. })) => {
                Self { state: "whole", signed: Some(checkpoint.size), minimum, finding: Vec::new() }
            }
            Err(error) => {
                let at = if let LogError::Damaged { at, .. } = error { at } else { None };
                let finding = Finding { part: "evidence", at, what: error.to_string() };
                Self { state: "damaged", signed: None, minimum: None, finding: vec![finding] }
            }
        }
    }

    fn sentence(&self) -> String {
        match (self.state, self.signed) {
            ("none", _) => NO_LOG.to_owned(),
            (_, Some(signed)) => {
                let left = self.minimum.as_ref().map_or_else(String::new, |Minimum { index, place, .. }| {
                    let hashes = "of which it has the hashes alone";
                    format!("; the first {index} have left it, {hashes}, and {} has them", plain(place))
                });
                format!("whole; {} signed{left}", count(signed, "record"))
            }
            _ => "damaged".to_owned(),
        }
    }
}

const NO_LOG: &str = "there is none yet; the next start begins it";

/// What is done about the tile log.
#[derive(Clone, Copy, PartialEq)]
enum Log {
    /// Nothing is done at all.
    Left,
    Mended,
    Another,
}

/// Sees to the tile log of a journal that is whole.
fn mend_log(places: &Places, log: Log, now: &str) -> Result<Mended, LogError> {
    if log == Log::Another {
        return evidence::repair::put_aside(&places.evidence(), now);
    }
    let journal = Journal::new(&places.journal, Limits::default()).with_past(Arc::new(places.evidence()));
    journal.open()?;
    let mended = evidence::repair::repair(&journal, &places.evidence(), now);
    journal.close();
    mended
}

fn told_of_log(mended: &Mended) -> (&'static str, String) {
    let shown =
        |path: &Option<PathBuf>| path.as_ref().map_or("none".to_owned(), |path| plain(&path.display().to_string()));
    let (state, sentence) = match mended {
        Mended::None => ("none", NO_LOG.to_owned()),
        Mended::Whole { size } => ("whole", format!("whole; {} signed", count(*size, "record"))),
        Mended::Again { size, found, aside } => {
            let aside = plain(&aside.display().to_string());
            (
                "again",
                format!("made again of {}, as it was signed; put aside as {aside}: {found}", count(*size, "record")),
            )
        }
        Mended::Aside { log, key } => {
            let (log, key) = (shown(log), shown(key));
            (
                "aside",
                format!("put aside as {log}, its key as {key}; the next start begins another log under another key"),
            )
        }
    };
    (state, sentence)
}

fn mend(globals: &Globals, places: &Places, backup: Option<&Path>, log: Log) -> Run {
    let (journal, dry_run) = (places.journal.as_path(), log == Log::Left);
    // A name that sorts, and that every file system takes.
    let now = UNIX_EPOCH + Duration::from_millis(Clock::system().now().0);
    let now = humantime::format_rfc3339_seconds(now).to_string().replace([':', '-'], "");
    let kept = places.evidence();
    // A log that is to be put aside is not believed: it may be that of another journal.
    let copied = backup.map(|place| copy_of(globals, places, place)).transpose()?;
    let backup = copied.as_ref().map(|copied| copied.path.as_path());
    let others = Others { past: (log != Log::Another).then_some(&kept), backup };
    let repaired = repair::repair(journal, others, &now, dry_run);
    let repaired = repaired.map_err(|error| left(&kept, &error).unwrap_or_else(|| refused(journal, &error)))?;
    drop(copied);
    let Repaired { findings, head, from_tail, from_store, from_log, from_backup, aside } = &repaired;
    let state = match (findings.is_empty(), aside) {
        (true, _) => "whole",
        (false, None) => "damaged",
        (false, Some(_)) => "repaired",
    };
    let log = match log {
        Log::Left => {
            let looked = Looked::at(&kept);
            (looked.state, looked.sentence())
        }
        log => told_of_log(&mend_log(places, log, &now).map_err(|error| log_refused(&error))?),
    };
    let found = json!({
        "journal": journal,
        "state": state,
        "findings": shown(findings),
        "last": head.sequence,
        "head": head.link,
        "log": log.0,
        "from_tail": from_tail,
        "from_store": from_store,
        "from_log": from_log,
        "from_backup": from_backup,
        "aside": aside,
    });
    answer(globals.output, &found, |found| {
        let mut lines = vec![("journal", cell(&found["journal"])), ("state", state.to_owned())];
        told(&mut lines, findings);
        let sources = format!(
            "{from_tail} from the tail, {from_store} from the store, {from_log} from the tile log, {from_backup} from the backup"
        );
        lines.push(("records", count(head.sequence.0, "record")));
        match (state, aside) {
            ("damaged", _) => lines.push(("would be", sources)),
            (_, Some(aside)) => {
                lines.push(("copied", sources));
                lines.push(("put aside", plain(&aside.display().to_string())));
            }
            _ => {}
        }
        lines.push(("head", cell(&found["head"])));
        lines.push(("tile log", log.1));
        fields(lines)
    })?;
    Ok(Exit::Ok)
}

/// A backup, in a form that a repair reads.
struct Copied {
    path: PathBuf,
    /// Removed afterwards.
    scratch: Option<PathBuf>,
}

impl Drop for Copied {
    fn drop(&mut self) {
        if let Some(scratch) = &self.scratch {
            // What is left of it is removed by the next one.
            let _ = std::fs::remove_dir_all(scratch);
        }
    }
}

fn copy_of(globals: &Globals, places: &Places, place: &Path) -> Result<Copied, Failure> {
    let found = match Source::find(&Where::of(globals, place)?, None).map_err(|error| restore::failed(&error))? {
        Source::Old(path) => return Ok(Copied { path, scratch: None }),
        Source::Vault(found) => found,
    };
    restore::judged(&found, None).map_err(|error| restore::failed(&error))?;
    let scratch = places.data.join("restoring");
    let copied = Copied { path: scratch.join("journal"), scratch: Some(scratch.clone()) };
    let made = std::fs::remove_dir_all(&scratch).or_else(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    });
    made.and_then(|()| std::fs::create_dir(&scratch)).map_err(restore::unusable(&scratch))?;
    let restored = vault::restore(&*found.target, &found.name, Upto::Signed, &copied.path, &mut || Ok(()));
    restored.map(|_| copied).map_err(|error| restore::failed(&error))
}

fn log_refused(error: &LogError) -> Failure {
    let remedy = match error {
        LogError::Io { .. } | LogError::Locked | LogError::Journal(_) => "see the reason, then repair again",
        LogError::Key { .. } => "make it a file of mode 0600 with the key that was made, or put that back",
        _ => {
            "put back what is missing, or a journal that has all that was signed; if neither is left, --new-log begins \
             another log under another key, which whoever holds the old one must be told"
        }
    };
    Failure::new(error.code(), error.to_string(), remedy).note("the journal itself is whole")
}

fn shown(findings: &[Finding]) -> Vec<Value> {
    findings.iter().map(|Finding { part, at, what }| json!({ "part": part, "at": at, "what": what })).collect()
}

fn told(lines: &mut Vec<(&'static str, String)>, findings: &[Finding]) {
    for Finding { part, at, what } in findings {
        let from = at.map_or_else(String::new, |at| format!("from record {at} on: "));
        lines.push(("damaged", plain(&format!("{part}: {from}{what}"))));
    }
}

/// Of records that are lost here, and have left the tile log: who has them.
fn left(log: &evidence::Places, error: &RepairError) -> Option<Failure> {
    let RepairError::Lost { from, .. } = error else { return None };
    let Minimum { index, place, .. } = log.pruned().ok()?.filter(|minimum| from.0 <= minimum.index)?;
    let what = format!("{error}; the first {index} have left the tile log, and {} has them", plain(&place));
    Some(Failure::new("evidence.pruned", what, "name that backup with --from-backup; nothing was changed"))
}

fn refused(journal: &Path, error: &RepairError) -> Failure {
    let remedy = match error {
        RepairError::Absent { .. } => {
            "name the data directory with --data; `sop backup restore` makes a journal where there is none"
        }
        RepairError::Lost { .. } => "name a backup that has them with --from-backup; nothing was changed",
        RepairError::Forked { .. } => "name a backup of this journal; nothing was changed",
        RepairError::Occupied { .. } => "a repair left it there: move it away, then repair again",
        RepairError::Backup(_) => "use another backup, or another copy of this one; nothing was changed",
        RepairError::Store(StoreError::Locked) => "stop the daemon first: what is written to is not looked at",
        RepairError::Store(StoreError::Format { .. }) => {
            "make a backup with the release that wrote it, and restore it with this one"
        }
        RepairError::Store(_) => "see the reason; nothing was changed",
    };
    Failure::new(error.code(), format!("{}: {error}", journal.display()), remedy)
}
