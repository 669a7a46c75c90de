//! Reads the layers, checks them, and keeps where each value comes from.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::time::Duration;

use suites::{Domain, FLOOR_BITS, Policy, PolicyError, Suite};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::{
    Address, Attestation, Backup, Bytes, Certificate, Classes, Crypto, DEFAULT, Door, Files, Gaps, Host, Http, Issuer,
    Journal, KeysAt, Log, Place, RootKey, Scan, Security, Sources, Store, Supervision, Witness, place,
};

/// Names less alike than this are no suggestion but noise.
const LIKENESS_MIN: f64 = 0.6;

/// A period that does not come round.
const NEVER: &str = "never";

/// A note must hold a line of each.
const WITNESSES_MAX: usize = 32;

/// One, and perhaps the next one.
const ISSUERS_MAX: usize = 16;

/// By more of them nobody knows it.
const SERVERS_MAX: usize = 16;

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// What is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub store: Store,
    pub journal: Journal,
    pub host: Host,
    pub door: Door,
    pub http: Http,
    pub log: Log,
    pub supervision: Supervision,
    pub backup: Backup,
    pub retention: Classes,
    pub scan: Scan,
    pub gaps: Gaps,
    pub security: Security,
    pub attestation: Attestation,
    pub crypto: Crypto,
    effective: Vec<Effective>,
}

/// One option as it is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Effective {
    key: &'static str,
    /// As it would stand in a file.
    value: String,
    origin: Origin,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    Default,
    File { path: PathBuf, line: usize, column: usize },
    Environment(&'static str),
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line, .. } => write!(f, "{}:{line}", path.display()),
            Self::Environment(name) => write!(f, "${name}"),
            Self::Flag(name) => f.write_str(name),
        }
    }
}

/// What is wrong with the configuration, where, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Problem {
    /// Stable, for programs: `config.unknown_key`.
    pub code: &'static str,
    /// `section.option`, where it is about one.
    pub key: Option<String>,
    pub file: Option<PathBuf>,
    /// Line and column, both from 1.
    pub place: Option<(usize, usize)>,
    pub message: String,
    pub remedy: String,
}

/// As compilers say it, so that editors can jump there.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{}:", file.display())?;
            if let Some((line, column)) = self.place {
                write!(f, "{line}:{column}:")?;
            }
            f.write_str(" ")?;
        }
        if let Some(key) = &self.key {
            write!(f, "{key}: ")?;
        }
        write!(f, "{}; {} ({})", self.message, self.remedy, self.code)
    }
}

impl Problem {
    fn new(code: &'static str, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { code, key: None, file: None, place: None, message: message.into(), remedy: remedy.into() }
    }

    fn about(self, key: &str) -> Self {
        Self { key: Some(key.to_owned()), ..self }
    }

    fn at(self, origin: &Origin) -> Self {
        match origin {
            Origin::File { path, line, column } => {
                Self { file: Some(path.clone()), place: Some((*line, *column)), ..self }
            }
            Origin::Environment(name) => Self { message: format!("{} (from ${name})", self.message), ..self },
            Origin::Flag(name) => Self { message: format!("{} (from {name})", self.message), ..self },
            Origin::Default => self,
        }
    }
}

impl Config {
    /// Reads all layers.
    ///
    /// # Errors
    /// Everything that is wrong, not only the first; what follows from an earlier problem is left out.
    pub fn load(sources: &Sources) -> Result<Self, Vec<Problem>> {
        let defaults = defaults();
        let mut problems = Vec::new();
        let given = sources.data();
        let Files { named, beside_the_data } = files(sources, &defaults);
        let (file, named) = (named.as_ref().unwrap_or(&beside_the_data), named.is_some());
        let mut settings = defaults.clone();
        match read(file, named) {
            Ok(None) => {}
            Ok(Some(text)) => match layer(&text, Some(file), Some(&defaults)) {
                Ok(layer) => settings.extend(layer),
                Err(found) => problems.extend(found),
            },
            Err(found) => problems.extend(found),
        }
        // What a data directory holds cannot say that it is another one.
        let circular = settings.get("store.data").filter(|data| !named && data.origin != Origin::Default);
        if let Some(data) = circular {
            let remedy = "name the directory with --data or $SOP_DATA, or the file with --config";
            let message = "this file was found in the data directory, so it cannot name another one";
            problems.push(Problem::new("config.conflict", message, remedy).about("store.data").at(&data.origin));
        }
        if !problems.is_empty() {
            return Err(problems);
        }

        let mut from = Reader { settings: &settings, sources, given, effective: Vec::new(), problems };
        let mut config = Self {
            store: Store::read(&mut from),
            journal: Journal::read(&mut from),
            host: Host::read(&mut from),
            door: Door::read(&mut from),
            http: Http::read(&mut from),
            log: Log::read(&mut from),
            supervision: Supervision::read(&mut from),
            backup: Backup::read(&mut from),
            retention: Classes::read(&mut from),
            scan: Scan::read(&mut from),
            gaps: Gaps::read(&mut from),
            security: Security::read(&mut from),
            attestation: Attestation::read(&mut from),
            crypto: Crypto::read(&mut from),
            effective: Vec::new(),
        };
        let mut problems = std::mem::take(&mut from.problems);
        config.effective = from.effective;
        if problems.is_empty() {
            problems = config.conflicts();
        }
        if problems.is_empty() { Ok(config) } else { Err(problems) }
    }

    /// Where [`load`](Self::load) looks for the file.
    pub fn files(sources: &Sources) -> Files {
        files(sources, &defaults())
    }

    /// What each option allows by itself, and two together do not.
    fn conflicts(&self) -> Vec<Problem> {
        let mut conflicts = Vec::new();
        let mut conflict = |key: &str, message: String, remedy: &str| {
            let problem = Problem::new("config.conflict", message, remedy).about(key);
            conflicts.push(match self.origin(key) {
                Some(origin) => problem.at(origin),
                None => problem,
            });
        };
        let Supervision { backoff_first, backoff_max, .. } = &self.supervision;
        if backoff_max < backoff_first {
            let message =
                format!("{} is shorter than backoff_first, {}", written(*backoff_max), written(*backoff_first));
            conflict("supervision.backoff_max", message, "set both so that backoff_first is not the longer one");
        }
        match (self.http.listen, &self.http.tls) {
            (Some(address), None) if !address.ip().to_canonical().is_loopback() => {
                let message = format!("{address} can be reached from other machines, who would read along without TLS");
                let remedy = "set certificate and key, or names, in [http.tls], or listen on 127.0.0.1 or [::1]";
                conflict("http.listen", message, remedy);
            }
            (None, Some(tls)) => {
                let key = match tls.certificate {
                    Certificate::Files { .. } => "http.tls.certificate",
                    Certificate::Own { .. } => "http.tls.names",
                };
                conflict(key, "nothing listens on TCP".into(), "set http.listen, or leave [http.tls] out");
            }
            (Some(_), Some(tls))
                if matches!(tls.certificate, Certificate::Own { .. }) && self.crypto.root_key.is_none() =>
            {
                conflict(
                    "http.tls.names",
                    "the key that signs such a certificate is in the keystore, which has no root key".into(),
                    "set crypto.root_key, or certificate and key in [http.tls]",
                );
            }
            _ => {}
        }
        if let (Some(endpoint), false) = (&self.backup.s3.endpoint, self.backup.s3.allow_http)
            && endpoint.starts_with("http://")
        {
            let message = format!("{endpoint} is without TLS: whoever is on the way reads and changes what passes");
            let remedy = "use https://, or set backup.s3.allow_http = \"yes\" where everybody on the way is trusted";
            conflict("backup.s3.endpoint", message, remedy);
        }
        if self.crypto.root_key_before.is_some() && self.crypto.root_key.is_none() {
            let message = "there is no root key that came after it".to_owned();
            conflict("crypto.root_key_before", message, "set crypto.root_key to the one that is to be in use");
        }
        let (quorum, witnesses) = (self.log.quorum, self.log.witnesses.len());
        if witnesses < quorum {
            let message = format!("{quorum} of {witnesses} witnesses can never cosign");
            conflict("log.quorum", message, "name more of them in log.witnesses, or lower it");
        }
        let (reserve, group) = (self.store.reserve, self.journal.group_bytes_max);
        if reserve < group {
            let message = format!("{reserve} does not hold one group of the journal, which can have {group}");
            conflict("store.reserve", message, "raise store.reserve or lower journal.group_bytes_max");
        }
        conflicts
    }

    /// Where the value of `key` comes from; `None` if there is no such option.
    pub fn origin(&self, key: &str) -> Option<&Origin> {
        self.effective.iter().find(|option| option.key == key).map(|option| &option.origin)
    }

    /// All options in force: key, value as it would stand in a file, and origin.
    pub fn options(&self) -> impl Iterator<Item = (&str, &str, &Origin)> {
        self.effective.iter().map(|option| (option.key, option.value.as_str(), &option.origin))
    }

    /// What is in force, in the form of a file, with the origin of each value beside it. Paths are as they are used: a
    /// relative one counts from the working directory.
    pub fn print(&self) -> String {
        let mut text = String::new();
        let mut section = "";
        for Effective { key, value, origin } in &self.effective {
            let (of, name) = key.rsplit_once('.').expect("a key has a section");
            if of != section {
                let space = if section.is_empty() { "" } else { "\n" };
                let _ = writeln!(text, "{space}[{of}]");
                section = of;
            }
            // A comment ends with its line, whatever the name of a file may hold.
            let origin = origin.to_string().replace(char::is_control, "\u{fffd}");
            let _ = writeln!(text, "{name} = {value}  # {origin}");
        }
        text
    }
}

fn defaults() -> Layer {
    layer(DEFAULT, None, None).expect("default.toml is well-formed, a test loads it")
}

fn files(sources: &Sources, defaults: &Layer) -> Files {
    let data = match (sources.data(), &defaults["store.data"].value) {
        (Some((path, _)), _) => path,
        (None, Value::Text(text)) => PathBuf::from(text),
        (None, _) => unreachable!("a test reads the default data directory"),
    };
    sources.files(&data)
}

/// The file's text; nothing if it is not there and nobody asked for it.
fn read(file: &Path, named: bool) -> Result<Option<String>, Vec<Problem>> {
    let bytes = match fs::read(file) {
        Ok(bytes) => bytes,
        // What is in the way of the data directory is for whoever makes it to say.
        Err(error) if is_absent(error.kind()) && !named => return Ok(None),
        Err(error) => return Err(vec![unreadable(file, &error)]),
    };
    String::from_utf8(bytes).map(Some).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let before = String::from_utf8_lossy(&error.as_bytes()[..valid]).into_owned();
        let place = Some(position(&before, before.len()));
        let problem = Problem::new("config.not_utf8", "the file is not UTF-8 text", "save it as UTF-8");
        vec![Problem { file: Some(file.to_owned()), place, ..problem }]
    })
}

fn is_absent(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn unreadable(file: &Path, error: &io::Error) -> Problem {
    let (message, remedy) = match error.kind() {
        io::ErrorKind::NotFound => {
            ("there is no such file".to_owned(), "correct --config or $SOP_CONFIG, or leave it out")
        }
        io::ErrorKind::PermissionDenied => (
            "the file may not be read".to_owned(),
            "let the user that SOP runs as read the file and enter its directory",
        ),
        _ => (format!("the file cannot be read: {error}"), "name a file that can be read"),
    };
    Problem { file: Some(file.to_owned()), ..Problem::new("config.unreadable", message, remedy) }
}

type Layer = BTreeMap<String, Setting>;

#[derive(Clone, Debug)]
struct Setting {
    value: Value,
    origin: Origin,
}

#[derive(Clone, Debug)]
enum Value {
    Text(String),
    Integer(i128),
    List(Vec<String>),
    /// What no option is; TOML's name for it.
    Other(&'static str),
}

/// The options of one file, by `section.option`. What is not in `known` is a problem.
fn layer(text: &str, file: Option<&Path>, known: Option<&Layer>) -> Result<Layer, Vec<Problem>> {
    let origin = |span: Range<usize>| {
        let (line, column) = position(text, span.start);
        file.map_or(Origin::Default, |path| Origin::File { path: path.to_owned(), line, column })
    };
    let document = DeTable::parse(text).map_err(|error| {
        // The parser's own words may have several lines; a problem has one.
        let message = error.message().lines().collect::<Vec<_>>().join(", ");
        let problem = Problem::new("config.malformed", message, "correct the TOML; see https://toml.io");
        vec![problem.at(&origin(error.span().unwrap_or(0..0)))]
    })?;
    let (mut layer, mut problems) = (Layer::new(), Vec::new());
    for (section, options) in document.get_ref() {
        let name: &str = section.get_ref();
        if let Some(known) = known
            && !known.keys().any(|key| section_of(key) == name)
        {
            problems.push(unknown_section(name, known).at(&origin(section.span())));
            continue;
        }
        let Some(table) = options.get_ref().as_table() else {
            let message = format!("this is a section, not {}", article(options.get_ref().type_str()));
            let remedy = format!("write [{name}] on a line of its own, and its options below");
            let problem = Problem::new("config.invalid_value", message, remedy).about(name);
            problems.push(problem.at(&origin(options.span())));
            continue;
        };
        let mut sections = vec![(name.to_owned(), table)];
        while let Some((section, table)) = sections.pop() {
            for (option, value) in table {
                let key = format!("{section}.{}", option.get_ref());
                let is_section =
                    known.is_none_or(|known| known.keys().any(|known| known.starts_with(&format!("{key}."))));
                if let (Some(table), true) = (value.get_ref().as_table(), is_section) {
                    sections.push((key, table));
                    continue;
                }
                if let Some(known) = known
                    && !known.contains_key(&key)
                {
                    problems.push(unknown_key(&section, option.get_ref(), known).at(&origin(option.span())));
                    continue;
                }
                let setting = Setting { value: Value::of(value.get_ref()), origin: origin(value.span()) };
                layer.insert(key, setting);
            }
        }
    }
    if problems.is_empty() { Ok(layer) } else { Err(problems) }
}

impl Value {
    fn of(value: &DeValue<'_>) -> Self {
        match value {
            DeValue::String(text) => Self::Text(text.to_string()),
            // One that does not fit is beyond every range, on the side that its sign says.
            DeValue::Integer(digits) => {
                Self::Integer(
                    i128::from_str_radix(digits.as_str(), digits.radix())
                        .unwrap_or(if digits.as_str().starts_with('-') { i128::MIN } else { i128::MAX }),
                )
            }
            DeValue::Array(items) => {
                let text = |item: &Spanned<DeValue<'_>>| item.get_ref().as_str().map(str::to_owned);
                match items.iter().map(text).collect() {
                    Some(texts) => Self::List(texts),
                    None => Self::Other("array of other things than strings"),
                }
            }
            other => Self::Other(other.type_str()),
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "string",
            Self::Integer(_) => "integer",
            Self::List(_) => "array",
            Self::Other(kind) => kind,
        }
    }
}

fn section_of(key: &str) -> &str {
    key.split_once('.').map_or(key, |(section, _)| section)
}

fn unknown_section(name: &str, known: &Layer) -> Problem {
    let elsewhere = known.keys().find(|key| key.rsplit_once('.').is_some_and(|(_, option)| option == name));
    let remedy = match (nearest(name, known.keys().map(|key| section_of(key))), elsewhere) {
        (_, Some(key)) => format!("did you mean `{key}`? Options stand below the [section] that they belong to"),
        (Some(section), None) => format!("did you mean `{section}`?"),
        (None, None) => "see `sop config show` for all sections and options".to_owned(),
    };
    Problem::new("config.unknown_section", "there is no such section", remedy).about(name)
}

fn unknown_key(section: &str, option: &str, known: &Layer) -> Problem {
    let split = || known.keys().filter_map(|key| key.rsplit_once('.'));
    let near = nearest(option, split().filter(|(of, _)| *of == section).map(|(_, option)| option));
    let elsewhere = split().find(|(_, known)| *known == option);
    let remedy = match (near, elsewhere) {
        (Some(near), _) => format!("did you mean `{near}`?"),
        (None, Some((of, option))) => format!("did you mean `{option}` of section [{of}]?"),
        (None, None) => "see `sop config show` for all sections and options".to_owned(),
    };
    Problem::new("config.unknown_key", "there is no such option", remedy).about(&format!("{section}.{option}"))
}

fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .map(|candidate| (strsim::normalized_damerau_levenshtein(name, candidate), candidate))
        .filter(|(likeness, _)| LIKENESS_MIN <= *likeness)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, candidate)| candidate)
}

/// Line and column of a byte, both from 1; the column counts characters.
fn position(text: &str, byte: usize) -> (usize, usize) {
    let before = &text[..text.floor_char_boundary(byte)];
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[start..].chars().count() + 1)
}

fn article(kind: &str) -> String {
    let article = if kind.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {kind}")
}

/// Takes typed values out of the merged layers. A value that is not what it should be is noted, and stands in as nothing:
/// it is never seen, because then the whole load fails.
pub(crate) struct Reader<'a> {
    settings: &'a Layer,
    sources: &'a Sources,
    given: Option<(PathBuf, Origin)>,
    effective: Vec<Effective>,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    pub(crate) fn count(&mut self, key: &'static str, range: RangeInclusive<usize>) -> usize {
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        let number = match self.setting(key).value {
            Value::Integer(number) => number,
            ref other => {
                let kind = other.kind();
                return self.invalid(key, &expected, &article(kind));
            }
        };
        match usize::try_from(number).ok().filter(|number| range.contains(number)) {
            Some(number) => self.effective(key, number.to_string(), number),
            None => self.out_of_range(key, &expected, &number.to_string()),
        }
    }

    pub(crate) fn size(&mut self, key: &'static str, range: RangeInclusive<Bytes>) -> Bytes {
        let expected = format!("a size in quotes, from \"{}\" to \"{}\"", range.start(), range.end());
        let Some(text) = self.text(key, &expected) else { return Bytes::default() };
        match text.parse::<Bytes>() {
            Ok(size) if range.contains(&size) => self.effective(key, quoted(&size.to_string()), size),
            Ok(size) => self.out_of_range(key, &expected, &size.to_string()),
            Err(error) => self.invalid(key, &expected, &format!("{}: {error}", quoted(&text))),
        }
    }

    pub(crate) fn span(&mut self, key: &'static str, range: RangeInclusive<Duration>) -> Duration {
        let expected =
            format!("a duration in quotes, from \"{}\" to \"{}\"", written(*range.start()), written(*range.end()));
        let Some(text) = self.text(key, &expected) else { return Duration::default() };
        match humantime::parse_duration(&text) {
            Ok(span) if range.contains(&span) => self.effective(key, quoted(&written(span)), span),
            Ok(span) => self.out_of_range(key, &expected, &written(span)),
            Err(error) => self.invalid(key, &expected, &format!("{}: {error}", quoted(&text))),
        }
    }

    /// None for never.
    pub(crate) fn period(&mut self, key: &'static str, range: RangeInclusive<Duration>) -> Option<Duration> {
        match &self.setting(key).value {
            Value::Text(text) if text == NEVER => self.effective(key, quoted(NEVER), None),
            _ => Some(self.span(key, range)),
        }
    }

    /// Stricter than tracing's own parser, which takes a misspelt level for the name of a module and logs nothing.
    pub(crate) fn level(&mut self, key: &'static str) -> String {
        let expected = "off, error, warn, info, debug or trace, and exceptions such as \"info,journal=debug\"";
        let Some(text) = self.text(key, expected) else { return String::new() };
        let level = |part: &str| part.rsplit_once('=').map_or(part, |(_, level)| level).to_ascii_lowercase();
        match text.split(',').map(level).find(|level| !LEVELS.contains(&level.as_str())) {
            None => self.effective(key, quoted(&text), text),
            Some(wrong) => {
                let near = nearest(&wrong, LEVELS.into_iter()).map(|near| format!(" (did you mean `{near}`?)"));
                self.invalid(key, expected, &format!("{} in it{}", quoted(&wrong), near.unwrap_or_default()))
            }
        }
    }

    pub(crate) fn data(&mut self, key: &'static str) -> PathBuf {
        let expected = "the path of a directory";
        if let Some((path, origin)) = self.given.clone() {
            return self.path(key, expected, path, origin);
        }
        let Some(text) = self.text(key, expected) else { return PathBuf::new() };
        let origin = self.setting(key).origin.clone();
        self.path(key, expected, PathBuf::from(text), origin)
    }

    /// A name that a signed note can carry; none for an empty text.
    pub(crate) fn name(&mut self, key: &'static str) -> Option<String> {
        let expected =
            "a name of up to 128 characters, without spaces and `+`, such as \"example.org/sop\", or \"\" for none";
        let text = self.text(key, expected)?;
        let wrong = |c: char| c.is_whitespace() || c.is_control() || c == '+';
        if text.chars().count() > 128 || text.contains(wrong) {
            return self.invalid(key, expected, &quoted(&text));
        }
        self.effective(key, quoted(&text), Some(text).filter(|text| !text.is_empty()))
    }

    /// A list of texts, or nothing and a note.
    fn texts(&mut self, key: &'static str, expected: &str) -> Option<Vec<String>> {
        match &self.setting(key).value {
            Value::List(texts) => Some(texts.clone()),
            other => {
                let kind = article(other.kind());
                self.invalid(key, expected, &kind)
            }
        }
    }

    /// Names of a server, each once: whether each is one, whoever makes certificates says.
    pub(crate) fn servers(&mut self, key: &'static str) -> Vec<String> {
        let expected = "an array of strings, each a name of the DNS or an address";
        let Some(names) = self.texts(key, expected) else { return Vec::new() };
        for (number, name) in names.iter().enumerate() {
            let message = match name {
                _ if number == SERVERS_MAX => format!("more than {SERVERS_MAX}"),
                _ if names[..number].contains(name) => format!("{} twice", quoted(name)),
                _ => continue,
            };
            return self.invalid(key, expected, &message);
        }
        let value = names.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(", ");
        self.effective(key, format!("[{value}]"), names)
    }

    /// What each domain may use, by the names of its options: suites, those that are checked besides, least strength.
    pub(crate) fn suites(&mut self, domains: [(Domain, [&'static str; 3]); 4]) -> Policy {
        let expected = "an array of strings, each the name of a suite (sop crypto status lists them)";
        let usual = Policy::default();
        let mut policy = Policy::default();
        for (domain, [suites, checked, bits]) in domains {
            let least = self.count(bits, usize::from(FLOOR_BITS)..=256);
            // One that was refused is noted, and nothing of its domain looked at.
            let Some(least) = u16::try_from(least).ok().filter(|least| FLOOR_BITS <= *least) else { continue };
            let (Some(named), Some(also)) = (self.texts(suites, expected), self.texts(checked, expected)) else {
                continue;
            };
            let known: Vec<_> =
                named.iter().filter_map(|name| Suite::named(name).ok()).map(|named| named.suite).collect();
            // Of a kind of which none is named the usual ones, as far as they are strong enough.
            let others = usual.makes(domain).filter(|suite| {
                least <= suite.bits()
                    && !known.iter().any(|known| known.kind() == suite.kind())
                    && !also.iter().any(|name| name == suite.name())
            });
            let others: Vec<_> = others.map(Suite::name).collect();
            let allowed = named.iter().map(String::as_str).chain(others);
            if let Err(error) = policy.set(domain, least, allowed, also.iter().map(String::as_str)) {
                let key = match &error {
                    PolicyError::Nothing { .. } => bits,
                    PolicyError::Unknown(unknown) if also.contains(&unknown.name) => checked,
                    PolicyError::Twice { suite, .. }
                        if named.iter().filter(|name| *name == suite.name()).count() < 2 =>
                    {
                        checked
                    }
                    _ => suites,
                };
                let () = self.invalid(key, expected, &error.to_string());
                continue;
            }
            for (key, names) in [(suites, &named), (checked, &also)] {
                let value = names.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(", ");
                let () = self.effective(key, format!("[{value}]"), ());
            }
        }
        policy
    }

    /// Witnesses, each a vkey and, after a space, the address that it is asked at.
    pub(crate) fn witnesses(&mut self, key: &'static str) -> Vec<Witness> {
        let expected =
            "an array of strings, each the vkey of a witness and, after a space, the address that it is asked at";
        let Some(texts) = self.texts(key, expected) else { return Vec::new() };
        let mut witnesses = Vec::<Witness>::new();
        for text in &texts {
            let (message, expected) = match text.parse::<Witness>() {
                Ok(witness) => match witnesses
                    .iter()
                    .find(|other| other.name == witness.name || other.key == witness.key)
                {
                    Some(other) => (format!("{} and {} have one name or key", other.name, witness.name), "each once"),
                    None if witnesses.len() == WITNESSES_MAX => (format!("more than {WITNESSES_MAX}"), "fewer"),
                    None => {
                        witnesses.push(witness);
                        continue;
                    }
                },
                Err(error) => (format!("{}: {error}", quoted(text)), expected),
            };
            return self.invalid(key, expected, &message);
        }
        let value = texts.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(", ");
        self.effective(key, format!("[{value}]"), witnesses)
    }

    /// Issuers of tokens, each a line.
    pub(crate) fn issuers(&mut self, key: &'static str) -> Vec<Issuer> {
        let expected = "an array of strings, each \"URL audience=NAME algorithms=ES256 keys=FILE or https://…\"";
        let Some(texts) = self.texts(key, expected) else { return Vec::new() };
        let (mut issuers, mut lines) = (Vec::<Issuer>::new(), Vec::new());
        for text in &texts {
            let (message, expected) = match text.parse::<Issuer>() {
                Ok(issuer) if issuers.iter().any(|other| other.name == issuer.name) => {
                    (format!("{} twice", issuer.name), "each once")
                }
                Ok(_) if issuers.len() == ISSUERS_MAX => (format!("more than {ISSUERS_MAX}"), "fewer"),
                Ok(mut issuer) => {
                    if let (KeysAt::File(file), Origin::File { path, .. }) =
                        (&mut issuer.keys, &self.setting(key).origin)
                    {
                        *file = path.parent().unwrap_or(Path::new("")).join(&file);
                    }
                    let word = |word: &str| match &issuer.keys {
                        KeysAt::File(file) if word.starts_with("keys=") => format!("keys={}", file.display()),
                        _ => word.to_owned(),
                    };
                    lines.push(quoted(&text.split_ascii_whitespace().map(word).collect::<Vec<_>>().join(" ")));
                    issuers.push(issuer);
                    continue;
                }
                Err(error) => (format!("{}: {error}", quoted(text)), expected),
            };
            return self.invalid(key, expected, &message);
        }
        self.effective(key, format!("[{}]", lines.join(", ")), issuers)
    }

    /// An address to listen on; none for an empty text.
    pub(crate) fn address(&mut self, key: &'static str) -> Option<SocketAddr> {
        let expected = "an IP address and port such as \"127.0.0.1:8443\", or \"\" for none";
        let text = self.text(key, expected)?;
        if text.is_empty() {
            return self.effective(key, quoted(&text), None);
        }
        match text.parse::<SocketAddr>() {
            Ok(address) if address.port() == 0 => self.out_of_range(key, expected, "port 0"),
            Ok(address) => self.effective(key, quoted(&text), Some(address)),
            Err(_) => self.invalid(key, expected, &quoted(&text)),
        }
    }

    /// One of a few words.
    pub(crate) fn choice<T: Copy + Default>(&mut self, key: &'static str, words: &[(&str, T)]) -> T {
        let expected = words.iter().map(|(word, _)| quoted(word)).collect::<Vec<_>>().join(" or ");
        let Some(text) = self.text(key, &expected) else { return T::default() };
        match words.iter().find(|(word, _)| *word == text) {
            Some((_, meant)) => self.effective(key, quoted(&text), *meant),
            None => self.invalid(key, &expected, &quoted(&text)),
        }
    }

    /// A file; none for an empty text.
    pub(crate) fn file(&mut self, key: &'static str) -> Option<PathBuf> {
        self.optional(key, "the path of a file, or \"\" for none")
    }

    /// Where a root key comes from; none for an empty text.
    pub(crate) fn root_key(&mut self, key: &'static str) -> Option<RootKey> {
        let expected = "\"file:/PATH\", \"credential:NAME\", \"env:VARIABLE\" or \"shares\", or \"\" for none";
        let text = self.text(key, expected)?;
        if text.is_empty() {
            return self.effective(key, quoted(&text), None);
        }
        if let Ok(root) = text.parse() {
            return self.effective(key, quoted(&text), Some(root));
        }
        // It may be the key.
        let origin = self.setting(key).origin.clone();
        self.wrong(key, "found another text", expected, &origin)
    }

    /// A directory, or a place in an object store.
    pub(crate) fn place(&mut self, key: &'static str) -> Place {
        let expected = "the path of a directory, \"s3://bucket/prefix\", or \"\" for the one in the data directory";
        let Some(text) = self.text(key, expected) else { return Place::Data };
        if !Address::is_meant(&text) {
            return self.optional(key, expected).map_or(Place::Data, Place::Directory);
        }
        let Some(address) = Address::parse(&text) else { return self.invalid(key, expected, &quoted(&text)) };
        if !cfg!(feature = "object-store") {
            let message = format!("{text} is in an object store, and this program was built without them");
            let remedy = "build it with `cargo build --release --features object-store`, or name a directory";
            let problem = Problem::new("config.not_built", message, remedy).about(key);
            self.problems.push(problem.at(&self.setting(key).origin));
        }
        self.effective(key, quoted(&text), Place::Bucket(address))
    }

    /// The address of a server; none for an empty text and no `$AWS_ENDPOINT_URL`.
    pub(crate) fn endpoint(&mut self, key: &'static str) -> Option<String> {
        let expected = "\"https://HOST\" or \"https://HOST:PORT\", or \"\" for none";
        let (text, origin) = self.or_environment(key, "AWS_ENDPOINT_URL", expected)?;
        let text = text.strip_suffix('/').unwrap_or(&text).to_owned();
        let server = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let of = |c: char| c.is_ascii_alphanumeric() || "-.:[]".contains(c);
        if !text.is_empty() && server.is_none_or(|server| server.is_empty() || !server.chars().all(of)) {
            // It may have a password in it.
            return self.wrong(key, "found another text", expected, &origin);
        }
        self.effective.push(Effective { key, value: quoted(&text), origin });
        Some(text).filter(|text| !text.is_empty())
    }

    /// The name of a region of an object store; the usual one if neither this nor `$AWS_REGION` says one.
    pub(crate) fn region(&mut self, key: &'static str) -> String {
        let expected = "the name of a region such as \"eu-central-1\", or \"\" for us-east-1";
        let Some((text, origin)) = self.or_environment(key, "AWS_REGION", expected) else { return String::new() };
        let of = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if text.len() > 64 || !text.chars().all(of) {
            return self.wrong(key, &format!("found {}", quoted(&text)), expected, &origin);
        }
        self.effective.push(Effective { key, value: quoted(&text), origin });
        if text.is_empty() { "us-east-1".to_owned() } else { text }
    }

    /// What the environment says, where an option is left empty.
    fn or_environment(
        &mut self,
        key: &'static str,
        variable: &'static str,
        expected: &str,
    ) -> Option<(String, Origin)> {
        let text = self.text(key, expected)?;
        let given = self.sources.variable(variable).filter(|_| text.is_empty());
        Some(match given {
            Some(value) => (value.to_string_lossy().into_owned(), Origin::Environment(variable)),
            None => (text, self.setting(key).origin.clone()),
        })
    }

    fn wrong<T: Default>(&mut self, key: &str, message: &str, expected: &str, origin: &Origin) -> T {
        let problem = Problem::new("config.invalid_value", message, format!("write {expected}")).about(key);
        self.problems.push(problem.at(origin));
        T::default()
    }

    fn optional(&mut self, key: &'static str, expected: &str) -> Option<PathBuf> {
        let text = self.text(key, expected)?;
        if text.is_empty() {
            return self.effective(key, quoted(&text), None);
        }
        let origin = self.setting(key).origin.clone();
        Some(self.path(key, expected, PathBuf::from(text), origin))
    }

    /// Notes it if only one of two options is set that mean nothing without each other.
    pub(crate) fn both(&mut self, keys: [&'static str; 2], set: [bool; 2]) {
        let (given, missing) = match set {
            [true, false] => (keys[0], keys[1]),
            [false, true] => (keys[1], keys[0]),
            _ => return,
        };
        let problem = Problem::new("config.conflict", format!("{missing} is missing"), "set both, or neither");
        let problem = problem.about(given).at(&self.setting(given).origin);
        self.problems.push(problem);
    }

    /// Notes that of two options that are set only one may be.
    pub(crate) fn either(&mut self, key: &'static str, other: &'static str) {
        let problem = Problem::new("config.conflict", format!("{other} is set, too"), "set one of them");
        let problem = problem.about(key).at(&self.setting(key).origin);
        self.problems.push(problem);
    }

    pub(crate) fn socket(&mut self, key: &'static str) -> PathBuf {
        let expected = "the path of a socket, or \"\" for the usual place";
        let Some(text) = self.text(key, expected) else { return PathBuf::new() };
        let origin = self.setting(key).origin.clone();
        let configured = (!text.is_empty()).then(|| (PathBuf::from(text), origin));
        let (path, origin) = place::socket(self.sources, configured);
        self.path(key, expected, path, origin)
    }

    fn path(&mut self, key: &'static str, expected: &str, path: PathBuf, origin: Origin) -> PathBuf {
        if path.as_os_str().is_empty() {
            let problem = Problem::new("config.invalid_value", "the path is empty", format!("give {expected}"));
            self.problems.push(problem.about(key).at(&origin));
            return path;
        }
        let path = match &origin {
            Origin::File { path: file, .. } => file.parent().unwrap_or(Path::new("")).join(path),
            _ => path,
        };
        self.effective.push(Effective { key, value: quoted(&path.to_string_lossy()), origin });
        path
    }

    fn setting(&self, key: &str) -> &Setting {
        self.settings.get(key).unwrap_or_else(|| panic!("{key} is not in default.toml"))
    }

    fn text(&mut self, key: &'static str, expected: &str) -> Option<String> {
        match &self.setting(key).value {
            Value::Text(text) => Some(text.clone()),
            other => {
                let kind = article(other.kind());
                self.invalid::<()>(key, expected, &kind);
                None
            }
        }
    }

    fn effective<T>(&mut self, key: &'static str, value: String, typed: T) -> T {
        let origin = self.setting(key).origin.clone();
        self.effective.push(Effective { key, value, origin });
        typed
    }

    fn invalid<T: Default>(&mut self, key: &str, expected: &str, found: &str) -> T {
        self.note("config.invalid_value", key, format!("found {found}"), expected)
    }

    fn out_of_range<T: Default>(&mut self, key: &str, expected: &str, found: &str) -> T {
        self.note("config.out_of_range", key, format!("{found} is out of range"), expected)
    }

    fn note<T: Default>(&mut self, code: &'static str, key: &str, message: String, expected: &str) -> T {
        let problem = Problem::new(code, message, format!("write {expected}")).about(key);
        let problem = problem.at(&self.setting(key).origin);
        self.problems.push(problem);
        T::default()
    }
}

fn written(span: Duration) -> String {
    humantime::format_duration(span).to_string()
}

/// A basic string of TOML.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_structs_and_the_default_have_the_same_options() {
        let config = Config::load(&Sources::default()).unwrap();
        let read: BTreeSet<&str> = config.effective.iter().map(|option| option.key).collect();
        let written = layer(DEFAULT, None, None).unwrap();
        assert_eq!(read, written.keys().map(String::as_str).collect(), "each option is read, and none is made up");
    }

    #[test]
    fn every_option_of_the_default_is_explained() {
        let lines: Vec<&str> = DEFAULT.lines().collect();
        for pair in lines.windows(2) {
            if pair[1].contains(" = ") && !pair[1].starts_with('#') {
                assert!(pair[0].starts_with("# "), "{} has no explanation above it", pair[1]);
            }
        }
    }

    /// Root may read everything, so the file system alone cannot show this one.
    #[test]
    fn a_file_that_may_not_be_read_is_told_from_one_that_is_missing() {
        let problem = |kind: io::ErrorKind| unreadable(Path::new("/etc/sop.toml"), &io::Error::from(kind));
        let (denied, missing) = (problem(io::ErrorKind::PermissionDenied), problem(io::ErrorKind::NotFound));
        assert_eq!((denied.code, missing.code), ("config.unreadable", "config.unreadable"));
        assert!(denied.message.contains("may not be read"), "{denied}");
        assert!(missing.message.contains("no such file"), "{missing}");
    }
}
