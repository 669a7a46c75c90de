//! Decisions without an effect: denials, and questions that were answered. A machine like any other, so that its records
//! are chained, repeated and fenced like any other.
//!
//! # Invariants
//! 1. One record a decision; nothing is ever decided from this state.
//! 2. A record fits: what is asked is bounded by [`Asked::check`], before anything else is done with it, and every text is
//!    cut to its limit when it is written.

use std::collections::BTreeMap;

use kernel::{Context, Denial, Layer, Machine, Outcome, Position, Refuse};
use policy::Value;
use serde::{Deserialize, Serialize};

/// Counts of what was decided; the decisions themselves are in the records.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decisions {
    pub denied: u64,
    pub answered: u64,
}

/// Most attributes of a request; the schema has no action with so many.
pub const ATTRIBUTES_MAX: usize = 8;
/// Longest name of an attribute, action, layer or code, in bytes.
pub const NAME_MAX: usize = 64;
/// Longest resource, and longest value of an attribute, in bytes: a path fits.
pub const TEXT_MAX: usize = 4_096;

/// What was asked, as it was asked: enough to judge it again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    pub action: String,
    pub resource: String,
    pub context: Vec<(String, Value)>,
}

impl Asked {
    /// Whether a request fits into a record.
    ///
    /// # Errors
    /// The denial `request.too_long`.
    pub fn check(action: &str, resource: &str, context: &BTreeMap<String, Value>) -> Result<(), Denial> {
        let long = |what: &str, length: usize, max: usize, of: &str| {
            let reason = format!("{what} of {length} {of} is over the limit");
            let denial =
                Denial::new(Layer::Request, "request.too_long", reason, "ask with less, or with shorter texts");
            denial.rule(format!("at most {max} {of}"))
        };
        let bounded = |what: &str, text: &str, max: usize| {
            if max < text.len() { Err(long(what, text.len(), max, "bytes")) } else { Ok(()) }
        };
        bounded("an action", action, NAME_MAX)?;
        bounded("a resource", resource, TEXT_MAX)?;
        if ATTRIBUTES_MAX < context.len() {
            return Err(long("a context", context.len(), ATTRIBUTES_MAX, "attributes"));
        }
        context.iter().try_for_each(|(name, value)| {
            bounded("the name of an attribute", name, NAME_MAX)?;
            match value {
                Value::Text(text) => bounded("an attribute", text, TEXT_MAX),
                Value::Long(_) | Value::Bool(_) => Ok(()),
            }
        })
    }
}

/// Only the door asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Command {
    Deny { asked: Asked, denial: Denial, policy_epoch: u64 },
    Answer { asked: Asked },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Denied(records::DeniedV1),
    Answered(records::AnsweredV1),
}

/// There is nothing to refuse.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Never {}

impl std::fmt::Display for Never {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {}
    }
}

impl Refuse for Never {
    fn code(&self) -> &'static str {
        match *self {}
    }

    fn remedy(&self) -> String {
        match *self {}
    }
}

impl Machine for Decisions {
    const NAME: &'static str = "decisions";
    const REVISION: u32 = 1;
    type Command = Command;
    type Event = Event;
    type Reply = ();
    type Refusal = Never;

    fn decide(&self, command: &Command, _: &Context) -> Result<Outcome<Self>, Never> {
        let event = match command {
            Command::Deny { asked, denial, policy_epoch } => {
                Event::Denied(records::denied(asked, denial, *policy_epoch))
            }
            Command::Answer { asked } => Event::Answered(records::answered(asked)),
        };
        Ok(Outcome::new(vec![event], ()))
    }

    fn evolve(&mut self, event: &Event, _: Position) {
        match event {
            Event::Denied(_) => self.denied += 1,
            Event::Answered(_) => self.answered += 1,
        }
    }
}

/// Frozen bodies, kinds 500 to 599.
pub mod records {
    use kernel::{Denial, Kind, Layer, Millis, Reader, Recorded, Writer};
    use policy::Value;
    use serde::{Deserialize, Serialize};

    use super::{ATTRIBUTES_MAX, Asked, Event, NAME_MAX, TEXT_MAX};

    const DENIED: Kind = Kind { id: 500, version: 1, name: "request.denied" };
    const ANSWERED: Kind = Kind { id: 501, version: 1, name: "request.answered" };

    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct AttributeV1 {
        pub name: String,
        /// 0 text, 1 number, 2 truth ("true" or "false").
        pub kind: u8,
        pub value: String,
    }

    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct DeniedV1 {
        pub action: String,
        pub resource: String,
        pub context: Vec<AttributeV1>,
        pub policy_epoch: u64,
        /// The layer's name.
        pub layer: String,
        pub code: String,
        pub reason: String,
        pub rule: Option<String>,
        pub remedy: String,
        pub retry_after_ms: Option<u64>,
    }

    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct AnsweredV1 {
        pub action: String,
        pub resource: String,
        pub context: Vec<AttributeV1>,
    }

    impl Recorded for Event {
        const KINDS: &'static [Kind] = &[DENIED, ANSWERED];

        fn write<W: Writer>(&self, writer: W) -> W::Done {
            match self {
                Self::Denied(body) => writer.put(DENIED, body),
                Self::Answered(body) => writer.put(ANSWERED, body),
            }
        }

        fn read<R: Reader>(kind: (u32, u16), reader: R) -> Result<Self, R::Error> {
            match kind {
                (500, 1) => reader.get().map(Self::Denied),
                (501, 1) => reader.get().map(Self::Answered),
                _ => Err(reader.unknown()),
            }
        }
    }

    pub(super) fn denied(asked: &Asked, denial: &Denial, policy_epoch: u64) -> DeniedV1 {
        // What is missing is said in the reason, and follows from the question.
        let Denial { layer, code, reason, rule, remedy, retry_after, missing: _ } = denial.clone();
        DeniedV1 {
            action: cut(&asked.action, NAME_MAX),
            resource: cut(&asked.resource, TEXT_MAX),
            context: attributes(asked),
            policy_epoch,
            layer: layer.as_str().to_owned(),
            code: cut(&code, NAME_MAX),
            // The reason quotes the request.
            reason: cut(&reason, 2 * TEXT_MAX),
            rule: rule.map(|rule| cut(&rule, TEXT_MAX)),
            remedy: cut(&remedy, TEXT_MAX),
            retry_after_ms: retry_after.map(|wait| wait.0),
        }
    }

    pub(super) fn answered(asked: &Asked) -> AnsweredV1 {
        AnsweredV1 {
            action: cut(&asked.action, NAME_MAX),
            resource: cut(&asked.resource, TEXT_MAX),
            context: attributes(asked),
        }
    }

    fn attributes(asked: &Asked) -> Vec<AttributeV1> {
        let attribute = |(name, value): &(String, Value)| {
            let (kind, value) = match value {
                Value::Text(text) => (0, cut(text, TEXT_MAX)),
                Value::Long(number) => (1, number.to_string()),
                Value::Bool(truth) => (2, truth.to_string()),
            };
            AttributeV1 { name: cut(name, NAME_MAX), kind, value }
        };
        asked.context.iter().take(ATTRIBUTES_MAX).map(attribute).collect()
    }

    /// The beginning of a text that is too long, marked as such.
    fn cut(text: &str, max: usize) -> String {
        if text.len() <= max {
            return text.to_owned();
        }
        let mut end = max - '…'.len_utf8();
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        format!("{}…", &text[..end])
    }

    impl DeniedV1 {
        /// The denial as it was given.
        pub fn denial(&self) -> Denial {
            let layer = Layer::ALL.into_iter().find(|layer| layer.as_str() == self.layer).unwrap_or(Layer::Request);
            Denial {
                layer,
                code: self.code.clone(),
                reason: self.reason.clone(),
                rule: self.rule.clone(),
                remedy: self.remedy.clone(),
                retry_after: self.retry_after_ms.map(Millis),
                // Follows from the question and the epoch, which are there.
                missing: None,
            }
        }
    }
}
