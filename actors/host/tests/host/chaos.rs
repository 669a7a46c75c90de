//! Kills at random under load, judged by what the clients were told.
//!
//! Each client runs its commands one after the other and repeats each under its id until it is answered. The judge is the
//! clients' own notes: everything acknowledged stands in the record exactly once, at the place it was acknowledged for,
//! with the answer that was given, and nothing else has any effect. The seed decides what is asked and when who is killed;
//! the scheduler decides the rest, so a failing seed is a place to look and not a replay.

use std::collections::BTreeMap;
use std::sync::Arc;

use host::{Answer, Limits};
use journal::envelope;
use kernel::CommandId;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::ledger::{AddedV1, Command, Event, Ledger, Refusal, Reply, TakenV1};
use crate::world::{JOURNAL, LEDGER, NOON, Setup, World, id_at, order, told};

const CALLERS: u64 = 32;
const COMMANDS: u64 = 25;
const KILLS: u64 = 12;

/// SplitMix64: small, and the same everywhere.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound
    }
}

struct Acknowledged {
    id: CommandId,
    command: Command,
    answer: Answer<Ledger>,
}

/// Asks until there is an answer. Every other end must be one that a caller is told to repeat.
async fn insist(world: &World, number: u64, command: &Command) -> Answer<Ledger> {
    loop {
        match world.ledger.execute(order(number, command.clone())).await {
            Ok(answer) => return answer,
            Err(error) => {
                let code = error.code();
                assert!(
                    ["host.down", "host.outcome_unknown", "host.overloaded", "journal.closed"].contains(&code),
                    "{error}"
                );
                world.ledger.up().await;
                tokio::task::yield_now().await;
            }
        }
    }
}

async fn client(world: Arc<World>, seed: u64, caller: u64, done: Arc<watch::Sender<u64>>) -> Vec<Acknowledged> {
    let mut dice = Dice(seed ^ caller.wrapping_mul(0x1000_0000_01B3));
    let mut notes = Vec::new();
    for turn in 0..COMMANDS {
        let command = match dice.below(4) {
            0 => Command::Add { amount: 0 },
            1 => Command::Take { amount: dice.below(60) },
            _ => Command::Add { amount: 1 + dice.below(20) },
        };
        let number = caller * COMMANDS + turn;
        let answer = insist(&world, number, &command).await;
        if dice.below(8) == 0 {
            let again = insist(&world, number, &command).await;
            assert!(again.repeated);
            assert_eq!((again.first, again.last, &again.outcome), (answer.first, answer.last, &answer.outcome));
        }
        notes.push(Acknowledged { id: id_at(NOON, number), command, answer });
        done.send_modify(|done| *done += 1);
    }
    notes
}

/// Kills one of the two after a random number of answers, again and again.
async fn killer(world: Arc<World>, seed: u64, done: Arc<watch::Sender<u64>>) {
    let mut dice = Dice(!seed);
    let mut progress = done.subscribe();
    for _ in 0..KILLS {
        let from = *progress.borrow();
        let target = (from + 1 + dice.below(40)).min(CALLERS * COMMANDS);
        progress.wait_for(|done| target <= *done).await.unwrap();
        let whom = if dice.below(4) == 0 { JOURNAL } else { LEDGER };
        world.tree.kill(whom).await.unwrap();
    }
}

fn judge(world: &World, notes: &[Acknowledged]) {
    let mut by_id: BTreeMap<CommandId, &Acknowledged> = notes.iter().map(|note| (note.id, note)).collect();
    assert_eq!(by_id.len() as u64, CALLERS * COMMANDS);
    let mut balance = 0;
    let mut facts = Vec::new();
    for (version, record) in (1..).zip(world.records()) {
        assert_eq!(record.version.0, version, "versions have no gap");
        if record.kind_id == journal::OPENED.id {
            continue;
        }
        let Some(note) = by_id.remove(&record.command_id) else {
            panic!("record {} ran a second time, or nobody asked for it", record.sequence)
        };
        assert_eq!((note.answer.first, note.answer.last), (record.sequence, record.sequence));
        let (event, outcome) = match note.command {
            Command::Add { amount: 0 } => (None, Ok(Reply(balance))),
            Command::Add { amount } => (Some(Event::Added(AddedV1 { amount })), Ok(Reply(balance + amount))),
            Command::Take { amount } if amount <= balance => {
                (Some(Event::Taken(TakenV1 { amount })), Ok(Reply(balance - amount)))
            }
            Command::Take { .. } => (None, Err(Refusal::Overdrawn { balance })),
            _ => unreachable!("nobody asks for more"),
        };
        assert_eq!(note.answer.outcome, outcome, "told as if all ran one after the other, in the order of the record");
        let kept = match record.answer {
            envelope::Answer::Reply(json) => Ok(serde_json::from_slice(&json).unwrap()),
            envelope::Answer::Refusal(json) => Err(serde_json::from_slice(&json).unwrap()),
            envelope::Answer::None => panic!("each command keeps its answer"),
        };
        assert_eq!(kept, note.answer.outcome);
        if let Ok(Reply(now)) = outcome {
            balance = now;
        }
        facts.extend(event.filter(|_| world.seen.restored() < version));
    }
    assert!(by_id.is_empty(), "acknowledged, but not on record: {:?}", by_id.keys());
    assert_eq!(world.seen.facts(), facts, "the view saw each fact once, in order");
    assert_eq!(world.seen.ledger().balance, balance, "whether it was told of them, or of what they came to");
}

async fn survive(seed: u64) {
    println!("seed {seed}");
    // Seldom, all the time, and never.
    let snapshot_every = [10_000, 10, 0][usize::try_from(seed % 3).unwrap()];
    let limits = Limits { snapshot_every, ..Limits::default() };
    let world = Arc::new(Setup { restarts: 10_000, limits, ..Setup::default() }.start().await);
    let done = Arc::new(watch::Sender::new(0));
    let mut killing = JoinSet::new();
    killing.spawn(killer(world.clone(), seed, done.clone()));
    let mut clients = JoinSet::new();
    for caller in 0..CALLERS {
        clients.spawn(client(world.clone(), seed, caller, done.clone()));
    }
    let notes = clients.join_all().await;
    killing.join_all().await;
    for notes in &notes {
        assert!(notes.is_sorted_by_key(|note| note.answer.first), "one caller's commands keep their order");
    }
    let notes: Vec<_> = notes.into_iter().flatten().collect();
    world.ledger.up().await;
    // The last kill may still be on its way.
    while world.ledger.inspect(|_| ()).await.is_err() {
        world.ledger.up().await;
        tokio::task::yield_now().await;
    }
    judge(&world, &notes);
    let epoch = world.tree.snapshot().find(LEDGER).unwrap().epoch;
    assert!(1 < epoch, "the kills came through");

    let world = Arc::into_inner(world).expect("all have gone home").again().await;
    judge(&world, &notes);
    for note in notes.iter().step_by(37) {
        let again =
            told(world.ledger.execute(host::Order { command_id: note.id, ..order(0, note.command.clone()) }).await);
        assert!(again.ends_with(", again"), "{again}");
    }
    assert_eq!(world.journal.verify(kernel::Sequence(1)).unwrap().broken, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_killed_each_acknowledged_command_ran_once() {
    for seed in 1..=6 {
        survive(seed).await;
    }
}

/// One thread schedules otherwise than two.
#[tokio::test]
async fn whatever_is_killed_each_acknowledged_command_ran_once_on_one_thread() {
    for seed in 101..=104 {
        survive(seed).await;
    }
}
