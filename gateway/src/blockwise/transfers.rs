//! What is kept of transfers with those who ask us: bodies that are coming in blocks, answers that go
//! out in blocks, and requests whose answers may have to. Bounded in number, bytes and time; who
//! transfers nothing has no entry.

use std::collections::BTreeMap;

use shared::coap::block::{Assembly, BlockError};
use shared::coap::{Block, Token};
use shared::time::Instant;

use crate::connection::ConnectionId;
use crate::limits::{
    EXPECTATIONS_PER_PEER_MAX, TRANSFER, TRANSFER_BYTES_MAX, TRANSFERS_PER_PEER_MAX,
};
use crate::shard::agenda::Agenda;

/// A body that is coming in blocks.
pub struct Upload {
    key: Box<[u8]>,
    body: Assembly,
    /// Bytes that the last block has brought.
    last: usize,
    until: Instant,
}

impl Upload {
    /// What has come.
    pub fn body(&self) -> &[u8] {
        self.body.as_slice()
    }
}

/// An answer of which blocks have gone out.
struct Download {
    key: Box<[u8]>,
    answer: Vec<u8>,
    until: Instant,
}

/// A request whose answer may have to go out in blocks.
#[derive(Clone)]
pub struct Expectation {
    /// Of the request.
    pub token: Token,
    /// Requests for the later blocks have the same.
    pub key: Box<[u8]>,
    /// Block2 of the request: which block is wanted, how large.
    pub block2: Option<Block>,
    /// The last Block1 of the request, which the answer repeats.
    pub block1: Option<Block>,
    /// Forgotten then, unless it is an observation.
    pub until: Option<Instant>,
}

#[derive(Default)]
struct Peer {
    uploads: Vec<Upload>,
    downloads: Vec<Download>,
    expectations: Vec<Expectation>,
}

/// Why a block is not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotTaken {
    /// It does not fit the blocks before it.
    Bad(BlockError),
    /// Too much is under way, of this peer or of all.
    Full,
}

/// What a block has led to.
pub enum Taken {
    /// More blocks follow.
    More,
    /// The body is whole.
    Whole(Upload),
}

/// All of them, by connection.
pub struct Transfers {
    peers: BTreeMap<ConnectionId, Peer>,
    agenda: Agenda<ConnectionId>,
    bytes: usize,
    now: Instant,
}

impl Transfers {
    /// None, at this time.
    pub fn new(now: Instant) -> Self {
        Self { peers: BTreeMap::new(), agenda: Agenda::default(), bytes: 0, now }
    }

    /// The present.
    pub fn set_now(&mut self, now: Instant) {
        self.now = now;
    }

    /// Nothing is under way.
    pub fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }

    /// Number of peers with something under way, and the bytes that are kept for them.
    pub fn size(&self) -> (usize, usize) {
        (self.peers.len(), self.bytes)
    }

    /// Takes a block of a body. One that does not fit ends the transfer.
    pub fn take_block(
        &mut self,
        id: ConnectionId,
        key: Box<[u8]>,
        block: Block,
        payload: &[u8],
        limit: usize,
    ) -> Result<Taken, NotTaken> {
        if self.bytes + payload.len() > TRANSFER_BYTES_MAX {
            return Err(NotTaken::Full);
        }
        let uploads = &mut self.peers.entry(id).or_default().uploads;
        let at = uploads.iter().position(|upload| upload.key == key);
        let mut upload = match at {
            Some(at) => uploads.swap_remove(at),
            None if uploads.len() >= TRANSFERS_PER_PEER_MAX => return Err(NotTaken::Full),
            None => Upload { key, body: Assembly::default(), last: 0, until: self.now },
        };
        self.bytes -= upload.body.len();
        let pushed = upload.body.push(block, payload, limit);
        upload.last = payload.len();
        upload.until = self.now + TRANSFER;
        let taken = match pushed {
            Ok(()) if block.more => {
                self.bytes += upload.body.len();
                uploads.push(upload);
                Ok(Taken::More)
            }
            Ok(()) => Ok(Taken::Whole(upload)),
            Err(error) => Err(NotTaken::Bad(error)),
        };
        self.schedule(id);
        taken
    }

    /// The request that completed a body has to wait, and will come again: so will its last block.
    pub fn put_back(&mut self, id: ConnectionId, mut upload: Upload) {
        upload.body.shorten(upload.body.len() - upload.last);
        if !upload.body.is_empty() {
            self.give_uploads(id, vec![upload]);
        }
    }

    /// Takes the bodies of a connection that moves.
    pub fn take_uploads(&mut self, id: ConnectionId) -> Vec<Upload> {
        let Some(peer) = self.peers.get_mut(&id) else { return Vec::new() };
        let uploads = std::mem::take(&mut peer.uploads);
        self.bytes -= uploads.iter().map(|upload| upload.body.len()).sum::<usize>();
        self.schedule(id);
        uploads
    }

    /// The bodies of a connection that has moved here.
    pub fn give_uploads(&mut self, id: ConnectionId, uploads: Vec<Upload>) {
        if !uploads.is_empty() {
            self.bytes += uploads.iter().map(|upload| upload.body.len()).sum::<usize>();
            self.peers.entry(id).or_default().uploads.extend(uploads);
            self.schedule(id);
        }
    }

    /// A request is about to be served whose answer may have to go out in blocks.
    pub fn expect(&mut self, id: ConnectionId, expectation: Expectation) {
        let expectations = &mut self.peers.entry(id).or_default().expectations;
        expectations.retain(|known| known.token != expectation.token);
        // Bounded by the requests and observations of a client; an answer beyond is not cut.
        if expectations.len() < EXPECTATIONS_PER_PEER_MAX {
            expectations.push(expectation);
        }
        self.schedule(id);
    }

    /// What was asked with this token.
    pub fn expectation(&self, id: ConnectionId, token: Token) -> Option<&Expectation> {
        let expectations = &self.peers.get(&id)?.expectations;
        expectations.iter().find(|expectation| expectation.token == token)
    }

    /// A request has its answer, or is not served after all.
    pub fn forget_expectation(&mut self, id: ConnectionId, token: Token) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.expectations.retain(|expectation| expectation.token != token);
            self.schedule(id);
        }
    }

    /// A notification has gone out: what its observation asked for was about the first answer.
    pub fn begin_notifications(&mut self, id: ConnectionId, token: Token) {
        let expectations = self.peers.get_mut(&id).map(|peer| &mut peer.expectations);
        let known = expectations.into_iter().flatten().find(|known| known.token == token);
        if let Some(expectation) = known {
            (expectation.block1, expectation.until) = (None, None);
        }
    }

    /// Keeps an answer whose later blocks will be asked for. Without room for it they are made anew.
    pub fn keep(&mut self, id: ConnectionId, key: Box<[u8]>, answer: Vec<u8>) {
        self.drop_download(id, &key);
        if self.bytes + answer.len() > TRANSFER_BYTES_MAX {
            return;
        }
        let downloads = &mut self.peers.entry(id).or_default().downloads;
        if downloads.len() >= TRANSFERS_PER_PEER_MAX {
            self.bytes -= downloads.remove(0).answer.len();
        }
        self.bytes += answer.len();
        downloads.push(Download { key, answer, until: self.now + TRANSFER });
        self.schedule(id);
    }

    /// Takes the answer out whose later block is asked for; [`keep`](Self::keep) puts it back.
    pub fn take_answer(&mut self, id: ConnectionId, key: &[u8]) -> Option<Vec<u8>> {
        let answer = self.drop_download(id, key)?;
        self.schedule(id);
        Some(answer)
    }

    fn drop_download(&mut self, id: ConnectionId, key: &[u8]) -> Option<Vec<u8>> {
        let downloads = &mut self.peers.get_mut(&id)?.downloads;
        let at = downloads.iter().position(|download| *download.key == *key)?;
        let answer = downloads.remove(at).answer;
        self.bytes -= answer.len();
        Some(answer)
    }

    /// Everything of a connection is over.
    pub fn forget(&mut self, id: ConnectionId) {
        if let Some(peer) = self.peers.remove(&id) {
            self.bytes -= peer.bytes();
            self.agenda.clear(id);
        }
    }

    /// When [`expire`](Self::expire) has something to do.
    pub fn due(&self) -> Option<Instant> {
        self.agenda.next()
    }

    /// Gives up what did not go on in time.
    pub fn expire(&mut self) {
        while let Some(id) = self.agenda.next_due(self.now) {
            let Some(peer) = self.peers.get_mut(&id) else { continue };
            let (before, now) = (peer.bytes(), self.now);
            peer.uploads.retain(|upload| upload.until > now);
            peer.downloads.retain(|download| download.until > now);
            peer.expectations.retain(|known| known.until.is_none_or(|until| until > now));
            self.bytes -= before - peer.bytes();
            self.schedule(id);
        }
    }

    /// Sets the deadline of a peer to the first of its transfers; one without any has no entry.
    fn schedule(&mut self, id: ConnectionId) {
        let Some(peer) = self.peers.get(&id) else { return };
        match peer.due() {
            Some(due) => self.agenda.set(id, due),
            None => self.agenda.clear(id),
        }
        if peer.is_empty() {
            self.peers.remove(&id);
        }
    }
}

impl Peer {
    fn bytes(&self) -> usize {
        let uploads = self.uploads.iter().map(|upload| upload.body.len());
        uploads.chain(self.downloads.iter().map(|download| download.answer.len())).sum()
    }

    fn due(&self) -> Option<Instant> {
        let uploads = self.uploads.iter().map(|upload| upload.until);
        let downloads = self.downloads.iter().map(|download| download.until);
        let expectations = self.expectations.iter().filter_map(|expectation| expectation.until);
        uploads.chain(downloads).chain(expectations).min()
    }

    fn is_empty(&self) -> bool {
        self.uploads.is_empty() && self.downloads.is_empty() && self.expectations.is_empty()
    }
}
