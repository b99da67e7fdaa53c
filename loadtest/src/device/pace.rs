//! The timers of iotivity-lite (device reference 13.3), scaled for load tests.

use std::time::Duration;

use super::rng::Rng;

/// Tries of one step before the device takes the next server, or gives up.
pub(crate) const TRIES_MAX: u8 = 6;

/// Pings sent without an answer before the device closes its connection.
pub(crate) const PINGS_MAX: u8 = 6;

/// How fast a device lives: 1 is real time, 0.1 makes every wait of its own ten times as short. What
/// it grants others is not scaled, neither how long it waits for answers nor how long tokens live:
/// a faster device is not a less patient one.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Pace {
    factor: f32,
    ping_millis: u32,
}

impl Pace {
    /// As real devices.
    pub const REAL: Self = Self { factor: 1.0, ping_millis: 20_000 };

    /// Every wait of its own takes `factor` times its real length; none unless it is from 0.001 to
    /// 1000.
    pub fn scaled(factor: f64) -> Option<Self> {
        let factor = factor as f32;
        (0.001..=1000.0).contains(&factor).then_some(Self { factor, ..Self::REAL })
    }

    /// As this, but a Ping comes so long after each Pong instead of 20 s, before scaling.
    pub fn with_pings_every(self, interval: Duration) -> Self {
        let ping_millis = u32::try_from(interval.as_millis()).unwrap_or(u32::MAX).max(1);
        Self { ping_millis, ..self }
    }

    /// The wait before a try (counted from 0): 1 to 2 s, 2 to 4 s ... 32 to 64 s.
    pub(crate) fn before_try(self, attempt: u8, rng: &mut Rng) -> Duration {
        let longest = answer_limit(attempt).mul_f32(self.factor);
        rng.between(longest / 2, longest)
    }

    /// From sign-in, and from each Pong, to the next Ping.
    pub(crate) fn ping_after(self) -> Duration {
        Duration::from_millis(self.ping_millis.into()).mul_f32(self.factor)
    }
}

/// How long a try (counted from 0) waits for its answer: 2, 4 ... 64 s.
pub(crate) fn answer_limit(attempt: u8) -> Duration {
    Duration::from_secs(2 << attempt.min(TRIES_MAX - 1))
}

/// How long the last Pong is waited for.
pub(crate) const PONG_LIMIT: Duration = Duration::from_secs(4);

/// From a Ping that was lost to the next one.
pub(crate) const PING_AGAIN_AFTER: Duration = Duration::from_secs(8);

/// How long the answer to a sign-off is waited for.
pub(crate) const SIGN_OFF_LIMIT: Duration = Duration::from_secs(10);

/// How long a client waits for the answer to a routed request: longer than the cloud does.
pub(crate) const EXCHANGE_LIMIT: Duration = Duration::from_secs(30);

/// When a token that lives for `expires_in` seconds is refreshed, counted from sign-in.
pub(crate) fn refresh_after(expires_in: i64) -> Option<Duration> {
    let early = match expires_in {
        ..=0 => return None,
        1..=20 => 0,
        21..=240 => 10,
        241..=3600 => 120,
        _ => 600,
    };
    Some(Duration::from_secs((expires_in - early).unsigned_abs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Device reference 13.3.
    #[test]
    fn waits_double_from_one_or_two_seconds_to_a_minute() {
        let mut rng = Rng::new(1);
        for attempt in 0..TRIES_MAX {
            let longest = Duration::from_secs(2 << attempt);
            assert_eq!(answer_limit(attempt), longest);
            for _ in 0..100 {
                let wait = Pace::REAL.before_try(attempt, &mut rng);
                assert!(wait >= longest / 2 && wait < longest, "{attempt}: {wait:?}");
            }
        }
    }

    #[test]
    fn a_factor_scales_the_devices_own_waits() {
        let pace = Pace::scaled(0.1).unwrap();
        assert_eq!(pace.ping_after().as_millis(), 2000);
        let slower = pace.with_pings_every(Duration::from_secs(120));
        assert_eq!(slower.ping_after().as_millis(), 12_000);
        assert!(pace.before_try(0, &mut Rng::new(1)) < Duration::from_millis(200));
        assert_eq!(Pace::scaled(0.0), None);
        assert_eq!(Pace::scaled(f64::NAN), None);
    }

    /// Device reference 7.1.
    #[test]
    fn tokens_are_refreshed_ahead_of_their_end() {
        for (expires_in, after) in [
            (-1, None),
            (0, None),
            (1, Some(1)),
            (20, Some(20)),
            (21, Some(11)),
            (240, Some(230)),
            (241, Some(121)),
            (3600, Some(3480)),
            (3601, Some(3001)),
        ] {
            assert_eq!(refresh_after(expires_in), after.map(Duration::from_secs), "{expires_in}");
        }
    }
}
