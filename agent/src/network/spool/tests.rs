use std::os::unix::fs::MetadataExt;

use tempfile::TempDir;

use super::*;

const PLENTY: u64 = 1 << 20;

fn ticket() -> Ticket {
    Ticket::numbered(7)
}

fn package(name: &str) -> Digest {
    Digest::of(name.as_bytes())
}

fn open(directory: &TempDir, limit: u64) -> Spool {
    Spool::open(directory.path(), limit).unwrap()
}

fn keep(spool: &mut Spool, name: &str, offset: u64, bytes: &[u8]) {
    spool.keep_piece(ticket(), &package(name), Part::Pack, offset, bytes);
}

fn read(spool: &mut Spool, name: &str, at: u64) -> Option<Vec<u8>> {
    spool.read(&package(name), Part::Pack, at, 100)
}

fn file(directory: &TempDir, name: &str) -> PathBuf {
    directory.path().join(format!("{}.spool", package(name)))
}

#[test]
fn what_was_kept_is_there_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let mut spool = open(&directory, PLENTY);
    let lengths = Lengths { index: 5, map: 6, pack: 70 };
    spool.keep_lengths(ticket(), &package("a"), lengths);
    keep(&mut spool, "a", 10, b"0123456789");
    keep(&mut spool, "a", 30, b"abcdef");
    spool.keep_piece(ticket(), &package("a"), Part::Index, 10, b"index");
    for restarted in [false, true] {
        if restarted {
            spool = open(&directory, PLENTY);
        }
        assert_eq!(spool.lengths(&package("a")), Some(lengths));
        assert_eq!(read(&mut spool, "a", 10).unwrap(), b"0123456789");
        assert_eq!(read(&mut spool, "a", 17).unwrap(), b"789");
        assert_eq!(spool.read(&package("a"), Part::Pack, 11, 3).unwrap(), b"123");
        assert_eq!(read(&mut spool, "a", 9), None);
        assert_eq!(read(&mut spool, "a", 20), None);
        assert_eq!(spool.next_after(&package("a"), Part::Pack, 9), Some(10));
        assert_eq!(spool.next_after(&package("a"), Part::Pack, 10), Some(30));
        assert_eq!(spool.next_after(&package("a"), Part::Pack, 30), None);
        assert_eq!(read(&mut spool, "b", 10), None);
    }
    let mode = fs::metadata(file(&directory, "a")).unwrap().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_file_cut_anywhere_keeps_what_is_whole() {
    let directory = tempfile::tempdir().unwrap();
    let mut spool = open(&directory, PLENTY);
    keep(&mut spool, "a", 0, b"first");
    let first = fs::metadata(file(&directory, "a")).unwrap().len();
    keep(&mut spool, "a", 5, b"second");
    drop(spool);
    let whole = fs::read(file(&directory, "a")).unwrap();
    for cut in 0..whole.len() {
        fs::write(file(&directory, "a"), &whole[..cut]).unwrap();
        let mut spool = open(&directory, PLENTY);
        let first_is_whole = cut as u64 >= first;
        assert_eq!(read(&mut spool, "a", 0).is_some(), first_is_whole, "{cut}");
        assert_eq!(read(&mut spool, "a", 5), None, "{cut}");
        // And it goes on from there.
        keep(&mut spool, "a", 5, b"second");
        drop(spool);
        assert_eq!(read(&mut open(&directory, PLENTY), "a", 5).unwrap(), b"second");
    }
}

#[test]
fn a_bent_byte_is_never_handed_out() {
    let directory = tempfile::tempdir().unwrap();
    let mut spool = open(&directory, PLENTY);
    keep(&mut spool, "a", 0, b"first");
    keep(&mut spool, "a", 5, b"second");
    drop(spool);
    let whole = fs::read(file(&directory, "a")).unwrap();
    for position in 0..whole.len() {
        for bits in [1, 0x80, 0xff] {
            let mut bent = whole.clone();
            bent[position] ^= bits;
            fs::write(file(&directory, "a"), &bent).unwrap();
            let mut spool = open(&directory, PLENTY);
            for (at, expected) in [(0, &b"first"[..]), (5, b"second")] {
                if let Some(bytes) = read(&mut spool, "a", at) {
                    assert_eq!(bytes, expected, "byte {position}");
                }
            }
        }
    }
}

#[test]
fn removed_is_gone_and_stays_gone_for_those_who_were_fetching() {
    let directory = tempfile::tempdir().unwrap();
    let mut spool = open(&directory, PLENTY);
    keep(&mut spool, "a", 0, b"first");
    spool.remove(ticket(), &package("a"));
    assert!(!file(&directory, "a").exists());
    assert_eq!(read(&mut spool, "a", 0), None);
    keep(&mut spool, "a", 0, b"late");
    assert!(!file(&directory, "a").exists());
    spool.keep_piece(Ticket::numbered(8), &package("a"), Part::Pack, 0, b"anew");
    assert_eq!(read(&mut spool, "a", 0).unwrap(), b"anew");
}

#[test]
fn a_full_spool_gives_up_what_nobody_wants_and_then_keeps_no_more() {
    let directory = tempfile::tempdir().unwrap();
    let mut spool = open(&directory, 1000);
    keep(&mut spool, "old", 0, &[1; 500]);
    let mut spool = open(&directory, 1000);
    keep(&mut spool, "new", 0, &[2; 500]);
    assert!(!file(&directory, "old").exists());
    keep(&mut spool, "new", 500, &[3; 500]);
    assert_eq!(read(&mut spool, "new", 500), None);
    assert_eq!(read(&mut spool, "new", 0).unwrap(), [2; 100]);
    drop(spool);
    // A limit that has become smaller holds at once.
    open(&directory, 100);
    assert!(!file(&directory, "new").exists());
}

#[test]
fn a_full_disk_costs_the_spool_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let mut spool = open(&directory, PLENTY);
    keep(&mut spool, "a", 0, b"first");
    let full = OpenOptions::new().read(true).write(true).open("/dev/full").unwrap();
    spool.packages.get_mut(&package("a")).unwrap().file = Some(full);
    keep(&mut spool, "a", 5, b"second");
    assert!(spool.packages[&package("a")].closed);
    assert_eq!(read(&mut open(&directory, PLENTY), "a", 0).unwrap(), b"first");
}

#[test]
fn other_files_are_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let foreign = directory.path().join("README.spool");
    fs::write(&foreign, "not ours").unwrap();
    open(&directory, 0);
    assert!(foreign.exists());
}
