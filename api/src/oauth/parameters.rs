//! Parameters of a query or form: each at most once (RFC 6749 §3.1, §3.2).

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::request::Parts;

use super::error::OauthError;
use crate::app::App;
use crate::body;
use crate::config::millis;
use crate::representation;

/// Longest form that is read, in bytes. An authorization request comes back within one.
pub const FORM_BYTES_MAX: usize = 16 << 10;

/// Names and values, decoded.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Parameters(Vec<(String, String)>);

/// A parameter was sent more than once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Repeated;

impl Parameters {
    /// Decodes a query or form. Parameters without a value are treated as left out (RFC 6749 §3.1).
    pub fn parse(text: &str) -> Self {
        let pairs = form_urlencoded::parse(text.as_bytes()).into_owned();
        Self(pairs.filter(|(_, value)| !value.is_empty()).collect())
    }

    /// The only value of a parameter.
    pub fn get(&self, name: &str) -> Result<Option<&str>, Repeated> {
        let mut values = self.0.iter().filter(|(known, _)| known == name).map(|(_, value)| value);
        match (values.next(), values.next()) {
            (value, None) => Ok(value.map(String::as_str)),
            (_, Some(_)) => Err(Repeated),
        }
    }

    /// Whether any parameter was sent more than once.
    pub fn any_repeated(&self) -> bool {
        let mut names: Vec<_> = self.0.iter().map(|(name, _)| name).collect();
        names.sort_unstable();
        names.windows(2).any(|pair| pair[0] == pair[1])
    }

    /// Encodes all but the parameter of this name.
    pub fn without(&self, name: &str) -> String {
        let pairs = self.0.iter().filter(|(known, _)| known != name);
        form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Reads the form of a request to one of the endpoints of clients.
pub async fn read_form(app: &App, parts: &Parts, body: Body) -> Result<Parameters, OauthError> {
    if !representation::is_form(&parts.headers) {
        return Err(OauthError::invalid_request("the body is not a form"));
    }
    let form = read(app, &parts.headers, body).await;
    let form = form.ok_or(OauthError::invalid_request("the form cannot be read"))?;
    if form.any_repeated() {
        return Err(OauthError::invalid_request("a parameter is repeated"));
    }
    Ok(form)
}

/// Reads a form within the limits; none if it is not one.
pub async fn read(app: &App, headers: &HeaderMap, body: Body) -> Option<Parameters> {
    let within = millis(app.timeouts.body_ms);
    let bytes_max = FORM_BYTES_MAX.min(app.limits.body_bytes);
    let bytes = body::read(headers, body, bytes_max, within).await.ok()?;
    Some(Parameters::parse(std::str::from_utf8(&bytes).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_counts_once_and_an_empty_one_not_at_all() {
        let parameters = Parameters::parse("a=1&b=x%20y+z&c=&d=1&d=2");
        assert_eq!(parameters.get("a"), Ok(Some("1")));
        assert_eq!(parameters.get("b"), Ok(Some("x y z")));
        assert_eq!(parameters.get("c"), Ok(None));
        assert_eq!(parameters.get("d"), Err(Repeated));
        assert!(parameters.any_repeated());
        assert!(!Parameters::parse("a=1&b=2").any_repeated());
        assert_eq!(parameters.without("d"), "a=1&b=x+y+z");
    }
}
