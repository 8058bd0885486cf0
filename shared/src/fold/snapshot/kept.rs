//! How values are kept in a snapshot: one after the other, without names, each known text once.
//!
//! ```text
//! number        LEB128, seven bits a byte, the lowest first, in the fewest bytes that hold it
//! truth, tag    one byte
//! text          its length, then UTF-8
//! list          how many, then each; keys of maps and members of sets rise
//! digest, name, signers   0 and the thing itself the first time, its place among those seen, from 1, later
//! others        JSON in a text, as statements write them
//! ```
//!
//! The trait is this crate's own and not serde's, because whoever could read a [`Verified`] from bytes
//! could make one.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::case::{About, Verified};
use crate::digest::Digest;
use crate::key::KeyId;
use crate::name::Name;
use crate::policy::Signer;
use crate::time::Time;

/// Most room that is made for a list because of what it claims to hold; the rest as it comes.
const MAX_CLAIM: usize = 4096;

/// The bytes are not what they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {at}")]
pub struct Fault {
    /// What is wrong.
    pub what: &'static str,
    /// Where it shows, counted from the body's beginning.
    pub at: usize,
}

/// What can be kept.
pub(super) trait Kept: Sized {
    fn write(&self, to: &mut Writer);
    fn read(from: &mut Reader<'_>) -> Result<Self, Fault>;
}

/// Things of one kind that were written, each with its place.
struct Places<T>(HashMap<T, u64>);

impl<T> Default for Places<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T: Hash + Eq + Clone> Places<T> {
    /// The place of what is known; of what is not, none, and from now on it is.
    fn of(&mut self, thing: &T) -> Option<u64> {
        let place = self.0.get(thing).copied();
        if place.is_none() {
            self.0.insert(thing.clone(), self.0.len() as u64 + 1);
        }
        place
    }
}

/// What is written to.
#[derive(Default)]
pub(super) struct Writer {
    pub(super) bytes: Vec<u8>,
    digests: Places<Digest>,
    names: Places<Name>,
    signers: Places<Arc<[Signer]>>,
    about: Option<Arc<About>>,
}

impl Writer {
    fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.bytes.push(number.to_le_bytes()[0] | 0x80);
            number >>= 7;
        }
        self.bytes.push(number.to_le_bytes()[0]);
    }

    fn text(&mut self, text: &[u8]) {
        self.number(text.len() as u64);
        self.bytes.extend_from_slice(text);
    }

    pub(super) fn json(&mut self, value: &impl Serialize) {
        let json = serde_json::to_vec(value).expect("what statements hold can be written as JSON");
        self.text(&json);
    }

    fn list<'a, T: Kept + 'a>(&mut self, items: impl ExactSizeIterator<Item = &'a T>) {
        self.number(items.len() as u64);
        items.for_each(|item| item.write(self));
    }

    pub(super) fn pairs<'a, K: Kept + 'a, V: Kept + 'a>(
        &mut self,
        rows: impl ExactSizeIterator<Item = (&'a K, &'a V)>,
    ) {
        self.number(rows.len() as u64);
        for (key, value) in rows {
            key.write(self);
            value.write(self);
        }
    }
}

/// What is read from. Nothing is believed: each length is compared with what is left.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    length: usize,
    digests: Vec<Digest>,
    names: Vec<Name>,
    signers: Vec<Arc<[Signer]>>,
    about: Option<Arc<About>>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            length: bytes.len(),
            digests: Vec::new(),
            names: Vec::new(),
            signers: Vec::new(),
            about: None,
        }
    }

    pub(super) fn fault(&self, what: &'static str) -> Fault {
        Fault { what, at: self.length - self.rest.len() }
    }

    /// Nothing may be left.
    pub(super) fn end(&self) -> Result<(), Fault> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.fault("more than there should be")) }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Fault> {
        let (taken, rest) =
            self.rest.split_at_checked(length).ok_or_else(|| self.fault("the end"))?;
        self.rest = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, Fault> {
        let (first, rest) = self.rest.split_first().ok_or_else(|| self.fault("the end"))?;
        self.rest = rest;
        Ok(*first)
    }

    fn number(&mut self) -> Result<u64, Fault> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if (bits << shift) >> shift != bits || (byte == 0 && shift > 0) {
                break;
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(self.fault("a number that nobody writes so"))
    }

    /// How many follow, each of which takes a byte at least.
    fn count(&mut self) -> Result<usize, Fault> {
        let count = usize::try_from(self.number()?).unwrap_or(usize::MAX);
        if count <= self.rest.len() { Ok(count) } else { Err(self.fault("more than follows")) }
    }

    fn text(&mut self) -> Result<&'a [u8], Fault> {
        let length = self.count()?;
        self.take(length)
    }

    pub(super) fn json<T: DeserializeOwned>(&mut self) -> Result<T, Fault> {
        let text = self.text()?;
        serde_json::from_slice(text).map_err(|_| self.fault("JSON of another shape"))
    }

    fn list<T: Kept>(&mut self) -> Result<Vec<T>, Fault> {
        let count = self.count()?;
        let mut items = Vec::with_capacity(count.min(MAX_CLAIM));
        for _ in 0..count {
            items.push(T::read(self)?);
        }
        if count > MAX_CLAIM {
            items.shrink_to_fit();
        }
        Ok(items)
    }

    pub(super) fn pairs<K: Kept + Ord, V: Kept>(&mut self) -> Result<BTreeMap<K, V>, Fault> {
        let rows: Vec<(K, V)> = self.list()?;
        if rows.is_sorted_by(|one, other| one.0 < other.0) {
            Ok(rows.into_iter().collect())
        } else {
            Err(self.fault("keys that do not rise"))
        }
    }

    /// Something that was seen before, or that `read` reads for the first time.
    fn seen<T: Clone>(
        &mut self,
        seen: impl Fn(&mut Self) -> &mut Vec<T>,
        read: impl FnOnce(&mut Self) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let place = self.number()?;
        if place == 0 {
            let new = read(self)?;
            seen(self).push(new.clone());
            return Ok(new);
        }
        let place = usize::try_from(place - 1).unwrap_or(usize::MAX);
        let known = seen(self).get(place).cloned();
        known.ok_or_else(|| self.fault("a place that nothing has"))
    }
}

/// Keeps a record field by field, in this order.
macro_rules! kept {
    ($($name:ident { $($field:ident),* $(,)? })*) => {$(
        impl Kept for $name {
            fn write(&self, to: &mut Writer) {
                let Self { $($field),* } = self;
                $($field.write(to);)*
            }

            fn read(from: &mut Reader<'_>) -> Result<Self, Fault> {
                Ok(Self { $($field: Kept::read(from)?),* })
            }
        }
    )*};
}

/// Keeps a value as JSON: what is rare, or too manifold to be worth more.
macro_rules! kept_as_json {
    ($($name:ty),* $(,)?) => {$(
        impl Kept for $name {
            fn write(&self, to: &mut Writer) {
                to.json(self);
            }

            fn read(from: &mut Reader<'_>) -> Result<Self, Fault> {
                from.json()
            }
        }
    )*};
}

pub(super) use {kept, kept_as_json};

impl Kept for u64 {
    fn write(&self, to: &mut Writer) {
        to.number(*self);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Fault> {
        from.number()
    }
}

impl Kept for u32 {
    fn write(&self, to: &mut Writer) {
        to.number(u64::from(*self));
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Fault> {
        Self::try_from(from.number()?).map_err(|_| from.fault("a number that is too large"))
    }
}

impl Kept for bool {
    fn write(&self, to: &mut Writer) {
        to.bytes.push(u8::from(*self));
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Fault> {
        match from.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(from.fault("neither yes nor no")),
        }
    }
}

impl Kept for () {
    fn write(&self, _: &mut Writer) {}

    fn read(_: &mut Reader<'_>) -> Result<Self, Fault> {
        Ok(())
    }
}

impl Kept for String {
    fn write(&self, to: &mut Writer) {
        to.text(self.as_bytes());
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Fault> {
        let text = from.text()?;
        str::from_utf8(text).map(str::to_owned).map_err(|_| from.fault("a text not in UTF-8"))
    }
}

impl Kept for Time {
    fn write(&self, to: &mut Writer) {
        let millis = self.as_millis();
        to.number((millis << 1 ^ millis >> 63).cast_unsigned());
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Fault> {
        let folded = from.number()?;
        let millis = (folded >> 1).cast_signed() ^ -(folded & 1).cast_signed();
        Self::from_millis(millis).ok_or_else(|| from.fault("an instant that nobody writes"))
    }
}

impl Kept for Duration {
    fn write(&self, to: &mut Writer) {
        to.number(self.as_secs());
        to.number(u64::from(self.subsec_nanos()));
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Fault> {
        let (seconds, nanos) = (from.number()?, u32::read(from)?);
        if nanos < 1_000_000_000 {
            Ok(Self::new(seconds, nanos))
        } else {
            Err(from.fault("a second and more"))
        }
    }
}

impl Kept for Digest {
    fn write(&self, to: &mut Writer) {
        if let Some(place) = to.digests.of(self) {
            return to.number(place);
        }
        to.bytes.push(0);
        to.bytes.extend_from_slice(self.as_bytes());
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Fault> {
        let new = |from: &mut Reader<'_>| {
            let (bytes, rest) =
                from.rest.split_first_chunk().ok_or_else(|| from.fault("the end"))?;
            from.rest = rest;
            Ok(Self::from_bytes(*bytes))
        };
        from.seen(|from| &mut from.digests, new)
    }
}

impl Kept for KeyId {
    fn write(&self, to: &mut Writer) {
        self.digest().write(to);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Fault> {
        Digest::read(from).map(Self::from_digest)
    }
}

impl Kept for Name {
    fn write(&self, to: &mut Writer) {
        if let Some(place) = to.names.of(self) {
            return to.number(place);
        }
        to.bytes.push(0);
        to.text(self.as_str().as_bytes());
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Fault> {
        let new = |from: &mut Reader<'_>| {
            let text = str::from_utf8(from.text()?).ok();
            text.and_then(|it| it.parse().ok()).ok_or_else(|| from.fault("a name that is none"))
        };
        from.seen(|from| &mut from.names, new)
    }
}

kept! {
    Signer { key, owner }
}

impl Kept for Arc<[Signer]> {
    fn write(&self, to: &mut Writer) {
        if let Some(place) = to.signers.of(self) {
            return to.number(place);
        }
        to.bytes.push(0);
        to.list(self.iter());
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Fault> {
        from.seen(|from| &mut from.signers, |from| from.list().map(Self::from))
    }
}

/// The reports of one order follow each other, and share this.
impl Kept for Arc<About> {
    fn write(&self, to: &mut Writer) {
        let again = to.about.as_ref() == Some(self);
        again.write(to);
        if again {
            return;
        }
        let About { application, order, release, package } = &**self;
        application.write(to);
        order.write(to);
        release.write(to);
        package.write(to);
        to.about = Some(Self::clone(self));
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Fault> {
        if bool::read(from)? {
            return from.about.clone().ok_or_else(|| from.fault("the same as nothing"));
        }
        let new = Self::new(About {
            application: Kept::read(from)?,
            order: Kept::read(from)?,
            release: Kept::read(from)?,
            package: Kept::read(from)?,
        });
        from.about = Some(Self::clone(&new));
        Ok(new)
    }
}

impl<T: Kept> Kept for Verified<T> {
    fn write(&self, to: &mut Writer) {
        let Self { id, index, header, signers, says } = self;
        id.write(to);
        index.write(to);
        header.write(to);
        signers.write(to);
        says.write(to);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Fault> {
        Ok(Self {
            id: Kept::read(from)?,
            index: Kept::read(from)?,
            header: Kept::read(from)?,
            signers: Kept::read(from)?,
            says: Kept::read(from)?,
        })
    }
}

impl<T: Kept> Kept for Option<T> {
    fn write(&self, to: &mut Writer) {
        self.is_some().write(to);
        if let Some(value) = self {
            value.write(to);
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Fault> {
        if bool::read(from)? { T::read(from).map(Some) } else { Ok(None) }
    }
}

impl<T: Kept> Kept for Box<T> {
    fn write(&self, to: &mut Writer) {
        T::write(self, to);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Fault> {
        T::read(from).map(Self::new)
    }
}

/// What copies of the fold share is kept once, with the one of them that is kept.
impl<T: Kept> Kept for Arc<T> {
    fn write(&self, to: &mut Writer) {
        T::write(self, to);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Fault> {
        T::read(from).map(Self::new)
    }
}

impl<A: Kept, B: Kept> Kept for (A, B) {
    fn write(&self, to: &mut Writer) {
        self.0.write(to);
        self.1.write(to);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Fault> {
        Ok((A::read(from)?, B::read(from)?))
    }
}

impl<T: Kept> Kept for Vec<T> {
    fn write(&self, to: &mut Writer) {
        to.list(self.iter());
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Fault> {
        from.list()
    }
}

impl<T: Kept + Ord> Kept for BTreeSet<T> {
    fn write(&self, to: &mut Writer) {
        to.list(self.iter());
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Fault> {
        let items: Vec<T> = from.list()?;
        if items.is_sorted_by(|one, other| one < other) {
            Ok(items.into_iter().collect())
        } else {
            Err(from.fault("members that do not rise"))
        }
    }
}

impl<K: Kept + Ord, V: Kept> Kept for BTreeMap<K, V> {
    fn write(&self, to: &mut Writer) {
        to.pairs(self.iter());
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Fault> {
        from.pairs()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_before_and_after_the_epoch_are_read_back() {
        for text in [
            "1969-12-31T23:59:59.999Z",
            "1900-01-01T00:00:00Z",
            "1970-01-01T00:00:00Z",
            "2026-03-02T10:00:00Z",
        ] {
            let time: Time = text.parse().unwrap();
            let mut writer = Writer::default();
            time.write(&mut writer);
            let mut reader = Reader::new(&writer.bytes);
            assert_eq!(Time::read(&mut reader).ok(), Some(time), "{text}");
        }
    }
}
