//! What a disk holds, what it was told in which order, and what of that a power cut leaves.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Bytes of a page of an image.
const PAGE: usize = 4096;

/// What a disk writes wholly or not at all.
const SECTOR: usize = 512;

/// The content of a disk. A copy shares the pages that neither has changed.
#[derive(Debug, Clone)]
pub struct Image {
    length: u64,
    pages: BTreeMap<u64, Arc<[u8; PAGE]>>,
}

impl Image {
    /// A disk of so many bytes, all zero.
    pub fn empty(length: u64) -> Self {
        Self { length, pages: BTreeMap::new() }
    }

    /// A disk that holds these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let mut image = Self::empty(bytes.len() as u64);
        for (number, page) in bytes.chunks(PAGE).enumerate() {
            if page.iter().any(|byte| *byte != 0) {
                image.write((number * PAGE) as u64, page);
            }
        }
        image
    }

    /// Its size in bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Reads from `offset` on into all of `bytes`; beyond the end there are zeroes.
    pub fn read(&self, offset: u64, bytes: &mut [u8]) {
        for (page, start, part) in parts(offset, bytes.len()) {
            match self.pages.get(&page) {
                Some(there) => bytes[part.clone()].copy_from_slice(&there[start..][..part.len()]),
                None => bytes[part].fill(0),
            }
        }
    }

    /// Writes `bytes` at `offset`.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) {
        for (page, start, part) in parts(offset, bytes.len()) {
            let there = self.pages.entry(page).or_insert_with(|| Arc::new([0; PAGE]));
            Arc::make_mut(there)[start..][..part.len()].copy_from_slice(&bytes[part]);
        }
    }
}

/// Cuts a range at the edges of pages: the page, where in it, and which part of the bytes.
fn parts(offset: u64, length: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset + done as u64;
        let start = usize::try_from(at % PAGE as u64).expect("less than a page");
        let count = (PAGE - start).min(length - done);
        let part = done..done + count;
        done += count;
        (count > 0).then(|| (at / PAGE as u64, start, part))
    })
}

/// Something that a disk was told.
#[derive(Debug, Clone)]
pub enum Told {
    /// To write these bytes at this offset.
    Write(u64, Vec<u8>),
    /// To make everything durable that it was told before.
    Flush,
}

/// What a disk held when it was attached, and everything that it was told since, in that order.
#[derive(Debug, Clone)]
pub struct Trace {
    before: Image,
    told: Vec<Told>,
}

impl Trace {
    /// Of a disk that was told nothing yet.
    pub(super) fn new(before: Image) -> Self {
        Self { before, told: Vec::new() }
    }

    pub(super) fn note(&mut self, told: Told) {
        self.told.push(told);
    }

    /// How many things it was told.
    pub fn length(&self) -> usize {
        self.told.len()
    }

    /// Where a cut of this seed falls, from `from` to `to`: a third of them anywhere, a third at a flush,
    /// which is where what is durable changes, and a third at one of `promises`, which is where more has
    /// to be durable; or just after these.
    pub fn moment(&self, (from, to): (usize, usize), promises: &[usize], seed: u64) -> usize {
        let mut random = fastrand::Rng::with_seed(seed);
        let is_flush = |at: &usize| matches!(self.told.get(*at), Some(Told::Flush));
        let marks: Vec<usize> = match seed % 3 {
            0 => Vec::new(),
            1 => (from..to).filter(is_flush).collect(),
            _ => promises.iter().copied().filter(|it| (from..=to).contains(it)).collect(),
        };
        match random.choice(marks) {
            Some(mark) => (mark + random.usize(..3)).min(to),
            None => random.usize(from..=to),
        }
    }

    /// What the disk holds after its power was cut when it had been told the first `moment` things:
    /// everything before the last flush of these, and of what was written after that a random subset.
    ///
    /// A write of the subset is there whole, or only some of its sectors are. Since any write may be lost
    /// while later ones are kept, every order is met in which a disk could have written them.
    pub fn cut(&self, moment: usize, seed: u64) -> Image {
        let told = &self.told[..moment];
        let flushed = told.iter().rposition(|it| matches!(it, Told::Flush)).map_or(0, |it| it + 1);
        let mut image = self.before.clone();
        for told in &told[..flushed] {
            if let Told::Write(offset, bytes) = told {
                image.write(*offset, bytes);
            }
        }
        let mut random = fastrand::Rng::with_seed(!seed);
        // The extremes are disks, too: one that had written nothing yet, and one that had written it all.
        let kept = [0, 10, 50, 90, 100][random.usize(..5)];
        for told in &told[flushed..] {
            let Told::Write(offset, bytes) = told else { continue };
            if random.u32(..100) >= kept {
                continue;
            }
            let torn = kept < 100 && bytes.len() > SECTOR && random.u32(..4) == 0;
            for (number, sector) in bytes.chunks(SECTOR).enumerate() {
                if !torn || random.bool() {
                    image.write(offset + (number * SECTOR) as u64, sector);
                }
            }
        }
        image
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(image: &Image) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(image.length()).unwrap()];
        image.read(0, &mut bytes);
        bytes
    }

    #[test]
    fn what_is_written_is_read_across_pages_and_a_copy_is_a_copy() {
        let mut image = Image::empty(3 * 4096);
        image.write(4090, b"across two pages");
        let copy = image.clone();
        image.write(4095, b"!");
        let mut read = [0; 16];
        copy.read(4090, &mut read);
        assert_eq!(&read, b"across two pages");
        image.read(4090, &mut read);
        assert_eq!(&read, b"acros! two pages");
        assert_eq!(bytes(&Image::of(&bytes(&image))), bytes(&image));
    }

    #[test]
    fn a_cut_keeps_everything_before_the_flush_and_some_of_the_rest() {
        let mut trace = Trace::new(Image::empty(16 * 4096));
        let sectors = |byte| vec![byte; 8 * SECTOR];
        trace.note(Told::Write(0, sectors(1)));
        trace.note(Told::Flush);
        trace.note(Told::Write(4096, sectors(2)));
        trace.note(Told::Write(8192, sectors(3)));
        let mut met = std::collections::BTreeSet::new();
        for seed in 0..500 {
            let found = bytes(&trace.cut(4, seed));
            assert_eq!(found[..4096], sectors(1), "what was flushed is there");
            assert_eq!(bytes(&trace.cut(4, seed)), found, "a seed means one cut");
            let state = |part: &[u8], byte| {
                let sectors = part.chunks(SECTOR);
                let is_there = |sector: &[u8]| {
                    assert!(sector.iter().all(|it| *it == sector[0]), "a sector is never torn");
                    sector[0] == byte
                };
                match sectors.filter(|sector| is_there(sector)).count() {
                    0 => "lost",
                    8 => "whole",
                    _ => "torn",
                }
            };
            met.insert((state(&found[4096..8192], 2), state(&found[8192..12288], 3)));
        }
        for first in ["lost", "torn", "whole"] {
            for second in ["lost", "torn", "whole"] {
                assert!(met.contains(&(first, second)), "never met: {first}, {second}");
            }
        }
        let early = bytes(&trace.cut(1, 3));
        assert!(early[4096..].iter().all(|byte| *byte == 0), "nothing from after the cut");
    }

    #[test]
    fn moments_are_in_the_range_and_often_where_something_changes() {
        let mut trace = Trace::new(Image::empty(4096));
        for number in 0..200 {
            trace.note(if number % 50 == 0 { Told::Flush } else { Told::Write(0, vec![1]) });
        }
        let moment = |seed| trace.moment((20, 180), &[5, 75, 76, 190], seed);
        let moments: Vec<_> = (0..300).map(moment).collect();
        assert!(moments.iter().all(|it| (20..=180).contains(it)));
        let near = |marks: &[usize]| {
            let is_near = |it: &&usize| marks.iter().any(|mark| (*mark..mark + 3).contains(*it));
            moments.iter().filter(is_near).count()
        };
        assert!(near(&[50, 100, 150]) >= 100 && near(&[75, 76]) >= 100);
        assert_eq!(trace.moment((7, 7), &[], 3), 7);
    }
}
