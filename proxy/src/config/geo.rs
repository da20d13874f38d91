//! `[geo]`: where the database of countries lies. What is in it shows at start.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use daemon::config::Section;

/// The database of countries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GeoFile {
    /// In the MaxMind DB format.
    pub database: PathBuf,
    /// How often to look whether it has changed.
    pub check_every: Duration,
}

/// Reads the section; `unstated` is a listener that does not know where its visitors come from.
pub(super) fn read(section: &mut Section, unstated: Option<SocketAddr>) -> Option<GeoFile> {
    let database: Option<PathBuf> = section.optional("country_database");
    let check_every = Duration::from_secs(section.in_range("check_file_s", 60, 1..=24 * 3_600));
    if let (Some(_), Some(address)) = (&database, unstated) {
        section.problem(
            "country_database",
            format!(
                "countries need to know where a visitor comes from, and the listener at {address} does not say: give every \
                 [[listener]] a client_address, \"socket\" if packets come from the visitors themselves, \"proxy\" if a \
                 balancer sends the PROXY protocol"
            ),
        );
    }
    database.map(|database| GeoFile { database, check_every })
}

#[cfg(test)]
mod tests {
    use super::*;
    use daemon::config::parse;

    #[test]
    fn a_database_needs_listeners_that_know_their_visitors() {
        let file = |text: &str, unstated: Option<&str>| {
            let unstated = unstated.map(|address| address.parse().unwrap());
            let read = |root: &mut Section| read(&mut root.section("geo"), unstated);
            parse("x.toml", text, read).map(|loaded| loaded.config).map_err(|error| error.to_string())
        };
        const GEO: &str = "[geo]\ncountry_database = '/a.mmdb'\n";
        assert_eq!(file("", Some("127.0.0.1:1")), Ok(None));
        let found = GeoFile { database: "/a.mmdb".into(), check_every: Duration::from_secs(60) };
        assert_eq!(file(GEO, None), Ok(Some(found)));
        let refused = file(GEO, Some("127.0.0.1:1")).unwrap_err();
        assert!(refused.contains("127.0.0.1:1 does not say"), "{refused}");
    }
}
