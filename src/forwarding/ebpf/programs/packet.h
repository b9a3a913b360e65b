/* Reading and writing IPv6 headers (RFC 8200, RFC 2473, RFC 3775 6.3 and 6.4): what a packet is, and which ones the fast
 * path wants at all. A packet it does not want is left as it is, and takes the way through user space. Included by every
 * program beside it. */
#pragma once

#include "rules.h"

enum protocol {
	HOP_BY_HOP = 0,
	TCP = 6,
	UDP = 17,
	DCCP = 33,
	IPV6 = 41,
	ROUTING = 43,
	FRAGMENT = 44,
	GRE = 47,
	ESP = 50,
	ICMPV6 = 58,
	DESTINATION_OPTIONS = 60,
	SCTP = 132,
	UDP_LITE = 136,
};

#define AF_INET6 10
#define IPV6_HEADER 40
#define HOP_LIMIT 64
/* A type 2 routing header, or a destination options header with padding and a home address option. */
#define ADDRESS_HEADER 24

/* Read and written in words however a frame is aligned: where a processor cannot, the kernel refuses the program. */
struct ipv6 {
	__u32 version_class_flow;
	__be16 payload;
	__u8 next_header, hop_limit;
	struct address source, destination;
};

struct address_header {
	__u8 next_header, length, words[6];
	struct address address;
};

#define SAME(a, b) ((a).upper == (b).upper && (a).lower == (b).lower)

static __always_inline int is_version_6(const struct ipv6 *ip)
{
	return (*(const __u8 *)ip >> 4) == 6;
}

/* Neither multicast, nor of the link, nor unspecified, nor the loopback or anything else in ::/64. */
static __always_inline int is_global_prefix(__be64 prefix)
{
	__u64 upper = bpf_be64_to_cpu(prefix);
	return upper && upper >> 56 != 0xff && upper >> 54 != 0xfe80 >> 6;
}

/* Not a function of an address: clang copies what a function is given octet by octet out of a packet. */
#define is_global(address) is_global_prefix((address).upper)

/* Data that no kernel and no role wants to see on its way: an upper-layer protocol, ICMPv6 other than errors, neighbour
 * discovery and mobility messages, or a fragment of TCP or UDP. `at` is behind the header that announces `protocol`. */
static __always_inline int is_data(__u8 protocol, const __u8 *at, const void *end)
{
	switch (protocol) {
	case TCP:
	case UDP:
	case DCCP:
	case GRE:
	case ESP:
	case SCTP:
	case UDP_LITE:
		return 1;
	case ICMPV6:
		if ((const void *)(at + 1) > end)
			return 0;
		return *at >= 128 && !(*at >= 133 && *at <= 137) && !(*at >= 144 && *at <= 147);
	case FRAGMENT:
		if ((const void *)(at + 8) > end)
			return 0;
		return *at == TCP || *at == UDP;
	default:
		return 0;
	}
}

/* Whether the packet is as long as it says; padding of short frames and cut packets are for user space. */
static __always_inline int is_whole(const struct ipv6 *ip, __u32 length)
{
	return length == IPV6_HEADER + (__u32)bpf_ntohs(ip->payload);
}

static __always_inline void write_outer(struct ipv6 *outer, __u32 inner_length, struct address source,
					struct address destination)
{
	outer->version_class_flow = bpf_htonl(0x60000000);
	outer->payload = bpf_htons(inner_length);
	outer->next_header = IPV6;
	outer->hop_limit = HOP_LIMIT;
	outer->source = source;
	outer->destination = destination;
}
