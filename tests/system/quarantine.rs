//! A machine that cannot read its own records stays down by itself: the rest starts, says so, and calls it a gap.

use std::sync::mpsc::channel;

use journal::codec::Body;
use journal::envelope::Answer;
use journal::{Append, Entry, Journal, Limits};
use kernel::{CommandId, Decision, Digest, Kind, Machine, Principal, Timestamp};
use serde_json::json;

use crate::Place;

/// Written by a release that does not exist.
const FROM_THE_FUTURE: Kind = Kind { id: 299, version: 1, name: "tokens.from_the_future" };

/// Appends one record that this release cannot read to the stream of the tokens.
fn spoil(journal: &std::path::Path) {
    let journal = Journal::new(journal, Limits::default());
    journal.open().unwrap();
    let (stream, principal) = (tokens::Tokens::NAME, Principal::internal("test"));
    let (tell, told) = channel();
    let then = Box::new(move |opened| tell.send(opened).unwrap());
    let time = Timestamp(0);
    journal.queue(Entry::Open { stream, principal: principal.clone(), time, then });
    let opened = told.recv().unwrap().unwrap();
    let (tell, told) = channel();
    journal.queue(Entry::Append(Box::new(Append {
        stream,
        epoch: opened.epoch,
        expected: opened.version,
        time: opened.time,
        principal,
        decision: Decision::default(),
        command_id: CommandId(1),
        command_digest: Digest::default(),
        cause: None,
        asked: None,
        answer: Answer::Reply(b"null".to_vec()),
        bodies: vec![Body { kind: FROM_THE_FUTURE, bytes: vec![1, 2, 3] }],
        then: Box::new(move |stored| tell.send(stored).unwrap()),
    })));
    told.recv().unwrap().unwrap();
    journal.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_with_an_unreadable_record_is_quarantined_and_the_daemon_starts() {
    let mut place = Place::started().await;
    let secret = place.daemon.credential();
    assert_eq!(place.daemon.stop().unwrap().code(), Some(0));
    spoil(&place.daemon.data.join("journal"));

    place.daemon.spawn();
    let quarantined = async |client: &http::Client| {
        client.get("/v1/status").await.is_ok_and(|status| status["quarantined"] == json!(["sop/authority/tokens"]))
    };
    place.daemon.until("has quarantined the tokens", quarantined).await;
    let client = place.daemon.client();
    match client.get("/v1/health/ready").await.unwrap_err() {
        http::ClientError::Refused(problem) => {
            assert_eq!((&*problem.code, problem.rule.as_deref()), ("door.not_ready", Some("tokens")));
        }
        other => panic!("{other}"),
    }
    match client.call("token.list", &json!({}), Some(secret.expose()), None).await.unwrap_err() {
        http::ClientError::Refused(problem) => {
            assert_eq!((&*problem.code, problem.rule.as_deref()), ("door.not_ready", Some("tokens")));
        }
        other => panic!("{other}"),
    }
    let status = place.daemon.run(&["status"]);
    assert_eq!(status.code, Some(2), "{status:?}");
    assert!(status.stdout.contains("sop/authority/tokens"), "{status:?}");
    assert!(place.daemon.exited().is_none());
    place.daemon.stop();

    // Nobody can list gaps while the door is shut, so the record itself is looked at.
    let journal = Journal::new(&place.daemon.data.join("journal"), Limits::default());
    journal.open().unwrap();
    let gaps = journal.read_stream("gaps", kernel::Position(1), kernel::Position(u64::MAX), usize::MAX).unwrap();
    let opened = gaps.iter().filter(|record| record.kind_id == gaps::GAP_OPENED.id);
    let opened: Vec<_> = opened.map(|record| String::from_utf8_lossy(&record.body).into_owned()).collect();
    assert!(matches!(&opened[..], [one] if one.contains("sop/authority/tokens")), "{opened:?}");
}
