//! How the table writes bytes: `\r \n \t \0 \\ \{ \} \xHH`, `{NAME}` for a name, `{N*TEXT}` for N times TEXT.

use std::collections::HashMap;

/// Names and their bytes.
pub type Names = HashMap<String, Vec<u8>>;

/// Puts a text into bytes.
///
/// # Errors
/// What is wrong with the text.
pub fn bytes(text: &str, names: &Names) -> Result<Vec<u8>, String> {
    let mut reader = Reader { rest: text, names };
    let bytes = reader.until_end()?;
    if reader.rest.is_empty() { Ok(bytes) } else { Err(format!("a }} without its {{ in {text:?}")) }
}

struct Reader<'a> {
    rest: &'a str,
    names: &'a Names,
}

impl Reader<'_> {
    /// Reads up to the end or a closing brace, which stays.
    fn until_end(&mut self) -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        let mut chars = self.rest.chars();
        while let Some(next) = chars.next() {
            match next {
                '}' => break,
                '\\' => {
                    self.rest = chars.as_str();
                    bytes.push(self.escape()?);
                }
                '{' => {
                    self.rest = chars.as_str();
                    bytes.extend(self.braces()?);
                }
                plain => {
                    self.rest = chars.as_str();
                    bytes.extend(plain.encode_utf8(&mut [0; 4]).as_bytes());
                }
            }
            chars = self.rest.chars();
        }
        Ok(bytes)
    }

    fn escape(&mut self) -> Result<u8, String> {
        let mut chars = self.rest.chars();
        let byte = match chars.next() {
            Some('r') => b'\r',
            Some('n') => b'\n',
            Some('t') => b'\t',
            Some('0') => 0,
            Some(same @ ('\\' | '{' | '}')) => same as u8,
            Some('x') => {
                let (digits, rest) = chars.as_str().split_at_checked(2).ok_or("\\x takes two digits")?;
                let byte = u8::from_str_radix(digits, 16).map_err(|_| format!("\\x{digits} is no byte"))?;
                self.rest = rest;
                return Ok(byte);
            }
            other => return Err(format!("\\ before {other:?}")),
        };
        self.rest = chars.as_str();
        Ok(byte)
    }

    fn braces(&mut self) -> Result<Vec<u8>, String> {
        let digits = self.rest.bytes().take_while(u8::is_ascii_digit).count();
        let (count, rest) = self.rest.split_at(digits);
        let bytes = match rest.strip_prefix('*').zip(count.parse::<usize>().ok()) {
            Some((repeated, count)) => {
                self.rest = repeated;
                self.until_end()?.repeat(count)
            }
            None => {
                let end = self.rest.find('}').ok_or("a { without its }")?;
                let (name, rest) = self.rest.split_at(end);
                self.rest = rest;
                self.names.get(name).cloned().ok_or_else(|| format!("{{{name}}} is not named"))?
            }
        };
        self.rest = self.rest.strip_prefix('}').ok_or("a { without its }")?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_names_and_repetitions_become_bytes() {
        let names = Names::from([("A".to_owned(), b"x\r\n".to_vec())]);
        for (text, expected) in [
            ("", &b""[..]),
            ("a b\\r\\n\\t\\0\\\\\\{\\}\\xe9", b"a b\r\n\t\0\\{}\xe9"),
            ("{A}{2*-{A}}.", b"x\r\n-x\r\n-x\r\n."),
            ("{0*x}\u{e9}", "\u{e9}".as_bytes()),
        ] {
            assert_eq!(bytes(text, &names).unwrap(), expected, "{text}");
        }
        for wrong in ["{", "}", "{B}", "{2*x", "\\q", "\\xg0", "\\x1", "\\"] {
            assert!(bytes(wrong, &names).is_err(), "{wrong}");
        }
    }
}
