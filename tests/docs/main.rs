//! The user pages are executed: every command in a `console` block of README.md and docs/ runs, in order, and prints what
//! the page shows.
//!
//! A page is one session: one shell, one empty home, one data directory. `…` in the shown output stands for what differs
//! from run to run; a line that is only `…` stands for any number of lines. `cargo run --release -- ARGS` runs the binary
//! under test with ARGS; `sop dev` and `sop up` run beside the shell until the page ends or kills them.
//!
//! What the six documents in docs/ say of SOP itself is compared with the code, in [`own`].

mod own;

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;

/// Ends the output of a command, with its exit code behind it.
const MARK: &str = "--- sop docs mark ---";

#[test]
fn the_readme_is_true() {
    run("README.md");
}

#[test]
fn the_operating_page_is_true() {
    run("docs/operating.md");
}

#[test]
fn the_page_on_protocols_is_true() {
    run("docs/protocols.md");
}

#[test]
fn the_evidence_page_is_true() {
    run("docs/evidence.md");
}

#[test]
fn the_page_on_personal_data_is_true() {
    run("docs/personal-data.md");
}

#[test]
fn the_page_on_proofs_is_true() {
    run("docs/proofs.md");
}

#[test]
fn the_page_on_retention_is_true() {
    run("docs/retention.md");
}

#[test]
fn the_page_on_keys_is_true() {
    run("docs/crypto.md");
}

#[test]
fn the_page_on_policies_is_true() {
    run("docs/policies.md");
}

#[test]
fn the_page_on_approvals_is_true() {
    run("docs/approvals.md");
}

#[test]
fn the_page_on_the_decision_point_is_true() {
    run("docs/authzen.md");
}

#[test]
fn the_page_on_outcomes_is_true() {
    run("docs/outcomes.md");
}

#[test]
fn the_page_on_incidents_is_true() {
    run("docs/incidents.md");
}

#[test]
fn the_page_on_the_proof_gate_is_true() {
    run("docs/proof-gate.md");
}

#[test]
fn the_page_on_credentials_of_others_is_true() {
    run("docs/credentials.md");
}

#[test]
fn the_page_on_tokens_is_true() {
    run("docs/tokens.md");
}

#[test]
fn the_page_on_security_is_true() {
    run("docs/security.md");
}

#[test]
fn the_api_page_names_every_action() {
    let page = page("docs/api.md");
    for action in policy::ACTIONS {
        assert!(page.contains(&format!("`{}`", action.name)), "docs/api.md does not explain {}", action.name);
    }
}

#[test]
fn every_page_is_run_or_has_no_commands() {
    for entry in fs::read_dir(root().join("docs")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let pages = [
            "approvals.md",
            "authzen.md",
            "credentials.md",
            "crypto.md",
            "evidence.md",
            "incidents.md",
            "operating.md",
            "outcomes.md",
            "protocols.md",
            "personal-data.md",
            "policies.md",
            "proof-gate.md",
            "proofs.md",
            "retention.md",
            "security.md",
            "tokens.md",
        ];
        let run = pages.contains(&name.as_str());
        let text = page(&format!("docs/{name}"));
        assert!(run || !text.contains("```console"), "docs/{name} shows commands that no test runs");
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The auditor's verifier, which is a package of its own. Built beside the binary under test.
fn verifier() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let target = Path::new(env!("CARGO_BIN_EXE_sop")).ancestors().nth(2).expect("it lies in target/<profile>/");
        let built = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--locked", "--package", "sop-verifier", "--bin", "sop-verify", "--target-dir"])
            .arg(target)
            .current_dir(root())
            .status();
        assert!(built.expect("cargo runs").success(), "sop-verify is built");
        target.join("debug/sop-verify")
    })
}

fn page(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// A command of a page, and what the page shows for it.
struct Step {
    line: usize,
    command: String,
    shown: Vec<String>,
}

fn steps(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut inside = false;
    for (number, line) in text.lines().enumerate() {
        if line.starts_with("```") {
            inside = line == "```console";
        } else if let (true, Some(command)) = (inside, line.strip_prefix("$ ")) {
            steps.push(Step { line: number + 1, command: command.to_owned(), shown: Vec::new() });
        } else if let (true, Some(step)) = (inside, steps.last_mut()) {
            step.shown.push(line.trim_end().to_owned());
        }
    }
    for step in &mut steps {
        while step.shown.last().is_some_and(String::is_empty) {
            step.shown.pop();
        }
    }
    steps
}

fn run(name: &str) {
    let text = page(name);
    let mut session = Session::new();
    if text.contains("$ sop-verify ") {
        symlink(verifier(), session.home.path().join(".bin/sop-verify")).unwrap();
    }
    let mut wrong = String::new();
    for Step { line, command, shown } in steps(&text) {
        let printed = session.run(&command, &shown);
        if !matches(&shown, &printed) {
            let (shown, printed) = (shown.join("\n"), printed.join("\n"));
            writeln!(wrong, "{name}:{line}: $ {command}\n--- the page shows\n{shown}\n--- it printed\n{printed}\n")
                .unwrap();
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// Whether what was printed is what is shown.
fn matches(shown: &[String], printed: &[String]) -> bool {
    match (shown, printed) {
        ([], []) => true,
        ([any, rest @ ..], _) if any == "…" => (0..=printed.len()).any(|skip| matches(rest, &printed[skip..])),
        ([line, rest @ ..], [first, others @ ..]) => fits(line, first) && matches(rest, others),
        _ => false,
    }
}

fn fits(shown: &str, printed: &str) -> bool {
    match shown.split_once('…') {
        None => shown == printed,
        Some((before, after)) => printed.strip_prefix(before).is_some_and(|rest| {
            let ends = rest.char_indices().map(|(at, _)| at).chain([rest.len()]);
            ends.into_iter().any(|at| fits(after, &rest[at..]))
        }),
    }
}

/// One page's shell, and the daemons it started.
struct Session {
    home: tempfile::TempDir,
    shell: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    daemons: Vec<Child>,
}

impl Session {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let bin = home.path().join(".bin");
        fs::create_dir(&bin).unwrap();
        symlink(env!("CARGO_BIN_EXE_sop"), bin.join("sop")).unwrap();
        let mut shell = environment(Command::new("bash"), home.path())
            .args(["--noprofile", "--norc"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("bash is there");
        let mut input = shell.stdin.take().unwrap();
        let output = BufReader::new(shell.stdout.take().unwrap());
        writeln!(input, "exec 2>&1").unwrap();
        Self { home, shell, input, output, daemons: Vec::new() }
    }

    /// Runs one command, and gives the lines it printed.
    fn run(&mut self, command: &str, shown: &[String]) -> Vec<String> {
        let command = command.replace("cargo run --release --", "sop");
        if let Some(arguments) =
            command.strip_prefix("sop ").filter(|rest| rest.starts_with("dev") || rest.starts_with("up"))
        {
            return self.start(arguments, shown);
        }
        writeln!(self.input, "{command}\nprintf '\\n%s\\n' '{MARK}'").unwrap();
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            assert_ne!(self.output.read_line(&mut line).unwrap(), 0, "the shell ended at: {command}");
            let line = line.trim_end();
            if line == MARK {
                break;
            }
            lines.push(line.to_owned());
        }
        // The line break before the mark, and what the command left empty.
        while lines.last().is_some_and(String::is_empty) {
            lines.pop();
        }
        lines
    }

    /// Starts a daemon, and gives what it printed by the time the last shown line came.
    fn start(&mut self, arguments: &str, shown: &[String]) -> Vec<String> {
        let mut daemon = environment(Command::new(env!("CARGO_BIN_EXE_sop")), self.home.path())
            .args(arguments.split_whitespace())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let mut printed = BufReader::new(daemon.stdout.take().unwrap());
        self.daemons.push(daemon);
        let mut lines = Vec::new();
        let mut line = String::new();
        while !matches(shown, &lines) && lines.len() < 200 && printed.read_line(&mut line).unwrap() != 0 {
            lines.push(std::mem::take(&mut line).trim_end().to_owned());
        }
        // The daemon must not meet a closed pipe when it prints on.
        #[expect(clippy::disallowed_methods, reason = "ends when the daemon does")]
        std::thread::spawn(move || printed.read_to_string(&mut String::new()));
        lines
    }
}

/// Nothing of the machine's own configuration reaches the session.
fn environment(mut command: Command, home: &Path) -> Command {
    let path = format!("{}/.bin:{}", home.display(), std::env::var("PATH").unwrap_or_default());
    command.env_clear().env("PATH", path).env("HOME", home).env("LANG", "C.UTF-8");
    command.env("SOP_SOCKET", home.join("run/sock")).current_dir(home);
    command
}

impl Drop for Session {
    fn drop(&mut self) {
        for daemon in &mut self.daemons {
            // It may have been killed by the page.
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

#[test]
fn the_wildcard_is_no_free_pass() {
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    for (shown, printed, fine) in [
        ("a", "a", true),
        ("a", "b", false),
        ("a", "a\nb", false),
        ("a…c", "abbc", true),
        ("a…c", "abbd", false),
        ("…\nz", "a\nb\nz", true),
        ("…\nz", "a\nb", false),
        ("a\n…", "a", true),
        ("at … by …", "at noon by me", true),
        ("at … by …", "at noon", false),
    ] {
        assert_eq!(matches(&lines(shown), &lines(printed)), fine, "{shown:?} {printed:?}");
    }
}
