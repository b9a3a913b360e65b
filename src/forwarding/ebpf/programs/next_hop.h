/* Where the agents' packets go next. Asking the kernel's routing costs more than everything else together, so the answer
 * is kept: for KEPT, or until user space says (settings.generation) that a route or a neighbour may have changed.
 * Included by agent.bpf.c. */
#pragma once

#include "packet.h"

/* Ten seconds: then one packet goes by the kernel's neighbour cache, which checks that the neighbour still lives. */
#define KEPT 10000000000ull

struct next_hop {
	__u64 until; /* nanoseconds since boot; 0 when nothing is known */
	struct address gateway;
	__u32 generation, device, mtu;
	__u32 link_addresses[3]; /* destination and source, as a frame begins */
};

/* One per rule, for the tunnels to responders. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, RULES);
	__type(key, __u32);
	__type(value, struct next_hop);
} next_hops SEC(".maps");

/* One per destination, for what comes out of tunnels. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_PERCPU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct address);
	__type(value, struct next_hop);
} destinations SEC(".maps");

static __always_inline int is_fresh(const struct next_hop *hop, const struct settings *here, __u64 now)
{
	return hop->generation == here->generation && now < hop->until;
}

/* Asks the kernel's routing; 0 when it knows a next hop that is an Ethernet neighbour, and that is not user space. */
static __always_inline int look_up(void *ctx, __u32 from, const struct settings *here, struct address source,
				   struct address destination, struct next_hop *hop)
{
	/* Any length but 0 has the answer tell the MTU. */
	struct bpf_fib_lookup path = { .family = AF_INET6, .tot_len = IPV6_HEADER, .ifindex = from };
	__builtin_memcpy(path.ipv6_src, &source, sizeof(source));
	__builtin_memcpy(path.ipv6_dst, &destination, sizeof(destination));
	if (bpf_fib_lookup(ctx, &path, sizeof(path), 0) != BPF_FIB_LKUP_RET_SUCCESS ||
	    path.ifindex == here->tunnel_device)
		return -1;
	__builtin_memcpy(&hop->gateway, path.ipv6_dst, sizeof(hop->gateway));
	__builtin_memcpy(hop->link_addresses, path.dmac, 6);
	__builtin_memcpy((__u8 *)hop->link_addresses + 6, path.smac, 6);
	hop->generation = here->generation;
	hop->device = path.ifindex;
	hop->mtu = path.mtu_result;
	hop->until = bpf_ktime_get_coarse_ns() + KEPT;
	return 0;
}
