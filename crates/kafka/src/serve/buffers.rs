//! Memory for large requests that is used again: fresh memory costs the kernel as much as reading the request into it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

/// Size of a buffer that is kept: both librdkafka's and Kafka's own producer send at most about a megabyte at once.
pub(crate) const BUFFER_BYTES: usize = 1 << 20;

/// Buffers kept: more requests than this are hardly in hand at once on a machine that a stand-in is meant for, and 8 MiB
/// leave a broker at rest small.
const KEPT_MAX: usize = 8;

/// Buffers that nobody uses now; the one used last comes first, since the processor may still hold it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Buffers(Arc<Mutex<Vec<Vec<u8>>>>);

impl Buffers {
    /// An empty buffer of at least [`BUFFER_BYTES`]. It comes back when it is dropped, or the last part of what it was
    /// frozen to.
    pub(crate) fn take(&self) -> Lent {
        let kept = self.kept().pop();
        Lent { bytes: kept.unwrap_or_else(|| Vec::with_capacity(BUFFER_BYTES)), home: Some(self.clone()) }
    }

    fn kept(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A buffer that goes back to where it was taken, if it was taken anywhere.
#[derive(Debug)]
pub(crate) struct Lent {
    bytes: Vec<u8>,
    home: Option<Buffers>,
}

impl Lent {
    /// A fresh buffer, let go of after its use.
    pub(crate) fn fresh(capacity: usize) -> Self {
        Self { bytes: Vec::with_capacity(capacity), home: None }
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    pub(crate) fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        // One that had to grow is let go.
        if let Some(home) = &self.home
            && bytes.capacity() == BUFFER_BYTES
        {
            bytes.clear();
            let mut kept = home.kept();
            if kept.len() < KEPT_MAX {
                kept.push(bytes);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_with_the_last_part_of_it_and_empty() {
        let buffers = Buffers::default();
        let mut lent = buffers.take();
        lent.bytes_mut().extend_from_slice(b"request");
        let at = lent.as_ref().as_ptr();
        let frame = lent.freeze();
        let part = frame.slice(2..);
        drop(frame);
        assert_ne!(buffers.take().as_ref().as_ptr(), at, "a part of it is still read");
        drop(part);
        let again = buffers.take();
        assert_eq!((again.as_ref(), again.as_ref().as_ptr()), (&[][..], at));
    }

    #[test]
    fn no_more_and_no_larger_buffers_are_kept_than_is_said() {
        let buffers = Buffers::default();
        let lent: Vec<Lent> = (0..2 * KEPT_MAX).map(|_| buffers.take()).collect();
        drop(lent);
        assert_eq!(buffers.kept().len(), KEPT_MAX);
        let mut large = buffers.take();
        large.bytes_mut().resize(BUFFER_BYTES + 1, 0);
        drop(large);
        assert_eq!(buffers.kept().len(), KEPT_MAX - 1);
    }
}
