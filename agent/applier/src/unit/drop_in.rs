//! The drop-in file that keeps a unit of systemd from writing its application's slots.
//!
//! It is in `/run`, so that nothing of it is left where there is no applier any longer, and is written anew
//! before the application is started after a boot (systemd.unit(5): drop-ins).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::read_only::ReadOnly;

/// Where systemd looks for what holds until the next boot.
pub(super) const DIRECTORY: &str = "/run/systemd/system";

const FILE: &str = "50-cutover.conf";

/// Where the file of `unit` is.
pub(super) fn path(directory: &Path, unit: &str) -> PathBuf {
    directory.join(format!("{unit}.d")).join(FILE)
}

/// Lets the file say what is read-only to `unit`, or takes it away. Whether it was changed.
pub(super) fn lay(directory: &Path, unit: &str, read_only: Option<&ReadOnly>) -> io::Result<bool> {
    let path = path(directory, unit);
    let there = match fs::read(&path) {
        Ok(bytes) => Some(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let wanted = read_only.map(text);
    if there.as_deref() == wanted.as_deref().map(str::as_bytes) {
        return Ok(false);
    }
    match wanted {
        Some(text) => {
            fs::create_dir_all(path.parent().unwrap_or(directory))?;
            // systemd passes over what does not end in .conf.
            let new = path.with_extension("new");
            fs::write(&new, text)?;
            fs::rename(&new, &path)?;
        }
        None => fs::remove_file(&path)?,
    }
    Ok(true)
}

fn text(read_only: &ReadOnly) -> String {
    format!(
        "# Of cutover-applier, which writes it before it starts this unit: the application may not write its own\n\
         # slots. What else it has to write below them: `systemctl edit` the unit, [Service],\n\
         # ReadWritePaths= with that path. To do without: slots = \"writable\" in applier.toml.\n\
         [Service]\nReadOnlyPaths={}\nReadWritePaths={}\n",
        word("", read_only.root()),
        // What is not there is passed over.
        word("-", &read_only.shared()),
    )
}

/// A path as a word of a unit file: quoted, and without specifiers.
fn word(prefix: &str, path: &Path) -> String {
    let path = path.to_string_lossy();
    let path = path.replace('\\', r"\\").replace('"', "\\\"").replace('%', "%%");
    format!("\"{prefix}{path}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_only(root: &str) -> ReadOnly {
        ReadOnly::below(PathBuf::from(root))
    }

    #[test]
    fn the_file_is_changed_when_it_has_to_be() {
        let directory = tempfile::tempdir().unwrap();
        let lay = |wanted: Option<&ReadOnly>| lay(directory.path(), "web.service", wanted).unwrap();
        let web = read_only("/srv/cutover/web");
        assert!(!lay(None));
        assert!(lay(Some(&web)) && !lay(Some(&web)));
        let file = directory.path().join("web.service.d/50-cutover.conf");
        let text = fs::read_to_string(&file).unwrap();
        let settings: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let paths =
            [r#"ReadOnlyPaths="/srv/cutover/web""#, r#"ReadWritePaths="-/srv/cutover/web/shared""#];
        assert_eq!(settings, [&["[Service]"][..], &paths].concat());
        assert!(lay(Some(&read_only("/srv/web"))));
        assert!(lay(None) && !file.exists() && !lay(None));
    }

    #[test]
    fn a_path_is_one_word_whatever_is_in_it() {
        let path = Path::new(r#"/srv/a b/50%/"c"\d"#);
        assert_eq!(word("-", path), r#""-/srv/a b/50%%/\"c\"\\d""#);
    }
}
