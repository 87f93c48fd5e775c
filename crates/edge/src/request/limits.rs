//! What one client may make the edge hold, read or wait for.

/// Bounds of the request check. Sizes are bytes on the wire, line ends included; times are milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest request line. Beyond it: 414.
    pub request_line_bytes_max: usize,
    /// Longest field line. Beyond it: 431.
    pub field_line_bytes_max: usize,
    /// Request line and fields together: all that is held before a request is let through. Beyond it: 431.
    pub head_bytes_max: usize,
    /// Most field lines of a head, or of an HTTP/2 request. Beyond it: 431.
    pub fields_max: usize,
    /// Longest body, without the framing of its chunks. Beyond it: 413.
    pub body_bytes_max: u64,
    /// Longest chunk-size line, its extension included. Beyond it: 400.
    pub chunk_line_bytes_max: usize,
    /// Extensions of all chunks of one body: they carry nothing that anybody reads. Beyond it: 400.
    pub chunk_extension_bytes_max: usize,
    /// Trailer section behind the last chunk. Beyond it: 431.
    pub trailer_bytes_max: usize,
    /// Most trailer field lines. Beyond it: 431.
    pub trailers_max: usize,
    /// From the first byte of a head, or from the beginning of a connection, to the end of the head. Beyond it: 408.
    pub head_ms_max: u64,
    /// How long a connection may say nothing between two requests.
    pub idle_ms_max: u64,
    /// A body that is not whole must bring [`Self::body_window_bytes_min`] within every stretch of this. Else: 408.
    pub body_window_ms: u64,
    /// What a body must bring within a window.
    pub body_window_bytes_min: u64,
}

impl Default for Limits {
    /// Heads as large as the common servers take by default (8 KiB lines, 32 KiB heads, 100 fields), so that nothing
    /// that works in front of them is refused here. 10 s for a head and 200 bytes a second for a body are ten times
    /// slower than any phone that a person would wait for.
    fn default() -> Self {
        Self {
            request_line_bytes_max: 8 << 10,
            field_line_bytes_max: 8 << 10,
            head_bytes_max: 32 << 10,
            fields_max: 100,
            body_bytes_max: 1 << 20,
            chunk_line_bytes_max: 256,
            chunk_extension_bytes_max: 1 << 10,
            trailer_bytes_max: 4 << 10,
            trailers_max: 16,
            head_ms_max: 10_000,
            idle_ms_max: 60_000,
            body_window_ms: 10_000,
            body_window_bytes_min: 2_000,
        }
    }
}
