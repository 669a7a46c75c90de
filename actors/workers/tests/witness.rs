//! What a witness may answer: one row each, and the requests that it gets.

use std::collections::VecDeque;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use evidence::checkpoint::Checkpoint;
use evidence::tree::{Hash, is_consistent};
use evidence::{Evidence, Limits, Places, Witness, Witnesses};
use journal::{Entry, Journal};
use kernel::{Principal, Timestamp};
use tempfile::TempDir;
use workers::witness::{ANSWER_MAX, Answer, Post, Posting, Witnessing};

const NAME: &str = "w/one";

fn pair() -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap()
}

/// A log, and a witness that answers what it is told to.
struct World {
    _home: TempDir,
    journal: Journal,
    evidence: Evidence,
    witnessing: Witnessing,
    asked: Arc<Mutex<Vec<(String, String)>>>,
    answers: Arc<Mutex<VecDeque<Result<Answer, String>>>>,
}

impl World {
    fn new() -> Self {
        let home = TempDir::new().unwrap();
        let limits = journal::Limits { reserve_bytes: 0, ..journal::Limits::default() };
        let journal = Journal::new(&home.path().join("journal"), limits);
        journal.open().unwrap();
        let places = Places { log: home.path().join("evidence"), key: home.path().join("keys/log") };
        let all = vec![Witness::new(NAME, pair().public_key().as_ref().try_into().unwrap())];
        let witnesses = Witnesses { all, quorum: 1 };
        let evidence =
            Evidence::witnessed(&journal, places, None, witnesses, evidence::Hands::default(), Limits::default());
        evidence.open().unwrap();
        let (asked, answers) = (Arc::<Mutex<Vec<_>>>::default(), Arc::<Mutex<VecDeque<_>>>::default());
        let (heard, told) = (asked.clone(), answers.clone());
        let post: Post = Arc::new(move |address, body| {
            heard.lock().unwrap().push((address, body));
            let answer = told.lock().unwrap().pop_front().expect("it is not asked more often");
            Box::pin(async { answer }) as Posting
        });
        let witnessing = Witnessing::new(&evidence, vec![Some("http://w/x".into())], post);
        Self { _home: home, journal, evidence, witnessing, asked, answers }
    }

    /// So many records more, and a checkpoint over them.
    fn grow(&self, records: u64) -> (Checkpoint, String) {
        for _ in 0..records {
            let (tell, told) = channel();
            let then = Box::new(move |opened| tell.send(opened).unwrap());
            let principal = Principal::internal("test");
            self.journal.queue(Entry::Open { stream: "notes", principal, time: Timestamp(1), then });
            told.recv().unwrap().unwrap();
        }
        while self.evidence.follow().unwrap() {}
        self.evidence.checkpoint().unwrap()
    }

    /// What comes of asking for that checkpoint, if the answers are these; and the bodies of the requests.
    async fn ask(
        &self,
        (checkpoint, note): &(Checkpoint, String),
        answers: Vec<Result<Answer, String>>,
    ) -> (Result<(), (&'static str, bool)>, Vec<String>) {
        *self.answers.lock().unwrap() = answers.into();
        let told = self.witnessing.ask(0, checkpoint, note).await;
        assert!(self.answers.lock().unwrap().is_empty(), "it is asked as often as it has answers");
        let asked = std::mem::take(&mut *self.asked.lock().unwrap());
        assert!(asked.iter().all(|(address, _)| address == "http://w/x/add-checkpoint"));
        let bodies = asked.into_iter().map(|(_, body)| body).collect();
        (told.map_err(|trouble| (trouble.code, trouble.other_history)), bodies)
    }
}

/// The line with which the witness says that it saw a checkpoint.
fn line(name: &str, text: &str) -> String {
    let pair = pair();
    let id = digest(&SHA256, &[name.as_bytes(), b"\n\x04", pair.public_key().as_ref()].concat());
    let signature = pair.sign(format!("cosignature/v1\ntime 9\n{text}").as_bytes());
    let bytes = [&id.as_ref()[..4], &9_u64.to_be_bytes(), signature.as_ref()].concat();
    format!("— {name} {}\n", STANDARD.encode(bytes))
}

fn text(note: &str) -> &str {
    &note[..=note.find("\n\n").unwrap()]
}

#[expect(clippy::unnecessary_wraps, reason = "it stands beside answers that there are none of")]
fn status(status: u16, body: impl Into<Vec<u8>>) -> Result<Answer, String> {
    Ok(Answer { status, body: body.into() })
}

#[tokio::test]
async fn answers() {
    let world = World::new();
    let (first, second) = (world.grow(3), world.grow(4));
    let good = line(NAME, text(&second.1));
    let conflict = || status(409, "3\n");
    for (row, answers, told) in [
        ("none", vec![Err("refused".into())], "witness.unreachable"),
        ("no key", vec![status(403, "")], "witness.unknown_key"),
        ("no log", vec![status(404, "")], "witness.unknown_log"),
        ("elsewhere", vec![status(301, good.clone())], "witness.redirected"),
        ("broken", vec![status(500, good.clone())], "witness.status"),
        ("too often", vec![status(429, "")], "witness.status"),
        ("made", vec![status(201, good.clone())], "witness.status"),
        ("nothing", vec![status(200, "")], "witness.garbage"),
        ("no line", vec![status(200, "hello\n")], "witness.garbage"),
        ("half a line", vec![status(200, good.trim_end())], "witness.garbage"),
        ("no text", vec![status(200, [0xff, b'\n'])], "witness.garbage"),
        ("no base64", vec![status(200, "— w/one !\n")], "witness.garbage"),
        ("much", vec![status(200, good.repeat(ANSWER_MAX / good.len() + 1))], "witness.garbage"),
        ("with a text", vec![status(200, format!("{good}\n{good}"))], "witness.garbage"),
        ("another's name", vec![status(200, line("w/two", text(&second.1)))], "witness.wrong_key"),
        ("of another one", vec![status(200, line(NAME, text(&first.1)))], "witness.wrong_cosignature"),
        ("no number", vec![status(409, "a\n")], "witness.garbage"),
        ("another form", vec![status(409, "03\n")], "witness.garbage"),
        ("no end", vec![status(409, "3")], "witness.garbage"),
        ("twice", vec![conflict(), status(409, "2\n")], "witness.conflict"),
        ("after a conflict", vec![conflict(), status(404, "")], "witness.unknown_log"),
    ] {
        let (outcome, _) = world.ask(&second, answers).await;
        assert_eq!(outcome, Err((told, false)), "{row}");
        assert_eq!(world.evidence.seen(), [None], "{row}: nothing is kept of it");
    }
    for (row, answers, told) in [
        ("forked", vec![status(422, "")], "witness.forked"),
        ("forked later", vec![conflict(), status(422, "")], "witness.forked"),
        ("ahead", vec![status(409, "1000\n")], "witness.ahead"),
    ] {
        let (outcome, _) = world.ask(&second, answers).await;
        assert_eq!(outcome, Err((told, true)), "{row}");
    }
    // It was shown the second one while it was asked for the first.
    let (outcome, _) = world.ask(&first, vec![status(409, format!("{}\n", second.0.size))]).await;
    assert_eq!(outcome, Err(("witness.passed", false)));
    let (outcome, _) = world.ask(&second, vec![status(200, line("w/two", text(&second.1)) + &good)]).await;
    assert_eq!((outcome, world.evidence.seen()), (Ok(()), vec![Some((second.0.size, 9))]));
}

#[tokio::test]
async fn requests() {
    let world = World::new();
    let first = world.grow(3);
    let cosigned = |note: &str| status(200, line(NAME, text(note)));
    let (told, asked) = world.ask(&first, vec![cosigned(&first.1)]).await;
    assert_eq!((told, asked), (Ok(()), vec![format!("old 0\n\n{}", first.1)]));

    // It lost what it saw; it saw that; it saw less.
    let second = world.grow(6);
    let proof = |body: &str, old: &Checkpoint, new: &(Checkpoint, String)| {
        let (head, note) = body.split_once("\n\n").unwrap();
        let hashes: Vec<_> = head.lines().skip(1).map(|line| Hash::parse(line).unwrap()).collect();
        assert!(is_consistent(&hashes, old.size, old.root, new.0.size, new.0.root) && note == new.1, "{body}");
        head.lines().next().unwrap().to_owned()
    };
    let (told, asked) = world.ask(&second, vec![status(409, "0\n"), cosigned(&second.1)]).await;
    assert_eq!((told, proof(&asked[0], &first.0, &second)), (Ok(()), format!("old {}", first.0.size)));
    assert_eq!(asked[1], format!("old 0\n\n{}", second.1));
    let third = world.grow(250);
    let (told, asked) = world.ask(&third, vec![status(409, format!("{}\n", first.0.size)), cosigned(&third.1)]).await;
    assert_eq!((told, proof(&asked[0], &second.0, &third)), (Ok(()), format!("old {}", second.0.size)));
    assert_eq!(proof(&asked[1], &first.0, &third), format!("old {}", first.0.size));
    // Of the same one again there is nothing to prove.
    let again = world.evidence.checkpoint().unwrap();
    let (told, asked) = world.ask(&again, vec![cosigned(&third.1)]).await;
    assert_eq!((told, asked), (Ok(()), vec![format!("old {}\n\n{}", third.0.size, again.1)]));
}
