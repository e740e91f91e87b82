//! A front before an HTTP server that does something when a request is on its way.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;

use super::port;

/// What is done; it is told the request's first line.
pub(crate) type Meanwhile = dyn Fn(&str) + Send + Sync;

/// Passes requests without a body on to a server; returns its own port. It ends with the process.
pub(crate) fn between(server: u16, meanwhile: Arc<Meanwhile>) -> u16 {
    let own = port();
    let listener = TcpListener::bind(("127.0.0.1", own)).unwrap();
    std::thread::spawn(move || {
        for outer in listener.incoming().flatten() {
            let Ok(inner) = TcpStream::connect(("127.0.0.1", server)) else { continue };
            let (back, forth) = ((inner.try_clone().unwrap(), outer.try_clone().unwrap()), (outer, inner));
            let meanwhile = Arc::clone(&meanwhile);
            std::thread::spawn(move || requests(forth, &*meanwhile));
            std::thread::spawn(move || answers(back));
        }
    });
    own
}

fn requests((mut from, mut to): (TcpStream, TcpStream), meanwhile: &Meanwhile) {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while let Ok(1) = from.read(&mut byte) {
        head.push(byte[0]);
        if head.ends_with(b"\r\n\r\n") {
            meanwhile(String::from_utf8_lossy(&head).lines().next().unwrap_or_default());
            if to.write_all(&head).is_err() {
                break;
            }
            head.clear();
        }
    }
    // The other end may have closed it already.
    let _ = to.shutdown(Shutdown::Both);
}

fn answers((mut from, mut to): (TcpStream, TcpStream)) {
    let _ = std::io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Both);
}
