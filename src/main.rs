//! `sop`: the daemon and its command line, in one binary.

mod cli;

/// See the manifest for the reason. The library leaves the choice to its users.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    cli::main()
}
