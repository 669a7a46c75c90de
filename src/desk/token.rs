//! Tokens: issue, derive, show, list, validate, consume, revoke. Secrets are hashed here and go no further.

use bearer::Use;
use door::{Ask, Denied, Done, Secret};
use kernel::{Denial, Digest, Layer, Millis, Personal, Principal, Refuse as _, Timestamp, TokenId};
use serde::Deserialize;
use serde_json::{Value, json};
use todos::{TodoId, Todos};
use tokens::{
    Backing, Bounds, Command, Consume, Derive, Filter, Grant, Issue, Kind, Reason, Replacement, Reply, State, Token,
    Tokens, Work,
};

use super::{
    Desk, Given, Request, audit, flag, malformed, optional_flag, optional_number, optional_time, parsed, personal,
    time, unknown, with,
};
use crate::bearers::Minted;

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
    /// The only thing that it is good for.
    target: Option<String>,
    /// Digest of the only request that it pays for.
    request: Option<Digest>,
    #[serde(default, deserialize_with = "optional_time")]
    not_before: Option<Timestamp>,
    /// What may be derived from a todo token.
    #[serde(default)]
    work: Vec<Work>,
    /// Digest of what says that the new artefact is valid.
    report: Option<Digest>,
    approver: Option<Principal>,
    /// The answer has the bearer form, too.
    #[serde(default, deserialize_with = "optional_flag")]
    bearer: Option<bool>,
}

/// The other token is what is asked about.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeriveArguments {
    #[serde(deserialize_with = "parsed")]
    parent: TokenId,
    /// The parent's; not needed where the parent is what is asked with.
    secret: Option<String>,
    #[serde(deserialize_with = "parsed")]
    id: TokenId,
    /// blake3 of the secret of the new one.
    #[serde(deserialize_with = "parsed")]
    secret_digest: Digest,
    subject: Principal,
    audience: String,
    operation: String,
    target: Option<String>,
    request: Option<Digest>,
    #[serde(default, deserialize_with = "optional_number")]
    uses: Option<u64>,
    #[serde(default, deserialize_with = "optional_number")]
    lifetime_ms: Option<u64>,
    #[serde(default, deserialize_with = "optional_flag")]
    bearer: Option<bool>,
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
    /// The secret, or the bearer form.
    secret: String,
    audience: String,
    operation: String,
    /// Of a bearer form that is bound to one.
    target: Option<String>,
    request: Option<Digest>,
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
    /// What it is used on.
    target: Option<String>,
    report: Option<Digest>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    /// Also those that may have signed what still lives.
    #[serde(default, deserialize_with = "flag")]
    all: bool,
}

/// One token with what was derived from it, all of a subject, all of a todo, or all of before an instant.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Revoke {
    id: Option<TokenId>,
    subject: Option<Principal>,
    #[serde(default, deserialize_with = "optional_number")]
    todo: Option<u64>,
    #[serde(default, deserialize_with = "optional_time")]
    before: Option<Timestamp>,
    /// Leaves what was derived from it.
    #[serde(default, deserialize_with = "optional_flag")]
    alone: Option<bool>,
    reason: Option<String>,
}

pub async fn answer(desk: &Desk, mut request: Request) -> Given {
    match request.ask.action {
        "token.issue" => issue(desk, request).await,
        "token.derive" => derive(desk, request).await,
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
            let Validate { id, secret, audience, operation, target, request: pays } = request.arguments()?;
            let ask = with(request.about(id), "audience", audience.as_str());
            desk.door().witness(&with(ask, "operation", operation.as_str())).await?;
            let now = desk.now();
            let (audience, operation) = (audience.as_str(), operation.as_str());
            let wanted = Use { audience, operation, work: None, target: target.as_deref(), request: pays, now };
            let valid = proven(desk, id, &secret, &wanted).and_then(|digest| {
                let valid =
                    desk.door().tokens_view().read(|tokens| tokens.validate(id, digest, audience, operation, now));
                valid.map_err(|refusal| refusal.denial())
            });
            let answer = match valid {
                Ok(token) => json!({ "valid": true, "token": shown(&token) }),
                // No verdict.
                Err(denial) if denial.layer == Layer::Availability => return Err(denial.into()),
                Err(Denial { code, reason, remedy, .. }) => {
                    json!({ "valid": false, "code": code, "reason": reason, "remedy": remedy })
                }
            };
            personal::opened(desk, answer).await
        }
        "token.key" => {
            let Keys { all } = request.arguments()?;
            let ask = request.about("*");
            desk.door().witness(&ask).await?;
            keys(desk, all).await
        }
        "token.consume" => consume(desk, request).await,
        "token.revoke" => revoke(desk, request).await,
        action => unreachable!("{action} is no action on tokens"),
    }
}

async fn issue(desk: &Desk, mut request: Request) -> Given {
    let asked: IssueArguments = request.arguments()?;
    let backed = asked.todo.zip(asked.report).zip(asked.approver);
    let grant = match (asked.kind, asked.todo, replacement(asked.old, asked.new), &backed) {
        (Kind::Operation, None, None, None) => Grant::Operation,
        (Kind::Test, None, None, None) => Grant::Test,
        (Kind::Todo, Some(todo), None, None) => Grant::Todo(todo),
        (Kind::Integration, Some(_), Some(replacement), Some(_)) => Grant::Integration(replacement),
        _ => {
            let which =
                "a todo token names a todo, an integration token old, new, todo, report and approver, the others none";
            return Err(malformed(&which).into());
        }
    };
    if asked.request.is_some() && asked.audience == door::AUDIENCE {
        return Err(malformed(&"the authority's own requests are not bound beforehand: bind the target").into());
    }
    let uses = number_of_uses(asked.uses)?;
    let limits = asked.kind.limits();
    let lifetime = asked.lifetime_ms.map_or(limits.lifetime, Millis);
    let ask = with(request.about(asked.id), "kind", asked.kind.as_str());
    let ask = with(ask, "subject", asked.subject.to_string().as_str());
    let ask = with(with(ask, "audience", asked.audience.as_str()), "operation", asked.operation.as_str());
    let ask = with(ask, "lifetime_ms", i64::try_from(lifetime.0).unwrap_or(i64::MAX));
    let ask = with(ask, "uses", i64::from(uses.unwrap_or(limits.uses)));
    let works = asked.work.iter().map(|work| (&work.audience, &work.operation));
    for (audience, operation) in works.chain([(&asked.audience, &asked.operation)]) {
        desk.may_act(&ask, &asked.subject, action_at(audience, operation)).await?;
    }
    mintable(desk, &ask, asked.bearer).await?;
    let backing = backed.map(|((todo, report), approver)| Backing { todo, report, approver });
    if let Some(backing) = &backing {
        there_is(desk, &ask, backing).await?;
    }
    let command = Command::Issue(Issue {
        id: asked.id,
        secret: asked.secret_digest,
        grant,
        subject: asked.subject,
        audience: asked.audience,
        operation: asked.operation,
        uses,
        lifetime: asked.lifetime_ms.map(Millis),
        bounds: Bounds {
            target: asked.target,
            request: asked.request,
            not_before: asked.not_before,
            work: asked.work,
            backing,
        },
    });
    let done = desk.door().perform(&ask, desk.door().tokens(), command).await?;
    carried(desk, asked.id, asked.bearer, issued(&done)).await
}

/// Nothing is issued whose bearer form is asked for and cannot be written.
async fn mintable(desk: &Desk, ask: &Ask, wanted: Option<bool>) -> Result<(), Denied> {
    match desk.parts.bearers.ready() {
        Err(denial) if wanted == Some(true) => Err(desk.door().refuse(ask, denial).await),
        _ => Ok(()),
    }
}

/// With the bearer form, if it is asked for: what is on record, as long as nothing was done with it.
async fn carried(desk: &Desk, id: TokenId, wanted: Option<bool>, mut answer: Value) -> Given {
    if wanted != Some(true) {
        return Ok(answer);
    }
    let now = desk.now();
    let token = desk.door().tokens_view().read(|tokens| tokens.show(id, now));
    let fresh = |token: &Token| {
        matches!(token.state, State::Pending | State::Active) && (token.left, token.handed_on) == (token.uses, 0)
    };
    match token.filter(fresh) {
        Some(token) => {
            // What was decided about keys before is known from here on: else it could be signed by one that signs no more.
            desk.parts.crypto.inspect(|_| ()).await.map_err(|error| error.denial())?;
            let bearers = desk.parts.bearers.clone();
            let Minted { text, key } = audit::blocking(move || bearers.mint(&token)).await??;
            answer["bearer"] = json!(text);
            answer["key"] = json!(key.to_string());
        }
        None => answer["bearer"] = Value::Null,
    }
    Ok(answer)
}

/// What bearer forms are verified with: the key in use, and with `all` every one that may have signed what still lives. Where none is
/// in use, the others are shown all the same.
async fn keys(desk: &Desk, all: bool) -> Given {
    let (bearers, now) = (desk.parts.bearers.clone(), desk.now());
    let look = move || Ok::<_, Denial>((bearers.public(), all.then(|| bearers.all(now)).transpose()?));
    let (public, known) = audit::blocking(look).await??;
    let Some(known) = known else {
        let (version, key) = public?;
        return Ok(json!({ "key": key.to_string(), "version": version }));
    };
    let (version, key) = public.map_or((None, None), |(version, key)| (version, Some(key.to_string())));
    let shown = known.iter().map(|known| {
        let needed_until = known.needed_until.map(time);
        json!({ "version": known.version, "state": known.state, "key": known.public.to_string(), "needed_until": needed_until })
    });
    Ok(json!({ "key": key, "version": version, "keys": shown.collect::<Vec<_>>() }))
}

/// The digest of the secret that is shown, or of that of the token whose bearer form is shown.
fn proven(desk: &Desk, id: TokenId, shown: &str, wanted: &Use<'_>) -> Result<Digest, Denial> {
    if !bearer::is_bearer(shown) {
        return Ok(Secret::of(shown).digest());
    }
    let tokens = desk.door().tokens_view();
    let carried = desk.parts.bearers.verify(shown, wanted)?;
    let secret = tokens.read(|tokens| tokens.secret_of(id)).filter(|_| carried.claims().id == id);
    secret.ok_or_else(|| Denial { layer: Layer::Token, ..tokens::Refusal::Unknown.denial() })
}

/// What the bearer of a token asks for.
fn action_at<'a>(audience: &str, operation: &'a str) -> &'a str {
    if audience == door::AUDIENCE { operation } else { "protocol.call" }
}

fn number_of_uses(asked: Option<u64>) -> Result<Option<u32>, Denied> {
    asked.map(u32::try_from).transpose().map_err(|_| malformed(&"uses is at most 4294967295").into())
}

fn issued(done: &Done<Tokens>) -> Value {
    match &done.reply {
        Reply::Issued { id, kind, uses, expires_at } => {
            json!({ "id": id, "kind": kind, "uses": uses, "expires_at": time(*expires_at), "record": done.first })
        }
        reply => unreachable!("an issue is answered as one, not with {reply:?}"),
    }
}

/// What an integration rests on is there: the todo, and who approved it.
async fn there_is(desk: &Desk, ask: &Ask, backing: &Backing) -> Result<(), Denied> {
    let (todo, now) = (TodoId(backing.todo), desk.now());
    let known = desk.parts.todos.inspect(move |todos: &Todos| todos.show(todo, now).is_some()).await;
    let denial = if !known.map_err(|error| error.denial())? {
        Denial::new(Layer::Decide, "todos.unknown", format!("there is no {todo}"), "see `sop todo list`")
    } else if desk.door().identity_view().read(|identity| identity.show(&backing.approver).is_none()) {
        let remedy = "name somebody who is; see `sop security list`";
        Denial::new(Layer::Decide, "tokens.unbacked", format!("{} is not admitted", backing.approver), remedy)
    } else {
        return Ok(());
    };
    Err(desk.door().refuse(ask, denial).await)
}

async fn derive(desk: &Desk, mut request: Request) -> Given {
    let asked: DeriveArguments = request.arguments()?;
    let uses = number_of_uses(asked.uses)?;
    let now = desk.now();
    // Of a token that nobody has, the kind is any: the answer will be that it is unknown.
    let (kind, left) = desk.door().tokens_view().read(|tokens| {
        let parent = tokens.show(asked.parent, now);
        let is_test = parent.as_ref().is_some_and(|parent| parent.grant.kind() == Kind::Test);
        (if is_test { Kind::Test } else { Kind::Operation }, parent.map_or(Millis(0), |parent| parent.expires_at - now))
    });
    let lifetime = asked.lifetime_ms.map_or(kind.limits().lifetime.min(left), Millis);
    let held = match &asked.secret {
        Some(secret) => Some(Secret::of(secret).digest()),
        None if request.ask.credential.is_none() => {
            return Err(malformed(&"the secret of the parent is missing").into());
        }
        // Who shows a form that does not do is told so by the door.
        None => desk.door().held(&request.ask),
    };
    let held = held.unwrap_or_default();
    let ask = with(request.about(asked.parent), "kind", kind.as_str());
    let ask = with(ask, "subject", asked.subject.to_string().as_str());
    let ask = with(with(ask, "audience", asked.audience.as_str()), "operation", asked.operation.as_str());
    let ask = with(ask, "lifetime_ms", i64::try_from(lifetime.0).unwrap_or(i64::MAX));
    let ask = with(ask, "uses", i64::from(uses.unwrap_or(1)));
    desk.may_act(&ask, &asked.subject, action_at(&asked.audience, &asked.operation)).await?;
    mintable(desk, &ask, asked.bearer).await?;
    let command = Command::Derive(Derive {
        parent: asked.parent,
        held,
        id: asked.id,
        secret: asked.secret_digest,
        subject: asked.subject,
        audience: asked.audience,
        operation: asked.operation,
        target: asked.target,
        request: asked.request,
        uses,
        lifetime: asked.lifetime_ms.map(Millis),
    });
    let done = desk.door().perform(&ask, desk.door().tokens(), command).await?;
    carried(desk, asked.id, asked.bearer, issued(&done)).await
}

async fn consume(desk: &Desk, mut request: Request) -> Given {
    let asked: ConsumeArguments = request.arguments()?;
    let ask = with(request.about(asked.id), "audience", asked.audience.as_str());
    let ask = with(ask, "operation", asked.operation.as_str());
    let wanted = Use {
        audience: &asked.audience,
        operation: &asked.operation,
        work: None,
        target: asked.target.as_deref(),
        request: Some(asked.request),
        now: desk.now(),
    };
    let secret = match proven(desk, asked.id, &asked.secret, &wanted) {
        Ok(secret) => secret,
        Err(denial) => return Err(desk.door().refuse(&ask, denial).await),
    };
    let command = Command::Consume(Consume {
        id: asked.id,
        secret,
        audience: asked.audience,
        operation: asked.operation,
        request: asked.request,
        todo: asked.todo,
        artefact: replacement(asked.old, asked.new),
        target: asked.target,
        report: asked.report,
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
    let Revoke { id, subject, todo, before, alone, reason } = request.arguments()?;
    let (ask, command) = match (id, subject, todo, before) {
        (Some(id), None, None, None) => {
            let ask = request.about(id);
            let reason = match reason {
                None => Reason::Withdrawn,
                Some(word) if word == "withdrawn" => Reason::Withdrawn,
                Some(word) if word == "compromised" => Reason::Compromised,
                Some(words) => Reason::Other(because(desk, &ask, id, words).await?),
            };
            let alone = alone == Some(true);
            (ask, if alone { Command::Revoke { id, reason } } else { Command::RevokeTree { id, reason } })
        }
        (None, Some(subject), None, None) => (request.about(&subject), Command::RevokeSubject { subject }),
        (None, None, Some(todo), None) => (request.about(format!("todo-{todo}")), Command::RevokeTodo { todo }),
        (None, None, None, Some(before)) => (request.about("*"), Command::RevokeBefore { before }),
        _ => return Err(malformed(&"name one of id, subject, todo and before").into()),
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
        "target": token.target,
        "request": token.request,
        "todo": token.todo.map(|todo| format!("todo-{todo}")),
        "work": token.work,
        "artefact": token.grant.artefact(),
        "backing": token.backing.as_ref().map(|backing| json!({
            "todo": format!("todo-{}", backing.todo),
            "report": backing.report,
            "approver": backing.approver,
        })),
        "parent": token.parent,
        "uses": token.uses,
        "left": token.left,
        "handed_on": token.handed_on,
        "issued_at": time(token.issued_at),
        "starts_at": time(token.starts_at),
        "expires_at": time(token.expires_at),
        "revoked_at": token.revocation.as_ref().map(|revocation| time(revocation.at)),
        "revoked_because": token.revocation.as_ref().map(|revocation| &revocation.reason),
    })
}
