//! Tokens: issue, show, list, validate, consume, revoke. Secrets are hashed here and go no further.

use door::{Ask, Denied, Secret};
use kernel::{Digest, Millis, Personal, Principal, Refuse as _, TokenId};
use serde::Deserialize;
use serde_json::{Value, json};
use tokens::{Command, Consume, Filter, Grant, Issue, Kind, Reason, Replacement, Reply, State, Token};

use super::{Desk, Given, Request, malformed, optional_number, parsed, personal, time, unknown, with};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IssueArguments {
    #[serde(deserialize_with = "parsed")]
    id: TokenId,
    /// blake3 of the secret, which stays with the caller.
    #[serde(deserialize_with = "parsed")]
    secret_digest: Digest,
    kind: Kind,
    subject: Principal,
    audience: String,
    operation: String,
    #[serde(default, deserialize_with = "optional_number")]
    uses: Option<u64>,
    #[serde(default, deserialize_with = "optional_number")]
    lifetime_ms: Option<u64>,
    #[serde(default, deserialize_with = "optional_number")]
    todo: Option<u64>,
    old: Option<Digest>,
    new: Option<Digest>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Show {
    #[serde(deserialize_with = "parsed")]
    id: TokenId,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    kind: Option<Kind>,
    subject: Option<Principal>,
    audience: Option<String>,
    #[serde(default, deserialize_with = "optional_number")]
    todo: Option<u64>,
    state: Option<State>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Validate {
    #[serde(deserialize_with = "parsed")]
    id: TokenId,
    secret: String,
    audience: String,
    operation: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConsumeArguments {
    #[serde(deserialize_with = "parsed")]
    id: TokenId,
    secret: String,
    audience: String,
    operation: String,
    /// Digest of the request that the use pays for.
    #[serde(deserialize_with = "parsed")]
    request: Digest,
    #[serde(default, deserialize_with = "optional_number")]
    todo: Option<u64>,
    old: Option<Digest>,
    new: Option<Digest>,
}

/// One token, all of a subject, or all of a todo.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Revoke {
    id: Option<TokenId>,
    subject: Option<Principal>,
    #[serde(default, deserialize_with = "optional_number")]
    todo: Option<u64>,
    reason: Option<String>,
}

pub async fn answer(desk: &Desk, mut request: Request) -> Given {
    match request.ask.action {
        "token.issue" => issue(desk, request).await,
        "token.show" => {
            let Show { id } = request.arguments()?;
            desk.door().witness(&request.about(id)).await?;
            let now = desk.now();
            let found = desk.door().tokens_view().read(|tokens| tokens.show(id, now).zip(tokens.uses(id, now)));
            let what = format!("token {id}");
            let (token, uses) = found.ok_or_else(|| unknown("tokens.unknown", &what, "see `sop token list`"))?;
            let mut answer = shown(&token);
            let spent = |spent: tokens::Use| json!({ "number": spent.number, "command": spent.command, "at": time(spent.at), "state": spent.state });
            answer["spent"] = uses.into_iter().map(spent).collect();
            personal::opened(desk, answer).await
        }
        "token.list" => {
            let List { kind, subject, audience, todo, state } = request.arguments()?;
            desk.door().witness(&request.about("*")).await?;
            let (filter, now) = (Filter { kind, subject, audience, todo, state }, desk.now());
            let listed = desk.door().tokens_view().read(|tokens| tokens.list(&filter, now).collect::<Vec<_>>());
            personal::opened(desk, json!({ "tokens": listed.iter().map(shown).collect::<Vec<_>>() })).await
        }
        "token.validate" => {
            let Validate { id, secret, audience, operation } = request.arguments()?;
            let ask = with(request.about(id), "audience", audience.as_str());
            desk.door().witness(&with(ask, "operation", operation.as_str())).await?;
            let (digest, now) = (Secret::of(&secret).digest(), desk.now());
            let valid =
                desk.door().tokens_view().read(|tokens| tokens.validate(id, digest, &audience, &operation, now));
            let answer = match valid {
                Ok(token) => json!({ "valid": true, "token": shown(&token) }),
                Err(refusal) => json!({
                    "valid": false,
                    "code": refusal.code(),
                    "reason": refusal.to_string(),
                    "remedy": refusal.remedy(),
                }),
            };
            personal::opened(desk, answer).await
        }
        "token.consume" => consume(desk, request).await,
        "token.revoke" => revoke(desk, request).await,
        action => unreachable!("{action} is no action on tokens"),
    }
}

async fn issue(desk: &Desk, mut request: Request) -> Given {
    let asked: IssueArguments = request.arguments()?;
    let grant = match (asked.kind, asked.todo, replacement(asked.old, asked.new)) {
        (Kind::Operation, None, None) => Grant::Operation,
        (Kind::Test, None, None) => Grant::Test,
        (Kind::Todo, Some(todo), None) => Grant::Todo(todo),
        (Kind::Integration, None, Some(replacement)) => Grant::Integration(replacement),
        _ => {
            return Err(
                malformed(&"a todo token names a todo, an integration token old and new, the others neither").into()
            );
        }
    };
    let Ok(uses) = asked.uses.map(u32::try_from).transpose() else {
        return Err(malformed(&"uses is at most 4294967295").into());
    };
    let limits = asked.kind.limits();
    let lifetime = asked.lifetime_ms.map_or(limits.lifetime, Millis);
    let ask = with(request.about(asked.id), "kind", asked.kind.as_str());
    let ask = with(ask, "subject", asked.subject.to_string().as_str());
    let ask = with(with(ask, "audience", asked.audience.as_str()), "operation", asked.operation.as_str());
    let ask = with(ask, "lifetime_ms", i64::try_from(lifetime.0).unwrap_or(i64::MAX));
    let ask = with(ask, "uses", i64::from(uses.unwrap_or(limits.uses)));
    let action = if asked.audience == door::AUDIENCE { asked.operation.as_str() } else { "protocol.call" };
    desk.may_act(&ask, &asked.subject, action).await?;
    let command = Command::Issue(Issue {
        id: asked.id,
        secret: asked.secret_digest,
        grant,
        subject: asked.subject,
        audience: asked.audience,
        operation: asked.operation,
        uses,
        lifetime: asked.lifetime_ms.map(Millis),
    });
    let done = desk.door().perform(&ask, desk.door().tokens(), command).await?;
    match done.reply {
        Reply::Issued { id, kind, uses, expires_at } => {
            Ok(json!({ "id": id, "kind": kind, "uses": uses, "expires_at": time(expires_at), "record": done.first }))
        }
        reply => unreachable!("an issue is answered as one, not with {reply:?}"),
    }
}

async fn consume(desk: &Desk, mut request: Request) -> Given {
    let asked: ConsumeArguments = request.arguments()?;
    let ask = with(request.about(asked.id), "audience", asked.audience.as_str());
    let ask = with(ask, "operation", asked.operation.as_str());
    let command = Command::Consume(Consume {
        id: asked.id,
        secret: Secret::of(&asked.secret).digest(),
        audience: asked.audience,
        operation: asked.operation,
        request: asked.request,
        todo: asked.todo,
        artefact: replacement(asked.old, asked.new),
    });
    let done = desk.door().perform(&ask, desk.door().tokens(), command).await?;
    match done.reply {
        Reply::Consumed(consumption) => Ok(json!({
            "token": consumption.spent.token,
            "use": consumption.spent.number,
            "left": consumption.left,
            "command": consumption.by,
            "already": consumption.already,
            "state": consumption.state,
            "record": done.first,
        })),
        reply => unreachable!("a consumption is answered as one, not with {reply:?}"),
    }
}

async fn revoke(desk: &Desk, mut request: Request) -> Given {
    let Revoke { id, subject, todo, reason } = request.arguments()?;
    let (ask, command) = match (id, subject, todo) {
        (Some(id), None, None) => {
            let ask = request.about(id);
            let reason = match reason {
                None => Reason::Withdrawn,
                Some(word) if word == "withdrawn" => Reason::Withdrawn,
                Some(word) if word == "compromised" => Reason::Compromised,
                Some(words) => Reason::Other(because(desk, &ask, id, words).await?),
            };
            (ask, Command::Revoke { id, reason })
        }
        (None, Some(subject), None) => (request.about(&subject), Command::RevokeSubject { subject }),
        (None, None, Some(todo)) => (request.about(format!("todo-{todo}")), Command::RevokeTodo { todo }),
        _ => return Err(malformed(&"name one of id, subject and todo").into()),
    };
    let done = desk.door().perform(&ask, desk.door().tokens(), command).await?;
    match done.reply {
        Reply::Revoked { tokens } => Ok(json!({ "revoked": tokens, "record": done.first })),
        reply => unreachable!("a revocation is answered as one, not with {reply:?}"),
    }
}

/// Why a token ends is said of its subject.
async fn because(desk: &Desk, ask: &Ask, id: TokenId, words: String) -> Result<Personal, Denied> {
    let asker = desk.door().identify(ask).await?;
    let now = desk.now();
    let subject = desk.door().tokens_view().read(|tokens| tokens.show(id, now)).map(|token| token.subject);
    personal::sealed_for(desk, ask, subject.unwrap_or(asker), "reason", words).await
}

fn replacement(old: Option<Digest>, new: Option<Digest>) -> Option<Replacement> {
    Some(Replacement { old: old?, new: new? })
}

fn shown(token: &Token) -> Value {
    json!({
        "id": token.id,
        "kind": token.grant.kind(),
        "state": token.state,
        "subject": token.subject,
        "issuer": token.issuer,
        "audience": token.audience,
        "operation": token.operation,
        "todo": token.grant.todo().map(|todo| format!("todo-{todo}")),
        "artefact": token.grant.artefact(),
        "uses": token.uses,
        "left": token.left,
        "issued_at": time(token.issued_at),
        "expires_at": time(token.expires_at),
        "revoked_at": token.revocation.as_ref().map(|revocation| time(revocation.at)),
        "revoked_because": token.revocation.as_ref().map(|revocation| &revocation.reason),
    })
}
