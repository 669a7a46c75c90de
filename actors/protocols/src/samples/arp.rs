//! ARP, which reasons: it decides propositional formulas by their truth table.

use std::collections::BTreeSet;
use std::fmt;

use crate::{Cx, Fault, Protocol};

/// The table has two to the power of this many rows.
const VARIABLES_MAX: usize = 16;
/// Longest formula, in characters; it bounds the depth too.
const FORMULA_MAX: usize = 1_000;

/// Answers `decide`. It has no state, so a restart loses nothing.
pub struct Arp;

impl Protocol for Arp {
    type Request = String;
    type Reply = Result<Verdict, String>;

    fn operation(_: &String) -> &'static str {
        "decide"
    }

    async fn call(&mut self, formula: String, _: &mut Cx) -> Result<Self::Reply, Fault> {
        Ok(decide(&formula))
    }
}

/// What the table says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// True in every row.
    Valid,
    /// True in none.
    Contradiction,
    /// True in some rows; here is the first in which it is not.
    Satisfiable { counterexample: Vec<(String, bool)> },
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Valid => f.write_str("valid"),
            Self::Contradiction => f.write_str("a contradiction"),
            Self::Satisfiable { counterexample } => {
                f.write_str("satisfiable, and false with")?;
                counterexample.iter().try_for_each(|(name, value)| write!(f, " {name}={}", u8::from(*value)))
            }
        }
    }
}

/// Decides a formula of names, `!`, `&`, `|`, `->`, `<->` and brackets.
///
/// # Errors
/// What is wrong with the formula.
pub fn decide(formula: &str) -> Result<Verdict, String> {
    if FORMULA_MAX < formula.chars().count() {
        return Err(format!("a formula has up to {FORMULA_MAX} characters"));
    }
    let mut parser = Parser { left: tokens(formula)?.into_iter().peekable() };
    let parsed = parser.equivalence()?;
    if let Some(token) = parser.left.next() {
        return Err(format!("{token:?} is not expected there"));
    }
    let mut names = BTreeSet::new();
    parsed.names(&mut names);
    if VARIABLES_MAX < names.len() {
        return Err(format!("a formula has up to {VARIABLES_MAX} names, not {}", names.len()));
    }
    let names: Vec<_> = names.into_iter().collect();
    let rows = 1_u32 << names.len();
    let value = |row: u32| {
        let of = |name: &str| names.iter().position(|known| known == name).is_some_and(|at| row >> at & 1 == 1);
        parsed.holds(&of)
    };
    let holding = (0..rows).filter(|row| value(*row)).count();
    let first_false = (0..rows).find(|row| !value(*row));
    Ok(match first_false {
        None => Verdict::Valid,
        Some(_) if holding == 0 => Verdict::Contradiction,
        Some(row) => {
            let counterexample = names.iter().enumerate().map(|(at, name)| (name.clone(), row >> at & 1 == 1));
            Verdict::Satisfiable { counterexample: counterexample.collect() }
        }
    })
}

/// A formula.
enum Formula {
    Name(String),
    Not(Box<Formula>),
    Both(Box<Formula>, Box<Formula>),
    Either(Box<Formula>, Box<Formula>),
    Implies(Box<Formula>, Box<Formula>),
    Same(Box<Formula>, Box<Formula>),
}

impl Formula {
    fn names(&self, found: &mut BTreeSet<String>) {
        match self {
            Self::Name(name) => drop(found.insert(name.clone())),
            Self::Not(of) => of.names(found),
            Self::Both(a, b) | Self::Either(a, b) | Self::Implies(a, b) | Self::Same(a, b) => {
                a.names(found);
                b.names(found);
            }
        }
    }

    fn holds(&self, of: &impl Fn(&str) -> bool) -> bool {
        match self {
            Self::Name(name) => of(name),
            Self::Not(a) => !a.holds(of),
            Self::Both(a, b) => a.holds(of) && b.holds(of),
            Self::Either(a, b) => a.holds(of) || b.holds(of),
            Self::Implies(a, b) => !a.holds(of) || b.holds(of),
            Self::Same(a, b) => a.holds(of) == b.holds(of),
        }
    }
}

fn tokens(formula: &str) -> Result<Vec<String>, String> {
    let mut found = Vec::new();
    let mut left = formula.trim_start();
    while let Some(first) = left.chars().next() {
        let length = if first.is_ascii_alphabetic() {
            left.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(left.len())
        } else {
            let sign = ["<->", "->", "!", "&", "|", "(", ")"].into_iter().find(|sign| left.starts_with(sign));
            sign.ok_or_else(|| format!("{first:?} is no part of a formula"))?.len()
        };
        found.push(left[..length].to_owned());
        left = left[length..].trim_start();
    }
    Ok(found)
}

struct Parser {
    left: std::iter::Peekable<std::vec::IntoIter<String>>,
}

impl Parser {
    fn takes(&mut self, sign: &str) -> bool {
        self.left.next_if(|token| token == sign).is_some()
    }

    fn equivalence(&mut self) -> Result<Formula, String> {
        let mut formula = self.implication()?;
        while self.takes("<->") {
            formula = Formula::Same(Box::new(formula), Box::new(self.implication()?));
        }
        Ok(formula)
    }

    /// Binds to the right.
    fn implication(&mut self) -> Result<Formula, String> {
        let formula = self.either()?;
        if self.takes("->") {
            return Ok(Formula::Implies(Box::new(formula), Box::new(self.implication()?)));
        }
        Ok(formula)
    }

    fn either(&mut self) -> Result<Formula, String> {
        let mut formula = self.both()?;
        while self.takes("|") {
            formula = Formula::Either(Box::new(formula), Box::new(self.both()?));
        }
        Ok(formula)
    }

    fn both(&mut self) -> Result<Formula, String> {
        let mut formula = self.single()?;
        while self.takes("&") {
            formula = Formula::Both(Box::new(formula), Box::new(self.single()?));
        }
        Ok(formula)
    }

    fn single(&mut self) -> Result<Formula, String> {
        match self.left.next() {
            Some(token) if token == "!" => Ok(Formula::Not(Box::new(self.single()?))),
            Some(token) if token == "(" => {
                let formula = self.equivalence()?;
                if self.takes(")") { Ok(formula) } else { Err("a bracket is not closed".to_owned()) }
            }
            Some(token) if token.starts_with(|c: char| c.is_ascii_alphabetic()) => Ok(Formula::Name(token)),
            Some(token) => Err(format!("{token:?} is not expected there")),
            None => Err("something is missing at its end".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formulas() {
        let many = (0..17).map(|at| format!("a{at}")).collect::<Vec<_>>().join("&");
        let deep = "!".repeat(999) + "a";
        let long = "!".repeat(1_000) + "a";
        for (formula, answer) in [
            ("a | !a", "valid"),
            ("a & !a", "a contradiction"),
            ("a -> b", "satisfiable, and false with a=1 b=0"),
            ("(a -> b) <-> (!b -> !a)", "valid"),
            ("a -> b -> a", "valid"),
            ("(a -> b) -> a", "satisfiable, and false with a=0 b=0"),
            ("rain & !umbrella -> wet", "satisfiable, and false with rain=1 umbrella=0 wet=0"),
            ("a | b & c", "satisfiable, and false with a=0 b=0 c=0"),
            (&deep, "satisfiable, and false with a=1"),
            ("", "something is missing at its end"),
            ("a b", "\"b\" is not expected there"),
            ("(a", "a bracket is not closed"),
            ("a & | b", "\"|\" is not expected there"),
            ("a = b", "'=' is no part of a formula"),
            ("é", "'é' is no part of a formula"),
            (&many, "a formula has up to 16 names, not 17"),
            (&long, "a formula has up to 1000 characters"),
        ] {
            let answered = decide(formula).map_or_else(|why| why, |verdict| verdict.to_string());
            assert_eq!(answered, answer, "{formula}");
        }
    }
}
