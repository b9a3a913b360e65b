//! The rules of the house, design section 2: which room may call which, where `unsafe` and operating systems may be
//! named, how a file begins and what a module may not be called. Read from the sources, not from the compiler, so that
//! a rule also holds for code that this platform does not build. Each rule is shown to catch a planted violation.

use std::fs;
use std::path::{Path, PathBuf};

/// What each room must not call.
const FORBIDDEN: [(&str, &[&str]); 5] = [
    ("wire", &["protocol", "forwarding", "platform", "daemon", "lab", "pcap"]),
    ("protocol", &["forwarding", "platform", "daemon", "lab", "pcap"]),
    ("platform", &["protocol", "forwarding", "daemon", "lab", "pcap"]),
    ("forwarding", &["platform", "daemon", "lab", "pcap"]),
    ("pcap", &["platform", "daemon", "lab"]),
];
/// Names that say nothing.
const EMPTY_NAMES: [&str; 4] = ["utils", "helpers", "common", "manager"];

/// A source file: its path below `src`, with `/`, and its text.
struct Source {
    path: String,
    text: String,
}

/// Paths in `crate::{a, b::c}`, `use super::super::a` and the like, as words after `crate::` or the crate's name.
fn called_rooms(source: &Source) -> Vec<String> {
    let depth = source.path.matches('/').count();
    let code = without_comments(&source.text);
    let mut rooms = Vec::new();
    let mut roots = vec!["crate::".to_owned(), "mga_node::".to_owned()];
    // From `src/room/file.rs`, `super::super::` is the crate; from `src/room/mod.rs`, `super::` is.
    let up = if source.path.ends_with("/mod.rs") { depth } else { depth + 1 };
    roots.push("super::".repeat(up));
    for root in roots {
        for (at, _) in code.match_indices(&root) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            let rest = &code[at + root.len()..];
            match rest.strip_prefix('{') {
                Some(list) => rooms.extend(first_words(list)),
                None => rooms.extend(word(rest)),
            }
        }
    }
    rooms
}

fn word(text: &str) -> Option<String> {
    let word: String = text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    (!word.is_empty()).then_some(word)
}

/// The first word of every item of a `use` list, whose opening brace is gone.
fn first_words(list: &str) -> Vec<String> {
    let (mut words, mut level, mut begins) = (Vec::new(), 0, true);
    for (at, character) in list.char_indices() {
        match character {
            '{' => level += 1,
            '}' if level == 0 => break,
            '}' => level -= 1,
            ',' if level == 0 => begins = true,
            c if begins && !c.is_whitespace() => {
                words.extend(word(&list[at..]));
                begins = false;
            }
            _ => {}
        }
    }
    words
}

/// The code without line comments, doc comments and string literals that span no lines.
fn without_comments(text: &str) -> String {
    let code_of = |line: &str| {
        let mut code = String::new();
        let (mut quoted, mut escaped, mut previous) = (false, false, ' ');
        for character in line.chars() {
            match character {
                '"' if !escaped && previous != '\'' => quoted = !quoted,
                '/' if !quoted && previous == '/' => {
                    code.pop();
                    return code;
                }
                c if !quoted => code.push(c),
                _ => {}
            }
            escaped = character == '\\' && !escaped;
            previous = character;
        }
        code
    };
    text.lines().map(code_of).collect::<Vec<_>>().join("\n")
}

fn room(path: &str) -> &str {
    path.split('/').next().unwrap_or(path).trim_end_matches(".rs")
}

/// Everything in `source` that breaks a rule.
fn violations(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    let room = room(&source.path);
    if let Some((_, forbidden)) = FORBIDDEN.iter().find(|(name, _)| *name == room) {
        for called in called_rooms(source).iter().filter(|called| forbidden.contains(&called.as_str())) {
            found.push(format!("{}: {room} calls {called}", source.path));
        }
    }
    let code = without_comments(&source.text);
    if room != "platform" && !source.path.starts_with("forwarding/ebpf/") {
        let has_word =
            |wanted: &str| code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|w| w == wanted);
        if has_word("unsafe") {
            found.push(format!("{}: unsafe outside platform", source.path));
        }
        if has_word("target_os") {
            found.push(format!("{}: an operating system outside platform", source.path));
        }
    }
    if !source.text.starts_with("//!") {
        found.push(format!("{}: begins without a comment", source.path));
    }
    let declared = code.lines().filter_map(|line| {
        let line = line.trim_start().trim_start_matches("pub(crate) ").trim_start_matches("pub ");
        word(line.strip_prefix("mod ")?)
    });
    let file = source.path.split('/').map(|part| part.trim_end_matches(".rs").to_owned());
    for name in declared.chain(file).filter(|name| EMPTY_NAMES.contains(&name.as_str())) {
        found.push(format!("{}: a module called {name}", source.path));
    }
    found
}

fn sources(folder: &Path, root: &Path, into: &mut Vec<Source>) {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            sources(&path, root, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let below = path.strip_prefix(root).expect("a path below src");
            let names: Vec<_> = below.iter().map(|part| part.to_string_lossy()).collect();
            let text = fs::read_to_string(&path).expect("a source file");
            into.push(Source { path: names.join("/"), text });
        }
    }
}

#[test]
fn the_house_keeps_its_rules() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut all = Vec::new();
    sources(&root, &root, &mut all);
    assert!(all.len() > 40, "the sources were found: {}", all.len());
    let found: Vec<_> = all.iter().flat_map(violations).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

fn planted(path: &str, code: &str) -> Vec<String> {
    violations(&Source { path: path.to_owned(), text: format!("//! A file.\n{code}\n") })
}

#[test]
fn every_planted_call_is_caught() {
    for (room, forbidden) in FORBIDDEN {
        for called in forbidden {
            for code in [
                format!("use crate::{called}::thing;"),
                format!("use crate::{{wire_of_mine::a, {called}::{{b, c}}}};"),
                format!("fn f() {{ crate::{called}::thing() }}"),
                format!("use super::super::{called}::thing;"),
                format!("use mga_node::{called}::thing;"),
            ] {
                let found = planted(&format!("{room}/file.rs"), &code);
                assert_eq!(found, [format!("{room}/file.rs: {room} calls {called}")], "{code}");
            }
            let found = planted(&format!("{room}/mod.rs"), &format!("use super::{called}::thing;"));
            assert_eq!(found.len(), 1, "super in mod.rs of {room}");
        }
    }
}

#[test]
fn every_other_planted_violation_is_caught() {
    for (path, code, expected) in [
        ("protocol/a.rs", "fn f() { unsafe { g() } }", "unsafe outside platform"),
        ("forwarding/user.rs", "fn f() { unsafe { g() } }", "unsafe outside platform"),
        ("cli.rs", "#[cfg(target_os = \"linux\")]", "an operating system outside platform"),
        ("daemon/a.rs", "#[cfg(not(target_os = \"linux\"))]", "an operating system outside platform"),
        ("wire/utils.rs", "", "a module called utils"),
        ("wire/a.rs", "pub mod helpers;", "a module called helpers"),
        ("common/a.rs", "", "a module called common"),
        ("daemon/a.rs", "mod manager {", "a module called manager"),
    ] {
        assert_eq!(planted(path, code), [format!("{path}: {expected}")]);
    }
    let bare = Source { path: "wire/a.rs".to_owned(), text: "use std::fmt;\n".to_owned() };
    assert_eq!(violations(&bare), ["wire/a.rs: begins without a comment"]);
}

#[test]
fn what_is_allowed_or_only_mentioned_is_not_caught() {
    for (path, code) in [
        ("protocol/a.rs", "use crate::wire::Packet;\n// as crate::platform does\n/// [`crate::daemon`]"),
        ("protocol/ar/a.rs", "use super::super::action::Action;"),
        ("protocol/a.rs", "fn f() -> &'static str { \"crate::platform and unsafe\" }"),
        ("platform/linux/a.rs", "fn f() { unsafe { g() } }"),
        ("forwarding/ebpf/a.rs", "fn f() { unsafe { g() } }"),
        ("daemon/a.rs", "use crate::{platform::Host, protocol::clock::Instant};"),
        ("forwarding/a.rs", "use crate::protocol::action::Rule;"),
    ] {
        assert_eq!(planted(path, code), Vec::<String>::new(), "{code}");
    }
}
