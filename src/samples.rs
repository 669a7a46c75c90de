//! The sample protocols as `sop dev` runs them: who depends on whom, and who speaks to whom.
//!
//! See `actors/protocols/src/samples/` for what they do.

use protocols::Reference;
use protocols::samples::{Arp, Lap, Scp, Uip};

use crate::{Spawn, SpawnError, System};

/// The four, where somebody has a use for them.
pub struct Samples {
    pub arp: Reference<Arp>,
    pub scp: Reference<Scp>,
    pub uip: Reference<Uip>,
}

/// Starts them in the order of their dependencies; they stop in the reverse of it.
///
/// # Errors
/// [`SpawnError`] of the first that did not start. Those before it run.
pub async fn start(system: &System) -> Result<Samples, SpawnError> {
    let arp = system.spawn(Spawn::new("arp"), || Arp).await?;
    let scp = system.spawn(Spawn::new("scp"), Scp::default).await?;
    let lap = Spawn::new("lap").depends_on("arp").depends_on("scp");
    let lap = lap.speaks_to("arp").speaks_to("scp").speaks_to("uip");
    let asked = arp.clone();
    system.spawn(lap, move || Lap::new(asked.clone())).await?;
    let uip = system.spawn(Spawn::new("uip").depends_on("lap").speaks_to("lap"), Uip::default).await?;
    Ok(Samples { arp, scp, uip })
}
