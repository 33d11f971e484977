//! Lets the kernel pass all datagrams of a sender to the same one of several UDP sockets.

use std::io;
use std::net::UdpSocket;

use nix::libc::{
    self, BPF_ABS, BPF_ALU, BPF_JA, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_MISC, BPF_MOD, BPF_MUL, BPF_RET,
    BPF_RSH, BPF_TAX, BPF_W, BPF_X, BPF_XOR, sock_filter,
};
use nix::sys::socket::{setsockopt, sockopt};

/// The code of a return of the accumulator. libc lacks it.
const BPF_A: u32 = 0x10;

/// Offsets beyond this one are relative to the IP header.
const NETWORK_HEADER: u32 = libc::SKF_NET_OFF as u32;

/// A multiplier that spreads neighboring addresses: 2^32 divided by the golden ratio.
const SPREAD: u32 = 0x9E37_79B1;

/// Makes the kernel choose a socket by the source address of a datagram. By default, it chooses by the source port,
/// too. Then two samples that a host sends through two ports can be recorded in the wrong order. `socket` is one of
/// `count` sockets that share an address with `SO_REUSEPORT`.
///
/// # Errors
///
/// Fails if the kernel refuses the program.
pub(super) fn steer_by_source_address(socket: &UdpSocket, count: usize) -> io::Result<()> {
    let mut program = program(count as u32);
    let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    setsockopt(socket, sockopt::AttachReusePortCbpf, &program).map_err(|error| {
        let error = io::Error::from(error);
        let text = format!("the kernel cannot give each sender one of several receivers ({error}); set listeners.udp.receivers = 1");
        io::Error::new(error.kind(), text)
    })
}

/// Returns a program of classic BPF that returns the number of a socket below `count`.
fn program(count: u32) -> [sock_filter; 19] {
    let load = |offset| step(BPF_LD | BPF_W | BPF_ABS, NETWORK_HEADER.wrapping_add(offset));
    let to_x = step(BPF_MISC | BPF_TAX, 0);
    let xor_x = step(BPF_ALU | BPF_XOR | BPF_X, 0);
    [
        // An IPv6 socket can receive both versions. The version is in the first four bits.
        load(0),
        step(BPF_ALU | BPF_RSH | BPF_K, 28),
        sock_filter { jt: 2, ..step(BPF_JMP | BPF_JEQ | BPF_K, 6) },
        // IPv4: the source address.
        load(12),
        step(BPF_JMP | BPF_JA, 10),
        // IPv6: the four words of the source address.
        load(8),
        to_x,
        load(12),
        xor_x,
        to_x,
        load(16),
        xor_x,
        to_x,
        load(20),
        xor_x,
        // The lower bits of a product spread badly.
        step(BPF_ALU | BPF_MUL | BPF_K, SPREAD),
        step(BPF_ALU | BPF_RSH | BPF_K, 16),
        step(BPF_ALU | BPF_MOD | BPF_K, count),
        step(BPF_RET | BPF_A, 0),
    ]
}

fn step(code: u32, k: u32) -> sock_filter {
    sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::net::{IpAddr, Ipv4Addr, SocketAddr};
    use std::time::Duration;

    use super::*;
    use crate::net::{BindKeys, UdpSockets, bind_udp};

    const KEYS: BindKeys = BindKeys { socket: "udp", address: "a", port: "a", share_port: None };

    fn open(address: &str, count: usize) -> Vec<UdpSocket> {
        let address = address.parse().unwrap();
        let options =
            UdpSockets { address, count, receive_buffer: 65_536, share_port: false, only_v6: false };
        bind_udp(&options, &KEYS).unwrap()
    }

    /// Sends from 8 ports of an address. Returns the numbers of the sockets that the datagrams reach.
    fn reached(sockets: &[UdpSocket], from: IpAddr, to: IpAddr) -> BTreeSet<usize> {
        let to = SocketAddr::new(to, sockets[0].local_addr().unwrap().port());
        for _ in 0..8 {
            UdpSocket::bind((from, 0)).unwrap().send_to(b"a:1|c", to).unwrap();
        }
        let mut reached = BTreeSet::new();
        let mut received = 0;
        for (number, socket) in sockets.iter().enumerate() {
            socket.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
            while socket.recv(&mut [0; 8]).is_ok() {
                received += 1;
                reached.insert(number);
            }
        }
        assert_eq!(received, 8);
        reached
    }

    #[test]
    fn all_ports_of_an_address_reach_one_socket_and_addresses_spread() {
        let localhost: IpAddr = Ipv4Addr::LOCALHOST.into();
        for (bind, to) in [("127.0.0.1:0", localhost), ("0.0.0.0:0", localhost), ("[::]:0", localhost)] {
            let sockets = open(bind, 4);
            let mut all = BTreeSet::new();
            for host in 1..=20 {
                let sockets_of_host = reached(&sockets, Ipv4Addr::new(127, 0, 0, host).into(), to);
                assert_eq!(sockets_of_host.len(), 1, "{bind} from host {host}: {sockets_of_host:?}");
                all.extend(sockets_of_host);
            }
            assert_eq!(all.len(), 4, "{bind}: {all:?}");
        }
        let localhost: IpAddr = "::1".parse().unwrap();
        assert_eq!(reached(&open("[::1]:0", 4), localhost, localhost).len(), 1);
    }
}
