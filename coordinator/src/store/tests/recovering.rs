//! Opening a log after anything may have happened to its files.

use std::fs;
use std::path::Path;

use cutover_shared::log::{leaf_hash, verify_consistency, verify_inclusion};

use super::super::log::CHECKPOINT;
use super::super::{LogError, Missing};
use super::{bundle_path, copy, entries, entry, log_of, open_log, read_all, signer_of};

fn set_length(path: &Path, length: u64) {
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(length).unwrap();
}

#[test]
fn an_empty_directory_begins_a_log_only_when_told_to() {
    let directory = tempfile::tempdir().unwrap();
    let refused = super::log::open(directory.path(), super::signer(), Missing::Refuse);
    assert!(matches!(refused, Err(LogError::NoLog { .. })), "{refused:?}");
    let (log, _, report) = open_log(directory.path()).unwrap();
    assert!(report.created);
    assert_eq!(log.published().head.size, 0);
    let (_, _, report) =
        super::log::open(directory.path(), super::signer(), Missing::Refuse).unwrap();
    assert_eq!(report, super::LogReport::default());
}

#[test]
fn a_log_reads_back_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let (log, mut writer, _) = open_log(directory.path()).unwrap();
    let mut heads = vec![log.published().head];
    let mut size = 0;
    // Within a bundle, up to its end, beyond it, over a whole one.
    for step in [1, 3, 252, 1, 300, 5] {
        heads.push(writer.append_batch(size, &entries(size..size + step)).unwrap());
        size += step;
    }
    let before = log.published();
    drop((log, writer));

    let (log, _, report) = open_log(directory.path()).unwrap();
    assert_eq!(report, super::LogReport::default());
    assert_eq!(log.published(), before);
    assert_eq!(read_all(&log), entries(0..size));
    assert_eq!(log.read(255..258).unwrap(), entries(255..258));
    assert_eq!(log.read(size..size).unwrap(), entries(0..0));
    for old in &heads {
        assert_eq!(log.head_at(old.size).unwrap(), *old);
        let proof = log.consistency(old.size, size).unwrap();
        assert!(verify_consistency(old, &before.head, &proof).is_ok());
    }
    for index in [0, 1, 255, 256, 511, size - 1] {
        let proof = log.inclusion(index, size).unwrap();
        let leaf = leaf_hash(&entry(index));
        assert!(verify_inclusion(&leaf, index, &proof, &before.head).is_ok());
    }
}

#[test]
fn what_is_outside_the_log_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    log_of(directory.path(), 3);
    let (log, ..) = open_log(directory.path()).unwrap();
    for outside in [
        log.read(0..4).err(),
        log.read(4..4).err(),
        log.inclusion(3, 3).err(),
        log.inclusion(0, 4).err(),
        log.consistency(2, 4).err(),
        log.consistency(3, 2).err(),
        log.head_at(4).err(),
    ] {
        assert!(matches!(outside, Some(LogError::Outside(_))), "{outside:?}");
    }
}

/// After a crash in an append of `more` entries to a log of `size`: the old checkpoint, and any part of
/// the new bytes.
fn every_torn_tail(size: u64, more: u64) {
    let old = tempfile::tempdir().unwrap();
    log_of(old.path(), size);
    let new = copy(old.path());
    let (_, mut writer, _) = open_log(new.path()).unwrap();
    writer.append_batch(size, &entries(size..size + more)).unwrap();

    let number = size / 256;
    let whole = fs::read(bundle_path(new.path(), number)).unwrap();
    let good = fs::metadata(bundle_path(old.path(), number)).map_or(0, |file| file.len());
    for length in good..=whole.len() as u64 {
        let crashed = copy(old.path());
        let path = bundle_path(crashed.path(), number);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &whole[..usize::try_from(length).unwrap()]).unwrap();
        let (log, mut writer, report) = open_log(crashed.path()).unwrap();
        assert_eq!(read_all(&log), entries(0..size), "cut at {length}");
        let untouched = length == good && good > 0;
        assert_eq!(report.cut.is_none(), untouched, "cut at {length}: {report:?}");
        if let Some(cut) = report.cut {
            assert_eq!((cut.size, cut.bytes), (size, length - good));
            let kept = fs::read(&cut.kept).unwrap();
            assert_eq!(
                kept,
                whole[usize::try_from(good).unwrap()..usize::try_from(length).unwrap()]
            );
        }
        // The log goes on from there, and is as if nothing had happened.
        writer.append_batch(size, &entries(size..size + more)).unwrap();
        assert_eq!(fs::read(&path).unwrap(), whole, "cut at {length}");
        let (log, _, report) = open_log(crashed.path()).unwrap();
        assert_eq!(report.cut, None);
        assert_eq!(read_all(&log), entries(0..size + more));
    }
}

#[test]
fn a_tail_torn_at_any_byte_is_cut_and_reported() {
    every_torn_tail(3, 3);
    every_torn_tail(0, 2);
    every_torn_tail(256, 1);
}

#[test]
fn a_tail_over_several_bundles_is_cut_as_one() {
    let old = tempfile::tempdir().unwrap();
    log_of(old.path(), 255);
    let new = copy(old.path());
    let (_, mut writer, _) = open_log(new.path()).unwrap();
    writer.append_batch(255, &entries(255..600)).unwrap();
    fs::copy(old.path().join(CHECKPOINT), new.path().join(CHECKPOINT)).unwrap();
    set_length(&bundle_path(new.path(), 2), 50);

    let (log, _, report) = open_log(new.path()).unwrap();
    assert_eq!(read_all(&log), entries(0..255));
    let cut = report.cut.unwrap();
    assert_eq!(cut.size, 255);
    assert!(cut.entries > 257, "{cut:?}");
    assert!(!bundle_path(new.path(), 1).exists());
    assert!(!bundle_path(new.path(), 2).exists());
}

#[test]
fn a_log_shorter_than_its_checkpoint_is_refused_at_every_length() {
    let directory = tempfile::tempdir().unwrap();
    log_of(directory.path(), 5);
    let whole = fs::metadata(bundle_path(directory.path(), 0)).unwrap().len();
    for length in 0..whole {
        let broken = copy(directory.path());
        set_length(&bundle_path(broken.path(), 0), length);
        let refused = open_log(broken.path());
        assert!(
            matches!(refused, Err(LogError::Shorter { have: 0..5, promised: 5, .. })),
            "{length}: {refused:?}"
        );
        let left = fs::metadata(bundle_path(broken.path(), 0)).unwrap().len();
        assert_eq!(left, length, "a refused log is left as it is");
    }
    let gone = copy(directory.path());
    fs::remove_file(bundle_path(gone.path(), 0)).unwrap();
    let refused = open_log(gone.path());
    assert!(matches!(refused, Err(LogError::Shorter { have: 0, .. })), "{refused:?}");
}

#[test]
fn a_flipped_bit_in_any_byte_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    log_of(directory.path(), 5);
    let good = fs::read(bundle_path(directory.path(), 0)).unwrap();
    for position in 0..good.len() {
        for bit in [0x01, 0x80] {
            let broken = copy(directory.path());
            let mut bytes = good.clone();
            bytes[position] ^= bit;
            fs::write(bundle_path(broken.path(), 0), &bytes).unwrap();
            let refused = open_log(broken.path());
            assert!(
                matches!(
                    refused,
                    Err(LogError::RootDiffers { .. }
                        | LogError::Shorter { .. }
                        | LogError::Damaged { .. })
                ),
                "{position}: {refused:?}"
            );
        }
    }
}

#[test]
fn a_flipped_bit_in_the_checkpoint_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    log_of(directory.path(), 2);
    let good = fs::read(directory.path().join(CHECKPOINT)).unwrap();
    for position in 0..good.len() {
        let broken = copy(directory.path());
        let mut bytes = good.clone();
        bytes[position] ^= 0x01;
        fs::write(broken.path().join(CHECKPOINT), &bytes).unwrap();
        let refused = open_log(broken.path());
        assert!(
            matches!(refused, Err(LogError::CheckpointInvalid { .. })),
            "{position}: {refused:?}"
        );
    }
}

#[test]
fn a_changed_entry_is_noticed_when_it_is_read_later() {
    let directory = tempfile::tempdir().unwrap();
    log_of(directory.path(), 2);
    let (log, ..) = open_log(directory.path()).unwrap();
    fs::write(bundle_path(directory.path(), 0), [0xff; 64]).unwrap();
    let refused = log.read(0..1);
    assert!(matches!(refused, Err(LogError::Damaged { index: 0, .. })), "{refused:?}");
}

#[test]
fn entries_without_a_checkpoint_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    log_of(directory.path(), 2);
    fs::remove_file(directory.path().join(CHECKPOINT)).unwrap();
    let refused = open_log(directory.path());
    assert!(matches!(refused, Err(LogError::CheckpointMissing { .. })), "{refused:?}");
}

#[test]
fn the_checkpoint_of_another_log_or_key_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    log_of(directory.path(), 2);
    for signer in [signer_of("example.org/another", 1), signer_of("example.org/cutover", 2)] {
        let refused = super::log::open(directory.path(), signer, Missing::Refuse);
        assert!(matches!(refused, Err(LogError::CheckpointInvalid { .. })), "{refused:?}");
    }
}
