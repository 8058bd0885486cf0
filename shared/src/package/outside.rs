//! What an application keeps outside of its slots: data and logs, which outlast the releases that use them.
//!
//! The manifest declares it by its paths below `payload/` (`shared = ["data"]`). In the package each is a link
//! of the same path: from `releases/7-3f2a…/payload/data` to `shared/data`, beside `releases`. That is the one
//! link that may lead out of a package, and to its own place only; whatever else leaves the tree, or goes
//! through such a link, is refused as ever.

use std::collections::BTreeSet;

use super::entry::Kind;
use super::index::Index;
use super::listing::PAYLOAD;
use super::manifest::Manifest;
use super::path::EntryPath;

/// The directory beside the slots in which it is.
pub const SHARED: &str = "shared";

/// From a slot to the directory that the slots and [`SHARED`] are in: it is in `releases/`, below that.
const UP: usize = 2;

/// Where in a package that is which the manifest shares as `path`.
pub fn place(path: &EntryPath) -> String {
    format!("{PAYLOAD}/{path}")
}

/// Where the link at `place` of a package leads if what is there is shared; none for what is not installed.
pub fn target(place: &str) -> Option<String> {
    let path = place.strip_prefix(PAYLOAD)?.strip_prefix('/')?;
    let directories = place.split('/').count() - 1;
    Some(format!("{}{SHARED}/{path}", "../".repeat(directories + UP)))
}

/// Whether a link leads to what is shared, and to its own place there.
pub fn is_shared(link: &str, target: &str) -> bool {
    self::target(link).is_some_and(|it| it == target)
}

/// What a package shares, by its links: paths below `payload/`.
pub fn of_index(index: &Index) -> BTreeSet<EntryPath> {
    let shared = index.entries().iter().filter_map(|entry| {
        let Kind::Link { target } = &entry.kind else { return None };
        let path = entry.path.as_str().strip_prefix(PAYLOAD)?.strip_prefix('/')?;
        is_shared(entry.path.as_str(), target).then(|| EntryPath::new(path).ok())?
    });
    shared.collect()
}

/// Whether the links of a package that lead out of it are those that its manifest declares.
pub fn agree(index: &Index, manifest: &Manifest) -> bool {
    of_index(index) == manifest.shared.iter().cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::entry::{Entry, Mode};

    #[test]
    fn each_leads_to_its_own_place_and_nowhere_else() {
        assert_eq!(target("payload/data").as_deref(), Some("../../../shared/data"));
        assert_eq!(target("payload/var/logs").as_deref(), Some("../../../../shared/var/logs"));
        for place in ["payload", "hooks/data", "payloads/data", "release.toml"] {
            assert_eq!(target(place), None, "{place}");
        }
        assert!(is_shared("payload/data", "../../../shared/data"));
        for wrong in ["../../../shared/logs", "../../shared/data", "../../../shared/data/", "data"]
        {
            assert!(!is_shared("payload/data", wrong), "{wrong}");
        }
    }

    #[test]
    fn an_index_may_have_such_links_and_no_others() {
        let directory = |path: &str| entry(path, Kind::Directory { mode: Mode::DIRECTORY });
        let link = |path: &str, target: &str| entry(path, Kind::Link { target: target.to_owned() });
        let with = |links: Vec<_>| {
            let tops = vec![directory("payload"), directory("payload/var")];
            Index::new([tops, links].concat())
        };
        let index = with(vec![
            link("payload/data", "../../../shared/data"),
            link("payload/var/logs", "../../../../shared/var/logs"),
            link("payload/within", "var"),
        ]);
        let paths: Vec<_> = of_index(&index.unwrap()).iter().map(ToString::to_string).collect();
        assert_eq!(paths, ["data", "var/logs"]);
        for target in ["../../../shared/other", "../../../etc", "../../../../shared/data"] {
            assert!(with(vec![link("payload/data", target)]).is_err(), "{target}");
        }
        // Nothing else leads out by way of it.
        let through = link("payload/through", "data/../../../etc");
        assert!(with(vec![link("payload/data", "../../../shared/data"), through]).is_err());
    }

    fn entry(path: &str, kind: Kind) -> Entry {
        Entry { path: EntryPath::new(path).unwrap(), kind }
    }
}
