//! The state of every machine, made again from records alone: what a drill compares with what runs, and with what was said
//! about it.

use std::collections::BTreeMap;

use allocator::Allocator;
use approvals::Approvals;
use backup::Backups;
use crypto::Crypto;
use door::{Decisions, Outcomes};
use gaps::Gaps;
use governance::Governance;
use health::Health;
use host::{Replay, Replica, Unreadable};
use identity::Identity;
use journal::codec::CodecError;
use journal::envelope::Record;
use kernel::{Digest, Machine, Position};
use nexus::Nexus;
use proofs::Proofs;
use retention::Retention;
use security::Security;
use subjects::Subjects;
use subscriptions::Subscriptions;
use todos::Todos;
use tokens::Tokens;

/// A replica of every machine, by its stream.
pub struct States(BTreeMap<&'static str, Box<dyn Replay>>);

impl Default for States {
    /// Before the first record.
    fn default() -> Self {
        let replicas = [
            replica::<Governance>(),
            replica::<Identity>(),
            replica::<Tokens>(),
            replica::<Decisions>(),
            replica::<Outcomes>(),
            replica::<Allocator>(),
            replica::<Approvals>(),
            replica::<Proofs>(),
            replica::<Health>(),
            replica::<Gaps>(),
            replica::<Todos>(),
            replica::<Backups>(),
            replica::<Nexus>(),
            replica::<Subjects>(),
            replica::<Retention>(),
            replica::<Security>(),
            replica::<Crypto>(),
            replica::<Subscriptions>(),
        ];
        Self(replicas.into_iter().map(|replica| (replica.name(), replica)).collect())
    }
}

fn replica<M: Machine>() -> Box<dyn Replay> {
    Box::new(Replica::<M>::default())
}

impl States {
    /// Takes the next record of the journal; one of a stream that is no machine of ours says nothing here.
    ///
    /// # Errors
    /// [`Unreadable`]; then what is here is good for nothing.
    pub fn replay(&mut self, record: &Record) -> Result<(), Unreadable> {
        self.0.get_mut(record.stream.as_str()).map_or(Ok(()), |replica| replica.replay(record))
    }

    /// The digest of every state, with the version that it is of.
    ///
    /// # Errors
    /// If a state cannot be written down.
    pub fn digests(&self) -> Result<BTreeMap<&'static str, (Position, Digest)>, CodecError> {
        self.0.iter().map(|(name, replica)| Ok((*name, replica.digest()?))).collect()
    }
}

impl workers::backup::States for States {
    fn replay(&mut self, record: &Record) -> Result<(), String> {
        States::replay(self, record).map_err(|error| error.to_string())
    }

    fn digests(&self) -> Result<workers::backup::Digests, String> {
        States::digests(self).map_err(|error| error.to_string())
    }
}
