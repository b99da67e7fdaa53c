//! What a shard counts: plain integers, read out on request.

use std::fmt;

use crate::connection::CloseReason;

/// Counts since the start, and two of the present.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Counters {
    /// Sockets accepted.
    pub accepted: u64,
    /// Handshakes finished.
    pub handshakes: u64,
    /// Sessions at present.
    pub sessions: u64,
    /// Sign-ups.
    pub sign_ups: u64,
    /// Sign-ins.
    pub sign_ins: u64,
    /// Token refreshes.
    pub refreshes: u64,
    /// Accounts removed.
    pub sign_offs: u64,
    /// Users who were deleted with everything that was theirs.
    pub users_deleted: u64,
    /// Publishes that changed something.
    pub publishes: u64,
    /// Discoveries.
    pub discoveries: u64,
    /// Requests for devices.
    pub forwards: u64,
    /// Commands of `api` processes.
    pub commands: u64,
    /// Connections that came from another shard.
    pub moved_in: u64,
    /// Connections that went to another shard.
    pub moved_out: u64,
    /// Requests received.
    pub requests: u64,
    /// Requests answered with an error of ours.
    pub requests_refused: u64,
    /// Responses received.
    pub responses: u64,
    /// Responses that nobody waited for.
    pub responses_unexpected: u64,
    /// Messages that mean nothing and were ignored.
    pub messages_ignored: u64,
    /// Subscriptions made.
    pub subscriptions: u64,
    /// Notifications written into outboxes.
    pub events: u64,
    /// Attempts to deliver one.
    pub deliveries: u64,
    /// Those that were accepted.
    pub delivered: u64,
    /// Those that the receiver refused for good.
    pub deliveries_refused: u64,
    /// Those that are tried again.
    pub deliveries_failed: u64,
    /// Grants that ended because a code or a refresh token was used twice.
    pub grants_stolen: u64,
    /// Commits that the store refused.
    pub commits_refused: u64,
    /// Connections ended, by [`CloseReason`].
    pub closed: [u64; CloseReason::ALL.len()],
}

/// Names of the counters, in the order of [`Counters::values`].
pub const NAMES: [&str; 27] = [
    "accepted",
    "handshakes",
    "sessions",
    "sign_ups",
    "sign_ins",
    "refreshes",
    "sign_offs",
    "users_deleted",
    "publishes",
    "discoveries",
    "forwards",
    "commands",
    "moved_in",
    "moved_out",
    "requests",
    "requests_refused",
    "responses",
    "responses_unexpected",
    "messages_ignored",
    "subscriptions",
    "events",
    "deliveries",
    "delivered",
    "deliveries_refused",
    "deliveries_failed",
    "grants_stolen",
    "commits_refused",
];

impl Counters {
    /// All but the ends of connections, in the order of [`NAMES`].
    pub fn values(&self) -> [u64; NAMES.len()] {
        [
            self.accepted,
            self.handshakes,
            self.sessions,
            self.sign_ups,
            self.sign_ins,
            self.refreshes,
            self.sign_offs,
            self.users_deleted,
            self.publishes,
            self.discoveries,
            self.forwards,
            self.commands,
            self.moved_in,
            self.moved_out,
            self.requests,
            self.requests_refused,
            self.responses,
            self.responses_unexpected,
            self.messages_ignored,
            self.subscriptions,
            self.events,
            self.deliveries,
            self.delivered,
            self.deliveries_refused,
            self.deliveries_failed,
            self.grants_stolen,
            self.commits_refused,
        ]
    }
}

/// `name=value`, separated by spaces; ends of connections as `closed_reason=value`, where there were any.
impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (name, value)) in NAMES.into_iter().zip(self.values()).enumerate() {
            let space = if at == 0 { "" } else { " " };
            write!(f, "{space}{name}={value}")?;
        }
        for (reason, count) in CloseReason::ALL.into_iter().zip(self.closed) {
            if count > 0 {
                write!(f, " closed_{}={count}", reason.name())?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_counters_names_each_and_why_connections_ended() {
        let mut counters = Counters { accepted: 3, commits_refused: 1, ..Counters::default() };
        counters.closed[CloseReason::Idle as usize] = 2;
        let line = counters.to_string();
        assert!(line.starts_with("accepted=3 handshakes=0 "), "{line}");
        assert!(line.ends_with(" commits_refused=1 closed_idle=2"), "{line}");
        assert_eq!(line.split(' ').count(), NAMES.len() + 1);
    }
}
