//! Words nobody may claim: paths the short domain answers itself, and words that visitors would take for the operator's
//! own pages. Upper and lower case are the same here, though they are not in codes: `ADMIN` misleads as `admin` does.

/// In byte order, lower case; searched by halves.
#[rustfmt::skip]
const RESERVED: &[&str] = &[
    "about", "abuse", "access", "account", "accounts", "admin", "administrator", "alias", "analytics", "api",
    "apis", "apple-app-site-association", "assetlinks", "assets", "atom", "auth", "authorize", "backup",
    "batch", "billing", "browserconfig", "callback", "cdn", "cgi-bin", "change-password", "config", "console",
    "contact", "cookies", "crossdomain", "css", "dashboard", "delete", "developer", "developers", "error",
    "errors", "export", "false", "favicon", "favicon-ico", "feed", "forgot-password", "graphql", "health",
    "healthz", "help", "hostmaster", "humans", "import", "impressum", "imprint", "internal", "javascript",
    "js", "legal", "links", "livez", "localhost", "login", "logout", "manage", "manifest", "metrics", "nil",
    "none", "null", "oauth", "openapi", "password", "payment", "payments", "phishing", "ping", "policy",
    "postmaster", "privacy", "profile", "proxy", "ready", "readyz", "redirect", "register", "replication",
    "reset-password", "robots", "robots-txt", "root", "rss", "secure", "security", "service-worker",
    "settings", "shorten", "shorturl", "signin", "signout", "signup", "sitemap", "sitemap-xml", "spam", "ssl",
    "staff", "static", "status", "support", "sysadmin", "system", "terms", "token", "tokens", "tos", "true",
    "undefined", "unsubscribe", "url", "user", "users", "verify", "webhook", "webhooks", "webmail",
    "webmaster", "well-known", "www", "xmlrpc",
];

/// Says whether a word of ASCII letters, digits, `_` and `-` is kept back.
pub(super) fn is_reserved(word: &str) -> bool {
    let lower = word.to_ascii_lowercase();
    RESERVED.binary_search(&lower.as_str()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted_and_in_lower_case() {
        for pair in RESERVED.windows(2) {
            assert!(pair[0] < pair[1], "{} must stand after {}", pair[0], pair[1]);
        }
        assert!(RESERVED.iter().all(|word| *word == word.to_ascii_lowercase()));
    }
}
