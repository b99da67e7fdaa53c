//! Parameters of the OAuth endpoints, the authorization request among them, PKCE values, and tokens
//! that say of themselves what they are.

use std::sync::LazyLock;

use api::auth::TokenDigest;
use api::oauth::access_token::{Trust, verify};
use api::oauth::parameters::Parameters;
use api::oauth::pkce;
use api::oauth::request::{AuthorizationRequest, client_id};

use crate::bounded_with;

/// Names, values and the claims of a token are owned; errors have texts.
const REQUEST_BYTES: usize = 32 * 1024;
const PER_BYTE: usize = 64;

static TRUST: LazyLock<Trust<'static>> = LazyLock::new(|| Trust {
    issuer: "https://cloud.example.com",
    audience: "https://cloud.example.com/api/v1",
});

/// One input.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    bounded_with(REQUEST_BYTES + PER_BYTE * data.len(), || {
        let parameters = Parameters::parse(text);
        let again = Parameters::parse(&parameters.without("\u{0}"));
        assert!(again == parameters, "what is encoded is decoded to the same");
        let _ = (parameters.any_repeated(), parameters.get("scope"), client_id(&parameters));
        let client = crate::clients::client();
        let _ = AuthorizationRequest::check(&parameters, &client).is_ok();
        if let Some(challenge) = pkce::challenge_of(text) {
            assert_eq!(challenge.len(), 32);
        }
        let _ = (pkce::challenge(text), TokenDigest::from_hex(text));
        assert!(verify(text, *TRUST, |_| None).is_err(), "there is no key");
    });
}
