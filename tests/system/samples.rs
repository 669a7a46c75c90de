//! The four sample protocols, started as `sop dev` starts them: a person's line is answered once.

use protocols::samples::Recall;
use sop::{Draft, System, samples};

#[tokio::test]
async fn a_line_is_decided_remembered_and_answered() {
    let dir = tempfile::tempdir().unwrap();
    let system = System::open(dir.path().join("data")).await.unwrap();
    let samples = samples::start(&system).await.unwrap();
    let tree = system.parts().tree().unwrap().snapshot();
    let children = &tree.find("sop/protocols").unwrap().children;
    let order: Vec<_> = children.iter().map(|child| child.path.rsplit('/').next().unwrap_or_default()).collect();
    assert_eq!(order, ["arp", "scp", "lap", "uip"]);

    let mut durable = system.parts().journal.durable();
    let last = system.line(&samples.uip, "last").await.unwrap();
    let answer = "rain -> rain | snow is valid";
    system.send(Draft::new("uip", "line").text("is rain -> rain | snow?")).await.unwrap();
    while last.call(()).await.unwrap().as_deref() != Some(answer) {
        durable.changed().await.unwrap();
    }
    let recalls = system.line(&samples.scp, "recall").await.unwrap();
    let note = "rain -> rain | snow: valid";
    while recalls.call(Recall { word: "snow".into() }).await.unwrap() != [note] {
        durable.changed().await.unwrap();
    }
    let decides = system.line(&samples.arp, "decide").await.unwrap();
    assert!(decides.call("a &".into()).await.unwrap().is_err(), "a bad formula is an answer, not a fault");
    let strange = system.send(Draft::new("uip", "line").text("hello")).await.unwrap();
    let is_dead = move |nexus: &nexus::Nexus| nexus.dead_message(strange).map(|dead| dead.why.clone());
    let why = loop {
        durable.borrow_and_update();
        if let Some(why) = system.parts().nexus.inspect(is_dead).await.unwrap() {
            break why;
        }
        durable.changed().await.unwrap();
    };
    assert_eq!(why, "a line reads: is FORMULA?");
    assert!(system.shutdown().await.is_graceful());
}
