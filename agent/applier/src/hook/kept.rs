//! What is kept of an output that may have no end: its beginning, which says what it was about, and its end,
//! where errors are.

use std::collections::VecDeque;

use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;

/// Bytes that are kept of the beginning.
pub const HEAD: usize = 4 * 1024;

/// Bytes that are kept of the end.
pub const TAIL: usize = 12 * 1024;

/// Beginning and end of what was read.
#[derive(Debug, Default)]
pub(super) struct Kept {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    left_out: u64,
}

impl Kept {
    /// Reads until the other end is closed; can be stopped and gone on with.
    pub(super) async fn read_all(&mut self, reader: &mut pipe::Receiver) {
        let mut buffer = vec![0; TAIL];
        while let Ok(count @ 1..) = reader.read(&mut buffer).await {
            self.add(&buffer[..count]);
        }
    }

    fn add(&mut self, bytes: &[u8]) {
        let (head, rest) = bytes.split_at(bytes.len().min(HEAD - self.head.len()));
        self.head.extend_from_slice(head);
        self.tail.extend(rest);
        let excess = self.tail.len().saturating_sub(TAIL);
        self.tail.drain(..excess);
        self.left_out += excess as u64;
    }

    /// What was kept, with a line in the place of what was not.
    pub(super) fn text(&self) -> String {
        let mut bytes = self.head.clone();
        if self.left_out > 0 {
            bytes.extend_from_slice(format!("\n[{} bytes left out]\n", self.left_out).as_bytes());
        }
        bytes.extend(&self.tail);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// `text` in at most about `limit` bytes: a fifth of them from its beginning, the others from its end.
pub fn excerpt(text: &str, limit: usize) -> String {
    let text = text.trim();
    if text.len() <= limit {
        return text.to_owned();
    }
    let head = text.floor_char_boundary(limit / 5);
    let tail = text.ceil_char_boundary(text.len() - (limit - limit / 5));
    format!("{}\n[{} bytes left out]\n{}", &text[..head], tail - head, &text[tail..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_and_the_end_stay() {
        let mut kept = Kept::default();
        kept.add(b"begin ");
        assert_eq!(kept.text(), "begin ");
        for _ in 0..1000 {
            kept.add(&[b'x'; 100]);
        }
        kept.add(b" end");
        let text = kept.text();
        let left_out = 6 + 100_000 + 4 - HEAD - TAIL;
        assert!(text.starts_with("begin xx") && text.ends_with("xx end"), "{text}");
        assert!(text.contains(&format!("x\n[{left_out} bytes left out]\nx")));
        assert_eq!(excerpt(" short \n", 10), "short");
        let cut = excerpt(&format!("ä{}ö", "x".repeat(1000)), 100);
        assert!(cut.starts_with('ä') && cut.ends_with('ö') && cut.len() < 130, "{cut}");
    }
}
