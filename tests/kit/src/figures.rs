//! A strict reader of Prometheus' text form, version 0.0.4: what it takes, every scraper takes.

use std::collections::{BTreeMap, BTreeSet};

/// One metric, with its samples in order.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    pub kind: String,
    pub help: String,
    /// (name, labels, figure): the name differs from the family's in a histogram only.
    pub samples: Vec<(String, Labels, f64)>,
}

pub type Labels = BTreeMap<String, String>;

impl Family {
    /// The figure under exactly these labels.
    pub fn at(&self, labels: &[(&str, &str)]) -> Option<f64> {
        let labels: Labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        self.samples.iter().find(|(_, found, _)| *found == labels).map(|(.., figure)| *figure)
    }

    /// The names of the labels of its samples.
    pub fn labels(&self) -> BTreeSet<&str> {
        self.samples.iter().flat_map(|(_, labels, _)| labels.keys().map(String::as_str)).collect()
    }
}

/// The families of a page, by name.
///
/// # Errors
/// The line that is wrong, and why.
pub fn families(page: &str) -> Result<BTreeMap<String, Family>, String> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let (mut help, mut current) = (None, None::<String>);
    if !page.ends_with('\n') {
        return Err("the last line has no end".to_owned());
    }
    for line in page.lines() {
        let wrong = |why: &str| format!("{why}: {line}");
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, text) = rest.split_once(' ').ok_or_else(|| wrong("no help"))?;
            if !is_name(name) || families.contains_key(name) || text.trim().is_empty() {
                return Err(wrong("a help that is empty, twice or of no name"));
            }
            help = Some((name.to_owned(), text.to_owned()));
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').ok_or_else(|| wrong("no type"))?;
            let (helped, help) = help.take().ok_or_else(|| wrong("a type without its help"))?;
            if helped != name || !["counter", "gauge", "histogram"].contains(&kind) {
                return Err(wrong("another name, or no type that is known"));
            }
            if (kind == "counter") != name.ends_with("_total") {
                return Err(wrong("counters end in _total, and nothing else does"));
            }
            families.insert(name.to_owned(), Family { kind: kind.to_owned(), help, samples: Vec::new() });
            current = Some(name.to_owned());
        } else {
            let (name, labels, figure) = sample(line).ok_or_else(|| wrong("no sample"))?;
            let family =
                current.as_ref().filter(|_| help.is_none()).ok_or_else(|| wrong("a sample before its type"))?;
            let known = families.get_mut(family).ok_or_else(|| wrong("no family"))?;
            let suffix = name.strip_prefix(family.as_str()).ok_or_else(|| wrong("a sample of another family"))?;
            let fits = match known.kind.as_str() {
                "histogram" => ["_bucket", "_sum", "_count"].contains(&suffix),
                _ => suffix.is_empty(),
            };
            if !fits || known.samples.iter().any(|(one, other, _)| *one == name && *other == labels) {
                return Err(wrong("a sample of no such name, or twice"));
            }
            if known.kind != "gauge" && figure < 0.0 {
                return Err(wrong("a count below zero"));
            }
            known.samples.push((name, labels, figure));
        }
    }
    for (name, family) in &families {
        if family.kind == "histogram" {
            histogram(family).map_err(|why| format!("{name}: {why}"))?;
        }
    }
    Ok(families)
}

/// Buckets grow, with their bounds, to the count. Of one series, as there are no others here.
fn histogram(family: &Family) -> Result<(), String> {
    let (mut bound, mut count) = (f64::NEG_INFINITY, 0.0);
    for (_, labels, figure) in family.samples.iter().filter(|(name, ..)| name.ends_with("_bucket")) {
        let le = labels.get("le").and_then(|le| le.parse::<f64>().ok()).ok_or("a bucket without a bound")?;
        if le <= bound || *figure < count {
            return Err(format!("the bucket {le} is out of order"));
        }
        (bound, count) = (le, *figure);
    }
    let end = |suffix| family.samples.iter().find(|(name, ..)| name.ends_with(suffix)).map(|(.., figure)| *figure);
    let whole = bound.is_infinite() && end("_count") == Some(count) && end("_sum").is_some();
    if whole { Ok(()) } else { Err("no sum, no count, or another one than that of the last bucket".to_owned()) }
}

fn is_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
    name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(fits)
}

fn sample(line: &str) -> Option<(String, Labels, f64)> {
    let (series, figure) = line.rsplit_once(' ')?;
    let figure = figure.parse::<f64>().ok().filter(|figure| figure.is_finite())?;
    let mut labels = Labels::new();
    let name = match series.split_once('{') {
        None => series,
        Some((name, rest)) => {
            for pair in rest.strip_suffix('}')?.split(',') {
                let (label, value) = pair.split_once('=')?;
                let value = value.strip_prefix('"')?.strip_suffix('"')?;
                // Nothing here needs an escape, so one is a mistake.
                let plain = !value.is_empty() && !value.contains(['"', '\\', '\n']);
                if !plain || !is_name(label) || labels.insert(label.to_owned(), value.to_owned()).is_some() {
                    return None;
                }
            }
            name
        }
    };
    is_name(name).then(|| (name.to_owned(), labels, figure))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_not_taken() {
        let fine = "# HELP a_total Help.\n# TYPE a_total counter\na_total{b=\"c\"} 1\n";
        assert_eq!(families(fine).unwrap()["a_total"].at(&[("b", "c")]), Some(1.0));
        for page in [
            "a 1\n",
            "# HELP a Help.\n# TYPE a gauge\na 1",
            "# TYPE a gauge\na 1\n",
            "# HELP a Help.\n# TYPE a counter\na 1\n",
            "# HELP a_total Help.\n# TYPE a_total gauge\na_total 1\n",
            "# HELP a Help.\n# TYPE a gauge\nb 1\n",
            "# HELP a Help.\n# TYPE a gauge\na 1\na 2\n",
            "# HELP a Help.\n# TYPE a gauge\na NaN\n",
            "# HELP a Help.\n# TYPE a gauge\na{b=c} 1\n",
            "# HELP a Help.\n# TYPE a gauge\na{b=\"c\",b=\"d\"} 1\n",
            "# HELP a Help.\n# TYPE a histogram\na_bucket{le=\"+Inf\"} 1\na_sum 1\na_count 2\n",
            "# HELP a Help.\n# TYPE a histogram\na_bucket{le=\"1\"} 1\na_sum 1\na_count 1\n",
        ] {
            assert!(families(page).is_err(), "{page}");
        }
    }
}
