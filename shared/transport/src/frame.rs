//! Frames and raw ranges on QUIC streams.

use bytes::{Bytes, BytesMut};
use cutover_shared::codec::{self, CodecError, FRAME_HEADER, MAX_FRAME};
use quinn::{Connection, ConnectionError, ReadError, RecvStream, SendStream, WriteError};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::close::{CloseCode, Ended, ended};

/// How much of an artifact is handed over at once, in both directions. A file written a packet at a
/// time took 395 MB/s, in pieces of this size 668 (measured on loopback).
pub const RAW_PIECE: usize = 256 * 1024;

/// Something went wrong on a stream.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The message does not fit in a frame, or the frame is no such message.
    #[error("translate a frame")]
    Codec(#[from] CodecError),
    /// A frame longer than this reader accepts was announced.
    #[error("accept a frame of {length} bytes: the limit here is {limit}")]
    TooLong {
        /// What was announced.
        length: usize,
        /// What this reader accepts.
        limit: usize,
    },
    /// The other side ended the stream in the middle of a frame or range.
    #[error("read a whole frame: the stream ended {missing} bytes short")]
    Truncated {
        /// How much is missing, as far as is known.
        missing: u64,
    },
    /// The other side ended the stream where an answer was due.
    #[error("read an answer: the stream ended without one")]
    NoAnswer,
    /// More came where the stream had to end.
    #[error("end the stream: there was more on it than agreed")]
    Excess,
    /// The other side cut the stream short.
    #[error("use the stream: the other side cut it short ({})", code_text(*.number))]
    Cut {
        /// Its code, see [`CloseCode`].
        number: u64,
    },
    /// This side has finished or cut the stream before.
    #[error("use a stream that this side has closed")]
    Closed,
    /// The connection is gone.
    #[error("use the connection: {0}")]
    Lost(Ended),
}

impl StreamError {
    /// The code with which the other side cut the stream, if it did so with one that we know.
    pub fn code(&self) -> Option<CloseCode> {
        if let Self::Cut { number } = self { CloseCode::from_number(*number) } else { None }
    }
}

fn code_text(number: u64) -> String {
    CloseCode::from_number(number).map_or_else(|| format!("code {number}"), |code| code.to_string())
}

impl From<ConnectionError> for StreamError {
    fn from(error: ConnectionError) -> Self {
        Self::Lost(ended(&error))
    }
}

impl From<WriteError> for StreamError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Stopped(code) => Self::Cut { number: code.into_inner() },
            WriteError::ConnectionLost(error) => error.into(),
            // 0-RTT is off on both sides, so only the first can be.
            WriteError::ClosedStream | WriteError::ZeroRttRejected => Self::Closed,
        }
    }
}

impl From<ReadError> for StreamError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Reset(code) => Self::Cut { number: code.into_inner() },
            ReadError::ConnectionLost(error) => error.into(),
            // 0-RTT is off and reads are ordered, so only the first can be.
            ReadError::ClosedStream
            | ReadError::IllegalOrderedRead
            | ReadError::ZeroRttRejected => Self::Closed,
        }
    }
}

/// The sending half. Dropping it without [`finish`](Self::finish) resets the stream, so that a reader
/// never takes a crash for an end.
#[derive(Debug)]
pub struct FrameWriter {
    stream: SendStream,
    finished: bool,
}

impl FrameWriter {
    /// Around a stream of quinn's.
    pub fn new(stream: SendStream) -> Self {
        Self { stream, finished: false }
    }

    /// Sends one frame. Not cancel-safe: a dropped call may have sent half a frame, after which the
    /// writer is good for nothing but [`cut`](Self::cut).
    pub async fn send<T: Serialize + ?Sized>(&mut self, message: &T) -> Result<(), StreamError> {
        let frame = codec::frame(message)?;
        self.stream.write_chunk(Bytes::from(frame)).await?;
        Ok(())
    }

    /// Sends bytes as they are, without a length: the range that a frame before it announced. Hand over
    /// pieces of about [`RAW_PIECE`]; they are sent without being copied. Not cancel-safe, as `send`.
    pub async fn write_raw(&mut self, piece: Bytes) -> Result<(), StreamError> {
        self.stream.write_chunk(piece).await?;
        Ok(())
    }

    /// Says that nothing more comes. The other direction stays open.
    pub fn finish(&mut self) -> Result<(), StreamError> {
        self.stream.finish().map_err(|_closed| StreamError::Closed)?;
        self.finished = true;
        Ok(())
    }

    /// After [`finish`](Self::finish): waits until the other side has everything (its transport, not
    /// necessarily its application), or says that it wants no more.
    pub async fn delivered(&mut self) -> Result<(), StreamError> {
        match self.stream.stopped().await {
            Ok(None) => Ok(()),
            Ok(Some(code)) => Err(StreamError::Cut { number: code.into_inner() }),
            Err(quinn::StoppedError::ConnectionLost(error)) => Err(error.into()),
            Err(quinn::StoppedError::ZeroRttRejected) => Err(StreamError::Closed),
        }
    }

    /// Cuts the stream short: what was not yet delivered may never be.
    pub fn cut(&mut self, code: CloseCode) {
        // Already finished or cut is what was wanted.
        let _ = self.stream.reset(code.into());
        self.finished = true;
    }
}

impl Drop for FrameWriter {
    fn drop(&mut self) {
        if !self.finished {
            // quinn would finish the stream here; a reader must not take that for the end of a range.
            let _ = self.stream.reset(CloseCode::Cancelled.into());
        }
    }
}

/// The receiving half. It reads no further than what it is asked for, so frames and raw ranges can
/// follow each other on one stream.
#[derive(Debug)]
pub struct FrameReader {
    stream: RecvStream,
    /// Of the frame in the making, header included. Never longer than what has arrived.
    partial: Vec<u8>,
    limit: usize,
}

impl FrameReader {
    /// Around a stream of quinn's, with the codec's own limit [`MAX_FRAME`].
    pub fn new(stream: RecvStream) -> Self {
        Self { stream, partial: Vec::new(), limit: MAX_FRAME }
    }

    /// The same with a smaller limit on a frame's length, for senders that nobody knows yet.
    #[must_use]
    pub fn with_limit(mut self, limit: usize) -> Self {
        self.limit = limit.min(MAX_FRAME);
        self
    }

    /// The next frame; `None` when the other side has finished. Cancel-safe: what a dropped call had
    /// read stays for the next one. A frame that is too long or does not parse stops the stream.
    pub async fn recv<T: DeserializeOwned>(&mut self) -> Result<Option<T>, StreamError> {
        let Some(body) = self.body().await? else {
            return Ok(None);
        };
        match codec::decode(&body) {
            Ok(message) => Ok(Some(message)),
            Err(error) => {
                self.stop(CloseCode::Protocol);
                Err(error.into())
            }
        }
    }

    async fn body(&mut self) -> Result<Option<Vec<u8>>, StreamError> {
        loop {
            let whole = self.whole()?;
            if let Some(length) = whole
                && self.partial.len() == length
            {
                let body = self.partial.split_off(FRAME_HEADER);
                self.partial.clear();
                return Ok(Some(body));
            }
            let missing = whole.unwrap_or(FRAME_HEADER) - self.partial.len();
            match self.stream.read_chunk(missing, true).await? {
                Some(chunk) => self.partial.extend_from_slice(&chunk.bytes),
                None if self.partial.is_empty() => return Ok(None),
                None => {
                    return Err(StreamError::Truncated { missing: missing as u64 });
                }
            }
        }
    }

    /// How long the frame in the making will be with its header, once the header is there.
    fn whole(&mut self) -> Result<Option<usize>, StreamError> {
        let Some(header) = self.partial.first_chunk::<FRAME_HEADER>() else {
            return Ok(None);
        };
        let length = match codec::frame_length(*header) {
            Ok(length) if length <= self.limit => length,
            Ok(length) => {
                self.stop(CloseCode::Protocol);
                return Err(StreamError::TooLong { length, limit: self.limit });
            }
            Err(error) => {
                self.stop(CloseCode::Protocol);
                return Err(error.into());
            }
        };
        Ok(Some(FRAME_HEADER + length))
    }

    /// Reads raw bytes: adds up to `at_most` to `buffer`, and returns when that many came or the stream
    /// ended; the number added. Ask for [`RAW_PIECE`] at a time. Cancel-safe: what a dropped call had
    /// read is in `buffer`.
    pub async fn read_raw(
        &mut self,
        buffer: &mut BytesMut,
        at_most: usize,
    ) -> Result<usize, StreamError> {
        if !self.partial.is_empty() {
            // A frame was given up half-way: what follows would be its rest, not a range.
            return Err(StreamError::Excess);
        }
        let mut added = 0;
        while added < at_most {
            match self.stream.read_chunk(at_most - added, true).await? {
                Some(chunk) => {
                    added += chunk.bytes.len();
                    buffer.extend_from_slice(&chunk.bytes);
                }
                None => break,
            }
        }
        Ok(added)
    }

    /// Succeeds when the other side has finished and nothing is left.
    pub async fn expect_end(&mut self) -> Result<(), StreamError> {
        if !self.partial.is_empty() {
            return Err(StreamError::Excess);
        }
        if self.stream.read_chunk(1, true).await?.is_none() {
            Ok(())
        } else {
            self.stop(CloseCode::Protocol);
            Err(StreamError::Excess)
        }
    }

    /// Tells the other side to send no more.
    pub fn stop(&mut self, code: CloseCode) {
        // Already finished or stopped is what was wanted.
        let _ = self.stream.stop(code.into());
    }
}

/// Opens a stream in both directions. Waits while the other side allows no more.
pub async fn open_stream(
    connection: &Connection,
) -> Result<(FrameWriter, FrameReader), StreamError> {
    let (send, receive) = connection.open_bi().await?;
    Ok((FrameWriter::new(send), FrameReader::new(receive)))
}

/// The next stream that the other side opened in both directions.
pub async fn accept_stream(
    connection: &Connection,
) -> Result<(FrameWriter, FrameReader), StreamError> {
    let (send, receive) = connection.accept_bi().await?;
    Ok((FrameWriter::new(send), FrameReader::new(receive)))
}

/// Opens a stream towards the other side only.
pub async fn open_one_way(connection: &Connection) -> Result<FrameWriter, StreamError> {
    Ok(FrameWriter::new(connection.open_uni().await?))
}

/// The next one-way stream of the other side.
pub async fn accept_one_way(connection: &Connection) -> Result<FrameReader, StreamError> {
    Ok(FrameReader::new(connection.accept_uni().await?))
}

/// One question, one answer, on a stream of their own. The deadline is the caller's.
pub async fn request<Q: Serialize + ?Sized, A: DeserializeOwned>(
    connection: &Connection,
    question: &Q,
) -> Result<A, StreamError> {
    let (mut writer, mut reader) = open_stream(connection).await?;
    writer.send(question).await?;
    writer.finish()?;
    let answer = reader.recv().await?.ok_or(StreamError::NoAnswer)?;
    reader.expect_end().await?;
    Ok(answer)
}
