//! The ledger: the one file that holds the applier's trusted state.
//!
//! Small, written whole, replaced atomically. Whenever `save` has returned, what it was given is what the
//! next `open` finds, whatever happens to the machine. What is synced, in this order, and what for:
//!
//! 1. `ledger.new` is written and synced (`fsync`: bytes, length and all), since a name that reaches the
//!    disk before its bytes would be a ledger of nothing.
//! 2. The current file gets the name `ledger.previous` as well (a second link, renamed over the old one).
//!    Nothing is synced for that: its bytes were, when they were new, and either file of that name is whole.
//! 3. `ledger.new` is renamed to `ledger`, and the directory is synced: without that the machine may come
//!    up with the name of before, and so with a ledger that is older than what was done because of it.
//!
//! Between these steps a power cut leaves the old ledger or the new one under its name. A file that is
//! torn or damaged all the same, by the disk itself, is told by its checksum; then the previous copy is
//! read, which is never more than one `save` older. A test cuts the power of a real file system at random
//! moments, with random parts of what was not synced lost, and finds each of the two syncs missing when
//! it is taken out.
//!
//! ```text
//! "cutover-ledger/1\n"  generation (8, big-endian)  length of the body (8)  SHA-256 of all else (32)  body
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use cutover_shared::digest::Digest;

const MAGIC: &[u8; 17] = b"cutover-ledger/1\n";
const HEADER: usize = MAGIC.len() + 8 + 8 + 32;

/// The largest body in bytes: the machine states of a host's applications, their policy and the
/// outcomes that wait to be acknowledged take some hundred KiB.
pub const MAX_BODY: usize = 64 * 1024 * 1024;

/// The ledger could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// An operation on a file failed.
    #[error("{operation} {path}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// There are files, but none that is whole. Nothing is made up in their place.
    #[error("read {path}: it is damaged ({damage}), and so is the copy before it")]
    Damaged {
        /// The current file.
        path: PathBuf,
        /// What is wrong with it.
        damage: Damage,
    },
    /// More than [`MAX_BODY`].
    #[error("store {0} bytes: at most {MAX_BODY} are possible")]
    TooLarge(usize),
}

/// What is wrong with a ledger's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// There is none where there should be.
    #[error("it is missing")]
    Missing,
    /// It is something else, or of another version.
    #[error("it does not begin as a ledger of version 1 does")]
    Magic,
    /// It ends too early or too late.
    #[error("its length is not the one that it names")]
    Length,
    /// Some of its bytes are not those that were written.
    #[error("its checksum is wrong")]
    Checksum,
}

/// Where what was opened came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// There was no ledger.
    New,
    /// The current file.
    Current,
    /// The copy before it, since the current file is so damaged. Loud: a save may be missing.
    Previous(Damage),
}

/// An open ledger.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    generation: u64,
    origin: Origin,
}

impl Ledger {
    /// Opens the ledger at `path` in an existing directory for writing, and gives the body that was stored
    /// last. Whoever only wants to read uses [`look`]: a damaged file is set aside here.
    pub fn open(path: &Path) -> Result<(Self, Option<Vec<u8>>), LedgerError> {
        let found = look(path)?;
        if let Origin::Previous(damage) = found.origin
            && damage != Damage::Missing
        {
            // The next save must not replace the one good copy by the damaged file.
            fs::rename(path, beside(path, ".damaged")).map_err(io("set aside", path))?;
        }
        let Found { generation, origin, body } = found;
        Ok((Self { path: path.to_owned(), generation, origin }, body))
    }

    /// Stores `body` durably in the place of what was there.
    pub fn save(&mut self, body: &[u8]) -> Result<(), LedgerError> {
        if body.len() > MAX_BODY {
            return Err(LedgerError::TooLarge(body.len()));
        }
        let generation = self.generation.saturating_add(1);
        let temporary = beside(&self.path, ".new");
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)
            .map_err(io("create", &temporary))?;
        file.write_all(&header(generation, body))
            .and_then(|()| file.write_all(body))
            .map_err(io("write", &temporary))?;
        file.sync_all().map_err(io("sync", &temporary))?;
        self.keep_previous()?;
        fs::rename(&temporary, &self.path).map_err(io("replace", &self.path))?;
        let directory = self.path.parent().unwrap_or(Path::new("/"));
        File::open(directory)
            .and_then(|directory| directory.sync_all())
            .map_err(io("sync", directory))?;
        self.generation = generation;
        self.origin = Origin::Current;
        Ok(())
    }

    /// How many times it was saved.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Where its content came from.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// The current file gets a second name, so that there is a whole file under either name throughout.
    fn keep_previous(&self) -> Result<(), LedgerError> {
        let second = beside(&self.path, ".link");
        for (operation, result) in
            [("unlink", fs::remove_file(&second)), ("link", fs::hard_link(&self.path, &second))]
        {
            match result {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(io(operation, &second)(error)),
            }
        }
        match fs::rename(&second, previous(&self.path)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(io("keep", &previous(&self.path))(error))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

/// What [`look`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// How many times it was saved.
    pub generation: u64,
    /// Where the body came from.
    pub origin: Origin,
    /// What was stored last; none when there is no ledger.
    pub body: Option<Vec<u8>>,
}

/// Reads the ledger at `path` and changes nothing, whatever state it is in.
pub fn look(path: &Path) -> Result<Found, LedgerError> {
    let found = |(generation, body), origin| Found { generation, origin, body: Some(body) };
    let damage = match read(path)? {
        Ok(current) => return Ok(found(current, Origin::Current)),
        Err(damage) => damage,
    };
    match (read(&previous(path))?, damage) {
        (Ok(before), damage) => Ok(found(before, Origin::Previous(damage))),
        (Err(Damage::Missing), Damage::Missing) => {
            Ok(Found { generation: 0, origin: Origin::New, body: None })
        }
        (Err(_), damage) => Err(LedgerError::Damaged { path: path.to_owned(), damage }),
    }
}

/// Where the copy before the current file is.
fn previous(path: &Path) -> PathBuf {
    beside(path, ".previous")
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn io<'p>(operation: &'static str, path: &'p Path) -> impl FnOnce(io::Error) -> LedgerError + 'p {
    move |source| LedgerError::Io { operation, path: path.to_owned(), source }
}

fn header(generation: u64, body: &[u8]) -> Vec<u8> {
    let length = u64::try_from(body.len()).expect("a length fits 64 bits");
    let mut bytes = Vec::with_capacity(HEADER);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&generation.to_be_bytes());
    bytes.extend_from_slice(&length.to_be_bytes());
    let checksum = Digest::of_parts([&bytes[..], body]);
    bytes.extend_from_slice(checksum.as_bytes());
    bytes
}

/// The generation and body of the file at `path`, or what is wrong with it.
fn read(path: &Path) -> Result<Result<(u64, Vec<u8>), Damage>, LedgerError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Err(Damage::Missing)),
        Err(error) => return Err(io("open", path)(error)),
    };
    let limit = u64::try_from(HEADER + MAX_BODY + 1).expect("a length fits 64 bits");
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes).map_err(io("read", path))?;
    Ok(parse(bytes))
}

fn parse(mut bytes: Vec<u8>) -> Result<(u64, Vec<u8>), Damage> {
    if !bytes.starts_with(MAGIC) {
        return Err(Damage::Magic);
    }
    let number = |from: usize| {
        let field = bytes.get(from..from + 8)?;
        field.try_into().ok().map(u64::from_be_bytes)
    };
    let generation = number(MAGIC.len()).ok_or(Damage::Length)?;
    let length = number(MAGIC.len() + 8).ok_or(Damage::Length)?;
    let body = bytes.get(HEADER..).ok_or(Damage::Length)?;
    if u64::try_from(body.len()) != Ok(length) {
        return Err(Damage::Length);
    }
    if header(generation, body) != bytes[..HEADER] {
        return Err(Damage::Checksum);
    }
    bytes.drain(..HEADER);
    Ok((generation, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_saved_is_found_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger");
        let (mut ledger, body) = Ledger::open(&path).unwrap();
        assert_eq!((body, ledger.generation()), (None, 0));
        assert_eq!(ledger.origin(), Origin::New);
        for text in ["one", "two", ""] {
            ledger.save(text.as_bytes()).unwrap();
            let (again, body) = Ledger::open(&path).unwrap();
            assert_eq!(body.as_deref(), Some(text.as_bytes()));
            assert_eq!(again.generation(), ledger.generation());
            assert_eq!(again.origin(), Origin::Current);
        }
        assert_eq!(ledger.generation(), 3);
    }

    #[test]
    fn every_flipped_byte_and_every_cut_is_noticed_and_the_copy_before_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger");
        let (mut ledger, _) = Ledger::open(&path).unwrap();
        ledger.save(b"one").unwrap();
        ledger.save(b"two").unwrap();
        let whole = fs::read(&path).unwrap();
        for position in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[position] ^= 1;
            for wrong in [&flipped[..], &whole[..position]] {
                fs::write(&path, wrong).unwrap();
                let (again, body) = Ledger::open(&path).unwrap();
                assert_eq!(body.as_deref(), Some(&b"one"[..]));
                assert_eq!(again.generation(), 1);
                assert!(matches!(again.origin(), Origin::Previous(_)));
            }
        }
        let mut longer = whole;
        longer.push(0);
        fs::write(&path, longer).unwrap();
        let (mut again, _) = Ledger::open(&path).unwrap();
        assert_eq!(again.origin(), Origin::Previous(Damage::Length));
        again.save(b"three").unwrap();
        assert_eq!(Ledger::open(&path).unwrap().1.as_deref(), Some(&b"three"[..]));
    }

    #[test]
    fn who_only_looks_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger");
        assert_eq!(look(&path).unwrap().origin, Origin::New);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
        let (mut ledger, _) = Ledger::open(&path).unwrap();
        ledger.save(b"one").unwrap();
        ledger.save(b"two").unwrap();
        fs::write(&path, b"damaged").unwrap();
        let files = || {
            let entries = fs::read_dir(directory.path()).unwrap();
            let file = |entry: io::Result<fs::DirEntry>| {
                let path = entry.unwrap().path();
                (path.clone(), fs::read(path).unwrap())
            };
            entries.map(file).collect::<std::collections::BTreeMap<_, _>>()
        };
        let before = files();
        let found = look(&path).unwrap();
        assert_eq!(found.origin, Origin::Previous(Damage::Magic));
        assert_eq!(found.body.as_deref(), Some(&b"one"[..]));
        assert_eq!(files(), before);
    }

    #[test]
    fn with_no_whole_file_nothing_is_made_up() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger");
        fs::write(&path, b"cutover-ledger/2\n").unwrap();
        let refused = Ledger::open(&path).unwrap_err();
        assert!(matches!(refused, LedgerError::Damaged { damage: Damage::Magic, .. }));
    }

    #[test]
    fn a_crash_between_any_two_steps_of_a_save_loses_nothing_that_was_saved() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger");
        let (mut ledger, _) = Ledger::open(&path).unwrap();
        ledger.save(b"one").unwrap();
        // A torn temporary file, and a second name that was left behind.
        fs::write(beside(&path, ".new"), b"cutover-led").unwrap();
        fs::hard_link(&path, beside(&path, ".link")).unwrap();
        let (mut again, body) = Ledger::open(&path).unwrap();
        assert_eq!(body.as_deref(), Some(&b"one"[..]));
        again.save(b"two").unwrap();
        let (_, body) = Ledger::open(&path).unwrap();
        assert_eq!(body.as_deref(), Some(&b"two"[..]));
        // The current file gone (it never is by a crash): the copy before it.
        fs::remove_file(&path).unwrap();
        let (again, body) = Ledger::open(&path).unwrap();
        assert_eq!(body.as_deref(), Some(&b"one"[..]));
        assert_eq!(again.origin(), Origin::Previous(Damage::Missing));
    }

    #[test]
    fn the_format_is_held_by_its_bytes() {
        let bytes = header(7, b"body");
        assert_eq!(
            hex(&bytes),
            "6375746f7665722d6c65646765722f310a00000000000000070000000000000004\
             764420a3e95228865f2bcc0e5d5547b276a4b66936deaccc5017ab64a506ce94"
        );
    }

    fn hex(bytes: &[u8]) -> String {
        use std::fmt::Write;
        bytes.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}
