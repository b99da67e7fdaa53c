//! Transport and what holds for every request.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use hyper::Method;
use loadtest::credentials::trust_anchors;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use serde_json::json;
use tests::processes::{Setup, TestCloud};

use super::{CBOR, DEVICES};

type Tls = StreamOwned<ClientConnection, TcpStream>;

/// A TLS connection to the API under this name, trusting these authorities.
fn connect(cloud: &TestCloud, authorities: &Path, name: &str) -> io::Result<Tls> {
    let config = ClientConfig::builder()
        .with_root_certificates(trust_anchors(authorities).unwrap())
        .with_no_client_auth();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut session = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    let mut socket = TcpStream::connect(cloud.cloud.installation.api())?;
    while session.is_handshaking() {
        session.complete_io(&mut socket)?;
    }
    Ok(StreamOwned::new(session, socket))
}

/// What the API says to these bytes, which end with a request that closes the connection.
fn say(cloud: &TestCloud, request: &[u8]) -> String {
    let mut tls = connect(cloud, cloud.cloud.facts().trust_anchor, "127.0.0.1").unwrap();
    tls.write_all(request).unwrap();
    let mut answer = Vec::new();
    // A server that refuses need not read to the end before it closes.
    let _end = tls.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

/// Cases 1 and 2.
#[test]
fn the_api_speaks_tls_only_and_proves_its_name() {
    let cloud = TestCloud::start(Setup::default());
    let mut plain = TcpStream::connect(cloud.cloud.installation.api()).unwrap();
    plain.write_all(b"GET /api/v1/devices HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    // Whether the end comes as a close or as a reset is up to the system.
    let _end = plain.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");

    let (ours, foreign) = {
        let facts = cloud.cloud.facts();
        (facts.trust_anchor.to_owned(), facts.device_trust_anchor.to_owned())
    };
    connect(&cloud, &ours, "127.0.0.1").unwrap();
    connect(&cloud, &ours, "localhost").unwrap();
    for (authorities, name) in [(&foreign, "127.0.0.1"), (&ours, "other.example")] {
        assert!(connect(&cloud, authorities, name).is_err(), "{name}");
    }
    cloud.stop();
}

/// Cases 3, 12, 13 and 14.
#[test]
fn paths_are_found_as_the_reference_says() {
    let mut cloud = TestCloud::start(Setup::default());
    cloud.start_swarm(1);
    let (rest, token) = (cloud.rest(), cloud.token());
    let light = format!("{DEVICES}/{}/light/1", cloud.devices()[0]);
    for path in ["/", "/devices", "/api/v2/devices", "/api/v1/things", "/api/v1"] {
        rest.get(path).token(&token).send().is_problem(404);
    }
    for (method, path, allow) in [
        (Method::PUT, DEVICES, "GET"),
        (Method::DELETE, &format!("{DEVICES}/{}", cloud.devices()[0]), "GET"),
        (Method::PATCH, &light, "GET, POST"),
        (Method::PUT, "/api/v1/mediator", "POST"),
    ] {
        let answer = rest.ask(method, path).token(&token).send().is_problem(405);
        assert_eq!(answer.header("allow"), Some(allow), "{path}");
    }
    let doubled = format!("/{}//", light.replace('/', "//"));
    let plain = rest.get(&*light).token(&token).send().is(200);
    assert_eq!(rest.get(doubled).token(&token).send().is(200).value(), plain.value());
    for segment in ["..", ".", "%2e%2e", "a%2Fb", "a%2fb", "%00", "%zz", "%ff"] {
        rest.get(format!("{light}/{segment}")).token(&token).send().is_problem(400);
    }
    let ignored = rest.get(format!("{DEVICES}?rt=oic.d.light&x=%zz&&=")).token(&token).send();
    assert_eq!(ignored.is(200).value().as_array().unwrap().len(), 1);
    rest.get(format!("{light}?content=x")).token(&token).send().is(200);
    cloud.stop();
}

/// Cases 4, 15 and 16.
#[test]
fn http_is_understood_in_any_of_its_forms() {
    let mut cloud = TestCloud::start(Setup::default());
    cloud.start_swarm(1);
    let (rest, token) = (cloud.rest(), cloud.token());
    let answer = say(
        &cloud,
        format!(
            "GET {DEVICES} HTTP/1.1\r\nhOsT: localhost\r\nAUTHORIZATION: bearer {token}\r\n\
             aCCept: application/json\r\nCONNECTION: close\r\n\r\n"
        )
        .as_bytes(),
    );
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");

    let light = format!("{DEVICES}/{}/light/1", cloud.devices()[0]);
    let chunked = |pieces: &[&str]| {
        let mut request = format!(
            "POST {light} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\
             Connection: close\r\n\r\n"
        );
        for piece in pieces {
            request += &format!("{:x}\r\n{piece}\r\n", piece.len());
        }
        say(&cloud, (request + "0\r\n\r\n").as_bytes())
    };
    let updated = chunked(&[r#"{"val"#, r#"ue":true}"#]);
    assert!(updated.starts_with("HTTP/1.1 200 OK\r\n"), "{updated}");
    let told = rest.get(&*light).token(&token).send().is(200).value();
    assert_eq!(told["value"], true);

    let long = format!(r#"{{"x":"{}"}}"#, "x".repeat(1 << 20));
    rest.post(&*light).token(&token).body("application/json", &*long).send().is_problem(413);
    let long = chunked(&[&long]);
    assert!(long.starts_with("HTTP/1.1 413 "), "{}", &long[..long.len().min(200)]);
    cloud.stop();
}

/// Cases 5 and 6.
#[test]
fn a_correlation_id_is_repeated_or_made() {
    let cloud = TestCloud::start(Setup::default());
    let (rest, token) = (cloud.rest(), cloud.token());
    let theirs = "3F0E6C1A-7a63-4f0e-9d0b-6c7a5d1e2b90";
    let paths = [
        DEVICES,
        "/api/v1/devices/x",
        "/nothing",
        "/healthz",
        "/oauth/jwks",
        "/oauth/authorize",
        "/operator/v1/users",
        "/openapi.json",
    ];
    let mut made = std::collections::BTreeSet::new();
    for path in paths {
        let asked = rest.get(path).token(&token).header("correlation-id", theirs).send();
        assert_eq!(asked.header("correlation-id"), Some(theirs), "{path}");
        let answer = rest.get(path).token(&token).send();
        let id = answer.header("correlation-id").unwrap();
        assert!(id.parse::<shared::ids::DeviceId>().is_ok(), "{path}: {id} is no UUID");
        assert!(made.insert(id.to_owned()), "{path}: {id} was there before");
    }
    cloud.stop();
}

/// Cases 7 to 11.
#[test]
fn the_form_of_an_answer_is_negotiated() {
    let mut cloud = TestCloud::start(Setup::default());
    cloud.start_swarm(1);
    let (rest, token) = (cloud.rest(), cloud.token());
    let device = format!("{DEVICES}/{}", cloud.devices()[0]);
    for path in [DEVICES, &device, &format!("{device}/light/1")] {
        for (accept, content_type) in [
            (Some("application/json"), "application/json"),
            (None, "application/json"),
            (Some("*/*"), "application/json"),
            (Some("application/json;q=0.1, application/vnd.ocf+cbor"), CBOR),
            (Some(CBOR), CBOR),
            (Some("application/cbor"), "application/cbor"),
        ] {
            let mut ask = rest.get(path).token(&token);
            if let Some(accept) = accept {
                ask = ask.accept(accept);
            }
            assert_eq!(ask.send().is(200).header("content-type"), Some(content_type), "{path}");
        }
        let refused = rest.get(path).token(&token).accept("application/xml").send();
        let told = refused.is_problem(406).value();
        assert_eq!(told["detail"], json!("application/json or application/vnd.ocf+cbor"));
    }
    cloud.stop();
}
