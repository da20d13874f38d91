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

/// In byte order, lower case, as they read when digits are letters.
#[rustfmt::skip]
const PROFANE: &[&str] = &[
    "anus", "arschloch", "arse", "arsehole", "ass", "asses", "asshole", "bastard", "bitch", "bitches", "blowjob",
    "bollocks", "boner", "bullshit", "cabron", "cazzo", "chink", "clit", "cock", "cocks", "coglione", "connard",
    "coon", "crap", "culo", "cum", "cunt", "cunts", "dick", "dickhead", "dildo", "dyke", "enculer", "fag", "faggot",
    "fags", "fick", "ficken", "fotze", "foutre", "fuck", "fucked", "fucker", "fuckers", "fucking", "fuk", "gook",
    "hure", "hurensohn", "jizz", "joder", "kike", "kurwa", "maricon", "merde", "mierda", "milf", "minchia",
    "motherfucker", "nazi", "nigga", "nigger", "niggers", "paki", "penis", "piss", "porn", "porno", "pussy", "puta",
    "putain", "puto", "rape", "rapist", "retard", "salope", "scheisse", "schlampe", "shit", "shits", "shitty", "slut",
    "sluts", "spic", "stronzo", "tit", "tits", "titties", "tranny", "twat", "vagina", "verga", "wank", "wanker",
    "whore", "whores", "wichser",
];

/// Says whether a word of ASCII letters, digits, `_` and `-` is kept back.
pub(super) fn is_reserved(word: &str) -> bool {
    let lower = word.to_ascii_lowercase();
    RESERVED.binary_search(&lower.as_str()).is_ok() || is_profane(&lower)
}

fn is_profane(lower: &str) -> bool {
    let listed = |part: &str| {
        // Only digits beside letters stand for letters: `455` is a number.
        let is_number = part.bytes().all(|byte| byte.is_ascii_digit());
        !is_number && PROFANE.binary_search(&&*part.chars().map(as_letter).collect::<String>()).is_ok()
    };
    let separators = ['-', '_'];
    lower.split(separators).any(listed) || listed(&lower.replace(separators, ""))
}

const fn as_letter(c: char) -> char {
    match c {
        '0' => 'o',
        '1' => 'i',
        '3' => 'e',
        '4' => 'a',
        '5' => 's',
        '7' => 't',
        '8' => 'b',
        '9' => 'g',
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_letters_only_beside_letters() {
        for word in ["a55", "4ss-page", "my-a55", "f_u_c_k", "FUCK", "5h1t"] {
            assert!(is_reserved(word), "{word}");
        }
        for word in ["455", "alias-455", "4-5-5", "class", "passage", "scunthorpe"] {
            assert!(!is_reserved(word), "{word}");
        }
    }

    #[test]
    fn the_list_is_sorted_and_in_lower_case() {
        for list in [RESERVED, PROFANE] {
            for pair in list.windows(2) {
                assert!(pair[0] < pair[1], "{} must stand after {}", pair[0], pair[1]);
            }
        }
        assert!(RESERVED.iter().chain(PROFANE).all(|word| *word == word.to_ascii_lowercase()));
    }
}
