//! The detectors: rules over records, in their order.
//!
//! Each finding is a function of the records of the last [`Rules::lookback`] alone, by their own times: whoever begins to
//! look so far back finds the same again, and knows which of it was told by the record that it stands at.
//!
//! What happens again and again is told when it crosses its threshold, then at every second, fourth, eighth time, and once
//! more for each span that it goes on: never more than a few findings a span, and no fewer than half of all counted.
//!
//! # Invariants
//! 1. Deterministic: no clock, and what is kept is in order.
//! 2. At most [`KEYS_MAX`] pairs of kind and subject are watched at once, those seen last; each with no more than
//!    [`Rules::denials`] records.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use kernel::{Layer, Millis, Sequence, Timestamp};

use crate::{EVIDENCE_MAX, Finding, Kind, clipped};

/// Pairs of kind and subject that are watched at once.
pub const KEYS_MAX: usize = 2_048;

/// The parameters of the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// So many denials of one principal are a burst.
    pub denials: usize,
    /// If they come within this.
    pub within: Millis,
}

impl Rules {
    /// How far back a finding can have its reason.
    pub fn lookback(&self) -> Millis {
        Millis(self.within.0.saturating_mul(4))
    }
}

/// What a record means to the detectors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// The door or a machine said no to somebody known.
    Denied {
        who: String,
        layer: Layer,
        code: String,
        action: String,
    },
    /// Somebody may do more, or rights were rewritten.
    Privileged {
        subject: String,
        what: String,
    },
    ClockJumped {
        what: String,
    },
    /// A record is missing, or another history was seen.
    Gap {
        subject: String,
        what: String,
    },
    /// The credential for emergencies was used.
    BrokeGlass {
        who: String,
        what: String,
    },
}

/// Codes of denials that mean something by themselves.
const DOUBLE_SPENT: [&str; 2] = ["tokens.double_spend", "tokens.exhausted"];
const REPLAYED: [&str; 2] = ["host.id_taken", "host.id_stale"];
const REVOKED: [&str; 4] = ["tokens.revoked", "door.credential_revoked", "door.suspended", "door.retired"];

/// Is it the asker that was at fault, and not the authority that could not?
const fn counts(layer: Layer) -> bool {
    match layer {
        Layer::Authenticate | Layer::Admit | Layer::Limit | Layer::Policy | Layer::Token => true,
        Layer::Request | Layer::Seal | Layer::Decide | Layer::Commit | Layer::Availability => false,
    }
}

/// What was seen lately.
#[derive(Clone, Debug)]
pub struct Detectors {
    rules: Rules,
    watched: BTreeMap<(Kind, String), Watched>,
}

/// One kind of one subject.
#[derive(Clone, Debug, Default)]
struct Watched {
    /// The last of them, as many as make a burst.
    times: VecDeque<(Timestamp, u64)>,
    /// They come often enough, since some time ago.
    is_on: bool,
    /// The span in which it was told last, how many there were in it, and how many were not told yet.
    span: u64,
    index: u64,
    untold: u64,
}

impl Detectors {
    pub fn new(rules: Rules) -> Self {
        Self { rules, watched: BTreeMap::new() }
    }

    /// What the record shows, with all before it.
    pub fn look(&mut self, at: Sequence, time: Timestamp, seen: &[Seen]) -> Vec<Finding> {
        let mut findings = Vec::new();
        for seen in seen {
            match seen {
                Seen::Denied { who, layer, code, action } => {
                    let known = |codes: &[&str]| codes.contains(&code.as_str());
                    let alone = match () {
                        () if known(&DOUBLE_SPENT) => Some(Kind::DoubleSpend),
                        () if known(&REPLAYED) => Some(Kind::Replay),
                        () if known(&REVOKED) => Some(Kind::UseAfterRevocation),
                        () => None,
                    };
                    let detail = format!("{action} was denied: {code}");
                    if let Some(kind) = alone {
                        findings.extend(self.count(kind, who, &detail, 1, at, time));
                    }
                    if counts(*layer) {
                        let many = self.rules.denials;
                        findings.extend(self.count(Kind::DeniedBurst, who, &detail, many, at, time));
                    }
                }
                Seen::Privileged { subject, what } => {
                    findings.extend(self.count(Kind::PrivilegeChange, subject, what, 1, at, time));
                }
                Seen::ClockJumped { what } => {
                    findings.extend(self.count(Kind::ClockJump, "clock", what, 1, at, time));
                }
                Seen::Gap { subject, what } => {
                    findings.extend(self.count(Kind::AuditGap, subject, what, 1, at, time));
                }
                Seen::BrokeGlass { who, what } => {
                    findings.extend(self.count(Kind::BreakGlass, who, what, 1, at, time));
                }
            }
        }
        findings
    }

    fn count(
        &mut self,
        kind: Kind,
        subject: &str,
        detail: &str,
        many: usize,
        at: Sequence,
        time: Timestamp,
    ) -> Option<Finding> {
        let (within, key) = (self.rules.within, (kind, clipped(subject)));
        if KEYS_MAX <= self.watched.len() && !self.watched.contains_key(&key) {
            let last = |watched: &Watched| watched.times.back().copied();
            let oldest = self.watched.iter().min_by_key(|(_, watched)| last(watched)).map(|(key, _)| key.clone());
            oldest.map(|oldest| self.watched.remove(&oldest));
        }
        let watched = self.watched.entry(key.clone()).or_default();
        if watched.times.back().is_some_and(|(last, _)| *last + within < time) {
            *watched = Watched::default();
        }
        watched.times.push_back((time, at.0));
        if many < watched.times.len() {
            watched.times.pop_front();
        }
        let (first_at, _) = *watched.times.front()?;
        let is_on = watched.times.len() == many && time <= first_at + within;
        let was_on = core::mem::replace(&mut watched.is_on, is_on);
        if !is_on {
            return None;
        }
        let span = time.0 / within.0.max(1);
        watched.untold += if was_on { 1 } else { many as u64 };
        let is_new = !was_on || span != watched.span;
        watched.index = if is_new { 1 } else { watched.index + 1 };
        watched.span = span;
        if !watched.index.is_power_of_two() {
            return None;
        }
        let count = core::mem::take(&mut watched.untold);
        let evidence = watched.times.iter().map(|(_, at)| *at);
        let skipped = watched.times.len().saturating_sub(EVIDENCE_MAX);
        let evidence = evidence.skip(skipped).collect();
        let (subject, detail) = (key.1, clipped(detail));
        Some(Finding { kind, subject, detail, count, first_at, last_at: time, evidence })
    }
}
