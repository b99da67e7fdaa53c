//! An answer as it goes out to a peer that takes blocks: whole if it fits, else one block of it.

use std::hash::{DefaultHasher, Hasher};

use shared::coap::block::{self, BERT};
use shared::coap::{Block, CoapOption, Message};

use super::{Added, Expectation, rewrite, room};
use crate::connection::PeerCapabilities;
use crate::seeded::{Bug, is_planted};

/// What goes out.
pub enum Outgoing {
    /// All of the answer.
    Whole(Vec<u8>),
    /// A block of it; more follow if so.
    Block(Vec<u8>, bool),
    /// The block that is wanted lies beyond the end.
    Beyond,
}

/// Cuts an answer for a peer that takes messages of at most `limit` bytes. Returns the whole answer
/// where cutting does not help.
pub fn cut(
    answer: &Message<'_>,
    expectation: &Expectation,
    capabilities: PeerCapabilities,
    limit: usize,
) -> Outgoing {
    let repeated = expectation.block1.filter(|_| answer.code.is_success());
    let repeated = repeated.map(|block| Added::block(CoapOption::Block1, block));
    let whole = rewrite(answer, expectation.token, |_| true, repeated.as_slice(), answer.payload);
    let wish = expectation.block2;
    let is_wanted = wish.is_some_and(|wish| match wish.szx {
        BERT => wish.number > 0,
        _ => wish.number > 0 || answer.payload.len() > wish.size(),
    });
    let is_cut = answer.code.is_success() && !answer.payload.is_empty();
    if !is_cut || whole.len() <= limit && !is_wanted {
        return Outgoing::Whole(whole);
    }
    let offset = wish.map_or(0, Block::offset);
    let mut added = Vec::from_iter(repeated);
    // Without it nobody would notice that the body has changed between two blocks (RFC 7959 §2.4).
    if !answer.options.into_iter().any(|option| option.name() == CoapOption::ETag) {
        added.push(Added::etag(digest(answer.payload)));
    }
    // Only the first block is part of an observation (RFC 7959 §2.6).
    let keep = |number| offset == 0 || CoapOption::from(number) != CoapOption::Observe;
    let bare = rewrite(answer, expectation.token, keep, &added, &[]);
    let room = room(&bare, limit);
    let most = wish.map_or_else(|| capabilities.szx_max(), |wish| wish.szx);
    let Some(szx) = block::fitting_szx(most, room) else { return Outgoing::Whole(whole) };
    let Some((block, range)) = block::cut(answer.payload.len(), offset, szx, room) else {
        return Outgoing::Beyond;
    };
    let range = if is_planted(Bug::LaterBlocksAreTheFirst) { 0..range.len() } else { range };
    added.push(Added::block(CoapOption::Block2, block));
    let part = rewrite(answer, expectation.token, keep, &added, &answer.payload[range]);
    Outgoing::Block(part, block.more)
}

/// Tells bodies of one peer's own requests apart: nothing is won by a collision.
fn digest(body: &[u8]) -> [u8; 8] {
    let mut hasher = DefaultHasher::new();
    hasher.write(body);
    hasher.finish().to_be_bytes()
}
