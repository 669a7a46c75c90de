//! Three levels of supervisors over a thousand children, of all strategies and policies.

use std::time::Duration;

use supervisors::chaos::Cast;
use supervisors::{Backoff, Exhausted, Strategy, Supervisor};

const STRATEGIES: [Strategy; 3] = [Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne];
const BRANCHES: usize = 10;
const GROUPS: usize = 10;
const LEAVES: usize = 10;
const SECOND: Duration = Duration::from_secs(1);

/// Its root gives up on nobody.
pub fn forest(cast: &Cast) -> Supervisor {
    let root = supervisor("root", Strategy::OneForOne).intensity(u32::MAX, SECOND);
    (0..BRANCHES).fold(root, |root, at| root.supervisor(branch(cast, at)))
}

fn supervisor(name: &str, strategy: Strategy) -> Supervisor {
    let backoff = Backoff::exp(SECOND / 100, SECOND / 5).jitter(20).healthy_after(SECOND);
    Supervisor::new(name, strategy).backoff(backoff).history(512)
}

/// Every other is given up after some restarts.
fn branch(cast: &Cast, at: usize) -> Supervisor {
    let name = format!("branch{at}");
    let branch = supervisor(&name, STRATEGIES[at % 3]);
    let branch = branch.intensity(if at.is_multiple_of(2) { 6 } else { u32::MAX }, SECOND);
    (0..GROUPS).fold(branch, |branch, group| branch.supervisor(self::group(cast, &name, at + group)))
}

fn group(cast: &Cast, branch: &str, at: usize) -> Supervisor {
    let name = format!("group{at}");
    let group = supervisor(&name, STRATEGIES[at % 3]);
    let group = match at % 4 {
        0 => group.intensity(2, 10 * SECOND),
        1 => group.intensity(2, 10 * SECOND).on_exhausted(Exhausted::Quarantine),
        2 => group.intensity(1, 10 * SECOND).on_exhausted(Exhausted::Stop),
        _ => group.intensity(u32::MAX, SECOND),
    };
    (0..LEAVES).fold(group, |group, leaf| {
        let child = cast.child(&format!("root/{branch}/{name}/leaf{leaf}"));
        group.child(match leaf {
            7 | 8 => child.transient(),
            9 => child.temporary(),
            _ => child,
        })
    })
}
