//! Gaps: scan, list, show.

use std::path::PathBuf;
use std::time::Duration;

use gaps::{Command, Filter, Finished, Gap, GapId, Kind, Progress, Reply, ScanId, State};
use kernel::{Denial, Layer};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Desk, Given, Request, malformed, parsed, time, unknown, with};

/// Todos follow their gaps over a route; a scan's answer waits this long for them.
const TODOS_WITHIN: Duration = Duration::from_secs(5);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Scan {
    root: PathBuf,
    /// Answer when the scan has finished; else at once.
    #[serde(default = "yes")]
    wait: bool,
}

fn yes() -> bool {
    true
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    state: Option<State>,
    kind: Option<Kind>,
    root: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Show {
    #[serde(deserialize_with = "parsed")]
    gap: GapId,
}

pub async fn answer(desk: &Desk, mut request: Request) -> Given {
    match request.ask.action {
        "gap.scan" => scan(desk, request).await,
        "gap.list" => {
            let List { state, kind, root } = request.arguments()?;
            desk.door().witness(&request.about("*")).await?;
            let filter = Filter { state, kind, root };
            let look = move |gaps: &gaps::Gaps| (gaps.list(&filter).map(shown).collect::<Vec<_>>(), gaps.counts());
            let (listed, counts) = desk.parts.gaps.inspect(look).await.map_err(|error| error.denial())?;
            Ok(json!({ "gaps": listed, "open": counts.open, "closed": counts.closed }))
        }
        "gap.show" => {
            let Show { gap } = request.arguments()?;
            desk.door().witness(&request.about(gap)).await?;
            let look = move |gaps: &gaps::Gaps| gaps.show(gap).map(shown);
            let found = desk.parts.gaps.inspect(look).await.map_err(|error| error.denial())?;
            found.ok_or_else(|| unknown("gaps.unknown", &gap, "see `sop gap list --state all`"))
        }
        action => unreachable!("{action} is no action on gaps"),
    }
}

async fn scan(desk: &Desk, mut request: Request) -> Given {
    let Scan { root, wait } = request.arguments()?;
    let unreadable = |why: &dyn std::fmt::Display| {
        let reason = format!("{} cannot be scanned: {why}", root.display());
        Denial::new(Layer::Request, "gaps.root_unreadable", reason, "name a directory that the daemon can read")
    };
    if !root.is_absolute() {
        return Err(malformed(&"root is an absolute path").into());
    }
    let canonical = root.canonicalize().map_err(|error| unreadable(&error))?;
    let canonical = canonical.to_str().ok_or_else(|| unreadable(&"its path is no text"))?.to_owned();
    if !root.is_dir() {
        return Err(unreadable(&"it is no directory").into());
    }
    let ask = with(request.about("*"), "root", canonical.as_str());
    let done = desk.door().perform(&ask, &desk.parts.gaps, Command::Scan { root: canonical }).await?;
    let Reply::Scanning { scan } = done.reply else { unreachable!("a scan is answered as one") };
    if wait { finished(desk, scan).await } else { Ok(json!({ "scan": scan, "record": done.first })) }
}

/// Waits until the scan has ended; the server's request timeout bounds the wait.
async fn finished(desk: &Desk, scan: ScanId) -> Given {
    let mut durable = desk.parts.journal.durable();
    loop {
        durable.borrow_and_update();
        let progress = desk.parts.gaps.inspect(move |gaps| gaps.scan(scan)).await;
        match progress.map_err(|error| error.denial())? {
            Some(Progress::Finished(finished)) => {
                let pending = tokio::time::timeout(TODOS_WITHIN, todos_follow(desk, &finished.root)).await;
                let mut answer = summary(&finished);
                // The route goes on; who lists the todos too early only sees fewer of them.
                answer["todos_follow"] = pending.is_ok().into();
                return Ok(answer);
            }
            Some(Progress::Abandoned(abandoned)) => {
                let reason = format!("{scan} failed: {}", abandoned.why);
                let remedy = "mend the cause and scan again; no gap was closed";
                return Err(Denial::new(Layer::Decide, "gaps.scan_failed", reason, remedy).into());
            }
            Some(Progress::Superseded) | None => return Ok(json!({ "scan": scan })),
            Some(Progress::Running(_)) => {}
        }
        if durable.changed().await.is_err() {
            return Ok(json!({ "scan": scan }));
        }
    }
}

/// Waits until every gap of the root has its todo in the same state: what was found can be claimed at once.
async fn todos_follow(desk: &Desk, root: &str) {
    let mut durable = desk.parts.journal.durable();
    loop {
        durable.borrow_and_update();
        let (filter, now) = (Filter { root: Some(root.to_owned()), ..Filter::default() }, desk.now());
        let states = move |gaps: &gaps::Gaps| {
            gaps.list(&filter).map(|gap| (gap.fingerprint, gap.state == State::Open)).collect::<Vec<_>>()
        };
        let Ok(states) = desk.parts.gaps.inspect(states).await else { return };
        let follow = move |todos: &todos::Todos| {
            states.into_iter().all(|(gap, open)| {
                todos.by_gap(gap, now).is_some_and(|todo| (todo.state != todos::State::Closed) == open)
            })
        };
        if matches!(desk.parts.todos.inspect(follow).await, Ok(true) | Err(_)) || durable.changed().await.is_err() {
            return;
        }
    }
}

fn summary(finished: &Finished) -> Value {
    json!({
        "scan": finished.scan,
        "root": finished.root,
        "opened": finished.opened,
        "reopened": finished.reopened,
        "closed": finished.closed,
        "open": finished.open,
        "files": finished.tally.files,
        "bytes": finished.tally.bytes,
        "skipped": finished.tally.skipped,
        "unread": finished.unread,
        "truncated": finished.tally.truncated,
        "started_at": time(finished.started_at),
        "finished_at": time(finished.finished_at),
    })
}

fn shown(gap: &Gap) -> Value {
    json!({
        "id": gap.id,
        "state": gap.state,
        "kind": gap.kind,
        "title": gap.title(),
        "root": gap.root,
        "path": gap.path,
        "line": gap.line,
        "detail": gap.detail,
        "fingerprint": gap.fingerprint,
        "opened_at": time(gap.opened_at),
        "changed_at": time(gap.changed_at),
        "reopened": gap.reopened,
    })
}
