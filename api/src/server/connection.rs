//! One connection (I/O): handshake, requests, and an end for every reason.

use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::http::{Request, Response};
use bytes::Bytes;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulConnection;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tower::{BoxError, Service};

use super::PeerAddress;
use super::pulse::{Exhausted, Patience, Pulse};
use crate::config::{Config, millis};

/// Most headers of a request.
const HEADERS_MAX: usize = 100;

/// Bytes of request bodies that an HTTP/2 connection may have on the way.
const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;

/// Bytes of one request body that may be on the way.
const STREAM_WINDOW_BYTES: u32 = 256 << 10;

/// What holds for all connections.
pub(super) struct Rules {
    http: auto::Builder<TokioExecutor>,
    handshake: Duration,
    patience: Patience,
}

impl Rules {
    pub(super) fn of(config: &Config) -> Self {
        let (limits, timeouts) = (&config.limits, &config.timeouts);
        let mut http = auto::Builder::new(TokioExecutor::new());
        // Slow heads and idle connections are ended here and not by hyper, which knows one limit for
        // both.
        http.http1()
            .timer(TokioTimer::new())
            .header_read_timeout(None)
            .max_headers(HEADERS_MAX)
            .max_buf_size(limits.header_bytes);
        http.http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.streams_per_connection)
            .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .initial_stream_window_size(STREAM_WINDOW_BYTES);
        let patience = Patience {
            header: millis(timeouts.header_ms),
            write: millis(timeouts.write_ms),
            idle: millis(timeouts.idle_ms),
        };
        Self { http, handshake: millis(timeouts.handshake_ms), patience }
    }
}

/// Why a connection ended before its time.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ended {
    #[error("no TLS handshake: {0}")]
    Handshake(io::Error),
    #[error("the TLS handshake took too long")]
    HandshakeTooSlow,
    #[error(transparent)]
    Exhausted(#[from] Exhausted),
    #[error("{0}")]
    Http(BoxError),
}

/// Serves a connection to its end. When `draining` becomes true it ends after the requests under way.
pub(super) async fn serve(
    socket: TcpStream,
    peer: PeerAddress,
    acceptor: TlsAcceptor,
    router: Router,
    rules: &Rules,
    draining: watch::Receiver<bool>,
) -> Result<(), Ended> {
    // Answers go out in one piece; waiting for more to say would only delay them.
    socket.set_nodelay(true).map_err(Ended::Handshake)?;
    let handshake = tokio::time::timeout(rules.handshake, acceptor.accept(socket)).await;
    let tls = handshake.map_err(|_| Ended::HandshakeTooSlow)?.map_err(Ended::Handshake)?;
    let signs = Signs {
        pulse: Arc::default(),
        started: Instant::now(),
        patience: rules.patience,
        http2: tls.get_ref().1.alpn_protocol() == Some(b"h2"),
    };
    let requests = {
        let signs = signs.clone();
        service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer);
            answer(router.clone(), request, UnderWay::begin(&signs))
        })
    };
    let io = TokioIo::new(Watched { io: tls, signs: signs.clone() });
    let http = pin!(rules.http.serve_connection(io, requests));
    drive(http, &signs, draining).await
}

/// Drives HTTP until it ends, by itself or because a deadline has passed.
async fn drive(
    mut http: Pin<&mut impl GracefulConnection<Error = BoxError>>,
    signs: &Signs,
    mut draining: watch::Receiver<bool>,
) -> Result<(), Ended> {
    let mut drained = pin!(async move { draining.wait_for(|&drain| drain).await.is_ok() });
    let mut alarm = pin!(tokio::time::sleep(signs.patience.idle));
    let mut closing = None;
    loop {
        let event = std::future::poll_fn(|cx| {
            if let Poll::Ready(ended) = http.as_mut().poll(cx) {
                return Poll::Ready(Event::Ended(ended));
            }
            // What has just happened may have brought a deadline that is sooner than the alarm.
            if let Some((at, _)) = signs.deadline(closing)
                && at < alarm.deadline()
            {
                alarm.as_mut().reset(at);
            }
            if alarm.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Event::Alarm);
            }
            if closing.is_none() && drained.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Event::Drain);
            }
            Poll::Pending
        });
        let event = event.await;
        let now = Instant::now();
        let close = match event {
            Event::Ended(ended) => return ended.map_err(Ended::Http),
            Event::Drain => true,
            Event::Alarm => match signs.deadline(closing) {
                Some((at, Exhausted::Idle)) if at <= now && closing.is_none() => true,
                Some((at, why)) if at <= now => return Err(why.into()),
                later => {
                    let at = later.map_or(now + signs.patience.idle, |(at, _)| at);
                    alarm.as_mut().reset(at);
                    false
                }
            },
        };
        if close {
            http.as_mut().graceful_shutdown();
            closing = Some(now);
            alarm.as_mut().reset(now + signs.patience.write);
        }
    }
}

enum Event {
    /// There is nothing more to do.
    Ended(Result<(), BoxError>),
    /// The server is about to stop.
    Drain,
    /// A deadline may have passed.
    Alarm,
}

/// The pulse of this connection, with its clock and its limits.
#[derive(Clone)]
struct Signs {
    pulse: Arc<Pulse>,
    started: Instant,
    patience: Patience,
    http2: bool,
}

impl Signs {
    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// When to give up, and why. A connection that is closing has as long to go as a slow reader.
    fn deadline(&self, closing: Option<Instant>) -> Option<(Instant, Exhausted)> {
        let (after, why) = self.pulse.deadline(self.patience, self.http2)?;
        let at = match (why, closing) {
            (Exhausted::Idle, Some(closing)) => closing + self.patience.write,
            _ => self.started + after,
        };
        Some((at, why))
    }
}

async fn answer(
    mut router: Router,
    request: Request<Incoming>,
    under_way: UnderWay,
) -> Result<Response<Answer>, Infallible> {
    let response = router.call(request.map(Body::new)).await?;
    Ok(response.map(|body| Answer { body, _under_way: under_way }))
}

/// A request, from its head to the end of its answer.
struct UnderWay(Signs);

impl UnderWay {
    fn begin(signs: &Signs) -> Self {
        signs.pulse.request_begins();
        Self(signs.clone())
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.pulse.request_ends(self.0.now());
    }
}

/// A body whose request is under way for as long as it is there.
struct Answer {
    body: Body,
    _under_way: UnderWay,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A transport that reports signs of life.
struct Watched<Io> {
    io: Io,
    signs: Signs,
}

impl<Io> Watched<Io> {
    fn report(&self, written: &Poll<io::Result<usize>>) {
        match written {
            Poll::Ready(Ok(bytes)) => self.signs.pulse.taken(*bytes),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.signs.pulse.not_taken(self.signs.now()),
        }
    }
}

impl<Io: AsyncRead + Unpin> AsyncRead for Watched<Io> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.signs.pulse.received(self.signs.now());
        }
        read
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for Watched<Io> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.report(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, slices);
        self.report(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        match &flushed {
            Poll::Ready(_) => self.signs.pulse.all_taken(),
            Poll::Pending => self.signs.pulse.not_taken(self.signs.now()),
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
