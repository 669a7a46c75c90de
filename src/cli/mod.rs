//! The command line: one file a noun, and what they share.
//!
//! `sop dev`, `up` and `bootstrap` are the daemon; `config`, `state` and `logs` need none; all others ask a running daemon over its
//! socket and construct nothing locally.
//!
//! # Invariants
//! 1. The exit code says what happened ([`exit::Exit`]); an error has a code, a sentence and a remedy.
//! 2. With `-o json`, standard output is the API's answer or problem document, and nothing else.
//! 3. No secret is an argument, and none is sent but to be tried.
//! 4. A reader that goes away is no error.

mod approval;
mod audit;
mod backup;
mod bearer_form;
mod call;
mod chaos;
mod config;
mod crypto;
mod daemon;
mod exit;
mod founding;
mod gap;
mod health;
mod incident;
mod lease;
mod logging;
mod logs;
mod message;
mod output;
mod policy;
mod proof;
mod prove;
mod quota;
mod replay;
mod restore;
mod retention;
mod rights;
mod secret;
mod security;
mod seeds;
mod state;
mod subject;
mod subscription;
mod system;
mod table;
mod todo;
mod token;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use call::Globals;
use exit::{Exit, Failure, Run};
use output::{Format, answer, complain, json, print};

const AFTER_HELP: &str = "\
First run:
  sop dev                            everything in the foreground, with an operator and a policy
  sop status                         in another terminal

From the first runbooks:
  sop --initialize --full-stack      is `sop up`
  sop --emergency-shutdown           is `sop emergency-stop --reason \"emergency shutdown\"`
  tail -f logs/sop_operations.log    is `sop logs -f`

Exit codes:
  0 done   1 failed   2 findings   3 denied   4 no daemon   5 needs approval
  dev and up: 0 stopped in order   1 not started   70 restarts spent   74 journal failed";

/// The operations authority: supervises, authorises, records and heals systems of several protocols or agents
#[derive(Parser, Debug)]
#[command(name = "sop", version, after_help = AFTER_HELP, arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Start everything in the foreground, for a first run and for development
    Dev,
    /// Start everything, as the long-running supervisor process
    Up(daemon::Up),
    /// Make a store with its first operator, and start nothing
    Bootstrap,
    /// Whether commands are taken (exit code 2: not all, or none)
    Status,
    /// Why not all is well, since when, and what to do (exit code 2: something is)
    Health(health::Health),
    /// Who supervises whom, and how they are
    Tree,
    /// Kill an actor, to see it come back (with `sop dev` only)
    Kill(system::Actor),
    /// Start an actor again that is down or quarantined
    Restart(system::Actor),
    /// Try the supervision of a running `sop dev`: kills by a seeded plan, judged one by one
    #[command(subcommand)]
    Chaos(chaos::Chaos),
    /// Stop everything, at once
    EmergencyStop(system::Stop),
    /// End the emergency stop
    Resume(system::Resume),
    /// Read the daemon's log
    Logs(logs::Logs),
    /// What is configured, and whether it is valid
    #[command(subcommand)]
    Config(config::Command),
    /// Who may do what: policies, in numbered epochs
    #[command(subcommand)]
    Policy(policy::Policy),
    /// Whether somebody may do something (exit code 2: no, or it depends)
    CanI(rights::Can),
    /// Who may do something
    WhoCan(rights::Who),
    /// What somebody may do
    WhatCan(rights::What),
    /// Who there is, what each may ask for, roles and credentials
    #[command(subcommand)]
    Security(security::Security),
    /// What is done about what was detected: timeline, containment, evidence
    #[command(subcommand)]
    Incident(incident::Incident),
    /// Who asks, and what he may ask for
    Whoami,
    /// Rights that end: for a subject, an operation, a number of uses, a time
    #[command(subcommand)]
    Token(token::Token),
    /// What leave was asked for, and who decided how
    #[command(subcommand)]
    Approval(approval::Approval),
    /// What has to be proven by whom, how that is checked, and what was
    #[command(subcommand)]
    Proof(proof::Proof),
    /// What is missing or wrong, found by scans and by supervision
    #[command(subcommand)]
    Gap(gap::Gap),
    /// What is to be done about it, and who does it
    #[command(subcommand)]
    Todo(todo::Todo),
    /// Pools of what can be leased
    #[command(subcommand)]
    Resource(lease::Resource),
    /// Leases over those pools: for an owner, an amount, a time
    #[command(subcommand)]
    Lease(lease::Lease),
    /// Who takes part: programs that send each other messages
    #[command(subcommand)]
    Protocol(message::Protocol),
    /// Messages that wait for protocols, and what became of them
    #[command(subcommand)]
    Message(message::Message),
    /// Copies of all that is recorded: made while work goes on, verified, restored
    #[command(subcommand)]
    Backup(backup::Backup),
    /// Whose texts are sealed, held or erased
    #[command(subcommand)]
    Subject(subject::Subject),
    /// How long records stay in the tile log, what holds them there, and what leaves it
    #[command(subcommand)]
    Retention(retention::Retention),
    /// The keys that the authority signs with: made, rotated, tried, revoked
    #[command(subcommand)]
    Crypto(crypto::Crypto),
    /// The journal's files: verified and repaired while no daemon runs
    #[command(subcommand)]
    State(state::State),
    /// What was done, by whom, by which decision
    #[command(subcommand)]
    Audit(audit::Audit),
    /// Read the audit records as they come, and go on where the last read ended
    #[command(subcommand)]
    Subscription(subscription::Subscription),
    /// Why a request was allowed or denied
    Explain {
        /// The id of its command, or the sequence number of its record
        decision: String,
    },
}

/// Runs the command that this process was started with.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse_from(seeds::rewritten(std::env::args_os())) {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let format = cli.globals.output;
    let ended = run(&cli.globals, cli.command).unwrap_or_else(|failure| failed(format, &failure));
    ended.into()
}

/// Help and version, or what is wrong with the arguments. The code 2 that is usual here means findings.
fn usage(error: &clap::Error) -> ExitCode {
    let text = error.render().to_string();
    if error.use_stderr() {
        complain(&text);
        return Exit::Failed.into();
    }
    match print(&text) {
        Ok(()) => Exit::Ok.into(),
        Err(failure) => failed(Format::Table, &failure).into(),
    }
}

fn failed(format: Format, failure: &Failure) -> Exit {
    if let Some((told, words)) = &failure.instead {
        return match answer(format, told, words) {
            Ok(()) => failure.exit,
            Err(unsaid) => failed(format, &unsaid),
        };
    }
    let said = match format {
        Format::Table => false,
        Format::Json => print(&format!("{}\n", json(&failure.json()))).is_ok(),
    };
    if !said {
        complain(&failure.text());
    }
    failure.exit
}

fn run(globals: &Globals, command: Command) -> Run {
    let asks_nobody = match &command {
        Command::Dev | Command::Up(_) | Command::Bootstrap => true,
        Command::Config(command) => config::writes(command),
        Command::Backup(command) => backup::asks_nobody(command),
        _ => false,
    };
    if asks_nobody {
        globals.asks_nobody()?;
    }
    match command {
        Command::Dev => daemon::dev(globals),
        Command::Up(up) => daemon::up(globals, up),
        Command::Bootstrap => daemon::bootstrap(globals),
        Command::Config(command) => config::run(globals, command),
        Command::State(command) => state::run(globals, command),
        command => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
                Failure::new("cli.runtime", format!("nothing can be waited for: {error}"), "see `ulimit -n`")
            })?;
            runtime.block_on(ask(globals, command))
        }
    }
}

async fn ask(globals: &Globals, command: Command) -> Run {
    match command {
        Command::Status => system::status(globals).await,
        Command::Health(asked) => health::run(globals, asked).await,
        Command::Tree => system::tree(globals).await,
        Command::Kill(actor) => system::kill(globals, actor).await,
        Command::Restart(actor) => system::restart(globals, actor).await,
        Command::Chaos(command) => chaos::run(globals, command).await,
        Command::EmergencyStop(stop) => system::stop(globals, stop).await,
        Command::Resume(resume) => system::resume(globals, resume).await,
        Command::Logs(logs) => logs::run(globals, logs).await,
        Command::Policy(command) => policy::run(globals, command).await,
        Command::CanI(asked) => rights::can(globals, asked).await,
        Command::WhoCan(asked) => rights::who(globals, asked).await,
        Command::WhatCan(asked) => rights::what(globals, asked).await,
        Command::Security(command) => security::run(globals, command).await,
        Command::Incident(command) => incident::incident(globals, command).await,
        Command::Whoami => security::whoami(globals).await,
        Command::Token(command) => token::run(globals, command).await,
        Command::Approval(command) => approval::run(globals, command).await,
        Command::Proof(command) => proof::run(globals, command).await,
        Command::Gap(command) => gap::run(globals, command).await,
        Command::Todo(command) => todo::run(globals, command).await,
        Command::Resource(command) => lease::resource(globals, command).await,
        Command::Lease(command) => lease::run(globals, command).await,
        Command::Protocol(command) => message::protocol(globals, command).await,
        Command::Message(command) => message::run(globals, command).await,
        Command::Backup(command) => backup::run(globals, command).await,
        Command::Subject(command) => subject::run(globals, command).await,
        Command::Retention(command) => retention::run(globals, command).await,
        Command::Crypto(command) => crypto::run(globals, command).await,
        Command::Audit(command) => audit::run(globals, command).await,
        Command::Subscription(command) => subscription::run(globals, command).await,
        Command::Explain { decision } => audit::explain(globals, &decision).await,
        Command::Dev | Command::Up(_) | Command::Bootstrap | Command::Config(_) | Command::State(_) => {
            unreachable!("these do not ask")
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    /// Those who try every command that changes something know of every one.
    #[test]
    fn the_table_has_every_command_that_changes_something() {
        fn changing(command: &clap::Command, path: &str, found: &mut Vec<String>) {
            if command.get_arguments().any(|argument| argument.get_id() == "command_id") {
                found.push(path.to_owned());
            }
            for inner in command.get_subcommands() {
                changing(inner, &format!("{path}{} ", inner.get_name()), found);
            }
        }
        let lines = include_str!("../../tests/system/commands.txt").lines().filter(|line| !line.starts_with('#'));
        let lines: Vec<_> = lines.map(|line| format!("{} ", &line[2..])).collect();
        let mut all = Vec::new();
        changing(&Cli::command(), "", &mut all);
        assert!(40 < all.len(), "{all:?}");
        for command in all {
            assert!(lines.iter().any(|line| line.starts_with(&command)), "tests/system/commands.txt lacks {command}");
        }
        for line in lines {
            let words = std::iter::once("sop").chain(line.split_whitespace());
            Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
    }

    #[test]
    fn the_first_spellings_are_understood() {
        let parse =
            |line: &str| Cli::try_parse_from(seeds::rewritten(line.split(' ').map(Into::into))).map(|cli| cli.command);
        assert!(matches!(parse("sop --initialize --full-stack"), Ok(Command::Up(_))));
        assert!(matches!(parse("sop --emergency-shutdown"), Ok(Command::EmergencyStop(_))));
        assert!(parse("sop --initialize").is_err());
    }
}
