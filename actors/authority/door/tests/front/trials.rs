//! A trial does nothing and spends nothing, says what would come of it, and is on record as a question.

use std::sync::{Arc, OnceLock};

use door::{Ask, Bound, Foreseen, TRY, Trial, Wanted};
use kernel::{Layer, Personal};

use crate::shelf::Command;
use crate::world::{OPEN, Setup, World, ask, bearing, told};

/// The same, only tried; what came of it is in the trial.
fn trying(ask: &Ask) -> (Ask, Trial) {
    let trial = Trial::of(ask.action);
    let bound = Bound { trial: Some(trial.clone()), ..ask.bound.clone() };
    (Ask { bound, ..ask.clone() }, trial)
}

async fn foreseen(world: &World, ask: &Ask, command: Command) -> Result<Foreseen, String> {
    let (ask, trial) = trying(ask);
    let code = world.door.perform(&ask, &world.shelf, command).await.map(drop).unwrap_err().denial.code;
    trial.told().map(|tried| tried.foreseen.clone()).ok_or(code)
}

fn code(foreseen: Result<Foreseen, String>) -> String {
    match foreseen {
        Ok(Foreseen::Denied(denial)) => format!("denied: {}", denial.code),
        Ok(Foreseen::Refused(denial)) => format!("refused: {}", denial.code),
        Ok(Foreseen::Changed(records)) => records.join(" "),
        Ok(Foreseen::Nothing) => "nothing".to_owned(),
        Ok(Foreseen::LetIn) => "let in".to_owned(),
        Err(code) => code,
    }
}

#[tokio::test]
async fn what_is_foreseen_is_what_comes_of_it() {
    let world = World::open().await;
    let put = |number: u8| ask(number, "todo.release", "todo-7");
    let tried = async |number: u8, things: u64| code(foreseen(&world, &put(number), Command::Put { things }).await);
    assert_eq!(tried(1, 7).await, "shelf.put");
    assert_eq!(tried(1, 101).await, "refused: shelf.full");
    assert_eq!(world.on_shelf().await, 0);
    assert_eq!(told(world.put(&put(1), 7).await), "7", "the id is still the command's");
    assert_eq!(tried(1, 7).await, "nothing", "it is done once");
    assert_eq!(tried(2, 94).await, "refused: shelf.full");
    assert_eq!(code(foreseen(&world, &put(3), Command::Break).await), "host.fault");
    assert_eq!(told(world.put(&put(4), 1).await), "8", "a question ends no incarnation");

    let questions = world.records("decisions");
    assert!(questions.iter().all(|record| record.asked.as_ref().is_some_and(|asked| asked.action() == TRY)));
    assert_eq!(questions.len(), 4);
    assert_eq!(questions[0].decision.policies, ["capability:self"]);
    let none = Command::PutEach { things: 0 };
    assert_eq!(code(foreseen(&world, &put(7), none).await), "nothing", "it is let in, and no record comes of it");
    let stranger = bearing(99, put(5));
    assert_eq!(code(foreseen(&world, &stranger, Command::Put { things: 1 }).await), "door.unknown_credential");
    let narrow = "permit (principal, action in [Action::\"policy.propose\", Action::\"policy.activate\"], resource);";
    world.activate(narrow).await;
    assert_eq!(tried(6, 1).await, "denied: policy.not_permitted");
    let record = world.records("decisions").pop().unwrap().decision;
    assert_eq!((record.policy_epoch, record.generation), (2, world.generation()));
}

#[tokio::test]
async fn neither_a_token_nor_an_approval_is_spent() {
    let world = World::open().await;
    let token = world.issue(1, "todo.release", 1).await;
    let put = bearing(1, ask(1, "todo.release", "todo-7"));
    for _ in 0..2 {
        assert_eq!(code(foreseen(&world, &put, Command::Put { things: 7 }).await), "shelf.put");
    }
    assert_eq!((world.left(token), world.on_shelf().await), (1, 0));
    assert_eq!(told(world.put(&put, 7).await), "7");
    let other = bearing(1, ask(2, "todo.release", "todo-7"));
    let Ok(Foreseen::Denied(denial)) = foreseen(&world, &other, Command::Put { things: 7 }).await else {
        panic!("it is exhausted")
    };
    assert_eq!((denial.layer, denial.code.as_str()), (Layer::Token, "tokens.double_spend"));

    let eyes = format!(
        "{OPEN} forbid (principal, action == Action::\"todo.release\", resource) unless {{ context.approvals >= 1 }};"
    );
    let world = World::with(Setup::default(), &eyes).await;
    let put = ask(1, "todo.release", "todo-7");
    assert_eq!(code(foreseen(&world, &put, Command::Put { things: 7 }).await), "denied: policy.approval_needed");
    let (arguments, reason) = (Personal::plain("{}"), Personal::plain("why"));
    let wanted = Wanted { arguments, reason, lifetime: None, asked: Arc::new(OnceLock::new()) };
    let asking = Ask { bound: Bound { wanted: Some(wanted), ..Bound::default() }, ..ask(90, "todo.release", "todo-7") };
    assert_eq!(told(world.put(&asking, 7).await), "approvals.asked");
    let approve = approvals::Command::Approve { request: 1 };
    world.approvals.execute(world.by("operator/anne", approve)).await.unwrap().outcome.unwrap();
    for _ in 0..2 {
        assert_eq!(code(foreseen(&world, &put, Command::Put { things: 7 }).await), "shelf.put");
    }
    assert_eq!(code(foreseen(&world, &put, Command::Put { things: 8 }).await), "denied: approvals.other_content");
    assert_eq!((told(world.put(&put, 7).await), world.on_shelf().await), ("7".to_owned(), 7));
}

#[tokio::test]
async fn a_stop_that_is_tried_stops_nothing() {
    let world = World::open().await;
    let (stop, trial) = trying(&ask(1, "system.stop", "*"));
    let reason = async |_| Some(Personal::plain("fire"));
    assert_eq!(world.door.stop(&stop, reason).await.unwrap_err().denial.code, "request.tried");
    assert_eq!(trial.told().unwrap().foreseen, Foreseen::LetIn);
    assert!(world.door.sealed().is_none());
    let (read, trial) = trying(&ask(2, "todo.show", "todo-7"));
    assert_eq!(world.door.witness(&read).await.unwrap_err().denial.code, "request.tried");
    assert_eq!(trial.told().unwrap().foreseen, Foreseen::LetIn);
}

/// What a command asks first is let in as what it is; the command itself is only tried.
#[tokio::test]
async fn what_is_asked_on_the_way_is_answered_and_not_recorded() {
    let world = World::open().await;
    let (put, trial) = trying(&ask(1, "todo.release", "todo-7"));
    let first = Ask { action: "todo.show", ..put.clone() };
    let pass = world.door.witness(&first).await.unwrap();
    assert_eq!((pass.principal.to_string().as_str(), trial.told()), ("operator/root", None));
    assert_eq!(world.records("decisions").len(), 0, "the whole of it is one question");
    assert_eq!(told(world.put(&put, 7).await), "request.tried");
    assert!(trial.told().is_some_and(|tried| tried.asked.action() == "todo.release"));
    assert_eq!(world.records("decisions").len(), 1);
}
