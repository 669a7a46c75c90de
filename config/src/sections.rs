//! The options as typed values, one struct a section, each with its range. `default.toml` says what they mean.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use suites::{Domain, Policy};

use crate::load::Reader;
use crate::witness::Witness;
use crate::{Address, Issuer, RootKey};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_hours(1);
const YEAR: Duration = Duration::from_hours(365 * 24);
const CENTURY: Duration = Duration::from_hours(36_525 * 24);

/// A size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

impl Bytes {
    const UNITS: [(&'static str, u64); 5] = [("TiB", TIB), ("GiB", GIB), ("MiB", MIB), ("KiB", KIB), ("B", 1)];

    /// Every size that an option can have fits on the machines we run on; a larger one is cut to what does.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

/// In the largest unit that shows it exactly.
impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = Self::UNITS.into_iter().find(|(_, size)| self.0 != 0 && self.0.is_multiple_of(*size));
        let (unit, size) = exact.unwrap_or(("B", 1));
        write!(f, "{}{unit}", self.0 / size)
    }
}

/// A text that is no size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a whole number followed by B, KiB, MiB, GiB or TiB")]
pub struct NotASize;

impl FromStr for Bytes {
    type Err = NotASize;

    fn from_str(text: &str) -> Result<Self, NotASize> {
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let (_, size) = Self::UNITS.into_iter().find(|(name, _)| *name == unit.trim_start()).ok_or(NotASize)?;
        number.parse::<u64>().ok().and_then(|number| number.checked_mul(size)).map(Self).ok_or(NotASize)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    pub data: PathBuf,
    pub reserve: Bytes,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Journal {
    pub group_records_max: usize,
    pub group_bytes_max: Bytes,
    pub snapshot_every: u64,
    pub segment: Bytes,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    pub permits: usize,
    pub outcomes_max: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Door {
    pub body_max: Bytes,
    pub replayed_at_change: usize,
    /// The policies of a fresh store; `None` for the usual directory.
    pub policies: Option<PathBuf>,
    /// How long what was proven is good.
    pub receipt_lifetime: Duration,
    pub limits: Limits,
}

/// How often one principal may ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// 0 for as often as it likes.
    pub requests_per_second: u32,
    pub burst: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    pub socket: PathBuf,
    pub request_timeout: Duration,
    pub connections_max: usize,
    /// Loopback, or with `tls`.
    pub listen: Option<SocketAddr>,
    pub pages: Pages,
    pub tls: Option<Tls>,
    /// Whose tokens are believed.
    pub issuers: Vec<Issuer>,
    /// Who vouches for the certificates of their servers; `None` for whom this machine believes.
    pub issuers_ca: Option<PathBuf>,
}

/// Who over TCP may read what needs no credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Pages {
    /// Programs on this machine.
    #[default]
    Local,
    All,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    pub certificate: Certificate,
    /// Who may vouch for clients; `None` where no client shows a certificate.
    pub client_ca: Option<PathBuf>,
}

/// What the server shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Certificate {
    Files {
        certificate: PathBuf,
        key: PathBuf,
    },
    /// Of the authority's own, for these names, made anew before `lifetime` is over.
    Own {
        names: Vec<String>,
        lifetime: Duration,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// A directive of tracing's `EnvFilter`.
    pub level: String,
    /// The name of the tile log; `None` for one after its key.
    pub origin: Option<String>,
    /// Who is asked to cosign its checkpoints.
    pub witnesses: Vec<Witness>,
    /// How many of them must have, before something is given away.
    pub quorum: usize,
    /// How old a record may become before they have.
    pub cosigned_within: Duration,
    /// Who vouches for the certificates of witnesses; `None` for whom this machine believes.
    pub witness_ca: Option<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Supervision {
    pub restarts: usize,
    pub within: Duration,
    pub backoff_first: Duration,
    pub backoff_max: Duration,
    pub shutdown_deadline: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    pub target: Place,
    /// How an object store is reached, if one is named.
    pub s3: S3,
    pub overdue_after: Duration,
    /// How often one is made, one is read again, and one is restored for practice.
    pub every: Option<Duration>,
    pub verify_every: Option<Duration>,
    pub drill_every: Option<Duration>,
    pub retention: Retention,
}

/// Where backups are kept.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Place {
    /// In the data directory.
    #[default]
    Data,
    Directory(PathBuf),
    Bucket(Address),
}

/// How an object store is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3 {
    /// None for that of the region.
    pub endpoint: Option<String>,
    pub region: String,
    /// Without TLS.
    pub allow_http: bool,
    /// Certificates that are believed in place of the system's.
    pub ca: Option<PathBuf>,
    /// None for those of the environment.
    pub credentials: Option<PathBuf>,
    /// For one attempt.
    pub timeout: Duration,
    pub attempts: usize,
}

/// How many backups are kept; all of them if each is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    pub last: usize,
    pub daily: usize,
    pub weekly: usize,
    pub monthly: usize,
}

/// How long the records of each class stay in the tile log; none for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Classes {
    /// How often they are let go of unasked.
    pub every: Option<Duration>,
    pub authority: Option<Duration>,
    pub operations: Option<Duration>,
    pub messages: Option<Duration>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    pub file_max: Bytes,
    pub files_max: usize,
    pub findings_max: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attestation {
    /// Zero: none is made unasked.
    pub every: Duration,
}

/// The keys of the authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crypto {
    /// What opens them; none, and they are sealed.
    pub root_key: Option<RootKey>,
    /// The one before it, while keys move.
    pub root_key_before: Option<RootKey>,
    /// How long one is in use; none for as long as nobody rotates it.
    pub rotate_every: Option<Duration>,
    /// Which suites each domain may use.
    pub suites: Policy,
}

/// When denials are a burst.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Security {
    pub denials: usize,
    pub within: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gaps {
    pub expiry_warning: Duration,
    pub built_in_max: Duration,
}

impl Store {
    pub(crate) fn read(from: &mut Reader<'_>) -> Self {
        Self { data: from.data("store.data"), reserve: from.size("store.reserve", Bytes(MIB)..=Bytes(TIB)) }
    }
}

impl Journal {
    pub(crate) fn read(from: &mut Reader<'_>) -> Self {
        Self {
            group_records_max: from.count("journal.group_records_max", 1..=65_536),
            group_bytes_max: from.size("journal.group_bytes_max", Bytes(128 * KIB)..=Bytes(64 * MIB)),
            snapshot_every: from.count("journal.snapshot_every", 0..=1_000_000_000) as u64,
            segment: from.size("journal.segment", Bytes(64 * KIB)..=Bytes(GIB)),
        }
    }
}

impl Host {
    pub(crate) fn read(from: &mut Reader<'_>) -> Self {
        Self {
            permits: from.count("host.permits", 1..=1_000_000),
            outcomes_max: from.count("host.outcomes_max", 1_000..=100_000_000),
        }
    }
}

impl Door {
    pub(crate) fn read(from: &mut Reader<'_>) -> Self {
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let limits = Limits {
            requests_per_second: count(from.count("door.limits.requests_per_second", 0..=1_000_000)),
            burst: count(from.count("door.limits.burst", 1..=1_000_000)),
        };
        Self {
            body_max: from.size("door.body_max", Bytes(KIB)..=Bytes(64 * MIB)),
            replayed_at_change: from.count("door.replayed_at_change", 0..=100_000),
            policies: from.file("door.policies"),
            receipt_lifetime: from.span("door.receipt_lifetime", Duration::from_secs(1)..=HOUR),
            limits,
        }
    }
}

impl Http {
    pub(crate) fn read(from: &mut Reader<'_>) -> Self {
        Self {
            socket: from.socket("http.socket"),
            request_timeout: from.span("http.request_timeout", Duration::from_millis(100)..=HOUR),
            connections_max: from.count("http.connections_max", 1..=65_536),
            listen: from.address("http.listen"),
            pages: from.choice("http.pages", &[("local", Pages::Local), ("all", Pages::All)]),
            issuers: from.issuers("http.issuers"),
            issuers_ca: from.file("http.issuers_ca"),
            tls: Tls::read(from),
        }
    }
}

impl Tls {
    fn read(from: &mut Reader<'_>) -> Option<Self> {
        let (certificate, key) = (from.file("http.tls.certificate"), from.file("http.tls.key"));
        from.both(["http.tls.certificate", "http.tls.key"], [certificate.is_some(), key.is_some()]);
        let (names, lifetime) = (from.servers("http.tls.names"), from.span("http.tls.lifetime", HOUR..=YEAR));
        let certificate = match certificate.zip(key) {
            Some(_) if !names.is_empty() => {
                from.either("http.tls.names", "http.tls.certificate");
                None
            }
            Some((certificate, key)) => Some(Certificate::Files { certificate, key }),
            None if names.is_empty() => None,
            None => Some(Certificate::Own { names, lifetime }),
        };
        let client_ca = from.file("http.tls.client_ca");
        if client_ca.is_some() && certificate.is_none() {
            from.both(["http.tls.client_ca", "http.tls.certificate"], [true, false]);
        }
        Some(Self { certificate: certificate?, client_ca })
    }
}

impl Log {
    pub(crate) fn read(from: &mut Reader<'_>) -> Self {
        Self {
            level: from.level("log.level"),
            origin: from.name("log.origin"),
            witnesses: from.witnesses("log.witnesses"),
            quorum: from.count("log.quorum", 0..=32),
            cosigned_within: from.span("log.cosigned_within", SECOND..=YEAR),
            witness_ca: from.file("log.witness_ca"),
        }
    }
}

impl Supervision {
    pub(crate) fn read(from: &mut Reader<'_>) -> Self {
        Self {
            restarts: from.count("supervision.restarts", 0..=1_000),
            within: from.span("supervision.within", Duration::from_secs(1)..=24 * HOUR),
            backoff_first: from.span("supervision.backoff_first", Duration::from_millis(1)..=HOUR),
            backoff_max: from.span("supervision.backoff_max", Duration::from_millis(1)..=HOUR),
            shutdown_deadline: from.span("supervision.shutdown_deadline", Duration::from_millis(100)..=HOUR / 6),
        }
    }
}

impl Backup {
    pub(crate) fn read(from: &mut Reader<'_>) -> Self {
        Self {
            target: from.place("backup.target"),
            overdue_after: from.span("backup.overdue_after", SECOND..=YEAR),
            every: from.period("backup.every", SECOND..=YEAR),
            verify_every: from.period("backup.verify_every", SECOND..=YEAR),
            drill_every: from.period("backup.drill_every", SECOND..=YEAR),
            s3: S3 {
                endpoint: from.endpoint("backup.s3.endpoint"),
                region: from.region("backup.s3.region"),
                allow_http: from.choice("backup.s3.allow_http", &[("no", false), ("yes", true)]),
                ca: from.file("backup.s3.ca"),
                credentials: from.file("backup.s3.credentials"),
                timeout: from.span("backup.s3.timeout", Duration::from_millis(100)..=HOUR),
                attempts: from.count("backup.s3.attempts", 1..=20),
            },
            retention: Retention {
                last: from.count("backup.retention.last", 0..=100_000),
                daily: from.count("backup.retention.daily", 0..=100_000),
                weekly: from.count("backup.retention.weekly", 0..=100_000),
                monthly: from.count("backup.retention.monthly", 0..=100_000),
            },
        }
    }
}

impl Classes {
    pub(crate) fn read(from: &mut Reader<'_>) -> Self {
        Self {
            every: from.period("retention.every", SECOND..=YEAR),
            authority: from.period("retention.authority", SECOND..=CENTURY),
            operations: from.period("retention.operations", SECOND..=CENTURY),
            messages: from.period("retention.messages", SECOND..=CENTURY),
        }
    }
}

impl Scan {
    pub(crate) fn read(from: &mut Reader<'_>) -> Self {
        Self {
            file_max: from.size("scan.file_max", Bytes(KIB)..=Bytes(GIB)),
            files_max: from.count("scan.files_max", 1..=10_000_000),
            findings_max: from.count("scan.findings_max", 1..=1_000_000),
        }
    }
}

impl Attestation {
    pub(crate) fn read(from: &mut Reader<'_>) -> Self {
        Self { every: from.span("attestation.every", Duration::ZERO..=YEAR) }
    }
}

impl Crypto {
    pub(crate) fn read(from: &mut Reader<'_>) -> Self {
        Self {
            root_key: from.root_key("crypto.root_key"),
            root_key_before: from.root_key("crypto.root_key_before"),
            rotate_every: from.period("crypto.rotate_every", SECOND..=CENTURY),
            suites: from.suites([
                (Domain::Consensus, ["crypto.consensus.suites", "crypto.consensus.checked", "crypto.consensus.bits"]),
                (Domain::Trust, ["crypto.trust.suites", "crypto.trust.checked", "crypto.trust.bits"]),
                (
                    Domain::Governance,
                    ["crypto.governance.suites", "crypto.governance.checked", "crypto.governance.bits"],
                ),
                (Domain::System, ["crypto.system.suites", "crypto.system.checked", "crypto.system.bits"]),
            ]),
        }
    }
}

impl Security {
    pub(crate) fn read(from: &mut Reader<'_>) -> Self {
        Self {
            denials: from.count("security.denials", 2..=1_000),
            within: from.span("security.within", SECOND..=24 * HOUR),
        }
    }
}

impl Gaps {
    pub(crate) fn read(from: &mut Reader<'_>) -> Self {
        Self {
            expiry_warning: from.span("gaps.expiry_warning", SECOND..=12 * HOUR),
            built_in_max: from.span("gaps.built_in_max", SECOND..=YEAR),
        }
    }
}
