//! Does the scans that the gap detector has outstanding: walks the tree, reports what it found, says where it looked.
//!
//! What is outstanding is the machine's state, so a scan that a crash interrupted is done again from its beginning, and
//! doing it twice is safe.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gaps::{Command, Gaps, Refusal, Reply, ScanId};
use host::{Clock, Error, Handle, Order};
use journal::Journal;
use kernel::{Decision, Machine as _, Principal, Refuse as _};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use supervisors::{Child, ChildRef};

use crate::scan::{self, Limits, Survey};
use crate::wake::{Wake, Waker};

/// Waits before asking a detector again that is down.
const AGAIN_AFTER: Duration = Duration::from_millis(200);

/// What the scanner works with.
#[derive(Clone)]
pub struct Scanner {
    pub gaps: Handle<Gaps>,
    pub journal: Journal,
    pub clock: Clock,
    pub limits: Limits,
}

impl Scanner {
    /// The child to put into the tree.
    pub fn child(self) -> Child {
        let reference = ChildRef::new("scanner");
        Child::actor::<Scanning, _>(&reference, move || (Scanning, self.clone()))
    }

    /// The scan that has waited longest.
    async fn next(&self) -> Result<Option<(ScanId, String)>, Error> {
        let next = |gaps: &Gaps| gaps.outstanding().next().map(|running| (running.scan, running.root.clone()));
        self.gaps.inspect(next).await
    }

    async fn run(&self, scan: ScanId, root: String, stop: Arc<AtomicBool>) -> Result<(), Ended> {
        tracing::info!(code = "scan.started", %scan, root, "a scan begins");
        let limits = self.limits.clone();
        #[expect(clippy::disallowed_methods, reason = "a walk blocks; the flag ends it when the actor goes")]
        let survey = tokio::task::spawn_blocking(move || scan::scan(Path::new(&root), &limits, &stop)).await?;
        let survey = match survey {
            Ok(survey) => survey,
            Err(error) => {
                tracing::warn!(code = "scan.failed", %scan, "a scan failed, and closes nothing: {error}");
                // Refused only if the scan has ended otherwise.
                self.ask(Command::Abandon { scan, why: error.to_string() }).await?.ok();
                return Ok(());
            }
        };
        // What the detector did not take must not count as looked for: a refusal ends the scan, and closes nothing.
        if let Err(refusal) = self.report(scan, &survey).await? {
            tracing::warn!(code = refusal.code(), %scan, "the detector refused: {refusal}");
            self.ask(Command::Abandon { scan, why: refusal.to_string() }).await?.ok();
            return Ok(());
        }
        let (files, findings) = (survey.tally.files, survey.findings.len());
        tracing::info!(code = "scan.finished", %scan, files, findings, "a scan is done");
        Ok(())
    }

    /// Everything found, then where was looked.
    async fn report(&self, scan: ScanId, survey: &Survey) -> Result<Result<(), Refusal>, Error> {
        let mut seen = BTreeSet::new();
        for findings in survey.findings.chunks(gaps::REPORT_MAX) {
            match self.ask(Command::Report { scan, findings: findings.to_vec() }).await? {
                Ok(Reply::Reported { gaps, .. }) => seen.extend(gaps),
                Ok(reply) => unreachable!("a report is answered as one, not with {reply:?}"),
                Err(refusal) => return Ok(Err(refusal)),
            }
        }
        let seen: Vec<_> = seen.into_iter().collect();
        loop {
            let (coverage, tally) = (survey.coverage.clone(), survey.tally);
            match self.ask(Command::Finish { scan, seen: seen.clone(), coverage, tally }).await? {
                Ok(Reply::Finishing { .. }) => {}
                Ok(_) => return Ok(Ok(())),
                Err(refusal) => return Ok(Err(refusal)),
            }
        }
    }

    async fn ask(&self, command: Command) -> Result<Result<Reply, Refusal>, Error> {
        let order = Order {
            command,
            // A new id each time: what a second walk finds may differ, and a gap reported twice stays one gap.
            command_id: self.clock.command_id(),
            principal: Principal::internal("scanner"),
            decision: Decision::default(),
            cause: None,
            asked: None,
        };
        Ok(self.gaps.execute(order).await?.outcome)
    }
}

/// Why a scan was not brought to its end.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error(transparent)]
    Host(#[from] Error),
    #[error("the walk panicked: {0}")]
    Walk(#[from] tokio::task::JoinError),
}

struct Scanning;

struct State {
    scanner: Scanner,
    waker: Waker,
    stop: Arc<AtomicBool>,
}

impl Drop for State {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Actor for Scanning {
    type Msg = Wake;
    type State = State;
    type Arguments = Scanner;

    async fn pre_start(&self, myself: ActorRef<Wake>, scanner: Scanner) -> Result<State, ActorProcessingErr> {
        let waker = Waker::new(scanner.journal.moved(Gaps::NAME), myself);
        Ok(State { scanner, waker, stop: Arc::default() })
    }

    async fn handle(&self, myself: ActorRef<Wake>, _: Wake, state: &mut State) -> Result<(), ActorProcessingErr> {
        state.waker.heard();
        match state.scanner.next().await {
            Ok(None) => {}
            Ok(Some((scan, root))) => {
                match state.scanner.run(scan, root, state.stop.clone()).await {
                    // There may be another one.
                    Ok(()) => myself.send_message(Wake)?,
                    // The detector went away in the midst: the scan is outstanding still, and done again.
                    Err(Ended::Host(_)) => {
                        myself.send_after(AGAIN_AFTER, || Wake);
                    }
                    Err(fault @ Ended::Walk(_)) => return Err(fault.into()),
                }
            }
            Err(_) => {
                myself.send_after(AGAIN_AFTER, || Wake);
            }
        }
        Ok(())
    }
}
