/* The initiator's two rewrites at tc: the type 2 routing header into packets to the anycast address (RFC 3775 9.3.2), the
 * home address option out of packets from it (9.3.1). Loaded by ../loader.rs; what it leaves goes to user space. */
#include "tc.h"

/* From this host into the tunnel device: own -> A_Any becomes own -> care-of address, routing header A_Any. */
SEC("classifier") int initiator_out(struct __sk_buff *skb)
{
	/* parse */
	struct ipv6 *ip = headers(skb, tunnel_header, 0);
	if (!ip || !is_global(ip->destination) || !is_global(ip->source))
		return LEAVE;
	__u8 protocol = ip->next_header;
	__u32 length = skb->len - tunnel_header;
	if (protocol == FRAGMENT || !is_data(protocol, (void *)(ip + 1), (void *)(long)skb->data_end))
		return LEAVE;

	/* look up */
	struct address anycast = ip->destination;
	struct rule *rule = find(ROUTING_HEADER_OUT, anycast, ip->source);
	if (!rule || !rule->device ||
	    longest(skb, ip, length, protocol, (void *)(ip + 1)) + ADDRESS_HEADER > rule->mtu)
		return LEAVE;

	/* rewrite */
	if (length - IPV6_HEADER + ADDRESS_HEADER > 0xffff || move_upper(skb, ADDRESS_HEADER))
		return LEAVE;
	ip = rewritten(skb, tunnel_header, ADDRESS_HEADER);
	if (!ip)
		return TC_ACT_SHOT;
	struct address_header *routing = (void *)(ip + 1);
	*routing = (struct address_header){ protocol, 2, { 2, 1 }, anycast };
	ip->next_header = ROUTING;
	ip->payload = bpf_htons(length - IPV6_HEADER + ADDRESS_HEADER);
	ip->destination = rule->far;
	count(rule->slot, packets_in(skb), length);
	return leave_by(skb, tunnel_header, rule->device, rule->next);
}

/* From the link: care-of address -> own with a home address option becomes A_Any -> own. */
SEC("classifier") int initiator_in(struct __sk_buff *skb)
{
	/* parse */
	struct ipv6 *ip = headers(skb, link_header, ADDRESS_HEADER);
	if (!ip || ip->next_header != DESTINATION_OPTIONS || skb->pkt_type != 0)
		return LEAVE;
	struct address_header *options = (void *)(ip + 1);
	/* PadN with two octets, then the home address option: as every implementation writes it. */
	if (options->length != 2 || options->words[0] != 1 || options->words[1] != 2 || options->words[4] != 201 ||
	    options->words[5] != 16)
		return LEAVE;
	__u8 protocol = options->next_header;
	__u32 length = skb->len - link_header;
	if (protocol == FRAGMENT || !is_data(protocol, (void *)(options + 1), (void *)(long)skb->data_end))
		return LEAVE;

	/* look up */
	struct address anycast = options->address;
	struct rule *rule = find(HOME_ADDRESS_IN, anycast, ip->destination);
	if (!rule || !SAME(rule->far, ip->source))
		return LEAVE;

	/* rewrite */
	__u32 packets = packets_in(skb), slot = rule->slot;
	if (move_upper(skb, -ADDRESS_HEADER))
		return LEAVE;
	ip = rewritten(skb, link_header, 0);
	if (!ip)
		return TC_ACT_SHOT;
	ip->next_header = protocol;
	ip->payload = bpf_htons(length - IPV6_HEADER - ADDRESS_HEADER);
	ip->source = anycast;
	count(slot, packets, length);
	return deliver();
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
