//! The midway anycast agent (thesis 4.3.3): a home anycast agent in another network, which takes load off the one at
//! home. It draws packets by the routing of its network and has no duties on the home link, of RFC 3775 section 10
//! neither 10.4.1 nor 10.5 nor 10.6. Made by `daemon`; all else is `haa`.

use super::haa::{Capture, Haa, HaaConfig, HomeLinkConfig};

/// A midway agent without bindings. Of `config` the link-local address, the link-layer address and duplicate address
/// detection do not matter.
pub fn agent(config: HaaConfig) -> Haa {
    let config = HaaConfig { link_local: None, duplicate_address_detection: false, ..config };
    let home_link = HomeLinkConfig { prefix_advertisements: None, ..HomeLinkConfig::default() };
    Haa::capturing(Capture::Route, config, home_link)
}
