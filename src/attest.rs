//! Attestations: what the authority says of itself under the key of its log, so that it can be held to it: the state of every
//! machine, the tree that is signed, the configuration, the policies and the program that runs.
//!
//! # Invariants
//! 1. What is named is durable and signed: the checkpoint covers every version of a stream that a state is of.
//! 2. Each attestation is in a file of its own, and on record by its digest, before anybody is shown it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use config::Config;
use door::{Decisions, decisions};
use evidence::LogError;
use evidence::checkpoint::Checkpoint;
use host::Order;
use kernel::{Asked, Decision, Denial, Digest, Layer, Millis, Position, Principal, Sequence, Standing, Timestamp};

use crate::boot::Parts;

/// How the file of an attestation ends; before that stands its time, in milliseconds since 1970.
const FILE: &str = ".attestation";

/// Why there is no attestation.
#[derive(Debug, thiserror::Error)]
pub enum AttestError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Machine(#[from] host::Error),
    #[error("{} cannot be used: {why}", path.display())]
    Io { path: PathBuf, why: io::Error },
    #[error("the work was interrupted")]
    Interrupted,
}

impl AttestError {
    /// What to tell who asked.
    pub fn denial(&self) -> Denial {
        let code = match self {
            Self::Log(error) => error.code(),
            Self::Machine(error) => return error.denial(),
            Self::Io { .. } => "attestation.io",
            Self::Interrupted => "attestation.interrupted",
        };
        let remedy = "repeat it when `sop status` shows that all is well";
        Denial::new(Layer::Availability, code, self.to_string(), remedy)
    }
}

/// What was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attestation {
    /// The signed note.
    pub note: String,
    /// The blake3 of it.
    pub digest: Digest,
    /// The record that names it.
    pub record: Sequence,
    pub file: PathBuf,
}

/// The digest of every option in force, whoever set it.
pub fn configuration(config: &Config) -> Digest {
    let mut text = String::new();
    for (key, value, _) in config.options() {
        // Writing to a text cannot fail.
        let _ = writeln!(text, "{key} = {value}");
    }
    Digest(*blake3::hash(text.as_bytes()).as_bytes())
}

/// Says, signs, keeps and records how things are.
///
/// # Errors
/// [`AttestError`].
pub async fn attest(parts: &Parts) -> Result<Attestation, AttestError> {
    let states = parts.digests().await?;
    let (epoch, policies) = parts.door.governance_view().read(|governance| {
        (governance.active_epoch(), Digest(*blake3::hash(governance.active_text().as_bytes()).as_bytes()))
    });
    let (time, configuration) = (parts.clock.now(), parts.configuration);
    let (log, directory) = (parts.evidence.clone(), parts.places.attestations.clone());
    let signed = blocking(move || {
        let program = program()?;
        let says = |checkpoint: &Checkpoint| {
            let says = Says { time, program, configuration, epoch, policies, states: &states };
            says.text(checkpoint)
        };
        let note = log.attest(says)?;
        let file = directory.join(format!("{:013}{FILE}", time.0));
        write(&directory, &file, &note).map_err(at(&file))?;
        Ok((note, file))
    });
    let (note, file) = signed.await?;
    let digest = Digest(*blake3::hash(note.as_bytes()).as_bytes());
    let resource = format!("attestation blake3:{digest}");
    let asked = Asked::new("audit.attest", &resource, &BTreeMap::new(), &Standing::default());
    let order = Order::<<Decisions as kernel::Machine>::Command> {
        command: decisions::Command::Answer { asked: asked.clone() },
        command_id: parts.clock.command_id(),
        principal: Principal::internal("attestor"),
        decision: Decision::default(),
        cause: None,
        asked: Some(Box::new(asked)),
    };
    let record = parts.door.decisions().execute(order).await?.last;
    Ok(Attestation { note, digest, record, file })
}

struct Says<'a> {
    time: Timestamp,
    program: Digest,
    configuration: Digest,
    epoch: u64,
    policies: Digest,
    states: &'a BTreeMap<&'static str, (Position, Digest)>,
}

impl Says<'_> {
    /// The lines after the first one; docs/evidence.md has the form.
    fn text(&self, checkpoint: &Checkpoint) -> String {
        let Self { time, program, configuration, epoch, policies, states } = self;
        let mut text = format!(
            "time {}\nprogram {} blake3 {program}\nconfiguration blake3 {configuration}\npolicy epoch {epoch} blake3 {policies}\n\
             checkpoint {} {}\n",
            time.0,
            env!("CARGO_PKG_VERSION"),
            checkpoint.size,
            checkpoint.root
        );
        for (name, (version, digest)) in *states {
            let _ = writeln!(text, "state {name} {} {digest}", version.0);
        }
        text
    }
}

/// The digest of the running program, which does not change.
fn program() -> Result<Digest, AttestError> {
    static PROGRAM: OnceLock<Digest> = OnceLock::new();
    if let Some(digest) = PROGRAM.get() {
        return Ok(*digest);
    }
    // What runs, also after another one was put in its place.
    let path = Path::new("/proc/self/exe");
    let bytes = fs::read(path).map_err(at(path))?;
    Ok(*PROGRAM.get_or_init(|| Digest(*blake3::hash(&bytes).as_bytes())))
}

/// Writes a file into a directory of the owner's alone: all of it, synced, or none.
pub(crate) fn write(directory: &Path, file: &Path, text: &str) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let new = file.with_extension("new");
    let mut open = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    open.write_all(text.as_bytes())?;
    open.sync_all()?;
    fs::rename(&new, file)?;
    File::open(directory)?.sync_all()
}

fn at(path: &Path) -> impl Fn(io::Error) -> AttestError {
    let path = path.to_owned();
    move |why| AttestError::Io { path: path.clone(), why }
}

/// How long until the next one is due, if there is to be one each `every`.
pub fn due_in(directory: &Path, every: Duration, now: Timestamp) -> Duration {
    let every = Millis(u64::try_from(every.as_millis()).unwrap_or(u64::MAX));
    let names = fs::read_dir(directory).into_iter().flatten().flatten();
    let times = names.filter_map(|entry| entry.file_name().to_str()?.strip_suffix(FILE)?.parse::<u64>().ok());
    let due = times.max().map_or(now.0, |last| last.saturating_add(every.0));
    Duration::from_millis(due.saturating_sub(now.0).min(every.0))
}

#[expect(clippy::disallowed_methods, reason = "signing waits for the disk; it ends by itself")]
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, AttestError> + Send + 'static,
) -> Result<T, AttestError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| AttestError::Interrupted)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_one_is_due_after_the_last_one_and_at_once_if_there_is_none() {
        let home = std::env::temp_dir().join(format!("sop-attest-{}", std::process::id()));
        let (every, now) = (Duration::from_mins(1), Timestamp(1_700_000_000_000));
        assert_eq!(due_in(&home, every, now), Duration::ZERO);
        fs::create_dir_all(&home).unwrap();
        for (name, due) in [
            ("1699999990000.attestation", 50),
            ("1699999999000.new", 50),
            ("1700000000000.attestation", 60),
            // From a clock that went ahead.
            ("1800000000000.attestation", 60),
        ] {
            fs::write(home.join(name), "").unwrap();
            assert_eq!(due_in(&home, every, now), Duration::from_secs(due), "{name}");
        }
        fs::remove_dir_all(&home).unwrap();
    }
}
