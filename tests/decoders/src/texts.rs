//! Texts from outside: names, sizes, and the headers that carry a credential.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use axum::http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};

pub fn good_names() -> Vec<Vec<u8>> {
    [
        "operator/root",
        "internal/route.gaps-todos",
        "0190c3a2-7b5e-7cc3-98c4-dc0c0c07398f",
        "{0190c3a2-7b5e-7cc3-98c4-dc0c0c07398f}",
        "urn:uuid:0190c3a2-7b5e-7cc3-98c4-dc0c0c07398f",
        "a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5A5",
        "todo-17",
        "backup-18446744073709551615",
        "gap-3",
        "scan-12",
        "64 MiB",
        "18446744073709551615B",
        "critical",
    ]
    .map(|name| name.as_bytes().to_vec())
    .to_vec()
}

/// What is read as a name is shown as a text that reads as the same.
pub fn names(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    again::<kernel::Principal>(text);
    again::<kernel::CommandId>(text);
    again::<kernel::TokenId>(text);
    again::<kernel::Digest>(text);
    again::<allocator::LeaseId>(text);
    again::<todos::TodoId>(text);
    again::<backup::BackupId>(text);
    again::<gaps::GapId>(text);
    again::<gaps::ScanId>(text);
    again::<nexus::MessageId>(text);
    again::<nexus::Priority>(text);
    again::<config::Bytes>(text);
}

fn again<N: FromStr + Display + Debug + PartialEq>(text: &str) {
    if let Ok(name) = text.parse::<N>() {
        let shown = name.to_string();
        assert_eq!(shown.parse::<N>().ok().as_ref(), Some(&name), "{text:?} is shown as {shown:?}");
    }
}

/// The name of a header is the first line, its value the rest.
pub fn good_headers() -> Vec<Vec<u8>> {
    let secret = "sop_tk_a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5";
    [
        format!("authorization\nBearer {secret}"),
        format!("authorization\nbearer  {secret} "),
        "authorization\nBasic cm9vdDpyb290".to_owned(),
        "idempotency-key\n0190c3a2-7b5e-7cc3-98c4-dc0c0c07398f".to_owned(),
        "idempotency-key\n\"0190c3a2-7b5e-7cc3-98c4-dc0c0c07398f\"".to_owned(),
    ]
    .map(String::into_bytes)
    .to_vec()
}

/// A credential that is read of a header stands in it; a command's id carries its time.
pub fn headers(bytes: &[u8]) {
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else { return };
    let (name, value) = (HeaderName::from_bytes(&bytes[..end]), HeaderValue::from_bytes(&bytes[end + 1..]));
    let (Ok(name), Ok(value)) = (name, value) else { return };
    let mut headers = HeaderMap::new();
    headers.insert(name, value.clone());
    match http::bearer(&headers) {
        Ok(Some(secret)) => {
            let value = value.to_str().expect("a secret is text");
            assert!(value.trim_end().ends_with(&secret) && !secret.is_empty(), "{value:?} holds no {secret:?}");
            assert_eq!(secret.trim(), secret);
            assert!(headers.contains_key(AUTHORIZATION));
        }
        Ok(None) => assert!(!headers.contains_key(AUTHORIZATION), "a credential is not passed over"),
        Err(denial) => assert!(!denial.code.is_empty() && !denial.remedy.is_empty()),
    }
    if let Ok(Some(id)) = http::command_id(&headers) {
        assert!(id.made_at().is_some(), "{id} tells its time");
    }
}
