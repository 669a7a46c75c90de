//! The way in over TCP: who may listen where, and which requests a web page could have sent.
//!
//! A credential is a bearer's, so a page that somebody's browser shows cannot act: it does not know one. But over plain TCP
//! on a loopback address it could *read* what needs none, under a name of its own that it has made to lead here (DNS
//! rebinding). Such a request names that host, and is refused. Under TLS there is no certificate for it.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use axum::http::header::{HOST, HeaderMap, ORIGIN};
use axum::http::uri::Authority;
use kernel::Denial;
use tokio::net::{TcpListener, TcpSocket};

use crate::socket::{BACKLOG, BindError};
use crate::{Tls, request};

/// An incarnation that was killed lets its port go a moment after the next one asks for it.
const BIND_TRIES: u32 = 100;
const BIND_PAUSE: Duration = Duration::from_millis(10);

/// Where to listen.
#[derive(Clone, Debug)]
pub struct Tcp {
    pub address: SocketAddr,
    /// None on a loopback address only.
    pub tls: Option<Tls>,
}

/// Listens, under TLS or for this machine alone.
///
/// # Errors
/// [`BindError::Unprotected`], [`BindError::PortInUse`] or [`BindError::Address`].
pub(crate) async fn bind(Tcp { address, tls }: Tcp) -> Result<(TcpListener, Option<Tls>), BindError> {
    if tls.is_none() && !is_loopback(address.ip()) {
        return Err(BindError::Unprotected { address });
    }
    for _ in 0..BIND_TRIES {
        match listen(address) {
            Ok(listener) => return Ok((listener, tls)),
            Err(error) if error.kind() == ErrorKind::AddrInUse => tokio::time::sleep(BIND_PAUSE).await,
            Err(source) => return Err(BindError::Address { address, source }),
        }
    }
    Err(BindError::PortInUse { address })
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Connections of an earlier daemon may linger; one that listens is in the way all the same.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

pub(crate) fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// What is wrong with a request over TCP before anybody looks at what it asks for.
pub(crate) fn foreign(headers: &HeaderMap, tls: bool) -> Option<Denial> {
    let named = headers.get(HOST).and_then(|host| host.to_str().ok()?.parse::<Authority>().ok());
    let Some(host) = named else {
        return Some(request::fault("http.host", "the request names no host", "send one Host header"));
    };
    if !tls && !is_this_machine(host.host()) {
        let shown: String = host.host().chars().take(80).collect();
        let remedy = "ask for localhost, 127.0.0.1 or [::1]; other names are for TLS";
        return Some(request::fault("http.host", format!("{shown} is not this machine"), remedy));
    }
    let own = |origin: &str| origin.split_once("://").is_some_and(|(_, from)| from == host.as_str());
    let from_elsewhere = headers.get(ORIGIN).is_some_and(|origin| !origin.to_str().is_ok_and(own));
    from_elsewhere.then(|| {
        request::fault("http.origin", "a page of another site sent this", "send no Origin, or that of this address")
    })
}

pub(crate) fn is_this_machine(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || bare.parse().is_ok_and(is_loopback)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn what_a_page_of_another_site_sends_is_told_from_what_a_program_sends() {
        for (row, host, origin, plain, tls) in [
            ("an address", Some("127.0.0.1:8443"), None, None, None),
            ("version 6", Some("[::1]:8443"), None, None, None),
            ("the name", Some("LocalHost:8443"), None, None, None),
            ("no port", Some("localhost"), None, None, None),
            ("none", None, None, Some("http.host"), Some("http.host")),
            ("nonsense", Some("a b"), None, Some("http.host"), Some("http.host")),
            ("rebound", Some("evil.example:8443"), None, Some("http.host"), None),
            ("in disguise", Some("localhost.evil.example"), None, Some("http.host"), None),
            ("another machine", Some("10.0.0.1:8443"), None, Some("http.host"), None),
            ("its own page", Some("127.0.0.1:8443"), Some("http://127.0.0.1:8443"), None, None),
            (
                "another site",
                Some("127.0.0.1:8443"),
                Some("https://evil.example"),
                Some("http.origin"),
                Some("http.origin"),
            ),
            (
                "another port",
                Some("127.0.0.1:8443"),
                Some("http://127.0.0.1:80"),
                Some("http.origin"),
                Some("http.origin"),
            ),
            ("a sandbox", Some("127.0.0.1:8443"), Some("null"), Some("http.origin"), Some("http.origin")),
        ] {
            let mut headers = HeaderMap::new();
            host.map(|host| headers.insert(HOST, HeaderValue::from_static(host)));
            origin.map(|origin| headers.insert(ORIGIN, HeaderValue::from_static(origin)));
            let code = |tls| foreign(&headers, tls).map(|denial| denial.code);
            assert_eq!((code(false).as_deref(), code(true).as_deref()), (plain, tls), "{row}");
        }
    }
}
