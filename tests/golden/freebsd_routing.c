/*
 * Routing messages of FreeBSD, laid out by its own headers: one initialised structure per message, in a section of its
 * own, so that a cross compiler alone tells the octets. tests/freebsd.sh extracts them and compares them with
 * freebsd_routing.txt, which src/platform/freebsd/routing_socket.rs is tested against on every system.
 */
#include <sys/types.h>
#include <sys/socket.h>
#include <net/if.h>
#include <net/if_dl.h>
#include <net/if_types.h>
#include <net/route.h>
#include <netinet/in.h>
#include <netinet6/in6_var.h>
#include <netinet6/nd6.h>
#include <stddef.h>

#define MESSAGE(name) __attribute__((used, section(".golden." #name))) name
/* Addresses stand at multiples of a long. */
#define IN6 struct { struct sockaddr_in6 sa; char pad[SA_SIZE_OF(struct sockaddr_in6) - sizeof(struct sockaddr_in6)]; }
#define DL struct { struct sockaddr_dl sa; char pad[SA_SIZE_OF(struct sockaddr_dl) - sizeof(struct sockaddr_dl)]; }
#define SA_SIZE_OF(type) (1 + ((sizeof(type) - 1) | (sizeof(long) - 1)))

#define ADDRESS(a, b, c, d, e, f, g, h, scope) \
	{ { .sin6_len = sizeof(struct sockaddr_in6), .sin6_family = AF_INET6, .sin6_scope_id = (scope), \
	    .sin6_addr = { { { (a) >> 8, (a) & 255, (b) >> 8, (b) & 255, (c) >> 8, (c) & 255, (d) >> 8, (d) & 255, \
	    (e) >> 8, (e) & 255, (f) >> 8, (f) & 255, (g) >> 8, (g) & 255, (h) >> 8, (h) & 255 } } } }, { 0 } }
/* 2001:db8:0:1::a, the thesis's A_Any */
#define ANYCAST ADDRESS(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0xa, 0)
#define LINK(index, type, alen, ...) \
	{ { .sdl_len = sizeof(struct sockaddr_dl), .sdl_family = AF_LINK, .sdl_index = (index), .sdl_type = (type), \
	    .sdl_alen = (alen), .sdl_data = { __VA_ARGS__ } }, { 0 } }
#define HEADER(m, type) .rtm_msglen = sizeof(m), .rtm_version = RTM_VERSION, .rtm_type = (type)

/* A route of ours into the tunnel device, which is interface 7. */
struct add_route { struct rt_msghdr header; IN6 destination; DL gateway; };
const struct add_route MESSAGE(add_route) = {
	{ HEADER(struct add_route, RTM_ADD), .rtm_index = 7, .rtm_flags = RTF_UP | RTF_HOST | RTF_STATIC | RTF_PROTO1,
	  .rtm_addrs = RTA_DST | RTA_GATEWAY, .rtm_seq = 1 },
	ANYCAST, LINK(7, IFT_PPP, 0, 0),
};
const struct add_route MESSAGE(delete_route) = {
	{ HEADER(struct add_route, RTM_DELETE), .rtm_index = 7, .rtm_flags = RTF_UP | RTF_HOST | RTF_STATIC | RTF_PROTO1,
	  .rtm_addrs = RTA_DST | RTA_GATEWAY, .rtm_seq = 2 },
	ANYCAST, LINK(7, IFT_PPP, 0, 0),
};

/* The same address, answered for on interface 1 as ndp(8) makes it. */
const struct add_route MESSAGE(add_proxied) = {
	{ HEADER(struct add_route, RTM_ADD), .rtm_index = 1, .rtm_flags = RTF_HOST | RTF_STATIC | RTF_LLDATA | RTF_ANNOUNCE,
	  .rtm_addrs = RTA_DST | RTA_GATEWAY, .rtm_seq = 3 },
	ANYCAST, LINK(1, IFT_ETHER, 6, 0x02, 0, 0, 0, 1, 2),
};

/* What is the way to 2001:db8:0:2::2? And the answer: by fe80::1 on interface 1, from 2001:db8:0:1::2, 1400 octets. */
struct get_route { struct rt_msghdr header; IN6 destination; DL interface; };
const struct get_route MESSAGE(get_route) = {
	{ HEADER(struct get_route, RTM_GET), .rtm_flags = RTF_UP | RTF_HOST, .rtm_addrs = RTA_DST | RTA_IFP, .rtm_seq = 4 },
	ADDRESS(0x2001, 0xdb8, 0, 2, 0, 0, 0, 2, 0), LINK(0, 0, 0, 0),
};
struct answer { struct rt_msghdr header; IN6 destination; IN6 gateway; IN6 mask; DL interface; IN6 own; };
const struct answer MESSAGE(answer) = {
	{ HEADER(struct answer, RTM_GET), .rtm_index = 1, .rtm_flags = RTF_UP | RTF_GATEWAY | RTF_DONE | RTF_STATIC,
	  .rtm_addrs = RTA_DST | RTA_GATEWAY | RTA_NETMASK | RTA_IFP | RTA_IFA, .rtm_pid = 4321, .rtm_seq = 4,
	  .rtm_inits = RTV_MTU, .rtm_rmx = { .rmx_mtu = 1400, .rmx_weight = 1 } },
	ADDRESS(0, 0, 0, 0, 0, 0, 0, 0, 0), ADDRESS(0xfe80, 0, 0, 0, 0, 0, 0, 1, 1), ADDRESS(0, 0, 0, 0, 0, 0, 0, 0, 0),
	LINK(1, IFT_ETHER, 6, 0x02, 0, 0, 0, 1, 2), ADDRESS(0x2001, 0xdb8, 0, 1, 0, 0, 0, 2, 0),
};

/* Interface 1 gets 2001:db8:0:1::2/64. */
struct new_address { struct ifa_msghdr header; IN6 mask; DL interface; IN6 own; } __attribute__((packed));
const struct new_address MESSAGE(new_address) = {
	{ .ifam_msglen = sizeof(struct new_address), .ifam_version = RTM_VERSION, .ifam_type = RTM_NEWADDR, .ifam_index = 1,
	  .ifam_flags = RTF_UP, .ifam_addrs = RTA_NETMASK | RTA_IFP | RTA_IFA },
	ADDRESS(0xffff, 0xffff, 0xffff, 0xffff, 0, 0, 0, 0, 0), LINK(1, IFT_ETHER, 6, 0x02, 0, 0, 0, 1, 2),
	ADDRESS(0x2001, 0xdb8, 0, 1, 0, 0, 0, 2, 0),
};

/* Interface 1 goes down. */
const struct if_msghdr MESSAGE(interface_down) = {
	.ifm_msglen = sizeof(struct if_msghdr), .ifm_version = RTM_VERSION, .ifm_type = RTM_IFINFO, .ifm_index = 1,
	.ifm_flags = IFF_BROADCAST | IFF_MULTICAST,
	.ifm_data = { .ifi_type = IFT_ETHER, .ifi_addrlen = 6, .ifi_datalen = sizeof(struct if_data), .ifi_mtu = 1500 },
};

/* Interface 7 is gone. */
const struct if_announcemsghdr MESSAGE(departure) = {
	.ifan_msglen = sizeof(struct if_announcemsghdr), .ifan_version = RTM_VERSION, .ifan_type = RTM_IFANNOUNCE,
	.ifan_index = 7, .ifan_name = "tun7", .ifan_what = IFAN_DEPARTURE,
};

/* A mask of no length still has room. */
struct no_mask { struct rt_msghdr header; IN6 destination; long mask; DL interface; };
const struct no_mask MESSAGE(no_mask) = {
	{ HEADER(struct no_mask, RTM_MISS), .rtm_addrs = RTA_DST | RTA_NETMASK | RTA_IFP },
	ANYCAST, 0, LINK(1, IFT_ETHER, 0, 0),
};
