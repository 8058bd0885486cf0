//! Schemas of forms as files: those of an operator's directory beside the shipped ones, and copies of
//! those that releases were submitted with.
//!
//! The directory is read whenever it is asked for, so that a schema that is put there counts from then on.
//! A faulty one is an error for whoever asks, and names file, field and remedy: that a form is needed must
//! not be forgotten because its schema cannot be read. A copy is kept by its digest before the release
//! that names it is logged, so that the release can be read by it whatever becomes of the directory.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use cutover_shared::digest::Digest;
use cutover_shared::package::form::{Catalogue, CatalogueError, MAX_SCHEMA, Schema};

use crate::store::{FileError, create_directories, replace_file};

/// The directory of the kept schemas in the coordinator's data.
const KEPT: &str = "forms";

/// The schemas cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FormsError {
    /// The directory or a file of it.
    #[error("read {}", .0.display())]
    Read(PathBuf, #[source] io::Error),
    /// A file of the directory is no good schema.
    #[error("use the forms of {}", directory.display())]
    Schema {
        /// The directory.
        directory: PathBuf,
        /// Which file, and why.
        #[source]
        source: CatalogueError,
    },
    /// A copy could not be kept.
    #[error("keep a form's schema")]
    Keep(#[from] FileError),
}

/// Where the coordinator has its schemas.
#[derive(Debug, Clone)]
pub struct Forms {
    directory: Option<PathBuf>,
    data: PathBuf,
}

impl Forms {
    /// Those in `directory`, if one is configured, with copies below the coordinator's `data`.
    pub fn new(directory: Option<PathBuf>, data: PathBuf) -> Self {
        Self { directory, data }
    }

    /// The schemas that are known now.
    pub fn catalogue(&self) -> Result<Catalogue, FormsError> {
        match &self.directory {
            Some(directory) => read_directory(directory),
            None => Ok(Catalogue::shipped()),
        }
    }

    /// The texts of the schemas with these digests, those that are known; or of the newest of each form
    /// where none is named.
    pub fn texts(&self, of: &[Digest]) -> Result<Vec<String>, FormsError> {
        if of.is_empty() {
            return Ok(self.catalogue()?.newest().map(|it| it.text().to_owned()).collect());
        }
        let shipped = Catalogue::shipped();
        let mut texts = Vec::new();
        for digest in of {
            match shipped.of_digest(digest) {
                Some(schema) => texts.push(schema.text().to_owned()),
                None => texts.extend(self.kept(digest)?),
            }
        }
        Ok(texts)
    }

    fn kept(&self, digest: &Digest) -> Result<Option<String>, FormsError> {
        let path = self.data.join(KEPT).join(format!("{digest}.toml"));
        match fs::read_to_string(&path) {
            Ok(text) if Digest::of(text.as_bytes()) == *digest => Ok(Some(text)),
            Ok(_) => Err(FormsError::Read(path, io::ErrorKind::InvalidData.into())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(FormsError::Read(path, error)),
        }
    }

    /// Keeps a copy, durably.
    pub fn keep(&self, schema: &Schema) -> Result<(), FormsError> {
        let digest = schema.digest();
        if Catalogue::shipped().of_digest(&digest).is_some() || self.kept(&digest)?.is_some() {
            return Ok(());
        }
        let directory = self.data.join(KEPT);
        create_directories(&self.data, &directory)?;
        replace_file(&directory, &format!("{digest}.toml"), schema.text().as_bytes())?;
        Ok(())
    }
}

/// The shipped schemas and those in `directory`.
pub fn read_directory(directory: &Path) -> Result<Catalogue, FormsError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error| FormsError::Read(path, error)
    };
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed(directory))? {
        let path = entry.map_err(failed(directory))?.path();
        if path.extension().is_some_and(|suffix| suffix == "toml") {
            paths.push(path);
        }
    }
    paths.sort();
    let mut catalogue = Catalogue::shipped();
    for path in paths {
        // What is too large is refused by the reader; more than that is not read into memory.
        let text = read_at_most(&path, MAX_SCHEMA as u64 + 1).map_err(failed(&path))?;
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        let added = catalogue.add(&file, &text).map(drop);
        added.map_err(|source| FormsError::Schema { directory: directory.to_owned(), source })?;
    }
    Ok(catalogue)
}

fn read_at_most(path: &Path, most: u64) -> io::Result<String> {
    use std::io::Read as _;
    let mut text = String::new();
    fs::File::open(path)?.take(most).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMA: &str = "form = \"agency-x\"\nversion = 1\ntitle = \"Agency X Statement\"\n\n\
        [[section]]\ntitle = \"Statement\"\n\n[[section.field]]\nname = \"officer\"\n\
        label = \"Officer\"\nkind = \"name\"\n";

    #[test]
    fn what_is_put_into_the_directory_counts_from_then_on_and_is_kept_when_it_was_used() {
        let place = tempfile::tempdir().unwrap();
        let (directory, data) = (place.path().join("forms"), place.path().join("data"));
        fs::create_dir(&directory).unwrap();
        fs::create_dir(&data).unwrap();
        let forms = Forms::new(Some(directory.clone()), data.clone());
        assert!(forms.catalogue().unwrap().find("agency-x").is_none());

        let file = directory.join("agency-x.toml");
        fs::write(&file, SCHEMA).unwrap();
        let catalogue = forms.catalogue().unwrap();
        let schema = catalogue.find("agency-x").unwrap();
        assert_eq!(forms.texts(&[]).unwrap().len(), 3);
        assert_eq!(forms.texts(&[schema.digest()]).unwrap(), [""; 0], "nobody has used it");
        forms.keep(schema).unwrap();
        forms.keep(schema).unwrap();
        fs::remove_file(&file).unwrap();
        assert_eq!(forms.texts(&[schema.digest()]).unwrap(), [SCHEMA]);
        assert_eq!(forms.texts(&[Digest::of(b"?")]).unwrap(), [""; 0]);

        let kept = data.join(KEPT).join(format!("{}.toml", schema.digest()));
        fs::write(&kept, "something else").unwrap();
        assert!(forms.texts(&[schema.digest()]).is_err(), "it is not what was kept");
    }

    #[test]
    fn a_faulty_schema_is_named_with_its_faults_and_not_passed_over() {
        let place = tempfile::tempdir().unwrap();
        let forms = Forms::new(Some(place.path().to_owned()), place.path().to_owned());
        fs::write(place.path().join("notes.txt"), "not a schema").unwrap();
        forms.catalogue().unwrap();
        fs::write(place.path().join("x.toml"), SCHEMA.replace("\"name\"\n", "\"poem\"\n")).unwrap();
        let error = anyhow::Error::new(forms.catalogue().unwrap_err());
        let told = format!("{error:#}");
        for part in ["x.toml", "section[0].field[0].kind", "write one of"] {
            assert!(told.contains(part), "{part} in {told}");
        }
        fs::write(place.path().join("x.toml"), "x".repeat(MAX_SCHEMA + 10)).unwrap();
        assert!(forms.catalogue().is_err());
    }
}
