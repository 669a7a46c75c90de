//! What holds after every history of a reference, however strange.
//!
//! Every message has a number, in the order in which they are sent off, and every sender writes down what it was told.
//! When all is over that is compared with what the incarnations say they did.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use supervisors::{
    Backoff, CallError, ChildRef, SendError, Strategy as Restarts, Supervisor, Tree, WhenFull, WhileDown,
};
use tokio::task::JoinSet;

use crate::echo::{LONG, Say, Script, ms, settle};

#[derive(Clone, Debug)]
enum Act {
    Cast,
    Send,
    /// Gives up after this long.
    SendFor(u64),
    Call(Option<u64>),
    /// Keeps the handler busy until somebody says go.
    Block,
    Go,
    Fail,
    Kill,
    Stop,
    /// Ends it for good, until the next release.
    Remove,
    Add,
    Pass(u64),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => Just(Act::Cast),
        6 => Just(Act::Send),
        2 => (1..80_u64).prop_map(Act::SendFor),
        6 => option::of(1..200_u64).prop_map(Act::Call),
        3 => Just(Act::Block),
        3 => Just(Act::Go),
        2 => Just(Act::Fail),
        3 => Just(Act::Kill),
        1 => Just(Act::Stop),
        1 => Just(Act::Remove),
        2 => Just(Act::Add),
        4 => (0..120_u64).prop_map(Act::Pass),
    ]
}

#[derive(Clone, Copy, Debug)]
struct Policy {
    mailbox: Option<(usize, WhenFull)>,
    while_down: WhileDown,
}

fn policy() -> impl Strategy<Value = Policy> {
    let when_full = prop_oneof![Just(WhenFull::Fail), (1..150_u64).prop_map(|wait| WhenFull::Wait(ms(wait)))];
    let while_down = prop_oneof![
        1 => Just(WhileDown::Fail),
        2 => (1..150_u64).prop_map(|wait| WhileDown::WaitUp(ms(wait))),
        4 => (1..4_usize).prop_map(WhileDown::Hold),
    ];
    (option::weighted(0.7, (1..4_usize, when_full)), while_down).prop_map(|(mailbox, while_down)| {
        let mailbox = mailbox.map(|(limit, when_full)| match while_down {
            WhileDown::Hold(held) => (limit.max(held), when_full),
            _ => (limit, when_full),
        });
        Policy { mailbox, while_down }
    })
}

/// What the sender of a message was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// It lies in a mailbox; in whose, a cast does not say.
    Sent(Option<u64>),
    /// It came back, or was given up while it had not been sent.
    Back,
    Answered(u64),
    Restarted(u64),
    Unknown,
}

/// What kind of message it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Note,
    /// It is not written down.
    Order,
}

struct World {
    policy: Policy,
    child: ChildRef<Say>,
    script: Script,
    tree: Tree,
    told: Vec<(u32, Kind, Told)>,
    waiting: JoinSet<(u32, Kind, Told)>,
    numbers: u32,
}

impl World {
    async fn new(policy: Policy) -> Self {
        let (child, script) = (ChildRef::new("child"), Script::default());
        let tree =
            Tree::start(Supervisor::new("root", Restarts::OneForOne).intensity(u32::MAX, LONG), 1).await.unwrap();
        let mut world = Self { policy, child, script, tree, told: Vec::new(), waiting: JoinSet::new(), numbers: 0 };
        world.act(Act::Add).await;
        world
    }

    fn spec(&self) -> supervisors::Child {
        let spec = match self.policy.mailbox {
            Some((limit, when_full)) => self.script.bounded(&self.child, limit, when_full),
            None => self.script.child(&self.child),
        };
        spec.while_down(self.policy.while_down).shutdown(ms(50)).backoff(Backoff::exp(ms(40), ms(80)))
    }

    fn cast(&mut self, kind: Kind, say: impl FnOnce(u32) -> Say) {
        self.numbers += 1;
        let told = match self.child.cast(say(self.numbers)) {
            Ok(()) => Told::Sent(None),
            Err(_) => Told::Back,
        };
        self.told.push((self.numbers, kind, told));
    }

    async fn act(&mut self, act: Act) {
        match act {
            Act::Cast => self.cast(Kind::Note, Say::Note),
            Act::Block => self.cast(Kind::Order, |_| Say::Block),
            Act::Fail => self.cast(Kind::Order, |_| Say::Fail),
            Act::Send | Act::SendFor(_) => {
                self.numbers += 1;
                let (child, number) = (self.child.clone(), self.numbers);
                let patience = if let Act::SendFor(patience) = act { ms(patience) } else { LONG };
                self.waiting.spawn(async move {
                    let told = match tokio::time::timeout(patience, child.send(Say::Note(number))).await {
                        Ok(Ok(epoch)) => Told::Sent(Some(epoch)),
                        Ok(Err(SendError::Down(Say::Note(back)) | SendError::Full(Say::Note(back)))) => {
                            assert_eq!(back, number, "its own message");
                            Told::Back
                        }
                        Ok(Err(_)) => panic!("it was a note"),
                        // It stopped waiting.
                        Err(_) => Told::Back,
                    };
                    (number, Kind::Note, told)
                });
            }
            Act::Call(deadline) => {
                self.numbers += 1;
                let (child, number) = (self.child.clone(), self.numbers);
                self.waiting.spawn(async move {
                    let told = match child.call(|reply| Say::Ask(number, reply), deadline.map(ms)).await {
                        Ok(epoch) => Told::Answered(epoch),
                        Err(CallError::Down | CallError::Full) => Told::Back,
                        Err(CallError::Timeout) => Told::Unknown,
                        Err(CallError::Restarted { epoch }) => Told::Restarted(epoch),
                        Err(CallError::Unanswered) => {
                            panic!("{number}: every question that is taken in hand is answered")
                        }
                    };
                    (number, Kind::Note, told)
                });
            }
            Act::Go => self.script.go.add_permits(1),
            // It may be down, or not there.
            Act::Kill => drop(self.tree.kill("root/child").await),
            Act::Stop => drop(self.child.stop(self.child.epoch())),
            Act::Remove => drop(self.tree.remove("root/child").await),
            Act::Add => drop(self.tree.add("root", self.spec()).await),
            Act::Pass(time) => tokio::time::sleep(ms(time)).await,
        }
        // Whoever was sent off has come to where it waits, so that the numbers are the order of the sends.
        tokio::task::yield_now().await;
        self.check_bounds();
    }

    fn check_bounds(&self) {
        if let (Some(load), Some((limit, _))) = (self.child.load(), self.policy.mailbox) {
            assert!(load.limit == limit && load.waiting <= limit, "{load:?}");
            assert_eq!(load.oldest.is_some(), load.waiting > 0);
        }
        let places = if let WhileDown::Hold(places) = self.policy.while_down { places } else { 0 };
        assert!(self.child.held() <= places);
    }

    async fn end(mut self) {
        self.tree.shutdown(LONG).await;
        while let Some(told) = self.waiting.join_next().await {
            self.told.push(told.expect("no sender fails"));
        }
        settle().await;
        let log = self.script.logged();
        let mut handled = BTreeMap::new();
        for (epoch, number) in &log {
            assert_eq!(handled.insert(*number, *epoch), None, "{number} was handled twice: {log:?}");
        }
        let mut accepted = 0;
        for (number, kind, told) in &self.told {
            let did = handled.get(number).copied();
            match *told {
                Told::Back => assert_eq!(did, None, "{number} came back and was handled"),
                Told::Answered(epoch) => assert_eq!(did, Some(epoch), "{number}"),
                // The incarnation that has it is the one it was sent to, if it was not lost with that.
                Told::Sent(Some(epoch)) | Told::Restarted(epoch) => {
                    assert!(did.is_none_or(|did| did == epoch), "{number}: {told:?}, {did:?}");
                    assert!((1..=self.child.epoch()).contains(&epoch));
                }
                Told::Sent(None) | Told::Unknown => {}
            }
            accepted += u64::from(*told != Told::Back);
            assert!(*kind == Kind::Note || did.is_none());
        }
        // All that was accepted was taken in hand once, or is lost and counted.
        if self.policy.mailbox.is_some() {
            let taken = self.script.taken.load(Ordering::Relaxed);
            assert_eq!(accepted, taken + self.child.lost(), "{:?}", self.told);
        }
        // Where nobody waits on his own, one order is kept by all.
        let in_turn = !matches!(self.policy.while_down, WhileDown::WaitUp(_))
            && !matches!(self.policy.mailbox, Some((_, WhenFull::Wait(_))));
        if in_turn {
            assert!(log.is_sorted(), "{log:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn every_message_has_one_fate_and_its_sender_knows_it(policy in policy(), acts in vec(act(), 0..64)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let mut world = World::new(policy).await;
            for act in acts {
                world.act(act).await;
            }
            let end = tokio::time::timeout(Duration::from_hours(1), world.end());
            end.await.expect("everybody is told in the end");
        });
    }
}
