//! Message to route to handler: the one large match.

use shared::coap::code::Kind;
use shared::coap::{
    Frame, Message, MessageError, Observe, OptionFault, Request, RequestType, Response,
    ResponseType,
};
use shared::ids::{DeviceId, ShardId};

use super::Shard;
use super::staging::Gate;
use super::watching::{TokenOwner, observes};
use super::wire::Requester;
use crate::connection::signaling::{self, Signalled};
use crate::connection::{CloseReason, ConnectionId};
use crate::observe::{Deregistered, TOKEN_IN_USE};
use crate::reject::{After, Reject};
use crate::session::{Session, SignedIn};

/// What follows a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Flow {
    /// The next one.
    Next,
    /// It waits, with everything behind it, until a staged change is durable.
    Park(Gate),
    /// It waits for its time, with everything behind it.
    Wait,
    /// It goes to another shard, with everything behind it and the connection.
    Move(ShardId),
    /// Nothing: the connection is ending.
    Stop,
}

/// What a request is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Route {
    /// `/oic/sec/account`.
    Account,
    /// `/oic/sec/session`.
    Session,
    /// `/oic/sec/tokenrefresh`.
    TokenRefresh,
    /// `/oic/sec/roles`, where devices with role certificates knock first (device reference 3.3).
    Roles,
    /// `/oic/rd`.
    Directory,
    /// `/oic/res`.
    Discovery,
    /// `/<di>/<href>`.
    Device(DeviceId),
    /// Anything else.
    Unknown,
}

impl Route {
    pub(super) fn of(request: &Request<'_>) -> Self {
        let mut path = request.path();
        let first = path.next().unwrap_or_default();
        if first == "oic" {
            return match (path.next(), path.next(), path.next()) {
                (Some("sec"), Some("account"), None) => Self::Account,
                (Some("sec"), Some("session"), None) => Self::Session,
                (Some("sec"), Some("tokenrefresh"), None) => Self::TokenRefresh,
                (Some("sec"), Some("roles"), None) => Self::Roles,
                (Some("rd"), None, _) => Self::Directory,
                (Some("res"), None, _) => Self::Discovery,
                _ => Self::Unknown,
            };
        }
        match DeviceId::parse(first.as_bytes()) {
            Ok(device) if path.next().is_some_and(|segment| !segment.is_empty()) => {
                Self::Device(device)
            }
            _ => Self::Unknown,
        }
    }
}

impl Shard {
    /// Handles one frame of a connection that is served.
    pub(super) fn on_frame(
        &mut self,
        id: ConnectionId,
        frame: Frame<'_>,
    ) -> Result<Flow, MessageError> {
        match frame.code.kind() {
            Kind::Request(method) => {
                self.counters.requests += 1;
                let request = Request::parse(method, &Message::parse(frame)?);
                Ok(self.on_request(id, &request))
            }
            Kind::UnknownMethod => {
                let message = Message::parse(frame)?;
                let reject = Reject::method_not_allowed();
                Ok(self.refuse(&Requester::new(id, message.token), &reject))
            }
            Kind::Response => {
                let message = Message::parse(frame)?;
                self.counters.responses += 1;
                if !self.router.respond(id, message.token, &Response::parse(&message)) {
                    self.counters.responses_unexpected += 1;
                }
                Ok(Flow::Next)
            }
            Kind::Signal(_) | Kind::UnknownSignal => {
                let message = Message::parse(frame)?;
                Ok(self.on_signal(id, &message))
            }
            // Whatever else it carries (RFC 8323 §3.4).
            Kind::Empty => {
                self.counters.messages_ignored += 1;
                Ok(Flow::Next)
            }
            // Nothing, or an answer that is none (device reference 2.4, 10.3).
            Kind::Reserved => {
                if !self.router.respond_badly(id, frame.token) {
                    self.counters.messages_ignored += 1;
                }
                Ok(Flow::Next)
            }
        }
    }

    fn on_signal(&mut self, id: ConnectionId, message: &Message<'_>) -> Flow {
        match signaling::receive(&mut self.router.wire, id, message) {
            Signalled::Next => return Flow::Next,
            Signalled::Release => self.on_release(id),
            Signalled::End(reason) => self.finish(id, reason),
        }
        Flow::Stop
    }

    fn on_request(&mut self, id: ConnectionId, request: &Request<'_>) -> Flow {
        let requester = Requester::of(id, request);
        let served = match self.concerns_blocks(id, request) {
            true => self.serve_in_blocks(id, &requester, request),
            false => self.serve(id, &requester, request),
        };
        match served {
            Ok(flow) => flow,
            Err(reject) => self.refuse(&requester, &reject),
        }
    }

    /// Answers that a request is refused, and does what follows.
    pub(super) fn refuse(&mut self, requester: &Requester, reject: &Reject) -> Flow {
        self.counters.requests_refused += 1;
        self.router.wire.refuse(requester, reject);
        let reason = match reject.code {
            ResponseType::Unauthorized => CloseReason::Unauthorized,
            _ => CloseReason::Refused,
        };
        match reject.after {
            After::Stay => Flow::Next,
            After::Close => {
                self.finish(requester.connection, reason);
                Flow::Stop
            }
            After::CloseUnlessMended => {
                self.close_unless_mended(requester.connection);
                Flow::Next
            }
        }
    }

    pub(super) fn serve(
        &mut self,
        id: ConnectionId,
        requester: &Requester,
        request: &Request<'_>,
    ) -> Result<Flow, Reject> {
        let route = Route::of(request);
        match route {
            Route::Account | Route::Session | Route::TokenRefresh => {
                check_options(request)?;
                self.serve_security(id, requester, request, route)
            }
            Route::Roles => match self.session(id) {
                Session::SignedIn(_) => Err(Reject::not_found()),
                Session::SignedOut => Err(Reject::unauthorized("")),
            },
            Route::Directory | Route::Discovery | Route::Device(_) | Route::Unknown => {
                let Session::SignedIn(who) = self.session(id) else {
                    return Err(Reject::unauthorized("not signed in").and_close());
                };
                self.serve_signed_in(id, who, requester, request, route)
            }
        }
    }

    /// Sign-up, sign-in, refresh, sign-off: what a device may do without a session.
    fn serve_security(
        &mut self,
        id: ConnectionId,
        requester: &Requester,
        request: &Request<'_>,
        route: Route,
    ) -> Result<Flow, Reject> {
        self.postpone_sign_in_limit(id);
        let served = match (route, request.method) {
            (Route::Account, RequestType::Post) => self.sign_up(id, requester, request.payload),
            (Route::Account, RequestType::Delete) => self.sign_off(id, requester, request),
            (Route::Session, RequestType::Post) => {
                self.session_request(id, requester, request.payload)
            }
            (Route::TokenRefresh, RequestType::Post) => {
                self.refresh(id, requester, request.payload)
            }
            _ => Err(Reject::method_not_allowed()),
        };
        match served {
            Err(reject) if reject.code == ResponseType::Unauthorized => {
                Ok(self.refuse_token(requester, reject))
            }
            served => served,
        }
    }

    fn serve_signed_in(
        &mut self,
        id: ConnectionId,
        who: SignedIn,
        requester: &Requester,
        request: &Request<'_>,
        route: Route,
    ) -> Result<Flow, Reject> {
        let owner = self.owner_of_token(id, who, request.token);
        match (owner, request.observe) {
            (TokenOwner::Nobody, _) => {}
            _ if !observes(request) => return Err(TOKEN_IN_USE),
            (TokenOwner::Links, Some(Observe::Deregister)) => {
                self.unwatch_links(who.user(), requester);
                self.discover(id, who, requester, request)?;
                return Ok(Flow::Next);
            }
            (TokenOwner::Resource, Some(Observe::Deregister))
                if self.router.deregister(id, request) == Deregistered::Ended =>
            {
                return Ok(Flow::Next);
            }
            (TokenOwner::Links, _) if route != Route::Discovery => return Err(TOKEN_IN_USE),
            (TokenOwner::Resource, _) if route == Route::Discovery => return Err(TOKEN_IN_USE),
            _ => {}
        }
        match (route, request.method) {
            (Route::Directory, RequestType::Post) => {
                check_options(request)?;
                self.publish(id, who, requester, request.payload)
            }
            (Route::Directory, RequestType::Delete) => {
                check_options(request)?;
                self.unpublish(id, who, requester, request)
            }
            (Route::Directory, RequestType::Get) => {
                check_options(request)?;
                self.select_directory(requester);
                Ok(Flow::Next)
            }
            (Route::Discovery, RequestType::Get) => {
                check_options(request)?;
                match request.observe {
                    Some(Observe::Register) => self.watch_links(who, requester, request)?,
                    _ => self.discover(id, who, requester, request)?,
                }
                Ok(Flow::Next)
            }
            (Route::Directory | Route::Discovery, _) => Err(Reject::method_not_allowed()),
            (Route::Device(device), _) => {
                self.route_to_device(id, who, request, device)?;
                Ok(Flow::Next)
            }
            _ => Err(Reject::not_found()),
        }
    }

    /// Device reference 10.1. The account check is the only wall between users: the device sees every
    /// request as the cloud's.
    fn route_to_device(
        &mut self,
        id: ConnectionId,
        who: SignedIn,
        request: &Request<'_>,
        device: DeviceId,
    ) -> Result<(), Reject> {
        let device =
            self.router.accounts.device_of(who.user(), device).ok_or(Reject::not_found())?;
        if !matches!(
            request.method,
            RequestType::Get | RequestType::Post | RequestType::Put | RequestType::Delete
        ) {
            return Err(Reject::method_not_allowed());
        }
        check_options(request)?;
        self.counters.forwards += 1;
        match (request.method, request.observe) {
            (RequestType::Get, Some(Observe::Register)) => {
                self.router.register(id, device, request)
            }
            _ => self.router.forward(id, device, request),
        }
    }

    /// Who is signed in on a connection.
    pub(super) fn session(&self, id: ConnectionId) -> Session {
        self.router
            .wire
            .connections
            .get(id)
            .map_or(Session::SignedOut, |connection| connection.session)
    }
}

/// The options that no resource takes (device reference 2.3, 10.2).
fn check_options(request: &Request<'_>) -> Result<(), Reject> {
    if let Some(fault) = request.fault {
        return Err(match fault {
            OptionFault::Bad(number) => {
                Reject::because(ResponseType::BadOption, format!("option {number}"))
            }
            OptionFault::NotAcceptable => {
                Reject::new(ResponseType::NotAcceptable, "10000 and 60 are offered")
            }
            OptionFault::UnsupportedFormat => {
                Reject::new(ResponseType::UnsupportedContentFormat, "10000 and 60 are understood")
            }
            OptionFault::Proxying => Reject::new(ResponseType::ProxyingNotSupported, ""),
            OptionFault::HopLimit => Reject::new(ResponseType::HopLimitReached, ""),
        });
    }
    Ok(())
}
