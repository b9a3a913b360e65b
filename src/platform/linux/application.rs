//! The applications behind a responder as Linux sees them: connections of an anycast address, and programs that must
//! not outlive the node (the metric and the drain of the advanced model, thesis 3.1.4).
//! Called by `daemon`.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::net::Ipv6Addr;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sys::prctl;
use nix::sys::signal::Signal;

/// TCP_ESTABLISHED of the kernel, as its table of sockets writes it.
const ESTABLISHED: &str = "01";

/// The established TCP connections whose address on this host is `address`.
///
/// # Errors
/// When the kernel's table cannot be read.
pub fn established_connections(address: Ipv6Addr) -> io::Result<u64> {
    count(BufReader::new(File::open("/proc/net/tcp6")?), address)
}

fn count(table: impl BufRead, address: Ipv6Addr) -> io::Result<u64> {
    let wanted = written(address);
    let mut found = 0;
    for line in table.lines().skip(1) {
        let line = line?;
        let mut words = line.split_ascii_whitespace().skip(1);
        let (Some(local), Some(_), Some(state)) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        found += u64::from(state == ESTABLISHED && local.split(':').next() == Some(wanted.as_str()));
    }
    Ok(found)
}

/// The address as the table has it: four words in this machine's order of octets.
fn written(address: Ipv6Addr) -> String {
    let octets = address.octets();
    let (words, _) = octets.as_chunks::<4>();
    words.iter().map(|word| format!("{:08X}", u32::from_ne_bytes(*word))).collect()
}

/// Makes the program end when this process does, however that ends.
pub fn die_with_parent(command: &mut Command) {
    let ask = || prctl::set_pdeathsig(Signal::SIGKILL).map_err(io::Error::from);
    // SAFETY: between fork and exec one system call is made and no memory is allocated.
    unsafe { command.pre_exec(ask) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_established_connections_of_the_address_count() {
        let other = written("2001:db8:0:1::b".parse().expect("an address"));
        let own = written("2001:db8:0:1::a".parse().expect("an address"));
        let table = format!(
            "  sl  local_address remote_address st tx_queue\n\
             0: {own}:0050 00000000000000000000000000000000:0000 0A 0:0\n\
             1: {own}:0050 {other}:C001 01 0:0\n\
             2: {own}:0050 {other}:C002 06 0:0\n\
             3: {own}:1F90 {other}:C003 01 0:0\n\
             4: {other}:0050 {own}:C004 01 0:0\n\
             cut off\n"
        );
        let address = "2001:db8:0:1::a".parse().expect("an address");
        assert_eq!(count(table.as_bytes(), address).expect("a table"), 2);
    }

    #[test]
    fn a_connection_of_this_process_is_counted_while_it_lasts() {
        let listener = std::net::TcpListener::bind("[::1]:0").expect("a listener");
        let at = listener.local_addr().expect("its address");
        let client = std::net::TcpStream::connect(at).expect("a connection");
        let (served, _) = listener.accept().expect("accepted");
        // Both ends have the address, and other tests may have connections too.
        assert!(established_connections(Ipv6Addr::LOCALHOST).expect("a count") >= 2);
        drop((client, served));
        let unused = "2001:db8::5ca1:ab1e".parse().expect("an address");
        assert_eq!(established_connections(unused).expect("a count"), 0);
    }
}
