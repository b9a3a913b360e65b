//! The conformance table: which rule of RFC 3775 is asserted by which test, and why the others are not, made from the
//! names of the tests themselves. RFC 3775 sections 5 to 11 and thesis sections 4 and 5, row by row; how a test names
//! its rows is told in tests/conformance/README.md. Continuous integration calls it; with UPDATE_CONFORMANCE=1 it
//! writes docs/conformance.md anew instead of comparing it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

/// The parts of the table: the first row of each, and its title.
const PARTS: [(&str, &str); 23] = [
    ("M001", "Mobility Header, every role"),
    ("H001", "Home agent: acceptance of Binding Updates"),
    ("H035", "Home agent: lifetimes"),
    ("H047", "Home agent: sequence numbers"),
    ("H066", "Home agent: duplicate address detection"),
    ("H074", "Home agent: deregistration"),
    ("H085", "Home agent: Binding Acknowledgements"),
    ("H092", "Home agent: interception and tunnelling"),
    ("H113", "Home agent: Router Advertisements and discovery"),
    ("H139", "Home agent: mobile prefixes"),
    ("C001", "Correspondent: return routability"),
    ("C016", "Correspondent: Binding Updates"),
    ("C055", "Correspondent: deletion and end"),
    ("C066", "Correspondent: home address option and routing header"),
    ("N001", "Mobile node: movement"),
    ("N016", "Mobile node: home registration"),
    ("N045", "Mobile node: return routability and packets"),
    ("N077", "Mobile node: requests and errors"),
    ("N085", "Mobile node: returning home, discovery, prefixes"),
    ("X001", "End to end and thesis"),
    ("X201", "Beyond the catalogue: security considerations of section 15"),
    ("C201", "Beyond the catalogue: what running nodes taught"),
    ("H202", "Beyond the catalogue: what is owed where multicast is not tunnelled"),
];
/// Tests of these files run on real kernels in network namespaces; all others in virtual time.
const ON_THE_WIRE: [&str; 4] =
    ["tests/daemon/", "tests/platform_linux.rs", "tests/lab_section5.rs", "tests/lab_topology.rs"];

/// A rule of the catalogue.
struct Row {
    id: String,
    kind: String,
    section: String,
    rule: String,
}

/// A test that runs, its file below the crate's root with `/`, and the rows it says it asserts.
#[derive(Debug, PartialEq)]
struct Test {
    name: String,
    file: String,
    ids: BTreeSet<String>,
}

impl Test {
    fn is_on_the_wire(&self) -> bool {
        ON_THE_WIRE.iter().any(|place| self.file.starts_with(place))
    }
}

/// `h001` as `H001`; nothing for any other word.
fn id(word: &str) -> Option<String> {
    let (letter, digits) = word.split_at_checked(1)?;
    let is_id =
        "MHCNXmhcnx".contains(letter) && digits.len() == 3 && digits.bytes().all(|b| b.is_ascii_digit());
    is_id.then(|| word.to_ascii_uppercase())
}

/// The rows named in a test's name: every word that is an id, and for `a_to_b` all between.
fn ids_of(name: &str) -> BTreeSet<String> {
    let words: Vec<&str> = name.split('_').collect();
    let mut ids: BTreeSet<String> = words.iter().filter_map(|word| id(word)).collect();
    for three in words.windows(3) {
        if let [first, "to", last] = three
            && let (Some(first), Some(last)) = (id(first), id(last))
            && first[..1] == last[..1]
            && let (Ok(from), Ok(to)) = (first[1..].parse::<u16>(), last[1..].parse::<u16>())
        {
            ids.extend((from..=to).map(|number| format!("{}{number:03}", &first[..1])));
        }
    }
    ids
}

/// The tests of one file that name rows, and what is wrong with the way they do.
fn tests_of(file: &str, text: &str) -> (Vec<Test>, Vec<String>) {
    let (mut tests, mut faults) = (Vec::new(), Vec::new());
    // Set from a `#[test]` to its `fn`.
    let mut is_test = false;
    let mut is_ignored = false;
    let mut covers: Option<(usize, BTreeSet<String>)> = None;
    // After a macro has made `#[test] fn $name`, lines `name: ...;` are tests.
    let mut has_cases = false;
    for (index, line) in text.lines().enumerate() {
        let line = line.trim_start();
        if let Some(list) = line.strip_prefix("// covers:") {
            let words: Vec<&str> = list.split_whitespace().collect();
            if let Some(bad) = words.iter().find(|word| id(word).is_none()) {
                faults.push(format!("{file}:{}: {bad} is no id", index + 1));
            }
            covers = Some((index + 1, words.iter().filter_map(|word| id(word)).collect()));
            continue;
        }
        if line.starts_with("#[test]") {
            (is_test, is_ignored) = (true, false);
            continue;
        }
        if line.starts_with("#[ignore") {
            is_ignored = true;
            continue;
        }
        if line.starts_with("//") || line.starts_with("#[") {
            continue;
        }
        let name = match line.strip_prefix("fn ") {
            Some(rest) if is_test => {
                has_cases |= rest.starts_with('$');
                rest.split('(').next().filter(|name| !name.starts_with('$'))
            }
            None if has_cases && line.ends_with(';') => {
                line.split_once(": ").map(|(name, _)| name).filter(|name| !ids_of(name).is_empty())
            }
            _ => None,
        };
        is_test = false;
        let listed = covers.take();
        if let Some(name) = name {
            let mut ids = ids_of(name);
            ids.extend(listed.into_iter().flat_map(|(_, ids)| ids));
            if is_ignored && !ids.is_empty() {
                faults.push(format!("{file}:{}: {name} is ignored, so it tests no row", index + 1));
            } else if !ids.is_empty() {
                tests.push(Test { name: name.to_owned(), file: file.to_owned(), ids });
            }
        } else if let Some((at, _)) = listed {
            faults.push(format!("{file}:{at}: no test follows this list"));
        }
        is_ignored = false;
    }
    (tests, faults)
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file below `folder`, in order.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> =
        fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()).collect();
    entries.sort();
    for entry in entries {
        if entry.is_dir() {
            sources(&entry, found);
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            found.push(entry);
        }
    }
}

fn rows(text: &str) -> Vec<Row> {
    text.lines()
        .skip(1)
        .map(|line| {
            let fields: Vec<&str> = line.split('\t').collect();
            let [id, kind, section, rule] = fields[..] else { panic!("four fields: {line}") };
            assert!(["U", "N", "UN"].contains(&kind), "{line}");
            Row { id: id.into(), kind: kind.into(), section: section.into(), rule: rule.into() }
        })
        .collect()
}

/// What KAME and UMIP do otherwise than the RFC says: as many quirks of each are told in the tests' names, q and u.
const QUIRKS: [(char, u8); 2] = [('q', 18), ('u', 12)];

/// The quirks that no test is named for.
fn quirks_without_a_test(names: &str) -> Vec<String> {
    let quirks =
        QUIRKS.into_iter().flat_map(|(of, last)| (1..=last).map(move |number| format!("{of}{number}")));
    let words: BTreeSet<&str> = names.split(|letter: char| !letter.is_ascii_alphanumeric()).collect();
    quirks.filter(|quirk| !words.contains(quirk.as_str())).collect()
}

/// What contradicts itself between rows, tests and reasons.
fn contradictions(rows: &[Row], tests: &[Test], reasons: &BTreeMap<String, String>) -> Vec<String> {
    let mut faults = Vec::new();
    let known: BTreeSet<&String> = rows.iter().map(|row| &row.id).collect();
    if known.len() != rows.len() {
        faults.push("an id is in rows.tsv twice".to_owned());
    }
    for test in tests {
        for id in test.ids.iter().filter(|id| !known.contains(id)) {
            faults.push(format!("{} in {} names {id}, which is no row", test.name, test.file));
        }
    }
    for (id, reason) in reasons {
        if !known.contains(id) {
            faults.push(format!("reasons.toml names {id}, which is no row"));
        }
        if !reason.contains("RFC ") {
            faults.push(format!("the reason of {id} names no clause"));
        }
    }
    for row in rows {
        match (tests.iter().any(|test| test.ids.contains(&row.id)), reasons.contains_key(&row.id)) {
            (true, true) => faults.push(format!("{} has a test and a reason for having none", row.id)),
            (false, false) => faults.push(format!("{} has neither a test nor a reason", row.id)),
            _ => {}
        }
    }
    faults
}

/// How far the tests of a row reach, in the words of the table; none means no test.
fn state(row: &Row, tests: &[&Test]) -> &'static str {
    let wire = tests.iter().any(|test| test.is_on_the_wire());
    let virtual_time = tests.iter().any(|test| !test.is_on_the_wire());
    match (row.kind.as_str(), virtual_time, wire) {
        (_, false, false) => "not tested",
        ("N" | "UN", true, false) => "tested in virtual time only",
        ("UN", false, true) => "tested on the wire only",
        _ => "tested",
    }
}

/// The document.
fn table(rows: &[Row], tests: &[Test], reasons: &BTreeMap<String, String>) -> String {
    let mut counts: Vec<(&str, [usize; 4])> = Vec::new();
    let mut body = String::new();
    for row in rows {
        if let Some((_, title)) = PARTS.iter().find(|(first, _)| *first == row.id) {
            counts.push((title, [0; 4]));
            let _ = write!(
                body,
                "\n## {title}\n\n| Row | Kind | Section | Rule | State | Tests or reason |\n|---|---|---|---|---|---|\n"
            );
        }
        let of_row: Vec<&Test> = tests.iter().filter(|test| test.ids.contains(&row.id)).collect();
        let state = state(row, &of_row);
        if let Some((_, count)) = counts.last_mut() {
            count[0] += 1;
            count[match state {
                "tested" => 1,
                "not tested" => 3,
                _ => 2,
            }] += 1;
        }
        let told = match reasons.get(&row.id) {
            Some(reason) => reason.clone(),
            None => of_row
                .iter()
                .map(|test| format!("[`{}`](../{})", test.name, test.file))
                .collect::<Vec<String>>()
                .join("<br>"),
        };
        let _ = writeln!(
            body,
            "| {} | {} | {} | {} | {state} | {} |",
            row.id,
            row.kind,
            row.section,
            row.rule.replace('|', "\\|"),
            told.replace('|', "\\|")
        );
    }
    let mut text = String::from(
        "# Conformance\n\n\
         Made by `tests/conformance_table.rs` from the names of the tests; `UPDATE_CONFORMANCE=1 cargo test --test \
         conformance_table` writes it anew.\nHow a test names its rows: [tests/conformance](../tests/conformance/README.md).\n\n\
         Kind U is a rule for virtual time, N one that only real kernels can show, UN both. *Tested* means that every \
         kind of test the rule wants is there; *in part* that a rule of kind N or UN is tested only in virtual time, or \
         only on the wire. Continuous integration runs the tests named here, so a rule named with a test holds.\n\n\
         | Part | Rows | Tested | In part | Not tested |\n|---|--:|--:|--:|--:|\n",
    );
    let mut total = [0; 4];
    for (title, count) in &counts {
        let [all, tested, part, not] = count;
        let _ = writeln!(text, "| {title} | {all} | {tested} | {part} | {not} |");
        for (sum, one) in total.iter_mut().zip(count) {
            *sum += one;
        }
    }
    let [all, tested, part, not] = total;
    let _ = writeln!(text, "| **All** | **{all}** | **{tested}** | **{part}** | **{not}** |");
    text + &body
}

#[test]
fn every_row_has_a_test_or_a_reason_and_the_document_says_so() {
    let root = root();
    let read =
        |path: &str| fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    let rows = rows(&read("tests/conformance/rows.tsv"));
    let reasons: BTreeMap<String, String> =
        toml::from_str(&read("tests/conformance/reasons.toml")).expect("reasons");
    let mut files = Vec::new();
    sources(&root.join("src"), &mut files);
    sources(&root.join("tests"), &mut files);
    let (mut tests, mut faults) = (Vec::new(), Vec::new());
    for path in files {
        let file = path.strip_prefix(&root).expect("below the root").to_string_lossy().replace('\\', "/");
        // This file's own tests speak of ids that are examples.
        if file != "tests/conformance_table.rs" {
            let (of_file, wrong) = tests_of(&file, &fs::read_to_string(&path).expect("a source"));
            tests.extend(of_file);
            faults.extend(wrong);
        }
    }
    faults.extend(contradictions(&rows, &tests, &reasons));
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    let made = table(&rows, &tests, &reasons);
    let document = root.join("docs/conformance.md");
    if std::env::var_os("UPDATE_CONFORMANCE").is_some_and(|value| value == "1") {
        fs::write(&document, made).expect("the document");
        return;
    }
    let committed = fs::read_to_string(&document).unwrap_or_default();
    let first = made.lines().zip(committed.lines()).find(|(made, committed)| made != committed);
    assert!(
        made == committed,
        "docs/conformance.md is old, UPDATE_CONFORMANCE=1 renews it; first difference: {first:?}"
    );
}

#[test]
fn every_quirk_of_kame_and_umip_has_a_test_named_for_it() {
    let mut files = Vec::new();
    for folder in ["protocol", "mobile_node"] {
        sources(&root().join("tests").join(folder), &mut files);
    }
    let text: Vec<String> = files.iter().map(|path| fs::read_to_string(path).expect("a source")).collect();
    let names: Vec<&str> =
        text.iter().flat_map(|text| text.lines()).filter(|line| line.starts_with("fn ")).collect();
    assert_eq!(quirks_without_a_test(&names.join("\n")), [""; 0]);
    assert_eq!(quirks_without_a_test("fn q1_u12_a() {}").len(), 28);
}

#[test]
fn every_way_of_naming_rows_is_found_and_nothing_else() {
    let source = "
        // covers: H003 C004
        #[test]
        fn one_with_a_list() {}
        #[test]
        #[cfg(unix)]
        fn h001_h002_and_a_number_135_and_n005_to_n007_but_not_h01() {}
        fn h009_is_no_test() {}
        fn $name() {}
            h010_before_any_macro: 1;
        #[test]
        fn $name() {}
            x001_case: 15 then 16;
        ";
    let (tests, faults) = tests_of("tests/a.rs", source);
    let found: Vec<(&str, Vec<&str>)> = tests
        .iter()
        .map(|test| (test.name.as_str(), test.ids.iter().map(String::as_str).collect()))
        .collect();
    assert_eq!(
        found,
        [
            ("one_with_a_list", vec!["C004", "H003"]),
            (
                "h001_h002_and_a_number_135_and_n005_to_n007_but_not_h01",
                vec!["H001", "H002", "N005", "N006", "N007"]
            ),
            ("x001_case", vec!["X001"]),
        ]
    );
    assert!(faults.is_empty(), "{faults:?}");
}

#[test]
fn wrong_ways_of_naming_rows_are_faults() {
    for (source, fault) in [
        ("// covers: H1\n#[test]\nfn a() {}", "a.rs:1: H1 is no id"),
        ("// covers: H001\nfn no_test() {}", "a.rs:1: no test follows this list"),
        ("#[test]\n#[ignore = \"slow\"]\nfn h001_a() {}", "a.rs:3: h001_a is ignored, so it tests no row"),
    ] {
        assert_eq!(tests_of("a.rs", source).1, [fault], "{source}");
    }
}

#[test]
fn contradictions_between_rows_tests_and_reasons_are_faults() {
    let rows = rows("head\nH001\tU\t9\ta rule\nH002\tUN\t9\tanother");
    let test = |name: &str, file: &str| Test { name: name.into(), file: file.into(), ids: ids_of(name) };
    let reasons =
        |ids: &[(&str, &str)]| ids.iter().map(|(id, why)| ((*id).to_owned(), (*why).to_owned())).collect();
    let one = [test("h001_a", "src/a.rs")];
    assert_eq!(contradictions(&rows, &one, &reasons(&[("H002", "RFC 3775 9")])), [""; 0]);
    assert_eq!(contradictions(&rows, &one, &reasons(&[])), ["H002 has neither a test nor a reason"]);
    assert_eq!(
        contradictions(
            &rows,
            &one,
            &reasons(&[("H001", "RFC 3775 9"), ("H002", "why"), ("H003", "RFC 3775 9")])
        ),
        [
            "the reason of H002 names no clause",
            "reasons.toml names H003, which is no row",
            "H001 has a test and a reason for having none",
        ]
    );
    let two = [test("h001_h002_h009_a", "src/a.rs")];
    assert_eq!(
        contradictions(&rows, &two, &reasons(&[])),
        ["h001_h002_h009_a in src/a.rs names H009, which is no row"]
    );
}

#[test]
fn a_row_for_real_kernels_is_tested_in_part_without_them() {
    let rows = rows("head\nM001\tU\t9\ta\nM002\tUN\t9\tb\nM003\tN\t9\tc\nM004\tU\t9\td");
    let core = Test { name: "m001_m002".into(), file: "src/a.rs".into(), ids: ids_of("m001_m002") };
    let wire = Test { name: "m002_m003".into(), file: "tests/daemon/a.rs".into(), ids: ids_of("m002_m003") };
    assert_eq!(state(&rows[0], &[&core]), "tested");
    assert_eq!(state(&rows[1], &[&core]), "tested in virtual time only");
    assert_eq!(state(&rows[1], &[&wire]), "tested on the wire only");
    assert_eq!(state(&rows[1], &[&core, &wire]), "tested");
    assert_eq!(state(&rows[2], &[&wire]), "tested");
    assert_eq!(state(&rows[3], &[]), "not tested");
    let made = table(
        &rows,
        &[core, wire],
        &BTreeMap::from([("M004".to_owned(), "section 9 wants none".to_owned())]),
    );
    assert!(made.contains("| **All** | **4** | **3** | **0** | **1** |"), "{made}");
    assert!(made.contains("| M004 | U | 9 | d | not tested | section 9 wants none |"), "{made}");
}
