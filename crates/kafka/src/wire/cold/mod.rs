//! The messages that are not on the record path: `kafka-protocol` reads and writes them, behind a guard.

use bytes::Bytes;
use kafka_protocol::protocol::{Decodable, Encodable, Message, Request};

use crate::wire::{OutFrame, WireError};

fn supported<T: Message>(api: i16, version: i16) -> Result<(), WireError> {
    if version < T::VERSIONS.min || version > T::VERSIONS.max {
        return Err(WireError::Unsupported { api, version });
    }
    Ok(())
}

fn decode<T: Decodable + Message>(api: i16, version: i16, mut body: Bytes) -> Result<T, WireError> {
    supported::<T>(api, version)?;
    T::decode(&mut body, version).map_err(|_| WireError::Malformed { api, version })
}

fn encode<T: Encodable + Message>(api: i16, version: i16, message: &T, out: &mut OutFrame) -> Result<(), WireError> {
    supported::<T>(api, version)?;
    message.encode(out.tail(), version).map_err(|_| WireError::Unwritable { field: "message", version })
}

/// Reads the body of a request.
pub fn decode_request<T: Request>(version: i16, body: Bytes) -> Result<T, WireError> {
    decode(T::KEY, version, body)
}

/// Reads the body of the answer to a request of type `T`.
pub fn decode_response<T: Request>(version: i16, body: Bytes) -> Result<T::Response, WireError> {
    decode(T::KEY, version, body)
}

/// Writes the body of a request.
pub fn encode_request<T: Request>(version: i16, request: &T, out: &mut OutFrame) -> Result<(), WireError> {
    encode(T::KEY, version, request, out)
}

/// Writes the body of the answer to a request of type `T`.
pub fn encode_response<T: Request>(version: i16, response: &T::Response, out: &mut OutFrame) -> Result<(), WireError> {
    encode(T::KEY, version, response, out)
}
