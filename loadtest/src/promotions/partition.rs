//! A cable for every link between two servers of a fleet, and from its proxy to each server, so that a writer can be cut off while it runs.

use std::path::Path;

use crate::cable::{Cable, Quality, Sides, Upstream};
use crate::fault::filter::{Fate, Network};

/// The only proxy of the fleet.
const PROXY: &str = "proxy-0";

/// The cables.
#[derive(Debug)]
pub(super) struct Partition(Vec<Link>);

#[derive(Debug)]
pub(super) struct Link {
    dialler: String,
    server: String,
    cable: Cable,
}

/// What becomes of the links of a server that is cut off.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cut<'a> {
    /// Their cables are bad.
    Cables(Quality),
    /// Their packets vanish.
    Packets(&'a Network),
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

    /// Cuts a server off from the others; the proxy is on its side, or on the others'. Returns what [`Cut::join`] takes.
    ///
    /// # Errors
    /// The packet filters cannot be set.
    pub(super) fn cut(&self, server: &str, with_proxy: bool, how: Cut<'_>) -> anyhow::Result<Vec<&Link>> {
        let is_cut = |link: &&Link| match link.dialler == PROXY {
            true => (link.server == server) != with_proxy,
            false => link.server == server || link.dialler == server,
        };
        let links: Vec<&Link> = self.0.iter().filter(is_cut).collect();
        match how {
            Cut::Cables(quality) => links.iter().for_each(|link| link.cable.set(quality)),
            Cut::Packets(network) => {
                let sides: Vec<Sides> = links.iter().map(|link| link.cable.sides()).collect();
                network.begin(&sides, Fate::Lost)?;
            }
        }
        Ok(links)
    }
}

impl Cut<'_> {
    /// Makes links good again.
    ///
    /// # Errors
    /// The packet filters cannot be lifted.
    pub(super) fn join(self, links: &[&Link]) -> anyhow::Result<()> {
        for link in links {
            match self {
                Cut::Cables(_) => link.cable.set(Quality::Good),
                Cut::Packets(network) => network.end(link.cable.sides()).map(drop)?,
            }
        }
        Ok(())
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
