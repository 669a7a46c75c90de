//! The journal by itself, as its own bench and that of the token registry load it: bodies of 256 bytes, and the tile log that
//! follows and signs.

use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use evidence::{Evidence, Places};
use journal::codec::Body;
use journal::envelope::Answer;
use journal::{Append, Entry, Journal, Limits};
use kernel::{CommandId, Decision, Digest, Kind, Position, Principal, Timestamp};
use supervisors::{Strategy, Supervisor, Tree};
use tokio::sync::oneshot;
use workers::evidence::Following;

use crate::commits::{FACT_BYTES, Side, Syncs, kept, store};
use crate::pairs::load;

const NOTED: Kind = Kind { id: 990, version: 1, name: "bench.noted" };

/// `--unsigned` leaves out the tile log.
pub async fn ours(callers: usize) -> Side {
    let (dir, syncs) = (store(), Syncs::default());
    let journal = Journal::with_log(dir.path(), Limits::default(), syncs.of_the_journal());
    journal.open().expect("a journal");
    let log = kept::store();
    let mut root = Supervisor::new("root", Strategy::OneForOne);
    if !std::env::args().any(|argument| argument == "--unsigned") {
        let places = Places { log: log.join("evidence"), key: log.join("keys/log") };
        let evidence = Evidence::new(&journal, places, evidence::Limits::default());
        root = root.child(Following { evidence, journal: journal.clone() }.child());
    }
    let tree = Tree::start(root, 1).await.expect("the tree starts");
    let (tell, told) = channel();
    journal.queue(Entry::Open {
        stream: "notes",
        principal: Principal::internal("bench"),
        time: Timestamp(1),
        then: Box::new(move |opened| tell.send(opened).expect("it is waited for")),
    });
    let opened = told.recv().expect("an answer").expect("the stream opens");
    let version = Arc::new(Mutex::new(opened.version));
    let (asked, principal) = (journal.clone(), "agent/alpha".parse::<Principal>().expect("a principal"));
    let ask = move || {
        let (tell, told) = oneshot::channel();
        let mut append = Box::new(Append {
            stream: "notes",
            epoch: opened.epoch,
            expected: Position(0),
            time: opened.time,
            principal: principal.clone(),
            decision: Decision::default(),
            command_id: CommandId(1),
            command_digest: Digest::default(),
            cause: None,
            asked: None,
            answer: Answer::None,
            bodies: vec![Body { kind: NOTED, bytes: vec![b'n'; FACT_BYTES] }],
            then: Box::new(move |answer| {
                // A caller may have gone home at the end of the run.
                let _ = tell.send(answer);
            }),
        });
        {
            // Versions go into the queue in their order.
            let mut version = version.lock().expect("nobody panics with it");
            append.expected = *version;
            version.0 += 1;
            asked.queue(Entry::Append(append));
        }
        async move {
            told.await.expect("an answer").expect("an acknowledgement");
        }
    };
    let loaded = load(callers, ask).await;
    tree.shutdown(Duration::from_mins(1)).await;
    journal.close();
    syncs.side(loaded)
}
