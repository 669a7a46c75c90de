//! Tokens that were verified lately, with what the registry said of them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use kernel::Timestamp;

use crate::{Carried, PublicKey, Refusal};

/// What knows which tokens stand, and whose signatures count.
pub trait Registry {
    type No;

    /// Counts every record of a revocation, of tokens and of keys that sign them.
    fn revocations(&self) -> u64;

    /// What the signatures of this version of the key are checked with; of none, those of the key without versions.
    ///
    /// # Errors
    /// Why they do not count.
    fn key(&self, version: Option<u32>) -> Result<PublicKey, Self::No>;

    /// Whether the token was issued so, and neither it nor the key that signed it was revoked.
    ///
    /// # Errors
    /// Why not.
    fn stands(&self, carried: &Carried) -> Result<(), Self::No>;
}

/// Why a token is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Checked<N> {
    /// By what it says itself.
    Refused(Refusal),
    /// By what the registry says.
    Denied(N),
}

/// The last so many tokens: those of two generations, of which the older one goes as a whole, so that what is asked for stays and
/// nothing has to be put in order.
pub struct Cache {
    half: usize,
    kept: Mutex<Generations>,
}

#[derive(Default)]
struct Generations {
    young: BTreeMap<[u8; 32], Known>,
    old: BTreeMap<[u8; 32], Known>,
}

#[derive(Clone)]
struct Known {
    carried: Arc<Carried>,
    /// The count of revocations before the registry was looked at.
    epoch: u64,
}

/// Whether what was found under one count still holds under another.
pub(crate) const fn holds(found: u64, now: u64) -> bool {
    found == now
}

impl Cache {
    /// With room for `room` tokens.
    pub fn new(room: usize) -> Self {
        Self { half: (room / 2).max(1), kept: Mutex::default() }
    }

    /// The token of this text, if its signatures are good, it has not expired, and the registry lets it stand, now or when it
    /// was asked since the last revocation. Whether it permits something, and has uses left, is for others to say.
    ///
    /// # Errors
    /// [`Checked`].
    pub fn verify<R: Registry>(
        &self,
        text: &str,
        registry: &R,
        now: Timestamp,
    ) -> Result<Arc<Carried>, Checked<R::No>> {
        // Before anything is looked at: what is revoked after this is found under another count.
        let epoch = registry.revocations();
        let place = *blake3::hash(text.as_bytes()).as_bytes();
        let known = self.get(&place);
        let carried = match known {
            Some(Known { carried, epoch: found }) if holds(found, epoch) => return in_time(carried, now),
            Some(Known { carried, .. }) => carried,
            None => Arc::new(Carried::verify_with(text, |version| registry.key(version))?),
        };
        let carried = in_time(carried, now)?;
        registry.stands(&carried).map_err(Checked::Denied)?;
        self.put(place, Known { carried: carried.clone(), epoch });
        Ok(carried)
    }

    fn get(&self, place: &[u8; 32]) -> Option<Known> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = kept.young.get(place) {
            return Some(known.clone());
        }
        let known = kept.old.remove(place)?;
        kept.put(*place, known.clone(), self.half);
        Some(known)
    }

    fn put(&self, place: [u8; 32], known: Known) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).put(place, known, self.half);
    }

    /// How many are kept.
    pub fn len(&self) -> usize {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.young.len() + kept.old.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Generations {
    fn put(&mut self, place: [u8; 32], known: Known, half: usize) {
        if half <= self.young.len() && !self.young.contains_key(&place) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(place, known);
    }
}

fn in_time<N>(carried: Arc<Carried>, now: Timestamp) -> Result<Arc<Carried>, Checked<N>> {
    match carried.claims().expires_at {
        at if at <= now => Err(Checked::Refused(Refusal::Expired { at })),
        _ => Ok(carried),
    }
}

/// What may happen between two steps of [`Cache::verify`], all of it: two that verify, two tokens of one key, revocations of both
/// and evictions.
#[cfg(test)]
mod model {
    use stateright::{Checker, Model, Property};

    use super::holds;

    const TOKENS: usize = 2;
    const CALLERS: usize = 2;

    /// When the count of revocations is read.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Epoch {
        /// Before the registry is looked at.
        First,
        /// With what is remembered.
        Last,
        /// Not at all.
        Never,
        /// First, and of the tokens alone.
        WithoutKeys,
    }

    struct Cached(Epoch);

    #[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
    struct State {
        revoked: [bool; TOKENS],
        key_revoked: bool,
        revocations: u64,
        kept: [Option<u64>; TOKENS],
        callers: [Option<Caller>; CALLERS],
        /// A token was taken whose revocation had been acknowledged before it was shown.
        wrong: bool,
        /// A token was taken from what is remembered.
        hit: bool,
    }

    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    struct Caller {
        token: usize,
        epoch: u64,
        /// It was revoked before it was shown, or its key was.
        late: bool,
        stands: bool,
    }

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Action {
        Show(usize, usize),
        Look(usize),
        Keep(usize),
        Revoke(usize),
        RevokeKey,
        Evict(usize),
    }

    impl State {
        fn stands(&self, token: usize) -> bool {
            !self.key_revoked && !self.revoked[token]
        }
    }

    impl Model for Cached {
        type State = State;
        type Action = Action;

        fn init_states(&self) -> Vec<State> {
            vec![State::default()]
        }

        fn actions(&self, state: &State, actions: &mut Vec<Action>) {
            for (number, caller) in state.callers.iter().enumerate() {
                match caller {
                    None => actions.extend((0..TOKENS).map(|token| Action::Show(number, token))),
                    Some(Caller { stands: false, .. }) => actions.push(Action::Look(number)),
                    Some(Caller { stands: true, .. }) => actions.push(Action::Keep(number)),
                }
            }
            actions.extend((0..TOKENS).filter(|token| !state.revoked[*token]).map(Action::Revoke));
            actions.extend((!state.key_revoked).then_some(Action::RevokeKey));
            actions.extend((0..TOKENS).filter(|token| state.kept[*token].is_some()).map(Action::Evict));
        }

        fn next_state(&self, before: &State, action: Action) -> Option<State> {
            let mut state = before.clone();
            match action {
                Action::Show(number, token) => {
                    let (epoch, late) = (state.revocations, !state.stands(token));
                    let known = state.kept[token];
                    if known.is_some_and(|found| self.0 == Epoch::Never || holds(found, epoch)) {
                        state.wrong |= late;
                        state.hit = true;
                    } else {
                        state.callers[number] = Some(Caller { token, epoch, late, stands: false });
                    }
                }
                Action::Look(number) => {
                    let caller = state.callers[number].expect("it looks");
                    let stands = state.stands(caller.token);
                    state.callers[number] = stands.then_some(Caller { stands, ..caller });
                }
                Action::Keep(number) => {
                    let Caller { token, epoch, late, .. } = state.callers[number].take().expect("it keeps");
                    state.kept[token] = Some(if self.0 == Epoch::Last { state.revocations } else { epoch });
                    state.wrong |= late;
                }
                Action::Revoke(token) => {
                    state.revoked[token] = true;
                    state.revocations += 1;
                }
                Action::RevokeKey => {
                    state.key_revoked = true;
                    state.revocations += u64::from(self.0 != Epoch::WithoutKeys);
                }
                Action::Evict(token) => state.kept[token] = None,
            }
            Some(state)
        }

        fn properties(&self) -> Vec<Property<Self>> {
            vec![
                Property::always("never after its revocation", |_, state: &State| !state.wrong),
                Property::sometimes("it saves the work", |_, state: &State| state.hit),
            ]
        }
    }

    #[test]
    fn no_verdict_is_used_after_its_revocation() {
        let checked = Cached(Epoch::First).checker().spawn_bfs().join();
        checked.assert_properties();
        assert!(300 < checked.unique_state_count(), "it went through all of it");
    }

    /// The same cache without the count, or with one that is read too late or knows of no keys, is refuted.
    #[test]
    fn without_the_count_one_is() {
        for epoch in [Epoch::Never, Epoch::Last, Epoch::WithoutKeys] {
            let checked = Cached(epoch).checker().spawn_bfs().join();
            checked.assert_any_discovery("never after its revocation");
        }
    }
}
