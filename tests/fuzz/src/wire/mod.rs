//! Every decoder of the wire (RFC 3775 section 6, RFC 8200 section 4, RFC 4443, RFC 2473, route(4)) over the same octets:
//! what one of them finds new is worth trying on the others, and a packet holds what they each decode.
//! Called by `fuzz_targets/wire.rs`.

mod chain;
mod destination_options;
mod dissect;
mod icmpv6;
mod mobility;
mod rewrite;
mod routing;
mod routing_socket;

/// Panics where a decoder does not keep its promises.
pub fn check(octets: &[u8]) {
    chain::check(octets);
    destination_options::check(octets);
    dissect::check(octets);
    icmpv6::check(octets);
    mobility::check(octets);
    rewrite::check(octets);
    routing::check(octets);
    routing_socket::check(octets);
}
