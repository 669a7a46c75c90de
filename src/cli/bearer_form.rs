//! The bearer form of a token on the side of who holds it: nobody is asked.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bearer::{Carried, Key, Narrower, PublicKey, Refusal, Says, Use};
use clap::Args;
use crypto::Purpose;
use kernel::{Digest, Principal, Refuse as _, Timestamp};
use serde_json::{Value, json};

use super::call::read_secret;
use super::exit::{Exit, Failure, Run};
use super::output::{Format, answer, fields};
use super::secret::{Given, write_text};

#[derive(Args, Debug)]
pub struct Attenuate {
    /// Good there alone
    #[arg(long)]
    audience: Option<String>,
    /// Good for that operation alone
    #[arg(long)]
    operation: Option<String>,
    /// Good for that thing alone
    #[arg(long)]
    target: Option<String>,
    /// blake3 of the one request that it is good for
    #[arg(long, value_name = "DIGEST")]
    request: Option<Digest>,
    /// No longer good from then on, such as 2027-01-01T00:00:00Z
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<Timestamp>,
    /// Who hands it on
    #[arg(long, requires = "to")]
    from: Option<Principal>,
    /// To whom
    #[arg(long, requires = "from")]
    to: Option<Principal>,
    /// File with the key to sign that with (sop token new-key)
    #[arg(long, value_name = "FILE")]
    sign_with: Option<PathBuf>,
    /// Write it to a new file of mode 0600 instead of showing it
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    bearer: Given,
}

#[derive(Args, Debug)]
pub struct Verify {
    /// The authority's public key (sop token key); may be given again, where there are several (sop token key --all)
    #[arg(long, required = true)]
    key: Vec<PublicKey>,
    /// Where it is to be good
    #[arg(long)]
    audience: String,
    /// What it is to be good for
    #[arg(long)]
    operation: String,
    /// On what
    #[arg(long)]
    target: Option<String>,
    /// blake3 of the request
    #[arg(long, value_name = "DIGEST")]
    request: Option<Digest>,
    /// When; else now
    #[arg(long, value_name = "TIME", value_parser = time)]
    at: Option<Timestamp>,
    /// Whose public key is whose, such as agent/alpha=ed25519/…; may be given again
    #[arg(long, value_name = "WHO=KEY", value_parser = known)]
    actor: Vec<(Principal, PublicKey)>,
    /// Demand that it is in the hands of that one: of its subject, or of whom each handed it on to who had it, signed with the key
    /// that --actor names as his
    #[arg(long, value_name = "WHO")]
    presenter: Option<Principal>,
    #[command(flatten)]
    bearer: Given,
}

pub fn attenuate(format: Format, asked: &Attenuate) -> Run {
    let Attenuate { audience, operation, target, request, until, from, to, sign_with, out, bearer } = asked;
    let narrower = Narrower {
        audience: audience.clone(),
        operation: operation.clone(),
        target: target.clone(),
        request: *request,
        until: *until,
        hop: from.clone().zip(to.clone()),
    };
    let key = sign_with.as_deref().map(read_key).transpose()?;
    let less = bearer::attenuate(bearer.read()?.expose(), &narrower, key.as_ref()).map_err(|no| failure(&no))?;
    let made = match out {
        None => json!({ "bearer": less }),
        Some(file) => {
            write_text(file, &less).map_err(|error| unwritten(file, &error))?;
            json!({ "bearer_file": file })
        }
    };
    answer(format, &made, |made| match made["bearer"].as_str() {
        Some(text) => text.to_owned(),
        None => format!("In {}.", made["bearer_file"].as_str().unwrap_or_default()),
    })?;
    Ok(Exit::Ok)
}

pub fn inspect(format: Format, bearer: &Given) -> Run {
    let says = bearer::inspect(bearer.read()?.expose()).map_err(|no| failure(&no))?;
    answer(format, &shown(&says, &[]), |all| format!("{}\nNothing of it was verified.", text(all)))?;
    Ok(Exit::Ok)
}

pub fn verify(format: Format, asked: &Verify) -> Run {
    let Verify { key, audience, operation, target, request, at, actor, presenter, bearer } = asked;
    let wanted = Use {
        audience,
        operation,
        work: None,
        target: target.as_deref(),
        request: *request,
        now: at.unwrap_or_else(now),
    };
    let secret = bearer.read()?;
    let verified = by_any(key, secret.expose()).and_then(|carried| {
        let good = carried.permits(&wanted).and_then(|()| presented_by(carried.says(), actor, presenter.as_ref()));
        good.map(|()| shown(carried.says(), actor))
    });
    let (told, exit) = match verified {
        Ok(mut all) => {
            all["good"] = json!(true);
            (all, Exit::Ok)
        }
        Err(no) => {
            let told = json!({ "good": false, "code": no.code(), "reason": no.to_string(), "remedy": no.remedy() });
            (told, Exit::Findings)
        }
    };
    answer(format, &told, |told| {
        if told["good"] == true {
            let rest = "Whether it was revoked, and has uses left, the authority knows alone: sop token validate.";
            return format!("Good for that.\n{}\n{rest}", text(told));
        }
        let of = |name: &str| told[name].as_str().unwrap_or_default().to_owned();
        format!("Not good: {} ({}).\n  remedy: {}", of("reason"), of("code"), of("remedy"))
    })?;
    Ok(exit)
}

/// Whether it is in the hands of who presents it, if somebody is named.
fn presented_by(says: &Says, actors: &[(Principal, PublicKey)], presenter: Option<&Principal>) -> Result<(), Refusal> {
    let Some(presenter) = presenter else { return Ok(()) };
    let holder = says.holder(|who, key| actors.iter().any(|(known, of)| known == who && of == key))?;
    if holder == presenter { Ok(()) } else { Err(Refusal::OtherHolder { holder: holder.clone() }) }
}

/// Verified with the one of these keys that signed it.
fn by_any(keys: &[PublicKey], text: &str) -> Result<Carried, Refusal> {
    let forged = Err(Refusal::Forged);
    keys.iter().fold(forged, |verified, key| match verified {
        Err(Refusal::Forged) => Carried::verify(text, key),
        told => told,
    })
}

pub fn new_key(format: Format, file: &Path) -> Run {
    let key = Key::generate();
    write_text(file, &key.secret()).map_err(|error| unwritten(file, &error))?;
    let made = json!({ "key": key.public().to_string(), "key_file": file });
    answer(format, &made, |made| made["key"].as_str().unwrap_or_default().to_owned())?;
    Ok(Exit::Ok)
}

fn read_key(file: &Path) -> Result<Key, Failure> {
    let secret = read_secret(file)?;
    Key::parse(secret.expose()).map_err(|_| {
        let detail = format!("there is no key in {}", file.display());
        Failure::new("cli.secret_unreadable", detail, "make one with `sop token new-key FILE`")
    })
}

fn shown(says: &Says, actors: &[(Principal, PublicKey)]) -> Value {
    let Says { version, claims, narrowed, hops } = says;
    let time = |at: Timestamp| {
        let at = SystemTime::UNIX_EPOCH + std::time::Duration::from_millis(at.0);
        humantime::format_rfc3339_seconds(at).to_string()
    };
    let hops = hops.iter().map(|hop| {
        let known = hop.key.is_some_and(|key| actors.iter().any(|(who, of)| *who == hop.from && *of == key));
        let key = hop.key.map(|key| key.to_string());
        json!({ "from": hop.from, "to": hop.to, "key": key, "known": known })
    });
    json!({
        "token": claims.id,
        "version": version.map(|version| Purpose::TokenRoot.key(version)),
        "kind": claims.kind,
        "subject": claims.subject,
        "issuer": claims.issuer,
        "audience": claims.audience,
        "operation": claims.operation,
        "target": claims.target,
        "request": claims.request,
        "todo": claims.todo.map(|todo| format!("todo-{todo}")),
        "starts_at": time(claims.starts_at),
        "expires_at": time(claims.expires_at),
        "narrowed": narrowed,
        "hops": hops.collect::<Vec<_>>(),
    })
}

fn text(all: &Value) -> String {
    let of = |name: &str| all[name].as_str().unwrap_or_default().to_owned();
    let mut known = vec![
        ("token", of("token")),
        ("kind", of("kind")),
        ("subject", of("subject")),
        ("issuer", of("issuer")),
        ("good for", format!("{} at {}", of("operation"), of("audience"))),
    ];
    for (name, key) in [("target", "target"), ("request", "request"), ("todo", "todo"), ("key", "version")] {
        if !all[key].is_null() {
            known.push((name, of(key)));
        }
    }
    known.push(("begins", of("starts_at")));
    known.push(("expires", of("expires_at")));
    for block in all["narrowed"].as_array().into_iter().flatten() {
        let checks: Vec<_> = block.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        known.push(("narrowed", if checks.is_empty() { "by nothing".to_owned() } else { checks.join("; ") }));
    }
    for hop in all["hops"].as_array().into_iter().flatten() {
        let of = |name: &str| hop[name].as_str().unwrap_or_default();
        let by = match (hop["known"] == true, hop["key"].as_str()) {
            (true, _) => format!("signed by {}", of("from")),
            (false, Some(key)) => format!("signed with {key}"),
            (false, None) => "unsigned".to_owned(),
        };
        known.push(("handed on", format!("{} to {}, {by}", of("from"), of("to"))));
    }
    fields(known)
}

fn failure(refusal: &Refusal) -> Failure {
    Failure::new(refusal.code(), refusal.to_string(), refusal.remedy())
}

fn unwritten(file: &Path, error: &std::io::Error) -> Failure {
    let detail = format!("{} cannot be made: {error}", file.display());
    Failure::new("cli.secret_file", detail, "name a new file that you may make")
}

#[expect(clippy::disallowed_methods, reason = "this is the holder's side, which has no other clock")]
fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

fn time(text: &str) -> Result<Timestamp, String> {
    let at = humantime::parse_rfc3339(text).map_err(|error| error.to_string())?;
    let since = at.duration_since(SystemTime::UNIX_EPOCH).map_err(|error| error.to_string())?;
    u64::try_from(since.as_millis()).map(Timestamp).map_err(|error| error.to_string())
}

fn known(text: &str) -> Result<(Principal, PublicKey), String> {
    let (who, key) = text.split_once('=').ok_or("a principal, an equals sign and a key")?;
    let who = who.parse::<Principal>().map_err(|error| error.to_string())?;
    Ok((who, key.parse::<PublicKey>().map_err(|error| error.to_string())?))
}
