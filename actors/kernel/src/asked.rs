//! What was asked, and how whoever asked stood: enough to judge a request again.

use alloc::borrow::ToOwned;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;

use serde::{Deserialize, Serialize};

use crate::{CredentialId, Denial, Layer};

/// One of the attributes that a request has of its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Attribute {
    Text(String),
    Long(i64),
    Bool(bool),
}

impl From<&str> for Attribute {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<i64> for Attribute {
    fn from(number: i64) -> Self {
        Self::Long(number)
    }
}

impl From<bool> for Attribute {
    fn from(truth: bool) -> Self {
        Self::Bool(truth)
    }
}

/// What the authority itself knows of a request, and nobody says of himself.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Standing {
    /// Whether it rests on a token.
    pub via_token: bool,
    /// By which credential it came, if by one: not by a token, nor as a user of this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<CredentialId>,
    /// What its principal is bound to.
    pub roles: BTreeSet<String>,
    /// How many have approved exactly this.
    pub approvals: u32,
    /// The obligations that it is proven to meet.
    pub proofs: BTreeSet<String>,
}

/// A request as it stands in the record of what became of it. It fits into one: what is too long was cut.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Asked {
    action: String,
    resource: String,
    context: BTreeMap<String, Attribute>,
    standing: Standing,
}

impl Asked {
    /// Most attributes of a request; the schema has no action with so many.
    pub const ATTRIBUTES_MAX: usize = 8;
    /// Longest name of an action, an attribute, a role or a proof, in bytes.
    pub const NAME_MAX: usize = 64;
    /// Longest resource, and longest value of an attribute, in bytes: a path fits.
    pub const TEXT_MAX: usize = 4_096;
    /// Most roles of a standing, and most proofs.
    pub const STANDING_MAX: usize = 64;

    /// Keeps of a request what fits into a record: all of one that passes [`Asked::check`] in a standing of the
    /// authority's own.
    pub fn new(action: &str, resource: &str, context: &BTreeMap<String, Attribute>, standing: &Standing) -> Self {
        let attribute = |(name, value): (&String, &Attribute)| {
            let value = match value {
                Attribute::Text(text) => Attribute::Text(cut(text, Self::TEXT_MAX)),
                Attribute::Long(_) | Attribute::Bool(_) => value.clone(),
            };
            (cut(name, Self::NAME_MAX), value)
        };
        let names = |names: &BTreeSet<String>| {
            names.iter().take(Self::STANDING_MAX).map(|name| cut(name, Self::NAME_MAX)).collect()
        };
        let Standing { via_token, credential, roles, approvals, proofs } = standing;
        Self {
            action: cut(action, Self::NAME_MAX),
            resource: cut(resource, Self::TEXT_MAX),
            context: context.iter().take(Self::ATTRIBUTES_MAX).map(attribute).collect(),
            standing: Standing {
                via_token: *via_token,
                credential: *credential,
                roles: names(roles),
                approvals: *approvals,
                proofs: names(proofs),
            },
        }
    }

    /// A request as a record has it; nothing if no record can have it, because it is over a bound.
    pub fn whole(
        action: String,
        resource: String,
        context: BTreeMap<String, Attribute>,
        standing: Standing,
    ) -> Option<Self> {
        let fits = Self::check(&action, &resource, &context).is_ok();
        let few = |names: &BTreeSet<String>| {
            names.len() <= Self::STANDING_MAX && names.iter().all(|name| name.len() <= Self::NAME_MAX)
        };
        (fits && few(&standing.roles) && few(&standing.proofs)).then_some(Self { action, resource, context, standing })
    }

    /// Whether a request fits into a record as it is.
    ///
    /// # Errors
    /// The denial `request.too_long`.
    pub fn check(action: &str, resource: &str, context: &BTreeMap<String, Attribute>) -> Result<(), Denial> {
        let long = |what: &str, length: usize, max: usize, of: &str| {
            let reason = format!("{what} of {length} {of} is over the limit");
            let denial =
                Denial::new(Layer::Request, "request.too_long", reason, "ask with less, or with shorter texts");
            denial.rule(format!("at most {max} {of}"))
        };
        let bounded = |what: &str, text: &str, max: usize| {
            if max < text.len() { Err(long(what, text.len(), max, "bytes")) } else { Ok(()) }
        };
        bounded("an action", action, Self::NAME_MAX)?;
        bounded("a resource", resource, Self::TEXT_MAX)?;
        if Self::ATTRIBUTES_MAX < context.len() {
            return Err(long("a context", context.len(), Self::ATTRIBUTES_MAX, "attributes"));
        }
        context.iter().try_for_each(|(name, value)| {
            bounded("the name of an attribute", name, Self::NAME_MAX)?;
            match value {
                Attribute::Text(text) => bounded("an attribute", text, Self::TEXT_MAX),
                Attribute::Long(_) | Attribute::Bool(_) => Ok(()),
            }
        })
    }

    /// About how many bytes it has.
    pub fn size(&self) -> usize {
        let attribute = |(name, value): (&String, &Attribute)| match value {
            Attribute::Text(text) => name.len() + text.len(),
            Attribute::Long(_) | Attribute::Bool(_) => name.len() + 8,
        };
        let Standing { roles, proofs, .. } = &self.standing;
        let attributes: usize = self.context.iter().map(attribute).sum();
        self.action.len()
            + self.resource.len()
            + attributes
            + roles.iter().chain(proofs).map(String::len).sum::<usize>()
    }

    pub fn action(&self) -> &str {
        &self.action
    }

    pub fn resource(&self) -> &str {
        &self.resource
    }

    /// The action's own attributes.
    pub fn context(&self) -> &BTreeMap<String, Attribute> {
        &self.context
    }

    pub fn standing(&self) -> &Standing {
        &self.standing
    }
}

/// The beginning of a text that is too long, marked as such.
pub fn cut(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.to_owned();
    }
    let mut end = max - '…'.len_utf8();
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &text[..end])
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString as _;

    use super::*;

    #[test]
    fn what_passes_the_check_is_kept_whole_and_all_else_is_cut() {
        let longest = "r".repeat(Asked::TEXT_MAX);
        let names = |count: usize| (0..count).map(|number| number.to_string());
        let context: BTreeMap<_, _> =
            names(Asked::ATTRIBUTES_MAX).map(|name| (name, Attribute::from(longest.as_str()))).collect();
        let standing = Standing {
            via_token: true,
            credential: Some(CredentialId(u64::MAX)),
            roles: names(Asked::STANDING_MAX).collect(),
            approvals: u32::MAX,
            proofs: ["manifest".to_owned()].into(),
        };
        Asked::check("todo.show", &longest, &context).unwrap();
        let whole = Asked::new("todo.show", &longest, &context, &standing);
        assert_eq!((whole.action(), whole.resource()), ("todo.show", longest.as_str()));
        assert_eq!((whole.context(), whole.standing()), (&context, &standing));

        let long = "é".repeat(100_000);
        let much: BTreeMap<_, _> =
            (0..100).map(|number| (format!("{number:03}{long}"), Attribute::from(long.as_str()))).collect();
        let many: BTreeSet<_> = (0..100).map(|number| format!("{number:03}{long}")).collect();
        let standing = Standing { roles: many.clone(), proofs: many, ..Standing::default() };
        let over = Standing { proofs: names(Asked::STANDING_MAX + 1).collect(), ..Standing::default() };
        assert!(Asked::check(&long, &long, &much).is_err());
        let asked = Asked::new(&long, &long, &much, &standing);
        assert!(asked.action().ends_with("é…") && asked.action().len() <= Asked::NAME_MAX);
        assert!(asked.resource().ends_with("é…") && asked.resource().len() <= Asked::TEXT_MAX);
        assert_eq!(asked.context().len(), Asked::ATTRIBUTES_MAX);
        assert_eq!((asked.standing().roles.len(), asked.standing().proofs.len()), (64, 64));
        assert!(asked.standing().roles.iter().all(|role| role.len() <= Asked::NAME_MAX));
        let Asked { action, resource, context, standing } = asked.clone();
        assert_eq!(Asked::whole(action, resource, context, standing), Some(asked), "what was cut fits");
        assert_eq!(Asked::whole(long.clone(), long, much, Standing::default()), None);
        assert_eq!(Asked::whole("a".into(), "b".into(), BTreeMap::new(), over), None);
    }
}
