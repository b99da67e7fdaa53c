//! Transport and general: cases 1 to 16.

use axum::http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::world::{ALICE, SENSOR};
use crate::support::{Behaviour, Cloud, Device, client::Client, cloud};

const DEVICES: &str = "/api/v1/devices";

#[tokio::test]
async fn case_1_plain_http_is_not_served() {
    let cloud = Cloud::start().await;
    let mut plain = tokio::net::TcpStream::connect(cloud.address).await.unwrap();
    plain.write_all(b"GET /api/v1/devices HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    // Whether the end comes as a close or as a reset is up to the system.
    let _end = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    cloud.stop().await;
}

#[tokio::test]
async fn case_2_a_client_with_another_root_fails() {
    let cloud = Cloud::start().await;
    cloud.get(DEVICES).send().await.is_ok();
    let elsewhere = tempfile::tempdir().unwrap();
    let stranger = Client::new(cloud.address, cloud::write_certificates(elsewhere.path()));
    assert!(stranger.connect(b"http/1.1").await.is_err());
    cloud.stop().await;
}

#[tokio::test]
async fn case_3_and_12_paths_start_with_api_v1() {
    let cloud = Cloud::start().await;
    for path in ["/", "/devices", "/api/v2/devices", "/api/v1/things", "/api/v1"] {
        cloud.get(path).send().await.is_problem(404);
    }
    for (method, path, allow) in [
        (Method::PUT, DEVICES.to_owned(), "GET"),
        (Method::DELETE, format!("{DEVICES}/{SENSOR}"), "GET"),
        (Method::PATCH, format!("{DEVICES}/{SENSOR}/humidity"), "GET, POST"),
        (Method::POST, "/healthz".into(), "GET,HEAD"),
    ] {
        let answer = cloud.client.ask(method, path).token("alice").send().await;
        assert_eq!(answer.is_problem(405).header("allow"), Some(allow));
    }
    cloud.stop().await;
}

#[tokio::test]
async fn case_4_header_names_are_accepted_in_any_case() {
    let cloud = Cloud::start().await;
    let mut tls = cloud.client.connect(b"http/1.1").await.unwrap();
    let request = "GET /api/v1/devices HTTP/1.1\r\nhOsT: localhost\r\nAUTHORIZATION: bearer alice\r\n\
                   aCCept: application/json\r\nCONNECTION: close\r\n\r\n";
    tls.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tls.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    cloud.stop().await;
}

#[tokio::test]
async fn case_5_and_6_a_correlation_id_is_repeated_or_made() {
    let cloud = Cloud::start().await;
    let theirs = "3F0E6C1A-7a63-4f0e-9d0b-6c7a5d1e2b90";
    for path in [DEVICES, "/nothing", "/healthz", "/api/v1/devices/x"] {
        let answer = cloud.get(path).header("correlation-id", theirs).send().await;
        assert_eq!(answer.header("correlation-id"), Some(theirs), "{path}");
        let made = cloud.get(path).send().await;
        let other = cloud.get(path).send().await;
        let (made, other) = (made.header("correlation-id"), other.header("correlation-id"));
        assert!(made.is_some_and(|id| id.len() == 36) && made != other, "{made:?} {other:?}");
    }
    cloud.stop().await;
}

#[tokio::test]
async fn case_7_to_11_the_form_is_negotiated() {
    let cloud = Cloud::start().await;
    let both = "application/json;q=0.1, application/vnd.ocf+cbor";
    let resource = format!("{DEVICES}/{SENSOR}/humidity");
    for path in [DEVICES, &format!("{DEVICES}/{SENSOR}"), &resource] {
        for (accept, content_type) in [
            (Some("application/json"), "application/json"),
            (None, "application/json"),
            (Some("*/*"), "application/json"),
            (Some(both), "application/vnd.ocf+cbor"),
            (Some("application/vnd.ocf+cbor"), "application/vnd.ocf+cbor"),
            (Some("application/cbor"), "application/cbor"),
        ] {
            let mut asking = cloud.get(path);
            if let Some(accept) = accept {
                asking = asking.accept(accept);
            }
            assert_eq!(asking.send().await.is_ok().content_type(), content_type, "{path}");
        }
        let refused = cloud.get(path).accept("application/xml").send().await;
        let detail = refused.is_problem(406).json()["detail"].clone();
        assert_eq!(detail, "application/json or application/vnd.ocf+cbor");
    }
    cloud.stop().await;
}

#[tokio::test]
async fn case_13_slashes_are_tolerated_and_dots_and_encoded_slashes_refused() {
    let cloud = Cloud::start().await;
    let doubled = format!("//api//v1//devices//{SENSOR}//humidity//");
    assert_eq!(cloud.get(doubled).send().await.is_ok().json()["humidity"], 62);
    for segment in ["..", ".", "%2e%2e", "a%2Fb", "a%2fb", "%00", "%zz", "%ff"] {
        let path = format!("{DEVICES}/{SENSOR}/{segment}");
        cloud.get(path).send().await.is_problem(400);
    }
    cloud.stop().await;
}

#[tokio::test]
async fn case_14_unknown_query_parameters_are_ignored() {
    let cloud = Cloud::start().await;
    let list = cloud.get(format!("{DEVICES}?rt=oic.d.light&x=%zz&&=")).send().await;
    assert_eq!(list.is_ok().json().as_array().unwrap().len(), 2);
    cloud.get(format!("{DEVICES}/{SENSOR}/humidity?content=x")).send().await.is_ok();
    cloud.stop().await;
}

#[tokio::test]
async fn case_15_a_body_above_the_limit_is_413() {
    let cloud = Cloud::start_with(|config| config.limits.body_bytes = 2048).await;
    let path = format!("{DEVICES}/{SENSOR}/humidity");
    let long = format!(r#"{{"x":"{}"}}"#, "x".repeat(3000));
    cloud.post(&path, &long).send().await.is_problem(413);
    let chunked = chunked(&cloud, &path, &[long.as_bytes()]).await;
    assert!(chunked.starts_with("HTTP/1.1 413 "), "{chunked}");
    let fits = format!(r#"{{"x":"{}"}}"#, "x".repeat(1000));
    cloud.post(&path, &fits).send().await.is_ok();
    cloud.stop().await;
}

#[tokio::test]
async fn case_16_chunked_bodies_are_accepted() {
    let cloud = Cloud::start().await;
    let path = format!("{DEVICES}/{SENSOR}/humidity");
    let answer = chunked(&cloud, &path, &[br#"{"desired"#, br#"Humidity":55}"#]).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert!(answer.ends_with(r#""desiredHumidity":55}"#), "{answer}");
    cloud.stop().await;
}

/// POSTs pieces of JSON without saying how many there will be.
async fn chunked(cloud: &Cloud, path: &str, pieces: &[&[u8]]) -> String {
    let mut tls = cloud.client.connect(b"http/1.1").await.unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer alice\r\n\
         Content-Type: application/json\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    );
    tls.write_all(head.as_bytes()).await.unwrap();
    for piece in pieces {
        tls.write_all(format!("{:x}\r\n", piece.len()).as_bytes()).await.unwrap();
        tls.write_all(piece).await.unwrap();
        tls.write_all(b"\r\n").await.unwrap();
    }
    tls.write_all(b"0\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    // A server that refuses need not read to the end before it closes.
    let _end = tls.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn http_2_is_served_alike() {
    let cloud = Cloud::start().await;
    let list = cloud.get(DEVICES).http2().send().await;
    assert_eq!(list.is_ok().json().as_array().unwrap().len(), 2);
    cloud.get("/nothing").http2().send().await.is_problem(404);
    cloud.stop().await;
}

#[tokio::test]
async fn health_needs_no_token_and_says_whether_the_gateway_is_there() {
    let mut cloud = Cloud::start_without_gateway(|_| {}).await;
    let ask = |path| cloud.client.ask(Method::GET, path).send();
    assert_eq!(ask("/healthz").await.is_ok().text(), "alive\n");
    ask("/readyz").await.is_problem(503);
    cloud.start_gateway().await;
    let ready = cloud.client.ask(Method::GET, "/readyz").send().await;
    assert_eq!(ready.is_ok().text(), "ready\n");
    cloud.stop().await;
}

/// Cloud reference 5.3: scope, then type, then body, then URL. Nothing of it reaches a shard.
#[tokio::test]
async fn a_subscription_is_checked_in_order() {
    let cloud = Cloud::start().await;
    let paths = [
        "subscriptions".into(),
        format!("{SENSOR}/subscriptions"),
        format!("{SENSOR}/humidity/subscriptions"),
    ];
    for path in paths {
        let path = format!("{DEVICES}/{path}");
        cloud.client.ask(Method::POST, &path).token("alice-writes").send().await.is_problem(403);
        cloud.client.ask(Method::POST, &path).token("alice-reads").send().await.is_problem(415);
        cloud.post(&path, "{}").send().await.is_problem(400);
        let body = format!(
            r#"{{"eventsUrl":"https://127.0.0.1/","eventTypes":["devices_online"],"signingSecret":"{}"}}"#,
            "x".repeat(32)
        );
        cloud.post(&path, &body).send().await.is_problem(400);
    }
    cloud.stop().await;
}

#[tokio::test]
async fn requests_above_the_limit_are_shed_and_not_queued() {
    let mut cloud = Cloud::start_with(|config| config.limits.requests_in_flight = 1).await;
    let silent = Device::online().behaving("/silent", Behaviour::Silent);
    cloud.world.put(ALICE, SENSOR, silent);
    let waiting = cloud.post(format!("{DEVICES}/{SENSOR}/silent"), "{}").send();
    let waiting = tokio::spawn(waiting);
    cloud.world.until_updated(1).await;
    let shed = cloud.get(DEVICES).send().await;
    assert!(shed.is_problem(503).header("retry-after").is_some());
    cloud.client.ask(Method::GET, "/healthz").send().await.is_ok();
    drop(cloud.gateway.take());
    waiting.await.unwrap().is_problem(503);
    cloud.stop().await;
}

#[tokio::test]
async fn any_path_is_answered() {
    let cloud = Cloud::start().await;
    let pieces =
        ["/", "..", "%", "%2F", "devices", SENSOR, "subscriptions", "%41", "?", "&", "=", "{"];
    // The same paths in every run, and many shapes of them.
    for seed in 0..300u64 {
        let mut state = seed;
        let mut path = String::from("/api/v1/devices");
        for _ in 0..6 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            path.push('/');
            path.push_str(pieces[(state >> 33) as usize % pieces.len()]);
        }
        if path.parse::<axum::http::Uri>().is_ok() {
            let answer = cloud.get(path.clone()).send().await;
            assert!([200, 400, 404, 405].contains(&answer.status), "{path} {answer:?}");
        }
    }
    cloud.stop().await;
}
