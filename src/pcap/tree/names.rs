//! The names that the registries give to numbers: messages of RFC 3775 6.1, 4443 and 4861, protocols of RFC 8200 4.
//! A number without one is told as it stands.
//! Used wherever a tree or a packet's kind is told.

use super::Unit;
use crate::wire::ipv6::next_header;
use crate::wire::mobility::kind;

pub(super) fn mobility_name(mh_type: u8) -> Option<&'static str> {
    Some(match mh_type {
        kind::BINDING_REFRESH_REQUEST => "Binding Refresh Request",
        kind::HOME_TEST_INIT => "Home Test Init",
        kind::CARE_OF_TEST_INIT => "Care-of Test Init",
        kind::HOME_TEST => "Home Test",
        kind::CARE_OF_TEST => "Care-of Test",
        kind::BINDING_UPDATE => "Binding Update",
        kind::BINDING_ACKNOWLEDGEMENT => "Binding Acknowledgement",
        kind::BINDING_ERROR => "Binding Error",
        _ => return None,
    })
}

pub(super) fn icmpv6_name(icmpv6_type: u8) -> Option<&'static str> {
    use crate::wire::icmpv6::kind::*;
    Some(match icmpv6_type {
        DESTINATION_UNREACHABLE => "Destination Unreachable",
        PACKET_TOO_BIG => "Packet Too Big",
        TIME_EXCEEDED => "Time Exceeded",
        PARAMETER_PROBLEM => "Parameter Problem",
        ECHO_REQUEST => "Echo Request",
        ECHO_REPLY => "Echo Reply",
        ROUTER_SOLICITATION => "Router Solicitation",
        ROUTER_ADVERTISEMENT => "Router Advertisement",
        NEIGHBOR_SOLICITATION => "Neighbor Solicitation",
        NEIGHBOR_ADVERTISEMENT => "Neighbor Advertisement",
        REDIRECT => "Redirect",
        HOME_AGENT_DISCOVERY_REQUEST => "Home Agent Address Discovery Request",
        HOME_AGENT_DISCOVERY_REPLY => "Home Agent Address Discovery Reply",
        MOBILE_PREFIX_SOLICITATION => "Mobile Prefix Solicitation",
        MOBILE_PREFIX_ADVERTISEMENT => "Mobile Prefix Advertisement",
        _ => return None,
    })
}

pub(super) fn protocol_name(protocol: u8) -> Unit {
    match protocol {
        next_header::HOP_BY_HOP => Unit::Named("hop-by-hop options"),
        next_header::TCP => Unit::Named("TCP"),
        next_header::UDP => Unit::Named("UDP"),
        next_header::IPV6 => Unit::Named("IPv6"),
        next_header::ROUTING => Unit::Named("routing"),
        next_header::FRAGMENT => Unit::Named("fragment"),
        next_header::ESP => Unit::Named("ESP"),
        next_header::AUTHENTICATION => Unit::Named("AH"),
        next_header::ICMPV6 => Unit::Named("ICMPv6"),
        next_header::NO_NEXT_HEADER => Unit::Named("none"),
        next_header::DESTINATION_OPTIONS => Unit::Named("destination options"),
        next_header::MOBILITY => Unit::Named("mobility"),
        _ => Unit::Plain,
    }
}
