//! What a token says: its parts, and the claims that count.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use config::{Algorithm, Issuer};
use door::{CLAIMS_MAX, Foreign, Unread};
use kernel::Timestamp;
use serde_json::{Map, Value};

type Object = Map<String, Value>;

/// Longest text of a claim that is looked at, in bytes: as long as what a credential can name.
const TEXT_MAX: usize = 256;
/// Claims that say something about the token, and nothing about whom it names.
const OWN: [&str; 8] = ["iss", "sub", "aud", "exp", "nbf", "iat", "jti", "nonce"];
/// The first second that is later than any time that is meant.
const SECONDS_MAX: f64 = 1e11;

/// Header and payload, not believed yet.
pub(crate) fn parts(token: &str) -> Option<(Object, Object)> {
    let mut parts = token.split('.');
    let (header, payload, _, None) = (parts.next()?, parts.next()?, parts.next()?, parts.next()) else { return None };
    Some((object(header)?, object(payload)?))
}

fn object(part: &str) -> Option<Object> {
    let bytes = URL_SAFE_NO_PAD.decode(part).ok()?;
    match serde_json::from_slice(&bytes).ok()? {
        Value::Object(object) => Some(object),
        _ => None,
    }
}

/// The algorithm that the header names, if it is one of the issuer's.
pub(crate) fn algorithm(header: &Object, issuer: &Issuer) -> Result<Algorithm, Unread> {
    // What must be understood and is not (RFC 7515, 4.1.11), and what is another thing than a token for access or identity.
    let typ = header.get("typ").map(|typ| typ.as_str().unwrap_or_default().to_ascii_lowercase());
    let is_ours = |typ: &str| ["jwt", "at+jwt"].contains(&typ.strip_prefix("application/").unwrap_or(typ));
    if header.contains_key("crit") || !typ.as_deref().is_none_or(is_ours) {
        return Err(Unread::Malformed);
    }
    let named = header.get("alg").and_then(Value::as_str).ok_or(Unread::Malformed)?;
    let known = issuer.algorithms.iter().find(|algorithm| algorithm.as_str() == named);
    known.copied().ok_or(Unread::Algorithm)
}

/// The key that the header names, if it names one.
pub(crate) fn key_id(header: &Object) -> Result<Option<&str>, Unread> {
    header.get("kid").map(|kid| kid.as_str().ok_or(Unread::Malformed)).transpose()
}

/// What a token says whose signature is right.
pub(crate) fn said(payload: &Object, issuer: &Issuer, keys_until: Timestamp) -> Result<Foreign, Unread> {
    let is_ours = |audience: &Value| audience.as_str() == Some(&issuer.audience);
    let ours = match payload.get("aud") {
        Some(Value::Array(all)) => all.iter().any(is_ours),
        Some(one) => is_ours(one),
        None => false,
    };
    if !ours {
        return Err(Unread::Audience);
    }
    let subject = payload.get("sub").and_then(Value::as_str).filter(|subject| !subject.is_empty());
    let subject = subject.filter(|subject| subject.len() <= TEXT_MAX).ok_or(Unread::Claim)?;
    let leeway = crate::millis(issuer.leeway);
    let until = payload.get("exp").and_then(seconds).ok_or(Unread::Claim)?;
    let from = payload.get("nbf").map_or(Some(Timestamp(0)), seconds).ok_or(Unread::Claim)?;
    let claims = claims(payload);
    let is_there = |(name, value): &(String, Option<String>)| match value {
        Some(value) => claims.iter().any(|(claimed, said)| claimed == name && said == value),
        None => payload.get(name).is_some_and(|value| !value.is_null()),
    };
    if !issuer.claims.iter().all(is_there) {
        return Err(Unread::Claim);
    }
    Ok(Foreign {
        issuer: issuer.name.clone(),
        subject: subject.to_owned(),
        claims,
        from: Timestamp(from.0.saturating_sub(leeway.0)),
        until: until + leeway,
        keys_until,
    })
}

/// Claims that are texts, numbers or yes and no, or lists of those, each as a text.
fn claims(payload: &Object) -> Vec<(String, String)> {
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        _ => None,
    };
    let others = payload.iter().filter(|(name, _)| !OWN.contains(&name.as_str()) && name.len() <= TEXT_MAX);
    let pairs = others.flat_map(|(name, value)| {
        let values = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
        values.iter().filter_map(text).map(move |value| (name.clone(), value))
    });
    pairs.filter(|(_, value)| value.len() <= TEXT_MAX).take(CLAIMS_MAX).collect()
}

/// A time as a token says it (RFC 7519, 2), perhaps with a fraction.
fn seconds(value: &Value) -> Option<Timestamp> {
    let seconds = value.as_f64().filter(|seconds| (0.0..SECONDS_MAX).contains(seconds))?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it lies in a range that both hold")]
    Some(Timestamp((seconds * 1_000.0) as u64))
}
