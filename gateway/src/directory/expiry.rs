//! When links expire that were published with a `ttl` (device reference 8.2).
//!
//! The clock of a device's links runs while the device is signed in: what it could not have renewed
//! does not expire. It starts anew with the process.

use std::time::Duration;

use shared::time::Instant;

use super::archive::Directory;

/// The shortest `ttl` that is granted, in seconds: real devices publish again every hour.
pub const TTL_SECS_MIN: u32 = 2 * 3600;

/// What is granted to who asks for so many seconds: 0 is without limit.
pub fn granted(ttl: i64) -> Option<u32> {
    match ttl {
        0 => Some(0),
        1.. => Some(u32::try_from(ttl).unwrap_or(u32::MAX).max(TTL_SECS_MIN)),
        _ => None,
    }
}

/// The links of one device that expire.
#[derive(Default)]
pub struct LinkExpiry {
    /// How long the device has been signed in, until the present session.
    online: Duration,
    /// When the present session began.
    since: Option<Instant>,
    /// By number of the link: the age of the device's clock at which it expires.
    due: Vec<(u32, Duration)>,
}

impl LinkExpiry {
    fn age(&self, now: Instant) -> Duration {
        self.online + self.since.map_or(Duration::ZERO, |since| now.since(since))
    }

    /// The device has signed in.
    pub fn start(&mut self, now: Instant) {
        self.pause(now);
        self.since = Some(now);
    }

    /// The device's session has ended.
    pub fn pause(&mut self, now: Instant) {
        self.online = self.age(now);
        self.since = None;
    }

    /// The device has these links now, of which it has published those for which `renewed` says so:
    /// their time begins.
    pub fn update(&mut self, links: &Directory, renewed: impl Fn(u32) -> bool, now: Instant) {
        let age = self.age(now);
        let before = std::mem::take(&mut self.due);
        let known = |number: u32| before.iter().find(|(other, _)| *other == number);
        for link in links.links().filter(|link| link.ttl() > 0) {
            let number = link.instance();
            let due = match known(number) {
                Some(&(_, due)) if !renewed(number) => due,
                _ => age + Duration::from_secs(u64::from(link.ttl())),
            };
            self.due.push((number, due));
        }
    }

    /// None of the device's links expires.
    pub fn is_empty(&self) -> bool {
        self.due.is_empty()
    }

    /// When the next link expires if the device stays signed in; none while it is not.
    pub fn next(&self) -> Option<Instant> {
        let since = self.since?;
        let first = self.due.iter().map(|(_, due)| *due).min()?;
        Some(since + first.saturating_sub(self.online))
    }

    /// The numbers of the links that have expired.
    pub fn expired(&self, now: Instant) -> Vec<u32> {
        let age = self.age(now);
        self.due.iter().filter(|(_, due)| *due <= age).map(|(number, _)| *number).collect()
    }
}
