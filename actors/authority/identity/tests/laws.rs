//! What holds after every history, however strange.

use std::collections::BTreeMap;

use identity::{Allowance, Capability, Command, CredentialId, Identity, Proof, State, Terms, Whose};
use journal::codec;
use kernel::{CommandId, Context, Decision, Digest, Kin, Machine, Millis, Personal, Position, Principal, Timestamp};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

const ROOT: &str = "operator/root";
const ROUTE: &str = "internal/route";

fn p(name: &str) -> Principal {
    name.parse().unwrap()
}

fn who() -> impl Strategy<Value = Principal> {
    prop::sample::select(vec![ROOT, "operator/ann", "agent/alpha", "agent/beta", "protocol/arp"]).prop_map(p)
}

fn until() -> impl Strategy<Value = Option<Timestamp>> {
    option::weighted(0.3, (0..9_000_u64).prop_map(Timestamp))
}

fn role() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["auditor", "payer", "clerk"]).prop_map(str::to_owned)
}

fn id() -> impl Strategy<Value = CredentialId> {
    (1..8_u64).prop_map(CredentialId)
}

fn secret(number: u8) -> Digest {
    Digest([number; 32])
}

fn command() -> impl Strategy<Value = Command> {
    let reason = || Just(Personal::plain("so"));
    let can = prop::sample::select(vec!["*", "gap.*", "gap.scan", "security.*"]);
    let terms = (option::of(who()), can, until()).prop_map(|(owner, can, until)| Terms {
        owner,
        can: [can.parse().unwrap()].into(),
        until,
        attestation: None,
    });
    prop_oneof![
        1 => Just(Command::Found { operator: p(ROOT), secret: secret(99) }),
        1 => Just(Command::Arrive { protocol: p("protocol/arp"), can: [Capability::all()].into() }),
        8 => (who(), terms, reason())
            .prop_map(|(principal, terms, reason)| Command::Admit { principal, terms, reason }),
        2 => (who(), reason()).prop_map(|(principal, reason)| Command::Suspend { principal, reason }),
        2 => (who(), reason()).prop_map(|(principal, reason)| Command::Resume { principal, reason }),
        1 => (who(), reason()).prop_map(|(principal, reason)| Command::Retire { principal, reason }),
        4 => (id(), who(), proof(), until(), any::<bool>()).prop_map(|(id, principal, proof, until, break_glass)| {
            Command::MakeCredential { id, principal, proof, label: "x".into(), until, break_glass }
        }),
        4 => (id(), id(), proof(), 0..500_u64, any::<bool>(), until()).prop_map(|(old, id, proof, overlap, early, until)| {
            Command::Rotate { old, id, proof, overlap: Millis(overlap), early, until }
        }),
        2 => id().prop_map(|id| Command::Acknowledge { id }),
        2 => id().prop_map(|id| Command::Revoke { id }),
        1 => (0..3_u32, who()).prop_map(|(uid, principal)| Command::BindUid { uid, principal }),
        1 => (0..3_u32).prop_map(|uid| Command::FreeUid { uid }),
        4 => (who(), role(), until(), reason())
            .prop_map(|(principal, role, until, reason)| Command::Assign { principal, role, until, reason }),
        1 => (who(), role()).prop_map(|(principal, role)| Command::Unassign { principal, role }),
        2 => (role(), role()).prop_map(|(one, other)| Command::Separate { one, other }),
        1 => (role(), role()).prop_map(|(one, other)| Command::Unite { one, other }),
        2 => (quota(), allowance(), reason())
            .prop_map(|(name, allowance, reason)| Command::SetQuota { name, allowance, reason }),
        1 => quota().prop_map(|name| Command::ClearQuota { name }),
    ]
}

fn quota() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["scans", "all", "not a name"]).prop_map(str::to_owned)
}

fn allowance() -> impl Strategy<Value = Allowance> {
    let whose = prop_oneof![
        who().prop_map(Whose::One),
        prop::sample::select(vec![Kin::Agent, Kin::Operator, Kin::Internal]).prop_map(Whose::Each)
    ];
    let action = prop::sample::select(vec!["*", "gap.*", "gap.scan"]).prop_map(|text| text.parse().unwrap());
    let window = prop::sample::select(vec![0, 999, 1_000, 5_000]).prop_map(Millis);
    (whose, action, 0..4_u64, window).prop_map(|(whose, action, limit, window)| Allowance {
        whose,
        action,
        limit,
        window,
    })
}

/// Mostly secrets.
fn proof() -> impl Strategy<Value = Proof> {
    let number = || 1..8_u8;
    let name = |number| format!("uri:sop://agent/{number}");
    prop_oneof![
        4 => number().prop_map(|number| Proof::Secret(secret(number))),
        1 => number().prop_map(|number| Proof::Certificate(secret(number))),
        1 => (1..3_u8).prop_map(move |number| Proof::CertificateName { authority: secret(9), name: name(number) }),
        1 => (1..3_u8, option::of(Just(("group".to_owned(), "ops".to_owned())))).prop_map(|(number, claim)| {
            Proof::Foreign { issuer: "https://idp.example".into(), subject: number.to_string(), claim }
        }),
    ]
}

/// Active operators who may do everything, without an end, and have a secret.
fn mainstays(identity: &Identity, now: Timestamp) -> usize {
    let operators = identity.list().filter(|(name, entry)| {
        let all = entry.terms.can.contains(&Capability::all()) && entry.terms.until.is_none();
        let mut credentials = identity.credentials().map(|(_, known)| known);
        name.kin == Kin::Operator
            && entry.state == State::Active
            && all
            && credentials.any(|known| {
                known.principal == **name && known.ended(now).is_none() && matches!(known.proof, Proof::Secret(_))
            })
    });
    operators.count()
}

proptest! {
    #[test]
    fn every_history_keeps_the_laws(
        script in vec((prop_oneof![4 => Just(p(ROOT)), 1 => Just(p(ROUTE)), 2 => who()], command(), 0..300_u64), 0..96)
    ) {
        let (mut live, mut replayed) = (Identity::default(), Identity::default());
        let mut now = Timestamp(1);
        let found = (p(ROUTE), Command::Found { operator: p(ROOT), secret: secret(99) }, 0);
        for (principal, command, pause) in [found].into_iter().chain(script) {
            now = Timestamp(now.0 + pause);
            let cx = Context { now, command_id: CommandId(1), principal, decision: Decision::default() };
            let before = live.clone();
            let Ok(outcome) = live.decide(&command, &cx) else { continue };
            // A start from a snapshot, between any two commands.
            replayed = codec::restore(&codec::canonical(&replayed).unwrap()).unwrap();
            for event in &outcome.events {
                live.evolve(event, Position(0));
                let body = codec::write(event).unwrap();
                let read = codec::read((body.kind.id, body.kind.version), &body.bytes).unwrap();
                prop_assert_eq!(&read, event, "it means the same");
                replayed.evolve(&read, Position(0));
            }
            if let Ok(again) = live.decide(&command, &cx) {
                prop_assert_eq!(again.events, vec![], "a repeat adds nothing");
                prop_assert_eq!(again.reply, outcome.reply, "and is told the same");
            }
            if !outcome.events.is_empty() {
                let kin = cx.principal.kin;
                let own = matches!(command, Command::Rotate { .. } | Command::Acknowledge { .. } | Command::Revoke { .. });
                prop_assert!(own || matches!(kin, Kin::Operator | Kin::Internal), "{kin:?} changed {command:?}");
            }
            prop_assert!(mainstays(&before, now) == 0 || mainstays(&live, now) != 0, "somebody can go on: {command:?}");
            for (name, entry) in live.list() {
                let retired = |entry: &identity::Entry| matches!(entry.state, State::Retired { .. });
                if let Some(earlier) = before.show(name).filter(|earlier| retired(earlier)) {
                    prop_assert_eq!(earlier, entry, "who is retired stays as he was");
                }
                match &entry.terms.owner {
                    Some(owner) if !retired(entry) => {
                        let owner = live.show(owner).expect("an owner was admitted");
                        prop_assert!(!retired(owner), "{} has a living owner", name);
                    }
                    Some(_) => {}
                    None => prop_assert!(name.kin != Kin::Agent, "an agent has an owner"),
                }
                let roles = live.roles(name, now);
                for (one, other) in live.apart() {
                    prop_assert!(!(roles.contains(one) && roles.contains(other)), "{} has both", name);
                }
            }
            let mut given = BTreeMap::new();
            for (id, known) in live.credentials() {
                let is_name = matches!(known.proof, Proof::CertificateName { .. } | Proof::Foreign { .. });
                if !is_name || known.ended(now).is_none() {
                    prop_assert_eq!(given.insert(&known.proof, id), None, "a secret is given once, a name once at a time");
                    prop_assert_eq!(live.by_proof(&known.proof).map(|(found, _)| found), Some(id));
                }
                let Some(earlier) = before.credential(id) else { continue };
                prop_assert_eq!((&earlier.principal, &earlier.proof), (&known.principal, &known.proof), "for ever");
                let over = earlier.ended(now).is_some();
                prop_assert!(!over || known.ended(now).is_some(), "what has ended does not begin again");
            }
            for (name, quota) in live.quotas() {
                let Allowance { whose, limit, window, .. } = &quota.allowance;
                prop_assert!(*limit != 0 && *window != Millis(0) && *whose != Whose::Each(Kin::Internal), "{}", name);
                prop_assert!(quota.since <= quota.at, "it is not of what is to come");
                if let Some((_, earlier)) = before.quotas().find(|(earlier, _)| *earlier == name) {
                    let mut as_it_was = quota.allowance.clone();
                    as_it_was.limit = earlier.allowance.limit;
                    let same = as_it_was == earlier.allowance;
                    prop_assert_eq!(same, quota.since == earlier.since && (same || now != earlier.since), "{}", name);
                }
            }
            prop_assert!(before.credentials().count() <= live.credentials().count(), "none is forgotten");
        }
        prop_assert_eq!(replayed, live, "the journal is the state");
    }
}
