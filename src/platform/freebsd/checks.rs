//! What a FreeBSD system must have before a node can run, each with the command that mends it.
//! GENERIC has everything as modules; no RFC is concerned. Called by `platform::freebsd::Host` at its start, and by the
//! doctor.

use super::{super::error::Error, divert, rules, sys};

/// No ipfw.
const NO_IPFW: Error = Error::Lacking {
    what: "the packet filter ipfw",
    remedy: "kenv net.inet.ip.fw.default_to_accept=1 && kldload ipfw (without the kenv it drops every packet); for every \
             boot: ipfw_load=\"YES\" and net.inet.ip.fw.default_to_accept=\"1\" in /boot/loader.conf",
};
/// ipfw is there but off.
const IPFW_OFF: Error = Error::Lacking { what: "ipfw for IPv6", remedy: "sysctl net.inet6.ip6.fw.enable=1" };
/// No divert sockets.
pub const NO_DIVERT: Error = Error::Lacking {
    what: "divert sockets",
    remedy: "kldload ipdivert; for every boot: ipdivert_load=\"YES\" in /boot/loader.conf",
};
/// No tunnel devices.
pub const NO_TUN: Error = Error::Lacking {
    what: "tunnel devices",
    remedy: "kldload if_tuntap; for every boot: if_tuntap_load=\"YES\" in /boot/loader.conf",
};
/// ipfw without rules drops everything.
const DENIES: Error = Error::Lacking {
    what: "an ipfw rule that lets packets pass",
    remedy: "ipfw add 65000 allow ip from any to any, or firewall_enable=\"YES\" with rules of yours in /etc/rc.conf",
};

/// Looks for one thing, and tells what it saw.
type Look = fn() -> Result<String, Error>;

/// Everything that is looked for, by name.
pub const ALL: [(&str, Look); 4] = [
    ("ipfw", || match sys::parameter("net.inet.ip.fw.enable") {
        Ok(_) => Ok("loaded".to_owned()),
        Err(_) => Err(NO_IPFW),
    }),
    ("ipfw-ipv6", || match sys::parameter("net.inet6.ip6.fw.enable") {
        Ok(on) if on == "1" => Ok("on".to_owned()),
        _ => Err(IPFW_OFF),
    }),
    ("ipfw-rules", || match divert::listing()? {
        rules if rules::denies_everything(&rules) => Err(DENIES),
        rules => Ok(format!("{} rules, not only one that denies", rules.len())),
    }),
    ("divert", || divert::socket().map(|_| "a divert socket can be opened".to_owned())),
];

/// Fails with the first thing that is missing.
pub fn check() -> Result<(), Error> {
    ALL.into_iter().try_for_each(|(_, look)| look().map(drop))
}
