//! A client: signs up and in like a device, then discovers, reads, changes and observes what its
//! user's devices publish (device reference 9 to 11).

use std::time::Duration;

use ciborium::Value;
use shared::coap::{CoapOption, Message, Request, RequestType, ResponseType, Token};
use shared::ids::DeviceId;
use shared::ocf::cbor;
use shared::time::Instant;

use super::answers::member;
use super::breach::Breach;
use super::input::{Answer, Event, Notification, Response};
use super::line::Line;
use super::pace::EXCHANGE_LIMIT;
use super::registration::Registration;
use super::requests::ClientRequest;
use super::station::{Application, Station, empty};
use super::step::{Failure, Step};

/// What a client may want to know or change.
#[derive(Clone, PartialEq, Debug)]
pub enum Ask<'a> {
    /// GET `/oic/res` with these `key=value` queries.
    Discover {
        /// Such as `rt=oic.r.switch.binary`.
        query: &'a [&'a str],
    },
    /// GET on a resource.
    Retrieve {
        /// Of which device.
        device: DeviceId,
        /// Its path below the device.
        href: &'a str,
        /// Such as `if=oic.if.baseline`.
        query: &'a [&'a str],
    },
    /// POST on a resource.
    Update {
        /// Of which device.
        device: DeviceId,
        /// Its path below the device.
        href: &'a str,
        /// CBOR.
        body: &'a [u8],
    },
    /// GET with Observe 0.
    Observe {
        /// Of which device; none for the cloud's `/oic/res`.
        device: Option<DeviceId>,
        /// Its path below the device.
        href: &'a str,
    },
    /// GET with Observe 1 and the token of the observation.
    Cancel {
        /// Of which device; none for the cloud's `/oic/res`.
        device: Option<DeviceId>,
        /// Its path below the device.
        href: &'a str,
        /// The number that [`Client::ask`](Station::ask) returned for the observation.
        request: u64,
    },
}

/// A link as the cloud shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DiscoveredLink {
    /// Whose it is.
    pub device: DeviceId,
    /// Its path below the device: what the cloud shows, without the device id in front.
    pub href: String,
    /// Its resource types.
    pub resource_types: Vec<String>,
    /// Its first endpoint.
    pub endpoint: String,
}

/// The client side of a station: what was asked and what is observed.
#[derive(Default)]
pub struct Asker {
    exchanges: Vec<Exchange>,
    /// Tokens of the observations under way.
    observations: Vec<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Exchange {
    request: u64,
    step: Step,
    since: Instant,
    until: Instant,
    cancels: bool,
}

impl Station<Asker> {
    /// Asks for something. `due` is when it should have been asked, so that the time an answer takes
    /// includes what this side was late. Returns the number of the request; the answer comes as
    /// [`Event::Answer`] in any case.
    pub fn ask(&mut self, ask: &Ask<'_>, due: Instant, now: Instant) -> u64 {
        let (step, request) = understood(ask);
        let number = match ask {
            Ask::Cancel { request, .. } => *request,
            _ => self.registration.rng.next_u64(),
        };
        if !self.is_signed_in() {
            let took = Duration::ZERO;
            let result = Err(Failure::NotSignedIn);
            self.line.event(Event::Answer(Answer { request: number, step, took, result }));
            return number;
        }
        self.application.exchanges.push(Exchange {
            request: number,
            step,
            since: due,
            until: now + EXCHANGE_LIMIT,
            cancels: matches!(ask, Ask::Cancel { .. }),
        });
        self.line.send(|out| request.write(out, Token::from_u64(number)));
        number
    }
}

fn understood<'a>(ask: &Ask<'a>) -> (Step, ClientRequest<'a>) {
    let get = ClientRequest {
        method: RequestType::Get,
        device: None,
        href: "/oic/res",
        query: &[],
        observe: None,
        body: &[],
    };
    match *ask {
        Ask::Discover { query } => (Step::Discover, ClientRequest { query, ..get }),
        Ask::Retrieve { device, href, query } => {
            (Step::Retrieve, ClientRequest { device: Some(device), href, query, ..get })
        }
        Ask::Update { device, href, body } => {
            let method = RequestType::Post;
            (Step::Update, ClientRequest { method, device: Some(device), href, body, ..get })
        }
        Ask::Observe { device, href } => {
            (Step::Observe, ClientRequest { device, href, observe: Some(0), ..get })
        }
        Ask::Cancel { device, href, .. } => {
            (Step::Observe, ClientRequest { device, href, observe: Some(1), ..get })
        }
    }
}

impl Asker {
    fn answered(&mut self, line: &mut Line, exchange: Exchange, response: Response, now: Instant) {
        if exchange.cancels {
            self.observations.retain(|&request| request != exchange.request);
        } else if exchange.step == Step::Observe
            && response.code.is_success()
            && response.observe.is_some()
        {
            self.observations.push(exchange.request);
        }
        if exchange.step == Step::Discover
            && let Err(problem) = readable(&response.payload)
        {
            line.breach(Breach::UnreadableLink { problem });
        }
        line.event(Event::Answer(Answer {
            request: exchange.request,
            step: exchange.step,
            took: now.since(exchange.since),
            result: Ok(response),
        }));
    }
}

impl Application for Asker {
    fn signed_in(&mut self, _: &mut Registration, _: &mut Line, _: Instant) {}

    fn disconnected(&mut self, line: &mut Line, now: Instant) {
        self.observations = Vec::new();
        for exchange in std::mem::take(&mut self.exchanges) {
            line.event(failed(&exchange, Failure::Closed, now));
        }
    }

    fn request(
        &mut self,
        _: &mut Registration,
        line: &mut Line,
        request: &Request<'_>,
        _: Instant,
    ) {
        line.send(|out| empty(out, request.token, ResponseType::NotFound));
    }

    fn response(&mut self, line: &mut Line, message: &Message<'_>, now: Instant) {
        let Some(request) = message.token.as_u64() else { return };
        let response = Response {
            code: message.code,
            observe: uint(message, CoapOption::Observe),
            content_format: uint(message, CoapOption::ContentFormat),
            payload: message.payload.to_vec(),
        };
        // A notification may overtake the answer to the cancellation.
        let is_answer = |exchange: &Exchange| {
            exchange.request == request && !(exchange.cancels && response.observe.is_some())
        };
        if let Some(at) = self.exchanges.iter().position(is_answer) {
            let exchange = self.exchanges.swap_remove(at);
            self.answered(line, exchange, response, now);
        } else if self.observations.contains(&request) {
            if !response.code.is_success() || response.observe.is_none() {
                self.observations.retain(|&observed| observed != request);
            }
            line.event(Event::Notification(Notification { request, response }));
        }
    }

    fn timeout(&mut self, _: &mut Registration, line: &mut Line, now: Instant) {
        let late = |exchange: &mut Exchange| now >= exchange.until;
        for exchange in self.exchanges.extract_if(.., late) {
            line.event(failed(&exchange, Failure::TimedOut, now));
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.exchanges.iter().map(|exchange| exchange.until).min()
    }
}

fn failed(exchange: &Exchange, why: Failure, now: Instant) -> Event {
    Event::Answer(Answer {
        request: exchange.request,
        step: exchange.step,
        took: now.since(exchange.since),
        result: Err(why),
    })
}

fn uint(message: &Message<'_>, name: CoapOption) -> Option<u32> {
    message.options.into_iter().find(|option| option.name() == name)?.uint(4)
}

/// The links of a discovery answer, in the shape of `oic.if.ll` or `oic.if.baseline`. What a real
/// client would skip is skipped: links without anchor, href, rt, or with empty eps.
pub fn discovered_links(payload: &[u8]) -> Vec<DiscoveredLink> {
    let Ok(body) = cbor::decode::<Value>(payload) else { return Vec::new() };
    listed(&body).into_iter().filter_map(understand).collect()
}

/// The link maps of either shape.
fn listed(body: &Value) -> Vec<&Value> {
    let Some(entries) = body.as_array() else { return Vec::new() };
    let baseline = entries.first().and_then(|entry| member(entry, "links")?.as_array());
    baseline.unwrap_or(entries).iter().collect()
}

fn understand(link: &Value) -> Option<DiscoveredLink> {
    let device: DeviceId =
        member(link, "anchor")?.as_text()?.strip_prefix("ocf://")?.parse().ok()?;
    let shown = member(link, "href")?.as_text()?;
    let prefix = format!("/{device}");
    let href = shown.strip_prefix(&prefix).unwrap_or(shown);
    let types = member(link, "rt")?.as_array()?;
    let endpoint = member(member(link, "eps")?.as_array()?.first()?, "ep")?.as_text()?;
    Some(DiscoveredLink {
        device,
        href: href.to_owned(),
        resource_types: types.iter().filter_map(|t| t.as_text().map(str::to_owned)).collect(),
        endpoint: endpoint.to_owned(),
    })
}

/// Rule 13: what the client of iotivity-lite misreads.
fn readable(payload: &[u8]) -> Result<(), &'static str> {
    let Ok(body) = cbor::decode::<Value>(payload) else { return Ok(()) };
    for link in listed(&body) {
        let keys: Vec<_> = link.as_map().into_iter().flatten().collect();
        let position = |name| keys.iter().position(|(key, _)| key.as_text() == Some(name));
        match (position("anchor"), position("eps")) {
            (None, _) => return Err("has no anchor"),
            (_, None) => return Err("has no eps"),
            (Some(anchor), Some(eps)) if anchor > eps => return Err("has its anchor after eps"),
            _ => {}
        }
        for (key, value) in keys {
            let (key, array) = (key.as_text(), value.as_array());
            if key == Some("eps") && array.is_none_or(Vec::is_empty) {
                return Err("has empty eps");
            }
            let is_text_array =
                array.is_some_and(|items| items.first().is_some_and(Value::is_text));
            if is_text_array && !matches!(key, Some("rt" | "if")) {
                return Err("has a text array besides rt and if");
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(keys: &[(&str, Value)]) -> Vec<u8> {
        let map = keys.iter().map(|(key, value)| (Value::from(*key), value.clone())).collect();
        let mut out = Vec::new();
        cbor::encode(&mut out, &Value::Array(vec![Value::Map(map)]));
        out
    }

    #[test]
    fn rule_13_bites_on_what_real_clients_misread() {
        let anchor = ("anchor", Value::from("ocf://11111111-2222-4333-8444-555555555555"));
        let endpoint = Value::Map(vec![("ep".into(), "coaps+tcp://h:1".into())]);
        let eps = ("eps", Value::Array(vec![endpoint]));
        let types = ("type", Value::Array(vec!["text".into()]));
        assert_eq!(readable(&link(&[anchor.clone(), eps.clone()])), Ok(()));
        assert!(readable(&link(&[eps.clone(), anchor.clone()])).is_err());
        assert!(readable(&link(&[anchor.clone(), ("eps", Value::Array(vec![]))])).is_err());
        assert!(readable(&link(&[anchor, eps, types])).is_err());
        assert_eq!(readable(b"\x80"), Ok(()));
    }
}
