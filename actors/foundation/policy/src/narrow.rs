//! The narrowest policy: it permits one question, and nothing else.

use std::collections::BTreeMap;

use kernel::Principal;

use crate::{Value, model, uid};

/// The text of a policy that permits exactly this: by whom, what, on what (`None` for whatever there is of that type), and
/// with these attributes. Whether it is enough beside what forbids is for a judgement to say.
///
/// # Errors
/// Why there is none: no policy speaks of such an action, or of somebody of that kind.
pub fn narrowest(
    principal: &Principal,
    action: &str,
    resource: Option<&str>,
    context: &BTreeMap<String, Value>,
) -> Result<String, String> {
    let subject = model().actions.get(action).ok_or_else(|| format!("no policy decides about {action}"))?;
    let kind = model().principals.get(&principal.kin);
    let kind = kind.ok_or_else(|| format!("{principal} is a part of the authority: no policy judges it"))?;
    let on = match resource {
        Some(id) => format!("resource == {}", uid(&subject.resource, id)),
        None => format!("resource is {}", subject.resource),
    };
    let said = context.iter().map(|(name, value)| match value {
        Value::Text(text) => format!("context.{name} == \"{}\"", text.escape_debug()),
        Value::Long(number) => format!("context.{name} == {number}"),
        Value::Bool(truth) => format!("context.{name} == {truth}"),
    });
    let said = said.collect::<Vec<_>>().join(" && ");
    let when = if said.is_empty() { String::new() } else { format!("\nwhen {{ {said} }}") };
    let who = uid(kind, principal.name());
    let body = format!("permit (principal == {who}, action == {}, {on}){when};", subject.action);
    let digest = blake3::hash(body.as_bytes()).to_hex();
    Ok(format!("@id(\"permit-{action}-{}\")\n{body}\n", &digest[..8]))
}
