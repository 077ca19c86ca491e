//! The first frame that a broker sends. It shows whether the broker answers, and its version; lapin exposes neither.

use std::io;

use lapin::uri::{AMQPScheme, AMQPUri};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

// What a client of AMQP 0-9-1 says first.
const GREETING: &[u8; 8] = b"AMQP\0\0\x09\x01";
// In the table of server properties: the key with its length, then `S` for a text.
const KEY: &[u8] = b"\x07versionS";
// Brokers send some 500 bytes.
const FRAME_LONGEST: usize = 64 * 1024;

/// The broker's version; `None` if the broker does not report it, or only behind TLS.
pub(super) async fn version(uri: &AMQPUri) -> Option<String> {
    find_version(&first_frame(uri).await.ok()?)
}

/// Waits until the broker says something. Behind TLS it only waits until something accepts connections.
pub(super) async fn answers(uri: &AMQPUri) -> io::Result<()> {
    first_frame(uri).await.map(drop)
}

async fn first_frame(uri: &AMQPUri) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect((uri.authority.host.as_str(), uri.authority.port)).await?;
    if uri.scheme != AMQPScheme::AMQP {
        return Ok(Vec::new());
    }
    stream.write_all(GREETING).await?;
    // A frame: type (1 byte), channel (2), length (4), and so many bytes.
    let mut head = [0; 7];
    stream.read_exact(&mut head).await?;
    let length = u32::from_be_bytes([head[3], head[4], head[5], head[6]]);
    let mut frame = vec![0; usize::try_from(length).unwrap_or(FRAME_LONGEST).min(FRAME_LONGEST)];
    stream.read_exact(&mut frame).await?;
    Ok(frame)
}

fn find_version(frame: &[u8]) -> Option<String> {
    let at = memchr::memmem::find(frame, KEY)? + KEY.len();
    let length = frame.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes)?;
    let text = frame.get(at + 4..at + 4 + usize::try_from(length).ok()?)?;
    std::str::from_utf8(text).ok().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_found_among_the_properties() {
        let frame = b"\0\x0a\0\x0a\x07productS\0\0\0\x08RabbitMQ\x07versionS\0\0\0\x063.10.8\0";
        assert_eq!(find_version(frame).as_deref(), Some("3.10.8"));
    }

    #[test]
    fn a_frame_cut_short_has_no_version() {
        assert_eq!(find_version(b"\x07versionS\0\0\0\x063.1"), None);
        assert_eq!(find_version(b""), None);
    }
}
