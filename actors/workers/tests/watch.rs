//! The watch over a detector in a real tree, with sources and a clock that the test moves.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gaps::detect::{Live, SEEN_MAX, Seen};
use gaps::{Command, Filter, Gaps, Kind};
use host::{Clock, Error, Handle, Limits, Order};
use journal::{Journal, Keeper};
use kernel::{Decision, Millis, Position, Principal, Timestamp};
use supervisors::{Child, ChildRef, Strategy, Supervisor, Tree};
use tokio::sync::watch;
use workers::watch::{Source, Watch};

const NOON: Timestamp = Timestamp(1_700_000_000_000);

/// What a source sees at a moment.
type Sight = Arc<Mutex<Box<dyn Fn(Timestamp) -> Option<Live> + Send>>>;

struct World {
    _dir: tempfile::TempDir,
    now: Arc<AtomicU64>,
    clock: Clock,
    journal: Journal,
    gaps: Handle<Gaps>,
    credentials: Sight,
    backups: Sight,
    tree: Tree,
}

fn seen(kind: Kind, subject: &str) -> Seen {
    Seen { kind, subject: subject.into(), detail: "seen".into() }
}

/// From now on `sight` is this; `None` is a source that cannot be asked.
fn set(sight: &Sight, see: impl Fn(Timestamp) -> Option<Live> + Send + 'static) {
    *sight.lock().unwrap() = Box::new(see);
}

fn source(kinds: &'static [Kind], sight: &Sight) -> Source {
    let sight = sight.clone();
    let look = move |now| {
        let live = sight.lock().unwrap()(now).ok_or(Error::Down { name: "source" });
        Box::pin(async move { live }) as workers::watch::Looking
    };
    Source { kinds, look: Arc::new(look) }
}

impl World {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let now = Arc::new(AtomicU64::new(NOON.0));
        let time = now.clone();
        let clock = Clock::from_fn(move || Timestamp(time.load(Ordering::SeqCst)));
        let journal = Journal::new(&dir.path().join("journal"), journal::Limits::default());
        let gaps = Handle::<Gaps>::new(&journal, &clock, Limits::default(), None);
        let (credentials, backups): (Sight, Sight) = (
            Arc::new(Mutex::new(Box::new(|_| Some(Live::default())))),
            Arc::new(Mutex::new(Box::new(|_| Some(Live::default())))),
        );
        let (known, tree) = watch::channel(None);
        let watch = Watch {
            gaps: gaps.clone(),
            journal: journal.clone(),
            clock: clock.clone(),
            tree,
            sources: vec![
                source(&[Kind::BackupMissing, Kind::BackupOverdue], &backups),
                source(&[Kind::CredentialExpiring], &credentials),
            ],
        };
        let keeper = (ChildRef::new("journal"), journal.clone());
        let root = Supervisor::new("root", Strategy::OneForOne)
            .child(Child::actor::<Keeper, _>(&keeper.0, move || (Keeper, keeper.1.clone())))
            .child(gaps.child())
            .child(watch.child());
        let tree = Tree::start(root, 1).await.unwrap();
        known.send_replace(Some(tree.clone()));
        Self { _dir: dir, now, clock, journal, gaps, credentials, backups, tree }
    }

    fn later(&self, span: Millis) {
        self.now.fetch_add(span.0, Ordering::SeqCst);
    }

    /// Something is recorded, whatever it is.
    async fn record(&self) {
        let order = Order {
            command: Command::Clear { kind: Kind::PolicyEmpty, subject: "nothing".into() },
            command_id: self.clock.command_id(),
            principal: Principal::internal("test"),
            decision: Decision::default(),
            cause: None,
            asked: None,
        };
        self.gaps.execute(order).await.unwrap().outcome.unwrap();
    }

    async fn open(&self) -> Vec<(Kind, String)> {
        let open = Filter { state: Some(gaps::State::Open), ..Filter::default() };
        let list = move |gaps: &Gaps| gaps.list(&open).map(|gap| (gap.kind, gap.path.clone())).collect();
        self.gaps.inspect(list).await.unwrap()
    }

    /// Waits until just these are open.
    async fn until(&self, expected: &[(Kind, &str)]) {
        let mut durable = self.journal.durable();
        let expected: BTreeSet<_> = expected.iter().map(|(kind, subject)| (*kind, (*subject).to_owned())).collect();
        loop {
            durable.borrow_and_update();
            if BTreeSet::from_iter(self.open().await) == expected {
                return;
            }
            durable.changed().await.unwrap();
        }
    }

    /// What was recorded of gaps that opened or closed.
    fn changes(&self) -> usize {
        let records = self.journal.read_stream("gaps", Position(1), Position(u64::MAX), usize::MAX).unwrap();
        records.iter().filter(|record| 300 <= record.kind_id).count()
    }

    async fn stop(self) {
        self.tree.shutdown(Duration::from_secs(10)).await;
        self.journal.close();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_seen_opens_and_what_is_no_longer_seen_closes() {
    let world = World::start().await;
    set(&world.backups, |_| Some(Live { seen: vec![seen(Kind::BackupMissing, "backup")], next: None }));
    world.record().await;
    world.until(&[(Kind::BackupMissing, "backup")]).await;
    set(&world.backups, |_| Some(Live { seen: vec![seen(Kind::BackupOverdue, "backup")], next: None }));
    set(&world.credentials, |_| Some(Live { seen: vec![seen(Kind::CredentialExpiring, "agent/a")], next: None }));
    world.record().await;
    world.until(&[(Kind::BackupOverdue, "backup"), (Kind::CredentialExpiring, "agent/a")]).await;
    assert_eq!(world.changes(), 4, "what stays as it is adds nothing");

    // Who cannot be asked leaves its gaps as they are; the others go on.
    set(&world.backups, |_| None);
    set(&world.credentials, |_| Some(Live::default()));
    world.record().await;
    world.until(&[(Kind::BackupOverdue, "backup")]).await;
    set(&world.backups, |_| Some(Live::default()));
    world.record().await;
    world.until(&[]).await;
    assert_eq!(world.changes(), 6);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn time_alone_opens_a_gap_when_a_source_said_so() {
    let world = World::start().await;
    let due = NOON + Millis::hours(1);
    set(&world.backups, move |now| {
        let seen = if now < due { vec![] } else { vec![seen(Kind::BackupMissing, "backup")] };
        // By the clock of the test, a moment from now: nothing but the timer looks again.
        Some(Live { seen, next: (now < due).then(|| now + Millis(1)) })
    });
    world.record().await;
    world.later(Millis::hours(1));
    world.until(&[(Kind::BackupMissing, "backup")]).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_a_time_are_bounded_and_the_others_follow() {
    let world = World::start().await;
    let many = |from: usize| {
        move |_| {
            let seen = (from..=from + SEEN_MAX).map(|one| seen(Kind::CredentialExpiring, &format!("agent/{one:03}")));
            Some(Live { seen: seen.collect(), next: None })
        }
    };
    set(&world.credentials, many(0));
    world.record().await;
    let names: Vec<_> = (0..=SEEN_MAX).map(|one| format!("agent/{one:03}")).collect();
    let expected: Vec<_> = names.iter().map(|name| (Kind::CredentialExpiring, name.as_str())).collect();
    world.until(&expected[..SEEN_MAX]).await;
    // What is more urgent takes no place from what is open: nothing flaps.
    set(&world.credentials, move |now| {
        let mut live = many(0)(now).unwrap();
        live.seen.reverse();
        Some(live)
    });
    set(&world.backups, |_| Some(Live { seen: vec![seen(Kind::BackupMissing, "backup")], next: None }));
    world.record().await;
    world.until(&[&expected[..SEEN_MAX], &[(Kind::BackupMissing, "backup")]].concat()).await;
    assert_eq!(world.changes(), SEEN_MAX + 1);
    set(&world.credentials, many(1));
    world.record().await;
    world.until(&[&expected[1..], &[(Kind::BackupMissing, "backup")]].concat()).await;
    assert_eq!(world.changes(), SEEN_MAX + 3);
    world.stop().await;
}
