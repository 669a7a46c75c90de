//! The HTTP of the store: hyper and rustls, as everywhere else here, and what each answer that is none was.
//!
//! The client above decides what is tried again. It passes on what it makes of an error, not what was said, so that is
//! kept here: one request is under way at a time.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse, HttpResponseBody, HttpService,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use vault::{FILE_MAX, Trouble};

/// No connection takes longer to be made, if an attempt has more time than that.
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// What was last heard of a store that was no good answer.
#[derive(Clone, Debug, Default)]
pub struct Heard(Arc<Mutex<Option<(Trouble, String)>>>);

impl Heard {
    pub fn forget(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub fn last(&self) -> Option<(Trouble, String)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, trouble: Trouble, why: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((trouble, why));
    }
}

type Hyper = Client<HttpsConnector<HttpConnector>, HttpRequestBody>;

/// Gives object_store its HTTP.
#[derive(Clone)]
pub struct Connector {
    client: Hyper,
    timeout: Duration,
    heard: Heard,
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connector")
    }
}

impl Connector {
    pub fn new(allow_http: bool, ca: Option<&Path>, timeout: Duration, heard: &Heard) -> Result<Self, String> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(timeout.min(CONNECT_MAX)));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let tls = tls.map_err(|error| error.to_string())?;
        let tls = match ca {
            Some(file) => tls.with_root_certificates(roots(file)?),
            None => match tls.clone().with_native_roots() {
                Ok(tls) => tls,
                // A machine without any can reach stores without TLS still.
                Err(_) if allow_http => tls.with_root_certificates(RootCertStore::empty()),
                Err(error) => return Err(format!("the system's certificates: {error}")),
            },
        };
        let https = HttpsConnectorBuilder::new().with_tls_config(tls.with_no_client_auth());
        let https = if allow_http { https.https_or_http() } else { https.https_only() };
        let connector = https.enable_http1().wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(connector);
        Ok(Self { client, timeout, heard: heard.clone() })
    }

    /// Everything of it: an answer without its end is none.
    async fn whole(&self, request: HttpRequest) -> Result<HttpResponse, (HttpErrorKind, Trouble, String)> {
        let answer = self.client.request(request).await.map_err(|error| {
            let why = chain(&error);
            if error.is_connect() {
                (HttpErrorKind::Connect, Trouble::Unreachable, why)
            } else {
                (HttpErrorKind::Interrupted, Trouble::Unreachable, why)
            }
        })?;
        let (parts, body) = answer.into_parts();
        let limit = usize::try_from(FILE_MAX).unwrap_or(usize::MAX);
        let body = Limited::new(body, limit).collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() {
                (HttpErrorKind::Decode, Trouble::Unusable, "an object is longer than any file of a backup".to_owned())
            } else {
                (HttpErrorKind::Interrupted, Trouble::Truncated, chain(&*error))
            }
        })?;
        let bytes = body.to_bytes();
        if let Some(found) = trouble(parts.status.as_u16(), &bytes) {
            self.heard.note(found.0, found.1);
        }
        Ok(HttpResponse::from_parts(parts, HttpResponseBody::from(bytes)))
    }
}

fn roots(file: &Path) -> Result<RootCertStore, String> {
    let wrong = |why: String| format!("{}: {why}", file.display());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| wrong(error.to_string()))? {
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
    }
    if roots.is_empty() { Err(wrong("there is no certificate in it".to_owned())) } else { Ok(roots) }
}

/// An error with all that it came from.
fn chain(error: &dyn std::error::Error) -> String {
    let mut told = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        let why = error.to_string();
        if !told.contains(&why) {
            told = format!("{told}: {why}");
        }
        next = error.source();
    }
    told
}

/// What an answer means that is no good one. Of its text only the code is passed on: the rest may repeat what was asked.
fn trouble(status: u16, body: &[u8]) -> Option<(Trouble, String)> {
    if status < 300 || status == 304 || status == 412 {
        return None;
    }
    let text = String::from_utf8_lossy(body);
    let code = text.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>")).map_or("", |(code, _)| code);
    let code: String = code.chars().filter(char::is_ascii_alphanumeric).take(64).collect();
    let trouble = match (&*code, status) {
        ("NoSuchKey", _) | ("", 404) => return None,
        ("NoSuchBucket", _) => Trouble::NoBucket,
        (
            "InvalidAccessKeyId"
            | "SignatureDoesNotMatch"
            | "ExpiredToken"
            | "InvalidToken"
            | "TokenRefreshRequired"
            | "AuthorizationHeaderMalformed"
            | "RequestTimeTooSkewed"
            | "InvalidClientTokenId"
            | "NotSignedUp",
            _,
        )
        | (_, 401) => Trouble::Credentials,
        ("BadDigest" | "InvalidDigest" | "XAmzContentSHA256Mismatch" | "XAmzContentChecksumMismatch", _) => {
            Trouble::Altered
        }
        ("RequestTimeout", _) | (_, 408) => Trouble::Slow,
        ("AccessDenied", _) | (_, 403) => Trouble::Denied,
        _ => Trouble::Failing,
    };
    let space = if code.is_empty() { "" } else { " " };
    Some((trouble, format!("it answered {status}{space}{code}")))
}

#[async_trait]
impl HttpService for Connector {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (kind, trouble, why) = match tokio::time::timeout(self.timeout, self.whole(request)).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(failed)) => failed,
            Err(_) => {
                let why = format!("no whole answer within {} ms", self.timeout.as_millis());
                (HttpErrorKind::Timeout, Trouble::Slow, why)
            }
        };
        self.heard.note(trouble, why.clone());
        Err(HttpError::new(kind, Said(why)))
    }
}

impl object_store::client::HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Said(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_known_by_its_code() {
        for (status, code, found) in [
            (200, "", None),
            (412, "PreconditionFailed", None),
            (404, "NoSuchKey", None),
            (404, "", None),
            (404, "NoSuchBucket", Some(Trouble::NoBucket)),
            (403, "InvalidAccessKeyId", Some(Trouble::Credentials)),
            (403, "SignatureDoesNotMatch", Some(Trouble::Credentials)),
            (400, "ExpiredToken", Some(Trouble::Credentials)),
            (401, "", Some(Trouble::Credentials)),
            (403, "AccessDenied", Some(Trouble::Denied)),
            (403, "", Some(Trouble::Denied)),
            (400, "BadDigest", Some(Trouble::Altered)),
            (400, "RequestTimeout", Some(Trouble::Slow)),
            (503, "SlowDown", Some(Trouble::Failing)),
            (500, "", Some(Trouble::Failing)),
            (301, "PermanentRedirect", Some(Trouble::Failing)),
        ] {
            let body = format!("<Error><Code>{code}</Code><AWSAccessKeyId>AN-ID</AWSAccessKeyId></Error>");
            let told = trouble(status, body.as_bytes());
            assert_eq!(told.as_ref().map(|(trouble, _)| *trouble), found, "{status} {code}");
            assert!(told.is_none_or(|(_, why)| why.contains(code) && !why.contains("AN-ID")));
        }
    }
}
