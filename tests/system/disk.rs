//! A disk that is full: refused before anything is lost, said to everybody, and over as soon as there is room.

use kit::{Client, adopt_starter};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use crate::Place;

#[tokio::test(flavor = "multi_thread")]
async fn under_the_reserve_nothing_new_is_taken_and_everything_can_be_read() {
    let mut place = Place::started().await;
    let secret = place.daemon.credential();
    adopt_starter(&mut Client::new("operator", Arc::new(place.daemon.client())), &secret).await;
    place.daemon.stop();
    place.daemon.configure("[store]\nreserve = \"1TiB\"\n");
    place.daemon.spawn();
    let degraded = async |client: &http::Client| {
        let status = client.get("/v1/status").await.unwrap_or_default();
        let reasons = status["reasons"].as_array().cloned().unwrap_or_default();
        matches!(&reasons[..], [only] if only.as_str().unwrap().contains("under the reserve"))
    };
    place.daemon.until("says that the disk is full", degraded).await;

    let client = place.daemon.client();
    let refused = |error| match error {
        http::ClientError::Refused(problem) => problem,
        other => panic!("{other}"),
    };
    let ready = refused(client.get("/v1/health/ready").await.unwrap_err());
    assert_eq!((&*ready.code, ready.status), ("journal.disk_full", 503));
    assert!(ready.remedy.contains("free disk space"), "{}", ready.remedy);
    let bearer = Some(secret.expose());
    let rollback = client.call("policy.rollback", &json!({}), bearer, None).await.map_err(refused).unwrap_err();
    assert_eq!(rollback.code, "journal.disk_full");
    assert!(rollback.retry_after_ms.is_some());
    let listed = client.call("policy.list", &json!({}), bearer, None).await.unwrap();
    assert_eq!(listed["epochs"].as_array().unwrap().len(), 2, "who may read, reads on");
    assert_eq!(place.daemon.run(&["status"]).code, Some(2));

    place.daemon.stop();
    place.daemon.configure("[store]\nreserve = \"1MiB\"\n");
    place.daemon.start().await;
    client.call("policy.rollback", &json!({}), bearer, None).await.unwrap();
}

/// Runs under `unshare -Urm`, over a file system of its own that is small enough to be filled.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fills_up_is_said_and_clears_when_there_is_room_again() {
    const OVER: &str = "SOP_TEST_SMALL_DISK";
    if let Ok(disk) = std::env::var(OVER) {
        return filled_and_freed(Path::new(&disk)).await;
    }
    let disk = tempfile::TempDir::new().unwrap();
    let script = "mount -t tmpfs -o size=80m none \"$0\" && exec \"$@\"";
    let inside = |program: &[&str]| {
        let mut unshare = Command::new("unshare");
        unshare.args(["-Urm", "sh", "-c", script]).arg(disk.path()).args(program).env(OVER, disk.path());
        unshare.output()
    };
    if !inside(&["true"]).is_ok_and(|tried| tried.status.success()) {
        println!("not tested: this machine gives no file system of one's own");
        return;
    }
    let test = std::env::current_exe().unwrap();
    let name = "disk::a_disk_that_fills_up_is_said_and_clears_when_there_is_room_again";
    let done = inside(&[test.to_str().unwrap(), "--exact", name, "--nocapture"]).unwrap();
    let said = String::from_utf8_lossy(&done.stdout) + String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() && said.contains("1 passed"), "{said}");
}

async fn filled_and_freed(disk: &Path) {
    let mut daemon = kit::Daemon::new(env!("CARGO_BIN_EXE_sop"), disk);
    daemon.configure("[store]\nreserve = \"8MiB\"\n");
    daemon.start().await;
    let (client, secret) = (daemon.client(), daemon.credential());
    let bearer = Some(secret.expose());
    let text = |number: u32| {
        let filler = "// \n".repeat(200);
        json!({ "text": format!("@id(\"p{number}\") permit (principal is Operator, action, resource);\n{filler}") })
    };
    let propose = async |number: u32| client.call("policy.propose", &text(number), bearer, None).await;
    propose(1).await.unwrap();

    let filler = disk.join("filler");
    let room = rustix::fs::statvfs(disk).map(|disk| disk.f_bavail * disk.f_frsize).unwrap();
    std::fs::write(&filler, vec![1; usize::try_from(room - (4 << 20)).unwrap()]).unwrap();
    let full = async |client: &http::Client| matches!(client.get("/v1/health/ready").await, Err(http::ClientError::Refused(problem)) if problem.code == "journal.disk_full");
    daemon.until("says that the disk is full", full).await;
    match propose(2).await.unwrap_err() {
        http::ClientError::Refused(problem) => assert_eq!(problem.code, "journal.disk_full"),
        other => panic!("{other}"),
    }
    let status: Value = client.get("/v1/status").await.unwrap();
    assert_eq!(status["state"], "degraded");

    std::fs::remove_file(&filler).unwrap();
    daemon.ready().await;
    propose(2).await.unwrap();
    assert!(daemon.exited().is_none(), "it lived through all of it");
    assert_eq!(daemon.stop().unwrap().code(), Some(0));
    overrun(disk).await;
}

/// So much at once that the disk may be full before anybody has measured it: then a write fails, and the daemon ends.
async fn overrun(disk: &Path) {
    let mut daemon = kit::Daemon::new(env!("CARGO_BIN_EXE_sop"), disk);
    daemon.configure("[store]\nreserve = \"1MiB\"\n");
    daemon.start().await;
    let secret = daemon.credential();
    let filler = disk.join("filler");
    let room = rustix::fs::statvfs(disk).map(|disk| disk.f_bavail * disk.f_frsize).unwrap();
    std::fs::write(&filler, vec![1; usize::try_from(room - (5 << 18)).unwrap()]).unwrap();
    let mut crowd = tokio::task::JoinSet::new();
    for number in 0..64 {
        let (client, secret) = (daemon.client(), secret.clone());
        crowd.spawn(async move {
            let rule = format!("@id(\"q{number}\") permit (principal is Operator, action, resource);\n");
            let text = json!({ "text": rule + &"// filler\n".repeat(5_000) });
            client.call("policy.propose", &text, Some(secret.expose()), None).await.map(|told| told["epoch"].clone())
        });
    }
    let answers = crowd.join_all().await;
    let acknowledged: Vec<&Value> = answers.iter().flatten().collect();
    let refused = answers.iter().filter_map(|answer| answer.as_ref().err()).map(code).collect::<BTreeSet<_>>();
    println!("acknowledged {} of 64, else {refused:?}", acknowledged.len());
    if refused.iter().all(|code| code == "journal.disk_full") {
        assert!(daemon.exited().is_none(), "refused in time, it goes on");
        daemon.kill();
    } else {
        assert_eq!(daemon.wait().code(), Some(74), "{}", daemon.stderr());
    }

    std::fs::remove_file(&filler).unwrap();
    daemon.start().await;
    let client = daemon.client();
    let listed = client.call("policy.list", &json!({}), Some(secret.expose()), None).await.unwrap();
    let epochs: Vec<&Value> = listed["epochs"].as_array().unwrap().iter().map(|epoch| &epoch["epoch"]).collect();
    assert!(acknowledged.iter().all(|epoch| epochs.contains(epoch)), "{acknowledged:?} {epochs:?}");
    daemon.stop();
    let journal = journal::Journal::new(&daemon.data.join("journal"), journal::Limits::default());
    journal.open().unwrap();
    assert_eq!(journal.verify(kernel::Sequence(1)).unwrap().broken, None);
    journal.close();
}

fn code(error: &http::ClientError) -> String {
    match error {
        http::ClientError::Refused(problem) => problem.code.clone(),
        broken => broken.to_string(),
    }
}
