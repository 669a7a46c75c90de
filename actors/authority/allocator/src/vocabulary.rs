//! The language of the allocator: all that its callers need to know of it.

use alloc::string::{String, ToString};
use core::fmt;
use core::str::FromStr;

use kernel::{Denial, Layer, Malformed, Millis, Principal, Refuse, Timestamp};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use uuid::Uuid;

use crate::records;

/// Longest name of a pool, in bytes.
pub const NAME_MAX: usize = 64;
/// Longest unit, in characters.
pub const UNIT_MAX: usize = 32;
/// Most pools that can be defined.
pub const POOLS_MAX: usize = 1_000;
/// Most leases that are held and waited for, in all pools.
pub const OPEN_MAX: usize = 100_000;
/// And by one owner.
pub const OWNED_MAX: usize = 10_000;
/// The highest priority; the lowest is 0.
pub const PRIORITY_MAX: u8 = 3;
/// What one step of priority is worth: waiting for so long.
pub const PRIORITY_STEP: Millis = Millis::seconds(30);
/// How long a lease is good if nothing is asked.
pub const LIFETIME: Millis = Millis::minutes(5);
/// And at most, from its grant or renewal.
pub const LIFETIME_MAX: Millis = Millis::hours(24);

/// Names one lease for ever. Chosen by the caller, so that a retry carries the same id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub u128);

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Uuid::from_u128(self.0).hyphenated().fmt(f)
    }
}

impl FromStr for LeaseId {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        match Uuid::try_parse(text) {
            Ok(uuid) => Ok(Self(uuid.as_u128())),
            Err(_) => Err(Malformed { text: text.chars().take(80).collect(), expected: "a lease id (a UUID)" }),
        }
    }
}

/// Text for people, the bare number for the journal.
impl Serialize for LeaseId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_str(&self.to_string())
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for LeaseId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
        } else {
            u128::deserialize(deserializer).map(Self)
        }
    }
}

/// What may be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Create a pool of `capacity` units.
    Define { pool: String, capacity: u64, unit: String },
    /// Change the capacity of a pool, if it is still what is `expected`.
    Resize { pool: String, capacity: u64, expected: Option<u64> },
    /// Lease some units of a pool.
    Request(Request),
    /// Hold a lease for longer: until `lifetime` from now, if that is later.
    Renew { lease: LeaseId, fencing: u64, lifetime: Option<Millis> },
    /// Give a lease back, or take back a request that waits.
    Release { lease: LeaseId, fencing: Option<u64> },
    /// End all leases and take back all requests of an owner. For the authority's own route only.
    RevokeOwner { owner: Principal },
    /// Bookkeeping of the clock: record what has expired, and grant what waited for it.
    Expire,
}

/// A lease that is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    pub lease: LeaseId,
    pub pool: String,
    /// Who is to hold it: whoever asks, or anybody if an operator does.
    pub owner: Principal,
    pub amount: u64,
    /// 0 to [`PRIORITY_MAX`], which is the highest.
    pub priority: u8,
    /// [`LIFETIME`] if not given. Counts from the grant.
    pub lifetime: Option<Millis>,
    /// Queue if it cannot be granted now; else refuse.
    pub wait: bool,
}

/// What has happened. Persisted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Defined(records::DefinedV1),
    Resized(records::ResizedV1),
    /// A request waits.
    Queued(records::QueuedV1),
    /// A request is granted, whether it waited or not.
    Granted(records::GrantedV1),
    Renewed(records::RenewedV1),
    /// A lease was given back.
    Released(records::ReleasedV1),
    /// A request that waited was taken back.
    Withdrawn(records::WithdrawnV1),
    /// The leases of a pool that were held until their time ended, in one record however many they are.
    Expired(records::ExpiredV1),
    /// All that an owner held and waited for ended, in one record however much that is.
    OwnerRevoked(records::OwnerRevokedV1),
}

/// What the caller is told: what was so then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// The pool is there with this capacity.
    Sized { pool: String, capacity: u64 },
    /// The lease is held.
    Granted { lease: LeaseId, pool: String, amount: u64, fencing: u64, expires_at: Timestamp },
    /// The request waits; 1 is the next to be granted.
    Queued { lease: LeaseId, pool: String, amount: u64, position: u64 },
    /// `ended` is false if the lease had ended before.
    Released { lease: LeaseId, ended: bool },
    /// How many leases ended and how many requests were taken back.
    Revoked { leases: u64, requests: u64 },
    /// How many leases had expired, and how many requests were granted.
    Expired { leases: u64, granted: u64 },
}

/// Why the answer can be no. Worded for the caller, who gets to read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    #[error("the name of a pool is 1 to {NAME_MAX} letters, digits and . _ : -")]
    BadName,
    #[error("a unit is up to {UNIT_MAX} characters long")]
    UnitTooLong,
    #[error("there is a pool {pool:?} of {capacity} already")]
    PoolTaken { pool: String, capacity: u64 },
    #[error("there are {POOLS_MAX} pools, and more are not defined")]
    TooManyPools,
    #[error("there is no pool {pool:?}")]
    UnknownPool { pool: String },
    #[error("the capacity is {capacity}, and not what was expected")]
    Changed { capacity: u64 },
    #[error("{leased} are leased, and a capacity is never less")]
    BelowLeased { leased: u64 },
    #[error("the request {lease} waits for {amount}, which could never be granted")]
    BelowWaiting { lease: LeaseId, amount: u64 },
    #[error("a part of the authority itself holds no lease")]
    InternalOwner,
    #[error("only an operator asks for a lease that another is to hold")]
    ForAnother,
    #[error("an amount is above zero")]
    NothingAsked,
    #[error("the pool has {capacity} in all, less than the {asked} that are asked for")]
    OverCapacity { asked: u64, capacity: u64 },
    #[error("a priority is between 0 and {PRIORITY_MAX}, not {asked}")]
    PriorityOutOfRange { asked: u8 },
    #[error("a lifetime is above zero and up to {LIFETIME_MAX}, not {asked}")]
    LifetimeOutOfRange { asked: Millis },
    #[error("this id already names another lease")]
    IdTaken,
    #[error("{OPEN_MAX} leases are held or waited for, and more are not taken")]
    Full,
    #[error("this owner holds or waits for {OWNED_MAX} leases, and more are not taken")]
    OwnerFull,
    #[error("{free} are free, and {ahead} requests wait ahead")]
    Exhausted {
        free: u64,
        ahead: u64,
        /// Until the next lease of the pool is due to end.
        retry_after: Option<Millis>,
    },
    #[error("there is no such lease")]
    Unknown,
    #[error("the lease is another's")]
    NotOwner,
    #[error("the request waits, and there is nothing to renew yet")]
    Waiting,
    #[error("the lease ended; it is {state}")]
    Ended { state: State },
    #[error("the lease has the fencing number {fencing}, and not the one that was named")]
    Fenced { fencing: u64 },
    #[error("others wait, so nobody holds a lease for over {LIFETIME_MAX}")]
    OthersWait { until: Timestamp },
    #[error("only the authority's own route revokes an owner")]
    RoutesOnly,
}

impl Refuse for Refusal {
    fn code(&self) -> &'static str {
        match self {
            Self::BadName => "allocator.bad_name",
            Self::UnitTooLong => "allocator.unit_too_long",
            Self::PoolTaken { .. } => "allocator.pool_taken",
            Self::TooManyPools => "allocator.too_many_pools",
            Self::UnknownPool { .. } => "allocator.unknown_pool",
            Self::Changed { .. } => "allocator.changed",
            Self::BelowLeased { .. } => "allocator.below_leased",
            Self::BelowWaiting { .. } => "allocator.below_waiting",
            Self::InternalOwner => "allocator.internal_owner",
            Self::ForAnother => "allocator.for_another",
            Self::NothingAsked => "allocator.nothing_asked",
            Self::OverCapacity { .. } => "allocator.over_capacity",
            Self::PriorityOutOfRange { .. } => "allocator.priority_out_of_range",
            Self::LifetimeOutOfRange { .. } => "allocator.lifetime_out_of_range",
            Self::IdTaken => "allocator.id_taken",
            Self::Full => "allocator.full",
            Self::OwnerFull => "allocator.owner_full",
            Self::Exhausted { .. } => "allocator.exhausted",
            Self::Unknown => "allocator.unknown",
            Self::NotOwner => "allocator.not_owner",
            Self::Waiting => "allocator.waiting",
            Self::Ended { .. } => "allocator.ended",
            Self::Fenced { .. } => "allocator.fenced",
            Self::OthersWait { .. } => "allocator.others_wait",
            Self::RoutesOnly => "allocator.routes_only",
        }
    }

    fn remedy(&self) -> String {
        match self {
            Self::BadName => "Choose another name.",
            Self::UnitTooLong => "Shorten the unit.",
            Self::PoolTaken { .. } => "Resize that pool, or choose another name.",
            Self::TooManyPools => "Use a pool that is there.",
            Self::UnknownPool { .. } => "See `sop resource show`, or ask an operator to define the pool.",
            Self::Changed { .. } => "Look at the pool again, then resize it from what it is now.",
            Self::BelowLeased { .. } => "Release leases first, wait until some expire, or choose a larger capacity.",
            Self::BelowWaiting { .. } => "Release that request first, or choose a larger capacity.",
            Self::InternalOwner => "Name an operator, an agent or a protocol as the owner.",
            Self::ForAnother => "Ask in your own name, or have an operator ask.",
            Self::NothingAsked => "Ask for one unit at least.",
            Self::OverCapacity { .. } => "Ask for less, or have an operator resize the pool.",
            Self::PriorityOutOfRange { .. } => "Ask with a priority from 0, the lowest, to 3.",
            Self::LifetimeOutOfRange { .. } => "Ask for a shorter life above zero, or leave it out; renew in time.",
            Self::IdTaken => "Choose a new id; only a retry of the same request repeats one.",
            Self::Full => "Wait until leases end.",
            Self::OwnerFull => "Release leases that are not needed, or wait until some expire.",
            Self::Exhausted { .. } => "Try again later, ask for less, or ask to wait.",
            Self::Unknown => "Check the id.",
            Self::NotOwner => "Have its owner or an operator do it.",
            Self::Waiting => "Look again until it is granted.",
            Self::Ended { .. } => "Stop using what was leased, and ask for a new lease under a new id.",
            Self::Fenced { .. } => "Name the fencing number that came with the grant.",
            Self::OthersWait { .. } => "Let the lease end, and ask again: the request goes into the queue.",
            Self::RoutesOnly => "Revoke the owner's tokens: the leases follow.",
        }
        .to_string()
    }

    fn denial(&self) -> Denial {
        let denial = Denial::new(Layer::Decide, self.code(), self.to_string(), self.remedy());
        match self {
            Self::Exhausted { retry_after: Some(wait), .. } => denial.retry_after(*wait),
            _ => denial,
        }
    }
}

/// What has become of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Asked for, and not granted yet.
    Waiting,
    Held,
    Expired,
    Released,
    /// Taken back while it waited.
    Withdrawn,
    /// Its owner was revoked.
    Revoked,
}

impl State {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Held => "held",
            Self::Expired => "expired",
            Self::Released => "released",
            Self::Withdrawn => "withdrawn",
            Self::Revoked => "revoked",
        }
    }

    pub const fn is_open(self) -> bool {
        matches!(self, Self::Waiting | Self::Held)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A lease, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    pub id: LeaseId,
    pub pool: String,
    pub owner: Principal,
    pub amount: u64,
    pub priority: u8,
    pub lifetime: Millis,
    pub state: State,
    pub asked_at: Timestamp,
    /// Its place in the queue while it waits; 1 is the next to be granted.
    pub position: Option<u64>,
    /// Given with the grant; so are the next two.
    pub fencing: Option<u64>,
    pub granted_at: Option<Timestamp>,
    /// First instant at which it is no longer held.
    pub expires_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
}

/// A pool, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    pub name: String,
    pub unit: String,
    pub capacity: u64,
    pub leased: u64,
    pub free: u64,
    /// How many leases are held, and how many requests wait.
    pub held: u64,
    pub waiting: u64,
    /// The newest fencing number.
    pub fencing: u64,
}

/// Which leases to list; what is not given does not matter, but those that ended are listed only by their state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Filter {
    pub pool: Option<String>,
    pub owner: Option<Principal>,
    pub state: Option<State>,
}
