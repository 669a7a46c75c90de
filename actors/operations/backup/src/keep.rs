//! Which backups are kept: the newest ones, and the newest of each day, week and month.

use alloc::collections::BTreeSet;

use kernel::Timestamp;

use crate::vocabulary::{BackupId, Keep};

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// What is kept of `backups`, the newest first; `None` if all of them are.
pub(crate) fn kept(backups: &[(BackupId, Timestamp)], keep: Keep) -> Option<BTreeSet<BackupId>> {
    if keep == Keep::default() {
        return None;
    }
    let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let mut kept: BTreeSet<_> = backups.iter().map(|(backup, _)| *backup).take(count(keep.last)).collect();
    let mut each = |most: u64, span: fn(u64) -> u64| {
        let mut seen = BTreeSet::new();
        for (backup, at) in backups {
            if seen.len() == count(most) {
                break;
            }
            if seen.insert(span(at.0 / DAY_MS)) {
                kept.insert(*backup);
            }
        }
    };
    each(keep.daily, |day| day);
    each(keep.weekly, week);
    each(keep.monthly, month);
    Some(kept)
}

/// Weeks begin on Mondays; the first day was a Thursday.
fn week(day: u64) -> u64 {
    (day + 3) / 7
}

/// Months since the year 0, of a day since 1970: by years that begin in March, so that the odd day comes last.
fn month(day: u64) -> u64 {
    let day = day + 719_468;
    let (era, of_era) = (day / 146_097, day % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    (era * 400 + year) * 12 + (5 * of_year + 2) / 153
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_of_each_span_is_kept() {
        // Two a day for 60 days from 1970-01-01 on, numbered from 1; the newest first.
        let backups: alloc::vec::Vec<_> =
            (0..120_u64).rev().map(|half| (BackupId(half + 1), Timestamp(half * DAY_MS / 2))).collect();
        let keep = |last, daily, weekly, monthly| {
            let kept = kept(&backups, Keep { last, daily, weekly, monthly }).unwrap();
            kept.into_iter().rev().map(|backup| backup.0).collect::<alloc::vec::Vec<_>>()
        };
        assert_eq!(keep(3, 0, 0, 0), [120, 119, 118]);
        assert_eq!(keep(0, 3, 0, 0), [120, 118, 116]);
        // 1970-03-01 was a Sunday, the day 59 is it: weeks end with the days 59, 52 and 45.
        assert_eq!(keep(0, 0, 3, 0), [120, 106, 92]);
        // March, February and January.
        assert_eq!(keep(0, 0, 0, 9), [120, 118, 62]);
        assert_eq!(keep(1, 2, 0, 2), [120, 118]);
        assert_eq!(super::kept(&backups, Keep::default()), None);
    }

    #[test]
    fn months_and_weeks_change_when_they_do() {
        // 1970-01-31 and 02-01; 2000-02-28, 02-29 and 03-01; 2023-12-31 and 2024-01-01; 2026-02-28 and 03-01.
        for (one, next, another) in [
            (30, 31, true),
            (11_015, 11_016, false),
            (11_016, 11_017, true),
            (19_722, 19_723, true),
            (20_512, 20_513, true),
            (20_513, 20_514, false),
        ] {
            assert_eq!(month(one) != month(next), another, "{one}");
            assert!(month(next) - month(one) < 2, "{one}");
        }
        // 1970-01-04 was a Sunday, 2026-11-22 is one.
        assert!(week(3) != week(4) && week(4) == week(10) && week(10) != week(11));
        assert!(week(20_779) != week(20_780), "{}", 20_779 % 7);
    }
}
