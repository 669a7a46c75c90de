//! Texts about people: sealed before a command is made of them, opened when they are shown.
//!
//! A machine, a record, a log line and a denial never hold such a text; what this module gives is for who asked, and for
//! nobody else. docs/personal-data.md lists what is sealed, for whom, and what is not.

use std::cell::Cell;

use door::{Ask, Denied};
use kernel::{Denial, Layer, Personal, Principal};
use keyring::{Keyring, KeyringError, Opened};
use serde_json::{Map, Value, json};

use super::{Desk, Given, audit};

/// Seals what the caller says, for the caller.
pub async fn sealed(desk: &Desk, ask: &Ask, field: &'static str, text: String) -> Result<Personal, Denied> {
    if ask.bound.trial.is_some() {
        return Ok(Personal::plain(&text));
    }
    let subject = desk.door().identify(ask).await?;
    sealed_for(desk, ask, subject, field, text).await
}

/// Seals what the caller says of `subject`.
pub async fn sealed_for(
    desk: &Desk,
    ask: &Ask,
    subject: Principal,
    field: &'static str,
    text: String,
) -> Result<Personal, Denied> {
    // Of what is only tried, nothing is kept, and no key is made for it.
    if ask.bound.trial.is_some() {
        return Ok(Personal::plain(&text));
    }
    let (keyring, command) = (desk.parts.keyring.clone(), ask.command_id);
    // A subject's first text makes a key, which waits for the disk.
    let sealed = audit::blocking(move || keyring.seal(&subject, command, field, &text)).await?;
    Ok(sealed.map_err(|error| unsealed(&error))?)
}

pub fn unsealed(error: &KeyringError) -> Denial {
    Denial::new(Layer::Availability, error.code(), error.to_string(), error.remedy())
}

/// An answer with its texts opened, or with what became of them: `{"subject": "agent/alpha", "state": "erased"}`.
pub async fn opened(desk: &Desk, answer: Value) -> Given {
    let missing = Cell::new(false);
    let shown = walk(answer.clone(), &|text| {
        let opened = desk.parts.keyring.peek(text);
        missing.set(missing.get() || opened.is_none());
        opened
    });
    if !missing.get() {
        return Ok(shown);
    }
    let keyring = desk.parts.keyring.clone();
    Ok(audit::blocking(move || walk(answer, &|text| Some(told(&keyring, text)))).await?)
}

/// The same from memory alone, whatever the disk does.
pub fn peeked(desk: &Desk, answer: Value) -> Value {
    walk(answer, &|text| desk.parts.keyring.peek(text))
}

fn told(keyring: &Keyring, personal: &Personal) -> Opened {
    // What cannot be read now is shown as such: the answer has more in it.
    keyring.open(personal).unwrap_or_else(|error| {
        tracing::warn!(code = error.code(), %error, "a text cannot be opened");
        Opened::Damaged
    })
}

fn word(opened: Option<&Opened>) -> &'static str {
    match opened {
        Some(Opened::Text(_)) => "readable",
        Some(Opened::Erased) => "erased",
        Some(Opened::NoKey) => "no key",
        Some(Opened::Damaged) => "damaged",
        None => "sealed",
    }
}

fn walk(value: Value, open: &impl Fn(&Personal) -> Option<Opened>) -> Value {
    match value {
        Value::Array(items) => items.into_iter().map(|item| walk(item, open)).collect(),
        Value::Object(fields) => match personal(&fields) {
            Some(text) => match open(&text) {
                Some(Opened::Text(text)) => text.into(),
                opened => json!({ "subject": text.subject(), "state": word(opened.as_ref()) }),
            },
            None => fields.into_iter().map(|(name, field)| (name, walk(field, open))).collect(),
        },
        other => other,
    }
}

/// The text that an object is, if it is one.
fn personal(fields: &Map<String, Value>) -> Option<Personal> {
    let is_one = fields.len() == 3 && ["subject", "characters", "sealed"].iter().all(|name| fields.contains_key(*name));
    if is_one { serde_json::from_value(Value::Object(fields.clone())).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_found_wherever_they_stand() {
        let alpha = "agent/alpha".parse().unwrap();
        let (plain, sealed) = (Personal::plain("old"), Personal::sealed(&alpha, 3, vec![1]));
        let answer = json!({ "a": [{ "note": plain }, 7], "b": sealed, "c": { "subject": "x" }, "d": null });
        let open = |text: &Personal| text.text().map(|text| Opened::Text(text.to_owned())).or(Some(Opened::Erased));
        let erased = json!({ "subject": "agent/alpha", "state": "erased" });
        let shown = json!({ "a": [{ "note": "old" }, 7], "b": erased, "c": { "subject": "x" }, "d": null });
        assert_eq!(walk(answer, &open), shown);
    }
}
