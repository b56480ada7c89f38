//! Whether the tables name each statement of the standards once, and tests that know of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Statements of MQTT 3.1.1 by section, with how many there are (its appendix B).
const MQTT_3_1_1: &str = "1.5.3 3 2.2.2 2 2.3.1 7 3.1.0 2 3.1.2 24 3.1.3 11 3.1.4 5 3.2.0 1 3.2.2 6 \
    3.3.1 12 3.3.2 3 3.3.4 1 3.3.5 2 3.6.1 1 3.8.1 1 3.8.3 4 3.8.4 6 3.9.3 2 3.10.1 1 3.10.3 2 \
    3.10.4 6 3.12.4 1 3.14.1 1 3.14.4 3 4.1.0 2 4.3.1 1 4.3.2 2 4.3.3 2 4.4.0 1 4.5.0 2 4.6.0 6 \
    4.7.1 3 4.7.2 1 4.7.3 4 4.8.0 2 6.0.0 4 7.0.0 2 7.1.1 1 7.1.2 1";

/// The same of MQTT 5. Its 2.2.1-1 was withdrawn.
const MQTT_5: &str = "1.5.4 3 1.5.5 1 1.5.7 1 2.1.3 1 2.2.1 6 2.2.2 1 3.1.0 2 3.1.2 30 3.1.3 12 3.1.4 6 \
    3.2.0 2 3.2.2 22 3.3.1 13 3.3.2 20 3.3.4 10 3.4.2 3 3.5.2 3 3.6.1 1 3.6.2 3 3.7.2 3 3.8.1 1 \
    3.8.3 5 3.8.4 8 3.9.2 2 3.9.3 2 3.10.1 1 3.10.3 2 3.10.4 6 3.11.2 2 3.11.3 2 3.12.4 1 3.14.0 1 \
    3.14.1 1 3.14.2 4 3.14.4 3 3.15.1 1 3.15.2 3 4.1.0 2 4.2.0 1 4.3.1 1 4.3.2 5 4.3.3 13 4.4.0 2 \
    4.5.0 2 4.6.0 6 4.7.0 1 4.7.1 2 4.7.2 1 4.7.3 4 4.8.2 6 4.9.0 3 4.12.0 7 4.12.1 2 4.13.1 1 \
    4.13.2 1 6.0.0 4";

/// The numbers of all statements.
fn known(sections: &str, withdrawn: &[&str]) -> BTreeSet<String> {
    let words: Vec<_> = sections.split_whitespace().collect();
    let numbers = words.chunks(2).flat_map(|pair| {
        let count: usize = pair[1].parse().unwrap();
        (1..=count).map(move |number| format!("MQTT-{}-{number}", pair[0]))
    });
    numbers
        .filter(|number| !withdrawn.contains(&number.as_str()))
        .collect()
}

/// What the table says of each statement: the last column.
fn table(file: &str) -> BTreeMap<String, String> {
    let path = Path::new("tests/conformance").join(file);
    let mut rows = BTreeMap::new();
    for line in std::fs::read_to_string(path).unwrap().lines() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let columns: Vec<_> = line.split('|').map(str::trim).collect();
        assert_eq!(columns.len(), 3, "{line}");
        assert!(columns.iter().all(|column| !column.is_empty()), "{line}");
        let before = rows.insert(columns[0].to_owned(), columns[2].to_owned());
        assert_eq!(before, None, "twice in {file}: {line}");
    }
    rows
}

/// The tests that name each statement of a version, as `file::test`.
fn tested(version: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut tests: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for entry in std::fs::read_dir("tests/conformance").unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let file = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let (mut named, mut is_test) = (Vec::new(), false);
        for line in std::fs::read_to_string(&path).unwrap().lines() {
            if let Some(numbers) = line.strip_prefix(&format!("/// {version}: ")) {
                named.extend(numbers.split_whitespace().map(str::to_owned));
            } else if line == "#[test]" {
                is_test = true;
            } else if let Some(name) = line.strip_prefix("fn ") {
                let name = name.split('(').next().unwrap();
                assert!(is_test || named.is_empty(), "{name} is no test");
                for number in named.drain(..) {
                    tests
                        .entry(number)
                        .or_default()
                        .insert(format!("{file}::{name}"));
                }
                is_test = false;
            }
        }
        assert_eq!(
            named,
            Vec::<String>::new(),
            "behind the last test of {file}"
        );
    }
    tests
}

/// Checks one standard.
fn check(file: &str, version: &str, known: &BTreeSet<String>) {
    let (rows, mut tested) = (table(file), tested(version));
    let listed: BTreeSet<_> = rows.keys().cloned().collect();
    let missing: Vec<_> = known.difference(&listed).collect();
    let unknown: Vec<_> = listed.difference(known).collect();
    assert!(
        missing.is_empty() && unknown.is_empty(),
        "missing {missing:?}, unknown {unknown:?}"
    );
    let mut wrong = Vec::new();
    for (number, last) in &rows {
        let of = tested.remove(number).unwrap_or_default();
        let named: BTreeSet<String> = match last.strip_prefix("test ") {
            Some(names) => names.split_whitespace().map(str::to_owned).collect(),
            None => BTreeSet::new(),
        };
        if named != of {
            wrong.push(format!(
                "{number}: the table says {named:?}, the tests {of:?}"
            ));
        }
    }
    assert!(
        wrong.is_empty() && tested.is_empty(),
        "{wrong:#?} {tested:#?}"
    );
}

#[test]
fn each_statement_of_mqtt_3_1_1_is_tested_or_does_not_apply() {
    check("mqtt-3.1.1.txt", "3.1.1", &known(MQTT_3_1_1, &[]));
}

#[test]
fn each_statement_of_mqtt_5_is_tested_or_does_not_apply() {
    check("mqtt-5.txt", "5", &known(MQTT_5, &["MQTT-2.2.1-1"]));
}
