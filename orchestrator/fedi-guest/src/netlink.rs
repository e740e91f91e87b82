//! The addresses of the machine's interfaces, asked of the kernel over
//! rtnetlink(7): no program has to be installed for it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with};

use crate::error::GuestError;
use crate::protocol::Address;

// linux/rtnetlink.h, linux/netlink.h, linux/if_addr.h
const RTM_GETADDR: u16 = 22;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_NEWLINK: u16 = 16;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST_DUMP: u16 = 0x001 | 0x300;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFLA_IFNAME: u16 = 3;
const HEADER: usize = 16;
const IFADDRMSG: usize = 8;
const IFINFOMSG: usize = 16;

/// Every address but those of loopback.
pub(crate) fn addresses() -> Result<Vec<Address>, GuestError> {
    let asked = |error: rustix::io::Errno| GuestError::Start { program: "rtnetlink".to_owned(), source: error.into() };
    let links = dump(RTM_GETLINK, IFINFOMSG).map_err(asked)?;
    let addresses = dump(RTM_GETADDR, IFADDRMSG).map_err(asked)?;
    Ok(combine(&links, &addresses))
}

/// Asks for all objects of a kind; returns the datagrams as they came.
fn dump(kind: u16, body: usize) -> rustix::io::Result<Vec<u8>> {
    // Protocol 0 is NETLINK_ROUTE.
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    let length = HEADER + body;
    let mut request = vec![0; length];
    request[0..4].copy_from_slice(&u32::try_from(length).unwrap_or(0).to_ne_bytes());
    request[4..6].copy_from_slice(&kind.to_ne_bytes());
    request[6..8].copy_from_slice(&NLM_F_REQUEST_DUMP.to_ne_bytes());
    sendto(&socket, &request, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    let mut all = Vec::new();
    let mut datagram = vec![0_u8; 32 * 1024];
    loop {
        let (received, _) = recv(&socket, &mut datagram[..], RecvFlags::empty())?;
        let bytes = &datagram[..received];
        let ended = received == 0 || messages(bytes).any(|(kind, _)| kind == NLMSG_DONE || kind == NLMSG_ERROR);
        all.extend_from_slice(bytes);
        if ended {
            return Ok(all);
        }
    }
}

fn combine(links: &[u8], addresses: &[u8]) -> Vec<Address> {
    let mut names = Vec::new();
    for (kind, body) in messages(links) {
        let Some((info, rest)) = body.split_at_checked(IFINFOMSG) else { continue };
        if kind != RTM_NEWLINK {
            continue;
        }
        if let Some((_, name)) = attributes(rest).find(|(kind, _)| *kind == IFLA_IFNAME) {
            let name = String::from_utf8_lossy(name.split(|byte| *byte == 0).next().unwrap_or(name)).into_owned();
            names.push((u32_at(info, 4), name));
        }
    }
    let mut found = Vec::new();
    for (kind, body) in messages(addresses) {
        let Some((info, rest)) = body.split_at_checked(IFADDRMSG) else { continue };
        if kind != RTM_NEWADDR {
            continue;
        }
        let value = |wanted| attributes(rest).find(|(kind, _)| *kind == wanted).and_then(|(_, value)| address(value));
        // IFA_LOCAL is the own end of a point-to-point link; IPv6 has only IFA_ADDRESS.
        let Some(address) = value(IFA_LOCAL).or_else(|| value(IFA_ADDRESS)) else { continue };
        let index = u32_at(info, 4);
        let interface = names.iter().find(|(number, _)| *number == index).map(|(_, name)| name.clone());
        if !address.is_loopback() {
            found.push(Address { interface: interface.unwrap_or_default(), address, prefix: info[1] });
        }
    }
    found.sort();
    found
}

/// The messages in a run of datagrams: kind and body.
fn messages(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let header = bytes.get(..HEADER)?;
        let length = u32_at(header, 0) as usize;
        let kind = u16::from_ne_bytes([header[4], header[5]]);
        let body = bytes.get(HEADER..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, body))
    })
}

/// The attributes after a message's fixed part: kind and value.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let header = bytes.get(..4)?;
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let kind = u16::from_ne_bytes([header[2], header[3]]);
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    bytes.get(offset..offset + 4).and_then(|four| four.try_into().ok()).map_or(0, u32::from_ne_bytes)
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(|octets| Ipv4Addr::from(octets).into()),
        16 => <[u8; 16]>::try_from(bytes).ok().map(|octets| Ipv6Addr::from(octets).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_kernel_answers() {
        let found = addresses().unwrap();
        assert!(found.iter().all(|address| !address.interface.is_empty() && !address.address.is_loopback()));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(links in prop::collection::vec(any::<u8>(), 0..200), more in prop::collection::vec(any::<u8>(), 0..200)) {
            combine(&links, &more);
        }
    }
}
