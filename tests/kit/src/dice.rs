//! Chance that can be repeated.
//!
//! A seed decides what is asked and what is killed; the scheduler decides the rest, so a failing seed is a place to look
//! and not a replay.

/// The seed of this run, from `$SOP_SEED` or fresh; printed, so that a failure shows it.
///
/// # Panics
/// If `$SOP_SEED` is no number.
pub fn seed() -> u64 {
    let seed = match std::env::var("SOP_SEED") {
        Ok(text) => text.parse().expect("SOP_SEED is a number"),
        Err(_) => getrandom::u64().expect("the system gives randomness"),
    };
    println!("SOP_SEED={seed}");
    seed
}

/// SplitMix64: small, and the same everywhere.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Dice of their own for each `player`, all from one seed.
    pub fn new(seed: u64, player: u64) -> Self {
        let mut dice = Self(seed ^ player.wrapping_mul(0x1000_0000_01B3));
        dice.roll();
        dice
    }

    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// One of `0..bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).expect("a small number");
        usize::try_from(self.roll() % bound).expect("below a small number")
    }

    pub fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    pub fn bytes(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes.chunks_mut(8).for_each(|chunk| chunk.copy_from_slice(&self.roll().to_le_bytes()));
        bytes
    }
}
