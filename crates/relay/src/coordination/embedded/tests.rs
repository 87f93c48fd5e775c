#![allow(clippy::unwrap_used)] // a test panics on failure

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;

static NOW: AtomicU64 = AtomicU64::new(0);

fn now() -> Millis {
    NOW.load(Ordering::SeqCst)
}

fn open(directory: &Path) -> Embedded {
    Embedded::open(directory, || 0, 7).unwrap()
}

fn value(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

#[tokio::test]
async fn a_swap_needs_the_version_and_survives() {
    let directory = tempfile::tempdir().unwrap();
    let embedded = open(directory.path());
    let mut watch = embedded.watch("group/");
    assert_eq!(embedded.read("group/pay").await.unwrap(), None);
    let first = embedded.swap("group/pay", 0, value("one")).await.unwrap();
    let other = embedded.swap("group/other", 0, value("x")).await.unwrap();
    let second = embedded.swap("group/pay", first, value("two")).await.unwrap();
    assert!(first < other && other < second, "no version is used twice");
    assert!(watch.has_changed().unwrap());
    assert_eq!(*watch.borrow_and_update(), second);
    for expected in [0, first, other, second + 1] {
        let refused = embedded.swap("group/pay", expected, value("three")).await.unwrap_err();
        let SwapFailed::Conflict { held: Some(held), .. } = refused else { panic!("{refused}") };
        assert_eq!(held, Held { version: second, value: value("two") });
    }
    let mark = embedded.mark().await.unwrap();
    drop(embedded);

    let embedded = open(directory.path());
    assert_eq!(embedded.mark().await.unwrap(), mark);
    let listed = embedded.list("group/").await.unwrap();
    let keys: Vec<_> = listed.iter().map(|(key, held)| (key.as_str(), held.version)).collect();
    assert_eq!(keys, [("group/other", other), ("group/pay", second)]);
    assert!(embedded.list("group/q").await.unwrap().is_empty());
}

#[tokio::test]
async fn one_process_has_it() {
    let directory = tempfile::tempdir().unwrap();
    let embedded = open(directory.path());
    assert!(matches!(Embedded::open(directory.path(), || 0, 8), Err(OpenError::InUse { .. })));
    drop(embedded);
    open(directory.path());
}

#[tokio::test]
async fn a_file_that_was_removed_or_restored_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("coordination");
    let embedded = open(directory.path());
    embedded.swap("k", 0, value("old")).await.unwrap();
    let copy = std::fs::read(&path).unwrap();
    embedded.swap("k", 1, value("new")).await.unwrap();
    let seen = embedded.mark().await.unwrap();
    assert!(seen.follows(seen));
    drop(embedded);
    for (content, expect) in [(Some(copy), Some("old")), (Some(Vec::new()), None), (None, None)] {
        match content {
            Some(bytes) => std::fs::write(&path, bytes).unwrap(),
            None => std::fs::remove_file(&path).unwrap(),
        }
        let embedded = Embedded::open(directory.path(), || 0, 9).unwrap();
        assert!(!embedded.mark().await.unwrap().follows(seen));
        let held = embedded.read("k").await.unwrap();
        assert_eq!(held.map(|held| held.value), expect.map(value));
    }
}

#[tokio::test]
async fn an_append_that_was_not_finished_never_happened_and_damage_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("coordination");
    let embedded = open(directory.path());
    embedded.swap("k", 0, value("one")).await.unwrap();
    let one = std::fs::read(&path).unwrap();
    embedded.swap("k", 1, value("two")).await.unwrap();
    drop(embedded);
    let two = std::fs::read(&path).unwrap();
    for cut in one.len()..two.len() {
        std::fs::write(&path, &two[..cut]).unwrap();
        assert_eq!(open(directory.path()).read("k").await.unwrap().unwrap().value, value("one"));
    }
    let mut damaged = two.clone();
    damaged[one.len() - 1] ^= 1;
    std::fs::write(&path, &damaged).unwrap();
    assert!(matches!(Embedded::open(directory.path(), || 0, 9), Err(OpenError::Damaged { .. })));
}

#[tokio::test]
async fn a_lease_has_one_holder_until_it_ends_and_terms_rise_over_restarts() {
    let directory = tempfile::tempdir().unwrap();
    let open = || Embedded::open(directory.path(), now, 7).unwrap();
    let embedded = open();
    let ttl = Duration::from_secs(10);
    let check = async |embedded: &Embedded, holder: &str, expect: Option<u64>| {
        let granted = embedded.lease("relay", holder, ttl).await.unwrap();
        assert_eq!(granted, expect.map(|term| Granted { term, time_to_live: ttl }), "{holder}");
    };
    check(&embedded, "one", Some(1)).await;
    check(&embedded, "two", None).await;
    NOW.store(9_000, Ordering::SeqCst);
    check(&embedded, "one", Some(1)).await;
    NOW.store(18_999, Ordering::SeqCst);
    check(&embedded, "two", None).await;
    NOW.store(19_000, Ordering::SeqCst);
    check(&embedded, "two", Some(2)).await;
    check(&embedded, "one", None).await;
    drop(embedded);
    // Whoever held it has ended: the process had the lock.
    check(&open(), "three", Some(3)).await;
}

#[tokio::test]
async fn the_file_stays_small() {
    let directory = tempfile::tempdir().unwrap();
    let embedded = open(directory.path());
    let big = Bytes::from(vec![7; 300 << 10]);
    let mut version = 0;
    for _ in 0..20 {
        version = embedded.swap("k", version, big.clone()).await.unwrap();
        let length = std::fs::metadata(directory.path().join("coordination")).unwrap().len();
        assert!(length < 3 << 20, "{length}");
    }
    let refused = embedded.swap("k", version, Bytes::from(vec![7; 5 << 20])).await.unwrap_err();
    assert!(matches!(refused, SwapFailed::Unavailable { .. }));
    assert_eq!(embedded.read("k").await.unwrap().unwrap().version, version);
}

#[tokio::test]
async fn a_write_whose_fate_is_unknown_is_read_back() {
    let directory = tempfile::tempdir().unwrap();
    let embedded = open(directory.path());
    embedded.swap("k", 0, value("one")).await.unwrap();
    embedded.state().file = None;
    assert_eq!(embedded.read("k").await.unwrap().unwrap().value, value("one"));
    assert_eq!(embedded.swap("k", 1, value("two")).await.unwrap(), 2);
}
