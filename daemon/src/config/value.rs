//! The kinds of value a key can have: how each is read, what is said when it is something else, how it is shown.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::dump::quoted;
use super::item::Item;
use super::problem::Problem;

/// A value a key can have. A service implements it for a type of its own where a plain one would not do.
pub trait ConfigValue: Sized {
    /// What is allowed, as in "a whole number from 0 to 65535": the end of a sentence that begins "expected".
    const ALLOWED: &'static str;

    /// Reads the value.
    ///
    /// # Errors
    /// Everything that is wrong with it, at least one problem; [`Item::refused`] words the usual one.
    fn read(item: &Item) -> Result<Self, Vec<Problem>>;

    /// Stands in for a required value that is missing, while the rest is read; never reaches a running daemon.
    fn placeholder() -> Self;

    /// The value as TOML, on one line.
    fn shown(&self) -> String;
}

/// The usual case of [`ConfigValue::read`]: one value, one problem.
fn one<T: ConfigValue>(item: &Item, value: Option<T>) -> Result<T, Vec<Problem>> {
    value.ok_or_else(|| vec![item.refused(T::ALLOWED)])
}

impl ConfigValue for String {
    const ALLOWED: &'static str = "a string";

    fn read(item: &Item) -> Result<Self, Vec<Problem>> {
        one(item, item.text().map(str::to_owned))
    }

    fn placeholder() -> Self {
        String::new()
    }

    fn shown(&self) -> String {
        quoted(self)
    }
}

impl ConfigValue for bool {
    const ALLOWED: &'static str = "true or false";

    fn read(item: &Item) -> Result<Self, Vec<Problem>> {
        one(item, item.truth())
    }

    fn placeholder() -> Self {
        false
    }

    fn shown(&self) -> String {
        self.to_string()
    }
}

macro_rules! whole_numbers {
    ($($kind:ty: $allowed:literal;)*) => { $(
        impl ConfigValue for $kind {
            const ALLOWED: &'static str = $allowed;

            fn read(item: &Item) -> Result<Self, Vec<Problem>> {
                one(item, item.whole().and_then(|number| number.try_into().ok()))
            }

            fn placeholder() -> Self {
                0
            }

            fn shown(&self) -> String {
                self.to_string()
            }
        }
    )* };
}

whole_numbers! {
    u16: "a whole number from 0 to 65535";
    u32: "a whole number from 0 to 4294967295";
    u64: "a whole number from 0 to 18446744073709551615";
    usize: "a whole number, not negative";
}

impl ConfigValue for f64 {
    const ALLOWED: &'static str = "a number";

    fn read(item: &Item) -> Result<Self, Vec<Problem>> {
        one(item, item.number().filter(|number| number.is_finite()))
    }

    fn placeholder() -> Self {
        0.0
    }

    fn shown(&self) -> String {
        format!("{self:?}") // `1.0`, not `1`: still a float when it is read again.
    }
}

impl ConfigValue for PathBuf {
    const ALLOWED: &'static str = "a path, in quotes and not empty";

    fn read(item: &Item) -> Result<Self, Vec<Problem>> {
        let possible = |text: &&str| !text.is_empty() && !text.contains('\0');
        one(item, item.text().filter(possible).map(PathBuf::from))
    }

    fn placeholder() -> Self {
        PathBuf::new()
    }

    fn shown(&self) -> String {
        quoted(&self.to_string_lossy())
    }
}

impl ConfigValue for SocketAddr {
    const ALLOWED: &'static str = "an IP address and a port, such as \"127.0.0.1:7400\" or \"[::1]:7400\"";

    fn read(item: &Item) -> Result<Self, Vec<Problem>> {
        one(item, item.text().and_then(|text| text.parse().ok()))
    }

    fn placeholder() -> Self {
        SocketAddr::from(([127, 0, 0, 1], 0))
    }

    fn shown(&self) -> String {
        quoted(&self.to_string())
    }
}

/// A list reports every bad element, each under its own index.
fn read_list<T: ConfigValue>(item: &Item, allowed: &str) -> Result<Vec<T>, Vec<Problem>> {
    let items = item.list().ok_or_else(|| vec![item.refused(allowed)])?;
    let (mut values, mut problems) = (Vec::with_capacity(items.len()), Vec::new());
    for item in items {
        match T::read(item) {
            Ok(value) => values.push(value),
            Err(more) => problems.extend(more),
        }
    }
    if problems.is_empty() { Ok(values) } else { Err(problems) }
}

macro_rules! lists {
    ($($kind:ty: $allowed:literal;)*) => { $(
        impl ConfigValue for Vec<$kind> {
            const ALLOWED: &'static str = $allowed;

            fn read(item: &Item) -> Result<Self, Vec<Problem>> {
                read_list(item, Self::ALLOWED)
            }

            fn placeholder() -> Self {
                Vec::new()
            }

            fn shown(&self) -> String {
                let elements: Vec<String> = self.iter().map(ConfigValue::shown).collect();
                format!("[{}]", elements.join(", "))
            }
        }
    )* };
}

lists! {
    String: "a list of strings, such as [\"one\", \"two\"]";
    SocketAddr: "a list of IP addresses with ports, such as [\"127.0.0.1:8080\", \"[::1]:8080\"]";
    PathBuf: "a list of paths, such as [\"/etc/signpost/one\", \"/etc/signpost/two\"]";
}
