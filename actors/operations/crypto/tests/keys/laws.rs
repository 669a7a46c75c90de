//! What holds after every history, however strange.

use std::collections::{BTreeMap, BTreeSet};

use crypto::{Command, Crypto, KeyId, Purpose, State, Verdict};
use kernel::{Machine, Personal, Position};
use proptest::prelude::*;

use crate::world::{self, ED25519, ML_DSA, cx};

const PURPOSES: [Purpose; 2] = [Purpose::Receipts, Purpose::TokenRoot];
/// Signatures are looked at up to here.
const RECORDS: u64 = 12;

fn key() -> impl Strategy<Value = KeyId> {
    (0..2_usize, 1..6_u32).prop_map(|(purpose, version)| PURPOSES[purpose].key(version))
}

fn command() -> impl Strategy<Value = Command> {
    let purpose = prop::sample::select(PURPOSES.to_vec());
    let suite = prop::sample::select(vec![ED25519, ML_DSA]);
    prop_oneof![
        2 => (purpose.clone(), suite).prop_map(|(purpose, suite)| Command::Generate { keys: vec![(purpose, suite)], missing: false }),
        1 => Just(Command::Generate { keys: PURPOSES.map(|purpose| (purpose, ED25519)).to_vec(), missing: true }),
        2 => prop::option::of(purpose).prop_map(|purpose| Command::Rotate { purpose, suite: None }),
        2 => (key(), 0..RECORDS).prop_map(|(key, since)| Command::Revoke { key, since, reason: Personal::plain("") }),
        2 => key().prop_map(|key| Command::Destroy { key }),
        5 => key().prop_map(world::made),
        1 => key().prop_map(world::abandon),
        2 => key().prop_map(world::destroyed),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn every_history_keeps_the_laws(script in prop::collection::vec(command(), 0..80)) {
        let (mut keys, mut replayed) = (Crypto::default(), Crypto::default());
        let mut ended: BTreeSet<KeyId> = BTreeSet::new();
        let mut publics: BTreeMap<KeyId, Vec<u8>> = BTreeMap::new();
        let mut void: BTreeSet<(KeyId, u64)> = BTreeSet::new();
        for command in script {
            let had: Vec<_> = PURPOSES.into_iter().filter(|purpose| keys.active(*purpose).is_some()).collect();
            let Ok(outcome) = keys.decide(&command, &cx(world::by(&command))) else { continue };
            for event in &outcome.events {
                keys.evolve(event, Position(0));
                let (kind, body) = kernel::json::write(event);
                replayed.evolve(&kernel::json::read((kind.id, kind.version), body).unwrap(), Position(0));
            }
            for purpose in PURPOSES {
                let signing: Vec<_> = keys
                    .keys()
                    .filter(|(key, version)| key.purpose == purpose && version.state == State::Active)
                    .map(|(key, _)| key)
                    .collect();
                prop_assert!(signing.len() <= 1, "one key signs for a purpose: {signing:?}");
                prop_assert_eq!(keys.active(purpose).map(|(key, _)| key), signing.first().copied());
                let revokes = matches!(&command, Command::Revoke { key, .. } if key.purpose == purpose);
                prop_assert!(revokes || !had.contains(&purpose) || !signing.is_empty(), "only a revocation leaves none");
            }
            for (key, version) in keys.keys() {
                if ended.contains(&key) {
                    prop_assert!(version.state != State::Active && version.state != State::PreActive, "{key} has ended");
                }
                if matches!(version.state, State::Revoked | State::Destroyed | State::VerifyOnly) {
                    ended.insert(key);
                }
                prop_assert!(version.state != State::Active || version.made.is_some(), "{key} is not made");
                if let Some(made) = &version.made {
                    let first = publics.entry(key).or_insert_with(|| made.public.clone());
                    prop_assert_eq!(&*first, &made.public, "a version is one key for ever");
                }
                for record in 1..=RECORDS {
                    match keys.judge(key, record) {
                        Verdict::Counts => prop_assert!(!void.contains(&(key, record)), "no signature counts again"),
                        Verdict::RevokedSince(since) => {
                            prop_assert!(since <= record);
                            void.insert((key, record));
                        }
                        Verdict::NeverSigned => prop_assert!(version.activated_at.is_none()),
                    }
                }
            }
            for key in publics.keys() {
                prop_assert!(keys.show(*key).is_some_and(|version| version.made.is_some()), "{key} is still known");
            }
            prop_assert_eq!(&keys, &replayed, "the journal is the state");
        }
        // Once the keystore has done what it is asked, each purpose that began has its one key.
        while let Some(task) = world::next(&keys) {
            let done = match task {
                crypto::Task::Make { key, .. } => world::made(key),
                crypto::Task::Destroy { key, .. } => world::destroyed(key),
                crypto::Task::UpdateRefs { .. } | crypto::Task::Verify { .. } => unreachable!("nobody asked for it"),
            };
            world::run(&mut keys, world::WORKER, &done).unwrap();
        }
        for purpose in PURPOSES {
            let abandoned = keys.keys().any(|(key, version)| key.purpose == purpose && version.abandoned.is_some());
            let began = keys.keys().any(|(key, _)| key.purpose == purpose);
            prop_assert!(!began || abandoned || keys.active(purpose).is_some(), "{purpose} has its key");
        }
    }
}
