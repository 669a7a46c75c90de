//! What the gap detector writes down for ever.

use alloc::string::String;

use kernel::{Digest, Kind, Reader, Recorded, Timestamp, Writer};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScanStartedV1 {
    pub scan: u64,
    pub root: String,
    pub at: Timestamp,
}

/// What the opening, the reopening and the closing of a gap each say of it: enough to call it by name without looking
/// anything up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GapV1 {
    pub gap: u64,
    /// The scan by which it changed; none for what is seen live.
    pub scan: Option<u64>,
    pub fingerprint: Digest,
    /// `gaps::Kind::tag`.
    pub kind: u8,
    pub root: String,
    pub path: String,
    pub line: u32,
    pub detail: String,
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScanFinishedV1 {
    pub scan: u64,
    pub root: String,
    pub opened: u64,
    pub reopened: u64,
    pub closed: u64,
    pub files: u64,
    pub bytes: u64,
    pub skipped: u64,
    pub unread: u64,
    pub truncated: bool,
    /// Open in the root, now.
    pub open: u64,
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScanAbandonedV1 {
    pub scan: u64,
    pub root: String,
    pub why: String,
    pub at: Timestamp,
}

/// What has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    ScanStarted(ScanStartedV1),
    GapOpened(GapV1),
    GapReopened(GapV1),
    GapClosed(GapV1),
    ScanFinished(ScanFinishedV1),
    ScanAbandoned(ScanAbandonedV1),
}

pub const SCAN_STARTED: Kind = Kind { id: 300, version: 1, name: "gaps.scan_started" };
pub const GAP_OPENED: Kind = Kind { id: 301, version: 1, name: "gaps.gap_opened" };
pub const GAP_REOPENED: Kind = Kind { id: 302, version: 1, name: "gaps.gap_reopened" };
pub const GAP_CLOSED: Kind = Kind { id: 303, version: 1, name: "gaps.gap_closed" };
pub const SCAN_FINISHED: Kind = Kind { id: 304, version: 1, name: "gaps.scan_finished" };
pub const SCAN_ABANDONED: Kind = Kind { id: 305, version: 1, name: "gaps.scan_abandoned" };

impl Recorded for Event {
    const KINDS: &'static [Kind] = &[SCAN_STARTED, GAP_OPENED, GAP_REOPENED, GAP_CLOSED, SCAN_FINISHED, SCAN_ABANDONED];

    fn write<W: Writer>(&self, writer: W) -> W::Done {
        match self {
            Self::ScanStarted(body) => writer.put(SCAN_STARTED, body),
            Self::GapOpened(body) => writer.put(GAP_OPENED, body),
            Self::GapReopened(body) => writer.put(GAP_REOPENED, body),
            Self::GapClosed(body) => writer.put(GAP_CLOSED, body),
            Self::ScanFinished(body) => writer.put(SCAN_FINISHED, body),
            Self::ScanAbandoned(body) => writer.put(SCAN_ABANDONED, body),
        }
    }

    fn read<R: Reader>(kind: (u32, u16), reader: R) -> Result<Self, R::Error> {
        match kind {
            (300, 1) => reader.get().map(Self::ScanStarted),
            (301, 1) => reader.get().map(Self::GapOpened),
            (302, 1) => reader.get().map(Self::GapReopened),
            (303, 1) => reader.get().map(Self::GapClosed),
            (304, 1) => reader.get().map(Self::ScanFinished),
            (305, 1) => reader.get().map(Self::ScanAbandoned),
            _ => Err(reader.unknown()),
        }
    }
}
