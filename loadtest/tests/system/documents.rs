//! What docs/FEATURES.md promises: every test it names is there, and so is every heading.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The texts between backticks.
fn code(column: &str) -> impl Iterator<Item = &str> {
    column.split('`').skip(1).step_by(2)
}

/// The targets of links.
fn links(column: &str) -> impl Iterator<Item = &str> {
    column.split("](").skip(1).filter_map(|rest| rest.split(')').next())
}

/// What a heading is called in an address: lower case, hyphens for spaces, no punctuation.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn every_feature_names_tests_and_headings_that_are_there() {
    let table = std::fs::read_to_string(root().join("docs/FEATURES.md")).unwrap();
    let mut files: HashMap<PathBuf, String> = HashMap::new();
    let mut read = |path: &str| -> Option<String> {
        let path = root().join(path);
        let text =
            files.entry(path.clone()).or_insert_with(|| std::fs::read_to_string(path).unwrap_or_default());
        Some(text.clone()).filter(|text| !text.is_empty())
    };
    let (mut missing, mut rows) = (Vec::new(), 0);
    for row in table.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| feature ")) {
        rows += 1;
        let columns: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [feature, tests, documents] = columns[..] else { panic!("not three columns: {row}") };
        let (mut file, mut named) = (None, 0);
        for name in code(tests) {
            if name.ends_with(".rs") {
                named += 1;
                file = read(name);
                if file.is_none() {
                    missing.push(format!("{feature}: there is no {name}"));
                }
            } else if let Some(text) = &file
                && !name.contains(' ')
                && !text.contains(&format!("fn {name}("))
            {
                missing.push(format!("{feature}: no test {name} where it is said to be"));
            }
        }
        if named == 0 {
            missing.push(format!("{feature}: no test"));
        }
        let mut documented = false;
        for link in links(documents) {
            documented = true;
            let (page, heading) = link.split_once('#').unwrap_or((link, ""));
            let Some(text) = read(&format!("docs/{page}")) else {
                missing.push(format!("{feature}: there is no docs/{page}"));
                continue;
            };
            let mut headings = text.lines().filter(|line| line.starts_with('#')).map(anchor);
            if !heading.is_empty() && !headings.any(|found| found == heading) {
                missing.push(format!("{feature}: docs/{page} has no heading {heading}"));
            }
        }
        if !documented {
            missing.push(format!("{feature}: no document"));
        }
    }
    assert!(rows > 100, "only {rows} rows were read");
    assert!(missing.is_empty(), "\n{}", missing.join("\n"));
}
