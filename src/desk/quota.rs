//! Quotas: set, clear, list; and what is used of them now.

use std::collections::BTreeMap;

use door::Used;
use identity::{Allowance, Capability, Command, Whose};
use kernel::{Denial, Millis, Principal};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Desk, Given, Request, number, parsed, personal, security, time};

/// Most principals whose use of one quota is listed; the most first.
const USES_SHOWN: usize = 1_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Set {
    name: String,
    #[serde(deserialize_with = "parsed")]
    principal: Whose,
    #[serde(deserialize_with = "parsed")]
    action: Capability,
    #[serde(deserialize_with = "number")]
    limit: u64,
    #[serde(deserialize_with = "number")]
    window_ms: u64,
    #[serde(default)]
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Clear {
    name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

pub async fn answer(desk: &Desk, mut request: Request) -> Given {
    match request.ask.action {
        "quota.set" => {
            let Set { name, principal: whose, action, limit, window_ms, reason } = request.arguments()?;
            let action = security::known(action)?;
            let ask = request.about(&name);
            let reason = personal::sealed(desk, &ask, "reason", reason).await?;
            let allowance = Allowance { whose, action, limit, window: Millis(window_ms) };
            let mut answer = shown(&name, &allowance);
            let command = Command::SetQuota { name, allowance, reason };
            answer["record"] = security::changed(desk, &ask, command).await?;
            Ok(answer)
        }
        "quota.clear" => {
            let Clear { name } = request.arguments()?;
            let ask = request.about(&name);
            let record = security::changed(desk, &ask, Command::ClearQuota { name: name.clone() }).await?;
            Ok(json!({ "name": name, "record": record }))
        }
        "quota.list" => {
            let Nothing {} = request.arguments()?;
            desk.door().witness(&request.about("*")).await?;
            let used = desk.door().used_of_quotas(None).await;
            let answer = listed(desk, &used);
            personal::opened(desk, answer).await
        }
        action => unreachable!("{action} is no action on quotas"),
    }
}

fn listed(desk: &Desk, used: &Result<Vec<Used>, Denial>) -> Value {
    let mut by_quota = BTreeMap::<&str, Vec<(&Principal, u64)>>::new();
    for Used { name, principal, used, .. } in used.iter().flatten() {
        by_quota.entry(name).or_default().push((principal, *used));
    }
    let now = desk.now();
    let quotas = desk.door().identity_view().read(|identity| {
        let one = |(name, quota): (&str, &identity::Quota)| {
            let identity::Quota { allowance, since, reason, by, at } = quota;
            let mut all = by_quota.remove(name).unwrap_or_default();
            all.sort_by_key(|(_, used)| std::cmp::Reverse(*used));
            let complete = all.len() <= USES_SHOWN;
            let most = all.into_iter().take(USES_SHOWN);
            let most = most.map(|(principal, used)| json!({ "principal": principal, "used": used }));
            let mut shown = shown(name, allowance);
            shown["window_ends_at"] = json!(time(allowance.began(now) + allowance.window));
            shown["counted_from"] = json!(time(allowance.began(now).max(*since)));
            shown["uses"] = most.collect();
            shown["complete"] = json!(complete);
            shown["reason"] = json!(reason);
            shown["by"] = json!(by);
            shown["at"] = json!(time(*at));
            shown
        };
        identity.quotas().map(one).collect::<Vec<_>>()
    });
    json!({ "quotas": quotas, "uncounted": used.as_ref().err() })
}

fn shown(name: &str, Allowance { whose, action, limit, window }: &Allowance) -> Value {
    json!({
        "name": name, "principal": whose.to_string(), "action": action, "limit": limit, "window_ms": window,
    })
}

/// Of whoever asks who he is.
pub fn own(used: &[Used]) -> Value {
    let one = |Used { name, allowance, used, until, .. }: &Used| {
        let mut shown = shown(name, allowance);
        shown["used"] = json!(used);
        shown["window_ends_at"] = json!(time(*until));
        shown
    };
    used.iter().map(one).collect()
}
