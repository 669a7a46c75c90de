//! `sop subscription`: create, list, read, ack, delete.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::call::{Globals, Mutation, Remote};
use super::exit::{Exit, Run};
use super::output::{Format, answer, cell, count, json as as_json, print, table};
use super::token::arguments;

/// A follower waits this long at once, and asks again.
const WAIT: Duration = Duration::from_secs(20);

/// Records that are looked at in vain before a follower says so.
const PASSED_OVER: u64 = 4_096;

#[derive(Subcommand, Debug)]
pub enum Subscription {
    /// Begin to follow the audit records under a name; the same again changes nothing
    Create(Create),
    /// List subscriptions, and how far they are behind
    List,
    /// Read what comes next. It is read again until it is acknowledged
    Read(Read),
    /// Say up to which record all is done with
    Ack {
        name: String,
        /// The position that a read gave
        position: u64,
        #[command(flatten)]
        mutation: Mutation,
    },
    /// End a subscription
    Delete {
        name: String,
        #[command(flatten)]
        mutation: Mutation,
    },
}

#[derive(Args, Debug)]
pub struct Create {
    name: String,
    /// Records of this stream only, such as todos; may be given more than once
    #[arg(long = "stream", value_name = "STREAM")]
    streams: Vec<String>,
    /// Records of this kind only, such as todos.opened; may be given more than once
    #[arg(long = "kind", value_name = "KIND")]
    kinds: Vec<String>,
    /// First record; without it, what is recorded from now on
    #[arg(long, value_name = "SEQ")]
    from: Option<u64>,
    #[command(flatten)]
    mutation: Mutation,
}

#[derive(Args, Debug)]
pub struct Read {
    name: String,
    /// Most records at once
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: u64,
    /// Go on with what comes, until interrupted; each batch is acknowledged once it is printed
    #[arg(short, long)]
    follow: bool,
    /// Acknowledge what was printed
    #[arg(long)]
    ack: bool,
}

pub async fn run(globals: &Globals, command: Subscription) -> Run {
    let format = globals.output;
    let remote = globals.remote()?;
    match command {
        Subscription::Create(Create { name, streams, kinds, from, mutation }) => {
            let asked = json!({ "name": name, "streams": streams, "kinds": kinds });
            let asked = with(asked, arguments([("from", json!(from))]));
            answer(format, &remote.change("subscription.create", &asked, mutation.id()).await?, |created| {
                format!("{} reads on after record {}.", cell(&created["name"]), cell(&created["position"]))
            })?;
        }
        Subscription::List => answer(format, &remote.read("subscription.list", &json!({})).await?, listed)?,
        Subscription::Read(asked) => return read(globals, &remote, asked).await,
        Subscription::Ack { name, position, mutation } => {
            let asked = json!({ "name": name, "position": position });
            answer(format, &remote.change("subscription.ack", &asked, mutation.id()).await?, |done| {
                format!("{} reads on after record {}.", cell(&done["name"]), cell(&done["position"]))
            })?;
        }
        Subscription::Delete { name, mutation } => {
            let asked = json!({ "name": name });
            answer(format, &remote.change("subscription.delete", &asked, mutation.id()).await?, |done| {
                format!("{} is deleted; it had come to record {}.", cell(&done["name"]), cell(&done["position"]))
            })?;
        }
    }
    Ok(Exit::Ok)
}

async fn read(globals: &Globals, remote: &Remote, asked: Read) -> Run {
    let Read { name, limit, follow, ack } = asked;
    // The daemon's own limit for a request is longer than a wait.
    let wait = WAIT.min(globals.load()?.http.request_timeout / 2);
    let wait_ms = if follow { u64::try_from(wait.as_millis()).unwrap_or(0) } else { 0 };
    let asked = json!({ "name": name, "limit": limit, "wait_ms": wait_ms });
    let mut acknowledged = 0;
    loop {
        let page = remote.read("subscription.read", &asked).await?;
        let records = page["records"].as_array().map(Vec::as_slice).unwrap_or_default();
        match (globals.output, follow) {
            (Format::Json, true) => {
                for record in records {
                    print(&format!("{}\n", line(record)))?;
                }
            }
            (Format::Json, false) => print(&format!("{}\n", as_json(&page)))?,
            (Format::Table, _) if records.is_empty() && follow => {}
            (Format::Table, _) => print(&format!("{}\n", shown(&page)))?,
        }
        let position = page["position"].as_u64().unwrap_or_default();
        // What is not wanted is passed over now and then, too: it need not be looked at again.
        let done = if records.is_empty() { PASSED_OVER } else { 1 };
        if (ack || follow) && acknowledged + done <= position {
            let id = host::Clock::system().command_id();
            remote.change("subscription.ack", &json!({ "name": name, "position": position }), id).await?;
            acknowledged = position;
        }
        if !follow {
            return Ok(Exit::Ok);
        }
    }
}

/// A record on one line, as programs read a stream of them.
fn line(record: &Value) -> String {
    record.to_string()
}

fn with(mut one: Value, other: Value) -> Value {
    if let (Value::Object(one), Value::Object(other)) = (&mut one, other) {
        one.extend(other);
    }
    one
}

fn shown(page: &Value) -> String {
    let records = page["records"].as_array().map(Vec::as_slice).unwrap_or_default();
    let rest = format!(
        "position {}, {} to be looked at",
        cell(&page["position"]),
        count(page["lag"].as_u64().unwrap_or_default(), "record")
    );
    if records.is_empty() {
        return format!("Nothing new; {rest}.");
    }
    let row = |record: &Value| {
        [
            cell(&record["sequence"]),
            cell(&record["time"]),
            cell(&record["kind"]),
            cell(&record["principal"]),
            record["body"].to_string(),
        ]
    };
    format!("{}\n\n{rest}", table(["RECORD", "TIME", "KIND", "BY", "WHAT"], records.iter().map(row)))
}

fn listed(found: &Value) -> String {
    let all = found["subscriptions"].as_array().map(Vec::as_slice).unwrap_or_default();
    if all.is_empty() {
        return "No subscriptions.".to_owned();
    }
    let names = |value: &Value| match value.as_array().map(Vec::as_slice).unwrap_or_default() {
        [] => "all".to_owned(),
        some => some.iter().map(cell).collect::<Vec<_>>().join(", "),
    };
    let row = |one: &Value| {
        [
            cell(&one["name"]),
            cell(&one["owner"]),
            names(&one["streams"]),
            names(&one["kinds"]),
            cell(&one["position"]),
            cell(&one["lag"]),
            cell(&one["moved_at"]),
        ]
    };
    table(["NAME", "OWNER", "STREAMS", "KINDS", "POSITION", "LAG", "MOVED"], all.iter().map(row))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_says_what_is_left() {
        let page = json!({ "records": [], "position": 7, "lag": 1 });
        assert_eq!(shown(&page), "Nothing new; position 7, 1 record to be looked at.");
        let record =
            json!({ "sequence": 8, "time": "t", "kind": "todos.released", "principal": "p", "body": { "todo": 1 } });
        let page = json!({ "records": [record], "position": 8, "lag": 0 });
        assert_eq!(
            shown(&page),
            "RECORD  TIME  KIND            BY  WHAT\n     8  t     todos.released  p   {\"todo\":1}\n\nposition 8, 0 records to be \
             looked at"
        );
    }

    #[test]
    fn what_is_not_named_is_all() {
        let one = json!({ "name": "a", "owner": "agent/alpha", "streams": [], "kinds": ["todos.opened", "todos.closed"],
            "position": 3, "lag": 2, "moved_at": "t" });
        let listed = listed(&json!({ "subscriptions": [one] }));
        assert!(listed.contains("all      todos.opened, todos.closed         3"), "{listed}");
    }
}
