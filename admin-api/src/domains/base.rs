//! What the short URLs of a domain begin with. Pure.

use std::fmt;
use std::str::FromStr;

use linklog::Code;
use url::Url;

/// `https://sho.rt` or `http://127.0.0.1:8080`: scheme, host, and the port where it is not the scheme's own; no final slash.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ShortUrlBase {
    text: String,
    host: String,
    port: u16,
}

/// Why a text is no base of short URLs.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{why}; write it as https://HOST or http://HOST:PORT")]
pub struct BaseError {
    why: &'static str,
}

impl ShortUrlBase {
    /// Returns the host: lower case, ASCII, no port.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the port, the scheme's own if none is written.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Returns the scheme.
    pub fn scheme(&self) -> &str {
        self.text.split_once(':').map_or("https", |(scheme, _)| scheme)
    }

    /// Appends the short URL of a code.
    pub fn write_short_url(&self, out: &mut String, code: &Code) {
        out.push_str(&self.text);
        out.push('/');
        out.push_str(code.as_str());
    }

    /// Returns the short URL of a code.
    pub fn short_url(&self, code: &Code) -> String {
        let mut url = String::with_capacity(self.text.len() + 1 + code.as_bytes().len());
        self.write_short_url(&mut url, code);
        url
    }
}

impl fmt::Display for ShortUrlBase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for ShortUrlBase {
    type Err = BaseError;

    fn from_str(text: &str) -> Result<ShortUrlBase, BaseError> {
        let wrong = |why| Err(BaseError { why });
        let Ok(url) = Url::parse(text) else { return wrong("it is not a URL") };
        if !matches!(url.scheme(), "http" | "https") {
            return wrong("it begins with neither http:// nor https://");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return wrong("it holds a user name or password");
        }
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return wrong("something follows its host");
        }
        let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
            return wrong("it has no host");
        };
        let host = host.strip_suffix('.').unwrap_or(host).to_owned();
        let mut text = format!("{}://{host}", url.scheme());
        if let Some(port) = url.port() {
            text.push_str(&format!(":{port}"));
        }
        Ok(ShortUrlBase { text, host, port })
    }
}

/// Brings the name of a host as people write it into the form it has in the log: lower case, ASCII, no final dot. `None` if it is
/// no host name.
pub fn host_name(text: &str) -> Option<String> {
    if text.is_empty() || text.contains(['/', '?', '#', '@', '\\', ' ']) {
        return None;
    }
    let base: ShortUrlBase = format!("http://{text}").parse().ok()?;
    let has_port = base.text.len() > "http://".len() + base.host.len();
    (!has_port && !text.ends_with(":80")).then_some(base.host)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_base_is_brought_into_one_form() {
        for (text, form, host, port) in [
            ("https://sho.rt", "https://sho.rt", "sho.rt", 443),
            ("HTTPS://Sho.RT./", "https://sho.rt", "sho.rt", 443),
            ("http://sho.rt:80", "http://sho.rt", "sho.rt", 80),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080", "127.0.0.1", 8080),
            ("http://[::1]:8080", "http://[::1]:8080", "[::1]", 8080),
            ("https://bücher.example", "https://xn--bcher-kva.example", "xn--bcher-kva.example", 443),
        ] {
            let base: ShortUrlBase = text.parse().unwrap();
            assert_eq!((base.to_string().as_str(), base.host(), base.port()), (form, host, port), "{text}");
            assert_eq!(form.parse::<ShortUrlBase>().unwrap(), base);
        }
    }

    #[test]
    fn what_is_no_base_is_refused_with_the_form_to_use() {
        for text in
            ["", "sho.rt", "ftp://sho.rt", "https://u@sho.rt", "https://sho.rt/x", "https://sho.rt/?a"]
        {
            let error = text.parse::<ShortUrlBase>().unwrap_err().to_string();
            assert!(error.ends_with("write it as https://HOST or http://HOST:PORT"), "{error}");
        }
    }

    #[test]
    fn a_host_is_known_in_every_spelling() {
        for (text, host) in [
            ("Sho.RT", Some("sho.rt")),
            ("sho.rt.", Some("sho.rt")),
            ("bücher.example", Some("xn--bcher-kva.example")),
            ("127.0.0.1", Some("127.0.0.1")),
            ("[::1]", Some("[::1]")),
            ("sho.rt:80", None),
            ("sho.rt:8080", None),
            ("sho.rt/x", None),
            ("a b", None),
            ("", None),
        ] {
            assert_eq!(host_name(text).as_deref(), host, "{text}");
        }
    }
}
