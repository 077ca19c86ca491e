//! Trace contexts: which trace a piece of work belongs to, and which span of it caused the work, as W3C's header `traceparent`
//! spells it. Pure: ids are drawn by the caller.

use std::fmt;

/// A place in a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceContext {
    trace: [u8; 16],
    span: [u8; 8],
    sampled: bool,
}

/// The flag that says that whoever made the context records its spans.
const SAMPLED: u8 = 1;
/// Characters of a header in version 00, the only one so far.
const LENGTH: usize = 55;
/// Characters of the longest header that is looked at: later versions may be longer.
const LONGEST: usize = 512;

impl TraceContext {
    /// The beginning of a trace. `None` for ids that are all zeros, which mean nothing.
    pub fn root(trace: [u8; 16], span: [u8; 8], sampled: bool) -> Option<Self> {
        (trace != [0; 16] && span != [0; 8]).then_some(Self { trace, span, sampled })
    }

    /// The same trace, seen from another span of it. `None` for an id that is all zeros.
    pub fn child(self, span: [u8; 8]) -> Option<Self> {
        Self::root(self.trace, span, self.sampled)
    }

    /// Reads a header. `None` where it is none: it is ignored then, as the standard asks, and costs nobody a request.
    pub fn parse(text: &str) -> Option<Self> {
        if !(LENGTH..=LONGEST).contains(&text.len()) {
            return None;
        }
        let mut parts = text.split('-');
        let version = byte(parts.next()?)?;
        let trace = bytes(parts.next()?)?;
        let span = bytes(parts.next()?)?;
        let flags = byte(parts.next()?)?;
        // Version 00 ends here. What later ones put behind it is theirs; 255 is no version.
        let more = parts.next().is_some();
        if version == 0xff || version == 0 && more {
            return None;
        }
        Self::root(trace, span, flags & SAMPLED != 0)
    }

    /// The trace.
    pub fn trace(&self) -> [u8; 16] {
        self.trace
    }

    /// The span.
    pub fn span(&self) -> [u8; 8] {
        self.span
    }

    /// Whether the spans of the trace are recorded.
    pub fn sampled(&self) -> bool {
        self.sampled
    }

    /// The trace's id, as tools show it.
    pub fn trace_id(&self) -> String {
        hex::encode(self.trace)
    }
}

/// The header.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags = if self.sampled { SAMPLED } else { 0 };
        write!(f, "00-{}-{}-{flags:02x}", hex::encode(self.trace), hex::encode(self.span))
    }
}

fn byte(text: &str) -> Option<u8> {
    bytes::<1>(text).map(|[byte]| byte)
}

/// Exactly so many bytes, in small letters as the standard has them.
fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    let small = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if !text.bytes().all(small) {
        return None;
    }
    let mut bytes = [0; N];
    hex::decode_to_slice(text, &mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEADER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_header_is_read_as_it_is_written() {
        let context = TraceContext::parse(HEADER).unwrap();
        assert!(context.sampled());
        assert_eq!(context.trace_id(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(context.to_string(), HEADER);
        let quiet = TraceContext::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00").unwrap();
        assert!(!quiet.sampled());
        // Other flags are not ours, and a later version may say more.
        for (text, sampled) in [
            ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-fe", false),
            ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-ff", true),
            ("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", true),
            ("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what-the-future-will-be-like", true),
        ] {
            assert_eq!(TraceContext::parse(text).map(|context| context.sampled()), Some(sampled), "{text}");
        }
    }

    #[test]
    fn what_is_no_trace_context_is_none() {
        for text in [
            "",
            "00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00-0AF7651916CD43DD8448EB211C80319C-B7AD6B7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "0x-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1",
            "00-0af7651916cd43dd8448eb211c80319-b7ad6b71692033311-01",
            "00-0af7651916cd43dd8448eb211c80319é-b7ad6b716920333-01",
            " 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "someone@example.com",
        ] {
            assert_eq!(TraceContext::parse(text), None, "{text}");
        }
        assert_eq!(TraceContext::parse(&"0".repeat(100_000)), None);
    }

    proptest! {
        #[test]
        fn any_text_is_a_context_or_none(text in ".{0,80}") {
            if let Some(context) = TraceContext::parse(&text) {
                prop_assert_eq!(TraceContext::parse(&context.to_string()), Some(context));
            }
        }

        #[test]
        fn ids_come_back(trace in any::<[u8; 16]>(), span in any::<[u8; 8]>(), sampled in any::<bool>()) {
            if let Some(context) = TraceContext::root(trace, span, sampled) {
                prop_assert_eq!(TraceContext::parse(&context.to_string()), Some(context));
            }
        }
    }
}
