//! The bearer form of tokens: the keys that it is signed with, and what was verified lately.
//!
//! The key in use for `token-root` signs, lent by the keystore, and a form names the version that signed it. Where there was never such
//! a key, one in a file of its own does, which is made when it is needed first, and named by none of its forms. From the first
//! key of the keystore on the file signs nothing, and what it signed before is verified as long as it lives.
//!
//! # Invariants
//! 1. What is minted stands in the registry, durably, and was never used; what is verified stands there as it says.
//! 2. Neither a key nor a token is in an error, a log or a record.
//! 3. What a revoked key signed is not verified, whenever that was: a signature is in no record, so nobody can tell those from
//!    before the revocation from those that were made with a stolen key since, of a token from before. So for the key of the file:
//!    it counts for tokens that were issued before the first key of the keystore was in use.
//! 4. What was verified is forgotten with the next revocation of a token, or of a key for `token-root`.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use bearer::{Cache, Carried, Checked, Claims, Hop, Key, PublicKey, Refusal, Registry, Use};
use crypto::{Crypto, KeyId, Purpose, State, Verdict};
use door::{Carriers, Carries, Follower, Hand, Sought};
use kernel::{Denial, Layer, Millis, Refuse as _, Timestamp, TokenId};
use suites::{Signature, Suite};
use tokens::{Kind, Token, Tokens};
use workers::custodian::{Safe, signature, used};
use zeroize::Zeroizing;

use crate::keys::{InUse, none_in_use, with_key_in_use};

/// Tokens that are remembered.
const ROOM: usize = 10_000;
const PURPOSE: Purpose = Purpose::TokenRoot;
/// What a key without versions is called.
const FILE: &str = "keys/tokens";
/// The only signatures that the form has.
pub const SUITE: Signature = Signature::Ed25519;

/// See the module.
pub struct Bearers {
    file: KeyFile,
    keys: Arc<Follower<Crypto>>,
    tokens: Arc<Follower<Tokens>>,
    safe: Safe,
    cache: Cache,
}

/// A bearer form, and what it is verified with.
pub struct Minted {
    pub text: String,
    pub key: PublicKey,
}

/// A key that may have signed what still lives.
pub struct Known {
    /// None is the one in the file.
    pub version: Option<KeyId>,
    pub state: State,
    pub public: PublicKey,
    /// First instant at which nothing lives that it signed; none as long as it signs.
    pub needed_until: Option<Timestamp>,
}

impl Bearers {
    pub fn new(file: PathBuf, keys: &Arc<Follower<Crypto>>, tokens: &Arc<Follower<Tokens>>, safe: &Safe) -> Self {
        let file = KeyFile { path: file, key: Mutex::default() };
        let (keys, tokens, safe) = (keys.clone(), tokens.clone(), safe.clone());
        Self { file, keys, tokens, safe, cache: Cache::new(ROOM) }
    }

    /// What anybody verifies with what is minted now, and its version.
    ///
    /// # Errors
    /// No key is in use; the file cannot be read or made.
    pub fn public(&self) -> Result<(Option<KeyId>, PublicKey), Denial> {
        self.knows_keys()?;
        if self.keys.read(signs_by_file) {
            return Ok((None, self.file.get()?.public()));
        }
        let active = self.keys.read(|keys| keys.active(PURPOSE).map(|(key, _)| (key, public_of(keys, key))));
        let (key, public) = active.ok_or_else(|| none_in_use(PURPOSE))?;
        Ok((Some(key), public?))
    }

    /// Every key that may have signed what still lives, the one in use last.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn all(&self, now: Timestamp) -> Result<Vec<Known>, Denial> {
        self.knows_keys()?;
        let longest = Kind::ALL.map(|kind| kind.limits().lifetime_max).into_iter().max().unwrap_or_default();
        let is_needed = |known: &Known| known.needed_until.is_none_or(|until| now < until);
        let (first, versions) = self.keys.read(|keys| {
            let versions = keys.of(PURPOSE).filter(|(_, version)| version.activated_at.is_some());
            let known = versions.filter_map(|(key, version)| {
                // Also of one that is revoked: who verifies must know that.
                let public = PublicKey::read(&version.made.as_ref()?.public).ok()?;
                let needed_until = version.ended_at.map(|at| at + longest);
                Some(Known { version: Some(key), state: version.state, public, needed_until })
            });
            (first_used_at(keys), known.filter(is_needed).collect::<Vec<_>>())
        });
        let file = self.file.known()?.map(|key| Known {
            version: None,
            state: if first.is_none() { State::Active } else { State::VerifyOnly },
            public: key.public(),
            needed_until: first.map(|at| at + longest),
        });
        Ok(file.into_iter().filter(is_needed).chain(versions).collect())
    }

    /// Whether what is issued now can be written down.
    ///
    /// # Errors
    /// No key is in use, or the keystore is sealed.
    pub fn ready(&self) -> Result<(), Denial> {
        self.knows_keys()?;
        if self.keys.read(signs_by_file) {
            return Ok(());
        }
        let is_in_use = self.keys.read(|keys| keys.active(PURPOSE).is_some());
        let in_use = if is_in_use { Ok(()) } else { Err(none_in_use(PURPOSE)) };
        in_use.and_then(|()| self.safe.sealed().map_or(Ok(()), Err))
    }

    /// Writes down what was issued. Blocks: the keystore, or the file, may wait for the disk.
    ///
    /// # Errors
    /// No key is in use, or it cannot be used.
    pub fn mint(&self, token: &Token) -> Result<Minted, Denial> {
        self.knows_keys()?;
        let claims = claims(token);
        let signed = |key: &Key| Minted { text: bearer::mint(key, &claims), key: key.public() };
        if self.keys.read(signs_by_file) {
            return Ok(signed(&*self.file.get()?));
        }
        let (_, bound) = used(PURPOSE);
        let (key, minted) = with_key_in_use(&self.keys, &self.safe, PURPOSE, |store, InUse { key, name, suite }| {
            if signature(suite) != Some(SUITE) {
                return Ok(None);
            }
            store.lend(name, bound, |secret| {
                let seed = secret.expose().try_into().expect("the seed of Ed25519 has 32 bytes");
                Some(signed(&Key::of(seed).numbered(key.version)))
            })
        })?;
        minted.ok_or_else(|| {
            let remedy = format!("`sop crypto keys --rotate {PURPOSE} --suite {SUITE}`");
            Denial::new(Layer::Availability, "bearer.key_suite", other_suite(key), remedy)
        })
    }

    /// The token of the registry that this text stands for, if it is good for that.
    ///
    /// # Errors
    /// Why not.
    pub fn verify(&self, text: &str, wanted: &Use<'_>) -> Result<Arc<Carried>, Denial> {
        self.knows_keys()?;
        let carried = self.cache.verify(text, &self.registry(wanted.now), wanted.now).map_err(why)?;
        carried.permits(wanted).map_err(|refusal| denial(&refusal))?;
        Ok(carried)
    }

    /// That what is not on record is known not to be: which keys there are, and which are revoked.
    fn knows_keys(&self) -> Result<(), Denial> {
        if self.keys.is_whole() {
            return Ok(());
        }
        let reason = "which keys sign tokens is not read yet";
        let denial = Denial::new(Layer::Availability, "bearer.not_yet", reason, "ask again in a moment");
        Err(denial.retry_after(Millis::seconds(1)))
    }

    fn registry(&self, now: Timestamp) -> Issued<'_> {
        Issued { tokens: &self.tokens, keys: &self.keys, file: &self.file, now }
    }
}

impl Carriers for Bearers {
    fn read(&self, text: &str, now: Timestamp) -> Result<Arc<dyn Carries>, Denial> {
        self.knows_keys()?;
        let registry = self.registry(now);
        let carried = match self.cache.verify(text, &registry, now) {
            Ok(carried) => carried,
            // That it has ended is for the door to say.
            Err(Checked::Refused(Refusal::Expired { .. })) => registry.afresh(text)?,
            Err(Checked::Denied(denial)) if denial.code == tokens::Refusal::Revoked.code() => registry.afresh(text)?,
            Err(no) => return Err(why(no)),
        };
        Ok(Arc::new(Shown(carried)))
    }

    fn generation(&self) -> u64 {
        self.keys.read(revoked_keys)
    }
}

/// What the door is shown.
struct Shown(Arc<Carried>);

impl Carries for Shown {
    fn token(&self) -> TokenId {
        self.0.claims().id
    }

    fn signed_by(&self) -> String {
        let version = self.0.says().version.map(|version| PURPOSE.key(version).to_string());
        version.unwrap_or_else(|| FILE.to_owned())
    }

    fn hands(&self) -> Vec<Hand> {
        let hand = |Hop { from, to, key }: &Hop| {
            let key = key.map(|key| key.to_string());
            Hand { from: from.clone(), to: to.clone(), key }
        };
        self.0.says().hops.iter().map(hand).collect()
    }

    fn is_narrowed(&self) -> bool {
        self.0.is_narrowed()
    }

    fn permits(&self, sought: &Sought<'_>) -> Result<(), Denial> {
        let Sought { audience, operation, work, target, now } = *sought;
        // No audience has the empty name.
        let wanted =
            Use { audience: audience.unwrap_or_default(), operation, work, target: Some(target), request: None, now };
        self.0.permits(&wanted).map_err(|refusal| denial(&refusal))
    }
}

fn revoked_keys(keys: &Crypto) -> u64 {
    keys.of(PURPOSE).filter(|(_, version)| version.revoked.is_some()).count() as u64
}

/// Whether there was never another key than that of the file.
fn signs_by_file(keys: &Crypto) -> bool {
    keys.of(PURPOSE).all(|(_, version)| version.made.is_none())
}

/// When the first key of the keystore came into use.
fn first_used_at(keys: &Crypto) -> Option<Timestamp> {
    keys.of(PURPOSE).filter_map(|(_, version)| version.activated_at).min()
}

/// What the signatures of a version are checked with, if they count.
fn public_of(keys: &Crypto, key: KeyId) -> Result<PublicKey, Denial> {
    // Whatever the record that it is revoked since: no signature is in one.
    match keys.judge(key, u64::MAX) {
        Verdict::Counts => {}
        Verdict::RevokedSince(_) => {
            let reason = format!("the key that signed the token is revoked: {key}");
            let remedy =
                "have it written anew, by the command id of its issue if it was not used, or ask for another token";
            return Err(Denial::new(Layer::Token, "bearer.key_revoked", reason, remedy));
        }
        Verdict::NeverSigned => {
            let reason = format!("the token says that {key} signed it, which signs no tokens of this authority");
            let remedy = "show it to the authority that issued it; after a restore, ask for a new one";
            return Err(Denial::new(Layer::Token, "bearer.unknown_key", reason, remedy));
        }
    }
    let made = keys.show(key).and_then(|version| version.made.as_ref());
    let public = made.map(|made| PublicKey::read(&made.public));
    public.and_then(Result::ok).ok_or_else(|| denial(&Refusal::Forged))
}

fn other_suite(key: KeyId) -> String {
    format!("{key} is of another suite than the bearer form of tokens is signed with")
}

/// That a key of this suite cannot sign what keys for that purpose sign.
///
/// # Errors
/// The denial of who asks for one.
pub fn fits(purpose: Purpose, tag: u16) -> Result<(), Denial> {
    if purpose != PURPOSE || signature(tag) == Some(SUITE) {
        return Ok(());
    }
    let named = Suite::tagged(tag).map_or_else(|| format!("{tag:#06x}"), |suite| suite.to_string());
    let reason = format!("keys for {PURPOSE} sign the bearer form of tokens, which has no signatures of {named}");
    Err(Denial::new(Layer::Request, "crypto.fixed_suite", reason, format!("name the suite {SUITE}")))
}

/// The key that lies in a file of its own.
struct KeyFile {
    path: PathBuf,
    key: Mutex<Option<Arc<Key>>>,
}

impl KeyFile {
    /// The key, from memory, from its file, or made.
    fn get(&self) -> Result<Arc<Key>, Denial> {
        self.found(|| self.read()?.map_or_else(|| self.make(), Ok).map(Some)).map(|key| key.expect("it is made"))
    }

    /// The key, if there is one.
    fn known(&self) -> Result<Option<Arc<Key>>, Denial> {
        self.found(|| self.read())
    }

    fn found(&self, look: impl FnOnce() -> io::Result<Option<Key>>) -> Result<Option<Arc<Key>>, Denial> {
        let mut known = self.key.lock().unwrap_or_else(PoisonError::into_inner);
        if known.is_none() {
            *known = look().map_err(|why| self.unusable(&why.to_string()))?.map(Arc::new);
        }
        Ok(known.clone())
    }

    fn unusable(&self, why: &str) -> Denial {
        let reason = format!("the key of the tokens in {} cannot be used: {why}", self.path.display());
        let remedy = "make it a file of mode 0600 with the key that was made, or put that back";
        Denial::new(Layer::Availability, "bearer.key", reason, remedy)
    }

    fn read(&self) -> io::Result<Option<Key>> {
        match fs::read_to_string(&self.path).map(Zeroizing::new) {
            Ok(text) => {
                let mode = fs::metadata(&self.path)?.mode();
                if mode & 0o077 != 0 {
                    return Err(io::Error::other(format!("others may use it (mode {:04o})", mode & 0o7777)));
                }
                Key::parse(text.trim_end()).map(Some).map_err(|_| io::Error::other("it is none"))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whole on disk before anything is signed with it.
    fn make(&self) -> io::Result<Key> {
        let key = Key::generate();
        let directory = self.path.parent().ok_or_else(|| io::Error::other("it lies nowhere"))?;
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let new = self.path.with_extension("new");
        match fs::remove_file(&new) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        writeln!(file, "{}", *key.secret())?;
        file.sync_all()?;
        fs::rename(&new, &self.path)?;
        File::open(directory)?.sync_all()?;
        tracing::info!(code = "bearer.key_made", key = %key.public(), "tokens are signed under a new key");
        Ok(key)
    }
}

/// What a token of the registry says when it is carried.
fn claims(token: &Token) -> Claims {
    Claims {
        id: token.id,
        kind: token.grant.kind().as_str().to_owned(),
        subject: token.subject.clone(),
        issuer: token.issuer.clone(),
        audience: token.audience.clone(),
        operation: token.operation.clone(),
        target: token.target.clone(),
        request: token.request,
        todo: token.todo,
        // To the second, as the form has it.
        starts_at: Timestamp(token.starts_at.0 / 1_000 * 1_000),
        expires_at: Timestamp(token.expires_at.0 / 1_000 * 1_000),
    }
}

struct Issued<'a> {
    tokens: &'a Follower<Tokens>,
    keys: &'a Follower<Crypto>,
    file: &'a KeyFile,
    now: Timestamp,
}

impl Registry for Issued<'_> {
    type No = Denial;

    /// Neither count ever goes back, so their sum is the same only as long as both are.
    fn revocations(&self) -> u64 {
        self.tokens.read(Tokens::revocations) + self.keys.read(revoked_keys)
    }

    fn key(&self, version: Option<u32>) -> Result<PublicKey, Denial> {
        match version {
            Some(version) => self.keys.read(|keys| public_of(keys, PURPOSE.key(version))),
            None => self.file.known()?.map(|key| key.public()).ok_or_else(|| denial(&Refusal::Forged)),
        }
    }

    fn stands(&self, carried: &Carried) -> Result<(), Denial> {
        match self.issued(carried)?.revocation {
            Some(_) => Err(Denial { layer: Layer::Token, ..tokens::Refusal::Revoked.denial() }),
            None => Ok(()),
        }
    }
}

impl Issued<'_> {
    /// The token of this text, whatever became of it, without what is remembered.
    fn afresh(&self, text: &str) -> Result<Arc<Carried>, Denial> {
        let carried = Carried::verify_with(text, |version| self.key(version)).map_err(why)?;
        self.issued(&carried)?;
        Ok(Arc::new(carried))
    }

    /// The token as the registry has it, ended or not, if it was issued so and its signature counts.
    fn issued(&self, carried: &Carried) -> Result<Token, Denial> {
        let (claimed, version) = (carried.claims(), carried.says().version);
        let first = self.keys.read(|keys| {
            version.map(|version| public_of(keys, PURPOSE.key(version)).map(drop)).transpose()?;
            Ok::<_, Denial>(first_used_at(keys))
        })?;
        match self.tokens.read(|tokens| tokens.show(claimed.id, self.now)) {
            Some(token) if version.is_none() && first.is_some_and(|first| first < token.issued_at) => {
                let reason = "the token was issued after the key that signed it had signed its last one";
                let remedy = "ask for a new token; somebody may have the file keys/tokens who should not";
                Err(Denial::new(Layer::Token, "bearer.old_key", reason, remedy))
            }
            Some(token) if claims(&token) == *claimed => Ok(token),
            // As it may be after a restore of an older backup.
            Some(_) | None => Err(Denial { layer: Layer::Token, ..tokens::Refusal::Unknown.denial() }),
        }
    }
}

fn why(no: Checked<Denial>) -> Denial {
    match no {
        Checked::Refused(refusal) => denial(&refusal),
        Checked::Denied(denial) => denial,
    }
}

/// That the engine had no time is no verdict on the token.
fn denial(refusal: &Refusal) -> Denial {
    let denial = refusal.denial();
    match refusal {
        Refusal::Busy => Denial { layer: Layer::Availability, ..denial }.retry_after(Millis(100)),
        _ => Denial { layer: Layer::Token, ..denial },
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::os::unix::fs::PermissionsExt as _;

    use crypto::{Command, Task};
    use host::View as _;
    use kernel::{CommandId, Context, Decision, Digest, Machine, Personal, Position, Principal, TokenId};
    use proptest::prelude::*;
    use tokens::{Bounds, Grant, Issue};

    use super::*;

    const NOON: Timestamp = Timestamp(1_800_000_000_000);
    const WORKER: &str = "internal/custodian";
    const OPERATOR: &str = "operator/root";

    fn at(name: &str) -> PathBuf {
        let home = std::env::temp_dir().join(format!("sop-bearers-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&home);
        home.join("keys/tokens")
    }

    /// The key of a version, as if the keystore had made it.
    fn key(version: u32) -> Key {
        Key::of(&[u8::try_from(version).unwrap(); 32]).numbered(version)
    }

    /// Its public part, as the keystore says it.
    fn der(version: u32) -> Vec<u8> {
        let text = key(version).public().to_string();
        let digits = format!("302a300506032b6570032100{}", text.strip_prefix("ed25519/").unwrap());
        (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
    }

    /// The records of keys and tokens, and what verifies by them.
    struct Recorded {
        keys: Arc<Follower<Crypto>>,
        tokens: Arc<Follower<Tokens>>,
        now: Timestamp,
        seen: u64,
        bearers: Bearers,
    }

    impl Recorded {
        fn over(file: &std::path::Path) -> Self {
            let (keys, tokens) = (Arc::<Follower<Crypto>>::default(), Arc::<Follower<Tokens>>::default());
            keys.caught_up();
            // It is never opened: who has the seed signs.
            let safe = Safe::new(file, None, None, suites::Policy::default());
            let bearers = Bearers::new(file.to_owned(), &keys, &tokens, &safe);
            Self { keys, tokens, now: NOON, seen: 0, bearers }
        }

        fn tell<M: Machine + Clone + Sync>(&mut self, of: &Follower<M>, by: &str, command: &M::Command) -> bool {
            self.now = self.now + Millis(1);
            let principal: Principal = by.parse().unwrap();
            let decision = Decision::default();
            let cx = Context { now: self.now, command_id: CommandId::new(self.now, [1; 10]), principal, decision };
            let Ok(outcome) = of.read(|machine| machine.decide(command, &cx)) else { return false };
            for event in &outcome.events {
                self.seen += 1;
                of.apply(event, Position(self.seen));
            }
            true
        }

        fn keys(&mut self, command: &Command) -> bool {
            let by =
                if matches!(command, Command::Made { .. } | Command::Destroyed { .. }) { WORKER } else { OPERATOR };
            self.tell(&self.keys.clone(), by, command)
        }

        /// The keystore does what is on record to be done.
        fn work(&mut self) {
            while let Some(task) = self.keys.read(|keys| keys.tasks().next()) {
                let done = match task {
                    Task::Make { key, .. } => Command::Made { key, public: der(key.version), voucher: None },
                    Task::Destroy { key, .. } => Command::Destroyed { key },
                    Task::UpdateRefs { .. } | Task::Verify { .. } => unreachable!("nobody asked for it"),
                };
                assert!(self.keys(&done));
            }
        }

        fn generate(&mut self) {
            self.keys(&Command::Generate { keys: vec![(PURPOSE, Suite::from(SUITE).tag())], missing: false });
            self.work();
        }

        fn rotate(&mut self) {
            self.keys(&Command::Rotate { purpose: Some(PURPOSE), suite: None });
            self.work();
        }

        fn revoke(&mut self, version: u32, since: u64) -> bool {
            let revoked = self.keys(&Command::Revoke { key: PURPOSE.key(version), since, reason: Personal::plain("") });
            self.work();
            revoked
        }

        fn destroy(&mut self, version: u32) {
            self.keys(&Command::Destroy { key: PURPOSE.key(version) });
            self.work();
        }

        fn issue(&mut self, number: u8) -> TokenId {
            let id = TokenId(number.into());
            let issue = Issue {
                id,
                secret: Digest([number; 32]),
                grant: Grant::Operation,
                subject: "agent/alpha".parse().unwrap(),
                audience: "arp".into(),
                operation: "deploy".into(),
                uses: None,
                lifetime: None,
                bounds: Bounds::default(),
            };
            self.tell(&self.tokens.clone(), OPERATOR, &tokens::Command::Issue(issue));
            id
        }

        fn token(&self, id: TokenId) -> Token {
            self.tokens.read(|tokens| tokens.show(id, self.now)).unwrap()
        }

        /// As it is minted by the key in use; by which version.
        fn minted(&self, id: TokenId) -> Option<(Option<u32>, String)> {
            if self.keys.read(signs_by_file) {
                return Some((None, self.bearers.mint(&self.token(id)).unwrap().text));
            }
            let version = self.keys.read(|keys| keys.active(PURPOSE).map(|(key, _)| key.version))?;
            Some((Some(version), self.by(version, id)))
        }

        /// As whoever has that key signs it.
        fn by(&self, version: u32, id: TokenId) -> String {
            bearer::mint(&key(version), &claims(&self.token(id)))
        }

        /// The code of the denial, if it is one.
        fn said(&self, text: &str) -> Option<String> {
            let wanted =
                Use { audience: "arp", operation: "deploy", work: None, target: None, request: None, now: self.now };
            self.bearers.verify(text, &wanted).err().map(|denial| denial.code)
        }
    }

    /// While a start reads which keys there are, nothing is signed by the file as if there were none, and no good token is refused.
    #[test]
    fn until_the_keys_are_read_there_is_no_verdict() {
        let file = at("unread");
        let mut authority = Recorded::over(&file);
        let token = authority.issue(1);
        let (_, text) = authority.minted(token).unwrap();
        authority.generate();
        let keys = Arc::<Follower<Crypto>>::default();
        let starting = Bearers::new(file.clone(), &keys, &authority.tokens, &authority.bearers.safe);
        let now = authority.now;
        let wanted = Use { audience: "arp", operation: "deploy", work: None, target: None, request: None, now };
        for (row, denied) in [
            ("mint", starting.mint(&authority.token(token)).map(drop).unwrap_err()),
            ("verify", starting.verify(&text, &wanted).map(drop).unwrap_err()),
            ("the door's", starting.read(&text, now).map(drop).unwrap_err()),
            ("ready", starting.ready().unwrap_err()),
            ("public", starting.public().map(drop).unwrap_err()),
            ("all", starting.all(now).map(drop).unwrap_err()),
        ] {
            assert_eq!((denied.code.as_str(), denied.layer), ("bearer.not_yet", Layer::Availability), "{row}");
        }
        keys.caught_up();
        assert!(starting.read(&text, now).is_ok());
        fs::remove_dir_all(file.ancestors().nth(2).unwrap()).unwrap();
    }

    #[test]
    fn who_signed_it_is_judged_by_the_records_of_keys() {
        let file = at("judged");
        let mut authority = Recorded::over(&file);
        let before = authority.issue(1);
        let (none, by_file) = authority.minted(before).unwrap();
        assert_eq!((none, authority.said(&by_file)), (None, None));
        let by_one = authority.by(1, before);
        assert_eq!(authority.said(&by_one).as_deref(), Some("bearer.unknown_key"), "there is none yet");

        authority.generate();
        assert_eq!([&by_file, &by_one].map(|text| authority.said(text)), [None, None]);
        let after = authority.issue(2);
        let stolen = bearer::mint(&authority.bearers.file.get().unwrap(), &claims(&authority.token(after)));
        assert_eq!(authority.said(&stolen).as_deref(), Some("bearer.old_key"), "the file signs nothing any more");
        assert_eq!(authority.minted(after).map(|(version, _)| version), Some(Some(1)));
        assert_eq!(authority.bearers.public().unwrap(), (Some(PURPOSE.key(1)), key(1).public()));
        assert_eq!(authority.bearers.ready().unwrap_err().code, "crypto.sealed", "it verifies all the same");

        authority.rotate();
        let by_two = authority.by(2, after);
        assert_eq!(authority.minted(after).map(|(version, _)| version), Some(Some(2)));
        assert_eq!([&by_one, &by_two].map(|text| authority.said(text)), [None, None], "the one before counts");
        // Another version in its place is another key.
        let renamed = bearer::mint(&Key::of(&[1; 32]).numbered(2), &claims(&authority.token(after)));
        assert_eq!(authority.said(&renamed).as_deref(), Some("bearer.forged"));
        assert_eq!(authority.said(&authority.by(3, after)).as_deref(), Some("bearer.unknown_key"));

        // Whatever the record that it is revoked since, and although what it signed was verified before.
        assert!(authority.revoke(1, 1_000_000));
        for text in [&by_one, &authority.by(1, before), &authority.by(1, after)] {
            assert_eq!(authority.said(text).as_deref(), Some("bearer.key_revoked"));
        }
        assert_eq!([&by_two, &by_file].map(|text| authority.said(text)), [None, None]);
        authority.rotate();
        authority.destroy(2);
        authority.destroy(1);
        assert_eq!(authority.said(&by_two), None, "what a destroyed key signed is judged as before");
        assert_eq!(authority.said(&by_one).as_deref(), Some("bearer.key_revoked"));
        let all = authority.bearers.all(authority.now).unwrap();
        let states: Vec<_> = all.iter().map(|known| (known.version.map(|key| key.version), known.state)).collect();
        let (old, ended) = (State::VerifyOnly, State::Destroyed);
        assert_eq!(states, [(None, old), (Some(1), ended), (Some(2), ended), (Some(3), State::Active)]);
        let later = authority.now + Millis::hours(49);
        assert_eq!(authority.bearers.all(later).unwrap().len(), 1, "what the others signed has ended");

        // The one in use: nothing is signed until there is another, and never again by the file.
        authority.keys(&Command::Revoke { key: PURPOSE.key(3), since: 1, reason: Personal::plain("") });
        assert_eq!(authority.bearers.public().unwrap_err().code, "crypto.none_in_use");
        assert_eq!(authority.bearers.ready().unwrap_err().code, "crypto.none_in_use");
        assert_eq!(authority.bearers.mint(&authority.token(after)).map(drop).unwrap_err().code, "crypto.none_in_use");
        fs::remove_file(&file).unwrap();
        let again = Bearers::new(file.clone(), &authority.keys, &authority.tokens, &authority.bearers.safe);
        authority.bearers = again;
        assert_eq!(authority.said(&by_file).as_deref(), Some("bearer.forged"), "without its file nobody knows it");
        assert!(!file.exists(), "and none is made in its place");
        fs::remove_dir_all(file.ancestors().nth(2).unwrap()).unwrap();
    }

    /// What the door is shown: by whom it was signed and through whose hands it came, also of what has ended.
    #[test]
    fn the_door_is_shown_what_counts_whether_or_not_it_has_ended() {
        let file = at("shown");
        let mut authority = Recorded::over(&file);
        let id = authority.issue(1);
        let by_file = authority.minted(id).unwrap().1;
        authority.generate();
        let bare = authority.by(1, id);
        let (from, to) = ("agent/alpha".parse().unwrap(), "agent/beta".parse().unwrap());
        let until = authority.now + Millis::minutes(5);
        let narrower = bearer::Narrower { until: Some(until), hop: Some((from, to)), ..bearer::Narrower::default() };
        let less = bearer::attenuate(&bare, &narrower, Some(&Key::of(&[9; 32]))).unwrap();
        let read = |authority: &Recorded, text: &str| authority.bearers.read(text, authority.now);
        let code = |authority: &Recorded, text: &str| read(authority, text).err().map(|denial| denial.code);
        let sought = |now| Sought { audience: Some("arp"), operation: "deploy", work: None, target: "web", now };
        let shown = read(&authority, &by_file).unwrap();
        assert_eq!((shown.signed_by().as_str(), shown.is_narrowed(), shown.hands().len()), ("keys/tokens", false, 0));
        let shown = read(&authority, &less).unwrap();
        assert_eq!((shown.token(), shown.signed_by().as_str(), shown.is_narrowed()), (id, "token-root.1", true));
        let hand = &shown.hands()[0];
        assert_eq!((hand.from.to_string(), hand.to.to_string()), ("agent/alpha".into(), "agent/beta".into()));
        assert_eq!(hand.key.as_deref(), Some(Key::of(&[9; 32]).public().to_string().as_str()));
        let permitted = |sought: Sought<'_>| shown.permits(&sought).err().map(|denial| denial.code);
        let now = authority.now;
        assert_eq!(permitted(sought(now)), None);
        for other in [
            Sought { audience: None, ..sought(now) },
            Sought { audience: Some("scp"), ..sought(now) },
            Sought { operation: "stop", ..sought(now) },
            sought(until),
        ] {
            assert_eq!(permitted(other).as_deref(), Some("bearer.not_for"), "{other:?}");
        }
        assert_eq!(
            permitted(Sought { operation: "stop", work: Some("deploy"), ..sought(now) }),
            None,
            "as a part of it"
        );

        // Ended, and known all the same; what does not count is not.
        authority.tell(
            &authority.tokens.clone(),
            OPERATOR,
            &tokens::Command::Revoke { id, reason: tokens::Reason::Withdrawn },
        );
        assert_eq!([&bare, &less].map(|text| code(&authority, text)), [None, None]);
        authority.now = authority.now + Millis::hours(1);
        assert_eq!([&bare, &less].map(|text| code(&authority, text)), [None, None]);
        assert_eq!(code(&authority, &authority.by(2, id)).as_deref(), Some("bearer.unknown_key"));
        let longer = bare.replace("sop_bt_", &format!("sop_bt_{}", "A".repeat(bearer::TEXT_MAX)));
        for (text, no) in
            [("sop_bt_", "bearer.malformed"), ("sop_bt_!", "bearer.malformed"), (&longer, "bearer.too_long")]
        {
            assert_eq!(code(&authority, text).as_deref(), Some(no), "{text:.30}");
        }
        let generation = authority.bearers.generation();
        authority.revoke(1, 1);
        assert_eq!(authority.bearers.generation(), generation + 1);
        assert_eq!(
            [&bare, &less].map(|text| code(&authority, text).unwrap()),
            ["bearer.key_revoked", "bearer.key_revoked"]
        );
        assert_eq!(code(&authority, &by_file), None, "of another key");
        fs::remove_dir_all(file.ancestors().nth(2).unwrap()).unwrap();
    }

    #[test]
    fn a_key_for_tokens_is_of_their_suite() {
        for (purpose, suite, fit) in [
            (PURPOSE, SUITE, true),
            (PURPOSE, Signature::MlDsa65, false),
            (PURPOSE, Signature::Ed25519MlDsa65, false),
            (PURPOSE, Signature::EcdsaP256, false),
            (Purpose::Receipts, Signature::MlDsa65, true),
        ] {
            let code = fits(purpose, Suite::from(suite).tag()).err().map(|denial| denial.code);
            assert_eq!(code.as_deref(), (!fit).then_some("crypto.fixed_suite"), "{purpose} {suite}");
        }
        assert!(fits(PURPOSE, 0xffff).is_err());
    }

    #[derive(Clone, Debug)]
    enum Step {
        Generate,
        Rotate,
        Revoke(u32, u64),
        Destroy(u32),
        Issue,
        RevokeToken(u8),
        /// Of one of the tokens, by the key in use.
        Mint(u8),
        /// The same by that version, whatever became of it: its seed is known to others.
        Steal(u32, u8),
        Later(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        let (version, token) = (1..5_u32, 0..6_u8);
        prop_oneof![
            1 => Just(Step::Generate),
            2 => Just(Step::Rotate),
            2 => (version.clone(), 1..9_u64).prop_map(|(version, since)| Step::Revoke(version, since)),
            1 => version.clone().prop_map(Step::Destroy),
            3 => Just(Step::Issue),
            1 => token.clone().prop_map(Step::RevokeToken),
            5 => token.clone().prop_map(Step::Mint),
            3 => (version, token).prop_map(|(version, token)| Step::Steal(version, token)),
            1 => (0..8_u64).prop_map(Step::Later),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        /// Whatever becomes of keys and tokens: what a revoked key signed is never taken, and everything else is as long as it lives.
        #[test]
        fn no_history_accepts_a_token_of_a_revoked_key(script in prop::collection::vec(step(), 1..40)) {
            let file = at("law");
            let mut authority = Recorded::over(&file);
            let (mut issued, mut revoked) = (0, BTreeSet::new());
            let mut texts: BTreeMap<String, (Option<u32>, TokenId)> = BTreeMap::new();
            for step in script {
                match step {
                    Step::Generate => authority.generate(),
                    Step::Rotate => authority.rotate(),
                    Step::Revoke(version, since) => {
                        if authority.revoke(version, since) {
                            revoked.insert(version);
                        }
                    }
                    Step::Destroy(version) => authority.destroy(version),
                    Step::Issue if issued < 6 => {
                        authority.issue(issued);
                        issued += 1;
                    }
                    Step::RevokeToken(token) if token < issued => {
                        let (id, reason) = (TokenId(token.into()), tokens::Reason::Withdrawn);
                        authority.tell(&authority.tokens.clone(), OPERATOR, &tokens::Command::Revoke { id, reason });
                    }
                    Step::Mint(token) if token < issued => {
                        let id = TokenId(token.into());
                        if let Some((version, text)) = authority.minted(id) {
                            prop_assert!(version.is_none_or(|version| !revoked.contains(&version)), "it signs no more");
                            texts.insert(text, (version, id));
                        }
                    }
                    Step::Steal(version, token) if token < issued => {
                        let id = TokenId(token.into());
                        texts.insert(authority.by(version, id), (Some(version), id));
                    }
                    Step::Later(minutes) => authority.now = authority.now + Millis::minutes(minutes),
                    Step::Issue | Step::RevokeToken(_) | Step::Mint(_) | Step::Steal(..) => {}
                }
                for (text, (version, id)) in &texts {
                    let token = authority.token(*id);
                    let was_used = |version: u32| authority.keys.read(|keys| {
                        keys.show(PURPOSE.key(version)).is_some_and(|version| version.activated_at.is_some())
                    });
                    let counts = version.is_none_or(|version| was_used(version) && !revoked.contains(&version));
                    let lives = token.revocation.is_none() && authority.now < claims(&token).expires_at;
                    let said = authority.said(text);
                    prop_assert_eq!(said.is_none(), counts && lives, "{:?} of {}: {:?}", version, id, said);
                    let is_cut = version.is_some_and(|version| was_used(version) && revoked.contains(&version));
                    if is_cut && authority.now < claims(&token).expires_at {
                        prop_assert_eq!(said.as_deref(), Some("bearer.key_revoked"));
                    }
                }
            }
            let _ = fs::remove_dir_all(file.ancestors().nth(2).unwrap());
        }
    }

    #[test]
    fn the_key_is_made_once_and_read_again_and_is_nobody_elses() {
        let file = at("made");
        let at = |path: &PathBuf| KeyFile { path: path.clone(), key: Mutex::default() };
        assert!(at(&file).known().unwrap().is_none() && !file.exists(), "none is made to look at it");
        let first = at(&file).get().unwrap().public();
        assert_eq!(at(&file).known().unwrap().unwrap().public(), first);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        // What was left by who ended half-way is written over.
        fs::rename(&file, file.with_extension("new")).unwrap();
        let second = at(&file).get().unwrap().public();
        assert_ne!(second, first);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        let denied = at(&file).get().map(drop).unwrap_err();
        assert_eq!((denied.code.as_str(), denied.layer), ("bearer.key", Layer::Availability));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&file, "ed25519-private/00\n").unwrap();
        let denied = at(&file).get().map(drop).unwrap_err();
        assert!(denied.code == "bearer.key" && !denied.reason.contains("ed25519-private"), "{denied:?}");
        fs::remove_dir_all(file.ancestors().nth(2).unwrap()).unwrap();
    }
}
