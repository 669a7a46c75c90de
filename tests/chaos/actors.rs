//! Everything below the root is killed, again and again, while clients work; nothing that was acknowledged is lost, and
//! nothing is done twice.

mod chain;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use chain::Chain;
use door::Secret;
use journal::codec;
use journal::envelope::Record;
use journal::store::{Group, Log, StoreError};
use kernel::{CommandId, Recorded, Sequence};
use kit::judge::{judge, known_at};
use kit::restored::{Origin, differs, in_process};
use kit::work::{Pool, Worker};
use kit::{Answer, Authority, Client, Dice, Ledger, Line, Lost, adopt_starter, seed};
use serde_json::{Value, json};
use supervisors::{Decision, Events, Heard, Node, NodeState, Tree, What};
use tempfile::TempDir;
use tokio::task::JoinSet;

const CLIENTS: usize = 32;
/// Each path is killed at least so often.
const ROUNDS: usize = 3;
const KILLS: usize = 150;
/// What is scanned.
const ROOTS: usize = 4;

/// Budgets that no test spends, and pauses that it does not wait for.
const GENEROUS: &str = r#"
[supervision]
restarts = 1000
within = "1s"
backoff_first = "1ms"
backoff_max = "2ms"
shutdown_deadline = "60s"

[store]
reserve = "1MiB"
"#;

/// Against a test that hangs; nothing is measured by it.
const NEVER: Duration = Duration::from_mins(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_is_killed_what_was_acknowledged_stays_and_nothing_is_done_twice() {
    let seed = seed();
    let home = TempDir::new().unwrap();
    let authority = Authority::start(&home.path().join("data"), GENEROUS).await;
    let mut setup = Client::new("setup", Arc::new(authority.clone()));
    adopt_starter(&mut setup, &authority.root).await;
    let chain = Chain::spawned(&authority, &mut setup).await;
    let tree = authority.parts.tree().unwrap();

    let stop = Arc::new(AtomicBool::new(false));
    let mut crew = Crew::start(&authority, home.path(), seed, &stop);
    chain.callers(seed, &stop, &mut crew.0);
    let killed = tokio::time::timeout(NEVER, kill_everything(&tree, Dice::new(seed, u64::MAX))).await;
    stop.store(true, Ordering::Relaxed);
    let killed = killed.expect("everything comes up again");
    let mut ledgers = crew.ledgers(seed).await;
    ledgers.push(setup.ledger);
    tokio::time::timeout(NEVER, chain.is_empty()).await.expect("what was written comes to its end");

    let (records, judgement) = authority.settled(&ledgers).await;
    println!("SOP_SEED={seed}: {} kills, {judgement}", killed.values().sum::<usize>());
    assert_eq!(judgement.complaints, [""; 0], "SOP_SEED={seed}");
    assert!(judgement.paid > 0 && judgement.routed > 0 && judgement.repeated > 0, "{judgement:?}");
    assert!(judgement.granted > 0 && judgement.revoked > 0 && judgement.backups > 0, "{judgement:?}");
    assert!(
        killed.values().all(|times| 2 <= *times) && Chain::paths().all(|path| killed.contains_key(&path)),
        "{killed:?}"
    );
    assert!(judgement.sent > 0 && judgement.delivered > 0 && judgement.died > 0, "{judgement:?}");
    let (chains, called) = (chain.judged(&records), chain.called());
    println!("SOP_SEED={seed}: {chains} came through the chain; {called:?}");
    assert!(0 < chains && 0 < called.answered.load(Ordering::Relaxed) && 0 < called.revoked.load(Ordering::Relaxed));
    let verified = authority.parts.journal.verify(Sequence(1)).unwrap();
    assert_eq!(verified.broken, None, "SOP_SEED={seed}");
    // The monitor and the clock go on with their work.
    assert!(records.len() as u64 <= verified.records, "SOP_SEED={seed}: {verified:?}");
    authority.lives_as_recorded().await;
    assert!(authority.stop().await.is_graceful());
    let origin = Origin { data: &home.path().join("data"), records: &records, ledgers: &ledgers };
    let restored = origin.is_restored_by(in_process, GENEROUS).await;
    println!("SOP_SEED={seed}: {restored} backups restored");
    a_judge_who_sees(&records, &ledgers);
}

/// The clients at their work.
struct Crew(JoinSet<Ledger>);

impl Crew {
    fn start(authority: &Authority, home: &Path, seed: u64, stop: &Arc<AtomicBool>) -> Self {
        let line: Arc<dyn Line> = Arc::new(authority.clone());
        let (pool, mut crew) = (Arc::new(Pool::with_backups().with_reader(Chain::SOURCE)), JoinSet::new());
        for number in 0..CLIENTS {
            let root = scanned(home, number % ROOTS);
            let mut worker = worker(number, &line, &authority.root, seed, &pool, &root);
            let stop = stop.clone();
            crew.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    worker.turn().await;
                }
                worker.client.ledger
            });
        }
        Self(crew)
    }

    async fn ledgers(&mut self, seed: u64) -> Vec<Ledger> {
        let mut ledgers = Vec::new();
        while let Some(ended) = tokio::time::timeout(NEVER, self.0.join_next()).await.expect("all are answered") {
            ledgers.push(ended.unwrap_or_else(|error| panic!("SOP_SEED={seed}: {error}")));
        }
        ledgers
    }
}

fn scanned(home: &Path, number: usize) -> PathBuf {
    let root = home.join(format!("root{number}"));
    std::fs::create_dir_all(&root).unwrap();
    root.canonicalize().unwrap()
}

fn worker(number: usize, line: &Arc<dyn Line>, root: &Secret, seed: u64, pool: &Arc<Pool>, scanned: &Path) -> Worker {
    let client = Client::new(&format!("c{number}"), line.clone());
    Worker::new(number, client, root.clone(), Dice::new(seed, number as u64), pool.clone(), scanned)
}

/// Kills each path below the root in a random order, several times, alone or with others, and waits until all is up.
/// Answers how often each was killed.
async fn kill_everything(tree: &Tree, mut dice: Dice) -> BTreeMap<String, usize> {
    let mut events = tree.subscribe();
    let mut paths = Vec::new();
    below(&tree.snapshot(), &mut paths);
    let mut killed: BTreeMap<String, usize> = paths.iter().map(|path| (path.clone(), 0)).collect();
    let mut left: Vec<String> = (0..ROUNDS).flat_map(|_| paths.iter().cloned()).collect();
    while left.len() < KILLS {
        left.push(dice.pick(&paths).clone());
    }
    while !left.is_empty() {
        let mut before = Vec::new();
        for _ in 0..=dice.below(3).min(left.len() - 1) {
            let path = left.swap_remove(dice.below(left.len()));
            before.push((path.clone(), tree.snapshot().find(&path).unwrap().epoch));
            tree.kill(&path).await.unwrap();
            *killed.get_mut(&path).unwrap() += 1;
        }
        up_again(tree, &mut events, &before).await;
    }
    killed
}

fn below(node: &Node, paths: &mut Vec<String>) {
    for child in &node.children {
        paths.push(child.path.clone());
        below(child, paths);
    }
}

/// Waits until everything runs, and what was killed in a later incarnation than before.
async fn up_again(tree: &Tree, events: &mut Events, before: &[(String, u64)]) {
    loop {
        let root = tree.snapshot();
        let later = before.iter().all(|(path, epoch)| *epoch < root.find(path).unwrap().epoch);
        if later && runs(&root) {
            return;
        }
        let Some(heard) = events.next().await else { panic!("the tree ended") };
        if let Heard::Decision(Decision { path, what: What::Killing, .. }) = heard {
            panic!("{path} did not stop in order");
        }
    }
}

fn runs(node: &Node) -> bool {
    if let NodeState::Quarantined { reason } = &node.state {
        panic!("{} was given up: {reason}", node.path);
    }
    node.state == NodeState::Running && node.children.iter().all(runs)
}

/// The judge is not to be trusted unless it sees what is wrong with a record that was right.
fn a_judge_who_sees(records: &[Record], ledgers: &[Ledger]) {
    let told = ledgers.iter().flat_map(|ledger| &ledger.notes).filter_map(|note| match note.answer {
        Answer::Done { first, .. } if note.action == "token.issue" => Some(first),
        _ => None,
    });
    let told = told.max().expect("tokens were issued");
    let at = usize::try_from(told.0 - 1).unwrap();
    let mut lost = records.to_vec();
    lost.remove(at);
    let mut twice = records.to_vec();
    twice.push(records[at].clone());
    let mut stolen = records.to_vec();
    "agent/thief".clone_into(&mut stolen[at].principal);
    let mut unasked = records.to_vec();
    unasked[at].command_id.0 ^= 1;
    let other_owner = rewritten(records, |event: &mut allocator::Event| {
        if let allocator::Event::OwnerRevoked(revoked) = event {
            "agent/nobody".clone_into(&mut revoked.owner);
        }
    });
    let other_place = rewritten(records, |event: &mut backup::Event| {
        if let backup::Event::Completed(made) = event {
            made.last -= 1;
        }
    });
    let other_message = rewritten(records, |event: &mut nexus::Event| {
        if let nexus::Event::Sent(sent) = event {
            sent.message.0 ^= 1;
        }
    });
    let mut delivered = records.to_vec();
    delivered.push(first(records, |event| matches!(event, nexus::Event::Delivered(_))));
    let mut apart = records.to_vec();
    let follows = first(records, |event| matches!(event, nexus::Event::Sent(sent) if sent.cause.is_some()));
    apart[usize::try_from(follows.sequence.0 - 1).unwrap()].command_id.0 ^= 1;
    let mut many = records.to_vec();
    let one = first(records, |event| matches!(event, nexus::Event::Sent(_)));
    many.extend(std::iter::repeat_n(one, nexus::LANE_MAX + 1));
    for (message, record) in many[records.len()..].iter_mut().enumerate() {
        let Some(nexus::Event::Sent(mut sent)) = of_nexus(record) else { unreachable!("it was chosen so") };
        sent.message.0 ^= message as u128 + 1;
        (record.body, record.count) = (codec::write(&nexus::Event::Sent(sent)).unwrap().bytes, 1);
    }
    for (what, tampered, words) in [
        ("lost", lost, "recorded"),
        ("twice", twice, "is not recorded once and whole"),
        ("stolen", stolen, "asked by"),
        ("unasked", unasked, "nobody asked"),
        ("used", used_after_revocation(records), "whose subject was revoked"),
        ("kept", other_owner, "is open after the revocation came"),
        ("misplaced", other_place, "does not end where it was asked for"),
        ("unsent", other_message, "was acknowledged and not sent"),
        ("again", delivered, "Delivered, which was Delivered"),
        ("apart", apart, "which was not delivered with it"),
        ("many", many, "more waits than may"),
    ] {
        let complaints = judge(&renumbered(tampered), ledgers).complaints;
        assert!(complaints.iter().any(|complaint| complaint.contains(words)), "{what} is not seen: {complaints:?}");
    }

    let there = &records[..=at];
    let mut changed = there.to_vec();
    *changed[at].body.last_mut().expect("an issue has a body") ^= 1;
    for (what, restored) in [("less", &there[..at]), ("more", &records[..=at + 1]), ("changed", &changed)] {
        assert_ne!(differs(records, told, restored), None, "{what} is not seen");
    }
    assert_eq!(differs(records, told, there), None);
    let unheard = |known: &[Ledger]| {
        let complaints = judge(&renumbered(there[..at].to_vec()), known).complaints;
        complaints.into_iter().any(|complaint| complaint.contains(&format!("was acknowledged at {told} ")))
    };
    assert!(unheard(&known_at(told, records, ledgers)), "an answer that was not restored is not seen");
    assert!(!unheard(&known_at(Sequence(told.0 - 1), records, ledgers)), "what came later is not missing");
}

fn of_nexus(record: &Record) -> Option<nexus::Event> {
    codec::read((record.kind_id, record.schema), &record.body).ok()
}

fn first(records: &[Record], is: impl Fn(&nexus::Event) -> bool) -> Record {
    let so = |record: &&Record| of_nexus(record).is_some_and(|event| is(&event));
    records.iter().find(so).expect("clients wrote, and were read").clone()
}

fn renumbered(mut records: Vec<Record>) -> Vec<Record> {
    for (sequence, record) in (1..).zip(&mut records) {
        record.sequence = Sequence(sequence);
    }
    records
}

/// With another body in each record of one kind of fact.
fn rewritten<E: Recorded + Clone + PartialEq>(records: &[Record], change: impl Fn(&mut E)) -> Vec<Record> {
    let mut records = records.to_vec();
    for record in &mut records {
        let Ok(event) = codec::read::<E>((record.kind_id, record.schema), &record.body) else { continue };
        let mut other = event.clone();
        change(&mut other);
        if other != event {
            record.body = codec::write(&other).unwrap().bytes;
        }
    }
    records
}

/// With a revocation that lies before a use which it came after.
fn used_after_revocation(records: &[Record]) -> Vec<Record> {
    let facts = |record: &Record| codec::read::<tokens::Event>((record.kind_id, record.schema), &record.body).ok();
    let mut subjects = BTreeMap::new();
    let mut used = BTreeMap::new();
    for (place, record) in records.iter().enumerate() {
        match facts(record) {
            Some(tokens::Event::Issued(issued)) => drop(subjects.insert(issued.id, issued.subject)),
            Some(tokens::Event::Consumed(consumed)) => drop(used.insert(subjects[&consumed.id].clone(), place)),
            Some(tokens::Event::SubjectRevoked(revoked)) => {
                if let Some(earlier) = used.get(&revoked.subject) {
                    let mut records = records.to_vec();
                    let revocation = records.remove(place);
                    records.insert(*earlier, revocation);
                    return records;
                }
            }
            _ => {}
        }
    }
    panic!("nobody was revoked who had used a token");
}

/// Once it is to, fails after some groups, before or after the last came to the disk: whoever asked cannot know which.
struct Breaking {
    log: Box<dyn Log>,
    /// Groups that are still taken.
    left: Arc<AtomicU64>,
    written: bool,
}

/// Not to fail yet.
const WHOLE: u64 = u64::MAX / 2;

impl Log for Breaking {
    fn append_group(&mut self, group: &Group) -> Result<(), StoreError> {
        let broken = || StoreError::Io { why: "the disk was made to fail".into() };
        if self.left.fetch_sub(1, Ordering::Relaxed) != 0 {
            return self.log.append_group(group);
        }
        if self.written {
            self.log.append_group(group)?;
        }
        Err(broken())
    }
}

/// A line that leads to whichever authority is the present one.
#[derive(Clone)]
struct Present(Arc<RwLock<Authority>>);

impl Line for Present {
    fn ask<'a>(
        &'a self,
        action: &'static str,
        arguments: &'a Value,
        bearer: &'a str,
        id: CommandId,
    ) -> Pin<Box<dyn Future<Output = Result<Value, Lost>> + Send + 'a>> {
        let present = self.0.read().unwrap_or_else(PoisonError::into_inner).clone();
        Box::pin(async move {
            tokio::select! {
                biased;
                answer = present.ask(action, arguments, bearer, id) => answer,
                // A process would end now, and with it every connection.
                stopped = present.parts.stopped() => Err(Lost::Silence { why: format!("{stopped:?}") }),
            }
        })
    }

    fn again(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(tokio::time::sleep(Duration::from_millis(2)))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn when_the_disk_fails_the_authority_ends_and_the_next_one_answers_what_was_left_open() {
    const FAILURES: u64 = 8;
    let seed = seed();
    let mut dice = Dice::new(seed, u64::MAX);
    let home = TempDir::new().unwrap();
    let data = home.path().join("data");
    let authority = Authority::start(&data, GENEROUS).await;
    let mut setup = Client::new("setup", Arc::new(authority.clone()));
    adopt_starter(&mut setup, &authority.root).await;
    let mut chain = Chain::spawned(&authority, &mut setup).await;
    let present = Present(Arc::new(RwLock::new(authority.clone())));
    let line: Arc<dyn Line> = Arc::new(present.clone());
    let (root, pool) = (authority.root.clone(), Arc::new(Pool::with_backups().with_reader(Chain::SOURCE)));
    let stop = Arc::new(AtomicBool::new(false));
    let mut crew = JoinSet::new();
    for number in 0..CLIENTS {
        let mut worker = worker(number, &line, &root, seed, &pool, &scanned(home.path(), number % ROOTS));
        let stop = stop.clone();
        crew.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                worker.turn().await;
            }
            worker.client.ledger
        });
    }
    let mut crew = Crew(crew);
    authority.stop().await;

    for failure in 0..FAILURES {
        let (left, written) = (Arc::new(AtomicU64::new(WHOLE)), failure % 2 == 0);
        let breaking = left.clone();
        let wrap = move |log| Box::new(Breaking { log, left: breaking.clone(), written }) as Box<dyn Log>;
        let authority = Authority::start_over(&data, GENEROUS, Box::new(wrap)).await;
        chain = chain.again(&authority).await;
        left.store(dice.below(120) as u64, Ordering::Relaxed);
        *present.0.write().unwrap() = authority.clone();
        let stopped = tokio::time::timeout(NEVER, authority.parts.stopped()).await.expect("the disk fails");
        assert!(matches!(stopped, sop::boot::Stopped::Journal { .. }), "SOP_SEED={seed}: {stopped:?}");
        authority.stop().await;
    }
    let authority = Authority::start(&data, GENEROUS).await;
    chain = chain.again(&authority).await;
    *present.0.write().unwrap() = authority.clone();
    stop.store(true, Ordering::Relaxed);
    let mut ledgers = crew.ledgers(seed).await;
    ledgers.push(setup.ledger);
    tokio::time::timeout(NEVER, chain.is_empty()).await.expect("what was written comes to its end");
    let (records, judgement) = authority.settled(&ledgers).await;
    println!("SOP_SEED={seed}: {FAILURES} failures, {judgement}");
    assert_eq!(judgement.complaints, [""; 0], "SOP_SEED={seed}");
    println!("SOP_SEED={seed}: {} came through the chain", chain.judged(&records));
    assert!(judgement.repeated > 0, "{judgement:?}");
    assert!(judgement.granted > 0 && judgement.backups > 0, "{judgement:?}");
    assert_eq!(authority.parts.journal.verify(Sequence(1)).unwrap().broken, None);
    authority.lives_as_recorded().await;
    assert!(authority.stop().await.is_graceful());
    let origin = Origin { data: &data, records: &records, ledgers: &ledgers };
    let restored = origin.is_restored_by(in_process, GENEROUS).await;
    println!("SOP_SEED={seed}: {restored} backups restored");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_works_when_the_journal_has_failed_and_is_ended_after_the_next_start() {
    let home = TempDir::new().unwrap();
    let data = home.path().join("data");
    let left = Arc::new(AtomicU64::new(WHOLE));
    let breaking = left.clone();
    let wrap = move |log| Box::new(Breaking { log, left: breaking.clone(), written: false }) as Box<dyn Log>;
    let authority = Authority::start_over(&data, GENEROUS, Box::new(wrap)).await;
    left.store(0, Ordering::Relaxed);
    let ask = async |authority: &Authority, action, arguments: Value| {
        authority.ask(action, &arguments, authority.root.expose(), authority.parts.clock.command_id()).await
    };
    ask(&authority, "policy.propose", json!({ "text": "" })).await.unwrap_err();
    assert!(authority.parts.journal.failure().is_some());
    let stopped = ask(&authority, "system.stop", json!({ "reason": "fire" })).await.unwrap();
    assert_eq!(
        (&stopped["sealed"], &stopped["recorded"], &stopped["kept_in_file"]),
        (&true.into(), &false.into(), &true.into())
    );
    authority.stop().await;

    let authority = Authority::start(&data, GENEROUS).await;
    let sealed = ask(&authority, "policy.propose", json!({ "text": "" })).await.unwrap_err();
    assert!(matches!(&sealed, Lost::Denied { denial, .. } if denial.code == "door.sealed"), "{sealed:?}");
    let stop = authority.parts.door.governance_view().read(|governance| governance.stop().cloned()).unwrap();
    ask(&authority, "system.resume", json!({ "digest": stop.digest })).await.unwrap();
    assert_eq!(authority.parts.door.sealed(), None);
    authority.stop().await;
}
