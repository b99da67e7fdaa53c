//! What is under way on a link, and the values that go to and fro.

use shared::coap::block::Block;
use shared::coap::{CoapOption, ResponseType};
use shared::ids::DeviceId;
use shared::time::Instant;

use crate::message::Msg;

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
    SignOff {
        /// Which account of the device was meant: later there may be another one.
        account: Option<[u8; 16]>,
    },
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
    /// GET of a resource whose answer comes in blocks: the block behind what has come.
    Download(Download),
    /// POST of a resource whose body goes in blocks.
    Upload(Upload),
    Observe {
        of: usize,
        href: usize,
    },
    Unobserve,
    Watch,
    Unwatch,
    /// Of a device of another user.
    Foreign(DeviceId),
    Ping,
    /// Answered by the end of the connection.
    Release,
    /// What no answer is known for.
    Other,
}

/// An answer that comes in blocks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::simulation) struct Download {
    pub(in crate::simulation) of: usize,
    pub(in crate::simulation) href: usize,
    pub(in crate::simulation) szx: u8,
    /// What has come.
    pub(in crate::simulation) body: Vec<u8>,
    /// Its ETag: blocks with another one belong to another answer.
    pub(in crate::simulation) tag: Vec<u8>,
}

impl Download {
    /// Whether a message is a block behind those before it.
    fn continues(&self, message: &Msg) -> bool {
        let tag = message.values(CoapOption::ETag).concat();
        message.code == ResponseType::Content && (self.body.is_empty() || self.tag == tag)
    }

    /// Whether another block follows this one.
    pub(in crate::simulation) fn goes_on(&self, message: &Msg) -> bool {
        let block = message.number(CoapOption::Block2).map(Block::parse);
        self.continues(message) && block.is_some_and(|block| block.more)
    }

    /// Takes a block in.
    pub(in crate::simulation) fn take(&mut self, message: &Msg) {
        self.body.extend_from_slice(&message.payload);
        self.tag = message.values(CoapOption::ETag).concat();
    }

    /// The whole answer, if this is its last block.
    pub(super) fn whole_with(&self, message: &Msg) -> Option<Vec<u8>> {
        let is_last = self.continues(message) && !self.goes_on(message);
        is_last.then(|| [&self.body[..], &message.payload[..]].concat())
    }
}

/// A body that goes in blocks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::simulation) struct Upload {
    pub(in crate::simulation) of: usize,
    pub(in crate::simulation) href: usize,
    pub(in crate::simulation) nonce: u64,
    pub(in crate::simulation) szx: u8,
    /// Of the next block.
    pub(in crate::simulation) number: u32,
    /// What has not been sent.
    pub(in crate::simulation) rest: Vec<u8>,
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
