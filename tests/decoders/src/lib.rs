//! Every decoder of bytes that others may have changed, as fuzz targets: what cargo-fuzz runs for hours on nightly
//! (`tests/fuzz`), `cargo test` runs for seconds with the mutations of `tests/mutations.rs`.
//!
//! A target is more than "it does not panic": what is accepted has one form, and what is signed or chained is one of the
//! seeds or nothing.

mod files;
mod judged;
mod kept;
mod records;
mod signed;
mod stored;
mod suited;
mod texts;

/// A decoder, what holds of it whatever it is given, and good input to begin from.
pub struct Target {
    /// Of the file in `tests/fuzz/fuzz_targets`, too.
    pub name: &'static str,
    /// Panics if what should hold does not.
    pub run: fn(&[u8]),
    pub seeds: fn() -> Vec<Vec<u8>>,
}

pub const TARGETS: [Target; 26] = [
    Target { name: "envelope", run: records::envelope, seeds: records::envelopes },
    Target { name: "body", run: records::body, seeds: records::bodies },
    Target { name: "segment", run: files::segment, seeds: files::segments },
    Target { name: "bundle", run: files::bundle, seeds: files::bundles },
    Target { name: "hashes", run: files::hashes, seeds: files::tiles },
    Target { name: "note", run: signed::note, seeds: signed::notes },
    Target { name: "key", run: signed::key, seeds: signed::keys },
    Target { name: "proof", run: signed::proof, seeds: signed::proofs },
    Target { name: "inclusion", run: signed::inclusion, seeds: signed::inclusions },
    Target { name: "names", run: texts::names, seeds: texts::good_names },
    Target { name: "headers", run: texts::headers, seeds: texts::good_headers },
    Target { name: "sealed", run: kept::sealed, seeds: kept::sealed_texts },
    Target { name: "subject_key", run: kept::subject_key, seeds: kept::subject_keys },
    Target { name: "snapshot", run: kept::snapshot, seeds: kept::snapshots },
    Target { name: "point", run: kept::point, seeds: kept::points },
    Target { name: "manifest", run: kept::manifest, seeds: kept::manifests },
    Target { name: "suite_signed", run: suited::signed, seeds: suited::signatures },
    Target { name: "suite_sealed", run: suited::sealed, seeds: suited::sealed_texts },
    Target { name: "suite_keys", run: suited::key, seeds: suited::keys },
    Target { name: "keystore_file", run: stored::file, seeds: stored::files },
    Target { name: "keystore_share", run: stored::share, seeds: stored::shares },
    Target { name: "judged_record", run: judged::record, seeds: records::envelopes },
    Target { name: "judged_note", run: judged::note, seeds: judged::notes },
    Target { name: "judged_proof", run: judged::proof, seeds: judged::proofs },
    Target { name: "judged_log", run: judged::log, seeds: judged::logs },
    Target { name: "judged_export", run: judged::export, seeds: judged::exports },
];

/// Runs the target of that name: what a file in `tests/fuzz/fuzz_targets` does.
///
/// # Panics
/// If there is none, or what should hold of it does not.
pub fn run(name: &str, bytes: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    (target.unwrap_or_else(|| panic!("{name} is no target")).run)(bytes);
}
