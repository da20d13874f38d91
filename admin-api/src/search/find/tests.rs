#![allow(clippy::unwrap_used)]
//! Pages against a model: every link that fits, once, in order, whatever the segments, the clicks and the budget.

use std::cmp::Reverse;

use linklog::{DomainId, Key, Link, LinkManage, Seq};
use proptest::prelude::*;
use tantivy::{Index, IndexWriter, TantivyDocument};

use super::*;
use crate::search::clicked::Clicked;
use crate::search::document::{Facet, of_link, schema};
use crate::search::words::Words;

#[derive(Clone, Debug)]
struct Made {
    created_at_ms: u64,
    clicks: u32,
    word: u8,
    tag: bool,
    is_taken_out: bool,
    /// A segment begins with it.
    begins: bool,
}

struct Fixture {
    segments: Vec<Segment>,
    fields: Fields,
    made: Vec<Made>,
}

fn made() -> impl Strategy<Value = Made> {
    let flags =
        (proptest::bool::weighted(0.5), proptest::bool::weighted(0.1), proptest::bool::weighted(0.02));
    (0u64..50, prop_oneof![3 => Just(0u32), 1 => 0u32..9], 0u8..4, flags).prop_map(
        |(created_at_ms, clicks, word, (tag, is_taken_out, begins))| Made {
            created_at_ms,
            clicks,
            word,
            tag,
            is_taken_out,
            begins,
        },
    )
}

fn key(n: usize) -> Key {
    Key::new(DomainId::DEFAULT, format!("k{n}").parse().unwrap())
}

impl Fixture {
    fn new(made: Vec<Made>) -> Fixture {
        let (schema, fields) = schema();
        let index = Index::create_in_ram(schema);
        let mut writer: IndexWriter<TantivyDocument> = index.writer_with_num_threads(1, 15_000_000).unwrap();
        writer.set_merge_policy(Box::new(tantivy::merge_policy::NoMergePolicy));
        for (n, made) in made.iter().enumerate() {
            if made.begins {
                writer.commit().unwrap();
            }
            let link = Link { target: "https://a.example/".to_owned(), ..Link::default() };
            let manage = LinkManage {
                created_at_ms: made.created_at_ms,
                title: Some(format!("word{} all", made.word)),
                tags: if made.tag { vec!["tag".to_owned()] } else { Vec::new() },
                ..LinkManage::default()
            };
            writer.add_document(of_link(&fields, &key(n), &link, &manage, Seq(n as u64))).unwrap();
        }
        writer.commit().unwrap();
        for (n, _) in made.iter().enumerate().filter(|(_, made)| made.is_taken_out) {
            writer.delete_term(crate::search::terms::id(&fields, &key(n)));
        }
        writer.commit().unwrap();
        let clicks = made.iter().enumerate().filter(|(_, made)| made.clicks > 0);
        let clicked = Clicked::of(clicks.map(|(n, made)| (n as u64, made.clicks)).collect());
        let searcher = index.reader().unwrap().searcher();
        let open = |reader: &tantivy::SegmentReader| Segment::open(reader.clone(), None, &clicked).unwrap();
        Fixture { segments: searcher.segment_readers().iter().map(open).collect(), fields, made }
    }

    fn expected(&self, sort: Sort, wanted: impl Fn(&Made) -> bool) -> Vec<Rank> {
        let rank = |(n, made): (usize, &Made)| {
            let clicks = if sort.is_by_clicks() { made.clicks } else { 0 };
            sort.rank(clicks.into(), super::super::rank::place(made.created_at_ms, n as u64))
        };
        let wanted = self.made.iter().enumerate().filter(|(_, made)| !made.is_taken_out && wanted(made));
        let mut ranks: Vec<_> = wanted.map(rank).collect();
        ranks.sort_by_key(|rank| Reverse(*rank));
        ranks
    }

    /// Follows the pages to the end.
    fn pages(&self, question: Question, steps: usize) -> Vec<Rank> {
        let (mut question, mut ranks) = (question, Vec::new());
        loop {
            let hits = find_within(&self.segments, &self.fields, &question, steps).unwrap();
            assert!(hits.is_complete && hits.hits.len() <= question.limit);
            ranks.extend(hits.hits.iter().map(|hit| hit.rank));
            match hits.next {
                None => return ranks,
                Some(next) => {
                    assert!(question.behind.is_none_or(|before| next < before), "every page goes on");
                    question.behind = Some(next);
                }
            }
        }
    }
}

fn check(fixture: &Fixture, limit: usize, steps: usize) {
    type Case = (Option<&'static str>, bool, fn(&Made) -> bool);
    let cases: [Case; 6] = [
        (None, false, |_| true),
        (None, true, |made| made.tag),
        (Some("word1"), false, |made| made.word == 1),
        (Some("all word2"), true, |made| made.word == 2 && made.tag),
        (Some("word"), true, |made| made.tag),
        (Some("word7"), false, |_| false),
    ];
    for sort in Sort::ALL {
        for (words, tag, wanted) in cases {
            let words = words.map(|words| Words::read(words).unwrap());
            let facets = if tag { vec![Facet::Tag("tag").term()] } else { Vec::new() };
            let asked = Asked { words, facets };
            let question = Question { asked, sort, limit, ..Question::default() };
            let expected = fixture.expected(sort, wanted);
            let counted = count(&fixture.segments, &fixture.fields, &question).unwrap();
            assert_eq!(counted, Counted { links: expected.len() as u64, is_exact: true });
            assert_eq!(fixture.pages(question.clone(), steps), expected, "{question:?}");
            let between = |made: &Made| wanted(made) && (10..30).contains(&made.created_at_ms);
            let question =
                Question { created_from_ms: Some(10), created_before_ms: Some(30), ..question.clone() };
            assert_eq!(fixture.pages(question, steps), fixture.expected(sort, between));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn pages_have_every_link_that_fits_once_and_in_order(
        made in proptest::collection::vec(made(), 1..200),
        limit in 1usize..40,
        steps in prop_oneof![Just(STEPS_MAX), Just(0), 0usize..2000],
    ) {
        check(&Fixture::new(made), limit, steps);
    }
}

#[test]
fn pages_are_right_over_many_windows_too() {
    let made = |n: u64| Made {
        created_at_ms: n / 500,
        clicks: if n.is_multiple_of(97) { (n * 31 % 1009) as u32 } else { 0 },
        word: (n % 4) as u8,
        tag: n.is_multiple_of(7),
        is_taken_out: n.is_multiple_of(11),
        begins: n == 9000,
    };
    let fixture = Fixture::new((0..14_000).map(made).collect());
    assert_eq!(fixture.segments.len(), 2);
    for (limit, steps) in [(1000, STEPS_MAX), (700, 3000)] {
        check(&fixture, limit, steps);
    }
}

#[test]
fn a_beginning_of_too_many_words_is_said_to_be_one() {
    let (schema, fields) = schema();
    let index = Index::create_in_ram(schema);
    let mut writer: IndexWriter<TantivyDocument> = index.writer_with_num_threads(1, 15_000_000).unwrap();
    for n in 0..ENDINGS_MAX as u64 + 5 {
        let link = Link { target: format!("https://a.example/page{n:07}"), ..Link::default() };
        writer
            .add_document(of_link(&fields, &key(n as usize), &link, &LinkManage::default(), Seq(n)))
            .unwrap();
    }
    writer.commit().unwrap();
    let searcher = index.reader().unwrap().searcher();
    let open =
        |reader: &tantivy::SegmentReader| Segment::open(reader.clone(), None, &Clicked::default()).unwrap();
    let segments: Vec<_> = searcher.segment_readers().iter().map(open).collect();
    let ask = |text: &str| {
        let asked = Asked { words: Some(Words::read(text).unwrap()), facets: Vec::new() };
        let question = Question { asked, limit: 3, ..Question::default() };
        find(&segments, &fields, &question).unwrap()
    };
    let (some, one) = (ask("page"), ask("page0000017"));
    assert_eq!((some.is_complete, some.hits.len()), (false, 3));
    assert_eq!((one.is_complete, one.hits.len()), (true, 1));
}
