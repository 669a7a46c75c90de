//! The bearer form of a token: a Biscuit, minted once the token is on record, which whoever has the public key can verify
//! without asking anybody, and which its holder can narrow without asking anybody.
//!
//! ```text
//! block 0    by the authority    what the token is ([`Claims`]), and a check of each of its bounds
//! block 1…   by any holder       fewer places, operations, targets or requests, or a nearer end ([`Narrower`])
//! …          by a named holder   the same, signed with a key of his own: who hands it on to whom ([`Hop`])
//! ```
//!
//! What is verified so is that the authority issued it, for what, and what was taken off since. It names the version of the
//! authority's key that signed it, if that has versions; nobody signed this name, so another one in its place finds another key, and no
//! good signature. Whether it was revoked, or its key, and whether it has uses left, is known to the registry alone: [`Cache`] asks
//! it, and remembers under its count of revocations.
//!
//! # Invariants
//! 1. What a token is stands in block 0 alone: no later block is read for it, nor can one add to what is permitted.
//! 2. All that stands in a block is bounded in number and has no rules, scopes and closures, so that what a request costs is bounded by
//!    form. The clock of the engine is set so that it never says no to what has the form; if it does, that is [`Refusal::Busy`],
//!    which is no verdict on the token.
//! 3. A verdict is remembered under a count of revocations that was read before the registry was looked at, and used only while
//!    the count is the same and the token has not expired. Refusals are not remembered.
//! 4. No key, and no token, is in an error or in what `Debug` prints.

mod cache;
mod form;
mod key;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use biscuit_auth::builder::{Term, date, fact, string};
use biscuit_auth::{AuthorizerBuilder, AuthorizerLimits, Biscuit, BiscuitBuilder, UnverifiedBiscuit, error};
use kernel::{Digest, Principal, Refuse, Timestamp, TokenId};
use std::cell::Cell;
use std::convert::Infallible;
use std::fmt;
use std::time::{Duration, SystemTime};

pub use cache::{Cache, Checked, Registry};
pub use form::{BLOCKS_MAX, Hop, Says};
pub use key::{Key, PublicKey};

/// How the text of a bearer form begins, so that a leaked one is recognised.
pub const PREFIX: &str = "sop_bt_";
/// No bearer form is longer, in bytes.
pub const TEXT_MAX: usize = 16 << 10;

/// How long the engine may take. No token of the form takes a thousandth of it on an idle machine.
const TIME_MAX: Duration = Duration::from_secs(10);
const FACTS_MAX: u64 = 1_000;
const ROUNDS_MAX: u64 = 100;

/// What a token is, as the authority says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// The token of the registry.
    pub id: TokenId,
    pub kind: String,
    pub subject: Principal,
    pub issuer: Principal,
    pub audience: String,
    pub operation: String,
    pub target: Option<String>,
    pub request: Option<Digest>,
    pub todo: Option<u64>,
    /// First instant at which it is valid. To the second in which that is, as the engine has no other; the registry is exact.
    pub starts_at: Timestamp,
    /// First instant at which it is no longer valid. To the second as well, so never later than the registry's.
    pub expires_at: Timestamp,
}

/// What a holder takes off. What is not given stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Narrower {
    pub audience: Option<String>,
    pub operation: Option<String>,
    pub target: Option<String>,
    pub request: Option<Digest>,
    /// First instant at which it is no longer valid.
    pub until: Option<Timestamp>,
    /// Who hands it on, and to whom.
    pub hop: Option<(Principal, Principal)>,
}

/// What it is to be used for. A bound on what is not said is not met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Use<'a> {
    pub audience: &'a str,
    pub operation: &'a str,
    /// What the operation is a part of, if it is one: that is done, too.
    pub work: Option<&'a str>,
    pub target: Option<&'a str>,
    pub request: Option<Digest>,
    pub now: Timestamp,
}

/// Why not. Worded for whoever shows the token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("this is no bearer form of a token")]
    Malformed,
    #[error("no key of this authority signed it, or it was changed since")]
    Forged,
    #[error("it says more, or in another form, than a token of this authority does")]
    Strange,
    #[error("the token is not good for that: {failed}")]
    NotFor { failed: String },
    #[error("the token expired")]
    Expired { at: Timestamp },
    #[error("a part of what narrows the token does not fit into it")]
    BadNarrowing,
    #[error("it is narrowed or handed on {BLOCKS_MAX} times at most, and {TEXT_MAX} bytes long at most")]
    TooLong,
    #[error("the engine had no time for it")]
    Busy,
    #[error("it was handed on to {holder}")]
    OtherHolder { holder: Principal },
    #[error(
        "the hand {number} that it went through is not of who had it then, or not signed with a key known to be his"
    )]
    BrokenChain { number: usize },
}

impl Refuse for Refusal {
    fn code(&self) -> &'static str {
        match self {
            Self::Malformed => "bearer.malformed",
            Self::Forged => "bearer.forged",
            Self::Strange => "bearer.strange",
            Self::NotFor { .. } => "bearer.not_for",
            Self::Expired { .. } => "bearer.expired",
            Self::BadNarrowing => "bearer.bad_narrowing",
            Self::TooLong => "bearer.too_long",
            Self::Busy => "bearer.busy",
            Self::OtherHolder { .. } => "bearer.other_holder",
            Self::BrokenChain { .. } => "bearer.broken_chain",
        }
    }

    fn remedy(&self) -> String {
        match self {
            Self::Malformed => "Show the whole text, which begins with sop_bt_.",
            Self::Forged => "Verify it with the key of the authority that issued it: `sop token key`.",
            Self::Strange => "Narrow it with `sop token attenuate`, which writes no other form.",
            Self::NotFor { .. } => "Use it for what it says (`sop token inspect`), or ask for another one.",
            Self::Expired { .. } => "Ask for a new token.",
            Self::BadNarrowing => "Give names of one line, and an instant after 1970.",
            Self::TooLong => "Ask for a token of its own.",
            Self::Busy => "Try again.",
            Self::OtherHolder { .. } => {
                "Have it handed on: `sop token attenuate --from WHO --to WHO --sign-with FILE`."
            }
            Self::BrokenChain { .. } => "Have each who hands it on sign that, and name whose key is whose.",
        }
        .to_string()
    }
}

/// A token whose signatures are good. What it says is still to be read.
pub struct Signed(Biscuit);

/// A token that was read.
pub struct Carried {
    biscuit: Biscuit,
    says: Says,
}

impl fmt::Debug for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Carried")
            .field("claims", &self.says.claims)
            .field("hops", &self.says.hops)
            .finish_non_exhaustive()
    }
}

/// Writes down what the authority issued.
///
/// # Panics
/// If the claims do not have the form of what the registry issues.
pub fn mint(key: &Key, claims: &Claims) -> String {
    let block = form::authority(claims).expect("what the registry issues fits into a token");
    let builder = BiscuitBuilder::new().merge(block);
    let builder = key.version().into_iter().fold(builder, BiscuitBuilder::root_key_id);
    let biscuit = builder.build(key.pair()).expect("a key of this form signs");
    text(&biscuit.to_vec().expect("what was built is written"))
}

/// Takes something off, and says so. Needs no key; with a key, the block is signed with it.
///
/// # Errors
/// [`Refusal::Malformed`], [`Refusal::BadNarrowing`] or [`Refusal::TooLong`]. The signatures are not looked at: that takes the
/// authority's key.
pub fn attenuate(bearer: &str, narrower: &Narrower, signer: Option<&Key>) -> Result<String, Refusal> {
    let biscuit = UnverifiedBiscuit::from(bytes(bearer)?).map_err(|_| Refusal::Malformed)?;
    if BLOCKS_MAX <= biscuit.block_count() {
        return Err(Refusal::TooLong);
    }
    let block = form::narrower(narrower)?;
    let longer = match signer {
        None => biscuit.append(block).map_err(|_| Refusal::Malformed)?,
        Some(key) => {
            let malformed = |_: error::Token| Refusal::Malformed;
            let request = biscuit.third_party_request().map_err(malformed)?;
            let theirs = request.create_block(&key.pair().private(), block).map_err(malformed)?;
            biscuit.append_third_party(&theirs.serialize().map_err(malformed)?).map_err(malformed)?
        }
    };
    let text = text(&longer.to_vec().map_err(|_| Refusal::Malformed)?);
    if TEXT_MAX < text.len() { Err(Refusal::TooLong) } else { Ok(text) }
}

/// Whether the text has the form of what [`mint`] writes; cheap.
pub fn is_bearer(text: &str) -> bool {
    text.starts_with(PREFIX)
}

impl Signed {
    /// Checks every signature.
    ///
    /// # Errors
    /// [`Refusal::Malformed`], [`Refusal::TooLong`] or [`Refusal::Forged`].
    pub fn check(bearer: &str, key: &PublicKey) -> Result<Self, Refusal> {
        Self::check_with(bearer, |_| Ok::<_, Infallible>(*key)).map_err(|no| match no {
            Checked::Refused(refusal) => refusal,
            Checked::Denied(never) => match never {},
        })
    }

    /// As [`Signed::check`], with the key that `find` gives for the version that it names; before anything was verified.
    ///
    /// # Errors
    /// As [`Signed::check`], and what `find` says.
    pub fn check_with<N>(bearer: &str, find: impl Fn(Option<u32>) -> Result<PublicKey, N>) -> Result<Self, Checked<N>> {
        let bytes = bytes(bearer).map_err(Checked::Refused)?;
        let denied = Cell::new(None);
        let find = |version| {
            find(version).map(|key| key.0).map_err(|no| {
                denied.set(Some(no));
                error::Format::UnknownPublicKey
            })
        };
        let checked = Biscuit::from(bytes, find);
        if let Some(no) = denied.take() {
            return Err(Checked::Denied(no));
        }
        checked.map(Self).map_err(|error| {
            Checked::Refused(match error {
                error::Token::Format(
                    error::Format::Signature(_) | error::Format::SealedSignature | error::Format::UnknownPublicKey,
                ) => Refusal::Forged,
                _ => Refusal::Malformed,
            })
        })
    }

    /// Reads what it says.
    ///
    /// # Errors
    /// [`Refusal::Strange`] or [`Refusal::TooLong`].
    pub fn read(self) -> Result<Carried, Refusal> {
        let says = form::read(&self.0)?;
        Ok(Carried { biscuit: self.0, says })
    }
}

impl Carried {
    /// Checks the signatures, and reads it.
    ///
    /// # Errors
    /// As [`Signed::check`] and [`Signed::read`].
    pub fn verify(bearer: &str, key: &PublicKey) -> Result<Self, Refusal> {
        Signed::check(bearer, key)?.read()
    }

    /// As [`Carried::verify`], with the key that is found for it.
    ///
    /// # Errors
    /// As [`Signed::check_with`] and [`Signed::read`].
    pub fn verify_with<N>(
        bearer: &str,
        find: impl Fn(Option<u32>) -> Result<PublicKey, N>,
    ) -> Result<Self, Checked<N>> {
        Signed::check_with(bearer, find)?.read().map_err(Checked::Refused)
    }

    /// Whether somebody took something off, or handed it on, since it was minted.
    pub fn is_narrowed(&self) -> bool {
        !self.says.narrowed.is_empty()
    }

    pub fn says(&self) -> &Says {
        &self.says
    }

    pub fn claims(&self) -> &Claims {
        &self.says.claims
    }

    /// Whether it is good for that, as far as it says itself.
    ///
    /// # Errors
    /// [`Refusal::Expired`], [`Refusal::NotFor`] with what is not met, or [`Refusal::Busy`].
    pub fn permits(&self, wanted: &Use<'_>) -> Result<(), Refusal> {
        if self.says.claims.expires_at <= wanted.now {
            return Err(Refusal::Expired { at: self.says.claims.expires_at });
        }
        let limits = AuthorizerLimits { max_facts: FACTS_MAX, max_iterations: ROUNDS_MAX, max_time: TIME_MAX };
        let said = [
            Some((form::AT, string(wanted.audience))),
            Some((form::DOES, string(wanted.operation))),
            wanted.work.map(|work| (form::DOES, string(work))),
            wanted.target.map(|target| (form::ON, string(target))),
            wanted.request.map(|request| (form::PAYS, string(&request.to_string()))),
            Some((form::TIME, instant(wanted.now))),
        ];
        let strange = |_| Refusal::Strange;
        let mut builder = AuthorizerBuilder::new().set_limits(limits);
        for (name, term) in said.into_iter().flatten() {
            builder = builder.fact(fact(name, &[term])).map_err(strange)?;
        }
        let builder = builder.policy("allow if true").map_err(strange)?;
        match builder.build(&self.biscuit).and_then(|mut authorizer| authorizer.authorize()) {
            Ok(_) => Ok(()),
            Err(error::Token::FailedLogic(why)) => Err(Refusal::NotFor { failed: form::failed(&why) }),
            Err(error::Token::RunLimit(_)) => Err(Refusal::Busy),
            Err(_) => Err(Refusal::Strange),
        }
    }
}

/// Reads a token whose key is not at hand. Nothing of it is known to be true.
///
/// # Errors
/// [`Refusal::Malformed`], [`Refusal::Strange`] or [`Refusal::TooLong`].
pub fn inspect(bearer: &str) -> Result<Says, Refusal> {
    form::read_unverified(&UnverifiedBiscuit::from(bytes(bearer)?).map_err(|_| Refusal::Malformed)?)
}

/// To the second, as the engine has it.
fn instant(at: Timestamp) -> Term {
    date(&(SystemTime::UNIX_EPOCH + Duration::from_secs(at.0 / 1_000)))
}

fn text(bytes: &[u8]) -> String {
    format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
}

fn bytes(text: &str) -> Result<Vec<u8>, Refusal> {
    if TEXT_MAX < text.len() {
        return Err(Refusal::TooLong);
    }
    let encoded = text.strip_prefix(PREFIX).ok_or(Refusal::Malformed)?;
    URL_SAFE_NO_PAD.decode(encoded).map_err(|_| Refusal::Malformed)
}
