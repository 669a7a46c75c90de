//! Bundles of entries, as C2SP tlog-tiles has them: what backups and the tile log keep records in.
//!
//! An entry is a length u16 BE and so many bytes, which are the record as the journal has it. A record over 65,535 bytes is a
//! *blob*, a file of its own; its entry is a marker of 33 bytes: 0x42 and the blake3 of the record (a record itself begins
//! with 0x53).

use kernel::Digest;

use crate::envelope::link;

/// Entries of a full bundle.
pub const ENTRIES: usize = 256;
/// First byte of an entry that names a blob.
const BLOB: u8 = 0x42;

/// What is put into a bundle for a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry<'a> {
    Record(&'a [u8]),
    /// The marker of a record that is kept as a blob.
    Blob {
        marker: [u8; 33],
        digest: Digest,
    },
}

impl<'a> Entry<'a> {
    pub fn of(record: &'a [u8]) -> Self {
        if u16::try_from(record.len()).is_ok() {
            return Self::Record(record);
        }
        let digest = link(record);
        let mut marker = [BLOB; 33];
        marker[1..].copy_from_slice(&digest.0);
        Self::Blob { marker, digest }
    }

    /// What `entry` of a bundle is; `None` if it is neither a record nor a marker.
    pub fn read(entry: &'a [u8]) -> Option<Self> {
        let Some((&BLOB, digest)) = entry.split_first() else { return Some(Self::Record(entry)) };
        let (digest, marker) = (Digest(digest.try_into().ok()?), entry.try_into().ok()?);
        Some(Self::Blob { marker, digest })
    }

    /// The bytes of the entry itself.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Record(record) => record,
            Self::Blob { marker, .. } => marker,
        }
    }

    /// Adds the entry to a bundle.
    pub fn put(&self, bundle: &mut Vec<u8>) {
        let bytes = self.bytes();
        let length = u16::try_from(bytes.len()).expect("an entry is a record that fits, or a marker");
        bundle.extend_from_slice(&length.to_be_bytes());
        bundle.extend_from_slice(bytes);
    }
}

/// Takes the first entry off a bundle; `None` if it ends within it.
pub fn take<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, after) = rest.split_first_chunk::<2>()?;
    let (entry, after) = after.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    *rest = after;
    Some(entry)
}

/// Where a blob lies in the directory of a backup or a log.
pub fn blob_name(digest: Digest) -> String {
    format!("blobs/{digest}")
}
