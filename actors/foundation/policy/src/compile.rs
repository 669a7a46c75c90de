//! From a text to policies that can judge, or to everything that is wrong with it.

use std::collections::{BTreeMap, BTreeSet};

use cedar_policy::{ParseErrors, Policy, PolicyId, PolicySet, ValidationMode, Validator};

use crate::near::Obligations;
use crate::slice::Slice;
use crate::{Policies, Problem, bounds, model, shortened};

/// Longest `@id`, in bytes: ids stand in the record of every decision.
const ID_MAX: usize = 64;

/// In bytes, taken from the system only as far as it is used. On a short stack Cedar's parser would abort the process,
/// and its validator would pass what it could not check.
pub(crate) const COMPILE_STACK: usize = 32 * 1024 * 1024;

impl Policies {
    /// Compiles a text: parses it, names its policies, and validates them strictly against the schema. A policy's id is
    /// its `@id("...")` annotation, else `policy` and its place, from 0. An empty text is valid and denies everything.
    ///
    /// # Errors
    /// All problems that were found, in the order of the text. Problems of syntax hide those of names, and these hide
    /// those of meaning.
    pub fn compile(text: &str) -> Result<Self, Vec<Problem>> {
        bounds::length(text).map_err(|problem| vec![problem])?;
        Self::compile_long(text)
    }

    /// The same for a text that no proposal could hold.
    #[doc(hidden)]
    pub fn compile_long(text: &str) -> Result<Self, Vec<Problem>> {
        let depth = bounds::depth(text).map_err(|problem| vec![problem])?;
        // Inside the bounds a fraction of this is used; the caller's own stack may be any size.
        stacker::grow(COMPILE_STACK, || Self::compile_bounded(text, depth))
    }

    fn compile_bounded(text: &str, depth: usize) -> Result<Self, Vec<Problem>> {
        let parsed: PolicySet = text
            .parse()
            .map_err(|errors: ParseErrors| sorted(errors.iter().map(|error| Problem::syntax(text, error))))?;
        let set = PolicySet::from_policies(named(text, &parsed)?).expect("the ids were just found to be different");
        validated(text, &set)?;
        let texts = set.policies().map(|policy| (name(policy.id()).to_owned(), source(policy)));
        let slices = Slice::all(&set);
        let obligations = obliged(&slices, &set);
        let digest = kernel::Digest(*blake3::hash(text.as_bytes()).as_bytes());
        Ok(Self { texts: texts.collect(), obligations, slices, depth, digest })
    }
}

/// The policies, each under the id its author gave it.
fn named(text: &str, parsed: &PolicySet) -> Result<Vec<Policy>, Vec<Problem>> {
    let mut problems = Vec::new();
    for template in parsed.templates() {
        let offset = text.find(&template.to_cedar()).unwrap_or_default();
        let message = "a template (?principal, ?resource) has nobody here to fill it in".to_owned();
        problems.push(Problem::of_policy(text, offset, name(template.id()), "policy.template", message));
    }
    let mut named = Vec::new();
    let mut taken = BTreeSet::new();
    let mut end = 0;
    for policy in parsed.policies() {
        let source = source(policy);
        let offset = text[end..].find(&source).map_or(end, |further| end + further);
        end = offset + source.len();
        let id = policy.annotation("id").unwrap_or_else(|| name(policy.id())).to_owned();
        if !is_id(&id) {
            let message = "an @id has 1 to 64 letters, digits and . _ : -".to_owned();
            problems.push(Problem::of_policy(text, offset, &shortened(&id), "policy.bad_id", message));
        } else if !taken.insert(id.clone()) {
            let message = "an earlier policy has this id".to_owned();
            problems.push(Problem::of_policy(text, offset, &id, "policy.duplicate_id", message));
        }
        named.push(policy.new_id(PolicyId::new(id)));
    }
    if problems.is_empty() { Ok(named) } else { Err(sorted(problems)) }
}

fn is_id(id: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | ':' | '-');
    (1..=ID_MAX).contains(&id.len()) && id.chars().all(plain)
}

fn validated(text: &str, set: &PolicySet) -> Result<(), Vec<Problem>> {
    let result = Validator::new(model().schema.clone()).validate(set, ValidationMode::Strict);
    let errors = sorted(result.validation_errors().map(|error| Problem::invalid(text, error)));
    if !errors.is_empty() {
        return Err(errors);
    }
    let refused = result.validation_warnings().filter_map(|warning| Problem::refused_warning(text, warning));
    let refused = sorted(refused);
    if refused.is_empty() { Ok(()) } else { Err(refused) }
}

fn obliged(slices: &BTreeMap<&'static str, Slice>, set: &PolicySet) -> BTreeMap<&'static str, Obligations> {
    let all: BTreeMap<_, _> =
        set.policies().filter_map(|policy| Some((policy.id(), Obligations::of(policy)?))).collect();
    let of_slice = |slice: &Slice| {
        let asked = slice.policies().filter_map(|policy| all.get(policy.id()));
        asked.fold(None, |sum: Option<Obligations>, one| {
            let mut sum = sum.unwrap_or_default();
            sum.extend(one);
            Some(sum)
        })
    };
    if all.is_empty() {
        return BTreeMap::new();
    }
    slices.iter().filter_map(|(&action, slice)| Some((action, of_slice(slice)?))).collect()
}

fn sorted(problems: impl IntoIterator<Item = Problem>) -> Vec<Problem> {
    let problems: BTreeSet<Problem> = problems.into_iter().collect();
    problems.into_iter().collect()
}

fn source(policy: &Policy) -> String {
    policy.to_cedar().expect("a policy that is no link of a template has a text")
}

fn name(id: &PolicyId) -> &str {
    id.as_ref()
}
