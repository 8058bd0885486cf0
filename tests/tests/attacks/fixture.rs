//! The layout of `tests/attacks/`.
//!
//! ```text
//! policy.json            the trust policy of those attacks that bring none of their own
//! evidence.bin           the same for the evidence of an order: what an honest coordinator would send
//! entry-01.json          the same for the first entry of a log that goes on: a release
//! <attack>/attack.toml   what it is, where it is brought to, and how it must be refused
//! <attack>/<input>       the bytes; which there are depends on the entrance, and none may be left over
//! ```

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::{fs, io};

use anyhow::{Context as _, ensure};
use cutover_shared::refusal::{Code, Refusal};
use serde::{Deserialize, Serialize};

use crate::entrance::Entrance;

/// What describes an attack in its directory.
const ABOUT: &str = "attack.toml";

/// What attacks have in common.
pub(crate) struct Common {
    /// The envelope of the trust policy.
    pub(crate) policy: Vec<u8>,
    /// A frame's body: evidence.
    pub(crate) evidence: Vec<u8>,
    /// The envelope of a release.
    pub(crate) entry: Vec<u8>,
}

/// The files of [`Common`].
const COMMON: [&str; 3] = ["policy.json", "evidence.bin", FIRST];

/// The first entry of a log.
pub(crate) const FIRST: &str = "entry-01.json";

/// An attack.
#[derive(Debug, Clone)]
pub(crate) struct Attack {
    pub(crate) name: Cow<'static, str>,
    pub(crate) about: About,
    /// The inputs, by file name.
    pub(crate) files: BTreeMap<String, Vec<u8>>,
}

/// `attack.toml`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct About {
    /// What is tried, in a sentence.
    pub(crate) title: String,
    /// What the attacker owns.
    pub(crate) attacker: String,
    /// Where the threat is described.
    pub(crate) source: String,
    pub(crate) entrance: Entrance,
    pub(crate) refused: Refused,
    /// What a file is followed by, so that a long one need not be stored.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) padding: Vec<Padding>,
    /// What the entrance needs to know beside the bytes.
    #[serde(default, skip_serializing_if = "toml::Table::is_empty")]
    pub(crate) given: toml::Table,
}

/// Bytes at the end of a file, many times.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Padding {
    file: String,
    with: String,
    times: usize,
}

/// How an attack is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Refused {
    /// The code, where the entrance gives one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) code: Option<Code>,
    /// The facts of the refusal, or the error with its causes.
    pub(crate) facts: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code {
            Some(code) => write!(f, "{code}: {}", self.facts),
            None => f.write_str(&self.facts),
        }
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self { code: Some(refusal.code), facts: refusal.facts }
    }
}

impl Refused {
    /// An error and its causes.
    pub(crate) fn because(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self { code: None, facts: format!("{:#}", anyhow::Error::from(error)) }
    }
}

impl Common {
    pub(crate) fn read(directory: &Path) -> anyhow::Result<Self> {
        let [policy, evidence, entry] = COMMON.map(|name| fs::read(directory.join(name)));
        Ok(Self { policy: policy?, evidence: evidence?, entry: entry? })
    }

    /// Its files, by their paths under `tests/attacks/`.
    pub(crate) fn to_files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let contents = [&self.policy, &self.evidence, &self.entry];
        COMMON.iter().zip(contents).map(|(name, it)| (name.into(), it.clone())).collect()
    }
}

impl Attack {
    /// The start of one that is made here.
    pub(crate) fn new(name: &'static str, title: &str, entrance: Entrance) -> Self {
        let about = About {
            title: title.to_owned(),
            attacker: String::new(),
            source: String::new(),
            entrance,
            given: toml::Table::new(),
            padding: Vec::new(),
            refused: Refused { code: None, facts: String::new() },
        };
        Self { name: name.into(), about, files: BTreeMap::new() }
    }

    /// What the attacker owns, and where the threat is described.
    pub(crate) fn by(mut self, attacker: &str, source: &str) -> Self {
        attacker.clone_into(&mut self.about.attacker);
        source.clone_into(&mut self.about.source);
        self
    }

    pub(crate) fn file(mut self, name: &str, content: impl Into<Vec<u8>>) -> Self {
        self.files.insert(name.to_owned(), content.into());
        self
    }

    pub(crate) fn padded(mut self, file: &str, with: &str, times: usize) -> Self {
        self.about.padding.push(Padding { file: file.to_owned(), with: with.to_owned(), times });
        self
    }

    pub(crate) fn given(mut self, given: &impl Serialize) -> Self {
        self.about.given = toml::Table::try_from(given).unwrap();
        self
    }

    pub(crate) fn refused(mut self, code: Code, facts: impl Into<String>) -> Self {
        self.about.refused = Refused { code: Some(code), facts: facts.into() };
        self
    }

    pub(crate) fn fails(mut self, error: impl Into<String>) -> Self {
        self.about.refused = Refused { code: None, facts: error.into() };
        self
    }

    /// Every attack of `tests/attacks/`.
    pub(crate) fn read_all(directory: &Path) -> anyhow::Result<Vec<Self>> {
        let mut attacks = Vec::new();
        for entry in sorted(directory)? {
            if entry.is_dir() {
                attacks.push(Self::read(&entry).with_context(|| entry.display().to_string())?);
            } else {
                let known = COMMON.iter().any(|name| entry.ends_with(name));
                ensure!(known, "{} belongs to no attack", entry.display());
            }
        }
        Ok(attacks)
    }

    fn read(directory: &Path) -> anyhow::Result<Self> {
        let name = directory.file_name().context("its name")?.to_string_lossy().into_owned();
        let about: About = toml::from_str(&fs::read_to_string(directory.join(ABOUT))?)?;
        let told = [&about.title, &about.attacker, &about.source, &about.refused.facts];
        ensure!(told.iter().all(|text| !text.is_empty()), "{ABOUT} leaves something out");
        let mut files = BTreeMap::new();
        for path in sorted(directory)? {
            ensure!(path.is_file(), "{} is not a file", path.display());
            let name = path.file_name().context("its name")?.to_string_lossy().into_owned();
            if name != ABOUT {
                files.insert(name, fs::read(&path)?);
            }
        }
        Ok(Self { name: name.into(), about, files })
    }

    /// The inputs, the long ones in their full length.
    pub(crate) fn inputs(&self) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
        let mut files = self.files.clone();
        for padding in &self.about.padding {
            let file = files.get_mut(&padding.file).context("a padding without its file")?;
            file.extend_from_slice(padding.with.repeat(padding.times).as_bytes());
        }
        Ok(files)
    }

    /// Its files, by their paths under `tests/attacks/`; a log that begins as the common one has only what
    /// comes after.
    pub(crate) fn to_files(&self, common: &Common) -> Vec<(PathBuf, Vec<u8>)> {
        let directory = Path::new(self.name.as_ref());
        let about = toml::to_string(&self.about).unwrap().into_bytes();
        let goes_on = self.files.contains_key("entry-02.json");
        let known =
            |name: &str, content: &Vec<u8>| name == FIRST && goes_on && *content == common.entry;
        let inputs = self.files.iter().filter(|(name, content)| !known(name, content));
        let inputs = inputs.map(|(name, content)| (directory.join(name), content.clone()));
        inputs.chain([(directory.join(ABOUT), about)]).collect()
    }
}

/// Every file below `directory`, relative to it, sorted.
pub(crate) fn files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut left = vec![directory.to_owned()];
    while let Some(next) = left.pop() {
        for path in sorted(&next)? {
            if path.is_dir() {
                left.push(path);
            } else {
                found.push(path.strip_prefix(directory).unwrap_or(&path).to_owned());
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Writes these files and no others.
pub(crate) fn write(directory: &Path, made: &[(PathBuf, Vec<u8>)]) -> io::Result<()> {
    fs::remove_dir_all(directory)?;
    for (path, content) in made {
        let path = directory.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, content)?;
    }
    Ok(())
}

fn sorted(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = fs::read_dir(directory)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}
