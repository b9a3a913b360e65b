//! What a FreeBSD system must have before a node can run, each with the command that mends it.
//! GENERIC has everything as modules; no RFC is concerned. Called by `platform::freebsd::Host` at its start.

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

/// Fails with the first thing that is missing.
pub fn check() -> Result<(), Error> {
    if sys::parameter("net.inet.ip.fw.enable").is_err() {
        return Err(NO_IPFW);
    }
    match sys::parameter("net.inet6.ip6.fw.enable") {
        Ok(on) if on == "1" => {}
        _ => return Err(IPFW_OFF),
    }
    if rules::denies_everything(&divert::listing()?) { Err(DENIES) } else { Ok(()) }
}
