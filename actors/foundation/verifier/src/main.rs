//! `sop-verify`: the verdict on what an authority recorded, for who does not trust it.
//!
//! Exit codes: 0 it is what was signed, 2 it is not, 64 it was called wrongly, 74 a file could not be read.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use verifier::log::{Failure, Wanted};
use verifier::note::{Checkpoint, Key, Trust};
use verifier::{Bad, hex, log, proof};

const USAGE: &str = "\
Verifies what an authority recorded and signed. It shares no code with the authority, and needs nothing but files.

  sop-verify log DIRECTORY --key VKEY [--from SEQUENCE] [--noted FILE]
      A log, or a copy of it (checkpoint, tile/, blobs/): every record, hash and signature in it.
      --from   the records from this one on; of those before it, the hashes alone
      --noted  a checkpoint that was noted earlier: the log must be what it was then, or go on from there
  sop-verify proof FILE --key VKEY
      That one record was signed (sop audit proof); the record is printed as JSON.

  --key VKEY      the key of the log, as `sop audit key` showed it when you noted it
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
    key: Option<String>,
    witnesses: Vec<String>,
    quorum: Option<usize>,
    from: Option<u64>,
    noted: Option<PathBuf>,
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
            "--key" => call.key = Some(value("a key")?),
            "--witness" => call.witnesses.push(value("a key")?),
            "--quorum" => call.quorum = Some(value("a number")?.parse().map_err(|_| wrong("a number"))?),
            "--from" => call.from = Some(value("a sequence")?.parse().map_err(|_| wrong("a sequence"))?),
            "--noted" => call.noted = Some(value("a file")?.into()),
            option if option.starts_with('-') => return Err(Verdict::Usage(format!("there is no option {option}"))),
            _ => call.words.push(argument),
        }
    }
    let trust = call.trust()?;
    match call.words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["log", directory] => a_log(Path::new(directory), &trust, &call),
        ["proof", file] => a_proof(Path::new(file), &trust),
        _ => Err(Verdict::Usage("say what to verify: log DIRECTORY or proof FILE".into())),
    }
}

impl Call {
    fn trust(&self) -> Result<Trust, Verdict> {
        let key = self
            .key
            .as_deref()
            .ok_or_else(|| Verdict::Usage("--key is missing: nothing is right without it".into()))?;
        let witnesses: Vec<_> =
            self.witnesses.iter().map(|vkey| Key::witness(vkey)).collect::<Result<_, _>>().map_err(Verdict::Usage)?;
        let quorum = self.quorum.unwrap_or(witnesses.len());
        if witnesses.len() < quorum {
            return Err(Verdict::Usage(format!("--quorum {quorum} needs as many witnesses, each with --witness")));
        }
        Ok(Trust { log: Key::log(key).map_err(Verdict::Usage)?, witnesses, quorum })
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
        let Checkpoint { origin, size, root, cosigned } = checkpoint;
        let found = vec![format!("log   {origin}"), format!("size  {size}"), format!("root  {root}")];
        let mut checked = vec![format!("{origin} has signed the tree of {size} records")];
        let (has, of, needed) = (cosigned.len(), trust.witnesses.len(), trust.quorum);
        if of != 0 {
            checked.push(format!("{has} of {of} witnesses have cosigned it; {needed} must"));
        }
        checked
            .extend(cosigned.iter().map(|(name, time)| format!("cosigned by {name} at {time} (seconds since 1970)")));
        let mut not_checked = vec!["that the key is the authority's: compare it with the one you noted".to_owned()];
        if needed == 0 {
            not_checked.push("that others are shown the same history: no witness was asked for".to_owned());
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
    if let Err(error) = fs::read_dir(directory) {
        return Err(Verdict::Io(directory.to_owned(), error));
    }
    let noted = call.noted.as_deref().map(text).transpose()?;
    let wanted = Wanted { from: call.from.unwrap_or(1), noted };
    let verified = log::verify(directory, trust, &wanted)?;
    let mut report = Report::on(&verified.checkpoint, trust);
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
    if 1 < from {
        report.not_checked.push(format!("the records before {from}: their hashes alone are what was signed"));
    }
    let head = format!("Intact: records {from} to {size}, {} streams.", verified.streams);
    Ok(Verdict::Good(report.text(&if size == 0 { "Intact: nothing is signed yet.".to_owned() } else { head })))
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
