/* The maps of the fast path: what user space tells the kernel and what it reads back. Every layout here has its twin in
 * ../layout.rs, field by field; addresses and ports are in network order, everything else in the machine's. Included by
 * every program beside it. */
#pragma once

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in6.h>
#include <linux/ipv6.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define RULES 65536

/* Two addresses are compared and copied as two words each. */
struct address {
	__u64 upper, lower;
};

/* The order of protocol::action::RuleKind. */
enum kind {
	TUNNEL_TO_RESPONDER,
	TUNNEL_FROM_RESPONDER,
	REVERSE_TUNNEL_OUT,
	REVERSE_TUNNEL_IN,
	HOME_ADDRESS_OUT,
	HOME_ADDRESS_IN,
	ROUTING_HEADER_OUT,
	ROUTING_HEADER_IN,
	MIDWAY_TUNNEL_IN,
};

struct rule_key {
	struct address anycast;
	__u32 kind, zero;
	struct address peer;
};

/* Its beginning, for programs none of whose rules has a peer: what is hashed costs. */
struct peerless_key {
	struct address anycast;
	__u32 kind, zero;
};

#ifndef RULE_KEY
#define RULE_KEY struct rule_key
#endif

struct rule {
	struct address near; /* this node's end of the tunnel, or the address it speaks from */
	struct address far;  /* the other end */
	struct address next; /* hosts: the next hop towards it ... */
	__u32 device;        /* ... and its device, 0 when there is none */
	__u32 mtu;           /* octets that fit there */
	__u32 slot;          /* in counters and next_hops */
	__u32 group;         /* 0, or 1 + the place in groups of which far is any member */
	__u64 until;         /* nanoseconds since boot: then the binding behind it is over */
};

struct counter {
	__u64 packets, octets;
};

struct settings {
	__u32 generation;    /* moves when a route or a neighbour may have changed */
	__u32 tunnel_device; /* of user space; what goes there is not for us */
	__u32 tunnel_mtu;
	__u32 zero;
	__u8 link_address[8]; /* six octets, as the frames to this host carry it */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, RULES);
	__type(key, RULE_KEY);
	__type(value, struct rule);
} rules SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, RULES);
	__type(key, __u32);
	__type(value, struct counter);
} counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct settings);
} settings SEC(".maps");

/* Octets of link-layer header in front of a packet on the link, and on the tunnel device. */
const volatile __u32 link_header = ETH_HLEN;
const volatile __u32 tunnel_header = 0;

static __always_inline struct rule *find(enum kind kind, struct address anycast, struct address peer)
{
	struct rule_key key = { .anycast = anycast, .peer = peer, .kind = kind };
	return bpf_map_lookup_elem(&rules, &key);
}

static __always_inline struct settings *node(void)
{
	__u32 zero = 0;
	return bpf_map_lookup_elem(&settings, &zero);
}

static __always_inline void count(__u32 slot, __u32 packets, __u32 octets)
{
	struct counter *counter = bpf_map_lookup_elem(&counters, &slot);
	if (!counter)
		return;
	counter->packets += packets;
	counter->octets += octets;
}
