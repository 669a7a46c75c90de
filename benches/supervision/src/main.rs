//! Supervision beside its peers: what an end, a start, a call and an idle child cost under ours, bare tokio, bare ractor,
//! ractor-supervisor, kameo and, where `erl` is installed, OTP's supervisor.
//!
//! ```sh
//! cargo run --release --manifest-path benches/supervision/Cargo.toml -- [--quick] [--rounds N] [METRIC ...]
//! ```
//!
//! Each measurement is a process of its own (`one SYSTEM METRIC`, which prints one figure). Within a round all systems are
//! measured one after the other, metric by metric and in rotating order, so that what else the machine does falls on
//! all. A ratio is the median of the ratios within the rounds, with the least and the most.
//!
//! [`metric`] defines what is measured; a module a system says how that system does it.

mod bare_ractor;
mod bare_tokio;
mod kameo_peer;
mod metric;
mod otp;
mod ours;
mod ractor_supervisor_peer;

use std::collections::BTreeMap;
use std::process::{Command, ExitCode};

use metric::Metric;

/// All that are compared; ours first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum System {
    Ours,
    Tokio,
    Ractor,
    RactorSupervisor,
    Kameo,
    Otp,
}

impl System {
    const ALL: [Self; 6] = [Self::Ours, Self::Tokio, Self::Ractor, Self::RactorSupervisor, Self::Kameo, Self::Otp];

    fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Tokio => "tokio",
            Self::Ractor => "ractor",
            Self::RactorSupervisor => "ractor-supervisor",
            Self::Kameo => "kameo",
            Self::Otp => "otp",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|system| system.name() == name)
    }

    /// What only shows how ours grows is not asked of others.
    fn takes_part(self, metric: Metric) -> bool {
        self == Self::Ours || !metric.is_ours_alone()
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [one, system, metric] = arguments.as_slice()
        && one == "one"
    {
        let (Some(system), Some(metric)) = (System::named(system), Metric::named(metric)) else {
            eprintln!("no such system or metric");
            return ExitCode::from(64);
        };
        println!("{}", measure(system, metric));
        return ExitCode::SUCCESS;
    }
    let Some(order) = Order::read(&arguments) else {
        let names: Vec<_> = Metric::ALL.iter().map(|metric| metric.name()).collect();
        eprintln!("usage: [--quick] [--rounds N] [METRIC ...]; metrics: {}", names.join(" "));
        return ExitCode::from(64);
    };
    let Some(otp) = otp::Otp::compile() else {
        eprintln!("erl and erlc are not installed (Debian: erlang-base): measured without OTP");
        return compare(&order, None);
    };
    compare(&order, Some(&otp))
}

/// What is to be compared, and how often.
struct Order {
    rounds: usize,
    metrics: Vec<Metric>,
}

impl Order {
    fn read(arguments: &[String]) -> Option<Self> {
        let (mut rounds, mut metrics) = (7, Vec::new());
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--quick" => rounds = 3,
                "--rounds" => rounds = arguments.next()?.parse().ok().filter(|rounds| *rounds > 0)?,
                name => metrics.push(Metric::named(name)?),
            }
        }
        if metrics.is_empty() {
            metrics = Metric::ALL.to_vec();
        }
        Some(Self { rounds, metrics })
    }
}

/// One figure, in this process.
fn measure(system: System, metric: Metric) -> f64 {
    // Silent panics: to crash must not measure how fast a terminal is.
    std::panic::set_hook(Box::new(|_| {}));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(async move {
        let measured = match system {
            System::Ours => tokio::spawn(ours::measure(metric)),
            System::Tokio => tokio::spawn(bare_tokio::measure(metric)),
            System::Ractor => tokio::spawn(bare_ractor::measure(metric)),
            System::RactorSupervisor => tokio::spawn(ractor_supervisor_peer::measure(metric)),
            System::Kameo => tokio::spawn(kameo_peer::measure(metric)),
            System::Otp => panic!("OTP is measured in a process of its own"),
        };
        measured.await.expect("a measurement does not fail")
    })
}

type Figures = BTreeMap<(Metric, System), Vec<f64>>;

fn compare(order: &Order, otp: Option<&otp::Otp>) -> ExitCode {
    let systems: Vec<_> = System::ALL.into_iter().filter(|system| *system != System::Otp || otp.is_some()).collect();
    println!("{} rounds; {}", order.rounds, circumstances());
    let mut figures = Figures::new();
    for round in 0..order.rounds {
        for metric in &order.metrics {
            for place in 0..systems.len() {
                let system = systems[(place + round) % systems.len()];
                if !system.takes_part(*metric) {
                    continue;
                }
                let Some(figure) = in_a_process(system, *metric, otp) else {
                    eprintln!("{} {} gave no figure", system.name(), metric.name());
                    return ExitCode::FAILURE;
                };
                figures.entry((*metric, system)).or_default().push(figure);
            }
        }
    }
    println!("{}", circumstances());
    for metric in &order.metrics {
        print(*metric, &systems, &figures);
    }
    for (one, other, asked) in metric::GROWTH {
        if let (Some(one), Some(other)) = (figures.get(&(one, System::Ours)), figures.get(&(other, System::Ours))) {
            println!("\n{asked}: {}", ratio(one, other));
        }
    }
    ExitCode::SUCCESS
}

fn in_a_process(system: System, metric: Metric, otp: Option<&otp::Otp>) -> Option<f64> {
    let mut command = match (system, otp) {
        (System::Otp, Some(otp)) => otp.command(metric),
        _ => {
            let mut command = Command::new(std::env::current_exe().ok()?);
            command.args(["one", system.name(), metric.name()]);
            command
        }
    };
    let output = command.output().ok()?;
    let figure = String::from_utf8(output.stdout).ok()?.trim().parse().ok();
    figure.filter(|_| output.status.success())
}

fn print(metric: Metric, systems: &[System], figures: &Figures) {
    println!("\n{} ({})", metric.name(), metric.unit());
    println!("  {:<18} {:>12} {:>24}", "", "median", "ours / it (min..max)");
    let Some(ours) = figures.get(&(metric, System::Ours)) else { return };
    for system in systems {
        let Some(of_system) = figures.get(&(metric, *system)) else { continue };
        let beside = if *system == System::Ours { String::new() } else { ratio(ours, of_system) };
        println!("  {:<18} {:>12.1} {beside:>24}", system.name(), median(of_system));
    }
}

/// The median of the ratios within the rounds, and the least and the most.
fn ratio(one: &[f64], other: &[f64]) -> String {
    let ratios: Vec<_> = one.iter().zip(other).map(|(one, other)| one / other).collect();
    let (least, most) =
        ratios.iter().fold((f64::MAX, f64::MIN), |(least, most), ratio| (least.min(*ratio), most.max(*ratio)));
    format!("{:.2} ({least:.2}..{most:.2})", median(&ratios))
}

fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// How busy the machine is, which every figure depends on.
fn circumstances() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{cores} cores, load {}", load.split_whitespace().take(3).collect::<Vec<_>>().join(" "))
}
