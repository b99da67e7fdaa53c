//! A small HTTPS client (I/O): requests with a bearer token and JSON bodies on connections that stay
//! open. The Mediator speaks to `api` with it, the demo asks whether `api` is ready.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// How long a connection, or the answer to a request, is waited for.
const PATIENCE: Duration = Duration::from_secs(20);
/// Longest answer.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// A server to which HTTPS connections can be made.
#[derive(Clone)]
pub struct Https {
    host: Box<str>,
    port: u16,
    name: ServerName<'static>,
    tls: TlsConnector,
}

/// One connection.
pub struct Connection {
    requests: SendRequest<Full<Bytes>>,
    authority: HeaderValue,
}

impl Https {
    /// For a URL `https://host:port` whose certificate is issued by one of these.
    ///
    /// # Errors
    /// If the URL has another shape.
    pub fn new(url: &str, roots: RootCertStore) -> Result<Self> {
        let shape = || format!("{url:?} is not of the form https://host:port");
        let authority = url.strip_prefix("https://").with_context(shape)?.trim_end_matches('/');
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().with_context(shape)?),
            _ => (authority, 443),
        };
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(bare.to_owned()).with_context(shape)?;
        let mut config =
            ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { host: bare.into(), port, name, tls: Arc::new(config).into() })
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// If TCP, TLS or the certificate fails, or takes too long.
    pub async fn connect(&self) -> Result<Connection> {
        timeout(PATIENCE, self.open()).await.context("connecting took too long")?
    }

    async fn open(&self) -> Result<Connection> {
        let tcp = TcpStream::connect((&*self.host, self.port)).await?;
        tcp.set_nodelay(true)?;
        let tls = self.tls.connect(self.name.clone(), tcp).await?;
        let (requests, connection) = http1::handshake(TokioIo::new(tls)).await?;
        // It ends when the sender is dropped; its errors are told to whoever waits for an answer.
        tokio::spawn(connection);
        let authority = match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        };
        Ok(Connection { requests, authority: authority.try_into()? })
    }
}

impl Connection {
    /// Sends a request and waits for the whole answer.
    ///
    /// # Errors
    /// If the connection breaks, or the answer takes too long or is too large.
    pub async fn send(
        &mut self,
        method: Method,
        path: &str,
        token: Option<&str>,
        json: Option<Vec<u8>>,
    ) -> Result<(StatusCode, Bytes)> {
        let mut request =
            Request::builder().method(method).uri(path).header(ACCEPT, "application/json");
        if let Some(token) = token {
            let mut bearer = HeaderValue::try_from(format!("Bearer {token}"))?;
            bearer.set_sensitive(true);
            request = request.header(AUTHORIZATION, bearer);
        }
        if json.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let request = request.body(Full::new(Bytes::from(json.unwrap_or_default())))?;
        let (head, body) = self.exchange(request).await?.into_parts();
        Ok((head.status, body))
    }

    /// Sends any request, with the Host that is missing, and waits for the whole answer.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn exchange(&mut self, mut request: Request<Full<Bytes>>) -> Result<Response<Bytes>> {
        request.headers_mut().entry(HOST).or_insert_with(|| self.authority.clone());
        timeout(PATIENCE, self.answer(request)).await.context("the answer took too long")?
    }

    async fn answer(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Bytes>> {
        self.requests.ready().await?;
        let (head, body) = self.requests.send_request(request).await?.into_parts();
        match Limited::new(body, ANSWER_BYTES_MAX).collect().await {
            Ok(body) => Ok(Response::from_parts(head, body.to_bytes())),
            Err(error) => bail!("the answer cannot be read: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_host_and_port() {
        for (url, expected) in [
            ("https://localhost:8443", Some(("localhost", 8443))),
            ("https://127.0.0.1:8443/", Some(("127.0.0.1", 8443))),
            ("https://[::1]:1", Some(("::1", 1))),
            ("https://api.example.com", Some(("api.example.com", 443))),
            ("http://localhost:1", None),
            ("https://localhost:port", None),
            ("localhost:1", None),
        ] {
            let https = Https::new(url, RootCertStore::empty());
            let parts = https.as_ref().ok().map(|https| (&*https.host, https.port));
            assert_eq!(parts, expected, "{url}");
        }
    }
}
