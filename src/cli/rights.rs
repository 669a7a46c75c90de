//! `sop can-i`, `who-can`, `what-can`, `policy roles` and `policy add-role`.

use clap::Args;
use policy::{Sort, attributes, role_policy};
use serde_json::{Map, Value, json};

use super::call::{Globals, Mutation};
use super::exit::{Exit, Failure, Run};
use super::output::{answer, cell, table};

#[derive(Args, Debug)]
pub struct Can {
    /// What is to be done, such as gap.scan
    action: String,
    /// On what; * where no single one is meant
    #[arg(default_value = "*")]
    resource: String,
    /// Of somebody else than yourself, such as agent/alpha
    #[arg(long = "as", value_name = "PRINCIPAL")]
    principal: Option<String>,
    /// As if bound to this role as well
    #[arg(long, value_name = "ROLE")]
    role: Vec<String>,
    /// An attribute of the action; what is not said is left open
    #[arg(long, value_name = "NAME=VALUE")]
    context: Vec<String>,
}

#[derive(Args, Debug)]
pub struct Who {
    /// What is to be done, such as gap.scan
    action: String,
    /// On what; * where no single one is meant
    #[arg(default_value = "*")]
    resource: String,
    /// An attribute of the action; what is not said is left open
    #[arg(long, value_name = "NAME=VALUE")]
    context: Vec<String>,
}

#[derive(Args, Debug)]
pub struct What {
    /// Whom it is about, such as agent/alpha; else yourself
    principal: Option<String>,
    /// As if bound to this role as well
    #[arg(long, value_name = "ROLE")]
    role: Vec<String>,
}

#[derive(Args, Debug)]
pub struct AddRole {
    /// Its name, such as auditor
    pub name: String,
    /// What it may do, such as audit.list,audit.show or audit.*
    #[arg(long, value_name = "ACTIONS", value_delimiter = ',', required = true)]
    pub can: Vec<String>,
    /// What must hold besides, as it is written in a policy: 'context.approvals >= 1'
    #[arg(long, value_name = "CONDITION")]
    pub when: Option<String>,
    #[command(flatten)]
    pub mutation: Mutation,
}

pub async fn can(globals: &Globals, Can { action, resource, principal, role, context }: Can) -> Run {
    let mut asked = json!({ "action": action, "resource": resource, "roles": role });
    asked["context"] = context_of(&action, &context)?;
    if let Some(principal) = principal {
        asked["principal"] = json!(principal);
    }
    let told = globals.remote()?.read("policy.can", &asked).await?;
    answer(globals.output, &told, said)?;
    Ok(if told["answer"] == "yes" { Exit::Ok } else { Exit::Findings })
}

pub async fn who(globals: &Globals, Who { action, resource, context }: Who) -> Run {
    let context = context_of(&action, &context)?;
    let asked = json!({ "action": action, "resource": resource, "context": context });
    let told = globals.remote()?.read("policy.who", &asked).await?;
    answer(globals.output, &told, |told| rows(told, "principals", ["PRINCIPAL", "MAY", "BY", "IF"], "principal"))?;
    Ok(Exit::Ok)
}

pub async fn what(globals: &Globals, What { principal, role }: What) -> Run {
    let mut asked = json!({ "roles": role });
    if let Some(principal) = principal {
        asked["principal"] = json!(principal);
    }
    let told = globals.remote()?.read("policy.what", &asked).await?;
    answer(globals.output, &told, |told| rows(told, "actions", ["ACTION", "MAY", "BY", "IF"], "action"))?;
    Ok(Exit::Ok)
}

pub async fn roles(globals: &Globals) -> Run {
    let told = globals.remote()?.read("policy.roles", &json!({})).await?;
    answer(globals.output, &told, |told| {
        let roles = told["roles"].as_array().into_iter().flatten();
        let rows = roles.flat_map(|role| {
            let said = role["rules"].as_array().cloned().unwrap_or_default();
            said.into_iter().map(move |rule| {
                let actions = listed(&rule["actions"], ", ");
                let conditions = rule["resource"].as_str().map(str::to_owned).into_iter();
                let conditions = conditions.chain(texts(&rule["conditions"])).collect::<Vec<_>>().join(" && ");
                let may = if rule["permits"] == true { "may" } else { "may not" };
                let actions = if actions.is_empty() { "anything".to_owned() } else { actions };
                [cell(&role["role"]), may.to_owned(), actions, conditions, cell(&rule["policy"])]
            })
        });
        table(["ROLE", "", "DO", "IF", "BY"], rows)
    })?;
    Ok(Exit::Ok)
}

/// Proposes the active text and the role.
pub async fn add_role(globals: &Globals, AddRole { name, can, when, mutation }: AddRole) -> Run {
    let role = role_policy(&name, &can, when.as_deref())
        .map_err(|error| Failure::new("policy.bad_role", error, "see `sop policy add-role --help`"))?;
    let remote = globals.remote()?;
    let shown = remote.read("policy.show", &json!({})).await?;
    let text = format!("{}\n{role}", shown["text"].as_str().unwrap_or_default());
    let proposed = remote.change("policy.propose", &json!({ "text": text }), mutation.id()).await?;
    answer(globals.output, &proposed, super::policy::proposed)?;
    Ok(Exit::Ok)
}

/// `NAME=VALUE`, each of the type that the action's attribute has.
fn context_of(action: &str, pairs: &[String]) -> Result<Value, Failure> {
    let known = attributes(action);
    let mut context = Map::new();
    for pair in pairs {
        let wrong = |why: String| {
            let remedy = "give attributes as NAME=VALUE, such as --context root=/srv; docs/policies.md says where they are listed";
            Failure::new("cli.attribute", format!("{pair:?} is no attribute of {action}: {why}"), remedy)
        };
        let (name, text) = pair.split_once('=').ok_or_else(|| wrong("there is no = in it".to_owned()))?;
        let value = match known.and_then(|known| known.get(name)) {
            Some(Sort::Text) => json!(text),
            Some(Sort::Long) => json!(text.parse::<i64>().map_err(|error| wrong(error.to_string()))?),
            Some(Sort::Bool) => json!(text.parse::<bool>().map_err(|error| wrong(error.to_string()))?),
            None => {
                let names: Vec<_> = known.into_iter().flatten().map(|(name, _)| name.as_str()).collect();
                let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
                return Err(wrong(format!("it has {names}")));
            }
        };
        context.insert(name.to_owned(), value);
    }
    Ok(Value::Object(context))
}

fn said(told: &Value) -> String {
    let what = format!("{} on {}", cell(&told["action"]), cell(&told["resource"]));
    let (who, by) = (cell(&told["principal"]), listed(&told["by"], ", "));
    match told["answer"].as_str() {
        Some("yes") => format!("yes: {who} may {what}, by {by}"),
        Some("if") => {
            let permits = open(&told["permits"]).into_iter().map(|(policy, condition)| match condition.as_str() {
                "" => format!("  {policy} permits it"),
                condition => format!("  {policy} permits it if {condition}"),
            });
            let forbids = open(&told["forbids"]).into_iter();
            let forbids = forbids.map(|(policy, condition)| format!("  {policy} forbids it if {condition}"));
            let head = format!("it depends: {who} may {what}, as far as");
            std::iter::once(head).chain(permits).chain(forbids).collect::<Vec<_>>().join("\n")
        }
        _ if !["policy", ""].contains(&told["layer"].as_str().unwrap_or_default()) => {
            let (why, remedy) = (cell(&told["reason"]), cell(&told["remedy"]));
            format!("no: {who} may not {what}: {why}\n  remedy: {remedy}")
        }
        _ => {
            let why = match by.as_str() {
                "" => "no policy permits it".to_owned(),
                by => format!("{by} forbids it"),
            };
            let near = told["near"].as_array().into_iter().flatten();
            let near = near.map(|near| format!("  it would be allowed if {}", cell(&near["words"])));
            std::iter::once(format!("no: {who} may not {what}: {why}")).chain(near).collect::<Vec<_>>().join("\n")
        }
    }
}

/// A row for each of whom or of what it is said.
fn rows(told: &Value, list: &str, headings: [&str; 4], name: &str) -> String {
    let rows = told[list].as_array().into_iter().flatten().map(|row| {
        let (by, conditions): (Vec<_>, Vec<_>) = open(&row["permits"]).into_iter().unzip();
        let unless = open(&row["forbids"]).into_iter().map(|(policy, condition)| format!("not {policy}: {condition}"));
        let conditions = conditions.into_iter().filter(|condition| !condition.is_empty());
        let by = if by.is_empty() { listed(&row["by"], ", ") } else { by.join(", ") };
        [cell(&row[name]), cell(&row["answer"]), by, conditions.chain(unless).collect::<Vec<_>>().join("; ")]
    });
    table(headings, rows)
}

/// Policies, and all that each depends on.
fn open(list: &Value) -> Vec<(String, String)> {
    let list = list.as_array().into_iter().flatten();
    list.map(|open| (cell(&open["policy"]), listed(&open["conditions"], " && "))).collect()
}

fn texts(list: &Value) -> impl Iterator<Item = String> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned)
}

fn listed(list: &Value, joint: &str) -> String {
    texts(list).collect::<Vec<_>>().join(joint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attribute_has_the_type_of_the_schema() {
        let context = |pairs: &[&str]| {
            let pairs: Vec<_> = pairs.iter().map(|&pair| pair.to_owned()).collect();
            context_of("lease.request", &pairs).map_err(|failure| failure.problem.detail.clone())
        };
        assert_eq!(context(&["amount=2", "owner=7"]), Ok(json!({ "amount": 2, "owner": "7" })));
        for (pair, why) in
            [("amount", "no ="), ("amount=two", "invalid digit"), ("root=/srv", "amount, owner, pool, priority")]
        {
            assert!(context(&[pair]).unwrap_err().contains(why), "{pair}");
        }
    }

    #[test]
    fn an_answer_is_said_in_words() {
        let about = json!({ "principal": "agent/a", "action": "gap.scan", "resource": "*" });
        let say = |more: Value| {
            let mut told = about.clone();
            told.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            said(&told)
        };
        assert_eq!(say(json!({ "answer": "yes", "by": ["all"] })), "yes: agent/a may gap.scan on *, by all");
        assert_eq!(
            say(json!({ "answer": "no", "by": [], "near": [{ "words": "an operator asked" }] })),
            "no: agent/a may not gap.scan on *: no policy permits it\n  it would be allowed if an operator asked"
        );
        assert_eq!(
            say(json!({ "answer": "no", "layer": "admit", "reason": "agent/a is suspended", "remedy": "wait" })),
            "no: agent/a may not gap.scan on *: agent/a is suspended\n  remedy: wait"
        );
        assert_eq!(
            say(
                json!({ "answer": "if", "permits": [{ "policy": "p", "conditions": ["a", "b"] }], "forbids": [{ "policy": "f", "conditions": ["c"] }] })
            ),
            "it depends: agent/a may gap.scan on *, as far as\n  p permits it if a && b\n  f forbids it if c"
        );
    }
}
