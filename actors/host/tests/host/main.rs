//! A small machine under real trees over a journal on disk: what callers, views and the record see.

mod answers;
mod chaos;
mod digests;
mod disk;
mod ends;
mod ledger;
mod pipeline;
mod snapshots;
mod time;
mod views;
mod world;
