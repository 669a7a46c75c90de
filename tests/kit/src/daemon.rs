//! The real binary as a daemon, to be asked over its socket and to be killed.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use door::Secret;
use http::{ClientError, Problem};
use kernel::CommandId;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::{Line, Lost};

/// Pause between two looks at a daemon that is on its way.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(5);
/// So many looks in vain, and it does not come.
const LOOKS_MAX: u32 = 12_000;

/// One data directory and the process over it, if one runs. Ends what it started when it is dropped.
pub struct Daemon {
    binary: PathBuf,
    pub data: PathBuf,
    pub socket: PathBuf,
    /// `up`, or `dev`.
    pub manner: &'static str,
    /// What the processes that are started from now on find in their environment beside the bare one.
    pub environment: BTreeMap<&'static str, OsString>,
    running: Option<Child>,
    starts: u32,
}

/// What a command of the binary came to.
#[derive(Clone, Debug)]
pub struct Output {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Daemon {
    /// Over `home`, nothing running yet. `binary` is `env!("CARGO_BIN_EXE_sop")`, which only the test itself knows.
    pub fn new(binary: &str, home: &Path) -> Self {
        let (data, socket) = (home.join("data"), home.join("run/sock"));
        let (manner, environment) = ("up", BTreeMap::new());
        Self { binary: binary.into(), data, socket, manner, environment, running: None, starts: 0 }
    }

    /// Writes the configuration that the next start finds in the data directory.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn configure(&self, file: &str) {
        std::fs::create_dir_all(&self.data).expect("a directory for the data");
        std::fs::write(self.data.join("sop.toml"), file).expect("the directory is writable");
    }

    /// Starts a process, which may not get far.
    ///
    /// # Panics
    /// If one runs already.
    pub fn spawn(&mut self) {
        assert!(self.running.is_none(), "one at a time");
        self.starts += 1;
        let home = self.data.parent().expect("the data directory lies in a home");
        let into = |name: &str| {
            let file = File::options().create(true).append(true).open(home.join(name));
            Stdio::from(file.expect("the home is writable"))
        };
        let mut command = self.command(&[self.manner]);
        command.arg("--data").arg(&self.data).envs(&self.environment).stdin(Stdio::null());
        let child = command.stdout(into("stdout")).stderr(into("stderr")).spawn();
        self.running = Some(child.expect("the binary runs"));
    }

    /// Starts a process and waits until it is ready.
    pub async fn start(&mut self) {
        self.spawn();
        self.ready().await;
    }

    /// Waits until the process takes commands, also from its operator, and all of its tree is up: commands are taken before
    /// those are who have no part in taking them, and whoever asks one of these meanwhile is told that it is down.
    ///
    /// # Panics
    /// If it ends before that, or takes very long.
    pub async fn ready(&mut self) {
        self.until("is ready", async |client| client.get("/v1/health/ready").await.is_ok()).await;
        let path = self.data.join("credentials/operator");
        let known = async |client: &http::Client| {
            let Ok(secret) = std::fs::read_to_string(&path) else { return false };
            let knows = client.call("policy.list", &json!({}), Some(secret.trim_end()), None).await.is_ok();
            knows && client.get("/v1/health").await.is_ok_and(|health| health["phase"] != "startup")
        };
        self.until("knows its operator and is up", known).await;
    }

    /// Waits until the process answers at all.
    pub async fn answers(&mut self) {
        self.until("answers", async |client| client.get("/v1/status").await.is_ok()).await;
    }

    /// Looks until `so` says yes.
    ///
    /// # Panics
    /// If the process ends before that, or takes very long.
    pub async fn until(&mut self, what: &str, so: impl AsyncFn(&http::Client) -> bool) {
        let client = self.client();
        for _ in 0..LOOKS_MAX {
            if so(&client).await {
                return;
            }
            if let Some(status) = self.exited() {
                panic!("start {} ended with {status} before it {what}:\n{}", self.starts, self.stderr());
            }
            tokio::time::sleep(LOOK_AGAIN_AFTER).await;
        }
        panic!("start {} never {what}:\n{}", self.starts, self.stderr());
    }

    /// Ends the process as a power cut would end it.
    pub fn kill(&mut self) {
        self.end(Signal::KILL);
    }

    /// Asks the process to stop, and waits until it has.
    pub fn stop(&mut self) -> Option<ExitStatus> {
        self.end(Signal::TERM)
    }

    fn end(&mut self, signal: Signal) -> Option<ExitStatus> {
        let mut child = self.running.take()?;
        let pid = Pid::from_child(&child);
        // It may have ended by itself.
        let _ = kill_process(pid, signal);
        Some(child.wait().expect("it is our child"))
    }

    /// Waits until the process has ended by itself.
    ///
    /// # Panics
    /// If none runs.
    pub fn wait(&mut self) -> ExitStatus {
        let mut child = self.running.take().expect("one runs");
        child.wait().expect("it is our child")
    }

    /// How the process ended, if it has.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.running.as_mut()?.try_wait().expect("it is our child")
    }

    /// A command line that speaks to this daemon, in a bare environment.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.env_clear().env("PATH", "/usr/bin:/bin").args(arguments).arg("--socket").arg(&self.socket);
        command
    }

    /// Runs a command as the operator.
    ///
    /// # Panics
    /// If the binary does not run.
    pub fn run(&self, arguments: &[&str]) -> Output {
        let mut command = self.command(arguments);
        command.arg("--data").arg(&self.data);
        let done = command.stdin(Stdio::null()).output().expect("the binary runs");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Output { code: done.status.code(), stdout: text(done.stdout), stderr: text(done.stderr) }
    }

    pub fn client(&self) -> http::Client {
        http::Client::new(&self.socket).timeout(Duration::from_mins(1))
    }

    /// The first operator's credential.
    ///
    /// # Panics
    /// If it is not there.
    pub fn credential(&self) -> Secret {
        let text = std::fs::read_to_string(self.data.join("credentials/operator"));
        Secret::of(text.expect("bootstrap wrote it").trim_end())
    }

    /// All that every start so far has said.
    pub fn stderr(&self) -> String {
        self.said("stderr")
    }

    pub fn stdout(&self) -> String {
        self.said("stdout")
    }

    fn said(&self, name: &str) -> String {
        let home = self.data.parent().expect("the data directory lies in a home");
        std::fs::read_to_string(home.join(name)).unwrap_or_default()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Line for http::Client {
    fn ask<'a>(
        &'a self,
        action: &'static str,
        arguments: &'a Value,
        bearer: &'a str,
        id: CommandId,
    ) -> Pin<Box<dyn Future<Output = Result<Value, Lost>> + Send + 'a>> {
        Box::pin(async move {
            self.call(action, arguments, Some(bearer), Some(id)).await.map_err(|error| match error {
                ClientError::Refused(problem) => {
                    let Problem { decision, .. } = *problem;
                    Lost::Denied { denial: problem.denial(), decision }
                }
                broken => Lost::Silence { why: broken.to_string() },
            })
        })
    }

    fn again(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(tokio::time::sleep(LOOK_AGAIN_AFTER))
    }
}
