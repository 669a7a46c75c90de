//! Where the root key comes from when the authority starts.

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use rustix::fs::{Mode, OFlags};
use suites::Secret;

use crate::lines::unhex;
use crate::{Given, KeystoreError};

/// Where systemd puts the credentials of a service.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";
/// 64 digits and the end of their line.
const DIGITS: usize = 64;

/// As it stands in configuration: `file:/etc/sop/root.key`, `credential:sop-root`, `env:SOP_PASSPHRASE` or `shares`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// 64 hexadecimal digits in a file of its owner's, who is who runs this, and nobody else's.
    File(PathBuf),
    /// The same as a credential of systemd.
    Credential(String),
    /// A passphrase in a variable of the environment.
    Environment(String),
    /// People bring it, once the authority runs.
    Shares,
}

/// A text that names no source.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a root key is from file:PATH, credential:NAME, env:VARIABLE, or shares")]
pub struct NoSource;

impl Source {
    /// What is there; `None` if there is nothing now, and the store stays sealed. `variable` looks into the environment.
    ///
    /// # Errors
    /// [`KeystoreError`] of what is there and cannot be used.
    pub fn fetch(&self, variable: impl Fn(&str) -> Option<OsString>) -> Result<Option<Given>, KeystoreError> {
        match self {
            Self::File(path) => Ok(key(path, 0o077, false)?.map(Given::Key)),
            Self::Credential(name) => {
                let Some(directory) = variable(CREDENTIALS) else { return Ok(None) };
                // A service under another user reads its credentials by an access list, which shows as a group's.
                Ok(key(&PathBuf::from(directory).join(name), 0o007, true)?.map(Given::Key))
            }
            Self::Environment(name) => Ok(variable(name).map(|text| Given::Passphrase(Secret::new(text.into_vec())))),
            Self::Shares => Ok(None),
        }
    }
}

/// The key in a file, none of whose `forbidden` bits of mode is set.
fn key(path: &Path, forbidden: u32, or_of_root: bool) -> Result<Option<Secret>, KeystoreError> {
    let failed = |why: std::io::Error| KeystoreError::Io { path: path.to_owned(), why };
    // Neither another file in its place, nor a pipe to wait for.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let mut file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(rustix::io::Errno::LOOP) => return Err(KeystoreError::NoPlainFile { path: path.to_owned() }),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error.into())),
    };
    let about = file.metadata().map_err(failed)?;
    if !about.is_file() {
        return Err(KeystoreError::NoPlainFile { path: path.to_owned() });
    }
    if about.mode() & forbidden != 0 {
        return Err(KeystoreError::Exposed { path: path.to_owned(), mode: about.mode() & 0o7777 });
    }
    let owner = about.uid();
    if owner != rustix::process::geteuid().as_raw() && !(or_of_root && owner == 0) {
        return Err(KeystoreError::NotOurs { path: path.to_owned(), owner });
    }
    let mut bytes = vec![0; DIGITS + 2];
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read(&mut bytes[filled..]) {
            Ok(0) => break,
            Ok(more) => filled += more,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => {
                drop(Secret::new(bytes));
                return Err(failed(error));
            }
        }
    }
    let read = Secret::new(bytes);
    let text = &read.expose()[..filled];
    let digits = str::from_utf8(text.strip_suffix(b"\n").unwrap_or(text)).ok().filter(|text| text.len() == DIGITS);
    let secret = digits.and_then(unhex).map(Secret::new);
    secret.map(Some).ok_or(KeystoreError::BadRoot)
}

impl FromStr for Source {
    type Err = NoSource;

    fn from_str(text: &str) -> Result<Self, NoSource> {
        let source = match text.split_once(':') {
            Some(("file", path)) if path.starts_with('/') => Self::File(path.into()),
            Some(("credential", name)) if is_name(name, "-.") => Self::Credential(name.to_owned()),
            Some(("env", name)) if is_name(name, "") => Self::Environment(name.to_owned()),
            None if text == "shares" => Self::Shares,
            _ => return Err(NoSource),
        };
        Ok(source)
    }
}

/// Which no path is, and no way out of a directory.
fn is_name(name: &str, more: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || more.contains(c);
    !name.is_empty() && name.len() <= 255 && !name.starts_with('.') && name.chars().all(fits)
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Credential(name) => write!(f, "credential:{name}"),
            Self::Environment(name) => write!(f, "env:{name}"),
            Self::Shares => f.write_str("shares"),
        }
    }
}
