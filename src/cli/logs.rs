//! `sop logs`: reads the daemon's log file. Needs no daemon.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, ErrorKind, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::Value;
use sop::boot::Places;

use super::call::Globals;
use super::exit::{Exit, Failure, Run};
use super::output::{Format, cell, plain, write};

/// How often a followed file is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// From the least serious on.
const LEVELS: [&str; 5] = ["trace", "debug", "info", "warn", "error"];

#[derive(Args, Debug)]
pub struct Logs {
    /// Go on with what is written from now on, until Ctrl-C
    #[arg(short, long)]
    follow: bool,
    /// The last so many lines that fit
    #[arg(short = 'n', long, value_name = "N", default_value_t = 50)]
    lines: usize,
    /// This level, and what is more serious
    #[arg(long, value_parser = LEVELS)]
    level: Option<String>,
    /// One part of the program only, such as journal
    #[arg(long, value_name = "NAME")]
    component: Option<String>,
    /// The audit records instead, as the daemon lets you read them
    #[arg(long, conflicts_with_all = ["follow", "level", "component"])]
    audit: bool,
    /// Of those, what bears on security
    #[arg(long, requires = "audit")]
    security: bool,
    /// Of those, what was recorded in this span, such as 1h
    #[arg(long, value_name = "SPAN", requires = "audit", value_parser = humantime::parse_duration)]
    last: Option<Duration>,
}

/// Which lines are wanted, and how they are shown.
struct View {
    level: Option<usize>,
    component: Option<String>,
    format: Format,
}

pub async fn run(globals: &Globals, Logs { follow, lines, level, component, audit, security, last }: Logs) -> Run {
    if audit {
        let asked = super::audit::of_logs(u64::try_from(lines).unwrap_or(u64::MAX), last, security);
        return super::audit::run(globals, asked).await;
    }
    let file = Places::of(&globals.load()?.store.data).log;
    let level = level.and_then(|wanted| LEVELS.iter().position(|level| *level == wanted));
    let view = View { level, component, format: globals.output };
    let unreadable = |error: io::Error| {
        let (detail, remedy) = match error.kind() {
            ErrorKind::NotFound => (
                format!("there is no log at {}", file.display()),
                "name the daemon's data directory with --data or $SOP_DATA",
            ),
            _ => (format!("the log {} cannot be read: {error}", file.display()), "read it as the daemon's user"),
        };
        Failure::new("cli.log", detail, remedy)
    };
    let mut tail = Tail::open(&file).map_err(unreadable)?;
    let mut last = VecDeque::new();
    while let Some(line) = tail.line().map_err(unreadable)? {
        if let Some(shown) = view.shown(&line) {
            last.push_back(shown);
            if lines < last.len() {
                last.pop_front();
            }
        }
    }
    let read: String = last.into_iter().collect();
    let shown = write(&read);
    if gone(&shown) || !follow {
        return ended(shown);
    }
    shown.map_err(unwritable)?;
    let follow = async {
        loop {
            let mut fresh = String::new();
            while let Some(line) = tail.line().map_err(unreadable)? {
                fresh.extend(view.shown(&line));
            }
            let shown = write(&fresh);
            if gone(&shown) || nobody_reads() {
                return Ok(Exit::Ok);
            }
            shown.map_err(unwritable)?;
            if !tail.replaced().map_err(unreadable)? {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
    };
    tokio::select! {
        ended = follow => ended,
        _ = tokio::signal::ctrl_c() => Ok(Exit::Ok),
    }
}

pub fn gone(written: &io::Result<()>) -> bool {
    written.as_ref().is_err_and(|error| error.kind() == ErrorKind::BrokenPipe)
}

fn ended(written: io::Result<()>) -> Run {
    match written {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(unwritable(error)),
        Ok(()) | Err(_) => Ok(Exit::Ok),
    }
}

pub fn unwritable(error: io::Error) -> Failure {
    Failure::new("cli.output", format!("the output could not be written: {error}"), "see where standard output leads")
}

/// Whether standard output is a pipe whose reader has gone: a quiet log must not keep us waiting for nobody.
fn nobody_reads() -> bool {
    let out = io::stdout();
    let mut polled = [PollFd::new(&out, PollFlags::empty())];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut polled, Some(&at_once)).is_ok_and(|ready| 0 < ready && polled[0].revents().contains(PollFlags::ERR))
}

/// Resolves when [`nobody_reads`]; for who waits for something else.
pub async fn unread() {
    while !nobody_reads() {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

impl View {
    /// A line as it is shown, with its newline; `None` if it is not wanted.
    fn shown(&self, line: &str) -> Option<String> {
        let event: Option<Value> = serde_json::from_str(line).ok();
        if self.level.is_some() || self.component.is_some() {
            let event = event.as_ref()?;
            let level = event["level"].as_str().unwrap_or_default().to_ascii_lowercase();
            let level = LEVELS.iter().position(|known| *known == level);
            if level < self.level {
                return None;
            }
            let target = event["target"].as_str().unwrap_or_default();
            let of = |wanted: &String| {
                target.strip_prefix(wanted.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
            };
            if !self.component.as_ref().is_none_or(of) {
                return None;
            }
        }
        Some(match (self.format, event) {
            (Format::Json, _) => format!("{line}\n"),
            (Format::Table, None) => format!("{}\n", plain(line)),
            (Format::Table, Some(event)) => format!("{}\n", told(&event)),
        })
    }
}

/// Time, level, component, message, and what else is known. Lines come one by one, so the widths are fixed.
fn told(event: &Value) -> String {
    let time: String = cell(&event["timestamp"]).chars().take("2026-01-01T00:00:00.000".len()).collect();
    let component = cell(&event["target"]);
    let component = component.split("::").next().unwrap_or_default();
    let mut parts = vec![format!("{time}Z"), format!("{:<5}", cell(&event["level"])), format!("{component:<12}")];
    let fields = event["fields"].as_object();
    parts.extend(fields.and_then(|fields| fields.get("message")).map(cell));
    let more = fields.into_iter().flatten().filter(|(name, _)| *name != "message");
    parts.extend(more.map(|(name, value)| format!("{}={}", plain(name), cell(value))));
    parts.join("  ")
}

/// Reads a file line by line, while others write, shorten or replace it.
struct Tail {
    path: PathBuf,
    reader: BufReader<File>,
    /// A line whose end has not been written yet.
    begun: Vec<u8>,
}

impl Tail {
    fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), reader: BufReader::new(File::open(path)?), begun: Vec::new() })
    }

    /// The next whole line; `None` at the end.
    fn line(&mut self) -> io::Result<Option<String>> {
        self.reader.read_until(b'\n', &mut self.begun)?;
        if self.begun.last() != Some(&b'\n') {
            return Ok(None);
        }
        self.begun.pop();
        let line = String::from_utf8_lossy(&self.begun).into_owned();
        self.begun.clear();
        Ok(Some(line))
    }

    /// Whether there is another file, or a shorter one, to begin anew; called at the end of this one.
    fn replaced(&mut self) -> io::Result<bool> {
        let Ok(there) = std::fs::metadata(&self.path) else { return Ok(false) };
        let here = self.reader.get_ref().metadata()?;
        if (there.dev(), there.ino()) != (here.dev(), here.ino()) {
            // What was written between the last look and the exchange is still in the old one.
            let mut rest = Vec::new();
            self.reader.read_to_end(&mut rest)?;
            if !rest.is_empty() {
                self.reader.seek(SeekFrom::End(-i64::try_from(rest.len()).unwrap_or_default()))?;
                return Ok(true);
            }
            let fresh = Self::open(&self.path)?;
            *self = fresh;
            return Ok(true);
        }
        if here.len() < self.reader.stream_position()? {
            self.reader.seek(SeekFrom::Start(0))?;
            self.begun.clear();
            return Ok(true);
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;

    use super::*;

    const LINE: &str = r#"{"timestamp":"2026-01-02T03:04:05.678901Z","level":"WARN","fields":{"message":"slow","code":"journal.slow","ms":7},"target":"journal::committer"}"#;

    fn view(level: Option<&str>, component: Option<&str>, format: Format) -> View {
        let level = level.and_then(|wanted| LEVELS.iter().position(|level| *level == wanted));
        View { level, component: component.map(str::to_owned), format }
    }

    #[test]
    fn a_line_is_told_in_columns() {
        let told = "2026-01-02T03:04:05.678Z  WARN   journal       slow  code=journal.slow  ms=7\n";
        assert_eq!(view(None, None, Format::Table).shown(LINE).unwrap(), told);
        assert_eq!(view(None, None, Format::Json).shown(LINE).unwrap(), format!("{LINE}\n"));
        assert_eq!(view(None, None, Format::Table).shown("no \u{1b}json").unwrap(), "no \u{fffd}json\n");
    }

    #[test]
    fn levels_and_components_choose() {
        for (level, component, wanted) in [
            (Some("warn"), None, true),
            (Some("error"), None, false),
            (Some("trace"), None, true),
            (None, Some("journal"), true),
            (None, Some("journal::committer"), true),
            (None, Some("jour"), false),
            (Some("warn"), Some("host"), false),
        ] {
            assert_eq!(view(level, component, Format::Table).shown(LINE).is_some(), wanted, "{level:?} {component:?}");
        }
    }

    #[test]
    fn a_file_is_followed_through_halves_truncation_and_rotation() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut file = fs::OpenOptions::new().append(true).create(true).open(&path).unwrap();
        file.write_all(b"one\ntw").unwrap();
        let mut tail = Tail::open(&path).unwrap();
        assert_eq!(tail.line().unwrap().as_deref(), Some("one"));
        assert_eq!(tail.line().unwrap(), None);
        assert!(!tail.replaced().unwrap());
        file.write_all(b"o\n").unwrap();
        assert_eq!(tail.line().unwrap().as_deref(), Some("two"));

        file.set_len(0).unwrap();
        assert_eq!(tail.line().unwrap(), None);
        assert!(tail.replaced().unwrap());
        file.write_all(b"3\n").unwrap();
        assert_eq!(tail.line().unwrap().as_deref(), Some("3"));

        fs::rename(&path, directory.path().join("log.1")).unwrap();
        assert!(!tail.replaced().unwrap(), "until there is a new file, the old one is followed");
        file.write_all(b"late\n").unwrap();
        fs::write(&path, b"new\n").unwrap();
        assert!(tail.replaced().unwrap());
        assert_eq!(tail.line().unwrap().as_deref(), Some("late"));
        assert_eq!(tail.line().unwrap(), None);
        assert!(tail.replaced().unwrap());
        assert_eq!(tail.line().unwrap().as_deref(), Some("new"));
    }
}
