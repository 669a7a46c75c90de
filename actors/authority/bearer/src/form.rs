//! What stands in the blocks of a token: how it is written, and how it is read, with nothing else in it.

use std::time::{Duration, SystemTime};

use biscuit_auth::builder::{
    Binary, Check, CheckKind, Expression, Fact, Op, Predicate, Rule, Term, Unary, date, fact, pred, string, var,
};
use biscuit_auth::{Biscuit, BlockBuilder, UnverifiedBiscuit, error};
use kernel::{Digest, Principal, Timestamp, TokenId};

use crate::{Claims, Narrower, PublicKey, Refusal};

/// Most blocks of a token: the authority's, and fifteen by which it is narrowed.
pub const BLOCKS_MAX: usize = 16;
/// Most facts, and most checks, of one block, and of all blocks after the first: some trust what others say, which adds to the
/// work alone.
const LINES_MAX: usize = 16;
const LINES_MAX_OF_ALL: usize = 48;
/// Most alternatives of one check, and most operations of each.
const QUERIES_MAX: usize = 4;
const OPS_MAX: usize = 32;
/// Most facts that one alternative asks for at once.
const BODY_MAX: usize = 2;
/// Longest name in a block, in bytes.
const NAME_MAX: usize = 1_024;

/// What a request says of itself: where, what, on what, for which request, and when.
pub const AT: &str = "at";
pub const DOES: &str = "does";
pub const ON: &str = "on";
pub const PAYS: &str = "pays";
pub const TIME: &str = "time";

/// What the authority says of a token.
const TOKEN: &str = "token";
const KIND: &str = "kind";
const SUBJECT: &str = "subject";
const ISSUER: &str = "issuer";
const AUDIENCE: &str = "audience";
const OPERATION: &str = "operation";
const TARGET: &str = "target";
const REQUEST: &str = "request";
const TODO: &str = "todo";
const STARTS: &str = "starts";
const EXPIRES: &str = "expires";
/// What a holder says who hands it on.
const HANDS_ON: &str = "hands_on";

/// One hand that a token went through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    pub from: Principal,
    pub to: Principal,
    /// The key that this was signed with. Whose key it is, whoever reads it must know; without one, anybody can have said it.
    pub key: Option<PublicKey>,
}

/// All that a token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Says {
    /// The version of the authority's key that it is signed with, as it says itself; none of a key without versions.
    pub version: Option<u32>,
    pub claims: Claims,
    /// What each later block took off, in the engine's words.
    pub narrowed: Vec<Vec<String>>,
    /// Through whose hands it came, as each of them says.
    pub hops: Vec<Hop>,
}

impl Says {
    /// In whose hands it is: its subject's, or of whom each one who had it handed it on to, by a key that is `known` to be his. One that
    /// anybody can have said counts as a break: whoever holds a form can add to it.
    ///
    /// # Errors
    /// [`Refusal::BrokenChain`].
    pub fn holder(&self, known: impl Fn(&Principal, &PublicKey) -> bool) -> Result<&Principal, Refusal> {
        let mut holder = &self.claims.subject;
        for (at, Hop { from, to, key }) in self.hops.iter().enumerate() {
            if from != holder || !key.is_some_and(|key| known(from, &key)) {
                return Err(Refusal::BrokenChain { number: at + 1 });
            }
            holder = to;
        }
        Ok(holder)
    }
}

pub fn authority(claims: &Claims) -> Result<BlockBuilder, error::Token> {
    let Claims { id, kind, subject, issuer, audience, operation, target, request, todo, starts_at, expires_at } =
        claims;
    let request = request.map(|request| request.to_string());
    let (starts, expires) = (instant(starts_at.0 / 1_000), instant(expires_at.0 / 1_000));
    let said = [
        Some((TOKEN, string(&id.to_string()))),
        Some((KIND, string(kind))),
        Some((SUBJECT, string(&subject.to_string()))),
        Some((ISSUER, string(&issuer.to_string()))),
        Some((AUDIENCE, string(audience))),
        Some((OPERATION, string(operation))),
        target.as_ref().map(|target| (TARGET, string(target))),
        request.as_ref().map(|request| (REQUEST, string(request))),
        todo.map(|todo| (TODO, string(&todo.to_string()))),
        Some((STARTS, starts.clone())),
        Some((EXPIRES, expires.clone())),
    ];
    let mut block = BlockBuilder::new();
    for (name, term) in said.into_iter().flatten() {
        block = block.fact(fact(name, &[term]))?;
    }
    let bound = [
        Some((AT, audience)),
        Some((DOES, operation)),
        target.as_ref().map(|target| (ON, target)),
        request.as_ref().map(|request| (PAYS, request)),
    ];
    for (name, value) in bound.into_iter().flatten() {
        block = block.check(is(name, value))?;
    }
    block.check(when(Binary::GreaterOrEqual, starts))?.check(when(Binary::LessThan, expires))
}

pub fn narrower(narrower: &Narrower) -> Result<BlockBuilder, Refusal> {
    let Narrower { audience, operation, target, request, until, hop } = narrower;
    let request = request.map(|request| request.to_string());
    let bound = [(AT, audience), (DOES, operation), (ON, target), (PAYS, &request)];
    let mut block = BlockBuilder::new();
    for (name, value) in bound {
        let Some(value) = value else { continue };
        if value.is_empty() || NAME_MAX < value.len() || value.chars().any(char::is_control) {
            return Err(Refusal::BadNarrowing);
        }
        block = block.check(is(name, value)).map_err(|_| Refusal::BadNarrowing)?;
    }
    if let Some(until) = until {
        let until = instant(until.0 / 1_000);
        block = block.check(when(Binary::LessThan, until)).map_err(|_| Refusal::BadNarrowing)?;
    }
    if let Some((from, to)) = hop {
        let hop = fact(HANDS_ON, &[string(&from.to_string()), string(&to.to_string())]);
        block = block.fact(hop).map_err(|_| Refusal::BadNarrowing)?;
    }
    Ok(block)
}

fn instant(seconds: u64) -> Term {
    date(&(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)))
}

fn is(name: &str, value: &str) -> Check {
    check(pred(name, &[string(value)]), Vec::new())
}

fn when(how: Binary, at: Term) -> Check {
    let ops = vec![Op::Value(var("now")), Op::Value(at), Op::Binary(how)];
    check(pred(TIME, &[var("now")]), vec![Expression { ops }])
}

fn check(body: Predicate, expressions: Vec<Expression>) -> Check {
    let none: &[Term] = &[];
    let query = Rule::new(pred("query", none), vec![body], expressions, Vec::new());
    Check { queries: vec![query], kind: CheckKind::One }
}

pub fn read(biscuit: &Biscuit) -> Result<Says, Refusal> {
    let (version, keys) = (biscuit.root_key_id(), biscuit.external_public_keys());
    blocks(version, biscuit.block_count(), |index| biscuit.print_block_source(index), &keys)
}

pub fn read_unverified(biscuit: &UnverifiedBiscuit) -> Result<Says, Refusal> {
    let (version, keys) = (biscuit.root_key_id(), biscuit.external_public_keys());
    blocks(version, biscuit.block_count(), |index| biscuit.print_block_source(index), &keys)
}

fn blocks(
    version: Option<u32>,
    count: usize,
    source: impl Fn(usize) -> Result<String, error::Token>,
    keys: &[Option<biscuit_auth::PublicKey>],
) -> Result<Says, Refusal> {
    if BLOCKS_MAX < count {
        return Err(Refusal::TooLong);
    }
    let block = |index: usize| {
        let source = source(index).map_err(|_| Refusal::Strange)?;
        let block = BlockBuilder::new().code(source).map_err(|_| Refusal::Strange)?;
        if is_plain(&block) { Ok(block) } else { Err(Refusal::Strange) }
    };
    let claims = claims(&block(0)?.facts).ok_or(Refusal::Strange)?;
    let (mut narrowed, mut hops, mut lines) = (Vec::new(), Vec::new(), 0);
    for index in 1..count {
        let block = block(index)?;
        lines += block.facts.len() + block.checks.len();
        if LINES_MAX_OF_ALL < lines {
            return Err(Refusal::Strange);
        }
        let key = keys.get(index).copied().flatten().map(PublicKey);
        for fact in block.facts.iter().filter(|fact| fact.predicate.name == HANDS_ON) {
            let [Term::Str(from), Term::Str(to)] = &fact.predicate.terms[..] else { return Err(Refusal::Strange) };
            let (Ok(from), Ok(to)) = (from.parse(), to.parse()) else { return Err(Refusal::Strange) };
            hops.push(Hop { from, to, key });
        }
        narrowed.push(block.checks.iter().map(ToString::to_string).collect());
    }
    Ok(Says { version, claims, narrowed, hops })
}

/// Whether what stands there costs no more than its length.
fn is_plain(block: &BlockBuilder) -> bool {
    let plain_op = |op: &Op| {
        !matches!(op, Op::Closure(..) | Op::Binary(Binary::Regex | Binary::Ffi(_)) | Op::Unary(Unary::Ffi(_)))
    };
    let plain = |query: &Rule| {
        query.body.len() <= BODY_MAX
            && query.scopes.is_empty()
            && query.expressions.len() <= QUERIES_MAX
            && query.expressions.iter().all(|one| one.ops.len() <= OPS_MAX && one.ops.iter().all(plain_op))
    };
    block.rules.is_empty()
        && block.scopes.is_empty()
        && block.facts.len() <= LINES_MAX
        && block.checks.len() <= LINES_MAX
        && block.checks.iter().all(|check| check.queries.len() <= QUERIES_MAX && check.queries.iter().all(plain))
}

/// Each once, of its type, and in its form.
fn claims(facts: &[Fact]) -> Option<Claims> {
    let one = |name: &str| {
        let mut named = facts.iter().filter(|fact| fact.predicate.name == name);
        let first = named.next();
        if named.next().is_some() {
            return None;
        }
        Some(first.map(|fact| &fact.predicate.terms[..]))
    };
    let text = |name: &str| match one(name)? {
        None => Some(None),
        Some([Term::Str(text)]) => Some(Some(text.clone())),
        Some(_) => None,
    };
    let time = |name: &str| match one(name)?? {
        [Term::Date(seconds)] => Some(Timestamp(seconds.checked_mul(1_000)?)),
        _ => None,
    };
    let digest = |text: Option<String>| match text {
        None => Some(None),
        Some(text) => text.parse::<Digest>().ok().map(Some),
    };
    let number = |text: Option<String>| match text {
        None => Some(None),
        Some(text) => text.parse().ok().map(Some),
    };
    Some(Claims {
        id: text(TOKEN)??.parse::<TokenId>().ok()?,
        kind: text(KIND)??,
        subject: text(SUBJECT)??.parse::<Principal>().ok()?,
        issuer: text(ISSUER)??.parse::<Principal>().ok()?,
        audience: text(AUDIENCE)??,
        operation: text(OPERATION)??,
        target: text(TARGET)?,
        request: digest(text(REQUEST)?)?,
        todo: number(text(TODO)?)?,
        starts_at: time(STARTS)?,
        expires_at: time(EXPIRES)?,
    })
}

/// The checks that failed, in the engine's words.
pub fn failed(why: &error::Logic) -> String {
    let checks = match why {
        error::Logic::Unauthorized { checks, .. } | error::Logic::NoMatchingPolicy { checks } => checks,
        error::Logic::InvalidBlockRule(..) | error::Logic::AuthorizerNotEmpty => return "its own form".to_owned(),
    };
    let rule = |check: &error::FailedCheck| match check {
        error::FailedCheck::Block(check) => check.rule.clone(),
        error::FailedCheck::Authorizer(check) => check.rule.clone(),
    };
    checks.iter().map(rule).collect::<Vec<_>>().join("; ")
}
