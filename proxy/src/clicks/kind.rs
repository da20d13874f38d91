//! Person or program: what a request's headers say about who sent it.
//!
//! A program that pretends to be a browser counts as a person; nothing here can tell, and nothing here tries. A request without
//! User-Agent is a program's: every browser has one. HEAD comes first (nobody is redirected by it), then loading ahead, then bots.

use std::cell::RefCell;

use aho_corasick::{AhoCorasick, MatchKind};
use clicklog::Kind;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::record::Asker;

const LIST: &str = include_str!("bots.txt");
/// User-Agents that are remembered; a power of two. Most visitors share a few hundred.
const REMEMBERED: usize = 1 << 12;

/// Tells kinds apart.
pub struct Kinds {
    texts: AhoCorasick,
    /// By number of the text: it stands for a program. Otherwise it only looks like one.
    is_bot: Vec<bool>,
    /// What came of User-Agents: 63 bits of their hash, and one that says whether it is a program's.
    remembered: Box<[u64]>,
    /// Nobody can make up a User-Agent that is taken for another.
    seed: u64,
}

impl Default for Kinds {
    fn default() -> Self {
        Kinds::new()
    }
}

impl Kinds {
    /// Reads the list that comes with the program.
    pub fn new() -> Kinds {
        let lines = LIST.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let (texts, is_bot): (Vec<&str>, Vec<bool>) = lines
            .map(|line| line.strip_prefix('!').map_or((line, true), |exception| (exception, false)))
            .unzip();
        // Leftmost: an exception, which is longer and begins earlier, hides what it contains.
        let built = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .match_kind(MatchKind::LeftmostLongest)
            .build(texts);
        let texts = built.expect("a list of a few kilobytes is not too large");
        Kinds { texts, is_bot, remembered: vec![0; REMEMBERED].into(), seed: rand::random() }
    }

    /// What sent a request.
    pub fn of(&mut self, asker: &Asker<'_>) -> Kind {
        if asker.head {
            Kind::Head
        } else if asker.says.prefetch {
            Kind::Prefetch
        } else if asker.says.agent.is_empty() || self.is_known_bot(asker.says.agent) {
            Kind::Bot
        } else {
            Kind::Person
        }
    }

    fn is_known_bot(&mut self, agent: &[u8]) -> bool {
        let hash = xxh3_64_with_seed(agent, self.seed);
        let place = hash as usize >> 1 & (REMEMBERED - 1);
        if self.remembered[place] >> 1 != hash >> 1 {
            self.remembered[place] = hash & !1 | u64::from(self.is_bot(agent));
        }
        self.remembered[place] & 1 == 1
    }

    fn is_bot(&self, agent: &[u8]) -> bool {
        self.texts.find_iter(agent).any(|found| self.is_bot[found.pattern().as_usize()])
    }
}

thread_local! {
    static KINDS: RefCell<Kinds> = RefCell::new(Kinds::new());
}

/// What sent a request, for a worker that has to know before it answers.
pub fn kind_of(asker: &Asker<'_>) -> Kind {
    KINDS.with_borrow_mut(|kinds| kinds.of(asker))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::parse::Says;

    fn kind(agent: &str) -> Kind {
        let says = Says { agent: agent.as_bytes(), ..Says::default() };
        Kinds::new().of(&Asker { says, ..Asker::default() })
    }

    #[test]
    fn browsers_and_apps_are_people() {
        for agent in [
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36 Edg/131.0.0.0",
            "Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0",
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Safari/605.1.15",
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Mobile/15E148 Safari/604.1",
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148 Instagram 357.0.0.27.94 (iPhone14,5; iOS 18_1; de_DE; de; scale=3.00; 1170x2532)",
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148 [FBAN/FBIOS;FBAV/466.0.0;FBDV/iPhone14,5]",
            "Mozilla/5.0 (Linux; Android 14; SM-S918B) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/27.0 Chrome/125.0.0.0 Mobile Safari/537.36",
            "Mozilla/5.0 (Linux; Android 9; CUBOT_X18_Plus) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Mobile Safari/537.36",
            "Mozilla/5.0 (Linux; Android 14; Pixel 8; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/131.0.0.0 Mobile Safari/537.36",
            "Opera/9.80 (Android; Opera Mini/36.2/191.273; U; en) Presto/2.12.423 Version/12.16",
            "signpost-loadtest/0.1",
        ] {
            assert_eq!(kind(agent), Kind::Person, "{agent}");
        }
    }

    #[test]
    fn crawlers_previews_monitors_and_libraries_are_bots_in_any_case() {
        for agent in [
            "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
            "Mozilla/5.0 (Linux; Android 6.0.1; Nexus 5X) Chrome/131.0 Mobile Safari/537.36 (compatible; GOOGLEBOT/2.1)",
            "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
            "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)",
            "TelegramBot (like TwitterBot)",
            "WhatsApp/2.23.20.0",
            "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; GPTBot/1.2; +https://openai.com/gptbot)",
            "Mozilla/5.0 (Windows NT 6.1; WOW64) SkypeUriPreview Preview/0.5",
            "Mozilla/5.0+(compatible; UptimeRobot/2.0; http://www.uptimerobot.com/)",
            "Mozilla/5.0 (X11; Linux x86_64) HeadlessChrome/131.0.0.0 Safari/537.36",
            "curl/8.11.0",
            "python-requests/2.32.3",
            "Go-http-client/2.0",
            "Mozilla/5.0 (Linux; Android 9; CUBOT_X18_Plus) (compatible; ExampleBot/1.0)",
            "",
        ] {
            assert_eq!(kind(agent), Kind::Bot, "{agent}");
        }
    }

    #[test]
    fn head_and_loading_ahead_come_before_bots() {
        let says = Says { agent: b"curl/8", prefetch: true, ..Says::default() };
        let asker = Asker { says, ..Asker::default() };
        assert_eq!(Kinds::new().of(&asker), Kind::Prefetch);
        assert_eq!(Kinds::new().of(&Asker { head: true, ..asker }), Kind::Head);
    }

    #[test]
    fn what_is_remembered_of_one_never_passes_for_another() {
        let mut kinds = Kinds::new();
        for n in 0..4 * REMEMBERED {
            // Every other one is a bot; twice as many of each as are remembered, and each seen three times.
            for n in [n, n, n / 2] {
                let agent = format!("{}/{n}", if n % 2 == 0 { "Firefox" } else { "Googlebot" });
                let says = Says { agent: agent.as_bytes(), ..Says::default() };
                let expected = if n % 2 == 0 { Kind::Person } else { Kind::Bot };
                assert_eq!(kinds.of(&Asker { says, ..Asker::default() }), expected, "{agent}");
            }
        }
    }
}
