//! Query parameters (cloud reference 4.2, OP-40). Unknown ones are ignored.

use std::borrow::Cow;

use shared::channel::message::Content;
use shared::ids::SubscriptionId;

use crate::problem::Problem;

/// Longest name of an interface, in bytes (cloud reference 4.4 has none beyond 64).
const INTERFACE_BYTES_MAX: usize = 64;

/// What lists and devices show: links unless representations are asked for.
pub fn content(query: Option<&str>) -> Result<Content, Problem> {
    match single(query, "content")?.as_deref() {
        None | Some("base") => Ok(Content::Base),
        Some("all") => Ok(Content::All),
        Some(_) => Err(Problem::bad_request("`content` is `base` or `all`")),
    }
}

/// The interface through which a resource is to be read or updated.
pub fn interface(query: Option<&str>) -> Result<Option<String>, Problem> {
    match single(query, "if")? {
        Some(name) if name.is_empty() || name.len() > INTERFACE_BYTES_MAX => {
            Err(Problem::bad_request("`if` names an interface"))
        }
        name => Ok(name.map(Cow::into_owned)),
    }
}

/// A subscription that is named.
pub fn subscription(query: Option<&str>, name: &str) -> Result<Option<SubscriptionId>, Problem> {
    let named = single(query, name)?.map(|id| id.parse());
    let unreadable = |_| Problem::bad_request(format!("`{name}` is the id of a subscription"));
    named.transpose().map_err(unreadable)
}

/// A text of at most so many bytes.
pub fn text<'q>(
    query: Option<&'q str>,
    name: &str,
    bytes_max: usize,
) -> Result<Option<Cow<'q, str>>, Problem> {
    match single(query, name)? {
        Some(text) if text.len() > bytes_max => {
            Err(Problem::bad_request(format!("`{name}` has at most {bytes_max} bytes")))
        }
        text => Ok(text),
    }
}

fn single<'q>(query: Option<&'q str>, name: &str) -> Result<Option<Cow<'q, str>>, Problem> {
    let Some(query) = query else { return Ok(None) };
    let mut values = form_urlencoded::parse(query.as_bytes())
        .filter_map(|(key, value)| (key == name).then_some(value));
    match (values.next(), values.next()) {
        (_, Some(_)) => Err(Problem::bad_request("a query parameter is given twice")),
        (value, None) => Ok(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cloud reference 4.2; case 69.
    #[test]
    fn content_is_base_unless_it_is_all() {
        for (query, content) in [
            (None, Some(Content::Base)),
            (Some(""), Some(Content::Base)),
            (Some("content=base"), Some(Content::Base)),
            (Some("rt=oic.d.light&content=all&x"), Some(Content::All)),
            (Some("content=x"), None),
            (Some("content="), None),
            (Some("content=all&content=all"), None),
        ] {
            assert_eq!(super::content(query).ok(), content, "{query:?}");
        }
    }

    #[test]
    fn an_interface_is_named_once() {
        let of = |query| interface(Some(query)).ok();
        assert_eq!(of("if=oic.if.baseline"), Some(Some("oic.if.baseline".into())));
        assert_eq!(of("content=all"), Some(None));
        assert_eq!(of("if="), None);
        assert_eq!(of("if=a&if=a"), None);
        assert_eq!(of(&format!("if={}", "x".repeat(65))), None);
    }
}
