//! UIP, which speaks with people: it turns a line of text into a typed request, and hears what comes of it.

use super::text;
use crate::{Cx, Draft, Fault, Letter, Protocol, Rejected};

/// Takes a person's `line` and the `answer` to it; answers `last`.
#[derive(Default)]
pub struct Uip {
    last: Option<String>,
}

impl Protocol for Uip {
    type Request = ();
    /// The answer that came last.
    type Reply = Option<String>;

    fn operation((): &()) -> &'static str {
        "last"
    }

    async fn call(&mut self, (): (), _: &mut Cx) -> Result<Option<String>, Fault> {
        Ok(self.last.clone())
    }

    async fn message(&mut self, letter: &Letter, cx: &mut Cx) -> Result<(), Rejected> {
        if letter.kind == "answer" {
            let answer = text(letter, "answer")?;
            tracing::info!(code = "uip.answer", answer, "an answer for {}", cx.name());
            self.last = Some(answer.to_owned());
            return Ok(());
        }
        let line = text(letter, "line")?.trim();
        let formula = line.strip_prefix("is ").and_then(|rest| rest.strip_suffix('?')).map(str::trim);
        let formula = formula.ok_or_else(|| Rejected::new("a line reads: is FORMULA?"))?;
        cx.post(Draft::new("lap", "ask").text(formula));
        Ok(())
    }
}
