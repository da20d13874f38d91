//! Finds the key somebody meant.

/// Longer names than this are not compared: no key of ours comes near, and the comparison is quadratic.
const NAME_CHARS_MAX: usize = 64;

/// The one of `known` nearest to `name`, if it is near enough to be what was meant: one edit in three characters.
pub(super) fn nearest<'k>(name: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    let edits_max = (name.chars().count() / 3).max(1);
    known
        .map(|candidate| (edits(name, candidate), candidate))
        .filter(|(edits, _)| *edits <= edits_max)
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

/// How many single edits (insert, delete, replace, swap two neighbours) lead from `a` to `b`: the optimal string
/// alignment distance, over the last three rows of the usual table. Case and `-` for `_` count as nothing.
fn edits(a: &str, b: &str) -> usize {
    let fold = |name: &str| -> Vec<char> {
        name.chars().map(|c| if c == '-' { '_' } else { c.to_ascii_lowercase() }).collect()
    };
    let (a, b) = (fold(a), fold(b));
    if a.len() > NAME_CHARS_MAX || b.len() > NAME_CHARS_MAX {
        return usize::MAX;
    }
    let (mut before, mut above) = (Vec::new(), (0..=b.len()).collect::<Vec<_>>());
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = above[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = replaced.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(before[j - 2] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::{edits, nearest};

    #[test]
    fn an_edit_is_a_letter_too_many_too_few_changed_or_swapped() {
        let cases = [
            ("listen", "listen", 0),
            ("lsiten", "listen", 1),
            ("listn", "listen", 1),
            ("listeen", "listen", 1),
        ];
        for (a, b, expected) in
            cases.into_iter().chain([("kitten", "sitting", 3), ("", "abc", 3), ("Tls-Dir", "tls_dir", 0)])
        {
            assert_eq!(edits(a, b), expected, "{a} {b}");
            assert_eq!(edits(b, a), expected, "{b} {a}");
        }
    }

    #[test]
    fn the_nearest_is_found_and_the_distant_is_not_suggested() {
        let known = ["listen", "tls_dir", "level"];
        assert_eq!(nearest("listem", known.into_iter()), Some("listen"));
        assert_eq!(nearest("tlsdir", known.into_iter()), Some("tls_dir"));
        assert_eq!(nearest("workers", known.into_iter()), None);
        assert_eq!(nearest(&"x".repeat(100_000), known.into_iter()), None);
    }
}
