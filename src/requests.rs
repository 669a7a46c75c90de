//! Counts what became of requests, by concern and by the layer that said no, since the process began.
//!
//! Invariant: what is counted by is known beforehand, so that no caller can make it grow.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use kernel::Layer;

/// What a request can come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Answered,
    /// By the machine that owns the concern.
    Refused,
    /// By the door.
    Denied,
    /// Malformed, or something was down.
    Failed,
}

impl Outcome {
    pub const ALL: [Self; 4] = [Self::Answered, Self::Refused, Self::Denied, Self::Failed];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Refused => "refused",
            Self::Denied => "denied",
            Self::Failed => "failed",
        }
    }

    const fn of(no: Option<Layer>) -> Self {
        match no {
            None => Self::Answered,
            Some(Layer::Decide) => Self::Refused,
            Some(Layer::Seal | Layer::Authenticate | Layer::Admit | Layer::Limit | Layer::Policy | Layer::Token) => {
                Self::Denied
            }
            Some(Layer::Request | Layer::Commit | Layer::Availability) => Self::Failed,
        }
    }
}

/// The counters.
#[derive(Debug)]
pub struct Requests {
    /// By the noun of the action.
    by_concern: BTreeMap<&'static str, [AtomicU64; Outcome::ALL.len()]>,
    by_layer: [AtomicU64; Layer::ALL.len()],
}

impl Default for Requests {
    fn default() -> Self {
        let nouns = policy::ACTIONS.iter().map(|action| noun(action.name));
        Self { by_concern: nouns.map(|noun| (noun, Default::default())).collect(), by_layer: Default::default() }
    }
}

impl Requests {
    /// A request for `action` was answered, or was said no to by this layer.
    pub fn count(&self, action: &str, no: Option<Layer>) {
        if let Some(outcomes) = self.by_concern.get(noun(action)) {
            outcomes[Outcome::of(no) as usize].fetch_add(1, Ordering::Relaxed);
        }
        if let Some(layer) = no {
            self.by_layer[layer as usize].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// (concern, outcome, count), every one of them.
    pub fn outcomes(&self) -> impl Iterator<Item = (&'static str, Outcome, u64)> {
        self.by_concern.iter().flat_map(|(concern, outcomes)| {
            Outcome::ALL.map(|outcome| (*concern, outcome, outcomes[outcome as usize].load(Ordering::Relaxed)))
        })
    }

    /// (layer, count), every one of them.
    pub fn denials(&self) -> impl Iterator<Item = (Layer, u64)> {
        Layer::ALL.into_iter().map(|layer| (layer, self.by_layer[layer as usize].load(Ordering::Relaxed)))
    }
}

fn noun(action: &str) -> &str {
    action.split_once('.').map_or(action, |(noun, _)| noun)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_request_is_counted_once() {
        let requests = Requests::default();
        requests.count("token.issue", None);
        requests.count("token.list", Some(Layer::Policy));
        requests.count("token.revoke", Some(Layer::Decide));
        requests.count("system.stop", Some(Layer::Request));
        requests.count("made up", None);
        let counted: Vec<_> = requests.outcomes().filter(|(.., count)| *count != 0).collect();
        assert_eq!(
            counted,
            [
                ("system", Outcome::Failed, 1),
                ("token", Outcome::Answered, 1),
                ("token", Outcome::Refused, 1),
                ("token", Outcome::Denied, 1)
            ]
        );
        let denials: Vec<_> = requests.denials().filter(|(_, count)| *count != 0).collect();
        assert_eq!(denials, [(Layer::Request, 1), (Layer::Policy, 1), (Layer::Decide, 1)]);
        for (place, layer) in Layer::ALL.into_iter().enumerate() {
            assert_eq!(layer as usize, place, "a layer's number is its place");
        }
    }
}
