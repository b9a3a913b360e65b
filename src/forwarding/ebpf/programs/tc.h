/* What the tc programs share: reaching the headers, making and closing gaps (RFC 2473, RFC 3775 6.3 and 6.4), and the way
 * out. Segmentation and checksum offload survive all of it: the segment size stays, and checksums cover the anycast
 * address, which the rewrites only move. */
#pragma once

#include <linux/pkt_cls.h>

#include "packet.h"

#define LEAVE TC_ACT_UNSPEC

/* The IPv6 header behind `link` octets with at least `more` octets behind it, or nothing. Invalidates older pointers. */
static __always_inline struct ipv6 *headers(struct __sk_buff *skb, __u32 link, __u32 more)
{
	__u32 wanted = link + IPV6_HEADER + more;
	if (skb->protocol != bpf_htons(ETH_P_IPV6) || skb->vlan_present)
		return 0;
	if ((void *)(long)skb->data + wanted > (void *)(long)skb->data_end && bpf_skb_pull_data(skb, wanted))
		return 0;
	void *data = (void *)(long)skb->data;
	if (data + wanted > (void *)(long)skb->data_end)
		return 0;
	struct ipv6 *ip = data + link;
	return is_version_6(ip) && is_whole(ip, skb->len - link) ? ip : 0;
}

/* The longest packet that leaves for `skb`, whose IPv6 packet has `length` octets and its upper layer at `upper`. */
static __always_inline __u32 longest(struct __sk_buff *skb, const struct ipv6 *ip, __u32 length, __u8 protocol,
				     const __u8 *upper)
{
	__u32 segment = skb->gso_size, header = 8;
	if (!segment)
		return length;
	if (protocol == TCP) {
		if ((void *)(upper + 13) > (void *)(long)skb->data_end)
			return length;
		header = (upper[12] >> 4) * 4;
	}
	return upper - (const __u8 *)ip + header + segment;
}

/* To be asked before the packet grows or shrinks: the kernel counts its segments anew after that. */
static __always_inline __u32 packets_in(struct __sk_buff *skb)
{
	return skb->gso_segs ? skb->gso_segs : 1;
}

/* The rule with this key while its binding lasts, which ends also when nobody is left who would end it. */
static __always_inline struct rule *find_bound(enum kind kind, struct address anycast, struct address peer)
{
	struct rule *rule = find(kind, anycast, peer);
	return rule && bpf_ktime_get_coarse_ns() < rule->until ? rule : 0;
}

/* Opens a gap for an outer header in front of the packet. */
static __always_inline int open_outer(struct __sk_buff *skb)
{
	return bpf_skb_adjust_room(skb, IPV6_HEADER, BPF_ADJ_ROOM_MAC,
				   BPF_F_ADJ_ROOM_ENCAP_L3_IPV6 | BPF_F_ADJ_ROOM_FIXED_GSO);
}

/* Takes the outer header away. */
static __always_inline int close_outer(struct __sk_buff *skb)
{
	return bpf_skb_adjust_room(skb, -IPV6_HEADER, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO);
}

/* Opens or closes a gap of ADDRESS_HEADER octets behind the IPv6 header. */
static __always_inline int move_upper(struct __sk_buff *skb, int octets)
{
	return bpf_skb_adjust_room(skb, octets, BPF_ADJ_ROOM_NET, BPF_F_ADJ_ROOM_FIXED_GSO);
}

/* The IPv6 header and an address header behind it, once there is room for both. */
static __always_inline struct ipv6 *rewritten(struct __sk_buff *skb, __u32 link, __u32 more)
{
	void *data = (void *)(long)skb->data;
	if (data + link + IPV6_HEADER + more > (void *)(long)skb->data_end)
		return 0;
	return data + link;
}

/* Out by `device` to the neighbour `next`; the kernel finds its link address, and wants a header to put it in. */
static __always_inline int leave_by(struct __sk_buff *skb, __u32 link, __u32 device, struct address next)
{
	if (!link && bpf_skb_change_head(skb, ETH_HLEN, 0))
		return TC_ACT_SHOT;
	struct bpf_redir_neigh neighbour = { .nh_family = AF_INET6 };
	__builtin_memcpy(neighbour.ipv6_nh, &next, sizeof(next));
	return bpf_redirect_neigh(device, &neighbour, sizeof(neighbour), 0);
}

/* To this host's stack, as if it had come out of the tunnel device. */
static __always_inline int deliver(void)
{
	struct settings *here = node();
	return here ? bpf_redirect(here->tunnel_device, BPF_F_INGRESS) : TC_ACT_SHOT;
}

/* Sends a packet that this host says with an address header behind its IPv6 header: of the kind ROUTING, which the packet
 * goes to the other end of the rule with, or DESTINATION_OPTIONS, with which it comes from this end. `header` lacks only
 * what every such header has. */
static __always_inline int send_with(struct __sk_buff *skb, struct ipv6 *ip, struct rule *rule, __u8 kind,
				     struct address_header header)
{
	__u32 length = skb->len - tunnel_header, packets = packets_in(skb);
	header.next_header = ip->next_header;
	header.length = ADDRESS_HEADER / 8 - 1;
	if (header.next_header == FRAGMENT || !rule->device || length - IPV6_HEADER + ADDRESS_HEADER > 0xffff ||
	    longest(skb, ip, length, header.next_header, (void *)(ip + 1)) + ADDRESS_HEADER > rule->mtu ||
	    move_upper(skb, ADDRESS_HEADER))
		return LEAVE;
	ip = rewritten(skb, tunnel_header, ADDRESS_HEADER);
	if (!ip)
		return TC_ACT_SHOT;
	*(struct address_header *)(ip + 1) = header;
	ip->next_header = kind;
	ip->payload = bpf_htons(length - IPV6_HEADER + ADDRESS_HEADER);
	if (kind == ROUTING)
		ip->destination = rule->far;
	else
		ip->source = rule->near;
	count(rule->slot, packets, length);
	return leave_by(skb, tunnel_header, rule->device, rule->next);
}

/* Delivers a packet without its address header, whose address takes the place of the destination (ROUTING) or of the
 * source (DESTINATION_OPTIONS). `header` is a copy of it, `slot` where the packet counts. */
static __always_inline int deliver_without(struct __sk_buff *skb, __u8 kind, struct address_header header, __u32 slot)
{
	__u32 length = skb->len - link_header, packets = packets_in(skb);
	if (move_upper(skb, -ADDRESS_HEADER))
		return LEAVE;
	struct ipv6 *ip = rewritten(skb, link_header, 0);
	if (!ip)
		return TC_ACT_SHOT;
	ip->next_header = header.next_header;
	ip->payload = bpf_htons(length - IPV6_HEADER - ADDRESS_HEADER);
	if (kind == ROUTING) {
		ip->hop_limit--;
		ip->destination = header.address;
	} else {
		ip->source = header.address;
	}
	count(slot, packets, length);
	return deliver();
}
