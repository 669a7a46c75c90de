//! The language of the gap detector: all that its callers need to know of it.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use kernel::{Digest, Malformed, Refuse, Timestamp};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::finding::{Finding, Kind};

/// Longest root, in bytes.
pub const ROOT_MAX: usize = 1_024;
/// Longest path within a root, and longest subject of a live gap, in bytes.
pub const PATH_MAX: usize = 512;
/// Longest detail, in bytes.
pub const DETAIL_MAX: usize = 300;
/// Most findings in one report: two hundred of the longest are well within what one commit should carry.
pub const REPORT_MAX: usize = 200;
/// Most findings that one scan reports in all.
pub const FINDINGS_MAX: usize = 5_000;
/// Most paths that a scan can name as unread; what comes after them is said by [`Coverage::judged_to`].
pub const UNREAD_MAX: usize = 1_000;
/// Most gaps that one command closes; a scan that closes more takes several.
pub const CLOSED_MAX: usize = 500;
/// Most scans at a time.
pub const SCANS_MAX: usize = 8;
/// Most gaps open at a time: ten roots full of findings.
pub const OPEN_MAX: u64 = 50_000;

/// Names one gap: its number in the order of opening, from 1. Written `gap-12`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GapId(pub u64);

/// Names one scan: its number in the order of starting, from 1. Written `scan-3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScanId(pub u64);

/// Text for people, where the prefix may be left out on reading; bare numbers for the journal.
macro_rules! numbered {
    ($($name:ident: $prefix:literal, $expected:literal;)*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = Malformed;

            fn from_str(text: &str) -> Result<Self, Malformed> {
                let digits = text.strip_prefix($prefix).unwrap_or(text);
                let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
                digits.parse().ok().filter(|_| plain).map(Self).ok_or_else(|| Malformed {
                    text: text.chars().take(80).collect(),
                    expected: $expected,
                })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.serialize_str(&self.to_string())
                } else {
                    serializer.serialize_u64(self.0)
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
                } else {
                    u64::deserialize(deserializer).map(Self)
                }
            }
        }
    )*};
}

numbered! {
    GapId: "gap-", "a gap such as gap-12 or 12";
    ScanId: "scan-", "a scan such as scan-3 or 3";
}

/// What may be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Look for gaps in the directory `root`, an absolute path that the caller has made canonical.
    Scan { root: String },
    /// What the scanner found, in parts. Internal. May be repeated: a gap that is open stays as it is.
    Report { scan: ScanId, findings: Vec<Finding> },
    /// The scanner is done. Internal. `seen` are the gaps that its reports were answered with, all of them; an open gap
    /// of the root that is not among them closes, if the scanner looked where it was. Answered [`Reply::Finishing`] as
    /// long as there is more to close: send it again, as a new command.
    Finish { scan: ScanId, seen: Vec<GapId>, coverage: Coverage, tally: Tally },
    /// The scan failed: it ends, and closes nothing.
    Abandon { scan: ScanId, why: String },
    /// Something that can only be seen live is the case. Internal. `subject` is what it is about, a child's name for
    /// example.
    Observe { kind: Kind, subject: String, detail: String },
    /// It is no longer the case. Internal.
    Clear { kind: Kind, subject: String },
}

/// Where a scanner looked. A gap elsewhere is not closed for not having been seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    /// Files that should have been read and were not, and directories that could not be opened.
    pub unread: Vec<String>,
    /// The first path, in the order of the walk, from which on nothing was judged; `None` if the walk went to the end.
    pub judged_to: Option<String>,
}

/// What a scanner went through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Files read.
    pub files: u64,
    pub bytes: u64,
    /// Files met and not read, for whatever reason.
    pub skipped: u64,
    /// A limit ended the walk early.
    pub truncated: bool,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// The scan to wait for; one that runs already, if the root is being scanned.
    Scanning {
        scan: ScanId,
    },
    /// The gap of each finding, in the order of the report.
    Reported {
        gaps: Vec<GapId>,
        opened: u64,
        reopened: u64,
    },
    /// So many gaps are still to be closed.
    Finishing {
        left: u64,
    },
    Finished(Finished),
    Abandoned,
    Observed {
        gap: GapId,
    },
    /// `None` if there never was such a gap.
    Cleared {
        gap: Option<GapId>,
    },
}

/// Why the answer can be no.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    #[error("only the authority's own workers report what is and is not there")]
    NotInternal,
    /// Shortened, as the path below: a refusal has a bound too.
    #[error("{root:?} is not a canonical absolute path of at most {ROOT_MAX} bytes")]
    RootMalformed { root: String },
    #[error("{SCANS_MAX} scans are running, which is the limit")]
    TooManyScans,
    #[error("there never was a {scan}")]
    ScanUnknown { scan: ScanId },
    #[error("{scan} has ended")]
    ScanEnded { scan: ScanId },
    #[error("a report has {count} findings, and {REPORT_MAX} is the limit")]
    ReportTooLong { count: u64 },
    #[error("a scan saw {count} gaps, and {FINDINGS_MAX} is the limit")]
    SeenTooLong { count: u64 },
    #[error("a scan names {count} unread paths, and {UNREAD_MAX} is the limit")]
    UnreadTooLong { count: u64 },
    #[error("{path:?} is not a relative path of 1 to {PATH_MAX} bytes")]
    PathMalformed { path: String },
    #[error("a subject has 1 to {PATH_MAX} bytes, and this one has {bytes}")]
    SubjectMalformed { bytes: u64 },
    #[error("a finding's detail of {bytes} bytes is over the limit of {DETAIL_MAX}")]
    DetailTooLong { bytes: u64 },
    #[error("a scan cannot find a gap of the kind {}", .kind.as_str())]
    NotScanned { kind: Kind },
    #[error("a gap of the kind {} is found by a scan, not observed", .kind.as_str())]
    NotLive { kind: Kind },
    #[error("{gap} is not an open gap of the root that was scanned")]
    NotOpen { gap: GapId },
    #[error("{OPEN_MAX} gaps are open, which is the limit")]
    Full,
}

impl Refuse for Refusal {
    fn code(&self) -> &'static str {
        match self {
            Self::NotInternal => "gaps.not_internal",
            Self::RootMalformed { .. } => "gaps.root_malformed",
            Self::TooManyScans => "gaps.too_many_scans",
            Self::ScanUnknown { .. } => "gaps.scan_unknown",
            Self::ScanEnded { .. } => "gaps.scan_ended",
            Self::ReportTooLong { .. } => "gaps.report_too_long",
            Self::SeenTooLong { .. } => "gaps.seen_too_long",
            Self::UnreadTooLong { .. } => "gaps.unread_too_long",
            Self::PathMalformed { .. } => "gaps.path_malformed",
            Self::SubjectMalformed { .. } => "gaps.subject_malformed",
            Self::DetailTooLong { .. } => "gaps.detail_too_long",
            Self::NotScanned { .. } => "gaps.not_scanned",
            Self::NotLive { .. } => "gaps.not_live",
            Self::NotOpen { .. } => "gaps.not_open",
            Self::Full => "gaps.full",
        }
    }

    fn remedy(&self) -> String {
        match self {
            Self::NotInternal => "Ask for a scan; gaps open and close by what it finds.".into(),
            Self::RootMalformed { .. } => {
                "Give the path that realpath prints: absolute, without . and .., without a slash at its end.".into()
            }
            Self::TooManyScans => "Wait until one of the running scans has finished.".into(),
            Self::ScanUnknown { .. } => "List the running scans for their numbers.".into(),
            Self::ScanEnded { .. } => "Start another scan of the same root.".into(),
            Self::ReportTooLong { .. } => format!("Report in parts of at most {REPORT_MAX} findings."),
            Self::SeenTooLong { .. } => format!("Stop a scan at {FINDINGS_MAX} findings and say how far it came."),
            Self::UnreadTooLong { .. } => "Name the first ones and say by judged_to where the list ends.".into(),
            Self::PathMalformed { .. } => "Give the path from the root to the file, without . and ..".into(),
            Self::SubjectMalformed { .. } => "Name what the gap is about, in a few words.".into(),
            Self::DetailTooLong { .. } => format!("Shorten it to {DETAIL_MAX} bytes."),
            Self::NotScanned { .. } => "Observe it instead.".into(),
            Self::NotLive { .. } => "Scan the directory instead.".into(),
            Self::NotOpen { .. } => "Report the findings again and name the gaps of the answer.".into(),
            Self::Full => "Close open gaps, or keep a directory out of the scan by a .ignore file.".into(),
        }
    }
}

/// Whether a gap is the case now, as far as is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Open,
    Closed,
}

/// One gap, open or closed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    pub id: GapId,
    /// What makes it the same gap as one found before.
    pub fingerprint: Digest,
    pub kind: Kind,
    /// The scanned directory; empty for what is seen live.
    pub root: String,
    /// Within the root; the subject of what is seen live.
    pub path: String,
    /// From 1, where it was when it last opened; 0 if it has none.
    pub line: u32,
    pub detail: String,
    pub state: State,
    /// How often it came back.
    pub reopened: u32,
    pub opened_at: Timestamp,
    /// When it last opened, closed or reopened.
    pub changed_at: Timestamp,
}

impl Gap {
    pub fn title(&self) -> String {
        crate::title(self.kind, &self.path, &self.detail)
    }
}

/// Which gaps to list; `None` takes all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    pub state: Option<State>,
    pub kind: Option<Kind>,
    pub root: Option<String>,
}

/// How many gaps there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    pub open: u64,
    pub closed: u64,
}

/// A scan that somebody has to do, again if need be: it may be that nobody is at it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    pub scan: ScanId,
    pub root: String,
    pub started_at: Timestamp,
    /// So far.
    pub opened: u64,
    pub reopened: u64,
    pub closed: u64,
}

/// A scan that came to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finished {
    pub scan: ScanId,
    pub root: String,
    pub started_at: Timestamp,
    pub finished_at: Timestamp,
    pub opened: u64,
    pub reopened: u64,
    pub closed: u64,
    /// Open in this root when the scan finished.
    pub open: u64,
    /// Files and directories that should have been read and were not.
    pub unread: u64,
    pub tally: Tally,
}

/// A scan that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Abandoned {
    pub scan: ScanId,
    pub root: String,
    pub at: Timestamp,
    pub why: String,
}

/// What became of a scan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    Running(Running),
    Finished(Finished),
    Abandoned(Abandoned),
    /// Ended, and a later scan of the same root has ended since.
    Superseded,
}
