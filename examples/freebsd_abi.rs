//! Prints what the node claims about FreeBSD's constants and structures, as C that compiles only when all of it is true.
//! `tests/freebsd.sh` gives it to a C compiler that has FreeBSD's own headers; no RFC is concerned.

use mga_node::platform::freebsd::abi::CLAIMS;

/// Where FreeBSD declares what is claimed about; the order is the one that the headers want.
const HEADERS: [&str; 23] = [
    "stddef.h",
    "sys/types.h",
    "sys/param.h",
    "sys/socket.h",
    "sys/socketvar.h",
    "sys/sockio.h",
    "sys/sysctl.h",
    "net/if.h",
    "net/if_dl.h",
    "net/if_types.h",
    "net/if_tun.h",
    "net/bpf.h",
    "net/route.h",
    "netinet/in.h",
    "netinet/in_pcb.h",
    "netinet/tcp.h",
    "netinet/tcp_fsm.h",
    "netinet/tcp_var.h",
    "netinet/icmp6.h",
    "netinet6/in6_var.h",
    "netinet6/nd6.h",
    "sys/ioctl.h",
    "sys/procctl.h",
];

fn main() {
    for header in HEADERS {
        println!("#include <{header}>");
    }
    // FreeBSD names the parts of this instruction only.
    println!("#define BPF_RET_K (BPF_RET | BPF_K)");
    for (expression, value) in CLAIMS {
        println!("_Static_assert({expression} == {value}, \"{expression} is not {value}\");");
    }
}
