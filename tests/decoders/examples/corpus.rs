//! Writes the seeds of every target to a directory, `tests/fuzz/corpus` if none is named: what cargo-fuzz begins from.

use std::fs;
use std::path::PathBuf;

fn main() -> std::io::Result<()> {
    let own = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    let corpus = std::env::args_os().nth(1).map_or_else(own, PathBuf::from);
    for target in decoders::TARGETS {
        let folder = corpus.join(target.name);
        fs::create_dir_all(&folder)?;
        for (number, seed) in (target.seeds)().into_iter().enumerate() {
            fs::write(folder.join(format!("seed-{number}")), seed)?;
        }
    }
    Ok(())
}
