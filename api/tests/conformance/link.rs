//! The way to the gateway: lost, found again, full; and the server's own end.

use axum::http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use shared::channel::message::{Command, CommandEnvelope, Content, DevicesPage, Reply, Subject};

use crate::support::world::{ALICE, LIGHT, SENSOR};
use crate::support::{Behaviour, Cloud, Device};

const DEVICES: &str = "/api/v1/devices";

fn silent_path() -> String {
    format!("{DEVICES}/{SENSOR}/silent")
}

fn with_silent_device(cloud: &Cloud) {
    cloud.world.put(ALICE, SENSOR, Device::online().behaving("/silent", Behaviour::Silent));
}

#[tokio::test]
async fn a_lost_gateway_lets_everybody_go_and_is_found_again() {
    let mut cloud = Cloud::start().await;
    with_silent_device(&cloud);
    let waiting = tokio::spawn(cloud.post(silent_path(), "{}").send());
    cloud.world.until_updated(1).await;
    drop(cloud.gateway.take());
    let let_go = waiting.await.unwrap();
    let detail = let_go.is_problem(503).json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.ends_with("the update may still have happened"), "{detail}");
    cloud.wait_until_ready(503).await;
    let answer = cloud.get(DEVICES).send().await;
    assert!(answer.is_problem(503).header("retry-after").is_some());
    cloud.start_gateway().await;
    cloud.get(DEVICES).send().await.is_ok();
    cloud.stop().await;
}

#[tokio::test]
async fn commands_above_the_limit_of_a_shard_are_503() {
    let mut cloud = Cloud::start_with(|config| config.limits.commands_per_shard = 2).await;
    with_silent_device(&cloud);
    // What the server itself told the shard when it found it is answered before this: nothing else is
    // under way then.
    cloud.get(DEVICES).send().await.is_ok();
    let waiting: Vec<_> =
        (0..2).map(|_| tokio::spawn(cloud.post(silent_path(), "{}").send())).collect();
    cloud.world.until_updated(2).await;
    let answer = cloud.get(DEVICES).send().await;
    assert!(answer.is_problem(503).header("retry-after").is_some());
    drop(cloud.gateway.take());
    for waiting in waiting {
        waiting.await.unwrap().is_problem(503);
    }
    cloud.stop().await;
}

#[tokio::test]
async fn a_full_ring_is_503_at_once() {
    let cloud = Cloud::start_with(|config| config.timeouts.device_ms = 1_000).await;
    cloud.gateway.as_ref().unwrap().pause();
    let long = format!(r#"{{"x":"{}"}}"#, "x".repeat(500_000));
    let asking: Vec<_> = (0..16)
        .map(|_| tokio::spawn(cloud.post(format!("{DEVICES}/{SENSOR}/humidity"), &long).send()))
        .collect();
    let mut statuses = Vec::new();
    for asking in asking {
        let answer = asking.await.unwrap();
        assert!(answer.header("retry-after").is_some());
        statuses.push(answer.status);
    }
    // What fitted into the ring was never answered, the rest never sent.
    let refused = statuses.iter().filter(|&&status| status == 503).count();
    assert!((1..16).contains(&refused), "{statuses:?}");
    assert!(statuses.iter().all(|status| [503, 504].contains(status)), "{statuses:?}");
    cloud.stop().await;
}

#[tokio::test]
async fn replies_that_make_no_sense_are_500_and_end_nothing_else() {
    let cloud = Cloud::start().await;
    let view = |device: &str| {
        let listed = cloud.world.reply(CommandEnvelope {
            request: 0,
            patience_ms: 0,
            subject: Subject::User { user: ALICE.parse().unwrap(), grant: None },
            command: Command::ReadDevice {
                device: device.parse().unwrap(),
                first_link: 0,
                content: Content::Base,
            },
        });
        let Some(Reply::Devices(page)) = listed else { panic!("a device") };
        page.devices[0].clone()
    };
    let page = |devices: &[&str], next_link, more_devices| {
        let devices = devices.iter().map(|device| view(device)).collect();
        Reply::Devices(DevicesPage { devices, next_link, more_devices })
    };
    let one = format!("{DEVICES}/{SENSOR}");
    let resource = format!("{one}/humidity");
    for (path, reply) in [
        (DEVICES, Reply::Done),
        (DEVICES, page(&[], None, true)),
        (DEVICES, page(&[LIGHT, SENSOR], None, false)),
        (DEVICES, page(&[SENSOR, SENSOR], None, false)),
        (DEVICES, page(&[SENSOR], Some(99), false)),
        (&one, Reply::DeviceTokens(vec![])),
        (&one, page(&[], None, false)),
        (&one, page(&[LIGHT], None, false)),
        (&one, page(&[SENSOR, LIGHT], None, false)),
        (&resource, Reply::Done),
    ] {
        cloud.world.state().reply = Some(reply.clone());
        let answer = cloud.get(path).send().await;
        assert_eq!(
            answer.is_problem(500).json()["detail"],
            "the service made a mistake",
            "{reply:?}"
        );
        cloud.world.state().reply = None;
    }
    cloud.get(DEVICES).send().await.is_ok();
    cloud.stop().await;
}

#[tokio::test]
async fn a_drain_lets_requests_under_way_finish() {
    let mut cloud = Cloud::start_with(|config| config.timeouts.device_ms = 500).await;
    with_silent_device(&cloud);
    let waiting = tokio::spawn(cloud.post(silent_path(), "{}").send());
    cloud.world.until_updated(1).await;
    let (address, gateway) = (cloud.address, cloud.gateway.take());
    cloud.stop().await;
    waiting.await.unwrap().is_problem(504);
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "nobody listens any more");
    drop(gateway);
}

#[tokio::test]
async fn a_drain_ends_idle_connections_at_once() {
    let cloud = Cloud::start().await;
    let mut idle = cloud.client.connect(b"http/1.1").await.unwrap();
    let request = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    idle.write_all(request.as_bytes()).await.unwrap();
    let mut begin = [0; 15];
    idle.read_exact(&mut begin).await.unwrap();
    assert_eq!(&begin, b"HTTP/1.1 200 OK");
    cloud.stop().await;
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.unwrap();
}

#[tokio::test]
async fn a_connection_without_a_request_is_ended() {
    let cloud = Cloud::start_with(|config| config.timeouts.idle_ms = 100).await;
    for protocol in [&b"http/1.1"[..], b"h2"] {
        let mut idle = cloud.client.connect(protocol).await.unwrap();
        let mut rest = Vec::new();
        // HTTP/2 says goodbye first.
        let _end = idle.read_to_end(&mut rest).await;
    }
    cloud.stop().await;
}

#[tokio::test]
async fn a_head_that_does_not_end_is_given_up() {
    let cloud = Cloud::start_with(|config| config.timeouts.header_ms = 200).await;
    let mut slow = cloud.client.connect(b"http/1.1").await.unwrap();
    slow.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    let mut rest = Vec::new();
    let _end = slow.read_to_end(&mut rest).await;
    assert!(rest.is_empty(), "{rest:?}");
    cloud.stop().await;
}

#[tokio::test]
async fn a_body_that_does_not_come_is_408() {
    let cloud = Cloud::start_with(|config| config.timeouts.body_ms = 100).await;
    let mut slow = cloud.client.connect(b"http/1.1").await.unwrap();
    let head = format!(
        "POST {DEVICES}/{SENSOR}/humidity HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer alice\r\n\
         Content-Type: application/json\r\nContent-Length: 9\r\n\r\n{{\"a\""
    );
    slow.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    slow.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 408");
    cloud.stop().await;
}

#[tokio::test]
async fn a_connection_above_the_limit_is_closed() {
    let cloud = Cloud::start_with(|config| config.limits.connections = 1).await;
    // The one that asked whether the gateway is there may still be on its way out.
    let first = loop {
        if let Ok(first) = cloud.client.connect(b"http/1.1").await {
            break first;
        }
    };
    assert!(cloud.client.connect(b"http/1.1").await.is_err());
    drop(first);
    cloud.wait_until_ready(200).await;
    cloud.stop().await;
}

#[tokio::test]
async fn starting_fails_with_what_is_wrong() {
    let cloud = Cloud::start().await;
    let config = crate::support::cloud::configuration(cloud.directory.path());
    let start = |change: fn(&mut api::config::Config)| {
        let mut config = config.clone();
        change(&mut config);
        async move { api::Server::start(config).await.err().unwrap().to_string() }
    };
    let mut taken = config.clone();
    taken.listen = cloud.address;
    let error = api::Server::start(taken).await.err().unwrap().to_string();
    assert!(error.contains(&cloud.address.to_string()) && error.contains("listen"), "{error}");
    let error = start(|config| config.tls.certificate = "/nowhere.pem".into()).await;
    assert!(error.contains("tls.certificate") && error.contains("/nowhere.pem"), "{error}");
    let error = start(|config| config.tls.certificate = config.tls.private_key.clone()).await;
    assert!(error.contains("no certificate"), "{error}");
    let error = start(|config| config.credentials.file = "/nowhere.json".into()).await;
    assert!(error.contains("/nowhere.json"), "{error}");
    cloud.client.ask(Method::GET, "/healthz").send().await.is_ok();
    cloud.stop().await;
}
