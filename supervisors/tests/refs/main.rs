//! References: what is admitted, held, answered and lost, and what is known of it.

mod admission;
mod calls;
mod down;
mod echo;
mod health;
mod laws;
mod storm;
