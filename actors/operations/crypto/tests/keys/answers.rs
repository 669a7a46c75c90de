//! One row per answer.

use crypto::{
    Command, Crypto, NAMED_MAX, PUBLIC_MAX, Purpose, REASON_MAX, Reply, SIGNATURE_MAX, State, Suspect, TEXT_MAX, Task,
    Verdict, Voucher,
};
use kernel::{CommandId, Machine as _, Personal};

use crate::world::{
    self, ED25519, ID, ML_DSA, ROOT, WORKER, abandon, after, cx, destroy, destroyed, generate, made, revoke, rotate,
    run, vouched,
};

const MANIFESTS: Purpose = Purpose::BackupManifests;

#[test]
fn decide() {
    let (one, two, three) = (MANIFESTS.key(1), MANIFESTS.key(2), MANIFESTS.key(3));
    let fresh = &Crypto::default();
    let ordered = &after(&[generate(ED25519)]);
    let active = &after(&[generate(ED25519), made(one)]);
    let making = &after(&[generate(ED25519), made(one), generate(ED25519)]);
    let staged = &after(&[generate(ED25519), made(one), generate(ED25519), made(two)]);
    let other = &after(&[generate(ED25519), made(one), generate(ML_DSA), made(two)]);
    let rotating = &after(&[generate(ED25519), made(one), rotate(None)]);
    let rotated = &after(&[generate(ED25519), made(one), rotate(None), made(two)]);
    let revoked = &after(&[generate(ED25519), made(one), revoke(one, 9)]);
    let gone = &after(&[generate(ED25519), made(one), rotate(None), made(two), destroy(one)]);
    let ended = &after(&[generate(ED25519), made(one), rotate(None), made(two), destroy(one), destroyed(one)]);
    let abandoned = &after(&[generate(ED25519), abandon(one)]);
    let verifying = &after(&[Command::Verify]);
    let updating = &after(&[Command::UpdateRefs]);
    let rooted = &after(&[Command::Rooted { root: "6c".into() }]);
    let missing = || Command::Generate { keys: vec![(MANIFESTS, ED25519), (Purpose::Receipts, ML_DSA)], missing: true };
    let whole = &after(&[missing()]);
    let long = || "x".repeat(TEXT_MAX + 1);
    let wordy = Command::Revoke { key: one, since: 9, reason: Personal::plain(&"é".repeat(REASON_MAX + 1)) };
    let every = Command::Rotate { purpose: None, suite: None };
    let suspect = |why: String| Suspect { key: one.to_string(), code: "keystore.no_key".into(), why };
    let verified = |id, suspects| Command::Verified { id, tried: 1, suspects, suspected: 1 };
    let updated = |id, stuck| Command::Updated { id, stuck, stuck_in_all: 1 };
    let moved = |id| Command::Moved { id, moved: 2, left: 3 };
    let another = CommandId(1);
    for (row, keys, by, command, answer) in [
        ("generate", fresh, ROOT, generate(ED25519), Ok(1)),
        ("generate while one is made", ordered, ROOT, generate(ED25519), Err("crypto.staged")),
        ("generate the next", active, ROOT, generate(ML_DSA), Ok(1)),
        ("generate one more", staged, ROOT, generate(ED25519), Err("crypto.staged")),
        ("generate after none was made", abandoned, ROOT, generate(ED25519), Ok(1)),
        ("generate what is missing", fresh, ROOT, missing(), Ok(2)),
        ("generate what is missing beside one", active, ROOT, missing(), Ok(1)),
        ("generate what is missing of none", whole, ROOT, missing(), Err("crypto.none_missing")),
        ("rotate", active, ROOT, rotate(None), Ok(1)),
        ("rotate to another suite", active, ROOT, rotate(Some(ML_DSA)), Ok(1)),
        ("rotate to what is made", staged, ROOT, rotate(None), Ok(1)),
        ("rotate to what is made, of another suite", staged, ROOT, rotate(Some(ML_DSA)), Err("crypto.other_suite")),
        ("rotate to what is made, of its own suite", other, ROOT, rotate(None), Ok(1)),
        ("rotate to what is being made", making, ROOT, rotate(None), Ok(1)),
        ("rotate while it rotates", rotating, ROOT, rotate(None), Ok(0)),
        ("rotate before the first is made", ordered, ROOT, rotate(None), Ok(0)),
        ("rotate nothing", fresh, ROOT, rotate(None), Err("crypto.no_key_for")),
        ("rotate what never was", abandoned, ROOT, rotate(None), Err("crypto.no_key_for")),
        ("rotate each", active, ROOT, every.clone(), Ok(1)),
        ("rotate each of none", fresh, ROOT, every, Err("crypto.no_keys")),
        ("revoke", active, ROOT, revoke(one, 9), Ok(2)),
        ("revoke with the next one there", staged, ROOT, revoke(one, 9), Ok(2)),
        ("revoke with the next one being made", making, ROOT, revoke(one, 9), Ok(2)),
        ("revoke while it rotates", rotating, ROOT, revoke(one, 9), Ok(1)),
        ("revoke the next one", staged, ROOT, revoke(two, 9), Ok(1)),
        ("revoke what no longer signs", rotated, ROOT, revoke(one, 9), Ok(1)),
        ("revoke what is destroyed", ended, ROOT, revoke(one, 9), Ok(1)),
        ("revoke since before", revoked, ROOT, revoke(one, 8), Ok(1)),
        ("revoke again", revoked, ROOT, revoke(one, 9), Err("crypto.revoked_before")),
        ("revoke since later", revoked, ROOT, revoke(one, 10), Err("crypto.revoked_before")),
        ("revoke what is not made", ordered, ROOT, revoke(one, 9), Err("crypto.not_made")),
        ("revoke nothing", active, ROOT, revoke(two, 9), Err("crypto.no_key")),
        ("revoke version 0", active, ROOT, revoke(MANIFESTS.key(0), 9), Err("crypto.no_key")),
        ("revoke since no record", active, ROOT, revoke(one, 0), Err("crypto.no_record")),
        ("revoke with too many words", active, ROOT, wordy, Err("crypto.reason_too_long")),
        ("destroy", rotated, ROOT, destroy(one), Ok(1)),
        ("destroy what is revoked", revoked, ROOT, destroy(one), Ok(1)),
        ("destroy the next one", staged, ROOT, destroy(two), Ok(1)),
        ("destroy what is in use", active, ROOT, destroy(one), Err("crypto.in_use")),
        ("destroy what is being made", ordered, ROOT, destroy(one), Err("crypto.not_made")),
        ("destroy again", gone, ROOT, destroy(one), Ok(0)),
        ("destroy what was not made", abandoned, ROOT, destroy(one), Ok(0)),
        ("destroy nothing", fresh, ROOT, destroy(one), Err("crypto.no_key")),
        ("verify", fresh, ROOT, Command::Verify, Ok(1)),
        ("verify while it is verified", verifying, ROOT, Command::Verify, Ok(0)),
        ("update", fresh, ROOT, Command::UpdateRefs, Ok(1)),
        ("update while it is updated", updating, ROOT, Command::UpdateRefs, Ok(0)),
        ("made", ordered, WORKER, made(one), Ok(2)),
        ("made, to be the next", making, WORKER, made(two), Ok(1)),
        ("made, to take over", rotating, WORKER, made(two), Ok(2)),
        ("made again", active, WORKER, made(one), Err("crypto.not_awaited")),
        ("made by hand", ordered, ROOT, made(one), Err("crypto.workers_only")),
        ("made of nothing", fresh, WORKER, made(one), Err("crypto.no_key")),
        (
            "made too long",
            ordered,
            WORKER,
            Command::Made { key: one, public: vec![0; PUBLIC_MAX + 1], voucher: None },
            Err("crypto.too_long"),
        ),
        ("abandon", rotating, WORKER, abandon(two), Ok(1)),
        ("abandon what is made", active, WORKER, abandon(one), Err("crypto.not_awaited")),
        ("abandon by hand", ordered, ROOT, abandon(one), Err("crypto.workers_only")),
        ("abandon wordily", ordered, WORKER, Command::Abandon { key: one, why: long() }, Err("crypto.too_long")),
        ("destroyed", gone, WORKER, destroyed(one), Ok(1)),
        ("destroyed again", ended, WORKER, destroyed(one), Err("crypto.not_awaited")),
        ("destroyed unasked", rotated, WORKER, destroyed(one), Err("crypto.not_awaited")),
        ("destroyed by hand", gone, ROOT, destroyed(one), Err("crypto.workers_only")),
        ("verified", verifying, WORKER, verified(ID, vec![suspect(String::new())]), Ok(1)),
        ("verified, another", verifying, WORKER, verified(another, vec![]), Err("crypto.not_awaited")),
        ("verified unasked", fresh, WORKER, verified(ID, vec![]), Err("crypto.not_awaited")),
        ("verified by hand", verifying, ROOT, verified(ID, vec![]), Err("crypto.workers_only")),
        ("verified wordily", verifying, WORKER, verified(ID, vec![suspect(long())]), Err("crypto.too_long")),
        (
            "verified at length",
            verifying,
            WORKER,
            verified(ID, vec![suspect(String::new()); NAMED_MAX + 1]),
            Err("crypto.too_long"),
        ),
        ("moved", updating, WORKER, moved(ID), Ok(1)),
        ("moved, another", updating, WORKER, moved(another), Err("crypto.not_awaited")),
        ("moved by hand", updating, ROOT, moved(ID), Err("crypto.workers_only")),
        ("updated", updating, WORKER, updated(ID, vec!["0190.1".into()]), Ok(1)),
        ("updated, another", updating, WORKER, updated(another, vec![]), Err("crypto.not_awaited")),
        ("updated wordily", updating, WORKER, updated(ID, vec![long()]), Err("crypto.too_long")),
        (
            "updated at length",
            updating,
            WORKER,
            updated(ID, vec![String::new(); NAMED_MAX + 1]),
            Err("crypto.too_long"),
        ),
        ("rooted", fresh, WORKER, Command::Rooted { root: "6c".into() }, Ok(1)),
        ("rooted again", rooted, WORKER, Command::Rooted { root: "6c".into() }, Ok(0)),
        ("rooted anew", rooted, WORKER, Command::Rooted { root: "0d".into() }, Ok(1)),
        ("rooted by hand", fresh, ROOT, Command::Rooted { root: "6c".into() }, Err("crypto.workers_only")),
    ] {
        assert_eq!(run(&mut keys.clone(), by, &command), answer, "{row}");
    }

    let who = |keys: &Crypto| keys.active(MANIFESTS).map(|(key, _)| key);
    assert_eq!((who(ordered), who(active), who(staged), who(rotating)), (None, Some(one), Some(one), Some(one)));
    assert_eq!((who(rotated), who(revoked), who(abandoned)), (Some(two), None, None));
    let state = |keys: &Crypto, key| keys.show(key).map(|version| version.state);
    assert_eq!(state(rotated, one), Some(State::VerifyOnly));
    assert_eq!((state(revoked, one), state(revoked, two)), (Some(State::Revoked), Some(State::PreActive)));
    let replaced = revoked.decide(&made(two), &cx(WORKER)).unwrap();
    assert_eq!(replaced.events.len(), 2, "who takes the place of a key that was revoked is in use once it is made");
    let told = staged.decide(&revoke(one, 9), &cx(ROOT)).unwrap();
    assert_eq!(told.reply, Reply::Revoked { next: Some(two) });
    let voucher = |keys: &Crypto, command: &Command| {
        let mut keys = keys.clone();
        run(&mut keys, WORKER, command).unwrap();
        keys.show(two).unwrap().made.as_ref().unwrap().voucher.as_ref().map(|voucher| voucher.by)
    };
    assert_eq!(voucher(rotating, &vouched(two, 1)), Some(1));
    assert_eq!(voucher(revoked, &vouched(two, 1)), None, "who was revoked vouches for nobody");
    let wordy = Voucher { by: 1, signed: vec![0; SIGNATURE_MAX + 1] };
    let wordy = Command::Made { key: two, public: vec![], voucher: Some(wordy) };
    assert_eq!(run(&mut rotating.clone(), WORKER, &wordy), Err("crypto.too_long"));
    let told = rotating.decide(&generate(ED25519), &cx(ROOT)).unwrap_err();
    assert_eq!(told.to_string(), "backup-manifests.2 was made to be the next one already");
    assert_eq!(after(&[generate(ED25519), made(one), rotate(None), abandon(two)]).active(MANIFESTS).unwrap().0, one);
    assert_eq!(state(gone, three), None);
}

#[test]
fn what_was_signed_counts_by_its_place() {
    let (one, two) = (MANIFESTS.key(1), MANIFESTS.key(2));
    let revoked = after(&[generate(ED25519), made(one), rotate(None), made(two), revoke(one, 9), destroy(one)]);
    for (key, record, verdict) in [
        (one, 8, Verdict::Counts),
        (one, 9, Verdict::RevokedSince(9)),
        (one, u64::MAX, Verdict::RevokedSince(9)),
        (two, u64::MAX, Verdict::Counts),
        (MANIFESTS.key(3), 1, Verdict::NeverSigned),
        (Purpose::Receipts.key(1), 1, Verdict::NeverSigned),
    ] {
        assert_eq!(revoked.judge(key, record), verdict, "{key} in record {record}");
    }
    let staged = after(&[generate(ED25519), made(one), generate(ED25519), made(two), revoke(two, 1)]);
    assert_eq!(staged.judge(two, 5), Verdict::NeverSigned, "it was never in use");
    assert_eq!(
        revoked.show(one).unwrap().made.as_ref().unwrap().public,
        world::public(one),
        "it is still checked with it"
    );
}

#[test]
fn what_is_to_be_done_is_told_in_turn() {
    let (one, two) = (MANIFESTS.key(1), MANIFESTS.key(2));
    let mut keys = after(&[
        generate(ED25519),
        made(one),
        rotate(None),
        made(two),
        Command::Verify,
        Command::UpdateRefs,
        destroy(one),
        rotate(None),
    ]);
    let mut told = Vec::new();
    while let Some(task) = world::next(&keys) {
        let (name, done) = match task {
            Task::Make { key, .. } => ("make", made(key)),
            Task::Destroy { key, .. } => ("destroy", destroyed(key)),
            Task::UpdateRefs { id } => ("update", Command::Updated { id, stuck: vec![], stuck_in_all: 0 }),
            Task::Verify { id } => ("verify", Command::Verified { id, tried: 3, suspects: vec![], suspected: 0 }),
        };
        told.push(name);
        run(&mut keys, WORKER, &done).unwrap();
    }
    assert_eq!(told, ["destroy", "make", "update", "verify"]);
    assert_eq!(keys.verified().map(|round| (round.done, round.done_at.is_some())), Some((3, true)));
}

#[test]
fn a_key_has_one_text() {
    for text in ["backup-manifests.1", "token-root.12", "checkpoints.4294967295"] {
        assert_eq!(text.parse::<crypto::KeyId>().unwrap().to_string(), text);
    }
    for text in
        ["", "backup-manifests", "backup-manifests.", "backup-manifests.01", "backup-manifests.+1", "x.1", "receipts.0"]
    {
        assert!(text.parse::<crypto::KeyId>().is_err(), "{text}");
    }
    for purpose in Purpose::ALL {
        assert_eq!(purpose.name().parse(), Ok(purpose));
    }
    assert_eq!(crypto::clipped(&"é".repeat(TEXT_MAX)).len(), TEXT_MAX);
}
