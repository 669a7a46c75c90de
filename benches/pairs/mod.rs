//! What the benches share: closed-loop callers, and pairs of runs whose two sides are measured back to back in alternating
//! order, so that what else the machine does falls on both. The figure is the median of the paired ratios.

use std::fs;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

pub const WARM_UP: Duration = Duration::from_millis(200);
pub const MEASURED: Duration = Duration::from_secs(1);

/// One run of one side.
pub struct Run {
    pub per_second: f64,
    pub p50: Duration,
    pub p99: Duration,
    /// Of the whole process, per command: what is left of a figure when the machine is shared.
    pub cpu_micros: f64,
}

/// How many pairs: `--quick` takes fewer.
pub fn pairs() -> usize {
    if std::env::args().any(|argument| argument == "--quick") { 3 } else { 9 }
}

/// The median ratio of ours to the peer's, and the least and the most.
pub fn ratio<T>(pairs: &[(T, T)], per_second: impl Fn(&T) -> f64) -> String {
    let ratios = sorted(pairs.iter().map(|(ours, peer)| per_second(ours) / per_second(peer)));
    format!("{:.2} ({:.2}..{:.2})", middle(&ratios), ratios[0], ratios[ratios.len() - 1])
}

/// The median of a figure over the pairs.
pub fn median<T>(pairs: &[(T, T)], figure: impl Fn(&(T, T)) -> f64) -> f64 {
    middle(&sorted(pairs.iter().map(figure)))
}

fn sorted(figures: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut figures: Vec<_> = figures.collect();
    figures.sort_by(f64::total_cmp);
    figures
}

fn middle(sorted: &[f64]) -> f64 {
    sorted[sorted.len() / 2]
}

/// Runs `callers` loops of `ask` and notes what is answered once all are warm. Also says how many were answered in all.
pub async fn load<A, F>(callers: usize, ask: A) -> (Run, u64)
where
    A: Fn() -> F + Clone + Send + 'static,
    F: Future<Output = ()> + Send,
{
    let from = Instant::now() + WARM_UP;
    let until = from + MEASURED;
    let cpu = cpu_micros();
    let mut asking = JoinSet::new();
    for _ in 0..callers {
        let ask = ask.clone();
        asking.spawn(async move {
            let (mut waits, mut answers) = (Vec::new(), 0);
            loop {
                let asked = Instant::now();
                ask().await;
                let answered = Instant::now();
                answers += 1;
                if until <= answered {
                    return (waits, answers);
                }
                if from <= answered {
                    waits.push(answered - asked);
                }
            }
        });
    }
    let (waits, answers): (Vec<_>, Vec<u64>) = asking.join_all().await.into_iter().unzip();
    let (mut waits, answers) = (waits.concat(), answers.into_iter().sum());
    let cpu = cpu_micros() - cpu;
    waits.sort_unstable();
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    let (answered, answered_in_all) = (waits.len() as f64, answers as f64);
    let run = Run {
        per_second: answered / MEASURED.as_secs_f64(),
        p50: waits[waits.len() / 2],
        p99: waits[waits.len() * 99 / 100],
        cpu_micros: cpu / answered_in_all,
    };
    (run, answers)
}

/// What the kernel says of this process, field by field as proc(5) counts them, from 1.
fn stat(field: usize) -> i64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The second is a name in brackets that may hold anything.
    let rest = stat.rsplit(") ").next().unwrap_or_default();
    rest.split(' ').nth(field - 3).and_then(|number| number.parse().ok()).unwrap_or(-1)
}

/// Processor time spent so far, in user and kernel; the kernel counts in hundredths of a second.
fn cpu_micros() -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    let ticks = (stat(14) + stat(15)) as f64;
    ticks * 10_000.0
}

/// Load average and scheduling class: what the figures depend on besides the code.
pub fn conditions() -> String {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').take(3).collect::<Vec<_>>().join(" ");
    let class = match stat(41) {
        0 => "other",
        1 => "fifo",
        2 => "rr",
        3 => "batch",
        5 => "idle",
        _ => "unknown",
    };
    let nice = stat(19);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{cores} cores, load {load}, scheduling class {class}, nice {nice}")
}
