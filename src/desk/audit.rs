//! The audit: the journal's own records, listed, shown, verified, proven, and explained as decisions.

use std::collections::BTreeMap;

use ::crypto::{Crypto, Purpose};
use ::proofs::Proofs;
use ::subscriptions::Subscriptions;
use allocator::Allocator;
use approvals::Approvals;
use backup::Backups;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use door::{Ask, Decisions, Denied, Outcomes, Pass};
use evidence::verify::{Checked, Depth};
use evidence::{CosignError, Evidence, LogError, Minimum, Witnessed, Witnesses};
use gaps::Gaps;
use governance::Governance;
use health::Health;
use identity::Identity;
use journal::codec::{self, CodecError};
use journal::envelope::{Answer, Record, link};
use kernel::{
    Asked, Attribute, CommandId, Decision, Denial, Digest, Kind, Layer, Machine, Millis, Recorded, Sequence, Timestamp,
};
use nexus::Nexus;
use retention::Retention;
use security::Security;
use serde::Deserialize;
use serde_json::{Value, json};
use subjects::Subjects;
use todos::Todos;
use tokens::Tokens;
use workers::witness::Trouble;

use crate::attest;
use crate::beside::{self, Judged, Said};
use crate::decided::{self, Verdict};
use crate::outcomes::{Became, Outlook, State};

use super::{
    Desk, Given, Request, crypto, flag, malformed, number, optional_flag, optional_number, optional_time, permission,
    personal, time, unknown,
};
use crate::subscriptions::kinds;

/// Records listed at once if nothing is asked.
const LIST_DEFAULT: u64 = 50;
/// And at most.
const LIST_MAX: u64 = 1_000;
/// Records given away at once, in bytes; at least one is.
const EXPORT_BYTES: usize = 512 * 1024;
/// Records read at once when looking for one.
const CHUNK: u64 = 1_024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    /// First sequence; without it, the newest records are listed.
    #[serde(default, deserialize_with = "optional_number")]
    from: Option<u64>,
    #[serde(default, deserialize_with = "optional_number")]
    limit: Option<u64>,
    stream: Option<String>,
    principal: Option<String>,
    /// As it was asked for.
    action: Option<String>,
    resource: Option<String>,
    /// What was allowed and done, or what was denied or refused.
    #[serde(default, deserialize_with = "optional_flag")]
    allowed: Option<bool>,
    /// What became of it.
    outcome: Option<State>,
    /// Recorded since then.
    #[serde(default, deserialize_with = "optional_time")]
    since: Option<Timestamp>,
    /// What bears on security: denials, authority that changed, what was detected and what was done about it.
    #[serde(default, deserialize_with = "flag")]
    security: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Show {
    /// A sequence number, or a command id.
    record: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Verify {
    #[serde(default, deserialize_with = "optional_number")]
    from: Option<u64>,
    /// Every file of the tile log, too.
    #[serde(default, deserialize_with = "flag")]
    deep: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Key {
    /// Those that sign beside it, too.
    #[serde(default, deserialize_with = "flag")]
    all: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Newest {
    /// The one that most witnesses have cosigned, and of those the newest.
    #[serde(default, deserialize_with = "flag")]
    cosigned: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cosign {
    /// A checkpoint of this log with the cosignatures of witnesses, as a signed note.
    checkpoint: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Prove {
    #[serde(deserialize_with = "number")]
    record: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Export {
    #[serde(deserialize_with = "number")]
    from: u64,
    /// Without it, the newest.
    #[serde(default, deserialize_with = "optional_number")]
    to: Option<u64>,
    /// The proofs, and no records.
    #[serde(default, deserialize_with = "flag")]
    prove: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Explain {
    /// The command id of the request, or the sequence of its record.
    decision: String,
}

pub async fn answer(desk: &Desk, mut request: Request) -> Given {
    match request.ask.action {
        "audit.list" => {
            let asked: List = request.arguments()?;
            let ask = request.about(asked.stream.as_deref().unwrap_or("*"));
            let scope = Scope::of(desk, ask).await?;
            listed(desk, asked, scope).await
        }
        "audit.show" => {
            let Show { record } = request.arguments()?;
            let mut scope = Scope::of(desk, request.about(&record)).await?;
            let records = find(desk, &record).await?;
            scope.all(&records).await?;
            let mut outlook = outlook(desk)?;
            let shown = |record: &Record| Ok(with_outcome(full(record), became(&mut outlook, record)?));
            let shown = records.iter().map(shown).collect::<Result<Vec<_>, Denial>>()?;
            personal::opened(desk, json!({ "records": shown })).await
        }
        "audit.verify" => {
            let Verify { from, deep } = request.arguments()?;
            desk.door().witness(&request.about("*")).await?;
            verified(desk, Sequence(from.unwrap_or(1).max(1)), deep).await
        }
        "audit.key" => {
            let Key { all } = request.arguments()?;
            desk.door().witness(&request.about("*")).await?;
            let key = desk.parts.evidence.public().map_err(|error| no_evidence(&error))?;
            let mut told = json!({
                "key": key.to_string(),
                "origin": key.name(),
                "algorithm": "Ed25519",
                "missed": crypto::missed(desk),
            });
            if all {
                told["beside"] = keys_beside(desk, key.name());
            }
            Ok(told)
        }
        "audit.checkpoint" => {
            let Newest { cosigned } = request.arguments()?;
            desk.door().witness(&request.about("*")).await?;
            let standing = desk.parts.evidence.standing();
            let (checkpoint, note) = if cosigned {
                let log = desk.parts.evidence.clone();
                let widest = blocking(move || log.widest()).await?;
                let none = || unknown("evidence.no_witness", &"cosigned checkpoint yet", "see `sop status`");
                widest.map(|one| (one.checkpoint.clone(), one.note())).ok_or_else(none)?
            } else {
                desk.parts.evidence.checkpoint().map_err(|error| no_evidence(&error))?
            };
            Ok(json!({
                "origin": checkpoint.origin,
                "size": checkpoint.size,
                "root": checkpoint.root.to_string(),
                "checkpoint": note,
                "lag": standing.lag,
                "failing": standing.failure.map(|failing| failing.why),
            }))
        }
        "audit.proof" => {
            let Prove { record } = request.arguments()?;
            desk.door().witness(&request.about(record)).await?;
            proven(desk, Sequence(record)).await
        }
        "audit.attest" => {
            let Nothing {} = request.arguments()?;
            let attesting = async { attest::attest(&desk.parts).await.map_err(|error| Denied::from(error.denial())) };
            let attested = desk.door().operate(&request.about("*"), attesting).await?;
            Ok(json!({
                "attestation": attested.note,
                "digest": attested.digest,
                "record": attested.record,
                "file": attested.file.display().to_string(),
            }))
        }
        "audit.cosign" => {
            let Cosign { checkpoint } = request.arguments()?;
            // What it claims to be of; whether it is, is looked at next.
            let size = checkpoint.lines().nth(1).and_then(|size| size.parse::<u64>().ok());
            let size = size.ok_or_else(|| malformed(&"that is no checkpoint"))?;
            desk.door().operate(&request.about(size), cosigned(desk, checkpoint)).await
        }
        "audit.export" => {
            let Export { from, to, prove } = request.arguments()?;
            let newest = desk.parts.journal.durable().borrow().0;
            let (_, cosigned) = *desk.parts.evidence.sizes().borrow();
            let to = to.unwrap_or(match desk.parts.evidence.witnesses().quorum {
                0 => newest,
                // What can be proven now. If nothing can, the proofs say why.
                _ => newest.min(cosigned.max(from)),
            });
            let mut scope = Scope::of(desk, request.about(format!("{from}-{to}"))).await?;
            if from == 0 || to < from {
                return Err(malformed(&"from is 1 at least, and to is not before it").into());
            }
            if newest < to {
                return Err(unknown("audit.unknown_record", &format!("record {to}"), "see `sop audit list`"));
            }
            let (from, to) = (Sequence(from), Sequence(to));
            // What is given away is proven as a whole: nothing in it can be left out.
            scope.every_stream().await?;
            if prove { proven_run(desk, from, to).await } else { given_away(desk, from, to).await }
        }
        "decision.explain" => {
            let Explain { decision } = request.arguments()?;
            let mut scope = Scope::of(desk, request.about(&decision)).await?;
            let records = find(desk, &decision).await?;
            scope.all(&records).await?;
            let mut outlook = outlook(desk)?;
            let became = records.first().map_or(Ok(None), |record| became(&mut outlook, record))?;
            let mut explained = explained(desk, &records);
            let first = explained["records"][0].take();
            explained["records"][0] = with_outcome(first, became.clone());
            Ok(with_outcome(explained, became))
        }
        action => unreachable!("{action} is no action on the audit"),
    }
}

/// What somebody may read: the policies that let him ask are asked about each stream as well.
struct Scope<'a> {
    desk: &'a Desk,
    ask: Ask,
    pass: Pass,
    streams: BTreeMap<String, Result<(), Denial>>,
    /// Records that are not for him.
    withheld: u64,
}

impl<'a> Scope<'a> {
    /// Lets the request in, or not, and has that on record.
    async fn of(desk: &'a Desk, ask: Ask) -> Result<Self, Denied> {
        let pass = desk.door().witness(&ask).await?;
        Ok(Self { desk, ask, pass, streams: BTreeMap::new(), withheld: 0 })
    }

    fn stream(&mut self, stream: &str) -> Result<(), Denial> {
        let Self { desk, ask, pass, .. } = self;
        let asked = || desk.door().permits(pass, ask.action, stream);
        self.streams.entry(stream.to_owned()).or_insert_with(asked).clone()
    }

    /// Of a list, what he may not read is left out.
    fn shows(&mut self, record: &Record) -> bool {
        let shows = self.stream(&record.stream).is_ok();
        self.withheld += u64::from(!shows);
        shows
    }

    /// What was asked for by itself is shown, or denied.
    async fn all(&mut self, records: &[Record]) -> Result<(), Denied> {
        for record in records {
            if let Err(denial) = self.stream(&record.stream) {
                return Err(self.desk.door().refuse(&self.ask, denial).await);
            }
        }
        Ok(())
    }

    async fn every_stream(&mut self) -> Result<(), Denied> {
        for (stream, _) in self.desk.parts.machines() {
            if let Err(denial) = self.stream(stream) {
                return Err(self.desk.door().refuse(&self.ask, denial).await);
            }
        }
        Ok(())
    }
}

async fn listed(desk: &Desk, asked: List, mut scope: Scope<'_>) -> Given {
    let List { from, limit, stream, principal, action, resource, allowed, outcome, since, security } = asked;
    let limit = limit.unwrap_or(LIST_DEFAULT);
    if limit == 0 || LIST_MAX < limit {
        return Err(malformed(&format!("limit is 1 to {LIST_MAX}")).into());
    }
    let limit = usize::try_from(limit).expect("checked");
    let wanted = |record: &Record| {
        stream.as_ref().is_none_or(|stream| record.stream == *stream)
            && since.is_none_or(|since| since <= record.time)
            && (!security || is_of_security(record))
            && principal.as_ref().is_none_or(|principal| record.principal == *principal)
            && allowed.is_none_or(|allowed| {
                decided::verdict(record).is_some_and(|verdict| (verdict == Verdict::Allowed) == allowed)
            })
            && (action.is_none() && resource.is_none()
                || decided::asked(record).is_some_and(|asked| {
                    action.as_ref().is_none_or(|action| asked.action() == action)
                        && resource.as_ref().is_none_or(|resource| asked.resource() == resource)
                }))
    };
    let mut outlook = outlook(desk)?;
    // What is wanted, with what became of it.
    let mut chosen = |record: Record| {
        let became = match became(&mut outlook, &record) {
            Ok(became) => became,
            Err(error) => return Some(Err(error)),
        };
        let is = |state: State| became.as_ref().is_some_and(|became| became.state == state);
        outcome.is_none_or(is).then_some(Ok((record, became)))
    };
    let mut found = Vec::new();
    if let Some(from) = from {
        let mut next = from.max(1);
        while found.len() < limit {
            let records = read(desk, next)?;
            let Some(newest) = records.last() else { break };
            next = newest.sequence.0 + 1;
            let shown = records.into_iter().filter(|record| wanted(record) && scope.shows(record));
            let some = shown.filter_map(&mut chosen);
            found.extend(some.take(limit - found.len()).collect::<Result<Vec<_>, _>>()?);
            tokio::task::yield_now().await;
        }
    } else {
        let mut backwards = Backwards::new(desk);
        while let Some(records) = backwards.next(desk).await? {
            let over = since.is_some_and(|since| records.first().is_some_and(|first| first.time < since));
            let shown = records.into_iter().rev().filter(|record| wanted(record) && scope.shows(record));
            let some = shown.filter_map(&mut chosen);
            found.extend(some.take(limit - found.len()).collect::<Result<Vec<_>, _>>()?);
            if over || limit <= found.len() {
                break;
            }
        }
        found.reverse();
    }
    let lines = found.into_iter().map(|(record, became)| with_outcome(line(&record), became));
    Ok(json!({ "records": lines.collect::<Vec<_>>(), "withheld": scope.withheld }))
}

fn outlook(desk: &Desk) -> Result<Outlook, Denial> {
    Outlook::new(&desk.parts.journal).map_err(|error| unreadable(&error))
}

fn became(outlook: &mut Outlook, record: &Record) -> Result<Option<Became>, Denial> {
    outlook.of(record).map_err(|error| unreadable(&error))
}

/// What became of the request of a record, if it is the first one of a request.
fn with_outcome(mut shown: Value, became: Option<Became>) -> Value {
    shown["outcome"] = json!(became.as_ref().map(|became| became.state));
    shown["ended"] = became.map_or(Value::Null, |became| {
        json!({
            "code": became.code,
            "at": became.at.map(time),
            "record": became.record,
            "cause": became.cause,
            "corrected": became.corrected,
            "deadline": became.deadline.map(time),
        })
    });
    shown
}

/// Denials, and whatever changed who may do what.
fn is_of_security(record: &Record) -> bool {
    let changed = [Governance::NAME, Identity::NAME, Security::NAME].contains(&record.stream.as_str());
    changed || decided::denied(record).is_some() || !crate::detections::seen(record).is_empty()
}

async fn verified(desk: &Desk, from: Sequence, deep: bool) -> Given {
    let depth = if deep { Depth::From(from) } else { Depth::Newest };
    let (journal, log) = (desk.parts.journal.clone(), desk.parts.evidence.clone());
    let asked = !log.witnesses().all.is_empty();
    let verified = blocking(move || {
        let witnessed = asked.then(|| log.verify_cosigned()).transpose();
        (journal.verify(from), log.verify(depth), witnessed)
    });
    let verified = verified.await?;
    let closed = |why: String| {
        Denial::new(Layer::Availability, "journal.closed", why, "repeat when `sop status` shows the journal running")
    };
    let (verified, log, witnessed) = (verified.0.map_err(|error| closed(error.to_string()))?, verified.1, verified.2);
    let mut checked: Vec<String> = [
        "every record decodes",
        "sequences have no gaps",
        "each link is the blake3 of the record before",
        "stream versions have no gaps",
        "epochs and times never go back",
    ]
    .map(str::to_owned)
    .into();
    let mut broken = verified.broken.map(|broken| (Some(broken.at), broken.what));
    let mut not_checked = Vec::new();
    if 1 < from.0 {
        let last = from.0 - 1;
        let and = if deep { ", nor their entries in the log; its hashes over them were" } else { "" };
        not_checked.push(format!("the records 1 to {last}: they were not read again{and}"));
    }
    let log = match log {
        Ok(Checked { checkpoint, entries, files, minimum }) => {
            checked.push(format!("{} has signed the tree of the first {} records", checkpoint.origin, checkpoint.size));
            let wrong = signed_beside(desk, &mut checked, &mut not_checked)?;
            broken = broken.or(wrong.map(|what| (None, what)));
            let left = minimum.as_ref().filter(|minimum| from.0 <= minimum.index);
            if let Some(Minimum { index, record, place }) = left {
                checked
                    .push(format!("record {record}, which is signed, says that the first {index} have left the log"));
                not_checked.push(format!(
                    "the log's own copy of the records 1 to {index}: it left; `sop backup verify {place}` reads the one that has it"
                ));
            }
            if deep && left.is_some() {
                checked.push(
                    "every tile of the log, and every bundle and blob still in it, is what these records make"
                        .to_owned(),
                );
            } else if deep {
                checked.push("every tile, bundle and blob of the log is what these records make".to_owned());
            } else {
                checked.push(
                    "the newest tiles give the root that was signed, and their entries are these records".to_owned(),
                );
                not_checked
                    .push("older tiles and bundles of the log: `sop audit verify --deep` reads all of them".to_owned());
            }
            if checkpoint.size < verified.last.0 {
                let (first, last) = (checkpoint.size + 1, verified.last);
                let signed = match desk.parts.evidence.standing().failure {
                    None => "are signed within a second".to_owned(),
                    Some(failing) => format!("are not signed yet: {}", failing.why),
                };
                not_checked.push(format!("the signature over the records {first} to {last}, which {signed}"));
            }
            let minimum = minimum
                .map(|Minimum { index, record, place }| json!({ "index": index, "record": record, "place": place }));
            json!({
                "size": checkpoint.size,
                "root": checkpoint.root.to_string(),
                "entries": entries,
                "files": files,
                "minimum": minimum,
            })
        }
        Err(error) if error.may_pass() => return Err(no_evidence(&error).into()),
        Err(error) => {
            let at = match error {
                LogError::NotExtended { first, .. } => Some(first),
                LogError::Damaged { at, .. } => at,
                _ => None,
            };
            if broken.is_none() || at.is_some_and(|at| broken.as_ref().is_some_and(|(known, _)| Some(at) < *known)) {
                broken = Some((at, error.to_string()));
            }
            Value::Null
        }
    };
    let demanded = match witnessed {
        Ok(None) => Value::Null,
        Ok(Some(witnessed)) => {
            let what = witnesses_said(desk, &witnessed, verified.last, &mut checked, &mut not_checked);
            broken = broken.or(what.map(|what| (None, what)));
            missing(desk, &witnessed)
        }
        Err(error) if error.may_pass() => return Err(no_evidence(&error).into()),
        Err(error) => {
            broken = broken.or(Some((None, error.to_string())));
            Value::Null
        }
    };
    not_checked.push(
        "that this is the log others know: compare key and checkpoint with those noted elsewhere (docs/evidence.md)"
            .to_owned(),
    );
    Ok(json!({
        "intact": broken.is_none(),
        "records": verified.records,
        "streams": verified.streams,
        "from": from,
        "last": verified.last,
        "head": verified.head,
        "log": log,
        "witnesses": demanded,
        "broken_at": broken.as_ref().map(|(at, _)| at),
        "broken": broken.map(|(_, what)| what),
        "checked": checked,
        "not_checked": not_checked,
    }))
}

/// What the lines beside the log's own in the newest checkpoint come to, and which of them must not be.
fn signed_beside(
    desk: &Desk,
    checked: &mut Vec<String>,
    not_checked: &mut Vec<String>,
) -> Result<Option<String>, Denial> {
    let (checkpoint, note) = desk.parts.evidence.checkpoint().map_err(|error| no_evidence(&error))?;
    let (log, size) = (&checkpoint.origin, checkpoint.size);
    let lines = desk.parts.signer.judged(Purpose::Checkpoints, log, || size, &note);
    let counts = lines.iter().any(|line| matches!(line.said, Said::Counts { .. }));
    let mut wrong = None;
    for Judged { key, said } in lines {
        match said {
            Said::Counts { suite } => checked.push(format!("{key} ({suite}) has signed the tree of {size} records, too")),
            Said::RevokedSince { since, .. } => not_checked.push(format!(
                "the signature of {key}: it is revoked since record {since}, and on a tree of {size} records it does not count"
            )),
            Said::Unknown => not_checked.push(format!("the signature of {key}: no such key is on record")),
            Said::Wrong { why } => wrong = Some(format!("the signature of {key} in the checkpoint is not right: {why}")),
        }
    }
    let in_use = desk.parts.crypto_view.read(|keys| keys.active(Purpose::Checkpoints).map(|(key, _)| key));
    if let Some(key) = in_use.filter(|_| !counts) {
        let missed = desk.parts.signer.missed().remove(&Purpose::Checkpoints);
        let why =
            missed.map_or_else(String::new, |missed| format!(", since {}: {}", time(missed.since), missed.why.reason));
        not_checked.push(format!("a signature of {key}, which is in use: the newest checkpoint has none{why}"));
    }
    Ok(wrong)
}

/// The keys that sign beside that of the log, and did.
fn keys_beside(desk: &Desk, log: &str) -> Value {
    let shown = |keys: &Crypto| {
        let beside = keys.keys().filter(|(key, _)| !matches!(key.purpose, Purpose::TokenRoot | Purpose::TlsAuthority));
        let keys = beside.filter_map(|(key, version)| {
            let made = version.made.as_ref()?;
            Some(json!({
                "key": key,
                "vkey": beside::vkey(log, key, version)?.to_string(),
                "state": version.state,
                "suite": crypto::suite(version.suite),
                "active_since": version.activated_at.map(time),
                "ended_at": version.ended_at.map(time),
                "revoked_since": version.revoked.as_ref().map(|revoked| revoked.since),
                "vouched_by": made.voucher.as_ref().map(|voucher| key.purpose.key(voucher.by)),
                "voucher": made.voucher.as_ref().map(|voucher| STANDARD.encode(&voucher.signed)),
            }))
        });
        keys.collect::<Vec<_>>()
    };
    Value::Array(desk.parts.crypto_view.read(shown))
}

/// What the cosignatures show, and what of it must not be.
fn witnesses_said(
    desk: &Desk,
    witnessed: &Witnessed,
    last: Sequence,
    checked: &mut Vec<String>,
    not_checked: &mut Vec<String>,
) -> Option<String> {
    let Witnesses { all, quorum } = desk.parts.evidence.witnesses();
    let at = |seconds: u64| time(Timestamp(seconds.saturating_mul(1_000)));
    let size = witnessed.newest.as_ref().map_or(0, |newest| newest.checkpoint.size);
    if size != 0 && *quorum != 0 {
        let of = all.len();
        checked.push(format!("{quorum} of {of} witnesses have cosigned the tree of the first {size} records"));
    }
    for (witness, seen) in all.iter().zip(&witnessed.seen) {
        match seen {
            Some((seen, when)) => {
                checked.push(format!("{} has cosigned the first {seen} records, at {}", witness.name(), at(*when)));
            }
            None => not_checked.push(format!("what {} saw: it has cosigned nothing yet", witness.name())),
        }
    }
    if size < last.0 {
        let first = size + 1;
        not_checked
            .push(format!("that the witnesses saw the records {first} to {last}: not so many have cosigned them"));
    }
    let disputed = desk.parts.witnessing.standing().into_iter().find_map(|witness| {
        let Trouble { what, .. } = witness.trouble.filter(|trouble| trouble.other_history)?;
        Some(format!("{} saw another history: {what}", witness.name))
    });
    let other = || {
        let size = witnessed.other.first()?;
        Some(format!("witnesses saw a tree of {size} records under the key of this log, which this log never had"))
    };
    let bad = || witnessed.bad.first().map(|bad| format!("{}: {}", bad.file, bad.what));
    disputed.or_else(other).or_else(bad)
}

/// Whether the quorum that is asked for is there, and for what is not too young.
fn missing(desk: &Desk, witnessed: &Witnessed) -> Value {
    let Witnesses { all, quorum } = desk.parts.evidence.witnesses();
    let size = witnessed.newest.as_ref().map(|newest| newest.checkpoint.size);
    let within = Millis(u64::try_from(desk.parts.cosigned_within.as_millis()).unwrap_or(u64::MAX));
    let waited = crate::witnesses::waiting(&desk.parts, desk.now()).filter(|waited| within < *waited);
    let missing = match (size, waited) {
        _ if *quorum == 0 => None,
        (None, _) => Some(format!("no checkpoint has the cosignatures of {quorum} of {} witnesses", all.len())),
        (Some(size), Some(waited)) => Some(format!(
            "the newest checkpoint with the cosignatures of {quorum} of {} witnesses is of {size} records, and the one after              them has waited for {waited}",
            all.len()
        )),
        (Some(_), None) => None,
    };
    let each = all
        .iter()
        .zip(&witnessed.seen)
        .map(|(witness, seen)| json!({ "name": witness.name(), "size": seen.map(|(size, _)| size) }));
    json!({
        "quorum": quorum,
        "size": size,
        "each": each.collect::<Vec<_>>(),
        "missing": missing.as_ref().map(|_| "evidence.not_cosigned"),
        "why": missing,
    })
}

/// Keeps the cosignatures of witnesses that are asked by hand.
async fn cosigned(desk: &Desk, note: String) -> Given {
    let log = desk.parts.evidence.clone();
    let kept = blocking(move || log.cosign(&note)).await?;
    let (cosigned, new) = kept.map_err(|error| {
        let remedy = match &error {
            CosignError::Log(error) => return no_evidence(error),
            CosignError::NotOurs(_) => {
                "give the whole note: the checkpoint of `sop audit checkpoint`, with its signature and the witness's"
            }
            CosignError::NoWitness => "name the witness in log.witnesses, by its vkey",
            CosignError::Wrong { .. } => "have the witness sign the checkpoint as it is, to the last byte",
            CosignError::OtherHistory { .. } => "find out who else has the key of the log (docs/evidence.md)",
        };
        Denial::new(Layer::Decide, error.code(), error.to_string(), remedy)
    })?;
    let witnesses = desk.parts.evidence.witnesses();
    let by = cosigned.by().map(|(witness, at)| {
        let name = witnesses.all[witness].name();
        json!({ "name": name, "at": time(Timestamp(at.saturating_mul(1_000))) })
    });
    Ok(json!({
        "size": cosigned.checkpoint.size,
        "root": cosigned.checkpoint.root.to_string(),
        "new": new,
        "by": by.collect::<Vec<_>>(),
        "quorum": witnesses.quorum,
        "quorum_met": witnesses.suffice(&cosigned),
    }))
}

/// What is proven is cosigned by so many, if that is asked for.
fn demanded(desk: &Desk) -> Value {
    let witnesses = desk.parts.evidence.witnesses();
    match witnesses.quorum {
        0 => Value::Null,
        quorum => json!({
            "quorum": quorum,
            "keys": witnesses.all.iter().map(ToString::to_string).collect::<Vec<_>>(),
        }),
    }
}

/// The proof of a record; what is not signed yet is signed for it.
async fn proven(desk: &Desk, at: Sequence) -> Given {
    if at.0 == 0 || *desk.parts.journal.durable().borrow() < at {
        return Err(unknown("audit.unknown_record", &format!("record {at}"), "see `sop audit list`"));
    }
    let (proof, key) = signed(desk, at, move |log| Ok((log.prove(at)?, log.public()?))).await?;
    Ok(json!({
        "record": at,
        "index": proof.index,
        "proof": proof.to_string(),
        "key": key.to_string(),
        "witnesses": demanded(desk),
    }))
}

/// The proofs of both ends of a run of records, under one checkpoint: with the records they prove all of it.
async fn proven_run(desk: &Desk, from: Sequence, to: Sequence) -> Given {
    let ((first, last), key) = signed(desk, to, move |log| Ok((log.prove_run(from, to)?, log.public()?))).await?;
    Ok(json!({
        "from": from,
        "to": to,
        "first": first.to_string(),
        "last": last.to_string(),
        "key": key.to_string(),
        "witnesses": demanded(desk),
    }))
}

/// The records themselves, the first ones of the run, as many as fit into an answer.
async fn given_away(desk: &Desk, from: Sequence, to: Sequence) -> Given {
    let journal = desk.parts.journal.clone();
    let read = blocking(move || {
        let (mut given, mut bytes, mut next) = (Vec::new(), 0, from);
        while next <= to && bytes < EXPORT_BYTES {
            let Some(record) = journal.raw(next, 1)?.pop() else { break };
            let shown = Record::decode(&record).map_or(Value::Null, |record| full(&record));
            bytes += record.len();
            given.push(json!({ "record": STANDARD.encode(&record), "shown": shown }));
            next = Sequence(next.0 + 1);
        }
        Ok((given, (next <= to).then_some(next)))
    });
    let (given, next) = read.await?.map_err(|error| unreadable(&error))?;
    Ok(json!({ "records": given, "next": next }))
}

/// What `prove` gives up to a record; what is not signed yet is signed for it, and cosigned if it takes not long.
async fn signed<T: Send + 'static>(
    desk: &Desk,
    upto: Sequence,
    prove: impl Fn(&Evidence) -> Result<T, LogError> + Clone + Send + 'static,
) -> Result<T, Denied> {
    let mut proven = proved(desk, prove.clone()).await?;
    if let Err(LogError::NotCosigned { .. }) = proven {
        crate::witnesses::cosigned(&desk.parts, upto.0).await;
        proven = proved(desk, prove).await?;
    }
    proven.map_err(|error| no_evidence(&error).into())
}

async fn proved<T: Send + 'static>(
    desk: &Desk,
    prove: impl Fn(&Evidence) -> Result<T, LogError> + Send + 'static,
) -> Result<Result<T, LogError>, Denial> {
    let log = desk.parts.evidence.clone();
    let proven = blocking(move || {
        let mut proven = prove(&log);
        while let Err(LogError::NotYet { .. }) = proven {
            let more = log.follow()?;
            proven = prove(&log);
            if !more {
                break;
            }
        }
        proven
    });
    proven.await
}

/// What reads much, off the threads that answer.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Denial> {
    #[expect(clippy::disallowed_methods, reason = "reading everything blocks; it changes nothing, and ends by itself")]
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| {
        Denial::new(Layer::Availability, "audit.interrupted", error.to_string(), "repeat it, and see the log")
    })
}

pub(super) fn no_evidence(error: &LogError) -> Denial {
    let remedy = if let LogError::NotCosigned { .. } = error {
        "repeat it when the witnesses have seen more: `sop status` shows how far each is"
    } else if error.may_pass() {
        "repeat when `sop status` shows that the tile log is written"
    } else {
        "see the first bad record with `sop audit verify`"
    };
    Denial::new(Layer::Availability, error.code(), error.to_string(), remedy)
}

/// The records of a command, or the one with a sequence.
async fn find(desk: &Desk, what: &str) -> Result<Vec<Record>, Denied> {
    let nothing = || unknown("audit.unknown_record", &format!("record {what}"), "see `sop audit list`");
    if let Ok(sequence) = what.parse::<u64>() {
        let record = desk.parts.journal.read(Sequence(sequence), 1).map_err(|error| unreadable(&error))?;
        return record
            .into_iter()
            .find(|record| record.sequence.0 == sequence)
            .map(|record| vec![record])
            .ok_or_else(nothing);
    }
    let id: CommandId = what.parse().map_err(|error| malformed(&error))?;
    // Its records cannot be much older than the id itself: the host refuses ids from the future.
    let oldest = id.made_at().map_or(Timestamp(0), |made| Timestamp(made.0.saturating_sub(Millis::minutes(2).0)));
    let mut backwards = Backwards::new(desk);
    while let Some(records) = backwards.next(desk).await? {
        let over = records.first().is_some_and(|first| first.time < oldest);
        let found: Vec<_> = records.into_iter().filter(|record| record.command_id == id).collect();
        if let Some(first) = found.first() {
            // A command's records lie together; a chunk may begin in their midst.
            let first = Sequence(first.sequence.0 - u64::from(first.index));
            let count = usize::from(found[0].count.max(1));
            return desk.parts.journal.read(first, count).map_err(|error| unreadable(&error).into());
        }
        if over {
            break;
        }
    }
    Err(nothing())
}

/// What was asked, what was decided and by which rule, layer by layer, and what would change it.
fn explained(desk: &Desk, records: &[Record]) -> Value {
    let Some(record) = records.first() else { unreachable!("a record was found") };
    let (asked, denial) = (decided::asked(record), denial(record));
    let mut answer = json!({
        "decision": record.command_id,
        "at": time(record.time),
        "principal": record.principal,
        "records": records.iter().map(line).collect::<Vec<_>>(),
        "policy_epoch": record.decision.policy_epoch,
        "policies": policies(desk, record),
        "generation": record.decision.generation,
        "token": record.decision.token,
        "layers": layers(records, denial.as_ref()),
    });
    let (allowed, more) = match &denial {
        Some(denial) => (false, json!(denial)),
        None => (true, json!({ "layer": null, "code": null, "reason": "every layer of the door let it in" })),
    };
    answer["allowed"] = allowed.into();
    if let Some(denial) = &denial {
        permission::explain(desk, record, denial, &mut answer);
    }
    if let (Some(answer), Value::Object(more)) = (answer.as_object_mut(), more) {
        answer.extend(more);
    }
    if let Some(asked) = asked {
        answer["action"] = asked.action().into();
        answer["resource"] = asked.resource().into();
        answer["context"] = context(&asked);
        // Of older records it is not known.
        answer["standing"] = record.asked.as_ref().map_or(Value::Null, |asked| json!(asked.standing()));
    }
    answer
}

/// Whether it is no policy, but says how a token was carried.
fn is_mark(policy: &str) -> bool {
    policy.starts_with("bearer:") || policy.starts_with("handed-on:")
}

/// The path of a request, and of each step whether it was passed and by what. A stranger has no record, so whoever has one
/// was known.
fn layers(records: &[Record], denial: Option<&Denial>) -> Value {
    let Some(record) = records.first() else { unreachable!("a record was found") };
    let Decision { policy_epoch, policies, token, .. } = &record.decision;
    let asked = decided::asked(record);
    let what = asked
        .as_ref()
        .map_or("it is not recorded what".to_owned(), |asked| format!("{} on {}", asked.action(), asked.resource()));
    let by_token = token.is_some() || record.asked.as_ref().is_some_and(|asked| asked.standing().via_token);
    let is_answer = record.stream == Decisions::NAME;
    let passed = |layer: Layer| match layer {
        Layer::Request => format!("asked: {what}"),
        Layer::Authenticate if by_token => {
            let marks = policies.iter().filter(|mark| is_mark(mark)).map(|mark| format!(", {mark}"));
            format!("{}, by a token{}", record.principal, marks.collect::<String>())
        }
        Layer::Authenticate => match record.asked.as_ref().and_then(|asked| asked.standing().credential) {
            Some(credential) => format!("{}, by credential {credential}", record.principal),
            None => record.principal.clone(),
        },
        Layer::Seal => "no stop forbade it".to_owned(),
        Layer::Admit => "it may ask for this".to_owned(),
        Layer::Limit => "within the limits".to_owned(),
        Layer::Policy if policies.is_empty() => format!("epoch {policy_epoch}"),
        Layer::Policy => {
            let permits = policies.iter().filter(|policy| !is_mark(policy)).map(String::as_str);
            format!("epoch {policy_epoch}: {}", permits.collect::<Vec<_>>().join(", "))
        }
        Layer::Token => match token {
            Some(spent) => format!("use {} of token {}", spent.number, spent.token),
            None => "none was needed".to_owned(),
        },
        Layer::Decide if is_answer => "there was nothing to decide".to_owned(),
        Layer::Decide if record.count == 0 => format!("{} had nothing to do", record.stream),
        Layer::Decide => format!("{} took it", record.stream),
        Layer::Commit | Layer::Availability => {
            let last = records.last().map_or(record.sequence, |last| last.sequence);
            if last == record.sequence {
                format!("record {last}")
            } else {
                format!("records {} to {last}", record.sequence)
            }
        }
    };
    let ended = denial.is_some_and(|denial| denial.layer == Layer::Token && token.is_none());
    let path = if ended { PATH_OF_AN_ENDED_TOKEN } else { PATH };
    let mut reached = true;
    let step = |layer: Layer| {
        let (verdict, why) = match denial {
            Some(denial) if denial.layer == layer => {
                reached = false;
                ("denied", denial.rule.clone().unwrap_or_else(|| denial.code.clone()))
            }
            _ if reached || layer == Layer::Authenticate => ("passed", passed(layer)),
            _ => ("not reached", String::new()),
        };
        json!({ "layer": layer, "verdict": verdict, "why": why })
    };
    path.into_iter().map(step).collect()
}

const PATH: [Layer; 9] = [
    Layer::Request,
    Layer::Authenticate,
    Layer::Seal,
    Layer::Admit,
    Layer::Limit,
    Layer::Policy,
    Layer::Token,
    Layer::Decide,
    Layer::Commit,
];

/// Whether a token is still good is asked before anything else is.
const PATH_OF_AN_ENDED_TOKEN: [Layer; 9] = [
    Layer::Request,
    Layer::Authenticate,
    Layer::Token,
    Layer::Seal,
    Layer::Admit,
    Layer::Limit,
    Layer::Policy,
    Layer::Decide,
    Layer::Commit,
];

/// The attributes of a request, as they were given.
fn context(asked: &Asked) -> Value {
    let value = |value: &Attribute| match value {
        Attribute::Text(text) => Value::from(text.as_str()),
        Attribute::Long(number) => Value::from(*number),
        Attribute::Bool(truth) => Value::from(*truth),
    };
    asked.context().iter().map(|(name, found)| (name.clone(), value(found))).collect()
}

/// The denial that a record holds: the door's own, or the refusal of a machine.
fn denial(record: &Record) -> Option<Denial> {
    if record.stream == Decisions::NAME {
        return decided::denied(record);
    }
    let Answer::Refusal(json) = &record.answer else { return None };
    refusals_of(&record.stream)?(json)
}

type Read = fn(&[u8]) -> Option<Denial>;

/// How what a machine refused is read again.
fn refusals_of(stream: &str) -> Option<Read> {
    let read: Read = match stream {
        Governance::NAME => refusal::<Governance>,
        Tokens::NAME => refusal::<Tokens>,
        Gaps::NAME => refusal::<Gaps>,
        Todos::NAME => refusal::<Todos>,
        Allocator::NAME => refusal::<Allocator>,
        Backups::NAME => refusal::<Backups>,
        Crypto::NAME => refusal::<Crypto>,
        Health::NAME => refusal::<Health>,
        Nexus::NAME => refusal::<Nexus>,
        Subjects::NAME => refusal::<Subjects>,
        Retention::NAME => refusal::<Retention>,
        Security::NAME => refusal::<Security>,
        Subscriptions::NAME => refusal::<Subscriptions>,
        Identity::NAME => refusal::<Identity>,
        Approvals::NAME => refusal::<Approvals>,
        Proofs::NAME => refusal::<Proofs>,
        Outcomes::NAME => refusal::<Outcomes>,
        _ => return None,
    };
    Some(read)
}

fn refusal<M: Machine>(json: &[u8]) -> Option<Denial> {
    serde_json::from_slice::<M::Refusal>(json).ok().map(|refusal| kernel::Refuse::denial(&refusal))
}

/// The policies that an epoch decided by, if they can still be read.
pub fn compiled(desk: &Desk, epoch: u64) -> Option<::policy::Policies> {
    let text = desk.door().governance_view().read(|governance| governance.show(epoch)).map(|shown| shown.text);
    text.and_then(|text| ::policy::Policies::compile(&text).ok())
}

/// The determining policies with their source, as they were in the epoch that decided: of a denial by policy, those that
/// forbade, found by judging it again.
fn policies(desk: &Desk, record: &Record) -> Value {
    let compiled = compiled(desk, record.decision.policy_epoch);
    let forbids = || {
        decided::denied(record).filter(|denial| denial.layer == Layer::Policy)?;
        let principal = record.principal.parse().ok()?;
        let (judgement, _) = door::judge_again(compiled.as_ref()?, &principal, record.asked.as_ref()?).ok()?;
        (!judgement.allowed).then_some(judgement.determining)
    };
    let determining = forbids().unwrap_or_else(|| record.decision.policies.clone());
    let source = |id: &String| json!({ "id": id, "source": compiled.as_ref().and_then(|policies| policies.text(id)) });
    determining.iter().map(source).collect()
}

/// A record on one line.
fn line(record: &Record) -> Value {
    json!({
        "sequence": record.sequence,
        "time": time(record.time),
        "stream": record.stream,
        "version": record.version,
        "kind": kind(record).map_or_else(|| format!("kind {}", record.kind_id), |kind| kind.name.to_owned()),
        "principal": record.principal,
        "action": decided::asked(record).map(|asked| asked.action().to_owned()),
        "command": record.command_id,
        "refused": denial(record).map(|denial| denial.code),
        "about": about(record),
    })
}

/// A few words on what a record is about.
fn about(record: &Record) -> Value {
    if [Decisions::NAME, Outcomes::NAME].contains(&record.stream.as_str())
        && let Some(asked) = decided::asked(record)
    {
        return json!({ "action": asked.action(), "resource": asked.resource() });
    }
    let body = body(record);
    // A digest says nothing to the eye; `audit show` has it.
    let digest = |value: &Value| value.as_str().is_some_and(|text| text.len() == 64);
    let field = |name: &str| body.get(name).filter(|value| !value.is_null() && !digest(value));
    let words = [
        "action",
        "todo",
        "gap",
        "scan",
        "backup",
        "epoch",
        "number",
        "id",
        "lease",
        "pool",
        "fencing",
        "owner",
        "root",
        "protocol",
        "subject",
        "message",
        "destination",
        "resource",
        "name",
        "minimum",
    ];
    let told = words.into_iter().filter_map(|name| field(name).map(|value| (name.to_owned(), value.clone())));
    Value::Object(told.take(3).collect())
}

/// A record with everything in it.
pub fn full(record: &Record) -> Value {
    let mut bytes = Vec::new();
    record.encode(&mut bytes);
    let answer = match &record.answer {
        Answer::None => Value::Null,
        Answer::Reply(json) => json!({ "reply": serde_json::from_slice::<Value>(json).unwrap_or_default() }),
        Answer::Refusal(json) => json!({ "refusal": serde_json::from_slice::<Value>(json).unwrap_or_default() }),
    };
    let mut value = line(record);
    let more = json!({
        "kind_id": record.kind_id,
        "schema": record.schema,
        "epoch": record.epoch,
        "index": record.index,
        "count": record.count,
        "decision": record.decision,
        "command_digest": record.command_digest,
        "cause": record.cause,
        "previous": record.previous,
        "asked": record.asked.as_deref().map(asked_in_full),
        "digest": link(&bytes),
        "answer": answer,
        "body": body(record),
    });
    if let (Some(value), Value::Object(more)) = (value.as_object_mut(), more) {
        value.extend(more);
        value.remove("about");
    }
    value
}

fn asked_in_full(asked: &Asked) -> Value {
    json!({
        "action": asked.action(),
        "resource": asked.resource(),
        "context": context(asked),
        "standing": asked.standing(),
    })
}

fn kind(record: &Record) -> Option<&'static Kind> {
    kinds().find(|kind| kind.id == record.kind_id && kind.version == record.schema)
}

/// The body as JSON; null for what has none, or what this release cannot read.
fn body(record: &Record) -> Value {
    match record.stream.as_str() {
        _ if record.kind_id < 100 => Ok(Value::Null),
        Governance::NAME => shown::<governance::Event>(record),
        Identity::NAME => shown::<identity::Event>(record),
        Tokens::NAME => shown::<tokens::Event>(record),
        Decisions::NAME => shown::<door::Event>(record),
        Outcomes::NAME => shown::<door::outcomes::Event>(record),
        Gaps::NAME => shown::<gaps::Event>(record),
        Todos::NAME => shown::<todos::Event>(record),
        Allocator::NAME => shown::<allocator::Event>(record),
        Approvals::NAME => shown::<approvals::Event>(record),
        Proofs::NAME => shown::<::proofs::Event>(record),
        Backups::NAME => shown::<backup::Event>(record),
        Health::NAME => shown::<health::Event>(record),
        Nexus::NAME => shown::<nexus::Event>(record).map(without_payload),
        Subjects::NAME => shown::<subjects::Event>(record),
        Retention::NAME => shown::<retention::Event>(record),
        Security::NAME => shown::<::security::Event>(record),
        Crypto::NAME => shown::<::crypto::Event>(record),
        Subscriptions::NAME => shown::<::subscriptions::Event>(record),
        _ => Ok(Value::Null),
    }
    .unwrap_or_default()
}

/// What a message holds is shown by `message.show` alone; here stands how much it is, and its digest.
fn without_payload(mut body: Value) -> Value {
    if let Some(payload) = body.get_mut("payload") {
        let bytes: Vec<u8> = serde_json::from_value(payload.take()).unwrap_or_default();
        *payload = json!({ "bytes": bytes.len(), "blake3": Digest(*blake3::hash(&bytes).as_bytes()) });
    }
    body
}

fn shown<E: Recorded>(record: &Record) -> Result<Value, CodecError> {
    let event: E = codec::read((record.kind_id, record.schema), &record.body)?;
    Ok(kernel::json::write(&event).1)
}

/// Reads the journal from its end.
struct Backwards {
    before: u64,
}

impl Backwards {
    fn new(desk: &Desk) -> Self {
        Self { before: desk.parts.journal.durable().borrow().0 + 1 }
    }

    /// The chunk before, oldest first; `None` at the beginning.
    async fn next(&mut self, desk: &Desk) -> Result<Option<Vec<Record>>, Denied> {
        if self.before <= 1 {
            return Ok(None);
        }
        tokio::task::yield_now().await;
        let from = self.before.saturating_sub(CHUNK).max(1);
        let count = usize::try_from(self.before - from).expect("at most a chunk");
        let records = desk.parts.journal.read(Sequence(from), count).map_err(|error| unreadable(&error))?;
        self.before = from;
        Ok(Some(records))
    }
}

fn read(desk: &Desk, from: u64) -> Result<Vec<Record>, Denied> {
    let chunk = usize::try_from(CHUNK).expect("small");
    desk.parts.journal.read(Sequence(from), chunk).map_err(|error| unreadable(&error).into())
}

fn unreadable(error: &journal::store::StoreError) -> Denial {
    let remedy = "verify the journal with `sop audit verify`";
    Denial::new(Layer::Availability, "journal.unreadable", error.to_string(), remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_any_machine_refuses_can_be_shown() {
        let states = crate::states::States::default().digests().unwrap();
        // What those of the door refuse is in what they record.
        let unread = states.keys().filter(|stream| **stream != Decisions::NAME && refusals_of(stream).is_none());
        assert_eq!(unread.collect::<Vec<_>>(), Vec::<&&str>::new());
        assert!(refusals_of("notes").is_none());
    }
}
