//! `sop dev`, `sop up` and `sop bootstrap`: the commands that are the daemon themselves.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use config::{Certificate, Config, Origin, Pages};
use governance::Governance;
use host::Clock;
use http::{Api as _, Arguments, Call, HttpActor, Limits, Problem, Shown, Source, Tcp, Tls};
use kernel::{Denial, Layer, Millis};
use policy::Policies;
use serde_json::{Value, json};
use sop::boot::{BootError, Parts, Places, Stopped};
use sop::certifier::{self, Wanted};
use sop::desk::{Chaos, Desk};
use sop::service::Manager;
use sop::{System, issuers, samples};
use supervisors::{Child, ChildRef, Outcome, Report, StartError};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::filter::LevelFilter;

use super::call::Globals;
use super::exit::{Exit, Failure, Run};
use super::founding::{self, Policy};
use super::output::{complain, count, fields, plain, print, problem_line};
use super::{logging, policy as noun};

const STARTER: &str = include_str!("../../config/policies/starter.cedar");

/// Tasks that do not end by themselves, such as reading for an audit, are left behind after this.
const LEFT_BEHIND_AFTER: Duration = Duration::from_secs(1);

/// A second Ctrl-C means it if it comes this much after the first.
const INSISTED_AFTER: Duration = Duration::from_millis(500);

/// For the answers to requests in flight, where the supervisor gives more.
const STOP_TIMEOUT_MAX: Duration = Duration::from_secs(5);

#[derive(Args, Debug)]
pub struct Up {
    /// Propose this policy and make it epoch 1, if no policy was activated before
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
}

/// What makes `dev` and `up` different.
struct Manner {
    /// Actors may be killed from outside.
    dev: bool,
    /// Activated over an empty store.
    policy: Option<Policy>,
    /// It was named: then no directory is looked at.
    named: bool,
}

/// The first run, in one command: a store with an operator and a policy, everything in the foreground.
pub fn dev(globals: &Globals) -> Run {
    let starter = Policy { name: "starter.cedar".to_owned(), text: STARTER.to_owned() };
    run(globals, Manner { dev: true, policy: Some(starter), named: false })
}

/// The long-running supervisor process.
pub fn up(globals: &Globals, Up { policy }: Up) -> Run {
    let policy = policy.map(|file| {
        let text = noun::read(&file)?;
        // Before anything is made: a wrong policy must not leave a store behind.
        match Policies::compile(&text) {
            Ok(_) => Ok(Policy { name: file.display().to_string(), text }),
            Err(problems) => Err(noun::invalid(&file, &json!(problems))),
        }
    });
    let policy = policy.transpose()?;
    let named = policy.is_some();
    run(globals, Manner { dev: false, policy, named })
}

/// A store with an operator, and nothing running.
pub fn bootstrap(globals: &Globals) -> Run {
    let (config, parts, _) = prepared(globals, LevelFilter::ERROR)?;
    let runtime = runtime()?;
    let outcome = runtime.block_on(async {
        parts.start(&config, Vec::new()).await.map_err(boot)?;
        let made = parts.bootstrap().await.map_err(boot);
        parts.shutdown(config.supervision.shutdown_deadline).await;
        made
    });
    runtime.shutdown_timeout(LEFT_BEHIND_AFTER);
    outcome?;
    let places = absolute(&parts.places);
    let made = fields([
        ("data", places.data.display().to_string()),
        ("credential", format!("{}  (operator/root, made now)", places.credential.display())),
    ]);
    print(&format!("The store is made, and has its first operator.\n\n{}\n", indented(&made)))?;
    Ok(Exit::Ok)
}

fn prepared(globals: &Globals, serious: LevelFilter) -> Result<(Config, Arc<Parts>, Option<Listening>), Failure> {
    let config = globals.load()?;
    // Before anything is made.
    let tcp = tcp(&config)?;
    let places = Places::of(&config.store.data);
    if !places.journal.exists() {
        founding::policies(&config)?;
    }
    places.create().map_err(boot)?;
    logging::start(&places.log, &config.log.level, serious)?;
    let parts = Parts::new(&config, Clock::system());
    Ok((config, parts, tcp))
}

/// Over TCP, and the certificate that is made for it, if one is.
type Listening = (Tcp, Option<Wanted>);

/// Where to listen over TCP, with the certificate that it takes.
fn tcp(config: &Config) -> Result<Option<Listening>, Failure> {
    let Some(address) = config.http.listen else { return Ok(None) };
    let shown = Shown::default();
    let tls = config.http.tls.as_ref().map(|tls| match &tls.certificate {
        Certificate::Files { certificate, key } => Tls::load(certificate, key, tls.client_ca.as_deref()),
        Certificate::Own { .. } => Tls::showing(&shown, tls.client_ca.as_deref()),
    });
    let tls = tls.transpose().map_err(|error| Failure::new(error.code(), error.to_string(), error.remedy()))?;
    let own = match config.http.tls.as_ref().map(|tls| &tls.certificate) {
        Some(Certificate::Own { names, lifetime }) => {
            if let Some(name) = names.iter().find(|name| !certificates::is_name(name)) {
                let detail = format!("{name:?} in http.tls.names is no name of a server");
                return Err(Failure::new("http.tls_name", detail, "use names of the DNS, or addresses"));
            }
            let lifetime = Millis(u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX));
            Some(Wanted { names: names.clone(), lifetime, shown })
        }
        _ => None,
    };
    Ok(Some((Tcp { address, tls }, own)))
}

fn runtime() -> Result<Runtime, Failure> {
    let built = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("sop").build();
    built.map_err(|error| Failure::new("cli.runtime", format!("no threads can be started: {error}"), "see `ulimit -u`"))
}

/// Keys are in memory: it is in no file after a crash, and no other program of the same user reads it. A kernel that does not know
/// of this keeps nobody from starting.
fn kept_to_itself() {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
    let undumped = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let no_core = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    if let Err(error) = undumped.and(no_core) {
        tracing::warn!(code = "boot.dumpable", %error, "what is in memory may be in a core file after a crash");
    }
}

fn run(globals: &Globals, manner: Manner) -> Run {
    let serious = if manner.dev { LevelFilter::WARN } else { LevelFilter::ERROR };
    let (config, parts, tcp) = prepared(globals, serious)?;
    // Who develops looks into it with a debugger.
    if !manner.dev {
        kept_to_itself();
    }
    let manager = Manager::of_process();
    let runtime = runtime()?;
    let outcome = runtime.block_on(serve(&config, &parts, tcp, manner, &manager));
    runtime.shutdown_timeout(LEFT_BEHIND_AFTER);
    if let Err(failure) = &outcome {
        manager.status(&format!("Not started: {}", failure.problem));
        tracing::error!(code = failure.problem.code, remedy = failure.problem.remedy, "{}", failure.problem.detail);
    }
    outcome
}

async fn serve(
    config: &Config,
    parts: &Arc<Parts>,
    listening: Option<Listening>,
    manner: Manner,
    manager: &Manager,
) -> Run {
    let mut signals = Signals::new(manner.dev)?;
    manager.status("Starting: the journal is read");
    let desk = Arc::new(Desk { parts: parts.clone(), dev: manner.dev, chaos: Chaos::default() });
    let deadline = config.supervision.shutdown_deadline;
    // Before the first token is shown.
    let (tcp, own) = listening.unzip();
    let certifier = own.flatten().map(|own| certifier::child(parts, own));
    let edge = issuers::readers(parts, config).into_iter().chain(certifier).chain([edge(config, &desk, tcp)]).collect();
    let started = tokio::select! {
        started = parts.start(config, edge) => started,
        name = signals.next() => {
            manager.stopping(&format!("{name}: stopping before everything was up"));
            parts.journal.close();
            print(&format!("{name}: stopped before everything was up.\n"))?;
            return Ok(Exit::Ok);
        }
    };
    started.map_err(boot)?;
    let first = match settled(&desk, config, &manner).await {
        Ok(first) => first,
        Err(failure) => {
            parts.shutdown(deadline).await;
            return Err(failure);
        }
    };
    if manner.dev
        && let Some(system) = System::over(parts, deadline)
        && let Err(error) = samples::start(&system).await
    {
        // They are there to be tried; nothing rests on them.
        tracing::warn!(code = "dev.samples", %error, "the sample protocols did not all start");
    }
    let version = env!("CARGO_PKG_VERSION");
    tracing::info!(version, pid = std::process::id(), dev = manner.dev, "everything is up");
    print(&welcome(config, parts, &manner, &first))?;
    logging::speak();
    manager.ready(&format!("Ready, on {}", shown(&config.http.socket).display()));

    let stopped = tokio::select! {
        stopped = parts.stopped() => Err(stopped),
        name = signals.next() => Ok(name),
        never = manager.watch(parts) => match never {},
    };
    // The last words are said once.
    logging::hush();
    let (exit, sentence) = match stopped {
        Ok(name) => {
            manager.stopping(&format!("{name}: stopping in order"));
            tracing::info!(signal = name, "stopping");
            (Exit::Ok, format!("{name}: stopping in order, within {}.\n", humantime::format_duration(deadline)))
        }
        Err(Stopped::Journal { why }) => {
            manager.stopping(&format!("The journal failed: {why}"));
            tracing::error!(
                code = "sop.journal_failed",
                why,
                "the journal failed; outcomes are unknown until the next start"
            );
            let line = problem_line("error", "sop.journal_failed", &format!("the journal failed: {why}"));
            (
                Exit::JournalFailed,
                format!("{line}\n  remedy: mend the disk, then start again; repeat what had no answer\n"),
            )
        }
        Err(Stopped::Tree { why }) => {
            manager.stopping(&format!("The root's budget of restarts is spent: {why}"));
            tracing::error!(code = "sop.tree_ended", why, "the root's budget of restarts is spent");
            let line =
                problem_line("error", "sop.tree_ended", &format!("the root's budget of restarts is spent: {why}"));
            (
                Exit::TreeEnded,
                format!("{line}\n  remedy: see `sop logs --level warn`, mend the cause, then start again\n"),
            )
        }
    };
    complain(&sentence);
    tokio::select! {
        report = parts.shutdown(deadline) => {
            let farewell = farewell(&report);
            tracing::info!(graceful = report.is_graceful(), children = report.farewells.len(), "stopped");
            complain(&farewell);
            Ok(exit)
        }
        () = signals.insisted() => {
            tracing::warn!("told not to wait for the stop");
            complain("Ctrl-C again: not waiting any longer.\n");
            Ok(if exit == Exit::Ok { Exit::Failed } else { exit })
        }
    }
}

/// What answers the outside.
fn edge(config: &Config, desk: &Arc<Desk>, tcp: Option<Tcp>) -> Child {
    let limits = Limits {
        body_max: config.door.body_max.as_usize(),
        request_timeout: config.http.request_timeout,
        connections_max: config.http.connections_max,
        pages_for_all: config.http.pages == Pages::All,
        // Shorter than the supervisor waits, or it would kill what is stopping.
        stop_timeout: (config.supervision.shutdown_deadline / 2).min(STOP_TIMEOUT_MAX),
        ..Limits::default()
    };
    let (socket, desk) = (config.http.socket.clone(), desk.clone());
    let reference = ChildRef::new("http");
    Child::actor::<HttpActor, _>(&reference, move || {
        (HttpActor, Arguments { socket: socket.clone(), tcp: tcp.clone(), api: desk.clone(), limits })
    })
}

/// What was made for the first time.
#[derive(Default)]
struct First {
    operator: bool,
    /// The name of the policy that was activated.
    policy: Option<String>,
}

/// Sees to it that there are an operator and, where one is asked for, a policy.
async fn settled(desk: &Desk, config: &Config, manner: &Manner) -> Result<First, Failure> {
    let mut first = First::default();
    if !desk.parts.is_bootstrapped() {
        desk.parts.bootstrap().await.map_err(boot)?;
        tracing::info!(credential = %desk.parts.places.credential.display(), "the first operator was made");
        first.operator = true;
    }
    let untouched = desk.parts.door.governance_view().read(|governance| governance.history().is_empty());
    // Nobody asked `dev` to loosen a store that was made without it.
    if !untouched || (manner.dev && !first.operator) {
        return Ok(first);
    }
    let found = if manner.named { None } else { founding::policies(config)? };
    let Some(policy) = found.as_ref().or(manner.policy.as_ref()) else { return Ok(first) };
    let proposed = asked(desk, "policy.propose", json!({ "text": policy.text })).await?;
    let activate = json!({ "epoch": proposed["epoch"], "expected_active": 0 });
    asked(desk, "policy.activate", activate).await?;
    tracing::info!(policy = policy.name, epoch = %proposed["epoch"], "the first policy was activated");
    first.policy = Some(policy.name.clone());
    Ok(first)
}

/// Asks as the operator and through the door, so that it is in the audit like everything else.
async fn asked(desk: &Desk, action: &str, arguments: Value) -> Result<Value, Failure> {
    let Some(secret) = desk.parts.operator_secret() else {
        let detail = format!(
            "{action} needs the operator's credential, and it is not at {}",
            desk.parts.places.credential.display()
        );
        return Err(Failure::new("cli.no_credential", detail, "put it back, or start without --policy"));
    };
    let (uid, pid) = (rustix::process::getuid().as_raw(), i32::try_from(std::process::id()).ok());
    let source = Source::Process { uid, pid };
    let bearer = Some(secret.expose().to_owned());
    let call = Call { action: action.to_owned(), arguments, bearer, command_id: None, source, certificate: None };
    desk.call(call).await.map_err(|refused| Failure::of(Problem::from(refused)))
}

/// Where everything lies, and what to try.
fn welcome(config: &Config, parts: &Parts, manner: &Manner, first: &First) -> String {
    let places = absolute(&parts.places);
    let socket = shown(&config.http.socket);
    let active = parts.door.governance_view().read(Governance::active_epoch);
    let policy = match (&first.policy, &manner.policy) {
        (Some(name), _) => format!("epoch {active}  ({name}, activated now by operator/root)"),
        (None, Some(given)) if !manner.dev => {
            format!(
                "epoch {active}  (as it was; {} was not looked at: propose it with `sop policy propose`)",
                given.name
            )
        }
        (None, _) if active == 0 => "epoch 0  (built in: operators only; see `sop policy propose`)".to_owned(),
        (None, _) => format!("epoch {active}"),
    };
    let made = if first.operator { "  (operator/root, made now)" } else { "" };
    let mut text =
        format!("SOP {} is up{}.\n\n", env!("CARGO_PKG_VERSION"), if manner.dev { ", for development" } else { "" });
    let mut rows = vec![("data", places.data.display().to_string()), ("socket", socket.display().to_string())];
    if let Some(address) = config.http.listen {
        let scheme = if config.http.tls.is_some() { "https" } else { "http" };
        rows.push(("address", format!("{scheme}://{address}")));
    }
    rows.extend([
        ("log", places.log.display().to_string()),
        ("credential", format!("{}{made}", places.credential.display())),
        ("policy", policy),
    ]);
    text += &indented(&fields(rows));
    text.push('\n');
    if parts.door.sealed().is_some() {
        text += "\nAn emergency stop is in force: see `sop resume`.\n";
    }
    if manner.dev {
        text += &hints(config, &places, &socket);
    }
    text
}

fn hints(config: &Config, places: &Places, socket: &Path) -> String {
    let mut exports = Vec::new();
    // The default is relative, and holds where this was started.
    if config.origin("store.data") != Some(&Origin::Default) {
        exports.push(format!("SOP_DATA={}", quoted(&places.data)));
    }
    if let Some(Origin::Flag(_) | Origin::File { .. }) = config.origin("http.socket") {
        exports.push(format!("SOP_SOCKET={}", quoted(socket)));
    }
    let mut text = "\nTry, in another terminal in this directory:\n".to_owned();
    if !exports.is_empty() {
        text = format!("\nTry, in another terminal:\n\n  export {}\n", exports.join(" "));
    }
    let tries = fields([
        ("sop status", "is it ready?".to_owned()),
        ("sop tree", "who supervises whom".to_owned()),
        ("sop kill tokens", "and `sop tree`: it came back".to_owned()),
        ("sop gap scan .", "what is missing in this directory".to_owned()),
        ("sop todo list", "what is to be done about it".to_owned()),
        ("sop audit list", "who did what, by which decision".to_owned()),
        ("sop logs -f", "what happens".to_owned()),
    ]);
    let _ = write!(text, "\n{}\n\nCtrl-C stops everything in order.\n", indented(&tries));
    text
}

/// For a shell.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-');
    if text.chars().all(safe) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

fn shown(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

fn absolute(places: &Places) -> Places {
    Places::of(&shown(&places.data))
}

/// How the children took the stop.
fn farewell(report: &Report) -> String {
    if report.farewells.is_empty() {
        return "Stopped: nothing was left to end.\n".to_owned();
    }
    let ended = count(report.farewells.len() as u64, "part");
    if report.is_graceful() {
        return format!("Stopped: {ended} ended in peace.\n");
    }
    let mut text = format!("Stopped: {ended} ended, these not in peace:\n");
    for farewell in report.farewells.iter().filter(|farewell| farewell.outcome != Outcome::Graceful) {
        let outcome = match farewell.outcome {
            Outcome::Graceful => "ended in peace",
            Outcome::Failed => "failed while it stopped",
            Outcome::Killed => "did not stop in time and was killed",
            Outcome::Aborted => "did not hear its kill and was aborted",
            Outcome::Unresponsive => "could not be ended",
        };
        let _ = writeln!(text, "  {}  {outcome}: {}", farewell.path, plain(&farewell.exit.to_string()));
    }
    text
}

fn boot(error: BootError) -> Failure {
    let layer = if matches!(error, BootError::Bootstrapped { .. }) { Layer::Decide } else { Layer::Availability };
    let failure = |detail: String| Failure::of(Denial::new(layer, error.code(), detail, error.remedy()).into());
    let innermost = match &error {
        BootError::Start(StartError::Start { exit }) => exit.chain().last().copied(),
        _ => None,
    };
    // Everything above it did not start because it did not.
    let Some((path, exit)) = innermost.and_then(|cause| Some((&cause.path, cause.exits.last()?))) else {
        return failure(error.to_string());
    };
    let why = exit.to_string();
    let why = why.strip_prefix("did not start: ").unwrap_or(&why);
    let why = why.strip_prefix(&format!("{}: ", error.code())).unwrap_or(why);
    failure(why.to_owned()).note(format!("it kept {path} from starting"))
}

/// What tells the daemon to stop.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    /// The terminal was closed. A daemon without a terminal does not listen: `nohup` has made it deaf on purpose.
    hangup: Option<Signal>,
}

impl Signals {
    fn new(dev: bool) -> Result<Self, Failure> {
        let heard = |kind| {
            signal(kind).map_err(|error| Failure::new("cli.signals", format!("signals cannot be heard: {error}"), ""))
        };
        Ok(Self {
            interrupt: heard(SignalKind::interrupt())?,
            terminate: heard(SignalKind::terminate())?,
            hangup: if dev { Some(heard(SignalKind::hangup())?) } else { None },
        })
    }

    /// The name of the next one.
    async fn next(&mut self) -> &'static str {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => "Ctrl-C",
            _ = self.terminate.recv() => "SIGTERM",
            _ = hangup => "SIGHUP",
        }
    }

    /// Somebody at the terminal will not wait. One who presses Ctrl-C, or a shell, may send the first signal twice.
    async fn insisted(&mut self) {
        let first = tokio::time::Instant::now();
        while self.interrupt.recv().await.is_some() {
            if INSISTED_AFTER <= first.elapsed() {
                return;
            }
        }
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use supervisors::{Exit, Farewell};

    use super::*;

    /// The value of an option of the unit, which stands there once.
    fn option(name: &str) -> &'static str {
        let unit = include_str!("../../config/sop.service");
        let mut values = unit.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        let value = values.next().unwrap_or_else(|| panic!("the unit has no {name}"));
        assert_eq!(values.next(), None, "{name} is there once");
        value
    }

    #[test]
    fn the_unit_starts_this_program_where_systemd_made_room_for_it() {
        use clap::Parser as _;
        let cli = super::super::Cli::try_parse_from(option("ExecStart").split(' ')).unwrap();
        assert!(matches!(cli.command, super::super::Command::Up(Up { policy: None })));
        let data = Path::new("/var/lib").join(option("StateDirectory"));
        let socket = Path::new("/run").join(option("RuntimeDirectory")).join("sock");
        assert_eq!((cli.globals.data, cli.globals.socket), (Some(data), Some(socket)));
    }

    #[test]
    fn the_unit_waits_longer_than_we_do_and_starts_again_what_a_start_mends() {
        let span = |name: &str| humantime::parse_duration(option(name)).unwrap();
        let config = Config::load(&config::Sources::default()).unwrap();
        assert!(config.supervision.shutdown_deadline + LEFT_BEHIND_AFTER < span("TimeoutStopSec"));
        // A stop that takes its time is not taken for a hang.
        assert!(span("TimeoutStopSec") < span("WatchdogSec"));
        assert_eq!((option("Type"), option("Restart")), ("notify", "on-failure"));
        let prevented: Vec<u8> =
            option("RestartPreventExitStatus").split(' ').map(|code| code.parse().unwrap()).collect();
        let code = |exit: super::Exit| exit as u8;
        assert_eq!(prevented, [code(super::Exit::Failed)], "the others are mended by a start");
    }

    #[test]
    fn the_starter_policy_is_accepted() {
        assert!(Policies::compile(STARTER).is_ok());
    }

    #[test]
    fn a_path_survives_the_shell() {
        assert_eq!(quoted(Path::new("/srv/sop-data")), "/srv/sop-data");
        assert_eq!(quoted(Path::new("/my data/it's")), r"'/my data/it'\''s'");
    }

    #[test]
    fn a_stop_names_those_that_did_not_take_it_well() {
        let farewell_of = |path: &str, outcome, exit| Farewell { path: path.to_owned(), outcome, exit };
        let mut report = Report { farewells: vec![farewell_of("sop", Outcome::Graceful, Exit::Killed)] };
        assert_eq!(farewell(&report), "Stopped: 1 part ended in peace.\n");
        report.farewells.push(farewell_of("sop/edge/http", Outcome::Killed, Exit::Killed));
        let text = farewell(&report);
        assert!(
            text.starts_with("Stopped: 2 parts ended, these not in peace:\n  sop/edge/http  did not stop"),
            "{text}"
        );
    }
}
