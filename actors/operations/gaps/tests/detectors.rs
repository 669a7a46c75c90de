//! What the detectors see, and what they must not be fooled by.

use gaps::Kind::{BackupMissing, BackupOverdue, InvalidDocument, MissingDocument, PolicyEmpty};
use gaps::detect::{Document, Live, REQUIRED, documents, is_markdown, is_source, links, markers};
use kernel::{Millis, Timestamp};

#[test]
fn relative_links() {
    for (row, markdown, expected) in [
        ("a plain one", "[a](b.md)", &[("b.md", 1)][..]),
        ("one on a later line", "x\n\nsee [a](../b/c.md)\n", &[("../b/c.md", 3)]),
        ("an image", "![a](pic.png)", &[("pic.png", 1)]),
        ("an image in a link", "[![a](pic.png)](b.md)", &[("b.md", 1), ("pic.png", 1)]),
        ("a reference", "see [a][r] and [r]\n\n[r]: b.md \"title\"\n", &[("b.md", 1), ("b.md", 1)]),
        ("a definition that nobody uses", "[r]: b.md\n", &[]),
        ("a reference without definition", "[a][r]", &[]),
        ("fragment and query", "[a](b.md#c) [a](b.md?c#d)", &[("b.md", 1), ("b.md", 1)]),
        ("within the file", "[a](#b) [a](?b) [a]()", &[]),
        (
            "encoded",
            "[a](b%20c.md) [a](%C3%A9.md) [a](100%.md) [a](%zz)",
            &[("b c.md", 1), ("é.md", 1), ("100%.md", 1), ("%zz", 1)],
        ),
        ("encoded nonsense", "[a](%00%ff)", &[("\0\u{fffd}", 1)]),
        ("an encoded hash is part of the name", "[a](b%23c.md#d)", &[("b#c.md", 1)]),
        ("pointed", "[a](<b c.md>)", &[("b c.md", 1)]),
        ("elsewhere", "[a](https://b/c) <https://b> [a](mailto:b@c) <b@c.de> [a](//b/c) [a](/b)", &[]),
        ("a colon that makes no scheme", "[a](./b:c.md) [a](1:2.md)", &[("./b:c.md", 1), ("1:2.md", 1)]),
        ("a name in a program", "[a](b_c::d) [`b::c`] [e](`e`)\n\n[`b::c`]: crate::b::c", &[]),
        ("code span", "`[a](b.md)`", &[]),
        ("code block", "    [a](b.md)\n\n```\n[a](b.md)\n```\n", &[]),
        ("nested fences", "````md\n```\n[a](b.md)\n```\n[a](c.md)\n````\n[a](d.md)", &[("d.md", 7)]),
        ("a fence that never closes", "```\n[a](b.md)", &[]),
        ("a fence in a list", "- x\n  ~~~\n  [a](b.md)\n  ~~~\n- [a](c.md)", &[("c.md", 5)]),
        ("raw HTML", "<a href=\"b.md\">a</a>\n\n<!-- [a](b.md) -->", &[]),
        ("a task", "- [x] done\n- [ ] [a](b.md)", &[("b.md", 2)]),
        ("a table", "| a |\n|---|\n| [a](b.md) |", &[("b.md", 3)]),
        ("front matter", "---\nlink: \"[a](b.md)\"\n---\n[a](c.md)", &[("c.md", 4)]),
        ("Windows line ends", "x\r\n\r\n[a](b.md)\r\n", &[("b.md", 3)]),
    ] {
        let found: Vec<_> = links(markdown).into_iter().map(|link| (link.target, link.line)).collect();
        let expected: Vec<_> = expected.iter().map(|&(target, line)| (target.to_owned(), line)).collect();
        assert_eq!(found, expected, "{row}");
    }
}

#[test]
fn notes_in_comments_and_stubs_in_code() {
    for (row, path, text, expected) in [
        ("a comment", "a.rs", "fn a() {}\n// TODO: b\n", &[("TODO: b", 2)][..]),
        ("after code", "a.rs", "a(); // FIXME(c)   b  \n", &[("FIXME(c) b", 1)]),
        ("documentation", "a.rs", "//! TODO b\n/// c TODO d", &[("TODO b", 1), ("TODO d", 2)]),
        ("a block", "a.c", "/* a\n * TODO b */ int c; /* FIXME */", &[("TODO b", 2), ("FIXME", 2)]),
        ("a block in a block", "a.rs", "/* /* a */ TODO b */ let c = \"TODO d\";", &[("TODO b", 1)]),
        ("no block in a block", "a.c", "/* /* a */ TODO b */", &[]),
        ("a block that never closes", "a.c", "/* a\nTODO b", &[("TODO b", 2)]),
        ("both words", "a.c", "// FIXME TODO", &[("FIXME TODO", 1)]),
        ("whole words", "a.c", "// TODOS MYTODO TODO_LIST éTODO todo Todo", &[]),
        ("a word spoken of", "a.c", "// `TODO` and `FIXME`: TODO b", &[("TODO b", 1)]),
        ("beside marks", "a.c", "// (TODO) b\n//TODO\n//-TODO-", &[("TODO) b", 1), ("TODO", 2), ("TODO-", 3)]),
        ("three crosses begin a comment", "a.c", "// XXX b\n/* XXX: c */\n  # XXX", &[("XXX b", 1), ("XXX: c", 2)]),
        ("three crosses elsewhere", "a.c", "// CVE-2024-XXX, mkstemp XXXXXX", &[]),
        ("no comment", "a.c", "int TODO = FIXME;", &[]),
        ("a string", "a.c", "char *a = \"// TODO\"; // TODO b", &[("TODO b", 1)]),
        ("an escaped quote", "a.c", "char *a = \"\\\" // TODO\"; char b = '\\''; // TODO c", &[("TODO c", 1)]),
        ("a string that never closes", "a.c", "char *a = \"b\n// TODO c", &[("TODO c", 2)]),
        ("thousands", "a.cpp", "int a = 1'000; // TODO b", &[("TODO b", 1)]),
        ("an address", "a.js", "a = 'https://b/TODO'; // TODO c", &[("TODO c", 1)]),
        ("a template", "a.ts", "a = `\n// TODO b\n`; // TODO c", &[("TODO c", 3)]),
        ("a raw string of Go", "a.go", "a := `\\` // TODO b", &[("TODO b", 1)]),
        ("a text block", "A.java", "a = \"\"\"\n // TODO \"b\"\n\"\"\"; // TODO c", &[("TODO c", 3)]),
        ("a string of two lines", "a.rs", "a(\"b\n// TODO c\"); // TODO d", &[("TODO d", 2)]),
        ("a raw string", "a.rs", "a(r#\"\" // TODO \\\"#); // TODO b", &[("TODO b", 1)]),
        ("a raw string of bytes", "a.rs", "a(br\"\\\"); // TODO b", &[("TODO b", 1)]),
        ("a raw name", "a.rs", "r#type = 1; // TODO b", &[("TODO b", 1)]),
        ("a name that ends in r", "a.rs", "macro_for!(var\"\\\" // TODO\"); // TODO b", &[("TODO b", 1)]),
        ("a character", "a.rs", "a('\"', '\\'', '\\u{1F600}', 'é', b'\"'); // TODO b", &[("TODO b", 1)]),
        ("a lifetime", "a.rs", "fn a<'b, 'c>(d: &'b str) {} // TODO e", &[("TODO e", 1)]),
        ("a stub", "a.rs", "fn a() {\n  todo!(\"b // c\")\n}", &[("todo!(\"b // c\")", 2)]),
        ("two stubs", "a.rs", "std::unimplemented!(); todo! []", &[("todo! []", 1), ("unimplemented!(); todo! []", 1)]),
        ("a stub spoken of", "a.rs", "// todo!()\nlet a = \"todo!()\"; my_todo!(); todo(); use a::todo;", &[]),
        ("a stub of another language", "a.py", "todo!()", &[]),
        ("Python", "a.py", "a = '# TODO' # TODO b", &[("TODO b", 1)]),
        ("a documentation string", "a.py", "\"\"\"a\n# TODO b\n\"\"\"\n# TODO c", &[("TODO c", 4)]),
        ("not implemented", "a.py", "  raise NotImplementedError(\"a\")", &[("raise NotImplementedError(\"a\")", 1)]),
        ("another error", "a.py", "raise NotImplementedErrors()", &[]),
        ("not implemented, caught", "a.py", "except NotImplementedError: # raise NotImplementedError", &[]),
        ("a hash in a word", "a.sh", "echo ${#TODO} a#TODO # TODO b", &[("TODO b", 1)]),
        ("quotes of a shell", "a.sh", "echo 'a\\' \"# TODO\" x\"# TODO\" # TODO b", &[("TODO b", 1)]),
        ("an apostrophe in a comment", "a.sh", "# don't\necho a # TODO b", &[("TODO b", 2)]),
        ("YAML", "a.yml", "a: don't # TODO b\nc: '# TODO' # FIXME", &[("TODO b", 1), ("FIXME", 2)]),
        ("TOML", "a.toml", "a = '\\' # TODO b\nc = '''\n# TODO\n'''", &[("TODO b", 1)]),
        ("SQL", "a.sql", "select '-- TODO'; -- TODO a", &[("TODO a", 1)]),
        ("Lua", "a.lua", "--[[ a\nTODO b ]] c -- TODO d", &[("TODO b", 2), ("TODO d", 2)]),
        ("a file without extension", "x/Makefile", "a: # TODO b", &[("TODO b", 1)]),
        ("an unknown language", "a.txt", "// TODO", &[]),
        ("Windows line ends", "a.c", "// TODO a\r\n// TODO b\r\n", &[("TODO a", 1), ("TODO b", 2)]),
        ("terminal control", "a.c", "// TODO \x1b[31mred\x07", &[("TODO \u{fffd}[31mred\u{fffd}", 1)]),
    ] {
        let found: Vec<_> = markers(path, text).into_iter().map(|marker| (marker.text, marker.line)).collect();
        let mut expected: Vec<_> = expected.iter().map(|&(text, line)| (text.to_owned(), line)).collect();
        expected.sort_by_key(|(_, line)| *line);
        assert_eq!(found, expected, "{row}");
    }
}

#[test]
fn which_files_are_read() {
    for path in ["a.md", "b/c.markdown", "README.md"] {
        assert!(is_markdown(path) && !is_source(path), "{path}");
    }
    for path in ["a.rs", "b.c/d.py", "Dockerfile", "a/Makefile"] {
        assert!(is_source(path) && !is_markdown(path), "{path}");
    }
    for path in ["", "md", "rs", "a", "a.md/b", "a.rs.bak", "Makefile/a"] {
        assert!(!is_source(path) && !is_markdown(path), "{path}");
    }
}

#[test]
fn the_six_documents() {
    let good = |place, name| Document { place, name, text: Some(if name == "METADATA.json" { "{}" } else { "# a" }) };
    let all = |place| REQUIRED.map(|name| good(place, name)).to_vec();
    let with = |text| {
        let mut set = all("docs");
        set[5].text = text;
        set
    };
    let five_at_the_root: Vec<_> = all("").into_iter().take(5).chain(all("docs").into_iter().skip(2)).collect();
    let as_many = vec![good("Documentation", "METADATA.json"), good("", "MANIFEST.md")];
    let missing = |paths: &[&str]| paths.iter().map(|path| (MissingDocument, (*path).to_owned(), "")).collect();
    let metadata = |detail| vec![(InvalidDocument, "docs/METADATA.json".to_owned(), detail)];
    let nowhere: Vec<_> = REQUIRED.iter().map(|name| (MissingDocument, format!("docs/{name}"), "")).collect();
    let deep = "[".repeat(1_000_000);
    for (row, present, expected) in [
        ("none", vec![], nowhere),
        ("all in docs", all("docs"), vec![]),
        ("all in the root", all(""), vec![]),
        ("all in Documentation", all("Documentation"), vec![]),
        ("most in the root", five_at_the_root, missing(&["METADATA.json"])),
        ("as many here as there", as_many, missing(&REQUIRED[1..])),
        ("metadata that is no JSON", with(Some("{a}")), metadata("not JSON")),
        ("metadata of two values", with(Some("{} {}")), metadata("not JSON")),
        ("metadata as deep as it is long", with(Some(&deep)), metadata("not JSON")),
        ("metadata of blanks", with(Some(" \n")), metadata("empty")),
        ("metadata with a byte order mark", with(Some("\u{feff}{}")), vec![]),
        ("metadata that cannot be read", with(None), vec![]),
    ] {
        let lacks: Vec<_> = documents(&present).into_iter().map(|lack| (lack.kind, lack.path, lack.detail)).collect();
        let expected: Vec<_> =
            expected.into_iter().map(|(kind, path, detail)| (kind, path, detail.to_owned())).collect();
        assert_eq!(lacks, expected, "{row}");
    }
}

/// Much of what parsers are known to choke on: no panic, no exhausted stack. How long it takes is not asserted.
#[test]
fn hostile_content_is_survived() {
    const SIZE: usize = 128 * 1024;
    let filled = |with: &str| with.repeat(SIZE / with.len());
    for with in [
        "[",
        "![",
        "[a](",
        "[a](b",
        "[](<",
        "*a ",
        "_",
        "`a``",
        "> ",
        ">",
        "- ",
        "1. ",
        "|",
        "<",
        "<a ",
        "<!--",
        "\\",
        "\n",
        "&",
        "~~~\n",
        "]",
        "a](b)",
        "[a]: b\n",
        "[^a]: ",
        "\t",
        "\0",
        "é",
        "# ",
        "***",
        "[a][",
        "- [ ] ",
        "| a |\n|---|\n",
    ] {
        let text = filled(with);
        std::hint::black_box(links(&text).len());
    }
    for with in [
        "\"", "'", "/*", "*/", "//", "r#", "r\"#", "\\", "'\\", "`", "TODO", "todo!(", "raise ", "\0", "é", "--[[",
        "#", "'a",
    ] {
        let text = filled(with);
        for path in ["a.rs", "a.c", "a.js", "a.py", "a.sh", "a.yml", "a.toml", "a.lua", "a.go"] {
            std::hint::black_box(markers(path, &text).len());
        }
    }
    let huge = format!("// TODO {}", filled("x"));
    assert_eq!(markers("a.c", &huge)[0].text.len(), gaps::DETAIL_MAX);
}

#[test]
fn how_things_stand() {
    let (began, day) = (Timestamp(1_000), Millis::hours(24));
    let (due, last) = (began + day, Some(("backup-3", began)));
    let before = Timestamp(due.0 - 1);
    let backup = |first, last, now| Live::backup(first, last, day, now);
    let policy = |since, now| Live::policy(since, day, now);
    for (row, live, seen, next) in [
        ("nothing is recorded", backup(None, None, due), None, None),
        ("no backup yet", backup(Some(began), None, before), None, Some(due)),
        ("no backup in time", backup(Some(began), None, due), Some(BackupMissing), None),
        ("a backup", backup(Some(Timestamp(0)), last, before), None, Some(due)),
        ("an old backup", backup(Some(Timestamp(0)), last, due), Some(BackupOverdue), None),
        ("a policy", policy(None, due), None, None),
        ("none yet", policy(Some(began), before), None, Some(due)),
        ("none in time", policy(Some(began), due), Some(PolicyEmpty), None),
        ("one that is never due", Live::policy(Some(began), Millis(u64::MAX), due), None, Some(Timestamp(u64::MAX))),
    ] {
        assert_eq!(live.seen.iter().map(|seen| seen.kind).next(), seen, "{row}");
        assert_eq!(live.next, next, "{row}");
        assert!(
            live.seen.iter().all(|seen| seen.kind.is_live() && !seen.subject.is_empty() && !seen.detail.is_empty())
        );
    }
}
