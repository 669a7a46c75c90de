//! What must be proven is proven now, of exactly one command, and of nothing else, whoever lies.

use std::fs;
use std::sync::{Arc, Mutex};

use checks::{external, signature};
use evidence::note::{Key, PublicKey};
use host::{Clock, OwnedTask};
use kernel::{Digest, Millis, Timestamp};
use kit::{Client, Output, adopt_starter};
use proofs::Goal;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};

use crate::witnesses::request;
use crate::{Place, failed};

const KERNEL: Digest = Digest([0x6b; 32]);

/// How a prover answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    Honest,
    Refutes,
    Wavers,
    /// About another goal.
    OtherGoal,
    /// What it said in another check.
    OtherCheck,
    OtherKernel,
    /// Under another key, by its own name.
    Stranger,
    /// With a signature over something else.
    Forger,
    Babbles,
    Floods,
    Broken,
    Elsewhere,
    Silent,
    HangsUp,
}

struct Prover {
    address: String,
    key: PublicKey,
    manner: Arc<Mutex<Manner>>,
    asked: Arc<Mutex<Vec<String>>>,
    _task: OwnedTask,
}

fn key(name: &'static str) -> Key {
    Key::generate(|_| name.to_owned()).unwrap()
}

impl Prover {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}/check", listener.local_addr().unwrap());
        let (signer, manner) = (key("prover.example"), Arc::new(Mutex::new(Manner::Honest)));
        let (key, asked) = (signer.public().clone(), Arc::<Mutex<Vec<String>>>::default());
        let (signer, behaves, record) = (Arc::new(signer), manner.clone(), asked.clone());
        let task = OwnedTask::spawn(async move {
            let mut connections = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (signer, manner, record) = (signer.clone(), *behaves.lock().unwrap(), record.clone());
                connections.push(OwnedTask::spawn(async move {
                    // Whoever hangs up needs no answer.
                    let _ = answer(stream, &signer, manner, &record).await;
                }));
            }
        });
        Self { address, key, manner, asked, _task: task }
    }

    fn behave(&self, manner: Manner) {
        *self.manner.lock().unwrap() = manner;
    }
}

async fn answer(
    mut stream: TcpStream,
    signer: &Key,
    manner: Manner,
    asked: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let body = request(&mut stream, "/check").await?;
    let field = |name: &str| body.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
    let (goal, check): (Digest, _) = (field("goal ").parse().unwrap(), field("check "));
    asked.lock().unwrap().push(body);
    let verdict = |goal, kernel, check: &str, says| external::verdict(goal, kernel, check, says);
    let other = Digest([9; 32]);
    let earlier = "0190c3a2-7b5e-7cc3-98c4-dc0c0c07398f";
    let (status, text) = match manner {
        Manner::Honest => (200, signer.sign(&verdict(goal, KERNEL, &check, "proven"))),
        Manner::Refutes => (200, signer.sign(&verdict(goal, KERNEL, &check, "refuted"))),
        Manner::Wavers => (200, signer.sign(&verdict(goal, KERNEL, &check, "perhaps"))),
        Manner::OtherGoal => (200, signer.sign(&verdict(other, KERNEL, &check, "proven"))),
        Manner::OtherCheck => (200, signer.sign(&verdict(goal, KERNEL, earlier, "proven"))),
        Manner::OtherKernel => (200, signer.sign(&verdict(goal, other, &check, "proven"))),
        Manner::Stranger => (200, key("prover.example").sign(&verdict(goal, KERNEL, &check, "proven"))),
        Manner::Forger => {
            let note = signer.sign(&verdict(goal, KERNEL, &check, "refuted"));
            (200, note.replace("refuted", "proven"))
        }
        Manner::Babbles => (200, "<html>proven</html>\n".to_owned()),
        Manner::Floods => (200, signer.sign(&verdict(goal, KERNEL, &check, "proven")).repeat(1_000)),
        Manner::Broken => (500, signer.sign(&verdict(goal, KERNEL, &check, "proven"))),
        Manner::Elsewhere => (307, String::new()),
        Manner::Silent => return std::future::pending().await,
        Manner::HangsUp => return Ok(()),
    };
    let location = if status == 307 { "Location: http://127.0.0.1:9/other\r\n" } else { "" };
    let length = text.len();
    let head = format!("HTTP/1.1 {status} X\r\n{location}Content-Length: {length}\r\nConnection: close\r\n\r\n");
    stream.write_all((head + &text).as_bytes()).await?;
    stream.shutdown().await
}

/// With a policy that wants a proof of this name for every pool that is defined or resized.
async fn started(proof: &str) -> Place {
    let mut place = Place::new();
    place.daemon.start().await;
    let mut setup = Client::new("setup", Arc::new(place.daemon.client()));
    adopt_starter(&mut setup, &place.daemon.credential()).await;
    let file = place.home.path().join("proven.cedar");
    let starter = include_str!("../../config/policies/starter.cedar");
    let proven = format!(
        "@id(\"proven\") forbid (principal, action in [Action::\"resource.define\", Action::\"resource.resize\"], resource) \
         unless {{ context.proofs.contains(\"{proof}\") }};"
    );
    fs::write(&file, format!("{starter}\n{proven}\n")).unwrap();
    let epoch = json_of(&place, &["policy", "propose", file.to_str().unwrap()])["epoch"].to_string();
    done(&place.daemon.run(&["policy", "activate", &epoch]));
    place
}

fn json_of(place: &Place, command: &[&str]) -> Value {
    let output = place.daemon.run(&[command, &["-o", "json"]].concat());
    serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
}

fn done(output: &Output) {
    assert_eq!(output.code, Some(0), "{output:?}");
}

fn file(place: &Place, name: &str, content: &str) -> String {
    let path = place.home.path().join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

fn pools(place: &Place) -> usize {
    json_of(place, &["resource", "show"])["pools"].as_array().map_or(0, Vec::len)
}

const DEFINE: [&str; 5] = ["resource", "define", "gpu", "--capacity", "4"];

#[tokio::test(flavor = "multi_thread")]
async fn a_prover_outside_is_believed_what_it_signs_now_and_nothing_else() {
    let mut place = started("theorem").await;
    let prover = Prover::new().await;
    let (vkey, kernel) = (prover.key.to_string(), KERNEL.to_string());
    let declare = |url: &str, timeout: &str| {
        let by = ["--kernel", &kernel, "--key", &vkey, "--timeout", timeout];
        place.daemon.run(&[&["proof", "declare", "external", "theorem", "--url", url][..], &by].concat())
    };
    failed(&declare("http://prover.example/", "1s"), 1, &["error[proofs.address]", "is not this machine"]);
    failed(&declare(&prover.address, "1min"), 1, &["error[proofs.timeout_out_of_range]"]);
    let evidence = file(&place, "proof.term", "by induction");
    let prove = format!("--prove=theorem={evidence}");
    let define = |prove: &str| place.daemon.run(&[&DEFINE[..], &[prove]].concat());
    failed(&define(&prove), 5, &["error[proofs.unknown_verifier]", "sop proof declare"]);
    done(&declare(&prover.address, "20s"));
    failed(&place.daemon.run(&DEFINE), 5, &["error[policy.proof_needed]", "--prove theorem="]);

    for (manner, code) in [
        (Manner::Refutes, "proofs.refuted"),
        (Manner::Wavers, "proofs.garbage"),
        (Manner::OtherGoal, "proofs.wrong_goal"),
        (Manner::OtherCheck, "proofs.wrong_goal"),
        (Manner::OtherKernel, "proofs.wrong_kernel"),
        (Manner::Stranger, "proofs.bad_signature"),
        (Manner::Forger, "proofs.bad_signature"),
        (Manner::Babbles, "proofs.garbage"),
        (Manner::Floods, "proofs.oversized"),
        (Manner::Broken, "proofs.garbage"),
        (Manner::Elsewhere, "proofs.garbage"),
        (Manner::HangsUp, "proofs.unreachable"),
        (Manner::Silent, "proofs.timeout"),
    ] {
        if manner == Manner::Silent {
            done(&declare(&prover.address, "300ms"));
        }
        prover.behave(manner);
        let refused = define(&prove);
        failed(&refused, 5, &[&format!("error[{code}]"), "remedy: ", "explain: "]);
    }
    assert_eq!((pools(&place), json_of(&place, &["proof", "list"])["receipts"].clone()), (0, json!([])));

    prover.behave(Manner::Honest);
    done(&declare(&prover.address, "20s"));
    // Proven, and then killed before the effect: the receipt is there, for one command.
    let (client, root) = (place.daemon.client(), place.daemon.credential());
    let about = json!({ "pool": "gpu", "capacity": 4, "unit": "" });
    let about =
        json!({ "action": "resource.define", "arguments": about, "proof": "theorem", "evidence": "YnkgaW5kdWN0aW9u" });
    let submitted = client.call("proof.submit", &about, Some(root.expose()), None).await;
    if let Err(http::ClientError::Refused(problem)) = &submitted {
        panic!("{problem:?}");
    }
    assert_eq!(submitted.unwrap()["receipt"], 1);
    place.daemon.kill();
    place.daemon.start().await;
    let state = || json_of(&place, &["proof", "show", "1"])["state"].clone();
    assert_eq!((state(), pools(&place)), (json!("live"), 0));
    let id = Clock::system().command_id().to_string();
    let once = [&DEFINE[..], &["--command-id", &id]].concat();
    done(&place.daemon.run(&once));
    assert_eq!((state(), pools(&place)), (json!("spent"), 1));
    done(&place.daemon.run(&once));
    let asked = prover.asked.lock().unwrap().clone();
    let question = asked.last().unwrap();
    for line in ["proof theorem\n", "principal operator/root\n", "action resource.define\n", "\nYnkgaW5kdWN0aW9u\n"] {
        assert!(question.contains(line), "{line:?} is not asked: {question}");
    }

    // What it is now counts, and each command is proven by itself.
    let resize = |capacity: &str, prove: &[&str]| {
        place.daemon.run(&[&["resource", "resize", "gpu", "--capacity", capacity], prove].concat())
    };
    failed(&resize("8", &[]), 5, &["error[policy.proof_needed]"]);
    done(&resize("8", &[&prove]));
    failed(&resize("8", &[]), 5, &["error[proofs.used]"]);
    let listed = place.daemon.run(&["proof", "list", "--state", "spent"]);
    assert!(listed.stdout.contains("resource.resize") && listed.stdout.contains("resource.define"), "{listed:?}");
    let shown = place.daemon.run(&["proof", "show", "2"]);
    for word in
        ["theorem, by revision 3", "operator/root", "on the command", "receipt v1 of ", "proof theorem\n", "\n— "]
    {
        assert!(shown.stdout.contains(word), "{word}: {shown:?}");
    }
    done(&place.daemon.run(&["proof", "withdraw", "theorem"]));
    failed(&resize("9", &[&prove]), 5, &["error[proofs.unknown_verifier]"]);
}

/// A receipt whose thing has changed, or whose verifier has, and one that has expired.
#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_is_for_what_was_then() {
    let place = started("content").await;
    let digest = "sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";
    done(&place.daemon.run(&["proof", "declare", "digest", "content", "--digest", digest]));
    let evidence = file(&place, "foo", "foo");
    let prove = format!("--prove=content={evidence}");
    done(&place.daemon.run(&[&DEFINE[..], &[&prove]].concat()));
    let wrong = format!("--prove=content={}", file(&place, "bar", "bar"));
    let resize = |capacity: &str, more: &[&str]| {
        place.daemon.run(&[&["resource", "resize", "gpu", "--capacity", capacity], more].concat())
    };
    failed(&resize("5", &[&wrong]), 5, &["error[proofs.wrong_digest]"]);
    let (client, root) = (place.daemon.client(), place.daemon.credential());
    let submit = async |action: &str, arguments: Value| {
        let about = json!({ "action": action, "arguments": arguments, "proof": "content", "evidence": "Zm9v" });
        match client.call("proof.submit", &about, Some(root.expose()), None).await {
            Ok(answer) => answer["receipt"].to_string(),
            Err(http::ClientError::Refused(problem)) => problem.code.clone(),
            Err(error) => panic!("{error}"),
        }
    };
    let to = |capacity: u64| json!({ "pool": "gpu", "capacity": capacity });
    assert_eq!(submit("resource.resize", to(6)).await, "2");
    assert_eq!(submit("resource.resize", to(7)).await, "3");
    failed(&resize("8", &[]), 5, &["error[proofs.other_content]"]);
    done(&resize("6", &[]));
    failed(&resize("7", &[]), 5, &["error[proofs.stale]"]);
    assert_eq!(submit("resource.resize", to(9)).await, "4");
    let other = digest.replace("2c", "3c");
    done(&place.daemon.run(&["proof", "declare", "digest", "content", "--digest", &other]));
    failed(&resize("9", &[]), 5, &["error[proofs.verifier_changed]"]);

    assert_eq!(submit("system.stop", json!({ "reason": "x" })).await, "proofs.not_for_this");
    assert_eq!(submit("security.whoami", json!({})).await, "proofs.not_for_this");
    assert_eq!(submit("retention.list", json!({})).await, "proofs.not_needed");
    assert_eq!(submit("nosuch.thing", json!({})).await, "request.unknown_action");
    let goal = json_of(&place, &["resource", "resize", "gpu", "--capacity", "9", "--prove", "content"]);
    assert_eq!((&goal["proof"], &goal["verifier"]["kind"]), (&json!("content"), &json!("digest")));
    let status = place.daemon.client().get("/v1/status").await.unwrap();
    assert_eq!(status["sealed"], Value::Null, "a stop with evidence is none");
}

/// From the pinned root over one that it vouches for; and of a decision that was made before.
#[tokio::test(flavor = "multi_thread")]
async fn signatures_and_traces_are_of_this_goal_and_of_now() {
    let place = started("signed").await;
    let (root, signer, stranger) = (key("root.example"), key("release.example"), key("release.example"));
    let vkey = root.public().to_string();
    failed(&place.daemon.run(&["proof", "declare", "signature", "signed", "--root", "x"]), 1, &["error[proofs.key]"]);
    done(&place.daemon.run(&["proof", "declare", "signature", "signed", "--root", &vkey]));
    let shown = json_of(&place, &[&DEFINE[..], &["--prove", "signed"]].concat());
    let text = shown["text"].as_str().unwrap();
    let line = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap().to_owned();
    let goal = Goal {
        proof: "signed".into(),
        principal: "operator/root".parse().unwrap(),
        action: "resource.define".into(),
        resource: line("resource "),
        content: line("content ").parse().unwrap(),
        target: line("target ").parse().ok(),
    };
    assert_eq!((goal.text().as_str(), json!(goal.digest())), (text, shown["goal"].clone()));
    let now = Clock::system().now();
    let (later, over) = (now + Millis::hours(1), Timestamp(now.0 - 1));
    let vouch = |by: &Key, of: &str, whom: &Key, until| by.sign(&signature::delegation(of, whom.public(), until));
    let state = |by: &Key, goal: &Goal, until| by.sign(&signature::statement(goal, until));
    let other = Goal { resource: "tpu".into(), ..goal.clone() };
    let vouched = vouch(&root, "signed", &signer, later);
    let define = |notes: &[String]| {
        let evidence = file(&place, "signed.json", &json!(notes).to_string());
        place.daemon.run(&[&DEFINE[..], &[&format!("--prove=signed={evidence}")]].concat())
    };
    let stated = state(&signer, &goal, later);
    for (notes, code) in [
        (vec![], "proofs.malformed"),
        (vec!["x".to_owned()], "proofs.bad_signature"),
        (vec![stated.clone()], "proofs.bad_signature"),
        (vec![vouched.clone(), state(&stranger, &goal, later)], "proofs.bad_signature"),
        (vec![vouch(&signer, "signed", &signer, later), stated.clone()], "proofs.bad_signature"),
        (vec![vouch(&root, "else", &signer, later), stated.clone()], "proofs.bad_signature"),
        (vec![vouch(&root, "signed", &signer, over), stated.clone()], "proofs.signed_too_long_ago"),
        (vec![vouched.clone(), state(&signer, &goal, over)], "proofs.signed_too_long_ago"),
        (vec![vouched.clone(), state(&signer, &other, later)], "proofs.wrong_goal"),
        (vec![vouched.clone(), vouched.clone()], "proofs.bad_signature"),
        (vec![vouched.clone(), vouch(&signer, "signed", &signer, later)], "proofs.malformed"),
    ] {
        failed(&define(&notes), 5, &[&format!("error[{code}]")]);
    }
    assert_eq!(pools(&place), 0);
    done(&define(&[vouched, stated]));

    let trace = ["proof", "declare", "policy-trace", "signed", "--action", "retention.hold", "--within", "1h"];
    done(&place.daemon.run(&trace));
    let id = Clock::system().command_id().to_string();
    let resize = |id: &str| {
        let evidence = file(&place, "decision", id);
        let prove = format!("--prove=signed={evidence}");
        place.daemon.run(&["resource", "resize", "gpu", "--capacity", "8", &prove])
    };
    failed(&resize("x"), 5, &["error[proofs.malformed]"]);
    failed(&resize(&id), 5, &["error[proofs.no_decision]"]);
    let hold = ["retention", "hold", "case-1", "--reason", "x", "--command-id", &id];
    done(&place.daemon.run(&hold));
    let define = json_of(&place, &["audit", "list", "--action", "resource.define", "--allowed"]);
    let another = define["records"].as_array().unwrap().last().unwrap()["command"].as_str().unwrap().to_owned();
    failed(&resize(&another), 5, &["error[proofs.other_decision]"]);
    done(&resize(&format!("{id}\n")));
    let proven = json_of(&place, &["proof", "list", "--proof", "signed"]);
    assert_eq!(proven["receipts"].as_array().map(Vec::len), Some(2));
}
