//! The broker's version, out of the first frame that it sends. lapin does not hand it on.

use lapin::uri::{AMQPScheme, AMQPUri};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

// What a client of AMQP 0-9-1 says first.
const GREETING: &[u8; 8] = b"AMQP\0\0\x09\x01";
// In the table of server properties: the key with its length, then `S` for a text.
const KEY: &[u8] = b"\x07versionS";
// Brokers send some 500 bytes.
const FRAME_LONGEST: usize = 64 * 1024;

/// `None` where the broker does not tell, or only behind TLS.
pub(super) async fn ask(uri: &AMQPUri) -> Option<String> {
    if uri.scheme != AMQPScheme::AMQP {
        return None;
    }
    let mut stream = TcpStream::connect((uri.authority.host.as_str(), uri.authority.port)).await.ok()?;
    stream.write_all(GREETING).await.ok()?;
    // A frame: type (1 byte), channel (2), length (4), and so many bytes.
    let mut head = [0; 7];
    stream.read_exact(&mut head).await.ok()?;
    let length = usize::try_from(u32::from_be_bytes([head[3], head[4], head[5], head[6]])).ok()?;
    let mut frame = vec![0; length.min(FRAME_LONGEST)];
    stream.read_exact(&mut frame).await.ok()?;
    version(&frame)
}

fn version(frame: &[u8]) -> Option<String> {
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
        assert_eq!(version(frame).as_deref(), Some("3.10.8"));
    }

    #[test]
    fn a_frame_cut_short_has_no_version() {
        assert_eq!(version(b"\x07versionS\0\0\0\x063.1"), None);
        assert_eq!(version(b""), None);
    }
}
