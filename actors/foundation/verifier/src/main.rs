//! `sop-verify`: the verdict on what an authority recorded, for who does not trust it.
//!
//! Exit codes: 0 it is what was signed, 2 it is not, 64 it was called wrongly, 74 a file could not be read.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use verifier::beside::{Chain, Signer};
use verifier::log::{Failure, Wanted};
use verifier::note::{Checkpoint, Key, Trust};
use verifier::release::Release;
use verifier::{Bad, attestation, beside, export, hex, log, proof, release};

const USAGE: &str = "\
Verifies what an authority recorded and signed. It shares no code with the authority, and needs nothing but files.

  sop-verify log DIRECTORY --key VKEY [--from SEQUENCE] [--noted FILE]
      A log, or a copy of it (checkpoint, tile/, blobs/): every record, hash and signature in it.
      --from   the records from this one on; of those before it, the hashes alone
      --noted  a checkpoint that was noted earlier: the log must be what it was then, or go on from there
  sop-verify proof FILE --key VKEY
      That one record was signed (sop audit proof); the record is printed as JSON.
  sop-verify export DIRECTORY --key VKEY
      Records that were given away (sop audit export): each of them, and its line in records.jsonl.
  sop-verify attestation FILE --key VKEY [--log DIRECTORY]
      What the authority said of itself (sop audit attest).
      --log    a copy of the log: it must have the tree and the streams that the attestation names, and be what was signed

  sop-verify release FILE --signature FILE --key VKEY
      That a file is the one that an authority signed as a release (sop crypto sign releases).

  --key VKEY      the key of the log, as `sop audit key` showed it when you noted it; or one beside it, as `sop audit key --all`
                  shows them, instead of it or, repeated, besides: what is given must have signed
  --succession FILE   which keys followed those (sop audit key --succession FILE): then one that follows is as good
  --witness VKEY  the key of a witness (cosignature/v1); may be repeated
  --quorum N      so many of the witnesses must have cosigned; without it, all of them

Exit codes: 0 it is what was signed; 2 it is not, and the first bad record is named; 64 wrong call; 74 a file could not be read.
";

enum Verdict {
    Good(String),
    Bad(Bad),
    Usage(String),
    Io(PathBuf, std::io::Error),
}

impl From<Bad> for Verdict {
    fn from(bad: Bad) -> Self {
        Self::Bad(bad)
    }
}

impl From<Failure> for Verdict {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Bad(bad) => Self::Bad(bad),
            Failure::Io(path, error) => Self::Io(path, error),
        }
    }
}

fn main() -> ExitCode {
    let verdict = verdict(std::env::args().skip(1)).unwrap_or_else(|verdict| verdict);
    let (text, code) = match verdict {
        Verdict::Good(text) => (text, 0),
        Verdict::Bad(bad) => (format!("{bad}\n"), 2),
        Verdict::Usage(what) => {
            eprintln!("sop-verify: {what}; see sop-verify --help");
            return ExitCode::from(64);
        }
        Verdict::Io(path, error) => {
            eprintln!("sop-verify: {} could not be read: {error}", path.display());
            return ExitCode::from(74);
        }
    };
    // Whoever does not want to read it has the exit code.
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::from(code)
}

#[derive(Default)]
struct Call {
    words: Vec<String>,
    keys: Vec<String>,
    succession: Option<PathBuf>,
    signature: Option<PathBuf>,
    witnesses: Vec<String>,
    quorum: Option<usize>,
    from: Option<u64>,
    noted: Option<PathBuf>,
    log: Option<PathBuf>,
}

fn verdict(arguments: impl Iterator<Item = String>) -> Result<Verdict, Verdict> {
    let mut call = Call::default();
    let mut arguments = arguments;
    while let Some(argument) = arguments.next() {
        let wrong = |what: &str| Verdict::Usage(format!("{argument} takes {what}"));
        let mut value = |what: &str| arguments.next().ok_or_else(|| wrong(what));
        match argument.as_str() {
            "-h" | "--help" | "help" => return Ok(Verdict::Good(USAGE.to_owned())),
            "-V" | "--version" => {
                return Ok(Verdict::Good(concat!("sop-verify ", env!("CARGO_PKG_VERSION"), "\n").into()));
            }
            "--key" => call.keys.push(value("a key")?),
            "--succession" => call.succession = Some(value("a file")?.into()),
            "--signature" => call.signature = Some(value("a file")?.into()),
            "--witness" => call.witnesses.push(value("a key")?),
            "--quorum" => call.quorum = Some(value("a number")?.parse().map_err(|_| wrong("a number"))?),
            "--from" => call.from = Some(value("a sequence")?.parse().map_err(|_| wrong("a sequence"))?),
            "--log" => call.log = Some(value("a directory")?.into()),
            "--noted" => call.noted = Some(value("a file")?.into()),
            option if option.starts_with('-') => return Err(Verdict::Usage(format!("there is no option {option}"))),
            _ => call.words.push(argument),
        }
    }
    let words: Vec<_> = call.words.iter().map(String::as_str).collect();
    if let ["release", file] = words[..] {
        return a_release(Path::new(file), &call);
    }
    let trust = call.trust()?;
    match words[..] {
        ["log", directory] => a_log(Path::new(directory), &trust, &call),
        ["attestation", file] => an_attestation(Path::new(file), &trust, &call),
        ["export", directory] => an_export(Path::new(directory), &trust),
        ["proof", file] => a_proof(Path::new(file), &trust),
        _ => Err(Verdict::Usage(
            "say what to verify: log DIRECTORY, proof FILE, export DIRECTORY, attestation FILE or release FILE".into(),
        )),
    }
}

impl Call {
    fn trust(&self) -> Result<Trust, Verdict> {
        if self.keys.is_empty() {
            return Err(Verdict::Usage("--key is missing: nothing is right without it".into()));
        }
        let witnesses: Vec<_> =
            self.witnesses.iter().map(|vkey| Key::witness(vkey)).collect::<Result<_, _>>().map_err(Verdict::Usage)?;
        let quorum = self.quorum.unwrap_or(witnesses.len());
        if witnesses.len() < quorum {
            return Err(Verdict::Usage(format!("--quorum {quorum} needs as many witnesses, each with --witness")));
        }
        let (mut log, mut beside) = (None, Vec::new());
        for vkey in &self.keys {
            match Key::log(vkey) {
                Ok(_) if log.is_some() => return Err(Verdict::Usage("a log has one key of its own".into())),
                Ok(key) => log = Some(key),
                Err(_) => beside.push(self.chain(vkey, "checkpoints")?),
            }
        }
        let trust = Trust { log, beside, witnesses, quorum };
        match trust.beside.iter().find(|chain| chain.log() != trust.origin()) {
            Some(other) => Err(Verdict::Usage(format!("{} is not of {}", other.name(), trust.origin()))),
            None => Ok(trust),
        }
    }

    /// A key beside that of the log, with those that follow it.
    fn chain(&self, vkey: &str, purpose: &str) -> Result<Chain, Verdict> {
        let chain = Chain::of(beside::Key::parse(vkey).map_err(Verdict::Usage)?);
        if chain.purpose() != purpose {
            return Err(Verdict::Usage(format!("{} is for {}, not for {purpose}", chain.name(), chain.purpose())));
        }
        match &self.succession {
            None => Ok(chain),
            Some(file) => Ok(chain.followed(&text(file)?).map_err(Bad::new)?),
        }
    }
}

fn text(path: &Path) -> Result<String, Verdict> {
    match fs::read(path) {
        Ok(bytes) => String::from_utf8(bytes).map_err(|_| Bad::new(format!("{} is no text", path.display())).into()),
        Err(error) => Err(Verdict::Io(path.to_owned(), error)),
    }
}

/// What was found, what that rests on, and what it does not say.
struct Report {
    found: Vec<String>,
    checked: Vec<String>,
    not_checked: Vec<String>,
}

impl Report {
    fn on(checkpoint: &Checkpoint, trust: &Trust) -> Self {
        Self::over(checkpoint, None, trust)
    }

    /// The same over a checkpoint of which the witnesses saw an older one, perhaps.
    fn over(checkpoint: &Checkpoint, older: Option<&Checkpoint>, trust: &Trust) -> Self {
        let Checkpoint { origin, size, root, .. } = checkpoint;
        let cosigned = &older.unwrap_or(checkpoint).cosigned;
        let found = vec![format!("log   {origin}"), format!("size  {size}"), format!("root  {root}")];
        let by = if trust.log.is_some() { origin.as_str() } else { "a key beside that of the log" };
        let mut checked = vec![format!("{by} has signed the tree of {size} records")];
        let (has, of, needed) = (cosigned.len(), trust.witnesses.len(), trust.quorum);
        if of != 0 {
            let what =
                older.map_or("it".to_owned(), |older| format!("its beginning, the first {} records", older.size));
            checked.push(format!("{has} of {of} witnesses have cosigned {what}; {needed} must"));
        }
        checked.extend(checkpoint.beside.iter().map(beside_it));
        checked
            .extend(cosigned.iter().map(|(name, time)| format!("cosigned by {name} at {time} (seconds since 1970)")));
        let mut not_checked = vec!["that the key is the authority's: compare it with the one you noted".to_owned()];
        if needed == 0 {
            not_checked.push("that others are shown the same history: no witness was asked for".to_owned());
        }
        if let Some(older) = older {
            let first = older.size + 1;
            not_checked
                .push(format!("that others are shown the same records {first} to {size}: no witness saw them yet"));
        }
        not_checked.push("the times in the records: they are the authority's own".to_owned());
        Self { found, checked, not_checked }
    }

    fn text(&self, head: &str) -> String {
        let list = |title: &str, lines: &[String]| {
            lines.iter().fold(format!("\n{title}\n"), |text, line| format!("{text}  - {line}\n"))
        };
        let found = self.found.join("\n");
        format!("{head}\n{found}\n{}{}", list("checked", &self.checked), list("not checked", &self.not_checked))
    }
}

fn a_log(directory: &Path, trust: &Trust, call: &Call) -> Result<Verdict, Verdict> {
    readable(directory)?;
    let noted = call.noted.as_deref().map(text).transpose()?;
    let wanted = Wanted { from: call.from.unwrap_or(1), noted, ..Wanted::default() };
    let verified = log::verify(directory, trust, &wanted)?;
    let mut report = Report::over(&verified.checkpoint, verified.cosigned.as_ref(), trust);
    let (from, size) = (verified.from, verified.checkpoint.size);
    report.found.extend(verified.head.map(|head| format!("head  {}", hex(&head))));
    report.checked.extend([
        format!("{} tiles are what was signed", verified.tiles),
        format!("every record in {} bundles and {} blobs is what was signed", verified.bundles, verified.blobs),
        "every record decodes, and carries the blake3 of the one before".to_owned(),
        "sequences and the versions of each stream have no gaps; epochs and times of a stream never go back".to_owned(),
    ]);
    match verified.noted {
        Some(size) => report.checked.push(format!("the history goes on from the checkpoint of {size} that was noted")),
        None => {
            report.not_checked.push("that nothing was cut off or replaced since earlier: --noted FILE does".to_owned());
        }
    }
    if let Some((index, record)) = verified.pruned {
        report.checked.push(format!("record {record} says that the first {index} records have left the log"));
        report.not_checked.push(format!(
            "the records 1 to {index}, which have left the log: their hashes alone are what was signed; record {record} names \
             the backup that has them"
        ));
    }
    if verified.pruned.map_or(0, |(index, _)| index) + 1 < from {
        report.not_checked.push(format!("the records before {from}: their hashes alone are what was signed"));
    }
    let head = format!("Intact: records {from} to {size}, {} streams.", verified.streams);
    Ok(Verdict::Good(report.text(&if size == 0 { "Intact: nothing is signed yet.".to_owned() } else { head })))
}

fn an_export(directory: &Path, trust: &Trust) -> Result<Verdict, Verdict> {
    readable(directory)?;
    let verified = export::verify(directory, trust)?;
    let mut report = Report::on(&verified.checkpoint, trust);
    let (first, last) = (verified.first, verified.last);
    report.checked.extend([
        "every record is under the root that was signed, in its place".to_owned(),
        "every record decodes, and carries the blake3 of the one before".to_owned(),
        "the versions of each stream have no gaps; epochs and times of a stream never go back".to_owned(),
        "records.jsonl is what these records say, byte for byte".to_owned(),
    ]);
    if verified.proofs != 0 {
        report.checked.push(format!("{} proofs of single records", verified.proofs));
    }
    report.not_checked.push("shown.jsonl: it is what the authority says of the bodies".to_owned());
    report.not_checked.push(format!("the records before {first} and after {last}, which are not here"));
    Ok(Verdict::Good(report.text(&format!("Proven: records {first} to {last}, {} streams.", verified.streams))))
}

fn an_attestation(file: &Path, trust: &Trust, call: &Call) -> Result<Verdict, Verdict> {
    let said = attestation::verify(&text(file)?, trust)?;
    let found = [
        format!("log            {}", said.origin),
        format!("time           {} (milliseconds since 1970)", said.time),
        format!("program        {} blake3 {}", said.version, said.program),
        format!("configuration  blake3 {}", said.configuration),
        format!("policy epoch   {} blake3 {}", said.policy_epoch, said.policies),
        format!("checkpoint     {} {}", said.size, said.root),
    ];
    let states =
        said.states.iter().map(|(name, (version, digest))| format!("state          {name} {version} {digest}"));
    let mut report = Report {
        found: found.into_iter().chain(states).collect(),
        checked: trust
            .log
            .iter()
            .map(|log| format!("{} has signed this", log.name()))
            .chain(said.beside.iter().map(beside_it))
            .collect(),
        not_checked: vec![
            "that the key is the authority's: compare it with the one you noted".to_owned(),
            "that program, configuration and policies are those you expect: compare their digests".to_owned(),
            "that the states follow from the records: only the program itself can say".to_owned(),
        ],
    };
    let Some(directory) = &call.log else {
        report.not_checked.push("that the log has this tree: --log DIRECTORY does".to_owned());
        return Ok(Verdict::Good(report.text("Signed: an attestation.")));
    };
    readable(directory)?;
    let name = format!("attestation blake3:{}", said.digest);
    let wanted = Wanted { tree: Some((said.size, said.root)), named: Some(name), ..Wanted::default() };
    let verified = log::verify(directory, trust, &wanted)?;
    for (name, (version, _)) in &said.states {
        let reached = verified.versions.get(name).copied().unwrap_or_default();
        if reached < *version {
            let what = format!("the attestation names version {version} of {name}, and the log has {reached}");
            return Err(Bad::new(what).into());
        }
    }
    report.checked.push(format!("the log is what was signed, and its first {} records are this tree", said.size));
    report.checked.push("the log has every version of a stream that is named".to_owned());
    match verified.found {
        Some(at) => report.checked.push(format!("record {at} of the log names this attestation")),
        None => report.not_checked.push("its own record: the log does not have it, or not yet".to_owned()),
    }
    Ok(Verdict::Good(report.text("Signed: an attestation.")))
}

fn beside_it(signer: &Signer) -> String {
    format!("{} has signed it ({})", signer.name, signer.suite)
}

fn a_release(file: &Path, call: &Call) -> Result<Verdict, Verdict> {
    let ([vkey], Some(signature)) = (&call.keys[..], &call.signature) else {
        return Err(Verdict::Usage("a release is verified with --key VKEY and --signature FILE".into()));
    };
    let chain = call.chain(vkey, "releases")?;
    let content = fs::read(file).map_err(|error| Verdict::Io(file.to_owned(), error))?;
    let Release { name, length, sha256, blake3, signer } = release::verify(&content, &text(signature)?, &chain)?;
    let report = Report {
        found: vec![
            format!("name    {name}"),
            format!("length  {length}"),
            format!("sha256  {sha256}"),
            format!("blake3  {blake3}"),
        ],
        checked: vec![beside_it(&signer), "the file is what was signed, byte for byte".to_owned()],
        not_checked: vec![
            "that the key is the authority's: compare it with the one you noted".to_owned(),
            "that nothing newer was signed since".to_owned(),
        ],
    };
    Ok(Verdict::Good(report.text("Signed: a release.")))
}

fn readable(directory: &Path) -> Result<(), Verdict> {
    fs::read_dir(directory).map(drop).map_err(|error| Verdict::Io(directory.to_owned(), error))
}

fn a_proof(file: &Path, trust: &Trust) -> Result<Verdict, Verdict> {
    let proven = proof::verify(&text(file)?, trust)?;
    let mut report = Report::on(&proven.checkpoint, trust);
    report.checked.push(format!("the record is entry {} of that tree", proven.sequence - 1));
    report.found.push(match &proven.record {
        Some(record) => format!("\n{record}"),
        None => "\nThe record is over 65,535 bytes: its blake3 is what the log holds.".to_owned(),
    });
    Ok(Verdict::Good(report.text(&format!("Proven: record {} was signed.", proven.sequence))))
}
