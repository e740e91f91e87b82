//! An authoritative name server on a loopback address of its own, at port 53: it has no
//! records and says so.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicU8, Ordering};

/// Starts one. `None`, and a visible skip, where port 53 cannot be had.
pub(crate) fn start() -> Option<IpAddr> {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let process = std::process::id().to_be_bytes();
    let address = Ipv4Addr::new(127, process[2] | 0x80, process[3], NEXT.fetch_add(1, Ordering::Relaxed));
    let socket = match UdpSocket::bind((address, 53)) {
        Ok(socket) => socket,
        Err(error) => {
            let why = format!("no port 53 on loopback for a test's name server: {error}");
            eprintln!("skipped: {why}");
            if let Some(log) = std::env::var_os("FEDI_SKIP_LOG") {
                let file = std::fs::OpenOptions::new().append(true).create(true).open(log);
                let _ = file.and_then(|mut file| std::io::Write::write_all(&mut file, format!("{why}\n").as_bytes()));
            }
            return None;
        }
    };
    std::thread::spawn(move || {
        let mut question = [0_u8; 512];
        while let Ok((length, from)) = socket.recv_from(&mut question) {
            if let Some(answer) = no_such_name(&question[..length]) {
                let _ = socket.send_to(&answer, from);
            }
        }
    });
    Some(address.into())
}

/// The question with an authoritative "no such name" (RFC 1035, section 4.1).
fn no_such_name(message: &[u8]) -> Option<Vec<u8>> {
    let mut end = 12;
    while *message.get(end)? != 0 {
        end += usize::from(message[end]) + 1;
    }
    // The root label, type and class.
    let question = message.get(12..end + 5)?;
    let mut answer = message[..2].to_vec();
    answer.extend([0x84, 0x03, 0, 1, 0, 0, 0, 0, 0, 0]);
    answer.extend(question);
    Some(answer)
}
