//! A cable for every link between two servers of a fleet, and from its proxy to each server, so that a writer can be cut off while it runs.

use std::path::Path;

use crate::cable::{Cable, Quality, Upstream};

/// The only proxy of the fleet.
const PROXY: &str = "proxy-0";

/// The cables.
#[derive(Debug)]
pub(super) struct Partition(Vec<Link>);

#[derive(Debug)]
struct Link {
    dialler: String,
    server: String,
    cable: Cable,
}

impl Partition {
    /// Puts a cable between whoever dials and the feed of every server it may dial. The fleet's folder need not be there yet.
    pub(super) fn start(dir: &Path, standbys: u16) -> anyhow::Result<Partition> {
        let standbys = || (0..standbys).map(|index| format!("standby-{index}"));
        let mut links = Vec::new();
        for dialler in standbys().chain([PROXY.to_owned()]) {
            for server in ["admin".to_owned()].into_iter().chain(standbys()) {
                if dialler != server {
                    let config = dir.join(&server).join("config.toml");
                    let cable = Cable::start(Upstream { config, table: "feed" }, 0)?;
                    links.push(Link { dialler: dialler.clone(), server, cable });
                }
            }
        }
        Ok(Partition(links))
    }

    /// What the parts are told, so that they use the cables.
    pub(super) fn settings(&self) -> Vec<String> {
        let mut settings = Vec::new();
        for link in &self.0 {
            let urls = |is_meant: fn(&str) -> bool| {
                let of = self.0.iter().filter(|other| other.dialler == link.dialler);
                let urls = of
                    .filter(|other| is_meant(&other.server))
                    .map(|other| format!("{:?}", other.cable.url()));
                urls.collect::<Vec<_>>().join(", ")
            };
            let (dialler, all) = (&link.dialler, urls(|_| true));
            if dialler == PROXY {
                settings.push(format!("{dialler}.writers.urls=[{all}]"));
            } else {
                settings.push(format!("{dialler}.standby.of=[{all}]"));
                settings.push(format!("{dialler}.standby.peers=[{}]", urls(|server| server != "admin")));
            }
        }
        settings.sort_unstable();
        settings.dedup();
        settings
    }

    /// Cuts a server off from the others; the proxy is on its side, or on the others'.
    pub(super) fn cut(&self, server: &str, with_proxy: bool, quality: Quality) {
        for link in &self.0 {
            let is_cut = match link.dialler == PROXY {
                true => (link.server == server) != with_proxy,
                false => link.server == server || link.dialler == server,
            };
            if is_cut {
                link.cable.set(quality);
            }
        }
    }

    /// Makes every cable good again.
    pub(super) fn join(&self) {
        for link in &self.0 {
            link.cable.set(Quality::Good);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn whoever_dials_a_server_is_told_a_cable_of_its_own_to_each_of_the_others() {
        let partition = Partition::start(Path::new("/nowhere"), 2).unwrap();
        let url = |dialler: &str, server: &str| {
            let link = partition.0.iter().find(|link| link.dialler == dialler && link.server == server);
            format!("{:?}", link.unwrap().cable.url())
        };
        let [zero, one] = ["standby-0", "standby-1"];
        let [admin, first, second] = ["admin", zero, one].map(|server| url(PROXY, server));
        assert_eq!(
            partition.settings(),
            [
                format!("proxy-0.writers.urls=[{admin}, {first}, {second}]"),
                format!("standby-0.standby.of=[{}, {}]", url(zero, "admin"), url(zero, one)),
                format!("standby-0.standby.peers=[{}]", url(zero, one)),
                format!("standby-1.standby.of=[{}, {}]", url(one, "admin"), url(one, zero)),
                format!("standby-1.standby.peers=[{}]", url(one, zero)),
            ]
        );
    }
}
