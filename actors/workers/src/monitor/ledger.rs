//! What the monitor has heard and seen, and not told yet: pure, and longer-lived than its incarnations.
//!
//! # Invariants
//! 1. The first end of a child is told at once, further ones counted and told once an interval: a child that loops costs a
//!    bounded number of records.
//! 2. What was told is not told again, and what was not told is not forgotten: it is counted.
//! 3. It grows with the tree, not with what happens in it.

use std::collections::{BTreeMap, VecDeque};

use health::{AT_ONCE_MAX, Command, Ends, Exit, Silence, TEXT_MAX, Trouble, Verdict, clipped};
use kernel::{Millis, Timestamp};
use supervisors::{self as sv, Decision, Node, NodeState, What};

/// Between two records of the ends of one child, and of silences.
pub(crate) const INTERVAL: Millis = Millis::minutes(1);
/// A restart takes less; what is down for longer is worth a reason.
const DOWN_AFTER: Millis = Millis::seconds(3);
/// The span over which slow groups of the journal are counted.
const WINDOW: Millis = Millis::minutes(1);

/// An instant by the wall clock, for records, and by the monotonic one, for spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Now {
    pub wall: Timestamp,
    pub mono: Millis,
}

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// The decision of supervision up to which all was heard.
    heard: u64,
    missed: u64,
    children: BTreeMap<String, Line>,
    silence: Option<Silence>,
    silence_told: Option<Millis>,
    /// Since when a child has been down.
    down: BTreeMap<String, Millis>,
    /// When the clocks were last looked at, and how far they have gone apart in one step since it was last told.
    looked: Option<Now>,
    jump: Millis,
    /// (when, groups, slow groups), oldest first.
    appends: VecDeque<(Millis, u64, u64)>,
}

/// The ends of one child.
#[derive(Debug, Default)]
struct Line {
    told: Option<Millis>,
    waiting: Option<Ends>,
    /// The child is not of the tree any more: forgotten once all is told.
    gone: bool,
}

impl Ledger {
    pub fn hear(&mut self, decision: &Decision, now: Timestamp) {
        if decision.sequence <= self.heard {
            return;
        }
        self.heard = decision.sequence;
        if decision.what == What::Removed
            && let Some(line) = self.children.get_mut(&*decision.path)
        {
            line.gone = true;
        }
        let What::Exited { exit, verdict } = &decision.what else { return };
        let Some(verdict) = judged(*verdict) else { return };
        let path = clipped(&decision.path, health::SUBJECT_MAX);
        let line = self.children.entry(path.clone()).or_default();
        line.gone = false;
        let (count, first) = line.waiting.as_ref().map_or((0, now), |waiting| (waiting.count, waiting.first));
        let (text, exit, epoch) = (clipped(&exit.to_string(), TEXT_MAX), word(exit), decision.epoch);
        line.waiting = Some(Ends { path, epoch, exit, text, verdict, count: count + 1, first, last: now });
    }

    /// The decisions up to this one were dropped before anybody came to them.
    pub fn miss(&mut self, up_to: u64) {
        self.missed += up_to.saturating_sub(self.heard);
        self.heard = self.heard.max(up_to);
    }

    /// Nothing can be recorded now.
    pub fn silenced(&mut self, why: &str, now: Now) {
        let silence = || Silence { ends: 0, missed: 0, first: now.wall, last: now.wall, why: clipped(why, TEXT_MAX) };
        self.silence.get_or_insert_with(silence).last = now.wall;
    }

    /// What is to be told now, if anything. It counts as told, unless it is given [`back`](Ledger::back).
    pub fn tell(&mut self, now: Now) -> Option<Command> {
        let due = |told: &Option<Millis>| told.is_none_or(|told| INTERVAL.0 <= now.mono.0 - told.0);
        let speaks = (self.silence.is_some() || self.missed != 0) && due(&self.silence_told);
        let mut ends = Vec::new();
        let lines = self.children.values_mut().filter(|line| due(&line.told));
        for line in lines.filter(|line| line.waiting.is_some()).take(AT_ONCE_MAX) {
            ends.extend(line.waiting.take());
            line.told = Some(now.mono);
        }
        self.children.retain(|_, line| !line.gone || line.waiting.is_some());
        let mut silence = None;
        if speaks {
            self.silence_told = Some(now.mono);
            let why = "decisions came faster than they were heard";
            let told = Silence { ends: 0, missed: 0, first: now.wall, last: now.wall, why: why.to_owned() };
            let told = self.silence.take().unwrap_or(told);
            let within = ends.iter().filter(|ends| told.first <= ends.last).map(|ends| ends.count).sum();
            silence = Some(Silence { ends: within, missed: std::mem::take(&mut self.missed), ..told });
        }
        (!ends.is_empty() || silence.is_some()).then_some(Command::Record { ends, silence })
    }

    /// It was not recorded after all: it waits on, together with what has come since.
    pub fn back(&mut self, command: Command) {
        let Command::Record { ends, silence } = command else { return };
        for ends in ends {
            let line = self.children.entry(ends.path.clone()).or_default();
            line.told = None;
            line.waiting = Some(match line.waiting.take() {
                None => ends,
                Some(later) => Ends { count: ends.count + later.count, first: ends.first, ..later },
            });
        }
        if let Some(silence) = silence {
            self.silence_told = None;
            self.missed += silence.missed;
            let last = self.silence.as_ref().map_or(silence.last, |later| later.last);
            self.silence = Some(Silence { missed: 0, ends: 0, last, ..silence });
        }
    }

    /// The children that are in trouble: quarantined, or down for longer than a restart takes.
    pub fn troubles(&mut self, tree: &Node, needed: &[&str], now: Now) -> Vec<Trouble> {
        let mut troubles = Vec::new();
        let mut down = BTreeMap::new();
        let mut left = vec![tree];
        while let Some(node) = left.pop() {
            left.extend(&node.children);
            let (quarantined, why) = match &node.state {
                NodeState::Quarantined { reason } => (true, Some(reason)),
                NodeState::Starting | NodeState::Restarting | NodeState::BackingOff { .. } => {
                    (false, node.last_exit.as_ref())
                }
                NodeState::Running | NodeState::Stopping | NodeState::Stopped => continue,
            };
            if !quarantined {
                let since = self.down.get(&node.path).copied().unwrap_or(now.mono);
                down.insert(node.path.clone(), since);
                if now.mono.0 - since.0 < DOWN_AFTER.0 {
                    continue;
                }
            }
            let why = why.map_or("it is starting", |exit| word(exit).as_str()).to_owned();
            let needed = is_needed(&node.path, needed);
            troubles.push(Trouble { path: clipped(&node.path, health::SUBJECT_MAX), quarantined, needed, why });
        }
        self.down = down;
        troubles.truncate(AT_ONCE_MAX);
        troubles
    }

    /// How far the wall clock has gone from the time that passed, in the largest step that was not told yet.
    pub fn jump(&mut self, now: Now) -> Millis {
        if let Some(before) = self.looked.replace(now) {
            let passed = now.mono.0 - before.mono.0;
            self.jump = self.jump.max(Millis(now.wall.0.abs_diff(before.wall.0 + passed)));
        }
        self.jump
    }

    pub fn jump_told(&mut self) {
        self.jump = Millis(0);
    }

    /// The groups that the journal stored within the last window, and the slow ones among them.
    pub fn appends(&mut self, groups: u64, slow: u64, now: Now) -> (u64, u64) {
        self.appends.push_back((now.mono, groups, slow));
        while self.appends.get(1).is_some_and(|(at, ..)| WINDOW.0 <= now.mono.0 - at.0) {
            self.appends.pop_front();
        }
        let (_, groups_then, slow_then) = self.appends.front().copied().unwrap_or_default();
        (groups - groups_then, slow - slow_then)
    }
}

/// Whether a node or one below it is needed.
pub fn is_needed(path: &str, needed: &[&str]) -> bool {
    needed.iter().any(|needed| needed.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}

/// What supervision decided by itself; an end that it had ordered is part of another decision.
fn judged(verdict: sv::Verdict) -> Option<Verdict> {
    match verdict {
        sv::Verdict::Restart { .. } => Some(Verdict::Restart),
        sv::Verdict::Done | sv::Verdict::Stop | sv::Verdict::AutoShutdown => Some(Verdict::Done),
        sv::Verdict::Quarantine => Some(Verdict::Quarantine),
        sv::Verdict::Escalate => Some(Verdict::Escalate),
        // And a child that did not come up when it was added is an answer to whoever added it.
        sv::Verdict::AsOrdered | sv::Verdict::TakeOut => None,
    }
}

/// An end without what it says, which is not for everybody.
pub fn word(exit: &sv::Exit) -> Exit {
    match exit {
        sv::Exit::Normal => Exit::Normal,
        sv::Exit::Shutdown => Exit::Shutdown,
        sv::Exit::Ignored => Exit::Ignored,
        sv::Exit::AutoShutdown(_) => Exit::AutoShutdown,
        sv::Exit::Killed => Exit::Killed,
        sv::Exit::Aborted => Exit::Aborted,
        sv::Exit::Unhealthy(_) => Exit::Unhealthy,
        sv::Exit::Panicked { .. } => Exit::Panicked,
        sv::Exit::Failed { .. } => Exit::Failed,
        sv::Exit::StartFailed(_) => Exit::StartFailed,
        sv::Exit::Unresponsive => Exit::Unresponsive,
        sv::Exit::Escalated(_) => Exit::Escalated,
    }
}

#[cfg(test)]
mod tests {
    use supervisors::{Exit as End, Kind, Restart, Strategy, Verdict as Judged};

    use super::*;

    fn at(seconds: u64) -> Now {
        Now { wall: Timestamp(1_000_000 + seconds * 1_000), mono: Millis::seconds(seconds) }
    }

    fn end(sequence: u64, path: &str, verdict: Judged) -> Decision {
        let what = What::Exited { exit: End::Killed, verdict };
        Decision { sequence, at: std::time::Duration::ZERO, path: path.into(), epoch: sequence, what }
    }

    fn restart() -> Judged {
        Judged::Restart { after: std::time::Duration::ZERO }
    }

    /// (path, epoch of the last, count) of each, and the silence.
    fn told(command: Option<Command>) -> (Vec<(String, u64, u64)>, Option<Silence>) {
        match command {
            None => (Vec::new(), None),
            Some(Command::Record { ends, silence }) => {
                (ends.into_iter().map(|ends| (ends.path, ends.epoch, ends.count)).collect(), silence)
            }
            Some(other) => panic!("{other:?}"),
        }
    }

    fn node(path: &str, state: NodeState, children: Vec<Node>) -> Node {
        Node {
            path: path.into(),
            name: path.into(),
            kind: Kind::Supervisor { strategy: Strategy::OneForOne },
            restart: Restart::Permanent,
            state,
            epoch: 1,
            restarts: 0,
            last_exit: Some(End::Panicked { message: "a secret".into(), place: None }),
            ends_supervisor: false,
            mailbox: None,
            refused: 0,
            children,
        }
    }

    #[test]
    fn a_child_that_loops_costs_one_record_a_minute() {
        let mut ledger = Ledger::default();
        let (mut records, mut ends) = (0, 0);
        for second in 0..600 {
            ledger.hear(&end(second + 1, "sop/a", restart()), at(second).wall);
            let (told, silence) = told(ledger.tell(at(second)));
            assert_eq!(silence, None);
            records += told.len();
            ends += told.iter().map(|(_, _, count)| count).sum::<u64>();
        }
        assert_eq!(records, 10, "the first at once, then one a minute");
        let (last, _) = told(ledger.tell(at(600)));
        assert_eq!(ends + last[0].2, 600, "and none is forgotten");
        assert_eq!(told(ledger.tell(at(6_000))), (vec![], None), "what was told is not told again");
    }

    #[test]
    fn each_child_is_told_for_itself_and_what_was_ordered_is_not() {
        let mut ledger = Ledger::default();
        for (sequence, path, verdict) in
            [(1, "sop/a", restart()), (2, "sop/b", Judged::Quarantine), (3, "sop/c", Judged::AsOrdered)]
        {
            ledger.hear(&end(sequence, path, verdict), at(0).wall);
        }
        ledger.hear(&end(2, "sop/b", restart()), at(0).wall);
        assert_eq!(
            told(ledger.tell(at(0))).0,
            [("sop/a".into(), 1, 1), ("sop/b".into(), 2, 1)],
            "heard again, not told"
        );
    }

    #[test]
    fn each_end_is_told_as_what_it_was() {
        let cause = || std::sync::Arc::new(sv::Cause { path: "sop/a/b".into(), epoch: 1, exits: vec![End::Killed] });
        let stuck = sv::Unhealth::Stuck { limit: std::time::Duration::from_secs(1) };
        let fault = sv::StartFault::Failed { error: "a secret".into() };
        let ends = [
            (End::Normal, "ended by itself"),
            (End::Ignored, "had nothing to do"),
            (End::Shutdown, "stopped as asked"),
            (End::AutoShutdown(cause()), "shut itself down"),
            (End::Killed, "killed"),
            (End::Aborted, "did not hear its kill"),
            (End::Unhealthy(stuck), "did not do its work"),
            (End::Panicked { message: "a secret".into(), place: None }, "panicked"),
            (End::Failed { error: "a secret".into() }, "failed"),
            (End::StartFailed(fault), "did not start"),
            (End::Unresponsive, "could not be ended"),
            (End::Escalated(cause()), "gave up on a child"),
        ];
        assert_eq!(ends.len(), Exit::ALL.len());
        for (exit, said) in ends {
            let mut ledger = Ledger::default();
            let what = What::Exited { exit, verdict: restart() };
            ledger.hear(&Decision { what, ..end(1, "sop/a", restart()) }, at(0).wall);
            let Some(Command::Record { ends, .. }) = ledger.tell(at(0)) else { panic!("{said} is not told") };
            assert_eq!(ends[0].exit.as_str(), said);
        }
    }

    #[test]
    fn a_child_that_is_removed_is_told_and_forgotten() {
        let mut ledger = Ledger::default();
        ledger.hear(&end(1, "sop/a", restart()), at(0).wall);
        ledger.hear(&Decision { what: What::Removed, ..end(2, "sop/a", restart()) }, at(0).wall);
        assert_eq!(ledger.children.len(), 1);
        assert_eq!(told(ledger.tell(at(0))).0.len(), 1);
        assert!(ledger.children.is_empty(), "it grows with the tree, not with what was in it");
    }

    #[test]
    fn what_is_given_back_waits_on() {
        let mut ledger = Ledger::default();
        ledger.hear(&end(1, "sop/a", restart()), at(0).wall);
        ledger.silenced("full", at(1));
        let command = ledger.tell(at(2)).unwrap();
        ledger.hear(&end(2, "sop/a", restart()), at(3).wall);
        ledger.silenced("full", at(4));
        ledger.back(command);
        let (ends, silence) = told(ledger.tell(at(5)));
        assert_eq!(ends, [("sop/a".into(), 2, 2)]);
        let silence = silence.unwrap();
        assert_eq!((silence.first, silence.last, silence.ends), (at(1).wall, at(4).wall, 2));
    }

    #[test]
    fn a_silence_is_told_when_it_is_over_and_once_a_minute() {
        let mut ledger = Ledger::default();
        for second in 0..30 {
            ledger.silenced("full", at(second));
        }
        ledger.hear(&end(1, "sop/a", restart()), at(20).wall);
        let (ends, silence) = told(ledger.tell(at(30)));
        assert_eq!(ends.len(), 1);
        let first = Silence { ends: 1, missed: 0, first: at(0).wall, last: at(29).wall, why: "full".into() };
        assert_eq!(silence, Some(first));
        ledger.silenced("full", at(31));
        assert_eq!(told(ledger.tell(at(32))).1, None, "a disk that flaps does not fill itself");
        ledger.silenced("full", at(40));
        let later = told(ledger.tell(at(90))).1.unwrap();
        assert_eq!((later.first, later.last), (at(31).wall, at(40).wall));
    }

    #[test]
    fn what_was_missed_is_counted_once() {
        let mut ledger = Ledger::default();
        ledger.hear(&end(3, "sop/a", restart()), at(0).wall);
        // Another reader begins with the oldest that is kept.
        ledger.miss(2);
        ledger.miss(10);
        ledger.hear(&end(9, "sop/b", restart()), at(0).wall);
        let (ends, silence) = told(ledger.tell(at(0)));
        assert_eq!((ends.len(), silence.unwrap().missed), (1, 7));
    }

    #[test]
    fn what_is_down_for_longer_than_a_restart_is_in_trouble() {
        let mut ledger = Ledger::default();
        let running = || node("sop/b", NodeState::Running, vec![]);
        let tree = |state: NodeState| node("sop", NodeState::Running, vec![node("sop/a", state, vec![]), running()]);
        let needed = ["sop/a/x"];
        assert_eq!(ledger.troubles(&tree(NodeState::Starting), &needed, at(0)), []);
        assert_eq!(ledger.troubles(&tree(NodeState::Starting), &needed, at(2)), []);
        let why = "panicked".to_owned();
        let down = Trouble { path: "sop/a".into(), quarantined: false, needed: true, why: why.clone() };
        assert_eq!(ledger.troubles(&tree(NodeState::Starting), &needed, at(3)), [down], "and not what it said");
        assert_eq!(ledger.troubles(&tree(NodeState::Running), &needed, at(4)), []);
        assert_eq!(ledger.troubles(&tree(NodeState::Starting), &needed, at(5)), [], "it was up in between");
        let quarantined = NodeState::Quarantined { reason: End::Killed };
        let at_once = ledger.troubles(&tree(quarantined), &["sop/ab"], at(6));
        let killed = Trouble { path: "sop/a".into(), quarantined: true, needed: false, why: "killed".into() };
        assert_eq!(at_once, [killed]);
    }

    #[test]
    fn clocks_that_go_apart_are_seen_until_it_is_told() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.jump(at(0)), Millis(0));
        assert_eq!(ledger.jump(at(9)), Millis(0), "time passed on both");
        let back = Now { wall: at(2).wall, ..at(10) };
        assert_eq!(ledger.jump(back), Millis::seconds(8));
        let on = Now { wall: at(3).wall, ..at(11) };
        assert_eq!(ledger.jump(on), Millis::seconds(8), "not told yet");
        ledger.jump_told();
        assert_eq!(ledger.jump(Now { wall: at(4).wall, ..at(12) }), Millis(0));
    }

    #[test]
    fn groups_are_counted_over_a_minute() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.appends(10, 1, at(0)), (0, 0), "what was before is not known to be recent");
        assert_eq!(ledger.appends(15, 2, at(30)), (5, 1));
        assert_eq!(ledger.appends(18, 2, at(60)), (8, 1));
        assert_eq!(ledger.appends(20, 2, at(90)), (5, 0));
    }
}
