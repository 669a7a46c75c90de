//! Finds a backup by what somebody calls it: the place for backups, the folder of a log in it, or the backup itself.

use std::path::Path;

use crate::VaultError;
use crate::point::{KEY, Point, point_name, points, read};
use crate::target::{Directory, Target};

/// A backup in a directory.
pub struct Found {
    pub target: Directory,
    /// The name of its point there.
    pub name: String,
}

impl Found {
    /// What it says of itself.
    ///
    /// # Errors
    /// [`VaultError`].
    pub fn point(&self) -> Result<Point, VaultError> {
        let none = || VaultError::NoBackup { place: format!("{}/{}", self.target.place(), self.name) };
        Ok(read(&self.target, &self.name)?.ok_or_else(none)?.0)
    }
}

/// The backup that `path` is, or the newest one in it, or number `backup` of those.
///
/// # Errors
/// [`VaultError::NoBackup`], and [`VaultError::Several`] if there are backups of several logs.
pub fn locate(path: &Path, backup: Option<u64>) -> Result<Found, VaultError> {
    let none = || VaultError::NoBackup { place: path.display().to_string() };
    let whole = std::path::absolute(path).map_err(crate::io(path))?;
    let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let (root, log, backup) = if whole.is_file() {
        let number = name(&whole).strip_prefix("backup-").and_then(|number| number.parse().ok()).ok_or_else(none)?;
        let log = whole.parent().and_then(Path::parent).ok_or_else(none)?;
        if backup.is_some_and(|backup| backup != number) {
            return Err(none());
        }
        (log.parent().ok_or_else(none)?, name(log), number)
    } else {
        let (root, log) = if whole.join(KEY).is_file() {
            (whole.parent().ok_or_else(none)?, name(&whole))
        } else {
            let mut logs = Directory::new(&whole).names("")?;
            logs.retain(|log| log.starts_with("log-") && whole.join(log).join(KEY).is_file());
            match logs.len() {
                0 => return Err(none()),
                1 => (whole.as_path(), logs.remove(0)),
                _ => return Err(VaultError::Several { place: path.display().to_string(), logs }),
            }
        };
        let there = points(&Directory::new(root), &log)?;
        let wanted = backup.or_else(|| there.last().copied()).filter(|backup| there.contains(backup));
        (root, log, wanted.ok_or_else(none)?)
    };
    Ok(Found { target: Directory::new(root), name: point_name(&log, backup) })
}
