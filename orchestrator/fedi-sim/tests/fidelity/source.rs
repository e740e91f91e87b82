//! The web server that downloads of the recording came from: `/a.qcow2`, `/slow` that never ends, 404 for the rest.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// Starts it.
pub(crate) async fn serve(image: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let image = Arc::new(image);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, image.clone()));
        }
    });
    address
}

async fn answer(stream: TcpStream, image: Arc<Vec<u8>>) {
    let (reading, mut writing) = stream.into_split();
    let mut lines = BufReader::new(reading).lines();
    let Ok(Some(first)) = lines.next_line().await else { return };
    while let Ok(Some(line)) = lines.next_line().await
        && !line.is_empty()
    {}
    let path = first.split(' ').nth(1).unwrap_or_default();
    let head = |status: &str, length: usize| {
        format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n")
    };
    // The client may be gone by then.
    let _ = match path {
        "/a.qcow2" => {
            let mut bytes = head("200 OK", image.len()).into_bytes();
            bytes.extend_from_slice(&image);
            writing.write_all(&bytes).await
        }
        "/slow" => {
            let result = writing.write_all(head("200 OK", 1_000_000).as_bytes()).await;
            std::future::pending::<()>().await;
            result
        }
        _ => writing.write_all(head("404 Not Found", 0).as_bytes()).await,
    };
}
