//! The entries of a package's tree.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::chunk::ChunkRef;
use super::path::EntryPath;
use crate::digest::Digest;

/// What of a package belongs into a host's slot. The documents and forms are for people.
pub const SLOT_ROOTS: [&str; 3] = ["hooks", "payload", "release.toml"];

/// Permission bits, in documents four octal digits. Set-user-id, set-group-id and sticky bits cannot
/// be expressed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mode(pub(super) u16);

impl Mode {
    /// `0644`: a file that is not run.
    pub const PLAIN: Self = Self(0o644);
    /// `0755`: a file that is run.
    pub const EXECUTABLE: Self = Self(0o755);
    /// `0755`: every directory.
    pub const DIRECTORY: Self = Self(0o755);

    /// The permission bits.
    pub const fn bits(self) -> u32 {
        self.0 as u32
    }

    /// Whether it may be run.
    pub const fn is_executable(self) -> bool {
        self.0 & 0o111 != 0
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

impl fmt::Debug for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Mode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Mode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let octal = text.len() == 4 && text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
        match u16::from_str_radix(&text, 8) {
            Ok(bits) if octal && bits <= 0o777 => Ok(Self(bits)),
            _ => Err(serde::de::Error::custom(format!(
                "{text:?} is no mode: expected four octal digits, at most 0777"
            ))),
        }
    }
}

/// One entry of the tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Entry {
    /// Where.
    pub path: EntryPath,
    /// What.
    pub kind: Kind,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Kind {
    /// A regular file.
    File(FileEntry),
    /// A directory.
    Directory {
        /// Always [`Mode::DIRECTORY`].
        mode: Mode,
    },
    /// A symbolic link.
    Link {
        /// Its text: relative, inside the package.
        target: String,
    },
}

/// A regular file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct FileEntry {
    /// [`Mode::PLAIN`] or [`Mode::EXECUTABLE`].
    pub mode: Mode,
    /// Bytes.
    pub size: u64,
    /// SHA-256 of the whole content.
    pub digest: Digest,
    /// The content, in order.
    pub chunks: Vec<ChunkRef>,
}

impl Entry {
    /// The file, if it is one.
    pub fn file(&self) -> Option<&FileEntry> {
        match &self.kind {
            Kind::File(file) => Some(file),
            Kind::Directory { .. } | Kind::Link { .. } => None,
        }
    }

    /// Whether it belongs into a host's slot.
    pub fn is_in_slot(&self) -> bool {
        SLOT_ROOTS.iter().any(|root| self.path.is_within(root))
    }
}
