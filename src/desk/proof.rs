//! Proofs: which there are, evidence for exactly one request, and the receipts of what was proven.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use ::proofs::{Algorithm, Command, Declared, Expected, Filter, Receipt, Reply, State, Verifier};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use door::{Ask, Bound, Came, Evidence};
use evidence::note::PublicKey;
use kernel::{Denial, Digest, Layer, Millis, Principal, Refuse as _};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Desk, Given, Request, approval, malformed, number, optional_number, time, unknown, with};

/// How long a prover is waited for, if nothing is said.
const TIMEOUT: Millis = Millis::seconds(5);

/// Evidence for another action.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Submitted {
    action: String,
    arguments: Value,
    proof: String,
    /// In base64.
    evidence: String,
}

/// What has to be proven for another action.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    action: String,
    arguments: Value,
    proof: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Declare {
    name: String,
    verifier: Kind,
}

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
enum Kind {
    Digest {
        algorithm: Algorithm,
        digest: Option<Digest>,
        argument: Option<String>,
    },
    Manifest {
        files: BTreeMap<String, Digest>,
    },
    Signature {
        root: String,
    },
    PolicyTrace {
        action: String,
        #[serde(default, deserialize_with = "optional_number")]
        within_ms: Option<u64>,
    },
    External {
        url: String,
        kernel: Digest,
        key: String,
        #[serde(default, deserialize_with = "optional_number")]
        timeout_ms: Option<u64>,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Numbered {
    #[serde(deserialize_with = "number")]
    receipt: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    state: Option<State>,
    asker: Option<Principal>,
    proof: Option<String>,
    action: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

pub async fn answer(desk: &Desk, mut request: Request) -> Given {
    match request.ask.action {
        "proof.submit" => {
            let Submitted { action, arguments, proof, evidence } = request.arguments()?;
            let evidence = STANDARD.decode(evidence).map_err(|_| malformed(&"the evidence is no base64"))?;
            proven(desk, request, &action, arguments, proof, Some(evidence.into())).await
        }
        "proof.goal" => {
            let Wanted { action, arguments, proof } = request.arguments()?;
            proven(desk, request, &action, arguments, proof, None).await
        }
        "proof.verifiers" => {
            let Nothing {} = request.arguments()?;
            desk.door().witness(&request.about("*")).await?;
            let all = desk.parts.proofs_view.read(|proofs| {
                proofs.verifiers().map(|(name, declared)| shown_verifier(name, declared)).collect::<Vec<_>>()
            });
            Ok(json!({ "verifiers": all }))
        }
        "proof.declare" => {
            let Declare { name, verifier } = request.arguments()?;
            let ask = request.about(&name);
            let verifier = match pinned(verifier) {
                Ok(verifier) => verifier,
                Err(denial) => return Err(desk.door().refuse(&ask, denial).await),
            };
            changed(desk, &ask, &name, Command::Declare { name: name.clone(), verifier }).await
        }
        "proof.withdraw" => {
            let Named { name } = request.arguments()?;
            let ask = request.about(&name);
            changed(desk, &ask, &name, Command::Withdraw { name: name.clone() }).await
        }
        "proof.list" => {
            let List { state, asker, proof, action } = request.arguments()?;
            let whose = asker.as_ref().map(ToString::to_string).unwrap_or_default();
            desk.door().witness(&with(request.about("*"), "asker", whose.as_str())).await?;
            let (filter, now) = (Filter { state, asker, proof, action }, desk.now());
            let listed: Vec<_> = desk.parts.proofs_view.read(|proofs| proofs.list(&filter, now).collect());
            Ok(json!({ "receipts": listed.iter().map(shown).collect::<Vec<_>>() }))
        }
        "proof.show" => {
            let Numbered { receipt } = request.arguments()?;
            let now = desk.now();
            let found = desk.parts.proofs_view.read(|proofs| proofs.show(receipt, now));
            let whose = found.as_ref().map(|found| found.asker.to_string()).unwrap_or_default();
            desk.door().witness(&with(request.about(receipt), "asker", whose.as_str())).await?;
            let what = format!("receipt {receipt}");
            let found = found.ok_or_else(|| unknown("proofs.unknown", &what, "see `sop proof list`"))?;
            let mut answer = shown(&found);
            answer["note"] = found.checked.note.as_str().into();
            Ok(answer)
        }
        action => unreachable!("{action} is no action on proofs"),
    }
}

/// The call itself goes its way, to where it would be let in, and no further.
async fn proven(
    desk: &Desk,
    request: Request,
    name: &str,
    arguments: Value,
    proof: String,
    given: Option<Arc<[u8]>>,
) -> Given {
    let Some(action) = super::action(name) else {
        let name: String = name.chars().take(80).collect();
        let reason = format!("there is no action {name:?}");
        return Err(Denial::new(Layer::Request, "request.unknown_action", reason, "see GET /v1/actions").into());
    };
    if ["proof.submit", "proof.goal", "approval.request", door::TRY, "system.stop"].contains(&action) {
        return Err(not_for_this(action).into());
    }
    let came = Arc::<OnceLock<Came>>::default();
    let bound = approval::bound(action, &arguments);
    let evidence = Evidence { proof, given, arguments: Arc::new(texts(&arguments)), came: came.clone() };
    let ask = Ask { action, bound: Bound { proving: Some(evidence), ..bound }, ..request.ask };
    let done = Box::pin(desk.answer(Request { ask, arguments })).await;
    match (came.get(), done) {
        (Some(Came::Goal { goal, verifier }), _) => Ok(json!({
            "proof": goal.proof,
            "goal": goal.digest(),
            "text": goal.text(),
            "verifier": shown_kind(verifier),
        })),
        (Some(Came::Receipt { receipt, goal, expires_at }), _) => {
            Ok(json!({ "receipt": receipt, "action": action, "goal": goal, "expires_at": time(*expires_at) }))
        }
        (None, Err(denied)) => Err(denied),
        // Of what takes no leave at all.
        (None, Ok(_)) => Err(not_for_this(action).into()),
    }
}

fn not_for_this(action: &str) -> Denial {
    let reason = format!("nothing is proven for {action}");
    Denial::new(Layer::Request, "proofs.not_for_this", reason, "do it without")
}

fn texts(arguments: &Value) -> BTreeMap<String, String> {
    let text = |(name, value): (&String, &Value)| Some((name.clone(), value.as_str()?.to_owned()));
    arguments.as_object().into_iter().flatten().filter_map(text).collect()
}

/// What the machine cannot see is looked at here: whether a key is one, and where an address leads.
fn pinned(kind: Kind) -> Result<Verifier, Denial> {
    let key = |key: String| match PublicKey::parse(&key) {
        Ok(_) => Ok(key),
        Err(error) => {
            let remedy = "give the key as its owner's program shows it: NAME+ID+KEY";
            Err(Denial::new(Layer::Request, "proofs.key", error.to_string(), remedy))
        }
    };
    Ok(match kind {
        Kind::Digest { algorithm, digest, argument } => {
            let expected = match (digest, argument) {
                (Some(digest), None) => Expected::Pinned(digest),
                (None, Some(argument)) => Expected::Argument(argument),
                _ => return Err(malformed(&"one of `digest` and `argument` says which digest")),
            };
            Verifier::Digest { algorithm, expected }
        }
        Kind::Manifest { files } => Verifier::Manifest { files },
        Kind::Signature { root } => Verifier::Signature { root: key(root)? },
        Kind::PolicyTrace { action, within_ms } => {
            if ::policy::action(&action).is_none() {
                return Err(malformed(&format!("there is no action {action:?} that policies decide")));
            }
            Verifier::PolicyTrace { action, within: within_ms.map(Millis) }
        }
        Kind::External { url, kernel, key: of, timeout_ms } => {
            let timeout = timeout_ms.map_or(TIMEOUT, Millis);
            Verifier::External { url: reachable(&url)?, kernel, key: key(of)?, timeout }
        }
    })
}

/// An address under TLS, or on this machine.
fn reachable(url: &str) -> Result<String, Denial> {
    let remedy = "such as https://prover.example/check, or http://127.0.0.1:8700/check for one on this machine";
    let no = |reason: String| Denial::new(Layer::Request, "proofs.address", reason, remedy);
    let address = config::address_of(url).ok_or_else(|| no("that is no address of a prover".to_owned()))?;
    let Some(rest) = address.strip_prefix("http://") else { return Ok(address) };
    let authority = rest.split('/').next().unwrap_or_default();
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => host,
        _ => authority,
    };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback()) {
        return Ok(address);
    }
    Err(no(format!("{host} is not this machine, and what it says could be changed on the way")))
}

async fn changed(desk: &Desk, ask: &Ask, name: &str, command: Command) -> Given {
    let done = desk.door().perform(ask, &desk.parts.proofs, command).await?;
    Ok(match done.reply {
        Reply::Declared { revision } => json!({ "name": name, "revision": revision, "record": done.first }),
        Reply::Withdrawn => json!({ "name": name, "withdrawn": true, "record": done.first }),
        reply => unreachable!("a change of verifiers is answered as one, not with {reply:?}"),
    })
}

fn shown_verifier(name: &str, declared: &Declared) -> Value {
    json!({
        "name": name,
        "revision": declared.revision,
        "verifier": shown_kind(&declared.verifier),
        "by": declared.by,
        "at": time(declared.at),
    })
}

/// In the form in which it is declared.
fn shown_kind(verifier: &Verifier) -> Value {
    let mut shown = match verifier {
        Verifier::Digest { algorithm, expected: Expected::Pinned(digest) } => {
            json!({ "algorithm": algorithm, "digest": digest })
        }
        Verifier::Digest { algorithm, expected: Expected::Argument(argument) } => {
            json!({ "algorithm": algorithm, "argument": argument })
        }
        Verifier::Manifest { files } => json!({ "files": files }),
        Verifier::Signature { root } => json!({ "root": root }),
        Verifier::PolicyTrace { action, within } => {
            json!({ "action": action, "within_ms": within.map(|within| within.0) })
        }
        Verifier::External { url, kernel, key, timeout } => {
            json!({ "url": url, "kernel": kernel, "key": key, "timeout_ms": timeout.0 })
        }
    };
    shown["kind"] = verifier.kind().into();
    shown
}

fn shown(receipt: &Receipt) -> Value {
    let checked = &receipt.checked;
    let obstacle = receipt.obstacle().map(|refusal| json!({ "code": refusal.code(), "reason": refusal.to_string() }));
    json!({
        "receipt": receipt.number,
        "state": receipt.state,
        "obstacle": obstacle,
        "proof": checked.proof,
        "revision": checked.revision,
        "asker": receipt.asker,
        "action": checked.action,
        "resource": checked.resource,
        "content": checked.content,
        "target": checked.target,
        "goal": checked.goal,
        "evidence": checked.evidence,
        "check": receipt.check,
        "at": time(receipt.at),
        "expires_at": time(checked.expires_at),
        "spent": receipt.spent.map(|spent| json!({ "command": spent.command, "at": time(spent.at) })),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prover_is_asked_under_tls_or_on_this_machine() {
        for (url, fits) in [
            ("https://prover.example/check", true),
            ("https://10.0.0.1", true),
            ("http://127.0.0.1:8700/check", true),
            ("http://localhost", true),
            ("http://[::1]:80/x", true),
            ("http://prover.example/check", false),
            ("http://127.0.0.1.example/", false),
            ("http://10.0.0.1/", false),
            ("http://[2001:db8::1]/", false),
            ("ftp://127.0.0.1/", false),
            ("https://", false),
            ("https://a/?q", false),
        ] {
            assert_eq!(reachable(url).is_ok(), fits, "{url}");
        }
    }
}
