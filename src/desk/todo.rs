//! Todos: list, show, claim, release, submit.

use std::time::Duration;

use kernel::{Denial, Digest, Layer, Millis, Principal, TokenId};
use serde::Deserialize;
use serde_json::{Value, json};
use todos::{Command, Filter, Reply, State, Todo, TodoId};

use super::{Desk, Given, Request, parsed, personal, time, unknown, with};

/// A claim is durable before its token is: the route that issues it is awaited this long.
const TOKEN_WITHIN: Duration = Duration::from_secs(5);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    state: Option<State>,
    holder: Option<Principal>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Show {
    #[serde(deserialize_with = "parsed")]
    todo: TodoId,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Claim {
    #[serde(deserialize_with = "parsed")]
    todo: TodoId,
    holder: Principal,
    #[serde(deserialize_with = "parsed")]
    token: TokenId,
    /// blake3 of the token's secret, which stays with the caller.
    #[serde(deserialize_with = "parsed")]
    secret_digest: Digest,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Submit {
    #[serde(deserialize_with = "parsed")]
    todo: TodoId,
    #[serde(default)]
    note: String,
}

pub async fn answer(desk: &Desk, mut request: Request) -> Given {
    match request.ask.action {
        "todo.list" => {
            let List { state, holder } = request.arguments()?;
            desk.door().witness(&request.about("*")).await?;
            let (filter, now) = (Filter { state, holder }, desk.now());
            let look =
                move |todos: &todos::Todos| todos.list(&filter, now).map(|todo| shown(&todo)).collect::<Vec<_>>();
            let listed = desk.parts.todos.inspect(look).await.map_err(|error| error.denial())?;
            personal::opened(desk, json!({ "todos": listed })).await
        }
        "todo.show" => {
            let Show { todo } = request.arguments()?;
            desk.door().witness(&request.about(todo)).await?;
            let now = desk.now();
            let look = move |todos: &todos::Todos| todos.show(todo, now).map(|todo| shown(&todo));
            let found = desk.parts.todos.inspect(look).await.map_err(|error| error.denial())?;
            let found = found.ok_or_else(|| unknown("todos.unknown", &todo, "see `sop todo list`"))?;
            personal::opened(desk, found).await
        }
        "todo.claim" => claim(desk, request).await,
        "todo.release" => {
            let Show { todo } = request.arguments()?;
            let done = desk.door().perform(&request.about(todo), &desk.parts.todos, Command::Release { todo }).await?;
            Ok(json!({ "todo": todo, "state": "open", "record": done.first }))
        }
        "todo.submit" => {
            let Submit { todo, note } = request.arguments()?;
            let ask = request.about(todo);
            let note = personal::sealed(desk, &ask, "note", note).await?;
            let done = desk.door().perform(&ask, &desk.parts.todos, Command::Submit { todo, note }).await?;
            Ok(json!({ "todo": todo, "state": "submitted", "record": done.first }))
        }
        action => unreachable!("{action} is no action on todos"),
    }
}

async fn claim(desk: &Desk, mut request: Request) -> Given {
    let Claim { todo, holder, token, secret_digest } = request.arguments()?;
    let ask = with(request.about(todo), "holder", holder.to_string().as_str());
    desk.may_act(&ask, &holder, "todo.submit").await?;
    let command = Command::Claim { todo, holder: holder.clone(), token, secret: secret_digest };
    let done = desk.door().perform(&ask, &desk.parts.todos, command).await?;
    let Reply::Claimed { expires_at, .. } = done.reply else { unreachable!("a claim is answered as one") };
    if tokio::time::timeout(TOKEN_WITHIN, issued(desk, token)).await.is_err() {
        let reason = format!("{todo} is claimed, and its token {token} is not issued yet");
        let remedy = "wait, then look with `sop token show`; if it stays away, release the todo and claim it again";
        let denial = Denial::new(Layer::Availability, "todos.token_pending", reason, remedy);
        return Err(denial.retry_after(Millis::seconds(1)).into());
    }
    Ok(json!({
        "todo": todo,
        "holder": holder,
        "token": token,
        "expires_at": time(expires_at),
        "record": done.first,
        "repeated": done.repeated,
    }))
}

async fn issued(desk: &Desk, token: TokenId) {
    let mut durable = desk.parts.journal.durable();
    loop {
        durable.borrow_and_update();
        let now = desk.now();
        if desk.door().tokens_view().read(|tokens| tokens.show(token, now)).is_some()
            || durable.changed().await.is_err()
        {
            return;
        }
    }
}

fn shown(todo: &Todo) -> Value {
    json!({
        "id": todo.id,
        "state": todo.state,
        "title": todo.title,
        "place": todo.place,
        "gap": todo.gap,
        "holder": todo.claim.as_ref().map(|claim| &claim.holder),
        "token": todo.claim.as_ref().map(|claim| claim.token),
        "claimed_at": todo.claim.as_ref().map(|claim| time(claim.claimed_at)),
        "claim_expires_at": todo.claim.as_ref().map(|claim| time(claim.expires_at)),
        "note": todo.claim.as_ref().and_then(|claim| claim.note.as_ref()),
        "opened_at": time(todo.opened_at),
        "closed_at": todo.closed_at.map(time),
        "reopened": todo.reopened,
    })
}
