//! The plain way, as the standing rival: tokio on one thread, tokio-rustls, a task per connection.
//!
//! It is written as well as that way allows: no timers, no state beyond the connection, the same
//! allocator, certificates, suites and CoAP codec as the gateway. An idle connection owns no buffer of
//! ours: reads go into one buffer of the thread, answers into buffers that are lent for the time of a
//! write, and all answers to one read leave in one write. The handshake's future is boxed, so that it
//! does not count in the task of an established connection.
//!
//! It answers what the benchmarks ask, without storing anything: a sign-in with 2.04, GET `/oic/rd`
//! with 2.05, Ping with Pong.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::Poll;

use anyhow::{Context, Result};
use benches::messages;
use benches::server_tls::server_config;
use clap::Parser;
use shared::coap::code::Kind;
use shared::coap::signal::{self, SignalCode};
use shared::coap::{Frame, Framed, Message, Request, RequestType, ResponseType};
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Bytes that one read takes: a record.
const READ_BYTES: usize = 16 * 1024;

/// Buffers that are kept for writing.
const SPARE_BUFFERS_MAX: usize = 1024;

/// Bodies of answers.
static SELECTION: LazyLock<Vec<u8>> = LazyLock::new(messages::directory_selection);
static SIGNED_IN: LazyLock<Vec<u8>> = LazyLock::new(messages::signed_in);

/// Connections that the kernel keeps until they are accepted.
const BACKLOG: i32 = 4096;

/// The plain way to serve devices; started by the benchmarks.
#[derive(Parser)]
struct Arguments {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Directory with `cloud.pem`, `cloud.key`, `manufacturer-ca.pem` and `identity-ca.pem`.
    #[arg(long)]
    certificates: PathBuf,
    /// Tickets that a TLS 1.3 client is given; with any, TLS 1.2 sessions can be resumed too.
    #[arg(long, default_value_t = 0)]
    tickets: usize,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let config = server_config(&arguments.certificates, arguments.tickets)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(serve(arguments.listen, TlsAcceptor::from(Arc::new(config))))
}

async fn serve(address: SocketAddr, acceptor: TlsAcceptor) -> Result<()> {
    let listener = shared::ring::listen(address, BACKLOG)?;
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    println!("ready {}", listener.local_addr()?);
    loop {
        let (tcp, _) = listener.accept().await.context("accepting")?;
        let acceptor = acceptor.clone();
        // A connection that fails is nobody else's business.
        tokio::spawn(async move { drop(converse(tcp, acceptor).await) });
    }
}

async fn converse(tcp: TcpStream, acceptor: TlsAcceptor) -> io::Result<()> {
    // Without Nagle's delay, as the listener is.
    let tls = Box::pin(acceptor.accept(tcp)).await?;
    let mut connection = Connection { tls, partial: Vec::new() };
    let mut out = take_buffer();
    messages::server_csm(&mut out);
    connection.write(out).await?;
    while let Some(answers) = connection.read().await? {
        connection.write(answers).await?;
    }
    connection.tls.shutdown().await
}

struct Connection {
    tls: TlsStream<TcpStream>,
    /// The beginning of a message.
    partial: Vec<u8>,
}

impl Connection {
    /// Waits for bytes and answers the messages in them; none at the end. No buffer is held meanwhile.
    async fn read(&mut self) -> io::Result<Option<Vec<u8>>> {
        poll_fn(|cx| {
            SHARED.with_borrow_mut(|shared| {
                let mut buffer = ReadBuf::new(&mut shared.read);
                match Pin::new(&mut self.tls).poll_read(cx, &mut buffer) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Ready(Ok(())) => {}
                }
                if buffer.filled().is_empty() {
                    return Poll::Ready(Ok(None));
                }
                let mut out = shared.spare.pop().unwrap_or_default();
                let answered = take_messages(&mut self.partial, buffer.filled(), &mut out);
                Poll::Ready(answered.map(|()| Some(out)))
            })
        })
        .await
    }

    async fn write(&mut self, bytes: Vec<u8>) -> io::Result<()> {
        if !bytes.is_empty() {
            self.tls.write_all(&bytes).await?;
            self.tls.flush().await?;
        }
        give_buffer(bytes);
        Ok(())
    }
}

/// Buffers of the thread.
struct Shared {
    read: Box<[u8]>,
    spare: Vec<Vec<u8>>,
}

thread_local! {
    static SHARED: RefCell<Shared> = RefCell::new(Shared {
        read: vec![0; READ_BYTES].into(),
        spare: Vec::new(),
    });
}

fn take_buffer() -> Vec<u8> {
    SHARED.with_borrow_mut(|shared| shared.spare.pop().unwrap_or_default())
}

fn give_buffer(mut bytes: Vec<u8>) {
    bytes.clear();
    SHARED.with_borrow_mut(|shared| {
        if shared.spare.len() < SPARE_BUFFERS_MAX {
            shared.spare.push(bytes);
        }
    });
}

fn take_messages(partial: &mut Vec<u8>, bytes: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    if partial.is_empty() {
        let used = answer_all(bytes, out)?;
        partial.extend_from_slice(&bytes[used..]);
        return Ok(());
    }
    partial.extend_from_slice(bytes);
    let used = answer_all(partial, out)?;
    if used == partial.len() {
        *partial = Vec::new();
    } else {
        partial.drain(..used);
    }
    Ok(())
}

/// Answers the whole messages at the front. Returns how many bytes they are.
fn answer_all(bytes: &[u8], out: &mut Vec<u8>) -> io::Result<usize> {
    let mut used = 0;
    let limit = messages::SERVER_MESSAGE_BYTES_MAX as usize;
    while let Framed::Whole(frame, len) =
        Frame::parse(&bytes[used..], limit).map_err(io::Error::other)?
    {
        answer(&Message::parse(frame).map_err(io::Error::other)?, out);
        used += len;
    }
    Ok(used)
}

fn answer(message: &Message<'_>, out: &mut Vec<u8>) {
    let token = message.token;
    match message.code.kind() {
        Kind::Request(method) => {
            let request = Request::parse(method, message);
            if method == RequestType::Get && request.path_is(&["oic", "rd"]) {
                messages::answer(out, ResponseType::Content, token, &SELECTION);
            } else if method == RequestType::Post && request.path_is(&["oic", "sec", "session"]) {
                messages::answer(out, ResponseType::Changed, token, &SIGNED_IN);
            } else {
                messages::answer(out, ResponseType::NotFound, token, &[]);
            }
        }
        Kind::Signal(SignalCode::Ping) => signal::write_pong(out, token, false),
        _ => {}
    }
}
