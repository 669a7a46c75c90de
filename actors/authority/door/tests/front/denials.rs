//! Who is denied, and what is kept of it.

use door::{Event, Secret, SecretKind, Source, Trace};
use identity::CredentialId;
use kernel::{Layer, Millis};

use crate::world::{OPEN, Setup, World, ask, bearing, by, said, told, with, word};

#[tokio::test]
async fn the_denial_of_somebody_known_is_one_record() {
    let world = Setup::default().start().await;
    world.bootstrap().await;
    let request = with(ask(1, "todo.claim", "todo-7"), "holder", "agent/alpha");
    for _ in 0..3 {
        let denied = world.put(&request, 1).await.unwrap_err();
        assert_eq!(denied.decision, Some(request.command_id));
        let records = world.records("decisions");
        assert_eq!(records.len(), 1, "a repeat adds nothing");
        assert_eq!((records[0].principal.as_str(), records[0].command_id), ("operator/root", request.command_id));
        assert_eq!(records[0].decision.generation, world.generation(), "what was in force can be told from it");
        let Event::Denied(kept) = &world.decisions()[0] else { panic!("it was denied") };
        let asked = records[0].asked.as_ref().unwrap();
        assert_eq!((asked.action(), asked.resource(), asked.context()), ("todo.claim", "todo-7", &request.context));
        assert_eq!((records[0].decision.policy_epoch, kept.denial()), (0, denied.denial));
    }
    // The same request is another decision under another policy.
    let epoch = world.activate("permit (principal, action == Action::\"policy.propose\", resource); permit (principal, action == Action::\"policy.activate\", resource);").await;
    let denied = world.put(&request, 1).await.unwrap_err();
    assert_ne!(denied.decision, Some(request.command_id));
    let records = world.records("decisions");
    assert_eq!((records.len(), records[1].decision.policy_epoch), (2, epoch));
}

#[tokio::test]
async fn a_stranger_is_counted_and_leaves_no_record() {
    let world = World::open().await;
    let nobody = door::Ask { credential: None, ..ask(1, "todo.release", "todo-7") };
    let guesser = by("a guess", ask(2, "todo.release", "todo-7"));
    for (request, code) in
        [(&nobody, "door.no_credential"), (&guesser, "door.unknown_credential"), (&guesser, "door.unknown_credential")]
    {
        let denied = world.put(request, 1).await.unwrap_err();
        assert_eq!((denied.denial.code.as_str(), denied.decision), (code, None));
        assert_eq!(word(world.door.witness(request).await), code);
    }
    let user = door::Source::User(1_000);
    let counted = [(user, "door.no_credential".to_owned(), 2), (user, "door.unknown_credential".to_owned(), 4)];
    assert_eq!(world.door.strangers(), counted);
    assert_eq!(world.decisions(), []);
}

/// Who listens hears of what is on record nowhere.
#[tokio::test]
async fn a_flood_of_strangers_and_a_guesser_are_told_of() {
    let world = World::open().await;
    let (source, at) = (Source::User(1_000), world.now());
    let nobody = door::Ask { credential: None, ..ask(1, "todo.list", "*") };
    for _ in 0..8 {
        assert_eq!((world.traces(), word(world.door.witness(&nobody).await)), (vec![], "door.no_credential".into()));
    }
    let code = "door.no_credential".to_owned();
    assert_eq!(world.traces(), [Trace::Strangers { source, code, count: 8, first_at: at, last_at: at }]);
    for _ in 0..5 {
        let guess = Secret::generate(SecretKind::Key(CredentialId(7)));
        assert_eq!(world.traces(), []);
        assert_eq!(word(world.door.witness(&by(guess.expose(), nobody.clone())).await), "door.unknown_credential");
    }
    let guessed = "credential 0000000000000007".to_owned();
    assert_eq!(world.traces(), [Trace::LockedOut { guessed, source, wait: Millis::seconds(1), at }]);
}

#[tokio::test]
async fn strangers_from_everywhere_fill_no_memory() {
    let world = World::open().await;
    for source in (0..3_000).map(door::Source::User) {
        let nobody = door::Ask { credential: None, source, ..ask(1, "todo.list", "*") };
        assert_eq!(word(world.door.witness(&nobody).await), "door.no_credential");
    }
    let strangers = world.door.strangers();
    assert!(strangers.len() <= 1_025, "{}", strangers.len());
    assert_eq!(strangers.iter().map(|(_, _, count)| count).sum::<u64>(), 3_000, "each is counted all the same");
    assert_eq!(strangers.last().unwrap().0, door::Source::Others);
}

#[tokio::test]
async fn a_door_without_its_parts_says_which_one_is_missing() {
    let world = World::open().await;
    world.kill(&world.governance).await;
    let denial = world.put(&ask(1, "todo.release", "todo-7"), 1).await.unwrap_err().denial;
    assert_eq!((denial.layer, denial.code.as_str()), (Layer::Availability, "door.not_ready"));
    assert_eq!((denial.rule.as_deref(), denial.retry_after), (Some("governance"), Some(Millis(500))));
    assert_eq!(world.door.ready(), Err(denial));
    world.restart(&world.governance).await;
    assert_eq!(world.door.ready(), Ok(()));
    assert_eq!(told(world.put(&ask(1, "todo.release", "todo-7"), 1).await), "1");
}

/// Nobody can be told from a stranger yet: that is no reason to call him one.
#[tokio::test]
async fn before_governance_has_read_its_records_nobody_is_a_stranger() {
    let world = Setup::default().start().await;
    world.kill(&world.governance).await;
    assert_eq!(word(world.door.stop(&ask(1, "system.stop", "*"), said("fire")).await), "door.not_ready");
    assert_eq!(world.door.strangers(), []);
}

/// A record has a limit, and what is over it would end the machine that keeps the decisions.
#[tokio::test]
async fn long_texts_are_refused_before_anything_else() {
    let world = Setup::default().start().await;
    world.bootstrap().await;
    world.activate(&format!("{OPEN} forbid (principal, action == Action::\"gap.scan\", resource);")).await;
    let long = "é".repeat(100_000);
    for (row, request) in [
        ("resource", ask(1, "todo.show", &long)),
        ("value", with(ask(2, "gap.scan", "*"), "root", long.as_str())),
        ("name", with(ask(3, "gap.scan", "*"), &long, 1)),
        ("many", (0..100).fold(ask(4, "gap.scan", "*"), |ask, number| with(ask, &number.to_string(), 1))),
    ] {
        let denied = world.door.witness(&request).await.unwrap_err();
        assert_eq!((denied.denial.layer, denied.denial.code.as_str()), (Layer::Request, "request.too_long"), "{row}");
        assert!(denied.denial.rule.is_some() && !denied.denial.remedy.is_empty(), "{row}");
        assert_eq!(word(world.put(&request, 1).await), "request.too_long", "{row}");
        let asked = world.records("decisions").pop().unwrap().asked.unwrap();
        assert_eq!(asked.action(), request.action, "{row}: it is on record, as far as it fits");
    }
    // A stranger is counted for being one.
    assert_eq!(word(world.door.witness(&by("a guess", ask(5, "todo.show", &long))).await), "door.unknown_credential");
    // A stop is not kept from stopping, nor its denial from being recorded.
    world.issue(1, "todo.list", 1).await;
    assert_eq!(
        word(world.door.stop(&bearing(1, ask(6, "system.stop", &long)), said("fire")).await),
        "request.too_long"
    );
    assert_eq!(world.door.ready(), Ok(()), "nothing ended");
    // What is just short enough is kept whole.
    let longest = "r".repeat(4_096);
    let request = with(ask(7, "gap.scan", &longest), "root", longest.as_str());
    assert_eq!(word(world.put(&request, 1).await), "policy.forbidden");
    let asked = world.records("decisions").pop().unwrap().asked.unwrap();
    assert_eq!((asked.resource(), asked.context()), (longest.as_str(), &request.context));
}

/// A thousand policies that forbid are one denial that fits into its record.
#[tokio::test]
async fn the_rule_of_a_denial_is_of_bounded_length() {
    let world = Setup::default().start().await;
    world.bootstrap().await;
    let forbids: String = (0..600)
        .map(|number| {
            format!("@id(\"forbidden-{number:040}\") forbid(principal,action==Action::\"todo.list\",resource);")
        })
        .take_while({
            let mut bytes = OPEN.len();
            move |text| {
                bytes += text.len();
                bytes < policy::Policies::TEXT_MAX
            }
        })
        .collect();
    world.activate(&format!("{OPEN}{forbids}")).await;
    let denied = world.door.witness(&ask(1, "todo.list", "*")).await.unwrap_err();
    assert_eq!((denied.denial.code.as_str(), denied.decision.is_some()), ("policy.forbidden", true));
    let rule = denied.denial.rule.unwrap();
    assert!(rule.len() < 1_000 && rule.contains("more"), "{rule}");
}

#[test]
fn no_secret_shows() {
    let shown = format!("{:?}", by("hunter2", ask(1, "todo.list", "*")));
    assert!(!shown.contains("hunter2"), "{shown}");
}
