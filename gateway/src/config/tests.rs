//! The default file and the defaults are the same, every mistake names its key, and the plan holds.

use super::*;
use shared::config::key_differences;

/// Every key that has no default gets a value here, so that the text can be checked for it.
fn every_key_set() -> Config {
    let mut config = Config::default();
    config.cloud.redirect = Some("coaps+tcp://new.example.com:5684".into());
    config.control.group = Some("ocf-cloud".into());
    config.store.key_file = Some("/run/credentials/ocf-gateway.service/store.key".into());
    config.cores = Cores {
        shards: Some(2),
        cpus: Some(vec![0, 1]),
        memory_bytes: Some(1 << 33),
        connections_max: Some(100_000),
        not_signed_in_max: Some(10_000),
        ring: Ring { sockets_per_ring: Some(50_000), rings: Some(2), ..Ring::default() },
        ..Cores::default()
    };
    config
}

fn valid() -> Config {
    let mut config = Config::default();
    config.cloud.id = "11111111-2222-4333-8444-555555555555".parse().unwrap();
    config
}

#[test]
fn the_printed_default_is_the_default() {
    let printed: Config = toml::from_str(DEFAULT_TEXT).unwrap();
    assert_eq!(printed, Config::default());
}

#[test]
fn the_printed_default_names_every_key() {
    assert_eq!(key_differences(DEFAULT_TEXT, &every_key_set()), Vec::<String>::new());
}

#[test]
fn every_key_of_the_printed_default_has_a_comment() {
    let mut previous = "";
    for line in DEFAULT_TEXT.lines() {
        let key = line.strip_prefix('#').filter(|key| !key.starts_with(' ')).unwrap_or(line);
        if key.contains(" = ") && !line.starts_with("# ") {
            assert!(previous.starts_with("# "), "no comment above `{line}`");
        }
        previous = line;
    }
}

#[test]
fn the_default_needs_only_the_id_of_the_cloud() {
    assert_eq!(Config::default().validate().unwrap_err().key, "cloud.id");
    assert_eq!(valid().validate(), Ok(()));
}

#[test]
fn a_configuration_reads_back_from_what_is_written() {
    let config = every_key_set();
    let text = toml::to_string(&config).unwrap();
    assert_eq!(toml::from_str::<Config>(&text).unwrap(), config);
}

#[test]
fn token_lifetimes_are_seconds_or_minus_one_for_permanent() {
    let parse = |text: &str| toml::from_str::<Cloud>(text).map(|cloud| cloud.identity_token);
    assert_eq!(parse("identity_token_secs = -1").unwrap(), TokenLifetime::Permanent);
    let hour = TokenLifetime::Limited(Duration::from_secs(3600));
    assert_eq!(parse("identity_token_secs = 3600").unwrap(), hour);
    assert_eq!((TokenLifetime::Permanent.expires_in(), hour.expires_in()), (-1, 3600));
    assert!(
        parse("identity_token_secs = -2").unwrap_err().to_string().contains("-1 for permanent")
    );
}

#[test]
fn a_value_that_makes_no_sense_is_refused_by_its_key() {
    type Break = fn(&mut Config);
    let cases: &[(&str, Break)] = &[
        ("cloud.endpoint", |c| c.cloud.endpoint = "https://example.com".into()),
        ("cloud.endpoint", |c| c.cloud.endpoint = "coaps+tcp://example.com".into()),
        ("cloud.endpoint", |c| c.cloud.endpoint = "coaps+tcp://:5684".into()),
        ("cloud.endpoint", |c| c.cloud.endpoint = "coaps+tcp://exa mple:5684".into()),
        ("cloud.endpoint", |c| c.cloud.endpoint = "coaps+tcp://[::1:5684".into()),
        ("cloud.state_dir", |c| c.cloud.state_dir = "state".into()),
        ("cloud.provider", |c| c.cloud.provider.clear()),
        ("cloud.single_use_token_secs", |c| c.cloud.single_use_token = Duration::ZERO),
        ("cloud.manufacturer_token_secs", |c| {
            c.cloud.manufacturer_token = TokenLifetime::Limited(Duration::ZERO);
        }),
        ("listen.addresses", |c| c.listen.addresses.clear()),
        ("listen.backlog", |c| c.listen.backlog = 0),
        ("tls.identity_anchors", |c| {
            c.tls.identity_anchors.clear();
            c.tls.manufacturer_anchors.clear();
        }),
        ("tls.ticket_secs", |c| c.tls.ticket = Duration::from_secs(8 * 24 * 3600)),
        ("cores.shards", |c| c.cores.shards = Some(0)),
        ("cores.shards", |c| c.cores.shards = Some(4097)),
        ("cores.cpus", |c| c.cores.cpus = Some(vec![])),
        ("cores.connections_max", |c| c.cores.connections_max = Some(0)),
        ("cores.ring.entries", |c| c.cores.ring.entries = 100),
        ("cores.ring.receive_buffers", |c| c.cores.ring.receive_buffers = 1000),
        ("cores.ring.receive_buffer_bytes", |c| c.cores.ring.receive_buffer_bytes = 1),
        ("cores.ring.send_bytes_max", |c| c.cores.ring.send_bytes_max = 0),
        ("cores.shares.traffic", |c| c.cores.shares.traffic = 0),
        ("cores.handshakes.per_sec_max", |c| c.cores.handshakes.per_sec_max = 0),
        ("limits.frame_bytes_max", |c| c.limits.frame_bytes_max = 100),
        ("limits.peer_payload_bytes_assumed", |c| c.limits.peer_payload_bytes_assumed = 1),
        ("limits.send_queue_bytes_max", |c| c.limits.send_queue_bytes_max = 65_536),
        ("limits.links_per_device_max", |c| c.limits.links_per_device_max = 0),
        ("limits.subscriptions_per_sec_max", |c| c.limits.subscriptions_per_sec_max = 0),
        ("limits.link_bytes_per_device_max", |c| c.limits.link_bytes_per_device_max = 1 << 30),
        ("timers.handshake_secs", |c| c.timers.handshake = Duration::ZERO),
        ("timers.idle_secs", |c| c.timers.idle = Duration::from_secs(35)),
        ("timers.drain_secs", |c| c.timers.drain = Duration::from_secs(90_000)),
        ("control.socket", |c| c.control.socket = "control.sock".into()),
        ("control.ring_bytes", |c| c.control.ring_bytes = 3 << 20),
        ("control.ring_bytes", |c| c.control.ring_bytes = 4096),
        ("control.processes_max", |c| c.control.processes_max = 0),
        ("store.path", |c| c.store.path = "".into()),
        ("store.group_batches_max", |c| c.store.group_batches_max = 0),
        ("store.group_bytes_max", |c| c.store.group_bytes_max = 1),
        ("store.queue_bytes_max", |c| c.store.queue_bytes_max = 1),
    ];
    for (key, break_it) in cases {
        let mut config = valid();
        break_it(&mut config);
        let refused = config.validate().unwrap_err();
        assert_eq!(refused.key, *key, "{refused}");
    }
}

#[test]
fn endpoints_with_names_and_addresses_are_taken() {
    for endpoint in [
        "coaps+tcp://cloud.example.com:5684",
        "coaps+tcp://192.0.2.1:443",
        "coaps+tcp://[::1]:5684",
    ] {
        assert!(is_endpoint(endpoint), "{endpoint}");
    }
}

fn machine() -> Machine {
    Machine { cpus: vec![0, 1, 2, 3], memory_bytes: 16 << 30, open_files_max: 1 << 20 }
}

#[test]
fn by_default_there_is_a_shard_on_every_core_and_half_the_memory_is_for_connections() {
    let plan = Cores::default().plan(&machine()).unwrap();
    assert_eq!(
        plan,
        Plan {
            cpus: vec![0, 1, 2, 3],
            connections_max: 262_144,
            not_signed_in_max: 32_768,
            sockets: 263_168,
            rings: 1,
            sockets_per_ring: 263_168,
        }
    );
}

#[test]
fn a_low_limit_of_open_files_is_met_by_more_rings() {
    let cores = Cores { connections_max: Some(50_000), ..Cores::default() };
    let plan = cores.plan(&Machine { open_files_max: 20_000, ..machine() }).unwrap();
    assert_eq!((plan.rings, plan.sockets_per_ring), (3, 20_000));

    let cores = Cores { connections_max: Some(19_000), ..Cores::default() };
    let plan = cores.plan(&Machine { open_files_max: 20_000, ..machine() }).unwrap();
    assert_eq!(plan.rings, 2, "the slots in reserve need one too");
}

#[test]
fn a_plan_that_the_machine_cannot_hold_names_the_key() {
    let cores = Cores { cpus: Some(vec![0, 9]), ..Cores::default() };
    assert_eq!(cores.plan(&machine()).unwrap_err().key, "cores.cpus");

    let ring = Ring { sockets_per_ring: Some(30_000), ..Ring::default() };
    let cores = Cores { ring, ..Cores::default() };
    let few_files = Machine { open_files_max: 20_000, ..machine() };
    assert_eq!(cores.plan(&few_files).unwrap_err().key, "cores.ring.sockets_per_ring");

    let ring = Ring { sockets_per_ring: Some(10), rings: Some(2), ..Ring::default() };
    let cores = Cores { ring, connections_max: Some(1), ..Cores::default() };
    assert_eq!(cores.plan(&machine()).unwrap_err().key, "cores.ring.rings");
}

#[test]
fn more_shards_than_cores_share_them_in_turn() {
    let cores = Cores { shards: Some(3), cpus: Some(vec![2, 1]), ..Cores::default() };
    assert_eq!(cores.plan(&machine()).unwrap().cpus, [2, 1, 2]);
}

#[test]
fn what_a_shard_has_is_shared_out_to_its_rings() {
    assert_eq!(Ring::of_each(2048, 1), 2048);
    assert_eq!(Ring::of_each(2048, 2), 1024);
    assert_eq!(Ring::of_each(2048, 3), 512);
    assert_eq!(Ring::of_each(2048, 25), 128);
    assert_eq!(Ring::of_each(64, 25), 64);
}

/// Whatever the machine: there is room for every connection, and no table is too large.
#[test]
fn rings_always_have_room_for_all_connections() {
    for open_files_max in [1, 1024, 20_000, 1 << 20, u64::MAX] {
        for memory_bytes in [0, 1 << 20, 1 << 30, 1 << 50] {
            let machine = Machine { open_files_max, memory_bytes, ..machine() };
            let plan = Cores::default().plan(&machine).unwrap();
            let room = u64::from(plan.rings) * u64::from(plan.sockets_per_ring);
            assert!(room >= u64::from(plan.sockets), "{machine:?} {plan:?}");
            assert!(u64::from(plan.sockets_per_ring) <= open_files_max, "{machine:?} {plan:?}");
            assert!((1..=plan.connections_max).contains(&plan.not_signed_in_max), "{plan:?}");
        }
    }
}
