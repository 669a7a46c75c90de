//! Searching: for who may, for what may be done, and on what, a page at a time.
//!
//! Whatever is a candidate is judged as an evaluation of it is, so that what is found is what an evaluation says yes to. What
//! cannot be listed, or depends on what was not said, is not found, and the answer says so.

use std::collections::BTreeSet;

use ::policy::ACTIONS;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use door::{Supposed, Supposition};
use host::Handle;
use kernel::{Denial, Digest, Machine};
use nexus::Nexus;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::{Desk, Given, Request, approval, malformed, rights};
use super::{BY_CAPABILITY, DEPENDS, Evaluation, attributes_said, evaluate, kin, no, question, resource_of};

/// Found at once if nothing is asked.
const LIMIT_DEFAULT: usize = 100;
/// And at most.
const LIMIT_MAX: usize = 1_000;
/// Candidates that are judged for one page.
const EXAMINED_MAX: usize = 2_000;
/// Longest token of a page: that of the longest id.
const TOKEN_MAX: usize = 8_192;

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Sought {
    Subject,
    Resource,
    Action,
}

#[derive(Deserialize)]
struct Search {
    search: Sought,
    page: Option<Page>,
}

#[derive(Default, Deserialize)]
struct Page {
    token: Option<String>,
    limit: Option<u64>,
}

pub async fn answer(desk: &Desk, request: Request) -> Given {
    let Search { search, page } = Search::deserialize(&request.arguments).map_err(|error| malformed(&error))?;
    let whole = completed(search, &request.arguments);
    let asked = Evaluation::deserialize(&whole).map_err(|error| malformed(&error))?;
    let Page { token, limit } = page.unwrap_or_default();
    let query = digest(search, &whole);
    let (limit, after) = begun(token.as_deref().filter(|token| !token.is_empty()), limit, query)?;
    let about = if search == Sought::Subject { String::new() } else { asked.subject.handle() };
    question(desk, request, &about, &asked.action.name).await?;

    let mut context = serde_json::Map::new();
    let candidates = match search {
        Sought::Subject => subjects(desk, &asked),
        Sought::Action => actions(&asked),
        Sought::Resource => {
            let (any, open) = any_resource(desk, &asked);
            context.insert("any_resource".to_owned(), any);
            if open { resources(desk, &asked, &mut context).await? } else { BTreeSet::new() }
        }
    };
    let (mut results, mut examined, mut undecided, mut last) = (Vec::new(), 0, 0_u64, after.clone());
    let mut rest = candidates
        .range::<String, _>((
            after.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded),
            std::ops::Bound::Unbounded,
        ))
        .peekable();
    while examined < EXAMINED_MAX && results.len() < limit {
        let Some(candidate) = rest.next() else { break };
        examined += 1;
        last = Some(candidate.clone());
        let (one, result) = with_candidate(search, &asked, candidate);
        match evaluate(desk, &one).await {
            Ok(()) => results.push(result),
            Err(denial) if denial.code == DEPENDS => undecided += 1,
            Err(_) => {}
        }
        tokio::task::yield_now().await;
    }
    if undecided != 0 {
        context.insert("undecided".to_owned(), undecided.into());
        context.insert("code".to_owned(), DEPENDS.into());
    }
    let next = if rest.peek().is_some() { written(limit, query, last.as_deref()) } else { String::new() };
    let page = json!({ "next_token": next, "count": results.len() });
    let mut answer = json!({ "page": page, "results": results });
    if !context.is_empty() {
        answer["context"] = context.into();
    }
    Ok(answer)
}

/// With a name for what is sought, which is nobody's and nothing's.
fn completed(search: Sought, arguments: &Value) -> Value {
    let mut whole = arguments.clone();
    match search {
        Sought::Action => whole["action"] = json!({ "name": "" }),
        Sought::Subject | Sought::Resource => {
            let name = if search == Sought::Subject { "subject" } else { "resource" };
            if let Some(sought) = whole.get_mut(name).and_then(Value::as_object_mut) {
                sought.insert("id".to_owned(), "".into());
            }
        }
    }
    whole
}

fn with_candidate(search: Sought, asked: &Evaluation, candidate: &str) -> (Evaluation, Value) {
    let mut one = asked.clone();
    let result = match search {
        Sought::Subject => {
            candidate.clone_into(&mut one.subject.id);
            json!({ "type": one.subject.kind, "id": candidate })
        }
        Sought::Resource => {
            candidate.clone_into(&mut one.resource.id);
            json!({ "type": one.resource.kind, "id": candidate })
        }
        Sought::Action => {
            candidate.clone_into(&mut one.action.name);
            json!({ "name": candidate })
        }
    };
    (one, result)
}

/// Everybody of that type who was ever admitted. Whether he is still, the judge says.
fn subjects(desk: &Desk, asked: &Evaluation) -> BTreeSet<String> {
    let Some(kin) = kin(&asked.subject.kind) else { return BTreeSet::new() };
    desk.door().identity_view().read(|identity| {
        let of_kin = identity.list().filter(|(principal, _)| principal.kin == kin);
        of_kin.map(|(principal, _)| principal.name().to_owned()).collect()
    })
}

/// All that can be asked about what is of that type.
fn actions(asked: &Evaluation) -> BTreeSet<String> {
    let all = ACTIONS.iter().map(|action| action.name).chain(BY_CAPABILITY.iter().map(|(name, _)| *name));
    let fits = |name: &&str| resource_of(name).is_some_and(|kind| kind.eq_ignore_ascii_case(&asked.resource.kind));
    all.filter(fits).map(str::to_owned).collect()
}

/// What is said of any resource there may ever be, and whether there may be one.
fn any_resource(desk: &Desk, asked: &Evaluation) -> (Value, bool) {
    let Evaluation { subject, action, resource, context } = asked;
    let fits = resource_of(&action.name).is_some_and(|expected| expected.eq_ignore_ascii_case(&resource.kind));
    let (Ok(principal), true) = (subject.principal(), fits) else { return (json!({ "answer": "no" }), false) };
    let said = [context, &action.properties, &resource.properties, &subject.properties];
    let (context, none) = (attributes_said(&action.name, said).unwrap_or_default(), BTreeSet::new());
    let supposed =
        Supposed { principal: &principal, action: &action.name, resource: None, context: &context, roles: &none };
    let judged = desk.door().suppose(&supposed).1;
    let open = !matches!(judged, Supposition::Denied { .. });
    (rights::told(judged), open)
}

/// What there is of that type, and `*`: what is meant where it is no single one.
async fn resources(
    desk: &Desk,
    asked: &Evaluation,
    context: &mut serde_json::Map<String, Value>,
) -> Result<BTreeSet<String>, Denial> {
    let (parts, door, now) = (&desk.parts, desk.door(), desk.now());
    let mut names: BTreeSet<String> = match resource_of(&asked.action.name).unwrap_or_default() {
        "Policy" => door
            .governance_view()
            .read(|governance| governance.epochs().map(|epoch| epoch.number.to_string()).collect()),
        "Right" | "Security" => {
            door.identity_view().read(|identity| identity.list().map(|(principal, _)| principal.to_string()).collect())
        }
        "Credential" => {
            door.identity_view().read(|identity| identity.credentials().map(|(id, _)| id.to_string()).collect())
        }
        "Token" => door
            .tokens_view()
            .read(|tokens| tokens.list(&tokens::Filter::default(), now).map(|token| token.id.to_string()).collect()),
        "Approval" => parts.approvals_view.read(|approvals| {
            approvals.list(&approvals::Filter::default(), now).map(|request| request.number.to_string()).collect()
        }),
        "Proof" => parts.proofs_view.read(|proofs| {
            let every = ::proofs::Filter::default();
            let receipts = proofs.list(&every, now).map(|receipt| receipt.number.to_string());
            receipts.chain(proofs.verifiers().map(|(name, _)| name.to_owned())).collect()
        }),
        "Subscription" => parts.subscriptions_view.read(|all| all.list().map(|(name, _)| name.to_owned()).collect()),
        "Gap" => {
            listed(&parts.gaps, |gaps| gaps.list(&gaps::Filter::default()).map(|gap| gap.id.to_string()).collect())
                .await?
        }
        "Todo" => {
            let all = move |todos: &todos::Todos| {
                todos.list(&todos::Filter::default(), now).map(|todo| todo.id.to_string()).collect()
            };
            listed(&parts.todos, all).await?
        }
        "Resource" => {
            let all = move |allocator: &allocator::Allocator| allocator.pools(now).map(|pool| pool.name).collect();
            listed(&parts.allocator, all).await?
        }
        "Lease" => {
            let all = move |allocator: &allocator::Allocator| {
                allocator.list(&allocator::Filter::default(), now).map(|lease| lease.id.to_string()).collect()
            };
            listed(&parts.allocator, all).await?
        }
        "Protocol" => {
            listed(&parts.nexus, |nexus: &Nexus| nexus.protocols().map(|protocol| protocol.name).collect()).await?
        }
        "Backup" => {
            listed(&parts.backups, |all: &backup::Backups| all.list().map(|one| one.id.to_string()).collect()).await?
        }
        "Subject" => {
            let all = |subjects: &subjects::Subjects| subjects.list().map(|(name, _)| name.to_string()).collect();
            listed(&parts.subjects, all).await?
        }
        "Retention" => {
            let all = |holds: &retention::Retention| holds.holds().map(|(name, _)| name.to_owned()).collect();
            listed(&parts.retention, all).await?
        }
        kind => {
            let reason = format!("what there is of type {kind} is not listed; ask of each by an evaluation");
            context.insert("enumerable".to_owned(), false.into());
            context.insert("reason".to_owned(), reason.into());
            BTreeSet::new()
        }
    };
    names.insert("*".to_owned());
    Ok(names)
}

async fn listed<M: Machine>(
    machine: &Handle<M>,
    names: impl FnOnce(&M) -> BTreeSet<String> + Send + 'static,
) -> Result<BTreeSet<String>, Denial> {
    machine.inspect(names).await.map_err(|error| error.denial())
}

/// What a page belongs to: all of the question but where the page begins.
fn digest(search: Sought, whole: &Value) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[search as u8]);
    for name in ["subject", "action", "resource", "context"] {
        hasher.update(json!([name, whole.get(name).map(approval::canonical)]).to_string().as_bytes());
    }
    Digest(*hasher.finalize().as_bytes())
}

/// The token of the page after the candidate that was judged last.
fn written(limit: usize, query: Digest, last: Option<&str>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(json!([query, limit, last]).to_string())
}

/// How many are to be found, and after which candidate.
fn begun(token: Option<&str>, limit: Option<u64>, query: Digest) -> Result<(usize, Option<String>), Denial> {
    let limit = limit.map(|limit| usize::try_from(limit).unwrap_or(LIMIT_MAX).min(LIMIT_MAX));
    let Some(token) = token else { return Ok((limit.unwrap_or(LIMIT_DEFAULT), None)) };
    let wrong = |why: &str| {
        let remedy = "ask without a token for the first page, and change nothing from one page to the next";
        no("authzen.page_token", format!("the token of the page is not right: {why}"), remedy)
    };
    if TOKEN_MAX < token.len() {
        return Err(wrong("it is too long"));
    }
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(token).map_err(|_| wrong("none of ours looks like that"))?;
    let (of, before, after): (Digest, usize, Option<String>) =
        serde_json::from_slice(&bytes).map_err(|_| wrong("none of ours looks like that"))?;
    if of != query || LIMIT_MAX < before {
        return Err(wrong("it belongs to another question"));
    }
    if limit.is_some_and(|limit| limit != before) {
        return Err(wrong("the limit was another"));
    }
    Ok((before, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_goes_on_with_its_own_question_and_no_other() {
        let query = |text: Value| digest(Sought::Subject, &text);
        let asked =
            query(json!({ "subject": { "type": "agent", "id": "" }, "resource": { "id": "1", "type": "Todo" } }));
        let same = query(
            json!({ "resource": { "type": "Todo", "id": "1" }, "subject": { "id": "", "type": "agent" }, "more": 1 }),
        );
        let other =
            query(json!({ "subject": { "type": "agent", "id": "" }, "resource": { "id": "2", "type": "Todo" } }));
        assert_eq!(asked, same);
        let token = written(2, asked, Some("beta"));
        let code =
            |token: &str, limit: Option<u64>, query| begun(Some(token), limit, query).map_err(|denial| denial.code);
        let wrong = Err("authzen.page_token".to_owned());
        for (row, token, limit, query, expected) in [
            ("the next page", token.as_str(), Some(2), same, Ok((2, Some("beta".to_owned())))),
            ("the limit is not said again", &token, None, asked, Ok((2, Some("beta".to_owned())))),
            ("another limit", &token, Some(3), asked, wrong.clone()),
            ("another question", &token, Some(2), other, wrong.clone()),
            ("no token of ours", "a3M9NDU2O3N6PTI", None, asked, wrong.clone()),
            ("no base64", "!", None, asked, wrong.clone()),
            ("too long", &"A".repeat(TOKEN_MAX + 1), None, asked, wrong.clone()),
        ] {
            assert_eq!(code(token, limit, query), expected, "{row}");
        }
        assert_eq!(begun(None, None, asked), Ok((LIMIT_DEFAULT, None)));
        assert_eq!(begun(None, Some(u64::MAX), asked), Ok((LIMIT_MAX, None)));
        assert_eq!(begun(None, Some(0), asked), Ok((0, None)));
    }
}
