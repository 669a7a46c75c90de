//! `sop backup restore`: a store is made beside what is there, verified, replayed and compared, and only then put in its place.
//!
//! # Invariants
//! 1. Nothing that is there changes before the store is whole, and nothing of it is deleted: it is put aside.
//! 2. Whenever this is interrupted, what is there afterwards is what was there before, or does not start, or is the store
//!    that was asked for; asking again brings it to its end.
//! 3. Under one key there is one log: what goes on under the key of the backup has everything that was signed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::ErrorKind;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use backup::BackupId;
use clap::Args;
use config::{Address, Named, S3};
use evidence::BesideKey;
use evidence::note::{Key, PublicKey};
use host::Clock;
use journal::archive::{self, ArchiveError};
use journal::store::{Head, StoreError};
use journal::{Held, Journal, Limits};
use kernel::{Digest, Position, Sequence, Timestamp};
use keystore::{Keeping, Keystore};
use serde_json::{Value, json};
use sop::boot::Places;
use sop::manifests::{Manifest, Recorded};
use sop::shelf::Shelf;
use sop::states::States;
use suites::Policy;
use vault::{Upto, VaultError};
use workers::custodian::log_name;
use zeroize::Zeroizing;

use super::call::Globals;
use super::exit::{Exit, Failure, Run};
use super::output::{answer, cell, count, fields, plain, table};

/// Records read at once.
const CHUNK: usize = 512;

#[derive(Args, Debug)]
pub struct Restore {
    /// The backup: its file, the folder of its log, the place for backups, each also as s3://…, or the directory of an
    /// older release's
    place: PathBuf,
    /// Which one of those in the place; else the newest
    #[arg(long)]
    backup: Option<BackupId>,
    /// No more records than this
    #[arg(long, value_name = "RECORDS", conflicts_with = "to_time")]
    to_size: Option<u64>,
    /// What was recorded until then, such as 2026-11-20T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_rfc3339_weak)]
    to_time: Option<SystemTime>,
    /// Go on with the log of the backup, under this copy of `keys/log`; else another one begins
    #[arg(long, value_name = "FILE", conflicts_with_all = ["to_size", "to_time"])]
    key: Option<PathBuf>,
    /// This key must have signed the backup (`sop audit key backup-manifests.1`); else its own records say which may
    #[arg(long, value_name = "VKEY", value_parser = BesideKey::parse)]
    signed_by: Option<BesideKey>,
    /// Put it in the place of what is there, which is put aside; else it is compared, and nothing changes
    #[arg(long)]
    swap: bool,
}

/// A backup in one of its two forms.
pub enum Source {
    /// A directory of its own.
    Old(PathBuf),
    Vault(vault::Found),
}

/// Where a backup is looked for.
pub enum Where {
    Path(PathBuf),
    Bucket(Named, S3),
}

impl Where {
    /// What somebody wrote; an object store is reached as the configuration says.
    pub fn of(globals: &Globals, place: &Path) -> Result<Self, Failure> {
        let text = place.to_string_lossy();
        if !Address::is_meant(&text) {
            return Ok(Self::Path(place.to_owned()));
        }
        let named = Named::parse(&text).ok_or_else(|| {
            Failure::new("cli.place", format!("{text} is no place in an object store"), "write s3://BUCKET/PREFIX")
        })?;
        Ok(Self::Bucket(named, globals.load()?.backup.s3))
    }
}

impl Source {
    pub fn find(place: &Where, backup: Option<BackupId>) -> Result<Self, VaultError> {
        let backup = backup.map(|backup| backup.0);
        let place = match place {
            Where::Path(path) => path,
            Where::Bucket(Named { place, log, backup: named }, how) => {
                if let (Some(_), Some(_)) = (named, backup.filter(|backup| Some(*backup) != *named)) {
                    return Err(VaultError::NoBackup { place: place.to_string() });
                }
                let target = Shelf::Bucket(place.clone(), how.clone()).open()?;
                return vault::find(target, log.as_deref(), backup.or(*named)).map(Self::Vault);
            }
        };
        if place.join("manifest.json").exists() {
            return Ok(Self::Old(place.to_owned()));
        }
        vault::locate(place, backup).map(Self::Vault)
    }
}

pub fn failed(error: &VaultError) -> Failure {
    let remedy = match error {
        VaultError::NoBackup { .. } => "name a place for backups such as sop-data/backups, or a backup in it",
        VaultError::Several { .. } => "name the folder of one of these logs",
        VaultError::Format { .. } => "restore it with the release that made it",
        VaultError::Broken { .. } => "nothing was restored: use another backup, or another copy of this one",
        VaultError::Signature { .. } => {
            "nothing was restored: it was changed, or lies in the place of another one; use another copy of it"
        }
        VaultError::RevokedKey { .. } => {
            "nothing was restored: use a backup from before that record, or one that another key signed"
        }
        VaultError::Unsigned { .. } => "name the key that signed it, or leave --signed-by out",
        VaultError::Beyond { .. } => "ask for no more than it has, or use a later backup",
        VaultError::Remote { trouble, .. } => trouble.remedy(),
        VaultError::OtherKey { .. } => "name the key of that log, or leave --key out: then another log begins",
        _ => "see the reason, and restore into a directory that is empty",
    };
    Failure::new(error.code(), error.to_string(), remedy)
}

pub fn failed_archive(error: &ArchiveError) -> Failure {
    let remedy = match error {
        ArchiveError::NoBackup { .. } => "name the directory of a backup, such as sop-data/backups/backup-3",
        ArchiveError::Format { .. } => "restore it with the release that made it",
        ArchiveError::Broken { .. } => "nothing was restored: use another backup, or another copy of this one",
        ArchiveError::Io { .. } | ArchiveError::Stopped { .. } | ArchiveError::Store(_) => {
            "see the reason, and restore into a directory that is empty"
        }
    };
    Failure::new(error.code(), error.to_string(), remedy)
}

fn failed_store(error: &StoreError) -> Failure {
    let remedy = match error {
        StoreError::Locked => "stop the daemon first: what is in use is not replaced",
        _ => "see the reason; `sop state verify` looks at the store",
    };
    Failure::new(error.code(), error.to_string(), remedy)
}

pub fn unusable(path: &Path) -> impl Fn(std::io::Error) -> Failure {
    let path = path.to_owned();
    move |error| {
        let detail = format!("{} cannot be used: {error}", plain(&path.display().to_string()));
        Failure::new("cli.data", detail, "name a directory that you own with --data")
    }
}

/// A store, as it stands.
struct Stand {
    journal: Journal,
    head: Head,
    states: BTreeMap<&'static str, (Position, Digest)>,
}

impl Stand {
    /// Opens the store, and replays all of it.
    fn of(path: &Path) -> Result<Self, StoreError> {
        if !path.join("format").exists() {
            return Err(StoreError::Damaged { what: format!("there is no journal in {}", path.display()) });
        }
        let journal = Journal::new(path, Limits::default());
        journal.open()?;
        let mut states = States::default();
        let replayed = each(&journal, Sequence(1), |record| {
            states.replay(record).map_err(|error| StoreError::Damaged { what: error.to_string() })
        });
        replayed.inspect_err(|_| journal.close())?;
        let damaged = |error: journal::codec::CodecError| StoreError::Damaged { what: error.to_string() };
        let (head, states) = (journal.head()?, states.digests().map_err(damaged)?);
        Ok(Self { journal, head, states })
    }

    /// The link after so many records.
    fn link(&self, records: u64) -> Result<Digest, StoreError> {
        if records == self.head.sequence.0 {
            return Ok(self.head.link);
        }
        let next = self.journal.read(Sequence(records + 1), 1)?.pop();
        Ok(next.map(|record| record.previous).unwrap_or_default())
    }

    /// Records after `from`, by their streams.
    fn after(&self, from: u64) -> Result<BTreeMap<String, u64>, StoreError> {
        let mut streams = BTreeMap::new();
        each(&self.journal, Sequence(from + 1), |record| {
            *streams.entry(record.stream.clone()).or_default() += 1;
            Ok(())
        })?;
        Ok(streams)
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        self.journal.close();
    }
}

fn each(
    journal: &Journal,
    from: Sequence,
    mut look: impl FnMut(&journal::envelope::Record) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut next = from;
    loop {
        let records = journal.read(next, CHUNK)?;
        let Some(last) = records.last() else { return Ok(()) };
        next = Sequence(last.sequence.0 + 1);
        records.iter().try_for_each(&mut look)?;
    }
}

/// How many records two stores have in common: their chains are the same up to there, and nowhere after.
fn common(one: &Stand, other: &Stand) -> Result<u64, StoreError> {
    let (mut same, mut differ) = (0, one.head.sequence.0.min(other.head.sequence.0) + 1);
    while same + 1 < differ {
        let middle = same + (differ - same) / 2;
        if one.link(middle)? == other.link(middle)? { same = middle } else { differ = middle }
    }
    Ok(same)
}

/// How what would be restored differs from what is there.
fn compared(now: &Result<Stand, StoreError>, then: &Stand) -> Result<Value, StoreError> {
    let now = match now {
        Ok(now) => now,
        Err(error) => return Ok(json!({ "unreadable": error.to_string(), "code": error.code() })),
    };
    let common = common(now, then)?;
    let machines = now.states.iter().map(|(name, (version, state))| {
        let (restored, other) = then.states[name];
        json!({ "machine": name, "now": version, "restored": restored, "same": *state == other })
    });
    Ok(json!({
        "records": now.head.sequence,
        "common": common,
        "lost": now.after(common)?,
        "gained": then.after(common)?,
        "machines": machines.collect::<Vec<_>>(),
    }))
}

/// Places that a restore fills.
struct Steps {
    /// Where everything is made first.
    staging: PathBuf,
    /// Once this is there nothing starts before the store is in its place.
    between: PathBuf,
    places: Places,
}

impl Steps {
    fn of(places: Places) -> Self {
        let between = places.journal.with_extension("restoring");
        Self { staging: places.data.join("restoring"), between, places }
    }

    /// What is of an earlier restore that was interrupted is none of the data.
    fn is_occupied(&self) -> std::io::Result<bool> {
        let entries = match fs::read_dir(&self.places.data) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            entries => entries?,
        };
        for entry in entries {
            let path = entry?.path();
            if path != self.staging && path != self.between {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Puts what was made in its place, and what was there aside.
    fn swap(&self, aside: &str, key: Option<&str>) -> std::io::Result<Vec<PathBuf>> {
        let Places { data, journal, evidence, log_key, .. } = &self.places;
        let mut moved = Vec::new();
        remove(&self.between)?;
        fs::DirBuilder::new().mode(0o700).create(&self.between)?;
        fs::rename(self.staging.join("journal"), self.between.join("whole"))?;
        sync(data)?;
        for path in [journal, evidence, log_key] {
            let mut name = path.file_name().unwrap_or_default().to_owned();
            name.push(format!(".aside-{aside}"));
            let to = path.with_file_name(name);
            match fs::rename(path, &to) {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                done => {
                    done?;
                    moved.push(to);
                }
            }
        }
        if let Some(key) = key {
            fs::rename(self.staging.join("evidence"), evidence)?;
            let keys = log_key.parent().unwrap_or(data);
            fs::DirBuilder::new().recursive(true).mode(0o700).create(keys)?;
            let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(log_key)?;
            writeln!(file, "{key}")?;
            file.sync_all()?;
            sync(keys)?;
        }
        sync(data)?;
        fs::rename(self.between.join("whole"), journal)?;
        fs::remove_dir(&self.between)?;
        remove(&self.staging)?;
        sync(data)?;
        Ok(moved)
    }
}

fn remove(directory: &Path) -> std::io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn sync(directory: &Path) -> std::io::Result<()> {
    fs::File::open(directory)?.sync_all()
}

/// The key to go on with, as its file has it, if it is that of the backup and its log is not ahead of it. Where the file has the
/// public half alone, the keystore of these places has the private one.
fn key_of(file: &Path, found: &vault::Found, places: &Places) -> Result<Zeroizing<String>, Failure> {
    let no = |detail: String| Failure::new("evidence.key", detail, "name the copy of keys/log that you kept");
    let text =
        fs::read_to_string(file).map(Zeroizing::new).map_err(|error| no(format!("{}: {error}", file.display())))?;
    let text = Zeroizing::new(text.trim_end().to_owned());
    let (public, kept) = match PublicKey::parse(&text) {
        Ok(public) => (public, true),
        Err(_) => (Key::parse(&text).map_err(|error| no(error.to_string()))?.public().clone(), false),
    };
    let signed = found.point().and_then(|point| point.signed()).map_err(|error| failed(&error))?;
    if public != signed.0 {
        return Err(failed(&VaultError::OtherKey { signed: signed.0.to_string() }));
    }
    if kept {
        let store = Keystore::open(&places.keystore, Policy::default()).and_then(|store| store.keys());
        let found = store.map_err(|error| no(error.to_string()))?.remove(&log_name(public.bare()));
        if !matches!(found, Some(Keeping::Kept { .. })) {
            let detail = format!(
                "{} has the public half alone, and the private one is not in {}",
                plain(&file.display().to_string()),
                plain(&places.keystore.display().to_string())
            );
            let remedy = "put the copy of keys/store that you kept there, and restore with --swap; or leave --key out, and another \
                          log begins";
            return Err(Failure::new("evidence.key", detail, remedy));
        }
    }
    // The log there may be damaged; what it says it has signed counts all the same.
    match places.evidence().checkpoint(&public) {
        Ok((there, _)) if signed.1.size < there.size => {
            let detail = format!(
                "the log there has signed {}, and the backup has {}: under one key there is one log",
                count(there.size, "record"),
                signed.1.size
            );
            Err(Failure::new(
                "archive.signed",
                detail,
                "leave --key out, and another log begins; or use a later backup",
            ))
        }
        _ => Ok(text),
    }
}

pub fn run(globals: &Globals, asked: &Restore) -> Run {
    let Some(data) = globals.data.as_deref() else {
        let remedy = "name an empty directory, or one that is not there yet, with --data";
        return Err(Failure::new("cli.data", "a restore does not guess where to", remedy));
    };
    let steps = Steps::of(Places::of(data));
    let place = Where::of(globals, &asked.place)?;
    let source = Source::find(&place, asked.backup).map_err(|error| failed(&error))?;
    let upto = match (asked.to_size, asked.to_time, &asked.key) {
        (Some(size), ..) => Upto::Size(size),
        (_, Some(time), _) => {
            let millis = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
            Upto::Time(Timestamp(u64::try_from(millis).unwrap_or(u64::MAX)))
        }
        (.., Some(_)) => Upto::Signed,
        _ => Upto::Backup,
    };
    let key = match (&asked.key, &source) {
        (None, _) => None,
        (Some(file), Source::Vault(found)) => Some(key_of(file, found, &steps.places)?),
        (Some(_), Source::Old(_)) => {
            let detail = "a backup of an older release has no log to go on with";
            return Err(Failure::new("archive.format", detail, "leave --key out: another log begins"));
        }
    };
    if matches!((&source, upto), (Source::Old(_), Upto::Size(_) | Upto::Time(_))) {
        let detail = "a backup of an older release is restored as a whole";
        return Err(Failure::new("archive.format", detail, "leave out where to end"));
    }
    let occupied = steps.is_occupied().map_err(unusable(data))?;
    // Whoever runs there must neither be looked at half-way nor lose its files.
    drop(alone(&steps.places.journal)?);
    // Before anything is made.
    let manifest = match &source {
        Source::Old(directory) => {
            archive::verify(directory).map_err(|error| failed_archive(&error))?;
            None
        }
        Source::Vault(found) => Some(judged(found, asked.signed_by.as_ref()).map_err(|error| failed(&error))?.1),
    };
    let existed = data.try_exists().map_err(unusable(data))?;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(data).map_err(unusable(data))?;
    remove(&steps.staging).map_err(unusable(data))?;
    fs::DirBuilder::new().mode(0o700).create(&steps.staging).map_err(unusable(data))?;
    let done = stage(&source, upto, key.is_some(), &steps);
    let done = done.and_then(|(from, head)| {
        let then = Stand::of(&steps.staging.join("journal")).map_err(|error| failed_store(&error))?;
        let mut found = json!({
            "backup": asked.place,
            "from": from,
            "entries": head.sequence,
            "head": head.link,
            "data": data,
            "credential": steps.places.credential,
            "signature": manifest.as_ref().map(Manifest::told),
        });
        if occupied {
            let now = Stand::of(&steps.places.journal);
            if let Err(error @ StoreError::Locked) = &now {
                return Err(failed_store(error));
            }
            found["there"] = compared(&now, &then).map_err(|error| failed_store(&error))?;
        }
        if occupied && !asked.swap {
            found["state"] = json!("compared");
            return Ok(found);
        }
        drop(then);
        let held = alone(&steps.places.journal)?;
        let now = UNIX_EPOCH + Duration::from_millis(Clock::system().now().0);
        let aside = humantime::format_rfc3339_seconds(now).to_string().replace([':', '-'], "");
        found["aside"] = json!(steps.swap(&aside, key.as_deref().map(String::as_str)).map_err(unusable(data))?);
        drop(held);
        found["state"] = json!("restored");
        Ok(found)
    });
    if done.as_ref().map_or(true, |found| found["state"] == "compared") {
        // What is left is removed by the next restore.
        let _ = remove(&steps.staging);
        if !existed {
            let _ = fs::remove_dir(data);
        }
    }
    answer(globals.output, &done?, |found| told(found, key.is_some()))?;
    Ok(Exit::Ok)
}

/// Verifies all of a backup, and who signed it: this key, or one of those in its own records.
pub fn judged(found: &vault::Found, by: Option<&BesideKey>) -> Result<(vault::Checked, Manifest), VaultError> {
    let mut recorded = Recorded::default();
    let checked = vault::verify(&*found.target, &found.name, &mut || Ok(()), &mut |record| recorded.take(record))?;
    let manifest = recorded.judge(by, &checked.point, &found.name)?;
    Ok((checked, manifest))
}

/// Keeps others out of the journal that is there, if one is.
pub fn alone(journal: &Path) -> Result<Option<Held>, Failure> {
    if !journal.join("format").exists() {
        return Ok(None);
    }
    Held::take(journal).map(Some).map_err(|error| failed_store(&error))
}

/// Makes the store, and the log if it is to go on, where nobody looks.
fn stage(source: &Source, upto: Upto, log: bool, steps: &Steps) -> Result<(String, Head), Failure> {
    let journal = steps.staging.join("journal");
    match source {
        Source::Old(directory) => {
            let archive = archive::restore(directory, &journal).map_err(|error| failed_archive(&error))?;
            Ok((plain(&directory.display().to_string()), archive.head))
        }
        Source::Vault(found) => {
            let mut go_on = || Ok(());
            let restored = vault::restore(&*found.target, &found.name, upto, &journal, &mut go_on)
                .map_err(|error| failed(&error))?;
            if log {
                let evidence = steps.staging.join("evidence");
                vault::log_into(&*found.target, &found.name, &evidence, &mut go_on).map_err(|error| failed(&error))?;
            }
            Ok((format!("backup-{}", restored.checked.point.backup), restored.head))
        }
    }
}

fn told(found: &Value, log: bool) -> String {
    let records = found["entries"].as_u64().unwrap_or_default();
    let mut said = String::new();
    if found["there"].is_object() {
        said = difference(&found["there"], records);
    }
    if found["state"] == "compared" {
        return format!(
            "{said}\n\nNothing was changed. To put {} in the place of what is there: the same with --swap.",
            count(records, "record")
        );
    }
    if !said.is_empty() {
        said.push_str("\n\n");
    }
    let (restored, from, data) = (count(records, "record"), cell(&found["backup"]), cell(&found["data"]));
    let head = cell(&found["head"]);
    writeln!(said, "{restored} restored from {from} into {data}.\nhead {head}").expect("text takes all");
    if !found["signature"].is_null() {
        writeln!(said, "signature {}", cell(&found["signature"])).expect("text takes all");
    }
    for aside in found["aside"].as_array().into_iter().flatten() {
        writeln!(said, "put aside as {}", cell(aside)).expect("text takes all");
    }
    said.push_str(if log {
        "\nThe log goes on under its key.\n"
    } else {
        "\nThe next start begins another log, under another key.\n"
    });
    if found["there"].is_object() {
        return said.trim_end().to_owned();
    }
    write!(
        said,
        "No credential is in a backup: put the copy that you kept at {},\nor name it with --credential. Then start with \
         `sop up --data {data}`.",
        cell(&found["credential"]),
    )
    .expect("text takes all");
    said
}

fn difference(there: &Value, restored: u64) -> String {
    if !there["unreadable"].is_null() {
        return format!("What is there cannot be compared: {}", cell(&there["unreadable"]));
    }
    let streams = |key: &str| {
        let streams = there[key].as_object().into_iter().flatten();
        let mut records = 0;
        let parts: Vec<_> = streams
            .map(|(stream, number)| {
                records += number.as_u64().unwrap_or_default();
                format!("{} {}", plain(stream), cell(number))
            })
            .collect();
        if parts.is_empty() { "none".to_owned() } else { format!("{records}: {}", parts.join(", ")) }
    };
    let machines = there["machines"].as_array().map(Vec::as_slice).unwrap_or_default();
    let rows = machines.iter().map(|machine| {
        let state = if machine["same"] == true { "the same" } else { "another" };
        [cell(&machine["machine"]), cell(&machine["now"]), cell(&machine["restored"]), state.to_owned()]
    });
    let lines = fields([
        ("now", count(there["records"].as_u64().unwrap_or_default(), "record")),
        ("restored", count(restored, "record")),
        ("common", cell(&there["common"])),
        ("lost", streams("lost")),
        ("gained", streams("gained")),
    ]);
    format!("{lines}\n\n{}", table(["MACHINE", "NOW", "RESTORED", "STATE"], rows))
}
