//! Links between peers and the cloud: bytes that arrive late, in pieces, or never.
//!
//! A link is tapped at the cloud's end: what the cloud sends is decrypted when it leaves, and judged by
//! `model::answers`; the peer gets it when its last byte arrives.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use gateway::connection::ConnectionId;
use gateway::connection::moving::Moving;
use gateway::shard::{Input, Listener};
use shared::coap::{Frame, Framed};
use shared::record::{Opened, Records, Step, Suite};
use shared::time::Instant;

use super::agenda::{Event, LinkId};
use super::cloud::{identity_of, product};
use super::model::asked::{Asked, Observing, What};
use super::plan::Fault;
use super::run::Simulation;
use super::trace::brief;
use super::verdict::Invariant;
use crate::message::Msg;

/// What peers negotiate.
const SUITES: [Suite; 5] = [
    Suite::Tls12Aes128,
    Suite::Tls12Aes256,
    Suite::Tls13Aes128,
    Suite::Tls13Aes256,
    Suite::Tls13ChaCha20,
];

/// A message on its way to a peer.
struct Letter {
    /// It is there when this many bytes are.
    end: u64,
    message: Msg,
    /// What it answers.
    what: Option<What>,
}

/// A connection between a peer and the cloud.
pub(super) struct Link {
    pub(super) peer: usize,
    /// On whose behalf the peer speaks here.
    pub(super) user: usize,
    /// The shard and the slot that it has; none when the cloud has closed it.
    pub(super) place: Option<(usize, ConnectionId)>,
    records: Records,
    /// What the cloud has sent and cannot be opened yet: the beginning of a record, or of a frame.
    sealed: Vec<u8>,
    text: Vec<u8>,
    /// Bytes that the cloud has sent.
    sent: u64,
    letters: VecDeque<Letter>,
    to_cloud: Instant,
    to_peer: Instant,
    /// The peer does not read before.
    reads_from: Instant,
    /// Nothing gets through any more.
    pub(super) cut: bool,
    /// The peer has left it, or knows that it is gone.
    pub(super) left: bool,
    /// When the cloud has answered that the peer is signed in.
    pub(super) signed_in: Option<Instant>,
    /// When the cloud has closed it.
    pub(super) closed: Option<Instant>,
    /// The peer has said what nobody understands: what is answered to it is for nobody either.
    pub(super) babbles: bool,
    /// The account whose tokens were given out on it.
    pub(super) seed: Option<[u8; 16]>,
    pub(super) asked: BTreeMap<u64, Asked>,
    pub(super) observing: BTreeMap<u64, Observing>,
    /// Tokens of which one more answer may come.
    pub(super) more: BTreeSet<u64>,
    last_token: u64,
}

impl Link {
    /// Whether answers still leave the cloud, and can arrive.
    pub(super) fn is_open(&self) -> bool {
        self.place.is_some() && !self.cut && !self.left
    }

    pub(super) fn next_token(&mut self) -> u64 {
        self.last_token += 1;
        self.last_token
    }
}

impl Simulation {
    /// The time that something needs.
    fn flight(&mut self) -> Duration {
        let most = match self.dice.below(5) {
            0 => self.plan.delay,
            _ => self.plan.delay / 10,
        };
        self.dice.time(Duration::from_micros(20), most)
    }

    /// When something that leaves now arrives.
    pub(super) fn soon(&mut self) -> Instant {
        let flight = self.flight();
        self.instant + flight
    }

    /// A peer connects; its handshake is done.
    pub(super) fn open(&mut self, peer: usize) -> LinkId {
        self.counts.links += 1;
        let suite = *self.dice.pick(&SUITES);
        let (server, client) = Records::pair(suite, self.dice.bytes());
        let link = self.links.len();
        let user = self.peers[peer].user;
        self.links.push(Link {
            peer,
            user,
            place: None,
            records: client,
            sealed: Vec::new(),
            text: Vec::new(),
            sent: 0,
            letters: VecDeque::new(),
            to_cloud: self.instant,
            to_peer: self.instant,
            reads_from: self.instant,
            cut: false,
            left: false,
            signed_in: None,
            closed: None,
            babbles: false,
            seed: None,
            asked: BTreeMap::new(),
            observing: BTreeMap::new(),
            more: BTreeSet::new(),
            last_token: 0x1000_0000_0000_0000,
        });
        self.tell(format_args!("peer {peer} opens link {link}"));
        let number = peer as u32;
        let address =
            SocketAddr::from(([127, (number >> 16) as u8, (number >> 8) as u8, number as u8], 1));
        let known = &self.peers[peer];
        let proved = if known.proves_id { identity_of(known.di) } else { product() };
        let state =
            Moving::established(server, proved, address, Listener(0), self.instant, &self.timers);
        self.accept(link, Box::new(state));
        link
    }

    /// A peer sends a message in a record of its own.
    pub(super) fn say(&mut self, link: LinkId, message: &Msg) {
        let bytes = message.encode();
        self.say_bytes(link, &bytes);
    }

    /// A peer sends bytes in a record of their own.
    pub(super) fn say_bytes(&mut self, link: LinkId, text: &[u8]) {
        if self.links[link].left {
            return;
        }
        let mut sealed = Vec::new();
        let whole = self.links[link].records.seal(&mut sealed, |out| {
            out.extend_from_slice(text);
            true
        });
        debug_assert!(whole.is_ok(), "no link carries so many records");
        for bytes in self.parts(sealed) {
            let at = self.soon().max(self.links[link].to_cloud);
            self.links[link].to_cloud = at;
            self.enter(at, Event::Arrives { link, bytes });
        }
    }

    /// How a network cuts bytes up.
    fn parts(&mut self, bytes: Vec<u8>) -> Vec<Vec<u8>> {
        if !self.dice.happens(self.rate(Fault::Split)) {
            return vec![bytes];
        }
        if bytes.len() <= 300 && self.dice.below(4) == 0 {
            return bytes.chunks(1).map(<[u8]>::to_vec).collect();
        }
        let middle = self.dice.below(bytes.len()) + 1;
        let (first, rest) = bytes.split_at(middle);
        let (second, third) = rest.split_at(self.dice.below(rest.len() + 1));
        let parts = [first, second, third].into_iter().filter(|part| !part.is_empty());
        parts.map(<[u8]>::to_vec).collect()
    }

    pub(super) fn arrive(&mut self, link: LinkId, bytes: Vec<u8>) {
        if self.links[link].cut {
            return;
        }
        let Some((node, connection)) = self.links[link].place else { return };
        if let Some(socket) = self.cloud.nodes[node].socket(connection) {
            socket.inbound.push_back(bytes);
            self.enter_read(node, connection);
        }
    }

    pub(super) fn end_arrives(&mut self, link: LinkId, orderly: bool) {
        let Some((node, connection)) = self.links[link].place else { return };
        if let Some(socket) = self.cloud.nodes[node].socket(connection) {
            socket.peer_ended = Some(orderly);
            self.enter_read(node, connection);
        }
    }

    /// The cloud begins to send: what it says is heard here.
    pub(super) fn begin_send(
        &mut self,
        node: usize,
        connection: ConnectionId,
        bytes: Vec<u8>,
        range: Range<usize>,
    ) {
        let Some(socket) = self.cloud.nodes[node].socket(connection) else {
            return self.fail(Invariant::Consistency, "a send on a closed socket".into());
        };
        if socket.sending.is_some() {
            return self.fail(Invariant::Consistency, "two sends of one connection".into());
        }
        let link = socket.station;
        self.tap(link, &bytes[range.clone()]);
        if let Some(socket) = self.cloud.nodes[node].socket(connection) {
            socket.sending = Some((bytes, range));
        }
        let at = self.soon().max(self.links[link].reads_from).max(self.links[link].to_peer);
        self.links[link].to_peer = at;
        let upto = self.links[link].sent;
        self.enter(at, Event::Delivered { link, upto });
        self.enter(at, Event::Sent { epoch: self.cloud.epoch, node, connection });
    }

    pub(super) fn end_send(&mut self, node: usize, connection: ConnectionId) {
        let Some(socket) = self.cloud.nodes[node].socket(connection) else { return };
        if let Some((bytes, _)) = socket.sending.take() {
            self.feed(node, Input::Sent { connection, bytes, whole: true });
        }
    }

    /// Opens what the cloud sends, and judges every message of it.
    fn tap(&mut self, link: LinkId, bytes: &[u8]) {
        let tapped = &mut self.links[link];
        let mut at = tapped.sent;
        tapped.sent += bytes.len() as u64;
        at -= tapped.sealed.len() as u64;
        tapped.sealed.extend_from_slice(bytes);
        let mut sealed = std::mem::take(&mut tapped.sealed);
        let mut used = 0;
        let mut messages = Vec::new();
        let mut broken = None;
        let (mut nothing, mut goodbye) = (Vec::new(), false);
        let mut opener = tapped.records.opener();
        loop {
            match opener.next(&mut sealed[used..], &mut nothing) {
                Ok(Step::Partial { .. }) => break,
                Ok(Step::Record { len, opened }) => {
                    match opened {
                        Opened::Text(text) => {
                            let text = used + text.start..used + text.end;
                            tapped.text.extend_from_slice(&sealed[text]);
                        }
                        Opened::Closed => goodbye = true,
                        Opened::Nothing => {}
                    }
                    used += len;
                    let end = at + used as u64;
                    while let Ok(Framed::Whole(frame, len)) = Frame::parse(&tapped.text, usize::MAX)
                    {
                        messages.push((end, Msg::parse(frame), tapped.text[..len].to_vec()));
                        tapped.text.drain(..len);
                    }
                }
                Err(error) => {
                    broken = Some(error);
                    break;
                }
            }
        }
        sealed.drain(..used);
        self.links[link].sealed = sealed;
        if goodbye {
            self.tell(format_args!("link {link} < goodbye"));
        }
        if let Some(error) = broken {
            self.fail(Invariant::Consistency, format!("link {link}: {error}"));
        }
        for (end, message, raw) in messages {
            self.counts.messages += 1;
            let peer = self.links[link].peer;
            self.trace.bytes(&raw);
            self.tell(format_args!("link {link} peer {peer} < {}", brief(&message)));
            let what = self.judge(link, &message, &raw);
            self.links[link].letters.push_back(Letter { end, message, what });
        }
    }

    /// Bytes of the cloud reach the peer.
    pub(super) fn deliver(&mut self, link: LinkId, upto: u64) {
        if self.links[link].cut || self.links[link].left {
            return;
        }
        while self.links[link].letters.front().is_some_and(|letter| letter.end <= upto) {
            let Some(Letter { message, what, .. }) = self.links[link].letters.pop_front() else {
                return;
            };
            self.hear(link, &message, what);
            if self.links[link].left {
                return;
            }
        }
        if self.dice.happens(self.rate(Fault::Stall)) {
            let pause = self.dice.time(Duration::from_secs(1), Duration::from_secs(40));
            self.links[link].reads_from = self.instant + pause;
        }
    }

    /// The cloud closes a connection.
    pub(super) fn close(&mut self, node: usize, connection: ConnectionId) {
        let Some(socket) = self.cloud.nodes[node].take(connection) else {
            return self.fail(Invariant::Consistency, "a socket is closed twice".into());
        };
        let link = socket.station;
        self.links[link].place = None;
        self.links[link].closed = Some(self.instant);
        let at = self.soon().max(self.links[link].to_peer);
        self.enter(at, Event::CloudGone { link });
        if let Some((bytes, _)) = socket.sending {
            let now = self.now();
            let input = Input::Sent { connection, bytes, whole: false };
            self.cloud.nodes[node].shard.handle(input, now);
        }
    }

    /// The peer hangs up.
    pub(super) fn hang_up(&mut self, link: LinkId, orderly: bool) {
        if self.links[link].left {
            return;
        }
        if orderly {
            let mut goodbye = Vec::new();
            self.links[link].records.close_notify(&mut goodbye);
            let at = self.soon().max(self.links[link].to_cloud);
            self.links[link].to_cloud = at;
            self.enter(at, Event::Arrives { link, bytes: goodbye });
        }
        self.links[link].left = true;
        let at = self.soon().max(self.links[link].to_cloud);
        self.enter(at, Event::PeerGone { link, orderly });
    }

    /// The network loses a link. Each end may notice at once, later or never.
    pub(super) fn cut(&mut self, link: LinkId) {
        self.tell(format_args!("link {link} is cut"));
        self.links[link].cut = true;
        if self.dice.below(3) > 0 {
            let at = self.instant + self.dice.time(Duration::ZERO, Duration::from_secs(60));
            self.enter(at, Event::PeerGone { link, orderly: false });
        }
        let late = if self.dice.below(2) == 0 { Duration::ZERO } else { Duration::from_secs(40) };
        let at = self.instant + self.dice.time(Duration::ZERO, late);
        self.enter(at, Event::CloudGone { link });
    }

    /// The gateway is dead. What it has sent may still arrive, or not.
    pub(super) fn lose_all_links(&mut self) {
        for link in 0..self.links.len() {
            if self.links[link].place.take().is_none() {
                continue;
            }
            self.links[link].closed = Some(self.instant);
            if self.dice.below(2) == 0 {
                self.links[link].cut = true;
            }
            let at = self.soon().max(self.links[link].to_peer);
            self.enter(at, Event::CloudGone { link });
        }
    }
}
