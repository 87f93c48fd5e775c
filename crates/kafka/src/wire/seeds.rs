//! The seeds of the fuzz targets in fuzz/corpus: real messages, so that a run starts beyond the first checks.
//! `NARU_UPDATE=1 cargo test -p naru-kafka seeds` writes them anew.
#![allow(clippy::unwrap_used)] // a test panics on failure

use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use kafka_protocol::protocol::Encodable;

use super::frame::{RequestHeader, split};
use super::{ApiKey, Batch, BatchBuilder, Compression, OutFrame, StrBytes, cold, golden};

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target)
}

/// The same as what stands in the file; written there instead if asked for.
fn check_seed(target: &str, name: &str, bytes: &[u8]) {
    check_seed_by(target, name, bytes, |stored, made| stored == made);
}

/// The same, where two files may say the same in other bytes.
fn check_seed_by(target: &str, name: &str, bytes: &[u8], same: impl Fn(&[u8], &[u8]) -> bool) {
    let path = corpus(target).join(name);
    #[allow(clippy::disallowed_methods)] // a test is told by its environment to write what it would compare
    if std::env::var_os("NARU_UPDATE").is_some() {
        std::fs::create_dir_all(corpus(target)).unwrap();
        std::fs::write(&path, bytes).unwrap();
    }
    let stored = std::fs::read(&path).unwrap_or_default();
    assert!(same(&stored, bytes), "{} is not in step: NARU_UPDATE=1 writes it anew", path.display());
}

/// A frame with a request header; the target reads the body as a request and as an answer.
fn frame(api: ApiKey, version: i16, body: Bytes, out: &mut OutFrame) {
    out.begin();
    let header = RequestHeader {
        api_key: api as i16,
        api_version: version,
        correlation_id: 1,
        client_id: Some(StrBytes::from_static_str("seed")),
        ..RequestHeader::default()
    };
    header.encode(out).unwrap();
    out.push(body);
    out.finish(1 << 20).unwrap();
}

fn encoded(message: &impl Encodable, version: i16) -> Bytes {
    let mut bytes = BytesMut::new();
    message.encode(&mut bytes, version).unwrap();
    bytes.freeze()
}

#[test]
fn the_seeds_of_frames_are_in_step() {
    // Before and after the compact lengths, and the newest.
    let mut produce = OutFrame::new();
    for version in [3, 9, 13] {
        frame(ApiKey::Produce, version, encoded(&golden::produce_request(version), version), &mut produce);
        frame(ApiKey::Produce, version, encoded(&golden::produce_response(version), version), &mut produce);
    }
    check_seed("frames", "seed-produce", &produce.to_bytes());
    let mut fetch = OutFrame::new();
    for version in [4, 12, 18] {
        frame(ApiKey::Fetch, version, encoded(&golden::fetch_request(version), version), &mut fetch);
        frame(ApiKey::Fetch, version, encoded(&golden::fetch_response(version), version), &mut fetch);
    }
    check_seed("frames", "seed-fetch", &fetch.to_bytes());

    for (direction, name) in [(cold::Direction::Request, "requests"), (cold::Direction::Response, "answers")] {
        for (oldest, age) in [(true, "oldest"), (false, "newest")] {
            let mut out = OutFrame::new();
            for &api in ApiKey::ALL {
                let version = if oldest { *api.versions().start() } else { *api.versions().end() };
                if let Some(body) = cold::tests::filled(api, direction, version) {
                    frame(api, version, body.into(), &mut out);
                }
            }
            let bytes = out.to_bytes();
            let mut rest = BytesMut::from(&bytes[..]);
            while let Some(mut frame) = split(&mut rest, 1 << 20).unwrap() {
                let header = RequestHeader::decode(&mut frame).unwrap();
                let api = ApiKey::from_i16(header.api_key).unwrap();
                assert_eq!(cold::guard(api, direction, header.api_version, &frame), Ok(()));
            }
            check_seed("frames", &format!("seed-cold-{name}-{age}"), &bytes);
        }
    }
}

/// The other form that the target takes: place of the API, version, body.
fn check_body(api: ApiKey, version: i16, direction: &str, body: &[u8]) {
    let place = ApiKey::ALL.iter().position(|one| *one == api).unwrap();
    let bytes = [&[place as u8, version as u8], body].concat();
    check_seed("frames", &format!("seed-body-{}-{direction}", api.name().to_lowercase()), &bytes);
}

#[test]
fn the_seeds_of_bodies_are_in_step() {
    check_body(ApiKey::Produce, 13, "request", &encoded(&golden::produce_request(13), 13));
    check_body(ApiKey::Produce, 13, "answer", &encoded(&golden::produce_response(13), 13));
    check_body(ApiKey::Fetch, 18, "request", &encoded(&golden::fetch_request(18), 18));
    check_body(ApiKey::Fetch, 18, "answer", &encoded(&golden::fetch_response(18), 18));
    for api in [ApiKey::Metadata, ApiKey::OffsetFetch, ApiKey::JoinGroup, ApiKey::CreateTopics] {
        let version = *api.versions().end();
        for (direction, name) in [(cold::Direction::Request, "request"), (cold::Direction::Response, "answer")] {
            check_body(api, version, name, &cold::tests::filled(api, direction, version).unwrap());
        }
    }
}

#[test]
fn the_seeds_of_batches_are_in_step() {
    for codec in Compression::ALL {
        let mut all = Vec::new();
        for first in [0, 3] {
            let mut builder = BatchBuilder::new(codec).base_offset(first).producer(9, 1, first as i32);
            for index in 0..3 {
                let headers: &[(&[u8], Option<&[u8]>)] = &[(b"trace", Some(b"1")), (b"empty", None)];
                builder.push(1_000 + index, Some(b"key"), Some(&[b'v'; 50]), headers).unwrap();
            }
            builder.push(900, None, None, &[]).unwrap();
            all.extend_from_slice(&builder.build().unwrap());
        }
        assert_eq!(content(&all).len(), 8);
        // What a compressor makes of the same records depends on which one was built in.
        let same = |stored: &[u8], made: &[u8]| match codec {
            Compression::None => stored == made,
            _ => content(stored) == content(made),
        };
        check_seed_by("batches", &format!("seed-{codec}"), &all, same);
    }
}

/// What whole batches say, record by record, with what of the headers does not depend on the compressor.
fn content(bytes: &[u8]) -> Vec<String> {
    let mut rest = Bytes::copy_from_slice(bytes);
    let mut said = Vec::new();
    while !rest.is_empty() {
        let batch = Batch::split_first(&mut rest).unwrap();
        batch.verify_crc().unwrap();
        let header = batch.header();
        let of_batch = (header.base_offset, header.producer_id, header.producer_epoch, header.base_sequence);
        let records = batch.records(1 << 20).map(Result::unwrap);
        said.extend(records.map(|record| format!("{of_batch:?} {:?} {record:?}", header.compression())));
    }
    said
}
