//! Trials: what would come of a request, and what would permit it. The request goes its own way through the desk, and the door
//! ends it where something would be done.

use door::{Ask, Bound, Foreseen, TRY, Trial, Tried};
use kernel::{Denial, Layer};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Desk, Given, Request, approval, permission};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    action: String,
    arguments: Value,
    /// Say what would permit it, too.
    #[serde(default)]
    permission: bool,
}

pub async fn answer(desk: &Desk, mut request: Request) -> Given {
    let Asked { action: name, arguments, permission } = request.arguments()?;
    let wrong = |code: &str, reason: String, remedy: &str| Denial::new(Layer::Request, code, reason, remedy);
    let Some(action) = super::action(&name) else {
        let name: String = name.chars().take(80).collect();
        let reason = format!("there is no action {name:?}");
        return Err(wrong("request.unknown_action", reason, "see GET /v1/actions").into());
    };
    if [TRY, "approval.request", "proof.goal", "proof.submit"].contains(&action) {
        let remedy = "try what it is about";
        return Err(wrong("request.not_for_this", format!("{action} is not tried"), remedy).into());
    }
    let trial = Trial::of(action);
    let bound = Bound { trial: Some(trial.clone()), ..approval::bound(action, &arguments) };
    let anew = bound.anew;
    let ask = Ask { action, bound, ..request.ask };
    let done = Box::pin(desk.answer(Request { ask, arguments })).await;
    let Some(tried) = trial.told() else {
        // What is answered from memory has no more to it.
        return done.map(|_| json!({ "action": action, "would": "nothing" }));
    };
    let reads = ::policy::action(action).is_some_and(|action| action.reads_only);
    let mut answer = told(tried, reads);
    answer["decision"] = json!(done.err().and_then(|denied| denied.decision));
    if permission {
        answer["permission"] = permission::entry(desk, &tried.principal, &tried.asked, anew);
    }
    Ok(answer)
}

fn told(Tried { principal, asked, foreseen }: &Tried, reads: bool) -> Value {
    let (would, denial, records) = match foreseen {
        Foreseen::Denied(denial) => ("denied", Some(denial), None),
        Foreseen::Refused(denial) => ("refused", Some(denial), None),
        Foreseen::Nothing => ("nothing", None, None),
        Foreseen::LetIn if reads => ("nothing", None, None),
        Foreseen::LetIn => ("change", None, None),
        Foreseen::Changed(records) => ("change", None, Some(records)),
    };
    json!({
        "principal": principal,
        "action": asked.action(),
        "resource": asked.resource(),
        "would": would,
        "records": records,
        "denial": denial,
    })
}
