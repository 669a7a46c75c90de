//! The bearer form of a token as credential: what its secret opens, less what was taken off, by the same uses.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use door::{Ask, Denied, Secret};
use kernel::{Layer, Millis, Timestamp, TokenId};
use tokens::{Bounds, Event, Grant, Issue, TODO_WORK, UseState};

use crate::world::{Mode, NOON, OPEN, Setup, World, ask, bearing, by, done, form, id_at, secret, told, with, word};

fn put(number: u8, words: &str) -> Ask {
    by(&form(1, words), ask(number, "todo.release", "todo-7"))
}

#[tokio::test]
async fn each_no_says_who_says_it_and_what_to_do() {
    let world = World::open().await;
    world.issue(1, "todo.release", 9).await;
    world.issue(2, "todo.release", 1).await;
    world.issue_for("arp", "agent/alpha", 3, "todo.release", 1, Grant::Operation).await;
    let revoked = world.issue(4, "todo.release", 1).await;
    world.revoke(revoked).await;
    let later = Issue {
        id: TokenId(5),
        secret: Secret::of(&secret(5)).digest(),
        grant: Grant::Operation,
        subject: "agent/alpha".parse().unwrap(),
        audience: "sop".into(),
        operation: "todo.release".into(),
        uses: None,
        lifetime: None,
        bounds: Bounds { not_before: Some(NOON + Millis::minutes(5)), ..Bounds::default() },
    };
    done(world.tokens.execute(world.by("operator/root", tokens::Command::Issue(later))).await);
    assert_eq!(told(world.put(&by(&form(2, ""), ask(1, "todo.release", "todo-7")), 1).await), "1");
    let (token, admit, nobody) = (Layer::Token, Layer::Admit, Layer::Authenticate);
    let noon = format!("until={}", NOON.0);
    let request = |number: u8| ask(number, "todo.release", "todo-7");
    for (row, text, request, layer, code) in [
        ("malformed", "sop_bt_".to_owned(), request(10), nobody, "bearer.malformed"),
        ("over size", form(1, "bearer.too_long"), request(11), nobody, "bearer.too_long"),
        ("of another form", form(1, "bearer.strange"), request(12), nobody, "bearer.strange"),
        ("forged, or by another key", form(1, "bearer.forged"), request(13), nobody, "bearer.forged"),
        ("by a key of nobody", form(1, "bearer.unknown_key"), request(14), nobody, "bearer.unknown_key"),
        ("by a revoked key", form(1, "bearer.key_revoked"), request(15), nobody, "bearer.key_revoked"),
        ("lost by the registry", form(99, ""), request(16), nobody, "tokens.unknown"),
        ("nobody had time for it", form(1, "busy"), request(17), Layer::Availability, "bearer.busy"),
        ("revoked", form(4, ""), request(18), token, "tokens.revoked"),
        ("not yet", form(5, ""), request(19), token, "tokens.not_yet"),
        ("used up", form(2, ""), request(20), token, "tokens.double_spend"),
        ("for another operation", form(1, ""), ask(21, "todo.claim", "todo-7"), admit, "door.not_capable"),
        ("for elsewhere", form(3, ""), request(22), admit, "door.not_capable"),
        ("narrowed to elsewhere", form(1, "at=arp"), request(23), admit, "bearer.not_for"),
        ("to another operation", form(1, "does=todo.claim"), request(24), admit, "bearer.not_for"),
        ("to another thing", form(1, "on=todo-8"), request(25), admit, "bearer.not_for"),
        ("to a time that is over", form(1, &noon), request(26), admit, "bearer.not_for"),
        ("to nothing, twice", form(1, "on=todo-7;on=todo-8"), request(27), admit, "bearer.not_for"),
    ] {
        let is_known = !matches!(layer, Layer::Authenticate | Layer::Availability);
        let ask = by(&text, request);
        let Denied { denial, decision } = world.put(&ask, 1).await.unwrap_err();
        assert_eq!((denial.layer, denial.code.as_str()), (layer, code), "{row}");
        assert!(!denial.remedy.is_empty() && (denial.rule.is_some() || layer == Layer::Availability), "{row}");
        assert_eq!(
            decision,
            is_known.then_some(ask.command_id),
            "{row}: of somebody known, and of nobody else, it is on record"
        );
        if !is_known {
            assert_eq!(word(world.door.witness(&ask).await), code, "{row}, of what only reads");
        }
        assert!(!format!("{denial:?}").contains("sop_bt_"), "{row}: {denial:?}");
    }
    world.later(Millis::minutes(15));
    let expired = world.put(&by(&form(1, ""), ask(30, "todo.release", "todo-7")), 1).await.unwrap_err();
    assert_eq!((expired.denial.layer, expired.denial.code.as_str()), (token, "tokens.expired"));
    assert_eq!(
        (world.left(TokenId(1)), world.left(TokenId(5)), world.on_shelf().await),
        (9, 1, 1),
        "nothing was spent"
    );
    let counted: u64 = world.door.strangers().iter().map(|(.., count)| count).sum();
    assert_eq!(counted, 8 * 2, "strangers are counted");
}

/// One use, one effect, in whichever form it is shown, and however it was narrowed.
#[tokio::test]
async fn a_use_is_spent_as_by_the_secret_and_a_repeat_gets_the_first_answer() {
    let world = World::open().await;
    let token = world.issue(1, "todo.release", 2).await;
    let narrow = "does=todo.release;on=todo-7;to=agent/beta";
    let first = world.put(&put(1, narrow), 7).await.unwrap();
    assert_eq!(world.kinds::<Event>("tokens"), ["tokens.issued", "tokens.consumed", "tokens.settled"]);
    let tokens = world.records("tokens");
    assert!(
        tokens[1].sequence < first.first && first.last < tokens[2].sequence,
        "before the effect, and settled after it"
    );
    let record = world.records("shelf").pop().unwrap();
    assert_eq!((record.principal.as_str(), record.decision.token.unwrap().token), ("agent/alpha", token));
    let marks = ["all", "bearer:token-root.1", "handed-on:01:agent/alpha>agent/beta:ed25519/0000000000000000"];
    assert_eq!(record.decision.policies, marks, "by whom it was signed, and through whose hands it came");
    for words in ["", narrow, "on=todo-7"] {
        assert_eq!(told(world.put(&put(1, words), 7).await), "7, again");
    }
    assert_eq!(told(world.put(&bearing(1, ask(1, "todo.release", "todo-7")), 7).await), "7, again", "the secret's too");
    assert_eq!((world.uses(token), world.left(token)), (vec![(1, UseState::Succeeded)], 1));
    assert_eq!(told(world.put(&put(1, ""), 8).await), "host.id_taken", "another content is another request");
    assert_eq!(told(world.put(&bearing(1, ask(2, "todo.release", "todo-7")), 8).await), "15");
    assert_eq!(told(world.put(&put(3, ""), 9).await), "tokens.exhausted", "its uses are those of the secret");
    world.later(Millis::minutes(15));
    assert_eq!(told(world.put(&put(1, narrow), 7).await), "7, again", "what was done stays answered");
    assert_eq!(told(world.put(&put(1, "on=todo-8"), 7).await), "tokens.expired", "to whom it could have been done");
    assert_eq!(told(world.put(&put(1, "bearer.forged"), 7).await), "bearer.forged");
    assert_eq!(world.on_shelf().await, 15);
}

/// A form that ended before its token: what was done by it stays answered, and nothing else is done.
#[tokio::test]
async fn what_was_done_by_a_form_that_has_ended_stays_answered() {
    let world = World::open().await;
    let token = world.issue(1, "todo.release", 2).await;
    let words = format!("until={}", NOON.0 + 60_000);
    assert_eq!(told(world.put(&put(1, &words), 7).await), "7");
    world.later(Millis::minutes(1));
    assert_eq!(told(world.put(&put(1, &words), 7).await), "7, again");
    assert_eq!(told(world.put(&put(2, &words), 7).await), "bearer.not_for");
    assert_eq!((world.left(token), world.on_shelf().await), (1, 7));
    world.setup.keys_revoked.store(1, Ordering::SeqCst);
    assert_eq!(told(world.put(&put(1, &words), 7).await), "bearer.key_revoked", "whoever shows that may be anybody");
}

#[tokio::test]
async fn an_unknown_outcome_leaves_the_use_pending_and_another_form_goes_on_with_it() {
    for written in [true, false] {
        let world = World::open().await;
        let token = world.issue(1, "todo.release", 1).await;
        world.setup.disk.after(1, Mode::Fail { written });
        assert_eq!(told(world.put(&put(1, ""), 7).await), "host.outcome_unknown");
        let world = world.again().await;
        assert_eq!(world.uses(token), [(1, UseState::Pending)]);
        assert_eq!(told(world.put(&put(2, "on=todo-7"), 7).await), "tokens.double_spend");
        assert_eq!(told(world.put(&put(1, "on=todo-7"), 7).await), if written { "7, again" } else { "7" });
        assert_eq!((world.uses(token), world.on_shelf().await), (vec![(1, UseState::Succeeded)], 7));
    }
}

/// The key is revoked while the use is being spent: nothing is done by the form, and the use is open for who shows the secret.
#[tokio::test]
async fn a_key_that_is_revoked_before_the_effect_keeps_it_from_happening() {
    let world = World::open().await;
    let token = world.issue(1, "todo.release", 1).await;
    let request = put(1, "");
    world.setup.disk.set(Mode::Hold);
    let mut asked = std::pin::pin!(world.put(&request, 7));
    for _ in 0..100 {
        tokio::select! {
            biased;
            _ = &mut asked => panic!("the disk holds it up"),
            () = tokio::task::yield_now() => {}
        }
    }
    world.setup.keys_revoked.store(1, Ordering::SeqCst);
    world.setup.disk.set(Mode::Pass);
    let denied = asked.await.unwrap_err();
    assert_eq!((denied.denial.code.as_str(), denied.decision), ("bearer.key_revoked", Some(request.command_id)));
    assert_eq!((world.uses(token), world.on_shelf().await), (vec![(1, UseState::Pending)], 0));
    assert_eq!(told(world.put(&bearing(1, ask(1, "todo.release", "todo-7")), 7).await), "7");
    assert_eq!((world.uses(token), world.on_shelf().await), (vec![(1, UseState::Succeeded)], 7));
}

/// At once, in every form: one use is one effect, whoever comes first.
#[tokio::test]
async fn forms_that_are_shown_at_once_share_the_one_use() {
    let world = World::open().await;
    let token = world.issue(1, "todo.release", 1).await;
    let plain = bearing(1, ask(1, "todo.release", "todo-7"));
    let (one, two) = (put(1, ""), put(1, "on=todo-7;to=agent/beta"));
    let (one, two, three) = tokio::join!(world.put(&one, 7), world.put(&two, 7), world.put(&plain, 7));
    let mut said = [told(one), told(two), told(three)];
    said.sort_unstable();
    assert_eq!(said, ["7", "7, again", "7, again"], "the same request");
    assert_eq!((world.uses(token), world.on_shelf().await), (vec![(1, UseState::Succeeded)], 7));

    let world = World::open().await;
    let token = world.issue(1, "todo.release", 1).await;
    let (one, two) = (put(1, ""), put(2, "on=todo-7"));
    let three = bearing(1, ask(3, "todo.release", "todo-7"));
    let (one, two, three) = tokio::join!(world.put(&one, 7), world.put(&two, 7), world.put(&three, 7));
    let mut said = [told(one), told(two), told(three)];
    said.sort_unstable();
    assert_eq!(said, ["7", "tokens.double_spend", "tokens.double_spend"], "three requests");
    assert_eq!((world.uses(token).len(), world.on_shelf().await), (1, 7));
}

/// Of work on a todo, what is done is a part: a form may be narrowed to it.
#[tokio::test]
async fn a_todo_token_is_narrowed_to_a_part_of_the_work_and_derived_from_as_it_was_minted() {
    let world = World::open().await;
    let token = world.issue_to("agent/alpha", 1, TODO_WORK, 9, Grant::Todo(7)).await;
    let asked = |number, action| ask(number, action, "todo-7");
    let mut number = 0;
    for (words, action, said) in [
        ("", "todo.show", "allowed"),
        ("does=todo.show", "todo.show", "allowed"),
        ("does=todo.work", "todo.show", "allowed"),
        ("does=todo.show", "todo.submit", "bearer.not_for"),
        ("on=todo-8", "todo.show", "bearer.not_for"),
        ("", "todo.claim", "door.not_capable"),
    ] {
        number += 1;
        let told = word(world.door.witness(&by(&form(1, words), asked(number, action))).await);
        assert_eq!(told, said, "{words} for {action}");
    }
    let derive = |number, words: &str| {
        let named = [("kind", "operation"), ("subject", "agent/beta"), ("audience", "sop"), ("operation", "todo.show")];
        let asked = by(&form(1, words), ask(number, "token.derive", &token.to_string()));
        let asked = named.into_iter().fold(asked, |asked, (name, value)| with(asked, name, value));
        with(with(asked, "lifetime_ms", 1_000), "uses", 1)
    };
    assert_eq!(world.door.held(&derive(20, "")), Some(Secret::of(&secret(1)).digest()));
    assert_eq!(word(world.door.witness(&derive(20, "")).await), "allowed");
    for (number, words) in [(21, "on=x"), (22, "until=99999999999999"), (23, "to=agent/beta")] {
        let denied = world.door.witness(&derive(number, words)).await.map(drop).unwrap_err().denial;
        assert_eq!((denied.layer, denied.code.as_str()), (Layer::Admit, "bearer.narrowed"), "{words}");
    }
    // The registry's own no comes first, and what a secret opens is not asked of a form.
    assert_eq!(world.door.held(&bearing(1, asked(30, "todo.show"))), Some(Secret::of(&secret(1)).digest()));
    assert_eq!(world.door.held(&by(&form(1, "bearer.forged"), asked(31, "todo.show"))), None);
}

/// What is checked again and again ends with the key, and with the time that somebody set.
#[tokio::test]
async fn a_warrant_ends_with_the_form_that_it_was_opened_by() {
    let world = World::open().await;
    let call = |number| with(ask(number, "protocol.call", "arp"), "operation", "decide");
    let until = NOON + Millis::minutes(1);
    let words = format!("at=arp;does=decide;until={}", until.0);
    for (number, words) in [(1, words.as_str()), (2, "")] {
        world.issue_for("arp", "agent/alpha", number, "decide", 2, Grant::Operation).await;
        let warrant = Arc::clone(&world.door).open(&by(&form(number, words), call(number))).await.unwrap();
        assert!(warrant.check().is_ok() && warrant.check().is_ok(), "{words}");
        let code = if words.is_empty() {
            world.setup.keys_revoked.store(1, Ordering::SeqCst);
            "bearer.key_revoked"
        } else {
            world.later(Millis(until.0 - NOON.0 - 1));
            assert!(warrant.check().is_ok(), "the last instant");
            world.later(Millis(1));
            "bearer.not_for"
        };
        assert_eq!(warrant.check().unwrap_err().code, code);
    }
    world.setup.keys_revoked.store(0, Ordering::SeqCst);
    let elsewhere = by(&form(2, "does=other"), call(3));
    assert_eq!(word(Arc::clone(&world.door).open(&elsewhere).await), "bearer.not_for");
}

#[tokio::test]
async fn who_shows_one_is_told_who_he_is_and_a_trial_spends_nothing() {
    let world = World::open().await;
    let token = world.issue(1, "todo.release", 1).await;
    let whoami = |words: &str| by(&form(1, words), ask(1, "security.whoami", "*"));
    let known = world.door.introduce(&whoami("on=x")).await.unwrap();
    assert_eq!(known.bearer.principal().to_string(), "agent/alpha");
    assert_eq!(word(world.door.introduce(&whoami("bearer.forged")).await), "bearer.forged");
    let stop = by(&form(1, ""), ask(2, "system.stop", "*"));
    assert_eq!(word(world.door.witness(&stop).await), "door.operators_only");
    assert_eq!(world.left(token), 1);
    // Under a rate, forms of one subject count together, as its secrets do.
    let rate = door::Limits { requests_per_second: 1, burst: 2 };
    let world = World::with(Setup { rate, ..Setup::default() }, OPEN).await;
    world.issue(1, "todo.list", 9).await;
    let list =
        |number, words: &str| by(&form(1, words), Ask { command_id: id_at(NOON, number), ..ask(1, "todo.list", "*") });
    let asked = [list(1, ""), list(2, "on=*"), list(3, "does=todo.list")];
    let mut said = Vec::new();
    for ask in &asked {
        said.push(word(world.door.witness(ask).await));
    }
    assert_eq!(said, ["allowed", "allowed", "door.rate_limited"]);
    assert!(!format!("{:?}", asked[1]).contains("sop_bt_"), "no text shows");
    assert_eq!(Timestamp(NOON.0), world.now());
}
