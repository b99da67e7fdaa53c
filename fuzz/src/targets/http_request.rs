//! What a REST request is decided by: path, query, Accept and Content-Type.
//!
//! What must hold: a path that is understood is one of the table; an href comes out as a device can
//! publish it.

use api::query::{content, interface};
use api::representation::{accepts_json, body_type, is_form, negotiate};
use api::route::Route;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method};

use crate::bounded_with;

/// Headers and errors have a size of their own.
const REQUEST_BYTES: usize = 16 * 1024;

/// One input: method, path, query, then values of Accept and of Content-Type, one a line.
pub fn run(data: &[u8]) {
    let mut lines = data.split(|&byte| byte == b'\n');
    let mut next = || lines.next().unwrap_or_default();
    let (method, path, query) = (next(), next(), next());
    let mut headers = HeaderMap::new();
    for (at, line) in lines.take(8).enumerate() {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append(if at % 2 == 0 { ACCEPT } else { CONTENT_TYPE }, value);
        }
    }
    bounded_with(REQUEST_BYTES + 8 * data.len(), || {
        let accepted = negotiate(&headers);
        let _ = (accepted, accepts_json(&headers), body_type(&headers), is_form(&headers));
        let method = Method::from_bytes(method).unwrap_or(Method::GET);
        if let Ok(path) = std::str::from_utf8(path)
            && let Ok(route) = Route::parse(&method, path)
        {
            assert!(route.pattern().starts_with('/'));
        }
        if let Ok(query) = std::str::from_utf8(query) {
            let _ = content(Some(query));
            if let Ok(Some(interface)) = interface(Some(query)) {
                assert!((1..=64).contains(&interface.len()));
            }
        }
    });
}
