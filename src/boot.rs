//! Start and stop: makes every part, puts them into the tree, and says how it ended.
//!
//! # Invariants
//! 1. The first operator is created once, over an empty store, and the secret is written to one file of mode 0600.
//! 2. After a failed sync the authority ends: nothing is written by a process that cannot tell what it wrote.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use allocator::Allocator;
use approvals::Approvals;
use backup::Backups;
use config::Config;
use crypto::{Crypto, Purpose};
use door::{Decisions, Door, Follower, Outcomes, Seal, Secret, SecretKind};
use evidence::Evidence;
use gaps::Gaps;
use governance::Governance;
use health::Health;
use host::{Clock, Handle, Hosted, Order, View};
use identity::Identity;
use journal::{AppendError, Entry, Journal, Keeper, WrapLog};
use kernel::{Decision, Denial, Digest, Epoch, Machine, Millis, Position, Principal, Refuse as _, Timestamp};
use keyring::Keyring;
use nexus::Nexus;
use proofs::Proofs;
use protocols::{Bells, Runtime};
use retention::Retention;
use security::Security;
use subjects::Subjects;
use subscriptions::Subscriptions;
use supervisors::{Child, ChildRef, Ended, Report, StartError, Tree};
use todos::Todos;
use tokens::Tokens;
use tokio::sync::{oneshot, watch};
use workers::attestor::Attestor;
use workers::backup::{Archivist, Rehearsal, Schedule, Shelves};
use workers::custodian::{Custodian, Safe};
use workers::detector::{Detector, Told};
use workers::erasure::Eraser;
use workers::evidence::Following;
use workers::monitor::{Monitor, Settings};
use workers::pruner::{Looked, Pruner};
use workers::scanner::Scanner;
use workers::watch::Watch;
use workers::witness::Witnessing;

use crate::attest;
use crate::beside::Signer;
use crate::detections;
use crate::gate::Gate;
use crate::keys;
use crate::requests::Requests;
use crate::retention as keeping;
use crate::routes::{self, Targets, Watched};
use crate::shelf::Shelf;
use crate::states::States;
use crate::subscriptions::GivenOut;
use crate::things::Things;
use crate::tree::{Groups, tree};
use crate::witnesses;

/// Why the authority did not start. Each has a code and a remedy.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    #[error("the data directory {path} cannot be used: {why}")]
    DataDirectory { path: PathBuf, why: std::io::Error },
    #[error("{0}")]
    Start(#[from] StartError),
    #[error("the store at {path} has its first operator already")]
    Bootstrapped { path: PathBuf },
    #[error("the first operator could not be created: {why}")]
    Bootstrap { why: String, remedy: String },
    #[error("the credential could not be written to {path}: {why}")]
    Credential { path: PathBuf, why: std::io::Error },
}

impl BootError {
    pub fn code(&self) -> &'static str {
        match self {
            Self::DataDirectory { .. } => "boot.data_directory",
            Self::Start(error) => start_code(&error.to_string()),
            Self::Bootstrapped { .. } => "boot.bootstrapped",
            Self::Bootstrap { .. } => "boot.bootstrap",
            Self::Credential { .. } => "boot.credential",
        }
    }

    pub fn remedy(&self) -> String {
        match self {
            Self::DataDirectory { .. } => "choose a directory that you own with --data or $SOP_DATA".into(),
            Self::Start(error) => match start_code(&error.to_string()) {
                "journal.locked" | "evidence.locked" | "http.socket_in_use" => {
                    "another daemon runs: use it, stop it, or choose another --data and --socket".into()
                }
                "journal.format" => "make a backup with the release that wrote it, and restore it with this one".into(),
                "journal.half_restored" => "remove what is left of it, and restore into an empty directory".into(),
                "journal.damaged" => {
                    "nothing was changed: `sop state verify` names what is damaged, and `sop state repair` makes \
                                      it whole from its other copies"
                        .into()
                }
                "http.port_in_use" => "stop that program, or choose another port with http.listen".into(),
                "http.address" => "choose an address of this machine with http.listen".into(),
                "http.unprotected" => "set a certificate in [http.tls], or listen on 127.0.0.1".into(),
                "evidence.not_extended" => {
                    "the journal was changed, or is older than what was signed: `sop state repair` adds what the tile log has of it; \
                     or put the newest one back, from a backup that has all of it; if it is meant to be so, \
                     `sop state repair --new-log` begins another log"
                        .into()
                }
                "evidence.damaged" => {
                    "the journal is as it was: `sop state repair` makes the log again from it, if it gives what was signed".into()
                }
                "evidence.pruned" => {
                    "nothing was changed: the store is lost, and the backup that is named has what left the log; \
                     `sop state repair --from-backup` makes the journal whole with it"
                        .into()
                }
                "evidence.key_lost" | "evidence.log_lost" => {
                    "put back what is missing; if it is gone for good, `sop state repair --new-log` begins another log under \
                     another key, which whoever holds the old one must be told"
                        .into()
                }
                "evidence.origin" => {
                    "a log keeps its name: set log.origin to it, or leave that out; `sop state repair --new-log` begins another \
                     log, by the new name and under another key, which whoever holds the old one must be told"
                        .into()
                }
                "evidence.key" => "make it a file of mode 0600 with the key that was made, or put that back".into(),
                "http.socket_path" | "http.socket_directory" => {
                    "name another place with --socket or $SOP_SOCKET".into()
                }
                _ => "see the log; the data directory is as it was".into(),
            },
            Self::Bootstrapped { .. } => {
                "use the credential that was made then; without it, see docs/operating.md".into()
            }
            Self::Bootstrap { remedy, .. } => format!("{remedy}; then start again"),
            Self::Credential { .. } => {
                "make the directory writable and start again over an empty data directory".into()
            }
        }
    }
}

/// The reason of a failed start is a chain of texts by the time it gets here; a test compares these with their sources.
fn start_code(text: &str) -> &'static str {
    const CODES: [(&str, &str); 20] = [
        ("is not in the tile log any more", "evidence.pruned"),
        ("and log.origin says", "evidence.origin"),
        ("another process holds the tile log", "evidence.locked"),
        ("the tile log is damaged", "evidence.damaged"),
        ("does not extend its last signed checkpoint", "evidence.not_extended"),
        ("the key of the tile log is lost", "evidence.key_lost"),
        ("the tile log is lost", "evidence.log_lost"),
        ("the key of the tile log cannot be used", "evidence.key"),
        ("the tile log cannot be used", "evidence.io"),
        ("another process holds the store", "journal.locked"),
        ("the store is of format", "journal.format"),
        ("a restore of the store was not finished", "journal.half_restored"),
        ("the store is damaged", "journal.damaged"),
        ("another daemon answers on", "http.socket_in_use"),
        ("is in the way and is no socket", "http.socket_path"),
        ("the socket's path", "http.socket_path"),
        ("the socket's directory", "http.socket_directory"),
        ("another program listens on", "http.port_in_use"),
        ("cannot listen on", "http.address"),
        ("there is no certificate", "http.unprotected"),
    ];
    CODES.into_iter().find(|(words, _)| text.contains(words)).map_or("boot.start", |(_, code)| code)
}

/// What lies where in a data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    pub data: PathBuf,
    pub journal: PathBuf,
    /// The tile log of what is in the journal.
    pub evidence: PathBuf,
    /// The key that signs it.
    pub log_key: PathBuf,
    /// The key that signs the bearer form of tokens where the keystore has none for it.
    pub token_key: PathBuf,
    /// The keys under which texts about people are sealed.
    pub subject_keys: PathBuf,
    /// The private keys that the authority signs with.
    pub keystore: PathBuf,
    /// What clients of the API are given to believe.
    pub authority: PathBuf,
    pub backups: PathBuf,
    /// What the authority said of itself.
    pub attestations: PathBuf,
    pub seal: PathBuf,
    pub credential: PathBuf,
    pub log: PathBuf,
    /// The process id of the daemon, while one runs.
    pub pid: PathBuf,
}

impl Places {
    pub fn of(data: &Path) -> Self {
        Self {
            data: data.to_owned(),
            journal: data.join("journal"),
            evidence: data.join("evidence"),
            log_key: data.join("keys/log"),
            token_key: data.join("keys/tokens"),
            subject_keys: data.join("keys/subjects"),
            keystore: data.join("keys/store"),
            authority: data.join("keys/authority"),
            backups: data.join("backups"),
            attestations: data.join("attestations"),
            seal: data.join("sealed"),
            credential: data.join("credentials/operator"),
            log: data.join("logs/sop_operations.log"),
            pid: data.join("pid"),
        }
    }

    /// The tile log and its key.
    pub fn evidence(&self) -> evidence::Places {
        evidence::Places { log: self.evidence.clone(), key: self.log_key.clone() }
    }

    /// Makes the directories, for the owner alone.
    ///
    /// # Errors
    /// [`BootError::DataDirectory`].
    pub fn create(&self) -> Result<(), BootError> {
        let failed = |why| BootError::DataDirectory { path: self.data.clone(), why };
        let parents = [&self.credential, &self.log].map(|file| file.parent().expect("both lie in a directory"));
        for directory in [self.data.as_path(), parents[0], parents[1], &self.backups] {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
        }
        // A directory that cannot be written is better known now than at the first command.
        let probe = self.data.join(".writable");
        std::fs::write(&probe, b"").and_then(|()| std::fs::remove_file(&probe)).map_err(failed)
    }
}

/// The nodes without which no command is taken: what the door asks, and what it writes to.
pub const NEEDED: [&str; 5] = [
    "sop/foundation/journal",
    "sop/authority/governance",
    "sop/authority/identity",
    "sop/authority/tokens",
    "sop/authority/decisions",
];

/// Who has waited so long goes on; until identity knows whom he waited for, that one is denied.
const ACQUAINTED_WITHIN: Duration = Duration::from_secs(10);

/// A start waits so long for what is used of the quotas; it is counted on behind it.
const COUNTED_WITHIN: Duration = Duration::from_secs(1);

/// A start waits so long for the keystore to be opened, and the first keys to be made; a passphrase takes its time.
const TRIED_WITHIN: Duration = Duration::from_secs(5);

/// Who asks what was detected waits so long for what was recorded before.
const DETECTED_WITHIN: Duration = Duration::from_secs(2);

/// What a machine has to do, and cannot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Commands taken and not answered.
    pub outstanding: usize,
    /// As many may be.
    pub limit: usize,
    /// Commands that were one too many.
    pub overloads: u64,
    /// Commands refused because they made it fail.
    pub poisoned: usize,
    pub snapshots: host::Standing,
}

/// How the authority came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// The journal failed: outcomes are unknown until the next start.
    Journal { why: String },
    /// The root's budget was spent.
    Tree { why: String },
}

/// Every part of a running authority.
pub struct Parts {
    pub places: Places,
    pub clock: Clock,
    pub journal: Journal,
    pub evidence: Evidence,
    /// Asks those who cosign it.
    pub witnessing: Witnessing,
    /// How old a record may become before the quorum of them has cosigned it.
    pub cosigned_within: Duration,
    pub keyring: Keyring,
    pub door: Arc<Door>,
    pub gaps: Handle<Gaps>,
    pub todos: Handle<Todos>,
    pub allocator: Handle<Allocator>,
    pub approvals: Handle<Approvals>,
    pub approvals_view: Arc<Follower<Approvals>>,
    pub proofs: Handle<Proofs>,
    pub proofs_view: Arc<Follower<Proofs>>,
    pub backups: Handle<Backups>,
    pub subjects: Handle<Subjects>,
    pub retention: Handle<Retention>,
    /// The bearer form of tokens.
    #[cfg(feature = "http")]
    pub bearers: Arc<crate::bearers::Bearers>,
    /// The certificate of the API, if the authority makes it.
    #[cfg(feature = "http")]
    pub showing: crate::certifier::Shown,
    /// Whose tokens are believed.
    #[cfg(feature = "http")]
    pub issuers: Arc<::issuers::Issuers>,
    /// How long each class of records stays in the tile log.
    pub rules: keeping::Rules,
    /// How many of the last records a change of policy is held against.
    pub replayed_at_change: u64,
    pub crypto: Handle<Crypto>,
    pub crypto_view: Arc<Follower<Crypto>>,
    /// The private keys.
    pub safe: Safe,
    /// Signs beside the key of the tile log.
    pub signer: Arc<Signer>,
    /// How long a key is in use.
    pub rotate_every: Option<Duration>,
    pub security: Handle<Security>,
    pub security_view: Arc<Follower<Security>>,
    /// What the door tells of, and is in no record yet.
    told: Arc<Told>,
    pub health: Handle<Health>,
    pub health_view: Arc<Follower<Health>>,
    pub nexus: Handle<Nexus>,
    pub subscriptions: Handle<Subscriptions>,
    pub subscriptions_view: Arc<Follower<Subscriptions>>,
    pub given_out: GivenOut,
    /// What became of requests.
    pub requests: Requests,
    /// The digest of what is configured.
    pub configuration: Digest,
    /// When these parts were made.
    pub began: Timestamp,
    /// Makes protocols into children of the tree's last group.
    pub protocols: Runtime,
    /// Where backups are kept.
    shelf: Shelf,
    tree: watch::Sender<Option<Tree>>,
}

impl Parts {
    /// Makes every part, none of them running.
    pub fn new(config: &Config, clock: Clock) -> Arc<Self> {
        Self::with_log(config, clock, Box::new(|log| log))
    }

    /// As [`Parts::new`], with another log between journal and store: for tests that make the disk fail.
    pub fn with_log(config: &Config, clock: Clock, wrap: WrapLog) -> Arc<Self> {
        let places = Places::of(&config.store.data);
        let limits = journal::Limits {
            group_records_max: config.journal.group_records_max,
            group_bytes_max: config.journal.group_bytes_max.as_usize(),
            reserve_bytes: config.store.reserve.0,
            segment_bytes: config.journal.segment.0,
        };
        let journal = Journal::with_log(&places.journal, limits, wrap).with_past(Arc::new(places.evidence()));
        let origin = config.log.origin.clone();
        let asked = witnesses::named(config);
        let (crypto_view, safe) = (Arc::new(Follower::<Crypto>::default()), keys::safe(config, &places));
        let signer = Arc::new(Signer::new(&crypto_view, &safe, &clock));
        let beside: Arc<dyn evidence::Beside> = signer.clone();
        let (log, all) = (places.evidence(), evidence::Limits::default());
        let keeper = || -> Arc<dyn evidence::Keeper> { Arc::new(keys::LogKeeper(safe.clone())) };
        let hands = evidence::Hands { beside: Some(beside), keeper: config.crypto.root_key.as_ref().map(|_| keeper()) };
        let evidence = Evidence::witnessed(&journal, log, origin, asked, hands, all);
        let limits = host::Limits {
            permits: config.host.permits,
            outcomes: config.host.outcomes_max,
            snapshot_every: config.journal.snapshot_every,
        };
        let governance_view = Arc::new(Follower::<Governance>::default());
        let tokens_view = Arc::new(Follower::<Tokens>::default());
        let view: Arc<dyn View<Governance>> = governance_view.clone();
        let governance = Handle::new(&journal, &clock, limits, Some(view));
        let identity_view = Arc::new(Follower::<Identity>::default());
        let view: Arc<dyn View<Identity>> = identity_view.clone();
        let identity = Handle::new(&journal, &clock, limits, Some(view));
        let view: Arc<dyn View<Tokens>> = tokens_view.clone();
        let tokens = Handle::new(&journal, &clock, limits, Some(view));
        let decisions = Handle::<Decisions>::new(&journal, &clock, limits, None);
        let outcomes_view = Arc::new(Follower::<Outcomes>::default());
        let view: Arc<dyn View<Outcomes>> = outcomes_view.clone();
        let outcomes = (Handle::new(&journal, &clock, limits, Some(view)), outcomes_view);
        let seal = Seal::new(&places.seal);
        let bells = Arc::<Bells>::default();
        let view: Arc<dyn View<Nexus>> = bells.clone();
        let nexus = Handle::new(&journal, &clock, limits, Some(view));
        let health_view = Arc::new(Follower::<Health>::default());
        let view: Arc<dyn View<Health>> = health_view.clone();
        let subscriptions_view = Arc::new(Follower::<Subscriptions>::default());
        let shown: Arc<dyn View<Subscriptions>> = subscriptions_view.clone();
        let approvals_view = Arc::new(Follower::<Approvals>::default());
        let decided: Arc<dyn View<Approvals>> = approvals_view.clone();
        let approvals = Handle::new(&journal, &clock, limits, Some(decided));
        let security_view = Arc::new(Follower::<Security>::default());
        let found: Arc<dyn View<Security>> = security_view.clone();
        let security = Handle::new(&journal, &clock, limits, Some(found));
        let kept: Arc<dyn View<Crypto>> = crypto_view.clone();
        let proofs_view = Arc::new(Follower::<Proofs>::default());
        let proven: Arc<dyn View<Proofs>> = proofs_view.clone();
        let proofs = Handle::new(&journal, &clock, limits, Some(proven));
        let gate = Gate::new(&clock, &journal, &evidence, &signer, &governance_view);
        let todos = Handle::new(&journal, &clock, limits, None);
        let allocator = Handle::new(&journal, &clock, limits, None);
        let backups = Handle::new(&journal, &clock, limits, None);
        let subjects = Handle::new(&journal, &clock, limits, None);
        let retention = Handle::new(&journal, &clock, limits, None);
        let things = Things {
            clock: clock.clone(),
            governance: governance_view.clone(),
            tokens: tokens_view.clone(),
            subscriptions: subscriptions_view.clone(),
            todos: todos.clone(),
            allocator: allocator.clone(),
            nexus: nexus.clone(),
            backups: backups.clone(),
            subjects: subjects.clone(),
            retention: retention.clone(),
            crypto: crypto_view.clone(),
        };
        let (governance, identity) = ((governance, governance_view), (identity, identity_view));
        #[cfg(feature = "http")]
        let bearers = crate::bearers::Bearers::new(places.token_key.clone(), &crypto_view, &tokens_view, &safe);
        #[cfg(feature = "http")]
        let bearers = Arc::new(bearers);
        let door = Door::new(clock.clone(), governance, identity, (tokens, tokens_view), decisions, outcomes, seal);
        let door = door.with_past(&journal);
        let door = door.with_limits(door::Limits {
            requests_per_second: config.door.limits.requests_per_second,
            burst: config.door.limits.burst,
        });
        let told = Arc::<Told>::default();
        let door = door.with_tell(detections::tell(&told));
        #[cfg(feature = "http")]
        let issuers = crate::issuers::believed(config);
        #[cfg(feature = "http")]
        let door = door.with_issuers(issuers.clone()).with_carriers(bearers.clone());
        let door = door.with_approvals(approvals.clone(), approvals_view.clone(), Box::new(things));
        let lifetime = Millis(u64::try_from(config.door.receipt_lifetime.as_millis()).unwrap_or(u64::MAX));
        let door = door.with_proofs(proofs.clone(), proofs_view.clone(), Box::new(gate), lifetime);
        let door = Arc::new(door);
        Arc::new(Self {
            subscriptions: Handle::new(&journal, &clock, limits, Some(shown)),
            subscriptions_view,
            given_out: GivenOut::default(),
            protocols: Runtime::new(&door, &nexus, &clock, &bells),
            nexus,
            health: Handle::new(&journal, &clock, limits, Some(view)),
            health_view,
            requests: Requests::default(),
            configuration: attest::configuration(config),
            began: clock.now(),
            gaps: Handle::new(&journal, &clock, limits, None),
            todos,
            allocator,
            approvals,
            approvals_view,
            proofs,
            proofs_view,
            backups,
            subjects,
            retention,
            crypto: Handle::new(&journal, &clock, limits, Some(kept)),
            crypto_view,
            safe,
            signer,
            rotate_every: config.crypto.rotate_every,
            security,
            security_view,
            told,
            #[cfg(feature = "http")]
            bearers,
            #[cfg(feature = "http")]
            showing: crate::certifier::Shown::default(),
            #[cfg(feature = "http")]
            issuers,
            rules: keeping::Rules::of(&config.retention),
            replayed_at_change: config.door.replayed_at_change as u64,
            door,
            shelf: Shelf::of(&config.backup, &places.backups),
            keyring: Keyring::new(&places.subject_keys),
            places,
            clock,
            journal,
            witnessing: witnesses::asking(config, &evidence),
            cosigned_within: config.log.cosigned_within,
            evidence,
            tree: watch::Sender::new(None),
        })
    }

    /// Starts the tree over these parts. `edge` are the children that answer the outside.
    ///
    /// # Errors
    /// [`BootError`]; nothing is left running.
    pub async fn start(self: &Arc<Self>, config: &Config, edge: Vec<Child>) -> Result<(), BootError> {
        self.places.create()?;
        self.read_why();
        let keeper = ChildRef::new("journal");
        let journal = self.journal.clone();
        let targets = Targets {
            todos: self.todos.clone(),
            identity: self.door.identity().clone(),
            tokens: self.door.tokens().clone(),
            allocator: self.allocator.clone(),
            health: self.health.clone(),
            nexus: self.nexus.clone(),
            outcomes: self.door.outcomes().clone(),
            retention: self.retention.clone(),
        };
        // Not held: the tree, which holds the monitor, is one of the parts.
        let parts = Arc::downgrade(self);
        let settings = Settings {
            reserve_bytes: config.store.reserve.0,
            overdue_after: config.backup.overdue_after,
            needed: &NEEDED,
            poisoned: Arc::new(move || {
                let machines = parts.upgrade().map(|parts| parts.machines());
                let poisoned = machines.into_iter().flatten().filter(|(_, load)| load.poisoned != 0);
                poisoned.map(|(name, _)| name).collect()
            }),
        };
        let monitor = Monitor::new(&self.health, &self.journal, &self.clock, self.tree.subscribe(), settings);
        let scanner = Scanner {
            gaps: self.gaps.clone(),
            journal: self.journal.clone(),
            clock: self.clock.clone(),
            limits: workers::scan::Limits {
                file_bytes: config.scan.file_max.0,
                files: config.scan.files_max as u64,
                findings: config.scan.findings_max,
            },
        };
        let following = Following { evidence: self.evidence.clone(), journal: self.journal.clone() };
        let (place, signs, judges) = (self.shelf.clone(), self.signer.clone(), self.signer.clone());
        let shelves = Shelves {
            log: self.places.evidence.clone(),
            target: Arc::new(move || place.open()),
            old: self.places.backups.clone(),
            sign: Arc::new(move |log, text| signs.line_of(Purpose::BackupManifests, log, text)),
            judge: Arc::new(move |point, name| judges.judge(point, name).map(drop)),
        };
        let retention = config.backup.retention;
        let count = |number: usize| number as u64;
        let schedule = Schedule {
            every: config.backup.every,
            verify_every: config.backup.verify_every,
            drill_every: config.backup.drill_every,
            keep: backup::Keep {
                last: count(retention.last),
                daily: count(retention.daily),
                weekly: count(retention.weekly),
                monthly: count(retention.monthly),
            },
        };
        // Not held, as above.
        let parts = Arc::downgrade(self);
        let rehearsal = Rehearsal {
            anew: || Box::new(States::default()),
            running: Arc::new(move || {
                let parts = parts.upgrade();
                Box::pin(async move {
                    let parts = parts.ok_or_else(|| "it is stopping".to_owned())?;
                    parts.digests().await.map_err(|error| error.to_string())
                })
            }),
            scratch: self.places.data.join("drill"),
        };
        let archivist =
            Archivist::new(&self.backups, &self.journal, &self.evidence, &self.clock, shelves, schedule, rehearsal);
        let eraser = Eraser {
            subjects: self.subjects.clone(),
            keyring: self.keyring.clone(),
            journal: self.journal.clone(),
            clock: self.clock.clone(),
        };
        let (signing, log) = (self.evidence.clone(), self.evidence.clone());
        let custodian = Custodian {
            crypto: self.crypto.clone(),
            safe: self.safe.clone(),
            journal: self.journal.clone(),
            clock: self.clock.clone(),
            rotate_every: self.rotate_every,
            wanted: keys::wanted(config),
            unlisted: Arc::new(move || log.standing().holding == Some(evidence::Holding::Kept)),
            opened: Arc::new(move || {
                // What could not be signed before is, now.
                if let Err(error) = signing.follow() {
                    tracing::debug!(code = error.code(), %error, "the tile log is signed later");
                }
            }),
        };
        let watched = Watched {
            backups: self.backups.clone(),
            governance: self.door.governance().clone(),
            tokens: self.door.tokens().clone(),
        };
        let watch = Watch {
            gaps: self.gaps.clone(),
            journal: self.journal.clone(),
            clock: self.clock.clone(),
            tree: self.tree.subscribe(),
            sources: {
                let mut sources = routes::sources(&self.journal, &watched, config);
                sources.push(witnesses::source(&self.witnessing, &self.evidence));
                sources.push(keys::watched(&self.crypto_view, self.rotate_every));
                sources
            },
        };
        let parts = Arc::downgrade(self);
        let (attestations, every) = (self.places.attestations.clone(), config.attestation.every);
        let clock = self.clock.clone();
        let attestor = Attestor {
            due_in: Arc::new(move || (!every.is_zero()).then(|| attest::due_in(&attestations, every, clock.now()))),
            attest: Arc::new(move || {
                let parts = parts.upgrade();
                Box::pin(async move {
                    let Some(parts) = parts else { return Ok(()) };
                    attest::attest(&parts).await.map(drop).map_err(|error| error.to_string())
                })
            }),
        };
        let (asked, carried) = (Arc::downgrade(self), Arc::downgrade(self));
        let at_it = Arc::<Mutex<()>>::default();
        let pruner = Pruner {
            moved: self.journal.moved(Retention::NAME),
            clock: self.clock.clone(),
            every: config.retention.every,
            ask: Arc::new(move || {
                let parts = asked.upgrade();
                Box::pin(async move {
                    let Some(parts) = parts else { return Looked::Idle };
                    keeping::ask(&parts).await
                })
            }),
            carry_out: Arc::new(move |stop| {
                let (parts, at_it) = (carried.upgrade(), at_it.clone());
                Box::pin(async move {
                    let Some(parts) = parts else { return Looked::Idle };
                    keeping::carry_out(&parts, &at_it, stop).await
                })
            }),
        };
        // First up and last to stop of its group: it tells what becomes of the others.
        let mut operations = vec![
            self.health.child(),
            monitor.child(),
            self.nexus.child(),
            self.gaps.child(),
            self.todos.child(),
            self.backups.child(),
            self.subjects.child(),
            self.subscriptions.child(),
            self.retention.child(),
            self.security.child(),
            self.crypto.child(),
            scanner.child(),
            archivist.child(),
            eraser.child(),
            custodian.child(),
            pruner.child(),
            watch.child(),
            attestor.child(),
            self.witnessing.clone().child(),
        ];
        let detector = Detector {
            security: self.security.clone(),
            journal: self.journal.clone(),
            clock: self.clock.clone(),
            rules: security::detect::Rules {
                denials: config.security.denials,
                within: Millis(u64::try_from(config.security.within.as_millis()).unwrap_or(u64::MAX)),
            },
            seen: detections::seen,
            told: self.told.clone(),
        };
        operations.push(detector.child());
        operations.extend(routes::children(&self.journal, &targets));
        let groups = Groups {
            edge,
            // Opening reads the tail, and a lost store is made again.
            journal: Child::actor::<Keeper, _>(&keeper, move || (Keeper, journal.clone())).starts_apart(),
            evidence: following.child(),
            authority: vec![
                self.door.governance().child(),
                self.door.identity().child(),
                self.door.tokens().child(),
                self.door.decisions().child(),
                self.door.outcomes().child(),
                self.allocator.child(),
                self.approvals.child(),
                self.proofs.child(),
            ],
            operations,
        };
        let seed = self.clock.now().0;
        let started = Tree::start(tree(groups, &config.supervision), seed).await?;
        // For whoever sends signals; nothing rests on it, as the store has its own lock.
        if let Err(error) = std::fs::write(&self.places.pid, format!("{}\n", std::process::id())) {
            tracing::warn!(code = "boot.pid_file", %error, "the process id could not be written down");
        }
        self.tree.send_replace(Some(started));
        self.door.take_up_stop().await;
        self.door.forsake(self.began).await;
        self.acquainted().await;
        self.read_why();
        if tokio::time::timeout(TRIED_WITHIN, self.safe.tried()).await.is_err() {
            tracing::warn!(code = "boot.keystore_behind", "the keystore is not open yet: see `sop crypto status`");
        }
        // Who asks for what a quota covers waits for it, and nobody else.
        if let Ok(Err(denial)) = tokio::time::timeout(COUNTED_WITHIN, self.door.counted()).await {
            tracing::warn!(code = denial.code, "what is used of the quotas is not known yet: {}", denial.reason);
        }
        Ok(())
    }

    /// Waits until identity knows every operator whom governance names: a route tells it.
    async fn acquainted(&self) {
        let operators =
            self.door.governance_view().read(|governance| governance.operators().cloned().collect::<Vec<_>>());
        for operator in operators {
            self.acquainted_with(&operator).await;
        }
    }

    /// Waits until identity knows somebody whom another machine has let take part: a route tells it.
    pub async fn acquainted_with(&self, principal: &Principal) {
        let known = async {
            let mut durable = self.journal.durable();
            loop {
                durable.borrow_and_update();
                let known = self.door.identity_view().read(|identity| identity.show(principal).is_some());
                if known || durable.changed().await.is_err() {
                    return;
                }
            }
        };
        if tokio::time::timeout(ACQUAINTED_WITHIN, known).await.is_err() {
            tracing::warn!(code = "boot.identity_behind", %principal, "identity does not know it yet: see `sop tree`");
        }
    }

    /// Waits until the evidence of an incident is held, or is not: a route tells retention.
    pub async fn held_for(&self, incident: u64, wanted: bool) {
        let name = routes::hold_of(incident);
        let told = async {
            let mut durable = self.journal.durable();
            loop {
                durable.borrow_and_update();
                let name = name.clone();
                let held = self.retention.inspect(move |retention| retention.hold(&name).is_some()).await;
                if held.is_ok_and(|held| held == wanted) || durable.changed().await.is_err() {
                    return;
                }
            }
        };
        if tokio::time::timeout(ACQUAINTED_WITHIN, told).await.is_err() {
            tracing::warn!(code = "boot.retention_behind", incident, "retention does not know it yet: see `sop tree`");
        }
    }

    /// Waits a while until all that is recorded was looked at by the detectors.
    pub async fn detected(&self) {
        let head = *self.journal.durable().borrow();
        // Who asks gets what there is.
        drop(tokio::time::timeout(DETECTED_WITHIN, self.told.settled(head)).await);
    }

    /// Every machine.
    fn hosted(&self) -> [&dyn Hosted; 18] {
        let Self {
            gaps,
            todos,
            allocator,
            approvals,
            proofs,
            backups,
            health,
            nexus,
            subjects,
            retention,
            security,
            crypto,
            subscriptions,
            door,
            ..
        } = self;
        [
            door.governance(),
            door.identity(),
            door.tokens(),
            door.decisions(),
            door.outcomes(),
            allocator,
            approvals,
            proofs,
            health,
            gaps,
            todos,
            backups,
            nexus,
            subjects,
            retention,
            security,
            crypto,
            subscriptions,
        ]
    }

    /// Has the key at hand by which the status says why everything is stopped, whatever the disk does later.
    fn read_why(&self) {
        if let Some(stop) = self.door.sealed()
            && let Err(error) = self.keyring.open(&stop.reason)
        {
            tracing::warn!(code = error.code(), %error, "why everything is stopped cannot be shown");
        }
    }

    /// Every machine, and how it stands.
    pub fn machines(&self) -> [(&'static str, Load); 18] {
        self.hosted().map(|machine| {
            (
                machine.name(),
                Load {
                    outstanding: machine.outstanding(),
                    limit: machine.limit(),
                    overloads: machine.overloads(),
                    poisoned: machine.poisoned(),
                    snapshots: machine.snapshots(),
                },
            )
        })
    }

    /// The digest of every machine's state, durable, with the version that it is of; [`States`](crate::states::States) has
    /// the same from the records up to there.
    ///
    /// # Errors
    /// That of the first machine which cannot say.
    pub async fn digests(&self) -> Result<BTreeMap<&'static str, (Position, Digest)>, host::Error> {
        let mut digests = BTreeMap::new();
        for machine in self.hosted() {
            digests.insert(machine.name(), machine.digest_of_state().await?);
        }
        Ok(digests)
    }

    /// Where backups are kept.
    pub fn shelf(&self) -> &Shelf {
        &self.shelf
    }

    /// Where a backup of that name lies.
    pub fn backup_of(&self, name: &str) -> String {
        // One of an earlier release is a directory of its own, below the data.
        if name.contains('/') {
            self.shelf.path(name)
        } else {
            Shelf::Directory(self.places.backups.clone()).path(name)
        }
    }

    /// The running tree; `None` before the start.
    pub fn tree(&self) -> Option<Tree> {
        self.tree.borrow().clone()
    }

    /// Creates the first operator and writes the secret to its file, once.
    ///
    /// # Errors
    /// [`BootError::Bootstrapped`] over a store that has one.
    pub async fn bootstrap(&self) -> Result<(), BootError> {
        let path = self.places.credential.clone();
        if self.door.governance_view().read(|governance| governance.operators().next().is_some()) {
            return Err(BootError::Bootstrapped { path: self.places.data.clone() });
        }
        let secret = Secret::generate(SecretKind::Operator);
        // The file first: an operator whose secret was never written down could not be made a second time.
        let written = write_secret(&path, &secret);
        written.map_err(|why| BootError::Credential { path, why })?;
        let command = governance::Command::Bootstrap { operator: "root".into(), credential: secret.digest() };
        let order = Order {
            command,
            command_id: self.clock.command_id(),
            principal: Principal::internal("bootstrap"),
            decision: Decision::default(),
            cause: None,
            asked: None,
        };
        let failed = |denial: Denial| BootError::Bootstrap {
            why: format!("{} ({})", denial.reason, denial.code),
            remedy: denial.remedy,
        };
        let answer = self.door.governance().execute(order).await.map_err(|error| failed(error.denial()))?;
        answer.outcome.map_err(|refusal| failed(refusal.denial()))?;
        self.acquainted().await;
        Ok(())
    }

    /// Whether the store has an operator.
    pub fn is_bootstrapped(&self) -> bool {
        self.door.governance_view().read(|governance| governance.operators().next().is_some())
    }

    /// Whether the authority lives: the journal's writer comes by, and governance answers, if only that it is down (which
    /// is for its supervisor to mend). Takes as long as the disk does; resolves not at all while one of them is stuck.
    pub async fn pulse(&self) -> bool {
        let (tell, told) = oneshot::channel();
        let then = Box::new(move |reached: Result<(), AppendError>| {
            // Who asked may have stopped waiting.
            let _ = tell.send(matches!(reached, Ok(()) | Err(AppendError::Fenced)));
        });
        // Before every version there is, so it waits for nothing but its turn behind what is being written.
        self.journal.queue(Entry::Barrier { stream: Governance::NAME, epoch: Epoch(0), version: Position(0), then });
        let writes = told.await.unwrap_or(false);
        let _ = self.door.governance().inspect(|_| ()).await;
        writes
    }

    /// Resolves when the authority cannot go on.
    pub async fn stopped(&self) -> Stopped {
        let mut failures = self.journal.failures();
        let failed = async {
            let why = failures.wait_for(Option::is_some).await.map(|why| why.clone());
            // The sender lives in the journal, which lives in us.
            why.ok().flatten().unwrap_or_default()
        };
        let ended = async {
            match self.tree() {
                Some(tree) => tree.ended().await,
                None => std::future::pending::<Ended>().await,
            }
        };
        tokio::select! {
            why = failed => Stopped::Journal { why },
            Ended { exit } = ended => Stopped::Tree { why: exit.to_string() },
        }
    }

    /// Stops everything, in reverse order.
    pub async fn shutdown(&self, deadline: Duration) -> Report {
        let report = match self.tree() {
            Some(tree) => tree.shutdown(deadline).await,
            None => Report::default(),
        };
        self.evidence.close();
        self.journal.close();
        // Gone already, perhaps.
        let _ = std::fs::remove_file(&self.places.pid);
        report
    }

    /// The operator's credential, if it lies where bootstrap put it.
    pub fn operator_secret(&self) -> Option<Secret> {
        std::fs::read_to_string(&self.places.credential).ok().map(|text| Secret::of(text.trim_end()))
    }
}

/// Writes a secret so that nobody else can read it, and never over another one that is in use.
fn write_secret(path: &Path, secret: &Secret) -> std::io::Result<()> {
    // Left by a bootstrap that was killed before it was recorded: nobody can act by it.
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    writeln!(file, "{}", secret.expose())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use evidence::LogError;
    use journal::store::StoreError;

    use super::*;

    #[test]
    fn a_failed_start_has_the_code_of_its_cause() {
        let damaged = StoreError::Damaged { what: "a".into() };
        for (error, code) in [
            (StoreError::Locked, "journal.locked"),
            (StoreError::Format { found: 9 }, "journal.format"),
            (damaged, "journal.damaged"),
            (StoreError::HalfRestored { path: "/d".into() }, "journal.half_restored"),
            (
                StoreError::Pruned { at: kernel::Sequence(1), first: kernel::Sequence(257), place: "/b".into() },
                "evidence.pruned",
            ),
            (StoreError::Closed, "boot.start"),
        ] {
            assert_eq!(start_code(&format!("the tree did not start: {error}")), code);
        }
        let (path, what, at) = (PathBuf::from("/d"), String::from("a"), None);
        let io = || std::io::Error::other("b");
        for error in [
            LogError::Damaged { file: "f".into(), what, at },
            LogError::NotExtended { first: kernel::Sequence(1), size: 1, root: evidence::tree::empty() },
            LogError::KeyLost { path: path.clone() },
            LogError::LogLost { path: path.clone() },
            LogError::Key { path: path.clone(), why: "b".into() },
            LogError::Origin { found: "a".into(), asked: "b".into() },
            LogError::Locked,
            LogError::Io { path, why: io() },
        ] {
            assert_eq!(start_code(&format!("the tree did not start: {error}")), error.code());
        }
        #[cfg(feature = "http")]
        let address = std::net::SocketAddr::from(([10, 0, 0, 1], 8443));
        #[cfg(feature = "http")]
        for (error, code) in [
            (http::BindError::InUse { socket: "/s".into() }, "http.socket_in_use"),
            (http::BindError::NotASocket { socket: "/s".into() }, "http.socket_path"),
            (http::BindError::PathTooLong { socket: "/s".into() }, "http.socket_path"),
            (http::BindError::ForeignDirectory { directory: "/d".into(), owner: 1 }, "http.socket_directory"),
            (http::BindError::PortInUse { address }, "http.port_in_use"),
            (http::BindError::Address { address, source: std::io::ErrorKind::Other.into() }, "http.address"),
            (http::BindError::Unprotected { address }, "http.unprotected"),
            (http::BindError::OpenDirectory { directory: "/d".into(), mode: 0o777 }, "http.socket_directory"),
        ] {
            assert_eq!(start_code(&format!("the tree did not start: {error}")), code);
        }
    }
}
