//! Yesterday's bytes: the body of every event kind, as each released version wrote it.
//!
//! `v0.1.txt` holds one line a kind: id, version, name, bytes in hexadecimal. Lines are added, none is ever edited. What
//! they mean is written out here, so that a change of codec, struct or meaning shows as a failed row. [`shapes`] has the
//! same for the types, [`laws`] what holds of every body, [`lifted`] how a record changes.

mod laws;
mod lifted;
mod shapes;
mod states;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Debug, Write as _};

use journal::codec;
use kernel::{CommandId, Digest, Machine, Millis, Personal, Recorded, Timestamp, TokenId};

const WRITTEN: &str = include_str!("v0.1.txt");

const NOON: Timestamp = Timestamp(1_700_000_000_000);
const LATER: Timestamp = Timestamp(1_700_000_060_000);
const DIGEST: Digest = Digest([0xa5; 32]);
const OTHER: Digest = Digest([0x3c; 32]);
const TOKEN: TokenId = TokenId(0x0190_c3a2_7b5e_7cc3_98c4_dc0c_0c07_398f);
const COMMAND: CommandId = CommandId(0x0190_c3a2_7b5e_7cc3_98c4_dc0c_0c07_3990);

/// Looks at every concern that records facts.
trait Look {
    fn at<M: Machine>(&mut self);
}

/// All of them; tests/architecture.rs sees to it that none is left out.
fn each(look: &mut impl Look) {
    look.at::<governance::Governance>();
    look.at::<identity::Identity>();
    look.at::<tokens::Tokens>();
    look.at::<allocator::Allocator>();
    look.at::<approvals::Approvals>();
    look.at::<proofs::Proofs>();
    look.at::<gaps::Gaps>();
    look.at::<backup::Backups>();
    look.at::<crypto::Crypto>();
    look.at::<nexus::Nexus>();
    look.at::<retention::Retention>();
    look.at::<security::Security>();
    look.at::<subjects::Subjects>();
    look.at::<todos::Todos>();
    look.at::<door::Decisions>();
    look.at::<door::Outcomes>();
    look.at::<health::Health>();
    look.at::<subscriptions::Subscriptions>();
}

/// The lines of a fixture: (id, version) to name and bytes.
fn lines(written: &str) -> BTreeMap<(u32, u16), (String, Vec<u8>)> {
    let mut lines = BTreeMap::new();
    for line in written.lines() {
        let [id, version, name, hex] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("four words: {line}") };
        let pairs = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
        let bytes = pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect();
        let earlier = lines.insert((id.parse().unwrap(), version.parse().unwrap()), (name.to_owned(), bytes));
        assert_eq!(earlier, None, "one line a kind: {line}");
    }
    lines
}

/// A text as it is sealed.
fn sealed(characters: usize) -> Personal {
    Personal::sealed(&"agent/alpha".parse().unwrap(), characters, vec![1, 0xa5, 0x3c])
}

/// The events of a concern whose kinds are all of their first version.
fn check<E: Recorded + PartialEq + Debug>(events: &[E]) {
    check_all(WRITTEN, &[], events);
}

/// Each event of `newest` reads from the bytes of its line and writes them; each of `older` is what the bytes of an older
/// version, which is named with it, are lifted to.
fn check_all<E: Recorded + PartialEq + Debug>(written: &str, older: &[(u16, E)], newest: &[E]) {
    let written = lines(written);
    let mut told = BTreeSet::new();
    let mut missing = String::new();
    for (version, event) in older {
        let kind = (codec::write(event).unwrap().kind.id, *version);
        let (name, bytes) = written.get(&kind).unwrap_or_else(|| panic!("the line of {kind:?} stays for ever"));
        assert_eq!(codec::read::<E>(kind, bytes).as_ref(), Ok(event), "{name} {version} means what it meant");
        told.insert(kind);
    }
    for event in newest {
        let body = codec::write(event).unwrap();
        let kind = (body.kind.id, body.kind.version);
        told.insert(kind);
        let Some((name, bytes)) = written.get(&kind) else {
            write!(missing, "{} {} {} ", kind.0, kind.1, body.kind.name).unwrap();
            body.bytes.iter().for_each(|byte| write!(missing, "{byte:02x}").unwrap());
            missing.push('\n');
            continue;
        };
        assert_eq!(body.kind.name, name, "a kind keeps its name");
        assert_eq!(codec::read::<E>(kind, bytes).as_ref(), Ok(event), "{name} means what it meant");
        assert_eq!(&body.bytes, bytes, "{name} is written as it was");
    }
    assert!(missing.is_empty(), "add these lines to the fixture of the release that first writes them:\n{missing}");
    for kind in E::KINDS {
        assert!(told.contains(&(kind.id, kind.version)), "{} has an example here", kind.name);
    }
}

#[test]
fn governance_reads_as_it_was_written() {
    use governance::Event;
    use governance::records::*;
    let root = || "operator/root".to_owned();
    let older = [(
        1,
        Event::Stopped(StoppedV1 { number: 1, by: root(), reason: "fire".into(), at: NOON, digest: OTHER }.into()),
    )];
    check_all(
        WRITTEN,
        &older,
        &[
            Event::Bootstrapped(BootstrappedV1 { operator: "root".into(), credential: DIGEST, at: NOON }),
            Event::Proposed(ProposedV1 {
                number: 1,
                text: "permit(principal, action, resource);".into(),
                digest: DIGEST,
                author: root(),
                at: NOON,
            }),
            Event::Activated(ActivatedV1 { epoch: 1, replaced: 0, by: root(), at: NOON }),
            Event::RolledBack(RolledBackV1 { epoch: 0, replaced: 1, by: root(), at: LATER }),
            Event::Stopped(StoppedV2 {
                number: 1,
                by: root(),
                on_behalf_of: "operator/other".into(),
                reason: sealed(4),
                at: NOON,
                digest: OTHER,
            }),
            Event::Resumed(ResumedV1 { number: 1, by: root(), at: LATER }),
            Event::Claimed(ClaimedV1 {
                epoch: 1,
                text: DIGEST,
                against: OTHER,
                solver: "cvc5 1.2".into(),
                goals: vec![GoalV1 { property: "never errors".into(), verdict: 2, detail: "so".into() }],
                by: root(),
                at: LATER,
            }),
        ],
    );
}

#[test]
fn tokens_read_as_they_were_written() {
    use tokens::Event;
    use tokens::records::*;
    let issued = IssuedV1 {
        id: TOKEN,
        secret: DIGEST,
        kind: 1,
        subject: "agent/alpha".into(),
        issuer: "internal/route.todos-tokens".into(),
        audience: "sop".into(),
        operation: "todo.work".into(),
        todo: Some(17),
        artefact_old: None,
        artefact_new: None,
        uses: 100,
        issued_at: NOON,
        expires_at: LATER,
    };
    let older = [
        (1, Event::Revoked(RevokedV1 { id: TOKEN, at: NOON, reason: 5, text: "left the company".into() }.into())),
        (1, Event::Issued(Box::new(issued.into()))),
    ];
    check_all(
        WRITTEN,
        &older,
        &[
            Event::Issued(Box::new(IssuedV2 {
                id: TOKEN,
                secret: DIGEST,
                kind: 2,
                subject: "agent/alpha".into(),
                issuer: "operator/root".into(),
                audience: "arp".into(),
                operation: "deploy".into(),
                todo: Some(17),
                artefact_old: Some(OTHER),
                artefact_new: Some(DIGEST),
                uses: 1,
                issued_at: NOON,
                starts_at: LATER,
                expires_at: LATER + Millis::minutes(14),
                target: Some("a.txt".into()),
                request: Some(OTHER),
                work: vec![WorkV1 { audience: "arp".into(), operation: "deploy".into() }],
                report: Some(DIGEST),
                approver: Some("operator/anne".into()),
                parent: Some(TokenId(7)),
            })),
            Event::Consumed(ConsumedV1 {
                id: TOKEN,
                number: 1,
                command: COMMAND,
                request: OTHER,
                at: NOON,
                settle_by: LATER,
            }),
            Event::Settled(SettledV1 { id: TOKEN, number: 1 }),
            Event::Released(ReleasedV1 { id: TOKEN, number: 300 }),
            Event::UseUnknown(UseUnknownV1 { id: TOKEN, number: 70_000 }),
            Event::Revoked(RevokedV2 { id: TOKEN, at: NOON, reason: 5, text: sealed(16) }),
            Event::AllRevoked(AllRevokedV1 { before: NOON }),
            Event::Expired(ExpiredV1 { id: TOKEN }),
            Event::SubjectRevoked(SubjectRevokedV1 { subject: "agent/alpha".into(), at: NOON }),
            Event::Activated(ActivatedV1 { id: TOKEN }),
            Event::RevokedBefore(RevokedBeforeV1 { before: NOON, at: LATER }),
        ],
    );
}

#[test]
fn allocations_read_as_they_were_written() {
    use allocator::records::*;
    use allocator::{Event, LeaseId};
    let (lease, owner) = (LeaseId(TOKEN.0), || "agent/alpha".to_owned());
    let (pool, lifetime) = (|| "gpu".to_owned(), Millis::minutes(5));
    check(&[
        Event::Defined(DefinedV1 { pool: pool(), capacity: 300, unit: "card".into(), at: NOON }),
        Event::Resized(ResizedV1 { pool: pool(), capacity: 70_000, at: LATER }),
        Event::Queued(QueuedV1 {
            lease,
            pool: pool(),
            owner: owner(),
            amount: 2,
            priority: 1,
            lifetime,
            at: NOON,
            stands: LATER,
            ticket: 9,
        }),
        Event::Granted(GrantedV1 {
            lease,
            pool: pool(),
            owner: owner(),
            amount: 2,
            priority: 3,
            lifetime,
            asked_at: NOON,
            fencing: 400,
            at: LATER,
            expires_at: LATER + lifetime,
        }),
        Event::Renewed(RenewedV1 { lease, expires_at: LATER }),
        Event::Released(ReleasedV1 { lease, at: NOON }),
        Event::Withdrawn(WithdrawnV1 { lease, at: NOON }),
        Event::Expired(ExpiredV1 { pool: pool(), at: NOON, leases: 500 }),
        Event::OwnerRevoked(OwnerRevokedV1 { owner: owner(), at: NOON }),
    ]);
}

#[test]
fn approvals_read_as_they_were_written() {
    use approvals::Event;
    use approvals::records::*;
    let (number, by) = (70_000, || "operator/anne".to_owned());
    check(&[
        Event::Requested(Box::new(RequestedV1 {
            number,
            asker: "agent/alpha".into(),
            issuer: Some("operator/root".into()),
            action: "retention.prune".into(),
            resource: "*".into(),
            content: DIGEST,
            target: Some(OTHER),
            arguments: sealed(40),
            reason: sealed(16),
            needed: 2,
            at: NOON,
            expires_at: LATER,
        })),
        Event::Approved(ApprovedV1 { number, by: by(), at: NOON }),
        Event::Denied(DeniedV1 { number, by: by(), reason: sealed(16), at: LATER }),
        Event::Withdrawn(WithdrawnV1 { number, by: by(), at: LATER }),
        Event::Used(UsedV1 { number, command: COMMAND, at: NOON }),
        Event::Released(ReleasedV1 { number, command: COMMAND }),
        Event::Stale(StaleV1 { number, found: None, at: LATER }),
        Event::Expired(ExpiredV1 { number }),
    ]);
}

#[test]
fn proofs_read_as_they_were_written() {
    use proofs::Event;
    use proofs::records::*;
    let number = 70_000;
    check(&[
        Event::Declared(Box::new(DeclaredV1 {
            revision: 300,
            name: "manifest".into(),
            verifier: 5,
            algorithm: Some(2),
            digest: Some(OTHER),
            argument: Some("digest".into()),
            files: vec![FileV1 { path: "a/b".into(), sha256: DIGEST }],
            key: Some("root+1+A".into()),
            action: Some("backup.verify".into()),
            within: Some(Millis(3_600_000)),
            url: Some("https://p.example".into()),
            timeout: Some(Millis(5_000)),
            by: "operator/root".into(),
            at: NOON,
        })),
        Event::Withdrawn(WithdrawnV1 { name: "manifest".into(), by: "operator/anne".into(), at: LATER }),
        Event::Received(Box::new(ReceivedV1 {
            number,
            check: COMMAND,
            asker: "agent/alpha".into(),
            proof: "manifest".into(),
            revision: 300,
            action: "retention.prune".into(),
            resource: "*".into(),
            content: DIGEST,
            target: Some(OTHER),
            goal: OTHER,
            evidence: DIGEST,
            note: "receipt v1".into(),
            at: NOON,
            expires_at: LATER,
            kept_until: LATER,
        })),
        Event::Spent(SpentV1 { number, command: COMMAND, at: NOON }),
        Event::Released(ReleasedV1 { number, command: COMMAND }),
        Event::Forgotten(ForgottenV1 { number }),
    ]);
}

#[test]
fn gaps_read_as_they_were_written() {
    use gaps::{Event, GapV1, ScanAbandonedV1, ScanFinishedV1, ScanStartedV1};
    let gap = GapV1 {
        gap: 12,
        scan: Some(3),
        fingerprint: DIGEST,
        kind: 2,
        root: "/srv/project".into(),
        path: "docs/a.md".into(),
        line: 7,
        detail: "../x.md".into(),
        at: NOON,
    };
    let (root, why) = ("/srv/project".to_owned(), "the disk is gone".to_owned());
    check(&[
        Event::ScanStarted(ScanStartedV1 { scan: 3, root: root.clone(), at: NOON }),
        Event::GapOpened(gap.clone()),
        Event::GapReopened(GapV1 { scan: None, ..gap.clone() }),
        Event::GapClosed(gap),
        Event::ScanFinished(ScanFinishedV1 {
            scan: 3,
            root: root.clone(),
            opened: 1,
            reopened: 2,
            closed: 3,
            files: 400,
            bytes: 5_000_000,
            skipped: 6,
            unread: 7,
            truncated: true,
            open: 8,
            at: LATER,
        }),
        Event::ScanAbandoned(ScanAbandonedV1 { scan: 4, root, why, at: LATER }),
    ]);
}

#[test]
fn backups_read_as_they_were_written() {
    use backup::{
        ArchivedV1, BrokenV1, CheckStartedV1, CompletedV1, DrillFailedV1, DrillStartedV1, DrilledV1, Event, ExpiredV1,
        FailedV1, HeldV1, ReleasedV1, RemovedV1, StartedV1, VerifiedV1,
    };
    let why = || "entries/000000000000.bin: it is missing".to_owned();
    check(&[
        Event::Started(StartedV1 { backup: 3, at: NOON }),
        Event::Completed(CompletedV1 {
            backup: 3,
            last: 70_000,
            head: DIGEST,
            entries: 70_000,
            bytes: 20_000_000,
            manifest: OTHER,
            directory: "backup-3".into(),
            at: LATER,
        }),
        Event::Failed(FailedV1 { backup: 4, why: "the disk is full".into(), at: LATER }),
        Event::CheckStarted(CheckStartedV1 { backup: 3, at: NOON }),
        Event::Verified(VerifiedV1 { backup: 3, manifest: OTHER, at: LATER }),
        Event::Broken(BrokenV1 { backup: 3, why: why(), at: LATER }),
        Event::DrillStarted(DrillStartedV1 { backup: 3, at: NOON }),
        Event::Drilled(DrilledV1 {
            backup: 3,
            manifest: OTHER,
            records: 70_000,
            machines: 9,
            state: DIGEST,
            at: LATER,
        }),
        Event::DrillFailed(DrillFailedV1 { backup: 3, why: why(), broken: true, at: LATER }),
        Event::Held(HeldV1 { backup: 3, reason: "a case".into(), at: NOON }),
        Event::Released(ReleasedV1 { backup: 3, at: LATER }),
        Event::Expired(ExpiredV1 { backup: 3, at: NOON }),
        Event::Removed(RemovedV1 { backup: 3, at: LATER }),
        Event::Archived(ArchivedV1 { backup: 3, last: 512, at: LATER }),
    ]);
}

#[test]
fn messages_read_as_they_were_written() {
    use nexus::Event;
    use nexus::records::*;
    let (message, destination) = (COMMAND, || "SCP".to_owned());
    let older = [(
        1,
        Event::Withdrawn(
            WithdrawnV1 { protocol: "ARP".into(), reason: "done".into(), revoked: true, at: LATER }.into(),
        ),
    )];
    check_all(
        WRITTEN,
        &older,
        &[
            Event::Admitted(AdmittedV1 {
                protocol: "ARP".into(),
                depends_on: vec!["SCP".into()],
                speaks_to: vec!["ARP".into(), "SCP".into()],
                at: NOON,
            }),
            Event::Withdrawn(WithdrawnV2 { protocol: "ARP".into(), reason: sealed(4), revoked: true, at: LATER }),
            Event::ProtocolForgotten(ProtocolForgottenV1 { protocol: "ARP".into() }),
            Event::Sent(SentV1 {
                message,
                source: "protocol/ARP".into(),
                destination: destination(),
                priority: 3,
                kind: "route.changed".into(),
                content_type: "application/json".into(),
                payload: vec![0, 127, 128, 255],
                lifetime: Millis::hours(24),
                cause: Some(CommandId(TOKEN.0)),
                ticket: 300,
                at: NOON,
                expires_at: LATER,
            }),
            Event::Delivered(DeliveredV1 { message, destination: destination(), at: LATER }),
            Event::Failed(FailedV1 { message, destination: destination(), attempt: 5, why: "no".into(), at: LATER }),
            Event::Died(DiedV1 { message, destination: destination(), death: 2, why: "gone".into(), at: LATER }),
            Event::Requeued(RequeuedV1 {
                message,
                destination: destination(),
                ticket: 301,
                at: NOON,
                expires_at: LATER,
            }),
            Event::Discarded(DiscardedV1 { message, destination: destination(), at: LATER }),
            Event::Forgotten(ForgottenV1 { message, destination: destination(), at: LATER }),
        ],
    );
}

#[test]
fn todos_read_as_they_were_written() {
    use todos::Event;
    use todos::records::*;
    let (title, place) = ("broken link".to_owned(), "/srv/project/docs/a.md".to_owned());
    let older = [(1, Event::Submitted(SubmittedV1 { todo: 17, note: "mended".into() }.into()))];
    check_all(
        WRITTEN,
        &older,
        &[
            Event::Opened(OpenedV1 { todo: 17, gap: DIGEST, title: title.clone(), place: place.clone(), at: NOON }),
            Event::Reopened(ReopenedV1 { todo: 17, title, place, at: NOON }),
            Event::Claimed(ClaimedV1 {
                todo: 17,
                holder: "agent/alpha".into(),
                token: TOKEN,
                secret: DIGEST,
                lifetime: Millis::hours(48),
                uses: 100,
                at: NOON,
                expires_at: LATER,
            }),
            Event::Released(ReleasedV1 { todo: 17 }),
            Event::Submitted(SubmittedV2 { todo: 17, note: sealed(6) }),
            Event::Closed(ClosedV1 { todo: 17, at: LATER }),
            Event::Lapsed(LapsedV1 { todo: 17 }),
        ],
    );
}

#[test]
fn subjects_read_as_they_were_written() {
    use subjects::Event;
    use subjects::records::*;
    let (subject, case, by) =
        (|| "agent/alpha".to_owned(), || "case-2026-17".to_owned(), || "operator/root".to_owned());
    check(&[
        Event::Held(HeldV1 { subject: subject(), case: case(), reason: sealed(6), by: by(), at: NOON }),
        Event::Released(ReleasedV1 { subject: subject(), case: case(), by: by(), at: LATER }),
        Event::Erasing(ErasingV1 { erasure: COMMAND, subject: subject(), by: by(), at: NOON }),
        Event::Erased(ErasedV1 { erasure: COMMAND, key: Some(0x0123_4567_89ab_cdef), at: LATER }),
    ]);
}

#[test]
fn retention_reads_as_it_was_written() {
    use retention::Event;
    use retention::records::*;
    let (name, stream, by) = (|| "case-2026-17".to_owned(), "nexus".to_owned(), || "operator/root".to_owned());
    let (place, rules) = ("/b/log-1/backups/backup-3".to_owned(), "messages 2160h".to_owned());
    check(&[
        Event::Held(HeldV1 { name: name(), reason: sealed(6), stream, first: 1, last: u64::MAX, by: by(), at: NOON }),
        Event::Released(ReleasedV1 { name: name(), by: by(), at: LATER }),
        Event::Pruning(PruningV1 { minimum: 512, backup: 3, manifest: DIGEST, place, rules, by: by(), at: NOON }),
        Event::Pruned(PrunedV1 { minimum: 512, at: LATER }),
        Event::Abandoned(AbandonedV1 {
            minimum: 512,
            why: "record 7 of todos is held by case-2026-17".into(),
            at: LATER,
        }),
    ]);
}

#[test]
fn crypto_reads_as_it_was_written() {
    use crypto::Event;
    use crypto::records::*;
    let by = || "operator/root".to_owned();
    let (purpose, version) = (4, 3);
    let ordered = |activates| OrderedV1 { purpose, version, id: COMMAND, suite: 0x0408, activates, by: by(), at: NOON };
    let (key, code, why) =
        ("backup-manifests.3".to_owned(), "keystore.no_key".to_owned(), "the keystore does not have it".to_owned());
    check(&[
        Event::Ordered(ordered(true)),
        Event::Hastened(HastenedV1 { purpose, version, by: by(), at: NOON }),
        Event::Made(MadeV1 {
            purpose,
            version,
            public: vec![0x30, 0x2a, 0xa5],
            vouched_by: 2,
            voucher: vec![4, 8, 0x3c],
            at: NOON,
        }),
        Event::Abandoned(AbandonedV1 { purpose, version, why: "it is not allowed there".into(), at: LATER }),
        Event::Activated(ActivatedV1 { purpose, version, at: LATER }),
        Event::Revoked(RevokedV1 { purpose, version, since: 41, reason: sealed(6), id: COMMAND, by: by(), at: LATER }),
        Event::Destroying(DestroyingV1 { purpose, version, by: by(), at: NOON }),
        Event::Destroyed(DestroyedV1 { purpose, version, at: LATER }),
        Event::Verifying(VerifyingV1 { id: COMMAND, by: by(), at: NOON }),
        Event::Verified(VerifiedV1 {
            id: COMMAND,
            tried: 7,
            suspects: vec![SuspectV1 { key, code, why }],
            suspected: 1,
            at: LATER,
        }),
        Event::Updating(UpdatingV1 { id: COMMAND, by: by(), at: NOON }),
        Event::Moved(MovedV1 { id: COMMAND, moved: 256, left: 44, at: NOON }),
        Event::Updated(UpdatedV1 {
            id: COMMAND,
            stuck: vec!["0190c3a27b5e7cc398c4dc0c0c07398f.3".into()],
            stuck_in_all: 1,
            at: LATER,
        }),
        Event::Rooted(RootedV1 { root: "6c1e0d44a5b0c7d2e3f405162738495a".into(), at: NOON }),
    ]);
}

#[test]
fn outcomes_read_as_they_were_written() {
    use door::outcomes::Event;
    use door::outcomes::records::*;
    check(&[
        Event::Opened(OpenedV1 {
            number: 7,
            operation: COMMAND,
            stream: "backup".into(),
            thing: "backup-3 make".into(),
            action: "backup.create".into(),
            resource: "*".into(),
            principal: "operator/root".into(),
            began: NOON,
            deadline: LATER,
        }),
        Event::Closed(ClosedV1 {
            number: 7,
            operation: COMMAND,
            stream: "backup".into(),
            outcome: 1,
            code: "backup.failed".into(),
            corrects: true,
            forgets: Some(3),
            at: LATER,
        }),
    ]);
}

#[test]
fn decisions_read_as_they_were_written() {
    use door::Event;
    use door::records::*;
    let attribute = |name: &str, kind, value: &str| AttributeV1 { name: name.into(), kind, value: value.into() };
    let context =
        vec![attribute("kind", 0, "operation"), attribute("uses", 1, "1"), attribute("via_token", 2, "false")];
    let denied = DeniedV1 {
        action: "token.issue".into(),
        resource: "*".into(),
        context: context.clone(),
        policy_epoch: 1,
        layer: "policy".into(),
        code: "policy.not_permitted".into(),
        reason: "no policy permits it".into(),
        rule: Some("epoch 1: default deny".into()),
        remedy: "ask an operator".into(),
        retry_after_ms: None,
    };
    let answered = AnsweredV1 { action: "todo.list".into(), resource: "*".into(), context };
    let newest = DeniedV2 { retry_after_ms: Some(70_000), before: None, ..denied.clone().into() };
    check_all(
        WRITTEN,
        &[(1, Event::Denied(denied.into())), (1, Event::Answered(answered.into()))],
        &[Event::Denied(newest), Event::Answered(AnsweredV2 { before: None })],
    );
}

#[test]
fn health_reads_as_it_was_written() {
    use health::Event;
    use health::records::*;
    let process = kernel::CommandId(TOKEN.0);
    check(&[
        Event::Begun(BegunV1 { process, overdue_after: Millis::hours(24), forgotten: NOON, at: LATER }),
        Event::Up(UpV1 { process, at: LATER }),
        Event::Raised(RaisedV1 {
            code: 1,
            subject: "sop/operations/scanner".into(),
            severity: 1,
            detail: "killed".into(),
            at: NOON,
            held_until: LATER,
        }),
        Event::Cleared(ClearedV1 { code: 1, subject: "sop/operations/scanner".into(), at: LATER }),
        Event::ChildEnded(ChildEndedV1 {
            path: "sop/operations/scanner".into(),
            epoch: 300,
            exit: 4,
            text: "panicked: oh".into(),
            verdict: 1,
            count: 70_000,
            first: NOON,
            last: LATER,
        }),
        Event::Silence(SilenceV1 { ends: 3, missed: 300, first: NOON, last: LATER, why: "the disk is full".into() }),
        Event::BackupMade(BackupMadeV1 { backup: 3, at: NOON }),
        Event::BackupVerified(BackupVerifiedV1 { backup: 3, made: NOON, at: LATER }),
    ]);
}

#[test]
fn subscriptions_read_as_they_were_written() {
    use subscriptions::Event;
    use subscriptions::records::*;
    let name = || "todos-to-chat".to_owned();
    check(&[
        Event::Created(CreatedV1 {
            name: name(),
            owner: "agent/alpha".into(),
            streams: vec!["todos".into()],
            kinds: vec![400, 70_000],
            after: 300,
            at: NOON,
        }),
        Event::Acknowledged(AcknowledgedV1 { name: name(), position: 70_000, at: LATER }),
        Event::Deleted(DeletedV1 { name: name(), at: LATER }),
    ]);
}

#[test]
fn identity_reads_as_it_was_written() {
    use identity::Event;
    use identity::records::*;
    let (root, alpha) = (|| "operator/root".to_owned(), || "agent/alpha".to_owned());
    check(&[
        Event::Admitted(AdmittedV1 {
            principal: alpha(),
            owner: Some(root()),
            can: vec!["gap.*".into(), "todo.claim".into()],
            until: Some(LATER),
            attestation: Some(DIGEST),
            reason: sealed(4),
            by: root(),
            at: NOON,
        }),
        Event::Suspended(SuspendedV1 { principal: alpha(), reason: sealed(4), by: root(), at: NOON }),
        Event::Resumed(ResumedV1 { principal: alpha(), reason: sealed(4), by: root(), at: LATER }),
        Event::Retired(RetiredV1 { principal: alpha(), reason: sealed(4), by: root(), at: LATER }),
        Event::CredentialMade(CredentialMadeV1 {
            credential: 0x0190_c3a2_7b5e_7cc3,
            principal: alpha(),
            form: 1,
            secret: DIGEST,
            label: "laptop".into(),
            until: Some(LATER),
            break_glass: false,
            by: root(),
            at: NOON,
        }),
        Event::CredentialRotated(CredentialRotatedV1 {
            old: 0x0190_c3a2_7b5e_7cc3,
            old_until: LATER,
            early: true,
            credential: 7,
            secret: OTHER,
            until: None,
            by: root(),
            at: NOON,
        }),
        Event::CredentialUsed(CredentialUsedV1 { credential: 7, ends: Some(0x0190_c3a2_7b5e_7cc3), at: LATER }),
        Event::CredentialRevoked(CredentialRevokedV1 { credential: 7, by: root(), at: LATER }),
        Event::UidBound(UidBoundV1 { uid: 1_000, principal: alpha(), by: root(), at: NOON }),
        Event::UidFreed(UidFreedV1 { uid: 1_000, by: root(), at: LATER }),
        Event::RoleAssigned(RoleAssignedV1 {
            principal: alpha(),
            role: "auditor".into(),
            until: Some(LATER),
            reason: sealed(4),
            by: root(),
            at: NOON,
        }),
        Event::RoleTaken(RoleTakenV1 { principal: alpha(), role: "auditor".into(), by: root(), at: LATER }),
        Event::RolesSeparated(RolesSeparatedV1 { one: "auditor".into(), other: "payer".into(), by: root(), at: NOON }),
        Event::RolesUnited(RolesUnitedV1 { one: "auditor".into(), other: "payer".into(), by: root(), at: LATER }),
        Event::CredentialBound(Box::new(CredentialBoundV1 {
            credential: 8,
            principal: alpha(),
            form: 4,
            digest: Some(DIGEST),
            said: vec!["https://idp.example".into(), "alpha".into()],
            label: "mesh".into(),
            until: Some(LATER),
            old: Some(7),
            old_until: Some(LATER),
            early: true,
            by: root(),
            at: NOON,
        })),
        Event::QuotaSet(Box::new(QuotaSetV1 {
            name: "scans".into(),
            whose: "agent/*".into(),
            action: "gap.*".into(),
            limit: 1_000,
            window: Millis::hours(24),
            since: NOON,
            reason: sealed(4),
            by: root(),
            at: LATER,
        })),
        Event::QuotaCleared(QuotaClearedV1 { name: "scans".into(), by: root(), at: LATER }),
    ]);
}

#[test]
fn security_reads_as_it_was_written() {
    use security::Event;
    use security::records::*;
    let (root, alpha) = (|| "operator/root".to_owned(), || "agent/alpha".to_owned());
    check(&[
        Event::Detected(DetectedV1 {
            event: 3,
            kind: 5,
            subject: alpha(),
            detail: "gap.scan was denied: tokens.exhausted".into(),
            count: 70_000,
            first_at: NOON,
            last_at: LATER,
            evidence: vec![7, 70_000],
            fresh: true,
            forgets: 1,
            looked: 70_000,
            at: LATER,
        }),
        Event::Looked(LookedV1 { looked: 70_000, at: NOON }),
        Event::Acknowledged(AcknowledgedV1 { event: 3, by: root(), at: NOON }),
        Event::Dismissed(DismissedV1 { event: 3, reason: sealed(4), by: root(), at: LATER }),
        Event::Opened(OpenedV1 {
            incident: 2,
            title: sealed(4),
            severity: 3,
            owner: root(),
            events: vec![3, 300],
            forgets: 1,
            by: root(),
            at: NOON,
        }),
        Event::Linked(LinkedV1 { incident: 2, event: 300, by: root(), at: NOON }),
        Event::Noted(NotedV1 { incident: 2, text: sealed(4), by: root(), at: NOON }),
        Event::Planned(PlannedV1 {
            incident: 2,
            steps: vec![StepV1 { measure: 4, subject: "protocol/ARP".into() }],
            by: root(),
            at: NOON,
        }),
        Event::Stepped(SteppedV1 {
            incident: 2,
            step: 1,
            done: true,
            command: COMMAND,
            answer: "withdrawn".into(),
            by: root(),
            at: LATER,
        }),
        Event::Held(HeldV1 { incident: 2, first: 7, last: u64::MAX, by: root(), at: NOON }),
        Event::Released(ReleasedV1 { incident: 2, by: root(), at: LATER }),
        Event::Closed(ClosedV1 { incident: 2, postmortem: sealed(4), by: root(), at: LATER }),
    ]);
}
