/* Anycast addresses with several responders (thesis 4.3.1, 4.3.2): the member that a source is fixed to, else the one
 * that its slot names, as forwarding::groups and protocol::select have it. User space asks and changes the same map of
 * fixed sources for the packets that it gets, so there is one truth. Included by agent.h. */
#pragma once

#include "packet.h"

#define GROUPS 16
#define SLOTS 4096
#define MEMBERS 4096
#define NO_MEMBER 0xffffffff

struct group {
	__u64 interval; /* nanoseconds; 0 when nobody is fixed */
	__u32 renewed;  /* every packet begins the interval anew */
	__u32 number;   /* distinguishes the sources of groups */
	__u32 slots;    /* where its slots begin */
	__u32 zero;
};

struct member {
	struct address care_of;
	__u32 number; /* 0 when the place is free: sources fixed to another number have lost their member */
	__u32 slot;   /* in counters (to it; the next one: from it) and next_hops */
};

struct membership {
	struct address anycast, care_of;
};

struct source {
	struct address address;
	__u64 group;
};

struct fixed {
	__u64 since; /* nanoseconds since boot */
	__u32 place; /* in members */
	__u32 number;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, GROUPS);
	__type(key, __u32);
	__type(value, struct group);
} groups SEC(".maps");

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

/* The one idle longest makes room. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct source);
	__type(value, struct fixed);
} sources SEC(".maps");

static __always_inline __u64 mix(__u64 value)
{
	value ^= value >> 33;
	value *= 0xff51afd7ed558ccdull;
	value ^= value >> 33;
	value *= 0xc4ceb9fe1a85ec53ull;
	return value ^ (value >> 33);
}

/* protocol::select::slot_of */
static __always_inline __u32 slot_of(struct address source)
{
	__u64 mixed = mix(mix(bpf_be64_to_cpu(source.upper)) ^ bpf_be64_to_cpu(source.lower));
	return mixed >> 52;
}

/* The member at a place, if it is still the one of that number. */
static __always_inline struct member *member_at(__u32 place, __u32 number)
{
	struct member *member = bpf_map_lookup_elem(&members, &place);
	return member && member->number == number && number ? member : 0;
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

/* The live member that a source is fixed to; its interval begins anew, if the group says so. */
static __always_inline struct member *fixed_to(const struct group *group, const struct source *source, __u64 now)
{
	struct fixed *fixed = bpf_map_lookup_elem(&sources, source);
	if (!fixed || now - fixed->since >= group->interval)
		return 0;
	/* Written once in a while: a line that every processor writes for every packet goes to and fro between them. */
	if (group->renewed && now - fixed->since > group->interval / 64)
		fixed->since = now;
	return member_at(fixed->place, fixed->number);
}

static __always_inline void fix(const struct source *source, __u32 place, __u32 number, __u64 now)
{
	struct fixed fixed = { now, place, number };
	bpf_map_update_elem(&sources, source, &fixed, BPF_ANY);
}

/* The member that a packet from `address` goes to; the source is fixed to it from now on. */
static __always_inline struct member *choose(const struct group *group, struct address address)
{
	struct source source = { address, group->number };
	__u64 now = bpf_ktime_get_coarse_ns();
	struct member *member = group->interval ? fixed_to(group, &source, now) : 0;
	__u32 place;
	if (member)
		return member;
	member = by_slot(group, address, &place);
	if (member && group->interval)
		fix(&source, place, member->number, now);
	return member;
}

/* The member whose tunnel a packet came out of on its way to `peer`: who is not fixed yet is fixed to it. */
static __always_inline struct member *sender(const struct group *group, struct address anycast,
					     struct address care_of, struct address peer)
{
	struct membership membership = { anycast, care_of };
	__u32 *place = bpf_map_lookup_elem(&memberships, &membership);
	struct member *member = place ? bpf_map_lookup_elem(&members, place) : 0;
	if (!member || !member->number)
		return 0;
	if (group->interval) {
		struct source source = { peer, group->number };
		__u64 now = bpf_ktime_get_coarse_ns();
		if (!fixed_to(group, &source, now))
			fix(&source, *place, member->number, now);
	}
	return member;
}
