//! Notes, rounds, and files that were cut or damaged.

#![allow(clippy::unwrap_used)] // a test panics on failure

use super::*;
use crate::sequence::{Remembered, WindowSnapshot};
use crate::side::{Side, SideMap};

/// A file with what waits for it.
struct Both {
    file: File,
    noted: Mutex<Checkpoints>,
}

fn open(directory: &Path) -> (Both, Kept) {
    let (file, noted, kept) = File::open(directory).unwrap();
    (Both { file, noted: Mutex::new(noted) }, kept)
}

impl Both {
    fn partition(&mut self, at: &TopicPartition, checkpoint: &Checkpoint) {
        self.notes().partition(at, 0, Encoded::of(TopicId([1; 16]), checkpoint));
    }

    fn round(&mut self) -> Result<(), CheckpointError> {
        self.file.round(&self.noted)
    }

    fn notes(&mut self) -> &mut Checkpoints {
        self.noted.get_mut().unwrap()
    }
}

fn at(partition: i32) -> TopicPartition {
    TopicPartition::new("payments", partition)
}

/// Some 100 bytes per producer.
fn checkpoint(gate: i64, producers: i64) -> Checkpoint {
    let batch = Remembered { first_sequence: 0, last_sequence: 9, base_offset: gate - 10, max_timestamp: 1 };
    let window = |producer_id| WindowSnapshot { producer_id, epoch: 0, batches: vec![batch] };
    Checkpoint {
        gate,
        log_start: 0,
        agreed: SideMap { a: gate, b: gate },
        last_batch: (gate - 10, 77),
        leader_epochs: SideMap { a: 3, b: 4 },
        windows: (0..producers).map(window).collect(),
        stamp: (5, 6),
        restamped: SideMap::default(),
        lent: Vec::new(),
    }
}

#[test]
fn what_was_noted_survives_in_its_newest_form() {
    let directory = tempfile::tempdir().unwrap();
    let (mut checkpoints, kept) = open(directory.path());
    assert!(kept.partitions.is_empty() && kept.groups.is_empty() && kept.coordinator.is_none());
    let record = GroupRecord::first(Side::B);
    let mark = Mark { incarnation: 1, revision: 2 };
    for gate in [10, 20, 30] {
        checkpoints.partition(&at(0), &checkpoint(gate, 1));
        // Larger than a frame may be.
        checkpoints.partition(&at(1), &checkpoint(gate, 60_000));
        checkpoints.partition(&at(2), &checkpoint(gate, 0));
        checkpoints.notes().group("pay", &record);
        checkpoints.notes().coordinator(mark);
        while checkpoints.notes().is_dirty() {
            checkpoints.round().unwrap();
        }
    }
    checkpoints.notes().forget(&at(2));
    checkpoints.round().unwrap();
    checkpoints.partition(&at(0), &checkpoint(40, 1));
    assert!(matches!(File::open(directory.path()), Err(CheckpointError::InUse { .. })));
    drop(checkpoints);

    let (_checkpoints, kept) = open(directory.path());
    assert_eq!(kept.partitions.keys().cloned().collect::<Vec<_>>(), [at(0), at(1)]);
    assert_eq!(kept.partitions[&at(0)].checkpoint, checkpoint(30, 1), "what was not written was not there");
    assert_eq!(kept.partitions[&at(1)].checkpoint, checkpoint(30, 60_000));
    assert_eq!((kept.groups["pay"], kept.coordinator), (record, Some(mark)));
}

#[test]
fn a_file_cut_anywhere_holds_older_checkpoints() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("checkpoints");
    let (mut checkpoints, _) = open(directory.path());
    checkpoints.partition(&at(0), &checkpoint(10, 3));
    checkpoints.round().unwrap();
    let first = std::fs::read(&path).unwrap().len();
    checkpoints.partition(&at(0), &checkpoint(20, 3));
    checkpoints.round().unwrap();
    drop(checkpoints);
    let bytes = std::fs::read(&path).unwrap();
    // Each is a few fsyncs.
    for cut in (0..bytes.len()).step_by(7).chain([first - 1, first, bytes.len() - 1]) {
        std::fs::write(&path, &bytes[..cut]).unwrap();
        let (_checkpoints, kept) = open(directory.path());
        let gate = kept.partitions.get(&at(0)).map(|kept| kept.checkpoint.gate);
        assert_eq!(gate, (cut >= first).then_some(10), "{cut}");
    }
    let mut damaged = bytes.clone();
    damaged[20] ^= 1;
    std::fs::write(&path, &damaged).unwrap();
    let (_checkpoints, kept) = open(directory.path());
    assert!(kept.partitions.is_empty());
    assert!(directory.path().join("checkpoints.damaged").exists());
}

#[test]
fn a_round_is_bounded_and_everything_has_its_turn() {
    let directory = tempfile::tempdir().unwrap();
    let (mut checkpoints, _) = open(directory.path());
    let length = || std::fs::metadata(directory.path().join("checkpoints")).unwrap().len();
    for partition in 0..8 {
        checkpoints.partition(&at(partition), &checkpoint(10, 10_000));
    }
    let mut rounds = 0;
    while checkpoints.notes().is_dirty() {
        let before = length();
        checkpoints.round().unwrap();
        assert!(length() - before < 2 * ROUND_BYTES_MAX as u64);
        rounds += 1;
    }
    assert!(rounds > 1);
    drop(checkpoints);
    assert_eq!(open(directory.path()).1.partitions.len(), 8);
}

#[test]
fn the_file_stays_small() {
    let directory = tempfile::tempdir().unwrap();
    let (mut checkpoints, _) = open(directory.path());
    for gate in 10..100 {
        checkpoints.partition(&at(0), &checkpoint(gate, 2000));
        checkpoints.round().unwrap();
        let length = std::fs::metadata(directory.path().join("checkpoints")).unwrap().len();
        assert!(length < 12 << 20, "{length}");
    }
}

#[test]
fn a_checkpoint_that_was_made_earlier_and_comes_later_counts_for_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (mut checkpoints, _) = open(directory.path());
    for (made, gate) in [(1, 10), (3, 30), (2, 20)] {
        checkpoints.notes().partition(&at(0), made, Encoded::of(TopicId([1; 16]), &checkpoint(gate, 1)));
    }
    let newest = checkpoints.notes().newest[&Name::Partition(at(0))].clone();
    assert_eq!(newest, Encoded::of(TopicId([1; 16]), &checkpoint(30, 1)).0);
}
