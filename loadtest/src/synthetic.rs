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

/// The code of imported synthetic link `index`: 8 characters, scattered over the key space, different for every index below 3.5 × 10¹².
#[must_use]
pub fn alias(index: u64) -> String {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    const CODES: u128 = 62u128.pow(7);
    // A prime that does not divide the number of codes: a permutation.
    let mut rest = u128::from(index) * 2_654_435_761 % CODES;
    let mut alias = String::with_capacity(8);
    alias.push('x');
    for _ in 0..7 {
        alias.push(char::from(DIGITS[(rest % 62) as usize]));
        rest /= 62;
    }
    alias
}

/// The title of imported synthetic link `index`: two of 16 words and its number.
#[must_use]
pub fn title(index: u64) -> String {
    let bits = scramble(index ^ 0x5bd1);
    let word = |bits: u64| WORDS[(bits % 16) as usize];
    format!("{} {} {index}", word(bits), word(bits >> 4))
}

/// The tag of imported synthetic link `index`: one of 1,000.
#[must_use]
pub fn tag(index: u64) -> String {
    format!("tag-{}", scramble(index ^ 0x7a6) % 1000)
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
    fn aliases_are_distinct_and_none_could_be_a_generated_code() {
        let aliases: std::collections::HashSet<String> = (0..100_000).map(alias).collect();
        assert_eq!(aliases.len(), 100_000);
        assert!(aliases.iter().all(|alias| alias.len() == 8));
        assert!(tag(5).starts_with("tag-") && title(5).ends_with(" 5"));
    }

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
