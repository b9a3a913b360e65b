/* Anycast addresses with several responders (thesis 4.3.1, 4.3.2): the member that a source is fixed to, else the one
 * that its slot names, as forwarding::groups and protocol::select have it. Included by agent.h. */
#pragma once

#include "sources.h"

#define SLOTS 4096
#define MEMBERS 4096
#define NO_MEMBER 0xffffffff

struct member {
	struct address care_of;
	__u32 number; /* 0 when the place is free: sources fixed to another number have lost their member */
	__u32 slot;   /* in counters (to it; the next one: from it) and next_hops */
};

struct membership {
	struct address anycast, care_of;
};

/* Twice what the groups need: a group's new slots are written beside its old ones. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2 * GROUPS * SLOTS);
	__type(key, __u32);
	__type(value, __u32);
} slots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MEMBERS);
	__type(key, __u32);
	__type(value, struct member);
} members SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MEMBERS);
	__type(key, struct membership);
	__type(value, __u32);
} memberships SEC(".maps");

/* protocol::select::slot_of */
static __always_inline __u32 slot_of(struct address source)
{
	__u64 mixed = mix(mix(bpf_be64_to_cpu(source.upper)) ^ bpf_be64_to_cpu(source.lower));
	return mixed >> 52;
}

/* The member that a source without a fixed one gets, and its place. */
static __always_inline struct member *by_slot(const struct group *group, struct address source, __u32 *place)
{
	__u32 at = group->slots + slot_of(source), *named = bpf_map_lookup_elem(&slots, &at);
	if (!named || *named == NO_MEMBER)
		return 0;
	*place = *named;
	struct member *member = bpf_map_lookup_elem(&members, place);
	return member && member->number ? member : 0;
}

/* The live member that a source is fixed to. */
static __always_inline struct member *fixed_to(const struct group *group, const struct source *source, __u32 bucket,
					       __u32 again)
{
	__u64 whom = held(group, source, bucket, again);
	__u32 place = whom >> 32 & 0xffff;
	struct member *member = whom ? bpf_map_lookup_elem(&members, &place) : 0;
	return member && member->number == (__u32)whom ? member : 0;
}

/* The member that a packet from `address` goes to; the source is fixed to it from now on. */
static __always_inline struct member *choose(__u32 number, const struct group *group, const struct address *address,
					     __u64 now)
{
	struct source source = { *address, now >> TICK, number };
	__u32 bucket = group->interval ? bucket_of(group, &source.address) : 0, place;
	struct member *member = group->interval ? fixed_to(group, &source, bucket, 1) : 0;
	if (member)
		return member;
	member = by_slot(group, source.address, &place);
	if (member && group->interval)
		fix(&source, bucket, (__u64)place << 32 | member->number);
	return member;
}

/* The member whose tunnel a packet came out of: whom it is for is fixed to it, unless to another one already. An answer says
 * nothing of whoever is answered. */
static __always_inline struct member *sender(__u32 number, const struct group *group, const struct ipv6 *outer,
					     const struct ipv6 *ip, __u64 now)
{
	struct membership membership = { ip->source, outer->source };
	__u32 *place = bpf_map_lookup_elem(&memberships, &membership);
	struct member *member = place ? bpf_map_lookup_elem(&members, place) : 0;
	if (!member || !member->number)
		return 0;
	if (group->interval) {
		struct source source = { ip->destination, now >> TICK, number };
		__u32 bucket = bucket_of(group, &source.address);
		if (!fixed_to(group, &source, bucket, 0))
			fix(&source, bucket, (__u64)*place << 32 | member->number);
	}
	return member;
}
