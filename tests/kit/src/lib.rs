//! Test kit: seeds, ledgers and a daemon to break.
