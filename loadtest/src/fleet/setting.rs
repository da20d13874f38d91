//! `--set proxy.KEY=VALUE`: a setting on top of the configuration the fleet writes.

use std::str::FromStr;

use toml::{Table, Value};

/// One setting.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    part: String,
    path: Vec<String>,
    value: Value,
}

const KINDS: [&str; 4] = ["admin", "keypool", "proxy", "standby"];

impl FromStr for Setting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (key, value) = text.split_once('=').ok_or("write it as PART.KEY=VALUE")?;
        let mut words = key.trim().split('.').map(str::to_owned);
        let part = words.next().unwrap_or_default();
        let kind = part.split_once('-').map_or(part.as_str(), |(kind, _)| kind);
        if !KINDS.contains(&kind) {
            return Err(format!(
                "{part} is no part: admin, keypool, proxy, standby, or one of them such as proxy-0"
            ));
        }
        let path: Vec<String> = words.collect();
        if path.is_empty() || path.iter().any(String::is_empty) {
            return Err(format!("{key} names no key: write it as {part}.KEY or {part}.TABLE.KEY"));
        }
        Ok(Self { part, path, value: value_of(value.trim()) })
    }
}

impl Setting {
    /// Puts the setting into the configuration of `part` if it is meant for it.
    ///
    /// # Errors
    /// When a key on the way is no table.
    pub(super) fn apply(&self, part: &str, config: &mut Table) -> anyhow::Result<()> {
        let meant = part == self.part || part.split_once('-').is_some_and(|(kind, _)| kind == self.part);
        let Some((last, tables)) = self.path.split_last().filter(|_| meant) else { return Ok(()) };
        let mut table = config;
        for name in tables {
            let entry = table.entry(name.clone()).or_insert_with(|| Value::Table(Table::new()));
            table = entry.as_table_mut().ok_or_else(|| {
                anyhow::anyhow!("--set {}.{}: {name} is no table of {part}", self.part, self.path.join("."))
            })?;
        }
        table.insert(last.clone(), self.value.clone());
        Ok(())
    }
}

/// The text as TOML, or as the string it is.
fn value_of(text: &str) -> Value {
    let parsed = format!("value = {text}").parse::<Table>().ok().filter(|table| table.len() == 1);
    parsed.and_then(|mut table| table.remove("value")).unwrap_or_else(|| Value::String(text.to_owned()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn applied(setting: &str, part: &str) -> String {
        let mut config: Table = "a = 1\n[listen]\nworkers = 0\n".parse().unwrap();
        setting.parse::<Setting>().unwrap().apply(part, &mut config).unwrap();
        toml::to_string(&config).unwrap()
    }

    #[test]
    fn a_setting_reaches_every_part_of_its_kind_or_the_one_it_names() {
        assert!(applied("proxy.listen.workers=2", "proxy-1").contains("workers = 2"));
        assert!(applied("proxy-1.listen.workers=2", "proxy-1").contains("workers = 2"));
        assert!(applied("proxy-0.listen.workers=2", "proxy-1").contains("workers = 0"));
        assert!(applied("admin.listen.workers=2", "proxy-1").contains("workers = 0"));
        assert!(applied("admin.b.c=true", "admin").contains("[b]\nc = true"));
    }

    #[test]
    fn values_are_toml_or_else_the_string_they_are() {
        let cases = [
            ("8", "v = 8\n"),
            ("\"8\"", "v = \"8\"\n"),
            ("debug", "v = \"debug\"\n"),
            ("[1, 2]", "v = [1, 2]\n"),
        ];
        for (text, written) in cases {
            assert_eq!(
                toml::to_string(&Table::from_iter([("v".to_owned(), value_of(text))])).unwrap(),
                written
            );
        }
        assert_eq!(value_of("1\nx = 2"), Value::String("1\nx = 2".to_owned()));
    }

    #[test]
    fn what_names_no_part_or_key_is_refused() {
        for wrong in ["proxy.a", "router.a=1", "proxy=1", "proxy..a=1", "proxy.=1"] {
            assert!(wrong.parse::<Setting>().is_err(), "{wrong}");
        }
        let mut config: Table = "a = 1".parse().unwrap();
        assert!("proxy.a.b=1".parse::<Setting>().unwrap().apply("proxy-0", &mut config).is_err());
    }
}
