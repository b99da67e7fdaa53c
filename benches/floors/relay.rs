//! The floors of what goes from one connection to others: a text is opened, and sealed for whom it is
//! for. Who is connected is known by number from the sign-in, and numbers tell who belongs together:
//! nothing is looked up, nothing is counted, nothing is ever refused.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Result, bail};
use benches::messages::{self, Asked, FIRST_TOKEN};
use benches::population::Population;
use gateway::proxy::translate::{self, Audience};
use shared::coap::code::Kind;
use shared::coap::write::replace_token;
use shared::coap::{Frame, Framed, Message, Request, RequestType, ResponseType, Token};
use shared::ids::DeviceId;
use shared::ocf::account::SessionRequest;
use shared::ocf::cbor;

use crate::epoll::{Connection, Service};
use crate::talk::{Talk, Tls};

/// For whom what arrives is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Relayed {
    /// Requests of even numbers are for the next one, its responses for the one before.
    ToNeighbours,
    /// Notifications of the first are for all who have asked.
    ToObservers,
}

/// Connections that pass on what arrives.
pub(crate) struct Relay {
    tls: Tls,
    relayed: Relayed,
    devices: HashMap<DeviceId, u32>,
    /// By the number of a device, its connection.
    connections: Vec<Option<usize>>,
    /// By connection, the number of its device.
    numbers: Vec<u32>,
    observers: Vec<(usize, Token)>,
    signed_in: Vec<u8>,
    /// A request as the device gets it, with [`FIRST_TOKEN`].
    request: Vec<u8>,
    /// What was opened.
    text: Vec<u8>,
    out: Vec<u8>,
}

impl Relay {
    /// For these devices. The directory is that of [`Tls::new`].
    pub(crate) fn new(directory: &Path, relayed: Relayed, population: Population) -> Result<Self> {
        let devices = (0..population.devices).map(|number| (population.device(number), number));
        let asked = match relayed {
            Relayed::ToNeighbours => Asked::Neighbour,
            Relayed::ToObservers => Asked::Observed,
        };
        Ok(Self {
            tls: Tls::new(directory)?,
            relayed,
            devices: devices.collect(),
            connections: vec![None; population.devices as usize],
            numbers: Vec::new(),
            observers: Vec::new(),
            signed_in: messages::signed_in(),
            request: passed_on(asked, population)?,
            text: Vec::new(),
            out: Vec::new(),
        })
    }

    /// Passes on what is in a text of a connection.
    fn pass_on(&mut self, at: usize, text: &[u8], connections: &mut [Option<Connection>]) {
        let mut rest = text;
        while let Ok(Framed::Whole(frame, len)) = Frame::parse(rest, text.len()) {
            let (bytes, behind) = rest.split_at(len);
            rest = behind;
            match (frame.code.kind(), self.relayed) {
                (Kind::Request(RequestType::Post), _) => self.sign_in(at, frame, connections),
                (Kind::Request(_), Relayed::ToNeighbours) => self.ask(at, frame.token, connections),
                (Kind::Request(_), Relayed::ToObservers) => {
                    self.observe(at, frame.token, connections);
                }
                (Kind::Response, Relayed::ToNeighbours) => self.answer(at, bytes, connections),
                (Kind::Response, Relayed::ToObservers) => self.notify(bytes, connections),
                _ => {}
            }
        }
    }

    fn sign_in(&mut self, at: usize, frame: Frame<'_>, connections: &mut [Option<Connection>]) {
        let Some(number) = Message::parse(frame)
            .ok()
            .and_then(|message| cbor::decode::<SessionRequest>(message.payload).ok()?.di)
            .and_then(|di| DeviceId::parse(di.as_bytes()).ok())
            .and_then(|device| self.devices.get(&device).copied())
        else {
            return;
        };
        self.connections[number as usize] = Some(at);
        if self.numbers.len() <= at {
            self.numbers.resize(at + 1, 0);
        }
        self.numbers[at] = number;
        let mut answer = Vec::new();
        let body = &self.signed_in;
        messages::answer(&mut answer, ResponseType::Changed, frame.token, body);
        send(connections, at, &mut self.out, |out| out.extend_from_slice(&answer));
    }

    /// The connection of the neighbour of this one.
    fn neighbour(&self, at: usize) -> Option<usize> {
        self.connections[(*self.numbers.get(at)? ^ 1) as usize]
    }

    fn ask(&mut self, at: usize, token: Token, connections: &mut [Option<Connection>]) {
        let (Some(to), Some(token)) = (self.neighbour(at), token.as_u64()) else { return };
        send(connections, to, &mut self.out, |out| {
            let start = out.len();
            out.extend_from_slice(&self.request);
            replace_token(&mut out[start..], token);
        });
    }

    fn answer(&mut self, at: usize, bytes: &[u8], connections: &mut [Option<Connection>]) {
        let Some(to) = self.neighbour(at) else { return };
        send(connections, to, &mut self.out, |out| out.extend_from_slice(bytes));
    }

    /// Somebody wants to be told. The first who does has the device asked; all are answered at once.
    fn observe(&mut self, at: usize, token: Token, connections: &mut [Option<Connection>]) {
        if let (true, Some(device)) = (self.observers.is_empty(), self.connections[0]) {
            send(connections, device, &mut self.out, |out| out.extend_from_slice(&self.request));
        }
        self.observers.push((at, token));
        let mut answer = Vec::new();
        messages::notification(&mut answer, token, 1, 0);
        send(connections, at, &mut self.out, |out| out.extend_from_slice(&answer));
    }

    fn notify(&mut self, bytes: &[u8], connections: &mut [Option<Connection>]) {
        for &(to, token) in &self.observers {
            let Some(token) = token.as_u64() else { continue };
            send(connections, to, &mut self.out, |out| {
                let start = out.len();
                out.extend_from_slice(bytes);
                replace_token(&mut out[start..], token);
            });
        }
    }
}

impl Service for Relay {
    fn open(&self) -> Talk {
        self.tls.open()
    }

    fn receive(
        &mut self,
        at: usize,
        connections: &mut [Option<Connection>],
        bytes: &mut [u8],
    ) -> bool {
        let Some(connection) = &mut connections[at] else { return false };
        let mut text = std::mem::take(&mut self.text);
        text.clear();
        self.out.clear();
        let take = |_: &mut _, opened: &[u8], _: &mut Vec<u8>| text.extend_from_slice(opened);
        let alive = self.tls.receive(&mut connection.talk, bytes, &mut self.out, take);
        let alive = connection.transmit(&self.out) && alive;
        self.pass_on(at, &text, connections);
        self.text = text;
        alive
    }
}

/// Seals what `write` appends for a connection, and sends it.
fn send(
    connections: &mut [Option<Connection>],
    to: usize,
    out: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>),
) {
    let Some(connection) = &mut connections[to] else { return };
    out.clear();
    connection.talk.seal(out, write);
    // One that has ended shows it by an event of its own.
    connection.transmit(out);
}

/// The bytes of a client's request as the gateway writes them for a device.
fn passed_on(asked: Asked, population: Population) -> Result<Vec<u8>> {
    let mut asking = Vec::new();
    messages::request(&mut asking, asked, population, 0);
    let Framed::Whole(frame, _) = Frame::parse(&asking, asking.len())? else {
        bail!("a request is written whole");
    };
    let request = Request::parse(RequestType::Get, &Message::parse(frame)?);
    let audience = match asked {
        Asked::Observed => Audience::Registration,
        _ => Audience::Client,
    };
    let mut passed = Vec::new();
    translate::request(&mut passed, FIRST_TOKEN, &request, audience);
    Ok(passed)
}
