//! Gap detector: findings that open, close and reopen by evidence.
//!
//! A gap is something that should be there and is not, or should not be there and is. It opens when a scan reports it,
//! closes when a later scan of the same root looked at the same place and did not, and reopens when it comes back; nobody
//! opens or closes one by hand. What only shows live, such as a quarantined child, opens and closes by the same rules.
//! The detectors are pure and live here too, in [`detect`]; walking the disk is a worker's.
//!
//! # Invariants
//! 1. A fingerprint names one gap for ever, and a gap's number is its place in the order of opening.
//! 2. A finding whose gap is open adds nothing: a scan of an unchanged tree leaves its start and its finish.
//! 3. Between the start of a scan and its finish nothing is remembered that its events do not say: whoever scans brings
//!    the gaps it has seen to the finish, and begins again if it was lost on the way.
//! 4. A scan closes nothing where it did not look, and an abandoned one closes nothing at all.
//! 5. A root is scanned once at a time.

#![no_std]

extern crate alloc;

pub mod detect;

mod finding;
mod records;
mod vocabulary;

use alloc::borrow::ToOwned;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

use kernel::{Context, Digest, Kin, Machine, Outcome, Position, Timestamp};
use serde::{Deserialize, Serialize};

pub use finding::{Finding, Kind, clipped, fingerprint, number, title};
pub use records::{
    Event, GAP_CLOSED, GAP_OPENED, GAP_REOPENED, GapV1, SCAN_ABANDONED, SCAN_FINISHED, SCAN_STARTED, ScanAbandonedV1,
    ScanFinishedV1, ScanStartedV1,
};
pub use vocabulary::*;

/// Every gap there ever was. Closed ones stay, so that what comes back is known again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gaps {
    by_id: BTreeMap<GapId, Gap>,
    by_fingerprint: BTreeMap<Digest, GapId>,
    open: u64,
    /// The number of the last scan started.
    scans: u64,
    running: BTreeMap<ScanId, Running>,
    /// The last finished scan of each root.
    finished: BTreeMap<String, Finished>,
    /// The last failed scan of each root, unless one has finished since.
    abandoned: BTreeMap<String, Abandoned>,
}

impl Machine for Gaps {
    const NAME: &'static str = "gaps";
    const REVISION: u32 = 1;

    type Command = Command;
    type Event = Event;
    type Reply = Reply;
    type Refusal = Refusal;

    fn decide(&self, command: &Command, cx: &Context) -> Result<Outcome<Self>, Refusal> {
        match command {
            Command::Scan { root } if !is_canonical(root) => Err(Refusal::RootMalformed { root: shortened(root) }),
            Command::Scan { root } => match self.running.values().find(|running| running.root == *root) {
                Some(running) => Ok(Outcome::already(Reply::Scanning { scan: running.scan })),
                None if SCANS_MAX <= self.running.len() => Err(Refusal::TooManyScans),
                None => {
                    let scan = ScanId(self.scans + 1);
                    let started = ScanStartedV1 { scan: scan.0, root: root.clone(), at: cx.now };
                    Ok(Outcome::new([Event::ScanStarted(started)].into(), Reply::Scanning { scan }))
                }
            },
            Command::Report { .. } | Command::Finish { .. } | Command::Observe { .. } | Command::Clear { .. }
                if cx.principal.kin != Kin::Internal =>
            {
                Err(Refusal::NotInternal)
            }
            Command::Report { scan, findings } => {
                let running = self.to_go_on(*scan)?;
                if REPORT_MAX < findings.len() {
                    return Err(Refusal::ReportTooLong { count: findings.len() as u64 });
                }
                findings.iter().try_for_each(well_formed)?;
                self.report(running, findings, cx.now)
            }
            Command::Finish { scan, seen, coverage, tally } => {
                if let Some(finished) = self.finished.values().find(|finished| finished.scan == *scan) {
                    return Ok(Outcome::already(Reply::Finished(finished.clone())));
                }
                let running = self.to_go_on(*scan)?;
                if FINDINGS_MAX < seen.len() {
                    return Err(Refusal::SeenTooLong { count: seen.len() as u64 });
                }
                if UNREAD_MAX < coverage.unread.len() {
                    return Err(Refusal::UnreadTooLong { count: coverage.unread.len() as u64 });
                }
                self.finish(running, seen, coverage, *tally, cx.now)
            }
            Command::Abandon { scan, why } => {
                let running = self.to_go_on(*scan)?;
                // Cut, not refused, as the detail below: a scan must be able to end, and an alarm to be raised.
                let (root, why) = (running.root.clone(), clipped(why, DETAIL_MAX));
                let abandoned = ScanAbandonedV1 { scan: scan.0, root, why, at: cx.now };
                Ok(Outcome::new([Event::ScanAbandoned(abandoned)].into(), Reply::Abandoned))
            }
            Command::Observe { kind, .. } | Command::Clear { kind, .. } if !kind.is_live() => {
                Err(Refusal::NotLive { kind: *kind })
            }
            Command::Observe { subject, .. } | Command::Clear { subject, .. }
                if subject.is_empty() || PATH_MAX < subject.len() =>
            {
                Err(Refusal::SubjectMalformed { bytes: subject.len() as u64 })
            }
            Command::Observe { kind, subject, detail } => {
                let (path, detail) = (subject.clone(), clipped(detail, DETAIL_MAX));
                let finding = Finding { kind: *kind, path, line: 0, detail, ordinal: 0 };
                let mut opening = Opening::new(self);
                let gap = opening.take(None, "", &finding, cx.now)?;
                Ok(Outcome::new(opening.events, Reply::Observed { gap }))
            }
            Command::Clear { kind, subject } => match self.by_fingerprint(fingerprint(*kind, "", subject, "", 0)) {
                Some(gap) if gap.state == State::Open => {
                    let closed = Event::GapClosed(gap.recorded(None, cx.now));
                    Ok(Outcome::new([closed].into(), Reply::Cleared { gap: Some(gap.id) }))
                }
                gap => Ok(Outcome::already(Reply::Cleared { gap: gap.map(|gap| gap.id) })),
            },
        }
    }

    fn evolve(&mut self, event: &Event, _at: Position) {
        match event {
            Event::ScanStarted(started) => {
                assert_eq!(started.scan, self.scans + 1, "scans are numbered in the order of their start");
                self.scans = started.scan;
                let scan = ScanId(started.scan);
                let (root, started_at) = (started.root.clone(), started.at);
                self.running.insert(scan, Running { scan, root, started_at, opened: 0, reopened: 0, closed: 0 });
            }
            Event::GapOpened(opened) => {
                let gap = Gap::opened(opened);
                assert_eq!(gap.id.0, self.by_id.len() as u64 + 1, "gaps are numbered in the order of their opening");
                let earlier = self.by_fingerprint.insert(gap.fingerprint, gap.id);
                assert_eq!(earlier, None, "{} was opened under a fingerprint that is another gap's", gap.id);
                self.by_id.insert(gap.id, gap);
                self.open += 1;
                self.count(opened.scan, |running| running.opened += 1);
            }
            Event::GapReopened(reopened) => {
                let gap = self.changed(reopened);
                assert_eq!(gap.state, State::Closed, "only a closed gap reopens, and {} was open", gap.id);
                gap.state = State::Open;
                gap.reopened += 1;
                gap.line = reopened.line;
                gap.detail.clone_from(&reopened.detail);
                self.open += 1;
                self.count(reopened.scan, |running| running.reopened += 1);
            }
            Event::GapClosed(closed) => {
                let gap = self.changed(closed);
                assert_eq!(gap.state, State::Open, "only an open gap closes, and {} was closed", gap.id);
                gap.state = State::Closed;
                self.open -= 1;
                self.count(closed.scan, |running| running.closed += 1);
            }
            Event::ScanFinished(ended) => {
                let running = self.ended(ended.scan);
                self.abandoned.remove(&running.root);
                self.finished.insert(running.root.clone(), finished(running, ended));
            }
            Event::ScanAbandoned(ended) => {
                let Running { scan, root, .. } = self.ended(ended.scan);
                let (at, why) = (ended.at, ended.why.clone());
                self.abandoned.insert(root.clone(), Abandoned { scan, root, at, why });
            }
        }
    }
}

/// What is answered.
impl Gaps {
    pub fn show(&self, id: GapId) -> Option<&Gap> {
        self.by_id.get(&id)
    }

    pub fn by_fingerprint(&self, fingerprint: Digest) -> Option<&Gap> {
        self.by_fingerprint.get(&fingerprint).map(|id| &self.by_id[id])
    }

    /// In the order of their opening.
    pub fn list<'a>(&'a self, filter: &'a Filter) -> impl Iterator<Item = &'a Gap> {
        self.by_id.values().filter(|gap| {
            filter.state.is_none_or(|state| gap.state == state)
                && filter.kind.is_none_or(|kind| gap.kind == kind)
                && filter.root.as_ref().is_none_or(|root| gap.root == *root)
        })
    }

    pub fn counts(&self) -> Counts {
        Counts { open: self.open, closed: self.by_id.len() as u64 - self.open }
    }

    /// The scans that a worker has to do, each from its beginning: also those that one was at when it was lost.
    pub fn outstanding(&self) -> impl Iterator<Item = &Running> {
        self.running.values()
    }

    /// What became of a scan; `None` if there never was one.
    pub fn scan(&self, scan: ScanId) -> Option<Progress> {
        if let Some(running) = self.running.get(&scan) {
            Some(Progress::Running(running.clone()))
        } else if let Some(finished) = self.finished.values().find(|finished| finished.scan == scan) {
            Some(Progress::Finished(finished.clone()))
        } else if let Some(abandoned) = self.abandoned.values().find(|abandoned| abandoned.scan == scan) {
            Some(Progress::Abandoned(abandoned.clone()))
        } else {
            (1..=self.scans).contains(&scan.0).then_some(Progress::Superseded)
        }
    }

    /// The last finished scan of a root.
    pub fn finished(&self, root: &str) -> Option<&Finished> {
        self.finished.get(root)
    }

    /// The last failed scan of a root, unless one has finished since.
    pub fn abandoned(&self, root: &str) -> Option<&Abandoned> {
        self.abandoned.get(root)
    }

    /// Every root of which a scan has finished.
    pub fn roots(&self) -> impl Iterator<Item = &str> {
        self.finished.keys().map(String::as_str)
    }
}

/// What `decide` works out.
impl Gaps {
    fn to_go_on(&self, scan: ScanId) -> Result<&Running, Refusal> {
        match self.running.get(&scan) {
            Some(running) => Ok(running),
            None if (1..=self.scans).contains(&scan.0) => Err(Refusal::ScanEnded { scan }),
            None => Err(Refusal::ScanUnknown { scan }),
        }
    }

    fn report(&self, running: &Running, findings: &[Finding], now: Timestamp) -> Result<Outcome<Self>, Refusal> {
        let mut opening = Opening::new(self);
        let gaps = findings
            .iter()
            .map(|finding| opening.take(Some(running.scan), &running.root, finding, now))
            .collect::<Result<_, _>>()?;
        let Opening { events, opened, reopened, .. } = opening;
        Ok(Outcome::new(events, Reply::Reported { gaps, opened, reopened }))
    }

    fn finish(
        &self,
        running: &Running,
        seen: &[GapId],
        coverage: &Coverage,
        tally: Tally,
        now: Timestamp,
    ) -> Result<Outcome<Self>, Refusal> {
        for path in coverage.unread.iter().chain(&coverage.judged_to) {
            if !is_relative(path) {
                return Err(Refusal::PathMalformed { path: shortened(path) });
            }
        }
        let filter = Filter { state: Some(State::Open), root: Some(running.root.clone()), kind: None };
        let open: BTreeMap<GapId, &Gap> = self.list(&filter).map(|gap| (gap.id, gap)).collect();
        if let Some(&gap) = seen.iter().find(|gap| !open.contains_key(gap)) {
            return Err(Refusal::NotOpen { gap });
        }
        let seen: BTreeSet<&GapId> = seen.iter().collect();
        let judged = Judged::new(coverage);
        let gone: Vec<&Gap> =
            open.values().copied().filter(|gap| !seen.contains(&gap.id) && judged.includes(&gap.path)).collect();

        let closed = |gap: &&Gap| Event::GapClosed(gap.recorded(Some(running.scan), now));
        let mut events: Vec<Event> = gone.iter().take(CLOSED_MAX).map(closed).collect();
        let left = gone.len() - events.len();
        if 0 < left {
            return Ok(Outcome::new(events, Reply::Finishing { left: left as u64 }));
        }
        let ended = ScanFinishedV1 {
            scan: running.scan.0,
            root: running.root.clone(),
            opened: running.opened,
            reopened: running.reopened,
            closed: running.closed + gone.len() as u64,
            files: tally.files,
            bytes: tally.bytes,
            skipped: tally.skipped,
            unread: coverage.unread.len() as u64,
            truncated: tally.truncated,
            open: (open.len() - gone.len()) as u64,
            at: now,
        };
        let reply = Reply::Finished(finished(running.clone(), &ended));
        events.push(Event::ScanFinished(ended));
        Ok(Outcome::new(events, reply))
    }
}

/// What `evolve` looks up.
impl Gaps {
    fn changed(&mut self, body: &GapV1) -> &mut Gap {
        let gap = self.by_id.get_mut(&GapId(body.gap)).expect("only a gap that was opened changes");
        assert_eq!(gap.fingerprint, body.fingerprint, "a gap keeps its fingerprint");
        gap.changed_at = body.at;
        gap
    }

    fn count(&mut self, scan: Option<u64>, one: impl FnOnce(&mut Running)) {
        if let Some(scan) = scan {
            one(self.running.get_mut(&ScanId(scan)).expect("only a running scan changes gaps"));
        }
    }

    fn ended(&mut self, scan: u64) -> Running {
        self.running.remove(&ScanId(scan)).expect("only a running scan ends")
    }
}

impl Gap {
    fn opened(body: &GapV1) -> Self {
        Self {
            id: GapId(body.gap),
            fingerprint: body.fingerprint,
            kind: Kind::from_tag(body.kind).expect("a gap is recorded under a kind that there is"),
            root: body.root.clone(),
            path: body.path.clone(),
            line: body.line,
            detail: body.detail.clone(),
            state: State::Open,
            reopened: 0,
            opened_at: body.at,
            changed_at: body.at,
        }
    }

    fn recorded(&self, scan: Option<ScanId>, at: Timestamp) -> GapV1 {
        GapV1 {
            gap: self.id.0,
            scan: scan.map(|scan| scan.0),
            fingerprint: self.fingerprint,
            kind: self.kind.tag(),
            root: self.root.clone(),
            path: self.path.clone(),
            line: self.line,
            detail: self.detail.clone(),
            at,
        }
    }
}

/// The gaps that one command opens and reopens, the second of two equal findings being the first.
struct Opening<'a> {
    gaps: &'a Gaps,
    events: Vec<Event>,
    met: BTreeMap<Digest, GapId>,
    opened: u64,
    reopened: u64,
}

impl<'a> Opening<'a> {
    fn new(gaps: &'a Gaps) -> Self {
        Self { gaps, events: Vec::new(), met: BTreeMap::new(), opened: 0, reopened: 0 }
    }

    fn take(&mut self, scan: Option<ScanId>, root: &str, finding: &Finding, at: Timestamp) -> Result<GapId, Refusal> {
        let fingerprint = finding.fingerprint(root);
        if let Some(&gap) = self.met.get(&fingerprint) {
            return Ok(gap);
        }
        let known = self.gaps.by_fingerprint(fingerprint);
        if let Some(gap) = known
            && gap.state == State::Open
        {
            return Ok(gap.id);
        }
        if OPEN_MAX <= self.gaps.open + self.opened + self.reopened {
            return Err(Refusal::Full);
        }
        let gap = known.map_or_else(|| GapId(self.gaps.by_id.len() as u64 + self.opened + 1), |gap| gap.id);
        let body = GapV1 {
            gap: gap.0,
            scan: scan.map(|scan| scan.0),
            fingerprint,
            kind: finding.kind.tag(),
            root: root.to_owned(),
            path: finding.path.clone(),
            line: finding.line,
            detail: finding.detail.clone(),
            at,
        };
        if known.is_some() {
            self.reopened += 1;
            self.events.push(Event::GapReopened(body));
        } else {
            self.opened += 1;
            self.events.push(Event::GapOpened(body));
        }
        self.met.insert(fingerprint, gap);
        Ok(gap)
    }
}

/// Where a scan looked.
struct Judged<'a> {
    unread: BTreeSet<&'a str>,
    to: Option<&'a str>,
}

impl<'a> Judged<'a> {
    fn new(coverage: &'a Coverage) -> Self {
        Self { unread: coverage.unread.iter().map(String::as_str).collect(), to: coverage.judged_to.as_deref() }
    }

    fn includes(&self, path: &str) -> bool {
        let mut above = path.match_indices('/').map(|(end, _)| &path[..end]).chain([path]);
        !above.any(|directory| self.unread.contains(directory)) && self.to.is_none_or(|to| walked_before(path, to))
    }
}

/// Whether a walk comes to `path` before it comes to `other`: a directory's entries in the order of their names, what
/// is in an entry before the next one.
fn walked_before(path: &str, other: &str) -> bool {
    path.split('/').lt(other.split('/'))
}

fn finished(running: Running, ended: &ScanFinishedV1) -> Finished {
    let Running { scan, root, started_at, .. } = running;
    let &ScanFinishedV1 { opened, reopened, closed, open, unread, files, bytes, skipped, truncated, at, .. } = ended;
    let tally = Tally { files, bytes, skipped, truncated };
    Finished { scan, root, started_at, finished_at: at, opened, reopened, closed, open, unread, tally }
}

fn well_formed(finding: &Finding) -> Result<(), Refusal> {
    if finding.kind.is_live() {
        Err(Refusal::NotScanned { kind: finding.kind })
    } else if !is_relative(&finding.path) {
        Err(Refusal::PathMalformed { path: shortened(&finding.path) })
    } else if DETAIL_MAX < finding.detail.len() {
        Err(Refusal::DetailTooLong { bytes: finding.detail.len() as u64 })
    } else {
        Ok(())
    }
}

fn is_canonical(root: &str) -> bool {
    match root.strip_prefix('/') {
        Some("") => true,
        Some(rest) => root.len() <= ROOT_MAX && !root.contains('\0') && rest.split('/').all(is_name),
        None => false,
    }
}

fn is_relative(path: &str) -> bool {
    path.len() <= PATH_MAX && path.split('/').all(is_name)
}

fn is_name(part: &str) -> bool {
    !matches!(part, "" | "." | "..")
}

/// What a caller sent may be of any length; a refusal may not.
fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}
