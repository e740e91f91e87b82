//! A front that passes on so many bytes, then breaks off and is gone, for good or until a
//! client has come back often enough.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What all connections share.
struct Shared {
    left: AtomicU64,
    gone: AtomicBool,
    ended: AtomicBool,
    /// Connections that are turned away before it is there again.
    turned_away: u32,
    port: u16,
}

/// Passes bytes on to a server, until a client has sent too many.
pub(crate) struct Cut {
    shared: Arc<Shared>,
    listening: Option<std::thread::JoinHandle<()>>,
}

impl Cut {
    /// Once gone, it turns so many connections away before it is there again.
    pub(crate) fn before(port: u16, after_bytes: u64, turned_away: u32) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let own = listener.local_addr().unwrap().port();
        let shared = Shared {
            left: AtomicU64::new(after_bytes),
            gone: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            turned_away,
            port: own,
        };
        let shared = Arc::new(shared);
        let ours = Arc::clone(&shared);
        let listening = std::thread::spawn(move || {
            let mut away = 0;
            for outer in listener.incoming() {
                if ours.ended.load(Ordering::SeqCst) {
                    return;
                }
                if ours.gone.load(Ordering::SeqCst) && away < ours.turned_away {
                    away += 1;
                    continue;
                }
                let (Ok(outer), Ok(inner)) = (outer, TcpStream::connect(("127.0.0.1", port))) else { continue };
                let (back, forth) = ((inner.try_clone().unwrap(), outer.try_clone().unwrap()), (outer, inner));
                let shared = Arc::clone(&ours);
                std::thread::spawn(move || pass(forth, Some(&shared)));
                std::thread::spawn(move || pass(back, None));
            }
        });
        Self { shared, listening: Some(listening) }
    }

    pub(crate) fn port(&self) -> u16 {
        self.shared.port
    }

    /// Whether it broke off.
    pub(crate) fn is_gone(&self) -> bool {
        self.shared.gone.load(Ordering::SeqCst)
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        // The listener looks up, and goes.
        let _ = TcpStream::connect(("127.0.0.1", self.shared.port));
        if let Some(listening) = self.listening.take() {
            listening.join().unwrap();
        }
    }
}

impl Shared {
    /// Whether so many bytes may pass.
    fn takes(&self, bytes: usize) -> bool {
        if self.gone.load(Ordering::SeqCst) {
            return true;
        }
        let bytes = u64::try_from(bytes).unwrap();
        let taken = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(bytes));
        taken.is_ok()
    }
}

fn pass((mut from, mut to): (TcpStream, TcpStream), limit: Option<&Shared>) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(bytes @ 1..) = from.read(&mut buffer) {
        if limit.is_some_and(|shared| !shared.takes(bytes)) {
            if let Some(shared) = limit {
                shared.gone.store(true, Ordering::SeqCst);
            }
            break;
        }
        if to.write_all(&buffer[..bytes]).is_err() {
            break;
        }
    }
    // The other end may have closed it already.
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}
