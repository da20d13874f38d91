//! Where visitors come in: `[listen]` for plain HTTP with nothing to say about it, one `[[listener]]` for every other address.

use std::collections::HashSet;
use std::net::SocketAddr;

use daemon::config::Section;

use crate::client::ClientAddress;
use crate::network::NetworkList;

/// Where the visitors come in when nothing is said.
const DEFAULT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8080);

/// One address visitors come in by.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listener {
    /// The address; port 0 takes a free one.
    pub address: SocketAddr,
    /// TLS, or plain HTTP.
    pub tls: bool,
    /// Over TLS: HTTP/2 for those who ask for it.
    pub http2: bool,
    /// Plain: HTTP/2 for those who begin with it.
    pub h2c: bool,
    /// How it knows where a visitor comes from.
    pub client_address: ClientAddress,
}

impl Listener {
    /// Plain HTTP/1.
    pub const fn plain(address: SocketAddr) -> Listener {
        Listener { address, tls: false, http2: false, h2c: false, client_address: ClientAddress::Unstated }
    }
}

/// Reads every address, at least one, each once: first those of `[listen]`.
pub(super) fn read(root: &mut Section) -> Vec<Listener> {
    let mut tables = root.sections("listener");
    let mut listen = root.section("listen");
    let default = if tables.is_empty() { vec![DEFAULT] } else { Vec::new() };
    let plain = listen.value("addresses", default);
    if plain.is_empty() && tables.is_empty() {
        listen.problem("addresses", "expected at least one address, here or in a [[listener]]");
    }
    let mut seen = HashSet::new();
    let mut is_new = |address: &SocketAddr| address.port() == 0 || seen.insert(*address);
    if !plain.iter().all(&mut is_new) {
        listen.problem("addresses", "the same address stands there twice");
    }
    let mut listeners: Vec<Listener> = plain.into_iter().map(Listener::plain).collect();
    for table in &mut tables {
        let listener = read_one(table);
        if table.has("address") && !is_new(&listener.address) {
            table.problem("address", "another listener has the same address");
        }
        listeners.push(listener);
    }
    listeners
}

fn read_one(table: &mut Section) -> Listener {
    let address = table.required("address");
    let tls = table.value("tls", false);
    let http2 = table.value("http2", tls);
    let h2c = table.value("h2c", false);
    if http2 && !tls {
        table.problem("http2", "is for listeners with tls = true; on a plain one it is h2c");
    }
    if h2c && tls {
        table.problem("h2c", "is for plain listeners; with tls = true it is http2");
    }
    let client_address = read_client_address(table);
    Listener { address, tls, http2, h2c, client_address }
}

fn read_client_address(table: &mut Section) -> ClientAddress {
    let proxy = ClientAddress::Proxy { balancers: NetworkList::default() };
    let words =
        [("unstated", &ClientAddress::Unstated), ("socket", &ClientAddress::Socket), ("proxy", &proxy)];
    let stated = table.one_of("client_address", "unstated", &words);
    let balancers: Option<NetworkList> = table.optional("balancer_networks");
    match (stated, balancers) {
        (ClientAddress::Proxy { .. }, Some(balancers)) if !balancers.is_empty() => {
            return ClientAddress::Proxy { balancers };
        }
        (ClientAddress::Proxy { .. }, _) => table.problem(
            "balancer_networks",
            "client_address = \"proxy\" needs the networks of the balancers, such as [\"10.0.0.0/8\"]: only their word is taken",
        ),
        (_, Some(_)) => table.problem("balancer_networks", "is for client_address = \"proxy\""),
        (_, None) => {}
    }
    stated.clone()
}

#[cfg(test)]
mod tests {
    use super::*;
    use daemon::config::{ConfigError, Loaded, parse};

    fn listeners(text: &str) -> Result<Loaded<Vec<Listener>>, ConfigError> {
        parse("x.toml", text, read)
    }

    #[test]
    fn without_a_word_there_is_one_plain_listener_on_loopback() {
        assert_eq!(listeners("").unwrap().config, [Listener::plain(DEFAULT)]);
    }

    #[test]
    fn the_short_form_and_tables_add_up() {
        let plain = "[listen]\naddresses = ['127.0.0.1:1']\n";
        let tables = "[[listener]]\naddress = '127.0.0.1:2'\ntls = true\n[[listener]]\naddress = '127.0.0.1:3'\nh2c = true\n";
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let tabled = [
            Listener { tls: true, http2: true, ..Listener::plain(at(2)) },
            Listener { h2c: true, ..Listener::plain(at(3)) },
        ];
        assert_eq!(listeners(tables).unwrap().config, tabled);
        let both = listeners(&format!("{plain}{tables}")).unwrap();
        assert_eq!(both.config[0], Listener::plain(at(1)));
        assert_eq!(both.config[1..], tabled);
        assert_eq!(listeners(&both.effective).unwrap().config, both.config);
    }

    #[test]
    fn a_listener_states_how_it_knows_its_visitors() {
        let table = |more: &str| format!("[[listener]]\naddress = '127.0.0.1:1'\n{more}\n");
        let stated = |more: &str| listeners(&table(more)).unwrap().config.remove(0).client_address;
        assert_eq!(stated(""), ClientAddress::Unstated);
        assert_eq!(stated("client_address = 'socket'"), ClientAddress::Socket);
        let proxy = stated("client_address = 'proxy'\nbalancer_networks = ['10.0.0.0/8']");
        let ClientAddress::Proxy { balancers } = proxy else { panic!("{proxy:?}") };
        assert!(balancers.contains([10, 1, 2, 3].into()) && !balancers.contains([11, 1, 2, 3].into()));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (text, problem) in [
            ("[listen]\naddresses = []\n", "at least one address"),
            ("[listen]\naddresses = ['127.0.0.1:1', '127.0.0.1:1']\n", "twice"),
            ("[[listener]]\ntls = true\n", "listener[0].address"),
            (
                "[[listener]]\naddress = '127.0.0.1:1'\nclient_address = 'auto'\n",
                "listener[0].client_address",
            ),
            ("[[listener]]\naddress = '127.0.0.1:1'\nclient_address = 'proxy'\n", "balancer_networks"),
            (
                "[[listener]]\naddress = '127.0.0.1:1'\nclient_address = 'socket'\nbalancer_networks = ['::/0']\n",
                "balancer_networks",
            ),
            ("[[listener]]\naddress = '127.0.0.1:1'\nhttp2 = true\n", "h2c"),
            ("[[listener]]\naddress = '127.0.0.1:1'\ntls = true\nh2c = true\n", "http2"),
            (
                "[listen]\naddresses = ['127.0.0.1:1']\n[[listener]]\naddress = '127.0.0.1:1'\n",
                "same address",
            ),
        ] {
            let error = listeners(text).unwrap_err().to_string();
            assert!(error.contains(problem), "{problem} in {error}");
        }
    }
}
