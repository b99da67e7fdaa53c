//! The API as partners and Mediators use it: one request, one connection (I/O).

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap};
use hyper::{Method, Request, StatusCode};
use loadtest::credentials::trust_anchors;
use loadtest::http::Https;
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

/// A client of the API.
pub struct Rest {
    https: Https,
    runtime: Runtime,
}

/// A request on its way.
pub struct Ask<'r> {
    rest: &'r Rest,
    method: Method,
    path: String,
    token: Option<String>,
    accept: Option<&'static str>,
    headers: Vec<(&'static str, String)>,
    body: Option<(&'static str, Vec<u8>)>,
}

/// What came back.
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Rest {
    /// For the API at this URL, whose certificate these authorities have issued.
    pub fn new(url: &str, authorities: &Path) -> Self {
        let https = Https::new(url, trust_anchors(authorities).unwrap()).unwrap();
        Self { https, runtime: Builder::new_current_thread().enable_all().build().unwrap() }
    }

    /// GET on this path.
    pub fn get(&self, path: impl Into<String>) -> Ask<'_> {
        self.ask(Method::GET, path)
    }

    /// DELETE on this path.
    pub fn delete(&self, path: impl Into<String>) -> Ask<'_> {
        self.ask(Method::DELETE, path)
    }

    /// POST on this path.
    pub fn post(&self, path: impl Into<String>) -> Ask<'_> {
        self.ask(Method::POST, path)
    }

    /// Any method on this path.
    pub fn ask(&self, method: Method, path: impl Into<String>) -> Ask<'_> {
        Ask {
            rest: self,
            method,
            path: path.into(),
            token: None,
            accept: None,
            headers: Vec::new(),
            body: None,
        }
    }
}

impl Ask<'_> {
    /// With this bearer token.
    pub fn token(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self
    }

    /// Wants this media type.
    pub fn accept(mut self, media_type: &'static str) -> Self {
        self.accept = Some(media_type);
        self
    }

    /// With another header.
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    /// As this client, with HTTP Basic.
    pub fn basic(self, id: &str, secret: &str) -> Self {
        let encoded = STANDARD.encode(format!("{id}:{secret}"));
        self.header("authorization", &format!("Basic {encoded}"))
    }

    /// With these fields of a form.
    pub fn form(self, fields: &[(&str, &str)]) -> Self {
        let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        self.body("application/x-www-form-urlencoded", form)
    }

    /// With this body of this media type.
    pub fn body(mut self, media_type: &'static str, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some((media_type, body.into()));
        self
    }

    /// With this JSON.
    pub fn json(self, body: &Value) -> Self {
        self.body("application/json", body.to_string())
    }

    /// Sends it and waits for the answer.
    pub fn send(self) -> Answer {
        let mut request = Request::builder().method(self.method).uri(&self.path);
        if let Some(token) = self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        if let Some(accept) = self.accept {
            request = request.header(ACCEPT, accept);
        }
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        let (media_type, body) = self.body.map_or((None, Vec::new()), |(t, body)| (Some(t), body));
        if let Some(media_type) = media_type {
            request = request.header(CONTENT_TYPE, media_type);
        }
        let request = request.body(Full::new(Bytes::from(body))).unwrap();
        let answer = self.rest.runtime.block_on(async {
            let mut connection = self.rest.https.connect().await?;
            connection.exchange(request).await
        });
        let (head, body) = answer.unwrap().into_parts();
        Answer { status: head.status, headers: head.headers, body }
    }
}

impl Answer {
    /// With this status.
    #[track_caller]
    pub fn is(self, status: u16) -> Self {
        let body = String::from_utf8_lossy(&self.body);
        assert_eq!(self.status, status, "{body}");
        self
    }

    /// A failure with this status, told as a problem body.
    #[track_caller]
    pub fn is_problem(self, status: u16) -> Self {
        let answer = self.is(status);
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        assert_eq!(answer.value()["status"], status);
        answer
    }

    /// A header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    #[track_caller]
    pub fn value(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}
