//! Protocols over real hosts, in a real tree: what a call and a letter come to, whatever is killed or revoked.

mod calls;
mod letters;
mod peer;
mod starts;
mod world;
