//! Subscriptions: create, list, read, ack, delete.

use std::time::Duration;

use ::subscriptions::Subscriptions;
use journal::reader::Bounds;
use kernel::Sequence;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Desk, Given, Request, audit, malformed, number, optional_number, personal, time};
use crate::subscriptions::{self, BOUNDS, WAIT_MAX};

/// Records given at once if nothing is asked.
const LIMIT: u64 = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    name: String,
    /// None means all.
    #[serde(default)]
    streams: Vec<String>,
    #[serde(default)]
    kinds: Vec<String>,
    /// First record; without it, what is recorded from now on.
    #[serde(default, deserialize_with = "optional_number")]
    from: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Read {
    name: String,
    #[serde(default, deserialize_with = "optional_number")]
    limit: Option<u64>,
    /// Answer with nothing after so long.
    #[serde(default, deserialize_with = "optional_number")]
    wait_ms: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Acknowledge {
    name: String,
    #[serde(deserialize_with = "number")]
    position: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Delete {
    name: String,
}

pub async fn answer(desk: &Desk, mut request: Request) -> Given {
    let parts = &desk.parts;
    match request.ask.action {
        "subscription.create" => {
            let Create { name, streams, kinds, from } = request.arguments()?;
            let wanted = subscriptions::wanted(parts, &streams, &kinds)?;
            let done = subscriptions::create(parts, &request.about(&name), wanted, from).await?;
            Ok(
                json!({ "name": name, "position": done.reply.position, "record": done.first, "repeated": done.repeated }),
            )
        }
        "subscription.list" => {
            let List {} = request.arguments()?;
            desk.door().witness(&request.about("*")).await?;
            let head = parts.journal.durable().borrow().0;
            let look = move |all: &Subscriptions| all.list().map(|one| shown(one, head)).collect::<Vec<_>>();
            let listed = parts.subscriptions.inspect(look).await.map_err(|error| error.denial())?;
            Ok(json!({ "subscriptions": listed }))
        }
        "subscription.read" => {
            let Read { name, limit, wait_ms } = request.arguments()?;
            let limit = usize::try_from(limit.unwrap_or(LIMIT)).unwrap_or(usize::MAX);
            if limit == 0 || BOUNDS.records < limit {
                return Err(malformed(&format!("limit is 1 to {}", BOUNDS.records)).into());
            }
            let wait = Duration::from_millis(wait_ms.unwrap_or(0));
            if WAIT_MAX < wait {
                return Err(malformed(&format!("wait_ms is at most {}", WAIT_MAX.as_millis())).into());
            }
            let bounds = Bounds { records: limit, ..BOUNDS };
            let page = subscriptions::read(parts, &request.about(&name), bounds, wait).await?;
            let shown = json!({
                "name": name,
                "records": page.records.iter().map(audit::full).collect::<Vec<_>>(),
                "position": page.position,
                "lag": page.head.0.saturating_sub(page.position.0),
            });
            personal::opened(desk, shown).await
        }
        "subscription.ack" => {
            let Acknowledge { name, position } = request.arguments()?;
            let done = subscriptions::acknowledge(parts, &request.about(&name), Sequence(position)).await?;
            Ok(
                json!({ "name": name, "position": done.reply.position, "record": done.first, "repeated": done.repeated }),
            )
        }
        "subscription.delete" => {
            let Delete { name } = request.arguments()?;
            let done = subscriptions::delete(parts, &request.about(&name)).await?;
            Ok(
                json!({ "name": name, "position": done.reply.position, "record": done.first, "repeated": done.repeated }),
            )
        }
        action => unreachable!("{action} is no action on subscriptions"),
    }
}

fn shown((name, known): (&str, &::subscriptions::Subscription), head: u64) -> Value {
    let named = |id: &u32| {
        let kind = subscriptions::kinds().find(|kind| kind.id == *id);
        kind.map_or_else(|| format!("kind {id}"), |kind| kind.name.to_owned())
    };
    json!({
        "name": name,
        "owner": known.owner,
        "streams": known.wanted.streams,
        "kinds": known.wanted.kinds.iter().map(named).collect::<Vec<_>>(),
        "position": known.position,
        "lag": head.saturating_sub(known.position),
        "created_at": time(known.created_at),
        "moved_at": time(known.moved_at),
    })
}
