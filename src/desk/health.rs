//! Health and readiness, decided here and nowhere else: status, probes, metrics and the command line all show this.
//!
//! Answered from memory, whatever is down. What is refused *now* is looked at directly (the journal, the machines behind
//! the door, the tree); what takes time to tell comes from the durable state of the health machine.
//!
//! # Invariants
//! 1. Not ready is exactly: there is an obstacle, and the first one is the denial that a probe gets.
//! 2. Nobody is named: a child's end is shown as a word, and what it said stays in the log and the audit.

use crypto::Purpose;
use evidence::Failing;
use health::{Code, Health, Phase, Reason, Severity};
use kernel::{Denial, Layer, Millis, Timestamp};
use serde_json::{Value, json};
use supervisors::{Node, NodeState};
use workers::monitor::{is_needed, word};

use super::{Desk, time};
use crate::beside::Missed;
use crate::boot::NEEDED;

/// A start takes less until the keystore signs.
const MISSED_AFTER: Millis = Millis::seconds(3);

/// Why commands are refused, the deepest cause first; none if they are taken.
pub fn obstacles(desk: &Desk) -> Vec<Denial> {
    let parts = &desk.parts;
    let mut obstacles = Vec::new();
    obstacles.extend(parts.journal.writable().err().map(|error| host::Error::from(error).denial()));
    obstacles.extend(desk.door().ready().err());
    if !parts.is_bootstrapped() {
        let (reason, remedy) =
            ("there is no operator yet", "wait for the start to end, or make one with `sop bootstrap`");
        let denial = Denial::new(Layer::Availability, "door.no_operator", reason, remedy);
        obstacles.push(denial.retry_after(Millis(200)));
    }
    if let Some(stop) = desk.door().sealed() {
        let reason = format!("{} stopped everything", stop.by);
        obstacles.push(Denial::new(Layer::Seal, "door.sealed", reason, "an operator resumes with `sop resume`"));
    }
    obstacles
}

/// One thing that is wrong.
pub struct Shown {
    pub code: String,
    pub subject: String,
    pub severity: Severity,
    pub sentence: String,
    pub remedy: String,
    /// Unless it is not recorded: then since a moment ago, or since the journal could be written last.
    pub since: Option<Timestamp>,
}

/// How the authority stands.
pub struct Look {
    pub phase: Phase,
    /// What refuses commands comes first.
    pub reasons: Vec<Shown>,
    /// The paths of the children in quarantine.
    pub quarantined: Vec<String>,
}

pub fn look(desk: &Desk) -> Look {
    let tree = desk.parts.tree().map(|tree| tree.snapshot());
    let mut reasons: Vec<Shown> = obstacles(desk).into_iter().map(of_denial).collect();
    let mut quarantined = Vec::new();
    desk.parts.health_view.read(|recorded| {
        if let Some(tree) = &tree {
            children(tree, recorded, &mut reasons, &mut quarantined);
        }
        let others = |reason: &&Reason| !matches!(reason.code, Code::ChildQuarantined | Code::ChildDown);
        reasons.extend(recorded.reasons().filter(others).map(of_record));
    });
    // A full disk keeps both from writing, and is said of the journal.
    if desk.parts.journal.writable().is_ok() {
        reasons.extend(desk.parts.evidence.standing().failure.map(lags));
    }
    reasons.extend(witnesses(desk));
    reasons.extend(keystore(desk));
    reasons.extend(missed(desk));
    // Stable: what is the cause of what stays before it.
    reasons.sort_by_key(|reason| std::cmp::Reverse(reason.severity));
    let phase = match reasons.first().map(|reason| reason.severity) {
        _ if tree.is_none() => Phase::Startup,
        None => Phase::Ready,
        Some(Severity::Degrades) => Phase::Degraded,
        Some(Severity::Unready) => Phase::Unready,
    };
    Look { phase, reasons, quarantined }
}

/// That the tile log does not go on.
fn lags(failing: Failing) -> Shown {
    let sealed = failing.code == "evidence.sealed";
    let (code, why, remedy) = if sealed {
        (failing.code, failing.why, "see `sop crypto status`")
    } else {
        ("evidence.lags", "the tile log cannot be written".to_owned(), "see the log for the reason")
    };
    Shown {
        code: code.to_owned(),
        subject: "evidence".to_owned(),
        severity: Severity::Degrades,
        sentence: format!("new records are not signed: {why}"),
        remedy: format!("{remedy}; what is recorded meanwhile is signed later"),
        since: None,
    }
}

/// Why nothing signs, where something is to: without a root key in the configuration nothing is missed.
fn keystore(desk: &Desk) -> Option<Shown> {
    let safe = &desk.parts.safe;
    let why = safe.source().and_then(|_| safe.sealed()).or_else(|| safe.trouble())?;
    Some(Shown { subject: "keystore".to_owned(), severity: Severity::Degrades, ..of_denial(why) })
}

/// What is not signed by the keystore, although a key is in use for it, for longer than a start takes.
fn missed(desk: &Desk) -> Vec<Shown> {
    let now = desk.now();
    let lasting = |missed: &Missed| missed.since + MISSED_AFTER <= now;
    let missed = desk.parts.signer.missed().into_iter().filter(|(_, missed)| lasting(missed));
    let shown = |(purpose, missed): (Purpose, Missed)| Shown {
        code: "crypto.missed".to_owned(),
        subject: purpose.to_string(),
        severity: Severity::Degrades,
        sentence: format!("{purpose} are not signed by {}, which is in use: {}", missed.key, missed.why.reason),
        remedy: missed.why.remedy,
        since: Some(missed.since),
    };
    missed.map(shown).collect()
}

/// Who should see the log and does not, or saw another one.
fn witnesses(desk: &Desk) -> Vec<Shown> {
    let mut reasons = Vec::new();
    for witness in desk.parts.witnessing.standing() {
        let Some(trouble) = witness.trouble.filter(|trouble| trouble.other_history) else { continue };
        reasons.push(Shown {
            code: trouble.code.to_owned(),
            sentence: format!("{} saw another history of the log: {}", witness.name, trouble.what),
            subject: witness.name,
            severity: Severity::Degrades,
            remedy: "find out which history is right before anything is proven by it (docs/evidence.md)".to_owned(),
            since: None,
        });
    }
    let within = Millis(u64::try_from(desk.parts.cosigned_within.as_millis()).unwrap_or(u64::MAX));
    if crate::witnesses::waiting(&desk.parts, desk.now()).is_some_and(|waited| within < waited) {
        let witnesses = desk.parts.evidence.witnesses();
        reasons.push(Shown {
            code: "evidence.not_cosigned".to_owned(),
            subject: "evidence".to_owned(),
            severity: Severity::Degrades,
            sentence: format!(
                "no {} of {} witnesses have cosigned the last records",
                witnesses.quorum,
                witnesses.all.len()
            ),
            remedy: "see with `sop status` which of them do not answer".to_owned(),
            since: desk.parts.evidence.uncosigned_since(),
        });
    }
    reasons
}

/// Children as they are now. That one has been down for long only the record knows.
fn children(node: &Node, recorded: &Health, reasons: &mut Vec<Shown>, quarantined: &mut Vec<String>) {
    let known = |code| recorded.reason(code, &node.path);
    let severity = if is_needed(&node.path, &NEEDED) { Severity::Unready } else { Severity::Degrades };
    match &node.state {
        NodeState::Quarantined { reason } => {
            let since = known(Code::ChildQuarantined).map(|reason| reason.since);
            let detail = word(reason).as_str().to_owned();
            let (at, subject) = (Timestamp(0), node.path.clone());
            let code = Code::ChildQuarantined;
            let now = Reason { code, subject, severity, detail, since: at, held_until: at };
            reasons.push(Shown { since, ..of_record(&now) });
            quarantined.push(node.path.clone());
        }
        NodeState::Starting | NodeState::Restarting | NodeState::BackingOff { .. } => {
            reasons.extend(known(Code::ChildDown).map(of_record));
        }
        NodeState::Running | NodeState::Stopping | NodeState::Stopped => {}
    }
    node.children.iter().for_each(|child| children(child, recorded, reasons, quarantined));
}

fn of_record(reason: &Reason) -> Shown {
    Shown {
        code: reason.code.as_str().to_owned(),
        subject: reason.subject.clone(),
        severity: reason.severity,
        sentence: reason.sentence(),
        remedy: reason.code.remedy().to_owned(),
        since: Some(reason.since),
    }
}

fn of_denial(denial: Denial) -> Shown {
    // Who stopped everything, and in which words, is in the status; a probe needs neither.
    let sentence = if denial.layer == Layer::Seal { "an emergency stop is in force".to_owned() } else { denial.reason };
    Shown {
        code: denial.code,
        subject: denial.rule.unwrap_or_default(),
        severity: Severity::Unready,
        sentence,
        remedy: denial.remedy,
        since: None,
    }
}

/// For `GET /health`.
pub fn shown(desk: &Desk) -> Value {
    let Look { phase, reasons, .. } = look(desk);
    let reason = |reason: &Shown| {
        json!({
            "code": reason.code,
            "subject": reason.subject,
            "severity": reason.severity,
            "reason": reason.sentence,
            "remedy": reason.remedy,
            "since": reason.since.map(time),
        })
    };
    let ready = !reasons.iter().any(|reason| reason.severity == Severity::Unready);
    json!({
        "phase": phase,
        "live": true,
        "ready": ready,
        "reasons": reasons.iter().map(reason).collect::<Vec<_>>(),
    })
}
