//! `sop resource`: define, resize, show. `sop lease`: request, renew, release, list, show.

use allocator::LeaseId;
use clap::{Args, Subcommand};
use kernel::Principal;
use serde_json::{Value, json};

use super::call::{Globals, Mutation, Remote};
use super::exit::{Exit, Failure, Run};
use super::output::{answer, cell, fields, table};
use super::todo::OPERATOR;
use super::token::{arguments, millis};

const STATES: [&str; 6] = ["waiting", "held", "expired", "released", "withdrawn", "revoked"];

#[derive(Subcommand, Debug)]
pub enum Resource {
    /// Define a pool of units
    Define {
        /// Name of the pool, such as gpu
        pool: String,
        /// How many units there are
        #[arg(long, value_name = "N")]
        capacity: u64,
        /// What one of them is, such as card
        #[arg(long, default_value = "", hide_default_value = true)]
        unit: String,
        #[command(flatten)]
        mutation: Mutation,
    },
    /// Change the capacity of a pool; never below what is leased
    Resize {
        /// Name of the pool
        pool: String,
        /// How many units there are from now on
        #[arg(long, value_name = "N")]
        capacity: u64,
        /// How many there are now: refused if that has changed
        #[arg(long, value_name = "N")]
        expected: Option<u64>,
        #[command(flatten)]
        mutation: Mutation,
    },
    /// Show all pools, or one with who holds what until when
    Show {
        /// Name of the pool
        pool: Option<String>,
    },
}

#[derive(Subcommand, Debug)]
pub enum Lease {
    /// Ask for a lease
    Request(Request),
    /// Hold a lease for longer
    Renew {
        /// Id of the lease
        lease: LeaseId,
        /// The fencing number that came with the grant
        #[arg(long, value_name = "N")]
        fencing: u64,
        /// For how long from now, such as 10m; else 5m. Never shortens the lease
        #[arg(long, value_name = "SPAN", value_parser = millis)]
        lifetime: Option<u64>,
        #[command(flatten)]
        mutation: Mutation,
    },
    /// Give a lease back, or take back a request that waits
    Release {
        /// Id of the lease
        lease: LeaseId,
        /// The fencing number: refused if it is another's
        #[arg(long, value_name = "N")]
        fencing: Option<u64>,
        #[command(flatten)]
        mutation: Mutation,
    },
    /// List what is held and waited for
    List(List),
    /// Show a lease, whatever has become of it
    Show {
        /// Id of the lease
        lease: LeaseId,
    },
}

#[derive(Args, Debug)]
pub struct Request {
    /// Name of the pool
    pool: String,
    /// How many units
    #[arg(long, value_name = "N", default_value = "1")]
    amount: u64,
    /// 0, the lowest, to 3: a step is worth 30 seconds of waiting
    #[arg(long, value_name = "N", default_value = "0", value_parser = clap::value_parser!(u8).range(0..=3))]
    priority: u8,
    /// For how long from the grant, such as 10m; else 5m
    #[arg(long, value_name = "SPAN", value_parser = millis)]
    lifetime: Option<u64>,
    /// Queue if there is no room; else that is a refusal
    #[arg(long)]
    wait: bool,
    /// Who is to hold it, such as agent/alpha; else the operator
    #[arg(long = "for", value_name = "PRINCIPAL")]
    owner: Option<Principal>,
    #[command(flatten)]
    mutation: Mutation,
}

#[derive(Args, Debug)]
pub struct List {
    #[arg(long)]
    pool: Option<String>,
    /// Of this principal only
    #[arg(long, value_name = "PRINCIPAL")]
    owner: Option<Principal>,
    /// Else what is held or waits
    #[arg(long, value_parser = STATES)]
    state: Option<String>,
}

pub async fn resource(globals: &Globals, command: Resource) -> Run {
    let remote = globals.remote()?;
    let format = globals.output;
    let now = |sized: &Value| format!("{} has a capacity of {}.", cell(&sized["pool"]), cell(&sized["capacity"]));
    match command {
        Resource::Define { pool, capacity, unit, mutation } => {
            let arguments = json!({ "pool": pool, "capacity": capacity, "unit": unit });
            answer(format, &remote.change("resource.define", &arguments, mutation.id()).await?, now)?;
        }
        Resource::Resize { pool, capacity, expected, mutation } => {
            let arguments =
                arguments([("pool", json!(pool)), ("capacity", json!(capacity)), ("expected", json!(expected))]);
            answer(format, &remote.change("resource.resize", &arguments, mutation.id()).await?, now)?;
        }
        Resource::Show { pool: None } => {
            answer(format, &remote.read("resource.show", &json!({})).await?, pools)?;
        }
        Resource::Show { pool } => {
            answer(format, &remote.read("resource.show", &json!({ "pool": pool })).await?, |pool| {
                format!("{}\n\n{}", pools(&json!({ "pools": [pool] })), listed(pool))
            })?;
        }
    }
    Ok(Exit::Ok)
}

pub async fn run(globals: &Globals, command: Lease) -> Run {
    let remote = globals.remote()?;
    let format = globals.output;
    match command {
        Lease::Request(asked) => request(globals, &remote, asked).await?,
        Lease::Renew { lease, fencing, lifetime, mutation } => {
            let arguments =
                arguments([("lease", json!(lease)), ("fencing", json!(fencing)), ("lifetime_ms", json!(lifetime))]);
            let renewed = remote.change("lease.renew", &arguments, mutation.id()).await?;
            answer(format, &renewed, |renewed| {
                format!("{} is held until {}.", cell(&renewed["lease"]), cell(&renewed["expires_at"]))
            })?;
        }
        Lease::Release { lease, fencing, mutation } => {
            let arguments = arguments([("lease", json!(lease)), ("fencing", json!(fencing))]);
            let released = remote.change("lease.release", &arguments, mutation.id()).await?;
            answer(format, &released, |released| {
                let lease = cell(&released["lease"]);
                if released["ended"] == true {
                    format!("{lease} is released.")
                } else {
                    format!("{lease} had ended before.")
                }
            })?;
        }
        Lease::List(List { pool, owner, state }) => {
            let arguments = arguments([("pool", json!(pool)), ("owner", json!(owner)), ("state", json!(state))]);
            answer(format, &remote.read("lease.list", &arguments).await?, listed)?;
        }
        Lease::Show { lease } => answer(format, &remote.read("lease.show", &json!({ "lease": lease })).await?, shown)?,
    }
    Ok(Exit::Ok)
}

async fn request(globals: &Globals, remote: &Remote, asked: Request) -> Result<(), Failure> {
    let owner = match asked.owner {
        Some(owner) => owner.to_string(),
        None if remote.by_token() => {
            let detail = "the credential is a token, and does not say who holds it";
            return Err(Failure::new("cli.holder", detail, "say who is to hold the lease: --for agent/NAME"));
        }
        None => OPERATOR.to_owned(),
    };
    // The lease has the id of the command that asks for it, so that a repeat names the same one.
    let id = asked.mutation.id();
    let arguments = arguments([
        ("lease", json!(id)),
        ("pool", json!(asked.pool)),
        ("owner", json!(owner)),
        ("amount", json!(asked.amount)),
        ("priority", json!(asked.priority)),
        ("lifetime_ms", json!(asked.lifetime)),
        ("wait", json!(asked.wait)),
    ]);
    answer(globals.output, &remote.change("lease.request", &arguments, id).await?, |granted| {
        let mut known = vec![
            ("lease", cell(&granted["lease"])),
            ("state", cell(&granted["state"])),
            ("amount", format!("{} of {}", cell(&granted["amount"]), cell(&granted["pool"]))),
        ];
        for (name, key) in [("fencing", "fencing"), ("until", "expires_at"), ("position", "position")] {
            if !granted[key].is_null() {
                known.push((name, cell(&granted[key])));
            }
        }
        fields(known)
    })
}

fn pools(shown: &Value) -> String {
    let pools = shown["pools"].as_array().map(Vec::as_slice).unwrap_or_default();
    if pools.is_empty() {
        return "No pools.".to_owned();
    }
    let row = |pool: &Value| {
        ["pool", "unit", "capacity", "leased", "free", "held", "waiting", "fencing"].map(|key| cell(&pool[key]))
    };
    table(["POOL", "UNIT", "CAPACITY", "LEASED", "FREE", "HELD", "WAITING", "FENCING"], pools.iter().map(row))
}

fn listed(listed: &Value) -> String {
    let leases = listed["leases"].as_array().map(Vec::as_slice).unwrap_or_default();
    if leases.is_empty() {
        return "No leases.".to_owned();
    }
    let row = |lease: &Value| {
        [
            cell(&lease["id"]),
            cell(&lease["state"]),
            cell(&lease["pool"]),
            cell(&lease["owner"]),
            cell(&lease["amount"]),
            cell(&lease["priority"]),
            cell(&lease["fencing"]),
            cell(&lease["expires_at"]),
        ]
    };
    table(["LEASE", "STATE", "POOL", "OWNER", "AMOUNT", "PRIORITY", "FENCING", "UNTIL"], leases.iter().map(row))
}

fn shown(lease: &Value) -> String {
    let mut known = vec![
        ("lease", cell(&lease["id"])),
        ("state", cell(&lease["state"])),
        ("owner", cell(&lease["owner"])),
        ("amount", format!("{} of {}", cell(&lease["amount"]), cell(&lease["pool"]))),
        ("priority", cell(&lease["priority"])),
        ("asked", cell(&lease["asked_at"])),
    ];
    for (name, key) in [
        ("position", "position"),
        ("fencing", "fencing"),
        ("granted", "granted_at"),
        ("until", "expires_at"),
        ("ended", "ended_at"),
    ] {
        if !lease[key].is_null() {
            known.push((name, cell(&lease[key])));
        }
    }
    fields(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_that_the_allocator_knows_can_be_asked_for() {
        for state in STATES {
            assert!(serde_json::from_value::<allocator::State>(json!(state)).is_ok(), "{state}");
        }
    }
}
