//! Gaps on live state: nobody asks for a scan, and yet what is missing is known, is a todo, and closes when it is mended.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use config::{Config, Sources};
use gaps::{Gaps, Kind, State};
use host::{Clock, Handle, Order};
use kernel::{Decision, Digest, Machine, Millis, Position, Principal, Timestamp, TokenId};
use serde_json::json;
use sop::boot::Parts;
use todos::Todos;
use tokens::{Grant, Issue};

use crate::Place;

const POLICY: &str = r#"@id("operators") permit (principal is Operator, action, resource);"#;

const NOON: Timestamp = Timestamp(1_800_000_000_000);

/// An authority whose days pass when the test says so.
struct Days {
    now: Arc<AtomicU64>,
    parts: Arc<Parts>,
}

impl Days {
    async fn start(data: &std::path::Path, now: Timestamp) -> Self {
        let now = Arc::new(AtomicU64::new(now.0));
        let time = now.clone();
        let sources = Sources { data: Some(data.to_owned()), ..Sources::default() };
        let config = Config::load(&sources).unwrap();
        let parts = Parts::new(&config, Clock::from_fn(move || Timestamp(time.load(Ordering::SeqCst))));
        parts.start(&config, vec![]).await.unwrap();
        if !parts.is_bootstrapped() {
            parts.bootstrap().await.unwrap();
        }
        Self { now, parts }
    }

    async fn ask<M: Machine>(&self, machine: &Handle<M>, principal: &str, command: M::Command) -> M::Reply
    where
        M::Refusal: std::fmt::Debug,
    {
        let order = Order {
            command,
            command_id: self.parts.clock.command_id(),
            principal: principal.parse().unwrap(),
            decision: Decision::default(),
            cause: None,
            asked: None,
        };
        machine.execute(order).await.unwrap().outcome.unwrap()
    }

    /// Time passes, and something is recorded then.
    async fn later(&self, span: Millis) {
        self.now.fetch_add(span.0, Ordering::SeqCst);
        let nothing = gaps::Command::Clear { kind: Kind::ChildQuarantined, subject: "nothing".into() };
        self.ask(&self.parts.gaps, "internal/test", nothing).await;
    }

    /// Waits until the gaps have opened (true) and closed in this order, and no others, and each todo has followed.
    async fn until(&self, expected: &[(Kind, bool)]) {
        let mut durable = self.parts.journal.durable();
        loop {
            durable.borrow_and_update();
            let read =
                |stream| self.parts.journal.read_stream(stream, Position(1), Position(u64::MAX), usize::MAX).unwrap();
            let changes = read(Gaps::NAME).into_iter().filter_map(|record| {
                if record.kind_id < 300 {
                    return None;
                }
                match journal::codec::read((record.kind_id, record.schema), &record.body).unwrap() {
                    gaps::Event::GapOpened(gap) | gaps::Event::GapReopened(gap) => Some((gap.kind, true)),
                    gaps::Event::GapClosed(gap) => Some((gap.kind, false)),
                    other => panic!("nobody asked for a scan: {other:?}"),
                }
            });
            let changes: Vec<_> = changes.map(|(tag, open)| (Kind::from_tag(tag).unwrap(), open)).collect();
            assert!(expected.starts_with(&changes), "{changes:?} is not how it was to go: {expected:?}");
            let gaps = self.parts.gaps.inspect(Gaps::clone).await.unwrap();
            let todos = self.parts.todos.inspect(Todos::clone).await.unwrap();
            let now = self.parts.clock.now();
            let follow = gaps.list(&gaps::Filter::default()).all(|gap| {
                let todo = todos.by_gap(gap.fingerprint, now);
                todo.is_some_and(|todo| (todo.state == todos::State::Closed) == (gap.state == State::Closed))
            });
            if changes.len() == expected.len() && follow {
                return;
            }
            durable.changed().await.unwrap();
        }
    }

    async fn issue(&self, id: u128, hours: u64) {
        let command = tokens::Command::Issue(Issue {
            id: TokenId(id),
            secret: Digest([u8::try_from(id).unwrap(); 32]),
            grant: Grant::Operation,
            subject: "agent/alpha".parse::<Principal>().unwrap(),
            audience: "sop".into(),
            operation: "gap.scan".into(),
            uses: Some(9),
            lifetime: Some(Millis::hours(hours)),
            bounds: tokens::Bounds::default(),
        });
        self.ask(self.parts.door.tokens(), "operator/root", command).await;
    }

    async fn stop(self) -> Timestamp {
        self.parts.shutdown(Duration::from_secs(30)).await;
        self.parts.clock.now()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_opens_in_its_time_and_closes_when_it_is_mended() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let days = Days::start(&data, NOON).await;
    let mut expected = Vec::new();

    days.later(Millis::minutes(14)).await;
    days.later(Millis::minutes(1)).await;
    expected.push((Kind::PolicyEmpty, true));
    days.until(&expected).await;
    let governance = days.parts.door.governance();
    days.ask(governance, "operator/root", governance::Command::Propose { text: POLICY.into() }).await;
    let activate = governance::Command::Activate { epoch: 1, expected_active: Some(0), despite_counterexample: false };
    days.ask(governance, "operator/root", activate).await;
    expected.push((Kind::PolicyEmpty, false));
    days.until(&expected).await;

    days.later(Millis::hours(24)).await;
    expected.push((Kind::BackupMissing, true));
    days.until(&expected).await;
    days.ask(&days.parts.backups, "operator/root", backup::Command::Create).await;
    expected.push((Kind::BackupMissing, false));
    days.until(&expected).await;

    days.issue(1, 4).await;
    days.later(Millis::hours(3)).await;
    expected.push((Kind::CredentialExpiring, true));
    days.until(&expected).await;
    days.issue(2, 24).await;
    expected.push((Kind::CredentialExpiring, false));
    days.until(&expected).await;

    // A restart opens and closes nothing, whoever is asked first.
    let now = days.stop().await;
    let days = Days::start(&data, now).await;
    days.later(Millis::hours(21)).await;
    expected.push((Kind::BackupOverdue, true));
    days.until(&expected).await;
    // A gap that was there before has its name again.
    days.later(Millis::hours(2)).await;
    expected.push((Kind::CredentialExpiring, true));
    days.until(&expected).await;
    let counts = days.parts.gaps.inspect(Gaps::counts).await.unwrap();
    assert_eq!((counts.open, counts.closed), (2, 2));
    days.ask(&days.parts.backups, "operator/root", backup::Command::Create).await;
    expected.push((Kind::BackupOverdue, false));
    days.until(&expected).await;
    days.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_without_a_backup_says_so() {
    let mut place = Place::new();
    place.daemon.configure("[backup]\noverdue_after = \"1s\"\n");
    place.daemon.start().await;
    let secret = place.daemon.credential();
    let mut client = kit::Client::new("operator", Arc::new(place.daemon.client()));
    kit::adopt_starter(&mut client, &secret).await;
    let listed = async |client: &http::Client| {
        let gaps = client.call("gap.list", &json!({ "kind": "backup_missing" }), Some(secret.expose()), None).await;
        let todos = client.call("todo.list", &json!({}), Some(secret.expose()), None).await;
        gaps.is_ok_and(|listed| listed["gaps"][0]["title"] == "there is no backup yet")
            && todos.is_ok_and(|listed| listed["todos"][0]["title"] == "there is no backup yet")
    };
    place.daemon.until("has missed its backup", listed).await;
    let shown = place.daemon.run(&["gap", "list", "--kind", "backup_missing"]);
    assert!(shown.stdout.contains("there is no backup yet"), "{shown:?}");
}
