//! What is observed on a device: path and query, in a form that compares and can be written again.

use shared::coap::option::{OCF_ACCEPT_VERSION, OCF_VERSION_1_0_0};
use shared::coap::request::OCF_CBOR;
use shared::coap::{CoapOption, MessageWriter, Request};
use shared::ids::Href;

/// Path and query. Queries are in order, so that the same ones in another order are the same target.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    path: Box<[Box<str>]>,
    query: Box<[Box<str>]>,
}

impl Target {
    /// Of a client's request: the first segment of its path is the device.
    pub fn of_request(request: &Request<'_>) -> Self {
        let options = request.options;
        let mut query: Vec<Box<str>> = options
            .filter(|option| option.name() == CoapOption::UriQuery)
            .map(|option| option.text().unwrap_or_default().into())
            .collect();
        query.sort_unstable();
        Self { path: request.path().skip(1).map(Into::into).collect(), query: query.into() }
    }

    /// Of a link: the whole representation.
    pub fn of_link(href: &Href) -> Self {
        let path = href.as_str().split('/').skip(1).map(Into::into).collect();
        Self { path, query: Box::default() }
    }

    /// The number of the link, when the whole representation is observed.
    pub fn instance(&self) -> Option<u32> {
        if !self.query.is_empty() {
            return None;
        }
        Href::parse(&self.path.join("/")).ok().map(|href| href.instance())
    }

    /// Whether this is the path, whatever the query.
    pub fn is_path(&self, href: &str) -> bool {
        href.split('/').skip(1).eq(self.path.iter().map(|segment| &**segment))
    }

    /// Appends the options of a GET behind Observe.
    pub fn write_options(&self, message: &mut MessageWriter<'_>) {
        message.path(self.path.iter().map(|segment| &**segment));
        for query in &self.query {
            message.named(CoapOption::UriQuery, query.as_bytes());
        }
        message.option_uint(CoapOption::Accept.into(), u32::from(OCF_CBOR));
        message.option_uint(OCF_ACCEPT_VERSION, u32::from(OCF_VERSION_1_0_0));
    }
}
