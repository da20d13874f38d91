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

/// Every document for users.
fn documents() -> Vec<PathBuf> {
    let in_folder = |folder: PathBuf| std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let all = in_folder(root()).chain(in_folder(root().join("docs")));
    all.filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect()
}

#[test]
fn documents_say_nothing_twice_and_what_they_point_at_is_there() {
    let mut wrong = Vec::new();
    for path in documents() {
        let text = std::fs::read_to_string(&path).unwrap();
        let mut seen = HashMap::new();
        for line in text.lines().filter(|line| line.starts_with("## ") || line.len() > 120) {
            if seen.insert(line, ()).is_some() {
                wrong.push(format!("{} says twice: {line}", path.display()));
            }
        }
        let files = links(&text).filter(|link| !link.contains("://") && !link.starts_with('#'));
        let files = files.map(|link| link.split_once('#').map_or(link, |(file, _)| file));
        for file in files.filter(|file| !file.is_empty() && !path.parent().unwrap().join(file).exists()) {
            wrong.push(format!("{} points at {file}, which is not there", path.display()));
        }
    }
    assert!(documents().len() > 10 && wrong.is_empty(), "\n{}", wrong.join("\n"));
}
