//! Nothing acknowledged is lost when the writer is killed at random instants.

use std::collections::HashSet;
use std::time::Duration;

use super::{all_in_sync, create, eventually, fleet, real_links, verify};

/// How often the writer is killed.
const KILLS: u32 = 20;

#[test]
fn twenty_kills_of_the_writer_lose_nothing_and_give_no_code_twice() {
    let dir = tempfile::tempdir().unwrap();
    let fleet = fleet(dir.path(), 2);
    let mut outs = Vec::new();
    let mut instants = Instants(0x5eed_1234_5678_9abc);
    let mut acknowledged = 0;
    let urls = dir.path().join("urls.txt");
    std::fs::write(&urls, std::fs::read_to_string(real_links()).unwrap().repeat(40)).unwrap();
    for kill in 0..KILLS {
        let out = dir.path().join(format!("created-{kill}.tsv"));
        let results = std::thread::scope(|scope| {
            let (fleet, urls, out) = (&fleet, &urls, &out);
            let creating = scope.spawn(move || {
                create(
                    fleet,
                    urls,
                    out,
                    &["--concurrency", "8", "--duration", "1", "--warm-up", "0", "--allow-errors"],
                )
            });
            // The instant is the fault: there is no condition to wait for.
            std::thread::sleep(Duration::from_millis(instants.next_below(900)));
            fleet.must("kill admin 9");
            creating.join().unwrap()
        });
        assert_eq!(results["duplicate_codes"], 0, "kill {kill}");
        acknowledged += results["created"].as_u64().unwrap();
        outs.push(out);
        fleet.must("start admin");
    }
    assert!(
        acknowledged > u64::from(KILLS) * 50,
        "only {acknowledged} links were created: the kills hit nothing"
    );
    let lines: Vec<String> = outs.iter().map(|out| std::fs::read_to_string(out).unwrap()).collect();
    let codes: Vec<&str> =
        lines.iter().flat_map(|text| text.lines()).map(|line| line.split('\t').next().unwrap()).collect();
    assert_eq!(codes.len() as u64, acknowledged);
    assert_eq!(codes.iter().collect::<HashSet<_>>().len(), codes.len(), "a code was given twice");
    eventually("both proxies have caught up", || all_in_sync(&fleet));
    let all = dir.path().join("all.tsv");
    std::fs::write(&all, lines.concat()).unwrap();
    let results = verify(&fleet, &all);
    assert_eq!(results["checked"]["right"].as_u64(), Some(acknowledged * 2), "{results}");
}

/// Instants to kill at: xorshift64, so that a failing run can be repeated.
struct Instants(u64);

impl Instants {
    fn next_below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % most
    }
}
