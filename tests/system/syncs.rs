//! A sync that fails, in the real binary: it ends, says so, and keeps what it acknowledged.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use journal::{Journal, Limits};
use kernel::Sequence;
use kit::{Authority, Client, Daemon, Dice, adopt_starter, seed};
use serde_json::json;
use tempfile::TempDir;

use crate::Place;
use crate::crew::Crew;

/// Of the many syncs of a first start one in so many is made to fail, in each run others.
const STEP: usize = 4;
/// Syncs that are made to fail while clients work.
const FAILURES: usize = 12;
/// They lie at the n-th sync since a start, for n up to this.
const FURTHEST: usize = 60;
/// While a store is made fjall syncs more than it has to: its list of keyspaces when that is compacted, and its journal once
/// more when it is closed. It goes on when that fails, and rightly so: nothing rests on it, for what has to be there was
/// synced by the commit before, and a store that is not whole when the process dies is made anew.
const MORE_THAN_NEEDED: &str = "data/journal.making/whole/";
/// The tile log follows, and nothing waits for it: it is written again.
const FOLLOWS: &str = "data/evidence";
/// Pause between two looks at a daemon that is on its way to its end, and how often it is looked at.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(5);
const LOOKS_MAX: u32 = 4_000;

/// The tail is cut often.
const CONFIGURATION: &str = "[journal]\nsegment = \"64KiB\"\n";

/// A library that lets one sync fail.
struct Shim {
    library: PathBuf,
    _home: TempDir,
}

impl Shim {
    fn built() -> Self {
        let home = TempDir::new().unwrap();
        let library = home.path().join("syncs.so");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/system/syncs.c");
        let mut cc = Command::new("cc");
        let built = cc.args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"]).arg(&library).arg(source);
        let built = built.arg("-ldl").output().expect("a C compiler, as the README asks for");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        Self { library, _home: home }
    }

    /// The next starts fail in their `nth` sync of what lies in the data directory under names that begin with `part`.
    fn arm(&self, daemon: &mut Daemon, part: &str, nth: usize) {
        std::fs::create_dir_all(&daemon.data).unwrap();
        let under = daemon.data.canonicalize().unwrap().join(part);
        daemon.environment = [
            ("LD_PRELOAD", self.library.clone().into()),
            ("SYNC_FAILS_UNDER", under.into()),
            ("SYNC_FAILS_AT", nth.to_string().into()),
        ]
        .into();
    }
}

/// How far a start with the shim came, and what it said.
struct Run {
    /// `None` if it is up.
    code: Option<i32>,
    said: String,
}

impl Run {
    fn has_failed(&self) -> bool {
        self.said.contains("made to fail")
    }
}

/// Waits until the process has ended by itself, or is up where nothing is to make it sync again.
async fn run(daemon: &mut Daemon, before: usize, up_is_far_enough: bool) -> Run {
    for _ in 0..LOOKS_MAX {
        let exited = daemon.exited();
        let said = daemon.stderr()[before..].to_owned();
        if let Some(status) = exited {
            daemon.wait();
            let code = status.code().unwrap_or_else(|| panic!("{status}: {said}"));
            return Run { code: Some(code), said };
        }
        let run = Run { code: None, said };
        let may_go_on = !run.has_failed() || [MORE_THAN_NEEDED, FOLLOWS].iter().any(|name| run.said.contains(name));
        if up_is_far_enough && may_go_on && daemon.stdout().contains(" is up") {
            return run;
        }
        tokio::time::sleep(LOOK_AGAIN_AFTER).await;
    }
    panic!("it goes on after a sync failed:\n{}", daemon.stderr());
}

/// That it ended as it should, and its code: as a daemon whose journal failed, or as one that did not start.
fn said_so(run: &Run) -> i32 {
    let Run { code, said } = run;
    assert!(run.has_failed(), "{said}");
    let code = code.expect("it ended");
    match code {
        74 => assert!(said.contains("error[sop.journal_failed]") && said.contains("remedy: mend the disk"), "{said}"),
        1 => assert!(said.contains("error[") && said.contains("remedy: "), "{said}"),
        code => panic!("exit code {code}: {said}"),
    }
    code
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_start_whose_sync_fails_ends_and_the_next_one_is_whole() {
    let (shim, seed) = (Shim::built(), seed());
    let (mut codes, first) = (Vec::new(), 1 + Dice::new(seed, u64::MAX).below(STEP));
    for nth in (first..).step_by(STEP) {
        let mut place = Place::new();
        shim.arm(&mut place.daemon, "", nth);
        place.daemon.spawn();
        let run = run(&mut place.daemon, 0, true).await;
        if !run.has_failed() {
            break;
        }
        if run.code.is_none() {
            place.daemon.kill();
        }
        codes.push(run.code.map(|_| said_so(&run)));
        place.daemon.environment.clear();
        place.daemon.start().await;
        place.daemon.kill();
        let journal = Journal::new(&place.daemon.data.join("journal"), Limits::default());
        journal.open().unwrap();
        assert_eq!(journal.verify(Sequence(1)).unwrap().broken, None, "SOP_SEED={seed}: sync {nth}");
        journal.close();
    }
    println!("SOP_SEED={seed}: ended with {codes:?}");
    assert!(10 < codes.iter().flatten().count(), "SOP_SEED={seed}: {codes:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whichever_sync_fails_the_daemon_ends_and_has_what_it_acknowledged() {
    let (shim, seed) = (Shim::built(), seed());
    let mut dice = Dice::new(seed, u64::MAX);
    let mut place = Place::new();
    place.daemon.configure(CONFIGURATION);
    place.daemon.start().await;
    let mut setup = Client::new("setup", Arc::new(place.daemon.client()));
    adopt_starter(&mut setup, &place.daemon.credential()).await;
    place.daemon.stop();
    let crew = Crew::at_work(&place, seed);
    let mut codes = Vec::new();
    for failure in 0..FAILURES {
        let nth = 1 + failure * FURTHEST / FAILURES + dice.below(FURTHEST / FAILURES);
        // While it works the store is synced for one thing only: the tail is about to be cut.
        let (part, nth) = if failure % 3 == 0 { ("journal/store", 1 + dice.below(4)) } else { ("journal", nth) };
        shim.arm(&mut place.daemon, part, nth);
        let before = place.daemon.stderr().len();
        place.daemon.spawn();
        codes.push(said_so(&run(&mut place.daemon, before, false).await));
        place.daemon.environment.clear();
        place.daemon.start().await;
        crew.does(5).await;
        place.daemon.stop();
    }
    place.daemon.start().await;
    let mut ledgers = crew.stopped().await;
    ledgers.push(setup.ledger);
    place.daemon.kill();

    let authority = Authority::start(&place.daemon.data, "").await;
    let (_, judgement) = authority.settled(&ledgers).await;
    println!("SOP_SEED={seed}: ended with {codes:?}, {judgement}");
    assert_eq!(judgement.complaints, [""; 0], "SOP_SEED={seed}\n{}", place.daemon.stderr());
    assert!(codes.contains(&74) && judgement.repeated > 0, "{codes:?} {judgement:?}");
    assert_eq!(authority.parts.journal.verify(Sequence(1)).unwrap().broken, None);
    authority.lives_as_recorded().await;
    assert!(authority.stop().await.is_graceful());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whichever_sync_of_the_log_fails_work_goes_on_and_all_of_it_is_signed() {
    let (shim, seed) = (Shim::built(), seed());
    let mut dice = Dice::new(seed, u64::MAX);
    let mut place = Place::started().await;
    let secret = place.daemon.credential();
    adopt_starter(&mut Client::new("setup", Arc::new(place.daemon.client())), &secret).await;
    place.daemon.stop();
    for failure in 0..6 {
        let nth = 1 + failure * 2 + dice.below(2);
        shim.arm(&mut place.daemon, "evidence", nth);
        let before = place.daemon.stderr().len();
        place.daemon.start().await;
        let client = place.daemon.client();
        // Each proof asks for a signature over the record before it.
        let mut refused = Vec::new();
        while !place.daemon.stderr()[before..].contains("made to fail") {
            let head = client.get("/v1/status").await.unwrap()["head"].clone();
            let proof = client.call("audit.proof", &json!({ "record": head }), Some(secret.expose()), None).await;
            refused.extend(proof.err().map(|error| error.to_string()));
        }
        assert!(refused.iter().all(|error| error.contains("the tile log cannot be used")), "{refused:?}");
        let all_signed = async |client: &http::Client| {
            let status = client.get("/v1/status").await.unwrap_or_default();
            (&status["log"]["lag"], &status["log"]["failing"]) == (&json!(0), &json!(false))
        };
        place.daemon.until("has signed all of it", all_signed).await;
        let verified = place.daemon.run(&["audit", "verify", "--deep"]);
        assert_eq!(verified.code, Some(0), "SOP_SEED={seed}: sync {nth}: {verified:?}");
        place.daemon.stop();
        place.daemon.environment.clear();
    }
}
