//! Where backups are kept, as it is configured: a directory, or an object store in a program that was built with them.

use std::path::{Path, PathBuf};

use config::{Address, Backup, Place, S3};
use vault::{Directory, Target, VaultError};

/// A place for backups that is not in use yet.
#[derive(Clone, Debug)]
pub enum Shelf {
    Directory(PathBuf),
    Bucket(Address, S3),
}

impl Shelf {
    /// The one that is configured; `otherwise` if none is.
    pub fn of(config: &Backup, otherwise: &Path) -> Self {
        match &config.target {
            Place::Data => Self::Directory(otherwise.to_owned()),
            Place::Directory(path) => Self::Directory(path.clone()),
            Place::Bucket(address) => Self::Bucket(address.clone(), config.s3.clone()),
        }
    }

    /// Reads the credentials of an object store anew, so that they can be changed while this runs.
    ///
    /// # Errors
    /// [`VaultError::Remote`].
    pub fn open(&self) -> Result<Box<dyn Target>, VaultError> {
        match self {
            Self::Directory(path) => Ok(Box::new(Directory::new(path))),
            Self::Bucket(address, how) => bucket(address, how),
        }
    }

    /// Where what has that name lies in it.
    pub fn path(&self, name: &str) -> String {
        match self {
            Self::Directory(path) => {
                let path = path.join(name);
                std::path::absolute(&path).unwrap_or(path).display().to_string()
            }
            Self::Bucket(address, _) => format!("{address}/{name}"),
        }
    }
}

#[cfg(feature = "object-store")]
fn bucket(address: &Address, how: &S3) -> Result<Box<dyn Target>, VaultError> {
    let environment = |name: &str| std::env::var(name).ok();
    let credentials = bucket::Credentials::find(address, how.credentials.as_deref(), environment)?;
    Ok(Box::new(bucket::Bucket::new(address, how, credentials)?))
}

#[cfg(not(feature = "object-store"))]
fn bucket(address: &Address, _: &S3) -> Result<Box<dyn Target>, VaultError> {
    let why = "the feature object-store was left out".to_owned();
    Err(VaultError::Remote { place: address.to_string(), trouble: vault::Trouble::NotBuilt, why })
}
