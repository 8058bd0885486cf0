//! The schemas that are known.

use std::collections::BTreeMap;

use super::schema::Schema;
use crate::digest::Digest;
use crate::package::finding::Finding;
use crate::package::manifest::Manifest;

/// The most schemas of one catalogue, versions counted.
pub const MAX_SCHEMAS: usize = 100;

/// The shipped schemas, each with every version that was ever shipped.
const SHIPPED: [(&str, &str); 2] = [
    ("cot-f052.toml", include_str!("shipped/cot-f052.toml")),
    ("cot-f053.toml", include_str!("shipped/cot-f053.toml")),
];

/// Schemas by id and version.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Catalogue {
    schemas: BTreeMap<(String, u32), Schema>,
}

/// A schema is not taken in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CatalogueError {
    /// It is no schema.
    #[error("accept {file}: {}", told(.findings))]
    Faulty {
        /// Which file.
        file: String,
        /// Everything that is wrong with it.
        findings: Vec<Finding>,
    },
    /// Another text has this name.
    #[error("accept {file}: {name} is there already with another text; a change is a new version")]
    Changed {
        /// Which file.
        file: String,
        /// The schema's name and version.
        name: String,
    },
    /// More than [`MAX_SCHEMAS`].
    #[error("accept {0}: there are {MAX_SCHEMAS} schemas already")]
    TooMany(String),
}

fn told(findings: &[Finding]) -> String {
    let told = findings.iter().map(|it| {
        let line = it.line.map(|line| format!("line {line}, ")).unwrap_or_default();
        let field = it.field.as_deref().unwrap_or("the file");
        format!("{line}{field}: {}; {}", it.problem, it.remedy)
    });
    told.collect::<Vec<_>>().join(" | ")
}

impl Catalogue {
    /// No schemas.
    pub fn empty() -> Self {
        Self::default()
    }

    /// The schemas that are shipped.
    ///
    /// # Panics
    ///
    /// Never: a test reads each of them.
    pub fn shipped() -> Self {
        let mut catalogue = Self::empty();
        for (file, text) in SHIPPED {
            catalogue.add(file, text).expect("the shipped schemas are read by a test");
        }
        catalogue
    }

    /// Takes in a schema; `file` is what a fault calls it. The same text again changes nothing.
    pub fn add(&mut self, file: &str, text: &str) -> Result<&Schema, CatalogueError> {
        let faulty = |findings| CatalogueError::Faulty { file: file.to_owned(), findings };
        let schema = Schema::parse(file, text).map_err(faulty)?;
        let key = (schema.id().to_owned(), schema.version());
        let full = self.schemas.len() >= MAX_SCHEMAS;
        match self.schemas.get(&key) {
            Some(known) if known.text() != text => {
                let (file, name) = (file.to_owned(), schema.name());
                return Err(CatalogueError::Changed { file, name });
            }
            None if full => return Err(CatalogueError::TooMany(file.to_owned())),
            Some(_) | None => {}
        }
        Ok(self.schemas.entry(key).or_insert(schema))
    }

    /// The newest version of each form, by id.
    pub fn newest(&self) -> impl Iterator<Item = &Schema> {
        let mut schemas = self.schemas.values().peekable();
        std::iter::from_fn(move || {
            loop {
                let schema = schemas.next()?;
                if schemas.peek().is_none_or(|next| next.id() != schema.id()) {
                    return Some(schema);
                }
            }
        })
    }

    /// The newest version of the form `id`.
    pub fn find(&self, id: &str) -> Option<&Schema> {
        let versions = self.schemas.range((id.to_owned(), 0)..=(id.to_owned(), u32::MAX));
        versions.last().map(|(_, schema)| schema)
    }

    /// The schema with this text.
    pub fn of_digest(&self, digest: &Digest) -> Option<&Schema> {
        self.schemas.values().find(|schema| schema.digest() == *digest)
    }

    /// The forms that a release with this manifest needs.
    pub fn required(&self, manifest: &Manifest) -> Vec<&Schema> {
        self.newest().filter(|schema| schema.is_needed_by(manifest)).collect()
    }
}
