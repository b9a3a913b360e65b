/* The initiator's two rewrites at tc: the type 2 routing header into packets to the anycast address (RFC 3775 9.3.2), the
 * home address option out of packets from it (9.3.1). Loaded by ../loader.rs; what it leaves goes to user space. */
#include "tc.h"

/* From this host into the tunnel device: own -> A_Any becomes own -> care-of address, routing header A_Any. */
SEC("classifier") int initiator_out(struct __sk_buff *skb)
{
	struct ipv6 *ip = headers(skb, tunnel_header, 0);
	if (!ip || !is_global(ip->destination) || !is_global(ip->source) ||
	    !is_data(ip->next_header, (void *)(ip + 1), (void *)(long)skb->data_end))
		return LEAVE;
	struct address anycast = ip->destination;
	struct rule *rule = find_bound(ROUTING_HEADER_OUT, anycast, ip->source);
	if (!rule)
		return LEAVE;
	return send_with(skb, ip, rule, ROUTING, (struct address_header){ .words = { 2, 1 }, .address = anycast });
}

/* From the link: care-of address -> own with a home address option becomes A_Any -> own. */
SEC("classifier") int initiator_in(struct __sk_buff *skb)
{
	struct ipv6 *ip = headers(skb, link_header, ADDRESS_HEADER);
	if (!ip || ip->next_header != DESTINATION_OPTIONS || skb->pkt_type != 0)
		return LEAVE;
	struct address_header *behind = (void *)(ip + 1), options = *behind;
	/* PadN with two octets, then the home address option: as every implementation writes it. */
	if (options.length != 2 || options.words[0] != 1 || options.words[1] != 2 || options.words[4] != 201 ||
	    options.words[5] != 16 || options.next_header == FRAGMENT ||
	    !is_data(options.next_header, (void *)(behind + 1), (void *)(long)skb->data_end))
		return LEAVE;
	struct rule *rule = find_bound(HOME_ADDRESS_IN, options.address, ip->destination);
	if (!rule || !SAME(rule->far, ip->source))
		return LEAVE;
	return deliver_without(skb, DESTINATION_OPTIONS, options, rule->slot);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
