/* What XDP and tc decide alike at an agent: which packets go into a tunnel to a responder (RFC 3775 10.4.2) and which come
 * out of one (10.4.5). Included by agent.bpf.c. */
#pragma once

#include "group.h"
#include "next_hop.h"

/* A tunnel that a packet goes into or has come out of. */
struct tunnel {
	struct address near, far;
	__u32 slot;
	__u32 uncounted; /* octets in front of those that are counted */
	__u64 now;       /* nanoseconds since boot, for all that asks */
};

/* The rule of an agent that is for an anycast address. */
static __always_inline struct rule *rule_for(enum kind kind, const struct address *anycast)
{
	struct peerless_key key = { .anycast = *anycast, .kind = kind };
	return bpf_map_lookup_elem(&rules, &key);
}

/* Finds the tunnel for a packet to the anycast address that the fast path may wrap; 0 when there is none. */
static __always_inline int to_responder(const struct ipv6 *ip, const void *end, struct tunnel *tunnel)
{
	if (ip->hop_limit <= 1 || !is_global(ip->source) ||
	    !is_data(ip->next_header, (const void *)(ip + 1), end))
		return 0;
	struct rule *rule = rule_for(TUNNEL_TO_RESPONDER, &ip->destination);
	/* What the agent itself says travels with a routing header. */
	if (!rule || SAME(rule->near, ip->source))
		return 0;
	*tunnel = (struct tunnel){ rule->near, rule->far, rule->slot, 0, bpf_ktime_get_coarse_ns() };
	if (!rule->group)
		return 1;
	__u32 place = rule->group - 1;
	struct group *group = bpf_map_lookup_elem(&groups, &place);
	struct member *member = group ? choose(rule->group, group, &ip->source, tunnel->now) : 0;
	if (!member)
		return 0;
	tunnel->far = member->care_of;
	tunnel->slot = member->slot;
	return 1;
}

/* Finds the tunnel that a packet may come out of: from the responder that is bound, or from any member of a group; 0 when
 * there is none. */
static __always_inline int from_responder(const struct ipv6 *outer, const struct ipv6 *ip, const void *end,
					  struct tunnel *tunnel)
{
	if (!is_version_6(ip) || ip->hop_limit <= 1 || !is_global(ip->destination) ||
	    outer->payload != bpf_htons(IPV6_HEADER + bpf_ntohs(ip->payload)) ||
	    !is_data(ip->next_header, (const void *)(ip + 1), end))
		return 0;
	struct rule *rule = rule_for(TUNNEL_FROM_RESPONDER, &ip->source);
	/* What answers the agent's probes is the role's. */
	if (!rule || !SAME(rule->near, outer->destination) || SAME(rule->near, ip->destination))
		return 0;
	*tunnel = (struct tunnel){ rule->near, rule->far, rule->slot, 0, bpf_ktime_get_coarse_ns() };
	if (!rule->group)
		return SAME(rule->far, outer->source);
	__u32 place = rule->group - 1;
	struct group *group = bpf_map_lookup_elem(&groups, &place);
	struct member *member = 0;
	if (group)
		member = sender(rule->group, group, outer, ip, tunnel->now);
	if (!member)
		return 0;
	tunnel->slot = member->slot + 1;
	tunnel->uncounted = IPV6_HEADER;
	return 1;
}
