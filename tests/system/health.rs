//! Health as a probe, a scraper and an operator see it, while children, the journal and backups fail.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use journal::store::{Group, Log, StoreError};
use kit::figures::{self, Family};
use kit::{Authority, Client, adopt_starter, root};
use serde_json::{Value, json};
use supervisors::NodeState;
use tempfile::TempDir;

use crate::Place;

/// One restart, and then no more for the length of any test.
const STRICT: &str = "[supervision]\nrestarts = 1\nwithin = \"1h\"\nbackoff_first = \"1ms\"\n";
const SCANNER: &str = "sop/operations/scanner";
const TOKENS: &str = "sop/authority/tokens";

/// The status of a page, its type, and its text. It blocks the test, and none of the workers that answer it.
pub fn page(socket: &Path, path: &str) -> (u16, String, String) {
    let mut stream = UnixStream::connect(socket).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: sop\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let kind = head.lines().find_map(|line| line.strip_prefix("content-type: ")).unwrap_or_default();
    (status, kind.to_owned(), body.to_owned())
}

fn health(socket: &Path) -> (u16, Value) {
    let (status, _, body) = page(socket, "/health");
    (status, serde_json::from_str(&body).unwrap())
}

pub fn metrics(socket: &Path) -> BTreeMap<String, Family> {
    let (status, kind, body) = page(socket, "/metrics");
    assert_eq!((status, kind.as_str()), (200, "text/plain; version=0.0.4; charset=utf-8"));
    figures::families(&body).unwrap_or_else(|why| panic!("{why}\n{body}"))
}

fn codes(health: &Value) -> Vec<(&str, &str)> {
    let reasons = health["reasons"].as_array().into_iter().flatten();
    reasons.map(|reason| (reason["code"].as_str().unwrap(), reason["subject"].as_str().unwrap())).collect()
}

/// Kills it until its budget is spent.
async fn quarantine(authority: &Authority, path: &str) {
    let tree = authority.parts.tree().unwrap();
    let mut events = tree.subscribe();
    loop {
        match tree.snapshot().find(path).unwrap().state {
            NodeState::Quarantined { .. } => return,
            NodeState::Running => tree.kill(path).await.unwrap(),
            _ => {}
        }
        events.next().await.expect("the tree runs");
    }
}

/// Waits until health has recorded so many of a kind.
async fn recorded(authority: &Authority, kind: kernel::Kind, count: usize) {
    let mut durable = authority.parts.journal.durable();
    while authority.records().iter().filter(|record| record.kind_id == kind.id).count() < count {
        let waited = tokio::time::timeout(Duration::from_mins(1), durable.changed()).await;
        waited.unwrap_or_else(|_| panic!("{} {} do not come", count, kind.name)).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_in_quarantine_is_a_reason_until_it_is_released() {
    let home = TempDir::new().unwrap();
    let data = home.path().join("data");
    let authority = Authority::start(&data, STRICT).await;
    let socket = data.join("run/sock");
    recorded(&authority, health::records::UP, 1).await;
    let (status, at_first) = health(&socket);
    assert_eq!((status, &at_first["phase"], codes(&at_first)), (200, &json!("ready"), vec![]));

    quarantine(&authority, SCANNER).await;
    let (status, degraded) = health(&socket);
    assert_eq!((status, &degraded["phase"], &degraded["ready"]), (200, &json!("degraded"), &json!(true)));
    assert_eq!(codes(&degraded), [("child.quarantined", SCANNER)]);
    assert_eq!(degraded["reasons"][0]["reason"], format!("{SCANNER} is quarantined: killed"));
    recorded(&authority, health::records::RAISED, 1).await;
    recorded(&authority, health::records::CHILD_ENDED, 1).await;
    let since = |health: &Value| health["reasons"][0]["since"].as_str().map(str::len);
    assert_eq!(since(&health(&socket).1), Some("2026-11-20T00:00:00.000Z".len()));
    let figures = metrics(&socket);
    assert_eq!(figures["sop_children"].at(&[("state", "quarantined")]), Some(1.0));
    assert_eq!(figures["sop_restarts_total"].at(&[("group", "operations")]), Some(1.0));
    assert_eq!(figures["sop_health_reasons"].at(&[("severity", "degrades")]), Some(1.0));
    assert_eq!(figures["sop_ready"].at(&[]), Some(1.0));

    authority.parts.tree().unwrap().restart(SCANNER).await.unwrap();
    recorded(&authority, health::records::CLEARED, 1).await;
    let (_, again) = health(&socket);
    assert_eq!((&again["phase"], codes(&again)), (&json!("ready"), vec![]));
    assert!(authority.stop().await.is_graceful());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_machine_that_the_door_needs_nothing_is_ready_and_all_is_answered() {
    let home = TempDir::new().unwrap();
    let data = home.path().join("data");
    let authority = Authority::start(&data, STRICT).await;
    let socket = data.join("run/sock");
    quarantine(&authority, TOKENS).await;
    let (status, unready) = health(&socket);
    assert_eq!((status, &unready["phase"], &unready["ready"]), (503, &json!("unready"), &json!(false)));
    assert_eq!(codes(&unready), [("door.not_ready", "tokens"), ("child.quarantined", TOKENS)]);
    assert_eq!(page(&socket, "/health/ready").0, 503);
    assert_eq!(page(&socket, "/health/live").0, 200);
    assert_eq!(metrics(&socket)["sop_ready"].at(&[]), Some(0.0));
    authority.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_itself_may_end_and_what_it_was_told_is_recorded_once() {
    let home = TempDir::new().unwrap();
    let data = home.path().join("data");
    let authority = Authority::start(&data, "[supervision]\nrestarts = 100\nbackoff_first = \"1ms\"\n").await;
    let tree = authority.parts.tree().unwrap();
    for name in ["health", "monitor", "health", "monitor"] {
        let path = format!("sop/operations/{name}");
        let mut events = tree.subscribe();
        let before = tree.snapshot().find(&path).unwrap().epoch;
        tree.kill(&path).await.unwrap();
        let up = |tree: &supervisors::Tree| {
            let node = tree.snapshot();
            let node = node.find(&path).unwrap();
            before < node.epoch && node.state == NodeState::Running
        };
        while !up(&tree) {
            events.next().await.expect("the tree runs");
        }
    }
    // The first end of each at once, the second counted for the next interval: ends of its own cause no further work.
    recorded(&authority, health::records::CHILD_ENDED, 2).await;
    let ends = |authority: &Authority| {
        let records = authority.records();
        records.iter().filter(|record| record.kind_id == health::records::CHILD_ENDED.id).count()
    };
    assert_eq!(ends(&authority), 2);
    assert_eq!(authority.records().iter().filter(|record| record.kind_id == health::records::BEGUN.id).count(), 1);
    authority.stop().await;
}

/// A log that fails when it is told to.
struct Failing {
    log: Box<dyn Log>,
    fails: Arc<AtomicBool>,
}

impl Log for Failing {
    fn append_group(&mut self, group: &Group) -> Result<(), StoreError> {
        if self.fails.load(Ordering::Relaxed) {
            return Err(StoreError::Io { why: "the disk was made to fail".into() });
        }
        self.log.append_group(group)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_refuses_is_not_ready_from_that_answer_on_and_lives() {
    let home = TempDir::new().unwrap();
    let data = home.path().join("data");
    let fails = Arc::new(AtomicBool::new(false));
    let told = fails.clone();
    let wrap = Box::new(move |log| Box::new(Failing { log, fails: told.clone() }) as Box<dyn Log>);
    let authority = Authority::start_over(&data, STRICT, wrap).await;
    let socket = data.join("run/sock");
    assert_eq!(page(&socket, "/health/ready").0, 200);
    fails.store(true, Ordering::Relaxed);
    let client = http::Client::new(&socket);
    let text = json!({ "text": "@id(\"a\") permit (principal is Operator, action, resource);" });
    client.call("policy.propose", &text, Some(authority.root.expose()), None).await.unwrap_err();
    // Who was told that it failed finds it so everywhere, without a moment's wait.
    assert_eq!(page(&socket, "/health/ready").0, 503);
    let (status, unready) = health(&socket);
    assert_eq!((status, unready["reasons"][0]["code"].as_str()), (503, Some("journal.failed")));
    assert_eq!(page(&socket, "/health/live").0, 200);
    assert_eq!(metrics(&socket)["sop_ready"].at(&[]), Some(0.0));
    authority.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_moves_health() {
    let home = TempDir::new().unwrap();
    let data = home.path().join("data");
    let authority = Authority::start(&data, "").await;
    adopt_starter(&mut Client::new("operator", Arc::new(authority.clone())), &authority.root).await;
    let socket = data.join("run/sock");
    let root = authority.root.expose();
    let client = http::Client::new(&socket).timeout(Duration::from_mins(1));
    let call = async |action: &str, arguments: Value| client.call(action, &arguments, Some(root), None).await.unwrap();
    assert!(metrics(&socket)["sop_backup_age_seconds"].samples.is_empty(), "there is none");
    call("backup.create", json!({})).await;
    call("backup.verify", json!({ "backup": "backup-1" })).await;
    recorded(&authority, health::records::BACKUP_VERIFIED, 1).await;
    assert!(metrics(&socket)["sop_backup_age_seconds"].at(&[]).is_some_and(|age| 0.0 <= age));

    let shown = call("backup.show", json!({ "backup": "backup-1" })).await;
    std::fs::remove_file(shown["directory"].as_str().unwrap()).unwrap();
    call("backup.verify", json!({ "backup": "backup-1" })).await;
    recorded(&authority, health::records::RAISED, 1).await;
    let (status, degraded) = health(&socket);
    assert_eq!((status, codes(&degraded)), (200, vec![("backup.bad", "backup-1")]));
    call("backup.create", json!({})).await;
    call("backup.verify", json!({ "backup": "backup-2" })).await;
    recorded(&authority, health::records::CLEARED, 1).await;
    assert_eq!(health(&socket).1["phase"], "ready");
    authority.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_catalogue_of_metrics_is_what_is_served() {
    let place = Place::started().await;
    let client = place.daemon.client();
    let secret = place.daemon.credential();
    client.call("policy.list", &json!({}), Some(secret.expose()), None).await.unwrap();
    client.call("policy.list", &json!({}), None, None).await.unwrap_err();
    let served = metrics(&place.daemon.socket);
    let documented: BTreeMap<String, [String; 3]> = include_str!("../../docs/metrics.md")
        .lines()
        .filter_map(|line| line.strip_prefix("| `sop_"))
        .map(|line| {
            let cells: Vec<_> = line.split('|').map(|cell| cell.trim().trim_end_matches('`').to_owned()).collect();
            let [name, kind, labels, help, ..] = &cells[..] else { panic!("{line}") };
            (format!("sop_{name}"), [kind.clone(), labels.replace('`', ""), help.clone()])
        })
        .collect();
    let names = |families: &BTreeMap<String, _>| families.keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(served.keys().cloned().collect::<BTreeSet<_>>(), names(&documented));
    for (name, family) in &served {
        let [kind, labels, help] = &documented[name];
        assert_eq!((&family.kind, &family.help), (kind, help), "{name}");
        let documented: BTreeSet<_> = labels.split(", ").filter(|label| !label.is_empty()).collect();
        if !family.samples.is_empty() {
            let le = if kind == "histogram" { Some("le") } else { None };
            assert_eq!(family.labels(), documented.into_iter().chain(le).collect(), "{name}");
        }
    }
    let requests = &served["sop_requests_total"];
    let counted = |outcome| requests.at(&[("concern", "policy"), ("outcome", outcome)]).unwrap();
    // The kit asked once more, to see that its operator is known.
    assert_eq!((counted("answered"), counted("refused")), (2.0, 0.0));
    assert!(1.0 <= counted("denied"));
    assert!(1.0 <= served["sop_denials_total"].at(&[("layer", "authenticate")]).unwrap());
    let count = |name: &str, suffix: &str| {
        let sample = served[name].samples.iter().find(|(found, ..)| *found == format!("{name}{suffix}"));
        sample.map(|(.., figure)| *figure).unwrap()
    };
    assert!(0.0 < count("sop_journal_append_seconds", "_count") && 0.0 < count("sop_journal_append_seconds", "_sum"));
    assert!(count("sop_journal_append_seconds", "_count") <= count("sop_journal_records_total", ""));
    assert!(count("sop_journal_records_total", "") <= count("sop_journal_head_sequence", ""));
    let page = page(&place.daemon.socket, "/metrics").2;
    assert!(!page.contains(&root().to_string()) && !page.contains(secret.expose()), "nobody is named");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_shows_reasons_and_exits_by_them() {
    let mut place = Place::started().await;
    let credential = place.daemon.credential();
    adopt_starter(&mut Client::new("operator", Arc::new(place.daemon.client())), &credential).await;
    let fine = place.daemon.run(&["health"]);
    assert_eq!((fine.code, fine.stdout.as_str()), (Some(0), "phase  ready\nready  commands are taken\n"));
    let one = place.daemon.run(&["health", "--component", "scanner", "-o", "json"]);
    let shown: Value = serde_json::from_str(&one.stdout).unwrap();
    assert_eq!((one.code, &shown["component"], &shown["state"]), (Some(0), &json!(SCANNER), &json!("running")));
    for unknown in ["nobody", "operations/nobody"] {
        let none = place.daemon.run(&["health", "--component", unknown]);
        crate::failed(&none, 1, &["system.unknown", unknown]);
    }
    place.daemon.stop();
    crate::failed(&place.daemon.run(&["health"]), 4, &["cli.unreachable"]);
    place.daemon.configure("[store]\nreserve = \"1TiB\"\n");
    place.daemon.spawn();
    let full = async |client: &http::Client| {
        let health = client.get("/v1/health").await.unwrap_or_default();
        health["phase"] == "unready" && codes(&health) == [("journal.disk_full", "")]
    };
    place.daemon.until("says that the disk is full", full).await;
    let refused = place.daemon.run(&["health"]);
    assert_eq!(refused.code, Some(2));
    assert!(refused.stdout.starts_with("phase  unready\nready  commands are refused\n"), "{refused:?}");
    assert!(refused.stdout.contains("journal.disk_full") && refused.stdout.contains("free disk space"), "{refused:?}");
    let status = place.daemon.run(&["status"]);
    assert!(status.stdout.contains("under the reserve"), "{status:?}");
}
