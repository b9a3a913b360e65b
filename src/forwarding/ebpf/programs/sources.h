/* Who is fixed to which member (thesis 4.3.2): a table of buckets that every packet to or from a group's address looks into
 * without a lock, and that programs and user space (../sources.rs) change under one lock for each bucket. Forged sources
 * only make forged ones go: who was heard of twice stays. Included by group.h. */
#pragma once

#include "packet.h"

#define GROUPS 16
/* Sources in a bucket. With room for twice as many as are wanted, less than one in a thousand finds its bucket full. */
#define BUCKET 16
/* Time is counted in 2^26 nanoseconds, a fifteenth of a second: 32 bits of it are nine years. */
#define TICK 26

struct group {
	__s32 interval; /* ticks; 0 when nobody is fixed */
	__u32 renewed;  /* every packet begins the interval anew */
	__u32 slots;    /* where its slots begin */
	__u32 buckets;
	__u32 key[4]; /* secret: nobody outside can tell which sources share a bucket */
};

/* Eight octets that change at once: version (16 bits), place in members (16), number of the member (32), which is 0 when
 * nobody is fixed here. The version moves whenever source or member do. */
struct fixed {
	struct address source;
	__u64 whom;
	__u32 since; /* when its interval began */
	__u16 group; /* 1 + place in groups; 0 when never used, as are all behind it */
	__u16 again; /* the source was heard of again */
};

struct bucket {
	struct fixed sources[BUCKET];
};

/* A source at the moment it is looked for. */
struct source {
	struct address address;
	__u32 now;
	__u32 group;
};

/* Of a bucket's lock; user space has a mark of its own, so that what a killed process left locked can be told. */
enum lock { FREE, BY_PROGRAM, BY_USER };

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, GROUPS);
	__type(key, __u32);
	__type(value, struct group);
} groups SEC(".maps");

/* Mapped by user space. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 8192);
	__type(key, __u32);
	__type(value, struct bucket);
} sources SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 8192);
	__type(key, __u32);
	__type(value, __u64);
} locks SEC(".maps");

/* The functions below that are not static are verified once and by themselves, not anew wherever they are called. */

/* Others write meanwhile: what is read is read once and in this order. */
#define READ(field) (*(const volatile typeof(field) *)&(field))

static __always_inline __u64 mix(__u64 value)
{
	value ^= value >> 33;
	value *= 0xff51afd7ed558ccdull;
	value ^= value >> 33;
	value *= 0xc4ceb9fe1a85ec53ull;
	return value ^ (value >> 33);
}

/* The bucket of a source: the universal hash NH (RFC 4418) under the group's key, by which two sources that are chosen
 * without it meet as rarely as by chance, and mixed, so that sources in a row do not fall in step. */
static __always_inline __u32 bucket_of(const struct group *group, const struct address *source)
{
	const __u32 *key = group->key;
	__u32 a = (__u32)source->upper + key[0], b = (__u32)(source->upper >> 32) + key[1];
	__u32 c = (__u32)source->lower + key[2], d = (__u32)(source->lower >> 32) + key[3];
	return (mix((__u64)a * b + (__u64)c * d) >> 32) * group->buckets >> 32;
}

/* Whom a source is fixed to, 0 for nobody; its interval begins anew, if the group says so. */
static __always_inline __u64 held(const struct group *group, const struct source *source, __u32 bucket,
				  __u32 again)
{
	struct bucket *found = bpf_map_lookup_elem(&sources, &bucket);
	if (!found)
		return 0;
#pragma unroll
	for (int at = 0; at < BUCKET; at++) {
		struct fixed *fixed = &found->sources[at];
		__u64 whom = READ(fixed->whom);
		if (READ(fixed->source.lower) != source->address.lower ||
		    READ(fixed->source.upper) != source->address.upper || READ(fixed->group) != source->group) {
			if (!READ(fixed->group))
				return 0;
			continue;
		}
		/* Below 0 when another processor's packet came later and was faster. */
		__s32 age = source->now - READ(fixed->since);
		if (READ(fixed->whom) != whom || age >= group->interval)
			return 0;
		/* Written once in a while: a line that every processor writes for every packet goes to and fro. */
		if (group->renewed && age > group->interval >> 6)
			fixed->since = source->now;
		if (again && !fixed->again)
			fixed->again = 1;
		return whom;
	}
	return 0;
}

/* How soon an entry makes room for another source: free and expired ones at once, then who was heard of only once, each
 * the sooner the longer it is idle. */
static __always_inline __s64 room(const struct fixed *fixed, __u32 now)
{
	__u32 place = fixed->group - 1;
	__s32 age = now - fixed->since;
	struct group *group = bpf_map_lookup_elem(&groups, &place);
	if (!group || !(__u32)fixed->whom || age >= group->interval)
		return 3ll << 32;
	return (fixed->again ? 0 : 1ll << 32) + age;
}

/* Where in its bucket a source has its place, or gets one. */
__noinline __u32 place_for(const struct source *source, __u32 bucket)
{
	struct bucket *found = bpf_map_lookup_elem(&sources, &bucket);
	__u32 chosen = 0;
	__s64 most = -1;
	if (!found || !source)
		return 0;
#pragma unroll
	for (int at = 0; at < BUCKET; at++) {
		struct fixed *fixed = &found->sources[at];
		__s64 much = room(fixed, source->now);
		if (SAME(fixed->source, source->address) && fixed->group == source->group)
			return at;
		if (much > most) {
			most = much;
			chosen = at;
		}
		if (!fixed->group)
			break;
	}
	return chosen;
}

/* Fixes a source, unless somebody else is changing the bucket: its slot names the same member anyway. */
__noinline int fix(const struct source *source, __u32 bucket, __u64 whom)
{
	struct bucket *found = bpf_map_lookup_elem(&sources, &bucket);
	__u64 *lock = bpf_map_lookup_elem(&locks, &bucket);
	if (!source || !found || !lock || __sync_val_compare_and_swap(lock, FREE, BY_PROGRAM) != FREE)
		return 0;
	struct fixed *fixed = &found->sources[place_for(source, bucket) % BUCKET];
	__u64 version = ((fixed->whom >> 48) + 1) << 48;
	__sync_lock_test_and_set(&fixed->whom, 0);
	fixed->source = source->address;
	fixed->since = source->now;
	fixed->group = source->group;
	fixed->again = 0;
	__sync_lock_test_and_set(&fixed->whom, version | whom);
	__sync_lock_test_and_set(lock, FREE);
	return 1;
}
