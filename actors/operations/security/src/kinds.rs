//! The closed sets of this concern, each member with its word for people and its tag for the record.

use serde::{Deserialize, Serialize};

macro_rules! tagged {
    ($(#[$doc:meta])* $name:ident { $($(#[$each:meta])* $variant:ident = $tag:literal $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($(#[$each])* $variant,)+ }

        impl $name {
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }

            /// On disk.
            pub const fn tag(self) -> u8 {
                match self { $(Self::$variant => $tag,)+ }
            }

            pub fn from_tag(tag: u8) -> Option<Self> {
                Self::ALL.iter().copied().find(|one| one.tag() == tag)
            }
        }
    };
}

tagged! {
    /// What was detected.
    Kind {
        /// Somebody known was denied again and again.
        DeniedBurst = 1 "denied_burst",
        /// Nobody known was.
        StrangerBurst = 2 "stranger_burst",
        /// Wrong secrets were shown for a credential until it was locked.
        Lockout = 3 "lockout",
        /// A command id came again, with another content or after its time.
        Replay = 4 "replay",
        /// A use of a token was asked for that had been used.
        DoubleSpend = 5 "double_spend",
        /// What was revoked, or who was suspended or retired, asked.
        UseAfterRevocation = 6 "use_after_revocation",
        /// Somebody may do more than before, or others' rights were rewritten.
        PrivilegeChange = 7 "privilege_change",
        ClockJump = 8 "clock_jump",
        /// A record is missing, or what should be on record is not.
        AuditGap = 9 "audit_gap",
        /// The credential for emergencies was used.
        BreakGlass = 10 "break_glass",
    }
}

impl Kind {
    pub const fn severity(self) -> Severity {
        match self {
            Self::PrivilegeChange => Severity::Low,
            Self::DeniedBurst | Self::StrangerBurst | Self::Lockout | Self::ClockJump => Severity::Medium,
            Self::Replay | Self::DoubleSpend | Self::UseAfterRevocation | Self::AuditGap | Self::BreakGlass => {
                Severity::High
            }
        }
    }
}

tagged! {
    Severity {
        Low = 1 "low",
        Medium = 2 "medium",
        High = 3 "high",
    }
}

tagged! {
    /// What is done to contain an incident.
    Measure {
        /// The principal may ask for nothing until an operator resumes it.
        Freeze = 1 "freeze",
        /// Every token that it has ends.
        Revoke = 2 "revoke",
        /// Every lease that it still has ends; what it holds is fenced off by the next fencing number.
        Fence = 3 "fence",
        /// As a protocol it takes part no more.
        Quarantine = 4 "quarantine",
    }
}

tagged! {
    /// An entry of a timeline.
    Act {
        Opened = 1 "opened",
        Linked = 2 "linked",
        Noted = 3 "noted",
        Planned = 4 "planned",
        Contained = 5 "contained",
        NotContained = 6 "not_contained",
        Held = 7 "held",
        Released = 8 "released",
        Closed = 9 "closed",
    }
}
