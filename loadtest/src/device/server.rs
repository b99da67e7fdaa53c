//! What a device does on its session: publishes its links once, answers what the cloud routes to it
//! (device reference 10.5), tells observers of changes (11.2).

use std::time::Duration;

use shared::coap::{
    CoapOption, Code, Message, MessageWriter, Observe, OptionFault, Request, RequestType,
    ResponseType, Token,
};
use shared::time::Instant;

use super::answers::published_hrefs;
use super::breach::Breach;
use super::input::Event;
use super::line::Line;
use super::registration::Registration;
use super::requests;
use super::resources::{self, CLOUD_CONF_HREF, Identity, Link, State, What};
use super::station::{Application, empty};
use super::step::{Failure, Step};

/// Observers of one device; more are answered without being registered.
const OBSERVERS_MAX: usize = 64;

/// The interfaces of OCF: those that a resource does not have are forbidden on it, other names are
/// ignored.
const INTERFACES: [&str; 9] = [
    "oic.if.baseline",
    "oic.if.ll",
    "oic.if.b",
    "oic.if.r",
    "oic.if.rw",
    "oic.if.w",
    "oic.if.a",
    "oic.if.s",
    "oic.if.create",
];

/// The server side of a simulated device.
pub struct Server {
    pub(super) identity: Identity,
    state: State,
    pub(super) is_published: bool,
    /// What most devices have nothing of at most times.
    rest: Option<Box<Rest>>,
}

#[derive(Default)]
struct Rest {
    /// The publication under way, and since when.
    asked: Option<(Token, Instant)>,
    observers: Vec<Observer>,
    /// How often the state changes by itself, and when it does so next.
    change_every: Option<Duration>,
    change_at: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Observer {
    token: Token,
    what: What,
    baseline: bool,
    /// Of the last answer; the first has 0, notifications count from 2.
    sequence: u32,
}

impl Server {
    pub(super) fn new(identity: Identity, state: State, change_every: Option<Duration>) -> Self {
        let rest = change_every.map(|_| Box::new(Rest { change_every, ..Rest::default() }));
        Self { identity, state, is_published: false, rest }
    }

    pub(super) fn observers(&self) -> usize {
        self.rest.as_ref().map_or(0, |rest| rest.observers.len())
    }

    fn rest(&mut self) -> &mut Rest {
        self.rest.get_or_insert_default()
    }

    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.rest.is_none()
    }

    /// Lets go of memory that says nothing.
    fn tidy(&mut self) {
        self.rest.take_if(|rest| {
            rest.asked.is_none() && rest.observers.is_empty() && rest.change_every.is_none()
        });
    }

    /// Somebody presses the switch, or the temperature moves.
    pub(super) fn change(&mut self, registration: &mut Registration, line: &mut Line) {
        let changed = self.state.change(self.identity.kind, &mut registration.rng);
        self.notify(line, changed);
    }

    fn link(&self, request: &Request<'_>) -> Option<&'static Link> {
        let mut links = self.identity.kind.links().iter();
        links.find(|link| request.path().eq(link.href[1..].split('/')))
    }

    fn answer(&mut self, line: &mut Line, request: &Request<'_>) -> Result<(), Code> {
        if !matches!(
            request.method,
            RequestType::Get | RequestType::Post | RequestType::Put | RequestType::Delete
        ) {
            // Real stacks never answer FETCH and PATCH.
            return Ok(());
        }
        if let Some(fault) = request.fault {
            return Err(refusal(fault).into());
        }
        if request.path().eq(CLOUD_CONF_HREF[1..].split('/')) {
            // The cloud's entry in the access control list does not cover it.
            return Err(ResponseType::Unauthorized.into());
        }
        if request.path_is(&["oic", "res"]) {
            return self.discovery(line, request);
        }
        let link = self.link(request).ok_or(ResponseType::NotFound)?;
        let interface = choose(request, link.interfaces)?;
        match request.method {
            RequestType::Get => {
                self.retrieve(line, request, link, interface == Some("oic.if.baseline"));
                Ok(())
            }
            RequestType::Post if link.is_writable() => self.update(line, request, link),
            _ => Err(ResponseType::MethodNotAllowed.into()),
        }
    }

    fn discovery(&self, line: &mut Line, request: &Request<'_>) -> Result<(), Code> {
        if request.method != RequestType::Get {
            return Err(ResponseType::MethodNotAllowed.into());
        }
        let interface = choose(request, &["oic.if.ll", "oic.if.baseline"])?;
        let baseline = interface == Some("oic.if.baseline");
        line.send(|out| {
            let mut message = MessageWriter::new(out, ResponseType::Content, request.token);
            message.ocf_content();
            message.payload_with(|out| resources::discovery(out, &self.identity, baseline));
            message.finish();
        });
        Ok(())
    }

    fn retrieve(&mut self, line: &mut Line, request: &Request<'_>, link: &Link, baseline: bool) {
        let token = request.token;
        let observe = match request.observe {
            Some(Observe::Register) if link.is_observable() => {
                self.register(token, link.what, baseline)
            }
            Some(Observe::Deregister) => {
                // Only the token of the registration ends it (device reference 11.5).
                self.rest().observers.retain(|observer| observer.token != token);
                self.tidy();
                None
            }
            _ => None,
        };
        line.send(|out| self.content(out, token, observe, link, baseline));
    }

    /// The sequence number of the first answer, if there is room for another observer.
    fn register(&mut self, token: Token, what: What, baseline: bool) -> Option<u32> {
        let observers = &mut self.rest().observers;
        observers.retain(|observer| observer.token != token);
        let fits = observers.len() < OBSERVERS_MAX;
        fits.then(|| {
            observers.push(Observer { token, what, baseline, sequence: 1 });
            0
        })
    }

    fn update(&mut self, line: &mut Line, request: &Request<'_>, link: &Link) -> Result<(), Code> {
        self.state.update(link.what, request.payload).map_err(|_| ResponseType::BadRequest)?;
        line.send(|out| empty(out, request.token, ResponseType::Changed));
        // Real stacks notify after every POST that they accept.
        self.notify(line, link.what);
        Ok(())
    }

    fn notify(&mut self, line: &mut Line, changed: What) {
        let links = self.identity.kind.links();
        let Some(link) = links.iter().find(|link| link.what == changed) else { return };
        for at in 0..self.observers() {
            let observer = &mut self.rest().observers[at];
            if observer.what == changed {
                // 24 bits, and never 0 or 1 again, which mean something else.
                observer.sequence = ((observer.sequence + 1) & 0xff_ffff).max(2);
                let Observer { token, baseline, sequence, .. } = *observer;
                line.send(|out| self.content(out, token, Some(sequence), link, baseline));
            }
        }
    }

    fn content(
        &self,
        out: &mut Vec<u8>,
        token: Token,
        observe: Option<u32>,
        link: &Link,
        baseline: bool,
    ) {
        let mut message = MessageWriter::new(out, ResponseType::Content, token);
        if let Some(sequence) = observe {
            message.option_uint(CoapOption::Observe.into(), sequence);
        }
        message.ocf_content();
        message.payload_with(|out| self.state.represent(out, link, baseline, &self.identity));
        message.finish();
    }

    /// The links are in no directory any more, nor on their way to one.
    pub(super) fn forget_publication(&mut self) {
        self.is_published = false;
        if let Some(rest) = &mut self.rest {
            rest.asked = None;
        }
        self.tidy();
    }

    /// The publication under way, and since when.
    fn asked(&self) -> Option<(Token, Instant)> {
        self.rest.as_ref()?.asked
    }

    fn publish(&mut self, registration: &mut Registration, line: &mut Line, now: Instant) {
        let token = Token::from_u64(registration.rng.next_u64());
        let rng = &mut registration.rng;
        let links = self.identity.kind.links().iter().map(|link| (link, rng.next_u64() as u32));
        let (di, name) = (self.identity.di, self.identity.name());
        line.send(|out| requests::publish(out, token, di, &name, links));
        self.rest().asked = Some((token, now));
    }

    /// Only 2.04 with an `ins` for every href counts (rule 7). Otherwise the links wait for the next
    /// sign-in.
    fn published(&mut self, line: &mut Line, message: &Message<'_>, since: Instant, now: Instant) {
        let took = now.since(since);
        self.rest().asked = None;
        self.tidy();
        if message.code != ResponseType::Changed {
            line.breach(Breach::PublishCode { code: message.code });
            line.step(Step::Publish, took, Err(Failure::Answered(message.code.byte())));
            return;
        }
        let hrefs = published_hrefs(message.payload);
        let missing = self.identity.kind.hrefs().find(|href| !hrefs.iter().any(|h| h == href));
        if let Some(href) = missing {
            line.breach(Breach::PublishedLinkMissing { href });
            line.step(Step::Publish, took, Err(Failure::Incomplete));
            return;
        }
        self.is_published = true;
        line.step(Step::Publish, took, Ok(()));
        line.event(Event::MemoryChanged);
    }
}

/// The interface that a request names, as far as the resource has it; none for the default one.
fn choose<'a>(request: &Request<'a>, interfaces: &[&str]) -> Result<Option<&'a str>, ResponseType> {
    match request.query().filter(|(key, _)| *key == "if").last() {
        Some((_, name)) if interfaces.contains(&name) => Ok(Some(name)),
        Some((_, name)) if INTERFACES.contains(&name) => Err(ResponseType::Forbidden),
        _ => Ok(None),
    }
}

fn refusal(fault: OptionFault) -> ResponseType {
    match fault {
        OptionFault::Bad(_) => ResponseType::BadOption,
        OptionFault::NotAcceptable => ResponseType::NotAcceptable,
        OptionFault::UnsupportedFormat => ResponseType::UnsupportedContentFormat,
        OptionFault::Proxying => ResponseType::ProxyingNotSupported,
        OptionFault::HopLimit => ResponseType::HopLimitReached,
    }
}

impl Application for Server {
    fn signed_in(&mut self, registration: &mut Registration, line: &mut Line, now: Instant) {
        if !self.is_published && self.asked().is_none() {
            self.publish(registration, line, now);
        }
        if let Some(rest) = &mut self.rest {
            let rng = &mut registration.rng;
            rest.change_at = rest.change_every.map(|every| now + rng.between(every / 2, every));
        }
    }

    fn disconnected(&mut self, line: &mut Line, now: Instant) {
        let Some(rest) = &mut self.rest else { return };
        (rest.observers, rest.change_at) = (Vec::new(), None);
        if let Some((_, since)) = rest.asked.take() {
            line.step(Step::Publish, now.since(since), Err(Failure::Closed));
        }
        self.tidy();
    }

    fn request(
        &mut self,
        _: &mut Registration,
        line: &mut Line,
        request: &Request<'_>,
        _: Instant,
    ) {
        if let Err(code) = self.answer(line, request) {
            line.send(|out| empty(out, request.token, code));
        }
    }

    fn response(&mut self, line: &mut Line, message: &Message<'_>, now: Instant) {
        if let Some((token, since)) = self.asked()
            && token == message.token
        {
            self.published(line, message, since, now);
        }
    }

    fn timeout(&mut self, registration: &mut Registration, line: &mut Line, now: Instant) {
        if let Some(rest) = &mut self.rest
            && let (Some(at), Some(every)) = (rest.change_at, rest.change_every)
            && now >= at
        {
            rest.change_at = Some(now + every);
            self.change(registration, line);
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.rest.as_ref()?.change_at
    }
}
