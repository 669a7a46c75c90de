//! `sop policy test`: a user's table of expected decisions, judged here by the policies of an epoch or of a file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use kernel::Principal;
use policy::{Case, Policies, Standing, Value as Attribute};
use serde::Deserialize;
use serde_json::{Value, json};

use super::exit::Failure;
use super::output::{cell, count};

/// A table: `[[case]]` after `[[case]]`.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Table {
    #[serde(rename = "case", default)]
    rows: Vec<Row>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
struct Row {
    /// What is to be so, for people.
    #[serde(default)]
    name: String,
    principal: String,
    action: String,
    #[serde(default = "any")]
    resource: String,
    #[serde(default)]
    context: BTreeMap<String, Given>,
    #[serde(default)]
    standing: Held,
    expect: Expected,
    /// A policy that must be among those that determine the answer.
    rule: Option<String>,
    /// The code of the denial.
    code: Option<String>,
}

fn any() -> String {
    "*".to_owned()
}

#[derive(Deserialize, Debug, Default)]
#[serde(deny_unknown_fields, default)]
struct Held {
    via_token: bool,
    roles: BTreeSet<String>,
    approvals: u32,
    proofs: BTreeSet<String>,
}

#[derive(Deserialize, Debug, Clone)]
#[serde(untagged)]
enum Given {
    Bool(bool),
    Long(i64),
    Text(String),
}

#[derive(Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum Expected {
    Allow,
    Deny,
}

impl Table {
    /// # Errors
    /// What is wrong with the text, and where.
    pub fn parse(file: &Path, text: &str) -> Result<Self, Failure> {
        let bad = |detail: String| {
            let remedy = "see docs/policies.md for what a table of expected decisions looks like";
            Failure::new("policy.bad_table", format!("{} is no table of cases: {detail}", file.display()), remedy)
        };
        let table: Self = toml::from_str(text).map_err(|error| bad(error.to_string().trim_end().to_owned()))?;
        if table.rows.is_empty() {
            return Err(bad("there is no [[case]] in it".to_owned()));
        }
        Ok(table)
    }

    /// What the policies say to each case, beside what was expected.
    pub fn judged(&self, by: &str, policies: &Policies) -> Value {
        let results: Vec<Value> = self.rows.iter().map(|row| row.judged(policies)).collect();
        let failed = results.iter().filter(|result| result["passed"] == false).count();
        json!({ "policies": by, "cases": results.len(), "failed": failed, "results": results })
    }
}

impl Row {
    fn judged(&self, policies: &Policies) -> Value {
        let mut result = json!({
            "name": self.name, "principal": self.principal, "action": self.action, "resource": self.resource,
            "expected": if self.expect == Expected::Allow { "allow" } else { "deny" }, "passed": false,
        });
        let judged = self.case().and_then(|case| case.question().check().map(|()| case));
        let case = match judged {
            Ok(case) => case,
            Err(error) => {
                result["mistake"] = json!(error);
                return result;
            }
        };
        let question = case.question();
        let judgement = policies.judge(&question);
        let code = policies.why_not(&question, &judgement).map(|why| why.code());
        let allowed = self.expect == Expected::Allow;
        let by_rule = self.rule.as_ref().is_none_or(|rule| judgement.determining.contains(rule));
        let by_code = self.code.is_none() || self.code.as_deref() == code;
        result["got"] = json!(if judgement.allowed { "allow" } else { "deny" });
        result["rules"] = json!(judgement.determining);
        result["errors"] = json!(judgement.errors);
        result["code"] = json!(code);
        result["passed"] = json!(judgement.allowed == allowed && by_rule && by_code);
        for (name, expected) in [("expected_rule", &self.rule), ("expected_code", &self.code)] {
            if let Some(expected) = expected {
                result[name] = json!(expected);
            }
        }
        if allowed && !judgement.allowed {
            let near = policies.near_misses(&question).found;
            result["near"] = near.iter().map(|near| near.change.to_string()).collect();
        }
        result
    }

    fn case(&self) -> Result<Case, String> {
        let principal: Principal = self.principal.parse().map_err(|error: kernel::Malformed| error.to_string())?;
        let context = self.context.iter().map(|(name, given)| {
            let value = match given.clone() {
                Given::Bool(truth) => Attribute::Bool(truth),
                Given::Long(number) => Attribute::Long(number),
                Given::Text(text) => Attribute::Text(text),
            };
            (name.clone(), value)
        });
        let Held { via_token, roles, approvals, proofs } = &self.standing;
        Ok(Case {
            principal,
            action: self.action.clone(),
            resource: self.resource.clone(),
            context: context.collect(),
            standing: Standing {
                via_token: *via_token,
                credential: None,
                roles: roles.clone(),
                approvals: *approvals,
                proofs: proofs.clone(),
            },
        })
    }
}

/// One line if all is as expected; else three lines or so for each case that is not.
pub fn report(judged: &Value) -> String {
    let by = cell(&judged["policies"]);
    let cases = count(judged["cases"].as_u64().unwrap_or_default(), "case");
    let failed: Vec<_> =
        judged["results"].as_array().into_iter().flatten().filter(|one| one["passed"] == false).collect();
    if failed.is_empty() {
        return format!("{cases}: {by} decides all of them as expected.");
    }
    let mut lines: Vec<String> = failed.iter().flat_map(|one| different(one)).collect();
    lines.push(format!("{cases}: {by} decides {} of them otherwise than expected.", failed.len()));
    lines.join("\n")
}

fn different(one: &Value) -> Vec<String> {
    let asked = format!("{} {} on {}", cell(&one["principal"]), cell(&one["action"]), cell(&one["resource"]));
    let name = one["name"].as_str().filter(|name| !name.is_empty());
    let mut lines = vec![format!("FAILED  {}", name.map_or_else(|| asked.clone(), |name| format!("{name}: {asked}")))];
    if let Some(mistake) = one["mistake"].as_str() {
        lines.push(format!("        cannot be asked: {mistake}"));
        return lines;
    }
    let listed = |list: &Value| {
        let names: Vec<_> = list.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        names.join(", ")
    };
    let with = |rule: &Value, code: &Value| {
        let rule = rule.as_str().filter(|rule| !rule.is_empty()).map(|rule| format!(" by {rule}"));
        let code = code.as_str().map(|code| format!(" ({code})"));
        rule.unwrap_or_default() + &code.unwrap_or_default()
    };
    let expected = with(&one["expected_rule"], &one["expected_code"]);
    let got = with(&Value::from(listed(&one["rules"])), &one["code"]);
    lines.push(format!("        - {}{expected}", cell(&one["expected"])));
    lines.push(format!("        + {}{got}", cell(&one["got"])));
    for error in one["errors"].as_array().into_iter().flatten() {
        lines.push(format!("          {}", cell(error)));
    }
    for near in one["near"].as_array().into_iter().flatten() {
        lines.push(format!("          it would be allowed if {}", cell(near)));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str =
        "@id(\"readers\") permit (principal in Role::\"reader\", action == Action::\"audit.list\", resource);
        @id(\"roots\") permit (principal, action == Action::\"gap.scan\", resource) when { context.root == \"/srv\" };
        @id(\"not-agents\") forbid (principal is Agent, action == Action::\"gap.scan\", resource);";

    fn judged(table: &str) -> Value {
        let table = Table::parse(Path::new("t.toml"), table).unwrap_or_else(|failure| panic!("{}", failure.text()));
        table.judged("p.cedar", &Policies::compile(POLICY).unwrap())
    }

    #[test]
    fn what_is_as_expected_takes_one_line() {
        let table = "
            [[case]]
            principal = 'application/board'
            action = 'audit.list'
            standing = { roles = ['reader'] }
            expect = 'allow'
            rule = 'readers'
            [[case]]
            principal = 'operator/root'
            action = 'gap.scan'
            context = { root = '/etc' }
            expect = 'deny'
            code = 'policy.not_permitted'
        ";
        let judged = judged(table);
        assert_eq!(judged["failed"], 0);
        assert_eq!(report(&judged), "2 cases: p.cedar decides all of them as expected.");
    }

    #[test]
    fn what_is_not_is_shown_with_what_would_help() {
        let table = "
            [[case]]
            name = 'the board reads'
            principal = 'application/board'
            action = 'audit.list'
            expect = 'allow'
            [[case]]
            principal = 'agent/alpha'
            action = 'gap.scan'
            context = { root = '/srv' }
            expect = 'deny'
            rule = 'not-protocols'
            [[case]]
            principal = 'agent/alpha'
            action = 'gap.scam'
            expect = 'deny'
            [[case]]
            principal = 'agent/alpha'
            action = 'gap.scan'
            expect = 'deny'
        ";
        let judged = judged(table);
        assert_eq!(judged["failed"], 4, "a case that cannot be asked is no denial");
        let report = report(&judged);
        for line in [
            "FAILED  the board reads: application/board audit.list on *",
            "        - allow",
            "        + deny (policy.not_permitted)",
            "          it would be allowed if the principal had the role \"reader\"",
            "        - deny by not-protocols",
            "        + deny by not-agents (policy.forbidden)",
            "        cannot be asked: there is no action \"gap.scam\"",
            "4 cases: p.cedar decides 4 of them otherwise than expected.",
        ] {
            assert!(report.lines().any(|one| one == line), "{line}\n{report}");
        }
    }

    #[test]
    fn the_example_decides_as_its_table_says() {
        let table = include_str!("../../config/policies/families.toml");
        let policies = Policies::compile(include_str!("../../config/policies/families.cedar")).unwrap();
        let judged = Table::parse(Path::new("families.toml"), table).unwrap().judged("families.cedar", &policies);
        assert_eq!(judged["failed"], 0, "{}", report(&judged));
    }

    #[test]
    fn what_is_no_table_is_refused() {
        for text in
            ["", "[[case]]", "[[case]]\nprincipal = 'a'\naction = 'b'\nexpect = 'perhaps'", "case = 1", "[other]"]
        {
            let failure = Table::parse(Path::new("t.toml"), text).unwrap_err();
            assert_eq!(failure.problem.code, "policy.bad_table", "{text}");
        }
    }
}
