//! The shape of a type, as serde meets it when it reads one: what tells bytes that the same type wrote from bytes that a
//! former one did.
//!
//! Bytes without names are read in order, so a field that moved, or a variant that came in between, gives wrong values and
//! no error. The shape has all names, kinds and places in it, found by letting the type read itself from nothing: every
//! list has one element, every option is there, and the reading is repeated until every variant has been met.

use std::collections::{BTreeMap, BTreeSet};

use kernel::Digest;
use serde::de::value::{Error, U32Deserializer};
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error as _, IntoDeserializer as _, MapAccess,
    SeqAccess, VariantAccess, Visitor,
};

/// A type that is deeper than this holds itself, and has no end.
const PATH_BYTES_MAX: usize = 2_048;
/// Types that read themselves from text take this one, which is a principal.
const SAMPLE: &str = "internal/sample";

/// The digest of all that tells the types of `T` from others.
///
/// # Errors
/// If a type takes none of what it is offered, or holds itself.
pub fn digest_of<T: DeserializeOwned>() -> Result<Digest, Error> {
    let mut hasher = blake3::Hasher::new();
    for line in lines::<T>()? {
        hasher.update(line.as_bytes()).update(b"\n");
    }
    Ok(Digest(*hasher.finalize().as_bytes()))
}

fn lines<T: DeserializeOwned>() -> Result<BTreeSet<String>, Error> {
    let mut trace = Trace::default();
    loop {
        trace.open = false;
        T::deserialize(&mut trace)?;
        if !trace.open {
            return Ok(trace.lines);
        }
    }
}

#[derive(Default)]
struct Trace {
    /// What lies at which place.
    lines: BTreeSet<String>,
    /// Where the reading is.
    path: String,
    /// Which variant comes next at which place.
    next: BTreeMap<String, u32>,
    /// Some variant was not met yet.
    open: bool,
}

impl Trace {
    fn note(&mut self, what: &str) {
        self.lines.insert(format!("{}: {what}", self.path));
    }

    fn within<T>(&mut self, step: &str, read: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        let length = self.path.len();
        if PATH_BYTES_MAX < length {
            return Err(Error::custom("the type holds itself"));
        }
        self.path.push_str(step);
        let done = read(self);
        self.path.truncate(length);
        done
    }

    fn parts<'de, V: Visitor<'de>>(
        &mut self,
        names: impl Iterator<Item = String>,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_seq(Parts { trace: self, names })
    }
}

fn named(names: &'static [&'static str]) -> impl Iterator<Item = String> {
    names.iter().map(|name| format!(".{name}"))
}

fn numbered(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|number| format!(".{number}"))
}

macro_rules! plain {
    ($($method:ident $visit:ident $value:expr;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            self.note(stringify!($visit));
            visitor.$visit($value)
        }
    )*};
}

impl<'de> Deserializer<'de> for &mut Trace {
    type Error = Error;

    plain! {
        deserialize_bool visit_bool false;
        deserialize_i8 visit_i8 0;
        deserialize_i16 visit_i16 0;
        deserialize_i32 visit_i32 0;
        deserialize_i64 visit_i64 0;
        deserialize_i128 visit_i128 0;
        deserialize_u8 visit_u8 0;
        deserialize_u16 visit_u16 0;
        deserialize_u32 visit_u32 0;
        deserialize_u64 visit_u64 0;
        deserialize_u128 visit_u128 0;
        deserialize_f32 visit_f32 0.0;
        deserialize_f64 visit_f64 0.0;
        deserialize_char visit_char 'a';
        deserialize_str visit_str SAMPLE;
        deserialize_string visit_string SAMPLE.to_owned();
        deserialize_bytes visit_bytes &[];
        deserialize_byte_buf visit_byte_buf Vec::new();
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.note("unit");
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Error> {
        self.note(&format!("unit {name}"));
        visitor.visit_unit()
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.note("option");
        self.within("?", |trace| visitor.visit_some(trace))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Error> {
        self.note(&format!("new {name}"));
        self.within(".", |trace| visitor.visit_newtype_struct(trace))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.note("list");
        self.parts(std::iter::once("[]".to_owned()), visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, count: usize, visitor: V) -> Result<V::Value, Error> {
        self.note(&format!("{count} parts"));
        self.parts(numbered(count), visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        count: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.note(&format!("{count} parts of {name}"));
        self.parts(numbered(count), visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.note("map");
        visitor.visit_map(Parts { trace: self, names: ["{key}", "{value}"].map(String::from).into_iter() })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.note(&format!("{name} of {fields:?}"));
        self.parts(named(fields), visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.note(&format!("one {name} of {variants:?}"));
        let place = self.path.clone();
        let number = self.next.get(&place).copied().unwrap_or_default();
        let variant = variants.get(number as usize).ok_or_else(|| Error::custom("an enum without variants"))?;
        let beside = std::mem::take(&mut self.open);
        let value = self.within(&format!("|{variant}"), |trace| visitor.visit_enum(Chosen { trace, number }))?;
        // What is below a variant is met in full before the next one's turn.
        if !self.open && (number as usize) + 1 < variants.len() {
            self.next.insert(place, number + 1);
            self.open = true;
        }
        self.open |= beside;
        Ok(value)
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error::custom("the type does not say what it reads"))
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_any(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_any(visitor)
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

/// The parts of something, one after the other.
struct Parts<'a, N> {
    trace: &'a mut Trace,
    names: N,
}

impl<'de, N: Iterator<Item = String>> Parts<'_, N> {
    fn next<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        let Some(name) = self.names.next() else { return Ok(None) };
        self.trace.within(&name, |trace| seed.deserialize(trace)).map(Some)
    }
}

impl<'de, N: Iterator<Item = String>> SeqAccess<'de> for Parts<'_, N> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        self.next(seed)
    }
}

impl<'de, N: Iterator<Item = String>> MapAccess<'de> for Parts<'_, N> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        self.next(seed)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        self.next(seed)?.ok_or_else(|| Error::custom("a value is read after its key"))
    }
}

/// The variant whose turn it is.
struct Chosen<'a> {
    trace: &'a mut Trace,
    number: u32,
}

impl<'de> EnumAccess<'de> for Chosen<'_> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Error> {
        let number: U32Deserializer<Error> = self.number.into_deserializer();
        Ok((seed.deserialize(number)?, self))
    }
}

impl<'de> VariantAccess<'de> for Chosen<'_> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        self.trace.note("nothing");
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Error> {
        self.trace.note("one part");
        self.trace.within(".0", |trace| seed.deserialize(trace))
    }

    fn tuple_variant<V: Visitor<'de>>(self, count: usize, visitor: V) -> Result<V::Value, Error> {
        self.trace.note(&format!("{count} parts"));
        self.trace.parts(numbered(count), visitor)
    }

    fn struct_variant<V: Visitor<'de>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Error> {
        self.trace.note(&format!("{fields:?}"));
        self.trace.parts(named(fields), visitor)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use kernel::{Principal, Timestamp, TokenId};
    use serde::Deserialize;

    use super::*;

    /// A module for each of two types of one name.
    macro_rules! thing {
        ($module:ident { $($body:tt)* }) => {
            mod $module {
                use super::*;

                #[derive(Deserialize)]
                #[expect(dead_code, reason = "only its shape is looked at")]
                pub struct Thing { $($body)* }
            }
        };
    }

    #[derive(Deserialize)]
    enum Inner {
        First,
        Second(#[expect(dead_code, reason = "only its shape is looked at")] u8),
    }

    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only its shape is looked at")]
    enum Outer {
        Inner(Inner),
        Both { a: Inner, b: Option<Inner> },
        Last(String, char),
    }

    thing!(usual { who: Principal, at: Timestamp, ids: BTreeMap<TokenId, [u8; 2]>, what: Outer });
    thing!(the_same { who: Principal, at: Timestamp, ids: BTreeMap<TokenId, [u8; 2]>, what: Outer });
    thing!(moved { at: Timestamp, who: Principal, ids: BTreeMap<TokenId, [u8; 2]>, what: Outer });
    thing!(renamed { whom: Principal, at: Timestamp, ids: BTreeMap<TokenId, [u8; 2]>, what: Outer });
    thing!(shorter { who: Principal, at: Timestamp, ids: BTreeMap<TokenId, [u8; 2]> });
    thing!(wider { who: Principal, at: Timestamp, ids: BTreeMap<TokenId, [u8; 3]>, what: Outer });
    thing!(other { who: Principal, at: u64, ids: BTreeMap<TokenId, [u8; 2]>, what: Outer });
    thing!(inner { who: Principal, at: Timestamp, ids: BTreeMap<TokenId, [u8; 2]>, what: Inner });
    thing!(optional { who: Option<Principal>, at: Timestamp, ids: BTreeMap<TokenId, [u8; 2]>, what: Outer });

    #[test]
    fn another_shape_has_another_digest() {
        let usual = digest_of::<usual::Thing>().unwrap();
        assert_eq!(usual, digest_of::<the_same::Thing>().unwrap());
        for (what, digest) in [
            ("a field moved", digest_of::<moved::Thing>()),
            ("a field has another name", digest_of::<renamed::Thing>()),
            ("a field is gone", digest_of::<shorter::Thing>()),
            ("an array is longer", digest_of::<wider::Thing>()),
            ("a field has another type", digest_of::<other::Thing>()),
            ("an enum is another one", digest_of::<inner::Thing>()),
            ("a field became optional", digest_of::<optional::Thing>()),
        ] {
            assert_ne!(usual, digest.unwrap(), "{what}");
        }
    }

    #[test]
    fn every_variant_is_met_wherever_it_lies() {
        let lines = lines::<usual::Thing>().unwrap();
        for line in [
            ".who: visit_string",
            ".ids{key}: visit_u128",
            ".ids{value}.1: visit_u8",
            ".what|Inner.0|First: nothing",
            ".what|Inner.0|Second.0: visit_u8",
            ".what|Both.a|Second.0: visit_u8",
            ".what|Both.b?|First: nothing",
            ".what|Both.b?|Second.0: visit_u8",
            ".what|Last.1: visit_char",
        ] {
            assert!(lines.contains(line), "{line}: {lines:#?}");
        }
    }

    #[test]
    fn a_type_that_holds_itself_has_no_shape() {
        #[derive(Deserialize)]
        #[expect(dead_code, reason = "only its shape is looked at")]
        struct Endless {
            below: Vec<Endless>,
        }
        assert!(digest_of::<Endless>().is_err());
    }
}
