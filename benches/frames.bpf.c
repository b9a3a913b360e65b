/* The measuring side of benches/forwarding.rs: a program that makes every frame anew before it goes on to what is measured
 * (frames of BPF_PROG_TEST_RUN come back as their last journey left them), and one that ends them at the other end. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

/* Ethernet and one IPv6 header, or one more. */
#define PLAIN 54
#define TUNNELLED 94

enum then { DROP, BACK, PASS, GO_ON };

struct order {
	__u8 head[96];
	__u32 tunnelled; /* two IPv6 headers */
	__u32 addresses; /* how many sources, or destinations inside a tunnel */
	__u32 then;
	__u32 period; /* nanoseconds from frame to frame; 0: without a pause */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct order);
} orders SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} next SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
} counted SEC(".maps");

/* When the next frame is due. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} due SEC(".maps");

/* No frame waits longer, whatever is asked for. */
#define MOST_LOOKS 100000
/* Who comes later than this does not make up for it: that would be a burst. */
#define LATE 1000000

static long is_due(__u32 look, void *due)
{
	return bpf_ktime_get_ns() >= *(__u64 *)due;
}

static __always_inline void wait(__u32 period)
{
	__u32 zero = 0;
	__u64 now = bpf_ktime_get_ns(), at, *next = bpf_map_lookup_elem(&due, &zero);
	if (!next)
		return;
	at = *next + LATE < now ? now : *next;
	*next = at + period;
	bpf_loop(MOST_LOOKS, is_due, &at, 0);
}

static __always_inline __u64 count(__u32 which)
{
	__u64 *counter = bpf_map_lookup_elem(&counted, &which);
	return counter ? (*counter)++ : 0;
}

SEC("xdp") int make(struct xdp_md *xdp)
{
	__u32 zero = 0;
	struct order *order = bpf_map_lookup_elem(&orders, &zero);
	void *data = (void *)(long)xdp->data, *end = (void *)(long)xdp->data_end;
	if (!order || data + PLAIN > end)
		return XDP_ABORTED;
	if (order->period)
		wait(order->period);
	__u32 number = count(0) % order->addresses;
	if (order->tunnelled) {
		if (data + TUNNELLED > end)
			return XDP_ABORTED;
		__builtin_memcpy(data, order->head, TUNNELLED);
		*(__u32 *)(data + TUNNELLED - 4) ^= number;
	} else {
		__builtin_memcpy(data, order->head, PLAIN);
		/* The last word of the source. */
		*(__u32 *)(data + 34) ^= number;
	}
	switch (order->then) {
	case DROP:
		return XDP_DROP;
	case BACK:
		return XDP_TX;
	case PASS:
		return XDP_PASS;
	}
	bpf_tail_call(xdp, &next, 0);
	return XDP_ABORTED;
}

SEC("xdp") int end(struct xdp_md *xdp)
{
	count(1);
	return XDP_DROP;
}

SEC("classifier") int end_in_stack(struct __sk_buff *skb)
{
	count(1);
	return 2; /* TC_ACT_SHOT */
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
