//! The real binary with its backups in an object store: another project's server on this machine.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use journal::{Journal, Limits};
use kernel::Sequence;
use kit::{Client, Daemon, Output, adopt_starter};
use serde_json::{Value, json};
use store::{Fault, ID, SECRET, Store, below};
use tempfile::TempDir;

const TARGET: &str = "s3://backups/sop";

/// A daemon whose backups go to a store.
struct Place {
    store: Store,
    daemon: Daemon,
    home: TempDir,
}

impl Place {
    fn new() -> Self {
        let (store, home) = (Store::new(), TempDir::new().unwrap());
        let place = Self { daemon: Daemon::new(env!("CARGO_BIN_EXE_sop"), home.path()), store, home };
        place.grant(ID, SECRET);
        place.daemon.configure(&place.configuration(""));
        place
    }

    async fn started() -> Self {
        let mut place = Self::new();
        place.daemon.start().await;
        let mut setup = Client::new("setup", Arc::new(place.daemon.client()));
        adopt_starter(&mut setup, &place.daemon.credential()).await;
        place
    }

    fn credentials(&self) -> PathBuf {
        self.home.path().join("s3-credentials")
    }

    fn grant(&self, id: &str, secret: &str) {
        let path = self.credentials();
        std::fs::write(&path, format!("[default]\naws_access_key_id = {id}\naws_secret_access_key = {secret}\n"))
            .unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn configuration(&self, more: &str) -> String {
        let (endpoint, credentials) = (self.store.endpoint(), self.credentials().display().to_string());
        format!(
            "[backup]\ntarget = {TARGET:?}\n{more}\n[backup.s3]\nendpoint = {endpoint:?}\nallow_http = \"yes\"\n\
             credentials = {credentials:?}\nattempts = 2\ntimeout = \"20s\"\n"
        )
    }

    fn asked(&self, arguments: &[&str]) -> Value {
        let done = self.daemon.run(&[arguments, &["-o", "json"]].concat());
        assert_eq!(done.code, Some(0), "{arguments:?}: {done:?}");
        serde_json::from_str(&done.stdout).unwrap()
    }

    fn objects(&self) -> Vec<String> {
        below(&self.store.path("sop")).into_iter().filter(|name| name.starts_with("log-")).collect()
    }

    fn backups(&self) -> usize {
        self.objects().iter().filter(|name| name.contains("/backups/backup-")).count()
    }

    /// A configuration of its own, for a machine on which nothing else is.
    fn elsewhere(&self) -> PathBuf {
        let path = self.home.path().join("elsewhere.toml");
        std::fs::write(&path, self.configuration("")).unwrap();
        path
    }
}

fn failed(output: &Output, code: i32, words: &[&str]) {
    assert_eq!(output.code, Some(code), "{output:?}");
    for word in words {
        assert!(output.stderr.contains(word), "{word:?} is not said: {output:?}");
    }
}

fn records(path: &Path) -> Vec<Vec<u8>> {
    let journal = Journal::new(path, Limits::default());
    journal.open().unwrap();
    let records = journal.raw(Sequence(1), usize::MAX).unwrap();
    journal.close();
    records
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_works_as_with_a_directory() {
    let mut place = Place::started().await;
    let made = place.asked(&["backup", "create"]);
    assert_eq!((&made["backup"], &made["state"]), (&"backup-1".into(), &"complete".into()));
    let named = made["directory"].as_str().unwrap().to_owned();
    assert!(named.starts_with("s3://backups/sop/log-") && named.ends_with("/backups/backup-1"), "{named}");
    let before = place.objects();
    assert_eq!(place.asked(&["backup", "create"])["backup"], "backup-2");
    assert!(before.iter().all(|name| place.objects().contains(name)), "nothing of the first one is gone");
    assert_eq!(place.asked(&["backup", "verify", "1"])["state"], "verified");
    assert_eq!(place.asked(&["backup", "drill"])["drill"], "passed");
    assert_eq!(place.asked(&["backup", "hold", "1", "--reason", "a case"])["held"], "a case");
    assert_eq!(place.asked(&["backup", "release", "1"])["held"], Value::Null);
    assert_eq!(place.asked(&["backup", "list"])["backups"].as_array().unwrap().len(), 2);
    let last = usize::try_from(place.asked(&["backup", "show", "2"])["last"].as_u64().unwrap()).unwrap();
    place.daemon.kill();

    // On another machine, from the store alone.
    let written = records(&place.daemon.data.join("journal"));
    let (file, other) = (place.elsewhere(), Daemon::new(env!("CARGO_BIN_EXE_sop"), &place.home.path().join("other")));
    let file = file.to_str().unwrap();
    for what in [TARGET, &named] {
        let verified = other.run(&["backup", "verify", what, "--config", file]);
        assert!(verified.code == Some(0) && verified.stdout.contains("verified"), "{verified:?}");
    }
    let restored = other.run(&["backup", "restore", TARGET, "--config", file]);
    assert_eq!(restored.code, Some(0), "{restored:?}");
    assert!(records(&other.data.join("journal")) == written[..last], "the same records, byte for byte");
    let compared = other.run(&["backup", "restore", &named, "--config", file]);
    assert!(compared.code == Some(0) && compared.stdout.contains("Nothing was changed"), "{compared:?}");
    // With what the environment says, and with the key.
    let third = place.home.path().join("third");
    let key = place.daemon.data.join("keys/log");
    let bare = place.home.path().join("bare.toml");
    std::fs::write(&bare, "[backup.s3]\nallow_http = \"yes\"\n").unwrap();
    let mut command = other.command(&["backup", "restore", TARGET, "--data", third.to_str().unwrap()]);
    command.arg("--config").arg(&bare).arg("--key").arg(&key);
    command.env("AWS_ENDPOINT_URL", place.store.endpoint());
    command.env("AWS_ACCESS_KEY_ID", ID).env("AWS_SECRET_ACCESS_KEY", SECRET);
    let done = command.output().unwrap();
    assert!(done.status.success(), "{done:?}");
    assert!(records(&third.join("journal")).len() >= last);

    // What the journal has lost, the store has.
    let repaired = place.daemon.run(&["state", "repair", "--from-backup", TARGET, "--dry-run"]);
    assert_eq!(repaired.code, Some(0), "{repaired:?}");

    // A damaged object is named.
    let object = place.objects().into_iter().find(|name| name.contains("/tile/entries/")).unwrap();
    let path = place.store.path("sop").join(&object);
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let found = other.run(&["backup", "verify", TARGET, "--backup", "1", "--config", file]);
    let again = other.run(&["backup", "verify", TARGET, "--config", file]);
    assert!([&found, &again].iter().any(|found| found.code == Some(2) && found.stdout.contains("log-")), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_cannot_be_used_is_said_and_nothing_else_suffers() {
    let mut place = Place::started().await;
    assert_eq!(place.asked(&["backup", "create"])["state"], "complete");
    let file = place.elsewhere();
    let file = file.to_str().unwrap();
    // The credentials are read anew each time.
    place.grant(ID, "another-secret");
    failed(&place.daemon.run(&["backup", "create"]), 1, &["error[backup.failed]", "does not know the credentials"]);
    failed(
        &place.daemon.run(&["backup", "verify", TARGET, "--config", file]),
        1,
        &["error[archive.credentials]", "AWS_ACCESS_KEY_ID"],
    );
    place.grant(ID, SECRET);
    let gone = place.home.path().join("away");
    std::fs::rename(place.store.path(""), &gone).unwrap();
    failed(&place.daemon.run(&["backup", "create"]), 1, &["error[backup.failed]", "no such bucket"]);
    failed(&place.daemon.run(&["backup", "verify", TARGET, "--config", file]), 1, &["error[archive.no_bucket]"]);
    std::fs::rename(&gone, place.store.path("")).unwrap();
    place.store.judged(|_, _, _| Some(Fault::Status(503, "SlowDown")));
    failed(&place.daemon.run(&["backup", "create"]), 1, &["error[backup.failed]", "503 SlowDown"]);
    place.store.well();
    place.store.stop();
    failed(&place.daemon.run(&["backup", "create"]), 1, &["error[backup.failed]", "cannot be reached"]);
    failed(&place.daemon.run(&["backup", "verify", TARGET, "--config", file]), 1, &["error[archive.unreachable]"]);
    let health = place.daemon.run(&["health"]);
    assert!(health.code == Some(2) && health.stdout.contains("backup.bad"), "{health:?}");
    assert_eq!(place.daemon.run(&["todo", "list"]).code, Some(0), "work goes on");

    // What cannot be read is not thereby broken: it is looked at again.
    let secret = place.daemon.credential().expose().to_owned();
    let asked = json!({ "backup": "backup-1", "wait": false });
    let id = Some(host::Clock::system().command_id());
    place.daemon.client().call("backup.verify", &asked, Some(&secret), id).await.unwrap();
    let shown = place.asked(&["backup", "show", "1"]);
    assert_eq!((&shown["state"], &shown["checking"]), (&"complete".into(), &true.into()), "{shown}");
    assert!(place.daemon.stop().is_some_and(|status| status.success()), "{}", place.daemon.stderr());
    place.store = place.store.again();
    place.daemon.start().await;
    let verified = async |client: &http::Client| {
        let shown = client.call("backup.show", &json!({ "backup": "backup-1" }), Some(&secret), None).await;
        shown.is_ok_and(|shown| shown["state"] == "verified")
    };
    place.daemon.until("verifies what it could not reach", verified).await;
    let made = place.asked(&["backup", "create"]);
    assert_eq!((&made["state"], place.backups()), (&"complete".into(), 2), "{made}");

    // The secret is nowhere.
    let shown = place.daemon.run(&["config", "show"]);
    assert!(shown.stdout.contains("s3-credentials") && !shown.stdout.contains(SECRET), "{shown:?}");
    place.daemon.stop();
    for name in below(place.home.path()).into_iter().filter(|name| name != "s3-credentials") {
        let text = std::fs::read(place.home.path().join(&name)).unwrap();
        let has = |secret: &str| text.windows(secret.len()).any(|part| part == secret.as_bytes());
        assert!(!has(SECRET) && !has("another-secret"), "{name} has a secret in it");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_half_way_leaves_no_backup_and_the_next_start_makes_it() {
    let mut place = Place::started().await;
    let (secret, id) = (place.daemon.credential().expose().to_owned(), host::Clock::system().command_id());
    // The store takes some of it, and then hangs.
    let mut puts = 0;
    place.store.judged(move |_, method, _| {
        puts += usize::from(method == "PUT");
        (2 < puts).then_some(Fault::Silent)
    });
    let client = place.daemon.client();
    client.call("backup.create", &json!({ "wait": false }), Some(&secret), Some(id)).await.unwrap();
    let objects = place.store.path("sop");
    let some = async |_: &http::Client| below(&objects).iter().any(|name| name.contains("log-"));
    place.daemon.until("has put something", some).await;
    place.daemon.kill();
    assert_eq!(place.backups(), 0, "none is claimed");
    place.store.well();
    place.daemon.start().await;
    let made = async |client: &http::Client| {
        let shown = client.call("backup.show", &json!({ "backup": "backup-1" }), Some(&secret), None).await;
        shown.is_ok_and(|shown| shown["state"] == "complete")
    };
    place.daemon.until("makes its backup", made).await;
    assert_eq!(place.asked(&["backup", "verify", "1"])["state"], "verified");

    // One that hangs does not keep the daemon from stopping.
    place.store.judged(|_, _, _| Some(Fault::Silent));
    let id = host::Clock::system().command_id();
    client.call("backup.create", &json!({ "wait": false }), Some(&secret), Some(id)).await.unwrap();
    assert!(place.daemon.stop().is_some_and(|status| status.success()), "{}", place.daemon.stderr());
    place.store.well();

    // By itself, and what need not be kept is let go of.
    let more = "every = \"1s\"\nverify_every = \"1s\"\ndrill_every = \"1s\"\nretention = { last = 1 }";
    place.daemon.configure(&place.configuration(more));
    place.daemon.start().await;
    let kept = async |client: &http::Client| {
        let listed = client.call("backup.list", &json!({}), Some(&secret), None).await.unwrap_or_default();
        let backups = listed["backups"].as_array().cloned().unwrap_or_default();
        let drilled = backups.iter().any(|one| one["drill"] == "passed");
        drilled
            && !backups.is_empty()
            && backups.iter().all(|one| one["backup"] != "backup-1" && one["backup"] != "backup-2")
    };
    place.daemon.until("makes, drills and lets go of backups", kept).await;
    place.daemon.stop();
    assert!((1..4).contains(&place.backups()), "{:?}", place.objects());
}

/// What docs/operating.md shows of it, with this store in the place of the one that is shown.
#[tokio::test(flavor = "multi_thread")]
async fn the_page_is_true() {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operating.md")).unwrap();
    let section = page.split_once("### In an object store").expect("there is such a section").1;
    let section = section.split("\n## ").next().unwrap();
    let block = |kind: &str| {
        let text = section.split_once(&format!("```{kind}\n")).expect("there is such a block").1;
        text.split_once("```").expect("it ends").0.to_owned()
    };
    let mut place = Place::started().await;
    place.daemon.stop();
    let endpoint = format!("{:?}\nallow_http = \"yes\"", place.store.endpoint());
    let credentials = place.credentials().display().to_string();
    let shown = block("toml");
    let configuration = shown.replace("\"https://minio.example:9000\"", &endpoint).replace("/etc/sop/s3", &credentials);
    assert!(configuration.contains(&endpoint) && configuration.contains(&credentials), "{shown}");
    place.daemon.configure(&configuration);
    place.daemon.start().await;
    let commands = block("sh");
    assert!(4 <= commands.lines().count(), "{commands}");
    for line in commands.lines() {
        let words: Vec<_> = line.split(' ').collect();
        let mut command = place.daemon.command(&words[1..]);
        command.current_dir(place.home.path()).env("SOP_DATA", "sop-data");
        assert!(place.home.path().join("sop-data").exists() || link(&place.daemon.data, place.home.path()));
        let done = command.output().unwrap();
        assert!(words[0] == "sop" && done.status.success(), "{line}: {done:?}");
    }
    assert!(place.home.path().join("restored/journal").is_dir());
}

fn link(data: &Path, home: &Path) -> bool {
    std::os::unix::fs::symlink(data, home.join("sop-data")).is_ok()
}
