//! Paths: a request's path to the operation that it names (cloud reference 2.6).
//!
//! Each segment is decoded once. Repeated slashes and one at the end mean nothing; what could mean
//! two things (`.`, `..`, an encoded slash) is refused, never resolved.

use axum::http::Method;
use shared::channel::events::Target;
use shared::ids::{DeviceId, HREF_BYTES_MAX, Href, HrefError, SubscriptionId};

use crate::problem::Problem;

/// What a path and its method ask for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Route {
    /// D1, D2.
    ListDevices,
    /// D3, D4.
    ReadDevice(DeviceId),
    /// D5.
    Retrieve(DeviceId, Href),
    /// D6.
    Update(DeviceId, Href),
    /// E1, E3, E5.
    Subscribe(Target),
    /// A look whether a subscription stands.
    ReadSubscription(Target, SubscriptionId),
    /// E2, E4, E6.
    Unsubscribe(Target, SubscriptionId),
    /// A Mediator registers.
    RegisterMediator,
    /// A token for a device.
    IssueDeviceToken,
    /// Outstanding tokens of devices.
    ListDeviceTokens,
    /// A device is lost or sold.
    RemoveDevice(DeviceId),
}

/// Why a path names no operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RouteFault {
    /// Not a path of the API.
    Outside,
    /// A path of the API that does not exist.
    NotFound,
    /// No device can have a resource there.
    NoSuchResource,
    /// The path exists, with these methods.
    MethodNotAllowed(&'static str),
    /// The device id is not a UUID.
    NotADevice,
    /// The subscription id is not a UUID.
    NotASubscription,
    /// A segment is not what paths may have.
    BadSegment,
}

impl From<RouteFault> for Problem {
    fn from(fault: RouteFault) -> Self {
        match fault {
            RouteFault::Outside | RouteFault::NotFound => Self::not_found("no such path"),
            RouteFault::NoSuchResource => Self::not_found("no such resource"),
            RouteFault::MethodNotAllowed(allow) => Self::method_not_allowed(allow),
            RouteFault::NotADevice => Self::bad_request("the device id is not a UUID"),
            RouteFault::NotASubscription => Self::bad_request("the subscription id is not a UUID"),
            RouteFault::BadSegment => Self::bad_request(
                "the path has a `.` or `..`, an encoded slash or control character, \
                 or bytes that are not UTF-8",
            ),
        }
    }
}

const SUBSCRIPTIONS: &str = "subscriptions";

impl Route {
    /// What `method` on `path` asks for.
    pub fn parse(method: &Method, path: &str) -> Result<Self, RouteFault> {
        let mut raw = path.split('/').filter(|segment| !segment.is_empty());
        if (raw.next(), raw.next()) != (Some("api"), Some("v1")) {
            return Err(RouteFault::Outside);
        }
        let segments: Vec<String> =
            raw.map(decode).collect::<Option<_>>().ok_or(RouteFault::BadSegment)?;
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        match segments.split_first() {
            Some((&"devices", rest)) => Self::below_devices(method, rest),
            Some((&"mediator", rest)) => Self::below_mediator(method, rest),
            _ => Err(RouteFault::NotFound),
        }
    }

    /// The rows of cloud reference 2.6, in its order.
    fn below_devices(method: &Method, segments: &[&str]) -> Result<Self, RouteFault> {
        match segments {
            [] => match *method {
                Method::GET => Ok(Self::ListDevices),
                _ => Err(RouteFault::MethodNotAllowed("GET")),
            },
            [SUBSCRIPTIONS] => match *method {
                Method::POST => Ok(Self::Subscribe(Target::Devices)),
                _ => Err(RouteFault::MethodNotAllowed("POST")),
            },
            [SUBSCRIPTIONS, id] => Self::subscription(method, Target::Devices, id),
            [SUBSCRIPTIONS, ..] => Err(RouteFault::NotFound),
            [device, path @ ..] => {
                let device = device.parse().map_err(|_| RouteFault::NotADevice)?;
                Self::below_device(method, device, path)
            }
        }
    }

    fn below_device(method: &Method, device: DeviceId, path: &[&str]) -> Result<Self, RouteFault> {
        match path {
            [] => match *method {
                Method::GET => Ok(Self::ReadDevice(device)),
                _ => Err(RouteFault::MethodNotAllowed("GET")),
            },
            [SUBSCRIPTIONS, id] => Self::subscription(method, Target::Device(device), id),
            [path @ .., SUBSCRIPTIONS, id] if is_uuid(id) => {
                Self::subscription(method, resource(device, path)?, id)
            }
            [SUBSCRIPTIONS] if *method == Method::POST => {
                Ok(Self::Subscribe(Target::Device(device)))
            }
            [.., last] => match *method {
                // The reserved word only takes the POST: a resource of that name can be read (OP-30).
                Method::POST if *last == SUBSCRIPTIONS => {
                    Ok(Self::Subscribe(resource(device, &path[..path.len() - 1])?))
                }
                Method::POST => Ok(Self::Update(device, href(path)?)),
                Method::GET => Ok(Self::Retrieve(device, href(path)?)),
                _ => Err(RouteFault::MethodNotAllowed("GET, POST")),
            },
        }
    }

    fn subscription(method: &Method, target: Target, id: &str) -> Result<Self, RouteFault> {
        let id = || id.parse().map_err(|_| RouteFault::NotASubscription);
        match *method {
            Method::GET => Ok(Self::ReadSubscription(target, id()?)),
            Method::DELETE => Ok(Self::Unsubscribe(target, id()?)),
            _ => Err(RouteFault::MethodNotAllowed("GET, DELETE")),
        }
    }

    fn below_mediator(method: &Method, segments: &[&str]) -> Result<Self, RouteFault> {
        match (segments, method) {
            ([], &Method::POST) => Ok(Self::RegisterMediator),
            ([], _) => Err(RouteFault::MethodNotAllowed("POST")),
            (["devices"], &Method::POST) => Ok(Self::IssueDeviceToken),
            (["devices"], &Method::GET) => Ok(Self::ListDeviceTokens),
            (["devices"], _) => Err(RouteFault::MethodNotAllowed("GET, POST")),
            (["devices", device], &Method::DELETE) => {
                device.parse().map(Self::RemoveDevice).map_err(|_| RouteFault::NotADevice)
            }
            (["devices", _], _) => Err(RouteFault::MethodNotAllowed("DELETE")),
            _ => Err(RouteFault::NotFound),
        }
    }

    /// The path with its variable parts replaced: what is logged and counted.
    pub fn pattern(&self) -> &'static str {
        match self {
            Self::ListDevices => "/api/v1/devices",
            Self::ReadDevice(_) => "/api/v1/devices/{di}",
            Self::Retrieve(..) | Self::Update(..) => "/api/v1/devices/{di}/{href}",
            Self::Subscribe(target) => match target {
                Target::Devices => "/api/v1/devices/subscriptions",
                Target::Device(_) => "/api/v1/devices/{di}/subscriptions",
                Target::Resource(..) => "/api/v1/devices/{di}/{href}/subscriptions",
            },
            Self::ReadSubscription(target, _) | Self::Unsubscribe(target, _) => match target {
                Target::Devices => "/api/v1/devices/subscriptions/{id}",
                Target::Device(_) => "/api/v1/devices/{di}/subscriptions/{id}",
                Target::Resource(..) => "/api/v1/devices/{di}/{href}/subscriptions/{id}",
            },
            Self::RegisterMediator => "/api/v1/mediator",
            Self::IssueDeviceToken | Self::ListDeviceTokens => "/api/v1/mediator/devices",
            Self::RemoveDevice(_) => "/api/v1/mediator/devices/{di}",
        }
    }
}

fn is_uuid(text: &str) -> bool {
    text.parse::<DeviceId>().is_ok()
}

fn resource(device: DeviceId, path: &[&str]) -> Result<Target, RouteFault> {
    Ok(Target::Resource(device, href(path)?.as_str().to_owned()))
}

fn href(segments: &[&str]) -> Result<Href, RouteFault> {
    if segments.iter().map(|segment| segment.len() + 1).sum::<usize>() > HREF_BYTES_MAX {
        return Err(RouteFault::NoSuchResource);
    }
    Href::parse(&segments.join("/")).map_err(|error| match error {
        HrefError::Empty | HrefError::TooLong => RouteFault::NoSuchResource,
        HrefError::Control => RouteFault::BadSegment,
    })
}

/// Decodes a segment once; none if it is not what a path may have.
fn decode(segment: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit = || (rest.next()? as char).to_digit(16);
                (digit()? << 4 | digit()?) as u8
            }
            byte => byte,
        });
    }
    let decoded = String::from_utf8(bytes).ok()?;
    let allowed = decoded != "."
        && decoded != ".."
        && !decoded.bytes().any(|byte| byte == b'/' || byte.is_ascii_control());
    allowed.then_some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DI: &str = "53080a4f-5e3e-4291-802f-3436238232d2";

    fn route(method: Method, path: &str) -> Result<Route, RouteFault> {
        Route::parse(&method, &path.replace("{di}", DI))
    }

    fn device() -> DeviceId {
        DI.parse().unwrap()
    }

    fn at(href: &str) -> Href {
        Href::parse(href).unwrap()
    }

    /// Cloud reference 2.6, the table of the routing order.
    #[test]
    fn operations_are_found_in_the_order_of_the_table() {
        let id = "0f3c2a9e-5d0e-4a06-8d4f-0d6c7d1b6a11";
        let subscription: SubscriptionId = id.parse().unwrap();
        let light = || at("/light/1");
        let to_light = || Target::Resource(device(), "/light/1".into());
        for (method, path, route) in [
            (Method::GET, "", Route::ListDevices),
            (Method::POST, "/subscriptions", Route::Subscribe(Target::Devices)),
            (
                Method::GET,
                &format!("/subscriptions/{id}"),
                Route::ReadSubscription(Target::Devices, subscription),
            ),
            (
                Method::DELETE,
                &format!("/subscriptions/{id}"),
                Route::Unsubscribe(Target::Devices, subscription),
            ),
            (Method::GET, "/{di}", Route::ReadDevice(device())),
            (Method::POST, "/{di}/subscriptions", Route::Subscribe(Target::Device(device()))),
            (
                Method::GET,
                &format!("/{{di}}/subscriptions/{id}"),
                Route::ReadSubscription(Target::Device(device()), subscription),
            ),
            (Method::POST, "/{di}/light/1/subscriptions", Route::Subscribe(to_light())),
            (
                Method::DELETE,
                &format!("/{{di}}/light/1/subscriptions/{id}"),
                Route::Unsubscribe(to_light(), subscription),
            ),
            (Method::GET, "/{di}/light/1", Route::Retrieve(device(), light())),
            (Method::POST, "/{di}/light/1", Route::Update(device(), light())),
            (
                Method::GET,
                "/{di}/light/subscriptions",
                Route::Retrieve(device(), at("/light/subscriptions")),
            ),
            (
                Method::POST,
                "/{di}/light/subscriptions/x",
                Route::Update(device(), at("/light/subscriptions/x")),
            ),
        ] {
            let path = format!("/api/v1/devices{path}").replace("{di}", DI);
            assert_eq!(Route::parse(&method, &path), Ok(route), "{method} {path}");
        }
    }

    /// Cases 12 and 80.
    #[test]
    fn what_names_no_operation_says_why() {
        let allow = RouteFault::MethodNotAllowed;
        for (method, path, fault) in [
            (Method::GET, "/", RouteFault::Outside),
            (Method::GET, "/api", RouteFault::Outside),
            (Method::GET, "/api/v2/devices", RouteFault::Outside),
            (Method::GET, "/api/v1", RouteFault::NotFound),
            (Method::GET, "/api/v1/things", RouteFault::NotFound),
            (Method::GET, "/api/v1/devices/subscriptions/x/y", RouteFault::NotFound),
            (Method::PUT, "/api/v1/devices", allow("GET")),
            (Method::HEAD, "/api/v1/devices", allow("GET")),
            (Method::GET, "/api/v1/devices/subscriptions", allow("POST")),
            (Method::POST, "/api/v1/devices/{di}", allow("GET")),
            (Method::PUT, "/api/v1/devices/{di}/light", allow("GET, POST")),
            (Method::POST, "/api/v1/devices/{di}/subscriptions/x", allow("GET, DELETE")),
            (Method::GET, "/api/v1/mediator", allow("POST")),
            (Method::PUT, "/api/v1/mediator/devices", allow("GET, POST")),
            (Method::GET, "/api/v1/mediator/devices/x", allow("DELETE")),
            (Method::GET, "/api/v1/mediator/x", RouteFault::NotFound),
            (Method::GET, "/api/v1/devices/53080a4f", RouteFault::NotADevice),
            (Method::DELETE, "/api/v1/mediator/devices/x", RouteFault::NotADevice),
            (Method::DELETE, "/api/v1/devices/subscriptions/x", RouteFault::NotASubscription),
            (Method::GET, "/api/v1/devices/{di}/subscriptions/x", RouteFault::NotASubscription),
        ] {
            assert_eq!(route(method.clone(), path), Err(fault), "{method} {path}");
        }
    }

    /// Case 13.
    #[test]
    fn slashes_are_tolerated_and_what_could_be_resolved_is_refused() {
        let light = Ok(Route::Retrieve(device(), at("/light 1/ä%")));
        for path in [
            "/api/v1/devices/{di}/light%201/%c3%a4%25",
            "//api//v1///devices//{di}//light%201//%C3%A4%25//",
            "/api/v1/d%65vices/{di}/light 1/ä%25",
        ] {
            assert_eq!(route(Method::GET, path), light, "{path}");
        }
        for segment in
            ["..", ".", "%2e%2E", "%2e", "a%2Fb", "a%2fb", "a%00", "%0a", "%", "%4", "%zz", "%ff"]
        {
            let path = format!("/api/v1/devices/{{di}}/a/{segment}");
            assert_eq!(route(Method::GET, &path), Err(RouteFault::BadSegment), "{path}");
        }
        let twice = route(Method::GET, "/api/v1/devices/{di}/%252e%252e");
        assert_eq!(twice, Ok(Route::Retrieve(device(), at("/%2e%2e"))), "decoded once");
    }

    /// Case 81.
    #[test]
    fn the_id_may_be_in_either_case() {
        let path = format!("/api/v1/devices/{}", DI.to_uppercase());
        assert_eq!(Route::parse(&Method::GET, &path), Ok(Route::ReadDevice(device())));
    }

    #[test]
    fn a_path_that_no_device_can_publish_is_not_found() {
        let path = format!("/api/v1/devices/{DI}/{}", "x".repeat(300));
        assert_eq!(route(Method::GET, &path), Err(RouteFault::NoSuchResource));
    }

    proptest! {
        #[test]
        fn any_path_is_answered(path in "(/api/v1/devices)?[ -~/%.ä]{0,60}") {
            let _ = route(Method::GET, &path);
            let _ = route(Method::POST, &path.replace('x', DI));
        }

        #[test]
        fn what_is_encoded_decodes_to_itself(text in "[^/\\x00-\\x1f\\x7f]{1,40}") {
            let encoded: String = text.bytes().map(|byte| format!("%{byte:02x}")).collect();
            let decoded = decode(&encoded);
            if text == "." || text == ".." {
                prop_assert_eq!(decoded, None);
            } else {
                prop_assert_eq!(decoded, Some(text));
            }
        }
    }
}
