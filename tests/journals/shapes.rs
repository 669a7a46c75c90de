//! The shape of every published record, one line a kind and version in `shapes.txt`: id, version, stream, name, fields.
//!
//! The shapes are traced out of the types themselves, with what they are made of, so that a change anywhere below a
//! published record shows as a changed line. A published line never changes and never goes. A new kind or version adds one:
//! `SOP_SHAPES=add cargo test --test journals` writes it.

use std::collections::BTreeMap;
use std::path::Path;

use kernel::{Kind, Machine, Reader, Recorded};
use serde::de::DeserializeOwned;
use serde_reflection::{ContainerFormat, Format, Named, Registry, Samples, Tracer, TracerConfig};

use crate::{Look, each};

/// "Reads" every kind of body by tracing its type instead.
struct Tracing;

impl Reader for Tracing {
    /// The shape, or `None` for a kind that is not registered.
    type Error = Option<String>;

    fn get<T: DeserializeOwned>(self) -> Result<T, Option<String>> {
        let samples = Samples::new();
        let mut tracing = Tracer::new(TracerConfig::default());
        let traced = tracing.trace_type_once::<T>(&samples).map(|(format, _)| format);
        let format = traced.unwrap_or_else(|error| panic!("a frozen body can be traced: {error}"));
        let registry = tracing.registry().unwrap_or_else(|error| panic!("a frozen body holds no enum: {error}"));
        Err(Some(shape(&format, &registry)))
    }

    fn unknown(self) -> Option<String> {
        None
    }
}

/// Names of types are left out: they are not in the bytes, nor in what people are shown of them.
fn shape(format: &Format, registry: &Registry) -> String {
    let fields = |fields: &[Named<Format>]| {
        let fields: Vec<_> =
            fields.iter().map(|field| format!("{}: {}", field.name, shape(&field.value, registry))).collect();
        format!("{{{}}}", fields.join(", "))
    };
    match format {
        Format::Bool => "bool".into(),
        Format::U8 => "u8".into(),
        Format::U16 => "u16".into(),
        Format::U32 => "u32".into(),
        Format::U64 => "u64".into(),
        Format::U128 => "u128".into(),
        Format::I64 => "i64".into(),
        Format::Str => "text".into(),
        Format::Option(inner) => format!("{}?", shape(inner, registry)),
        Format::Seq(inner) => format!("[{}]", shape(inner, registry)),
        Format::TupleArray { content, size } => format!("[{}; {size}]", shape(content, registry)),
        Format::Tuple(items) if items.windows(2).all(|pair| pair[0] == pair[1]) && !items.is_empty() => {
            format!("[{}; {}]", shape(&items[0], registry), items.len())
        }
        Format::TypeName(name) => match &registry[name] {
            ContainerFormat::NewTypeStruct(inner) => shape(inner, registry),
            ContainerFormat::Struct(named) => fields(named),
            other => panic!("a frozen body holds no {name}, which is {other:?}"),
        },
        other => panic!("a frozen body holds no {other:?}"),
    }
}

/// The shape of each version of each kind of `E`.
pub fn shapes<E: Recorded>() -> BTreeMap<(u32, u16), (&'static str, String)> {
    let traced = |kind: &Kind| match E::read((kind.id, kind.version), Tracing) {
        Err(Some(shape)) => ((kind.id, kind.version), (kind.name, shape)),
        Err(None) => panic!("{} is in KINDS, and not read", kind.name),
        Ok(_) => panic!("{} is read without its bytes", kind.name),
    };
    E::KINDS.iter().map(traced).collect()
}

struct Lines(BTreeMap<(u32, u16), String>);

impl Look for Lines {
    fn at<M: Machine>(&mut self) {
        for ((id, version), (name, shape)) in shapes::<M::Event>() {
            self.0.insert((id, version), format!("{id} {version} {} {name} {shape}", M::NAME));
        }
    }
}

/// Which kind and version a line is of.
fn key(line: &str) -> (u32, u16) {
    let mut words = line.split(' ');
    let (id, version) = (words.next().and_then(|id| id.parse().ok()), words.next().and_then(|word| word.parse().ok()));
    id.zip(version).unwrap_or_else(|| panic!("a line begins with id and version: {line}"))
}

#[test]
fn what_is_published_keeps_its_shape() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/journals/shapes.txt");
    let published = std::fs::read_to_string(&file).expect("the shapes stand beside this test");
    let mut found = Lines(BTreeMap::new());
    each(&mut found);
    // Without facts: their bodies are empty ([`journal::codec::fact`]).
    for kind in [journal::OPENED, journal::CONCLUDED] {
        let Kind { id, version, name } = kind;
        found.0.insert((id, version), format!("{id} {version} * {name} {{}}"));
    }
    let Lines(mut new) = found;
    for line in published.lines() {
        let now = new.remove(&key(line)).unwrap_or_default();
        assert_eq!(
            now, line,
            "\na published record is as it was for ever: make the change in a next version (docs/journal.md)\n"
        );
    }
    if new.is_empty() {
        return;
    }
    let added = new.into_values().collect::<Vec<_>>().join("\n");
    let may = std::env::var("SOP_SHAPES");
    assert_eq!(may.as_deref(), Ok("add"), "these are not published yet; SOP_SHAPES=add adds them:\n{added}");
    let mut all: Vec<_> = published.lines().chain(added.lines()).collect();
    all.sort_by_key(|line| key(line));
    std::fs::write(&file, all.join("\n") + "\n").expect("the shapes can be written");
}
