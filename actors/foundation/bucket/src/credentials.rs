//! Who asks the store, from the environment or from a file that nobody else may read.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use config::Address;
use vault::{Trouble, VaultError};

use crate::remote;

/// Longer is no file of credentials.
const FILE_MAX: u64 = 64 << 10;

const ID: &str = "aws_access_key_id";
const SECRET: &str = "aws_secret_access_key";
const TOKEN: &str = "aws_session_token";

/// An access key.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    pub(crate) id: String,
    pub(crate) secret: String,
    pub(crate) token: Option<String>,
}

/// Says nothing.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials")
    }
}

impl Credentials {
    pub fn new(id: &str, secret: &str, token: Option<&str>) -> Self {
        Self { id: id.to_owned(), secret: secret.to_owned(), token: token.map(str::to_owned) }
    }

    /// Those in `file`, else those of the environment: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`.
    ///
    /// # Errors
    /// [`VaultError::Remote`] with [`Trouble::Credentials`]; it names the file and the line, and nothing that is in it.
    pub fn find(
        address: &Address,
        file: Option<&Path>,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, VaultError> {
        let wrong = |why: String| remote(address, Trouble::Credentials, why);
        let found = if let Some(file) = file {
            let text = read(file).map_err(|why| wrong(format!("{}: {why}", file.display())))?;
            parse(&text).map_err(|why| wrong(format!("{}: {why}", file.display())))?
        } else {
            [ID, SECRET, TOKEN].map(|name| environment(&name.to_uppercase()).filter(|value| !value.is_empty()))
        };
        match found {
            [Some(id), Some(secret), token] => Ok(Self { id, secret, token }),
            _ if file.is_some() => Err(wrong(format!("the file does not have both {ID} and {SECRET}"))),
            _ => Err(wrong("neither a file nor AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are given".to_owned())),
        }
    }
}

fn read(path: &Path) -> Result<String, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let known = file.metadata().map_err(|error| error.to_string())?;
    if !known.is_file() {
        return Err("it is no file".to_owned());
    }
    let us = rustix::process::geteuid().as_raw();
    if known.uid() != us && known.uid() != 0 {
        return Err("it belongs to another user".to_owned());
    }
    if known.mode() & 0o077 != 0 {
        return Err(format!("others may read it: its mode is {:o}, and is to be 600", known.mode() & 0o777));
    }
    let mut text = String::new();
    file.take(FILE_MAX + 1).read_to_string(&mut text).map_err(|_| "it is no text".to_owned())?;
    if FILE_MAX < text.len() as u64 { Err("it is too long".to_owned()) } else { Ok(text) }
}

/// The form of `~/.aws/credentials`, of which the section `default` counts.
fn parse(text: &str) -> Result<[Option<String>; 3], String> {
    let mut found = [None, None, None];
    let mut counts = true;
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(section) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            counts = section.trim() == "default";
            continue;
        }
        let Some((name, value)) = line.split_once('=') else {
            return Err(format!("line {number} is not `name = value`"));
        };
        let place = [ID, SECRET, TOKEN].iter().position(|known| *known == name.trim());
        // Other tools have other names in it.
        if let Some(place) = place.filter(|_| counts) {
            let value = value.trim();
            if value.is_empty() || value.chars().any(|c| c.is_control() || c.is_whitespace()) {
                return Err(format!("line {number} has no value"));
            }
            found[place] = Some(value.to_owned());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn address() -> Address {
        Address::parse("s3://backups").unwrap()
    }

    #[test]
    fn they_are_in_a_file_of_ones_own_or_in_the_environment() {
        let home = tempfile::TempDir::new().unwrap();
        let path = home.path().join("credentials");
        let whole = "# a comment\n[default]\naws_access_key_id = AN-ID\naws_secret_access_key=s3cret+/=\n\n[other]\naws_access_key_id = NO\n";
        for (text, mode, found) in [
            (whole, 0o600, Ok(Credentials::new("AN-ID", "s3cret+/=", None))),
            (whole, 0o400, Ok(Credentials::new("AN-ID", "s3cret+/=", None))),
            (whole, 0o640, Err("its mode is 640")),
            (whole, 0o604, Err("its mode is 604")),
            ("[other]\naws_access_key_id = A\naws_secret_access_key = B\n", 0o600, Err("does not have both")),
            ("aws_access_key_id = A\n", 0o600, Err("does not have both")),
            ("aws_access_key_id = A\ns3cret\n", 0o600, Err("line 2 is not")),
            ("aws_access_key_id = A\naws_secret_access_key = \n", 0o600, Err("line 2 has no value")),
            ("", 0o600, Err("does not have both")),
            (
                "aws_access_key_id = A\naws_secret_access_key = B\naws_session_token = C\nregion = x\n",
                0o600,
                Ok(Credentials::new("A", "B", Some("C"))),
            ),
        ] {
            // A mode of 400 keeps its owner, who is not root, from writing.
            let _ = fs::remove_file(&path);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            match (Credentials::find(&address(), Some(&path), |_| panic!("there is a file")), found) {
                (Ok(read), Ok(found)) => assert_eq!(read, found),
                (Err(error), Err(word)) => {
                    let told = error.to_string();
                    assert_eq!(error.code(), "archive.credentials");
                    assert!(told.contains(word) && !told.contains("s3cret"), "{told}");
                }
                (read, found) => panic!("{text:?}: {} and {found:?}", read.is_ok()),
            }
        }
        let gone = Credentials::find(&address(), Some(&home.path().join("none")), |_| None);
        assert!(gone.unwrap_err().to_string().contains("No such file"));
        let environment = |name: &str| (name != "AWS_SESSION_TOKEN").then(|| name.to_lowercase());
        let found = Credentials::find(&address(), None, environment).unwrap();
        assert_eq!(found, Credentials::new(ID, SECRET, None));
        assert_eq!(format!("{found:?}"), "Credentials", "nothing of it is shown");
        let none = Credentials::find(&address(), None, |_| Some(String::new())).unwrap_err();
        assert!(none.to_string().contains("AWS_ACCESS_KEY_ID"), "{none}");
    }
}
