//! Finds a backup by what somebody calls it: the place for backups, the folder of a log in it, or the backup itself.

use std::path::Path;

use crate::VaultError;
use crate::point::{KEY, Point, point_name, points, read};
use crate::target::{Directory, Target};

/// A backup that is there, or was.
pub struct Found {
    pub target: Box<dyn Target>,
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
        Ok(read(&*self.target, &self.name)?.ok_or_else(none)?.0)
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
    if whole.is_file() {
        let number = name(&whole).strip_prefix("backup-").and_then(|number| number.parse().ok()).ok_or_else(none)?;
        let log = whole.parent().and_then(Path::parent).ok_or_else(none)?;
        if backup.is_some_and(|backup| backup != number) {
            return Err(none());
        }
        let root = log.parent().ok_or_else(none)?;
        return find(Box::new(Directory::new(root)), Some(&name(log)), Some(number));
    }
    let (root, log) = if whole.join(KEY).is_file() {
        (whole.parent().ok_or_else(none)?, Some(name(&whole)))
    } else {
        (whole.as_path(), None)
    };
    find(Box::new(Directory::new(root)), log.as_deref(), backup)
}

/// Number `backup` of those of `log` in a place, or the newest one; of its only log if none is named.
///
/// # Errors
/// As [`locate`], and those of the place.
pub fn find(target: Box<dyn Target>, log: Option<&str>, backup: Option<u64>) -> Result<Found, VaultError> {
    let none = || VaultError::NoBackup { place: target.place() };
    let log = if let Some(log) = log {
        log.to_owned()
    } else {
        let mut logs = Vec::new();
        for log in target.names("")?.into_iter().filter(|log| log.starts_with("log-")) {
            if target.get(&format!("{log}/{KEY}"))?.is_some() {
                logs.push(log);
            }
        }
        match logs.len() {
            0 => return Err(none()),
            1 => logs.remove(0),
            _ => return Err(VaultError::Several { place: target.place(), logs }),
        }
    };
    let there = points(&*target, &log)?;
    let wanted = backup.or_else(|| there.last().copied()).filter(|backup| there.contains(backup));
    let name = point_name(&log, wanted.ok_or_else(none)?);
    Ok(Found { target, name })
}
