//! Which stream is of which class.

use core::fmt;

use serde::{Deserialize, Serialize};

/// How long records stay in the tile log is said for a class of streams at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Who may do what, who decided it, and what became of records and texts.
    Authority,
    /// How the authority and its work went.
    Operations,
    /// What protocols sent each other.
    Messages,
}

impl Class {
    pub const ALL: [Self; 3] = [Self::Authority, Self::Operations, Self::Messages];

    /// The class of a stream; one that has none said is of the class that is kept the longest by whoever cares.
    pub fn of(stream: &str) -> Self {
        match stream {
            "allocator" | "gaps" | "todos" | "backup" | "health" | "subscriptions" => Self::Operations,
            "nexus" => Self::Messages,
            _ => Self::Authority,
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Authority => "authority",
            Self::Operations => "operations",
            Self::Messages => "messages",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
