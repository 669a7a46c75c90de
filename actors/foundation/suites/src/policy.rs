//! Which suites each domain may use.
//!
//! A policy is asked before every operation, because operations are methods of its answers: [`Allowed`] makes something new,
//! [`Accepted`] checks what was made. Both borrow the policy, so neither outlives it: who wants to go on after a change asks
//! again.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use kernel::Refuse;

use crate::{Agreement, Cipher, Family, Hash, Kind, Named, Refusal, Signature, Suite, Unknown, Wrap};

/// No policy goes below this: what is weaker is broken by who can pay for it.
pub const FLOOR_BITS: u16 = 112;
/// What is made by default has at least this strength.
pub const DEFAULT_BITS: u16 = 128;

/// What something is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Domain {
    /// Several nodes that decide together.
    Consensus,
    /// Who is who: certificates, roots of tokens, witnesses, what others sign.
    Trust,
    /// Policies, approvals, receipts of what was proven.
    Governance,
    /// The authority's own: checkpoints, backups, what is sealed on disk.
    System,
}

/// Which suites each domain may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// By the order of [`Domain::ALL`].
    rules: [Rule; 4],
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    /// May make, the preferred one of a kind first.
    makes: Vec<Suite>,
    /// May be checked besides.
    checks: Vec<Suite>,
    bits: u16,
}

/// Leave to make something new with a suite, in a domain. It is given by a policy only, and does not outlive it:
///
/// ```compile_fail,E0597
/// let may_sign = {
///     let policy = suites::Policy::default();
///     policy.preferred::<suites::Signature>(suites::Domain::System)
/// };
/// may_sign.generate();
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Allowed<'p, S> {
    accepted: Accepted<'p, S>,
}

/// Leave to check, in a domain, what a suite has made.
#[derive(Clone, Copy, Debug)]
pub struct Accepted<'p, S> {
    suite: S,
    domain: Domain,
    policy: PhantomData<&'p Policy>,
}

/// Why a policy cannot be as it is written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    #[error(transparent)]
    Unknown(#[from] Unknown),
    #[error("a minimum of {bits} bits in the domain {domain} is under {FLOOR_BITS}, below which nothing is safe")]
    Floor { domain: Domain, bits: u16 },
    #[error("{suite} has {} bits, and the domain {domain} asks for {bits}", suite.bits())]
    TooWeak { suite: Suite, domain: Domain, bits: u16 },
    #[error("{suite} makes nothing new, and cannot be allowed in the domain {domain}")]
    ChecksOnly { suite: Suite, domain: Domain },
    #[error("{suite} is named twice in the domain {domain}")]
    Twice { suite: Suite, domain: Domain },
    #[error("no {kind} is allowed in the domain {domain}")]
    Nothing { kind: Kind, domain: Domain },
}

impl Domain {
    pub const ALL: [Self; 4] = [Self::Consensus, Self::Trust, Self::Governance, Self::System];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Consensus => "consensus",
            Self::Trust => "trust",
            Self::Governance => "governance",
            Self::System => "system",
        }
    }

    const fn number(self) -> usize {
        match self {
            Self::Consensus => 0,
            Self::Trust => 1,
            Self::Governance => 2,
            Self::System => 3,
        }
    }
}

/// 128 bits everywhere. Every domain hashes, seals, wraps and agrees with all that there is, and signs with Ed25519, ML-DSA-65
/// or both. Of the other signatures, which a bad source of randomness or a careless verifier breaks more easily, ECDSA P-384
/// is allowed in governance, and all of at least 128 bits are in trust, where others choose them.
impl Default for Policy {
    fn default() -> Self {
        let rule = |domain| {
            let more: &[Signature] = match domain {
                Domain::Consensus | Domain::System => &[],
                Domain::Governance => &[Signature::EcdsaP384],
                Domain::Trust => {
                    &[Signature::EcdsaP256, Signature::EcdsaP384, Signature::RsaPss3072, Signature::RsaPss4096]
                }
            };
            let own = [Signature::Ed25519, Signature::Ed25519MlDsa65, Signature::MlDsa65];
            let signatures = own.iter().chain(more).copied().map(Suite::from);
            let makes = Hash::all().map(Suite::from);
            let makes = makes.chain(Cipher::all().map(Suite::from)).chain(Wrap::all().map(Suite::from));
            let makes = makes.chain(signatures).chain(Agreement::all().map(Suite::from));
            Rule { makes: makes.collect(), checks: Vec::new(), bits: DEFAULT_BITS }
        };
        Self { rules: Domain::ALL.map(rule) }
    }
}

impl Policy {
    /// Sets what `domain` may use: it makes new things with the `allowed`, the first one of a kind preferred, and checks what
    /// those and the `accepted` have made. `bits` is the least strength of the allowed; the accepted are exceptions that
    /// somebody wrote down. Gives the names of which people should know something ([`Named::advice`]).
    ///
    /// # Errors
    /// [`PolicyError`], and the policy is as it was.
    pub fn set<'a>(
        &mut self,
        domain: Domain,
        bits: u16,
        allowed: impl IntoIterator<Item = &'a str>,
        accepted: impl IntoIterator<Item = &'a str>,
    ) -> Result<Vec<Named>, PolicyError> {
        if bits < FLOOR_BITS {
            return Err(PolicyError::Floor { domain, bits });
        }
        let mut rule = Rule { makes: Vec::new(), checks: Vec::new(), bits };
        let mut advised = Vec::new();
        let allowed = allowed.into_iter().map(|name| (name, true));
        for (name, makes) in allowed.chain(accepted.into_iter().map(|name| (name, false))) {
            let named = Suite::named(name)?;
            let suite = named.suite;
            if rule.makes.contains(&suite) || rule.checks.contains(&suite) {
                return Err(PolicyError::Twice { suite, domain });
            }
            match makes {
                true if !suite.makes() => return Err(PolicyError::ChecksOnly { suite, domain }),
                true if suite.bits() < bits => return Err(PolicyError::TooWeak { suite, domain, bits }),
                true => rule.makes.push(suite),
                false => rule.checks.push(suite),
            }
            advised.extend(named.advice().map(|_| named));
        }
        for kind in Kind::ALL {
            if !rule.makes.iter().any(|suite| suite.kind() == kind) {
                return Err(PolicyError::Nothing { kind, domain });
            }
        }
        self.rules[domain.number()] = rule;
        Ok(advised)
    }

    /// Leave to make something new.
    ///
    /// # Errors
    /// [`Refusal::ChecksOnly`], [`Refusal::NotAllowed`].
    pub fn allow<S: Family>(&self, domain: Domain, suite: S) -> Result<Allowed<'_, S>, Refusal> {
        let any = suite.into();
        if !any.makes() {
            return Err(Refusal::ChecksOnly { suite: any });
        }
        if !self.rules[domain.number()].makes.contains(&any) {
            return Err(Refusal::NotAllowed { suite: any, domain });
        }
        Ok(Allowed { accepted: Accepted { suite, domain, policy: PhantomData } })
    }

    /// Leave to check what was made.
    ///
    /// # Errors
    /// [`Refusal::NotAccepted`].
    pub fn accept<S: Family>(&self, domain: Domain, suite: S) -> Result<Accepted<'_, S>, Refusal> {
        let (any, rule) = (suite.into(), &self.rules[domain.number()]);
        if !rule.makes.contains(&any) && !rule.checks.contains(&any) {
            return Err(Refusal::NotAccepted { suite: any, domain });
        }
        Ok(Accepted { suite, domain, policy: PhantomData })
    }

    /// Leave to make something new with the suite that is preferred there.
    ///
    /// # Panics
    /// Never: a policy allows one of each kind in each domain.
    pub fn preferred<S: Family>(&self, domain: Domain) -> Allowed<'_, S> {
        let suite = self.makes(domain).find_map(S::of).expect("a policy allows one of each kind in each domain");
        Allowed { accepted: Accepted { suite, domain, policy: PhantomData } }
    }

    /// What may be made there, the preferred one of a kind first.
    pub fn makes(&self, domain: Domain) -> impl Iterator<Item = Suite> {
        self.rules[domain.number()].makes.iter().copied()
    }

    /// What is checked there besides, and not made.
    pub fn checks(&self, domain: Domain) -> impl Iterator<Item = Suite> {
        self.rules[domain.number()].checks.iter().copied()
    }

    /// The least strength of what is made there.
    pub fn bits(&self, domain: Domain) -> u16 {
        self.rules[domain.number()].bits
    }
}

impl<'p, S: Family> Allowed<'p, S> {
    pub fn suite(&self) -> S {
        self.accepted.suite
    }

    pub fn domain(&self) -> Domain {
        self.accepted.domain
    }

    /// What may be made may be checked.
    pub fn accepted(&self) -> Accepted<'p, S> {
        self.accepted
    }
}

impl<S: Family> Accepted<'_, S> {
    pub fn suite(&self) -> S {
        self.suite
    }

    pub fn domain(&self) -> Domain {
        self.domain
    }

    /// That what is `given` is of the suite that the policy was asked about.
    pub(crate) fn is_of(&self, given: S) -> Result<(), Refusal> {
        if self.suite == given {
            return Ok(());
        }
        Err(Refusal::OtherSuite { asked: self.suite.into(), given: given.into() })
    }
}

impl Refuse for PolicyError {
    fn code(&self) -> &'static str {
        match self {
            Self::Unknown(unknown) => unknown.code(),
            Self::Floor { .. } => "suites.policy_floor",
            Self::TooWeak { .. } => "suites.policy_too_weak",
            Self::ChecksOnly { .. } => "suites.policy_checks_only",
            Self::Twice { .. } => "suites.policy_twice",
            Self::Nothing { .. } => "suites.policy_nothing",
        }
    }

    fn remedy(&self) -> String {
        match self {
            Self::Unknown(unknown) => unknown.remedy(),
            Self::Floor { .. } => format!("ask for {DEFAULT_BITS} bits, which is the default"),
            Self::TooWeak { suite, .. } => {
                format!("name it among the accepted if {suite} is still to be checked, or lower the minimum")
            }
            Self::ChecksOnly { suite, .. } => {
                let instead = suite.sunset().map_or("another one", |sunset| sunset.instead);
                format!("name it among the accepted if {suite} is still to be checked, and allow {instead}")
            }
            Self::Twice { .. } => "name it once: what is allowed is accepted, too".to_owned(),
            Self::Nothing { kind, .. } => {
                let fits = |suite: &Suite| suite.kind() == *kind && suite.makes();
                let names: Vec<_> = Suite::ALL.into_iter().filter(fits).map(Suite::name).collect();
                format!("allow at least one of: {}", names.join(", "))
            }
        }
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A name that is no domain's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a domain is one of consensus, trust, governance and system")]
pub struct NoDomain;

impl FromStr for Domain {
    type Err = NoDomain;

    fn from_str(name: &str) -> Result<Self, NoDomain> {
        Self::ALL.into_iter().find(|domain| domain.name() == name).ok_or(NoDomain)
    }
}
