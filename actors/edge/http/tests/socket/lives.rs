//! How servers and connections begin and end.

use std::fs::{self, DirBuilder, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::common::{SECRET, command_id, raw, read, request, serve, start};
use http::{BindError, Client, ClientError, Limits, bind};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::task::JoinSet;

/// Far over anything that these tests wait for.
const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn many_callers_get_each_their_own_answer() {
    let served = serve(Limits::default()).await;
    let mut callers = JoinSet::new();
    for caller in 0..64_u8 {
        let client = Client::new(&served.socket);
        callers.spawn(async move {
            for round in 0..10 {
                let (arguments, id) = (json!({ "caller": caller, "round": round }), command_id(caller));
                let answer = client.call("echo.write", &arguments, Some(SECRET), Some(id)).await.unwrap();
                assert_eq!(answer["arguments"], arguments);
                assert_eq!(answer["command_id"], json!(id));
            }
        });
    }
    assert_eq!(callers.join_all().await.len(), 64);
}

#[tokio::test]
async fn the_client_tells_its_failures_apart() {
    let served = serve(Limits::default()).await;
    let client = Client::new(&served.socket);
    assert_eq!(client.get("/v1/status").await.unwrap(), json!({ "name": "fake" }));
    let refused = client.call("echo.wriet", &json!({}), None, None).await.unwrap_err();
    assert!(matches!(&refused, ClientError::Refused(problem) if problem.code == "http.unknown_action"), "{refused}");
    let large = json!({ "text": "x".repeat(1 << 20) });
    let refused = client.call("echo.write", &large, None, None).await.unwrap_err();
    assert!(matches!(&refused, ClientError::Refused(problem) if problem.status == 413), "{refused}");
    let impossible = client.call("a b", &json!({}), None, None).await.unwrap_err();
    assert!(matches!(impossible, ClientError::Protocol(_)), "{impossible}");

    let impatient = client.clone().timeout(Duration::from_millis(50));
    let late = impatient.call("wait.begin", &json!({}), None, None).await.unwrap_err();
    assert!(matches!(late, ClientError::TimedOut(_)), "{late}");
    served.api.dropped.pass().await;

    let nowhere = Client::new(served.directory.path().join("nowhere")).get("/v1/status").await.unwrap_err();
    assert!(matches!(nowhere, ClientError::Unreachable { .. }), "{nowhere}");
    assert!(nowhere.to_string().contains("nowhere"), "{nowhere}");
}

#[tokio::test]
async fn a_caller_who_hangs_up_leaves_nothing_behind() {
    let served = serve(Limits::default()).await;
    let mut stream = UnixStream::connect(&served.socket).await.unwrap();
    let bytes = request("POST /v1/wait.begin", &["Content-Type: application/json"], b"{}");
    stream.write_all(&bytes).await.unwrap();
    served.api.begun.pass().await;
    drop(stream);
    served.api.dropped.pass().await;
}

#[tokio::test]
async fn a_stop_finishes_what_is_in_flight() {
    let served = serve(Limits::default()).await;
    let client = Client::new(&served.socket);
    let mut idle = UnixStream::connect(&served.socket).await.unwrap();
    idle.write_all(b"GET /v1/status HTTP/1.1\r\nHost: sop\r\n\r\n").await.unwrap();
    idle.readable().await.unwrap();

    let mut calls = JoinSet::new();
    let caller = client.clone();
    calls.spawn(async move { caller.call("wait.begin", &json!({}), None, None).await });
    served.api.begun.pass().await;
    served.actor.stop(None);
    while served.socket.exists() {
        tokio::task::yield_now().await;
    }
    let refused = client.get("/v1/status").await.unwrap_err();
    assert!(matches!(refused, ClientError::Unreachable { .. }), "{refused}");
    assert!(!served.ended.is_finished(), "one call is still in flight");
    assert_eq!(read(&mut idle).await.status, 200, "an idle connection does not hold up the stop");

    served.api.open.open();
    let answer = calls.join_next().await.unwrap().unwrap().unwrap();
    assert_eq!(answer, json!({ "waited": true }));
    tokio::time::timeout(PATIENCE, served.ended).await.expect("it ends").unwrap();
}

#[tokio::test]
async fn a_stop_does_not_wait_for_ever() {
    let served = serve(Limits { stop_timeout: Duration::from_millis(50), ..Limits::default() }).await;
    let client = Client::new(&served.socket);
    let mut calls = JoinSet::new();
    calls.spawn(async move { client.call("wait.begin", &json!({}), None, None).await });
    served.api.begun.pass().await;
    served.actor.stop(None);
    tokio::time::timeout(PATIENCE, served.ended).await.expect("it ends").unwrap();
    served.api.dropped.pass().await;
    let cut_off = calls.join_next().await.unwrap().unwrap().unwrap_err();
    assert!(matches!(cut_off, ClientError::Protocol(_)), "{cut_off}");
    assert_eq!(Arc::strong_count(&served.api), 1, "nobody holds on to the interface");
}

#[tokio::test]
async fn a_kill_cuts_everything_off_and_frees_the_socket() {
    let served = serve(Limits::default()).await;
    let client = Client::new(&served.socket);
    let mut calls = JoinSet::new();
    calls.spawn(async move { client.call("wait.begin", &json!({}), None, None).await });
    served.api.begun.pass().await;
    served.actor.kill();
    tokio::time::timeout(PATIENCE, served.ended).await.expect("it ends").unwrap();
    let (next, ended) =
        start(&served.socket, &served.api, Limits::default()).await.expect("the next one can bind at once");
    assert_eq!(Client::new(&served.socket).get("/v1/status").await.unwrap(), json!({ "name": "fake" }));
    assert!(calls.join_next().await.unwrap().unwrap().is_err(), "the call of the killed one gets no answer");
    served.api.dropped.pass().await;
    next.stop(None);
    tokio::time::timeout(PATIENCE, ended).await.expect("it ends").unwrap();
    assert!(!served.socket.exists(), "the socket goes with its owner");
}

#[tokio::test]
async fn the_actor_says_why_it_cannot_start() {
    let served = serve(Limits::default()).await;
    let second = start(&served.socket, &served.api, Limits::default()).await.expect_err("the socket is taken");
    let said = second.to_string();
    assert!(said.contains("another daemon answers on") && said.contains(served.socket.to_str().unwrap()), "{said}");
    assert!(Client::new(&served.socket).get("/v1/status").await.is_ok(), "the first one is not disturbed");
}

#[tokio::test]
async fn connections_over_the_cap_are_told_so() {
    let served = serve(Limits { connections_max: 1, ..Limits::default() }).await;
    let mut first = UnixStream::connect(&served.socket).await.unwrap();
    first.write_all(b"GET /v1/status HTTP/1.1\r\nHost: sop\r\n\r\n").await.unwrap();
    first.read_u8().await.unwrap();

    let answer = raw(&served.socket, &request("GET /v1/status", &[], b"")).await;
    assert_eq!((answer.status, &answer.json()["code"]), (429, &json!("http.connections_full")));
    assert!(answer.has("retry-after: 1"), "{}", answer.headers);

    drop(first);
    let room = async {
        while Client::new(&served.socket).get("/v1/status").await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, room).await.expect("there is room again");
}

#[tokio::test]
async fn who_does_not_read_the_answer_is_cut_off() {
    let short = Duration::from_millis(50);
    let served = serve(Limits { connections_max: 1, request_timeout: short, ..Limits::default() }).await;
    let whole = Client::new(&served.socket).get("/v1/large.read").await.unwrap();
    assert_eq!(whole.as_str().map(str::len), Some(8 << 20), "who reads gets all of it");

    let mut stream = UnixStream::connect(&served.socket).await.unwrap();
    stream.write_all(&request("GET /v1/large.read", &[], b"")).await.unwrap();
    stream.readable().await.unwrap();
    let room = async {
        while Client::new(&served.socket).get("/v1/status").await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, room).await.expect("the one that does not read makes room");
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    assert!(rest.len() < 8 << 20, "it was cut off, not served");
}

#[tokio::test]
async fn a_new_socket_is_for_its_owner_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a/b/sock");
    let bound = bind(&path, Duration::ZERO).await.unwrap();
    assert_eq!(bound.claim.path(), path);
    let mode = |path: PathBuf| fs::metadata(path).unwrap().mode() & 0o7777;
    assert_eq!(mode(path.clone()), 0o600);
    assert_eq!((mode(directory.path().join("a")), mode(directory.path().join("a/b"))), (0o700, 0o700));
    drop(bound);
    assert!(!path.exists(), "the socket goes with its owner");
}

#[tokio::test]
async fn a_dead_socket_is_taken_over_and_a_live_one_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "as a daemon leaves it that was killed");

    let first = bind(&path, Duration::ZERO).await.expect("the dead one makes way");
    let second = bind(&path, Duration::ZERO).await.expect_err("the live one does not");
    assert!(matches!(second, BindError::InUse { .. }), "{second}");
    assert!(path.exists());

    // Somebody has removed our file and put another there.
    fs::remove_file(&path).unwrap();
    let other = std::os::unix::net::UnixListener::bind(&path).unwrap();
    drop(first);
    assert!(path.exists(), "what is no longer ours stays");
    drop(other);
}

#[tokio::test]
async fn a_daemon_that_proves_to_be_dying_makes_way() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sock");
    let dying = tokio::net::UnixListener::bind(&path).unwrap();
    let last = async move {
        dying.accept().await.unwrap();
        drop(dying);
    };
    let (bound, ()) = tokio::join!(bind(&path, PATIENCE), last);
    assert!(bound.is_ok(), "it answered once, and is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_that_start_at_once_one_gets_the_socket() {
    // The window is small: without the turn-taking in `bind`, one round in some hundreds has two winners.
    for round in 0..100 {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let mut starts = JoinSet::new();
        for _ in 0..8 {
            let path = path.clone();
            starts.spawn(async move { bind(&path, Duration::ZERO).await });
        }
        let (won, lost): (Vec<_>, Vec<_>) = starts.join_all().await.into_iter().partition(Result::is_ok);
        assert_eq!((won.len(), lost.len()), (1, 7), "round {round}");
        assert!(UnixStream::connect(&path).await.is_ok(), "and it is the one that answers");
    }
}

#[tokio::test]
async fn bad_places_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let made = |name: &str, mode: u32| {
        let path = directory.path().join(name);
        DirBuilder::new().create(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path
    };
    for (row, mode, refused) in [
        ("ours", 0o700, false),
        ("readable", 0o755, false),
        ("group-writable", 0o770, true),
        ("world-writable", 0o777, true),
        ("sticky", 0o1777, false),
    ] {
        let place = made(row, mode).join("sock");
        match bind(&place, Duration::ZERO).await {
            Ok(_) => assert!(!refused, "{row}"),
            Err(BindError::OpenDirectory { mode: found, .. }) => assert!(refused && found == mode, "{row}"),
            Err(other) => panic!("{row}: {other}"),
        }
        assert!(!place.exists(), "{row}: nothing is left behind");
    }

    let file = directory.path().join("file");
    fs::write(&file, "precious").unwrap();
    assert!(matches!(bind(&file, Duration::ZERO).await, Err(BindError::NotASocket { .. })));
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
    assert!(
        matches!(bind(&file.join("sock"), Duration::ZERO).await, Err(BindError::Io { .. })),
        "a file is no directory"
    );
    let long = directory.path().join("x".repeat(108));
    assert!(matches!(bind(&long, Duration::ZERO).await, Err(BindError::PathTooLong { .. })));
    let link = directory.path().join("link");
    symlink(directory.path().join("ours"), &link).unwrap();
    assert!(bind(&link.join("sock"), Duration::ZERO).await.is_ok(), "a link of our own leads to a place of our own");

    // Only root can make what belongs to others.
    if rustix::process::geteuid().is_root() {
        let foreign = made("foreign", 0o700);
        std::os::unix::fs::chown(&foreign, Some(12_345), None).unwrap();
        let refused = bind(&foreign.join("sock"), Duration::ZERO).await.expect_err("it belongs to somebody else");
        assert!(matches!(refused, BindError::ForeignDirectory { owner: 12_345, .. }), "{refused}");
        std::os::unix::fs::lchown(&link, Some(12_345), None).unwrap();
        let refused =
            bind(&link.join("sock"), Duration::ZERO).await.expect_err("somebody else could turn the link elsewhere");
        assert!(matches!(refused, BindError::ForeignDirectory { owner: 12_345, .. }), "{refused}");
    }
}

#[tokio::test]
async fn a_connection_serves_one_request_after_another() {
    let served = serve(Limits::default()).await;
    let mut stream = UnixStream::connect(&served.socket).await.unwrap();
    let kept = b"GET /v1/echo.read?n=1 HTTP/1.1\r\nHost: sop\r\n\r\n";
    stream.write_all(&[kept.as_slice(), &request("GET /v1/echo.read?n=2", &[], b"")].concat()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 2, "{text}");
    let last: Value = serde_json::from_str(&text[text.rfind("\r\n\r\n").unwrap()..]).unwrap();
    assert_eq!(last["arguments"], json!({ "n": "2" }));
}
