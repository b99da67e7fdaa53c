//! Orderly ends: every device is told, everything that was begun is finished, nothing is left behind.

use loadtest::credentials::TlsVersion;
use loadtest::demo::{API, GATEWAY, SWARM};
use tests::processes::{Counts, Setup, TestCloud};
use tests::wire::{Wire, tcp, until_closed};

#[test]
fn sigterm_releases_every_device_and_the_gateway_ends_well() {
    const DEVICES: u32 = 40;
    let setup = Setup {
        users: 10,
        // The Releases are spread over these.
        gateway: |config| {
            _ = config["timers"].as_table_mut().unwrap().insert("drain_secs".into(), 2.into())
        },
        ..Setup::default()
    };
    let mut cloud = TestCloud::start(setup);
    cloud.start_swarm(DEVICES);
    let credentials = cloud.manufacturer(TlsVersion::Tls12);
    let gateway = cloud.cloud.installation.coap();
    let config = credentials.config("00000000-0000-4000-8000-000000000001".parse().unwrap());
    let mut stranger = Wire::connect(gateway, config.unwrap()).unwrap();
    // The CSM shows that the gateway knows this connection.
    assert_eq!(stranger.receive().unwrap().unwrap().code(), "7.01");
    let mut silent = tcp(gateway).unwrap();

    let status = cloud.cloud.processes.stop(GATEWAY).unwrap();
    assert!(status.success(), "{status}");
    let release = stranger.answer();
    assert_eq!(release.code(), "7.04");
    assert_eq!(release.token.len(), 8, "devices hang on short frames");
    assert!(stranger.ends(), "and then an orderly end of TLS");
    assert_eq!(until_closed(&mut silent), b"");
    let counts = Counts::all_in(&cloud.log(GATEWAY));
    let sum = |name| counts.iter().map(|counts| counts.of(name)).sum::<u64>();
    assert_eq!(counts.len(), 2, "each shard tells what it has counted at its end");
    assert_eq!(sum("sessions"), 0);
    let released = sum("closed_stopping") + sum("closed_peer_closed");
    assert!(released > u64::from(DEVICES), "{counts:?}");
    assert!(!cloud.cloud.installation.path("control.sock").exists());

    // Devices are patient: the next gateway has them all.
    cloud.start_gateway();
    cloud.wait_until("all devices are back", |cloud| cloud.total("sessions") == u64::from(DEVICES));
    assert_eq!(cloud.total("sign_ups"), 0);
    cloud.stop();
}

#[test]
fn a_gateway_that_is_stopped_while_devices_arrive_and_move_ends_well() {
    const DEVICES: u32 = 100;
    let mut cloud = TestCloud::start(Setup { users: 50, devices: DEVICES, ..Setup::default() });
    cloud.start_swarm(DEVICES);
    cloud.kill_gateway();
    for arrived in [1, 10, 30, 60, 90] {
        // All of them come back at once.
        cloud.start_gateway();
        cloud.wait_until("some have arrived", |cloud| cloud.total("handshakes") >= arrived);
        let status = cloud.cloud.processes.stop(GATEWAY).unwrap();
        assert!(status.success(), "{status}");
    }
    cloud.start_gateway();
    cloud.wait_until("all devices are back", |cloud| cloud.total("sessions") == u64::from(DEVICES));
    cloud.stop();
}

#[test]
fn parts_may_stop_in_any_order() {
    let mut cloud = TestCloud::start(Setup::default());
    cloud.start_swarm(10);
    for name in [GATEWAY, API, SWARM] {
        let status = cloud.cloud.processes.stop(name).unwrap();
        // A swarm without its cloud has something to say about it.
        assert!(status.success() || name == SWARM, "{name} ended with {status}");
        assert!(status.code().is_some(), "{name} had to be killed");
    }
    cloud.stop();
}
