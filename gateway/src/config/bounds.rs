//! `[limits]` and `[timers]`: the starred items of device reference 17, and the bounds of DESIGN 9.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use shared::config::{Invalid, Validate, secs};

use super::at_least_1;

/// Bounds of everything that grows. What does not fit is refused as the specification says.
#[derive(Clone, PartialEq, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Longest CoAP message taken from a signed-in peer, told in our CSM. More allows larger
    /// payloads, and as much memory per connection that sends one.
    pub frame_bytes_max: u32,
    /// Longest body that is put together from blocks, of a request or of a device's answer.
    pub body_bytes_max: usize,
    /// Payload that a peer is assumed to take when it sent no CSM (device reference 2.7).
    pub peer_payload_bytes_assumed: u32,
    /// Bytes waiting for one peer that does not read; one more closes the connection.
    pub send_queue_bytes_max: usize,
    /// Requests under way to one device. More suits strong devices, less protects weak ones.
    pub requests_per_device_max: usize,
    /// Requests waiting behind those; one more is answered 5.03.
    pub queued_requests_per_device_max: usize,
    /// Requests under way of one client.
    pub requests_per_client_max: usize,
    /// Resources that one client observes.
    pub observations_per_client_max: usize,
    /// Resources that we observe on one device, for all clients together.
    pub observations_per_device_max: usize,
    /// Links that one device publishes.
    pub links_per_device_max: usize,
    /// Bytes of all links of one device.
    pub link_bytes_per_device_max: usize,
    /// Bytes of a representation that is kept as the last one seen; of a larger one none is kept.
    pub representation_bytes_max: usize,
    /// Devices of one user. A user is served by one core.
    pub devices_per_user_max: usize,
    /// Single-use tokens of one user that are neither used nor expired.
    pub single_use_tokens_per_user_max: usize,
    /// Subscriptions of partner clouds for one user.
    pub subscriptions_per_user_max: usize,
    /// Subscriptions of partner clouds to one device and its resources.
    pub subscriptions_per_device_max: usize,
    /// Subscriptions that one client makes for one user per second, and as many at once.
    pub subscriptions_per_sec_max: u32,
    /// Events that wait for delivery per subscription.
    pub outbox_events_max: usize,
    /// Bytes of events that wait for delivery per subscription.
    pub outbox_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            frame_bytes_max: 256 * 1024,
            body_bytes_max: 256 * 1024,
            peer_payload_bytes_assumed: 7168,
            send_queue_bytes_max: 512 * 1024,
            requests_per_device_max: 16,
            queued_requests_per_device_max: 64,
            requests_per_client_max: 64,
            observations_per_client_max: 256,
            observations_per_device_max: 64,
            links_per_device_max: 512,
            link_bytes_per_device_max: 64 * 1024,
            representation_bytes_max: 16 * 1024,
            devices_per_user_max: 10_000,
            single_use_tokens_per_user_max: 1000,
            subscriptions_per_user_max: 10_000,
            subscriptions_per_device_max: 1000,
            subscriptions_per_sec_max: 20,
            outbox_events_max: 1000,
            outbox_bytes_max: 8 * 1024 * 1024,
        }
    }
}

impl Validate for Limits {
    fn validate(&self) -> Result<(), Invalid> {
        let frame_fits = (8 * 1024..=4 * 1024 * 1024).contains(&self.frame_bytes_max);
        Invalid::unless(frame_fits, "limits.frame_bytes_max", || {
            "between 8192 and 4194304".into()
        })?;
        // RFC 8323 5.3.1: 1152 is what every peer takes.
        let payload_fits = (1152..=self.frame_bytes_max).contains(&self.peer_payload_bytes_assumed);
        Invalid::unless(payload_fits, "limits.peer_payload_bytes_assumed", || {
            format!("between 1152 and limits.frame_bytes_max, {}", self.frame_bytes_max)
        })?;
        let body_fits = (4096..=16 * 1024 * 1024).contains(&self.body_bytes_max);
        Invalid::unless(body_fits, "limits.body_bytes_max", || "between 4096 and 16777216".into())?;
        let queue_min = self.body_bytes_max.max(self.frame_bytes_max as usize) + 4096;
        Invalid::unless(
            self.send_queue_bytes_max >= queue_min,
            "limits.send_queue_bytes_max",
            || {
                format!(
                    "at least {queue_min}: a message of frame_bytes_max or body_bytes_max has to fit"
                )
            },
        )?;
        let link_bytes_fit = self.link_bytes_per_device_max <= 4 * 1024 * 1024;
        Invalid::unless(link_bytes_fit, "limits.link_bytes_per_device_max", || {
            "at most 4194304".into()
        })?;
        for (key, count) in [
            ("limits.requests_per_device_max", self.requests_per_device_max),
            ("limits.requests_per_client_max", self.requests_per_client_max),
            ("limits.links_per_device_max", self.links_per_device_max),
            ("limits.link_bytes_per_device_max", self.link_bytes_per_device_max),
            ("limits.devices_per_user_max", self.devices_per_user_max),
            ("limits.single_use_tokens_per_user_max", self.single_use_tokens_per_user_max),
            ("limits.outbox_events_max", self.outbox_events_max),
            ("limits.outbox_bytes_max", self.outbox_bytes_max),
        ] {
            Invalid::unless(count >= 1, key, at_least_1)?;
        }
        let rate_fits = (1..=1_000_000).contains(&self.subscriptions_per_sec_max);
        Invalid::unless(rate_fits, "limits.subscriptions_per_sec_max", || {
            "between 1 and 1000000".into()
        })?;
        Ok(())
    }
}

/// How long we wait for what.
#[derive(Clone, PartialEq, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timers {
    /// From the accepted connection to the end of the TLS handshake.
    #[serde(rename = "handshake_secs", with = "secs")]
    pub handshake: Duration,
    /// From there to the first valid request. Devices act within two seconds.
    #[serde(rename = "first_request_secs", with = "secs")]
    pub first_request: Duration,
    /// Without being signed in, since the last request on a security resource. Devices that were
    /// told 5.03 wait up to 64 seconds between two tries.
    #[serde(rename = "not_signed_in_secs", with = "secs")]
    pub not_signed_in: Duration,
    /// Without inbound bytes until we send a Ping. Above the devices' own 20 seconds, so that most
    /// connections need none of ours.
    #[serde(rename = "ping_after_secs", with = "secs")]
    pub ping_after: Duration,
    /// Without inbound bytes until we close. Less finds dead devices earlier and costs more Pings.
    #[serde(rename = "idle_secs", with = "secs")]
    pub idle: Duration,
    /// For the answer to a request that is passed on to a device; then 5.04.
    #[serde(rename = "request_secs", with = "secs")]
    pub request: Duration,
    /// For which a repeated sign-up gets the same answer, at most: the first sign-in ends it.
    #[serde(rename = "sign_up_repeat_secs", with = "secs")]
    pub sign_up_repeat: Duration,
    /// Over which a stop spreads its Releases. Longer makes the return of the devices gentler.
    #[serde(rename = "drain_secs", with = "secs")]
    pub drain: Duration,
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            first_request: Duration::from_secs(30),
            not_signed_in: Duration::from_secs(90),
            ping_after: Duration::from_secs(30),
            idle: Duration::from_secs(90),
            request: Duration::from_secs(20),
            sign_up_repeat: Duration::from_secs(3600),
            drain: Duration::from_secs(30),
        }
    }
}

impl Validate for Timers {
    fn validate(&self) -> Result<(), Invalid> {
        for (key, value) in [
            ("timers.handshake_secs", self.handshake),
            ("timers.first_request_secs", self.first_request),
            ("timers.not_signed_in_secs", self.not_signed_in),
            ("timers.ping_after_secs", self.ping_after),
            ("timers.request_secs", self.request),
        ] {
            let sensible = (1..=3600).contains(&value.as_secs());
            Invalid::unless(sensible, key, || "between 1 and 3600".into())?;
        }
        // A Ping needs ten seconds for its Pong before the silence counts.
        let idle_min = self.ping_after + Duration::from_secs(10);
        Invalid::unless(self.idle >= idle_min, "timers.idle_secs", || {
            format!("at least {}: timers.ping_after_secs and 10 for the Pong", idle_min.as_secs())
        })?;
        let longest = Duration::from_secs(24 * 3600);
        for (key, value) in [
            ("timers.idle_secs", self.idle),
            ("timers.sign_up_repeat_secs", self.sign_up_repeat),
            ("timers.drain_secs", self.drain),
        ] {
            Invalid::unless(value <= longest, key, || "at most 86400, one day".into())?;
        }
        Ok(())
    }
}
