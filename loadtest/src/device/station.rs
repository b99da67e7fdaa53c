//! One end of a cloud connection: what devices and clients have in common. Bytes come in, frames are
//! taken out of them and sorted: signals and the registration's own answers are dealt with here, the
//! rest belongs to the [`Application`].

use std::sync::Arc;

use shared::coap::code::Kind;
use shared::coap::{
    CoapOption, Code, Frame, Framed, Message, Request, ResponseType, Signal, signal,
};
use shared::ids::{DeviceId, UserId};
use shared::ocf::cbor;
use shared::time::Instant;

use super::Settings;
use super::breach::Breach;
use super::conf::{Cloud, CloudConf, CloudState, Conf, LastError};
use super::input::{Event, Input, Output};
use super::line::Line;
use super::link::{Link, Progress as LinkProgress};
use super::memory::Memory;
use super::registration::{Account, End, Progress, Registration};
use super::rng::Rng;
use super::stack::{Stack, forbidden_option};
use super::step::{Failure, Step};

/// What a station does beyond being connected.
pub(super) trait Application {
    /// A session has begun.
    fn signed_in(&mut self, registration: &mut Registration, line: &mut Line, now: Instant);

    /// The established connection is gone.
    fn disconnected(&mut self, line: &mut Line, now: Instant);

    /// The cloud asks for something.
    fn request(
        &mut self,
        registration: &mut Registration,
        line: &mut Line,
        request: &Request<'_>,
        now: Instant,
    );

    /// The cloud answers something that the registration has not asked.
    fn response(&mut self, line: &mut Line, message: &Message<'_>, now: Instant);

    /// The time of [`poll_timeout`](Self::poll_timeout) has come, or another's.
    fn timeout(&mut self, registration: &mut Registration, line: &mut Line, now: Instant);

    /// When this wants to be woken.
    fn poll_timeout(&self) -> Option<Instant>;
}

/// What whoever drives a device or client, of whatever sort, needs of it.
pub trait Driven {
    /// See [`Station::handle`].
    fn handle(&mut self, input: Input<'_>, now: Instant);
    /// See [`Station::poll_output`].
    fn poll_output(&mut self) -> Option<Output>;
    /// See [`Station::poll_timeout`].
    fn poll_timeout(&self) -> Option<Instant>;
    /// See [`Station::di`].
    fn di(&self) -> DeviceId;
    /// See [`Station::cis`].
    fn cis(&self) -> Option<&str>;
}

impl<A: Application> Driven for Station<A> {
    fn handle(&mut self, input: Input<'_>, now: Instant) {
        Self::handle(self, input, now);
    }

    fn poll_output(&mut self) -> Option<Output> {
        Self::poll_output(self)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        Self::poll_timeout(self)
    }

    fn di(&self) -> DeviceId {
        Self::di(self)
    }

    fn cis(&self) -> Option<&str> {
        Self::cis(self)
    }
}

/// A device or client, without I/O, clock and randomness of its own.
///
/// Feed it with [`handle`](Self::handle), then drain [`poll_output`](Self::poll_output), then wait
/// until [`poll_timeout`](Self::poll_timeout) or the next input.
pub struct Station<A> {
    pub(super) registration: Registration,
    pub(super) line: Line,
    pub(super) application: A,
    /// The cloud's certificate has the name that the configuration promises.
    cloud_is_known: bool,
}

#[expect(private_bounds, reason = "what an application is, is nobody else's business")]
impl<A: Application> Station<A> {
    pub(super) fn with(di: DeviceId, settings: &Settings, rng: Rng, application: A) -> Self {
        Self {
            registration: Registration::new(di, settings.pace, rng),
            line: Line::new(settings.stack),
            application,
            cloud_is_known: false,
        }
    }

    /// Its id.
    pub fn di(&self) -> DeviceId {
        self.registration.di
    }

    /// Its user, once it has signed up.
    pub fn uid(&self) -> Option<UserId> {
        self.registration.account.as_ref().map(Account::uid)
    }

    /// Where its cloud is (`cis`), when it is configured.
    pub fn cis(&self) -> Option<&str> {
        self.registration.conf.as_ref().map(|conf| &*conf.cloud.cis)
    }

    /// Devices of one cloud need to know it only once: takes what is `known` instead of its own, or
    /// adds its own.
    pub fn share_cloud(&mut self, known: &mut Vec<Arc<Cloud>>) {
        let Some(conf) = &mut self.registration.conf else { return };
        match known.iter().find(|known| ***known == *conf.cloud) {
            Some(known) => conf.cloud = known.clone(),
            None => known.push(conf.cloud.clone()),
        }
    }

    /// How far it has come with the cloud (`cps`).
    pub fn cloud_state(&self) -> CloudState {
        self.registration.state()
    }

    /// The last error with the cloud (`clec`).
    pub fn last_error(&self) -> LastError {
        self.registration.last_error()
    }

    /// Whether a session is there.
    pub fn is_signed_in(&self) -> bool {
        self.registration.is_signed_in()
    }

    /// How many tries it has made to get in since its last session, the one under way included: each
    /// is a connection, or one more request on one that is there.
    pub fn tries(&self) -> u8 {
        self.registration.tries()
    }

    /// A Mediator has written a whole new configuration.
    pub fn configure(&mut self, conf: CloudConf, now: Instant) {
        self.watching(now, |station| station.registration.configure(&mut station.line, conf, now));
    }

    /// Leaves the cloud, as after a factory reset.
    pub fn sign_off(&mut self, now: Instant) {
        self.watching(now, |station| station.registration.sign_off(&mut station.line, now));
    }

    /// Ends the session and keeps the account; [`Input::SwitchedOn`] begins the next one.
    pub fn sign_out(&mut self, now: Instant) {
        self.registration.sign_out(&mut self.line, now);
    }

    /// Sends bytes as they are, in a TLS record of their own: for what nobody should say.
    pub fn send_raw(&mut self, bytes: &[u8]) {
        self.line.send(|out| out.extend_from_slice(bytes));
    }

    /// Takes an input. Runs to completion, never waits.
    pub fn handle(&mut self, input: Input<'_>, now: Instant) {
        self.watching(now, |station| station.dispatch(input, now));
    }

    /// Does something, and tells the application if that has cost the connection.
    fn watching(&mut self, now: Instant, act: impl FnOnce(&mut Self)) {
        let was_ready = self.line.is_ready();
        act(self);
        if was_ready && !self.line.is_ready() {
            self.registration.session_ended();
            self.application.disconnected(&mut self.line, now);
            self.line.event(Event::Disconnected);
        }
    }

    fn dispatch(&mut self, input: Input<'_>, now: Instant) {
        match input {
            Input::SwitchedOn => self.registration.switched_on(now),
            Input::Connected(config) => {
                if !self.line.connected(config, now) {
                    self.registration.not_established(&mut self.line, now);
                }
            }
            Input::NotConnected(kind) => {
                if self.line.not_connected(kind, now) {
                    self.registration.not_established(&mut self.line, now);
                }
            }
            Input::Received { bytes, cut } => self.received(bytes, cut, now),
            Input::Closed => self.closed(now),
            Input::Timeout => {
                self.registration.timeout(&mut self.line, now);
                self.application.timeout(&mut self.registration, &mut self.line, now);
            }
        }
    }

    /// The next thing it wants; drain after every input and every call that takes a time.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.line.poll_output()
    }

    /// When [`Input::Timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let timeouts = [self.registration.poll_timeout(), self.application.poll_timeout()];
        timeouts.into_iter().flatten().min()
    }

    fn received(&mut self, bytes: &[u8], cut: bool, now: Instant) {
        let was_ready = self.line.is_ready();
        if !self.line.absorb(bytes, cut) {
            self.ended(was_ready, End::Orderly, now);
            return;
        }
        let mut frame = Vec::new();
        loop {
            match self.line.advance(&mut frame) {
                LinkProgress::Idle => return,
                LinkProgress::Established => self.established(now),
                LinkProgress::Frame(breach) => {
                    breach.into_iter().for_each(|breach| self.line.breach(breach));
                    self.frame(&frame, now);
                }
                LinkProgress::Hung(breach) => {
                    self.line.breach(breach);
                    return;
                }
                LinkProgress::Dropped(breach) => {
                    self.drop_connection(breach, now);
                    return;
                }
                LinkProgress::Failed(error) => {
                    self.tls_failed(error, now);
                    return;
                }
                LinkProgress::ClosedByPeer => {
                    let end = self.end();
                    let ready = self.line.is_ready();
                    self.line.close();
                    self.ended(ready, end, now);
                    return;
                }
            }
        }
    }

    fn established(&mut self, now: Instant) {
        let sid = self.registration.conf.as_ref().map(|conf| conf.cloud.sid);
        let Some(link) = self.line.link() else { return };
        let took = link.handshake_since().map(|since| now.since(since)).unwrap_or_default();
        self.cloud_is_known = true;
        if let (Some(sid), Stack::Fussy) = (sid, self.line.stack()) {
            let name = self.line.link().and_then(|link| link.cloud_name());
            self.cloud_is_known = name.as_deref() == Some(&*format!("uuid:{sid}"));
            if !self.cloud_is_known {
                self.line.breach(Breach::CloudName { common_name: name });
            }
        }
        if let Some(Err(error)) = self.line.link().map(Link::settle) {
            self.tls_failed(error.to_string(), now);
            return;
        }
        self.line.step(Step::Handshake, took, Ok(()));
        self.registration.established(&mut self.line, now);
    }

    fn frame(&mut self, frame: &[u8], now: Instant) {
        let Ok(Framed::Whole(frame, _)) = Frame::parse(frame, usize::MAX) else { return };
        let Ok(message) = Message::parse(frame) else {
            self.drop_connection(Breach::NotCoap, now);
            return;
        };
        match message.code.kind() {
            Kind::Signal(_) => self.signal(&message, now),
            Kind::Request(method) => {
                if self.stands(&message, now) {
                    self.request(&Request::parse(method, &message), now);
                }
            }
            Kind::Response => {
                if self.stands(&message, now) {
                    self.response(&message, now);
                }
            }
            // Real stacks answer none of these (device reference 10.5, 15.1).
            Kind::UnknownMethod | Kind::Empty | Kind::UnknownSignal | Kind::Reserved => {}
        }
    }

    /// Whether the options of a message let the connection live.
    fn stands(&mut self, message: &Message<'_>, now: Instant) -> bool {
        if self.line.stack() == Stack::Tolerant {
            return true;
        }
        let has_format =
            message.options.into_iter().any(|option| option.name() == CoapOption::ContentFormat);
        let is_error = message.code.class() >= 4;
        if is_error && has_format && cbor::scan(message.payload).is_err() {
            self.line.breach(Breach::FormattedErrorText);
        }
        match forbidden_option(message) {
            Some(breach) => {
                self.drop_connection(breach, now);
                false
            }
            None => true,
        }
    }

    fn signal(&mut self, message: &Message<'_>, now: Instant) {
        match Signal::parse(message) {
            Ok(Signal::Ping { custody }) => {
                self.line.send(|out| signal::write_pong(out, message.token, custody));
            }
            Ok(Signal::Pong) => self.registration.pong(&mut self.line, message.token, now),
            Ok(Signal::Release) => {
                self.line.close();
                self.ended(true, End::Orderly, now);
            }
            Ok(Signal::Abort) => {
                if self.line.link().is_some_and(|link| !link.answered) {
                    self.line.breach(Breach::AbortedWithoutCsm);
                }
            }
            // Real stacks do not read the options of a CSM.
            Ok(Signal::Csm { .. } | Signal::Unknown) | Err(_) => {}
        }
    }

    fn request(&mut self, request: &Request<'_>, now: Instant) {
        if self.cloud_is_known {
            self.application.request(&mut self.registration, &mut self.line, request, now);
        } else {
            // Access control knows the subject of the certificate only (rule 14).
            let token = request.token;
            self.line.send(|out| empty(out, token, ResponseType::Unauthorized));
        }
    }

    fn response(&mut self, message: &Message<'_>, now: Instant) {
        if let Some(link) = self.line.link() {
            link.answered = true;
        }
        match self.registration.answered(&mut self.line, message, now) {
            Progress::NotMine => self.application.response(&mut self.line, message, now),
            Progress::Done => {}
            Progress::SignedIn => {
                self.application.signed_in(&mut self.registration, &mut self.line, now);
            }
        }
    }

    /// This end drops the connection because of something that it cannot stand.
    fn drop_connection(&mut self, breach: Breach, now: Instant) {
        let ready = self.line.is_ready();
        self.line.breach(breach);
        self.line.close();
        self.ended(ready, End::Orderly, now);
    }

    fn tls_failed(&mut self, error: String, now: Instant) {
        let ready = self.line.is_ready();
        if !ready {
            let since = self.line.link().and_then(|link| link.handshake_since());
            let took = since.map(|since| now.since(since)).unwrap_or_default();
            self.line.step(Step::Handshake, took, Err(Failure::Tls(error)));
        }
        self.line.close();
        self.ended(ready, End::Closed, now);
    }

    fn closed(&mut self, now: Instant) {
        let ready = self.line.is_ready();
        let end = self.end();
        match self.line.link() {
            Some(link) if !ready => {
                let since = link.handshake_since();
                let took = since.map(|since| now.since(since)).unwrap_or_default();
                self.line.step(Step::Handshake, took, Err(Failure::Closed));
            }
            Some(_) => {}
            None => return,
        }
        self.line.closed();
        self.ended(ready, end, now);
    }

    /// What a close by the cloud would mean now.
    fn end(&mut self) -> End {
        match self.line.link() {
            Some(link) if link.put_off => End::ClosedAfterPutOff,
            _ => End::Closed,
        }
    }

    fn ended(&mut self, was_ready: bool, end: End, now: Instant) {
        if was_ready {
            self.registration.disconnected(&mut self.line, end, now);
        } else {
            self.registration.not_established(&mut self.line, now);
        }
    }

    /// What survives a power cut.
    pub(super) fn registration_memory(&self) -> Memory {
        let registration = &self.registration;
        Memory {
            di: registration.di,
            cloud: registration.conf.as_ref().map(Into::into),
            account: registration.account.as_ref().map(Into::into),
            last_error: registration.last_error().number(),
            published: false,
        }
    }

    pub(super) fn restore_registration(&mut self, memory: &Memory) {
        let account = memory.account.clone().map(Account::from);
        let last_error = LastError::from_number(memory.last_error);
        self.registration.restore(memory.cloud.clone().map(Conf::from), account, last_error);
    }
}

/// A response without options and payload.
pub(super) fn empty(out: &mut Vec<u8>, token: shared::coap::Token, code: impl Into<Code>) {
    shared::coap::MessageWriter::new(out, code, token).finish();
}
