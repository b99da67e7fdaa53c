//! The authorization request, checked in the order of cloud reference 3.3.

use shared::channel::authorization::ClientRecord;
use shared::scope::Scopes;

use super::parameters::{Parameters, Repeated};
use super::pkce;

/// A request that may be put before the user.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuthorizationRequest {
    /// Where the answer goes.
    pub back: Back,
    /// What is asked for.
    pub scopes: Scopes,
    /// SHA-256 of the verifier that will come with the code.
    pub challenge: Option<[u8; 32]>,
}

/// Where the answer goes, and what it repeats.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Back {
    /// One of the client's.
    pub redirect_uri: String,
    /// As it came.
    pub state: Option<String>,
}

/// Why a request is refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refused {
    /// Nobody knows where to send the answer: the user is told, and nobody else.
    Page(&'static str),
    /// The client is told.
    Redirect(Back, &'static str),
}

/// The sentence for a client that nobody knows.
pub const UNKNOWN_CLIENT: &str = "The service that sent you here is not known to this cloud.";

const UNKNOWN_REDIRECT: &str =
    "The service that sent you here gave an address that is not registered for it.";

/// The only `client_id` of a request.
pub fn client_id(parameters: &Parameters) -> Result<&str, Refused> {
    parameters.get("client_id").ok().flatten().ok_or(Refused::Page(UNKNOWN_CLIENT))
}

impl AuthorizationRequest {
    /// Checks the request of a client that is known.
    pub fn check(parameters: &Parameters, client: &ClientRecord) -> Result<Self, Refused> {
        let redirect_uri = match parameters.get("redirect_uri") {
            Ok(Some(uri)) if client.redirect_uris.iter().any(|known| known == uri) => uri,
            _ => return Err(Refused::Page(UNKNOWN_REDIRECT)),
        };
        let state = parameters.get("state");
        let back = Back {
            redirect_uri: redirect_uri.to_owned(),
            // Which of two the client meant, nobody knows.
            state: state.ok().flatten().map(str::to_owned),
        };
        match Self::check_rest(parameters, client) {
            Ok((scopes, challenge)) => Ok(Self { back, scopes, challenge }),
            Err(error) => Err(Refused::Redirect(back, error)),
        }
    }

    fn check_rest(
        parameters: &Parameters,
        client: &ClientRecord,
    ) -> Result<(Scopes, Option<[u8; 32]>), &'static str> {
        const INVALID: &str = "invalid_request";
        if parameters.any_repeated() {
            return Err(INVALID);
        }
        let one = |name| parameters.get(name).map_err(|Repeated| INVALID);
        match one("response_type")? {
            Some("code") => {}
            Some(_) => return Err("unsupported_response_type"),
            None => return Err(INVALID),
        }
        if one("response_mode")?.is_some_and(|mode| mode != "query") {
            return Err(INVALID);
        }
        let scopes = Scopes::parse(one("scope")?.ok_or(INVALID)?).map_err(|_| "invalid_scope")?;
        if !client.scopes.contain(scopes) {
            return Err("invalid_scope");
        }
        let challenge = match (one("code_challenge")?, one("code_challenge_method")?) {
            (None, None) => None,
            (Some(text), Some("S256")) => Some(pkce::challenge(text).ok_or(INVALID)?),
            _ => return Err(INVALID),
        };
        Ok((scopes, challenge))
    }
}

impl Back {
    /// The redirect URI with these parameters, the state and the issuer added (RFC 9207). A query that
    /// it has stays as it is.
    pub fn with(&self, issuer: &str, pairs: &[(&str, &str)]) -> String {
        let separator = if self.redirect_uri.contains('?') { '&' } else { '?' };
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(pairs);
        if let Some(state) = &self.state {
            query.append_pair("state", state);
        }
        query.append_pair("iss", issuer);
        format!("{}{separator}{}", self.redirect_uri, query.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const URI: &str = "https://app.consumer.example/cb?keep=1";

    fn client() -> ClientRecord {
        ClientRecord {
            id: "client123".into(),
            revision: 1,
            name: "Consumer".into(),
            contact: String::new(),
            secrets: vec![],
            redirect_uris: vec![URI.into()],
            scopes: Scopes::READ.union(Scopes::OFFLINE_ACCESS),
            introspects: false,
            authorities: String::new(),
            events_hosts: Vec::new(),
            enabled: true,
            created: 1,
        }
    }

    fn check(changes: &[(&str, Option<&str>)]) -> Result<AuthorizationRequest, Refused> {
        let mut pairs = vec![
            ("response_type", "code"),
            ("client_id", "client123"),
            ("redirect_uri", URI),
            ("scope", "r:* offline_access"),
            ("state", "a b&c"),
            ("audience", "ignored"),
        ];
        for (name, value) in changes {
            pairs.retain(|(known, _)| known != name);
            pairs.extend(value.map(|value| (*name, value)));
        }
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        AuthorizationRequest::check(&Parameters::parse(&query), &client())
    }

    fn error(changes: &[(&str, Option<&str>)]) -> &'static str {
        match check(changes) {
            Err(Refused::Redirect(back, error)) => {
                assert_eq!(back.redirect_uri, URI);
                error
            }
            other => panic!("{other:?}"),
        }
    }

    /// Cases 21 to 24 and 36.
    #[test]
    fn the_table_of_checks_holds_in_its_order() {
        for uri in [
            "https://app.consumer.example/cb",
            "https://app.consumer.example/cb?keep=1/",
            "https://APP.consumer.example/cb?keep=1",
            "https://app.consumer.example/cb?keep=1&more=1",
        ] {
            let refused = check(&[("redirect_uri", Some(uri))]);
            assert_eq!(refused, Err(Refused::Page(UNKNOWN_REDIRECT)), "{uri}");
        }
        assert_eq!(check(&[("redirect_uri", None)]), Err(Refused::Page(UNKNOWN_REDIRECT)));
        assert_eq!(error(&[("response_type", None)]), "invalid_request");
        assert_eq!(error(&[("response_type", Some("token"))]), "unsupported_response_type");
        assert_eq!(error(&[("response_mode", Some("fragment"))]), "invalid_request");
        assert_eq!(error(&[("scope", None)]), "invalid_request");
        assert_eq!(error(&[("scope", Some("r:* user:email"))]), "invalid_scope");
        assert_eq!(error(&[("scope", Some("w:*"))]), "invalid_scope", "not the client's");
        let text = Some("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
        let method = "code_challenge_method";
        assert_eq!(error(&[("code_challenge", text)]), "invalid_request", "plain");
        assert_eq!(error(&[("code_challenge", text), (method, Some("plain"))]), "invalid_request");
        assert_eq!(error(&[(method, Some("S256"))]), "invalid_request");
        let good = check(&[("code_challenge", text), (method, Some("S256"))]).unwrap();
        assert!(good.challenge.is_some());
    }

    #[test]
    fn a_repeated_parameter_is_refused() {
        let query = format!(
            "response_type=code&client_id=client123&redirect_uri={}&scope=r:*&scope=r:*&state=s",
            form_urlencoded::byte_serialize(URI.as_bytes()).collect::<String>()
        );
        let refused = AuthorizationRequest::check(&Parameters::parse(&query), &client());
        let back = Back { redirect_uri: URI.into(), state: Some("s".into()) };
        assert_eq!(refused, Err(Refused::Redirect(back, "invalid_request")));
    }

    /// Cases 26 and 27.
    #[test]
    fn the_answer_keeps_the_query_and_repeats_the_state() {
        let request = check(&[]).unwrap();
        assert_eq!(
            request.back.with("https://auth.example", &[("code", "c-1")]),
            "https://app.consumer.example/cb?keep=1&code=c-1&state=a+b%26c&iss=https%3A%2F%2Fauth.example"
        );
    }
}
