//! Bodies: read within limits, written at once or piece by piece.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Frame;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use crate::problem::Problem;
use crate::representation::MediaType;

/// A 200 with this representation.
pub fn representation(media_type: MediaType, bytes: Vec<u8>) -> Response {
    let media_type = HeaderValue::from_static(media_type.as_str());
    ([(CONTENT_TYPE, media_type)], Body::from(bytes)).into_response()
}

/// Bytes of a body that is too long that are read all the same. Most clients write everything before
/// they listen: they would find the connection reset, and never the answer.
const PASSED_OVER_BYTES_MAX: usize = 8 << 20;

/// Reads a whole request body.
pub async fn read(
    headers: &HeaderMap,
    mut body: Body,
    bytes_max: usize,
    within: Duration,
) -> Result<Bytes, Problem> {
    let announced = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    let announced: Option<u64> = announced.and_then(|length| length.parse().ok());
    let reading = async {
        if announced.is_some_and(|len| len > bytes_max as u64) {
            // Who asks before it writes is told at once.
            if !headers.contains_key(EXPECT) {
                pass_over(&mut body).await;
            }
            return Err(too_large());
        }
        collect(&mut body, bytes_max).await
    };
    let timed_out =
        |_| Problem::new(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time");
    tokio::time::timeout(within, reading).await.map_err(timed_out)?
}

/// What the members of a JSON object say. serde would also take a list with nothing but their values.
pub fn parse_object<T: DeserializeOwned>(json: &[u8]) -> Option<T> {
    let is_list = json.trim_ascii_start().starts_with(b"[");
    if is_list { None } else { serde_json::from_slice(json).ok() }
}

fn too_large() -> Problem {
    Problem::too_large("the body is longer than this service takes")
}

async fn collect(body: &mut Body, bytes_max: usize) -> Result<Bytes, Problem> {
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Problem::bad_request("the body broke off"))?;
        let Ok(data) = frame.into_data() else { continue };
        if data.len() > bytes_max - bytes.len() {
            pass_over(body).await;
            return Err(too_large());
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes.freeze())
}

async fn pass_over(body: &mut Body) {
    let mut left = PASSED_OVER_BYTES_MAX;
    while let Some(Ok(frame)) = body.frame().await {
        let len = frame.data_ref().map_or(0, Bytes::len);
        let Some(rest) = left.checked_sub(len) else { return };
        left = rest;
    }
}

/// One piece of a body that is written while it is made.
enum Piece {
    Bytes(Bytes),
    End,
}

/// The writing end. Dropping it without [`end`](Self::end) breaks the body off, so that nobody takes
/// it for complete.
pub struct PieceWriter {
    pieces: mpsc::Sender<Piece>,
    within: Duration,
}

/// Longest piece: what a reader has to take within the time limit.
const PIECE_BYTES: usize = 64 << 10;

/// The reader has gone, or is too slow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReaderGone;

impl PieceWriter {
    /// Hands over these bytes as fast as they are read.
    pub async fn write(&self, bytes: Vec<u8>) -> Result<(), ReaderGone> {
        let mut bytes = Bytes::from(bytes);
        while !bytes.is_empty() {
            let piece = bytes.split_to(bytes.len().min(PIECE_BYTES));
            self.hand_over(Piece::Bytes(piece)).await?;
        }
        Ok(())
    }

    /// The body is complete.
    pub async fn end(self) -> Result<(), ReaderGone> {
        self.hand_over(Piece::End).await
    }

    async fn hand_over(&self, piece: Piece) -> Result<(), ReaderGone> {
        match tokio::time::timeout(self.within, self.pieces.send(piece)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(ReaderGone),
        }
    }
}

/// A body that is written while it is made. Each piece has to be read within this time.
pub fn pieces(within: Duration) -> (PieceWriter, Body) {
    let (writer, reader) = mpsc::channel(1);
    (
        PieceWriter { pieces: writer, within },
        Body::new(PieceReader { pieces: reader, ended: false }),
    )
}

struct PieceReader {
    pieces: mpsc::Receiver<Piece>,
    ended: bool,
}

/// The body cannot be completed. It tells the consumer nothing: the connection is cut instead.
#[derive(Debug, thiserror::Error)]
#[error("the body broke off")]
struct BrokenOff;

impl hyper::body::Body for PieceReader {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        match ready!(self.pieces.poll_recv(cx)) {
            Some(Piece::Bytes(bytes)) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            Some(Piece::End) => {
                self.ended = true;
                Poll::Ready(None)
            }
            None => {
                self.ended = true;
                Poll::Ready(Some(Err(BrokenOff)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a_body_that_was_not_ended_breaks_off() {
        let (writer, body) = pieces(LONG);
        let writing = tokio::spawn(async move { writer.write(b"half".to_vec()).await });
        assert!(body.collect().await.is_err());
        assert_eq!(writing.await.unwrap(), Ok(()));
    }

    #[tokio::test]
    async fn a_body_that_was_ended_is_complete() {
        let (writer, body) = pieces(LONG);
        let long = vec![7; 3 * PIECE_BYTES + 1];
        let expected = long.clone();
        let writing = tokio::spawn(async move {
            writer.write(long).await?;
            writer.end().await
        });
        assert_eq!(body.collect().await.unwrap().to_bytes(), expected);
        assert_eq!(writing.await.unwrap(), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_is_too_slow_is_given_up() {
        let (writer, body) = pieces(Duration::from_secs(16));
        assert_eq!(writer.write(vec![0; 3 * PIECE_BYTES]).await, Err(ReaderGone));
        drop(body);
    }

    #[tokio::test]
    async fn a_reader_that_goes_is_noticed() {
        let (writer, body) = pieces(LONG);
        drop(body);
        assert_eq!(writer.write(vec![0]).await, Err(ReaderGone));
    }

    #[tokio::test]
    async fn a_body_above_the_limit_is_refused_whether_announced_or_not() {
        let read = |headers: HeaderMap, len| async move {
            read(&headers, Body::from(vec![0; len]), 10, LONG).await.map(|bytes| bytes.len())
        };
        let refused = || Err(Problem::too_large("the body is longer than this service takes"));
        assert_eq!(read(HeaderMap::new(), 10).await, Ok(10));
        assert_eq!(read(HeaderMap::new(), 11).await, refused());
        let announced = HeaderMap::from_iter([(CONTENT_LENGTH, HeaderValue::from_static("11"))]);
        assert_eq!(read(announced, 0).await, refused());
    }
}
