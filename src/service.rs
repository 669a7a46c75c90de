//! What a service manager is told: that we are ready, how we are, that we still live, that we stop.
//!
//! The protocol is that of systemd's `sd_notify(3)`: a datagram of `NAME=value` lines to `$NOTIFY_SOCKET`, a path or (`@`) an
//! abstract name. Without that variable nothing is told to anybody.
//!
//! # Invariants
//! 1. `WATCHDOG=1` is sent only after the authority has shown that it lives ([`Parts::pulse`]), never by a timer alone.
//! 2. A service manager that does not listen changes nothing: failing to tell is logged, and that is all.

use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use crate::boot::Parts;

/// For a service manager that does not read, so that it cannot hold us.
const TELL_WITHIN: Duration = Duration::from_secs(1);

/// The service manager that started this process, if one did.
#[derive(Debug, Default)]
pub struct Manager {
    to: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Manager {
    /// The one that this process's environment names.
    pub fn of_process() -> Self {
        Self::of(|name| std::env::var_os(name), std::process::id())
    }

    /// The one that `variable` names to the process `pid`.
    pub fn of(variable: impl Fn(&str) -> Option<OsString>, pid: u32) -> Self {
        let Some(name) = variable("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else { return Self::default() };
        let to = match address(&name).and_then(|address| Ok((socket()?, address))) {
            Ok(to) => to,
            Err(error) => {
                tracing::warn!(code = "service.notify_socket", %error, socket = ?name, "nothing can be told to the service manager");
                return Self::default();
            }
        };
        let number = |name: &str| variable(name).and_then(|text| text.to_str()?.parse::<u64>().ok());
        // Inherited from a parent that it was meant for, it is not for us.
        let ours = variable("WATCHDOG_PID").is_none() || number("WATCHDOG_PID") == Some(u64::from(pid));
        let micros = number("WATCHDOG_USEC").filter(|micros| ours && 0 < *micros);
        Self { to: Some(to), watchdog: micros.map(Duration::from_micros) }
    }

    /// Everything is up, and requests are answered.
    pub fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={}", line(status)));
    }

    pub fn status(&self, status: &str) {
        self.tell(&format!("STATUS={}", line(status)));
    }

    pub fn stopping(&self, why: &str) {
        self.tell(&format!("STOPPING=1\nSTATUS={}", line(why)));
    }

    /// Tells that we live, as often as is asked for and as long as it is so. Never returns.
    pub async fn watch(&self, parts: &Parts) -> Infallible {
        let Some(within) = self.watchdog else { return std::future::pending().await };
        // Twice within the time, so that one that comes late is not the last.
        let every = within / 2;
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut answered = true;
        loop {
            ticks.tick().await;
            let lives = self.beat(parts, every).await;
            if lives != answered {
                self.status(if lives { "Ready" } else { "Not answering: the journal or governance is stuck" });
            }
            answered = lives;
        }
    }

    /// Tells that we live, if we show it `within` that time. Returns whether we did.
    pub async fn beat(&self, parts: &Parts, within: Duration) -> bool {
        let lives = tokio::time::timeout(within, parts.pulse()).await.unwrap_or(false);
        if lives {
            self.tell("WATCHDOG=1");
        } else {
            let waited = humantime::format_duration(within).to_string();
            tracing::error!(
                code = "service.no_pulse",
                waited,
                "the service manager's watchdog is not told that we live"
            );
        }
        lives
    }

    fn tell(&self, text: &str) {
        let Some((socket, address)) = &self.to else { return };
        if let Err(error) = socket.send_to_addr(text.as_bytes(), address) {
            tracing::warn!(code = "service.notify", %error, "the service manager could not be told");
        }
    }
}

fn address(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes() {
        [b'@', rest @ ..] => SocketAddr::from_abstract_name(rest),
        [b'/', ..] => SocketAddr::from_pathname(name),
        _ => Err(io::Error::new(io::ErrorKind::Unsupported, "neither a path nor an abstract name")),
    }
}

fn socket() -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(TELL_WITHIN))?;
    Ok(socket)
}

/// A line of its own would be another assignment.
fn line(text: &str) -> String {
    text.replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Manager {
        let find = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
        Manager::of(find, 7)
    }

    #[test]
    fn the_environment_says_whom_to_tell_and_how_often() {
        let (socket, usec) = (("NOTIFY_SOCKET", "@sop-test"), ("WATCHDOG_USEC", "2000000"));
        let every = Some(Duration::from_secs(2));
        for (row, variables, told, watchdog) in [
            ("nobody", &[][..], false, None),
            ("set to nothing", &[("NOTIFY_SOCKET", ""), usec], false, None),
            ("a machine's socket", &[("NOTIFY_SOCKET", "vsock:2:1"), usec], false, None),
            (
                "too long a path",
                &[(
                    "NOTIFY_SOCKET",
                    "/a23456789/a23456789/a23456789/a23456789/a23456789/a23456789/a23456789/a23456789/a23456789/a23456789/a23456789",
                )],
                false,
                None,
            ),
            ("no watchdog", &[socket], true, None),
            ("a watchdog", &[socket, usec], true, every),
            ("ours", &[socket, usec, ("WATCHDOG_PID", "7")], true, every),
            ("another's", &[socket, usec, ("WATCHDOG_PID", "8")], true, None),
            ("nobody's", &[socket, usec, ("WATCHDOG_PID", "x")], true, None),
            ("never", &[socket, ("WATCHDOG_USEC", "0")], true, None),
            ("no number", &[socket, ("WATCHDOG_USEC", "soon")], true, None),
        ] {
            let manager = of(variables);
            assert_eq!((manager.to.is_some(), manager.watchdog), (told, watchdog), "{row}");
        }
    }

    #[test]
    fn a_status_is_one_line() {
        assert_eq!(line("a\nREADY=1"), "a READY=1");
    }
}
