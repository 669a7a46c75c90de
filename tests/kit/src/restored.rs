//! Backups that were made while others worked, each restored and held against the ledger at its position.

use std::path::{Path, PathBuf};

use backup::{Backup, Backups, State};
use journal::envelope::Record;
use journal::{Journal, Limits};
use kernel::Sequence;
use sop::boot::Places;

use crate::judge::{known_at, replay};
use crate::{Answer, Authority, Ledger};

/// What was acknowledged on both sides of a backup that counts as made in the midst of the work.
const MIDST: usize = 10;

/// Where backups come from, and what is known of what they were made of.
pub struct Origin<'a> {
    pub data: &'a Path,
    /// All that came to be recorded.
    pub records: &'a [Record],
    pub ledgers: &'a [Ledger],
}

/// Makes a data directory from a backup.
pub fn in_process(backup: &Path, data: &Path) {
    std::fs::create_dir_all(data).expect("a directory for the data");
    let found = vault::locate(backup, None).unwrap_or_else(|error| panic!("{}: {error}", backup.display()));
    let journal = Places::of(data).journal;
    let restored = vault::restore(&*found.target, &found.name, vault::Upto::Backup, &journal, &mut || Ok(()));
    restored.unwrap_or_else(|error| panic!("{}: {error}", backup.display()));
}

impl Origin<'_> {
    /// Restores each backup that is whole, and starts an authority over it, with the options of `file`. Answers how many
    /// there were.
    ///
    /// # Panics
    /// If one is not exactly the ledger at its position, or none was made in the midst of the work.
    pub async fn is_restored_by(&self, restore: impl Fn(&Path, &Path), file: &str) -> usize {
        let backups: Backups = replay(self.records);
        let whole: Vec<&Backup> =
            backups.list().filter(|backup| matches!(backup.state, State::Complete | State::Verified)).collect();
        let mut in_the_midst = 0;
        for backup in &whole {
            let contents = backup.contents.as_ref().expect("what is whole was made");
            let (last, data) = (Sequence(contents.last), self.beside(backup));
            restore(&Places::of(self.data).backups.join(&contents.directory), &data);
            assert_eq!(differs(self.records, last, &stored(&data)), None, "{}", backup.id);
            self.goes_on(&data, last, file).await;
            std::fs::remove_dir_all(&data).expect("it is ours");
            let (before, after) = self.acknowledged(last);
            in_the_midst += usize::from(MIDST <= before && MIDST <= after);
        }
        assert!(0 < in_the_midst, "of {} backups none was made in the midst", whole.len());
        whole.len()
    }

    /// Starts where the backup ends: what was known then holds, and what was under way is brought to its end.
    async fn goes_on(&self, data: &Path, last: Sequence, file: &str) {
        let credential = |data: &Path| Places::of(data).credential;
        let into = credential(data);
        std::fs::create_dir_all(into.parent().expect("it lies in a directory")).expect("the directory is ours");
        std::fs::copy(credential(self.data), into).expect("no credential is in a backup");
        let authority = Authority::start(data, file).await;
        let (_, judgement) = authority.settled(&known_at(last, self.records, self.ledgers)).await;
        assert_eq!(judgement.complaints, [""; 0], "restored up to {last}");
        authority.lives_as_recorded().await;
        assert!(authority.stop().await.is_graceful());
    }

    fn beside(&self, backup: &Backup) -> PathBuf {
        self.data.with_file_name(format!("restored-{}", backup.id))
    }

    /// How much was acknowledged up to `last`, and how much after.
    fn acknowledged(&self, last: Sequence) -> (usize, usize) {
        let notes = self.ledgers.iter().flat_map(|ledger| &ledger.notes);
        let places = notes.filter_map(|note| match note.answer {
            Answer::Done { first, .. } => Some(first),
            _ => None,
        });
        let (before, after): (Vec<_>, Vec<_>) = places.partition(|first| *first <= last);
        (before.len(), after.len())
    }
}

/// How a store that was restored up to `last` differs from the records that it was made of.
pub fn differs(records: &[Record], last: Sequence, restored: &[Record]) -> Option<String> {
    let there = usize::try_from(last.0).expect("a small number");
    if restored.len() != there {
        return Some(format!("{} records are there, and {last} should be", restored.len()));
    }
    // A record has one form: what is equal is equal in every byte.
    let other = records.iter().zip(restored).find(|(record, restored)| record != restored)?;
    Some(format!("record {} is another one", other.0.sequence))
}

fn stored(data: &Path) -> Vec<Record> {
    let journal = Journal::new(&Places::of(data).journal, Limits::default());
    journal.open().expect("what was restored opens");
    let records = journal.read(Sequence(1), usize::MAX).expect("it is open");
    journal.close();
    records
}
