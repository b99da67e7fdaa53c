//! What is under way on a link, and the values that go to and fro.

use shared::time::Instant;

/// What a peer has asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::simulation) enum What {
    SignUp {
        token: String,
    },
    SignIn {
        access: String,
    },
    SignOut,
    Refresh {
        refresh: String,
    },
    SignOff,
    Publish {
        hrefs: Vec<String>,
        forever: bool,
    },
    Unpublish,
    Discover,
    /// GET or POST of a resource of this peer, with a number of its own.
    Ask {
        of: usize,
        href: usize,
        nonce: u64,
    },
    Observe {
        of: usize,
        href: usize,
    },
    Unobserve,
    Watch,
    Unwatch,
    /// Of a device of another user.
    Foreign,
    Ping,
    /// What no answer is known for.
    Other,
}

/// A request under way.
#[derive(Clone, Debug)]
pub(in crate::simulation) struct Asked {
    pub(in crate::simulation) what: What,
    pub(in crate::simulation) at: Instant,
    pub(in crate::simulation) step: u64,
}

/// A running observation.
#[derive(Clone, Debug)]
pub(in crate::simulation) struct Observing {
    pub(in crate::simulation) target: Target,
    /// The value of Observe that came last.
    pub(in crate::simulation) number: u32,
}

/// What is observed, and what is known of it.
#[derive(Clone, Debug)]
pub(in crate::simulation) enum Target {
    /// A resource of a peer, in this version.
    Resource { of: usize, href: usize, version: u64 },
    /// The links of the user.
    Links(Vec<String>),
}

/// The state of a resource, as text in a CBOR map.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::simulation) struct Value {
    pub(in crate::simulation) canary: String,
    pub(in crate::simulation) peer: usize,
    pub(in crate::simulation) href: usize,
    pub(in crate::simulation) version: u64,
    pub(in crate::simulation) nonce: u64,
}

impl Value {
    /// The body of a representation.
    pub(in crate::simulation) fn body(&self) -> Vec<u8> {
        let Self { canary, peer, href, version, nonce } = self;
        let text = format!("{canary} {peer} {href} {version} {nonce}");
        let mut body = Vec::new();
        shared::ocf::cbor::Writer(&mut body).map(1).text("state").text(&text);
        body
    }

    /// Reads a body that a device of the simulation made.
    pub(in crate::simulation) fn parse(body: &[u8]) -> Option<Self> {
        use shared::ocf::cbor::{Item, Reader};
        let mut reader = Reader::new(body);
        let Ok(Item::Map(Some(1))) = reader.next_item() else { return None };
        reader.skip().ok()?;
        let Ok(Item::Text(text)) = reader.next_item() else { return None };
        let mut words = text.split(' ');
        let canary = words.next()?.to_owned();
        let mut number = || words.next()?.parse::<u64>().ok();
        Some(Self {
            canary,
            peer: number()? as usize,
            href: number()? as usize,
            version: number()?,
            nonce: number()?,
        })
    }
}
