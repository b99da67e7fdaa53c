//! When a notification is tried again, and when it is given up (cloud reference 5.10).

use std::time::Duration;

use shared::time::UnixTime;

/// The longest pause between two attempts.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// The longest pause that a receiver may ask for.
const ASKED_PAUSE_MAX: Duration = Duration::from_secs(600);

/// After the first attempt.
const GIVE_UP_AFTER_SECS: u64 = 24 * 3600;

/// Refusals in a row that end a subscription.
pub const REFUSALS_MAX: u8 = 10;

/// Attempts to say that a subscription has ended because the receiver has to do with it.
pub const LAST_ATTEMPTS_MAX: u32 = 3;

/// How long to wait after so many failures: 1 s, 2 s, 4 s, ... 60 s, a fifth more or less; or what the
/// receiver has asked for. `random` is any number.
pub fn pause(failures: u32, asked_secs: Option<u32>, random: u32) -> Duration {
    let doubled = Duration::from_secs(1 << failures.saturating_sub(1).min(6)).min(PAUSE_MAX);
    // From 80 % to 120 %.
    let jittered = doubled.mul_f64(0.8 + 0.4 * f64::from(random) / f64::from(u32::MAX));
    let asked = Duration::from_secs(asked_secs.unwrap_or(0).into()).min(ASKED_PAUSE_MAX);
    jittered.max(asked)
}

/// Whether a notification that failed then for the first time is given up.
pub fn is_over(first_failure: UnixTime, now: UnixTime) -> bool {
    now.secs_after(first_failure) >= GIVE_UP_AFTER_SECS
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Case 144, and the schedule of cloud reference 5.10.
    #[test]
    fn pauses_double_up_to_a_minute_and_receivers_may_ask_for_more() {
        let middle = u32::MAX / 2;
        let pauses: Vec<_> =
            (1..=9).map(|failures| pause(failures, None, middle).as_secs_f64().round()).collect();
        assert_eq!(pauses, [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]);
        for (random, secs) in [(0, 8.0), (u32::MAX, 12.0)] {
            let jittered = pause(1, Some(0), random).as_secs_f64() * 10.0;
            assert!((jittered - secs).abs() < 0.001, "{jittered}");
        }
        assert_eq!(pause(1, Some(30), middle), Duration::from_secs(30));
        assert_eq!(pause(1, Some(u32::MAX), middle), ASKED_PAUSE_MAX);
        assert!(pause(u32::MAX, Some(1), middle) > Duration::from_secs(59));
    }

    #[test]
    fn a_notification_is_given_up_after_a_day() {
        let first = UnixTime(1000);
        assert!(!is_over(first, UnixTime(1000 + GIVE_UP_AFTER_SECS - 1)));
        assert!(is_over(first, UnixTime(1000 + GIVE_UP_AFTER_SECS)));
        assert!(!is_over(first, UnixTime(0)), "the clock was set back");
    }
}
