//! The real binary on a small disk that fills up: it redirects on, counts on while it can, and goes on by itself when there is room.
//!
//! The disk is a tmpfs in a mount namespace of the proxy's own: root, and a kernel that has them.

use std::path::{Path, PathBuf};

use crate::author::Author;
use crate::client::{Visitor, eventually};
use crate::feed::FakeWriter;
use crate::process::{Home, Process};

const MIB: u64 = 1 << 20;
/// Of the whole disk.
const SIZE: u64 = 512 * MIB;
const RESERVE: u64 = 128 * MIB;

/// Words that start the proxy with a small disk for its data.
fn with_small_disk(data_dir: &Path) -> Vec<String> {
    let dir = data_dir.display();
    let script = format!("mkdir -p {dir} && mount -t tmpfs -o size={SIZE} small {dir} && exec \"$@\"");
    ["unshare", "--mount", "--propagation", "private", "sh", "-c", &script, "sh"].map(str::to_owned).to_vec()
}

/// The disk as the proxy sees it.
struct Disk(PathBuf);

impl Disk {
    fn of(proxy: &Process, data_dir: &Path) -> Disk {
        Disk(PathBuf::from(format!("/proc/{}/root{}", proxy.id(), data_dir.display())))
    }

    /// Takes all but `free` bytes.
    fn fill_to(&self, free: u64) {
        let now = daemon::disk::free_bytes(&self.0).unwrap();
        let file = std::fs::File::options().create(true).append(true).open(self.0.join("filler")).unwrap();
        let length = file.metadata().unwrap().len();
        let room = i64::try_from(now - free).unwrap();
        nix::fcntl::fallocate(&file, nix::fcntl::FallocateFlags::empty(), length as i64, room).unwrap();
    }

    fn clear(&self) {
        std::fs::remove_file(self.0.join("filler")).unwrap();
    }
}

fn await_room(proxy: &Process, room: &str) {
    eventually(&format!("room {room}"), || (proxy.readyz().1["disk"]["room"] == room).then_some(()));
}

fn has_line(proxy: &Process, line: &str) -> bool {
    proxy.metrics().lines().any(|found| found == line)
}

#[test]
fn with_less_room_than_is_reserved_a_proxy_receives_nothing_redirects_on_and_goes_on_by_itself() {
    let (mut author, writer) = (Author::new(), FakeWriter::start());
    author.link("Ab3xY9z", "https://a.example/");
    let home = Home::new(&[writer.url()]).with(&format!("[disk]\nreserve_bytes = {RESERVE}\n"));
    let data = home.path("data");
    let home = home.wrapped(with_small_disk(&data));
    let proxy = home.start();
    let mut stream = writer.welcome(&author);
    stream.catch_up(&author);
    proxy.await_ready();
    let disk = Disk::of(&proxy, &data);
    let click = || {
        let mut visitor = Visitor::new(proxy.listen);
        assert_eq!(visitor.get("/Ab3xY9z").location(), "https://a.example/");
    };
    click();

    // Low: the feed is left, clicks are counted.
    disk.fill_to(RESERVE / 2);
    await_room(&proxy, "low");
    stream.await_end();
    proxy.await_feed("paused");
    assert!(has_line(&proxy, "signpost_proxy_disk_low 1") && has_line(&proxy, "signpost_proxy_ready 1"));
    click();
    eventually("two clicks counted", || (writer.accountant.total() == 2).then_some(()));

    // Hardly any: clicks wait.
    disk.fill_to(RESERVE / 8);
    await_room(&proxy, "very_low");
    click();
    eventually("clicks wait", || has_line(&proxy, "signpost_proxy_clicks_failing 1").then_some(()));
    author.link("newlink", "https://new.example/");

    // Room again: everything goes on.
    disk.clear();
    let mut stream = writer.welcome(&author);
    stream.catch_up(&author);
    proxy.await_feed("following");
    assert_eq!(proxy.get("/newlink").location(), "https://new.example/");
    eventually("four clicks counted", || (writer.accountant.total() == 4).then_some(()));
    eventually("no more trouble", || has_line(&proxy, "signpost_proxy_clicks_failing 0").then_some(()));
    assert!(has_line(&proxy, "signpost_proxy_disk_low 0"));
    assert_eq!(proxy.logged("the disk is nearly full").len(), 2);
}

#[test]
fn clicks_that_find_no_place_while_nothing_is_read_are_dropped_and_counted_and_the_others_are_exact() {
    let (mut author, writer) = (Author::new(), FakeWriter::start());
    author.link("Ab3xY9z", "https://a.example/");
    // The smallest ring: some hundreds of clicks.
    let home = Home::new(&[writer.url()])
        .with(&format!("[disk]\nreserve_bytes = {RESERVE}\n"))
        .with_replaced("ring_bytes = 1048576", "ring_bytes = 65536");
    let data = home.path("data");
    let home = home.wrapped(with_small_disk(&data));
    let proxy = home.start();
    let mut stream = writer.welcome(&author);
    stream.catch_up(&author);
    proxy.await_ready();
    let disk = Disk::of(&proxy, &data);
    let click = |times: usize| {
        let mut visitor = Visitor::new(proxy.listen);
        (0..times).for_each(|_| assert_eq!(visitor.get("/Ab3xY9z").status, 302));
    };
    click(10);
    eventually("ten clicks counted", || (writer.accountant.total() == 10).then_some(()));

    // With hardly any room nobody reads the rings.
    disk.fill_to(RESERVE / 8);
    await_room(&proxy, "very_low");
    eventually("clicks wait", || has_line(&proxy, "signpost_proxy_clicks_failing 1").then_some(()));
    click(3_000);
    disk.clear();
    eventually("all counted, or known to be lost", || (writer.accountant.total() == 3_010).then_some(()));
    let dropped = writer.accountant.books().dropped;
    assert!(dropped > 0 && dropped < 3_000, "{dropped}");
    eventually("the loss in the metrics", || {
        has_line(&proxy, &format!("signpost_proxy_clicks_dropped_total{{reason=\"ring_full\"}} {dropped}"))
            .then_some(())
    });

    // From here on nothing is lost any more.
    click(100);
    eventually("a hundred more", || (writer.accountant.total() == 3_110).then_some(()));
    assert_eq!(writer.accountant.books().dropped, dropped);
    assert_eq!(writer.accountant.sums().iter().sum::<u64>(), 3_110 - dropped);
}
