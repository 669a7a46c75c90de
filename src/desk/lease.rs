//! Resources and leases: pools are defined, resized and shown; leases of them asked for, renewed, given back and shown.

use allocator::{Allocator, Command, Filter, Lease, LeaseId, Pool, Reply, State};
use kernel::{Millis, Principal};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Desk, Given, Request, malformed, number, optional_number, parsed, time, unknown, with};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Define {
    pool: String,
    #[serde(deserialize_with = "number")]
    capacity: u64,
    #[serde(default)]
    unit: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Resize {
    pool: String,
    #[serde(deserialize_with = "number")]
    capacity: u64,
    #[serde(default, deserialize_with = "optional_number")]
    expected: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ShowPool {
    pool: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ask {
    /// Chosen by the caller, so that a retry carries the same id.
    #[serde(deserialize_with = "parsed")]
    lease: LeaseId,
    pool: String,
    owner: Principal,
    #[serde(deserialize_with = "number")]
    amount: u64,
    #[serde(default, deserialize_with = "number")]
    priority: u64,
    #[serde(default, deserialize_with = "optional_number")]
    lifetime_ms: Option<u64>,
    #[serde(default)]
    wait: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Renew {
    #[serde(deserialize_with = "parsed")]
    lease: LeaseId,
    #[serde(deserialize_with = "number")]
    fencing: u64,
    #[serde(default, deserialize_with = "optional_number")]
    lifetime_ms: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Release {
    #[serde(deserialize_with = "parsed")]
    lease: LeaseId,
    #[serde(default, deserialize_with = "optional_number")]
    fencing: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    pool: Option<String>,
    owner: Option<Principal>,
    state: Option<State>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Show {
    #[serde(deserialize_with = "parsed")]
    lease: LeaseId,
}

pub async fn answer(desk: &Desk, mut request: Request) -> Given {
    match request.ask.action {
        "resource.define" => {
            let Define { pool, capacity, unit } = request.arguments()?;
            let ask = request.about(&pool);
            changed(desk, ask, Command::Define { pool, capacity, unit }).await
        }
        "resource.resize" => {
            let Resize { pool, capacity, expected } = request.arguments()?;
            let ask = request.about(&pool);
            changed(desk, ask, Command::Resize { pool, capacity, expected }).await
        }
        "resource.show" => {
            let ShowPool { pool } = request.arguments()?;
            desk.door().witness(&request.about(pool.as_deref().unwrap_or("*"))).await?;
            pools(desk, pool).await
        }
        "lease.request" => {
            let asked: Ask = request.arguments()?;
            let Ok(priority) = u8::try_from(asked.priority) else {
                return Err(malformed(&format!("priority is 0 to {}", allocator::PRIORITY_MAX)).into());
            };
            let ask = with(request.about(asked.lease), "owner", asked.owner.to_string().as_str());
            let ask = with(ask, "pool", asked.pool.as_str());
            let ask = with(ask, "amount", i64::try_from(asked.amount).unwrap_or(i64::MAX));
            let ask = with(ask, "priority", i64::from(priority));
            let command = Command::Request(allocator::Request {
                lease: asked.lease,
                pool: asked.pool,
                owner: asked.owner,
                amount: asked.amount,
                priority,
                lifetime: asked.lifetime_ms.map(Millis),
                wait: asked.wait,
            });
            changed(desk, ask, command).await
        }
        "lease.renew" => {
            let Renew { lease, fencing, lifetime_ms } = request.arguments()?;
            let ask = owned(desk, request, lease).await?;
            changed(desk, ask, Command::Renew { lease, fencing, lifetime: lifetime_ms.map(Millis) }).await
        }
        "lease.release" => {
            let Release { lease, fencing } = request.arguments()?;
            let ask = owned(desk, request, lease).await?;
            changed(desk, ask, Command::Release { lease, fencing }).await
        }
        "lease.list" => {
            let List { pool, owner, state } = request.arguments()?;
            let of = owner.as_ref().map(ToString::to_string).unwrap_or_default();
            desk.door().witness(&with(request.about("*"), "owner", of.as_str())).await?;
            let leases = listed(desk, Filter { pool, owner, state }).await?;
            Ok(json!({ "leases": leases }))
        }
        "lease.show" => {
            let Show { lease } = request.arguments()?;
            let ask = owned(desk, request, lease).await?;
            desk.door().witness(&ask).await?;
            let now = desk.now();
            let look = move |allocator: &Allocator| allocator.show(lease, now).map(|lease| shown(&lease));
            let found = desk.parts.allocator.inspect(look).await.map_err(|error| error.denial())?;
            found.ok_or_else(|| unknown("allocator.unknown", &format!("lease {lease}"), "see `sop lease list`"))
        }
        action => unreachable!("{action} is no action on resources or leases"),
    }
}

/// Says whose lease it is about, for policy and record. Whoever may not see it learns nothing by that.
async fn owned(desk: &Desk, request: Request, lease: LeaseId) -> Result<door::Ask, door::Denied> {
    let look = move |allocator: &Allocator| allocator.owner(lease).map(ToString::to_string);
    let owner = desk.parts.allocator.inspect(look).await.map_err(|error| error.denial())?;
    Ok(with(request.about(lease), "owner", owner.unwrap_or_default().as_str()))
}

async fn changed(desk: &Desk, ask: door::Ask, command: Command) -> Given {
    let done = desk.door().perform(&ask, &desk.parts.allocator, command).await?;
    let mut answer = match done.reply {
        Reply::Sized { pool, capacity } => json!({ "pool": pool, "capacity": capacity }),
        Reply::Granted { lease, pool, amount, fencing, expires_at } => json!({
            "lease": lease,
            "state": State::Held,
            "pool": pool,
            "amount": amount,
            "fencing": fencing,
            "expires_at": time(expires_at),
        }),
        Reply::Queued { lease, pool, amount, position } => json!({
            "lease": lease,
            "state": State::Waiting,
            "pool": pool,
            "amount": amount,
            "position": position,
        }),
        Reply::Released { lease, ended } => json!({ "lease": lease, "ended": ended }),
        reply @ (Reply::Revoked { .. } | Reply::Expired { .. }) => {
            unreachable!("{reply:?} answers no command of the desk's")
        }
    };
    answer["record"] = json!(done.first);
    answer["repeated"] = json!(done.repeated);
    Ok(answer)
}

async fn pools(desk: &Desk, pool: Option<String>) -> Given {
    let now = desk.now();
    let Some(name) = pool else {
        let look = move |allocator: &Allocator| allocator.pools(now).map(|pool| sized(&pool)).collect::<Vec<_>>();
        let found = desk.parts.allocator.inspect(look).await.map_err(|error| error.denial())?;
        return Ok(json!({ "pools": found }));
    };
    let what = format!("pool {name:?}");
    let look = move |allocator: &Allocator| {
        let filter = Filter { pool: Some(name.clone()), ..Filter::default() };
        let pool = allocator.pool(&name, now)?;
        let mut answer = sized(&pool);
        answer["leases"] = allocator.list(&filter, now).map(|lease| shown(&lease)).collect();
        Some(answer)
    };
    let found = desk.parts.allocator.inspect(look).await.map_err(|error| error.denial())?;
    found.ok_or_else(|| unknown("allocator.unknown_pool", &what, "see `sop resource show`"))
}

async fn listed(desk: &Desk, filter: Filter) -> Result<Vec<Value>, door::Denied> {
    let now = desk.now();
    let look = move |allocator: &Allocator| allocator.list(&filter, now).map(|lease| shown(&lease)).collect::<Vec<_>>();
    desk.parts.allocator.inspect(look).await.map_err(|error| error.denial().into())
}

fn sized(pool: &Pool) -> Value {
    json!({
        "pool": pool.name,
        "unit": pool.unit,
        "capacity": pool.capacity,
        "leased": pool.leased,
        "free": pool.free,
        "held": pool.held,
        "waiting": pool.waiting,
        "fencing": pool.fencing,
    })
}

fn shown(lease: &Lease) -> Value {
    json!({
        "id": lease.id,
        "pool": lease.pool,
        "owner": lease.owner,
        "amount": lease.amount,
        "priority": lease.priority,
        "lifetime_ms": lease.lifetime,
        "state": lease.state,
        "position": lease.position,
        "fencing": lease.fencing,
        "asked_at": time(lease.asked_at),
        "granted_at": lease.granted_at.map(time),
        "expires_at": lease.expires_at.map(time),
        "ended_at": lease.ended_at.map(time),
    })
}
