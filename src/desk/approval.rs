//! Approvals: ask for them, list, show, approve, deny, withdraw.

use std::sync::{Arc, OnceLock};

use approvals::{Command, Filter, REASON_MAX, Reply, State};
use door::{Ask, Bound, Denied, Wanted};
use kernel::{Denial, Digest, Layer, Millis, Personal, Principal, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Desk, Given, Request, number, optional_number, personal, time, unknown, with};

/// What leave is asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    action: String,
    arguments: Value,
    #[serde(default)]
    reason: String,
    #[serde(default, deserialize_with = "optional_number")]
    lifetime_ms: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    state: Option<State>,
    asker: Option<Principal>,
    action: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    #[serde(deserialize_with = "number")]
    request: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Deny {
    #[serde(deserialize_with = "number")]
    request: u64,
    #[serde(default)]
    reason: String,
}

/// Arguments that are drawn anew for each command, and so belong to no content; whether the resource is named by one.
const DRAWN: [(&str, &[&str], bool); 4] = [
    ("token.issue", &["id", "secret_digest"], true),
    ("token.derive", &["id", "secret_digest"], false),
    ("lease.request", &["lease"], true),
    ("todo.claim", &["token", "secret_digest"], false),
];

/// Arguments that nobody gets to read.
const SECRET: &str = "secret";

/// What approvals of a call are bound to.
pub fn bound(action: &str, arguments: &Value) -> Bound {
    let drawn = DRAWN.iter().find(|(name, ..)| *name == action);
    let (left_out, anew) = drawn.map_or((&[][..], false), |(_, names, anew)| (*names, *anew));
    let mut hasher = blake3::Hasher::new();
    hasher.update(action.as_bytes()).update(&[0]);
    for (name, value) in sorted(arguments).into_iter().filter(|(name, _)| !left_out.contains(&name.as_str())) {
        hasher.update(json!([name, canonical(value)]).to_string().as_bytes());
    }
    Bound { content: Some(Digest(*hasher.finalize().as_bytes())), anew, wanted: None, proving: None, trial: None }
}

/// What was not given and what was given as nothing are the same.
fn sorted(arguments: &Value) -> Vec<(&String, &Value)> {
    let mut fields: Vec<_> =
        arguments.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null()).collect();
    fields.sort_unstable_by_key(|(name, _)| *name);
    fields
}

/// In an order that is not the caller's.
pub fn canonical(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(canonical).collect(),
        Value::Object(_) => sorted(value).into_iter().map(|(name, value)| json!([name, canonical(value)])).collect(),
        plain => plain.clone(),
    }
}

/// The arguments as they were given, for those who decide.
fn readable(arguments: &Value) -> String {
    let shown = |(name, value): (&String, &Value)| {
        (name.clone(), if name == SECRET { "(hidden)".into() } else { value.clone() })
    };
    Value::Object(sorted(arguments).into_iter().map(shown).collect()).to_string()
}

pub async fn answer(desk: &Desk, mut request: Request) -> Given {
    match request.ask.action {
        "approval.request" => asked(desk, request).await,
        "approval.list" => {
            let List { state, asker, action } = request.arguments()?;
            let ask =
                with(request.about("*"), "asker", asker.as_ref().map(ToString::to_string).unwrap_or_default().as_str());
            desk.door().witness(&with(ask, "asked", action.as_deref().unwrap_or_default())).await?;
            let (filter, now) = (Filter { state, asker, action }, desk.now());
            let listed: Vec<_> = desk.parts.approvals_view.read(|approvals| approvals.list(&filter, now).collect());
            personal::opened(desk, json!({ "requests": listed.iter().map(shown).collect::<Vec<_>>() })).await
        }
        "approval.show" => {
            let Named { request: number } = request.arguments()?;
            desk.door().witness(&about(desk, request, number)).await?;
            let found = find(desk, number).ok_or_else(|| none(number))?;
            let mut answer = shown(&found);
            // That it cannot be known now keeps nobody from reading.
            if let ("policy.activate", Ok(epoch)) = (found.action.as_str(), found.resource.parse()) {
                answer["claims"] = desk.door().governance_view().read(|now| super::policy::claims(now, epoch));
            }
            answer["stale"] = desk.door().is_stale(&found).await.map_or(Value::Null, Value::from);
            personal::opened(desk, answer).await
        }
        "approval.approve" => {
            let Named { request: number } = request.arguments()?;
            decided(desk, about(desk, request, number), Command::Approve { request: number }).await
        }
        "approval.deny" => {
            let Deny { request: number, reason } = request.arguments()?;
            let ask = about(desk, request, number);
            let reason = sealed(desk, &ask, "reason", reason).await?;
            decided(desk, ask, Command::Deny { request: number, reason }).await
        }
        "approval.withdraw" => {
            let Named { request: number } = request.arguments()?;
            decided(desk, about(desk, request, number), Command::Withdraw { request: number }).await
        }
        action => unreachable!("{action} is no action on approvals"),
    }
}

async fn sealed(desk: &Desk, ask: &Ask, field: &'static str, text: String) -> Result<Personal, Denied> {
    if text.is_empty() { Ok(Personal::default()) } else { personal::sealed(desk, ask, field, text).await }
}

/// The call itself goes its way, to where it would be let in, and no further.
async fn asked(desk: &Desk, mut request: Request) -> Given {
    let Asked { action: name, arguments, reason, lifetime_ms } = request.arguments()?;
    let Some(action) = super::action(&name) else {
        let name: String = name.chars().take(80).collect();
        let reason = format!("there is no action {name:?}");
        return Err(Denial::new(Layer::Request, "request.unknown_action", reason, "see GET /v1/actions").into());
    };
    if action.starts_with("approval.") || ["proof.submit", "proof.goal", door::TRY, "system.stop"].contains(&action) {
        return Err(not_for_this(action).into());
    }
    if REASON_MAX < reason.chars().count() {
        let refusal = approvals::Refusal::TooLong { what: "the reason".to_owned(), max: count(REASON_MAX) };
        return Err(kernel::Refuse::denial(&refusal).into());
    }
    let granted = Arc::<OnceLock<Reply>>::default();
    let mut ask = Ask { action, ..request.ask };
    let wanted = Wanted {
        arguments: sealed(desk, &ask, "arguments", readable(&arguments)).await?,
        reason: sealed(desk, &ask, "reason", reason).await?,
        lifetime: lifetime_ms.map(Millis),
        asked: granted.clone(),
    };
    ask.bound = Bound { wanted: Some(wanted), ..bound(action, &arguments) };
    let done = desk.answer(Request { ask, arguments }).await;
    match (granted.get(), done) {
        (Some(Reply::Requested { request, needed, have, expires_at }), _) => Ok(json!({
            "request": request,
            "action": action,
            "needed": needed,
            "have": have,
            "state": if have < needed { State::Pending } else { State::Approved },
            "expires_at": time(*expires_at),
        })),
        (_, Err(denied)) => Err(denied),
        // Of what takes no leave at all.
        (_, Ok(_)) => Err(not_for_this(action).into()),
    }
}

fn not_for_this(action: &str) -> Denial {
    let reason = format!("leave is not asked for {action}");
    Denial::new(Layer::Request, "approvals.not_for_this", reason, "do it without")
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn find(desk: &Desk, number: u64) -> Option<approvals::Request> {
    let now = desk.now();
    desk.parts.approvals_view.read(|approvals| approvals.show(number, now))
}

fn none(number: u64) -> Denied {
    unknown("approvals.unknown", &format!("request {number}"), "see `sop approval list`")
}

/// Who asked for what is known from the request itself, and nobody says so.
fn about(desk: &Desk, request: Request, number: u64) -> Ask {
    let found = find(desk, number).map(|found| (found.asker.to_string(), found.action));
    let (who, what) = found.unwrap_or_default();
    with(with(request.about(number), "asker", who.as_str()), "asked", what.as_str())
}

async fn decided(desk: &Desk, ask: Ask, command: Command) -> Given {
    let done = desk.door().perform(&ask, &desk.parts.approvals, command).await?;
    Ok(match done.reply {
        Reply::Decided { request, needed, have, state } => {
            json!({ "request": request, "needed": needed, "have": have, "state": state, "record": done.first })
        }
        Reply::Withdrawn { request } => {
            json!({ "request": request, "state": State::Withdrawn, "record": done.first })
        }
        reply => unreachable!("a decision is answered as one, not with {reply:?}"),
    })
}

fn shown(request: &approvals::Request) -> Value {
    let at = |at: Timestamp| time(at);
    let approvals = request.approvals.iter().map(|approval| json!({ "by": approval.by, "at": at(approval.at) }));
    json!({
        "request": request.number,
        "state": request.state,
        "asker": request.asker,
        "issuer": request.issuer,
        "action": request.action,
        "resource": request.resource,
        "arguments": request.arguments,
        "reason": if request.reason.is_empty() { Value::Null } else { json!(request.reason) },
        "needed": request.needed,
        "have": request.have(),
        "approvals": approvals.collect::<Vec<_>>(),
        "asked_at": at(request.asked_at),
        "expires_at": at(request.expires_at),
        "content": request.content,
        "target": request.target,
        "end": request.end.as_ref().map(|end| json!({
            "how": end.how,
            "by": end.by,
            "reason": if end.reason.is_empty() { Value::Null } else { json!(end.reason) },
            "at": at(end.at),
        })),
        "used": request.used.map(|used| json!({ "command": used.command, "at": at(used.at) })),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_the_same_however_it_is_written() {
        let content = |action: &str, text: &str| bound(action, &serde_json::from_str(text).unwrap()).content;
        let drill = content("backup.drill", r#"{ "backup": "backup-2", "deep": { "a": 1, "b": [2, null] } }"#);
        assert_eq!(content("backup.drill", r#"{"deep":{"b":[2,null],"a":1},"backup":"backup-2","wait":null}"#), drill);
        for other in [
            r#"{ "backup": "backup-3", "deep": { "a": 1, "b": [2, null] } }"#,
            r#"{ "backup": "backup-2", "deep": { "a": 1, "b": [null, 2] } }"#,
            r#"{ "backup": "backup-2", "deep": { "a": "1", "b": [2, null] } }"#,
            r#"{ "backup": "backup-2" }"#,
        ] {
            assert_ne!(content("backup.drill", other), drill, "{other}");
        }
        assert_ne!(content("backup.hold", r#"{ "backup": "backup-2", "deep": { "a": 1, "b": [2, null] } }"#), drill);
    }

    #[test]
    fn what_is_drawn_anew_is_left_out_and_a_secret_is_not_shown() {
        let issue = |id: &str, uses: u32| bound("token.issue", &json!({ "id": id, "secret_digest": id, "uses": uses }));
        assert!(issue("a", 1).anew);
        assert_eq!(issue("a", 1).content, issue("b", 1).content);
        assert_ne!(issue("a", 1).content, issue("a", 2).content);
        assert!(!bound("token.revoke", &json!({ "id": "a" })).anew);
        assert_ne!(
            bound("token.revoke", &json!({ "id": "a" })).content,
            bound("token.revoke", &json!({ "id": "b" })).content
        );
        assert_eq!(
            readable(&json!({ "secret": "sop_tk_1", "id": "a", "todo": null })),
            r#"{"id":"a","secret":"(hidden)"}"#
        );
    }
}
