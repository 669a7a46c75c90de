//! A short run of every fuzz target on any toolchain: the seeds as they are, then changed at random.
//!
//! The same on every run: `SOP_SEED` gives another, `SOP_ROUNDS` a longer one. A failure prints its input.

use std::panic::{AssertUnwindSafe, catch_unwind};

use decoders::{TARGETS, Target};
use kit::Dice;

const SEED: u64 = 1;
/// Inputs for each target; some seconds for all of them.
const ROUNDS: u64 = 4_000;
/// What an auditor's program, or the keystore, does with one input takes as long as many inputs of the others: signatures, and
/// files.
const LONG_SHARE: u64 = 20;
const INPUT_BYTES_MAX: usize = 1 << 17;

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().expect("a number"))
}

#[test]
fn no_decoder_gives_way() {
    let (seed, rounds) = (number("SOP_SEED", SEED), number("SOP_ROUNDS", ROUNDS));
    println!("SOP_SEED={seed} SOP_ROUNDS={rounds}");
    for (player, target) in (0..).zip(&TARGETS) {
        let seeds = (target.seeds)();
        for bytes in &seeds {
            judge(target, bytes, "a seed");
        }
        judge(target, b"", "nothing");
        let mut dice = Dice::new(seed, player);
        let takes_long = target.name.starts_with("judged") || target.name == "keystore_file";
        let share = if takes_long { LONG_SHARE } else { 1 };
        for round in 0..rounds.div_ceil(share) {
            let bytes = mutated(&mut dice, &seeds);
            judge(target, &bytes, &format!("SOP_SEED={seed}, round {round}"));
        }
    }
}

fn judge(target: &Target, bytes: &[u8], which: &str) {
    let held = catch_unwind(AssertUnwindSafe(|| (target.run)(bytes))).is_ok();
    assert!(held, "{} gave way at {which}: {}", target.name, bytes.escape_ascii());
}

/// One of the seeds after one to eight changes, most often one or two.
fn mutated(dice: &mut Dice, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = dice.pick(seeds).clone();
    for _ in 0..=dice.below(3) * dice.below(4) {
        let at = dice.below(bytes.len() + 1);
        let most = 2 << dice.below(6);
        let end = (at + 1 + dice.below(most)).min(bytes.len());
        match dice.below(9) {
            0 if at < bytes.len() => bytes[at] ^= 1 << dice.below(8),
            1 if at < bytes.len() => bytes[at] = dice.bytes()[0],
            2 => drop(bytes.drain(at..end)),
            3 => {
                let (more, count) = (dice.bytes(), 1 + dice.below(32));
                bytes.splice(at..at, more[..count].to_vec());
            }
            4 => bytes.truncate(at),
            // A length, or another number that somebody counts by.
            5 => {
                let number = *dice.pick(&[0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x7fff_ffff, 0xffff_ffff, u64::MAX]);
                let width = *dice.pick(&[1, 2, 4, 8]);
                let number = if dice.one_in(2) {
                    number.to_le_bytes()[..width].to_vec()
                } else {
                    number.to_be_bytes()[8 - width..].to_vec()
                };
                bytes.splice(at..(at + width).min(bytes.len()), number);
            }
            6 => {
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
            // The end of another: both are good in themselves.
            7 => {
                let other = dice.pick(seeds);
                let from = dice.below(other.len() + 1);
                bytes.splice(at.., other[from..].to_vec());
            }
            _ => bytes[at..end].fill(0),
        }
    }
    bytes.truncate(INPUT_BYTES_MAX);
    bytes
}

/// The files that cargo-fuzz wants are there, one a target.
#[test]
fn every_target_can_be_fuzzed() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
    let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap();
    for Target { name, .. } in TARGETS {
        let source = std::fs::read_to_string(folder.join(format!("fuzz_targets/{name}.rs"))).unwrap_or_default();
        assert!(source.contains(&format!("decoders::run(\"{name}\", bytes)")), "fuzz_targets/{name}.rs runs it");
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name} stands in tests/fuzz/Cargo.toml");
    }
}
