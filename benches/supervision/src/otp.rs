//! OTP's supervisor, in a virtual machine of its own with two schedulers. The sources stand in `erlang/`.

use std::path::PathBuf;
use std::process::Command;

use crate::metric::Metric;

const SOURCES: [(&str, &str); 2] =
    [("child.erl", include_str!("../erlang/child.erl")), ("bench.erl", include_str!("../erlang/bench.erl"))];

/// The compiled modules.
pub struct Otp {
    directory: PathBuf,
}

impl Otp {
    /// Nothing if OTP is not installed.
    pub fn compile() -> Option<Self> {
        let directory = std::env::temp_dir().join(format!("supervision-bench-{}", std::process::id()));
        std::fs::create_dir_all(&directory).ok()?;
        let otp = Self { directory };
        for (name, source) in SOURCES {
            std::fs::write(otp.directory.join(name), source).ok()?;
            let compiled = Command::new("erlc").arg("-o").args([&otp.directory, &otp.directory.join(name)]).status();
            compiled.ok().filter(std::process::ExitStatus::success)?;
        }
        Some(otp)
    }

    pub fn command(&self, metric: Metric) -> Command {
        let mut command = Command::new("erl");
        command.args(["+S", "2:2", "-noshell", "-pa"]).arg(&self.directory);
        command.args(["-s", "bench", "main", metric.name()]);
        command
    }
}

impl Drop for Otp {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
