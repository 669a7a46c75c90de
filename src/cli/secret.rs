//! New secrets: made here, shown to their owner once, and only their digest sent.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, IsTerminal as _, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use door::{Secret, SecretKind};
use identity::CredentialId;
use kernel::{CommandId, TokenId};
use serde_json::{Value, json};

use super::call::{Mutation, read_secret, secret_of};
use super::exit::Failure;

/// Most bytes of a secret on standard input: a bearer form is the longest.
const SECRET_MAX: u64 = bearer::TEXT_MAX as u64 + 2;

/// Where a new secret goes.
#[derive(Args, Clone, Debug)]
pub struct Keep {
    /// Write the secret to a new file of mode 0600 instead of showing it
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    #[command(flatten)]
    mutation: Mutation,
}

impl Keep {
    /// Whether it is for one secret only.
    pub fn is_fixed(&self) -> bool {
        self.secret_file.is_some() || self.mutation.command_id.is_some()
    }

    pub fn mutation(&self) -> &Mutation {
        &self.mutation
    }
}

/// Where the secret of an existing token comes from, or its bearer form.
#[derive(Args, Clone, Debug)]
pub struct Given {
    /// File with the token's secret or its bearer form; else it is read from standard input
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
}

impl Given {
    pub fn read(&self) -> Result<Secret, Failure> {
        given(self.secret_file.as_deref(), "--secret-file FILE")
    }
}

/// The secret in a file, which that option would name, or on standard input.
pub fn given(file: Option<&Path>, option: &str) -> Result<Secret, Failure> {
    if let Some(file) = file {
        return read_secret(file);
    }
    let unusable = |why: String| {
        let remedy = format!("give it with {option}, or on standard input: sop … < FILE");
        Failure::new("cli.secret_unreadable", format!("there is no secret on standard input: {why}"), remedy)
    };
    let input = std::io::stdin();
    if input.is_terminal() {
        return Err(unusable("it is a terminal, which would show it".into()));
    }
    let mut text = String::new();
    let read = input.lock().take(SECRET_MAX).read_to_string(&mut text);
    read.map_err(|error| unusable(error.to_string()))?;
    secret_of(&text).map_err(|why| unusable(why.into()))
}

/// The secret of a token or a credential that is being asked for, under the id of the command that asks.
pub struct NewSecret {
    pub id: CommandId,
    secret: Secret,
    file: Option<PathBuf>,
    /// The file is from an earlier attempt.
    kept: bool,
}

impl NewSecret {
    /// Of a token. Made anew; for a repeat, the one that the earlier attempt left in its file.
    pub fn of(keep: &Keep) -> Result<Self, Failure> {
        Self::made(keep, |_| SecretKind::Token)
    }

    /// Of a credential.
    pub fn key(keep: &Keep) -> Result<Self, Failure> {
        Self::made(keep, |id| SecretKind::Key(named_by(id)))
    }

    fn made(keep: &Keep, kind: impl FnOnce(CommandId) -> SecretKind) -> Result<Self, Failure> {
        let (id, file) = (keep.mutation.id(), keep.secret_file.clone());
        let fresh = Secret::generate(kind(id));
        let Some(path) = &file else { return Ok(Self { id, secret: fresh, file, kept: false }) };
        match write(path, &fresh) {
            Ok(()) => Ok(Self { id, secret: fresh, file, kept: false }),
            Err(error) if error.kind() == ErrorKind::AlreadyExists && keep.mutation.command_id.is_some() => {
                Ok(Self { id, secret: read_secret(path)?, file, kept: true })
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                let detail = format!("{} is there already, and might hold a secret in use", path.display());
                let remedy = "name a new file; to repeat an earlier command, give its --command-id";
                Err(Failure::new("cli.secret_file", detail, remedy))
            }
            Err(error) => {
                let detail = format!("the secret cannot be written to {}: {error}", path.display());
                Err(Failure::new("cli.secret_file", detail, "name a file that you may make"))
            }
        }
    }

    /// A token has the id of the command that asked for it, so that a repeat asks for the same one.
    pub fn token(&self) -> TokenId {
        TokenId(self.id.0)
    }

    /// So has a credential, of the random part.
    pub fn credential(&self) -> CredentialId {
        named_by(self.id)
    }

    pub fn digest(&self) -> String {
        self.secret.digest().to_string()
    }

    /// Nothing was issued, or it is not known: then the secret may be all that is left.
    pub fn failed(self, failure: Failure) -> Failure {
        match self.file {
            Some(file) if failure.open => failure.note(format!("the secret stays in {} for a repeat", file.display())),
            Some(file) if !self.kept => {
                let _ = fs::remove_file(file);
                failure
            }
            None if failure.open => {
                let secret = self.secret.expose();
                failure.note(format!("secret, if it was done: {secret} (a repeat needs it in a --secret-file)"))
            }
            Some(_) | None => failure,
        }
    }

    /// The API's answer, and the secret or where it is.
    pub fn with(&self, mut answer: Value) -> Value {
        match &self.file {
            Some(file) => answer["secret_file"] = json!(file),
            None => answer["secret"] = json!(self.secret.expose()),
        }
        answer
    }

    pub fn field(&self) -> (&'static str, String) {
        match &self.file {
            Some(file) => ("secret", format!("in {}", file.display())),
            None => ("secret, shown once", self.secret.expose().to_owned()),
        }
    }
}

pub fn named_by(id: CommandId) -> CredentialId {
    CredentialId(u64::try_from(id.0 & u128::from(u64::MAX)).expect("64 bits are left"))
}

fn write(path: &Path, secret: &Secret) -> std::io::Result<()> {
    write_text(path, secret.expose())
}

/// A secret text in a new file, for its owner alone.
pub fn write_text(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    writeln!(file, "{text}")?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn keep(file: &Path, command_id: Option<CommandId>) -> Keep {
        Keep { secret_file: Some(file.to_owned()), mutation: Mutation { command_id } }
    }

    #[test]
    fn a_repeat_finds_its_secret_and_nobody_else_overwrites_it() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("token");
        let first = NewSecret::of(&keep(&file, None)).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let second = NewSecret::of(&keep(&file, Some(first.id))).unwrap();
        assert_eq!((second.digest(), second.token()), (first.digest(), first.token()));
        assert!(NewSecret::of(&keep(&file, None)).is_err());
        // The repeat is refused: the file is the first attempt's, and stays.
        second.failed(Failure::new("x", "", ""));
        assert!(file.exists());
    }

    #[test]
    fn a_secret_that_opens_nothing_leaves_no_file() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("token");
        let secret = NewSecret::of(&keep(&file, None)).unwrap();
        let open = Failure::unknown(secret.id, "", "");
        assert!(secret.failed(open).text().contains("stays in"));
        assert!(file.exists());
        fs::remove_file(&file).unwrap();
        NewSecret::of(&keep(&file, None)).unwrap().failed(Failure::new("x", "", ""));
        assert!(!file.exists());
    }
}
