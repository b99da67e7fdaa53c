//! What goes around every request: its correlation id, headers that every answer has, one log line.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, HeaderName};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use axum::routing::MethodRouter;
use shared::ids::UuidText;

use crate::app::App;
use crate::auth::Caller;
use crate::problem::Problem;

/// The header that ties a request to its answer, its notifications and its log lines.
pub const CORRELATION_ID: HeaderName = HeaderName::from_static("correlation-id");

/// Longest id of a consumer that is repeated; a UUID has 36 bytes.
const CORRELATION_BYTES_MAX: usize = 128;

/// What becomes known of a request on its way.
#[derive(Debug)]
pub struct Trace {
    correlation: HeaderValue,
    pattern: OnceLock<&'static str>,
    caller: OnceLock<Arc<Caller>>,
}

impl Trace {
    /// Which path it is, with its variable parts replaced. Counts once.
    pub fn set_pattern(&self, pattern: &'static str) {
        self.pattern.get_or_init(|| pattern);
    }

    /// Who asks. Counts once.
    pub fn set_caller(&self, caller: Arc<Caller>) {
        self.caller.get_or_init(|| caller);
    }

    /// The correlation id: visible ASCII.
    pub fn correlation(&self) -> &str {
        self.correlation.to_str().unwrap_or_default()
    }
}

/// The layer around everything: repeats or makes the correlation id (cloud reference 2.3), forbids
/// caching, and logs one line.
pub async fn record(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let correlation = theirs(request.headers()).unwrap_or_else(|| app.correlations.next());
    let trace = Arc::new(Trace {
        correlation: correlation.clone(),
        pattern: OnceLock::new(),
        caller: OnceLock::new(),
    });
    request.extensions_mut().insert(trace.clone());
    let method = request.method().clone();
    let mut response = next.run(request).await;
    response.headers_mut().insert(CORRELATION_ID, correlation);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let user = trace.caller.get().map(|caller| caller.user().text());
    tracing::info!(
        target: "api::request",
        %method,
        path = trace.pattern.get().copied().unwrap_or("-"),
        status = response.status().as_u16(),
        ms = started.elapsed().as_secs_f64() * 1000.0,
        correlation = trace.correlation(),
        user = user.as_ref().map_or("-", UuidText::as_str),
        "request"
    );
    response
}

/// Paths, and what is served there.
pub type Routes = Vec<(&'static str, MethodRouter<Arc<App>>)>;

/// Serves these paths.
pub fn serve(routes: Routes) -> Router<Arc<App>> {
    routes.into_iter().fold(Router::new(), |router, (pattern, route)| {
        router.route(pattern, traced(pattern, route))
    })
}

/// Requests to this route are logged under its path.
fn traced(pattern: &'static str, route: MethodRouter<Arc<App>>) -> MethodRouter<Arc<App>> {
    let route = route.fallback(|| async {
        // axum adds the methods that there are.
        Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this path does not have that method")
    });
    route.layer(axum::middleware::from_fn(move |request: Request, next: Next| {
        if let Some(trace) = request.extensions().get::<Arc<Trace>>() {
            trace.set_pattern(pattern);
        }
        next.run(request)
    }))
}

/// The consumer's id, if it sent one that can be repeated.
fn theirs(headers: &HeaderMap) -> Option<HeaderValue> {
    let id = headers.get(CORRELATION_ID)?;
    let fits = (1..=CORRELATION_BYTES_MAX).contains(&id.len());
    (fits && id.as_bytes().iter().all(u8::is_ascii_graphic)).then(|| id.clone())
}

/// Makes correlation ids: unique, and not secret. Random bytes are drawn once per process.
#[derive(Debug)]
pub struct Correlations {
    seed: [u64; 2],
    made: AtomicU64,
}

impl Correlations {
    /// Beginning somewhere.
    pub fn new(seed: [u64; 2]) -> Self {
        Self { seed, made: AtomicU64::new(0) }
    }

    fn next(&self) -> HeaderValue {
        let nth = self.made.fetch_add(1, Ordering::Relaxed);
        let halves = self.seed.map(|seed| mix(seed.wrapping_add(nth.wrapping_mul(GOLDEN))));
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&halves[0].to_be_bytes());
        bytes[8..].copy_from_slice(&halves[1].to_be_bytes());
        let id = shared::ids::DeviceId::from_random(bytes);
        HeaderValue::from_bytes(id.text().as_bytes()).expect("a UUID is visible ASCII")
    }
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The output function of SplitMix64: a bijection that spreads every bit.
fn mix(mut z: u64) -> u64 {
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_we_make_are_version_4_uuids_and_differ() {
        let correlations = Correlations::new([1, 2]);
        let ids: std::collections::HashSet<_> = (0..1000)
            .map(|_| correlations.next().to_str().unwrap().to_owned())
            .inspect(|id| assert!(id.len() == 36 && &id[14..15] == "4", "{id}"))
            .collect();
        assert_eq!(ids.len(), 1000);
    }

    #[test]
    fn an_id_is_only_repeated_if_it_is_short_and_visible() {
        let of = |id: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(CORRELATION_ID, HeaderValue::from_bytes(id).unwrap());
            theirs(&headers).map(|id| id.as_bytes().to_vec())
        };
        assert_eq!(of(b"ABC-1").as_deref(), Some(&b"ABC-1"[..]));
        assert_eq!(of(b""), None);
        assert_eq!(of(b"a b"), None);
        assert_eq!(of(b"\xe4"), None);
        assert_eq!(of(&[b'a'; 129]), None);
    }
}
