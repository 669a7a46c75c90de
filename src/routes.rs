//! Who hears whom: the only place where machines meet.
//!
//! ```text
//! gaps        a gap opens or comes back         -> todos      open
//!             a gap closes                      -> todos      close
//! todos       a todo is claimed                 -> tokens     issue the claim's token
//!             a claim or its todo ends          -> tokens     revoke the todo's tokens
//! governance  an emergency stop                 -> tokens     revoke everything
//! governance  the first operator is named       -> identity   admit, with the credential
//! tokens      a subject is revoked              -> allocator  end the subject's leases
//!             a protocol is revoked             -> nexus      withdraw it, whoever depends on it
//! nexus       a protocol is let take part       -> identity   admit, if it is new
//! backup      one is made, verified, bad        -> health     note
//! backup, gaps, retention, subjects: what goes on begins, ends -> outcomes  open, close
//! security    an incident's evidence is held    -> retention  hold
//!             it is released                    -> retention  release
//! (tree)      a child is quarantined, released  -> gaps       observe, clear      workers::watch
//! backup      none is whole, or young enough    -> gaps       the same
//! governance  what is built in decides too long -> gaps       the same
//! tokens      a credential ends soon            -> gaps       the same
//! (witnesses) one saw another history           -> gaps       the same
//! ```
//!
//! What one machine tells another goes over one route, so that it arrives in the order in which it happened: a claim's
//! token is issued before the end of the claim revokes it.
//!
//! Internal principals act with fixed capabilities, unreachable from outside: [`INTERNAL`] lists them.
//!
//! # Invariants
//! 1. The graph of routes has no cycle (tested below).

use std::sync::Arc;
use std::time::Duration;

use allocator::Allocator;
use backup::Backups;
use config::Config;
use door::Outcomes;
use gaps::detect::{Live, Seen};
use gaps::{Gaps, Kind};
use governance::Governance;
use health::Health;
use host::Handle;
use identity::Identity;
use journal::Journal;
use journal::envelope::Record;
use kernel::{Kin, Machine, Millis, Personal, Principal, Sequence, Timestamp};
use nexus::Nexus;
use retention::Retention;
use security::Security;
use subjects::Subjects;
use supervisors::Child;
use todos::{TodoId, Todos};
use tokens::{Bounds, Grant, Issue, Tokens, Work};
use workers::route::Route;
use workers::watch::Source;

use crate::outcomes;

/// The handles that routes lead to.
pub struct Targets {
    pub todos: Handle<Todos>,
    pub identity: Handle<Identity>,
    pub tokens: Handle<Tokens>,
    pub allocator: Handle<Allocator>,
    pub health: Handle<Health>,
    pub nexus: Handle<Nexus>,
    pub outcomes: Handle<Outcomes>,
    pub retention: Handle<Retention>,
}

/// From, to, and by which name: what the table above says, checked by a test.
pub const ROUTES: [(&str, &str, &str); 13] = [
    (Gaps::NAME, Todos::NAME, "gaps-todos"),
    (Todos::NAME, Tokens::NAME, "todos-tokens"),
    (Governance::NAME, Tokens::NAME, "governance-tokens"),
    (Tokens::NAME, Allocator::NAME, "tokens-allocator"),
    (Backups::NAME, Health::NAME, "backup-health"),
    (Tokens::NAME, Nexus::NAME, "tokens-nexus"),
    (Governance::NAME, Identity::NAME, "governance-identity"),
    (Nexus::NAME, Identity::NAME, "nexus-identity"),
    (Backups::NAME, Outcomes::NAME, "backup-outcomes"),
    (Gaps::NAME, Outcomes::NAME, "gaps-outcomes"),
    (Retention::NAME, Outcomes::NAME, "retention-outcomes"),
    (Subjects::NAME, Outcomes::NAME, "subjects-outcomes"),
    (Security::NAME, Retention::NAME, "security-retention"),
];

/// The authority's own parts, and what each does: fixed, as it is written in their source; no policy judges it.
pub const INTERNAL: [(&str, &str); 27] = [
    ("archivist", "reports backups, and asks for what is due with them"),
    ("attestor", "records what was attested"),
    ("bootstrap", "names the first operator, once"),
    ("clock", "asks what a machine calls due"),
    ("custodian", "reports what became of keys, and asks for those that are due"),
    ("detector", "reports what the records show, and what the door tells"),
    (
        "door",
        "consumes and settles tokens, records what it decides, what becomes of it, and which credential was used first",
    ),
    ("eraser", "reports erasures"),
    ("host", "opens streams"),
    ("monitor", "reports what a node alone knows, and what supervision decided"),
    ("protocols", "issues the tickets of protocols that run"),
    ("pruner", "asks what is due to leave the tile log, and reports that it has left"),
    ("route.backup-health", "notes backups that were made, verified or found bad"),
    ("route.backup-outcomes", "opens and closes what backups go on with"),
    ("route.gaps-outcomes", "opens and closes scans"),
    ("route.gaps-todos", "opens and closes todos"),
    ("route.governance-identity", "admits the first operator"),
    ("route.governance-tokens", "revokes every token after an emergency stop"),
    ("route.nexus-identity", "admits protocols that take part"),
    ("route.retention-outcomes", "opens and closes prunings"),
    ("route.security-retention", "holds the evidence of incidents"),
    ("route.subjects-outcomes", "opens and closes erasures"),
    ("route.todos-tokens", "issues and revokes the tokens of claims"),
    ("route.tokens-allocator", "ends the leases of who was revoked"),
    ("route.tokens-nexus", "withdraws protocols that were revoked"),
    ("scanner", "reports scans"),
    ("watch", "observes the tree, backups, policies, credentials and witnesses"),
];

/// One supervised child a route.
pub fn children(journal: &Journal, targets: &Targets) -> Vec<Child> {
    let [
        gaps_todos,
        todos_tokens,
        governance_tokens,
        tokens_allocator,
        backup_health,
        tokens_nexus,
        governance_identity,
        nexus_identity,
        backup_outcomes,
        gaps_outcomes,
        retention_outcomes,
        subjects_outcomes,
        security_retention,
    ] = ROUTES.map(|(_, _, name)| name);
    vec![
        route::<Gaps, Todos>(gaps_todos, journal, &targets.todos, gap_to_todo),
        route::<Todos, Tokens>(todos_tokens, journal, &targets.tokens, todo_to_token),
        route::<Governance, Tokens>(governance_tokens, journal, &targets.tokens, stop_to_tokens),
        route::<Tokens, Allocator>(tokens_allocator, journal, &targets.allocator, revoked_to_allocator),
        route::<Backups, Health>(backup_health, journal, &targets.health, backup_to_health),
        route::<Tokens, Nexus>(tokens_nexus, journal, &targets.nexus, revoked_to_nexus),
        route::<Governance, Identity>(governance_identity, journal, &targets.identity, operator_to_identity),
        route::<Nexus, Identity>(nexus_identity, journal, &targets.identity, protocol_to_identity),
        route::<Backups, Outcomes>(backup_outcomes, journal, &targets.outcomes, outcomes::told::<Backups>),
        route::<Gaps, Outcomes>(gaps_outcomes, journal, &targets.outcomes, outcomes::told::<Gaps>),
        route::<Retention, Outcomes>(retention_outcomes, journal, &targets.outcomes, outcomes::told::<Retention>),
        route::<Subjects, Outcomes>(subjects_outcomes, journal, &targets.outcomes, outcomes::told::<Subjects>),
        route::<Security, Retention>(security_retention, journal, &targets.retention, incident_to_retention),
    ]
}

/// The handles that the watch looks at.
#[derive(Clone)]
pub struct Watched {
    pub backups: Handle<Backups>,
    pub governance: Handle<Governance>,
    pub tokens: Handle<Tokens>,
}

/// What the watch looks at besides the tree.
pub fn sources(journal: &Journal, watched: &Watched, config: &Config) -> Vec<Source> {
    let Watched { backups, governance, tokens } = watched.clone();
    let (due, allowed) = (millis(config.backup.overdue_after), millis(config.gaps.built_in_max));
    let warning = millis(config.gaps.expiry_warning);
    let first = {
        let journal = journal.clone();
        // None only while the journal is closed; then all is about to be restarted.
        move || Some(journal.read(Sequence(1), 1).ok()?.first()?.time)
    };
    let began = first.clone();
    let backup = move |now: Timestamp| {
        let (backups, first) = (backups.clone(), began());
        async move {
            let last = |backups: &Backups| backups.last_good().map(|last| (last.id.to_string(), last.started_at));
            let last = backups.inspect(last).await?;
            Ok(Live::backup(first, last.as_ref().map(|(name, at)| (name.as_str(), *at)), due, now))
        }
    };
    let policy = move |now: Timestamp| {
        let (governance, first) = (governance.clone(), first());
        async move {
            let since = move |governance: &Governance| {
                // What was activated has a rule: governance refuses what would leave nobody a way on.
                let built_in = governance.active_epoch() == 0;
                if built_in { governance.history().last().map(|last| last.at).or(first) } else { None }
            };
            Ok(Live::policy(governance.inspect(since).await?, allowed, now))
        }
    };
    let credentials = move |now: Timestamp| {
        let tokens = tokens.clone();
        async move {
            let tokens::Ending { credentials, next } =
                tokens.inspect(move |tokens| tokens.ending(warning, now)).await?;
            let seen = credentials.into_iter().map(|token| Seen {
                kind: Kind::CredentialExpiring,
                subject: format!("{} for {} at {}", token.subject, token.operation, token.audience),
                detail: format!("{} is the last one, and ends within {warning}", token.id),
            });
            Ok(Live { seen: seen.collect(), next })
        }
    };
    vec![
        Source { kinds: &[Kind::BackupMissing, Kind::BackupOverdue], look: Arc::new(move |now| Box::pin(backup(now))) },
        Source { kinds: &[Kind::PolicyEmpty], look: Arc::new(move |now| Box::pin(policy(now))) },
        Source { kinds: &[Kind::CredentialExpiring], look: Arc::new(move |now| Box::pin(credentials(now))) },
    ]
}

fn millis(span: Duration) -> Millis {
    Millis(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
}

fn route<S: Machine, T: Machine>(
    name: &'static str,
    journal: &Journal,
    target: &Handle<T>,
    translate: fn(&S::Event, &Record) -> Option<T::Command>,
) -> Child {
    Route::<S, T> { name, translate, target: target.clone(), journal: journal.clone() }.child()
}

fn gap_to_todo(event: &gaps::Event, _: &Record) -> Option<todos::Command> {
    match event {
        gaps::Event::GapOpened(gap) | gaps::Event::GapReopened(gap) => {
            let kind = gaps::Kind::from_tag(gap.kind).expect("a recorded gap has a kind");
            let title = first(&gaps::title(kind, &gap.path, &gap.detail), todos::TITLE_MAX);
            let place = if gap.root.is_empty() { gap.path.clone() } else { format!("{}/{}", gap.root, gap.path) };
            Some(todos::Command::Open { gap: gap.fingerprint, title, place: last(&place, todos::PLACE_MAX) })
        }
        gaps::Event::GapClosed(gap) => Some(todos::Command::Close { gap: gap.fingerprint }),
        gaps::Event::ScanStarted(_) | gaps::Event::ScanFinished(_) | gaps::Event::ScanAbandoned(_) => None,
    }
}

fn todo_to_token(event: &todos::Event, _: &Record) -> Option<tokens::Command> {
    if let Some(TodoId(todo)) = event.ends_authority() {
        return Some(tokens::Command::RevokeTodo { todo });
    }
    let claimed = event.grants()?;
    Some(tokens::Command::Issue(Issue {
        id: claimed.token,
        secret: claimed.secret,
        grant: Grant::Todo(claimed.todo),
        subject: claimed.holder.parse::<Principal>().expect("a recorded holder is a principal"),
        audience: door::AUDIENCE.to_owned(),
        operation: tokens::TODO_WORK.to_owned(),
        uses: Some(claimed.uses),
        lifetime: Some(claimed.lifetime),
        bounds: Bounds { work: todo_work(), ..Bounds::default() },
    }))
}

/// What its holder may derive tokens for: the operations that the token opens itself.
fn todo_work() -> Vec<Work> {
    let work = |operation: &&str| Work { audience: door::AUDIENCE.to_owned(), operation: (*operation).to_owned() };
    door::TODO_WORK.iter().map(work).collect()
}

fn stop_to_tokens(event: &governance::Event, _: &Record) -> Option<tokens::Command> {
    matches!(event, governance::Event::Stopped(_)).then_some(tokens::Command::RevokeAll)
}

fn revoked_to_allocator(event: &tokens::Event, _: &Record) -> Option<allocator::Command> {
    let tokens::Event::SubjectRevoked(revoked) = event else { return None };
    Some(allocator::Command::RevokeOwner { owner: revoked.subject() })
}

fn backup_to_health(event: &backup::Event, _: &Record) -> Option<health::Command> {
    match event.clone() {
        backup::Event::Completed(made) => Some(health::Command::BackupMade { backup: made.backup, at: made.at }),
        backup::Event::Verified(backup::VerifiedV1 { backup, .. })
        | backup::Event::Drilled(backup::DrilledV1 { backup, .. }) => Some(health::Command::BackupVerified { backup }),
        backup::Event::Failed(backup::FailedV1 { backup, why, .. })
        | backup::Event::Broken(backup::BrokenV1 { backup, why, .. })
        | backup::Event::DrillFailed(backup::DrillFailedV1 { backup, why, .. }) => {
            Some(health::Command::BackupBad { backup, why: health::clipped(&why, health::TEXT_MAX) })
        }
        backup::Event::Started(_)
        | backup::Event::CheckStarted(_)
        | backup::Event::DrillStarted(_)
        | backup::Event::Held(_)
        | backup::Event::Released(_)
        | backup::Event::Expired(_)
        | backup::Event::Removed(_)
        | backup::Event::Archived(_) => None,
    }
}

fn revoked_to_nexus(event: &tokens::Event, _: &Record) -> Option<nexus::Command> {
    let tokens::Event::SubjectRevoked(revoked) = event else { return None };
    let subject = revoked.subject();
    (subject.kin == Kin::Protocol).then(|| nexus::Command::Revoked { protocol: subject.name().to_owned() })
}

fn operator_to_identity(event: &governance::Event, _: &Record) -> Option<identity::Command> {
    let governance::Event::Bootstrapped(first) = event else { return None };
    let operator = first.operator.parse().expect("a recorded operator is a principal");
    Some(identity::Command::Found { operator, secret: first.credential })
}

/// What is held for an incident.
pub fn hold_of(incident: u64) -> String {
    format!("{}{incident}", retention::OF_INCIDENT)
}

fn incident_to_retention(event: &security::Event, _: &Record) -> Option<retention::Command> {
    match event {
        security::Event::Held(held) => {
            let scope = retention::Scope { stream: None, first: held.first, last: held.last };
            let reason = Personal::plain("evidence of an incident");
            Some(retention::Command::Hold { name: hold_of(held.incident), reason, scope })
        }
        security::Event::Released(released) => Some(retention::Command::Release { name: hold_of(released.incident) }),
        _ => None,
    }
}

/// What a protocol may ask for from when it is let take part; an operator admits it for more.
pub const PROTOCOL_CAN: [&str; 7] =
    ["lease.*", "message.*", "protocol.call", "protocol.show", "resource.show", "token.consume", "token.validate"];

fn protocol_to_identity(event: &nexus::Event, _: &Record) -> Option<identity::Command> {
    let nexus::Event::Admitted(admitted) = event else { return None };
    let protocol = Principal::new(Kin::Protocol, &admitted.protocol).expect("a recorded protocol has a name");
    let can = PROTOCOL_CAN.map(|text| text.parse().expect("a capability of ours")).into();
    Some(identity::Command::Arrive { protocol, can })
}

/// The beginning of a title: what matters comes first.
fn first(text: &str, characters: usize) -> String {
    text.chars().take(characters).collect()
}

/// The end of a path: what matters comes last.
fn last(text: &str, characters: usize) -> String {
    text.chars().skip(text.chars().count().saturating_sub(characters)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn routes_never_lead_back() {
        let mut settled = BTreeSet::new();
        let mut left: BTreeSet<_> = ROUTES.iter().flat_map(|(from, to, _)| [*from, *to]).collect();
        // Take away, again and again, what nothing is left to lead to.
        while let Some(source) =
            left.iter().copied().find(|name| !ROUTES.iter().any(|(from, to, _)| to == name && left.contains(from)))
        {
            left.remove(source);
            settled.insert(source);
        }
        assert!(left.is_empty(), "these machines hear each other in a circle: {left:?}");
    }

    #[test]
    fn every_route_is_listed_among_the_parts() {
        let listed: BTreeSet<_> = INTERNAL.iter().filter_map(|(name, _)| name.strip_prefix("route.")).collect();
        assert_eq!(listed, ROUTES.iter().map(|(_, _, name)| *name).collect());
        assert!(INTERNAL.iter().all(|(name, _)| Principal::new(Kin::Internal, name).is_ok()));
    }

    #[test]
    fn each_route_has_its_own_name() {
        let names: BTreeSet<_> = ROUTES.iter().map(|(_, _, name)| name).collect();
        assert_eq!(names.len(), ROUTES.len());
    }
}
