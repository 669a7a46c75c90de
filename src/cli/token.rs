//! `sop token`: issue, show, list, validate, consume, revoke. A secret is made here, and sent only where it is to be tried.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use kernel::{Digest, Principal, TokenId};
use serde_json::{Value, json};
use todos::TodoId;

use super::call::{Globals, Mutation, Remote};
use super::exit::{Exit, Failure, Run};
use super::output::{answer, cell, count, fields, table};
use super::secret::{Given, Keep, NewSecret};

const KINDS: [&str; 4] = ["operation", "todo", "integration", "test"];
const STATES: [&str; 4] = ["active", "exhausted", "expired", "revoked"];

#[derive(Subcommand, Debug)]
pub enum Token {
    /// Issue a token; its secret is made here and shown once
    Issue(Issue),
    /// Show a token and its uses, without its secret
    Show {
        /// Id of the token
        id: TokenId,
    },
    /// List tokens
    List(List),
    /// Ask whether a token would be accepted, without using it (exit code 2: it would not)
    Validate(Validate),
    /// Use a token once
    Consume(Consume),
    /// End a token now, or all of a subject or a todo
    Revoke(Revoke),
}

#[derive(Args, Debug)]
pub struct Issue {
    /// What it is for
    #[arg(long, value_parser = KINDS)]
    kind: String,
    /// Who may use it, such as agent/alpha
    #[arg(long)]
    subject: Principal,
    /// Where it is good: sop for the authority itself, or the name of a protocol
    #[arg(long)]
    audience: String,
    /// What it is good for; an action such as gap.scan, if the audience is sop
    #[arg(long)]
    operation: String,
    /// How often it can be used; else what is usual for its kind
    #[arg(long, value_name = "N")]
    uses: Option<u64>,
    /// How long it is good, such as 15m; else what is usual for its kind
    #[arg(long, value_name = "SPAN", value_parser = millis)]
    lifetime: Option<u64>,
    /// The todo that a token of kind todo is for
    #[arg(long)]
    todo: Option<TodoId>,
    /// blake3 of what a token of kind integration replaces
    #[arg(long, value_name = "DIGEST")]
    old: Option<Digest>,
    /// blake3 of what it puts there
    #[arg(long, value_name = "DIGEST")]
    new: Option<Digest>,
    #[command(flatten)]
    keep: Keep,
}

#[derive(Args, Debug)]
pub struct List {
    #[arg(long, value_parser = KINDS)]
    kind: Option<String>,
    #[arg(long)]
    subject: Option<Principal>,
    #[arg(long)]
    audience: Option<String>,
    #[arg(long)]
    todo: Option<TodoId>,
    #[arg(long, value_parser = STATES)]
    state: Option<String>,
}

#[derive(Args, Debug)]
pub struct Validate {
    /// Id of the token
    id: TokenId,
    /// Where it is to be good
    #[arg(long)]
    audience: String,
    /// What it is to be good for
    #[arg(long)]
    operation: String,
    #[command(flatten)]
    secret: Given,
}

#[derive(Args, Debug)]
pub struct Consume {
    /// Id of the token
    id: TokenId,
    /// Where it is used
    #[arg(long)]
    audience: String,
    /// What it is used for
    #[arg(long)]
    operation: String,
    #[command(flatten)]
    request: Request,
    /// The todo that the work is on
    #[arg(long)]
    todo: Option<TodoId>,
    /// blake3 of what is replaced
    #[arg(long, value_name = "DIGEST")]
    old: Option<Digest>,
    /// blake3 of what is put there
    #[arg(long, value_name = "DIGEST")]
    new: Option<Digest>,
    #[command(flatten)]
    secret: Given,
    #[command(flatten)]
    mutation: Mutation,
}

/// What the use pays for.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub struct Request {
    /// blake3 of the request that the use pays for
    #[arg(long, value_name = "DIGEST")]
    request: Option<Digest>,
    /// File with that request, which is not sent
    #[arg(long, value_name = "FILE")]
    request_file: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub struct Revoke {
    #[command(flatten)]
    which: Which,
    /// Why one token ends: withdrawn, compromised, or in your words
    #[arg(long, requires = "id")]
    reason: Option<String>,
    #[command(flatten)]
    mutation: Mutation,
}

#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub struct Which {
    /// Id of the token
    id: Option<TokenId>,
    /// All tokens of this subject
    #[arg(long)]
    subject: Option<Principal>,
    /// All tokens for this todo
    #[arg(long)]
    todo: Option<TodoId>,
}

pub async fn run(globals: &Globals, command: Token) -> Run {
    let remote = globals.remote()?;
    let format = globals.output;
    match command {
        Token::Issue(asked) => issue(globals, &remote, asked).await?,
        Token::Show { id } => answer(format, &remote.read("token.show", &json!({ "id": id })).await?, shown)?,
        Token::List(List { kind, subject, audience, todo, state }) => {
            let arguments = arguments([
                ("kind", json!(kind)),
                ("subject", json!(subject)),
                ("audience", json!(audience)),
                ("todo", number(todo)),
                ("state", json!(state)),
            ]);
            answer(format, &remote.read("token.list", &arguments).await?, listed)?;
        }
        Token::Validate(Validate { id, audience, operation, secret }) => {
            let arguments =
                json!({ "id": id, "secret": secret.read()?.expose(), "audience": audience, "operation": operation });
            let validated = remote.read("token.validate", &arguments).await?;
            answer(format, &validated, verdict)?;
            if validated["valid"] != true {
                return Ok(Exit::Findings);
            }
        }
        Token::Consume(asked) => consume(globals, &remote, asked).await?,
        Token::Revoke(Revoke { which: Which { id, subject, todo }, reason, mutation }) => {
            let arguments = arguments([
                ("id", json!(id)),
                ("subject", json!(subject)),
                ("todo", number(todo)),
                ("reason", json!(reason)),
            ]);
            let revoked = remote.change("token.revoke", &arguments, mutation.id()).await?;
            answer(format, &revoked, |revoked| match revoked["revoked"].as_u64().unwrap_or_default() {
                0 => "Nothing to revoke: what there was has ended already.".to_owned(),
                tokens => format!("Revoked {}.", count(tokens, "token")),
            })?;
        }
    }
    Ok(Exit::Ok)
}

async fn issue(globals: &Globals, remote: &Remote, asked: Issue) -> Result<(), Failure> {
    let secret = NewSecret::of(&asked.keep)?;
    let arguments = arguments([
        ("id", json!(secret.token())),
        ("secret_digest", json!(secret.digest())),
        ("kind", json!(asked.kind)),
        ("subject", json!(asked.subject)),
        ("audience", json!(asked.audience)),
        ("operation", json!(asked.operation)),
        ("uses", json!(asked.uses)),
        ("lifetime_ms", json!(asked.lifetime)),
        ("todo", number(asked.todo)),
        ("old", json!(asked.old)),
        ("new", json!(asked.new)),
    ]);
    let issued = match remote.change("token.issue", &arguments, secret.id).await {
        Ok(issued) => issued,
        Err(failure) => return Err(secret.failed(failure)),
    };
    answer(globals.output, &secret.with(issued), |issued| {
        fields([
            ("token", cell(&issued["id"])),
            ("kind", cell(&issued["kind"])),
            ("subject", asked.subject.to_string()),
            ("good for", format!("{} at {}", cell(&json!(asked.operation)), cell(&json!(asked.audience)))),
            ("uses", cell(&issued["uses"])),
            ("expires", cell(&issued["expires_at"])),
            secret.field(),
        ])
    })
}

async fn consume(globals: &Globals, remote: &Remote, asked: Consume) -> Result<(), Failure> {
    let request = match (asked.request.request, &asked.request.request_file) {
        (Some(digest), _) => digest,
        (None, Some(file)) => {
            let bytes = std::fs::read(file).map_err(|error| {
                let detail = format!("{} cannot be read: {error}", file.display());
                Failure::new(
                    "cli.file_unreadable",
                    detail,
                    "name the file with the request, or give its blake3 with --request",
                )
            })?;
            Digest(*blake3::hash(&bytes).as_bytes())
        }
        (None, None) => unreachable!("clap asks for one of them"),
    };
    let arguments = arguments([
        ("id", json!(asked.id)),
        ("secret", json!(asked.secret.read()?.expose())),
        ("audience", json!(asked.audience)),
        ("operation", json!(asked.operation)),
        ("request", json!(request)),
        ("todo", number(asked.todo)),
        ("old", json!(asked.old)),
        ("new", json!(asked.new)),
    ]);
    let consumed = remote.change("token.consume", &arguments, asked.mutation.id()).await?;
    answer(globals.output, &consumed, |consumed| {
        let already = if consumed["already"] == true { ", which had paid for this request before" } else { "" };
        let (number, token) = (cell(&consumed["use"]), cell(&consumed["token"]));
        format!(
            "Use {number} of token {token}{already}; {} left.",
            count(consumed["left"].as_u64().unwrap_or_default(), "use")
        )
    })
}

/// Those that are given: the API knows no null.
pub fn arguments<const N: usize>(given: [(&str, Value); N]) -> Value {
    let given = given.into_iter().filter(|(_, value)| !value.is_null());
    Value::Object(given.map(|(name, value)| (name.to_owned(), value)).collect())
}

fn number(todo: Option<TodoId>) -> Value {
    json!(todo.map(|TodoId(number)| number))
}

pub fn millis(text: &str) -> Result<u64, String> {
    let span = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    u64::try_from(span.as_millis()).map_err(|_| "longer than anything lasts".to_owned())
}

fn listed(listed: &Value) -> String {
    let tokens = listed["tokens"].as_array().map(Vec::as_slice).unwrap_or_default();
    if tokens.is_empty() {
        return "No tokens.".to_owned();
    }
    let row = |token: &Value| {
        [
            cell(&token["id"]),
            cell(&token["kind"]),
            cell(&token["state"]),
            cell(&token["subject"]),
            format!("{} at {}", cell(&token["operation"]), cell(&token["audience"])),
            format!("{} of {}", cell(&token["left"]), cell(&token["uses"])),
            cell(&token["expires_at"]),
        ]
    };
    table(["TOKEN", "KIND", "STATE", "SUBJECT", "GOOD FOR", "LEFT", "EXPIRES"], tokens.iter().map(row))
}

fn shown(token: &Value) -> String {
    let mut known = vec![
        ("token", cell(&token["id"])),
        ("kind", cell(&token["kind"])),
        ("state", cell(&token["state"])),
        ("subject", cell(&token["subject"])),
        ("issuer", cell(&token["issuer"])),
        ("good for", format!("{} at {}", cell(&token["operation"]), cell(&token["audience"]))),
        ("uses", format!("{} of {} left", cell(&token["left"]), cell(&token["uses"]))),
        ("issued", cell(&token["issued_at"])),
        ("expires", cell(&token["expires_at"])),
    ];
    for (name, key) in
        [("todo", "todo"), ("artefact", "artefact"), ("revoked", "revoked_at"), ("because", "revoked_because")]
    {
        if !token[key].is_null() {
            known.push((name, cell(&token[key])));
        }
    }
    let head = fields(known);
    let spent = token["spent"].as_array().map(Vec::as_slice).unwrap_or_default();
    if spent.is_empty() {
        return head;
    }
    let row = |used: &Value| [cell(&used["number"]), cell(&used["state"]), cell(&used["at"]), cell(&used["command"])];
    format!("{head}\n\n{}", table(["USE", "STATE", "AT", "COMMAND"], spent.iter().map(row)))
}

fn verdict(validated: &Value) -> String {
    if validated["valid"] == true {
        let token = &validated["token"];
        let left = count(token["left"].as_u64().unwrap_or_default(), "use");
        return format!("Valid: {left} left, until {}.", cell(&token["expires_at"]));
    }
    let (reason, code) = (cell(&validated["reason"]), cell(&validated["code"]));
    format!("Not valid: {reason} ({code}).\n  remedy: {}", cell(&validated["remedy"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_given_is_not_sent() {
        assert_eq!(arguments([("a", json!(null)), ("b", json!(1))]), json!({ "b": 1 }));
    }

    #[test]
    fn spans_are_read_as_people_write_them() {
        assert_eq!(millis("15m"), Ok(900_000));
        assert_eq!(millis("1h 30m"), Ok(5_400_000));
        assert!(millis("15").is_err());
    }
}
