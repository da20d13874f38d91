//! Whatever is found page by page is what a scan over all links would give.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::key::DomainId;
use crate::link::{Link, LinkManage, LinkState};
use crate::store::{Reader, index};
use crate::writer::tests::open;
use crate::{Change, Operation, Part, Precondition};

const HOSTS: [&str; 3] = ["a.example", "b.example", "c.example"];
const TAGS: [&str; 3] = ["red", "green", "blue"];
const STATES: [LinkState; 2] = [LinkState::Active, LinkState::Disabled];

/// What a link looks like, in small numbers.
#[derive(Clone, Copy, Debug)]
struct Looks {
    name: u8,
    domain: u8,
    host: usize,
    tags: u8,
    state: usize,
    created_at_ms: u64,
    deleted: bool,
}

fn looks() -> impl Strategy<Value = Looks> {
    (0u8..12, 0u8..2, 0usize..3, 0u8..8, 0usize..2, 1u64..6, prop::bool::weighted(0.2)).prop_map(
        |(name, domain, host, tags, state, created_at_ms, deleted)| Looks {
            name,
            domain,
            host,
            tags,
            state,
            created_at_ms,
            deleted,
        },
    )
}

fn tags_of(bits: u8) -> Vec<String> {
    TAGS.iter().enumerate().filter(|(n, _)| bits >> n & 1 == 1).map(|(_, tag)| (*tag).to_owned()).collect()
}

fn key_of(looks: &Looks) -> Key {
    Key::new(DomainId(u16::from(looks.domain)), format!("link-{}", looks.name).parse().unwrap())
}

fn change(looks: &Looks) -> Change {
    let link = Link {
        target: format!("https://{}:8443/x", HOSTS[looks.host]),
        state: STATES[looks.state],
        ..Link::default()
    };
    let manage = LinkManage {
        created_at_ms: looks.created_at_ms,
        updated_at_ms: 1,
        created_by: "t".into(),
        tags: tags_of(looks.tags),
        ..LinkManage::default()
    };
    let operation = match looks.deleted {
        true => Operation::Delete,
        false => Operation::Put { serve: link.encode(), manage: manage.encode() },
    };
    let part = Part { key: StateKey::Link(key_of(looks)), precondition: Precondition::Any, operation };
    Change::new("test", vec![part])
}

fn all_pages(reader: &Reader, what: &Find) -> Vec<Key> {
    let mut what = what.clone();
    let mut all = Vec::new();
    for _ in 0..1000 {
        let found = reader.find(&what).unwrap();
        assert!(found.links.len() <= what.limit);
        all.extend(found.links.into_iter().map(|(key, _)| key));
        match found.next {
            Some(next) => what.after = Some(next),
            None => return all,
        }
    }
    panic!("the pages do not end");
}

fn within() -> impl Strategy<Value = Within> {
    let domains = prop_oneof![Just(vec![]), Just(vec![DomainId(1)]), Just(vec![DomainId(1), DomainId(0)])];
    let prefix = prop_oneof![Just(""), Just("link-1"), Just("link-7"), Just("Link")];
    (domains, prefix).prop_map(|(domains, prefix)| Within { domains, prefix: prefix.to_owned() })
}

fn questions() -> impl Strategy<Value = Find> {
    let term = prop_oneof![
        (0u16..2).prop_map(|domain| Term::Domain(DomainId(domain))),
        (0usize..3).prop_map(|host| Term::Host(HOSTS[host].to_owned())),
        (0usize..3).prop_map(|tag| Term::Tag(TAGS[tag].to_owned())),
        Just(Term::State(LinkState::Disabled)),
        Just(Term::All),
    ];
    let none = prop_oneof![
        Just(Term::State(LinkState::Disabled)),
        (0usize..3).prop_map(|tag| Term::Tag(TAGS[tag].to_owned())),
    ];
    (
        prop::collection::vec(term, 0..4),
        prop::collection::vec(none, 0..2),
        prop::option::of(0u64..7),
        prop::option::of(0u64..7),
        any::<bool>(),
        1usize..4,
        prop_oneof![Just(12usize), Just(1000)],
        within(),
    )
        .prop_map(
            |(all_of, none_of, created_from_ms, created_before_ms, newest, limit, steps_max, within)| Find {
                all_of,
                none_of,
                within,
                created_from_ms,
                created_before_ms,
                order: if newest { Order::NewestFirst } else { Order::OldestFirst },
                after: None,
                limit,
                steps_max,
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn pages_give_what_a_scan_gives(
        history in prop::collection::vec(looks(), 0..40),
        asked in prop::collection::vec(questions(), 1..6),
        rebuilt in any::<bool>(),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let writer = open(dir.path());
        let handle = writer.handle();
        for changes in history.chunks(7) {
            handle.propose_and_wait(changes.iter().map(change).collect()).unwrap();
        }
        let reader = writer.reader();
        if rebuilt {
            index::forget(reader.store()).unwrap();
            index::ensure(reader.store()).unwrap();
        }
        let mut last: BTreeMap<String, Looks> = BTreeMap::new();
        for looks in &history {
            last.insert(format!("{}/{}", looks.domain, looks.name), *looks);
        }
        let live: Vec<(Key, StoredLink)> = last
            .values()
            .filter_map(|looks| reader.link(&key_of(looks)).unwrap().map(|link| (key_of(looks), link)))
            .collect();
        for what in asked {
            let has = |term: &Term, key: &Key, link: &StoredLink| {
                let body = link.link.encode();
                let mut value = Vec::new();
                crate::codec::value::write(&mut value, &link.stamp, &body);
                term.is_of(key, &crate::LinkView::of_value(&value).unwrap().unwrap(), &link.manage)
            };
            let mut expected: Vec<_> = live
                .iter()
                .filter(|(key, link)| {
                    let at = link.manage.created_at_ms;
                    what.all_of.iter().all(|term| has(term, key, link))
                        && (what.within.domains.is_empty() || what.within.domains.contains(&key.domain))
                        && key.code.as_str().starts_with(&what.within.prefix)
                        && !what.none_of.iter().any(|term| has(term, key, link))
                        && what.created_from_ms.is_none_or(|from| at >= from)
                        && what.created_before_ms.is_none_or(|before| at < before)
                })
                .collect();
            expected.sort_by_key(|(_, link)| place(link.manage.created_at_ms, link.stamp.created));
            if what.order == Order::OldestFirst {
                expected.reverse();
            }
            let expected: Vec<Key> = expected.into_iter().map(|(key, _)| *key).collect();
            prop_assert_eq!(&all_pages(&reader, &what), &expected, "{:?}", what);
            let count = reader.count(&Find { steps_max: 10_000, ..what }, &mut || ()).unwrap();
            prop_assert_eq!(count, Count { links: expected.len() as u64, is_exact: true });
        }
    }
}
