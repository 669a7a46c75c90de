//! What yesterday's records mean.

use identity::{Capability, CredentialId, End, Event, Form, Identity, Lack, Proof, Quota};
use kernel::{Digest, Machine, Millis, Position, Principal, Recorded, Timestamp, json};
use serde_json::Value;

const ONE: &str = "0101010101010101010101010101010101010101010101010101010101010101";
const TWO: &str = "0202020202020202020202020202020202020202020202020202020202020202";
const NO_REASON: &str = r#"{"subject":"","characters":0,"sealed":[]}"#;

/// The bodies of version 1, never edited.
fn v1() -> Vec<(u32, String)> {
    [
        (1000, r#"{"principal":"operator/root","owner":null,"can":["*"],"until":null,"attestation":null,"reason":R,"by":"internal/route","at":1}"#),
        (1004, r#"{"credential":1,"principal":"operator/root","form":0,"secret":"ONE","label":"bootstrap","until":null,"break_glass":false,"by":"internal/route","at":1}"#),
        (1000, r#"{"principal":"agent/alpha","owner":"operator/root","can":["gap.*","todo.show"],"until":900,"attestation":"TWO","reason":R,"by":"operator/root","at":2}"#),
        (1001, r#"{"principal":"agent/alpha","reason":R,"by":"operator/root","at":3}"#),
        (1002, r#"{"principal":"agent/alpha","reason":R,"by":"operator/root","at":4}"#),
        (1005, r#"{"old":1,"old_until":500,"early":true,"credential":2,"secret":"TWO","until":800,"by":"operator/root","at":5}"#),
        (1006, r#"{"credential":2,"ends":1,"at":6}"#),
        (1008, r#"{"uid":7,"principal":"agent/alpha","by":"operator/root","at":7}"#),
        (1010, r#"{"principal":"agent/alpha","role":"auditor","until":700,"reason":R,"by":"operator/root","at":8}"#),
        (1010, r#"{"principal":"agent/alpha","role":"clerk","until":null,"reason":R,"by":"operator/root","at":9}"#),
        (1011, r#"{"principal":"agent/alpha","role":"clerk","by":"operator/root","at":10}"#),
        (1012, r#"{"one":"auditor","other":"payer","by":"operator/root","at":11}"#),
        (1012, r#"{"one":"auditor","other":"clerk","by":"operator/root","at":12}"#),
        (1013, r#"{"one":"auditor","other":"payer","by":"operator/root","at":13}"#),
        (1007, r#"{"credential":2,"by":"operator/root","at":14}"#),
        (1014, r#"{"credential":3,"principal":"operator/root","form":2,"digest":"ONE","said":[],"label":"card","until":850,"old":null,"old_until":null,"early":false,"by":"operator/root","at":14}"#),
        (1014, r#"{"credential":4,"principal":"operator/root","form":4,"digest":null,"said":["https://idp.example","root","group","ops"],"label":"card","until":null,"old":3,"old_until":600,"early":true,"by":"operator/root","at":14}"#),
        (1014, r#"{"credential":5,"principal":"operator/root","form":3,"digest":"TWO","said":["uri:sop://operator/root"],"label":"mesh","until":null,"old":null,"old_until":null,"early":false,"by":"operator/root","at":14}"#),
        (1015, r#"{"name":"scans","whose":"agent/*","action":"gap.*","limit":10,"window":86400000,"since":14,"reason":R,"by":"operator/root","at":14}"#),
        (1015, r#"{"name":"own","whose":"agent/alpha","action":"*","limit":5,"window":1000,"since":14,"reason":R,"by":"operator/root","at":15}"#),
        (1016, r#"{"name":"own","by":"operator/root","at":15}"#),
        (1009, r#"{"uid":7,"by":"operator/root","at":15}"#),
        (1003, r#"{"principal":"agent/alpha","reason":R,"by":"operator/root","at":16}"#),
    ]
    .map(|(id, body)| (id, body.replace('R', NO_REASON).replace("ONE", ONE).replace("TWO", TWO)))
    .into()
}

fn event((id, text): &(u32, String)) -> Event {
    json::read((*id, 1), text.parse().unwrap()).unwrap()
}

fn replayed(records: &[(u32, String)]) -> Identity {
    let mut identity = Identity::default();
    for record in records {
        identity.evolve(&event(record), Position(0));
    }
    identity
}

#[test]
fn version_1_reads_as_it_did() {
    assert_eq!(Identity::NAME, "identity", "the stream's name is on disk");
    let (records, alpha) = (v1(), "agent/alpha".parse::<Principal>().unwrap());
    let at = |count: usize| replayed(&records[..count]);
    let terms = at(3).show(&alpha).unwrap().terms.clone();
    assert_eq!((terms.owner.unwrap().to_string(), terms.until), ("operator/root".into(), Some(Timestamp(900))));
    assert!(terms.can.iter().map(Capability::as_str).eq(["gap.*", "todo.show"]));
    assert_eq!(terms.attestation, Some(Digest([2; 32])));
    assert_eq!(at(4).standing(&alpha, Timestamp(20)).err(), Some(Lack::Suspended));
    assert!(at(5).standing(&alpha, Timestamp(899)).is_ok());
    assert_eq!(at(5).standing(&alpha, Timestamp(900)).err(), Some(Lack::Expired));
    let (old, new) = (CredentialId(1), CredentialId(2));
    assert_eq!(at(2).credential(old).unwrap().form, Form::Bootstrap);
    let rotated = at(6);
    assert_eq!(
        (rotated.credential(old).unwrap().until, rotated.credential(new).unwrap().until),
        (Some(Timestamp(500)), Some(Timestamp(800)))
    );
    assert_eq!(
        (rotated.credential(new).unwrap().form, rotated.credential(new).unwrap().replaces),
        (Form::ApiKey, Some(old))
    );
    assert_eq!(at(7).credential(old).unwrap().ended(Timestamp(6)), Some(End::Expired));
    assert_eq!(at(8).of_uid(7), Some(&alpha));
    assert!(at(10).roles(&alpha, Timestamp(699)).iter().eq(["auditor", "clerk"]));
    assert!(at(11).roles(&alpha, Timestamp(700)).is_empty());
    assert_eq!(at(14).apart().collect::<Vec<_>>(), [("auditor", "clerk")]);
    let name = Proof::CertificateName { authority: Digest([2; 32]), name: "uri:sop://operator/root".into() };
    let claim = Some(("group".into(), "ops".into()));
    let foreign = Proof::Foreign { issuer: "https://idp.example".into(), subject: "root".into(), claim };
    let all = replayed(&records);
    let id = |proof: &Proof| all.by_proof(proof).map(|(id, _)| id.0);
    assert_eq!((id(&Proof::Certificate(Digest([1; 32]))), id(&foreign), id(&name)), (Some(3), Some(4), Some(5)));
    assert_eq!(all.credential(CredentialId(3)).unwrap().until, Some(Timestamp(600)));
    assert_eq!(all.credential(CredentialId(4)).unwrap().replaces, Some(CredentialId(3)));
    assert_eq!(all.credential(new).unwrap().ended(Timestamp(20)), Some(End::Revoked));
    let quotas: Vec<_> = all.quotas().map(|(name, quota)| (name, quota.clone())).collect();
    let [("scans", Quota { allowance, since, .. })] = &quotas[..] else { panic!("{quotas:?}") };
    assert_eq!((allowance.limit, allowance.window, *since), (10, Millis::hours(24), Timestamp(14)));
    assert!(allowance.covers(&alpha, "gap.scan") && !allowance.covers(&alpha, "todo.list"));
    assert_eq!((all.of_uid(7), all.standing(&alpha, Timestamp(20)).err()), (None, Some(Lack::Retired)));
}

#[test]
fn what_is_written_is_what_was_read() {
    for record in v1() {
        let (kind, written) = json::write(&event(&record));
        assert_eq!((kind.id, kind.version, written), (record.0, 1, record.1.parse::<Value>().unwrap()));
    }
    assert_eq!(Event::KINDS.iter().map(|kind| kind.id).collect::<Vec<_>>(), (1000..=1016).collect::<Vec<_>>());
}

#[test]
fn an_unregistered_kind_is_not_read() {
    for kind in [(999, 1), (1017, 1), (1000, 0), (1000, 2)] {
        assert_eq!(json::read::<Event>(kind, Value::Null).unwrap_err(), "a kind that was never registered");
    }
}

#[test]
#[should_panic(expected = "who is retired is not admitted again")]
fn a_journal_that_contradicts_itself_is_not_replayed() {
    let records = v1();
    let mut identity = replayed(&records);
    identity.evolve(&event(&records[2]), Position(0));
}
