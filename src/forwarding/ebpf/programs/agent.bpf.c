/* An agent's two rewrites, tunnel to responder and tunnel from responder (RFC 3775 10.4.2, 10.4.5, RFC 2473, thesis
 * 4.2.1): at tc and, where the driver has it, at XDP in front of that. XDP takes what it knows the next hop of and what
 * leaves by the interface it came in by, tc what else it may, user space the rest. Loaded by ../loader.rs. */
#define RULE_KEY struct peerless_key

#include "agent.h"
#include "tc.h"

/* The next hop that is known, or nothing after it has been looked up: the packet itself goes by tc. */
static __always_inline struct next_hop *known(struct xdp_md *xdp, struct next_hop *hop, struct settings *here,
					      struct address source, struct address destination, __u64 now)
{
	if (!hop)
		return 0;
	if (is_fresh(hop, here, now))
		return hop;
	look_up(xdp, xdp->ingress_ifindex, here, source, destination, hop);
	return 0;
}

static __always_inline void write_frame(void *data, const struct next_hop *hop)
{
	__u32 *words = data;
	words[0] = hop->link_addresses[0];
	words[1] = hop->link_addresses[1];
	words[2] = hop->link_addresses[2];
	((struct ethhdr *)data)->h_proto = bpf_htons(ETH_P_IPV6);
}

/* Frames leave by the interface they came in by; whether another one takes frames, the kernel does not say here. */
static __always_inline int can_leave(struct xdp_md *xdp, const struct next_hop *hop)
{
	return hop->device == xdp->ingress_ifindex;
}

static __always_inline int wrap_frame(struct xdp_md *xdp, struct ipv6 *ip, struct settings *here)
{
	void *end = (void *)(long)xdp->data_end;
	struct tunnel tunnel;
	if (!to_responder(ip, end, &tunnel))
		return XDP_PASS;
	__u32 length = end - (void *)ip;
	struct next_hop *hop =
		known(xdp, bpf_map_lookup_elem(&next_hops, &tunnel.slot), here, tunnel.near, tunnel.far, tunnel.now);
	if (!hop || length > here->tunnel_mtu || length + IPV6_HEADER > hop->mtu || !can_leave(xdp, hop))
		return XDP_PASS;

	ip->hop_limit--;
	if (bpf_xdp_adjust_head(xdp, -IPV6_HEADER)) {
		/* No room in front of the frame; nothing has changed but the hop limit. */
		void *data = (void *)(long)xdp->data;
		if (data + ETH_HLEN + IPV6_HEADER > (void *)(long)xdp->data_end)
			return XDP_DROP;
		((struct ipv6 *)(data + ETH_HLEN))->hop_limit++;
		return XDP_PASS;
	}
	void *data = (void *)(long)xdp->data;
	if (data + ETH_HLEN + IPV6_HEADER > (void *)(long)xdp->data_end)
		return XDP_DROP;
	write_frame(data, hop);
	write_outer(data + ETH_HLEN, length, tunnel.near, tunnel.far);
	count(tunnel.slot, 1, length);
	return XDP_TX;
}

static __always_inline int unwrap_frame(struct xdp_md *xdp, struct ipv6 *outer, struct settings *here)
{
	void *end = (void *)(long)xdp->data_end;
	struct ipv6 *ip = outer + 1;
	if ((void *)(ip + 1) > end)
		return XDP_PASS;
	struct tunnel tunnel;
	if (!from_responder(outer, ip, end, &tunnel))
		return XDP_PASS;
	__u32 length = end - (void *)outer;
	struct address source = ip->source, destination = ip->destination;
	struct next_hop *hop = bpf_map_lookup_elem(&destinations, &destination);
	if (!hop) {
		struct next_hop unknown = {};
		if (!look_up(xdp, xdp->ingress_ifindex, here, source, destination, &unknown))
			bpf_map_update_elem(&destinations, &destination, &unknown, BPF_ANY);
		return XDP_PASS;
	}
	hop = known(xdp, hop, here, source, destination, tunnel.now);
	if (!hop || length - IPV6_HEADER > hop->mtu || !can_leave(xdp, hop))
		return XDP_PASS;

	ip->hop_limit--;
	count(tunnel.slot, 1, length - tunnel.uncounted);
	if (bpf_xdp_adjust_head(xdp, IPV6_HEADER))
		return XDP_DROP;
	void *data = (void *)(long)xdp->data;
	if (data + ETH_HLEN > (void *)(long)xdp->data_end)
		return XDP_DROP;
	write_frame(data, hop);
	return XDP_TX;
}

static __always_inline int is_ours(const struct ethhdr *frame, const struct settings *here)
{
	const __u16 *to = (const __u16 *)frame->h_dest, *own = (const __u16 *)here->link_address;
	return to[0] == own[0] && to[1] == own[1] && to[2] == own[2];
}

SEC("xdp") int agent_xdp(struct xdp_md *xdp)
{
	void *data = (void *)(long)xdp->data, *end = (void *)(long)xdp->data_end;
	struct ethhdr *frame = data;
	struct ipv6 *ip = data + ETH_HLEN;
	if ((void *)(ip + 1) > end || frame->h_proto != bpf_htons(ETH_P_IPV6) || !is_version_6(ip) ||
	    !is_whole(ip, end - (void *)ip))
		return XDP_PASS;
	struct settings *here = node();
	/* The interface may be taking frames to others, too. */
	if (!here || !is_ours(frame, here))
		return XDP_PASS;
	return ip->next_header == IPV6 ? unwrap_frame(xdp, ip, here) : wrap_frame(xdp, ip, here);
}

/* The next hop, looked up when it is not known. */
static __always_inline struct next_hop *found(struct __sk_buff *skb, struct next_hop *hop, struct settings *here,
					      struct address source, struct address destination, __u64 now)
{
	if (!hop || is_fresh(hop, here, now))
		return hop;
	return look_up(skb, skb->ifindex, here, source, destination, hop) ? 0 : hop;
}

static __always_inline int wrap(struct __sk_buff *skb, struct ipv6 *ip, struct settings *here)
{
	struct tunnel tunnel;
	if (!to_responder(ip, (void *)(long)skb->data_end, &tunnel))
		return LEAVE;
	/* Of a packet that grows the kernel forgets how many it is. */
	__u32 length = skb->len - link_header, packets = packets_in(skb);
	__u32 longest_inner = longest(skb, ip, length, ip->next_header, (void *)(ip + 1));
	struct next_hop *hop =
		found(skb, bpf_map_lookup_elem(&next_hops, &tunnel.slot), here, tunnel.near, tunnel.far, tunnel.now);
	if (!hop || length > 0xffff || longest_inner > here->tunnel_mtu || longest_inner + IPV6_HEADER > hop->mtu ||
	    open_outer(skb))
		return LEAVE;
	struct ipv6 *outer = rewritten(skb, link_header, IPV6_HEADER);
	if (!outer)
		return TC_ACT_SHOT;
	write_outer(outer, length, tunnel.near, tunnel.far);
	(outer + 1)->hop_limit--;
	count(tunnel.slot, packets, length);
	return leave_by(skb, link_header, hop->device, hop->gateway);
}

static __always_inline int unwrap(struct __sk_buff *skb, struct settings *here)
{
	struct ipv6 *outer = headers(skb, link_header, IPV6_HEADER);
	if (!outer)
		return LEAVE;
	void *end = (void *)(long)skb->data_end;
	struct ipv6 *ip = outer + 1;
	struct tunnel tunnel;
	if (!from_responder(outer, ip, end, &tunnel))
		return LEAVE;
	__u32 length = skb->len - link_header, packets = packets_in(skb);
	__u32 longest_inner = longest(skb, ip, length - IPV6_HEADER, ip->next_header, (void *)(ip + 1));
	struct address source = ip->source, destination = ip->destination;
	struct next_hop *hop = bpf_map_lookup_elem(&destinations, &destination), unknown = {};
	if (!hop) {
		if (look_up(skb, skb->ifindex, here, source, destination, &unknown))
			return LEAVE;
		bpf_map_update_elem(&destinations, &destination, &unknown, BPF_ANY);
		hop = &unknown;
	} else if (!(hop = found(skb, hop, here, source, destination, tunnel.now))) {
		return LEAVE;
	}
	if (longest_inner > hop->mtu || close_outer(skb))
		return LEAVE;
	ip = rewritten(skb, link_header, 0);
	if (!ip)
		return TC_ACT_SHOT;
	ip->hop_limit--;
	count(tunnel.slot, packets, length - tunnel.uncounted);
	return leave_by(skb, link_header, hop->device, hop->gateway);
}

SEC("classifier") int agent_tc(struct __sk_buff *skb)
{
	struct ipv6 *ip = headers(skb, link_header, 0);
	struct settings *here = node();
	if (!ip || !here || skb->pkt_type != 0)
		return LEAVE;
	return ip->next_header == IPV6 ? unwrap(skb, here) : wrap(skb, ip, here);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
