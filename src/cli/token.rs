//! `sop token`: issue, derive, show, list, tree, validate, consume, revoke. A secret is made here, and sent only where it is to be tried.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use kernel::{Digest, Principal, TokenId};
use serde_json::{Value, json};
use todos::TodoId;

use super::bearer_form::{self, Attenuate, Verify};
use super::call::{Globals, Mutation, Remote, read_secret};
use super::exit::{Exit, Failure, Run};
use super::output::{answer, cell, count, fields, table};
use super::secret::{Given, Keep, NewSecret, write_text};

const KINDS: [&str; 4] = ["operation", "todo", "integration", "test"];
const STATES: [&str; 5] = ["pending", "active", "consumed", "expired", "revoked"];

#[derive(Subcommand, Debug)]
pub enum Token {
    /// Issue a token; its secret is made here and shown once
    Issue(Issue),
    /// Issue a token that may do less, out of one that you hold
    Derive(Derive),
    /// Show a token and its uses, without its secret
    Show {
        /// Id of the token
        id: TokenId,
    },
    /// List tokens
    List(List),
    /// Take something off a token's bearer form; asks nobody
    Attenuate(Attenuate),
    /// Show what a bearer form says, true or not; asks nobody
    Inspect {
        #[command(flatten)]
        bearer: Given,
    },
    /// Check a bearer form with the authority's public key; asks nobody (exit code 2: it is not good for that)
    Verify(Verify),
    /// Show the public key that bearer forms are verified with
    Key {
        /// Also those that may have signed what still lives, with how each stands
        #[arg(long)]
        all: bool,
    },
    /// Make a key to sign with that you handed a bearer form on; asks nobody
    NewKey {
        /// New file of mode 0600 for it
        file: PathBuf,
    },
    /// Show what was derived from what
    Tree {
        /// Id of a token: only that one and what was derived from it
        id: Option<TokenId>,
    },
    /// Ask whether a token would be accepted, without using it (exit code 2: it would not)
    Validate(Validate),
    /// Use a token once
    Consume(Consume),
    /// End a token and what was derived from it, or all of a subject, of a todo, or of before an instant
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
    /// The only thing that it is good for
    #[arg(long)]
    target: Option<String>,
    /// blake3 of the only request that it pays for; not for the authority itself
    #[arg(long, value_name = "DIGEST")]
    request: Option<Digest>,
    /// When it begins, such as 2027-01-01T00:00:00Z; else at once. It ends no later for that
    #[arg(long, value_name = "TIME")]
    not_before: Option<String>,
    /// The todo that a token of kind todo or integration is for
    #[arg(long)]
    todo: Option<TodoId>,
    /// What may be derived from a token of kind todo; may be given again
    #[arg(long, value_name = "AUDIENCE/OPERATION", value_parser = work)]
    work: Vec<Value>,
    /// blake3 of what a token of kind integration replaces
    #[arg(long, value_name = "DIGEST")]
    old: Option<Digest>,
    /// blake3 of what it puts there
    #[arg(long, value_name = "DIGEST")]
    new: Option<Digest>,
    /// blake3 of the report that says that it is valid
    #[arg(long, value_name = "DIGEST")]
    report: Option<Digest>,
    /// Who approved it, such as operator/anne
    #[arg(long)]
    approver: Option<Principal>,
    #[command(flatten)]
    form: Form,
    #[command(flatten)]
    keep: Keep,
}

/// Whether the token is wanted in its bearer form, too.
#[derive(Args, Debug)]
pub struct Form {
    /// Write the bearer form, which others verify and narrow without asking anybody, to a new file of mode 0600
    #[arg(long, value_name = "FILE")]
    bearer_file: Option<PathBuf>,
}

impl Form {
    /// Before anything is issued.
    fn check(&self) -> Result<(), Failure> {
        match &self.bearer_file {
            Some(file) if file.exists() => {
                let detail = format!("{} is there already, and might hold a token in use", file.display());
                Err(Failure::new("cli.secret_file", detail, "name a new file"))
            }
            _ => Ok(()),
        }
    }

    /// Puts it where it is wanted, and away from what is shown.
    fn keep(&self, answer: &mut Value) -> Result<(), Failure> {
        let Some(file) = &self.bearer_file else { return Ok(()) };
        let Some(text) = answer["bearer"].as_str() else {
            let remedy = "show the secret that it was issued with, or ask for another token";
            return Err(Failure::new(
                "bearer.used",
                "the token was used or has ended, and is not written again",
                remedy,
            ));
        };
        write_text(file, text).map_err(|error| {
            let detail = format!("the bearer form cannot be written to {}: {error}", file.display());
            Failure::new("cli.secret_file", detail, "name a new file, and repeat the command with its --command-id")
        })?;
        answer["bearer"] = Value::Null;
        answer["bearer_file"] = json!(file);
        Ok(())
    }

    fn field(&self) -> Option<(&'static str, String)> {
        self.bearer_file.as_ref().map(|file| ("bearer form", format!("in {}", file.display())))
    }
}

#[derive(Args, Debug)]
pub struct Derive {
    /// Id of the token that it is derived from
    parent: TokenId,
    /// File with the secret of that token; not needed where it is the --credential
    #[arg(long, value_name = "FILE")]
    parent_secret_file: Option<PathBuf>,
    /// Who may use it, such as agent/beta
    #[arg(long)]
    subject: Principal,
    /// Where it is good
    #[arg(long)]
    audience: String,
    /// What it is good for
    #[arg(long)]
    operation: String,
    /// The only thing that it is good for; else as the other token
    #[arg(long)]
    target: Option<String>,
    /// blake3 of the only request that it pays for; else as the other token
    #[arg(long, value_name = "DIGEST")]
    request: Option<Digest>,
    /// How often it can be used, and the other token no more; else once
    #[arg(long, value_name = "N")]
    uses: Option<u64>,
    /// How long it is good, such as 5m; else 15 minutes, and no longer than the other token
    #[arg(long, value_name = "SPAN", value_parser = millis)]
    lifetime: Option<u64>,
    #[command(flatten)]
    form: Form,
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
    /// What it is to be good for, if its bearer form is bound to that
    #[arg(long)]
    target: Option<String>,
    /// blake3 of the request, if its bearer form is bound to one
    #[arg(long, value_name = "DIGEST")]
    request: Option<Digest>,
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
    /// What it is used on
    #[arg(long)]
    target: Option<String>,
    /// The todo that the work is on
    #[arg(long)]
    todo: Option<TodoId>,
    /// blake3 of the report that a replacement rests on
    #[arg(long, value_name = "DIGEST")]
    report: Option<Digest>,
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
    /// Leave what was derived from the token
    #[arg(long, requires = "id")]
    alone: bool,
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
    /// All tokens that were issued before this, such as 2027-01-01T00:00:00Z
    #[arg(long, value_name = "TIME")]
    before: Option<String>,
}

pub async fn run(globals: &Globals, command: Token) -> Run {
    let format = globals.output;
    match command {
        Token::Attenuate(asked) => return bearer_form::attenuate(format, &asked),
        Token::Inspect { bearer } => return bearer_form::inspect(format, &bearer),
        Token::Verify(asked) => return bearer_form::verify(format, &asked),
        Token::NewKey { file } => return bearer_form::new_key(format, &file),
        _ => {}
    }
    let remote = globals.remote()?;
    match command {
        Token::Attenuate(_) | Token::Inspect { .. } | Token::Verify(_) | Token::NewKey { .. } => {
            unreachable!("they ask nobody")
        }
        Token::Key { all: false } => {
            answer(format, &remote.read("token.key", &json!({})).await?, |found| cell(&found["key"]))?;
        }
        Token::Key { all: true } => answer(format, &remote.read("token.key", &json!({ "all": true })).await?, keys)?,
        Token::Issue(asked) => issue(globals, &remote, asked).await?,
        Token::Derive(asked) => derive(globals, &remote, asked).await?,
        Token::Tree { id } => {
            let listed = remote.read("token.list", &json!({})).await?;
            answer(format, &family(&listed, id)?, drawn)?;
        }
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
        Token::Validate(Validate { id, audience, operation, target, request, secret }) => {
            let arguments = arguments([
                ("id", json!(id)),
                ("secret", json!(secret.read()?.expose())),
                ("audience", json!(audience)),
                ("operation", json!(operation)),
                ("target", json!(target)),
                ("request", json!(request)),
            ]);
            let validated = remote.read("token.validate", &arguments).await?;
            answer(format, &validated, verdict)?;
            if validated["valid"] != true {
                return Ok(Exit::Findings);
            }
        }
        Token::Consume(asked) => consume(globals, &remote, asked).await?,
        Token::Revoke(Revoke { which: Which { id, subject, todo, before }, reason, alone, mutation }) => {
            let arguments = arguments([
                ("id", json!(id)),
                ("subject", json!(subject)),
                ("todo", number(todo)),
                ("before", json!(before)),
                ("alone", json!(alone.then_some(true))),
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

fn keys(told: &Value) -> String {
    let keys = told["keys"].as_array().map(Vec::as_slice).unwrap_or_default();
    let row = |key: &Value| {
        let version = key["version"].as_str().unwrap_or("keys/tokens").to_owned();
        [version, cell(&key["state"]), cell(&key["needed_until"]), cell(&key["key"])]
    };
    table(["VERSION", "STATE", "NEEDED UNTIL", "KEY"], keys.iter().map(row))
}

async fn issue(globals: &Globals, remote: &Remote, asked: Issue) -> Result<(), Failure> {
    asked.form.check()?;
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
        ("target", json!(asked.target)),
        ("request", json!(asked.request)),
        ("not_before", json!(asked.not_before)),
        ("work", if asked.work.is_empty() { Value::Null } else { json!(asked.work) }),
        ("report", json!(asked.report)),
        ("approver", json!(asked.approver)),
        ("bearer", json!(asked.form.bearer_file.is_some().then_some(true))),
    ]);
    let issued = match remote.change("token.issue", &arguments, secret.id).await {
        Ok(issued) => issued,
        Err(failure) => return Err(secret.failed(failure)),
    };
    let mut issued = secret.with(issued);
    asked.form.keep(&mut issued)?;
    answer(globals.output, &issued, |issued| {
        let known = [
            ("token", cell(&issued["id"])),
            ("kind", cell(&issued["kind"])),
            ("subject", asked.subject.to_string()),
            ("good for", format!("{} at {}", cell(&json!(asked.operation)), cell(&json!(asked.audience)))),
            ("uses", cell(&issued["uses"])),
            ("expires", cell(&issued["expires_at"])),
            secret.field(),
        ];
        fields(known.into_iter().chain(asked.form.field()))
    })
}

async fn derive(globals: &Globals, remote: &Remote, asked: Derive) -> Result<(), Failure> {
    asked.form.check()?;
    let held = asked.parent_secret_file.as_deref().map(read_secret).transpose()?;
    let secret = NewSecret::of(&asked.keep)?;
    let arguments = arguments([
        ("parent", json!(asked.parent)),
        ("secret", json!(held.as_ref().map(door::Secret::expose))),
        ("id", json!(secret.token())),
        ("secret_digest", json!(secret.digest())),
        ("subject", json!(asked.subject)),
        ("audience", json!(asked.audience)),
        ("operation", json!(asked.operation)),
        ("target", json!(asked.target)),
        ("request", json!(asked.request)),
        ("uses", json!(asked.uses)),
        ("lifetime_ms", json!(asked.lifetime)),
        ("bearer", json!(asked.form.bearer_file.is_some().then_some(true))),
    ]);
    let derived = match remote.change("token.derive", &arguments, secret.id).await {
        Ok(derived) => derived,
        Err(failure) => return Err(secret.failed(failure)),
    };
    let mut derived = secret.with(derived);
    asked.form.keep(&mut derived)?;
    answer(globals.output, &derived, |derived| {
        let known = [
            ("token", cell(&derived["id"])),
            ("derived from", asked.parent.to_string()),
            ("subject", asked.subject.to_string()),
            ("good for", format!("{} at {}", cell(&json!(asked.operation)), cell(&json!(asked.audience)))),
            ("uses", cell(&derived["uses"])),
            ("expires", cell(&derived["expires_at"])),
            secret.field(),
        ];
        fields(known.into_iter().chain(asked.form.field()))
    })
}

/// The tokens of a list that were derived from `id`, with that one.
fn family(listed: &Value, id: Option<TokenId>) -> Result<Value, Failure> {
    let Some(id) = id else { return Ok(listed.clone()) };
    let tokens = listed["tokens"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut family = BTreeSet::from([id.to_string()]);
    loop {
        let more = tokens.iter().filter(|token| token["parent"].as_str().is_some_and(|parent| family.contains(parent)));
        let more: Vec<_> = more.filter_map(|token| token["id"].as_str().map(str::to_owned)).collect();
        let before = family.len();
        family.extend(more);
        if family.len() == before {
            break;
        }
    }
    let ours = |token: &&Value| token["id"].as_str().is_some_and(|id| family.contains(id));
    let family: Vec<_> = tokens.iter().filter(ours).collect();
    if family.is_empty() {
        return Err(Failure::new("tokens.unknown", format!("there is no token {id}"), "see `sop token list`"));
    }
    Ok(json!({ "tokens": family }))
}

fn drawn(listed: &Value) -> String {
    let tokens = listed["tokens"].as_array().map(Vec::as_slice).unwrap_or_default();
    if tokens.is_empty() {
        return "No tokens.".to_owned();
    }
    let is_here = |id: &Value| tokens.iter().any(|token| token["id"] == *id);
    let mut rows = Vec::new();
    for root in tokens.iter().filter(|token| !is_here(&token["parent"])) {
        draw(tokens, root, "", "", &mut rows);
    }
    table(["TOKEN", "KIND", "STATE", "SUBJECT", "GOOD FOR", "LEFT"], rows)
}

fn draw(tokens: &[Value], token: &Value, first: &str, next: &str, rows: &mut Vec<[String; 6]>) {
    rows.push([
        format!("{first}{}", cell(&token["id"])),
        cell(&token["kind"]),
        cell(&token["state"]),
        cell(&token["subject"]),
        good_for(token),
        format!("{} of {}", cell(&token["left"]), cell(&token["uses"])),
    ]);
    let mut derived = tokens.iter().filter(|other| other["parent"] == token["id"]).peekable();
    while let Some(child) = derived.next() {
        let (branch, below) = if derived.peek().is_none() { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        draw(tokens, child, &format!("{next}{branch}"), &format!("{next}{below}"), rows);
    }
}

fn good_for(token: &Value) -> String {
    let on = token["target"].as_str().map_or_else(String::new, |target| format!(", on {target}"));
    format!("{} at {}{on}", cell(&token["operation"]), cell(&token["audience"]))
}

fn work(text: &str) -> Result<Value, String> {
    let (audience, operation) =
        text.split_once('/').ok_or("an audience, a slash and an operation, such as arp/deploy")?;
    Ok(json!({ "audience": audience, "operation": operation }))
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
        ("target", json!(asked.target)),
        ("todo", number(asked.todo)),
        ("report", json!(asked.report)),
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
            good_for(token),
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
        ("good for", good_for(token)),
        ("uses", format!("{} of {} left", cell(&token["left"]), cell(&token["uses"]))),
        ("issued", cell(&token["issued_at"])),
        ("expires", cell(&token["expires_at"])),
    ];
    if token["starts_at"] != token["issued_at"] {
        known.push(("begins", cell(&token["starts_at"])));
    }
    if token["handed_on"] != 0 {
        known.push(("handed on", count(token["handed_on"].as_u64().unwrap_or_default(), "use")));
    }
    if let Some(work) = token["work"].as_array().filter(|work| !work.is_empty()) {
        let work = work.iter().map(|work| format!("{} at {}", cell(&work["operation"]), cell(&work["audience"])));
        known.push(("to derive", work.collect::<Vec<_>>().join(", ")));
    }
    for (name, key) in [
        ("request", "request"),
        ("derived from", "parent"),
        ("todo", "todo"),
        ("artefact", "artefact"),
        ("rests on", "backing"),
        ("revoked", "revoked_at"),
        ("because", "revoked_because"),
    ] {
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
