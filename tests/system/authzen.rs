//! The decision point, asked as a program of others asks it: over the socket and over TCP, by HTTP as it is written.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;

use door::{Secret, SecretKind};
use identity::CredentialId;
use serde_json::{Value, json};

use crate::Place;

const POLICY: &str = r#"
@id("operators") permit (principal is Operator, action, resource);
@id("todos") permit (principal is Agent, action in [Action::"todo.show", Action::"todo.list"], resource);
@id("little") permit (principal, action == Action::"lease.request", resource)
    when { context.owner == principal.handle && context.amount <= 2 };
@id("two-eyes") forbid (principal, action == Action::"retention.prune", resource) unless { context.approvals >= 2 };
@id("gateways-ask") permit (principal == Application::"gateway", action, resource is Right);
@id("own-to-know") permit (principal, action in [Action::"authz.evaluate", Action::"authz.search"], resource)
    when { context.about == principal.handle };
"#;

/// What came back.
#[derive(Debug)]
pub struct Answered {
    pub status: u16,
    head: String,
    pub body: Value,
}

struct Point {
    place: Place,
    address: SocketAddr,
    gateway: Secret,
    alpha: Secret,
}

impl Point {
    /// With a gateway that may ask about all, and an agent that may ask about itself.
    async fn open() -> Self {
        let mut place = Place::new();
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        place.daemon.configure(&format!("[http]\nlisten = \"{address}\"\n"));
        place.daemon.start().await;
        let root = place.daemon.credential();
        let (client, root) = (place.daemon.client(), root.expose());
        let done = async |action: &str, arguments: Value| {
            client.call(action, &arguments, Some(root), None).await.unwrap_or_else(|error| panic!("{action}: {error}"))
        };
        let epoch = done("policy.propose", json!({ "text": POLICY })).await["epoch"].clone();
        done("policy.activate", json!({ "epoch": epoch })).await;
        for (name, can) in [
            ("application/gateway", json!(["authz.*"])),
            ("agent/alpha", json!(["todo.*", "lease.*", "authz.*"])),
            ("agent/beta", json!(["todo.list"])),
            ("agent/gone", json!(["*"])),
        ] {
            done("security.admit", json!({ "principal": name, "owner": "operator/root", "can": can })).await;
        }
        done("security.suspend", json!({ "principal": "agent/gone" })).await;
        let mut keys = Vec::new();
        for (number, name) in [(1, "application/gateway"), (2, "agent/alpha")] {
            let id = CredentialId(number);
            let key = Secret::generate(SecretKind::Key(id));
            let made = json!({ "id": id, "principal": name, "secret_digest": key.digest(), "label": "asking" });
            done("credential.create", made).await;
            keys.push(key);
        }
        for pool in ["gpu", "tpu"] {
            done("resource.define", json!({ "pool": pool, "capacity": 8 })).await;
        }
        let (alpha, gateway) = (keys.pop().unwrap(), keys.pop().unwrap());
        Self { place, address, gateway, alpha }
    }

    /// As it is written, over the socket.
    fn sent(&self, request: &str) -> Answered {
        exchanged(UnixStream::connect(&self.place.daemon.socket).unwrap(), request)
    }

    fn sent_over_tcp(&self, request: &str) -> Answered {
        exchanged(TcpStream::connect(self.address).unwrap(), request)
    }

    fn ask_by(&self, secret: &Secret, path: &str, body: &Value) -> Answered {
        self.sent(&post(path, &[&bearer(secret)], &body.to_string()))
    }

    /// By the gateway, which is answered.
    fn ask(&self, path: &str, body: Value) -> Value {
        let answered = self.ask_by(&self.gateway, path, &body);
        assert_eq!(answered.status, 200, "{body}: {answered:?}");
        answered.body
    }
}

pub fn exchanged(mut stream: impl std::io::Read + Write, request: &str) -> Answered {
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answered { status, head: head.to_ascii_lowercase(), body: serde_json::from_str(body).unwrap_or_default() }
}

fn bearer(secret: &Secret) -> String {
    format!("Authorization: Bearer {}", secret.expose())
}

pub fn post(path: &str, headers: &[&str], body: &str) -> String {
    let headers = headers.iter().flat_map(|header| [header, "\r\n"]).collect::<String>();
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n{headers}\r\n{body}"
    )
}

pub const ONE: &str = "/access/v1/evaluation";
const SEVERAL: &str = "/access/v1/evaluations";

pub fn asked(subject: &str, action: &str, resource: (&str, &str)) -> Value {
    let (kind, id) = subject.split_once('/').unwrap();
    json!({
        "subject": { "type": kind, "id": id },
        "action": { "name": action },
        "resource": { "type": resource.0, "id": resource.1 },
    })
}

fn with(mut request: Value, pointer: &str, value: Value) -> Value {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    request.pointer_mut(parent).unwrap()[name] = value;
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn an_evaluation_is_what_the_door_would_say() {
    let point = Point::open().await;
    let lease = |subject: &str| asked(subject, "lease.request", ("lease", "new"));
    let full = json!({ "owner": "agent/alpha", "pool": "gpu", "amount": 2, "priority": 0 });
    for (row, request, code) in [
        ("permitted", asked("agent/alpha", "todo.show", ("Todo", "todo-7")), None),
        ("in other letters", asked("Agent/alpha", "todo.show", ("todo", "todo-7")), None),
        ("an operator, whatever else is said", asked("operator/root", "lease.request", ("lease", "new")), None),
        ("by capability", asked("operator/root", "system.stop", ("system", "*")), None),
        ("no capability", asked("agent/beta", "todo.show", ("todo", "todo-7")), Some("door.no_capability")),
        ("suspended", asked("agent/gone", "todo.show", ("todo", "todo-7")), Some("door.suspended")),
        ("not admitted", asked("agent/nobody", "todo.show", ("todo", "todo-7")), Some("door.not_admitted")),
        ("no policy", asked("agent/alpha", "todo.claim", ("todo", "todo-7")), Some("policy.not_permitted")),
        ("no approvals", asked("operator/root", "retention.prune", ("retention", "*")), Some("policy.approval_needed")),
        ("another type", asked("agent/alpha", "todo.show", ("document", "1")), Some("authzen.resource_type")),
        ("another action", asked("agent/alpha", "can_read", ("document", "1")), Some("request.unknown_action")),
        (
            "another subject",
            asked("user/alice@example.com", "todo.show", ("todo", "1")),
            Some("authzen.unknown_subject"),
        ),
        (
            "a part of the authority",
            asked("internal/clock", "todo.show", ("todo", "1")),
            Some("authzen.unknown_subject"),
        ),
        ("too little is said", lease("agent/alpha"), Some("authzen.depends")),
        ("in the context", with(lease("agent/alpha"), "/context", full.clone()), None),
        ("of the action", with(lease("agent/alpha"), "/action/properties", full.clone()), None),
        ("of the resource", with(lease("agent/alpha"), "/resource/properties", full.clone()), None),
        (
            "what policies know not",
            with(lease("operator/root"), "/context", json!({ "time": "1985-10-26T01:22-07:00", "x": [{}] })),
            None,
        ),
        (
            "too much",
            with(with(lease("agent/alpha"), "/context", full.clone()), "/context/amount", json!(3)),
            Some("policy.not_permitted"),
        ),
        (
            "of a wrong type",
            with(with(lease("agent/alpha"), "/context", full.clone()), "/context/amount", json!("2")),
            Some("authzen.attribute"),
        ),
        (
            "twice",
            with(with(lease("agent/alpha"), "/context", full.clone()), "/subject/properties", json!({ "amount": 1 })),
            Some("authzen.attribute"),
        ),
        (
            "what nobody says of himself",
            with(asked("operator/root", "retention.prune", ("retention", "*")), "/context", json!({ "approvals": 2 })),
            Some("policy.approval_needed"),
        ),
        (
            "members that nobody knows",
            with(asked("agent/alpha", "todo.show", ("todo", "1")), "/evaluations", json!([{}])),
            None,
        ),
    ] {
        let answer = point.ask(ONE, request);
        let context = &answer["context"];
        assert_eq!((&answer["decision"], context["code"].as_str()), (&json!(code.is_none()), code), "{row}: {answer}");
        if code.is_some() {
            assert!(
                ["reason", "layer", "rule", "remedy"].iter().all(|name| context[name].is_string()),
                "{row}: {answer}"
            );
        }
    }
    let lacking = point.ask(ONE, asked("operator/root", "retention.prune", ("retention", "*")));
    assert_eq!(lacking["context"]["missing"], json!({ "approvals": 2 }));

    // It follows what is: a stop, and its end.
    let change = asked("operator/root", "resource.define", ("resource", "gpu"));
    assert_eq!(point.ask(ONE, change.clone())["decision"], true);
    assert_eq!(point.place.daemon.run(&["emergency-stop", "--reason", "a test"]).code, Some(0));
    assert_eq!(point.ask(ONE, change)["context"]["code"], "door.sealed");
    assert_eq!(point.ask(ONE, asked("agent/alpha", "todo.show", ("todo", "1")))["decision"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn evaluations_take_what_they_do_not_say_from_around_them_and_stop_as_they_are_told() {
    let point = Point::open().await;
    let items = json!([
        { "action": { "name": "todo.show" } },
        { "action": { "name": "todo.claim" } },
        { "subject": { "type": "operator", "id": "root" }, "action": { "name": "todo.claim" } },
        { "resource": "todo-7" },
    ]);
    let batch = json!({
        "subject": { "type": "agent", "id": "alpha" },
        "resource": { "type": "todo", "id": "todo-7" },
        "evaluations": items,
    });
    let decisions = |semantic: Option<&str>| -> Vec<bool> {
        let mut batch = batch.clone();
        if let Some(semantic) = semantic {
            batch["options"] = json!({ "evaluations_semantic": semantic, "another_option": "value" });
        }
        let answer = point.ask(SEVERAL, batch);
        assert!(answer.get("decision").is_none());
        answer["evaluations"].as_array().unwrap().iter().map(|one| one["decision"].as_bool().unwrap()).collect()
    };
    assert_eq!(decisions(None), [true, false, true, false]);
    assert_eq!(decisions(Some("execute_all")), [true, false, true, false]);
    assert_eq!(decisions(Some("deny_on_first_deny")), [true, false]);
    assert_eq!(decisions(Some("permit_on_first_permit")), [true]);
    let last = &point.ask(SEVERAL, batch.clone())["evaluations"][3];
    assert_eq!((&last["context"]["error"]["status"], last["decision"].as_bool()), (&json!(400), Some(false)));

    // Without items it is an evaluation.
    let one = asked("agent/alpha", "todo.show", ("todo", "todo-7"));
    for request in [one.clone(), with(one, "/evaluations", json!([]))] {
        assert_eq!(point.ask(SEVERAL, request), json!({ "decision": true }));
    }
    let many = with(batch.clone(), "/evaluations", json!(vec![json!({}); 257]));
    for (row, request) in [
        ("an unknown semantic", with(batch.clone(), "/options", json!({ "evaluations_semantic": "any" }))),
        ("too many", many),
        ("no list", with(batch, "/evaluations", json!({}))),
    ] {
        assert_eq!(point.ask_by(&point.gateway, SEVERAL, &request).status, 400, "{row}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_the_call_is_an_error_and_not_a_decision() {
    let point = Point::open().await;
    let good = asked("agent/alpha", "todo.show", ("todo", "todo-7"));
    let without = |pointer: &str| {
        let mut request = good.clone();
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        request.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(name);
        request.to_string()
    };
    let deep = format!("{{\"subject\": {}{}}}", "[".repeat(200), "]".repeat(200));
    let large = with(good.clone(), "/context", json!({ "padding": "x".repeat(300 << 10) })).to_string();
    let twice = good.to_string().replacen('{', "{\"action\": {\"name\": \"todo.list\"}, ", 1);
    for (row, body, status, code) in [
        ("no subject", without("/subject"), 400, "request.arguments"),
        ("no action", without("/action"), 400, "request.arguments"),
        ("no resource", without("/resource"), 400, "request.arguments"),
        ("no type", without("/subject/type"), 400, "request.arguments"),
        ("no id", without("/resource/id"), 400, "request.arguments"),
        ("no name", without("/action/name"), 400, "request.arguments"),
        ("a text", with(good.clone(), "/subject", json!("alpha")).to_string(), 400, "request.arguments"),
        ("a number", with(good.clone(), "/action/name", json!(123)).to_string(), 400, "request.arguments"),
        ("a long id", with(good.clone(), "/subject/id", json!("x".repeat(5_000))).to_string(), 400, "request.too_long"),
        ("no JSON", "{\"subject\": ".to_owned(), 400, "http.malformed_json"),
        ("nothing", String::new(), 400, "http.body_missing"),
        ("too deep", deep, 400, "http.malformed_json"),
        ("two actions", twice, 400, "http.malformed_json"),
        ("too large", large, 413, "http.body_too_large"),
    ] {
        let answered = point.sent(&post(ONE, &[&bearer(&point.gateway)], &body));
        assert_eq!((answered.status, answered.body["code"].as_str()), (status, Some(code)), "{row}: {answered:?}");
    }
    let text = post(ONE, &[&bearer(&point.gateway)], &good.to_string()).replace("application/json", "text/plain");
    assert_eq!(point.sent(&text).status, 400, "another media type");
    let stranger = point.sent(&post(ONE, &[], &good.to_string()));
    assert_eq!(stranger.status, 401);
    assert!(stranger.head.contains("www-authenticate: bearer"), "{stranger:?}");
    let get = format!("GET {ONE} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert_eq!(point.sent(&get).status, 405);
    assert_eq!(point.sent(&post("/access/v1/nothing", &[&bearer(&point.gateway)], "{}")).status, 404);

    // About oneself is less than about others.
    assert_eq!(point.ask_by(&point.alpha, ONE, &good).body, json!({ "decision": true }));
    for (path, request) in [
        (ONE, asked("agent/beta", "todo.show", ("todo", "todo-7"))),
        (SEVERAL, json!({ "evaluations": [good.clone(), asked("agent/beta", "todo.list", ("todo", "*"))] })),
        ("/access/v1/search/subject", good.clone()),
    ] {
        let answered = point.ask_by(&point.alpha, path, &request);
        assert_eq!((answered.status, &answered.body["code"]), (403, &json!("policy.not_permitted")), "{request}");
    }

    // Who asked about whom, and for what, is on record.
    let listed = point.place.daemon.run(&[
        "-o",
        "json",
        "audit",
        "list",
        "--action",
        "authz.evaluate",
        "--principal",
        "agent/alpha",
    ]);
    let listed: Value = serde_json::from_str(&listed.stdout).unwrap();
    let first = listed["records"][0]["sequence"].to_string();
    let shown = point.place.daemon.run(&["-o", "json", "audit", "show", &first]);
    let shown: Value = serde_json::from_str(&shown.stdout).unwrap();
    let record = &shown["records"][0];
    assert_eq!(record["asked"]["context"], json!({ "about": "agent/alpha", "asked": "todo.show" }));
    assert_eq!(record["kind"], "request.answered");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_finds_what_an_evaluation_permits_a_page_at_a_time() {
    let point = Point::open().await;
    let ids = |answer: &Value| -> Vec<String> {
        let results = answer["results"].as_array().unwrap().iter();
        results.map(|one| one["id"].as_str().or(one["name"].as_str()).unwrap().to_owned()).collect()
    };
    let subjects = json!({
        "subject": { "type": "agent" }, "action": { "name": "todo.list" }, "resource": { "type": "todo", "id": "*" },
    });
    let found = point.ask("/access/v1/search/subject", subjects.clone());
    assert_eq!(ids(&found), ["alpha", "beta"], "who is suspended is not among them: {found}");
    assert_eq!(found["page"], json!({ "next_token": "", "count": 2 }));

    // A page of one; the next one goes on, with the same question alone.
    let first = point.ask("/access/v1/search/subject", with(subjects.clone(), "/page", json!({ "limit": 1 })));
    let token = first["page"]["next_token"].clone();
    assert_eq!(ids(&first), ["alpha"]);
    let next = with(subjects.clone(), "/page", json!({ "token": token }));
    let rest = point.ask("/access/v1/search/subject", next.clone());
    assert_eq!(ids(&rest), ["beta"]);
    assert_eq!(point.ask("/access/v1/search/subject", with(next.clone(), "/page/limit", json!(1))), rest);
    // Whether there is more was not known before the last one was judged.
    let over = point.ask(
        "/access/v1/search/subject",
        with(subjects.clone(), "/page", json!({ "token": rest["page"]["next_token"] })),
    );
    assert_eq!((ids(&over).len(), &over["page"]["next_token"]), (0, &json!("")));
    for (row, request) in [
        ("another question", with(next.clone(), "/action/name", json!("todo.show"))),
        ("another limit", with(next.clone(), "/page/limit", json!(7))),
        ("no token of ours", with(next, "/page/token", json!("a3M9NDU2O3N6PTI="))),
    ] {
        let answered = point.ask_by(&point.gateway, "/access/v1/search/subject", &request);
        assert_eq!((answered.status, &answered.body["code"]), (400, &json!("authzen.page_token")), "{row}");
    }

    let actions =
        json!({ "subject": { "type": "agent", "id": "alpha" }, "resource": { "type": "todo", "id": "todo-7" } });
    assert_eq!(ids(&point.ask("/access/v1/search/action", actions)), ["todo.list", "todo.show"]);
    let leases = json!({ "subject": { "type": "agent", "id": "alpha" }, "resource": { "type": "lease", "id": "*" } });
    let leases = point.ask("/access/v1/search/action", leases);
    assert_eq!((ids(&leases).len(), &leases["context"]["undecided"]), (0, &json!(1)), "{leases}");

    let pools = json!({
        "subject": { "type": "operator", "id": "root" }, "action": { "name": "resource.resize" }, "resource": { "type": "resource" },
    });
    let pools = point.ask("/access/v1/search/resource", pools);
    assert_eq!(ids(&pools), ["*", "gpu", "tpu"]);
    assert_eq!(pools["context"]["any_resource"], json!({ "answer": "yes", "by": ["operators"] }));
    let records = json!({
        "subject": { "type": "operator", "id": "root" }, "action": { "name": "audit.show" }, "resource": { "type": "audit" },
    });
    let records = point.ask("/access/v1/search/resource", records);
    assert_eq!((ids(&records), &records["context"]["enumerable"]), (vec!["*".to_owned()], &json!(false)));

    for (row, path, request) in [
        (
            "an unknown subject",
            "/access/v1/search/action",
            json!({ "subject": { "type": "agent", "id": "nobody" }, "resource": { "type": "todo", "id": "1" } }),
        ),
        ("an unknown type", "/access/v1/search/subject", with(subjects.clone(), "/subject/type", json!("spaceship"))),
        (
            "an unknown resource type",
            "/access/v1/search/resource",
            with(with(subjects.clone(), "/subject/id", json!("alpha")), "/resource", json!({ "type": "ship" })),
        ),
    ] {
        assert_eq!(ids(&point.ask(path, request)).len(), 0, "{row}");
    }
    let mut lacking = subjects;
    lacking["resource"].as_object_mut().unwrap().remove("id");
    assert_eq!(
        point.ask_by(&point.gateway, "/access/v1/search/subject", &lacking).status,
        400,
        "the resource is given"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn it_says_where_it_is_and_answers_there_over_the_socket_and_over_tcp() {
    let point = Point::open().await;
    let get = |host: &str| {
        format!("GET /.well-known/authzen-configuration HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")
    };
    let host = format!("localhost:{}", point.address.port());
    let (near, far) = (point.sent(&get("localhost")), point.sent_over_tcp(&get(&host)));
    assert_eq!((near.status, &near.body["policy_decision_point"]), (200, &json!("http://localhost")), "{near:?}");
    assert_eq!(far.body["policy_decision_point"], format!("http://{host}"), "{far:?}");
    assert!(far.head.contains("content-type: application/json"), "{far:?}");
    let request = asked("agent/alpha", "todo.show", ("todo", "todo-7")).to_string();
    for (name, expected) in [
        ("access_evaluation_endpoint", json!({ "decision": true })),
        ("access_evaluations_endpoint", json!({ "decision": true })),
        (
            "search_action_endpoint",
            json!({ "results": [{ "name": "todo.list" }, { "name": "todo.show" }], "page": { "count": 2, "next_token": "" } }),
        ),
        (
            "search_subject_endpoint",
            json!({ "results": [{ "type": "agent", "id": "alpha" }], "page": { "count": 1, "next_token": "" } }),
        ),
    ] {
        let url = far.body[name].as_str().unwrap();
        let path = url.strip_prefix(&format!("http://{host}")).unwrap();
        let (key, id) = (bearer(&point.gateway), "X-Request-ID: bfe9eb29-ab87-4ca3");
        for answered in
            [point.sent(&post(path, &[&key, id], &request)), point.sent_over_tcp(&post(path, &[&key, id], &request))]
        {
            assert_eq!((answered.status, &answered.body), (200, &expected), "{url}");
            assert!(answered.head.contains("x-request-id: bfe9eb29-ab87-4ca3"), "{answered:?}");
        }
    }
}
