//! What systemd is told, with a datagram socket in its place.

use std::io::ErrorKind;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::{Child, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use journal::store::{Group, Log, StoreError};
use kit::Authority;
use rustix::process::{Pid, Signal, kill_process};
use sop::service::Manager;

use crate::Place;

/// Against a test that hangs; nothing is measured by it.
const NEVER: Duration = Duration::from_mins(1);

/// In the place of systemd.
struct Heard(UnixDatagram);

impl Heard {
    fn at(place: &Place) -> (Self, String) {
        let path = place.home.path().join("notify");
        let name = path.to_str().unwrap().to_owned();
        (Self::on(UnixDatagram::bind(&path).unwrap()), name)
    }

    fn on(socket: UnixDatagram) -> Self {
        socket.set_read_timeout(Some(NEVER)).unwrap();
        Self(socket)
    }

    fn next(&self) -> String {
        let mut bytes = [0; 4096];
        let length = self.0.recv(&mut bytes).expect("the daemon has something to tell");
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    }

    /// The next that begins so; none of those before it may begin like `unheard`.
    fn until(&self, begin: &str, unheard: &str) -> String {
        loop {
            let told = self.next();
            if told.starts_with(begin) {
                return told;
            }
            assert!(!told.starts_with(unheard), "{told:?} comes before {begin:?}");
        }
    }

    fn is_silent(&self) -> bool {
        self.0.set_nonblocking(true).unwrap();
        let heard = self.0.recv(&mut [0; 4096]).map_err(|error| error.kind());
        self.0.set_nonblocking(false).unwrap();
        heard == Err(ErrorKind::WouldBlock)
    }
}

fn up(place: &Place, socket: &str, variables: &[(&str, &str)]) -> Child {
    let mut up = place.daemon.command(&["up"]);
    up.arg("--data").arg(&place.daemon.data).env("NOTIFY_SOCKET", socket).envs(variables.iter().copied());
    up.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn ready_is_told_when_the_api_answers_and_stopping_at_the_signal() {
    let place = Place::new();
    let (heard, name) = Heard::at(&place);
    let mut daemon = up(&place, &name, &[("WATCHDOG_USEC", "20000")]);
    assert!(heard.next().starts_with("STATUS=Starting"));
    let ready = heard.until("READY=1\n", "WATCHDOG");
    assert!(ready.contains(&format!("STATUS=Ready, on {}", place.daemon.socket.display())), "{ready:?}");
    assert_eq!(place.daemon.client().get("/v1/health/ready").await.unwrap()["ready"], true);
    for _ in 0..3 {
        heard.until("WATCHDOG=1", "STOPPING");
    }
    kill_process(Pid::from_child(&daemon), Signal::TERM).unwrap();
    let stopping = heard.until("STOPPING=1\n", "READY");
    assert!(stopping.contains("SIGTERM"), "{stopping:?}");
    assert_eq!(daemon.wait().unwrap().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abstract_socket_is_told_too_and_nobody_is_told_what_was_not_asked_for() {
    let place = Place::new();
    let name = format!("sop-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let heard = Heard::on(UnixDatagram::bind_addr(&address).unwrap());
    // The watchdog is for another process.
    let mut daemon = up(&place, &format!("@{name}"), &[("WATCHDOG_USEC", "20000"), ("WATCHDOG_PID", "1")]);
    heard.until("READY=1\n", "STOPPING");
    kill_process(Pid::from_child(&daemon), Signal::TERM).unwrap();
    heard.until("STOPPING=1\n", "WATCHDOG");
    assert_eq!(daemon.wait().unwrap().code(), Some(0));
}

#[test]
fn a_start_that_fails_says_why_and_is_never_ready() {
    let place = Place::new();
    let (heard, name) = Heard::at(&place);
    std::fs::create_dir_all(&place.daemon.data).unwrap();
    std::fs::write(place.daemon.data.join("journal"), "in the way").unwrap();
    let mut daemon = up(&place, &name, &[]);
    let told = heard.until("STATUS=Not started: ", "READY");
    assert!(told.contains("boot.start"), "{told:?}");
    assert_eq!(daemon.wait().unwrap().code(), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_listen_holds_nobody_up() {
    let mut place = Place::new();
    let absent = place.home.path().join("nobody");
    let mut daemon = up(&place, absent.to_str().unwrap(), &[("WATCHDOG_USEC", "20000")]);
    for _ in 0..12_000 {
        if place.daemon.client().get("/v1/health/ready").await.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let ready = place.daemon.client().get("/v1/health/ready").await;
    kill_process(Pid::from_child(&daemon), Signal::TERM).unwrap();
    assert_eq!(daemon.wait().unwrap().code(), Some(0));
    assert_eq!(ready.unwrap()["ready"], true);
    assert!(place.daemon.exited().is_none());
}

/// A disk that can be made to hang.
#[derive(Clone, Default)]
struct Disk(Arc<(Mutex<bool>, Condvar, tokio::sync::Notify)>);

struct Hanging {
    log: Box<dyn Log>,
    disk: Disk,
}

impl Disk {
    fn hang(&self, hangs: bool) {
        let (now, changed, _) = &*self.0;
        *now.lock().unwrap() = hangs;
        changed.notify_all();
    }
}

impl Log for Hanging {
    fn append_group(&mut self, group: &Group) -> Result<(), StoreError> {
        let (hangs, changed, hung) = &*self.disk.0;
        let hangs = hangs.lock().unwrap();
        if *hangs {
            hung.notify_one();
        }
        drop(changed.wait_while(hangs, |hangs| *hangs).unwrap());
        self.log.append_group(group)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_life_is_told_while_the_journal_is_stuck_and_again_once_it_is_not() {
    let place = Place::new();
    let (heard, name) = Heard::at(&place);
    let disk = Disk::default();
    let under = disk.clone();
    let wrap = move |log| Box::new(Hanging { log, disk: under.clone() }) as Box<dyn Log>;
    let authority = Authority::start_over(&place.daemon.data, "", Box::new(wrap)).await;
    let manager = Manager::of(|variable| (variable == "NOTIFY_SOCKET").then(|| name.clone().into()), 1);
    assert!(manager.beat(&authority.parts, NEVER).await);
    assert_eq!(heard.next(), "WATCHDOG=1");

    disk.hang(true);
    let by = authority.clone();
    let (asked, hung) = (by.parts.operator_secret().unwrap(), disk.clone());
    let write = async {
        let mut client = kit::Client::new("operator", Arc::new(by));
        let text = "@id(\"all\") permit (principal is Operator, action, resource);";
        client.ask(None, asked.expose(), "policy.propose", serde_json::json!({ "text": text })).await
    };
    let look = async {
        hung.0.2.notified().await;
        // However long it is given: the disk hangs until this test lets it go.
        assert!(!manager.beat(&authority.parts, Duration::from_millis(1)).await);
        assert!(heard.is_silent());
        hung.hang(false);
        assert!(manager.beat(&authority.parts, NEVER).await);
        assert_eq!(heard.next(), "WATCHDOG=1");
    };
    let (told, ()) = tokio::join!(write, look);
    assert!(told.code().is_none(), "{told:?}");

    authority.stop().await;
    assert!(!manager.beat(&authority.parts, NEVER).await, "a closed journal is no life");
    assert!(heard.is_silent());
}
