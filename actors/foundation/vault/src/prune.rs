//! Takes a backup away, and what only that one needed.
//!
//! A log only grows, so nearly all that a backup has is in every later one, too; its own are its point and the tiles at the
//! right of its tree.

use std::collections::BTreeSet;

use evidence::checkpoint::Checkpoint;
use evidence::note::PublicKey;

use crate::VaultError;
use crate::copy::partial;
use crate::point::{CHECKPOINT, KEY, point_name, points, read};
use crate::target::Target;

/// Takes the backup `name` out of `target`. One that is gone already is no error: it may be that nobody heard of it.
///
/// # Errors
/// [`VaultError`]; then it is there, or gone with some of its files left, which the next attempt finds.
pub fn prune(target: &dyn Target, name: &str) -> Result<(), VaultError> {
    let Some((log, _)) = name.split_once("/backups/") else {
        return Err(VaultError::NoBackup { place: format!("{}/{name}", target.place()) });
    };
    let _held = target.hold(log)?;
    // One that cannot be read leaves its few tiles behind.
    let gone = read(target, name).ok().flatten().and_then(|(point, _)| point.signed().ok());
    let mut needed = BTreeSet::new();
    for backup in points(target, log)? {
        let other = point_name(log, backup);
        if other == name {
            continue;
        }
        match read(target, &other).and_then(|found| found.map(|(point, _)| point.signed()).transpose()) {
            Ok(Some((_, signed))) => needed.extend(partial(signed.size)),
            Ok(None) => {}
            // What it needs is not known: nothing is taken away but the point.
            Err(_) => return unlisted(target, name),
        }
    }
    if let Some(newest) = newest(target, log)? {
        needed.extend(partial(newest.size));
    }
    // The tiles first: a backup that is there without them is broken, and tiles without a backup are never found again.
    for tile in gone.into_iter().flat_map(|(_, signed)| partial(signed.size)) {
        if !needed.contains(&tile) {
            target.remove(&format!("{log}/{}", tile.path()))?;
        }
    }
    unlisted(target, name)
}

fn unlisted(target: &dyn Target, name: &str) -> Result<(), VaultError> {
    target.remove(name)?;
    target.sync()
}

/// What the log in the target stands for as a whole.
fn newest(target: &dyn Target, log: &str) -> Result<Option<Checkpoint>, VaultError> {
    let text = |bytes: Option<Vec<u8>>| String::from_utf8(bytes?).ok();
    let key = text(target.get(&format!("{log}/{KEY}"))?);
    let note = text(target.get(&format!("{log}/{CHECKPOINT}"))?);
    let (Some(key), Some(note)) = (key, note) else { return Ok(None) };
    let key = PublicKey::parse(key.trim_end()).ok();
    Ok(key.and_then(|key| Checkpoint::open(&note, &key).ok()))
}
