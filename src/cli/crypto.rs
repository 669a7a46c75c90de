//! `sop crypto`: status, keys, authority, and the root key in shares.

use std::fs::{DirBuilder, File};
use std::io::Read as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use ::crypto::{KeyId, Purpose};
use clap::{Args, Subcommand};
use kernel::{Millis, Refuse as _};
use keystore::{Keystore, KeystoreError, NewRoot, Share, Source, Standing};
use serde_json::{Value, json};
use sop::boot::Places;
use suites::{Domain, Hash, Policy};

use super::audit::written;
use super::call::{Globals, Mutation, read_secret};
use super::exit::{Exit, Failure, Run};
use super::output::{answer, cell, count, fields, plain, plain_lines, table};
use super::restore::alone;
use super::secret::{given, write_text};
use super::security::{list, present};

/// What an option without its value is.
const EACH: &str = "";

#[derive(Subcommand, Debug)]
pub enum Crypto {
    /// Show the keystore, which suites each domain may use, which keys are in use and which will be due
    Status,
    /// Print the certificates that clients of the API may believe, the newest first, in PEM
    Authority,
    /// While no daemon runs: draw a root key in shares, any --needed of which open the keystore, each in a file of --out
    Shares(Shares),
    /// Bring a share of the root key; with enough of them the keystore is unsealed
    Unseal(Unseal),
    /// List the keys, or have one made, rotated, tried, revoked or destroyed (exit code 2: --verify found something)
    Keys(Box<Keys>),
    /// Sign a file with the key for releases: a note apart from it, which `sop-verify release` checks anywhere
    Sign {
        /// What for: releases
        purpose: String,
        file: PathBuf,
        /// Where to; else FILE.sig
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        #[command(flatten)]
        mutation: Mutation,
    },
}

#[derive(Args, Debug)]
pub struct Shares {
    /// So many of them open it
    #[arg(long, value_name = "N")]
    needed: u8,
    /// So many are made
    #[arg(long, value_name = "N")]
    of: u8,
    /// A directory, which is made: a file for each holder
    #[arg(long, value_name = "DIRECTORY")]
    out: PathBuf,
    /// A share of the root key in use, where that is one in shares; as often as it takes
    #[arg(long, value_name = "FILE")]
    share_file: Vec<PathBuf>,
}

#[derive(Args, Debug)]
pub struct Unseal {
    /// File with the share; else it is read from standard input
    #[arg(long, value_name = "FILE")]
    share_file: Option<PathBuf>,
    #[command(flatten)]
    mutation: Mutation,
}

#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("what").multiple(false))]
pub struct Keys {
    /// List them; so it is without an option, too
    #[arg(long, group = "what")]
    list: bool,
    /// Have a key made for checkpoints, receipts, token-root, backup-manifests, releases or tls-authority: the first one is in
    /// use at once, a later one when it is rotated to. Without PURPOSE, one for each that has none
    #[arg(long, group = "what", value_name = "PURPOSE", num_args = 0..=1, default_missing_value = EACH)]
    generate: Option<String>,
    /// Use another key from now on, for this or for each that has one; what the one before signed still counts
    #[arg(long, group = "what", value_name = "PURPOSE", num_args = 0..=1, default_missing_value = EACH)]
    rotate: Option<String>,
    /// Have each key tried, and compared with what is on record of it
    #[arg(long, group = "what")]
    verify: bool,
    /// Let what this key signed from a record on not count; another one takes its place
    #[arg(long, group = "what", value_name = "KEY")]
    revoke: Option<String>,
    /// End the private part of a key that is not in use; what it signed is checked as before
    #[arg(long, group = "what", value_name = "KEY")]
    destroy: Option<String>,
    /// Have the keys wrapped under the root key in use, after another one was configured
    #[arg(long, group = "what")]
    update_refs: bool,
    /// The suite of the key: ed25519, ml-dsa-65, ed25519+ml-dsa-65 …; that of the one before, or the usual one
    #[arg(long, value_name = "SUITE")]
    suite: Option<String>,
    /// The first record that does not count; the next one is the default
    #[arg(long, requires = "revoke", value_name = "SEQUENCE")]
    since: Option<u64>,
    /// Why, in words; sealed
    #[arg(long, default_value = "", hide_default_value = true, requires = "revoke")]
    reason: String,
    #[command(flatten)]
    mutation: Mutation,
}

pub async fn run(globals: &Globals, command: Crypto) -> Run {
    if let Crypto::Shares(asked) = &command {
        return shares(globals, asked);
    }
    let (remote, format) = (globals.remote()?, globals.output);
    let asked = match command {
        Crypto::Status => {
            answer(format, &remote.read("crypto.status", &json!({})).await?, status)?;
            return Ok(Exit::Ok);
        }
        Crypto::Authority => {
            let known = remote.read("crypto.authority", &json!({})).await?;
            answer(format, &known, |known| {
                let texts = list(known, "authorities").iter().filter_map(|one| one["certificate"].as_str());
                texts.map(plain_lines).collect::<Vec<_>>().join("\n")
            })?;
            return Ok(Exit::Ok);
        }
        Crypto::Unseal(Unseal { share_file, mutation }) => {
            let share = given(share_file.as_deref(), "--share-file FILE")?;
            let arguments = json!({ "secret": share.expose() });
            let brought = remote.change("crypto.unseal", &arguments, mutation.id()).await?;
            answer(format, &brought, |told| {
                if told["unsealed"] == true {
                    return "The keystore is unsealed.".to_owned();
                }
                let (given, needed) = (cell(&told["given"]), cell(&told["needed"]));
                format!("Taken: {given} of the {needed} shares that it takes are there.")
            })?;
            return Ok(Exit::Ok);
        }
        Crypto::Shares(_) => unreachable!("it was carried out above, without the daemon"),
        Crypto::Sign { purpose, file, out, mutation } => {
            let arguments = digests(&purpose, &file)?;
            let signed = remote.change("crypto.sign", &arguments, mutation.id()).await?;
            let out = out.unwrap_or_else(|| {
                let mut name = file.clone().into_os_string();
                name.push(".sig");
                name.into()
            });
            written(&out, signed["note"].as_str().unwrap_or_default())?;
            answer(format, &signed, |signed| {
                fields([
                    ("signed", plain(&file.display().to_string())),
                    ("sha256", cell(&arguments["sha256"])),
                    ("by", cell(&signed["key"])),
                    ("in", plain(&out.display().to_string())),
                ])
            })?;
            return Ok(Exit::Ok);
        }
        Crypto::Keys(asked) => *asked,
    };
    let Keys { list: _, generate, rotate, verify, revoke, destroy, update_refs, suite, since, reason, mutation } =
        asked;
    let of =
        |purpose: &str| present(json!({ "purpose": Some(purpose).filter(|purpose| *purpose != EACH), "suite": suite }));
    if let Some(purpose) = generate {
        let made = remote.change("crypto.generate", &of(&purpose), mutation.id()).await?;
        answer(format, &made, keys)?;
    } else if let Some(purpose) = rotate {
        let made = remote.change("crypto.rotate", &of(&purpose), mutation.id()).await?;
        answer(format, &made, keys)?;
    } else if let Some(key) = revoke {
        let arguments = present(json!({ "key": key, "since": since, "reason": reason }));
        let revoked = remote.change("crypto.revoke", &arguments, mutation.id()).await?;
        answer(format, &revoked, |told| {
            let (key, since) = (cell(&told["key"]), cell(&told["since"]));
            let next = match &told["next"] {
                Value::Null => String::new(),
                next => format!(" {} takes its place.", cell(next)),
            };
            // What it signs stands in no record.
            if key.parse::<KeyId>().is_ok_and(|key| key.purpose == Purpose::TokenRoot) {
                return format!("No bearer form that {key} signed counts any more, whenever that was.{next}");
            }
            format!("What {key} signed from record {since} on does not count; what it signed before does.{next}")
        })?;
    } else if let Some(key) = destroy {
        let destroyed = remote.change("crypto.destroy", &json!({ "key": key }), mutation.id()).await?;
        answer(format, &destroyed, |told| match (cell(&told["key"]), told["state"].as_str()) {
            (key, Some("destroyed")) => format!("The private part of {key} is destroyed."),
            (key, _) => {
                format!("The private part of {key} is to be destroyed, and nothing uses it: see `sop crypto status`.")
            }
        })?;
    } else if verify {
        let tried = remote.change("crypto.verify", &json!({}), mutation.id()).await?;
        answer(format, &tried, |round| {
            let tried = count(round["done"].as_u64().unwrap_or_default(), "key");
            found(round, &format!("{tried} tried."))
        })?;
        return Ok(if tried["found_in_all"] == 0 { Exit::Ok } else { Exit::Findings });
    } else if update_refs {
        let updated = remote.change("crypto.update", &json!({}), mutation.id()).await?;
        answer(format, &updated, |round| {
            let moved = count(round["done"].as_u64().unwrap_or_default(), "key");
            found(round, &format!("{moved} moved to the root key in use."))
        })?;
        return Ok(if updated["found_in_all"] == 0 { Exit::Ok } else { Exit::Findings });
    } else {
        answer(format, &remote.read("crypto.list", &json!({})).await?, keys)?;
    }
    Ok(Exit::Ok)
}

/// Draws a root key in shares. Each is on disk, and was read back, before it comes into use.
fn shares(globals: &Globals, asked: &Shares) -> Run {
    let config = globals.load()?;
    let places = Places::of(&config.store.data);
    let _alone = alone(&places.journal)?;
    let of = |error: &KeystoreError| Failure::new(error.code(), error.to_string(), error.remedy());
    let store = Keystore::open(&places.keystore, Policy::default()).map_err(|error| of(&error))?;
    if store.standing() != Standing::New {
        let source = config.crypto.root_key.as_ref().map(ToString::to_string).unwrap_or_default();
        let given = if asked.share_file.is_empty() {
            let source: Source = source.parse().map_err(|_| no_root())?;
            let fetched = source.fetch(|name| std::env::var_os(name)).map_err(|error| of(&error))?;
            fetched.ok_or_else(no_root)?
        } else {
            let shares = asked.share_file.iter().map(|file| {
                let text = read_secret(file)?;
                Share::read(text.expose()).map_err(|error| of(&error))
            });
            keystore::Given::Shares(shares.collect::<Result<_, Failure>>()?)
        };
        store.unseal(&given).map_err(|error| of(&error))?;
    }
    let (new, shares) = NewRoot::shared(&Policy::default(), asked.needed, asked.of).map_err(|error| of(&error))?;
    let unwritten = |file: &Path, why: &dyn std::fmt::Display| {
        let detail = format!("{} cannot be written: {why}", file.display());
        Failure::new("cli.share_file", detail, "name a directory that is not there yet, and that you may make")
    };
    let mut made = DirBuilder::new();
    made.mode(0o700).create(&asked.out).map_err(|error| unwritten(&asked.out, &error))?;
    let mut files = Vec::new();
    for share in &shares {
        let file = asked.out.join(format!("share-{}", share.number()));
        let text = share.reveal();
        let text = std::str::from_utf8(text.expose()).expect("a share is of letters and digits");
        write_text(&file, text).map_err(|error| unwritten(&file, &error))?;
        let back = read_secret(&file)?;
        if !Share::read(back.expose()).is_ok_and(|back| back == *share) {
            return Err(unwritten(&file, &"what was written is not what is read"));
        }
        files.push(file);
    }
    let synced = File::open(&asked.out).and_then(|directory| directory.sync_all());
    synced.map_err(|error| unwritten(&asked.out, &error))?;
    let root = match store.standing() {
        Standing::New => store.initialise(new),
        _ => store.rotate_root(new),
    };
    let root = root.map_err(|error| of(&error))?;
    let told = json!({ "root": root.to_string(), "needed": asked.needed, "of": asked.of, "files": files });
    answer(globals.output, &told, |told| {
        let files = fields(list(told, "files").iter().map(|file| ("share", cell(file))));
        let (root, needed) = (cell(&told["root"]), cell(&told["needed"]));
        format!(
            "root key  {root}\n{files}\n\nAny {needed} of them open the keystore, and nothing else does. Give each to its holder, keep none here, and set\n\
             crypto.root_key = \"shares\". After a start each holder brings his: sop crypto unseal --share-file FILE"
        )
    })?;
    Ok(Exit::Ok)
}

fn no_root() -> Failure {
    let detail = "the keystore has keys, and the root key in use is not here to move them from";
    let remedy =
        "configure it as crypto.root_key, or give enough of its shares: --share-file FILE, as often as it takes";
    Failure::new("crypto.root_missing", detail, remedy)
}

/// What is signed of a file.
fn digests(purpose: &str, file: &Path) -> Result<Value, Failure> {
    let failed = |error: std::io::Error| {
        Failure::new(
            "cli.file",
            format!("{} cannot be read: {error}", plain(&file.display().to_string())),
            "name a file",
        )
    };
    let policy = Policy::default();
    let hasher = |hash| policy.allow::<Hash>(Domain::Trust, hash).expect("every digest is allowed there").hasher();
    let (mut sha256, mut blake3, mut length) = (hasher(Hash::Sha256), hasher(Hash::Blake3), 0);
    let (mut read, mut chunk) = (File::open(file).map_err(failed)?, vec![0; 1 << 16]);
    loop {
        let bytes = match read.read(&mut chunk).map_err(failed)? {
            0 => break,
            count => &chunk[..count],
        };
        sha256.update(bytes);
        blake3.update(bytes);
        length += bytes.len() as u64;
    }
    let hex = |digest: suites::hashing::Digest| {
        let bytes = digest.bytes().try_into().expect("both have 32 bytes");
        kernel::Digest(bytes)
    };
    let (sha256, blake3, name) =
        (hex(sha256.finish()), hex(blake3.finish()), file.file_name().unwrap_or_default().to_string_lossy());
    Ok(json!({ "purpose": purpose, "name": name, "length": length, "sha256": sha256, "blake3": blake3 }))
}

fn keys(told: &Value) -> String {
    let keys = list(told, "keys");
    if keys.is_empty() {
        return "There is no key yet: `sop crypto keys --generate PURPOSE`.".to_owned();
    }
    let row = |key: &Value| {
        let state = match (key["state"].as_str(), key["made_at"].is_null(), key["destroyed_at"].is_null()) {
            (Some("pre-active"), true, _) => "being made".to_owned(),
            (Some("destroyed"), _, true) => "being destroyed".to_owned(),
            _ => cell(&key["state"]),
        };
        let state = match &key["revoked_since"] {
            Value::Null => state,
            since => format!("{state} since {}", cell(since)),
        };
        [cell(&key["key"]), state, cell(&key["suite"]), cell(&key["made_at"]), cell(&key["due_at"])]
    };
    let mut shown = table(["KEY", "STATE", "SUITE", "MADE", "DUE"], keys.iter().map(row));
    if keys.iter().any(|key| key["state"] == "pre-active" && key["made_at"].is_null()) {
        shown.push_str("\n\nWhat is being made is on record, and made as soon as it can be: see `sop crypto status`.");
    }
    match &told["advice"] {
        Value::Null => shown,
        advice => format!("{shown}\n\nnote: {}", cell(advice)),
    }
}

fn found(round: &Value, done: &str) -> String {
    if round["state"] != "done" {
        return format!("{done} It goes on: see `sop crypto status`.");
    }
    let found = list(round, "found");
    if found.is_empty() {
        return format!("{done} Nothing is wrong with them.");
    }
    let row = |one: &Value| [cell(&one["key"]), cell(&one["code"]), cell(&one["why"])];
    format!("{done}\n\n{}", table(["KEY", "CODE", "WHY"], found.iter().map(row)))
}

fn status(status: &Value) -> String {
    let keystore = &status["keystore"];
    let mut known = vec![("keystore", cell(&keystore["state"]))];
    for (name, key) in
        [("why", "why"), ("remedy", "remedy"), ("trouble", "trouble"), ("root key", "root"), ("from", "source")]
    {
        if !keystore[key].is_null() {
            known.push((name, cell(&keystore[key])));
        }
    }
    for (name, key) in [("to be moved", "under_another_root"), ("damaged", "damaged")] {
        if let Some(number) = keystore[key].as_u64().filter(|number| *number != 0) {
            known.push((name, count(number, "key")));
        }
    }
    let log = &status["log"];
    known.push((
        "log key",
        match (log["in"].as_str(), log["why"].as_str()) {
            (Some("keystore"), _) => "in the keystore".to_owned(),
            (Some(_), None) => "in a file of its own, in plain".to_owned(),
            (Some(_), Some(why)) => format!("in a file of its own, in plain: {}", plain(why)),
            (None, _) => "none yet: the log begins once the keystore is unsealed".to_owned(),
        },
    ));
    known.push(("keys", cell(&status["keys"])));
    for key in list(status, "active") {
        known.push(("in use", format!("{} ({})", cell(&key["key"]), cell(&key["suite"]))));
    }
    let certificate = &status["certificate"];
    if !certificate.is_null() {
        let (key, until) = (cell(&certificate["key"]), cell(&certificate["until"]));
        known.push(("certificate", format!("of {key}, until {until}")));
    }
    if let Some(waits) = status["waits"].as_u64().filter(|waits| *waits != 0) {
        known.push(("to be done", waits.to_string()));
    }
    let every = status["rotate_every_ms"].as_u64();
    known.push(("rotated", every.map_or("when asked".to_owned(), |every| format!("after {}", Millis(every)))));
    for key in list(status, "due") {
        known.push((
            "due",
            format!(
                "{} at {}, {} % of its time is over",
                cell(&key["key"]),
                cell(&key["due_at"]),
                cell(&key["percent"])
            ),
        ));
    }
    for missed in list(status, "missed") {
        let (key, since) = (cell(&missed["key"]), cell(&missed["since"]));
        known.push((
            "not signed",
            format!("{} by {key}, since {since}: {}", cell(&missed["purpose"]), cell(&missed["why"])),
        ));
    }
    for (name, key) in [("verified", "verified"), ("updated", "updated")] {
        let round = &status[key];
        if !round.is_null() {
            let at = if round["done_at"].is_null() { "going on".to_owned() } else { cell(&round["done_at"]) };
            let (done, wrong) = (cell(&round["done"]), cell(&round["found_in_all"]));
            known.push((name, format!("{at}: {done}, of which {wrong} are not as they should be")));
        }
    }
    let row = |domain: &Value| {
        let names = |key: &str| list(domain, key).iter().map(cell).collect::<Vec<_>>().join(" ");
        [cell(&domain["domain"]), cell(&domain["bits"]), names("makes")]
    };
    let domains = table(["DOMAIN", "BITS", "MAY USE"], list(status, "domains").iter().map(row));
    let sunset = |one: &Value| [cell(&one["suite"]), cell(&one["until"]), cell(&one["instead"])];
    let sunsets = table(["NO LONGER MADE", "CHECKED UNTIL", "INSTEAD"], list(status, "sunsets").iter().map(sunset));
    format!("{}\n\n{domains}\n\n{sunsets}", fields(known))
}
