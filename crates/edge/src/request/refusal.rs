//! Why a request is not let through.

use std::fmt;

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident $status:literal $word:literal;)+) => {
        /// What is wrong with a request; the client is at fault, and the same bytes are refused again.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Reason {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Reason {
            /// Every reason.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// The status that answers it.
            pub const fn status(self) -> u16 {
                match self {
                    $(Self::$name => $status,)+
                }
            }

            /// Its name in metrics, logs and test vectors.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)+
                }
            }
        }
    };
}

reasons! {
    /// The first byte begins no method: another protocol, or the rest of a body nobody announced.
    NotHttp 400 "not-http";
    /// A line ends in LF without CR.
    BareLf 400 "bare-lf";
    /// A CR that ends no line.
    BareCr 400 "bare-cr";
    /// A control character, in a line or a value.
    ControlByte 400 "control-byte";
    /// Not `METHOD SP TARGET SP HTTP/1.x`, with one space each.
    RequestLine 400 "request-line";
    /// A method that is not made of capitals and hyphens, is longer than any, or asks for a tunnel or an echo.
    Method 400 "method";
    /// A version other than HTTP/1.1 or HTTP/1.0.
    Version 400 "version";
    /// A target that is of none of the allowed forms, or holds a byte that no URI may hold.
    Target 400 "target";
    /// A path that two readers may take for two: dot segments, empty segments, hidden slashes or letters.
    AmbiguousPath 400 "ambiguous-path";
    /// The request line is longer than allowed.
    TargetTooLong 414 "target-too-long";
    /// A field line without a colon, or without a name in front of it.
    FieldLine 400 "field-line";
    /// A field name with a byte that no name may hold; also a space in front of the colon.
    FieldName 400 "field-name";
    /// A field name that some reader takes for one that frames or routes the request.
    FieldNameResembles 400 "field-name-resembles";
    /// A field that goes on in the next line (obs-fold), or a first field line that begins with a space.
    FoldedField 400 "folded-field";
    /// A field line is longer than allowed.
    FieldTooLong 431 "field-too-long";
    /// More field lines than allowed.
    TooManyFields 431 "too-many-fields";
    /// The head is larger than allowed.
    HeadTooLarge 431 "head-too-large";
    /// No Host.
    HostMissing 400 "host-missing";
    /// More than one Host.
    HostRepeated 400 "host-repeated";
    /// A Host that is no host, with or without a port.
    HostValue 400 "host-value";
    /// The target, or `:authority`, names another host than Host.
    HostConflict 400 "host-conflict";
    /// A Content-Length that is not one plain number.
    ContentLengthValue 400 "content-length-value";
    /// More than one Content-Length, equal or not.
    ContentLengthRepeated 400 "content-length-repeated";
    /// Content-Length beside Transfer-Encoding.
    LengthWithEncoding 400 "length-with-encoding";
    /// A Transfer-Encoding other than exactly `chunked`, or in HTTP/1.0, which has none.
    TransferEncoding 400 "transfer-encoding";
    /// A body on a method that has none: servers that do not read it take it for the next request.
    BodyNotExpected 400 "body-not-expected";
    /// The body is larger than allowed.
    BodyTooLarge 413 "body-too-large";
    /// A chunk size that is not one plain hexadecimal number.
    ChunkSize 400 "chunk-size";
    /// A chunk extension that is malformed, or more of them than allowed.
    ChunkExtension 400 "chunk-extension";
    /// A chunk's data is not followed by CRLF.
    ChunkEnd 400 "chunk-end";
    /// A trailer that would frame, route or authorise the request after the fact.
    TrailerForbidden 400 "trailer-forbidden";
    /// The trailer section is larger than allowed.
    TrailersTooLarge 431 "trailers-too-large";
    /// An Expect other than `100-continue`, or one on a request without a body.
    Expect 400 "expect";
    /// A Connection that names a field which belongs to the request and not to the connection, or nothing.
    Connection 400 "connection";
    /// An Upgrade that is not to `websocket` on a GET without a body, or that Connection does not name.
    Upgrade 400 "upgrade";
    /// Bytes behind a request that asked for an upgrade, before it was answered.
    BeforeUpgrade 400 "before-upgrade";
    /// Bytes behind a request that said it was the last.
    AfterClose 400 "after-close";
    /// The head was not whole in time.
    SlowHead 408 "slow-head";
    /// The body came too slowly.
    SlowBody 408 "slow-body";
    /// Nothing came between two requests; the connection may be closed without an answer.
    Idle 408 "idle";
    /// A pseudo-header that is missing, unknown, repeated, empty, or behind a field.
    PseudoHeader 400 "pseudo-header";
    /// A scheme other than http and https.
    Scheme 400 "scheme";
    /// A field of the connection in HTTP/2, which has none.
    ConnectionField 400 "connection-field";
    /// A value that would break out of its line when it is written as HTTP/1.1, or begins or ends with a space.
    FieldValue 400 "field-value";
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A request that is not let through, and the place where that was clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("refused with {}: {reason}, at byte {at} of the connection", reason.status())]
pub struct Refusal {
    /// What is wrong.
    pub reason: Reason,
    /// Bytes of the connection in front of the line, or of the body byte, that was refused.
    pub at: u64,
}
