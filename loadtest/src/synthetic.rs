//! Made-up targets for preloading: link `n` always has the same one, so a file of codes in order is enough to know
//! every target.

const HOSTS: [&str; 8] = [
    "www.example.com",
    "shop.example.com",
    "news.example.org",
    "blog.example.net",
    "docs.example.org",
    "events.example.com",
    "media.example.net",
    "support.example.org",
];
const SECTIONS: [&str; 8] =
    ["articles", "products", "campaigns", "tickets", "videos", "releases", "jobs", "stories"];
const WORDS: [&str; 16] = [
    "spring",
    "winter",
    "offer",
    "guide",
    "update",
    "annual",
    "report",
    "launch",
    "weekly",
    "review",
    "gallery",
    "interview",
    "schedule",
    "catalogue",
    "members",
    "travel",
];
const SOURCES: [&str; 4] = ["newsletter", "social", "print", "partner"];

/// The target of synthetic link `index`: 80 to 120 bytes, different for every index.
#[must_use]
pub fn long_url(index: u64) -> String {
    let mut bits = scramble(index);
    let mut pick = |choices: &[&'static str]| {
        let choice = choices[(bits % choices.len() as u64) as usize];
        bits /= choices.len() as u64;
        choice
    };
    format!(
        "https://{}/{}/{}-{}-{}-{index}?utm_source={}&utm_campaign={}",
        pick(&HOSTS),
        pick(&SECTIONS),
        pick(&WORDS),
        pick(&WORDS),
        pick(&WORDS),
        pick(&SOURCES),
        pick(&WORDS),
    )
}

/// The output function of SplitMix64 (Steele, Lea, Flood 2014): neighbours look unrelated.
fn scramble(index: u64) -> u64 {
    let mut bits = index.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_distinct_repeatable_and_of_ordinary_length() {
        let urls: std::collections::HashSet<String> = (0..10_000).map(long_url).collect();
        assert_eq!(urls.len(), 10_000);
        assert!(urls.contains(&long_url(77)));
        assert!(
            urls.iter().all(|url| (70..=130).contains(&url.len())),
            "{:?}",
            urls.iter().map(String::len).max()
        );
        let mean = urls.iter().map(String::len).sum::<usize>() / urls.len();
        assert!((85..=110).contains(&mean), "{mean}");
    }
}
