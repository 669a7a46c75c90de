//! How a place in an object store is written: `s3://bucket/prefix`.

use std::fmt;

const SCHEME: &str = "s3://";

/// A bucket, and where in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    pub bucket: String,
    /// Without slashes at its ends; empty for all of the bucket.
    pub prefix: String,
}

/// What somebody may mean by an address: a place for backups, the folder of a log in it, or one backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    pub place: Address,
    pub log: Option<String>,
    pub backup: Option<u64>,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slash = if self.prefix.is_empty() { "" } else { "/" };
        write!(f, "{SCHEME}{}{slash}{}", self.bucket, self.prefix)
    }
}

impl Address {
    /// Whether a text is meant to be one.
    pub fn is_meant(text: &str) -> bool {
        text.starts_with(SCHEME)
    }

    /// `None` if it is none: names of buckets are as the protocol has them, and prefixes are of letters, digits and `-_.`.
    pub fn parse(text: &str) -> Option<Self> {
        let (bucket, prefix) = text.strip_prefix(SCHEME)?.split_once('/').unwrap_or((text.strip_prefix(SCHEME)?, ""));
        let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
        let lower = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let named = (3..=63).contains(&bucket.len())
            && bucket.chars().all(|c| lower(c) || c == '-' || c == '.')
            && bucket.starts_with(lower)
            && bucket.ends_with(lower)
            && !bucket.contains("..");
        let plain = |part: &str| {
            let of = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            !part.is_empty() && part.chars().all(of) && !part.chars().all(|c| c == '.')
        };
        let placed = prefix.len() <= 512 && (prefix.is_empty() || prefix.split('/').all(plain));
        (named && placed).then(|| Self { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
    }
}

impl Named {
    /// `None` if it is no address.
    pub fn parse(text: &str) -> Option<Self> {
        let Address { bucket, prefix } = Address::parse(text)?;
        let mut parts: Vec<&str> = prefix.split('/').filter(|part| !part.is_empty()).collect();
        let is_log = |part: &str| {
            part.strip_prefix("log-").is_some_and(|id| id.len() == 16 && id.chars().all(|c| c.is_ascii_hexdigit()))
        };
        let (mut log, mut backup) = (None, None);
        if let [.., folder, "backups", point] = parts[..]
            && is_log(folder)
            && let Some(number) = point.strip_prefix("backup-").and_then(|number| number.parse().ok())
        {
            backup = Some(number);
            parts.truncate(parts.len() - 2);
        }
        if let Some(folder) = parts.last().copied().filter(|part| is_log(part)) {
            log = Some(folder.to_owned());
            parts.pop();
        }
        let place = Address { bucket, prefix: parts.join("/") };
        Some(Self { place, log, backup })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_one_or_none() {
        for (text, parsed) in [
            ("s3://backups", Some(("backups", ""))),
            ("s3://backups/", Some(("backups", ""))),
            ("s3://b-1.example/sop/eu_1.2/", Some(("b-1.example", "sop/eu_1.2"))),
            ("s3://", None),
            ("s3:///sop", None),
            ("s3://ab", None),
            ("s3://Backups", None),
            ("s3://-ab", None),
            ("s3://a..b", None),
            ("s3://user:secret@backups", None),
            ("s3://backups//sop", None),
            ("s3://backups/../sop", None),
            ("s3://backups/a b", None),
            ("s3://backups/a?b", None),
            ("https://backups", None),
            ("/backups", None),
        ] {
            let found = Address::parse(text);
            assert_eq!(found.as_ref().map(|one| (&*one.bucket, &*one.prefix)), parsed, "{text}");
            if let Some(found) = found {
                assert_eq!(found.to_string(), text.trim_end_matches('/'));
            }
        }
    }

    #[test]
    fn a_backup_is_named_by_its_place_its_log_or_itself() {
        let log = "log-0123456789abcdef";
        for (text, prefix, found, backup) in [
            ("s3://backups".to_owned(), "", None, None),
            ("s3://backups/sop/log-eu".to_owned(), "sop/log-eu", None, None),
            (format!("s3://backups/{log}"), "", Some(log), None),
            (format!("s3://backups/sop/{log}/"), "sop", Some(log), None),
            (format!("s3://backups/sop/{log}/backups/backup-12"), "sop", Some(log), Some(12)),
            ("s3://backups/sop/backups/backup-12".to_owned(), "sop/backups/backup-12", None, None),
        ] {
            let named = Named::parse(&text).unwrap();
            assert_eq!((&*named.place.prefix, named.log.as_deref(), named.backup), (prefix, found, backup), "{text}");
        }
    }
}
