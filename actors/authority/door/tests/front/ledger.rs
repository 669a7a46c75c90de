//! Every decision of a long random run is found in the record, and nothing else is.
//!
//! Clients ask at once, each by its own dice, and write down what they were told. That ledger is the judge: it knows nothing of
//! the journal, and the journal has what it says, once. What each request that was let in came to is there, too: once.

use std::collections::BTreeMap;
use std::sync::Arc;

use door::outcomes::Ended;
use door::{Ask, Decisions, Denied, Door, Outcomes, Secret, Source, outcomes};
use host::Handle;
use journal::envelope::{Answer, Record};
use kernel::{Asked, CommandId, Layer, Machine, Millis, Sequence, Standing, TokenId};
use tokens::{Grant, UseState};
use tokio::task::JoinSet;

use crate::shelf::{Command, FULL, Shelf};
use crate::world::{NOON, ROOT, Setup, World, root_credential, secret};

const CLIENTS: u8 = 16;
const REQUESTS: usize = 625;

/// Operators may, but for one todo; agents may look, and put back what is not another one.
const POLICY: &str = r#"
    @id("operators") permit (principal is Operator, action, resource);
    @id("agents") permit (principal is Agent, action in [Action::"todo.list", Action::"todo.release", Action::"system.kill"], resource);
    @id("not-that") forbid (principal, action, resource == Todo::"todo-3");
    @id("not-another") forbid (principal is Agent, action, resource == Todo::"todo-4");
"#;

/// Numbers that look random, and are the same on every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % sides as u64).unwrap()
    }
}

/// A question, something to be put on the shelf, or something that goes on: closed as that, or never.
#[derive(Clone, Debug)]
enum What {
    Question,
    Put(u64),
    Operation(Option<Ended>),
}

/// One request.
#[derive(Clone, Debug)]
struct Sent {
    ask: Ask,
    what: What,
    principal: Option<&'static str>,
}

impl Sent {
    fn asked(&self) -> Asked {
        let via_token = self.principal == Some("agent/alpha");
        let credential = (self.principal == Some("operator/root")).then(root_credential);
        let standing = Standing { via_token, credential, ..Standing::default() };
        Asked::new(self.ask.action, &self.ask.resource, &self.ask.context, &standing)
    }
}

/// What a client hears of what was let in.
enum Told {
    Done,
    Answered,
    Begun,
}

/// What a record has to say: who asked what, and whether it was let in.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    principal: String,
    asked: Asked,
    /// The code of the denial, or of the refusal.
    denied: Option<String>,
}

/// What a client knows.
#[derive(Default)]
struct Ledger {
    /// By the stream and the command id of the record that it was told of.
    told: BTreeMap<(&'static str, CommandId), Entry>,
    /// What was let in and goes on, and how its client ended it.
    ends: BTreeMap<CommandId, Option<Ended>>,
    /// Questions under an id that had named another one: they are on record under ids that nobody was told.
    untold: Vec<Entry>,
    strangers: BTreeMap<(Source, String), u64>,
    /// What it met, by a word.
    met: BTreeMap<String, u64>,
}

impl Ledger {
    fn meet(&mut self, what: &str) {
        *self.met.entry(what.to_owned()).or_default() += 1;
    }

    fn note(&mut self, stream: &'static str, id: CommandId, entry: Entry) {
        let before = self.told.insert((stream, id), entry.clone());
        assert!(before.is_none_or(|before| before == entry), "one record, one decision: {entry:?}");
    }

    fn take(&mut self, sent: &Sent, answer: Result<Told, Denied>, questions: &Questions) {
        let id = sent.ask.command_id;
        let entry = |denied: Option<String>| {
            let principal = sent.principal.expect("somebody known").to_owned();
            Entry { principal, asked: sent.asked(), denied }
        };
        match answer {
            Ok(Told::Done) => {
                self.meet("done");
                self.note("shelf", id, entry(None));
            }
            Ok(Told::Begun) => {
                self.meet("begun");
                self.note("outcomes", id, entry(None));
                let What::Operation(end) = &sent.what else { panic!("only an operation is begun") };
                let before = self.ends.insert(id, end.clone());
                assert!(before.is_none_or(|before| before == *end), "one operation, one end");
            }
            Ok(Told::Answered) if questions.get(&id).is_none_or(|first| *first == (sent.asked(), None)) => {
                self.meet("answered");
                self.note("decisions", id, entry(None));
            }
            Ok(Told::Answered) => {
                self.meet("answered under another id");
                self.untold.push(entry(None));
            }
            Err(Denied { denial, decision }) => {
                self.meet(&denial.code);
                match (denial.layer, decision) {
                    (Layer::Authenticate, None) => {
                        assert_eq!(sent.principal, None, "whoever is known is no stranger");
                        *self.strangers.entry((sent.ask.source, denial.code)).or_default() += 1;
                    }
                    (Layer::Decide, Some(kept)) if denial.code == "shelf.full" => {
                        self.note("shelf", kept, entry(Some(denial.code)));
                    }
                    (_, Some(kept)) => self.note("decisions", kept, entry(Some(denial.code))),
                    (_, None) => panic!("of this denial there is no record: {denial:?}"),
                }
            }
        }
    }
}

/// What each id first names among the decisions without an effect: what was asked, and the code of a denial.
type Questions = BTreeMap<CommandId, (Asked, Option<String>)>;

struct Client {
    number: u8,
    dice: Dice,
    made: u64,
    sent: Vec<Sent>,
    questions: Questions,
    ledger: Ledger,
}

impl Client {
    fn id(&mut self) -> CommandId {
        self.made += 1;
        let mut bytes = [self.number; 10];
        bytes[2..].copy_from_slice(&self.made.to_be_bytes());
        CommandId::new(NOON, bytes)
    }

    fn next(&mut self) -> Sent {
        let again = self.dice.roll(6);
        if again == 0
            && let Some(sent) = self.pick()
        {
            return sent;
        }
        let id = match self.pick() {
            // Another request under an id that is taken.
            Some(sent) if again == 1 && self.dice.roll(4) == 0 => sent.ask.command_id,
            _ => self.id(),
        };
        let (action, what) = match self.dice.roll(4) {
            0 => ("todo.list", What::Question),
            1 => ("todo.show", What::Question),
            2 => ("system.kill", What::Operation(self.end())),
            _ => ("todo.release", What::Put(if self.dice.roll(5) == 0 { FULL + 1 } else { 0 })),
        };
        let (credential, principal) = match self.dice.roll(8) {
            0..3 => (Some(ROOT.to_owned()), Some("operator/root")),
            3 | 4 => {
                let token = match action {
                    "todo.release" => 2,
                    "system.kill" => 4,
                    _ => 1,
                };
                (Some(secret(token)), Some("agent/alpha"))
            }
            // It ended, and whose it was is known all the same.
            5 => (Some(secret(3)), Some("agent/alpha")),
            6 => (Some(format!("a guess of {}", self.number)), None),
            _ => (None, None),
        };
        let resource = match self.dice.roll(12) {
            0 => "r".repeat(Asked::TEXT_MAX + 1),
            number => format!("todo-{number}"),
        };
        let context =
            if self.dice.roll(9) == 0 { [("holder".to_owned(), "agent/beta".into())].into() } else { BTreeMap::new() };
        let source = Source::User(u32::from(self.number % 3));
        let ask = Ask {
            action,
            resource,
            context,
            credential: credential.as_deref().map(Secret::of),
            command_id: id,
            source,
            certificate: None,
            bound: door::Bound::default(),
        };
        Sent { ask, what, principal }
    }

    fn end(&mut self) -> Option<Ended> {
        match self.dice.roll(40) {
            0 => None,
            1..9 => Some(Ended::Failed { code: "world.broke".to_owned() }),
            _ => Some(Ended::Succeeded),
        }
    }

    fn pick(&mut self) -> Option<Sent> {
        let at = self.dice.roll(self.sent.len().max(1));
        self.sent.get(at).cloned()
    }

    async fn run(mut self, door: Arc<Door>, things: Handle<Shelf>) -> Ledger {
        for _ in 0..REQUESTS {
            let sent = self.next();
            let answer = match &sent.what {
                What::Put(put) => {
                    let place = format!("{:?} {:?}", sent.principal, sent.asked());
                    let put = Command::PutAt { place, things: *put };
                    door.perform(&sent.ask, &things, put).await.map(|_| Told::Done)
                }
                What::Question => door.witness(&sent.ask).await.map(|_| Told::Answered),
                What::Operation(end) => match door.begin(&sent.ask).await {
                    Ok(under_way) => {
                        if let Some(end) = end {
                            door.close(under_way, end.clone()).await;
                        }
                        Ok(Told::Begun)
                    }
                    Err(denied) => Err(denied),
                },
            };
            let kept = match &answer {
                Ok(Told::Answered) => Some(None),
                Err(Denied { denial, decision }) if *decision == Some(sent.ask.command_id) => {
                    Some(Some(denial.code.clone())).filter(|_| denial.code != "shelf.full")
                }
                Ok(Told::Done | Told::Begun) | Err(_) => None,
            };
            self.ledger.take(&sent, answer, &self.questions);
            if let Some(denied) = kept {
                self.questions.entry(sent.ask.command_id).or_insert_with(|| (sent.asked(), denied));
            }
            self.sent.push(sent);
        }
        self.ledger
    }
}

/// What a record of the journal says, as a client would.
fn entry(record: &Record) -> Entry {
    let denied = match (record.stream.as_str(), &record.answer) {
        ("decisions", _) => match journal::codec::read((record.kind_id, record.schema), &record.body).unwrap() {
            door::Event::Denied(denied) => Some(denied.denial().code),
            door::Event::Answered(_) => None,
        },
        (_, Answer::Refusal(_)) => Some("shelf.full".to_owned()),
        _ => None,
    };
    let asked = record.asked.as_deref().unwrap().clone();
    Entry { principal: record.principal.clone(), asked, denied }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_decision_of_ten_thousand_requests_is_found_and_nothing_else_is() {
    let world = World::with(Setup { outcomes: 20_000, ..Setup::default() }, POLICY).await;
    let grant = Grant::Operation;
    world.issue_to("agent/alpha", 1, "todo.list", 1_000, grant).await;
    world.issue_to("agent/alpha", 2, "todo.release", 1_000, grant).await;
    world.issue_to("agent/alpha", 3, "todo.list", 1_000, grant).await;
    world.issue_to("agent/alpha", 4, "system.kill", 1_000, grant).await;
    world.revoke(TokenId(3)).await;
    let before = world.journal.head().unwrap().sequence;

    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        let client = Client {
            number,
            dice: Dice(0x9e37_79b9_7f4a_7c15 ^ u64::from(number) << 32 | 1),
            made: 0,
            sent: Vec::new(),
            questions: BTreeMap::new(),
            ledger: Ledger::default(),
        };
        clients.spawn(client.run(world.door.clone(), world.shelf.clone()));
    }
    let mut all = Ledger::default();
    for ledger in clients.join_all().await {
        all.told.extend(ledger.told);
        all.untold.extend(ledger.untold);
        all.ends.extend(ledger.ends);
        for (key, count) in ledger.strangers {
            *all.strangers.entry(key).or_default() += count;
        }
        for (what, count) in ledger.met {
            *all.met.entry(what).or_default() += count;
        }
    }
    assert_eq!(all.met.values().sum::<u64>(), u64::from(CLIENTS) * REQUESTS as u64);
    for what in [
        "done",
        "begun",
        "answered",
        "answered under another id",
        "shelf.full",
        "host.id_taken",
        "policy.forbidden",
        "door.not_capable",
        "tokens.revoked",
        "request.too_long",
        "door.no_credential",
        "door.unknown_credential",
    ] {
        assert!(all.met.get(what).is_some_and(|count| 10 < *count), "{what} is among it: {:?}", all.met);
    }

    // The process ends: what nobody closed is unknown.
    world.later(Millis(1));
    world.door.forsake(world.now()).await;

    let mut told = all.told;
    let mut untold = all.untold;
    let mut outcomes = BTreeMap::<CommandId, Vec<Ended>>::new();
    for record in world.journal.read(Sequence(before.0 + 1), usize::MAX).unwrap() {
        if record.stream == Outcomes::NAME
            && let Ok(Some(outcomes::Event::Closed(closed))) = journal::codec::fact(&record)
        {
            outcomes.entry(closed.operation).or_default().push(closed.ended());
        }
        // A use is given back where nothing was done, and nowhere else.
        if let Some(spent) = record.decision.token {
            let denied = matches!(journal::codec::fact(&record), Ok(Some(door::Event::Denied(_))));
            let refused = matches!(record.answer, Answer::Refusal(_)) || record.stream == Decisions::NAME && denied;
            let state = world.uses(spent.token).into_iter().find(|(number, _)| *number == spent.number);
            assert_eq!(state.map(|(_, state)| state), (!refused).then_some(UseState::Succeeded), "{record:?}");
        }
        if record.asked.is_none() {
            assert!(record.principal.starts_with("internal/"), "somebody asked for {record:?}");
            continue;
        }
        let stream = ["shelf", "outcomes"].into_iter().find(|stream| record.stream == *stream).unwrap_or("decisions");
        let found = entry(&record);
        if let Some(expected) = told.remove(&(stream, record.command_id)) {
            assert_eq!(found, expected);
        } else {
            let at = untold.iter().position(|entry| *entry == found);
            untold.remove(at.unwrap_or_else(|| panic!("nobody asked for {found:?}")));
        }
    }
    assert_eq!((told.into_values().collect::<Vec<_>>(), untold), (vec![], vec![]), "these are nowhere");
    let ends: BTreeMap<_, _> =
        all.ends.into_iter().map(|(id, end)| (id, vec![end.unwrap_or(Ended::Unknown)])).collect();
    assert!(ends.values().any(|ends| *ends == [Ended::Unknown]) && 1_000 < ends.len(), "{}", ends.len());
    assert_eq!(outcomes, ends, "what was let in and goes on ends once, as it ended");
    let counted: BTreeMap<_, _> =
        world.door.strangers().into_iter().map(|(source, code, count)| ((source, code), count)).collect();
    assert_eq!(counted, all.strangers, "strangers are counted, each once");
}
