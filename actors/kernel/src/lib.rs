//! The contract and vocabulary that everything else is written in.
