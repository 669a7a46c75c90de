//! Bytes that nobody may see: overwritten where they lay once nobody holds them, and never printed.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use aws_lc_rs::rand;
use zeroize::Zeroizing;

use crate::{Refusal, Suite};

/// A secret. It has no text form, and comparing two takes as long whether they are alike or not.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes over what the caller has, whose buffer is this one from now on.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Of what lies elsewhere, and is overwritten there by who owns it.
    pub(crate) fn copied(bytes: impl AsRef<[u8]>) -> Self {
        Self::new(bytes.as_ref().to_vec())
    }

    /// Of `length` drawn bytes.
    pub(crate) fn drawn(length: usize, suite: impl Into<Suite>) -> Result<Self, Refusal> {
        let mut secret = Self::new(vec![0; length]);
        rand::fill(&mut secret.0).map_err(|_| Refusal::Provider { suite: suite.into() })?;
        Ok(secret)
    }

    /// Another secret of 32 bytes, which `info` makes another one (HKDF-SHA256, RFC 5869, without a salt).
    pub(crate) fn derived(&self, info: &[&[u8]]) -> Self {
        let mut derived = Self::new(vec![0; 32]);
        let prk = Salt::new(HKDF_SHA256, &[]).extract(&self.0);
        let filled = prk.expand(info, HKDF_SHA256).and_then(|okm| okm.fill(&mut derived.0));
        filled.expect("HKDF-SHA256 gives 32 bytes");
        derived
    }

    /// The bytes, for who seals, wraps or uses them.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn exposed_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}
