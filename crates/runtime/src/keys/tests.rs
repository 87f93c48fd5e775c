#![allow(clippy::unwrap_used)] // a test panics on failure

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use super::*;

#[test]
fn signatures_of_former_keys_verify_after_rotation_and_only_the_current_secret_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("signing.json");
    let mut keys = SigningKeys::generate(&path, 1).unwrap();
    let old = keys.sign(b"message");
    let first = keys.current_id();
    let second = keys.rotate(2).unwrap();
    assert_ne!(first, second);
    let loaded = SigningKeys::load(&path).unwrap();
    assert_eq!(loaded.verifying().ids().collect::<Vec<_>>(), [second, first]);
    assert!(loaded.verifying().verify(b"message", &old));
    assert!(!loaded.verifying().verify(b"massage", &old));
    assert!(!loaded.verifying().verify(b"message", &Signature { key_id: second, ..old }));
    let elsewhere = VerifyingKeys::from_public(loaded.verifying().public());
    assert!(elsewhere.verify(b"again", &loaded.sign(b"again")));
    assert_eq!(fs::read_to_string(&path).unwrap().matches("\"secret\"").count(), 1);
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    for at in 3..100 {
        keys.rotate(at).unwrap();
    }
    assert_eq!(SigningKeys::load(&path).unwrap().verifying().ids().count(), KEYS_MAX);
}

#[test]
fn tags_of_former_keys_verify_after_rotation() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("mac.json");
    let mut keys = MacKeys::generate(&path, 1).unwrap();
    let old = keys.tag(b"message");
    keys.rotate(2).unwrap();
    let loaded = MacKeys::load(&path).unwrap();
    assert!(loaded.verify(b"message", &old) && loaded.verify(b"new", &loaded.tag(b"new")));
    assert!(!loaded.verify(b"massage", &old));
    let mut unknown = old;
    unknown.key_id = KeyId::from_bytes([0; 8]);
    assert!(!loaded.verify(b"message", &unknown));
}

#[test]
fn no_form_of_a_key_shows_its_secret() {
    let directory = tempfile::tempdir().unwrap();
    let (signing, mac) = (directory.path().join("s"), directory.path().join("m"));
    let shown = format!("{:?} {:?}", SigningKeys::generate(&signing, 1).unwrap(), MacKeys::generate(&mac, 1).unwrap());
    for path in [signing, mac] {
        let file: serde_json::Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        assert!(!shown.contains(file["keys"][0]["secret"].as_str().unwrap()));
    }
}

#[test]
fn a_key_file_that_cannot_be_trusted_is_refused_with_its_fix() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("k");
    SigningKeys::generate(&path, 1).unwrap();
    let good = fs::read_to_string(&path).unwrap();
    let other_public = VerifyingKeys::from_public([[7; 32]]);
    let check = |contents: &str, mode: u32, expect: &str| {
        fs::write(&path, contents).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let message = SigningKeys::load(&path).unwrap_err().to_string();
        assert!(message.contains(expect), "{message}");
    };
    check(&good, 0o640, &format!("mode 0640 lets others read it; run: chmod 600 {}", path.display()));
    check(&good.replace("\"version\": 1", "\"version\": 2"), 0o600, "has version 2, this program reads 1");
    check(&good.replace("ed25519", "hmac-sha256"), 0o600, "holds hmac-sha256 keys, ed25519 is needed");
    check(&good.replace("\"public\"", "\"pubic\""), 0o600, "column 13: is not a key file");
    check("{\"version\":1,\"kind\":\"ed25519\",\"keys\":[]}", 0o600, "holds 0 keys");
    check("", 0o600, "is not a key file");
    check(&good[..good.len() / 2], 0o600, "is not a key file");
    let public = good.split("\"public\": \"").nth(1).unwrap().get(..64).unwrap().to_owned();
    check(&good.replace(&public, &to_hex(&[7; 32])), 0o600, "is not the id of its public half");
    let id = good.split("\"id\": \"").nth(1).unwrap().get(..16).unwrap().to_owned();
    let swapped =
        good.replace(&public, &to_hex(&[7; 32])).replace(&id, &other_public.ids().next().unwrap().to_string());
    check(&swapped, 0o600, "do not belong together");
    assert!(matches!(SigningKeys::generate(&path, 1), Err(KeyError::Exists { .. })));
    assert!(SigningKeys::load_or_generate(&path, 1).is_err(), "a key file that is not sound is not made anew");
    assert!(matches!(SigningKeys::load(&directory.path().join("none")), Err(KeyError::Io { action: "read", .. })));
}
