/* What XDP and tc decide alike at an agent: which packets go into a tunnel to a responder (RFC 3775 10.4.2) and which come
 * out of one (10.4.5). Included by agent.bpf.c. */
#pragma once

#include "next_hop.h"

/* The rule for a packet to the anycast address that the fast path may wrap, or nothing. */
static __always_inline struct rule *to_responder(const struct ipv6 *ip, const void *end)
{
	if (ip->hop_limit <= 1 || !is_global(ip->source) ||
	    !is_data(ip->next_header, (const void *)(ip + 1), end))
		return 0;
	struct address nobody = {};
	struct rule *rule = find(TUNNEL_TO_RESPONDER, ip->destination, nobody);
	/* What the agent itself says travels with a routing header. */
	return rule && !SAME(rule->near, ip->source) ? rule : 0;
}

/* The rule for a tunnel packet from the responder that is bound, or nothing. */
static __always_inline struct rule *from_responder(const struct ipv6 *outer, const struct ipv6 *ip, const void *end)
{
	if (!is_version_6(ip) || ip->hop_limit <= 1 || !is_global(ip->destination) ||
	    outer->payload != bpf_htons(IPV6_HEADER + bpf_ntohs(ip->payload)) ||
	    !is_data(ip->next_header, (const void *)(ip + 1), end))
		return 0;
	struct address nobody = {};
	struct rule *rule = find(TUNNEL_FROM_RESPONDER, ip->source, nobody);
	if (!rule || !SAME(rule->near, outer->destination) || !SAME(rule->far, outer->source))
		return 0;
	return rule;
}
