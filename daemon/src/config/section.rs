//! A table being read, and the one record all tables of a file share: who read what, and what was wrong.

use std::cell::RefCell;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::rc::Rc;

use super::dump::{dump, quoted};
use super::item::{Content, Entries, Item, join};
use super::near::nearest;
use super::problem::Problem;
use super::value::ConfigValue;

/// A table being read. What nobody reads is an unknown key, which is a problem. An absent table is an empty one.
///
/// Sections of one file can be alive together: each is a handle on what is shared.
#[derive(Debug)]
pub struct Section {
    reading: Rc<RefCell<Reading>>,
    table: usize,
}

/// Everything that is known about a file while it is read.
#[derive(Debug)]
pub(super) struct Reading {
    /// Every table opened so far; the root is the first. Handles are indices: tables are never removed.
    pub(super) tables: Vec<Table>,
    problems: Vec<Problem>,
}

#[derive(Debug)]
pub(super) struct Table {
    /// As messages have it: `keypool[0].tls`; empty for the root.
    path: String,
    /// As TOML's own headers have it: `keypool.tls`.
    pub(super) header: String,
    /// None for the root and for a table that is not in the file.
    line: Option<usize>,
    /// What the file has.
    entries: Entries,
    /// What the program asked for, in that order.
    pub(super) known: Vec<Known>,
}

/// A key the program asked for.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) key: String,
    pub(super) shown: Shown,
}

/// What the effective configuration says about a key.
#[derive(Clone, Debug)]
pub(super) enum Shown {
    Value(String),
    Hidden,
    Unset,
    Table(usize),
    Tables(Vec<usize>),
}

impl Section {
    /// Reads a key that has a default.
    pub fn value<T: ConfigValue>(&mut self, key: &str, default: T) -> T {
        let value = self.read(key, T::read).unwrap_or(default);
        self.known(key, Shown::Value(value.shown()));
        value
    }

    /// Reads a key that has to be there. When it is not, that is a problem and a placeholder is returned.
    pub fn required<T: ConfigValue>(&mut self, key: &str) -> T {
        if !self.has(key) {
            self.problem(key, format!("missing, expected {}", T::ALLOWED));
        }
        self.value(key, T::placeholder())
    }

    /// Reads a key that may be left out.
    pub fn optional<T: ConfigValue>(&mut self, key: &str) -> Option<T> {
        let value = self.read(key, T::read);
        self.known(key, value.as_ref().map_or(Shown::Unset, |value| Shown::Value(value.shown())));
        value
    }

    /// Reads a key that may be left out and whose value, right or wrong, is never shown.
    pub fn secret(&mut self, key: &str) -> Option<String> {
        self.known(key, if self.has(key) { Shown::Hidden } else { Shown::Unset });
        self.read(key, |item| {
            item.text().map(str::to_owned).ok_or_else(|| {
                vec![Problem { found: None, ..item.refused("a string (what was found is not shown)") }]
            })
        })
    }

    /// Reads a key whose value has bounds, both included. The default is within them.
    pub fn in_range<T: ConfigValue + PartialOrd + Display>(
        &mut self,
        key: &str,
        default: T,
        allowed: RangeInclusive<T>,
    ) -> T {
        debug_assert!(allowed.contains(&default), "the default of {key} is out of its own range");
        let value = self.read(key, |item| {
            let value = T::read(item).ok().filter(|value| allowed.contains(value));
            value.ok_or_else(|| {
                vec![item.refused(&format!("a number from {} to {}", allowed.start(), allowed.end()))]
            })
        });
        let value = value.unwrap_or(default);
        self.known(key, Shown::Value(value.shown()));
        value
    }

    /// Reads a key whose value is one of a few words, each standing for a `T`.
    ///
    /// # Panics
    /// The default is not one of the allowed words: a mistake in the program, whatever the file says.
    pub fn one_of<T: Copy>(&mut self, key: &str, default: &str, allowed: &[(&str, T)]) -> T {
        let find = |found: &str| allowed.iter().find(|(word, _)| *word == found).copied();
        let choice = self.read(key, |item| {
            item.text().and_then(find).ok_or_else(|| {
                let words: Vec<String> = allowed.iter().map(|(word, _)| quoted(word)).collect();
                vec![item.refused(&words.join(" or "))]
            })
        });
        let default = find(default).expect("the default is one of the allowed words");
        let (word, value) = choice.unwrap_or(default);
        self.known(key, Shown::Value(quoted(word)));
        value
    }

    /// Opens a table; an absent one is empty, so its keys have their defaults.
    pub fn section(&mut self, key: &str) -> Section {
        if let Some(Shown::Table(table)) = self.shared(|reading, own| reading.tables[own].shown(key)) {
            return self.handle(table);
        }
        let found = self.read(key, |item| match &item.content {
            Content::Table(entries) => Ok((Some(item.line), entries.clone())),
            _ => Err(vec![item.refused(&format!("a table, written [{}]", item.path))]),
        });
        let (line, entries) = found.unwrap_or_default();
        let table = self.open(key, None, line, entries);
        self.known(key, Shown::Table(table));
        self.handle(table)
    }

    /// Opens an array of tables; an absent one is empty.
    pub fn sections(&mut self, key: &str) -> Vec<Section> {
        if let Some(Shown::Tables(tables)) = self.shared(|reading, own| reading.tables[own].shown(key)) {
            return tables.into_iter().map(|table| self.handle(table)).collect();
        }
        let found = self.read(key, |item| {
            let entries = |item: &Item| match &item.content {
                Content::Table(entries) => Some((item.line, entries.clone())),
                _ => None,
            };
            let tables = item.list().and_then(|items| items.iter().map(entries).collect::<Option<Vec<_>>>());
            tables.ok_or_else(|| {
                vec![item.refused(&format!("tables, each written [[{}]]", self.header_of(key)))]
            })
        });
        let found = found.unwrap_or_default().into_iter().enumerate();
        let tables: Vec<usize> =
            found.map(|(index, (line, entries))| self.open(key, Some(index), Some(line), entries)).collect();
        self.known(key, Shown::Tables(tables.clone()));
        tables.into_iter().map(|table| self.handle(table)).collect()
    }

    /// Says whether the file has this key. That alone does not make it a known one.
    pub fn has(&self, key: &str) -> bool {
        self.entry(key).is_some()
    }

    /// Records that something is wrong with a key, or, if `key` is empty, with the table. The place, and the value
    /// found unless it is a secret, are added; `text` says what is wrong and what is allowed.
    pub fn problem(&mut self, key: &str, text: impl Into<String>) {
        let entry = self.entry(key);
        self.shared(|reading, own| {
            let table = &reading.tables[own];
            let hidden = matches!(table.shown(key), Some(Shown::Hidden));
            let problem = Problem {
                path: if key.is_empty() { table.path.clone() } else { join(&table.path, key) },
                line: entry.as_ref().map(|item| item.line).or(table.line),
                found: entry.filter(|_| !hidden).map(|item| item.shown.clone()),
                text: text.into(),
            };
            reading.problems.push(problem);
        });
    }

    pub(super) fn root(entries: Entries) -> Self {
        let root =
            Table { path: String::new(), header: String::new(), line: None, entries, known: Vec::new() };
        Self {
            reading: Rc::new(RefCell::new(Reading { tables: vec![root], problems: Vec::new() })),
            table: 0,
        }
    }

    /// Ends the reading: all problems, unknown keys among them, and the effective configuration.
    pub(super) fn finish(self) -> (Vec<Problem>, String) {
        self.shared(|reading, _| {
            let mut problems = std::mem::take(&mut reading.problems);
            problems.extend(reading.unknown());
            problems.sort_by_key(|problem| problem.line.unwrap_or(usize::MAX));
            problems.dedup(); // A key that was read twice was refused twice.
            (problems, dump(reading))
        })
    }

    /// Reads an entry, if it is there, and records what is wrong with it.
    fn read<T>(&self, key: &str, read: impl FnOnce(&Item) -> Result<T, Vec<Problem>>) -> Option<T> {
        let item = self.entry(key)?;
        let problems = match read(&item) {
            Ok(value) => return Some(value),
            Err(problems) => problems,
        };
        self.shared(|reading, _| reading.problems.extend(problems));
        None
    }

    fn entry(&self, key: &str) -> Option<Rc<Item>> {
        self.shared(|reading, own| reading.tables[own].entries.get(key).cloned())
    }

    fn known(&self, key: &str, shown: Shown) {
        self.shared(|reading, own| {
            let known = &mut reading.tables[own].known;
            match known.iter_mut().find(|known| known.key == key) {
                Some(known) => known.shown = shown,
                None => known.push(Known { key: key.to_owned(), shown }),
            }
        });
    }

    fn open(&self, key: &str, index: Option<usize>, line: Option<usize>, entries: Entries) -> usize {
        let header = self.header_of(key);
        self.shared(|reading, own| {
            let mut path = join(&reading.tables[own].path, key);
            if let Some(index) = index {
                path.push_str(&format!("[{index}]"));
            }
            reading.tables.push(Table { path, header, line, entries, known: Vec::new() });
            reading.tables.len() - 1
        })
    }

    fn header_of(&self, key: &str) -> String {
        self.shared(|reading, own| join(&reading.tables[own].header, key))
    }

    fn handle(&self, table: usize) -> Section {
        Section { reading: Rc::clone(&self.reading), table }
    }

    /// The one place that borrows; nothing called from within comes back here.
    fn shared<T>(&self, with: impl FnOnce(&mut Reading, usize) -> T) -> T {
        with(&mut self.reading.borrow_mut(), self.table)
    }
}

impl Reading {
    fn unknown(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        for table in &self.tables {
            for (key, item) in table.entries.iter().filter(|(key, _)| table.shown(key).is_none()) {
                let kind = if matches!(item.content, Content::Table(_)) { "table" } else { "key" };
                let text = format!("unknown {kind}, {}", self.hint(table, key));
                // The value is not shown: a misspelt name may be that of a secret.
                problems.push(Problem { found: None, ..item.problem(text) });
            }
        }
        problems
    }

    /// What to do about an unknown key: the name that was meant, the table it belongs to, or what there is.
    fn hint(&self, table: &Table, key: &str) -> String {
        let known = || table.known.iter().map(|known| known.key.as_str());
        if let Some(meant) = nearest(key, known()) {
            return format!("did you mean {meant}?");
        }
        let elsewhere = self.tables.iter().filter(|other| other.shown(key).is_some());
        let mut elsewhere: Vec<String> = elsewhere.map(Table::title).collect();
        elsewhere.dedup();
        if !elsewhere.is_empty() {
            return format!("it belongs in {}", elsewhere.join(" or "));
        }
        let known: Vec<&str> = known().collect();
        match known.as_slice() {
            [] => format!("{} has no keys", table.title()),
            known => format!("{} has: {}", table.title(), known.join(", ")),
        }
    }
}

impl Table {
    fn shown(&self, key: &str) -> Option<Shown> {
        self.known.iter().find(|known| known.key == key).map(|known| known.shown.clone())
    }

    fn title(&self) -> String {
        if self.header.is_empty() { "the top of the file".to_owned() } else { format!("[{}]", self.header) }
    }
}
