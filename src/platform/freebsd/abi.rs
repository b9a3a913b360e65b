//! FreeBSD's numbers and structures that no crate of ours has: routing messages, requests about interfaces, tun, bpf.
//! They come from the headers of FreeBSD 14 on a 64-bit machine, no RFC is concerned; `examples/freebsd_abi.rs` prints
//! [`CLAIMS`] as C, and `tests/freebsd.sh` has a C compiler hold them against those headers.
//! Called by the rest of `platform::freebsd`.

/// Declares constants, places in structures not declared here, and structures once, and with them what is claimed about
/// each: an expression of C and its value.
macro_rules! abi {
    (
        constants { $($(#[$note:meta])* $name:ident: $kind:ty = $value:expr;)* }
        places { $($(#[$about:meta])* $place:ident is $expression:literal = $at:expr;)* }
        structures { $(
            $(#[$what:meta])* $structure:ident is $c:literal { $($field:ident: $type:ty,)* }
        )* }
    ) => {
        $($(#[$note])* pub const $name: $kind = $value;)*
        $($(#[$about])* pub const $place: usize = $at;)*

        $(
            $(#[$what])*
            #[allow(missing_docs)]
            #[repr(C)]
            #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
            pub struct $structure { $(pub $field: $type,)* }
        )*

        /// Every claim made here: an expression of C, and what it must be.
        pub const CLAIMS: &[(&str, i64)] = &[
            $((stringify!($name), $name as i64),)*
            $(($expression, $place as i64),)*
            $(
                (concat!("sizeof(", $c, ")"), size_of::<$structure>() as i64),
                $(
                    (
                        concat!("offsetof(", $c, ", ", stringify!($field), ")"),
                        std::mem::offset_of!($structure, $field) as i64,
                    ),
                    (
                        concat!("sizeof(((", $c, " *)0)->", stringify!($field), ")"),
                        size_of::<$type>() as i64,
                    ),
                )*
            )*
        ];
    };
}

abi! {
    constants {
        /// Family of IPv6 addresses.
        AF_INET6: u8 = 28;
        /// Family of link-layer addresses.
        AF_LINK: u8 = 18;
        /// Protocol family of divert sockets.
        PF_DIVERT: i32 = 44;
        /// Protocol family of routing sockets.
        PF_ROUTE: i32 = 17;

        /// Version of every routing message.
        RTM_VERSION: u8 = 5;
        RTM_ADD: u8 = 1;
        RTM_DELETE: u8 = 2;
        RTM_CHANGE: u8 = 3;
        RTM_GET: u8 = 4;
        RTM_LOSING: u8 = 5;
        RTM_REDIRECT: u8 = 6;
        RTM_MISS: u8 = 7;
        RTM_LOCK: u8 = 8;
        RTM_RESOLVE: u8 = 11;
        RTM_NEWADDR: u8 = 12;
        RTM_DELADDR: u8 = 13;
        RTM_IFINFO: u8 = 14;
        RTM_IFANNOUNCE: u8 = 17;

        RTF_UP: i32 = 0x1;
        RTF_GATEWAY: i32 = 0x2;
        RTF_HOST: i32 = 0x4;
        RTF_REJECT: i32 = 0x8;
        RTF_DONE: i32 = 0x40;
        /// The message is about a neighbour, not a route.
        RTF_LLDATA: i32 = 0x400;
        RTF_STATIC: i32 = 0x800;
        RTF_BLACKHOLE: i32 = 0x1000;
        /// Answer solicitations for the neighbour.
        RTF_ANNOUNCE: i32 = 0x4000;
        /// For routing programs to mark their own.
        RTF_PROTO1: i32 = 0x8000;

        RTAX_DST: i32 = 0;
        RTAX_GATEWAY: i32 = 1;
        RTAX_NETMASK: i32 = 2;
        RTAX_GENMASK: i32 = 3;
        RTAX_IFP: i32 = 4;
        RTAX_IFA: i32 = 5;
        RTAX_AUTHOR: i32 = 6;
        RTAX_BRD: i32 = 7;
        RTAX_MAX: i32 = 8;

        CTL_NET: i32 = 4;
        NET_RT_FLAGS: i32 = 2;

        IFNAMSIZ: i32 = 16;
        IFF_UP: i32 = 0x1;
        IFT_ETHER: u8 = 0x6;
        IFT_PPP: u8 = 0x17;
        IFT_TUNNEL: u8 = 0x83;
        IFT_L2VLAN: u8 = 0x87;
        IFT_IEEE8023ADLAG: u8 = 0xa1;
        IFT_BRIDGE: u8 = 0xd1;
        IFT_GIF: u8 = 0xf0;
        IFAN_ARRIVAL: u16 = 0;
        IFAN_DEPARTURE: u16 = 1;

        SIOCGIFMTU: u64 = 0xc020_6933;
        SIOCSIFMTU: u64 = 0x8020_6934;
        SIOCGIFFLAGS: u64 = 0xc020_6911;
        SIOCSIFFLAGS: u64 = 0x8020_6910;
        SIOCIFCREATE: u64 = 0xc020_697a;
        SIOCIFDESTROY: u64 = 0x8020_6979;
        SIOCAIFADDR_IN6: u64 = 0x8088_691b;
        SIOCDIFADDR_IN6: u64 = 0x8120_6919;
        SIOCGIFAFLAG_IN6: u64 = 0xc120_6949;
        IN6_IFF_TENTATIVE: i32 = 0x02;
        IN6_IFF_DUPLICATED: i32 = 0x04;
        IN6_IFF_DETACHED: i32 = 0x08;
        IN6_IFF_DEPRECATED: i32 = 0x10;
        IN6_IFF_NODAD: i32 = 0x20;
        ND6_INFINITE_LIFETIME: u32 = 0xffff_ffff;

        /// Read and write packets of tun(4) behind four octets of address family.
        TUNSIFHEAD: u64 = 0x8004_7460;

        BIOCSETIF: u64 = 0x8020_426c;
        BIOCSHDRCMPLT: u64 = 0x8004_4275;
        BPF_RET_K: u16 = 0x06;
        BIOCSETF: u64 = 0x8010_4267;

        IPV6_RECVPKTINFO: i32 = 36;
        IPV6_RECVHOPLIMIT: i32 = 37;
        IPV6_PKTINFO: i32 = 46;
        IPV6_HOPLIMIT: i32 = 47;
        IPV6_RECVTCLASS: i32 = 57;
        IPV6_TCLASS: i32 = 61;
        IPV6_PATHMTU: i32 = 44;
        ICMP6_FILTER: i32 = 18;

        PROC_PDEATHSIG_CTL: i32 = 11;
        TCPS_ESTABLISHED: i32 = 4;
        INP_IPV6: u8 = 0x2;
    }
    places {
        /// Length of the header, and of the trailer, of the list of TCP connections.
        XINPGEN is "sizeof(struct xinpgen)" = 64;
        /// Length of one of its entries.
        XTCPCB is "sizeof(struct xtcpcb)" = 744;
        /// Which families of addresses the entry is about.
        XTCPCB_VFLAG is "offsetof(struct xtcpcb, xt_inp.inp_vflag)" = 400;
        /// Its address on this host.
        XTCPCB_LOCAL is "offsetof(struct xtcpcb, xt_inp.inp_inc.inc_ie.ie_dependladdr)" = 280;
        /// Its state.
        XTCPCB_STATE is "offsetof(struct xtcpcb, t_state)" = 568;
    }
    structures {
        /// Metrics of a route.
        RtMetrics is "struct rt_metrics" {
            rmx_locks: u64,
            rmx_mtu: u64,
            rmx_hopcount: u64,
            rmx_expire: u64,
            rmx_recvpipe: u64,
            rmx_sendpipe: u64,
            rmx_ssthresh: u64,
            rmx_rtt: u64,
            rmx_rttvar: u64,
            rmx_pksent: u64,
            rmx_weight: u64,
            rmx_nhidx: u64,
            rmx_filler: [u64; 2],
        }
        /// Header of a message about a route or a neighbour.
        RtMsghdr is "struct rt_msghdr" {
            rtm_msglen: u16,
            rtm_version: u8,
            rtm_type: u8,
            rtm_index: u16,
            _rtm_spare1: u16,
            rtm_flags: i32,
            rtm_addrs: i32,
            rtm_pid: i32,
            rtm_seq: i32,
            rtm_errno: i32,
            rtm_fmask: i32,
            rtm_inits: u64,
            rtm_rmx: RtMetrics,
        }
        /// Header of a message about an interface, with its statistics.
        IfMsghdr is "struct if_msghdr" {
            ifm_msglen: u16,
            ifm_version: u8,
            ifm_type: u8,
            ifm_addrs: i32,
            ifm_flags: i32,
            ifm_index: u16,
            _ifm_spare1: u16,
            ifm_data: [u64; 19],
        }
        /// Header of a message about an address of an interface.
        IfaMsghdr is "struct ifa_msghdr" {
            ifam_msglen: u16,
            ifam_version: u8,
            ifam_type: u8,
            ifam_addrs: i32,
            ifam_flags: i32,
            ifam_index: u16,
            _ifam_spare1: u16,
            ifam_metric: i32,
        }
        /// Message about an interface that came or went.
        IfAnnouncemsghdr is "struct if_announcemsghdr" {
            ifan_msglen: u16,
            ifan_version: u8,
            ifan_type: u8,
            ifan_index: u16,
            ifan_name: [u8; 16],
            ifan_what: u16,
        }
        /// A link-layer address.
        SockaddrDl is "struct sockaddr_dl" {
            sdl_len: u8,
            sdl_family: u8,
            sdl_index: u16,
            sdl_type: u8,
            sdl_nlen: u8,
            sdl_alen: u8,
            sdl_slen: u8,
            sdl_data: SdlData,
        }
        /// An IPv6 address.
        SockaddrIn6 is "struct sockaddr_in6" {
            sin6_len: u8,
            sin6_family: u8,
            sin6_port: u16,
            sin6_flowinfo: u32,
            sin6_addr: [u8; 16],
            sin6_scope_id: u32,
        }
        /// How long an address lives.
        In6Addrlifetime is "struct in6_addrlifetime" {
            ia6t_expire: i64,
            ia6t_preferred: i64,
            ia6t_vltime: u32,
            ia6t_pltime: u32,
        }
        /// A request to give an interface an address.
        In6Aliasreq is "struct in6_aliasreq" {
            ifra_name: [u8; 16],
            ifra_addr: SockaddrIn6,
            ifra_dstaddr: SockaddrIn6,
            ifra_prefixmask: SockaddrIn6,
            ifra_flags: i32,
            ifra_lifetime: In6Addrlifetime,
            ifra_vhid: i32,
        }
        /// A request about an interface.
        Ifreq is "struct ifreq" {
            ifr_name: [u8; 16],
            ifr_ifru: [u64; 2],
        }
        /// A request about an IPv6 address of an interface.
        In6Ifreq is "struct in6_ifreq" {
            ifr_name: [u8; 16],
            ifr_ifru: In6Ifru,
        }
        /// By which interface and to which address a packet came.
        In6Pktinfo is "struct in6_pktinfo" {
            ipi6_addr: [u8; 16],
            ipi6_ifindex: u32,
        }
        /// One instruction of a packet filter; of zeros only it takes no packet.
        BpfInsn is "struct bpf_insn" {
            code: u16,
            jt: u8,
            jf: u8,
            k: u32,
        }
        /// A packet filter and where it is.
        BpfProgram is "struct bpf_program" {
            bf_len: u32,
            bf_insns: u64,
        }
        /// The path MTU of a connected socket.
        Ip6Mtuinfo is "struct ip6_mtuinfo" {
            ip6m_addr: SockaddrIn6,
            ip6m_mtu: u32,
        }
        /// The ICMPv6 types a socket wants, one bit each.
        Icmp6Filter is "struct icmp6_filter" {
            icmp6_filt: [u32; 8],
        }
    }
}

/// Room for an interface's name and its link-layer address.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SdlData(pub [u8; 46]);

impl Default for SdlData {
    fn default() -> Self {
        Self([0; 46])
    }
}

/// Room for what a request about an IPv6 address asks or answers.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct In6Ifru(pub [u64; 34]);

impl Default for In6Ifru {
    fn default() -> Self {
        Self([0; 34])
    }
}
