//! What this program asks of others, over HTTP/1.1, and under TLS where the address says so. No credential goes along, and
//! who sends elsewhere is not followed.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use axum::body::Bytes;
use axum::http::header::{CONNECTION, CONTENT_TYPE, HOST};
use axum::http::uri::Uri;
use axum::http::{Method, Request};
use http_body_util::Full;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::client::{TOO_LONG, asked, bare, reached};
use crate::tls::Trust;

/// Why there is no answer, or none that is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lost {
    /// It is longer than was to be read.
    TooLong,
    Failed(String),
}

impl From<String> for Lost {
    fn from(why: String) -> Self {
        if why == TOO_LONG { Self::TooLong } else { Self::Failed(why) }
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => TOO_LONG,
            Self::Failed(why) => why,
        })
    }
}

/// Asks others. Each request has a connection of its own, and ends when its future is dropped; how long it may take is for
/// the caller to say.
#[derive(Clone, Debug)]
pub struct Outward {
    /// Or why nobody is believed.
    trust: Arc<Result<Trust, String>>,
}

impl Outward {
    /// Believes whom an authority in the file `ca` vouches for; without, whom this machine believes. If that file is of no use,
    /// it is said when somebody is to be asked under TLS.
    pub fn new(ca: Option<&Path>) -> Self {
        let trust = ca.map_or_else(Trust::of_this_machine, |ca| Trust::in_authorities(ca, None));
        Self { trust: Arc::new(trust.map_err(|error| error.to_string())) }
    }

    /// Posts a text; answers with the status and what came with it, at most so many bytes.
    ///
    /// # Errors
    /// [`Lost`].
    pub async fn post(&self, address: &str, text: String, longest: usize) -> Result<(u16, Vec<u8>), Lost> {
        self.send(Method::POST, address, text, longest).await
    }

    /// Gets what lies at an address, the same way.
    ///
    /// # Errors
    /// [`Lost`].
    pub async fn get(&self, address: &str, longest: usize) -> Result<(u16, Vec<u8>), Lost> {
        self.send(Method::GET, address, String::new(), longest).await
    }

    async fn send(&self, method: Method, address: &str, text: String, longest: usize) -> Result<(u16, Vec<u8>), Lost> {
        let uri: Uri = address.parse().map_err(|error| format!("{address} is no address: {error}"))?;
        let authority = uri.authority().ok_or_else(|| format!("{address} names no host"))?;
        let host = bare(authority.host());
        let tls = uri.scheme_str() == Some("https");
        let trust = if tls {
            let name = ServerName::try_from(host.to_owned()).map_err(|_| format!("{host} can have no certificate"))?;
            Some((self.trust.as_ref().as_ref().map_err(Clone::clone)?, name))
        } else {
            None
        };
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let request = Request::builder()
            .method(method)
            .uri(uri.path_and_query().map_or("/", |path| path.as_str()))
            .header(HOST, authority.as_str())
            .header(CONTENT_TYPE, "text/plain; charset=utf-8")
            .header(CONNECTION, "close")
            .body(Full::new(Bytes::from(text)))
            .map_err(|error| error.to_string())?;
        let stream = reached((host, port), trust).await.map_err(|error| error.to_string())?;
        let (head, body) = asked(stream, request, longest).await?;
        Ok((head.status.as_u16(), body.to_vec()))
    }
}
