//! The rules for names inside a package: checked once, at the door, so that nothing behind it has to
//! think about them again.
//!
//! A path is relative, in UTF-8, made of components that a person can read, and means the same on
//! every file system: no two paths of a package may differ only in case or Unicode form
//! ([`collision_key`]). A link leads to somewhere inside the tree, both as text and when the links on
//! its way are followed ([`Links`]).

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use unicode_normalization::UnicodeNormalization as _;

/// The longest path or link target, in bytes. A slot's own path comes before it, and Linux takes 4096.
pub const MAX_PATH: usize = 1024;

/// The longest component of a path, in bytes: what ext4, xfs and btrfs take.
pub const MAX_COMPONENT: usize = 255;

/// How many links may be followed from one link, as Linux counts them (`path_resolution(7)`).
pub const MAX_LINK_HOPS: u32 = 40;

/// How many components are looked at to follow all links of one package: twenty for each of the
/// largest number of entries. It bounds what a hostile web of links costs to refuse.
pub const MAX_LINK_STEPS: u32 = 4_000_000;

/// A path inside a package that keeps every rule that one path alone can keep. Ordered by bytes, which
/// puts a directory before what is in it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryPath(String);

/// Why a text is no path of a package.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathFault {
    /// Nothing there.
    #[error("the path is empty")]
    Empty,
    /// Longer than [`MAX_PATH`].
    #[error("the path is longer than {MAX_PATH} bytes")]
    TooLong,
    /// Begins with a slash.
    #[error("the path is absolute")]
    Absolute,
    /// Two slashes together, or one at the end.
    #[error("the path has an empty component")]
    EmptyComponent,
    /// A component `.` or `..`.
    #[error("the path has a component {0:?}")]
    Dots(&'static str),
    /// A component longer than [`MAX_COMPONENT`].
    #[error("a component of the path is longer than {MAX_COMPONENT} bytes")]
    LongComponent,
    /// A control character, or one that changes how its neighbours are shown.
    #[error("the path has the unprintable character U+{:04X}", u32::from(*.0))]
    Unprintable(char),
}

impl EntryPath {
    /// Checks `text`.
    pub fn new(text: &str) -> Result<Self, PathFault> {
        check_length(text)?;
        if text.starts_with('/') {
            return Err(PathFault::Absolute);
        }
        text.split('/').try_for_each(check_component)?;
        Ok(Self(text.to_owned()))
    }

    /// The path, components joined by `/`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The components, outermost first.
    pub fn components(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }

    /// The path of the directory that holds this; `None` at the top.
    pub fn parent(&self) -> Option<&str> {
        parent(&self.0)
    }

    /// Whether this is `directory` or something in it.
    pub fn is_within(&self, directory: &str) -> bool {
        is_within(&self.0, directory)
    }
}

/// The path of the directory that holds `path`; `None` at the top.
pub(super) fn parent(path: &str) -> Option<&str> {
    path.rsplit_once('/').map(|(parent, _)| parent)
}

/// Whether `path` is `directory` or something in it.
pub(super) fn is_within(path: &str, directory: &str) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn check_length(text: &str) -> Result<(), PathFault> {
    if text.is_empty() {
        Err(PathFault::Empty)
    } else if text.len() > MAX_PATH {
        Err(PathFault::TooLong)
    } else {
        Ok(())
    }
}

fn check_component(component: &str) -> Result<(), PathFault> {
    match component {
        "" => Err(PathFault::EmptyComponent),
        "." => Err(PathFault::Dots(".")),
        ".." => Err(PathFault::Dots("..")),
        long if long.len() > MAX_COMPONENT => Err(PathFault::LongComponent),
        name => match name.chars().find(|&c| is_unprintable(c)) {
            Some(c) => Err(PathFault::Unprintable(c)),
            None => Ok(()),
        },
    }
}

/// Control characters, and those that reorder, join or hide their neighbours or show nothing themselves: a
/// reviewer must see the name that the host will use (Unicode's `Default_Ignorable_Code_Point`, the
/// directional marks of UAX 9, the interlinear annotations).
fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{00AD}'
                | '\u{034F}'
                | '\u{061C}'
                | '\u{115F}'..='\u{1160}'
                | '\u{17B4}'..='\u{17B5}'
                | '\u{180B}'..='\u{180F}'
                | '\u{200B}'..='\u{200F}'
                | '\u{2028}'..='\u{202E}'
                | '\u{2060}'..='\u{206F}'
                | '\u{3164}'
                | '\u{FE00}'..='\u{FE0F}'
                | '\u{FEFF}'
                | '\u{FFA0}'
                | '\u{FFF0}'..='\u{FFFB}'
                | '\u{1BCA0}'..='\u{1BCA3}'
                | '\u{1D173}'..='\u{1D17A}'
                | '\u{E0000}'..='\u{E0FFF}'
        )
}

/// Two paths with the same key cannot both exist on every file system. There and back through upper
/// case, so that letters with several forms meet (`σ` and `ς`, `ẞ` and `ss`); composed form (NFC)
/// before and after.
pub fn collision_key(path: &str) -> String {
    path.nfc()
        .flat_map(char::to_lowercase)
        .flat_map(char::to_uppercase)
        .flat_map(char::to_lowercase)
        .nfc()
        .collect()
}

impl fmt::Display for EntryPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for EntryPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl FromStr for EntryPath {
    type Err = PathFault;

    fn from_str(text: &str) -> Result<Self, PathFault> {
        Self::new(text)
    }
}

impl Serialize for EntryPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for EntryPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::new(&text).map_err(serde::de::Error::custom)
    }
}

/// Why a link may not be in a package.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkFault {
    /// The target is not made of components that a path may have, `.` and `..`.
    #[error("its target is refused: {0}")]
    Target(PathFault),
    /// The target, as text or when the links on its way are followed, is outside the package.
    #[error("it leads out of the package")]
    Leaves,
    /// More than [`MAX_LINK_HOPS`] links to follow, or a circle.
    #[error("it leads in a circle, or through more than {MAX_LINK_HOPS} links")]
    Circle,
    /// [`MAX_LINK_STEPS`] are used up.
    #[error("the links of the package take too long to follow")]
    TooManySteps,
}

/// The links of one package, to see where each leads.
#[derive(Debug, Clone)]
pub struct Links<'a> {
    targets: BTreeMap<&'a str, &'a str>,
    steps_left: u32,
}

impl<'a> Links<'a> {
    /// All links of the package: the path of each and its target.
    pub fn new(links: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        Self { targets: links.into_iter().collect(), steps_left: MAX_LINK_STEPS }
    }

    /// Where the link at `path` leads to in the end, whether anything is there or not. Empty: the
    /// package itself.
    pub fn resolve(&mut self, path: &str, target: &str) -> Result<String, LinkFault> {
        check_target(target)?;
        stays_inside_as_text(path, target)?;
        let mut at = parent(path).unwrap_or_default().to_owned();
        let mut left: Vec<&str> = target.split('/').rev().collect();
        let mut hops = 0;
        while let Some(component) = left.pop() {
            self.steps_left = self.steps_left.checked_sub(1).ok_or(LinkFault::TooManySteps)?;
            match component {
                "." => {}
                ".." => ascend(&mut at)?,
                name => {
                    let before = at.len();
                    descend(&mut at, name)?;
                    if let Some(next) = self.targets.get(at.as_str()).copied() {
                        hops += 1;
                        if hops > MAX_LINK_HOPS {
                            return Err(LinkFault::Circle);
                        }
                        check_target(next)?;
                        at.truncate(before);
                        left.extend(next.split('/').rev());
                    }
                }
            }
        }
        Ok(at)
    }
}

fn check_target(target: &str) -> Result<(), LinkFault> {
    check_length(target).map_err(LinkFault::Target)?;
    if target.starts_with('/') {
        return Err(LinkFault::Target(PathFault::Absolute));
    }
    target
        .split('/')
        .filter(|component| !matches!(*component, "." | ".."))
        .try_for_each(check_component)
        .map_err(LinkFault::Target)
}

/// Tools that tidy `a/../b` into `b` without looking must not be led out either.
fn stays_inside_as_text(path: &str, target: &str) -> Result<(), LinkFault> {
    let mut depth = path.split('/').count() - 1;
    for component in target.split('/') {
        match component {
            "." => {}
            ".." => depth = depth.checked_sub(1).ok_or(LinkFault::Leaves)?,
            _ => depth += 1,
        }
    }
    Ok(())
}

fn ascend(at: &mut String) -> Result<(), LinkFault> {
    if at.is_empty() {
        return Err(LinkFault::Leaves);
    }
    at.truncate(parent(at).map_or(0, str::len));
    Ok(())
}

/// A path that grows past [`MAX_PATH`] cannot exist in the package; refusing it bounds each step.
fn descend(at: &mut String, name: &str) -> Result<(), LinkFault> {
    if !at.is_empty() {
        at.push('/');
    }
    at.push_str(name);
    if at.len() > MAX_PATH {
        return Err(LinkFault::Target(PathFault::TooLong));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_are_refused() {
        for (text, fault) in [
            ("", PathFault::Empty),
            ("/etc/passwd", PathFault::Absolute),
            ("..", PathFault::Dots("..")),
            ("payload/../../x", PathFault::Dots("..")),
            ("payload/./x", PathFault::Dots(".")),
            ("payload//x", PathFault::EmptyComponent),
            ("payload/", PathFault::EmptyComponent),
            ("payload/a\0b", PathFault::Unprintable('\0')),
            ("payload/a\nb", PathFault::Unprintable('\n')),
            ("payload/a\u{85}b", PathFault::Unprintable('\u{85}')),
            ("payload/gpj.\u{202E}exe", PathFault::Unprintable('\u{202E}')),
            ("payload/\u{200B}a", PathFault::Unprintable('\u{200B}')),
            (&"a".repeat(256), PathFault::LongComponent),
            (&"a/".repeat(513), PathFault::TooLong),
        ] {
            assert_eq!(EntryPath::new(text), Err(fault), "{text:?}");
        }
    }

    #[test]
    fn paths_that_are_taken() {
        for text in ["a", "payload/größe", "...", "a b/..c", &"é".repeat(127)] {
            let path = EntryPath::new(text).unwrap();
            assert_eq!(path.as_str(), text);
        }
        let path = EntryPath::new("hooks/stop.sh").unwrap();
        assert_eq!(path.parent(), Some("hooks"));
        assert!(
            path.is_within("hooks") && !path.is_within("hook") && path.is_within("hooks/stop.sh")
        );
    }

    #[test]
    fn names_that_collide() {
        for (one, other) in [
            ("payload/README", "payload/ReadMe"),
            ("payload/caf\u{e9}", "payload/cafe\u{301}"),
            ("payload/\u{3c3}", "payload/\u{3c2}"),
            ("payload/\u{212A}", "payload/k"),
            ("payload/stra\u{df}e", "payload/STRASSE"),
            ("payload/\u{1E9E}", "payload/\u{df}"),
        ] {
            assert_eq!(collision_key(one), collision_key(other), "{one} {other}");
        }
        assert_ne!(collision_key("a-b"), collision_key("a_b"));
    }

    fn resolve(links: &[(&str, &str)]) -> Result<String, LinkFault> {
        let (path, target) = links[0];
        Links::new(links.iter().copied()).resolve(path, target)
    }

    #[test]
    fn links_that_stay_inside() {
        for (links, end) in [
            (&[("payload/a", "b")][..], "payload/b"),
            (&[("payload/a", "../hooks/b")], "hooks/b"),
            (&[("payload/a", "..")], ""),
            (&[("payload/a", "./b/../c")], "payload/c"),
            (&[("payload/a", "l/x"), ("payload/l", "d")], "payload/d/x"),
            (&[("payload/a", "b"), ("payload/b", "c"), ("payload/c", "d")], "payload/d"),
            (&[("payload/a", "l/../x"), ("payload/l", "d/e")], "payload/d/x"),
        ] {
            assert_eq!(resolve(links).as_deref(), Ok(end), "{links:?}");
        }
    }

    #[test]
    fn links_that_are_refused() {
        for (links, fault) in [
            (&[("payload/a", "../../etc")][..], LinkFault::Leaves),
            (&[("a", "..")], LinkFault::Leaves),
            (&[("payload/a", "/etc/passwd")], LinkFault::Target(PathFault::Absolute)),
            (&[("payload/a", "")], LinkFault::Target(PathFault::Empty)),
            (&[("payload/a", "b//c")], LinkFault::Target(PathFault::EmptyComponent)),
            (&[("payload/a", "b\nc")], LinkFault::Target(PathFault::Unprintable('\n'))),
            (&[("payload/a", "a")], LinkFault::Circle),
            (&[("payload/a", "b"), ("payload/b", "a")], LinkFault::Circle),
            // As text `x` beside the package's own entries; followed, one above the top.
            (&[("payload/a", "up/../x"), ("payload/up", "..")], LinkFault::Leaves),
            (&[("payload/d/a", "up/../../x"), ("payload/d/up", "..")], LinkFault::Leaves),
            // Inside when followed, outside as text.
            (&[("a", "l/../../x"), ("l", "d/e/f")], LinkFault::Leaves),
        ] {
            assert_eq!(resolve(links), Err(fault), "{links:?}");
        }
    }

    #[test]
    fn a_web_of_links_is_refused_in_bounded_time() {
        let mut links = Links::new([("a", "./././b")]);
        links.steps_left = 7;
        assert_eq!(links.resolve("a", "./././b"), Ok("b".to_owned()));
        let second = links.resolve("a", "./././b");
        assert_eq!(second, Err(LinkFault::TooManySteps));
    }
}
