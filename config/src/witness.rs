//! A witness as an option names it: the vkey of its cosignatures (C2SP signed-note, tlog-cosignature), and where it is asked.

use std::str::FromStr;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Ed25519 in the cosignatures of a witness.
const COSIGNATURE: u8 = 4;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    pub name: String,
    /// Of Ed25519.
    pub key: [u8; 32],
    /// What `add-checkpoint` is asked below, without a slash at its end; none if its cosignatures are brought by hand.
    pub address: Option<String>,
}

/// Why a text is no witness.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAWitness {
    #[error("it begins with no vkey, which is NAME+ID+KEY")]
    Malformed,
    #[error("the vkey is that of a log; a witness has one of its own for cosignatures")]
    Log,
    #[error("the vkey is of algorithm {0}; only Ed25519 cosignatures (4) are known")]
    Algorithm(u8),
    #[error("the vkey is damaged: its ID is not that of its name and key")]
    Id,
    #[error("{0} is no address of a witness, which is http:// or https://, a host, and perhaps a port and a path")]
    Address(String),
}

impl FromStr for Witness {
    type Err = NotAWitness;

    fn from_str(text: &str) -> Result<Self, NotAWitness> {
        let (vkey, address) = match text.split_once(' ') {
            Some((vkey, address)) => (vkey, Some(address)),
            None => (text, None),
        };
        let mut parts = vkey.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(NotAWitness::Malformed);
        };
        if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c.is_control()) || name.chars().count() > 128
        {
            return Err(NotAWitness::Malformed);
        }
        let bytes = STANDARD.decode(key).map_err(|_| NotAWitness::Malformed)?;
        let key = match bytes.split_first() {
            Some((&COSIGNATURE, key)) => key.try_into().map_err(|_| NotAWitness::Malformed)?,
            Some((1, _)) => return Err(NotAWitness::Log),
            Some((other, _)) => return Err(NotAWitness::Algorithm(*other)),
            None => return Err(NotAWitness::Malformed),
        };
        let hash = digest(&SHA256, &[name.as_bytes(), b"\n", &bytes].concat());
        let right = hash.as_ref().first_chunk().map(|id| format!("{:08x}", u32::from_be_bytes(*id)));
        if right.as_deref() != Some(id) {
            return Err(NotAWitness::Id);
        }
        let address = address.map(|text| address_of(text).ok_or_else(|| NotAWitness::Address(text.to_owned())));
        Ok(Self { name: name.to_owned(), key, address: address.transpose()? })
    }
}

/// The address that a text is, without the slash at its end: of HTTP, with a host, perhaps a port and a path, and nothing else.
pub fn address_of(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (host, port) = match authority.rsplit_once(':') {
        // A colon within the brackets of an IPv6 address is no port's.
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let is_name = |host: &str| !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || "-.".contains(c));
    let is_ip = |host: &str| {
        let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        inner.is_some_and(|inner| inner.parse::<std::net::Ipv6Addr>().is_ok())
    };
    let fits = ["http", "https"].contains(&scheme)
        && (is_name(host) || is_ip(host))
        && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|number| number != 0))
        && path.chars().all(|c| c.is_ascii_graphic() && !"?#\"<>\\^`{|}".contains(c));
    fits.then(|| text.trim_end_matches('/').to_owned())
}
