//! Who is at the other end, as a certificate says it: the handshake has proven the key and the path to an authority; here
//! is read what the certificate says.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use kernel::{Digest, Timestamp};
use tokio_rustls::rustls::pki_types::{CertificateDer, UnixTime};
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use webpki::EndEntityCert;

/// Names that are looked at, and the bytes of each; further and longer ones name nobody.
const NAMES_MAX: usize = 16;
const NAME_MAX: usize = 256;

/// The tag of a certificate's version, which those of version 1 lack.
const VERSION: u8 = 0xa0;
/// Counted in days since the first of March of the year 0.
const FIRST_OF_1970: u64 = 719_468;

/// The certificate that a client has shown, and whose key it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerCertificate {
    /// SHA-256 of the certificate.
    pub fingerprint: Digest,
    /// SHA-256 of the certificates of those who vouch for it, out of the ones that are believed.
    pub authorities: Vec<Digest>,
    /// Its names, `uri:…` and `dns:…`.
    pub names: Vec<String>,
    /// First instant at which it is no longer good, by what stands in it.
    pub until: Timestamp,
}

/// One of those whose word is believed.
pub(crate) struct Authority {
    pub fingerprint: Digest,
    /// Believes nobody else.
    pub verifier: Arc<dyn ClientCertVerifier>,
}

pub(crate) fn fingerprint(certificate: &CertificateDer<'_>) -> Digest {
    let mut fingerprint = [0; 32];
    fingerprint.copy_from_slice(digest(&SHA256, certificate).as_ref());
    Digest(fingerprint)
}

impl PeerCertificate {
    /// What the chain of a finished handshake says.
    pub(crate) fn read(chain: &[CertificateDer<'_>], authorities: &[Authority]) -> Option<Self> {
        let (own, others) = chain.split_first()?;
        let parsed = EndEntityCert::try_from(own).ok()?;
        let vouches =
            |authority: &&Authority| authority.verifier.verify_client_cert(own, others, UnixTime::now()).is_ok();
        let names = parsed.valid_uri_names().map(|name| format!("uri:{name}"));
        let names = names.chain(parsed.valid_dns_names().map(|name| format!("dns:{name}")));
        Some(Self {
            fingerprint: fingerprint(own),
            authorities: authorities.iter().filter(vouches).map(|authority| authority.fingerprint).collect(),
            names: names.filter(|name| name.len() <= NAME_MAX).take(NAMES_MAX).collect(),
            until: not_after(own)?,
        })
    }
}

/// The second time of the validity (RFC 5280, 4.1): the handshake looked at it once, and a connection may stay open longer.
fn not_after(certificate: &[u8]) -> Option<Timestamp> {
    let (_, certificate, _) = element(certificate)?;
    let (_, mut fields, _) = element(certificate)?;
    if fields.first() == Some(&VERSION) {
        (_, _, fields) = element(fields)?;
    }
    // Serial number, algorithm, issuer.
    for _ in 0..3 {
        (_, _, fields) = element(fields)?;
    }
    let (_, validity, _) = element(fields)?;
    let (_, _, rest) = element(validity)?;
    let (tag, time, _) = element(rest)?;
    moment(tag, time)
}

/// The first element of DER: its tag, its content, and what follows it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, length], rest) = der.split_first_chunk()?;
    let (length, rest) = match length {
        0..=0x7f => (usize::from(length), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
            (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// The instant after a time of the form `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ`, which is its last second.
fn moment(tag: u8, text: &[u8]) -> Option<Timestamp> {
    const UTC_TIME: u8 = 0x17;
    const GENERALIZED_TIME: u8 = 0x18;
    let text = str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let text = match tag {
        UTC_TIME if text.len() == 12 => format!("{}{text}", if text < "50" { "20" } else { "19" }),
        GENERALIZED_TIME if text.len() == 14 => text.to_owned(),
        _ => return None,
    };
    let part = |from: usize, to: usize| text.get(from..to)?.parse::<u64>().ok();
    let (year, month, day) = (part(0, 4)?, part(4, 6)?, part(6, 8)?);
    let (hour, minute, second) = (part(8, 10)?, part(10, 12)?, part(12, 14)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || year < 1970 {
        return None;
    }
    // Years that begin with March: the day that is not always there is the last one.
    let (year, month) = if month < 3 { (year - 1, month + 9) } else { (year, month - 3) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1;
    let seconds = (((days - FIRST_OF_1970) * 24 + hour) * 60 + minute) * 60 + second;
    Some(Timestamp((seconds + 1) * 1_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_certificates_are_read() {
        let at = |tag, text: &str| moment(tag, text.as_bytes()).map(|at| at.0 / 1_000 - 1);
        for (tag, text, seconds) in [
            (0x17, "700101000000Z", Some(0)),
            (0x17, "231114221320Z", Some(1_700_000_000)),
            (0x18, "20240229235959Z", Some(1_709_251_199)),
            (0x18, "20240301000000Z", Some(1_709_251_200)),
            (0x18, "99991231235959Z", Some(253_402_300_799)),
            (0x17, "20240301000000Z", None),
            (0x18, "240301000000Z", None),
            (0x17, "240301000000", None),
            (0x17, "241301000000Z", None),
            (0x02, "240301000000Z", None),
        ] {
            assert_eq!(at(tag, text), seconds, "{tag:02x} {text}");
        }
    }

    #[test]
    fn what_is_cut_short_is_not_read() {
        for der in [&b""[..], &[0x30], &[0x30, 5, 1], &[0x30, 0x82, 1], &[0x30, 0x80], &[0x30, 0x85, 0, 0, 0, 0, 1, 1]]
        {
            assert_eq!(element(der), None, "{der:02x?}");
            assert_eq!(not_after(der), None, "{der:02x?}");
        }
        let name = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let whole = name.cert.der();
        assert!(not_after(whole).is_some());
        for end in 0..whole.len() {
            assert_eq!(not_after(&whole[..end]), None, "{end} bytes of {}", whole.len());
        }
    }
}
