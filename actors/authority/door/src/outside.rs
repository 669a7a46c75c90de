//! What others vouch for: certificates of an authority, tokens of an issuer. Somebody else has found that it is they who
//! say it; here is judged whom it names, and until when.
//!
//! Who is named by nobody's credential, or by one that has ended, is a stranger: counted, and not recorded.

use std::sync::Arc;

use identity::{Credential, CredentialId, End, Identity, Proof};
use kernel::{Denial, Digest, Layer, Principal, Timestamp};

/// Pairs of name and value of a token's claims that are looked at.
pub const CLAIMS_MAX: usize = 256;

/// The certificate of the other end of a connection, of which the handshake has proven the key, and a path to each of the
/// authorities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// SHA-256 of it.
    pub fingerprint: Digest,
    /// SHA-256 of the certificates of those who vouch for it.
    pub authorities: Vec<Digest>,
    /// `uri:…` and `dns:…`.
    pub names: Vec<String>,
    /// First instant at which it is no longer good, by what stands in it.
    pub until: Timestamp,
}

/// What a token of an issuer elsewhere says, who has signed it and means us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreign {
    pub issuer: String,
    pub subject: String,
    /// Its claims that are texts, or lists of texts; at most [`CLAIMS_MAX`] pairs.
    pub claims: Vec<(String, String)>,
    /// First instant at which it is good.
    pub from: Timestamp,
    /// First instant at which it is no longer good.
    pub until: Timestamp,
    /// First instant at which the keys that its signature was checked with are too old to be believed.
    pub keys_until: Timestamp,
}

/// Why a token of an issuer elsewhere says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unread {
    /// It has the form of one, and none of its content.
    Malformed,
    /// Nobody whose word is believed.
    Issuer,
    /// Signed in another way than the issuer signs: with `none`, or with a secret that is no secret.
    Algorithm,
    /// Signed with a key that the issuer did not publish.
    Key,
    Signature,
    Audience,
    /// Without a claim that the issuer's must have.
    Claim,
    /// The issuer's keys could not be read for too long, or never.
    KeysStale,
}

impl Unread {
    /// Whether somebody has made it up: an honest bearer's is never so.
    pub(crate) fn is_forged(self) -> bool {
        matches!(self, Self::Malformed | Self::Algorithm | Self::Signature)
    }

    fn denial(self) -> Denial {
        let (code, reason, remedy) = match self {
            Self::Malformed => (
                "door.foreign_malformed",
                "the token has the form of a JWT, and cannot be read",
                "show it as the issuer gave it",
            ),
            Self::Issuer => (
                "door.foreign_issuer",
                "nobody here believes the issuer of this token",
                "show a key, or a token of an issuer that an operator names in http.issuers",
            ),
            Self::Algorithm => (
                "door.foreign_algorithm",
                "the token is not signed as its issuer signs",
                "get one of the issuer; an operator names its algorithms in http.issuers",
            ),
            Self::Key => (
                "door.foreign_key",
                "the token is signed with a key that its issuer has not published",
                "try again shortly if the issuer has just changed its keys, else get another token",
            ),
            Self::Signature => {
                ("door.foreign_signature", "the token's signature is wrong", "show it as the issuer gave it")
            }
            Self::Audience => (
                "door.foreign_audience",
                "the token is for somebody else",
                "ask the issuer for one with the audience that an operator has named in http.issuers",
            ),
            Self::Claim => (
                "door.foreign_claim",
                "the token lacks what those of its issuer must say",
                "ask the issuer for one with the claims that an operator has named in http.issuers",
            ),
            Self::KeysStale => (
                "door.foreign_keys_stale",
                "the keys of the token's issuer could not be read for too long",
                "see the log for why; an operator mends the way to the issuer's keys",
            ),
        };
        Denial::new(Layer::Authenticate, code, reason, remedy).rule("foreign token")
    }
}

/// Reads tokens of issuers elsewhere. Waits for nobody.
pub trait Issuers: Send + Sync {
    /// Which of those whose word is believed it claims to be of; nobody has looked at the signature.
    fn claimed(&self, token: &str) -> Option<u32>;

    /// What the one in this place is called.
    fn name(&self, place: u32) -> &str;

    /// What it says; of the times, only that they stand in it.
    ///
    /// # Errors
    /// See [`Unread`].
    fn read(&self, token: &str, now: Timestamp) -> Result<Foreign, Unread>;
}

/// Nobody's word is believed.
#[derive(Debug)]
pub(crate) struct Nobody;

impl Issuers for Nobody {
    fn claimed(&self, _: &str) -> Option<u32> {
        None
    }

    fn name(&self, _: u32) -> &'static str {
        ""
    }

    fn read(&self, _: &str, _: Timestamp) -> Result<Foreign, Unread> {
        Err(Unread::Issuer)
    }
}

impl Certificate {
    fn proofs(&self) -> Vec<Proof> {
        let own = Proof::Certificate(self.fingerprint);
        let names = self.authorities.iter().flat_map(|authority| {
            self.names.iter().map(|name| Proof::CertificateName { authority: *authority, name: name.clone() })
        });
        [own].into_iter().chain(names).collect()
    }

    /// Whom it names.
    ///
    /// # Errors
    /// The denial of a stranger.
    pub(crate) fn named(&self, identity: &Identity, now: Timestamp) -> Result<(CredentialId, Principal), Denial> {
        let rule = format!("certificate {}", self.fingerprint);
        if self.until <= now {
            let denial = stranger("door.certificate_expired", "the certificate has expired", "get a new certificate");
            return Err(denial.rule(rule));
        }
        // What is said of this very certificate holds, whatever its names are: so one that was stolen is revoked alone.
        let mut proofs = self.proofs();
        if identity.by_proof(&proofs[0]).is_some() {
            proofs.truncate(1);
        }
        one(identity, &proofs, now).map_err(|lack| {
            let (code, reason, remedy) = match lack {
                Lack::Nobody => (
                    "door.certificate_unknown",
                    "the certificate names nobody who is known here",
                    "an operator makes a credential of it: `sop security credentials --create PRINCIPAL --certificate FILE`",
                ),
                Lack::Ended(End::Revoked) => (
                    "door.certificate_revoked",
                    "the credential for this certificate was revoked",
                    "get a new certificate; an operator makes a credential of it",
                ),
                Lack::Ended(End::Expired) => (
                    "door.certificate_expired",
                    "the credential for this certificate has expired",
                    "get a new certificate; an operator makes a credential of it",
                ),
                Lack::Several => (
                    "door.certificate_ambiguous",
                    "the certificate names more than one who is known here",
                    "an operator revokes the credentials that it should not name: `sop security credentials --list`",
                ),
            };
            stranger(code, reason, remedy).rule(rule)
        })
    }
}

impl Foreign {
    fn proofs(&self) -> Vec<Proof> {
        let of = |claim| Proof::Foreign { issuer: self.issuer.clone(), subject: self.subject.clone(), claim };
        let claims = self.claims.iter().take(CLAIMS_MAX).map(|claim| of(Some(claim.clone())));
        [of(None)].into_iter().chain(claims).collect()
    }

    /// Whom it names.
    ///
    /// # Errors
    /// The denial of a stranger.
    pub(crate) fn named(&self, identity: &Identity, now: Timestamp) -> Result<(CredentialId, Principal), Denial> {
        let rule = format!("issuer {}", self.issuer);
        let untimely = if self.keys_until <= now {
            return Err(Unread::KeysStale.denial());
        } else if now < self.from {
            Some(("door.foreign_not_yet", "the token is not good yet", "wait, or set the clock right"))
        } else if self.until <= now {
            Some(("door.foreign_expired", "the token has expired", "get a new one of its issuer"))
        } else {
            None
        };
        if let Some((code, reason, remedy)) = untimely {
            return Err(stranger(code, reason, remedy).rule(rule));
        }
        one(identity, &self.proofs(), now).map_err(|lack| {
            let (code, reason, remedy) = match lack {
                Lack::Nobody => (
                    "door.foreign_unknown",
                    "the token's subject is nobody who is known here",
                    "an operator makes a credential of it: `sop security credentials --create PRINCIPAL --issuer URL --subject NAME`",
                ),
                Lack::Ended(End::Revoked) => (
                    "door.foreign_revoked",
                    "the credential for the token's subject was revoked",
                    "ask an operator for another",
                ),
                Lack::Ended(End::Expired) => (
                    "door.foreign_ended",
                    "the credential for the token's subject has expired",
                    "ask an operator for another",
                ),
                Lack::Several => (
                    "door.foreign_ambiguous",
                    "the token names more than one who is known here",
                    "an operator revokes the credentials that it should not name: `sop security credentials --list`",
                ),
            };
            stranger(code, reason, remedy).rule(rule)
        })
    }
}

/// Why nobody is named.
enum Lack {
    Nobody,
    Ended(End),
    Several,
}

/// The one who is named by credentials that have not ended.
fn one(identity: &Identity, proofs: &[Proof], now: Timestamp) -> Result<(CredentialId, Principal), Lack> {
    let known: Vec<(CredentialId, &Credential)> = proofs.iter().filter_map(|proof| identity.by_proof(proof)).collect();
    let mut good = known.iter().filter(|(_, known)| known.ended(now).is_none());
    let Some((id, first)) = good.next() else {
        return Err(known.first().and_then(|(_, known)| known.ended(now)).map_or(Lack::Nobody, Lack::Ended));
    };
    if good.any(|(_, other)| other.principal != first.principal) {
        return Err(Lack::Several);
    }
    Ok((*id, first.principal.clone()))
}

fn stranger(code: &str, reason: &str, remedy: &str) -> Denial {
    Denial::new(Layer::Authenticate, code, reason, remedy)
}

/// A token of an issuer elsewhere as it was read, for the judge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read(pub Result<Arc<Foreign>, Unread>);

impl Read {
    pub(crate) fn named(&self, identity: &Identity, now: Timestamp) -> Result<(CredentialId, Principal), Denial> {
        self.0.as_ref().map_err(|unread| unread.denial())?.named(identity, now)
    }

    pub(crate) fn is_forged(&self) -> bool {
        self.0.as_ref().is_err_and(|unread| unread.is_forged())
    }
}

/// When time alone next changes whom a certificate or a token names.
pub(crate) fn changes_at(
    identity: &Identity,
    certificate: Option<&Certificate>,
    foreign: Option<&Foreign>,
) -> impl Iterator<Item = Timestamp> {
    let certified = certificate.map(|shown| (shown.proofs(), vec![shown.until]));
    let said = foreign.map(|said| (said.proofs(), vec![said.from, said.until, said.keys_until]));
    certified.into_iter().chain(said).flat_map(|(proofs, times)| {
        let credentials = proofs.into_iter().filter_map(|proof| identity.by_proof(&proof)?.1.until);
        credentials.chain(times).collect::<Vec<_>>()
    })
}
