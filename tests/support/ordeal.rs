//! Crashes over and over while devices change and receivers fail (I/O): what is left must be whole.
//!
//! One user has all devices. One subscription is to the list of devices, some are to links, the others to
//! resources. The receiver fails at random; gateway or api is killed at random moments. In the end
//! everybody is given the time to finish, and what was told is compared with what is.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::ledger::Ledger;
use crate::processes::{Setup, TestCloud};
use crate::receiver::{Reaction, Receiver};

/// How long a round waits for devices to come back.
const RETURN: Duration = Duration::from_secs(8);

/// Nothing has come for so long, and nothing waits: then nothing comes any more.
const QUIET: Duration = Duration::from_secs(5);

/// Longer than the longest pause between two attempts: somebody who waits is forgotten.
const STALLED: Duration = Duration::from_secs(90);

/// However much there is to catch up with.
const SETTLED_WITHIN: Duration = Duration::from_secs(900);

/// Between two looks at what waits.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(500);

const SECRET: &str = "Zt5Yr8Ue1Iw4Oq7Pa0Sd3Fg6Hj9Kl2Xc";

/// How hard it is.
#[derive(Clone, Copy, Debug)]
pub struct Ordeal {
    /// Devices, all of one user.
    pub devices: u32,
    /// Subscriptions; at least three.
    pub subscriptions: usize,
    /// Kills.
    pub rounds: u32,
    /// State changes per second over all devices.
    pub changes_per_sec: f64,
    /// Where random numbers begin.
    pub seed: u64,
}

/// What came of it.
#[derive(Debug)]
pub struct Counts {
    /// Kills of the gateway.
    pub gateway_kills: u32,
    /// Kills of the api.
    pub api_kills: u32,
    /// Requests that receivers got.
    pub attempts: usize,
    /// Notifications among them.
    pub notifications: usize,
    /// Attempts that came again.
    pub repeated: usize,
    /// Notifications that devices came or went.
    pub status: usize,
    /// Representations.
    pub contents: usize,
    /// Resources whose last representation was compared.
    pub compared: usize,
    /// How long it took.
    pub took: Duration,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "kills            {} gateway, {} api", self.gateway_kills, self.api_kills)?;
        writeln!(f, "notifications    {}", self.notifications)?;
        writeln!(f, "  came or went   {}", self.status)?;
        writeln!(f, "  contents       {}", self.contents)?;
        writeln!(f, "attempts         {}, of them {} repeated", self.attempts, self.repeated)?;
        writeln!(f, "last contents    {} compared, all the same", self.compared)?;
        writeln!(f, "gaps 0, out of order 0, changed under the same number 0, wrong signatures 0")?;
        write!(f, "took             {} s", self.took.as_secs())
    }
}

/// Numbers that look random.
fn random(state: &AtomicU64) -> u64 {
    let mut z = state.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

/// A receiver that fails one time in four, in every way that there is, until it is told to stop.
fn unreliable(seed: u64, calm: Arc<AtomicBool>) -> Receiver {
    let dice = AtomicU64::new(seed);
    Receiver::reacting(move |_| {
        if calm.load(Ordering::Relaxed) {
            return Reaction::Status(200);
        }
        match random(&dice) % 24 {
            0 | 1 => Reaction::Status(500),
            2 => Reaction::With(503, "retry-after: 1".into()),
            3 | 4 => Reaction::Cut,
            5 => Reaction::Late(Duration::from_millis(400), 200),
            6 => Reaction::Silent(Duration::from_secs(3)),
            7 => Reaction::Status(204),
            _ => Reaction::Status(200),
        }
    })
}

impl Ordeal {
    /// Goes through it.
    ///
    /// # Panics
    /// If anything is lost, out of order or changed under the same number.
    pub fn run(&self) -> Counts {
        let started = Instant::now();
        let setup = Setup {
            devices: self.devices,
            gateway: |config| {
                let limits = config["limits"].as_table_mut().unwrap();
                limits.insert("subscriptions_per_sec_max".into(), 1000.into());
            },
            api: |config| {
                let events = config["events"].as_table_mut().unwrap();
                events.insert("attempt_ms".into(), 2000.into());
            },
            ..Setup::default()
        };
        let mut cloud = TestCloud::start(setup);
        cloud.start_changing_swarm(self.devices, self.changes_per_sec);
        let calm = Arc::new(AtomicBool::new(false));
        let receiver = unreliable(self.seed, calm.clone());
        let (of_devices, resources) = self.subscribe(&cloud, &receiver);
        let dice = AtomicU64::new(self.seed ^ 0xffff);
        let (mut gateway_kills, mut api_kills) = (0, 0);
        for _ in 0..self.rounds {
            thread::sleep(Duration::from_millis(random(&dice) % 1500));
            // In the middle of the devices' return as often as long before and long after it.
            self.await_devices(&mut cloud, random(&dice) % u64::from(self.devices + 1));
            if random(&dice).is_multiple_of(2) {
                gateway_kills += 1;
                cloud.kill_gateway();
                cloud.start_gateway();
            } else {
                api_kills += 1;
                cloud.kill_api();
                cloud.start_api();
            }
        }
        calm.store(true, Ordering::Relaxed);
        cloud.wait_until("the api has found the gateway", |cloud| {
            cloud.rest().get("/readyz").send().status == 200
        });
        let devices = u64::from(self.devices);
        cloud.wait_until("all devices are back", |cloud| cloud.total("sessions") == devices);
        // The same devices, which change no more.
        cloud.stop_swarm();
        cloud.start_swarm(self.devices);
        let ledger = self.settle(&cloud, &receiver);
        let compared = compare(&cloud, &ledger, &of_devices, &resources);
        let accounts = ledger.accounts.values();
        let count = |event_type| accounts.clone().map(|it| it.count(event_type)).sum::<usize>();
        let counts = Counts {
            gateway_kills,
            api_kills,
            attempts: ledger.attempts,
            notifications: accounts.clone().map(|account| account.taken.len()).sum(),
            repeated: accounts.clone().map(|account| account.repeated).sum(),
            status: count("devices_online") + count("devices_offline"),
            contents: count("resource_contentchanged"),
            compared,
            took: started.elapsed(),
        };
        cloud.stop();
        counts
    }

    /// Waits until so many devices are back, or for as long as a round may take.
    fn await_devices(&self, cloud: &mut TestCloud, devices: u64) {
        let end = Instant::now() + RETURN;
        cloud.wait_until("devices are back", |cloud| {
            Instant::now() > end || cloud.total("sessions") >= devices
        });
    }

    /// One to the list of devices, some to links, the others to resources. The id of the first, and of
    /// the last with their resources.
    fn subscribe(&self, cloud: &TestCloud, receiver: &Receiver) -> (String, Vec<(String, String)>) {
        let (rest, token) = (cloud.rest(), cloud.token());
        let make = |level: &str, types: &[&str]| {
            let body = json!({
                "eventsUrl": receiver.url("/events"), "eventTypes": types, "signingSecret": SECRET
            });
            let path = format!("/api/v1/devices{level}/subscriptions");
            let made = rest.post(path).token(&token).json(&body).send().is(201).value();
            made["subscriptionId"].as_str().unwrap().to_owned()
        };
        let of_devices = make(
            "",
            &["devices_registered", "devices_unregistered", "devices_online", "devices_offline"],
        );
        let ids = cloud.devices();
        let links = self.subscriptions / 4;
        for di in ids.iter().take(links) {
            make(&format!("/{di}"), &["resources_published", "resources_unpublished"]);
        }
        // Every third device is a light.
        let lights = ids.iter().step_by(3).take(self.subscriptions - 1 - links);
        let resources = lights.map(|di| {
            let level = format!("/{di}/light/1");
            (make(&level, &["resource_contentchanged"]), level)
        });
        (of_devices, resources.collect())
    }

    /// Waits until nothing waits for delivery and nothing comes any more, then judges what came. As
    /// long as something comes, or less waits, there is progress.
    fn settle(&self, cloud: &TestCloud, receiver: &Receiver) -> Ledger {
        let end = Instant::now() + SETTLED_WITHIN;
        let (mut before, mut changed) = (None, Instant::now());
        loop {
            let (count, waiting) = (receiver.count(), waiting(cloud));
            if before != Some((count, waiting)) {
                (before, changed) = (Some((count, waiting)), Instant::now());
            }
            match changed.elapsed() {
                quiet if waiting == 0 && quiet > QUIET => break,
                stalled => assert!(stalled < STALLED, "{waiting} events wait, and none comes"),
            }
            assert!(Instant::now() < end, "{waiting} events wait, and it does not come to an end");
            thread::sleep(LOOK_AGAIN_AFTER);
        }
        Ledger::of(&receiver.notices(), SECRET).unwrap()
    }
}

/// Events that wait, as operators see it.
fn waiting(cloud: &TestCloud) -> u64 {
    let operator = cloud.operator_token();
    let page = cloud.rest().get("/operator/v1/subscriptions").token(&operator).send().is(200);
    let page = page.value();
    assert_eq!(page.get("next"), None, "they fit on a page");
    let all = page["subscriptions"].as_array().unwrap().iter();
    all.map(|subscription| subscription["waiting"].as_u64().unwrap()).sum()
}

/// Compares what was told with what is; how many representations were compared.
fn compare(
    cloud: &TestCloud,
    ledger: &Ledger,
    of_devices: &str,
    resources: &[(String, String)],
) -> usize {
    for (id, account) in &ledger.accounts {
        assert_eq!(account.count("subscription_cancelled"), 0, "{id} has ended");
    }
    let (rest, token) = (cloud.rest(), cloud.token());
    let online = ledger.accounts[of_devices].online().unwrap();
    let all = cloud.devices();
    assert_eq!(online.len(), all.len(), "every device was told of");
    for (di, online) in online {
        assert!(online, "{di} is online, and its subscriber was told last that it is not");
    }
    for (id, level) in resources {
        let now = rest.get(format!("/api/v1/devices{level}")).token(&token).send().is(200).value();
        let told = ledger.accounts[id].content().expect("something was told of every resource");
        assert_eq!(told, now, "{level}: what was told last is not what is");
    }
    resources.len()
}
