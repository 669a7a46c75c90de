//! How a command ends: its exit code, and the words for what went wrong.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use http::Problem;
use kernel::{CommandId, Denial, Layer};
use serde_json::{Value, json};

use super::output::{plain, problem_line};

/// The exit codes. Scripts rely on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    Ok = 0,
    Failed = 1,
    /// The question was answered, and the answer is not good: open gaps, a broken chain, an invalid policy.
    Findings = 2,
    Denied = 3,
    Unreachable = 4,
    /// It is approvals or proofs alone that are missing.
    NeedsApproval = 5,
    /// The daemon: the budget of the root supervisor was spent.
    TreeEnded = 70,
    /// The daemon: the journal failed, and outcomes are unknown until the next start.
    JournalFailed = 74,
}

impl Exit {
    /// What a denial by this layer is to a script: whether asking differently, or as somebody else, would help.
    pub fn of(layer: Layer) -> Self {
        match layer {
            Layer::Seal | Layer::Authenticate | Layer::Admit | Layer::Limit | Layer::Policy | Layer::Token => {
                Self::Denied
            }
            Layer::Request | Layer::Decide | Layer::Commit | Layer::Availability => Self::Failed,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command did not do what it should, whoever found out: the daemon or the command line itself.
#[derive(Debug)]
pub struct Failure {
    pub exit: Exit,
    pub problem: Box<Problem>,
    /// What else the reader needs, a line each.
    pub notes: Vec<String>,
    /// The command may have been carried out, or may still be.
    pub open: bool,
    /// It is none: something else was done instead, and this came of it, in these words for people.
    pub instead: Option<(Value, Words)>,
}

/// Makes of an answer what people read.
pub type Words = fn(&Value) -> String;

/// What a command comes to.
pub type Run = Result<Exit, Failure>;

impl Failure {
    /// Found by the command line itself.
    pub fn new(code: &str, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::of(Denial::new(Layer::Request, code, detail, remedy).into())
    }

    /// As the daemon said it.
    pub fn of(problem: Problem) -> Self {
        let exit = if problem.missing.is_some() { Exit::NeedsApproval } else { Exit::of(problem.layer) };
        let open = matches!(problem.layer, Layer::Commit | Layer::Availability);
        Self { exit, problem: Box::new(problem), notes: Vec::new(), open, instead: None }
    }

    /// Something else was done instead of the command, which ends it.
    pub fn instead(exit: Exit, answer: Value, words: Words) -> Self {
        Self { exit, instead: Some((answer, words)), open: false, ..Self::new("cli.instead", "nothing was done", "") }
    }

    pub fn unreachable(code: &str, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        let problem = Denial::new(Layer::Availability, code, detail, remedy).into();
        Self { exit: Exit::Unreachable, open: false, ..Self::of(problem) }
    }

    /// The request was sent, and whether it was carried out is not known.
    pub fn unknown(id: CommandId, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        let denial = Denial::new(Layer::Commit, "cli.outcome_unknown", detail, remedy);
        Self::of(Problem::new(denial, None)).note(format!("command id: {id}"))
    }

    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// For people.
    pub fn text(&self) -> String {
        let Problem { detail, code, rule, remedy, decision, .. } = &*self.problem;
        let mut text = format!("{}\n", problem_line("error", code, detail));
        for note in &self.notes {
            let _ = writeln!(text, "  {}", plain(note));
        }
        if let Some(rule) = rule {
            let _ = writeln!(text, "  rule: {}", plain(rule));
        }
        if !remedy.is_empty() {
            let _ = writeln!(text, "  remedy: {}", plain(remedy));
        }
        if let (Layer::Limit, Some(wait)) = (self.problem.layer, self.problem.retry_after_ms) {
            let wait = humantime::format_duration(Duration::from_secs(wait.div_ceil(1_000)));
            let _ = writeln!(text, "  retry after: {wait}");
        }
        if let Some(decision) = decision {
            let _ = writeln!(text, "  explain: sop explain {decision}");
        }
        text
    }

    /// For programs: the problem document, with the notes if there are any.
    pub fn json(&self) -> Value {
        let mut document = json!(self.problem);
        if !self.notes.is_empty() {
            document["notes"] = json!(self.notes);
        }
        document
    }
}

#[cfg(test)]
mod tests {
    use kernel::Missing;

    use super::*;

    #[test]
    fn each_layer_has_its_exit_code() {
        for (layer, code) in [
            (Layer::Request, 1),
            (Layer::Seal, 3),
            (Layer::Authenticate, 3),
            (Layer::Admit, 3),
            (Layer::Limit, 3),
            (Layer::Policy, 3),
            (Layer::Token, 3),
            (Layer::Decide, 1),
            (Layer::Commit, 1),
            (Layer::Availability, 1),
        ] {
            assert_eq!(Exit::of(layer) as u8, code, "{layer:?}");
        }
        let codes =
            [Exit::Ok, Exit::Findings, Exit::Unreachable, Exit::NeedsApproval, Exit::TreeEnded, Exit::JournalFailed];
        assert_eq!(codes.map(|exit| exit as u8), [0, 2, 4, 5, 70, 74]);
    }

    #[test]
    fn a_failure_says_all_it_knows_and_nothing_else() {
        let id: CommandId = "0190c3a2-7b5e-7cc3-98c4-dc0c0c07398f".parse().unwrap();
        let denial = Denial::new(Layer::Policy, "policy.not_permitted", "agent/a may not", "ask").rule("epoch 1");
        let full = Failure::of(Problem::new(denial, Some(id))).note("a note");
        assert_eq!(
            full.text(),
            "error[policy.not_permitted]: agent/a may not\n  a note\n  rule: epoch 1\n  remedy: ask\n  explain: sop explain \
             0190c3a2-7b5e-7cc3-98c4-dc0c0c07398f\n"
        );
        let missing = Missing { approvals: 2, ..Missing::default() };
        let lacking =
            Failure::of(Denial::new(Layer::Policy, "policy.approval_needed", "no", "ask").missing(missing).into());
        assert_eq!((lacking.exit, &lacking.json()["missing"]), (Exit::NeedsApproval, &json!({ "approvals": 2 })));
        assert_eq!(Failure::new("cli.x", "it is so", "").text(), "error[cli.x]: it is so\n");
        assert_eq!(full.json()["notes"], json!(["a note"]));
        assert_eq!(Failure::new("cli.x", "it is so", "").json().get("notes"), None);
    }

    #[test]
    fn what_may_still_happen_is_open() {
        let id: CommandId = "0190c3a2-7b5e-7cc3-98c4-dc0c0c07398f".parse().unwrap();
        assert!(Failure::unknown(id, "", "").open);
        assert!(!Failure::unreachable("cli.unreachable", "", "").open);
        assert!(!Failure::new("cli.x", "", "").open);
    }
}
