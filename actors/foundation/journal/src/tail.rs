//! The tail on disk: what is synced first, and what everything else is made again from.
//!
//! One group is one frame, one write and one `fdatasync`. The zeros that it replaces were written and synced before, so
//! that the sync has no size and no extents to record; a helper thread writes them ahead of need, in steps that grow with
//! use. What the bytes mean is [`crate::segment`]'s.
//!
//! ```text
//! <first sequence, 20 digits>.seg   a segment; the one with the highest number is written to
//! spare                             zeros for the next one
//! *.new                             a segment being written, not there yet
//! ```
//!
//! # Invariants
//! 1. What [`Tail::append`] has returned `Ok` for is on stable storage.
//! 2. A segment is there only with its header synced, and only after the last frame of the one before it was.
//! 3. Nothing is written over but zeros, and no file is used for a second segment.
//! 4. A failure of the helper's is a failure of the next append that needs what it did not do. It syncs through a file
//!    description of its own, so that it takes no error away from the committer's.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use kernel::Sequence;

use crate::segment::{Around, Frame, HEADER_BYTES, NoSegment, Rest, Segment, frame_bytes, header};
use crate::store::{Group, Head, StoreError, StreamHead};

/// A segment is closed when the next frame would make it longer than this.
pub const SEGMENT_BYTES: u64 = 16 << 20;
/// Zeros that a new segment has: little, as most stores are small.
const CHUNK_FIRST: u64 = 256 << 10;
const CHUNK_LAST: u64 = 4 << 20;
/// Zeros ahead are synced so many at a time: the committer's own syncs wait behind each, which took 8 ms with 16 MiB at once
/// and takes half of one so.
const PIECE: u64 = 256 << 10;
const SPARE: &str = "spare";
const NEW: &str = "new";
const SEGMENT: &str = "seg";

/// A file of the tail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentFile {
    pub first: Sequence,
    pub path: PathBuf,
}

/// The segments in `directory`, in the order of their records.
///
/// # Errors
/// If the directory cannot be read.
pub fn segments(directory: &Path) -> Result<Vec<SegmentFile>, StoreError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let stem = path.file_stem().and_then(|stem| stem.to_str()).filter(|stem| stem.len() == 20);
        let first = stem.and_then(|stem| stem.parse().ok()).filter(|_| path.extension().is_some_and(|e| e == SEGMENT));
        if let Some(first) = first {
            found.push(SegmentFile { first: Sequence(first), path });
        }
    }
    found.sort_by_key(|segment| segment.first);
    Ok(found)
}

/// Removes the segments that hold no record after `sequence`, but never the one that is written to. All of what goes must
/// be on stable storage elsewhere.
///
/// # Errors
/// If a file cannot be removed; then those before it are.
pub fn remove_up_to(directory: &Path, sequence: Sequence) -> Result<(), StoreError> {
    let found = segments(directory)?;
    for pair in found.windows(2) {
        if pair[1].first.0 <= sequence.0 + 1 {
            fs::remove_file(&pair[0].path)?;
            // In order, also on the disk: what is left must begin somewhere and have no hole.
            sync_directory(directory)?;
        }
    }
    Ok(())
}

/// What the records of a segment follow.
pub(crate) fn before(segment: &SegmentFile) -> Result<Head, StoreError> {
    let mut header = [0; HEADER_BYTES];
    File::open(&segment.path)?.read_exact_at(&mut header, 0)?;
    let read = Segment::new(&header).map(|segment| segment.head());
    read.map_err(|error| StoreError::DamagedFrom { at: segment.first, what: error.to_string() })
}

/// What the segments hold.
#[derive(Debug)]
pub struct Scanned {
    /// What the first record follows: zeros, unless older segments were removed.
    pub before: Head,
    pub head: Head,
    /// Where each stream stands that has a record here.
    pub streams: BTreeMap<String, StreamHead>,
    /// A group that was never acknowledged follows the last frame.
    pub torn: bool,
    last: SegmentFile,
    /// Where the content of the last segment ends.
    end: usize,
}

/// Reads all segments, and gives `look` every frame.
///
/// # Errors
/// [`StoreError::DamagedFrom`] where they do not follow from each other, and those of `look`.
pub fn scan(directory: &Path, look: impl FnMut(&Frame<'_>) -> Result<(), StoreError>) -> Result<Scanned, StoreError> {
    scan_from(directory, Sequence(0), look)
}

/// As [`scan`], but for the segments that end before `from`, which are not read.
///
/// # Errors
/// As [`scan`].
pub fn scan_from(
    directory: &Path,
    from: Sequence,
    mut look: impl FnMut(&Frame<'_>) -> Result<(), StoreError>,
) -> Result<Scanned, StoreError> {
    let files = segments(directory)?;
    let skipped = files.iter().skip(1).take_while(|file| file.first <= from).count();
    let mut scanned: Option<Scanned> = None;
    for file in &files[skipped..] {
        let bytes = fs::read(&file.path)?;
        let damaged = |at: Sequence, what: String| StoreError::DamagedFrom {
            at,
            what: format!("{}: {what}", file.path.file_name().unwrap_or_default().display()),
        };
        let expected = scanned.as_ref().map(|scanned| scanned.head);
        if let Some(Scanned { torn: true, head, .. }) = scanned {
            return Err(damaged(Sequence(head.sequence.0 + 1), "the segment before it ends within a group".into()));
        }
        let first = expected.map_or(file.first, |head| Sequence(head.sequence.0 + 1));
        let mut segment = Segment::new(&bytes).map_err(|error| match error {
            NoSegment::Format { found } => StoreError::Format { found },
            NoSegment::Header => damaged(first, error.to_string()),
        })?;
        let before = segment.head();
        if expected.is_some_and(|expected| expected != before) || before.sequence.0 + 1 != file.first.0 {
            return Err(damaged(first, "it does not follow from the segment before it".into()));
        }
        let Scanned { before, mut streams, .. } =
            scanned.unwrap_or_else(|| Scanned::of(before, file.clone(), BTreeMap::new()));
        for frame in segment.by_ref() {
            for (record, ..) in &frame.records {
                let head = StreamHead { version: record.version, epoch: record.epoch, time: record.time };
                match streams.get_mut(&record.stream) {
                    Some(known) => *known = head,
                    None => drop(streams.insert(record.stream.clone(), head)),
                }
            }
            look(&frame)?;
        }
        let head = segment.head();
        let rest = segment.rest();
        if let Rest::Damaged { later } = rest {
            let what = format!("what follows it is damaged, and record {later} comes later");
            return Err(damaged(Sequence(head.sequence.0 + 1), what));
        }
        let (torn, end) = (rest == Rest::Torn, segment.end());
        scanned = Some(Scanned { before, head, streams, torn, last: file.clone(), end });
    }
    scanned.ok_or_else(|| StoreError::DamagedFrom { at: Sequence(1), what: "the tail has no segment".into() })
}

impl Scanned {
    fn of(before: Head, last: SegmentFile, streams: BTreeMap<String, StreamHead>) -> Self {
        Self { before, head: before, streams, torn: false, last, end: HEADER_BYTES }
    }

    /// Whether the last segment has a record.
    pub fn ends_in_a_record(&self) -> bool {
        HEADER_BYTES < self.end
    }
}

/// The open tail.
pub struct Tail {
    directory: PathBuf,
    segment_bytes: u64,
    file: File,
    /// Where the next frame goes.
    at: u64,
    head: Head,
    ahead: Ahead,
}

impl Tail {
    /// Makes the first segment, whose records follow `before`, in a directory that has none.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn create(directory: &Path, before: Head, segment_bytes: u64) -> Result<Self, StoreError> {
        let path = place(directory, before);
        let zeros = CHUNK_FIRST.min(segment_bytes).max(HEADER_BYTES as u64);
        put(&path, &header(before), zeros)?;
        Self::at(directory, segment_bytes, path, HEADER_BYTES as u64, before)
    }

    /// Goes on where the scan ended. With `anew` the content of the last segment is written again, to another file: what a
    /// group that was never acknowledged left behind is gone then, and after a failed sync the page cache may show bytes
    /// that the disk never got.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn open(directory: &Path, scanned: &Scanned, segment_bytes: u64, anew: bool) -> Result<Self, StoreError> {
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            if path.file_name().is_some_and(|name| name == SPARE) || path.extension().is_some_and(|e| e == NEW) {
                fs::remove_file(path)?;
            }
        }
        let path = scanned.last.path.clone();
        if anew {
            let mut content = fs::read(&path)?;
            content.truncate(scanned.end);
            let zeros = (content.len() as u64 + CHUNK_FIRST).min(segment_bytes).max(content.len() as u64);
            put(&path, &content, zeros)?;
        }
        Self::at(directory, segment_bytes, path, scanned.end as u64, scanned.head)
    }

    fn at(directory: &Path, segment_bytes: u64, path: PathBuf, at: u64, head: Head) -> Result<Self, StoreError> {
        let file = OpenOptions::new().write(true).open(&path)?;
        let ready = file.metadata()?.len();
        let ahead = Ahead::new(directory, segment_bytes, &path, ready)?;
        Ok(Self { directory: directory.to_owned(), segment_bytes, file, at, head, ahead })
    }

    /// Writes the group and syncs it.
    ///
    /// # Errors
    /// The outcome is unknown then, and the tail must not be appended to again.
    pub fn append(&mut self, group: &Group) -> Result<(), StoreError> {
        let payload = group.payload();
        if group.before() != self.head {
            return Err(StoreError::Damaged { what: "a group does not follow from the one before".into() });
        }
        let bytes = frame_bytes(payload.len()) as u64;
        if HEADER_BYTES as u64 != self.at && self.segment_bytes < self.at + bytes {
            self.rotate()?;
        }
        self.ahead.until(self.at + bytes)?;
        let around = Around::new(payload, group.records, group.after());
        write_all(&self.file, &around.slices(payload), self.at)?;
        self.file.sync_data()?;
        self.at += bytes;
        self.head = group.after();
        self.ahead.keep(self.at);
        Ok(())
    }

    /// Goes on in a new segment, which is there, header and all, before anything is written to it.
    fn rotate(&mut self) -> Result<(), StoreError> {
        let ready = self.ahead.spare()?;
        let (spare, path) = (self.directory.join(SPARE), place(&self.directory, self.head));
        let file = OpenOptions::new().write(true).open(&spare)?;
        file.write_all_at(&header(self.head), 0)?;
        file.sync_data()?;
        fs::rename(&spare, &path)?;
        sync_directory(&self.directory)?;
        (self.file, self.at) = (file, HEADER_BYTES as u64);
        self.ahead.next(&path, ready)
    }
}

fn place(directory: &Path, before: Head) -> PathBuf {
    directory.join(format!("{:020}.{SEGMENT}", before.sequence.0 + 1))
}

/// Puts a file with this content and zeros up to `length` into its place, or nothing.
fn put(path: &Path, content: &[u8], length: u64) -> Result<(), StoreError> {
    let new = path.with_extension(NEW);
    let file = File::create(&new)?;
    file.write_all_at(content, 0)?;
    zeros(&file, content.len() as u64, length)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    sync_directory(path.parent().unwrap_or(Path::new(".")))?;
    Ok(())
}

fn zeros(file: &File, from: u64, to: u64) -> std::io::Result<()> {
    static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
    let mut at = from;
    while at < to {
        let bytes = usize::try_from(to - at).map_or(ZEROS.len(), |left| left.min(ZEROS.len()));
        file.write_all_at(&ZEROS[..bytes], at)?;
        at += bytes as u64;
    }
    Ok(())
}

/// All of `slices`, in one write unless the file system takes less at a time.
fn write_all(file: &File, slices: &[std::io::IoSlice<'_>], at: u64) -> std::io::Result<()> {
    let written = loop {
        match rustix::io::pwritev(file, slices, at) {
            Err(rustix::io::Errno::INTR) => {}
            written => break written?,
        }
    };
    let mut skip = written;
    let mut at = at + written as u64;
    for slice in slices {
        let left = &slice[skip.min(slice.len())..];
        skip -= slice.len() - left.len();
        file.write_all_at(left, at)?;
        at += left.len() as u64;
    }
    Ok(())
}

pub(crate) fn sync_directory(directory: &Path) -> std::io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Zeros ahead of the committer.
struct Ahead {
    directory: PathBuf,
    segment_bytes: u64,
    file: Arc<File>,
    /// Up to where zeros were asked for in the current segment, and the number of that segment in this process.
    asked: u64,
    segment: u64,
    spare_asked: bool,
    state: Arc<(Mutex<State>, Condvar)>,
    /// Not there before it is needed: many a store is opened for one look.
    helper: Option<(Sender<Job>, JoinHandle<()>)>,
}

#[derive(Default)]
struct State {
    segment: u64,
    /// Up to where the current segment is synced zeros, or was.
    ready: u64,
    /// Length of the spare that is there.
    spare: Option<u64>,
    failed: Option<String>,
}

enum Job {
    Extend { segment: u64, file: Arc<File>, from: u64, to: u64 },
    Spare { path: PathBuf, length: u64 },
}

impl Ahead {
    fn new(directory: &Path, segment_bytes: u64, path: &Path, ready: u64) -> Result<Self, StoreError> {
        let state = State { ready, ..State::default() };
        Ok(Self {
            directory: directory.to_owned(),
            segment_bytes,
            file: Arc::new(OpenOptions::new().write(true).open(path)?),
            asked: ready,
            segment: 0,
            spare_asked: false,
            state: Arc::new((Mutex::new(state), Condvar::new())),
            helper: None,
        })
    }

    /// Asks for more when what is left is short for the pace so far, which is told by how much there is.
    fn keep(&mut self, at: u64) {
        let pace = at.clamp(CHUNK_FIRST / 2, CHUNK_LAST);
        if self.asked < self.segment_bytes && self.asked < at + pace {
            self.extend((self.asked + self.more()).min(self.segment_bytes));
        }
        if self.segment_bytes / 4 < at {
            self.ask_for_a_spare();
        }
    }

    fn more(&self) -> u64 {
        self.asked.clamp(CHUNK_FIRST, CHUNK_LAST)
    }

    fn extend(&mut self, to: u64) {
        let (segment, file) = (self.segment, self.file.clone());
        self.ask(Job::Extend { segment, file, from: self.asked, to });
        self.asked = to;
    }

    fn ask_for_a_spare(&mut self) {
        if !self.spare_asked {
            self.spare_asked = true;
            // All of it: zeros written to the segment in use, as a small store's are, make the committer's syncs wait.
            let length = self.segment_bytes.max(HEADER_BYTES as u64);
            self.ask(Job::Spare { path: self.directory.join(SPARE), length });
        }
    }

    /// Waits until the current segment is zeros up to `needed`.
    fn until(&mut self, needed: u64) -> Result<(), StoreError> {
        if self.asked < needed {
            self.extend((self.asked + self.more()).min(self.segment_bytes).max(needed));
        }
        self.wait(|state| (needed <= state.ready).then_some(()))
    }

    /// Waits for a spare, and takes it: its length.
    fn spare(&mut self) -> Result<u64, StoreError> {
        self.ask_for_a_spare();
        self.wait(|state| state.spare.take())
    }

    /// Goes on with another segment, which was a spare until now.
    fn next(&mut self, path: &Path, ready: u64) -> Result<(), StoreError> {
        self.file = Arc::new(OpenOptions::new().write(true).open(path)?);
        self.segment += 1;
        (self.asked, self.spare_asked) = (ready, false);
        let mut state = lock(&self.state.0);
        (state.segment, state.ready) = (self.segment, ready);
        Ok(())
    }

    fn wait<T>(&self, mut done: impl FnMut(&mut State) -> Option<T>) -> Result<T, StoreError> {
        let (state, changed) = &*self.state;
        let mut state = lock(state);
        loop {
            if let Some(done) = done(&mut state) {
                return Ok(done);
            }
            if let Some(why) = &state.failed {
                return Err(StoreError::Io { why: why.clone() });
            }
            state = changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "what waits for the disk while the committer goes on; joined at the end"
    )]
    fn ask(&mut self, job: Job) {
        if self.helper.is_none() {
            let (ask, jobs) = channel::<Job>();
            let state = self.state.clone();
            let helper = std::thread::Builder::new().name("journal-ahead".into()).spawn(move || {
                for job in jobs {
                    let done = job.run();
                    let mut now = lock(&state.0);
                    match (done, job) {
                        (Err(error), _) => {
                            now.failed.get_or_insert_with(|| error.to_string());
                        }
                        (Ok(()), Job::Extend { segment, to, .. }) if segment == now.segment => now.ready = to,
                        (Ok(()), Job::Extend { .. }) => {}
                        (Ok(()), Job::Spare { length, .. }) => now.spare = Some(length),
                    }
                    state.1.notify_all();
                }
            });
            match helper {
                Ok(thread) => self.helper = Some((ask, thread)),
                Err(error) => lock(&self.state.0).failed = Some(error.to_string()),
            }
        }
        if let Some((ask, _)) = &self.helper {
            // Its thread ends with this sender only; should it have panicked, whoever waits must hear of it.
            if ask.send(job).is_err() {
                lock(&self.state.0).failed = Some("the thread that writes ahead is gone".into());
            }
        }
    }
}

impl Job {
    fn run(&self) -> std::io::Result<()> {
        match self {
            Self::Extend { file, from, to, .. } => zeros_in_pieces(file, *from, *to),
            Self::Spare { path, length } => zeros_in_pieces(&File::create(path)?, 0, *length),
        }
    }
}

fn zeros_in_pieces(file: &File, from: u64, to: u64) -> std::io::Result<()> {
    let mut at = from;
    while at < to {
        let end = to.min(at + PIECE);
        zeros(file, at, end)?;
        file.sync_data()?;
        at = end;
    }
    Ok(())
}

impl Drop for Ahead {
    fn drop(&mut self) {
        if let Some((ask, thread)) = self.helper.take() {
            drop(ask);
            // A helper that panicked has nothing more to say.
            let _ = thread.join();
        }
        if self.spare_asked {
            // Else the next open removes it.
            let _ = fs::remove_file(self.directory.join(SPARE));
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether the first segment in `directory` begins as one of this format does.
pub(crate) fn is_readable(directory: &Path) -> bool {
    let first = segments(directory).ok().and_then(|segments| segments.into_iter().next());
    first.is_some_and(|first| before(&first).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::committer::nothing;
    use crate::envelope::Record;

    /// `count` groups of one record each, of so many bytes.
    fn fill(tail: &mut Tail, count: usize, bytes: usize) -> Result<(), StoreError> {
        for _ in 0..count {
            let mut group = Group::default();
            let (sequence, previous) = (Sequence(tail.head.sequence.0 + 1), tail.head.link);
            let (stream, version) = ("notes".to_owned(), kernel::Position(sequence.0));
            group.push(&Record { sequence, previous, stream, version, body: vec![b'b'; bytes], ..nothing() });
            tail.append(&group)?;
        }
        Ok(())
    }

    fn sequences(directory: &Path) -> Vec<u64> {
        let mut found = Vec::new();
        scan(directory, |frame| {
            found.extend(frame.records.iter().map(|(record, ..)| record.sequence.0));
            Ok(())
        })
        .unwrap();
        found
    }

    /// Small and large groups over small and large segments: one that fits nowhere has a segment of its own.
    #[test]
    fn what_was_appended_is_read_across_segments_and_openings() {
        for (segment_bytes, bytes) in [(4 << 10, 100), (4 << 10, 20_000), (1 << 20, 60_000)] {
            let dir = tempfile::tempdir().unwrap();
            let mut tail = Tail::create(dir.path(), Head::default(), segment_bytes).unwrap();
            fill(&mut tail, 50, bytes).unwrap();
            let head = tail.head;
            drop(tail);
            for anew in [false, true] {
                let scanned = scan(dir.path(), |_| Ok(())).unwrap();
                assert!(!scanned.torn && scanned.head.sequence.0 >= head.sequence.0);
                assert_eq!(scanned.streams["notes"].version.0, scanned.head.sequence.0);
                fill(&mut Tail::open(dir.path(), &scanned, segment_bytes, anew).unwrap(), 10, bytes).unwrap();
            }
            assert_eq!(sequences(dir.path()), (1..=70).collect::<Vec<_>>());
            assert!(2 < segments(dir.path()).unwrap().len());
            assert!(!dir.path().join(SPARE).exists(), "an orderly end leaves no spare");
        }
    }

    #[test]
    fn old_segments_are_removed_as_far_as_asked_and_the_open_one_never() {
        let dir = tempfile::tempdir().unwrap();
        let mut tail = Tail::create(dir.path(), Head::default(), 4 << 10).unwrap();
        fill(&mut tail, 60, 100).unwrap();
        let firsts = || segments(dir.path()).unwrap().into_iter().map(|segment| segment.first.0).collect::<Vec<_>>();
        let all = firsts();
        for (row, up_to, left) in [
            ("nothing yet", 0, &all[..]),
            ("within the first", all[1] - 2, &all),
            ("all of the first", all[1] - 1, &all[1..]),
            ("all there is", 60, &all[all.len() - 1..]),
        ] {
            remove_up_to(dir.path(), Sequence(up_to)).unwrap();
            assert_eq!(firsts(), left, "{row}");
        }
        fill(&mut tail, 60, 100).unwrap();
        let scanned = scan(dir.path(), |_| Ok(())).unwrap();
        assert_eq!((scanned.before.sequence.0 + 1, scanned.head.sequence.0), (all[all.len() - 1], 120));
    }

    #[test]
    fn a_group_that_does_not_follow_is_not_written() {
        let dir = tempfile::tempdir().unwrap();
        let mut tail = Tail::create(dir.path(), Head::default(), SEGMENT_BYTES).unwrap();
        let mut group = Group::default();
        group.push(&Record { sequence: Sequence(2), ..nothing() });
        assert!(matches!(tail.append(&group), Err(StoreError::Damaged { .. })));
        assert_eq!(sequences(dir.path()), [0; 0]);
    }

    #[test]
    fn what_the_helper_could_not_do_fails_the_append_that_needs_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut tail = Tail::create(dir.path(), Head::default(), 4 << 10).unwrap();
        // In the way of the next segment.
        fs::create_dir(dir.path().join(SPARE)).unwrap();
        assert!(matches!(fill(&mut tail, 60, 100), Err(StoreError::Io { .. })));
        assert!(tail.head.sequence.0 < 60 && sequences(dir.path()).len() as u64 == tail.head.sequence.0);
    }
}
