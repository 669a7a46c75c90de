//! Whose tokens are believed: the issuers that are configured, and the way to their keys.

use std::sync::Arc;

use ::issuers::{Fetch, Issuers, LONGEST};
use config::Config;
use supervisors::Child;

use crate::boot::Parts;

/// The issuers, none of whose keys was read yet.
pub fn believed(config: &Config) -> Arc<Issuers> {
    Issuers::new(config.http.issuers.clone())
}

/// Who reads their keys.
pub fn readers(parts: &Parts, config: &Config) -> Vec<Child> {
    parts.issuers.children(&parts.clock, &fetch(config))
}

fn fetch(config: &Config) -> Fetch {
    let outward = http::Outward::new(config.http.issuers_ca.as_deref());
    Arc::new(move |address| {
        let outward = outward.clone();
        Box::pin(async move {
            match outward.get(&address, LONGEST).await.map_err(|lost| lost.to_string())? {
                (200, body) => Ok(body),
                (status, _) => Err(format!("{address} answers with status {status}")),
            }
        })
    })
}
