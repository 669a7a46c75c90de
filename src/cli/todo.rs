//! `sop todo`: list, show, claim, release, submit.

use clap::{Args, Subcommand};
use kernel::Principal;
use serde_json::{Value, json};
use todos::TodoId;

use super::call::{Globals, Mutation, Remote};
use super::exit::{Exit, Failure, Run};
use super::output::{answer, cell, fields, table};
use super::secret::{Keep, NewSecret};
use super::token::arguments;

const STATES: [&str; 4] = ["open", "claimed", "submitted", "closed"];

/// Who the credential of bootstrap speaks for.
pub const OPERATOR: &str = "operator/root";

#[derive(Subcommand, Debug)]
pub enum Todo {
    /// List todos
    List(List),
    /// Show a todo
    Show {
        /// todo-3, or 3
        todo: TodoId,
    },
    /// Take a todo; the secret of the claim's token is made here and shown once
    Claim(Claim),
    /// Give a claimed todo back
    Release {
        /// todo-3, or 3
        todo: TodoId,
        #[command(flatten)]
        mutation: Mutation,
    },
    /// Hand in a claimed todo as done; the next scan that does not find its gap closes it
    Submit {
        /// todo-3, or 3
        todo: TodoId,
        /// What was done
        #[arg(long, default_value = "", hide_default_value = true)]
        note: String,
        #[command(flatten)]
        mutation: Mutation,
    },
}

#[derive(Args, Debug)]
pub struct List {
    #[arg(long, value_parser = STATES)]
    state: Option<String>,
    /// Held by this principal only
    #[arg(long, value_name = "PRINCIPAL")]
    holder: Option<Principal>,
}

#[derive(Args, Debug)]
pub struct Claim {
    /// todo-3, or 3
    todo: TodoId,
    /// Who is to hold it, such as agent/alpha; else the operator
    #[arg(long = "for", value_name = "PRINCIPAL")]
    holder: Option<Principal>,
    #[command(flatten)]
    keep: Keep,
}

pub async fn run(globals: &Globals, command: Todo) -> Run {
    let remote = globals.remote()?;
    let format = globals.output;
    match command {
        Todo::List(List { state, holder }) => {
            let arguments = arguments([("state", json!(state)), ("holder", json!(holder))]);
            answer(format, &remote.read("todo.list", &arguments).await?, listed)?;
        }
        Todo::Show { todo } => answer(format, &remote.read("todo.show", &json!({ "todo": todo })).await?, shown)?,
        Todo::Claim(asked) => claim(globals, &remote, asked).await?,
        Todo::Release { todo, mutation } => {
            let released = remote.change("todo.release", &json!({ "todo": todo }), mutation.id()).await?;
            answer(format, &released, |released| format!("{} is open again.", cell(&released["todo"])))?;
        }
        Todo::Submit { todo, note, mutation } => {
            let arguments = json!({ "todo": todo, "note": note });
            let submitted = remote.change("todo.submit", &arguments, mutation.id()).await?;
            answer(format, &submitted, |submitted| {
                format!(
                    "{} is handed in; the next scan that does not find its gap closes it.",
                    cell(&submitted["todo"])
                )
            })?;
        }
    }
    Ok(Exit::Ok)
}

async fn claim(globals: &Globals, remote: &Remote, asked: Claim) -> Result<(), Failure> {
    let holder = match asked.holder {
        Some(holder) => holder.to_string(),
        None if remote.by_token() => {
            let detail = "the credential is a token, and does not say who holds it";
            return Err(Failure::new("cli.holder", detail, "say who is to hold the todo: --for agent/NAME"));
        }
        None => OPERATOR.to_owned(),
    };
    let secret = NewSecret::of(&asked.keep)?;
    let arguments = json!({
        "todo": asked.todo,
        "holder": holder,
        "token": secret.token(),
        "secret_digest": secret.digest(),
    });
    let claimed = match remote.change("todo.claim", &arguments, secret.id).await {
        Ok(claimed) => claimed,
        Err(failure) => return Err(secret.failed(failure)),
    };
    answer(globals.output, &secret.with(claimed), |claimed| {
        fields([
            ("todo", cell(&claimed["todo"])),
            ("holder", cell(&claimed["holder"])),
            ("until", cell(&claimed["expires_at"])),
            ("token", cell(&claimed["token"])),
            secret.field(),
        ])
    })
}

fn listed(listed: &Value) -> String {
    let todos = listed["todos"].as_array().map(Vec::as_slice).unwrap_or_default();
    if todos.is_empty() {
        return "No todos.".to_owned();
    }
    let row = |todo: &Value| {
        [cell(&todo["id"]), cell(&todo["state"]), cell(&todo["holder"]), cell(&todo["title"]), cell(&todo["place"])]
    };
    table(["TODO", "STATE", "HOLDER", "TITLE", "PLACE"], todos.iter().map(row))
}

fn shown(todo: &Value) -> String {
    let mut known = vec![
        ("todo", cell(&todo["id"])),
        ("state", cell(&todo["state"])),
        ("title", cell(&todo["title"])),
        ("place", cell(&todo["place"])),
        ("gap", cell(&todo["gap"])),
        ("opened", cell(&todo["opened_at"])),
        ("reopened", format!("{} times", cell(&todo["reopened"]))),
    ];
    for (name, key) in [
        ("holder", "holder"),
        ("token", "token"),
        ("claimed", "claimed_at"),
        ("until", "claim_expires_at"),
        ("note", "note"),
        ("closed", "closed_at"),
    ] {
        if !todo[key].is_null() {
            known.push((name, cell(&todo[key])));
        }
    }
    fields(known)
}
