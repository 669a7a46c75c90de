//! An issuer of tokens elsewhere as an option names it: one line, `URL audience=… algorithms=… keys=…` and what else is pinned.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// Clocks differ by seconds; more would be another lifetime.
const LEEWAY_MAX: Duration = Duration::from_mins(5);
const DAY: Duration = Duration::from_hours(24);
const TEXT_MAX: usize = 256;

/// Whose tokens are believed, and which of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuer {
    /// As it stands in `iss`.
    pub name: String,
    /// That must stand in `aud`.
    pub audience: String,
    /// With which it signs; never by secrets.
    pub algorithms: Vec<Algorithm>,
    /// Where its keys are published.
    pub keys: KeysAt,
    /// Claims that must be there, perhaps with a value.
    pub claims: Vec<(String, Option<String>)>,
    /// How far its clock and ours may differ.
    pub leeway: Duration,
    /// How often its keys are read.
    pub refresh: Duration,
    /// For how long keys are believed that could not be read again.
    pub max_age: Duration,
}

/// Where keys are published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeysAt {
    File(PathBuf),
    /// Under TLS, or on this machine.
    Address(String),
}

/// Of signatures by a key whose other half everybody may know (RFC 7518, RFC 8037).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    Rs256,
    Es256,
    EdDsa,
}

impl Algorithm {
    const ALL: [Self; 3] = [Self::Rs256, Self::Es256, Self::EdDsa];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a text is no issuer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAnIssuer {
    #[error("it begins with no URL of 1 to {TEXT_MAX} characters")]
    Name,
    #[error("{0:?} is no NAME=VALUE that means something here")]
    Part(String),
    #[error("{0} is there twice")]
    Twice(&'static str),
    #[error("{0} is missing")]
    Missing(&'static str),
    #[error("{0} is no algorithm of signatures by public keys; there are RS256, ES256 and EdDSA")]
    Algorithm(String),
    #[error("{0} is neither the path of a file, nor https://…, nor http:// on this machine")]
    Keys(String),
    #[error("{name}={value} is no span from {min} to {max}")]
    Span { name: &'static str, value: String, min: String, max: String },
    #[error("max_age is shorter than refresh: keys would be too old before they are read again")]
    TooOld,
}

impl FromStr for Issuer {
    type Err = NotAnIssuer;

    fn from_str(text: &str) -> Result<Self, NotAnIssuer> {
        const NAMES: [&str; 7] = ["audience", "algorithms", "keys", "claims", "leeway", "refresh", "max_age"];
        let mut words = text.split_ascii_whitespace();
        let is_name = |name: &&str| name.contains("://") && name.len() <= TEXT_MAX && name.is_ascii();
        let name = words.next().filter(is_name).ok_or(NotAnIssuer::Name)?;
        let mut given: [Option<&str>; 7] = [None; 7];
        for word in words {
            let strange = || NotAnIssuer::Part(word.to_owned());
            let (name, value) = word.split_once('=').filter(|(_, value)| !value.is_empty()).ok_or_else(strange)?;
            let place = NAMES.iter().position(|known| *known == name).ok_or_else(strange)?;
            if given[place].replace(value).is_some() {
                return Err(NotAnIssuer::Twice(NAMES[place]));
            }
        }
        let needed = |place: usize| given[place].ok_or(NotAnIssuer::Missing(NAMES[place]));
        let algorithm = |text: &str| {
            let known = Algorithm::ALL.into_iter().find(|algorithm| algorithm.as_str() == text);
            known.ok_or_else(|| NotAnIssuer::Algorithm(text.to_owned()))
        };
        let claim = |text: &str| match text.split_once(':') {
            Some((name, value)) if !name.is_empty() && !value.is_empty() => {
                Ok((name.to_owned(), Some(value.to_owned())))
            }
            None if !text.is_empty() => Ok((text.to_owned(), None)),
            _ => Err(NotAnIssuer::Part(format!("claims={text}"))),
        };
        let span = |place: usize, usual: Duration, min: Duration, max: Duration| {
            let Some(value) = given[place] else { return Ok(usual) };
            let said = humantime::parse_duration(value).ok().filter(|said| (min..=max).contains(said));
            let written = |span| humantime::format_duration(span).to_string();
            said.ok_or_else(|| NotAnIssuer::Span {
                name: NAMES[place],
                value: value.to_owned(),
                min: written(min),
                max: written(max),
            })
        };
        let issuer = Self {
            name: name.to_owned(),
            audience: needed(0)?.to_owned(),
            algorithms: needed(1)?.split(',').map(algorithm).collect::<Result<_, _>>()?,
            keys: needed(2)?.parse()?,
            claims: given[3].map_or(Ok(Vec::new()), |all| all.split(',').map(claim).collect())?,
            leeway: span(4, Duration::from_secs(30), Duration::ZERO, LEEWAY_MAX)?,
            refresh: span(5, Duration::from_mins(10), Duration::from_secs(1), DAY)?,
            max_age: span(6, Duration::from_hours(1), Duration::from_secs(1), 7 * DAY)?,
        };
        if issuer.max_age < issuer.refresh { Err(NotAnIssuer::TooOld) } else { Ok(issuer) }
    }
}

impl FromStr for KeysAt {
    type Err = NotAnIssuer;

    fn from_str(text: &str) -> Result<Self, NotAnIssuer> {
        let Some((scheme, rest)) = text.split_once("://") else { return Ok(Self::File(PathBuf::from(text))) };
        let authority = rest.split(['/', '?']).next().unwrap_or_default();
        let host = match authority.rsplit_once(':') {
            Some((host, port)) if port.parse::<u16>().is_ok() => host,
            _ => authority,
        };
        let here = ["localhost", "127.0.0.1", "[::1]"].contains(&host);
        let plain = rest.bytes().all(|byte| byte.is_ascii_graphic()) && !rest.contains(['@', '#']) && !host.is_empty();
        match scheme {
            "https" if plain => Ok(Self::Address(text.to_owned())),
            "http" if plain && here => Ok(Self::Address(text.to_owned())),
            _ => Err(NotAnIssuer::Keys(text.to_owned())),
        }
    }
}
