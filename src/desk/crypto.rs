//! Crypto: the keys that the authority signs with, and what the keystore has of them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::PoisonError;
use std::time::Duration;

use crypto::{Command, Crypto, KeyId, Purpose, Reply, Round, State, Version};
use door::Denied;
use evidence::Holding;
use kernel::{CommandId, Denial, Digest, Layer, Refuse as _, Timestamp};
use keystore::{Keeping, Keystore, Share, Standing};
use serde::Deserialize;
use serde_json::{Value, json};
use suites::{Domain, Signature, Suite, Unknown};
use workers::custodian::{Brought, due_at, name, told, used, usual};
use zeroize::Zeroizing;

use crate::keys::ageing;

use super::{Desk, Given, Request, audit, malformed, number, optional_number, parsed, personal, time};
use crate::beside::{Missed, vkey};
use crate::{bearers, certifier};

/// The keystore makes and destroys a key well within; what takes longer is told as what is still to be done.
const DONE_WITHIN: Duration = Duration::from_secs(5);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Make {
    purpose: Option<Purpose>,
    suite: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Revoke {
    #[serde(deserialize_with = "parsed")]
    key: KeyId,
    #[serde(default, deserialize_with = "optional_number")]
    since: Option<u64>,
    #[serde(default)]
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    #[serde(deserialize_with = "parsed")]
    key: KeyId,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Update {
    /// Answer when it is done; else at once.
    #[serde(default = "yes")]
    wait: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Bring {
    /// The share. So named, it is shown nowhere.
    secret: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sign {
    #[serde(deserialize_with = "parsed")]
    purpose: Purpose,
    /// Of a file, and what is in it.
    name: String,
    #[serde(deserialize_with = "number")]
    length: u64,
    #[serde(deserialize_with = "parsed")]
    sha256: Digest,
    #[serde(deserialize_with = "parsed")]
    blake3: Digest,
}

/// Longest name of a file.
const NAME_MAX: usize = 255;
const NAME: &str = "name is that of a file, up to 255 bytes in one line, without its directory";

fn yes() -> bool {
    true
}

pub async fn answer(desk: &Desk, mut request: Request) -> Given {
    match request.ask.action {
        "crypto.status" => {
            let Nothing {} = request.arguments()?;
            desk.door().witness(&request.about("*")).await?;
            status(desk).await
        }
        "crypto.list" => {
            let Nothing {} = request.arguments()?;
            desk.door().witness(&request.about("*")).await?;
            let all = |crypto: &Crypto| crypto.keys().map(|(key, version)| (key, version.clone())).collect::<Vec<_>>();
            let keys = inspect(desk, all).await?;
            personal::opened(desk, json!({ "keys": shown(desk, keys).await? })).await
        }
        "crypto.authority" => {
            let Nothing {} = request.arguments()?;
            desk.door().witness(&request.about(Purpose::TlsAuthority.name())).await?;
            let parts = desk.parts.clone();
            let authorities = audit::blocking(move || parts.authorities()).await??;
            let shown = authorities.into_iter().map(|(version, certificate)| {
                json!({ "key": Purpose::TlsAuthority.key(version), "certificate": certificate })
            });
            Ok(json!({ "authorities": shown.collect::<Vec<_>>() }))
        }
        "crypto.unseal" => {
            let Bring { secret } = request.arguments()?;
            let share = Zeroizing::new(secret);
            let safe = desk.parts.safe.clone();
            let bringing = async move {
                let share = Share::read(&share).map_err(|error| told(&error))?;
                let Brought { given, needed, unsealed } = audit::blocking(move || safe.bring(share)).await??;
                Ok::<_, Denied>(json!({ "given": given, "needed": needed, "unsealed": unsealed }))
            };
            desk.door().operate(&request.about("*"), bringing).await
        }
        "crypto.generate" => {
            let Make { purpose, suite } = request.arguments()?;
            let ask = request.about(purpose.map_or("*", Purpose::name));
            let wanted = || match purpose {
                Some(purpose) => {
                    let suite = suite.as_deref().map(|suite| allowed(desk, purpose, suite)).transpose()?;
                    Ok::<_, Denial>(vec![(purpose, suite.unwrap_or_else(|| tag(desk, purpose)))])
                }
                None if suite.is_some() => Err(which("suite")),
                None => Ok(Purpose::ALL.map(|purpose| (purpose, tag(desk, purpose))).to_vec()),
            };
            let fit = |keys: Vec<(Purpose, u16)>| {
                keys.iter().try_for_each(|(purpose, tag)| fits(*purpose, *tag)).map(|()| keys)
            };
            let keys = match unsealed(desk).and_then(|()| wanted()).and_then(fit) {
                Ok(keys) => keys,
                Err(denial) => return Err(desk.door().refuse(&ask, denial).await),
            };
            let command = Command::Generate { keys, missing: purpose.is_none() };
            let done = desk.door().perform(&ask, &desk.parts.crypto, command).await?;
            let Reply::Keys { keys } = done.reply else { unreachable!("what makes keys names them") };
            made(desk, &keys, done.first.0, advice(suite.as_deref())).await
        }
        "crypto.rotate" => {
            let Make { purpose, suite } = request.arguments()?;
            let ask = request.about(purpose.map_or("*", Purpose::name));
            let wanted = || match (purpose, suite.as_deref()) {
                (Some(purpose), Some(suite)) => allowed(desk, purpose, suite).map(Some),
                (None, Some(_)) => Err(which("suite")),
                (_, None) => Ok(None),
            };
            let rotated = purpose.map_or(Purpose::ALL.to_vec(), |purpose| vec![purpose]);
            let usual = inspect(desk, move |crypto: &Crypto| {
                let usual = |purpose: &Purpose| crypto.suite_to_come(*purpose).map(|tag| (*purpose, tag));
                rotated.iter().filter_map(usual).collect::<Vec<_>>()
            });
            let usual = usual.await?;
            let fit = |suite: Option<u16>| {
                let mut keys = usual.iter().map(|(purpose, usual)| (*purpose, suite.unwrap_or(*usual)));
                keys.try_for_each(|(purpose, tag)| fits(purpose, tag)).map(|()| suite)
            };
            let suite_of_it = match unsealed(desk).and_then(|()| wanted()).and_then(fit) {
                Ok(suite) => suite,
                Err(denial) => return Err(desk.door().refuse(&ask, denial).await),
            };
            let command = Command::Rotate { purpose, suite: suite_of_it };
            let done = desk.door().perform(&ask, &desk.parts.crypto, command).await?;
            let Reply::Keys { keys } = done.reply else { unreachable!("what makes keys names them") };
            made(desk, &keys, done.first.0, advice(suite.as_deref())).await
        }
        "crypto.revoke" => {
            let Revoke { key, since, reason } = request.arguments()?;
            let ask = request.about(key);
            let (next, id) = (desk.parts.journal.durable().borrow().0 + 1, ask.command_id);
            // The same again is the same record, however many there are by then.
            let before = move |crypto: &Crypto| {
                let revoked = crypto.show(key).and_then(|version| version.revoked.as_ref());
                revoked.filter(|revoked| revoked.id == id).map(|revoked| revoked.since)
            };
            let since = match since {
                Some(since) => since,
                None => inspect(desk, before).await?.unwrap_or(next),
            };
            if next < since {
                let reason = format!("record {since} is still to come: the next one is {next}");
                let denial =
                    Denial::new(Layer::Request, "crypto.no_record", reason, "name one that is there, or the next");
                return Err(desk.door().refuse(&ask, denial).await);
            }
            let asker = desk.door().identify(&ask).await?;
            let reason = personal::sealed_for(desk, &ask, asker, "reason", reason).await?;
            let command = Command::Revoke { key, since, reason };
            let done = desk.door().perform(&ask, &desk.parts.crypto, command).await?;
            let Reply::Revoked { next } = done.reply else { unreachable!("a revocation is answered as one") };
            Ok(json!({ "key": key, "since": since, "next": next, "record": done.first }))
        }
        "crypto.destroy" => {
            let Named { key } = request.arguments()?;
            let ask = request.about(key);
            let done = desk.door().perform(&ask, &desk.parts.crypto, Command::Destroy { key }).await?;
            let gone = move |crypto: &Crypto| crypto.show(key).is_some_and(|version| version.destroyed_at.is_some());
            until(desk, gone).await?;
            let state = if inspect(desk, gone).await? { "destroyed" } else { "destroying" };
            Ok(json!({ "key": key, "state": state, "record": done.first }))
        }
        "crypto.verify" => {
            let Nothing {} = request.arguments()?;
            let ask = request.about("*");
            if let Err(denial) = unsealed(desk) {
                return Err(desk.door().refuse(&ask, denial).await);
            }
            let done = desk.door().perform(&ask, &desk.parts.crypto, Command::Verify).await?;
            let Reply::Verifying { id } = done.reply else { unreachable!("a round is answered as one") };
            let look = move |crypto: &Crypto| ended(crypto.verified(), id);
            until(desk, look).await?;
            Ok(round(inspect(desk, |crypto: &Crypto| crypto.verified().cloned()).await?.as_ref()))
        }
        "crypto.update" => {
            let Update { wait } = request.arguments()?;
            let ask = request.about("*");
            if let Err(denial) = unsealed(desk) {
                return Err(desk.door().refuse(&ask, denial).await);
            }
            let done = desk.door().perform(&ask, &desk.parts.crypto, Command::UpdateRefs).await?;
            let Reply::Updating { id } = done.reply else { unreachable!("a round is answered as one") };
            if wait {
                until(desk, move |crypto: &Crypto| ended(crypto.updated(), id)).await?;
            }
            Ok(round(inspect(desk, |crypto: &Crypto| crypto.updated().cloned()).await?.as_ref()))
        }
        "crypto.sign" => {
            let Sign { purpose, name, length, sha256, blake3 } = request.arguments()?;
            let ask = request.about(format!("{purpose} sha256:{sha256}"));
            let fits = match (purpose, is_name(&name)) {
                (Purpose::Releases, true) => unsealed(desk),
                (Purpose::Releases, false) => Err(malformed(&NAME)),
                _ => {
                    let reason = format!("a key for {purpose} signs nothing that is brought");
                    Err(Denial::new(Layer::Request, "crypto.not_for_that", reason, "sign releases"))
                }
            };
            if let Err(denial) = fits {
                return Err(desk.door().refuse(&ask, denial).await);
            }
            let text = format!("sop release v1\nname {name}\nlength {length}\nsha256 {sha256}\nblake3 {blake3}\n");
            desk.door().operate(&ask, signed(desk, purpose, text)).await
        }
        action => unreachable!("{action} is no action on keys"),
    }
}

/// The signed note of a text, by the key in use. Its first signature waits for the disk.
async fn signed(desk: &Desk, purpose: Purpose, text: String) -> Given {
    let log = desk.parts.evidence.public().map_err(|error| audit::no_evidence(&error))?;
    let parts = desk.parts.clone();
    let signed = audit::blocking(move || {
        let (key, signed) = parts.sign(purpose, text.as_bytes())?;
        let vkey = parts.crypto_view.read(|keys| vkey(log.name(), key, keys.show(key)?));
        let vkey = vkey.expect("what signs is made, and on record");
        let note = format!("{text}\n{}\n", vkey.line(&signed.to_bytes()));
        Ok::<_, Denial>(json!({ "key": key, "vkey": vkey.to_string(), "note": note }))
    });
    Ok(signed.await??)
}

/// Whether it is that of a file, and one line of a note.
fn is_name(name: &str) -> bool {
    let fits = |c: char| !c.is_control() && c != '/';
    (1..=NAME_MAX).contains(&name.len()) && name.chars().all(fits)
}

async fn inspect<R: Send + 'static>(
    desk: &Desk,
    look: impl FnOnce(&Crypto) -> R + Send + 'static,
) -> Result<R, Denied> {
    desk.parts.crypto.inspect(look).await.map_err(|error| error.denial().into())
}

/// Waits until that is on record, or for [`DONE_WITHIN`].
async fn until(desk: &Desk, look: impl Fn(&Crypto) -> bool + Clone + Send + 'static) -> Result<(), Denied> {
    let mut durable = desk.parts.journal.durable();
    let done = async {
        loop {
            durable.borrow_and_update();
            if inspect(desk, look.clone()).await? || durable.changed().await.is_err() {
                return Ok(());
            }
        }
    };
    // It is decided, and done as soon as it can be: whoever asked is told how far that is.
    tokio::time::timeout(DONE_WITHIN, done).await.unwrap_or(Ok(()))
}

fn ended(round: Option<&Round>, id: CommandId) -> bool {
    // Another one, and this one long before it.
    round.is_none_or(|round| round.id != id || round.done_at.is_some())
}

fn unsealed(desk: &Desk) -> Result<(), Denial> {
    desk.parts.safe.sealed().map_or(Ok(()), Err)
}

fn which(argument: &str) -> Denial {
    let reason = format!("a {argument} is of one key, and these may be several");
    Denial::new(Layer::Request, "request.arguments", reason, "say what the key is for")
}

fn tag(desk: &Desk, purpose: Purpose) -> u16 {
    Suite::from(usual(desk.parts.safe.policy(), purpose)).tag()
}

/// The suite of that name, if a key for this may be made of it.
fn allowed(desk: &Desk, purpose: Purpose, name: &str) -> Result<u16, Denial> {
    let named = Suite::named(name).map_err(|unknown| unknown.denial())?;
    let Suite::Signature(suite) = named.suite else {
        let unknown = Unknown { name: name.to_owned(), kind: Some(suites::Kind::Signature) };
        return Err(unknown.denial());
    };
    let (domain, _) = used(purpose);
    desk.parts.safe.policy().allow::<Signature>(domain, suite).map_err(|refusal| refusal.denial())?;
    Ok(named.suite.tag())
}

/// That a key of this suite can sign what keys for that purpose sign.
fn fits(purpose: Purpose, tag: u16) -> Result<(), Denial> {
    bearers::fits(purpose, tag)?;
    certifier::fits(purpose, tag)
}

/// What who used this name should know.
fn advice(name: Option<&str>) -> Option<String> {
    Suite::named(name?).ok()?.advice()
}

/// Waits until each of them is made, or is not after all.
async fn made(desk: &Desk, keys: &[KeyId], record: u64, advice: Option<String>) -> Given {
    let wanted = keys.to_vec();
    let settled = {
        let wanted = wanted.clone();
        move |crypto: &Crypto| {
            let mut versions = wanted.iter().filter_map(|key| crypto.show(*key));
            versions.all(|version| version.made.is_some() || version.state == State::Destroyed)
        }
    };
    until(desk, settled).await?;
    let look = move |crypto: &Crypto| {
        wanted.iter().filter_map(|key| Some((*key, crypto.show(*key)?.clone()))).collect::<Vec<_>>()
    };
    let keys = inspect(desk, look).await?;
    if let Some((key, why)) = keys.iter().find_map(|(key, version)| Some((key, version.abandoned.as_ref()?))) {
        let reason = format!("{key} was not made after all: {why}");
        return Err(Denial::new(Layer::Decide, "crypto.abandoned", reason, "name another suite, or see the log").into());
    }
    let shown = shown(desk, keys).await?;
    personal::opened(desk, json!({ "keys": shown, "record": record, "advice": advice })).await
}

/// What the keystore has, if it was opened.
async fn kept(desk: &Desk) -> Result<BTreeMap<keystore::Name, Keeping>, Denied> {
    let Some(store) = desk.parts.safe.store() else { return Ok(BTreeMap::new()) };
    let kept = audit::blocking(move || store.keys()).await?;
    kept.map_err(|error| told(&error).into())
}

async fn shown(desk: &Desk, keys: Vec<(KeyId, Version)>) -> Result<Vec<Value>, Denied> {
    let (kept, every) = (kept(desk).await?, desk.parts.rotate_every);
    let shown = keys.iter().map(|(key, version)| {
        let keeping = kept.get(&name(key.purpose, version.id, key.version));
        let due = every.filter(|_| version.state == State::Active).and_then(|every| due_at(*key, version, every));
        json!({
            "key": key,
            "purpose": key.purpose,
            "version": key.version,
            "state": version.state,
            "suite": suite(version.suite),
            "by": version.by,
            "asked_at": time(version.asked_at),
            "made_at": version.made.as_ref().map(|made| time(made.at)),
            "public": version.made.as_ref().map(|made| hex(&made.public)),
            "vouched_by": version.made.as_ref().and_then(|made| {
                Some(key.purpose.key(made.voucher.as_ref()?.by))
            }),
            "active_since": version.activated_at.map(time),
            "due_at": due.map(time),
            "ended_at": version.ended_at.map(time),
            "revoked_since": version.revoked.as_ref().map(|revoked| revoked.since),
            "reason": version.revoked.as_ref().map(|revoked| &revoked.reason),
            "destroyed_at": version.destroyed_at.map(time),
            "abandoned": version.abandoned,
            "root": match keeping {
                Some(Keeping::Kept { root, .. }) => Some(root.to_string()),
                Some(Keeping::Destroyed { .. } | Keeping::Damaged) | None => None,
            },
        })
    });
    Ok(shown.collect())
}

pub(super) fn suite(tag: u16) -> String {
    Suite::tagged(tag).map_or_else(|| format!("{tag:#06x}"), |suite| suite.to_string())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a text cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

async fn status(desk: &Desk) -> Given {
    let look = |crypto: &Crypto| {
        let active = crypto.keys().filter(|(_, version)| version.state == State::Active);
        let active: Vec<_> = active.map(|(key, version)| (key, version.clone())).collect();
        let waits = crypto.tasks().count();
        (active, crypto.keys().count(), waits, crypto.updated().cloned(), crypto.verified().cloned())
    };
    let (active, keys, waits, updated, verified) = inspect(desk, look).await?;
    let standing = desk.parts.safe.store().as_ref().map(Keystore::standing);
    let (state, root) = match standing {
        Some(Standing::Unsealed { root, rotating: false }) => ("unsealed", Some(root)),
        Some(Standing::Unsealed { root, rotating: true }) => ("moving", Some(root)),
        Some(Standing::Sealed { root }) => ("sealed", Some(root)),
        Some(Standing::New) | None => ("sealed", None),
    };
    let kept = kept(desk).await?;
    let elsewhere = |keeping: &Keeping| matches!(keeping, Keeping::Kept { root: of, .. } if Some(*of) != root);
    let backlog = kept.values().filter(|keeping| elsewhere(keeping)).count();
    let damaged = kept.values().filter(|keeping| matches!(keeping, Keeping::Damaged)).count();
    let why = desk.parts.safe.sealed();
    let policy = desk.parts.safe.policy();
    let domains = Domain::ALL.map(|domain| {
        let names = |suites: &mut dyn Iterator<Item = Suite>| suites.map(Suite::name).collect::<Vec<_>>();
        json!({
            "domain": domain.name(),
            "bits": policy.bits(domain),
            "makes": names(&mut policy.makes(domain)),
            "checks": names(&mut policy.checks(domain)),
        })
    });
    let sunsets = Suite::ALL.into_iter().filter_map(|suite| {
        let sunset = suite.sunset()?;
        Some(json!({ "suite": suite.name(), "until": time(sunset.at), "instead": sunset.instead }))
    });
    let showing = desk.parts.showing.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let certificate = showing
        .map(|showing| json!({ "key": Purpose::TlsAuthority.key(showing.version), "until": time(showing.until) }));
    let log = desk.parts.evidence.standing();
    let (held, still) = match log.holding {
        None => (None, None),
        Some(Holding::Kept) => (Some("keystore"), None),
        Some(Holding::File) => (Some("file"), None),
        Some(Holding::FileStill(why)) => (Some("file"), Some(why)),
    };
    let now = desk.now();
    let due: Vec<_> = desk
        .parts
        .rotate_every
        .into_iter()
        .flat_map(|every| active.iter().filter_map(move |one| due(one, every, now)))
        .collect();
    Ok(json!({
        "keystore": {
            "state": state,
            "code": why.as_ref().map(|why| &why.code),
            "why": why.as_ref().map(|why| &why.reason),
            "remedy": why.as_ref().map(|why| &why.remedy),
            "root": root.map(|root| root.to_string()),
            "trouble": desk.parts.safe.trouble().map(|trouble| trouble.reason),
            "source": desk.parts.safe.source().map(ToString::to_string),
            "module": "software",
            "under_another_root": backlog,
            "damaged": damaged,
        },
        // The key that the tile log is known by, and where its private half is.
        "log": { "key": log.key.map(|key| key.to_string()), "in": held, "why": still },
        "keys": keys,
        "active": active.iter().map(|(key, version)| json!({ "key": key, "suite": suite(version.suite) })).collect::<Vec<_>>(),
        "waits": waits,
        "rotate_every_ms": desk.parts.rotate_every.map(|every| u64::try_from(every.as_millis()).unwrap_or(u64::MAX)),
        "due": due,
        "certificate": certificate,
        "missed": missed(desk),
        "domains": domains,
        "sunsets": sunsets.collect::<Vec<_>>(),
        "updated": updated.as_ref().map(|updated| round(Some(updated))),
        "verified": verified.as_ref().map(|verified| round(Some(verified))),
    }))
}

/// What is not signed although a key is in use for it, since when, and why.
pub(super) fn missed(desk: &Desk) -> Value {
    let shown = |(purpose, missed): (Purpose, Missed)| {
        let Missed { key, since, why } = missed;
        json!({ "purpose": purpose, "key": key, "since": time(since), "code": why.code, "why": why.reason })
    };
    desk.parts.signer.missed().into_iter().map(shown).collect()
}

/// A key of whose time there is little left, or nothing.
fn due((key, version): &(KeyId, Version), every: Duration, now: Timestamp) -> Option<Value> {
    let (due, percent) = ageing(*key, version, every, now)?;
    Some(json!({ "key": key, "due_at": time(due), "percent": percent }))
}

fn round(round: Option<&Round>) -> Value {
    let Some(Round { id, by, asked_at, done_at, done, left, found, found_in_all }) = round else { return Value::Null };
    json!({
        "id": id,
        "by": by,
        "asked_at": time(*asked_at),
        "state": if done_at.is_some() { "done" } else { "going" },
        "done_at": done_at.map(time),
        "done": done,
        "left": left,
        "found": found,
        "found_in_all": found_in_all,
    })
}
