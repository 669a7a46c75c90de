//! One row per answer; and that every history keeps the laws.

use kernel::{CommandId, Context, Decision, Digest, Machine, Personal, Position, Refuse, Timestamp, json};
use proptest::prelude::*;
use retention::{
    Archive, Class, Command, Event, HOLDS_MAX, Plan, REASON_MAX, Reply, Retention, Scope, TEXT_MAX, clipped,
};

const ROOT: &str = "operator/root";
const WORKER: &str = "internal/pruner";

fn cx(by: &str) -> Context {
    Context {
        now: Timestamp(1_800_000_000_000),
        command_id: CommandId(7),
        principal: by.parse().unwrap(),
        decision: Decision::default(),
    }
}

fn scope(stream: Option<&str>, first: u64, last: u64) -> Scope {
    Scope { stream: stream.map(Into::into), first, last }
}

fn hold(name: &str, scope: Scope) -> Command {
    Command::Hold { name: name.into(), reason: Personal::plain("a suit"), scope }
}

fn release(name: &str) -> Command {
    Command::Release { name: name.into() }
}

fn prune(minimum: u64, changes: u64) -> Command {
    let archive = Archive { backup: 3, manifest: Digest([7; 32]), place: "/b/backup-3".into() };
    Command::Prune { plan: Plan { minimum, changes, archive, rules: String::new(), why: "young".into() } }
}

fn finish(minimum: u64) -> Command {
    Command::Finish { minimum }
}

fn abandon(minimum: u64) -> Command {
    Command::Abandon { minimum, why: "held".into() }
}

fn run(retention: &mut Retention, by: &str, command: &Command) -> Result<usize, &'static str> {
    let outcome = retention.decide(command, &cx(by)).map_err(|refusal| {
        assert!(!refusal.remedy().is_empty());
        refusal.code()
    })?;
    for event in &outcome.events {
        let (kind, body) = json::write(event);
        assert_eq!(json::read::<Event>((kind.id, kind.version), body).as_ref(), Ok(event));
        retention.evolve(event, Position(0));
    }
    Ok(outcome.events.len())
}

fn after(commands: &[Command]) -> Retention {
    let mut retention = Retention::default();
    for command in commands {
        let by = if matches!(command, Command::Finish { .. } | Command::Abandon { .. }) { WORKER } else { ROOT };
        run(&mut retention, by, command).unwrap();
    }
    retention
}

#[test]
fn decide() {
    let all = || scope(None, 1, u64::MAX);
    let fresh = &Retention::default();
    let held = &after(&[hold("case-1", all())]);
    let late = &after(&[hold("case-1", scope(None, 300, 400))]);
    let stream = &after(&[hold("case-1", scope(Some("nexus"), 1, 9))]);
    let full = &after(&(0..HOLDS_MAX).map(|n| hold(&format!("c{n}"), all())).collect::<Vec<_>>());
    let pruning = &after(&[prune(256, 0)]);
    let pruned = &after(&[prune(256, 0), finish(256)]);
    let abandoned = &after(&[prune(256, 0), abandon(256)]);
    let over = &after(&[prune(256, 0), finish(256), hold("old", scope(None, 1, 256))]);
    let long = Command::Hold { name: "c".into(), reason: Personal::plain(&"é".repeat(REASON_MAX + 1)), scope: all() };
    let wordy = Command::Abandon { minimum: 256, why: "x".repeat(TEXT_MAX + 1) };
    for (row, retention, by, command, answer) in [
        ("hold", fresh, ROOT, hold("case-1", all()), Ok(1)),
        ("hold again", held, ROOT, hold("case-1", all()), Ok(0)),
        ("hold other records by that name", held, ROOT, hold("case-1", scope(None, 2, 3)), Err("retention.taken")),
        ("hold by another name", held, ROOT, hold("case-2", all()), Ok(1)),
        ("hold while it is pruned", pruning, ROOT, hold("case-1", all()), Ok(1)),
        ("one too many", full, ROOT, hold("more", all()), Err("retention.too_many_holds")),
        ("hold by no name", fresh, ROOT, hold("a b", all()), Err("retention.bad_name")),
        ("hold with too many words", fresh, ROOT, long, Err("retention.reason_too_long")),
        ("hold nothing", fresh, ROOT, hold("c", scope(None, 3, 2)), Err("retention.bad_scope")),
        ("hold record 0", fresh, ROOT, hold("c", scope(None, 0, 2)), Err("retention.bad_scope")),
        ("hold no stream", fresh, ROOT, hold("c", scope(Some(""), 1, 2)), Err("retention.bad_scope")),
        ("release", held, ROOT, release("case-1"), Ok(1)),
        ("release nothing", fresh, ROOT, release("case-1"), Err("retention.not_held")),
        ("prune", fresh, ROOT, prune(256, 0), Ok(1)),
        ("prune by schedule", fresh, WORKER, prune(512, 0), Ok(1)),
        ("prune nothing", fresh, ROOT, prune(0, 0), Err("retention.nothing")),
        ("prune half a bundle", fresh, ROOT, prune(257, 0), Err("retention.not_whole")),
        ("prune what is held", held, ROOT, prune(256, 1), Err("retention.held")),
        ("prune before what is held", late, ROOT, prune(256, 1), Ok(1)),
        ("prune up to what is held", late, ROOT, prune(512, 1), Err("retention.held")),
        ("prune with a plan from before the hold", late, ROOT, prune(256, 0), Err("retention.changed")),
        ("prune beside a stream that is held", stream, ROOT, prune(256, 1), Ok(1)),
        ("prune after what was held and has left", over, ROOT, prune(512, 1), Ok(1)),
        ("prune while it is pruned", pruning, ROOT, prune(512, 0), Err("retention.busy")),
        ("prune the same again", pruned, ROOT, prune(256, 0), Err("retention.nothing")),
        ("prune more", pruned, ROOT, prune(512, 0), Ok(1)),
        ("prune again what stayed", abandoned, ROOT, prune(256, 0), Ok(1)),
        ("finish", pruning, WORKER, finish(256), Ok(1)),
        ("finish another", pruning, WORKER, finish(512), Err("retention.not_awaited")),
        ("finish again", pruned, WORKER, finish(256), Err("retention.not_awaited")),
        ("finish by hand", pruning, ROOT, finish(256), Err("retention.workers_only")),
        ("abandon", pruning, WORKER, abandon(256), Ok(1)),
        ("abandon what is done", pruned, WORKER, abandon(256), Err("retention.not_awaited")),
        ("abandon by hand", pruning, ROOT, abandon(256), Err("retention.workers_only")),
        ("abandon with too many words", pruning, WORKER, wordy, Err("retention.too_long")),
    ] {
        assert_eq!(run(&mut retention.clone(), by, &command), answer, "{row}");
    }
    assert_eq!((pruned.minimum(), abandoned.minimum(), pruning.minimum()), (256, 0, 0));
    assert_eq!(pruned.done().map(|done| done.archive.backup), Some(3));
    assert_eq!(abandoned.ended().and_then(|ended| ended.why.as_deref()), Some("held"));
    let told = pruning.decide(&hold("case-1", all()), &cx(ROOT)).unwrap();
    assert_eq!(told.reply, Reply::Held { pruned: 256 }, "what is about to go is told");
}

#[test]
fn a_stream_is_of_one_class() {
    assert_eq!(Class::of("nexus"), Class::Messages);
    assert_eq!(Class::of("todos"), Class::Operations);
    assert_eq!(Class::of("tokens"), Class::Authority);
    assert_eq!(Class::of("whatever comes"), Class::Authority, "what is not known is kept as what matters most");
    assert_eq!(clipped(&"é".repeat(TEXT_MAX)).len(), TEXT_MAX);
}

proptest! {
    #[test]
    fn every_history_keeps_the_laws(script in prop::collection::vec((0..6_u8, 0..3_u8, 0..8_u64, 0..8_u64), 0..64)) {
        let mut retention = Retention::default();
        for (what, who, one, other) in script {
            let name = format!("case-{who}");
            let known = retention.changes();
            let (command, by) = match what {
                0 => (hold(&name, scope(None, 1 + one * 128, 1 + (one + other) * 128)), ROOT),
                1 => (hold(&name, scope(Some("nexus"), 1 + one, 1 + one + other)), ROOT),
                2 => (release(&name), ROOT),
                3 => (prune(one * 256, known - (other % 2).min(known)), ROOT),
                4 => (finish(one * 256), WORKER),
                _ => (abandon(one * 256), WORKER),
            };
            let (before, outstanding) = (retention.minimum(), retention.outstanding().cloned());
            let holds: Vec<_> = retention.holds().map(|(_, hold)| hold.scope.clone()).collect();
            let answer = run(&mut retention, by, &command);
            prop_assert!(before <= retention.minimum(), "the minimum grows");
            if retention.minimum() != before {
                prop_assert_eq!(outstanding.map(|one| one.minimum), Some(retention.minimum()), "only what was asked for");
            }
            if let (Command::Prune { plan }, Ok(1)) = (&command, &answer) {
                prop_assert_eq!(plan.changes, known, "under the holds that there are");
                let touched = (before + 1..=plan.minimum).any(|at| holds.iter().any(|held| held.holds(at, "any")));
                prop_assert!(!touched, "nothing that is held leaves the log");
            }
            let written = serde_json::to_vec(&retention).unwrap();
            prop_assert_eq!(&serde_json::from_slice::<Retention>(&written).unwrap(), &retention);
        }
    }
}
