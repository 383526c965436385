//! A way through an HTTP proxy: `CONNECT` (RFC 9110, 9.3.6), and what follows is between us and whom we meant.
//!
//! # Invariants
//!
//! - Nothing is read of the proxy's answer but its head, of a bounded length.
//! - The proxy sees the address and TLS; it is believed in nothing else.

use std::io;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Makes a connection to the proxy `proxy` (`[USER:PASSWORD@]HOST:PORT`) one to `address` (`HOST:PORT`).
///
/// Fails with the proxy's own words if it refuses. The password is in no error.
pub(super) async fn tunnel(
    mut stream: TcpStream,
    proxy: &str,
    address: &str,
) -> io::Result<TcpStream> {
    let (proxy, credentials) = parts(proxy);
    let basic = credentials.map_or_else(String::new, |credentials| {
        let encoded = STANDARD.encode(credentials);
        format!("Proxy-Authorization: Basic {encoded}\r\n")
    });
    let request = format!("CONNECT {address} HTTP/1.1\r\nHost: {address}\r\n{basic}\r\n");
    stream.write_all(request.as_bytes()).await?;
    let head = head(&mut stream).await?;
    if is_success(&head) {
        return Ok(stream);
    }
    let line = head.lines().next().unwrap_or_default();
    let said: String = line
        .chars()
        .filter(|c| !c.is_control())
        .take(SHOWN)
        .collect();
    Err(io::Error::other(format!(
        "the proxy {proxy} answers `{said}`"
    )))
}

/// Where the proxy is, and what proves us to it (RFC 7617). A password may hold an `@`, a host cannot.
pub(super) fn parts(proxy: &str) -> (&str, Option<&str>) {
    match proxy.rsplit_once('@') {
        Some((credentials, place)) => (place, Some(credentials)),
        None => (proxy, None),
    }
}

/// The answer's status line and fields; byte by byte, because what follows them is not ours to read here.
async fn head(stream: &mut TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= LARGEST_HEAD {
            return Err(io::Error::other("the proxy's answer does not end"));
        }
        head.push(stream.read_u8().await?);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// `HTTP/1.x 2xx`.
fn is_success(head: &str) -> bool {
    let mut words = head.split_whitespace();
    let version = words.next().unwrap_or_default();
    let status = words.next().unwrap_or_default();
    version.starts_with("HTTP/1.") && status.len() == 3 && status.starts_with('2')
}

const LARGEST_HEAD: usize = 8 << 10;
/// Of the proxy's words, so many characters are shown.
const SHOWN: usize = 120;

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// What a tunnel becomes through a proxy that answers so, and what the proxy was asked.
    async fn through(answer: &'static [u8]) -> (io::Result<TcpStream>, String) {
        through_as("", answer).await
    }

    async fn through_as(
        credentials: &str,
        answer: &'static [u8],
    ) -> (io::Result<TcpStream>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let proxy = listener.local_addr().expect("an address");
        let serve = async {
            let (mut stream, _) = listener.accept().await.expect("a client");
            let asked = head(&mut stream).await.expect("a request");
            stream.write_all(answer).await.expect("it listens");
            asked
        };
        let tunnelled = async {
            let stream = TcpStream::connect(proxy).await?;
            let named = format!("{credentials}{proxy}");
            tunnel(stream, &named, "collector.example:7443").await
        };
        tokio::join!(tunnelled, serve)
    }

    #[tokio::test]
    async fn what_follows_the_proxys_answer_is_left_for_who_speaks_next() {
        let (stream, asked) = through(b"HTTP/1.1 200 OK\r\nVia: x\r\n\r\nhello").await;
        assert!(asked.starts_with("CONNECT collector.example:7443 HTTP/1.1\r\n"));
        let mut behind = [0; 5];
        let mut stream = stream.expect("a tunnel");
        stream.read_exact(&mut behind).await.expect("five bytes");
        assert_eq!(&behind, b"hello");
    }

    #[tokio::test]
    async fn a_proxy_that_refuses_is_quoted_and_one_that_talks_nonsense_is_no_tunnel() {
        let (refused, _) = through(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").await;
        let words = refused.expect_err("it refused").to_string();
        assert!(
            words.contains("407 Proxy Authentication Required"),
            "{words}"
        );
        for answer in [
            &b"SSH-2.0-x\r\n\r\n"[..],
            b"HTTP/1.1 20\r\n\r\n",
            b"HTTP/1.1 200",
        ] {
            assert!(through(answer).await.0.is_err());
        }
    }

    #[tokio::test]
    async fn a_name_and_a_password_go_to_the_proxy_and_into_no_error() {
        let refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n";
        let (refused, asked) = through_as("alice:p@ss:word@", refusal).await;
        assert!(
            asked.contains("\r\nProxy-Authorization: Basic YWxpY2U6cEBzczp3b3Jk\r\n"),
            "{asked}"
        );
        let words = refused.expect_err("it refused").to_string();
        assert!(words.contains("407") && !words.contains("word"), "{words}");
        let (_, asked) = through(b"HTTP/1.1 200 OK\r\n\r\n").await;
        assert!(!asked.contains("Authorization"), "{asked}");
    }

    #[tokio::test]
    async fn an_answer_without_an_end_is_not_read_for_ever() {
        let endless: &'static [u8] = Box::leak(vec![b'a'; 3 * LARGEST_HEAD].into_boxed_slice());
        assert!(through(endless).await.0.is_err());
    }
}
