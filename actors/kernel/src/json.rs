//! Records as JSON, for people and tests; the journal's own form is its codec's.

use alloc::borrow::ToOwned;
use alloc::string::{String, ToString};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{Kind, Reader, Recorded, Writer};

/// The body is null if JSON cannot say it.
pub fn write<E: Recorded>(event: &E) -> (Kind, Value) {
    event.write(Json)
}

/// # Errors
/// What is wrong with the body, or that the kind was never registered.
pub fn read<E: Recorded>(kind: (u32, u16), body: Value) -> Result<E, String> {
    E::read(kind, Body(body))
}

struct Json;

impl Writer for Json {
    type Done = (Kind, Value);

    fn put<T: Serialize>(self, kind: Kind, body: &T) -> Self::Done {
        (kind, serde_json::to_value(body).unwrap_or_default())
    }
}

struct Body(Value);

impl Reader for Body {
    type Error = String;

    fn get<T: DeserializeOwned>(self) -> Result<T, String> {
        serde_json::from_value(self.0).map_err(|error| error.to_string())
    }

    fn unknown(self) -> String {
        "a kind that was never registered".to_owned()
    }
}
