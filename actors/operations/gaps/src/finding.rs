//! What is found, what makes it the same gap when it is found again, and how it is called.

use alloc::borrow::Cow;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;

use kernel::Digest;
use serde::{Deserialize, Serialize};

/// What sort of gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// One of the six required documents is not there.
    MissingDocument,
    /// A required document is there and is empty, or is not what its name says.
    InvalidDocument,
    /// A relative link in a Markdown file leads nowhere.
    BrokenLink,
    /// A note in a source file that something is still to be done, or code that says so when it runs.
    Marker,
    /// A supervised child has used up its restarts and stays down. Live.
    ChildQuarantined,
    /// A backup is due, and there is no whole one. Live.
    BackupMissing,
    /// The last whole backup is too old. Live.
    BackupOverdue,
    /// Nothing but the policy that is built in decides, and for too long. Live.
    PolicyEmpty,
    /// A credential ends soon, and its subject has no other for the same. Live.
    CredentialExpiring,
    /// A witness saw another history of the tile log than the one that is here. Live.
    LogDisputed,
    /// A key of the authority will have been in use for as long as it may be. Live.
    KeyDue,
}

impl Kind {
    pub const ALL: [Self; 11] = [
        Self::MissingDocument,
        Self::InvalidDocument,
        Self::BrokenLink,
        Self::Marker,
        Self::ChildQuarantined,
        Self::BackupMissing,
        Self::BackupOverdue,
        Self::PolicyEmpty,
        Self::CredentialExpiring,
        Self::LogDisputed,
        Self::KeyDue,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MissingDocument => "missing_document",
            Self::InvalidDocument => "invalid_document",
            Self::BrokenLink => "broken_link",
            Self::Marker => "marker",
            Self::ChildQuarantined => "child_quarantined",
            Self::BackupMissing => "backup_missing",
            Self::BackupOverdue => "backup_overdue",
            Self::PolicyEmpty => "policy_empty",
            Self::CredentialExpiring => "credential_expiring",
            Self::LogDisputed => "log_disputed",
            Self::KeyDue => "key_due",
        }
    }

    /// Seen by somebody who is there when it happens; no scan finds it.
    pub const fn is_live(self) -> bool {
        match self {
            Self::MissingDocument | Self::InvalidDocument | Self::BrokenLink | Self::Marker => false,
            Self::ChildQuarantined
            | Self::BackupMissing
            | Self::BackupOverdue
            | Self::PolicyEmpty
            | Self::CredentialExpiring
            | Self::LogDisputed
            | Self::KeyDue => true,
        }
    }

    /// As it stands in records and fingerprints, for ever.
    pub const fn tag(self) -> u8 {
        match self {
            Self::MissingDocument => 1,
            Self::InvalidDocument => 2,
            Self::BrokenLink => 3,
            Self::Marker => 4,
            Self::ChildQuarantined => 5,
            Self::BackupMissing => 6,
            Self::BackupOverdue => 7,
            Self::PolicyEmpty => 8,
            Self::CredentialExpiring => 9,
            Self::LogDisputed => 10,
            Self::KeyDue => 11,
        }
    }

    pub fn from_tag(tag: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.tag() == tag)
    }
}

/// Something that a scan of a root found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Finding {
    pub kind: Kind,
    /// From the root, with `/` between its parts.
    pub path: String,
    /// From 1; 0 if it has none. For people: a gap survives that its line moves.
    pub line: u32,
    pub detail: String,
    /// Counts, from 0, the findings of one file that say the same; see [`number`].
    pub ordinal: u32,
}

impl Finding {
    pub fn fingerprint(&self, root: &str) -> Digest {
        fingerprint(self.kind, root, &self.path, &self.detail, self.ordinal)
    }
}

/// Gives equal findings of a file their ordinals, in the order in which they stand here.
pub fn number(findings: &mut [Finding]) {
    let mut met: BTreeMap<(Kind, String, String), u32> = BTreeMap::new();
    for finding in findings {
        let next = met.entry((finding.kind, finding.path.clone(), spaced(&finding.detail).into_owned())).or_default();
        finding.ordinal = *next;
        *next += 1;
    }
}

/// The identity of a gap. The line is no part of it, nor is the width of blanks. A live gap is what it is about: why a
/// child is quarantined may change while it stays the same gap.
pub fn fingerprint(kind: Kind, root: &str, path: &str, detail: &str, ordinal: u32) -> Digest {
    let detail = if kind.is_live() { Cow::Borrowed("") } else { spaced(detail) };
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"sop gap 1");
    hasher.update(&[kind.tag()]);
    for text in [root, path, &detail] {
        // With its length before it, so that no two lists of texts are the same bytes.
        hasher.update(&(text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    }
    hasher.update(&ordinal.to_le_bytes());
    Digest(*hasher.finalize().as_bytes())
}

/// A short title for people.
pub fn title(kind: Kind, path: &str, detail: &str) -> String {
    let (path, detail) = (tail(path, 100), shown(detail, 80));
    match kind {
        Kind::MissingDocument => format!("{path} is missing"),
        Kind::InvalidDocument => format!("{path} is {detail}"),
        Kind::BrokenLink => format!("broken link to {detail} in {path}"),
        Kind::Marker => format!("{detail} ({path})"),
        Kind::ChildQuarantined if detail.is_empty() => format!("{path} is quarantined"),
        Kind::ChildQuarantined => format!("{path} is quarantined: {detail}"),
        Kind::BackupMissing => "there is no backup yet".into(),
        Kind::BackupOverdue => format!("a backup is overdue: {detail}"),
        Kind::PolicyEmpty => "no policy decides but the one that is built in".into(),
        Kind::CredentialExpiring => format!("a credential ends soon: {path}"),
        Kind::LogDisputed => format!("{path} saw another history of the log: {detail}"),
        Kind::KeyDue => format!("{path} will soon have been in use for long enough: {detail}"),
    }
}

/// `text` with each run of blanks as one space and none at its ends.
pub(crate) fn spaced(text: &str) -> Cow<'_, str> {
    let mut words = text.split_whitespace();
    let mut joined = String::new();
    if let Some(first) = words.next() {
        joined.push_str(first);
    }
    for word in words {
        joined.push(' ');
        joined.push_str(word);
    }
    if joined == text { Cow::Borrowed(text) } else { Cow::Owned(joined) }
}

/// The beginning of `text`, at most `bytes` long, one line, without control characters: what a file says ends up on
/// terminals.
pub fn clipped(text: &str, bytes: usize) -> String {
    // Blanks shrink by being joined, so that a huge line is cut before it is copied, and again after.
    let text = text.trim_start();
    let window = &text[..text.floor_char_boundary(bytes * 4)];
    let mut clipped = visible(&spaced(window));
    clipped.truncate(clipped.floor_char_boundary(bytes));
    clipped.truncate(clipped.trim_end().len());
    clipped
}

fn visible(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

fn shown(text: &str, chars: usize) -> String {
    match text.char_indices().nth(chars) {
        Some((end, _)) => format!("{}…", visible(&text[..end])),
        None => visible(text),
    }
}

/// The end of a path says more than its beginning.
fn tail(path: &str, chars: usize) -> String {
    match path.char_indices().rev().nth(chars) {
        Some((before, c)) => format!("…{}", visible(&path[before + c.len_utf8()..])),
        None => visible(path),
    }
}
