//! Where the daemon's log goes: JSON lines in one file, and what is serious on standard error.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::panic::PanicHookInfo;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use tracing_subscriber::filter::{LevelFilter, dynamic_filter_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry, fmt};

use super::exit::Failure;
use super::output::{complain, problem_line};

/// Whether standard error gets its lines. Why a start failed is said once, by the command itself.
static SPEAKS: AtomicBool = AtomicBool::new(false);

/// From now on, what is serious goes to standard error too.
pub fn speak() {
    SPEAKS.store(true, Ordering::Relaxed);
}

/// And from now on no more.
pub fn hush() {
    SPEAKS.store(false, Ordering::Relaxed);
}

/// Sends all events of this process to `file`, as far as `level` lets them, and once it [speaks](speak), those from
/// `serious` on to standard error. Panics become events.
pub fn start(file: &Path, level: &str, serious: LevelFilter) -> Result<(), Failure> {
    let log = OpenOptions::new().append(true).create(true).mode(0o600).open(file).map_err(|error| {
        let detail = format!("the log {} cannot be written: {error}", file.display());
        Failure::new("cli.log", detail, "make the file writable, or choose another directory with --data")
    })?;
    let filter = EnvFilter::builder().parse(level).map_err(|error| {
        let detail = format!("log.level {level:?} cannot be used: {error}");
        Failure::new("config.invalid_value", detail, "write a level, and exceptions such as \"info,journal=debug\"")
    })?;
    // A line that cannot be written is lost: to say so on standard error would panic where that is gone.
    let lines = fmt::layer().json().with_current_span(false).with_span_list(false);
    let lines = lines.with_writer(log).log_internal_errors(false).with_filter(filter);
    let speaks = dynamic_filter_fn(move |event, _| SPEAKS.load(Ordering::Relaxed) && *event.level() <= serious);
    let human = fmt::layer().compact().without_time().with_ansi(false);
    let human = human.with_writer(std::io::stderr).log_internal_errors(false).with_filter(speaks);
    let already = |error: tracing::subscriber::SetGlobalDefaultError| {
        Failure::new("cli.log", format!("the log cannot be started: {error}"), "")
    };
    tracing::subscriber::set_global_default(Registry::default().with(lines).with(human)).map_err(already)?;
    std::panic::set_hook(Box::new(panicked));
    Ok(())
}

fn panicked(panic: &PanicHookInfo<'_>) {
    let message = panic.payload_as_str().unwrap_or("a panic without words");
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("unnamed");
    if !SPEAKS.load(Ordering::Relaxed) {
        complain(&format!("{}\n", problem_line("panic", "cli.panic", &format!("{message} at {place}"))));
    }
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        tracing::error!(target: "panic", place, thread, %backtrace, "{message}");
    } else {
        tracing::error!(target: "panic", place, thread, "{message}");
    }
}
