//! What is measured, the same for every system.
//!
//! One supervisor that restarts at once and without end, and children that know which incarnation they are. A child
//! announces itself from its start hook; what is timed ends when the new incarnation has answered a call.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinSet;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Metric {
    /// From the kill of a child to the answer of its next incarnation.
    Kill,
    /// From the message that makes a child panic to the answer of its next incarnation.
    Crash,
    /// [`Metric::Kill`] with idle threads: kills 5 ms apart.
    Cool,
    /// From the kill of one of ten to the answers of all ten, under one-for-all.
    All10,
    /// [`Metric::Kill`] among 10,000 idle siblings.
    Kill10k,
    /// Children started one by one until each has answered.
    Start,
    /// Calls of one caller to one child.
    Call1,
    /// Calls of 64 callers to one child.
    Call64,
    /// Growth of the resident set for each of 50,000 idle children.
    Memory,
    /// Start and ordered stop of a tree of 10,000 children that are listed in its specification.
    Static10k,
    /// The same with 100,000.
    Static100k,
}

/// Figures of ours that are compared with each other, and what is asked of them.
pub const GROWTH: [(Metric, Metric, &str); 2] = [
    (Metric::Kill10k, Metric::Kill, "a kill among 10,000 siblings / among none"),
    (Metric::Static100k, Metric::Static10k, "100,000 children start and stop / 10,000"),
];

const BATCHES: usize = 5;
/// So that no window over which restarts are counted (1 s) holds more than one batch.
const BETWEEN_BATCHES: Duration = Duration::from_millis(2100);

impl Metric {
    pub const ALL: [Self; 11] = [
        Self::Kill,
        Self::Crash,
        Self::Cool,
        Self::All10,
        Self::Kill10k,
        Self::Start,
        Self::Call1,
        Self::Call64,
        Self::Memory,
        Self::Static10k,
        Self::Static100k,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Crash => "crash",
            Self::Cool => "cool",
            Self::All10 => "all10",
            Self::Kill10k => "kill10k",
            Self::Start => "start",
            Self::Call1 => "call1",
            Self::Call64 => "call64",
            Self::Memory => "memory",
            Self::Static10k => "static10k",
            Self::Static100k => "static100k",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|metric| metric.name() == name)
    }

    pub fn unit(self) -> &'static str {
        match self {
            Self::Kill | Self::Crash | Self::Cool | Self::All10 | Self::Kill10k => "us, median within a run",
            Self::Start | Self::Call1 | Self::Call64 => "thousands a second",
            Self::Memory => "bytes a child",
            Self::Static10k | Self::Static100k => "ms",
        }
    }

    pub fn is_ours_alone(self) -> bool {
        matches!(self, Self::Static10k | Self::Static100k)
    }

    /// How many children announce themselves.
    pub fn announced(self) -> usize {
        if self == Self::All10 { 10 } else { 1 }
    }

    /// How many more there are, idle.
    pub fn idle(self) -> usize {
        if self == Self::Kill10k { 10_000 } else { 0 }
    }

    /// How many are started, where starts are measured.
    pub fn started(self) -> usize {
        match self {
            Self::Memory => 50_000,
            Self::Static100k => 100_000,
            _ => 10_000,
        }
    }
}

/// A grip on one incarnation of a child.
pub trait Target: Clone + Send + Sync + 'static {
    fn kill(&self) -> impl Future<Output = ()> + Send;
    fn crash(&self) -> impl Future<Output = ()> + Send;
    /// The number of the incarnation, or nothing if it is gone.
    fn ping(&self) -> impl Future<Output = Option<u64>> + Send;
}

/// Where a child announces its incarnation and a grip on it.
pub type Up<T> = mpsc::UnboundedSender<(u64, T)>;

static INCARNATIONS: AtomicU64 = AtomicU64::new(0);

/// Every incarnation of every child has a number of its own, rising.
pub fn next_incarnation() -> u64 {
    INCARNATIONS.fetch_add(1, Ordering::SeqCst) + 1
}

/// The median time from an end to the answers, in microseconds. The children are started already.
pub async fn restarts<T: Target>(metric: Metric, mut announced: mpsc::UnboundedReceiver<(u64, T)>) -> f64 {
    let count = metric.announced();
    let mut current = Vec::new();
    while current.len() < count {
        current.push(announced.recv().await.expect("all children start"));
    }
    let mut times = Vec::new();
    if metric == Metric::Cool {
        for round in 0..420 {
            tokio::time::sleep(Duration::from_millis(5)).await;
            let time = restart(metric, &mut current, &mut announced).await;
            if round >= 20 {
                times.push(time);
            }
        }
    } else {
        let (warm_up, measured) = if metric == Metric::All10 { (5, 30) } else { (10, 100) };
        for _ in 0..BATCHES {
            tokio::time::sleep(BETWEEN_BATCHES).await;
            for round in 0..warm_up + measured {
                let time = restart(metric, &mut current, &mut announced).await;
                if round >= warm_up {
                    times.push(time);
                }
            }
        }
    }
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1e6
}

/// Ends one child and waits until as many new incarnations as there were have each answered a call.
async fn restart<T: Target>(
    metric: Metric,
    current: &mut Vec<(u64, T)>,
    announced: &mut mpsc::UnboundedReceiver<(u64, T)>,
) -> Duration {
    let newest = current.iter().map(|(incarnation, _)| *incarnation).max().unwrap_or_default();
    let victim = current[0].1.clone();
    let from = Instant::now();
    if metric == Metric::Crash {
        victim.crash().await;
    } else {
        victim.kill().await;
    }
    current.clear();
    while current.len() < metric.announced() {
        let up = announced.recv().await.expect("the supervisor restarts without end");
        if up.0 > newest {
            current.push(up);
        }
    }
    for (incarnation, child) in &*current {
        assert_eq!(child.ping().await, Some(*incarnation), "a new incarnation answers for itself");
    }
    from.elapsed()
}

async fn ask<T: Target>(count: u64, child: &T) {
    let mut sum = 0_u64;
    for _ in 0..count {
        sum = sum.wrapping_add(child.ping().await.expect("the child lives"));
    }
    std::hint::black_box(sum);
}

/// Thousands of calls a second.
pub async fn calls<T: Target>(metric: Metric, child: T) -> f64 {
    if metric == Metric::Call1 {
        let count = 200_000;
        ask(count / 10, &child).await;
        let from = Instant::now();
        ask(count, &child).await;
        return thousands(count, from);
    }
    let (callers, each) = (64, 1_000_000 / 64);
    let from = Instant::now();
    let mut asking = JoinSet::new();
    for _ in 0..callers {
        let child = child.clone();
        asking.spawn(async move { ask(each, &child).await });
    }
    while asking.join_next().await.is_some() {}
    thousands(callers * each, from)
}

/// Thousands of starts a second, or bytes a child. `start` starts so many.
pub async fn many<T, F, Fut>(metric: Metric, start: F) -> f64
where
    T: Target,
    F: FnOnce(usize) -> Fut,
    Fut: Future<Output = Vec<T>>,
{
    let count = metric.started();
    let before = resident_bytes();
    let from = Instant::now();
    let children = start(count).await;
    if metric == Metric::Start {
        for child in &children {
            assert!(child.ping().await.is_some(), "a started child answers");
        }
        return thousands(count as u64, from);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let grown = resident_bytes() - before;
    assert_eq!(children.len(), count, "all are held");
    grown / count as f64
}

fn thousands(count: u64, from: Instant) -> f64 {
    count as f64 / from.elapsed().as_secs_f64() / 1e3
}

fn resident_bytes() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux");
    let kib: f64 = line.trim_end_matches("kB").trim().parse().expect("a number");
    kib * 1024.0
}
