//! LAP, which gets things done: it has a question decided, remembered and answered.

use super::{Arp, text};
use crate::{CallError, Cx, Draft, Fault, Letter, Protocol, Reference, Rejected};

/// Takes an `ask`. It has no state, so a restart loses nothing: what it has not finished is still in its lane.
pub struct Lap {
    arp: Reference<Arp>,
}

impl Lap {
    pub fn new(arp: Reference<Arp>) -> Self {
        Self { arp }
    }
}

impl Protocol for Lap {
    type Request = ();
    type Reply = ();

    fn operation((): &()) -> &'static str {
        "nothing"
    }

    async fn call(&mut self, (): (), _: &mut Cx) -> Result<(), Fault> {
        Ok(())
    }

    async fn message(&mut self, letter: &Letter, cx: &mut Cx) -> Result<(), Rejected> {
        let formula = text(letter, "ask")?;
        // Asking costs nothing if it is asked again, so a failed call is simply a failed attempt at the letter.
        let verdict =
            cx.line(&self.arp).call(formula.to_owned()).await.map_err(|error: CallError| Rejected::new(error))?;
        let finding = verdict.map_or_else(|why| format!("not decided: {why}"), |verdict| verdict.to_string());
        cx.post(Draft::new("scp", "keep").text(format!("{formula}: {finding}")));
        cx.post(Draft::new("uip", "answer").text(format!("{formula} is {finding}")));
        Ok(())
    }
}
