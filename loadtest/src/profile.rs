//! Profiles: what a swarm does, by name. A profile chooses what was not typed; whatever was typed counts.
//! Pure.

use std::time::Duration;

use clap::ValueEnum;

use crate::config::Arguments;
use crate::scenario::{End, Scenario};

/// A profile of load.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Profile {
    /// Devices arrive and do nothing unless told to.
    Plain,
    /// All that goes on in a cloud at once: Pings, state changes, clients, reads over the API.
    Steady,
    /// Arrivals come faster and faster up to --rate, over --ramp seconds.
    Ramp,
    /// When all are online every device but the first --stay loses its connection at once, and comes
    /// back as real stacks do. The run is over when all are back.
    Storm,
    /// Devices lose their connections one by one, --drops a second, and come back.
    Churn,
    /// Few devices that stay and clients that ask them all the time, to measure what others notice of a
    /// storm: beside another swarm, as a process of its own with a higher priority.
    Probe,
}

impl Profile {
    /// Its name on the command line.
    pub fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// The scenario of a command line, but for what does not depend on the profile.
    pub(crate) fn fill(self, arguments: &Arguments, scenario: &mut Scenario) {
        let devices = f64::from(scenario.devices);
        let defaults = Defaults::of(self, devices, scenario.arrivals_per_sec);
        scenario.changes_per_sec = arguments.changes.unwrap_or(defaults.changes);
        scenario.clients = arguments.clients.unwrap_or(defaults.clients);
        scenario.retrieves_per_sec = arguments.retrieves.unwrap_or(defaults.retrieves);
        scenario.updates_per_sec = arguments.updates.unwrap_or(defaults.updates);
        scenario.reads_per_sec = arguments.reads.unwrap_or(defaults.reads);
        scenario.drops_per_sec = arguments.drops.unwrap_or(defaults.drops);
        scenario.ramp = arguments.ramp.map_or(defaults.ramp, Duration::from_secs_f64);
        scenario.interval = arguments.interval.map_or(defaults.interval, Duration::from_secs_f64);
        let seconds = Duration::from_secs_f64;
        if self == Self::Storm {
            let limit = arguments.duration.map_or(Duration::from_secs(180), seconds);
            scenario.end = End::Recovered { calm: seconds(arguments.calm), limit };
        }
    }
}

/// What a profile does when nothing else was typed; rates are per second.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Defaults {
    changes: f64,
    clients: u32,
    retrieves: f64,
    updates: f64,
    reads: f64,
    drops: f64,
    ramp: Duration,
    interval: Duration,
}

impl Defaults {
    fn of(profile: Profile, devices: f64, rate: f64) -> Self {
        let nothing = Self {
            changes: 0.0,
            clients: 0,
            retrieves: 0.0,
            updates: 0.0,
            reads: 0.0,
            drops: 0.0,
            ramp: Duration::ZERO,
            interval: Duration::from_secs(1),
        };
        match profile {
            Profile::Plain => nothing,
            Profile::Steady => Self {
                // Each device changes once in 1000 s, and is asked about as often.
                changes: devices / 1000.0,
                clients: 10,
                retrieves: devices / 2000.0,
                updates: devices / 10_000.0,
                reads: devices / 2000.0,
                ..nothing
            },
            // Half of the devices have arrived when the rate is reached.
            Profile::Ramp => Self { ramp: Duration::from_secs_f64(devices / rate), ..nothing },
            Profile::Storm => Self { interval: Duration::from_millis(250), ..nothing },
            // Each device once in ten minutes.
            Profile::Churn => Self { drops: devices / 600.0, ..nothing },
            Profile::Probe => Self {
                clients: 2,
                retrieves: 100.0,
                interval: Duration::from_millis(250),
                ..nothing
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn scenario(arguments: &str) -> Scenario {
        let files = "ocf-swarm --tokens t --trust-anchor a --cert c --key k";
        let words = files.split(' ').chain(arguments.split(' '));
        Arguments::try_parse_from(words).unwrap().scenario().unwrap()
    }

    #[test]
    fn a_profile_chooses_what_was_not_typed() {
        let steady = scenario("--profile steady --devices 1000 --reads 7");
        assert_eq!((steady.changes_per_sec, steady.clients), (1.0, 10));
        assert_eq!((steady.reads_per_sec, steady.retrieves_per_sec), (7.0, 0.5));
        assert_eq!(steady.drops_per_sec, 0.0);
        let quiet = scenario("--profile steady --devices 1000 --changes 0");
        assert_eq!(quiet.changes_per_sec, 0.0);
    }

    #[test]
    fn a_ramp_takes_as_long_as_all_arrivals_at_its_rate_would() {
        let ramp = scenario("--profile ramp --devices 1000 --rate 50");
        assert_eq!(ramp.ramp, Duration::from_secs(20));
        assert_eq!(scenario("--profile ramp --ramp 5").ramp, Duration::from_secs(5));
    }

    #[test]
    fn a_storm_ends_when_it_is_over() {
        let storm = scenario("--profile storm --stay 20 --calm 3 --for 90");
        let end = End::Recovered { calm: Duration::from_secs(3), limit: Duration::from_secs(90) };
        assert_eq!((storm.end, storm.stay), (end, 20));
        assert_eq!(storm.settings.pace, crate::device::Pace::REAL, "real waits are what counts");
    }

    #[test]
    fn churn_drops_each_device_once_in_ten_minutes() {
        assert_eq!(scenario("--profile churn --devices 1200").drops_per_sec, 2.0);
        assert_eq!(scenario("--profile churn --drops 9").drops_per_sec, 9.0);
    }

    #[test]
    fn a_probe_asks_all_the_time() {
        let probe = scenario("--profile probe --devices 10");
        assert_eq!((probe.clients, probe.retrieves_per_sec), (2, 100.0));
    }
}
