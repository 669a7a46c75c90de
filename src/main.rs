//! `sop`: the daemon and its command line, in one binary.

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
