//! Failed logins, so that whoever guesses passwords is slowed down.
//!
//! Counted per login name and per address, in this process: an installation with several allows that
//! many times more. Addresses of one IPv6 network count as one.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Failures of one login name within the window, before it has to wait.
const PER_NAME: u32 = 10;

/// Failures from one address within the window.
const PER_ADDRESS: u32 = 50;

/// After so long without being full, a count begins anew.
const WINDOW: Duration = Duration::from_secs(15 * 60);

/// Names and addresses that are remembered. Beyond it those go first that failed longest ago.
const REMEMBERED_MAX: usize = 20_000;

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Who {
    Name(Box<str>),
    Address([u8; 8]),
}

struct Failures {
    count: u32,
    since: Instant,
}

/// The failures of late.
#[derive(Default)]
pub struct Attempts(Mutex<BTreeMap<Who, Failures>>);

/// Too many failures: nothing is tried until then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Blocked {
    /// How long to wait.
    pub for_secs: u64,
}

impl Attempts {
    /// Whether one more attempt may be made.
    pub fn check(&self, name: &str, address: IpAddr, now: Instant) -> Result<(), Blocked> {
        let failures = self.lock();
        for (who, most) in of(name, address) {
            if let Some(past) = failures.get(&who)
                && past.count >= most
                && now < past.since + WINDOW
            {
                let left = (past.since + WINDOW).duration_since(now);
                return Err(Blocked { for_secs: left.as_secs() + 1 });
            }
        }
        Ok(())
    }

    /// An attempt has failed.
    pub fn failed(&self, name: &str, address: IpAddr, now: Instant) {
        let mut failures = self.lock();
        for (who, _) in of(name, address) {
            if failures.len() >= REMEMBERED_MAX && !failures.contains_key(&who) {
                forget_some(&mut failures, now);
            }
            let past = failures.entry(who).or_insert(Failures { count: 0, since: now });
            if now >= past.since + WINDOW {
                *past = Failures { count: 0, since: now };
            }
            past.count += 1;
        }
    }

    /// Somebody knew the password of this name.
    pub fn succeeded(&self, name: &str) {
        self.lock().remove(&Who::Name(name.into()));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Who, Failures>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn of(name: &str, address: IpAddr) -> [(Who, u32); 2] {
    let mut network = [0; 8];
    match address {
        IpAddr::V4(address) => network[..4].copy_from_slice(&address.octets()),
        IpAddr::V6(address) => network.copy_from_slice(&address.octets()[..8]),
    }
    [(Who::Name(name.into()), PER_NAME), (Who::Address(network), PER_ADDRESS)]
}

fn forget_some(failures: &mut BTreeMap<Who, Failures>, now: Instant) {
    failures.retain(|_, past| now < past.since + WINDOW);
    if failures.len() >= REMEMBERED_MAX {
        let mut times: Vec<_> = failures.values().map(|past| past.since).collect();
        times.sort_unstable();
        let oldest = times[times.len() / 10];
        failures.retain(|_, past| past.since > oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const THERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    #[test]
    fn a_name_that_fails_too_often_waits_wherever_it_comes_from() {
        let (attempts, now) = (Attempts::default(), Instant::now());
        for _ in 0..PER_NAME {
            assert_eq!(attempts.check("anna", HERE, now), Ok(()));
            attempts.failed("anna", HERE, now);
        }
        assert_eq!(attempts.check("anna", THERE, now), Err(Blocked { for_secs: 901 }));
        assert_eq!(attempts.check("ben", HERE, now), Ok(()));
        assert_eq!(attempts.check("anna", THERE, now + WINDOW), Ok(()));
    }

    #[test]
    fn an_address_that_fails_too_often_waits_whatever_names_it_tries() {
        let (attempts, now) = (Attempts::default(), Instant::now());
        for nth in 0..PER_ADDRESS {
            attempts.failed(&format!("user{nth}"), HERE, now);
        }
        assert!(attempts.check("anna", HERE, now).is_err());
        assert_eq!(attempts.check("anna", THERE, now), Ok(()));
    }

    #[test]
    fn a_success_forgives_the_name_but_not_the_address() {
        let (attempts, now) = (Attempts::default(), Instant::now());
        for _ in 0..PER_ADDRESS {
            attempts.failed("anna", HERE, now);
        }
        attempts.succeeded("anna");
        assert_eq!(attempts.check("anna", THERE, now), Ok(()));
        assert!(attempts.check("anna", HERE, now).is_err());
    }

    #[test]
    fn memory_is_bounded() {
        let (attempts, now) = (Attempts::default(), Instant::now());
        for nth in 0..(REMEMBERED_MAX as u32 + 5000) {
            let at = now + Duration::from_millis(nth.into());
            attempts.failed(&format!("user{nth}"), IpAddr::V4(nth.into()), at);
            assert!(attempts.lock().len() <= REMEMBERED_MAX + 1);
        }
    }
}
