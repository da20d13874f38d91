//! A real disk that is small and fills up: what needs room is refused in order, what does not goes on, and so does everything when there is
//! room again. `full` is about writes that fail all the same.
//!
//! The disk is a tmpfs in a mount namespace of the part's own: root, and a kernel that has them. It goes with the part.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use signpost_loadtest::fleet::{BINARIES, Fleet, Options};

use super::web::{Answer, Town};
use super::{bin_dir, eventually, health};

const MIB: u64 = 1 << 20;
/// Of the whole disk.
const SIZE: u64 = 512 * MIB;

/// A folder of binaries of which one, as a daemon, has a small disk for its data.
fn binaries_with_small_disk(dir: &Path, binary: &str, data: &Path) -> PathBuf {
    let folder = dir.join("bin");
    fs::create_dir_all(&folder).unwrap();
    for name in BINARIES.into_iter().filter(|name| *name != binary) {
        symlink(bin_dir().join(name), folder.join(name)).unwrap();
    }
    let (real, data) = (bin_dir().join(binary), data.display());
    let real = real.display();
    // Commands of the operator are the same binary, and are none of the disk's.
    let script = format!(
        "#!/bin/sh\n[ \"$1\" = --config ] || exec {real} \"$@\"\n\
         exec unshare --mount --propagation private sh -c \\\n\
         'mount -t tmpfs -o size={SIZE} small {data} && exec \"$@\"' sh {real} \"$@\"\n"
    );
    fs::write(folder.join(binary), script).unwrap();
    fs::set_permissions(folder.join(binary), fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

/// A fleet in which the data of one part is on a small disk.
fn town(dir: &Path, part: &str, binary: &str, settings: &[&str]) -> (Town, Disk) {
    let mut options = Options::new(dir, 1).unwrap();
    let data = dir.join(part).join("data");
    options.bin_dir = binaries_with_small_disk(dir, binary, &data);
    options.settings = settings.iter().map(|setting| setting.parse().unwrap()).collect();
    let fleet = Fleet::start(options).unwrap_or_else(|error| panic!("{error:#}"));
    let pids = &fleet.ready().pids;
    let pid = if part == "admin" { pids.admin } else { pids.keypools[0] };
    let disk = Disk(PathBuf::from(format!("/proc/{pid}/root{}", data.display())));
    (Town { fleet }, disk)
}

/// The disk as the part sees it.
struct Disk(PathBuf);

impl Disk {
    fn free(&self) -> u64 {
        // df(1) would look for the mount in a list that it is not in.
        let said = Command::new("stat").args(["-f", "-c", "%a %S"]).arg(&self.0).output().unwrap();
        let said = String::from_utf8(said.stdout).unwrap();
        let (blocks, bytes) = said.trim().split_once(' ').unwrap();
        blocks.parse::<u64>().unwrap() * bytes.parse::<u64>().unwrap()
    }

    /// Takes all but `free` bytes.
    fn fill_to(&self, free: u64) {
        let room = self.free().checked_sub(free).expect("more than that is free");
        let mut fallocate = Command::new("fallocate");
        let status = fallocate.arg("--length").arg(room.to_string()).arg(self.0.join("filler")).status();
        assert!(status.expect("fallocate of util-linux is there").success(), "{room} bytes cannot be taken");
    }

    fn clear(&self) {
        fs::remove_file(self.0.join("filler")).unwrap();
    }
}

fn link(alias: &str) -> Value {
    json!({ "long_url": format!("https://{alias}.example/"), "alias": alias })
}

/// Creates links until it is answered otherwise than 201; `most` is more than there can be.
fn create_until_refused(town: &Town, most: usize) -> Answer {
    let create = || town.api("POST", "/v1/links", &json!({ "long_url": "https://a.example/" }));
    (0..most).map(|_| create()).find(|answer| answer.status != 201).expect("a create that is refused")
}

#[test]
fn a_writer_on_a_disk_that_fills_up_refuses_changes_with_507_and_takes_them_again_with_room() {
    let dir = tempfile::tempdir().unwrap();
    const RESERVE: u64 = 128 * MIB;
    let reserve = format!("admin.disk.reserve_bytes={RESERVE}");
    let (town, disk) = town(dir.path(), "admin", "signpost-admin", &[&reserve]);
    town.link(&link("before"));
    let is_refused = |answer: &Answer| {
        answer.status == 507
            && answer.json()["code"] == "disk_nearly_full"
            && answer.header("retry-after").is_some()
    };

    disk.fill_to(RESERVE / 2);
    // The room is looked at now and then; what is taken until then fits.
    let mut taken = 0;
    eventually("changes are refused", || {
        let answer = town.api("POST", "/v1/links", &link(&format!("taken-{taken}")));
        taken += u32::from(answer.status == 201);
        is_refused(&answer)
    });
    for refused in [
        town.api("POST", "/v1/links", &link("refused")),
        town.api("PUT", "/v1/links/refused", &json!({ "long_url": "https://refused.example/" })),
        town.api("PATCH", "/v1/links/before", &json!({ "long_url": "https://refused.example/" })),
        town.api("DELETE", "/v1/links/before", &Value::Null),
        town.api("POST", "/v1/links/batch", &json!({ "links": [link("refused")] })),
    ] {
        assert!(is_refused(&refused), "{refused:?}");
    }
    // What was refused was not done, and what was taken is there.
    assert_eq!(
        town.api("GET", "/v1/links/before", &Value::Null).json()["long_url"],
        "https://before.example/"
    );
    assert_eq!(town.api("GET", "/v1/links/refused", &Value::Null).status, 404);
    assert_eq!(town.visit("/before").location(), "https://before.example/");
    assert_eq!(town.visit("/refused").status, 404);
    for taken in 0..taken {
        assert_eq!(town.visit(&format!("/taken-{taken}")).status, 302);
    }

    disk.clear();
    eventually("changes are taken", || town.api("POST", "/v1/links", &link("after")).status == 201);
    assert_eq!(town.visit("/after").location(), "https://after.example/");
    town.patch("before", &json!({ "long_url": "https://changed.example/" }));
    assert_eq!(town.visit("/before").location(), "https://changed.example/");
}

#[test]
fn a_key_pool_on_a_disk_that_fills_up_gives_out_what_it_has_and_generates_again_with_room() {
    let dir = tempfile::tempdir().unwrap();
    // Few codes wait anywhere: in the pool, and on the writer.
    let (town, disk) = town(
        dir.path(),
        "keypool-0",
        "signpost-keypool",
        &[
            "keypool.pool.low_watermark=200",
            "keypool.pool.high_watermark=400",
            "admin.codes.block=50",
            "admin.codes.low_watermark=20",
        ],
    );
    let code = town.code(&json!({ "long_url": "https://a.example/" }));
    let waiting = |town: &Town| health(&town.fleet.ready().keypools[0], "/readyz");

    // Below what it generates with.
    disk.fill_to(64 * MIB);
    let refused = create_until_refused(&town, 2_000);
    assert_eq!((refused.status, &refused.json()["code"]), (503, &json!("no_codes_available")), "{refused:?}");
    assert!(refused.header("retry-after").is_some(), "{refused:?}");
    let log = fs::read_to_string(dir.path().join("logs/keypool-0.log")).unwrap();
    assert!(log.contains("the disk is nearly full, no codes are generated"), "{log}");
    // Nothing else needs codes.
    town.link(&link("chosen"));
    assert_eq!((town.visit(&format!("/{code}")).status, town.visit("/chosen").status), (302, 302));
    assert!(disk.free() > 32 * MIB, "it writes nothing to speak of: {} bytes are free", disk.free());

    disk.clear();
    eventually("codes wait again", || waiting(&town)["ready"] == true);
    eventually("links with codes are made again", || {
        town.api("POST", "/v1/links", &json!({ "long_url": "https://a.example/" })).status == 201
    });
    (0..500).for_each(|_| drop(town.code(&json!({ "long_url": "https://a.example/" }))));
}
