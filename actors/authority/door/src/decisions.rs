//! Decisions without an effect: denials, and questions that were answered. A machine like any other, so that its records
//! are chained, repeated and fenced like any other.
//!
//! # Invariants
//! 1. One record a decision; nothing is ever decided from this state.
//! 2. A record fits: an [`Asked`] does by itself, and every text of a denial is cut to its limit when it is written.
//! 3. What was asked stands in the envelope, as that of any command, and not in the body as well.

use kernel::{Asked, Context, Denial, Machine, Outcome, Position, Refuse};
use serde::{Deserialize, Serialize};

/// Counts of what was decided; the decisions themselves are in the records.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decisions {
    pub denied: u64,
    pub answered: u64,
}

/// Only the door asks. What was asked is part of it, so that a repeat is one of the same request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Command {
    Deny { asked: Asked, denial: Denial },
    Answer { asked: Asked },
}

impl Command {
    pub fn asked(&self) -> &Asked {
        match self {
            Self::Deny { asked, .. } | Self::Answer { asked } => asked,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Denied(records::DeniedV2),
    Answered(records::AnsweredV2),
}

impl Event {
    /// What was asked, if this is from before it stood in the envelope. The standing was not kept then.
    pub fn asked_before(&self) -> Option<Asked> {
        match self {
            Self::Denied(records::DeniedV2 { before, .. }) | Self::Answered(records::AnsweredV2 { before }) => {
                before.as_ref().and_then(records::BeforeV1::asked)
            }
        }
    }
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
            Command::Deny { denial, .. } => Event::Denied(records::denied(denial)),
            Command::Answer { .. } => Event::Answered(records::AnsweredV2 { before: None }),
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
    use std::collections::BTreeMap;

    use kernel::{Asked, Attribute, Denial, Kind, Layer, Millis, Reader, Recorded, Standing, Writer, cut};
    use serde::{Deserialize, Serialize};

    use super::Event;

    pub(crate) const DENIED: u32 = 500;

    const DENIED_V1: Kind = Kind { id: 500, version: 1, name: "request.denied" };
    const DENIED_V2: Kind = Kind { id: 500, version: 2, name: "request.denied" };
    const ANSWERED_V1: Kind = Kind { id: 501, version: 1, name: "request.answered" };
    const ANSWERED_V2: Kind = Kind { id: 501, version: 2, name: "request.answered" };

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

    /// What the first versions had of a request; the standing was not kept. Since then it stands in the envelope, and this
    /// is in old records only.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct BeforeV1 {
        pub action: String,
        pub resource: String,
        pub context: Vec<AttributeV1>,
        /// Of a denial.
        pub policy_epoch: Option<u64>,
    }

    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct DeniedV2 {
        /// The layer's name.
        pub layer: String,
        pub code: String,
        pub reason: String,
        pub rule: Option<String>,
        pub remedy: String,
        pub retry_after_ms: Option<u64>,
        pub before: Option<BeforeV1>,
    }

    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct AnsweredV2 {
        pub before: Option<BeforeV1>,
    }

    impl From<DeniedV1> for DeniedV2 {
        fn from(old: DeniedV1) -> Self {
            let DeniedV1 { action, resource, context, policy_epoch, layer, code, reason, rule, remedy, retry_after_ms } =
                old;
            let before = Some(BeforeV1 { action, resource, context, policy_epoch: Some(policy_epoch) });
            Self { layer, code, reason, rule, remedy, retry_after_ms, before }
        }
    }

    impl From<AnsweredV1> for AnsweredV2 {
        fn from(AnsweredV1 { action, resource, context }: AnsweredV1) -> Self {
            Self { before: Some(BeforeV1 { action, resource, context, policy_epoch: None }) }
        }
    }

    impl Recorded for Event {
        const KINDS: &'static [Kind] = &[DENIED_V1, DENIED_V2, ANSWERED_V1, ANSWERED_V2];

        fn write<W: Writer>(&self, writer: W) -> W::Done {
            match self {
                Self::Denied(body) => writer.put(DENIED_V2, body),
                Self::Answered(body) => writer.put(ANSWERED_V2, body),
            }
        }

        fn read<R: Reader>(kind: (u32, u16), reader: R) -> Result<Self, R::Error> {
            match kind {
                (500, 1) => reader.get::<DeniedV1>().map(DeniedV2::from).map(Self::Denied),
                (500, 2) => reader.get().map(Self::Denied),
                (501, 1) => reader.get::<AnsweredV1>().map(AnsweredV2::from).map(Self::Answered),
                (501, 2) => reader.get().map(Self::Answered),
                _ => Err(reader.unknown()),
            }
        }
    }

    pub(super) fn denied(denial: &Denial) -> DeniedV2 {
        // What is missing is said in the reason, and follows from the question.
        let Denial { layer, code, reason, rule, remedy, retry_after, missing: _ } = denial.clone();
        DeniedV2 {
            layer: layer.as_str().to_owned(),
            code: cut(&code, Asked::NAME_MAX),
            // The reason quotes the request.
            reason: cut(&reason, 2 * Asked::TEXT_MAX),
            rule: rule.map(|rule| cut(&rule, Asked::TEXT_MAX)),
            remedy: cut(&remedy, Asked::TEXT_MAX),
            retry_after_ms: retry_after.map(|wait| wait.0),
            before: None,
        }
    }

    impl DeniedV2 {
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

    impl BeforeV1 {
        /// As it is kept now, in a standing that nobody noted; nothing, if that release cannot have written it.
        pub(super) fn asked(&self) -> Option<Asked> {
            let attribute = |one: &AttributeV1| {
                let value = match one.kind {
                    0 => Attribute::Text(one.value.clone()),
                    1 => Attribute::Long(one.value.parse().ok()?),
                    2 => Attribute::Bool(one.value.parse().ok()?),
                    _ => return None,
                };
                Some((one.name.clone(), value))
            };
            let context = self.context.iter().map(attribute).collect::<Option<BTreeMap<_, _>>>()?;
            Asked::whole(self.action.clone(), self.resource.clone(), context, Standing::default())
        }
    }
}
