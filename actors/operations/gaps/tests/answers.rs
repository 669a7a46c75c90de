//! One row per answer that the gap detector can give.

use gaps::{
    CLOSED_MAX, Command, Counts, Coverage, DETAIL_MAX, Event, FINDINGS_MAX, Filter, Finding, GapId, Gaps, Kind,
    PATH_MAX, Progress, REPORT_MAX, ROOT_MAX, Refusal, Reply, SCANS_MAX, ScanId, State, Tally, UNREAD_MAX, fingerprint,
    title,
};
use kernel::{CommandId, Context, Decision, Kin, Machine, Position, Principal, Refuse, Timestamp};

const ROOT: &str = "/srv/app";
const ONE: ScanId = ScanId(1);

fn context(kin: Kin) -> Context {
    Context {
        now: Timestamp(1_000),
        command_id: CommandId(1),
        principal: Principal::new(kin, "x").unwrap(),
        decision: Decision::default(),
    }
}

/// What the command is answered, and the names of what happened.
fn tell(gaps: &mut Gaps, command: &Command) -> Result<(Reply, Vec<&'static str>), Refusal> {
    let outcome = gaps.decide(command, &context(Kin::Internal))?;
    for event in &outcome.events {
        gaps.evolve(event, Position(0));
    }
    Ok((outcome.reply, outcome.events.iter().map(name).collect()))
}

fn name(event: &Event) -> &'static str {
    match event {
        Event::ScanStarted(_) => "started",
        Event::GapOpened(_) => "opened",
        Event::GapReopened(_) => "reopened",
        Event::GapClosed(_) => "closed",
        Event::ScanFinished(_) => "finished",
        Event::ScanAbandoned(_) => "abandoned",
    }
}

fn after(commands: &[Command]) -> Gaps {
    let mut gaps = Gaps::default();
    for command in commands {
        tell(&mut gaps, command).expect("the history of a row is not refused");
    }
    gaps
}

fn scan(root: &str) -> Command {
    Command::Scan { root: root.into() }
}

fn note(path: &str, text: &str) -> Finding {
    Finding { kind: Kind::Marker, path: path.into(), line: 7, detail: text.into(), ordinal: 0 }
}

fn report(scan: u64, findings: &[Finding]) -> Command {
    Command::Report { scan: ScanId(scan), findings: findings.to_vec() }
}

fn finish(scan: u64, seen: &[u64]) -> Command {
    covering(scan, seen, Coverage::default())
}

fn covering(scan: u64, seen: &[u64], coverage: Coverage) -> Command {
    let seen = seen.iter().copied().map(GapId).collect();
    Command::Finish { scan: ScanId(scan), seen, coverage, tally: Tally { files: 3, ..Tally::default() } }
}

fn unread(paths: &[&str]) -> Coverage {
    Coverage { unread: paths.iter().map(|&path| path.into()).collect(), judged_to: None }
}

fn abandon(scan: u64, why: &str) -> Command {
    Command::Abandon { scan: ScanId(scan), why: why.into() }
}

fn observe(subject: &str, detail: &str) -> Command {
    Command::Observe { kind: Kind::ChildQuarantined, subject: subject.into(), detail: detail.into() }
}

fn clear(subject: &str) -> Command {
    Command::Clear { kind: Kind::ChildQuarantined, subject: subject.into() }
}

fn scanning(scan: u64) -> Reply {
    Reply::Scanning { scan: ScanId(scan) }
}

fn reported(gaps: &[u64], opened: u64, reopened: u64) -> Reply {
    Reply::Reported { gaps: gaps.iter().copied().map(GapId).collect(), opened, reopened }
}

/// What is asked, after which history, and what is answered: a reply and the names of what happened.
type Row<'a> = (&'a str, &'a [Command], Command, Result<(Reply, &'a [&'a str]), Refusal>);

#[test]
fn decide() {
    let (a, b) = (note("a.rs", "TODO a"), note("b.rs", "TODO b"));
    let started = [scan(ROOT)];
    let open = [scan(ROOT), report(1, &[a.clone(), b.clone()])];
    let closed = [&open[..], &[finish(1, &[2]), scan(ROOT)]].concat();
    let finished = [scan(ROOT), finish(1, &[])];
    let abandoned = [scan(ROOT), abandon(1, "")];
    let elsewhere = [scan(ROOT), report(1, std::slice::from_ref(&a)), scan("/b")];
    let busy: Vec<_> = (0..SCANS_MAX).map(|root| scan(&format!("/{root}"))).collect();
    let quarantined = [observe("journal", "crashed 5 times")];
    let alive = [observe("journal", ""), scan(ROOT)];
    let recovered = [&quarantined[..], &[clear("journal")]].concat();

    let live = Finding { kind: Kind::ChildQuarantined, ..a.clone() };
    let wordy = note("a.rs", &"x".repeat(DETAIL_MAX + 1));
    let moved = Finding { line: 99, detail: " TODO  a ".into(), ..a.clone() };
    let second = Finding { ordinal: 1, ..a.clone() };
    let (long, up) = ("x".repeat(PATH_MAX + 1), note("../a.rs", ""));
    let refused_path = |path: &str| Err(Refusal::PathMalformed { path: path.chars().take(80).collect() });
    let refused_root = |root: &str| Err(Refusal::RootMalformed { root: root.chars().take(80).collect() });
    let deep = format!("/{}", "x".repeat(ROOT_MAX));
    let scanned_marker = Command::Observe { kind: Kind::Marker, subject: "a".into(), detail: String::new() };
    let cleared_marker = Command::Clear { kind: Kind::Marker, subject: "a".into() };

    #[rustfmt::skip]
    let rows: Vec<Row<'_>> = vec![
        ("scan", &[], scan(ROOT), Ok((scanning(1), &["started"]))),
        ("scan the root of all", &[], scan("/"), Ok((scanning(1), &["started"]))),
        ("scan what is being scanned", &started, scan(ROOT), Ok((scanning(1), &[]))),
        ("scan another", &started, scan("/b"), Ok((scanning(2), &["started"]))),
        ("scan again", &finished, scan(ROOT), Ok((scanning(2), &["started"]))),
        ("scan one too many", &busy, scan(ROOT), Err(Refusal::TooManyScans)),
        ("scan what is being scanned, among many", &busy, scan("/0"), Ok((scanning(1), &[]))),
        ("scan a relative path", &[], scan("srv"), refused_root("srv")),
        ("scan nothing", &[], scan(""), refused_root("")),
        ("scan up", &[], scan("/a/../b"), refused_root("/a/../b")),
        ("scan with a slash behind", &[], scan("/a/"), refused_root("/a/")),
        ("scan too deep", &[], scan(&deep), refused_root(&deep)),

        ("report new ones", &started, report(1, &[a.clone(), b.clone()]), Ok((reported(&[1, 2], 2, 0), &["opened", "opened"]))),
        ("report nothing", &started, report(1, &[]), Ok((reported(&[], 0, 0), &[]))),
        ("report open ones", &open, report(1, &[b.clone(), a.clone()]), Ok((reported(&[2, 1], 0, 0), &[]))),
        ("report one that moved", &open, report(1, &[moved]), Ok((reported(&[1], 0, 0), &[]))),
        ("report one more of the same", &open, report(1, &[a.clone(), second]), Ok((reported(&[1, 3], 1, 0), &["opened"]))),
        ("report one twice", &started, report(1, &[a.clone(), a.clone()]), Ok((reported(&[1, 1], 1, 0), &["opened"]))),
        ("report a closed one", &closed, report(2, &[a.clone(), b.clone()]), Ok((reported(&[1, 2], 0, 1), &["reopened"]))),
        ("report a closed one twice", &closed, report(2, &[a.clone(), a.clone()]), Ok((reported(&[1, 1], 0, 1), &["reopened"]))),
        ("report from another root", &elsewhere, report(2, std::slice::from_ref(&a)), Ok((reported(&[2], 1, 0), &["opened"]))),
        ("report to no scan", &[], report(1, &[]), Err(Refusal::ScanUnknown { scan: ONE })),
        ("report to scan zero", &started, report(0, &[]), Err(Refusal::ScanUnknown { scan: ScanId(0) })),
        ("report to an ended scan", &finished, report(1, &[]), Err(Refusal::ScanEnded { scan: ONE })),
        ("report too much", &started, report(1, &vec![a.clone(); REPORT_MAX + 1]), Err(Refusal::ReportTooLong { count: 201 })),
        ("report what no scan sees", &started, report(1, &[live]), Err(Refusal::NotScanned { kind: Kind::ChildQuarantined })),
        ("report what lies elsewhere", &started, report(1, &[up]), refused_path("../a.rs")),
        ("report an absolute path", &started, report(1, &[note("/a", "")]), refused_path("/a")),
        ("report too long a path", &started, report(1, &[note(&long, "")]), refused_path(&long)),
        ("report too long a detail", &started, report(1, &[wordy]), Err(Refusal::DetailTooLong { bytes: 301 })),

        ("finish an ended scan", &abandoned, finish(1, &[]), Err(Refusal::ScanEnded { scan: ONE })),
        ("finish no scan", &[], finish(1, &[]), Err(Refusal::ScanUnknown { scan: ONE })),
        ("finish, having seen too much", &started, finish(1, &vec![1; FINDINGS_MAX + 1]), Err(Refusal::SeenTooLong { count: 5_001 })),
        ("finish, having seen what is not", &open, finish(1, &[3]), Err(Refusal::NotOpen { gap: GapId(3) })),
        ("finish, having seen what is closed", &closed, finish(2, &[1]), Err(Refusal::NotOpen { gap: GapId(1) })),
        ("finish, having seen what is live", &alive, finish(1, &[1]), Err(Refusal::NotOpen { gap: GapId(1) })),
        ("finish, having missed too much", &started, covering(1, &[], unread(&vec!["a"; UNREAD_MAX + 1])), Err(Refusal::UnreadTooLong { count: 1_001 })),
        ("finish, having missed what lies elsewhere", &started, covering(1, &[], unread(&[".."])), refused_path("..")),

        ("abandon", &open, abandon(1, "the disk is gone"), Ok((Reply::Abandoned, &["abandoned"]))),
        ("abandon with many words", &open, abandon(1, &"x".repeat(5_000)), Ok((Reply::Abandoned, &["abandoned"]))),
        ("abandon an ended scan", &finished, abandon(1, ""), Err(Refusal::ScanEnded { scan: ONE })),
        ("abandon no scan", &[], abandon(1, ""), Err(Refusal::ScanUnknown { scan: ONE })),

        ("observe", &[], observe("journal", ""), Ok((Reply::Observed { gap: GapId(1) }, &["opened"]))),
        ("observe again, for another reason", &quarantined, observe("journal", "killed"), Ok((Reply::Observed { gap: GapId(1) }, &[]))),
        ("observe another", &quarantined, observe("door", ""), Ok((Reply::Observed { gap: GapId(2) }, &["opened"]))),
        ("observe what came back", &recovered, observe("journal", "killed"), Ok((Reply::Observed { gap: GapId(1) }, &["reopened"]))),
        ("observe with many words", &[], observe("journal", &"x".repeat(5_000)), Ok((Reply::Observed { gap: GapId(1) }, &["opened"]))),
        ("observe nothing", &[], observe("", ""), Err(Refusal::SubjectMalformed { bytes: 0 })),
        ("observe too long a name", &[], observe(&long, ""), Err(Refusal::SubjectMalformed { bytes: 513 })),
        ("observe what a scan finds", &[], scanned_marker, Err(Refusal::NotLive { kind: Kind::Marker })),
        ("clear", &quarantined, clear("journal"), Ok((Reply::Cleared { gap: Some(GapId(1)) }, &["closed"]))),
        ("clear again", &recovered, clear("journal"), Ok((Reply::Cleared { gap: Some(GapId(1)) }, &[]))),
        ("clear what never was", &quarantined, clear("door"), Ok((Reply::Cleared { gap: None }, &[]))),
        ("clear nothing", &[], clear(""), Err(Refusal::SubjectMalformed { bytes: 0 })),
        ("clear what a scan finds", &[], cleared_marker, Err(Refusal::NotLive { kind: Kind::Marker })),
    ];
    for (row, history, command, expected) in rows {
        let answer = tell(&mut after(history), &command);
        assert_eq!(answer, expected.map(|(reply, events)| (reply, events.to_vec())), "{row}");
    }
}

#[test]
fn every_live_kind_opens_closes_and_comes_back_as_the_same_gap() {
    let mut gaps = Gaps::default();
    let live: Vec<_> = Kind::ALL.into_iter().filter(|kind| kind.is_live()).collect();
    assert_eq!(live.len(), 7);
    for (number, kind) in (1..).zip(live) {
        let observe = |detail: &str| Command::Observe { kind, subject: "it".into(), detail: detail.into() };
        let clear = Command::Clear { kind, subject: "it".into() };
        let (observed, cleared) = (Reply::Observed { gap: GapId(number) }, Reply::Cleared { gap: Some(GapId(number)) });
        assert_eq!(tell(&mut gaps, &observe("")), Ok((observed.clone(), vec!["opened"])), "{kind:?}");
        assert_eq!(tell(&mut gaps, &observe("later")), Ok((observed.clone(), vec![])), "{kind:?}");
        assert_eq!(tell(&mut gaps, &clear), Ok((cleared.clone(), vec!["closed"])), "{kind:?}");
        assert_eq!(tell(&mut gaps, &clear), Ok((cleared, vec![])), "{kind:?}");
        assert_eq!(tell(&mut gaps, &observe("again")), Ok((observed, vec!["reopened"])), "{kind:?}");
    }
}

#[test]
fn only_workers_report_what_is_there() {
    let gaps = after(&[scan(ROOT)]);
    for kin in [Kin::Operator, Kin::Agent, Kin::Protocol] {
        for command in [report(1, &[]), finish(1, &[]), observe("journal", ""), clear("journal")] {
            assert_eq!(gaps.decide(&command, &context(kin)), Err(Refusal::NotInternal), "{kin:?} {command:?}");
        }
        for command in [scan("/b"), abandon(1, "")] {
            assert!(gaps.decide(&command, &context(kin)).is_ok(), "{kin:?} {command:?}");
        }
    }
}

/// Which of these gaps a second scan that sees none of them closes, by where it looked.
#[test]
fn a_scan_closes_only_where_it_looked() {
    let paths = ["a/b.rs", "a/b.rs.md", "a/c/d.rs", "a.rs", "b.rs"];
    let findings: Vec<_> = paths.iter().map(|path| note(path, "TODO")).collect();
    let to = |path: &str| Coverage { unread: vec![], judged_to: Some(path.into()) };
    let both = Coverage { unread: vec!["a".into()], judged_to: Some("b.rs".into()) };
    for (row, coverage, closed) in [
        ("everywhere", Coverage::default(), &paths[..]),
        ("but in a file", unread(&["a/b.rs"]), &["a/b.rs.md", "a/c/d.rs", "a.rs", "b.rs"]),
        ("but in a directory", unread(&["a"]), &["a.rs", "b.rs"]),
        ("but in a deep one", unread(&["a/c"]), &["a/b.rs", "a/b.rs.md", "a.rs", "b.rs"]),
        ("but in files that never had any", unread(&["a/b", "c", "a/c/d.rs/e"]), &paths),
        ("up to the first", to("a/b.rs"), &[]),
        ("up to the middle", to("a/c/d.rs"), &["a/b.rs", "a/b.rs.md"]),
        // A walk goes through the directory "a" before it comes to the file "a.rs".
        ("through a directory", to("a.rs"), &["a/b.rs", "a/b.rs.md", "a/c/d.rs"]),
        ("up to what is not there any more", to("a/z"), &["a/b.rs", "a/b.rs.md", "a/c/d.rs"]),
        ("to the end of the names", to("zzz"), &paths),
        ("in what is neither unread nor behind", both, &["a.rs"]),
    ] {
        let mut gaps = after(&[scan(ROOT), report(1, &findings), finish(1, &[1, 2, 3, 4, 5]), scan(ROOT)]);
        tell(&mut gaps, &covering(2, &[], coverage)).unwrap();
        let filter = Filter { state: Some(State::Closed), ..Filter::default() };
        let found: Vec<_> = gaps.list(&filter).map(|gap| gap.path.as_str()).collect();
        assert_eq!(found, closed, "{row}");
    }
}

#[test]
fn a_scan_of_an_unchanged_tree_adds_its_two_ends() {
    let findings = [note("a.rs", "TODO a"), note("b.rs", "TODO b")];
    let mut gaps = after(&[scan(ROOT), report(1, &findings), finish(1, &[1, 2])]);
    let mut happened = Vec::new();
    for command in [scan(ROOT), report(2, &findings), report(2, &findings), finish(2, &[1, 2])] {
        happened.extend(tell(&mut gaps, &command).unwrap().1);
    }
    assert_eq!(happened, ["started", "finished"]);
}

#[test]
fn other_roots_and_live_gaps_stay_open() {
    let finding = [note("a.rs", "TODO a")];
    let mut gaps = after(&[observe("journal", ""), scan("/b"), report(1, &finding), finish(1, &[2]), scan(ROOT)]);
    tell(&mut gaps, &finish(2, &[])).unwrap();
    assert_eq!(gaps.counts(), Counts { open: 2, closed: 0 });
}

#[test]
fn a_scan_that_closes_much_takes_several_commands() {
    let findings: Vec<_> = (0..CLOSED_MAX + 3).map(|number| note(&format!("{number}.rs"), "TODO")).collect();
    let mut gaps = after(&[scan(ROOT)]);
    for part in findings.chunks(REPORT_MAX) {
        tell(&mut gaps, &report(1, part)).unwrap();
    }
    // The very last one is still there.
    let (reply, happened) = tell(&mut gaps, &finish(1, &[503])).unwrap();
    assert_eq!((reply, happened.len()), (Reply::Finishing { left: 2 }, CLOSED_MAX));
    let (reply, happened) = tell(&mut gaps, &finish(1, &[503])).unwrap();
    assert_eq!(happened, ["closed", "closed", "finished"]);
    let Reply::Finished(finished) = reply else { panic!("all is closed: {reply:?}") };
    assert_eq!((finished.opened, finished.closed, finished.open), (503, 502, 1));
    assert_eq!(gaps.finished(ROOT), Some(&finished));
    assert_eq!(tell(&mut gaps, &finish(1, &[503])), Ok((Reply::Finished(finished), vec![])), "finished again");
}

#[test]
fn what_became_of_a_scan() {
    let mut gaps = after(&[scan(ROOT)]);
    assert!(matches!(gaps.scan(ONE), Some(Progress::Running(running)) if running.root == ROOT));
    assert_eq!(gaps.outstanding().map(|running| running.scan).collect::<Vec<_>>(), [ONE]);
    tell(&mut gaps, &abandon(1, "no disk")).unwrap();
    assert!(matches!(gaps.scan(ONE), Some(Progress::Abandoned(abandoned)) if abandoned.why == "no disk"));
    assert_eq!(gaps.outstanding().count(), 0);
    assert_eq!(gaps.finished(ROOT), None);
    for command in [scan(ROOT), finish(2, &[])] {
        tell(&mut gaps, &command).unwrap();
    }
    assert_eq!(gaps.scan(ONE), Some(Progress::Superseded));
    assert_eq!(gaps.abandoned(ROOT), None);
    assert!(matches!(gaps.scan(ScanId(2)), Some(Progress::Finished(finished)) if finished.tally.files == 3));
    assert_eq!((gaps.scan(ScanId(0)), gaps.scan(ScanId(3))), (None, None));
    assert_eq!(gaps.roots().collect::<Vec<_>>(), [ROOT]);
}

#[test]
fn gaps_are_shown_and_listed() {
    let findings = [note("a.rs", "TODO a"), Finding { kind: Kind::BrokenLink, ..note("a.md", "b.md") }];
    let commands = [
        observe("journal", "killed"),
        scan(ROOT),
        report(1, &findings),
        finish(1, &[3]),
        scan(ROOT),
        report(2, &findings),
    ];
    let gaps = after(&commands);
    let gap = gaps.show(GapId(2)).unwrap();
    assert_eq!((gap.title(), gap.state, gap.reopened), ("TODO a (a.rs)".into(), State::Open, 1));
    assert_eq!(gaps.by_fingerprint(findings[0].fingerprint(ROOT)), Some(gap));
    assert_eq!(gaps.by_fingerprint(findings[0].fingerprint("/b")), None);
    assert_eq!(gaps.show(GapId(4)), None);
    let listed = |state, kind, root: Option<&str>| {
        let filter = Filter { state, kind, root: root.map(Into::into) };
        gaps.list(&filter).map(|gap| gap.id.0).collect::<Vec<_>>()
    };
    assert_eq!(listed(None, None, None), [1, 2, 3]);
    assert_eq!(listed(Some(State::Open), Some(Kind::BrokenLink), None), [3]);
    assert_eq!(listed(None, None, Some(ROOT)), [2, 3]);
    assert_eq!(listed(Some(State::Closed), None, None), [0; 0]);
    assert_eq!(gaps.counts(), Counts { open: 3, closed: 0 });
}

#[test]
fn the_number_of_open_gaps_is_limited() {
    let limit = usize::try_from(gaps::OPEN_MAX).unwrap();
    let findings: Vec<_> = (0..=limit).map(|number| note(&format!("{number}.rs"), "")).collect();
    let mut gaps = after(&[scan(ROOT)]);
    for part in findings[..limit].chunks(REPORT_MAX) {
        tell(&mut gaps, &report(1, part)).unwrap();
    }
    assert_eq!(tell(&mut gaps, &report(1, &findings[limit..])), Err(Refusal::Full));
    assert_eq!(tell(&mut gaps, &observe("journal", "")), Err(Refusal::Full));
    assert!(tell(&mut gaps, &report(1, &findings[..REPORT_MAX])).is_ok(), "what is open already is no more");
}

#[test]
fn titles() {
    let long = format!("{}/b.md", "a".repeat(500));
    for (kind, path, detail, expected) in [
        (Kind::MissingDocument, "docs/MANIFEST.md", "", "docs/MANIFEST.md is missing"),
        (Kind::InvalidDocument, "docs/METADATA.json", "not JSON", "docs/METADATA.json is not JSON"),
        (Kind::BrokenLink, "docs/a.md", "../x.md", "broken link to ../x.md in docs/a.md"),
        (Kind::Marker, "src/a.rs", "TODO: b", "TODO: b (src/a.rs)"),
        (Kind::ChildQuarantined, "journal", "", "journal is quarantined"),
        (Kind::ChildQuarantined, "journal", "killed 5 times", "journal is quarantined: killed 5 times"),
        (Kind::BackupMissing, "backup", "one is due 24h after the first record", "there is no backup yet"),
        (Kind::BackupOverdue, "backup", "the last is old", "a backup is overdue: the last is old"),
        (Kind::PolicyEmpty, "policy", "", "no policy decides but the one that is built in"),
        (Kind::CredentialExpiring, "agent/a for b at c", "id", "a credential ends soon: agent/a for b at c"),
        (Kind::LogDisputed, "w/1", "it saw more", "w/1 saw another history of the log: it saw more"),
        (Kind::KeyDue, "receipts.1", "80 %", "receipts.1 will soon have been in use for long enough: 80 %"),
        (Kind::MissingDocument, "a\n\x1b[31m.md", "", "a\u{fffd}\u{fffd}[31m.md is missing"),
    ] {
        assert_eq!(title(kind, path, detail), expected);
    }
    let title = title(Kind::Marker, &long, &"é".repeat(150));
    assert!(title.ends_with("aaa/b.md)") && title.contains("é… (…a") && title.chars().count() < 200, "{title}");
}

#[test]
fn a_fingerprint_is_for_ever() {
    let print = |kind, root, path, detail, ordinal| fingerprint(kind, root, path, detail, ordinal);
    let one = print(Kind::Marker, "/a", "b", "c", 0);
    assert_eq!(one.to_string(), GOLDEN);
    assert_eq!(print(Kind::Marker, "/a", "b", " c\t", 0), one, "blanks do not count");
    for other in [
        print(Kind::BrokenLink, "/a", "b", "c", 0),
        print(Kind::Marker, "/ab", "", "c", 0),
        print(Kind::Marker, "/a", "bc", "", 0),
        print(Kind::Marker, "/a", "b", "C", 0),
        print(Kind::Marker, "/a", "b", "c", 1),
    ] {
        assert_ne!(other, one);
    }
    let live = |detail| print(Kind::ChildQuarantined, "", "journal", detail, 0);
    assert_eq!(live("killed"), live("crashed"));
}

const GOLDEN: &str = "12eb8b8fffb797ca71ab5f221fd815079174a1951d7b9cb2a0994a03772fd34c";

#[test]
fn equal_findings_of_a_file_are_told_apart_by_their_order() {
    let (a, b) = (note("a.rs", "TODO"), note("b.rs", "TODO"));
    let mut findings = [a.clone(), b, Finding { detail: " TODO ".into(), ..a.clone() }, note("a.rs", "FIXME"), a];
    gaps::number(&mut findings);
    assert_eq!(findings.map(|finding| finding.ordinal), [0, 0, 1, 0, 2]);
}

#[test]
fn ids_read_back() {
    for (text, id) in [("gap-12", 12), ("12", 12), ("gap-0", 0), ("18446744073709551615", u64::MAX)] {
        assert_eq!(text.parse(), Ok(GapId(id)), "{text}");
    }
    assert_eq!((GapId(12).to_string(), ScanId(3).to_string()), ("gap-12".into(), "scan-3".into()));
    for text in ["", "gap-", "gap--1", "+1", "gap-+1", "gap 1", "todo-1", "18446744073709551616", "scan-1"] {
        assert!(text.parse::<GapId>().is_err(), "{text}");
    }
    assert_eq!(serde_json::to_string(&GapId(12)).unwrap(), "\"gap-12\"");
    assert_eq!(serde_json::from_str::<ScanId>("\"scan-3\"").unwrap(), ScanId(3));
}

#[test]
fn kinds_keep_their_tags() {
    assert_eq!(Kind::ALL.map(Kind::tag), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
    for kind in Kind::ALL {
        assert_eq!(Kind::from_tag(kind.tag()), Some(kind));
        assert_eq!(serde_json::to_string(&kind).unwrap(), format!("\"{}\"", kind.as_str()));
    }
    assert_eq!((Kind::from_tag(0), Kind::from_tag(12)), (None, None));
}

#[test]
fn refusals_can_be_acted_on() {
    let (scan, gap, kind) = (ONE, GapId(1), Kind::Marker);
    let refusals = [
        Refusal::NotInternal,
        Refusal::RootMalformed { root: "a".into() },
        Refusal::TooManyScans,
        Refusal::ScanUnknown { scan },
        Refusal::ScanEnded { scan },
        Refusal::ReportTooLong { count: 1 },
        Refusal::SeenTooLong { count: 1 },
        Refusal::UnreadTooLong { count: 1 },
        Refusal::PathMalformed { path: "a".into() },
        Refusal::SubjectMalformed { bytes: 1 },
        Refusal::DetailTooLong { bytes: 1 },
        Refusal::NotScanned { kind },
        Refusal::NotLive { kind },
        Refusal::NotOpen { gap },
        Refusal::Full,
    ];
    let codes: std::collections::BTreeSet<_> = refusals.iter().map(Refuse::code).collect();
    assert_eq!(codes.len(), refusals.len(), "each has a code of its own");
    for refusal in refusals {
        assert!(refusal.code().starts_with("gaps."), "{refusal:?}");
        assert!(refusal.remedy().ends_with('.') && !refusal.to_string().is_empty(), "{refusal:?}");
    }
}
