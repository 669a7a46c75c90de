//! `sop protocol`: list, show, admit, withdraw. `sop message`: send, tail, show, dead, requeue, discard.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use clap::{Args, Subcommand};
use kernel::Principal;
use nexus::{MessageId, PAYLOAD_MAX, Priority};
use serde_json::{Value, json};

use super::call::{Globals, Mutation, Remote};
use super::exit::{Exit, Failure, Run};
use super::logs::{gone, unread, unwritable};
use super::output::{Format, answer, bytes, cell, count, fields, plain_lines, table, write};
use super::todo::OPERATOR;
use super::token::{arguments, millis};

/// How long the daemon waits for something to tell, at most; less if its own timeout is short.
const FOLLOW_WAIT: Duration = Duration::from_secs(5);

#[derive(Subcommand, Debug)]
pub enum Protocol {
    /// List protocols, and how much waits for each
    List,
    /// Show a protocol, and what waits for it
    Show {
        /// Its name, such as ARP
        protocol: String,
    },
    /// Let a protocol take part, or change its lists
    Admit {
        /// Its name, such as ARP
        protocol: String,
        /// A protocol that it is started after; may be repeated
        #[arg(long, value_name = "NAME")]
        depends_on: Vec<String>,
        /// A protocol that it may send to; may be repeated
        #[arg(long, value_name = "NAME")]
        speaks_to: Vec<String>,
        #[command(flatten)]
        mutation: Mutation,
    },
    /// Let a protocol take part no more; what waits for it becomes dead letters
    Withdraw {
        /// Its name
        protocol: String,
        /// Why, for the record
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        mutation: Mutation,
    },
}

#[derive(Subcommand, Debug)]
pub enum Message {
    /// Send a message to a protocol
    Send(Send),
    /// Show what became of messages, from the record
    Tail {
        /// Go on with what is recorded from now on, until Ctrl-C
        #[arg(short, long)]
        follow: bool,
        /// Those to this protocol only
        #[arg(long, value_name = "NAME")]
        to: Option<String>,
        /// The last so many facts, up to 1000
        #[arg(short = 'n', long, value_name = "N", default_value_t = 50)]
        lines: u64,
    },
    /// Show a message that waits or is dead
    Show {
        /// Its id
        message: MessageId,
        /// What it holds, as it is, and nothing else
        #[arg(long)]
        payload: bool,
    },
    /// List dead letters
    Dead,
    /// Let a dead letter wait again, for as long as it could before
    Requeue {
        /// Its id
        message: MessageId,
        #[command(flatten)]
        mutation: Mutation,
    },
    /// Take a dead letter away
    Discard {
        /// Its id
        message: MessageId,
        #[command(flatten)]
        mutation: Mutation,
    },
}

#[derive(Args, Debug)]
pub struct Send {
    /// Name of the protocol, such as ARP
    #[arg(long, value_name = "NAME")]
    to: String,
    /// critical, high, normal or low
    #[arg(long, value_name = "PRIORITY", default_value = "normal")]
    priority: Priority,
    /// What it is, for its reader: a name, such as route.changed
    #[arg(long, value_name = "NAME")]
    kind: String,
    /// What it holds: a text
    #[arg(long, value_name = "TEXT", conflicts_with = "file")]
    text: Option<String>,
    /// What it holds: the bytes of a file, up to 32 KiB
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// What that is; else text/plain for a text, application/octet-stream for a file
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,
    /// How long it may wait, 1s to 7d; else 24h
    #[arg(long, value_name = "SPAN", value_parser = millis)]
    ttl: Option<u64>,
    /// Who sends it, such as agent/alpha: whose credential it is; else the operator
    #[arg(long, value_name = "PRINCIPAL")]
    from: Option<Principal>,
    #[command(flatten)]
    mutation: Mutation,
}

pub async fn protocol(globals: &Globals, command: Protocol) -> Run {
    let remote = globals.remote()?;
    let format = globals.output;
    match command {
        Protocol::List => answer(format, &remote.read("protocol.list", &json!({})).await?, protocols)?,
        Protocol::Show { protocol } => {
            let shown = remote.read("protocol.show", &json!({ "protocol": protocol })).await?;
            answer(format, &shown, |shown| format!("{}\n\n{}", one_protocol(shown), waiting(shown)))?;
        }
        Protocol::Admit { protocol, depends_on, speaks_to, mutation } => {
            let arguments = json!({ "protocol": protocol, "depends_on": depends_on, "speaks_to": speaks_to });
            answer(format, &remote.change("protocol.admit", &arguments, mutation.id()).await?, |admitted| {
                format!("{} is admitted.", cell(&admitted["protocol"]))
            })?;
        }
        Protocol::Withdraw { protocol, reason, mutation } => {
            let arguments = json!({ "protocol": protocol, "reason": reason });
            answer(format, &remote.change("protocol.withdraw", &arguments, mutation.id()).await?, |withdrawn| {
                let died = count(withdrawn["messages"].as_u64().unwrap_or_default(), "message");
                format!("{} is withdrawn; {died} died with it.", cell(&withdrawn["protocol"]))
            })?;
        }
    }
    Ok(Exit::Ok)
}

pub async fn run(globals: &Globals, command: Message) -> Run {
    let remote = globals.remote()?;
    let format = globals.output;
    match command {
        Message::Send(asked) => send(format, &remote, asked).await?,
        Message::Tail { follow, to, lines } => return tail(globals, &remote, follow, to, lines).await,
        Message::Show { message, payload: false } => {
            answer(format, &remote.read("message.show", &json!({ "message": message })).await?, shown)?;
        }
        Message::Show { message, payload: true } => {
            let arguments = json!({ "message": message, "payload": true });
            held(format, &remote.read("message.show", &arguments).await?)?;
        }
        Message::Dead => answer(format, &remote.read("message.dead", &json!({})).await?, dead)?,
        Message::Requeue { message, mutation } => {
            let arguments = json!({ "message": message });
            answer(format, &remote.change("message.requeue", &arguments, mutation.id()).await?, |requeued| {
                format!("{} waits again, at place {}.", cell(&requeued["message"]), cell(&requeued["position"]))
            })?;
        }
        Message::Discard { message, mutation } => {
            let arguments = json!({ "message": message });
            answer(format, &remote.change("message.discard", &arguments, mutation.id()).await?, |discarded| {
                format!("{} is discarded.", cell(&discarded["message"]))
            })?;
        }
    }
    Ok(Exit::Ok)
}

async fn send(format: Format, remote: &Remote, asked: Send) -> Result<(), Failure> {
    let source = match &asked.from {
        Some(from) => from.to_string(),
        None if remote.by_token() => {
            let detail = "the credential is a token, and does not say whose it is";
            return Err(Failure::new("cli.source", detail, "say who sends it: --from agent/NAME"));
        }
        None => OPERATOR.to_owned(),
    };
    let (payload, content_type) = payload(&asked)?;
    let arguments = arguments([
        ("source", json!(source)),
        ("to", json!(asked.to)),
        ("priority", json!(asked.priority)),
        ("kind", json!(asked.kind)),
        ("content_type", json!(asked.content_type.as_deref().unwrap_or(content_type))),
        ("payload", json!(BASE64_STANDARD.encode(payload))),
        ("lifetime_ms", json!(asked.ttl)),
    ]);
    answer(format, &remote.change("message.send", &arguments, asked.mutation.id()).await?, |sent| {
        fields([("message", cell(&sent["message"])), ("to", cell(&sent["to"])), ("position", cell(&sent["position"]))])
    })
}

/// What is to be sent, and what that is. Refused here if it is too large: it would not fit into a request.
fn payload(asked: &Send) -> Result<(Vec<u8>, &'static str), Failure> {
    let (payload, content_type) = match (&asked.text, &asked.file) {
        (Some(text), _) => (text.clone().into_bytes(), "text/plain"),
        (None, Some(file)) => {
            let unreadable = |why: std::io::Error| {
                let detail = format!("{} cannot be read: {why}", file.display());
                Failure::new("cli.file", detail, "name a file that you may read")
            };
            let size = std::fs::metadata(file).map_err(unreadable)?.len();
            if PAYLOAD_MAX as u64 <= size.saturating_sub(1) {
                return Err(too_large(size));
            }
            (std::fs::read(file).map_err(unreadable)?, "application/octet-stream")
        }
        (None, None) => (Vec::new(), "application/octet-stream"),
    };
    if PAYLOAD_MAX < payload.len() { Err(too_large(payload.len() as u64)) } else { Ok((payload, content_type)) }
}

fn too_large(size: u64) -> Failure {
    let detail = format!("a message holds up to {}, not {}", bytes(PAYLOAD_MAX as u64), bytes(size));
    let remedy = "send a reference to where the content lies, or send it in parts";
    Failure::new("nexus.payload_too_large", detail, remedy)
}

async fn tail(globals: &Globals, remote: &Remote, follow: bool, to: Option<String>, lines: u64) -> Run {
    let asked = |from: Option<u64>, limit: u64, wait: Option<u128>| {
        arguments([("from", json!(from)), ("limit", json!(limit)), ("to", json!(to)), ("wait_ms", json!(wait))])
    };
    let last = remote.read("message.list", &asked(None, lines, None)).await?;
    if !follow {
        answer(globals.output, &last, |last| match facts(last) {
            [] => "No such messages.".to_owned(),
            facts => facts.iter().map(told).collect::<Vec<_>>().join("\n"),
        })?;
        return Ok(Exit::Ok);
    }
    let wait = FOLLOW_WAIT.min(globals.load()?.http.request_timeout / 2).as_millis();
    let following = async {
        let mut found = last;
        loop {
            let line = |fact: &Value| match globals.output {
                Format::Table => told(fact) + "\n",
                Format::Json => format!("{fact}\n"),
            };
            let shown = write(&facts(&found).iter().map(line).collect::<String>());
            if gone(&shown) {
                return Ok(Exit::Ok);
            }
            shown.map_err(unwritable)?;
            found = remote.read("message.list", &asked(found["next"].as_u64(), 1_000, Some(wait))).await?;
        }
    };
    tokio::select! {
        ended = following => ended,
        () = unread() => Ok(Exit::Ok),
        _ = tokio::signal::ctrl_c() => Ok(Exit::Ok),
    }
}

fn facts(found: &Value) -> &[Value] {
    found["facts"].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// Time, fact, message, to whom, and what else is known. Lines come one by one, so the widths are fixed.
fn told(fact: &Value) -> String {
    let mut parts = vec![
        cell(&fact["at"]),
        format!("{:<9}", cell(&fact["fact"])),
        cell(&fact["message"]),
        format!("to {}", cell(&fact["to"])),
    ];
    for (name, key) in [
        ("from", "source"),
        ("", "priority"),
        ("kind", "kind"),
        ("bytes", "bytes"),
        ("follows", "cause"),
        ("attempt", "attempt"),
        ("", "death"),
        ("until", "expires_at"),
        ("why:", "why"),
    ] {
        if !fact[key].is_null() {
            parts.push(format!("{name} {}", cell(&fact[key])).trim_start().to_owned());
        }
    }
    parts.join("  ")
}

/// What a message holds, as it is; to a terminal without what would drive it.
fn held(format: Format, shown: &Value) -> Result<(), Failure> {
    if format == Format::Json {
        return answer(format, shown, |_| String::new());
    }
    let payload = BASE64_STANDARD.decode(shown["payload"].as_str().unwrap_or_default()).unwrap_or_default();
    let mut out = std::io::stdout().lock();
    let written = if out.is_terminal() {
        out.write_all((plain_lines(&String::from_utf8_lossy(&payload)) + "\n").as_bytes())
    } else {
        out.write_all(&payload)
    };
    let written = written.and_then(|()| out.flush());
    if gone(&written) { Ok(()) } else { written.map_err(unwritable) }
}

fn protocols(found: &Value) -> String {
    let protocols = found["protocols"].as_array().map(Vec::as_slice).unwrap_or_default();
    if protocols.is_empty() {
        return "No protocols.".to_owned();
    }
    let row = |protocol: &Value| {
        [
            cell(&protocol["protocol"]),
            cell(&protocol["state"]),
            cell(&protocol["depends_on"]),
            cell(&protocol["speaks_to"]),
            depth(protocol),
            cell(&protocol["reason"]),
        ]
    };
    let table = table(["PROTOCOL", "STATE", "DEPENDS ON", "SPEAKS TO", "WAITING", "WHY"], protocols.iter().map(row));
    let counted = |key| cell(&found["messages"][key]);
    let [sent, waiting, delivered, dead] = ["sent", "waiting", "delivered", "dead"].map(counted);
    let away = [counted("discarded"), counted("forgotten")];
    let ends = format!("{delivered} delivered, {dead} dead, {} discarded, {} forgotten", away[0], away[1]);
    format!("{table}\n\nmessages: {sent} sent, {waiting} waiting, {ends}")
}

/// How many wait in the four lanes, the critical first.
fn depth(protocol: &Value) -> String {
    ["critical", "high", "normal", "low"].map(|lane| cell(&protocol["waiting"][lane])).join("/")
}

fn one_protocol(protocol: &Value) -> String {
    let mut known = vec![
        ("protocol", cell(&protocol["protocol"])),
        ("state", cell(&protocol["state"])),
        ("since", cell(&protocol["since"])),
        ("depends on", cell(&protocol["depends_on"])),
        ("speaks to", cell(&protocol["speaks_to"])),
        ("waiting", cell(&protocol["waiting"])),
    ];
    if !protocol["reason"].is_null() {
        known.push(("why", cell(&protocol["reason"])));
    }
    fields(known)
}

fn waiting(found: &Value) -> String {
    let messages = found["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
    if messages.is_empty() {
        return "No messages.".to_owned();
    }
    let row = |message: &Value| {
        ["message", "priority", "source", "kind", "bytes", "attempts", "expires_at"].map(|key| cell(&message[key]))
    };
    table(["MESSAGE", "PRIORITY", "FROM", "KIND", "BYTES", "ATTEMPTS", "UNTIL"], messages.iter().map(row))
}

fn dead(found: &Value) -> String {
    let messages = found["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
    if messages.is_empty() {
        return "No dead letters.".to_owned();
    }
    let row = |message: &Value| {
        ["message", "death", "source", "to", "priority", "kind", "died_at", "why"].map(|key| cell(&message[key]))
    };
    table(["MESSAGE", "DEATH", "FROM", "TO", "PRIORITY", "KIND", "DIED", "WHY"], messages.iter().map(row))
}

fn shown(message: &Value) -> String {
    let mut known = Vec::new();
    for (name, key) in [
        ("message", "message"),
        ("state", "state"),
        ("death", "death"),
        ("from", "source"),
        ("to", "to"),
        ("priority", "priority"),
        ("kind", "kind"),
        ("content type", "content_type"),
        ("bytes", "bytes"),
        ("follows", "cause"),
        ("sent", "sent_at"),
        ("until", "expires_at"),
        ("died", "died_at"),
        ("attempts", "attempts"),
        ("why", "why"),
    ] {
        if !message[key].is_null() {
            known.push((name, cell(&message[key])));
        }
    }
    fields(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fact_is_told_on_one_line() {
        let sent = json!({
            "at": "2026-01-02T03:04:05.678Z", "fact": "sent", "message": "m", "to": "ARP", "source": "agent/alpha",
            "priority": "high", "kind": "note", "bytes": 5, "cause": null,
        });
        let line = "2026-01-02T03:04:05.678Z  sent       m  to ARP  from agent/alpha  high  kind note  bytes 5";
        assert_eq!(told(&sent), line);
        let died = json!({ "at": "T", "fact": "died", "message": "m", "to": "ARP", "death": "expired", "why": "a\nb" });
        assert_eq!(told(&died), "T  died       m  to ARP  expired  why: a b");
    }

    #[test]
    fn lanes_are_told_in_order() {
        assert_eq!(depth(&json!({ "waiting": { "low": 4, "critical": 1, "normal": 3, "high": 2 } })), "1/2/3/4");
    }
}
