//! What records and the door's own traces mean to the detectors: where the other concerns' facts become theirs.

use std::sync::Arc;

use door::{Decisions, Trace};
use gaps::Gaps;
use governance::Governance;
use health::Health;
use identity::Identity;
use journal::codec;
use journal::envelope::Record;
use kernel::{Kin, Layer, Machine, Principal, Refuse as _, Timestamp};
use security::detect::Seen;
use security::{Finding, Kind, clipped};
use tokens::Tokens;
use workers::detector::Told;

use crate::decided;

/// What stands among the policies that determined what was done with the credential for emergencies.
const BREAK_GLASS: &str = "break-glass:";

/// What a record means.
pub fn seen(record: &Record) -> Vec<Seen> {
    let who = || record.principal.clone();
    let by_internal = record.principal.parse::<Principal>().is_ok_and(|principal| principal.kin == Kin::Internal);
    let mut seen = Vec::new();
    if let Some(credential) = record.decision.policies.iter().find(|policy| policy.starts_with(BREAK_GLASS))
        && record.index == 0
    {
        let asked = decided::asked(record);
        let action = asked.as_ref().map_or(record.stream.as_str(), |asked| asked.action());
        seen.push(Seen::BrokeGlass { who: who(), what: format!("{action} with {credential}") });
    }
    let fact = match record.stream.as_str() {
        Decisions::NAME => denied(record),
        Tokens::NAME if !by_internal => refused(record),
        Identity::NAME if !by_internal => privileged(record),
        Governance::NAME if !by_internal => rewritten(record),
        Health::NAME => jumped(record),
        Gaps::NAME => disputed(record),
        _ => None,
    };
    seen.extend(fact);
    seen
}

fn denied(record: &Record) -> Option<Seen> {
    let denial = decided::denied(record)?;
    let action = decided::asked(record).map_or_else(|| "?".to_owned(), |asked| asked.action().to_owned());
    Some(Seen::Denied { who: record.principal.clone(), layer: denial.layer, code: denial.code, action })
}

fn refused(record: &Record) -> Option<Seen> {
    let code = host::refused::<Tokens>(record)?.code().to_owned();
    let action = decided::asked(record).map_or_else(|| "?".to_owned(), |asked| asked.action().to_owned());
    Some(Seen::Denied { who: record.principal.clone(), layer: Layer::Decide, code, action })
}

fn privileged(record: &Record) -> Option<Seen> {
    use identity::Event;
    let by = &record.principal;
    let (subject, what) = match codec::fact::<Event>(record).ok()?? {
        Event::Admitted(admitted) => {
            let what = format!("{by} admitted it for {}", admitted.can.join(" "));
            (admitted.principal, what)
        }
        Event::Resumed(resumed) => (resumed.principal, format!("{by} ended its suspension")),
        Event::CredentialMade(made) if made.break_glass => {
            (made.principal, format!("{by} made a credential for emergencies"))
        }
        Event::UidBound(bound) => (bound.principal, format!("{by} lets user {} act as it", bound.uid)),
        Event::CredentialBound(bound) => (
            bound.principal,
            format!("{by} lets who shows what others vouch for act as it, by credential {:016x}", bound.credential),
        ),
        Event::RoleAssigned(assigned) => (assigned.principal, format!("{by} gave it the role {}", assigned.role)),
        Event::RolesUnited(united) => {
            let what = format!("{by} lets {} and {} be held by one", united.one, united.other);
            ("roles".to_owned(), what)
        }
        Event::QuotaCleared(cleared) => ("quotas".to_owned(), format!("{by} ended the quota {}", cleared.name)),
        Event::CredentialMade(_)
        | Event::CredentialRotated(_)
        | Event::CredentialUsed(_)
        | Event::CredentialRevoked(_)
        | Event::Suspended(_)
        | Event::Retired(_)
        | Event::UidFreed(_)
        | Event::RoleTaken(_)
        | Event::RolesSeparated(_)
        | Event::QuotaSet(_) => return None,
    };
    Some(Seen::Privileged { subject, what })
}

fn rewritten(record: &Record) -> Option<Seen> {
    use governance::Event;
    let by = &record.principal;
    let what = match codec::fact::<Event>(record).ok()?? {
        Event::Activated(activated) => format!("{by} activated epoch {}", activated.epoch),
        Event::RolledBack(back) => format!("{by} went back to epoch {}", back.epoch),
        Event::Bootstrapped(_) | Event::Proposed(_) | Event::Claimed(_) | Event::Stopped(_) | Event::Resumed(_) => {
            return None;
        }
    };
    Some(Seen::Privileged { subject: "policy".to_owned(), what })
}

fn jumped(record: &Record) -> Option<Seen> {
    match codec::fact::<health::Event>(record).ok()?? {
        health::Event::Raised(raised) if health::Code::from_tag(raised.code) == Some(health::Code::ClockJumped) => {
            Some(Seen::ClockJumped { what: raised.detail })
        }
        _ => None,
    }
}

fn disputed(record: &Record) -> Option<Seen> {
    match codec::fact::<gaps::Event>(record).ok()?? {
        gaps::Event::GapOpened(gap) | gaps::Event::GapReopened(gap)
            if gaps::Kind::from_tag(gap.kind) == Some(gaps::Kind::LogDisputed) =>
        {
            Some(Seen::Gap { subject: format!("witness {}", gap.path), what: gap.detail })
        }
        _ => None,
    }
}

/// Where the door's traces go.
pub fn tell(told: &Arc<Told>) -> door::Tell {
    let told = told.clone();
    Box::new(move |trace| told.tell(finding(trace)))
}

fn finding(trace: Trace) -> Finding {
    let found = |kind, subject: String, detail: String, count, first_at: Timestamp, last_at| Finding {
        kind,
        subject: clipped(&subject),
        detail: clipped(&detail),
        count,
        first_at,
        last_at,
        evidence: Vec::new(),
    };
    match trace {
        Trace::Strangers { source, code, count, first_at, last_at } => {
            found(Kind::StrangerBurst, source.to_string(), code, count, first_at, last_at)
        }
        Trace::LockedOut { guessed, source, wait, at } => {
            let subject = format!("{guessed} from {source}");
            found(Kind::Lockout, subject, format!("locked for {wait}"), 1, at, at)
        }
        Trace::Unrecorded { what, at } => found(Kind::AuditGap, "decisions".to_owned(), what, 1, at, at),
    }
}
