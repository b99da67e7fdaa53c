//! The floor of `api`: a bare HTTPS server over hyper, on one thread, that reads each request and
//! answers the same bytes to all at once. No routes, no tokens, no gateway.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use benches::receiver;
use bytes::Bytes;
use clap::Parser;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Answers all requests alike; started by the benchmarks.
#[derive(Parser)]
struct Arguments {
    /// Directory with `cloud.pem` and `cloud.key`.
    #[arg(long)]
    certificates: PathBuf,
    /// The body of all answers.
    #[arg(long, value_name = "FILE")]
    answer: PathBuf,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-https: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let acceptor = TlsAcceptor::from(receiver::tls(&arguments.certificates)?);
    let answer = Bytes::from(std::fs::read(&arguments.answer)?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = TcpListener::bind(address).await?;
        println!("ready {}", listener.local_addr()?);
        loop {
            let (socket, _) = listener.accept().await?;
            socket.set_nodelay(true)?;
            tokio::spawn(serve(socket, acceptor.clone(), answer.clone()));
        }
    })
}

async fn serve(socket: TcpStream, acceptor: TlsAcceptor, answer: Bytes) {
    // Whoever asks may go away at any time.
    let Ok(stream) = acceptor.accept(socket).await else { return };
    let service = service_fn(|request| respond(request, answer.clone()));
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn respond(
    request: Request<Incoming>,
    answer: Bytes,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut response = Response::new(Full::new(answer));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if request.into_body().collect().await.is_err() {
        *response.status_mut() = StatusCode::BAD_REQUEST;
    }
    Ok(response)
}
