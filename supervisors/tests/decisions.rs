//! One row per situation of the decision core, most of them from OTP's `supervisor_SUITE` (numbers in brackets).
//!
//! A row is a script. Each line has the event on the left and on the right all that must follow from it. Time passes
//! with `after MS`, and with `due N` by more than any back-off here; `early N` is the same timer before its time. A child
//! is its number; `up 1` is about its current epoch, `up 1#2` about epoch 2. `add 3 x` adds a child of this kind. Kinds
//! are letters: p(ermanent), t(ransient), x (temporary), s for a permanent supervisor, b for a permanent child that is
//! killed without warning, u for one that may take as long as it likes to stop; T and X are significant.
//! `change 0 all pp` changes the strategy, and adds two children that are not started.

use std::time::Duration;

use supervisors::step::{Action, Change, ChildRules, Event, Rules, State, Timer, step};
use supervisors::{
    AutoShutdown, Backoff, Budget, Exhausted, Exit, Restart, Shutdown, StartFault, Strategy, Unhealth, Verdict, What,
};

use Exhausted::{Escalate, Quarantine};
use Strategy::{OneForAll, OneForOne, RestForOne};

const LIMIT: Duration = Duration::from_secs(1);
const INTENSITY: Budget = Budget { restarts: 2, within: Duration::from_secs(5) };

struct Desk {
    state: State,
    now: Duration,
    on_exhausted: Exhausted,
}

fn rules(at: usize, kind: char, on_exhausted: Exhausted) -> ChildRules {
    ChildRules {
        path: format!("top/{at}").into(),
        restart: match kind {
            't' | 'T' => Restart::Transient,
            'x' | 'X' => Restart::Temporary,
            _ => Restart::Permanent,
        },
        significant: kind.is_uppercase(),
        shutdown: match kind {
            's' | 'u' => Shutdown::Unlimited,
            'b' => Shutdown::BrutalKill,
            _ => Shutdown::Within(LIMIT),
        },
        start_timeout: (kind != 's').then_some(LIMIT),
        backoff: Backoff::exp(Duration::from_millis(100), Duration::from_millis(200)),
        budget: None,
        on_exhausted,
    }
}

impl Desk {
    /// `kinds` has one letter per child.
    fn new(strategy: Strategy, auto_shutdown: AutoShutdown, on_exhausted: Exhausted, kinds: &str) -> Self {
        let children = kinds.chars().enumerate().map(|(at, kind)| rules(at, kind, on_exhausted));
        let intensity = INTENSITY;
        let rules = Rules { strategy, intensity, auto_shutdown, pool: false, children: children.collect() };
        Self::of(rules, on_exhausted)
    }

    /// A pool, which has no members yet.
    fn pool(on_exhausted: Exhausted) -> Self {
        let intensity = INTENSITY;
        let (strategy, auto_shutdown) = (OneForOne, AutoShutdown::Never);
        Self::of(Rules { strategy, intensity, auto_shutdown, pool: true, children: Vec::new() }, on_exhausted)
    }

    fn of(rules: Rules, on_exhausted: Exhausted) -> Self {
        let record = vec![(0, 0); rules.children.len()];
        Self { state: State::new(rules, record, 1), now: Duration::ZERO, on_exhausted }
    }

    fn play(&mut self, event: &str) -> String {
        let words: Vec<_> = event.split(' ').collect();
        let subject = words.get(1).copied().unwrap_or("0");
        let (child, epoch) = subject.split_once('#').unwrap_or((subject, ""));
        let number: usize = child.parse().unwrap();
        if words[0] == "after" {
            self.now += Duration::from_millis(number.try_into().unwrap());
            return String::new();
        }
        let child = number;
        let epoch = epoch.parse().unwrap_or_else(|_| self.state.ward(child).map_or(0, |ward| ward.epoch));
        let ended = |exit| Event::Ended { child, epoch, exit };
        let due = |timer| Event::Due { child, epoch, timer };
        let event = match words[0] {
            "begin" => Event::Begin,
            "stop" => Event::Stop,
            "release" => Event::Restart { child },
            "add" => {
                let kind = words.get(2).and_then(|kind| kind.chars().next()).unwrap_or('p');
                Event::Add { child, epoch: 0, rules: rules(child, kind, self.on_exhausted) }
            }
            "change" => {
                let kinds = words.get(3).copied().unwrap_or_default();
                let strategy = match words[2] {
                    "one" => OneForOne,
                    "all" => OneForAll,
                    _ => RestForOne,
                };
                let added = kinds.chars().map(|kind| (0, rules(9, kind, self.on_exhausted))).collect();
                let (auto_shutdown, intensity) = (AutoShutdown::Never, INTENSITY);
                let rules = Rules { strategy, intensity, auto_shutdown, pool: false, children: Vec::new() };
                Event::Change(Box::new(Change { rules, children: Vec::new(), added }))
            }
            "terminate" => Event::Terminate { child },
            "remove" => Event::Remove { child },
            "up" => Event::Started { child, epoch },
            "sick" => Event::Unhealthy { child, epoch, fault: Unhealth::Stuck { limit: LIMIT } },
            "well" => Event::Healthy { child, epoch },
            "lingers" => Event::Lingers { child, epoch, exit: Exit::Killed },
            "normal" => ended(Exit::Normal),
            "shutdown" => ended(Exit::Shutdown),
            "killed" => ended(Exit::Killed),
            "unstarted" => ended(Exit::StartFailed(StartFault::Failed { error: "no".to_owned() })),
            "ignored" => ended(Exit::Ignored),
            "torn" => ended(Exit::StartFailed(StartFault::Unrecoverable { reason: "torn".to_owned() })),
            "late-start" => due(Timer::Start),
            "late-stop" => due(Timer::Stop),
            "late-kill" => due(Timer::Confirm),
            "early" => due(Timer::Backoff),
            "due" => {
                self.now += Duration::from_millis(200);
                due(Timer::Backoff)
            }
            other => panic!("no event {other}"),
        };
        let actions = step(&mut self.state, event, self.now);
        let told: Vec<_> = actions.iter().filter_map(|action| self.tell(action)).collect();
        told.join(", ")
    }

    fn check(mut self, row: &str, script: &[(&str, &str)]) {
        for (line, (event, expected)) in script.iter().enumerate() {
            assert_eq!(self.play(event), *expected, "{row}, line {line}: {event}");
        }
    }

    fn tell(&self, action: &Action) -> Option<String> {
        let told = match action {
            Action::Start { child, epoch } => format!("start {child}#{epoch}"),
            Action::Stop { child, .. } => format!("stop {child}"),
            Action::Kill { child, .. } => format!("kill {child}"),
            Action::Abort { child, .. } => format!("abort {child}"),
            Action::Rest { child } => format!("rest {child}"),
            Action::Arm { child, timer: Timer::Backoff, at, .. } => {
                format!("wait {child} {}", at.saturating_sub(self.now).as_millis())
            }
            Action::Record { child, what: What::Exited { verdict: Verdict::Quarantine, .. }, .. } => {
                format!("quarantine {child}")
            }
            Action::Record { child, what: What::Exited { verdict: Verdict::TakeOut, .. }, .. } => {
                format!("take out {child}")
            }
            Action::Admit { child } => format!("admit {child}"),
            Action::Forget { child, epoch, last_exit: None } => format!("forget {child}#{epoch}"),
            Action::Forget { child, epoch, last_exit: Some(exit) } => format!("forget {child}#{epoch}: {exit}"),
            Action::Keep { child } => format!("keep {child}"),
            Action::Up => "ready".to_owned(),
            Action::End { exit: Exit::Shutdown } => "end in order".to_owned(),
            Action::End { exit } => format!("end: {exit}"),
            Action::Arm { .. } | Action::Disarm { .. } | Action::Record { .. } => return None,
        };
        Some(told)
    }
}

fn check(row: &str, strategy: Strategy, on_exhausted: Exhausted, kinds: &str, script: &[(&str, &str)]) {
    Desk::new(strategy, AutoShutdown::Never, on_exhausted, kinds).check(row, script);
}

/// The script's start: three children come up one by one.
const THREE: [(&str, &str); 4] =
    [("begin", "start 0#1"), ("up 0", "start 1#1"), ("up 1", "start 2#1"), ("up 2", "ready")];

fn check_three(row: &str, strategy: Strategy, on_exhausted: Exhausted, kinds: &str, script: &[(&str, &str)]) {
    check(row, strategy, on_exhausted, kinds, &[&THREE[..], script].concat());
}

#[test]
fn starting() {
    for strategy in [OneForOne, OneForAll, RestForOne] {
        check("(1) nobody to start", strategy, Escalate, "", &[("begin", "ready"), ("stop", "end in order")]);
        check_three("in order", strategy, Escalate, "pps", &[]);
        let failing = [
            ("begin", "start 0#1"),
            ("up 0", "start 1#1"),
            ("up 1", "start 2#1"),
            ("unstarted 2", "stop 1"),
            ("normal 1", "stop 0"),
            ("normal 0", "end: did not start: top/2 (epoch 1): did not start: no"),
        ];
        check("(31, F13) a failing start rolls back in reverse", strategy, Escalate, "ppp", &failing);
        check("a temporary child's too", strategy, Quarantine, "ppx", &failing);
        let late = [
            ("begin", "start 0#1"),
            ("up 0", "start 1#1"),
            ("late-start 1", "kill 1"),
            ("up 1", ""),
            ("killed 1", "stop 0"),
            ("normal 0", "end: did not start: top/1 (epoch 1): did not start: not up within 1s"),
        ];
        check("a start that takes too long", strategy, Escalate, "pp", &late);
        let torn = [("begin", "start 0#1"), ("torn 0", "quarantine 0, start 1#1"), ("up 1", "ready")];
        check("what cannot recover does not hold up the others", strategy, Escalate, "pp", &torn);
        let stopped = [("begin", "start 0#1"), ("up 0", "start 1#1"), ("stop", "stop 1"), ("up 1", "")];
        let stopped = [&stopped[..], &[("normal 1", "stop 0"), ("killed 0", "end in order")]].concat();
        check("a stop in the middle of the start", strategy, Escalate, "pp", &stopped);
    }
    let crash = [
        ("begin", "start 0#1"),
        ("up 0", "start 1#1"),
        ("killed 0", ""),
        ("up 1", "start 0#2"),
        ("up 0", "start 2#1"),
        ("up 2", "ready"),
    ];
    check("a crash during the start waits for its turn", OneForOne, Escalate, "ppp", &crash);
    let crash = [
        ("begin", "start 0#1"),
        ("up 0", "start 1#1"),
        ("killed 0", "stop 1"),
        ("up 1", ""),
        ("normal 1", "start 0#2"),
        ("up 0", "start 1#2"),
        ("up 1", "ready"),
    ];
    check("a crash during the start takes along who was starting", RestForOne, Escalate, "pp", &crash);
}

#[test]
fn health() {
    let sick = [("sick 1", "kill 1"), ("sick 1", ""), ("killed 1", "start 1#2"), ("sick 1", ""), ("up 1", "")];
    check_three("who does not do its work is killed, and restarted", OneForOne, Escalate, "ppp", &sick);
    let sick = [("sick 1", "kill 1"), ("killed 1", "stop 2"), ("normal 2", "start 1#2")];
    check_three("with those after it", RestForOne, Escalate, "ppp", &sick);
    let stale =
        [("killed 1", "start 1#2"), ("up 1", ""), ("sick 1#1", ""), ("well 1#1", ""), ("killed 1", "wait 1 100")];
    check_three("of one that is gone nothing is heard", OneForOne, Escalate, "ppp", &stale);
    let stopped = [("terminate 1", "stop 1"), ("sick 1", ""), ("normal 1", "rest 1"), ("sick 1", ""), ("well 1", "")];
    check_three("who is asked to stop need not be well", OneForOne, Escalate, "ppp", &stopped);
    let quick = [("sick 1", "kill 1"), ("normal 1", "")];
    check_three("its own end was quicker", OneForOne, Escalate, "ptp", &quick);
    let spent = [("sick 1", "kill 1"), ("killed 1", "start 1#2"), ("up 1", "")];
    let again = [("sick 1", "kill 1"), ("killed 1", "wait 1 100"), ("due 1", "start 1#3"), ("up 1", "")];
    let last = [("sick 1", "kill 1"), ("killed 1", "quarantine 1")];
    check_three("it is charged like any end", OneForOne, Quarantine, "ppp", &[&spent[..], &again, &last].concat());
    let well = [("killed 1", "start 1#2"), ("up 1", ""), ("well 1", ""), ("killed 1", "start 1#3")];
    check_three("who is well begins its back-off anew", OneForOne, Escalate, "ppp", &well);
    let well = [&well[..], &[("up 1", ""), ("well 1", ""), ("killed 1", "quarantine 1")]].concat();
    check_three("and not its budget", OneForOne, Quarantine, "ppp", &well);
    let deaf = [("sick 1", "kill 1"), ("late-kill 1", "abort 1"), ("late-kill 1", "quarantine 1")];
    check_three("who does not hear its kill is unresponsive", OneForOne, Quarantine, "ppp", &deaf);
    let removed =
        [("sick 1", "kill 1"), ("remove 1", ""), ("killed 1", "forget 1#1: unhealthy: one handler ran for 1s")];
    check_three("who is removed in the meantime is gone", OneForOne, Escalate, "ppp", &removed);
    let closing = [("sick 1", "kill 1"), ("stop", "stop 2"), ("normal 2", ""), ("killed 1", "stop 0")];
    check_three("the others wait for it", OneForOne, Escalate, "ppp", &closing);
    let starting = [("begin", "start 0#1"), ("up 0", "start 1#1"), ("sick 0", "kill 0"), ("up 1", "")];
    let starting = [&starting[..], &[("killed 0", "start 0#2"), ("up 0", "ready")]].concat();
    check("in the middle of the start it was up", OneForOne, Escalate, "pp", &starting);
}

#[test]
fn restart_kinds() {
    for (row, kind, end, follows) in [
        ("(45) permanent, normal", "p", "normal 0", "start 0#2"),
        ("(46) transient, normal", "t", "normal 0", ""),
        ("(47) temporary, normal", "x", "normal 0", "forget 0#1: ended normally"),
        ("(48) permanent, shutdown", "p", "shutdown 0", "start 0#2"),
        ("(49) transient, shutdown", "t", "shutdown 0", ""),
        ("(50) temporary, shutdown", "x", "shutdown 0", "forget 0#1: stopped as asked"),
        ("(52) permanent, abnormal", "p", "killed 0", "start 0#2"),
        ("(53) transient, abnormal", "t", "killed 0", "start 0#2"),
        ("(54) temporary, abnormal", "x", "killed 0", "forget 0#1: killed"),
    ] {
        for strategy in [OneForOne, OneForAll, RestForOne] {
            let script = [("begin", "start 0#1"), ("up 0", "ready"), (end, follows)];
            check(row, strategy, Escalate, kind, &script);
        }
    }
    let quiet = [("normal 1", ""), ("stop", "stop 2"), ("normal 2", "stop 0"), ("normal 0", "end in order")];
    check_three("who ends for good takes nobody along", OneForAll, Escalate, "ptp", &quiet);
    let again = [("normal 1", ""), ("release 1", "start 1#2"), ("up 1", ""), ("release 1", "")];
    check_three("and can be started by hand", OneForAll, Escalate, "ptp", &again);
}

#[test]
fn one_for_one() {
    let third = [
        ("killed 1", "start 1#2"),
        ("up 1", ""),
        ("after 60000", ""),
        ("killed 1", "start 1#3"),
        ("up 1", ""),
        ("killed 1", "wait 1 100"),
        ("killed 0", "stop 2"),
        ("normal 2", "end: gave up on top/0 (epoch 1): killed"),
    ];
    check_three("(29, 30) spaced crashes are free, the third in a window is not", OneForOne, Escalate, "ppp", &third);
    let failing = [
        ("killed 1", "start 1#2"),
        ("unstarted 1", "wait 1 100"),
        ("due 1", "start 1#3"),
        ("unstarted 1", "stop 2"),
        ("normal 2", "stop 0"),
        ("normal 0", "end: gave up on top/1 (epoch 3): did not start: no"),
    ];
    check_three("(31) every failed start is charged", OneForOne, Escalate, "ppp", &failing);
    let loops = [
        ("killed 1", "start 1#2"),
        ("unstarted 1", "wait 1 100"),
        ("stop", "stop 2"),
        ("due 1", ""),
        ("normal 2", "stop 0"),
        ("normal 0", "end in order"),
    ];
    check_three("(80) a stop during a back-off starts nothing", OneForOne, Escalate, "ppp", &loops);
}

#[test]
fn one_for_all() {
    let both = [
        ("killed 1", "stop 2"),
        ("normal 2", "stop 0"),
        ("normal 0", "start 0#2"),
        ("up 0", "start 1#2"),
        ("up 1", "start 2#2"),
        ("up 2", ""),
    ];
    check_three("(32) the others stop in reverse, all start in order", OneForAll, Escalate, "ppp", &both);
    let other_fails = [
        ("killed 2", "stop 1"),
        ("normal 1", "stop 0"),
        ("normal 0", "start 0#2"),
        ("up 0", "start 1#2"),
        ("unstarted 1", "stop 0"),
        ("normal 0", "start 0#3"),
        ("up 0", "start 1#3"),
        ("up 1", "start 2#2"),
        ("up 2", ""),
    ];
    check_three("(34) a sibling that fails to start begins the round anew", OneForAll, Escalate, "ppp", &other_fails);
    let delayed = [
        &both[..],
        &[("killed 1", "wait 1 100, stop 2"), ("normal 2", "stop 0"), ("normal 0", ""), ("due 1", "start 0#3")],
    ]
    .concat();
    check_three("siblings stop at once, all wait for the back-off", OneForAll, Escalate, "ppp", &delayed);
    let bystander = [
        ("killed 0", "stop 2"),
        ("normal 2", "stop 1"),
        ("normal 1", "forget 1#1: stopped as asked, start 0#2"),
        ("up 0", "start 2#2"),
    ];
    check_three("(78) a temporary sibling does not come back", OneForAll, Escalate, "pxp", &bystander);
}

#[test]
fn rest_for_one() {
    let rest = [("killed 1", "stop 2"), ("normal 2", "start 1#2"), ("up 1", "start 2#2"), ("up 2", "")];
    check_three("(41) those before it are left alone", RestForOne, Escalate, "ppp", &rest);
    let later_fails = [
        ("killed 0", "stop 2"),
        ("normal 2", "stop 1"),
        ("normal 1", "start 0#2"),
        ("up 0", "start 1#2"),
        ("unstarted 1", "start 1#3"),
        ("up 1", "start 2#2"),
        ("up 2", ""),
    ];
    check_three("(43) the retry starts at the one that failed", RestForOne, Escalate, "ppp", &later_fails);
    let uncharged = [
        ("killed 0", "stop 2"),
        ("killed 1", ""),
        ("killed 2", "start 0#2"),
        ("up 0", "start 1#2"),
        ("up 1", "start 2#2"),
        ("up 2", ""),
        ("killed 1", "stop 2"),
        ("normal 2", "start 1#3"),
        ("up 1", "start 2#3"),
        ("up 2", ""),
        ("killed 2", "stop 1"),
    ];
    check_three("who falls with the one before it is not charged", RestForOne, Escalate, "ppp", &uncharged);
    let wider = [
        ("killed 1", "stop 2"),
        ("killed 0", ""),
        ("normal 2", "start 0#2"),
        ("up 0", "start 1#2"),
        ("up 1", "start 2#2"),
        ("up 2", ""),
    ];
    check_three("an earlier one that fails meanwhile widens the group", RestForOne, Escalate, "ppp", &wider);
}

#[test]
fn stopping() {
    let reverse = [("stop", "stop 2"), ("normal 2", "stop 1"), ("normal 1", "stop 0"), ("normal 0", "end in order")];
    let ladder = [
        ("stop", "stop 2"),
        ("late-stop 2", "kill 2"),
        ("killed 2", "stop 1"),
        ("late-stop 1", "kill 1"),
        ("late-kill 1", "abort 1"),
        ("late-kill 1", "stop 0"),
        ("normal 0", "end in order"),
    ];
    let race = [
        ("stop", "stop 2"),
        ("killed 0", ""),
        ("killed 1", ""),
        ("stop", ""),
        ("normal 2", "end in order"),
        ("begin", ""),
    ];
    for strategy in [OneForOne, OneForAll, RestForOne] {
        check_three("(87) in reverse start order", strategy, Escalate, "ptx", &reverse);
        check_three("(17) ask, kill, abort, give up", strategy, Escalate, "ppp", &ladder);
        check_three("(21) who ends by itself meanwhile is not restarted", strategy, Escalate, "ppp", &race);
        check("before the start", strategy, Escalate, "p", &[("stop", "end in order"), ("begin", "")]);
    }
}

#[test]
fn quarantine() {
    let spent = [
        ("killed 1", "start 1#2"),
        ("up 1", ""),
        ("killed 1", "wait 1 100"),
        ("due 1", "start 1#3"),
        ("up 1", ""),
        ("killed 1", "quarantine 1"),
        ("due 1", ""),
        ("killed 0", "start 0#2"),
        ("up 0", ""),
        ("killed 0", "wait 0 100"),
        ("release 1", "start 1#4"),
        ("up 1", ""),
        ("killed 1", "start 1#5"),
        ("release 1", ""),
    ];
    check_three("each child has the budget for itself", OneForOne, Quarantine, "ppp", &spent);
    let torn = [("killed 1", "stop 2"), ("normal 2", "start 1#2"), ("torn 1", "quarantine 1, start 2#2"), ("up 2", "")];
    check_three("what cannot recover is left out of its group", RestForOne, Escalate, "ppp", &torn);
    let others = [&torn[..], &[("killed 0", "stop 2"), ("normal 2", "start 0#2"), ("up 0", "start 2#3")]].concat();
    check_three("also when the group restarts", RestForOne, Escalate, "ppp", &others);
    let stuck = [
        ("killed 0", "stop 2"),
        ("late-stop 2", "kill 2"),
        ("late-kill 2", "abort 2"),
        ("late-kill 2", "quarantine 2, stop 1"),
        ("normal 1", "start 0#2"),
        ("up 0", "start 1#2"),
        ("up 1", ""),
        ("release 2", ""),
        ("killed 2", ""),
        ("release 2", "start 2#2"),
    ];
    check_three("who cannot be ended is not replaced while it lives", OneForAll, Quarantine, "ppp", &stuck);
    let lingers = [("lingers 1", "quarantine 1"), ("release 1", ""), ("killed 1", ""), ("release 1", "start 1#2")];
    check_three("nor is a supervisor that left something behind", OneForOne, Quarantine, "psp", &lingers);
    let escalates = [
        ("lingers 1", "stop 2"),
        ("normal 2", "stop 0"),
        ("normal 0", "end: gave up on top/1 (epoch 1): unresponsive: neither stop nor kill ended it"),
    ];
    check_three("or its supervisor ends", OneForOne, Escalate, "psp", &escalates);
}

#[test]
fn stale_news_changes_nothing() {
    let stale = [
        ("killed 1", "start 1#2"),
        ("killed 1#1", ""),
        ("up 1#1", ""),
        ("late-start 1#1", ""),
        ("up 1", ""),
        ("late-start 1", ""),
        ("late-stop 1", ""),
        ("late-kill 1", ""),
        ("due 1", ""),
        ("killed 1", "wait 1 100"),
        ("early 1", ""),
        ("killed 1", ""),
        ("due 1", "start 1#3"),
        ("due 1#2", ""),
    ];
    check_three("epochs tell", OneForOne, Escalate, "ppp", &stale);
    let early = [
        ("begin", "start 0#1"),
        ("up 0", "start 1#1"),
        ("killed 0", ""),
        ("up 1", "start 0#2"),
        ("up 0#1", ""),
        ("up 0", "ready"),
    ];
    check("an earlier incarnation is not the one waited for", OneForOne, Escalate, "pp", &early);
}

#[test]
fn adding() {
    for strategy in [OneForOne, OneForAll, RestForOne] {
        let last = [
            ("add 3", "start 3#1"),
            ("up 3", "admit 3"),
            ("stop", "stop 3"),
            ("normal 3", "stop 2"),
            ("normal 2", "stop 1"),
            ("normal 1", "stop 0"),
            ("normal 0", "end in order"),
            ("add 4", ""),
        ];
        check_three("(F28) starts at once and stops first", strategy, Escalate, "ppp", &last);
        for (row, end, exit) in [
            ("fails", "unstarted 3", "did not start: no"),
            ("cannot recover", "torn 3", "did not start: unrecoverable: torn"),
            ("is killed", "killed 3", "killed"),
        ] {
            let taken_out = format!("take out 3, forget 3#1: {exit}");
            for on_exhausted in [Escalate, Quarantine] {
                let script = [
                    ("add 3", "start 3#1"),
                    (end, &*taken_out),
                    ("up 3#1", ""),
                    ("release 3", ""),
                    ("remove 3", ""),
                    ("add 4", "start 4#1"),
                    (end, ""),
                    ("up 4", "admit 4"),
                ];
                check_three(&format!("who {row} is taken out"), strategy, on_exhausted, "ppp", &script);
            }
        }
        let late = [
            ("add 3", "start 3#1"),
            ("late-start 3", "kill 3"),
            ("up 3", ""),
            ("killed 3", "take out 3, forget 3#1: did not start: not up within 1s"),
        ];
        check_three("a start that takes too long", strategy, Escalate, "ppp", &late);
        let stuck = [
            ("add 3", "start 3#1"),
            ("late-start 3", "kill 3"),
            ("late-kill 3", "abort 3"),
            ("late-kill 3", "quarantine 3, keep 3"),
            ("release 3", ""),
            ("remove 3", "keep 3"),
            ("killed 3", "forget 3#1: unresponsive: neither stop nor kill ended it"),
        ];
        check_three("who cannot be ended keeps its place until it has", strategy, Escalate, "ppp", &stuck);
        let two = [("begin", "start 0#1"), ("add 1", ""), ("up 0", "start 1#1"), ("up 1", "admit 1, ready")];
        check("it waits for its turn in the first start", strategy, Escalate, "p", &two);
        let failing = [("begin", "start 0#1"), ("add 1", ""), ("up 0", "start 1#1")];
        let failing = [&failing[..], &[("unstarted 1", "take out 1, forget 1#1: did not start: no, ready")]].concat();
        check("and does not fail it", strategy, Escalate, "p", &failing);
        let closing = [("add 3", "start 3#1"), ("stop", "stop 3"), ("up 3", ""), ("normal 3", "stop 2")];
        check_three("a stop in the midst of it", strategy, Escalate, "ppp", &closing);
    }
    let free = [
        ("killed 0", "start 0#2"),
        ("up 0", ""),
        ("add 3", "start 3#1"),
        ("unstarted 3", "take out 3, forget 3#1: did not start: no"),
        ("add 4", "start 4#1"),
        ("unstarted 4", "take out 4, forget 4#1: did not start: no"),
        ("killed 1", "start 1#2"),
    ];
    check_three("who is taken out costs nobody a restart", OneForOne, Escalate, "ppp", &free);
    let charged = [
        ("add 3", "start 3#1"),
        ("up 3", "admit 3"),
        ("killed 3", "start 3#2"),
        ("unstarted 3", "wait 3 100"),
        ("due 3", "start 3#3"),
        ("up 3", ""),
        ("killed 3", "stop 2"),
    ];
    check_three("but once it has been up it is one like the others", OneForOne, Escalate, "ppp", &charged);
    let grouped = [
        ("add 3 x", "start 3#1"),
        ("killed 1", "stop 3"),
        ("normal 3", "stop 2"),
        ("normal 2", "start 1#2"),
        ("up 1", "start 2#2"),
        ("up 2", "start 3#2"),
        ("up 3", "admit 3"),
        ("killed 0", "stop 3"),
        ("normal 3", "forget 3#2: stopped as asked, stop 2"),
        ("normal 2", "stop 1"),
        ("normal 1", "start 0#2"),
        ("up 0", "start 1#3"),
        ("up 1", "start 2#3"),
        ("up 2", ""),
    ];
    check_three("who falls with its group before it is up, rises with it", RestForOne, Escalate, "ppp", &grouped);
    let waiting = [
        ("killed 1", "stop 2"),
        ("normal 2", "start 1#2"),
        ("unstarted 1", "wait 1 100"),
        ("add 3", ""),
        ("due 1", "start 1#3"),
        ("up 1", "start 2#2"),
        ("up 2", "start 3#1"),
        ("up 3", "admit 3"),
    ];
    check_three("one that depends on others waits for them", RestForOne, Escalate, "ppp", &waiting);
}

#[test]
fn removing() {
    for strategy in [OneForOne, OneForAll, RestForOne] {
        let up = [
            ("remove 1", "stop 1"),
            ("remove 1", ""),
            ("normal 1", "forget 1#1: stopped as asked"),
            ("remove 1", ""),
            ("killed 1#1", ""),
            ("late-stop 1#1", ""),
            ("stop", "stop 2"),
            ("normal 2", "stop 0"),
            ("normal 0", "end in order"),
        ];
        check_three("(F29, F30) one that is up; the others do not notice", strategy, Escalate, "ppp", &up);
        let ladder = [
            ("remove 1", "stop 1"),
            ("late-stop 1", "kill 1"),
            ("killed 1", "forget 1#1: killed"),
            ("killed 0", if strategy == OneForOne { "start 0#2" } else { "stop 2" }),
        ];
        check_three("one that refuses", strategy, Escalate, "ppp", &ladder);
        let stuck = [
            ("remove 1", "stop 1"),
            ("late-stop 1", "kill 1"),
            ("late-kill 1", "abort 1"),
            ("late-kill 1", "quarantine 1, keep 1"),
            ("remove 1", "keep 1"),
            ("killed 1", ""),
            ("remove 1", "forget 1#1: unresponsive: neither stop nor kill ended it"),
        ];
        check_three("one that cannot be ended ends nobody else", strategy, Escalate, "ppp", &stuck);
        let starting = [("begin", "start 0#1"), ("up 0", "start 1#1"), ("remove 1", "stop 1"), ("up 1", "")];
        let starting = [&starting[..], &[("normal 1", "forget 1#1: stopped as asked, ready")]].concat();
        check("one that is starting", strategy, Escalate, "pp", &starting);
        let unstarted = [("begin", "start 0#1"), ("remove 1", "forget 1#0"), ("up 0", "ready")];
        check("one that has not started", strategy, Escalate, "pp", &unstarted);
        let adding = [("add 3", "start 3#1"), ("remove 3", "stop 3"), ("up 3", "")];
        let adding = [&adding[..], &[("normal 3", "forget 3#1: stopped as asked")]].concat();
        check_three("one that is being added", strategy, Escalate, "ppp", &adding);
        let done = [("normal 1", ""), ("remove 1", "forget 1#1: ended normally"), ("release 1", "")];
        check_three("one that is over", strategy, Escalate, "ptp", &done);
        let torn = [("begin", "start 0#1"), ("torn 0", "quarantine 0, start 1#1"), ("up 1", "ready")];
        let torn = [&torn[..], &[("remove 0", "forget 0#1: did not start: unrecoverable: torn")]].concat();
        check("one in quarantine", strategy, Escalate, "pp", &torn);
        let closing = [
            ("remove 0", "stop 0"),
            ("stop", "stop 2"),
            ("remove 1", ""),
            ("normal 0", "forget 0#1: stopped as asked"),
            ("normal 2", "stop 1"),
            ("normal 1", "end in order"),
        ];
        check_three("a stop in the midst of it", strategy, Escalate, "ppp", &closing);
    }
    let waiting = [
        ("killed 1", "start 1#2"),
        ("unstarted 1", "wait 1 100"),
        ("remove 1", "forget 1#2: did not start: no"),
        ("due 1#2", ""),
    ];
    check_three("one that is backing off", OneForOne, Escalate, "ppp", &waiting);
    let held = [
        ("killed 1", "stop 2"),
        ("normal 2", "start 1#2"),
        ("up 1", "start 2#2"),
        ("up 2", ""),
        ("killed 1", "wait 1 100, stop 2"),
        ("normal 2", ""),
        ("remove 1", "forget 1#2: killed, start 2#3"),
    ];
    check_three("then those that waited for it start", RestForOne, Escalate, "ppp", &held);
    let turn = [
        ("killed 0", "stop 2"),
        ("normal 2", "stop 1"),
        ("normal 1", "start 0#2"),
        ("remove 1", "forget 1#1: stopped as asked"),
        ("up 0", "start 2#2"),
    ];
    check_three("one that waits for its turn", OneForAll, Escalate, "ppp", &turn);
    let both = [
        ("remove 1", "stop 1"),
        ("killed 0", "stop 2"),
        ("normal 2", ""),
        ("normal 1", "forget 1#1: stopped as asked, start 0#2"),
        ("up 0", "start 2#2"),
    ];
    check_three("a restart of the group waits until it is gone", OneForAll, Escalate, "ppp", &both);
}

#[test]
fn terminating() {
    for strategy in [OneForOne, OneForAll, RestForOne] {
        let up = [
            ("terminate 1", "stop 1"),
            ("terminate 1", ""),
            ("normal 1", "rest 1"),
            ("terminate 1", "rest 1"),
            ("killed 1#1", ""),
            ("release 1", "start 1#2"),
            ("up 1", ""),
            ("terminate 7", ""),
        ];
        check_three("(23, F29) one that is up, and again", strategy, Escalate, "ppp", &up);
        let temporary = [("terminate 1", "stop 1"), ("normal 1", "forget 1#1: stopped as asked"), ("release 1", "")];
        check_three("a temporary one has no use for its specification", strategy, Escalate, "pxp", &temporary);
        let both = [("terminate 1", "stop 1"), ("remove 1", ""), ("killed 1", "forget 1#1: killed")];
        check_three("one that is also removed", strategy, Escalate, "ppp", &both);
        let other = [("remove 1", "stop 1"), ("terminate 1", ""), ("killed 1", "forget 1#1: killed")];
        check_three("in whatever order", strategy, Escalate, "ppp", &other);
        let opening = [("begin", "start 0#1"), ("terminate 1", "rest 1"), ("up 0", "start 2#1"), ("up 2", "ready")];
        check("one whose turn to start has not come", strategy, Escalate, "ppp", &opening);
        let adding = [("add 3", "start 3#1"), ("terminate 3", "stop 3"), ("normal 3", "forget 3#1: stopped as asked")];
        check_three("one that is being added", strategy, Escalate, "ppp", &adding);
        let stuck = [
            ("terminate 1", "stop 1"),
            ("late-stop 1", "kill 1"),
            ("late-kill 1", "abort 1"),
            ("late-kill 1", "quarantine 1, keep 1"),
        ];
        check_three("one that cannot be ended", strategy, Escalate, "ppp", &stuck);
        let closing = [
            ("terminate 0", "stop 0"),
            ("stop", "stop 2"),
            ("terminate 1", ""),
            ("normal 0", "rest 0"),
            ("normal 2", "stop 1"),
            ("normal 1", "end in order"),
        ];
        check_three("a stop in the midst of it", strategy, Escalate, "ppp", &closing);
    }
    let waiting = [
        ("killed 1", "start 1#2"),
        ("unstarted 1", "wait 1 100"),
        ("terminate 1", "rest 1"),
        ("due 1#2", ""),
        ("release 1", "start 1#3"),
    ];
    check_three("(80, F23) one that is backing off starts no more", OneForOne, Escalate, "ppp", &waiting);
    let free = [("terminate 1", "stop 1"), ("killed 1", "rest 1"), ("release 1", "start 1#2"), ("up 1", "")];
    let free = [&free[..], &free[..1], &[("killed 1", "rest 1"), ("killed 0", "start 0#2")]].concat();
    check_three("it costs nothing", OneForOne, Escalate, "ppp", &free);
    let back = [
        ("terminate 1", "stop 1"),
        ("normal 1", "rest 1"),
        ("killed 0", "stop 2"),
        ("normal 2", "start 0#2"),
        ("up 0", "start 1#2"),
        ("up 1", "start 2#2"),
        ("up 2", ""),
    ];
    check_three("(56) its group takes it along", OneForAll, Escalate, "ptp", &back);
    let before = [("terminate 0", "stop 0"), ("normal 0", "rest 0"), ("killed 1", "stop 2"), ("normal 2", "start 1#2")];
    check_three("but not one that is not of the group", RestForOne, Escalate, "ppp", &before);
    let turn = [
        ("killed 0", "stop 2"),
        ("normal 2", "stop 1"),
        ("normal 1", "start 0#2"),
        ("terminate 1", "rest 1"),
        ("up 0", "start 2#2"),
    ];
    check_three("one that waits for its turn in the group", OneForAll, Escalate, "ppp", &turn);
    let unrecoverable = [("begin", "start 0#1"), ("torn 0", "quarantine 0, ready"), ("terminate 0", "rest 0")];
    check("one in quarantine", OneForOne, Escalate, "p", &unrecoverable);
}

#[test]
fn kinds_of_stop() {
    for strategy in [OneForOne, OneForAll, RestForOne] {
        let brutal = [("stop", "kill 2"), ("killed 2", "stop 1"), ("normal 1", "stop 0"), ("late-stop 0", "kill 0")];
        check_three("(19) killed without a word", strategy, Escalate, "pub", &brutal);
        let deaf = [("terminate 2", "kill 2"), ("late-kill 2", "abort 2"), ("killed 2", "rest 2")];
        check_three("and aborted if that is not heard", strategy, Escalate, "ppb", &deaf);
        let patient = [("stop", "stop 2"), ("late-start 2", ""), ("normal 2", "stop 1"), ("normal 1", "stop 0")];
        check_three("(16) without a limit, also for a worker", strategy, Escalate, "ppu", &patient);
    }
}

#[test]
fn ignoring() {
    for strategy in [OneForOne, OneForAll, RestForOne] {
        let first = [
            ("begin", "start 0#1"),
            ("ignored 0", "start 1#1"),
            ("ignored 1", "forget 1#1: ignored its start, start 2#1"),
            ("up 2", "ready"),
            ("release 0", "start 0#2"),
            ("up 0", ""),
        ];
        check("(3, 4, F15) it is no failure", strategy, Escalate, "pxp", &first);
        let all = [("begin", "start 0#1"), ("ignored 0", "ready"), ("stop", "end in order")];
        check("of everybody", strategy, Escalate, "p", &all);
        let added = [("add 3", "start 3#1"), ("ignored 3", "admit 3"), ("release 3", "start 3#2"), ("up 3", "")];
        check_three("(3) one that is added has been added", strategy, Escalate, "ppp", &added);
        let gone = [("add 3 x", "start 3#1"), ("ignored 3", "admit 3, forget 3#1: ignored its start")];
        check_three("(5) and forgotten if it is temporary", strategy, Escalate, "ppp", &gone);
        let late = [("begin", "start 0#1"), ("late-start 0", "kill 0")];
        let end = "end: did not start: top/0 (epoch 1): did not start: not up within 1s";
        let late = [&late[..], &[("ignored 0", end)]].concat();
        check("too late", strategy, Escalate, "p", &late);
    }
    let again = [("killed 1", "start 1#2"), ("ignored 1", ""), ("killed 0", "start 0#2"), ("up 0", "")];
    check_three("at a restart", OneForOne, Escalate, "ppp", &again);
    let group = [("killed 1", "stop 2"), ("normal 2", "start 1#2"), ("ignored 1", "start 2#2"), ("up 2", "")];
    let group = [&group[..], &[("killed 0", "stop 2"), ("normal 2", "start 0#2"), ("up 0", "start 1#3")]].concat();
    check_three("its group tries it again", RestForOne, Escalate, "ppp", &group);
}

#[test]
fn significance() {
    use AutoShutdown::{AllSignificant, AnySignificant, Never};
    let play = |row: &str, strategy, auto_shutdown, kinds: &str, script: &[(&str, &str)]| {
        let script = [&THREE[..], script].concat();
        Desk::new(strategy, auto_shutdown, Escalate, kinds).check(row, &script);
    };
    for strategy in [OneForOne, OneForAll, RestForOne] {
        for end in ["normal", "shutdown"] {
            let (one, two) = (format!("{end} 1"), format!("{end} 2"));
            let quiet = [(&*one, ""), ("stop", "stop 2")];
            play("(57, 58) nobody is significant", strategy, AnySignificant, "ptp", &quiet);
            play("by default", strategy, Never, "pTp", &quiet);
            let exit = "end: shut itself down after top/1 (epoch 1): ended normally";
            let any = [("normal 1", "stop 2"), ("normal 2", "stop 0"), ("normal 0", exit)];
            play("(60) any", strategy, AnySignificant, "pTT", &any);
            let all = [(&*one, ""), (&*two, "stop 0")];
            play("(60) all: only the last one", strategy, AllSignificant, "pTT", &all);
        }
        let any = [("killed 1", "forget 1#1: killed, stop 2"), ("normal 2", "stop 0")];
        play("(59) a temporary one, however it ends", strategy, AnySignificant, "pXp", &any);
        let last = [("killed 1", "forget 1#1: killed"), ("normal 2", "forget 2#1: ended normally, stop 0")];
        play("(59) all: only the last one", strategy, AllSignificant, "pXX", &last);
        let ordered = [("terminate 1", "stop 1"), ("normal 1", "rest 1"), ("normal 2", "stop 0")];
        play("(59, F27) who is terminated is not counted, but gone", strategy, AllSignificant, "pTT", &ordered);
        let opening = [("begin", "start 0#1"), ("up 0", "start 1#1"), ("normal 0", "ready, stop 1")];
        let end = "end: shut itself down after top/0 (epoch 1): ended normally";
        let opening = [&opening[..], &[("killed 1", end)]].concat();
        let desk = Desk::new(strategy, AnySignificant, Escalate, "Tp");
        desk.check("in the middle of the start", &opening);
    }
    let restart = [("killed 1", "start 1#2"), ("up 1", ""), ("normal 1", "stop 2")];
    play("(60) a transient one that fails is restarted", OneForOne, AnySignificant, "pTp", &restart);
    let bystander = [
        ("killed 0", "stop 2"),
        ("normal 2", "stop 1"),
        ("normal 1", "start 0#2"),
        ("up 0", "start 1#2"),
        ("up 1", "start 2#2"),
    ];
    play("(62) who ends with its group triggers nothing", OneForAll, AnySignificant, "pTT", &bystander);
    let ignored = [("begin", "start 0#1"), ("ignored 0", "ready")];
    Desk::new(OneForOne, AnySignificant, Escalate, "T").check("nor does one that ignores its start", &ignored);
    let held = [("begin", "start 0#1"), ("torn 0", "quarantine 0, start 1#1"), ("up 1", "ready"), ("normal 1", "")];
    let desk = Desk::new(OneForOne, AllSignificant, Escalate, "TT");
    desk.check("who is in quarantine is not over", &held);
}

#[test]
fn stop_for_good() {
    let spent =
        [("killed 1", "start 1#2"), ("up 1", ""), ("killed 1", "wait 1 100"), ("due 1", "start 1#3"), ("up 1", "")];
    let alone = [&spent[..], &[("killed 1", ""), ("killed 0", "start 0#2"), ("release 1", "start 1#4")]].concat();
    check_three("only the child", OneForOne, Exhausted::Stop, "ppp", &alone);
    let members = [("begin", "start 0#1"), ("up 0", "ready"), ("killed 0", "start 0#2"), ("up 0", "")];
    let others =
        [("killed 0", "wait 0 100"), ("due 0", "start 0#3"), ("up 0", ""), ("killed 0", ""), ("add 1", "start 1#1")];
    let group = [("up 1", "admit 1"), ("killed 1", "start 1#2"), ("up 1", "")];
    let group = [&members[..], &others, &group].concat();
    check("its group does not bring it back", OneForAll, Exhausted::Stop, "p", &group);
    let all = [("begin", "start 0#1"), ("up 0", "ready"), ("killed 0", "start 0#2"), ("up 0", "")];
    let end = "end: shut itself down after top/0 (epoch 3): killed";
    let all = [&all[..], &others[..3], &[("killed 0", end)]].concat();
    Desk::new(OneForOne, AutoShutdown::AllSignificant, Exhausted::Stop, "T").check("and if that was all", &all);
}

#[test]
fn pools() {
    let four = [
        ("begin", "ready"),
        ("add 0", "start 0#1"),
        ("add 1 t", "start 1#1"),
        ("add 2 x", "start 2#1"),
        ("up 1", "admit 1"),
        ("add 3 b", "start 3#1"),
        ("up 0", "admit 0"),
        ("up 2", "admit 2"),
        ("up 3", "admit 3"),
    ];
    let play = |row: &str, on_exhausted, script: &[(&str, &str)]| {
        Desk::pool(on_exhausted).check(row, &[&four[..], script].concat());
    };
    let stop = [
        ("stop", "stop 0, stop 1, stop 2, kill 3"),
        ("normal 1", ""),
        ("late-stop 0", "kill 0"),
        ("killed 3", ""),
        ("normal 2", ""),
        ("killed 0", "end in order"),
    ];
    play("(18, 20, 36, F24) all stop at once", Escalate, &stop);
    let ends = [
        ("normal 0", "start 0#2"),
        ("normal 1", "forget 1#1: ended normally"),
        ("killed 2", "forget 2#1: killed"),
        ("terminate 3", "kill 3"),
        ("killed 3", "forget 3#1: killed"),
        ("terminate 3", ""),
        ("up 0", ""),
    ];
    play("(24, 35) who ends for good is forgotten", Escalate, &ends);
    let fails = [("add 4", "start 4#1"), ("unstarted 4", "take out 4, forget 4#1: did not start: no")];
    play("(12) and so is who does not come up", Escalate, &fails);
    let ignores = [("add 4", "start 4#1"), ("ignored 4", "admit 4, forget 4#1: ignored its start")];
    play("(6, 7) or ignores its start", Escalate, &ignores);
    let ignores = [("killed 0", "start 0#2"), ("ignored 0", "forget 0#2: ignored its start")];
    play("(40) also at a restart", Escalate, &ignores);
    let waits =
        [("killed 0", "start 0#2"), ("unstarted 0", "wait 0 100"), ("terminate 0", "forget 0#2: did not start: no")];
    play("(82) or is terminated while it backs off", Escalate, &waits);
    let spent = [("killed 0", "start 0#2"), ("up 0", ""), ("killed 1", "start 1#2"), ("up 1", "")];
    let escalates = [&spent[..], &[("killed 0", "stop 1, stop 2, kill 3")]].concat();
    play("(35, 38) members share a budget", Escalate, &escalates);
    let stops = [("killed 0", "start 0#2"), ("up 0", ""), ("killed 0", "wait 0 100"), ("due 0", "start 0#3")];
    let stops = [&stops[..], &[("up 0", ""), ("killed 0", "forget 0#3: killed"), ("killed 1", "start 1#2")]].concat();
    play("unless each has its own", Exhausted::Stop, &stops);
}

#[test]
fn changing() {
    for strategy in ["one", "all", "rest"] {
        let quiet = format!("change 0 {strategy} pp");
        let script =
            [(&*quiet, ""), ("release 3", "start 3#1"), ("up 3", ""), ("stop", "stop 3"), ("change 0 one", "")];
        check_three("(83, F33) who is new is down", OneForOne, Escalate, "ppp", &script);
    }
    let group = [
        ("change 0 rest p", ""),
        ("killed 1", "stop 2"),
        ("normal 2", "start 1#2"),
        ("up 1", "start 2#2"),
        ("up 2", "start 3#1"),
        ("up 3", ""),
    ];
    check_three("and starts with its group", OneForOne, Escalate, "ppp", &group);
    let spared = [
        ("killed 1", "stop 2"),
        ("change 0 one", "start 1#2"),
        ("normal 2", "start 2#2"),
        ("killed 0", "start 0#2"),
        ("up 0", ""),
        ("killed 0", "stop 2"),
    ];
    check_three(
        "who has not been asked to stop goes on, and its ends are its own",
        OneForAll,
        Escalate,
        "ppp",
        &spared,
    );
    let each = [
        ("killed 1", "start 1#2"),
        ("killed 0", "start 0#2"),
        ("change 0 all", ""),
        ("up 1", ""),
        ("unstarted 0", "wait 0 100, stop 2"),
    ];
    check_three("who starts alone is part of the group from now on", OneForOne, Quarantine, "ppp", &each);
}
