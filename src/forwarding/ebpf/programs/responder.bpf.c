/* The responder's four rewrites at tc: reverse tunnel out and in (RFC 3775 11.3.1, RFC 2473), home address option out
 * (11.3.1), type 2 routing header in (11.3.3). Loaded by ../loader.rs; what it leaves goes to user space. */
#include "tc.h"

/* So long the role is not told again of a peer. */
#define PEER_INTERVAL 500000000ull

struct peer {
	struct address anycast, peer;
};

/* When the role was last told of a peer, in nanoseconds since boot. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct peer);
	__type(value, __u64);
} peers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 16);
} seen SEC(".maps");

/* Says that a peer is reached through the tunnel: a chance for route optimisation (RFC 3775 11.6.1). */
static __always_inline void peer_seen(struct address anycast, struct address address)
{
	struct peer peer = { anycast, address };
	__u64 now = bpf_ktime_get_ns();
	__u64 *told = bpf_map_lookup_elem(&peers, &peer);
	if (told && now - *told < PEER_INTERVAL)
		return;
	/* When the buffer is full, the next packet tells it. */
	if (bpf_ringbuf_output(&seen, &peer, sizeof(peer), 0) == 0)
		bpf_map_update_elem(&peers, &peer, &now, BPF_ANY);
}

/* From this host into the tunnel device: with a binding directly, else through the tunnel to the agent. */
SEC("classifier") int responder_out(struct __sk_buff *skb)
{
	/* parse */
	struct ipv6 *ip = headers(skb, tunnel_header, 0);
	if (!ip || !is_global(ip->destination) || !is_global(ip->source))
		return LEAVE;
	__u32 length = skb->len - tunnel_header;
	if (!is_data(ip->next_header, (void *)(ip + 1), (void *)(long)skb->data_end))
		return LEAVE;

	/* look up; without the tunnel's rule there is no responder for the address */
	struct address nobody = {}, anycast = ip->source, peer = ip->destination;
	struct rule *rule = find_bound(REVERSE_TUNNEL_OUT, anycast, nobody);
	if (!rule)
		return LEAVE;
	struct rule *direct = find_bound(HOME_ADDRESS_OUT, anycast, peer);
	/* A_Any -> initiator becomes care-of address -> initiator with a home address option. */
	if (direct)
		return send_with(skb, ip, direct, DESTINATION_OPTIONS,
				 (struct address_header){ .words = { 1, 2, 0, 0, 201, 16 }, .address = anycast });
	if (!rule->device || length > 0xffff ||
	    longest(skb, ip, length, ip->next_header, (void *)(ip + 1)) + IPV6_HEADER > rule->mtu)
		return LEAVE;

	/* rewrite */
	__u32 packets = packets_in(skb);
	if (open_outer(skb))
		return LEAVE;
	ip = rewritten(skb, tunnel_header, 0);
	if (!ip)
		return TC_ACT_SHOT;
	write_outer(ip, length, rule->near, rule->far);
	count(rule->slot, packets, length);
	peer_seen(anycast, peer);
	return leave_by(skb, tunnel_header, rule->device, rule->next);
}

/* agent -> care-of address around anybody -> A_Any: the outer header is taken off. */
static __always_inline int leave_tunnel(struct __sk_buff *skb)
{
	struct ipv6 *outer = headers(skb, link_header, IPV6_HEADER);
	if (!outer)
		return LEAVE;
	struct ipv6 *ip = outer + 1;
	__u32 length = skb->len - link_header;
	if (!is_version_6(ip) || !is_whole(ip, length - IPV6_HEADER) ||
	    !is_data(ip->next_header, (void *)(ip + 1), (void *)(long)skb->data_end))
		return LEAVE;
	struct address nobody = {}, anycast = ip->destination, peer = ip->source;
	struct rule *rule = find_bound(REVERSE_TUNNEL_IN, anycast, nobody);
	if (!rule || !SAME(rule->far, outer->source))
		rule = find_bound(MIDWAY_TUNNEL_IN, anycast, outer->source);
	if (!rule || !SAME(rule->near, outer->destination) || !SAME(rule->far, outer->source))
		return LEAVE;
	__u32 packets = packets_in(skb);
	if (close_outer(skb))
		return LEAVE;
	count(rule->slot, packets, length);
	peer_seen(anycast, peer);
	return deliver();
}

/* initiator -> care-of address with a type 2 routing header becomes initiator -> A_Any. */
static __always_inline int remove_routing_header(struct __sk_buff *skb)
{
	struct ipv6 *ip = headers(skb, link_header, ADDRESS_HEADER);
	if (!ip || ip->hop_limit <= 1)
		return LEAVE;
	struct address_header *behind = (void *)(ip + 1), routing = *behind;
	if (routing.length != 2 || routing.words[0] != 2 || routing.words[1] != 1 || routing.next_header == FRAGMENT ||
	    !is_data(routing.next_header, (void *)(behind + 1), (void *)(long)skb->data_end))
		return LEAVE;
	struct address nobody = {};
	struct rule *rule = find_bound(ROUTING_HEADER_IN, routing.address, nobody);
	if (!rule || !SAME(rule->near, ip->destination))
		return LEAVE;
	return deliver_without(skb, ROUTING, routing, rule->slot);
}

/* From the link. */
SEC("classifier") int responder_in(struct __sk_buff *skb)
{
	struct ipv6 *ip = headers(skb, link_header, 0);
	if (!ip || skb->pkt_type != 0)
		return LEAVE;
	if (ip->next_header == IPV6)
		return leave_tunnel(skb);
	if (ip->next_header == ROUTING)
		return remove_routing_header(skb);
	return LEAVE;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
