//! The commands: who connects, who asks, and when it is over.

use std::sync::Arc;
use std::time::Instant;

use benches::cpu;
use benches::load::{Command, Report};
use benches::messages::{self, Asked, FIRST_TOKEN};
use hdrhistogram::Histogram;
use rustls::ClientConfig;
use shared::coap::code::Kind;
use shared::coap::{Code, Token, signal};

use crate::engine::Engine;
use crate::observing::DEVICE;
use crate::peer::Stage;

/// How long answers are waited for when nothing new is begun any more.
const PATIENCE_NANOS: u64 = 10_000_000_000;

/// Longest latency that is told from longer ones.
const LATENCY_NANOS_MAX: u64 = 60_000_000_000;

/// Requests that are late are begun at once, but not more than this in one turn.
const LATE_REQUESTS_MAX: usize = 4096;

/// What is being done.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Job {
    /// Nothing.
    None,
    /// Opening connections up to this one.
    Connect { next: u32, target: u32, in_flight: u32, sign_in: bool, until: u64 },
    /// Asking, until a time.
    Request { until: u64, window: u32, schedule: Option<Schedule> },
    /// Asking once on each.
    Visit { next: u32, until: u64 },
    /// Coming and going, until a time.
    Handshake { until: u64, places: u32, resume: bool, sign_in: bool },
    /// Closing all.
    Disconnect { until: u64 },
}

/// When requests are due, whatever the answers do.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Schedule {
    interval: f64,
    next: f64,
}

/// What has come of the job so far.
pub(crate) struct Tally {
    report: Report,
    latencies: Histogram<u64>,
    begun: Instant,
    /// When the last thing was done.
    pub(crate) last: Instant,
    cpu: std::time::Duration,
    /// Things under way.
    pub(crate) busy: u32,
}

impl Tally {
    pub(crate) fn new() -> Self {
        let latencies = Histogram::new_with_bounds(1, LATENCY_NANOS_MAX, 3);
        Self {
            report: Report::default(),
            latencies: latencies.expect("the bounds are in order"),
            begun: Instant::now(),
            last: Instant::now(),
            cpu: cpu::of_this_process(),
            busy: 0,
        }
    }

    pub(crate) fn sent(&mut self, bytes: usize) {
        self.report.bytes_sent += bytes as u64;
    }

    pub(crate) fn received(&mut self, bytes: usize) {
        self.report.bytes_received += bytes as u64;
    }

    fn done(&mut self) {
        self.report.done += 1;
        self.busy = self.busy.saturating_sub(1);
    }

    /// Something was done after so many nanoseconds.
    pub(crate) fn done_since(&mut self, nanos: u64) {
        // Within the bounds of the histogram, so it is always taken.
        let _ = self.latencies.record(nanos.clamp(1, LATENCY_NANOS_MAX));
        self.done();
    }

    fn failed(&mut self, why: String) {
        *self.report.failures.entry(why).or_default() += 1;
        self.busy = self.busy.saturating_sub(1);
    }

    fn finish(mut self, connections: u32) -> Report {
        self.report.connections = connections;
        self.report.nanos = (self.last - self.begun).as_nanos() as u64;
        self.report.cpu_nanos = (cpu::of_this_process() - self.cpu).as_nanos() as u64;
        self.report.latency_nanos =
            [50.0, 90.0, 99.0, 99.9, 100.0].map(|p| self.latencies.value_at_percentile(p));
        self.report
    }
}

impl Engine {
    /// Begins a command.
    pub(crate) fn begin(&mut self, command: Command) {
        self.tally = Tally::new();
        let now = self.now();
        let after = |millis: u64| now + millis * 1_000_000;
        self.habits.keep_rustls = false;
        self.job = match command {
            Command::Connect { connections, in_flight, sign_in } => {
                let target = connections.min(self.peers.len() as u32);
                let until = after(u64::from(target) * 20 + 10_000);
                Job::Connect { next: 0, target, in_flight, sign_in, until }
            }
            Command::Request { millis, window, per_second } => Job::Request {
                until: after(millis),
                window,
                schedule: per_second.map(|per_second| Schedule {
                    interval: 1e9 / f64::from(per_second.max(1)),
                    next: now as f64,
                }),
            },
            Command::Visit => Job::Visit { next: 0, until: after(60_000) },
            Command::Handshake { millis, in_flight, resume, sign_in } => {
                // Tickets of TLS 1.3 come after the handshake: rustls has to see them.
                self.habits.keep_rustls = true;
                let places = in_flight.min(self.peers.len() as u32);
                Job::Handshake { until: after(millis), places, resume, sign_in }
            }
            Command::Disconnect => Job::Disconnect { until: after(60_000) },
        };
        self.ready.clear();
        for peer in 0..self.peers.len() as u32 {
            if self.peers[peer as usize].stage == Stage::Idle {
                if matches!(self.job, Job::Disconnect { .. }) {
                    self.leave(peer);
                    self.tally.busy += 1;
                } else if self.may_ask(peer) {
                    self.ready.push(peer);
                }
            }
        }
    }

    /// Of neighbours only one asks; the other is the device, as the first is of observers. Who tells
    /// changes is observed.
    fn may_ask(&self, peer: u32) -> bool {
        if self.arrivals.is_some() {
            return self.peers[peer as usize].observation.is_some();
        }
        match self.asked {
            Asked::Neighbour | Asked::Update => peer.is_multiple_of(2),
            Asked::Observed => peer != DEVICE,
            Asked::Directory | Asked::Discovery => true,
        }
    }

    /// Begins what is due.
    pub(crate) fn advance(&mut self) {
        let now = self.now();
        match self.job {
            Job::None | Job::Disconnect { .. } => {}
            Job::Connect { next, target, in_flight, sign_in, until } => {
                let mut next = next;
                while next < target && self.tally.busy < in_flight {
                    if self.peers[next as usize].stage == Stage::Off {
                        self.tally.busy += 1;
                        self.connect(next);
                    }
                    next += 1;
                }
                self.job = Job::Connect { next, target, in_flight, sign_in, until };
            }
            Job::Request { until, .. } if now < until && self.asked == Asked::Observed => {
                self.tell_all(now);
            }
            Job::Request { until, schedule: Some(schedule), window } if now < until => {
                let schedule = self.ask_on_schedule(schedule, now);
                self.job = Job::Request { until, window, schedule: Some(schedule) };
            }
            Job::Request { until, window, schedule: None } if now < until => {
                while self.tally.busy < window && self.ask_anybody(now) {}
            }
            Job::Visit { next, until } => {
                let mut next = next;
                while (next as usize) < self.ready.len() && self.tally.busy < 256 {
                    self.ask(self.ready[next as usize], now);
                    next += 1;
                }
                self.job = Job::Visit { next, until };
            }
            Job::Handshake { until, places, .. } if now < until => {
                for place in 0..places {
                    if self.peers[place as usize].stage == Stage::Off {
                        self.tally.busy += 1;
                        self.connect(place);
                    }
                }
            }
            Job::Request { .. } | Job::Handshake { .. } => {}
        }
    }

    fn ask_on_schedule(&mut self, mut schedule: Schedule, now: u64) -> Schedule {
        for _ in 0..LATE_REQUESTS_MAX {
            if schedule.next > now as f64 || !self.ask_anybody(schedule.next as u64) {
                break;
            }
            schedule.next += schedule.interval;
        }
        schedule
    }

    /// A request on a connection drawn at random; false when all are busy.
    fn ask_anybody(&mut self, due: u64) -> bool {
        while !self.ready.is_empty() {
            let at = self.numbers.below(self.ready.len());
            let peer = self.ready.swap_remove(at);
            if self.peers[peer as usize].stage == Stage::Idle {
                self.ask(peer, due);
                return true;
            }
        }
        false
    }

    fn ask(&mut self, peer: u32, due: u64) {
        self.tally.busy += 1;
        let token = self.next_token;
        self.next_token += 1;
        let mut request = Vec::with_capacity(128);
        if self.arrivals.is_some() {
            self.write_change(peer, token, &mut request);
        } else {
            self.write_request(peer, token, &mut request);
        }
        let state = &mut self.peers[peer as usize];
        (state.stage, state.token, state.due) = (Stage::Asking, token, due);
        self.say(peer, &[&request]);
    }

    /// Whom a connection presents itself as.
    pub(crate) fn identity(&mut self, peer: u32) -> Arc<ClientConfig> {
        match self.job {
            Job::Handshake { resume: true, .. } => self.identities.resuming(peer as usize),
            _ => {
                self.presented += 1;
                self.identities.full(self.presented)
            }
        }
    }

    /// TLS is agreed on: the CSM goes out at once, and with it the sign-in.
    pub(crate) fn on_established(&mut self, peer: u32, resumed: bool) {
        self.tally.report.resumed += u64::from(resumed);
        let sign_in = match self.job {
            Job::Connect { sign_in, .. } | Job::Handshake { sign_in, .. } => sign_in,
            _ => false,
        };
        let mut csm = Vec::with_capacity(32);
        messages::client_csm(&mut csm, self.asked);
        if !sign_in {
            self.say(peer, &[&csm]);
            return self.on_settled(peer);
        }
        let mut request = Vec::with_capacity(256);
        let device = self.visitor(peer);
        messages::sign_in(&mut request, self.population, device, &self.store_key);
        self.peers[peer as usize].stage = Stage::SigningIn;
        self.say(peer, &[&csm, &request]);
    }

    /// Who signs in. A device that does so again and again is answered later and later, so handshakes
    /// take all devices in turn.
    fn visitor(&mut self, peer: u32) -> u32 {
        let Job::Handshake { .. } = self.job else { return self.device(peer) };
        self.visits += 1;
        self.visits % self.population.devices
    }

    /// A connection is as it was wanted.
    fn on_settled(&mut self, peer: u32) {
        if self.peers[peer as usize].stage == Stage::Leaving {
            return;
        }
        self.peers[peer as usize].stage = Stage::Idle;
        match self.job {
            Job::Handshake { .. } => {
                self.tally.report.done += 1;
                self.leave(peer);
            }
            _ => self.tally.done(),
        }
        self.tally.last = Instant::now();
    }

    /// A whole message of the server.
    pub(crate) fn on_message(&mut self, peer: u32, code: Code, token: Token) {
        match code.kind() {
            Kind::Response => {
                let state = &self.peers[peer as usize];
                let awaited = match state.stage {
                    Stage::SigningIn => token == FIRST_TOKEN,
                    Stage::Asking => token.as_u64() == Some(state.token),
                    _ => false,
                };
                if awaited {
                    self.on_answer(peer, code);
                } else if self.asked == Asked::Observed && code.class() == 2 {
                    self.on_notified(peer, token);
                }
            }
            _ if code == signal::SignalCode::Ping.code() => {
                let mut pong = Vec::with_capacity(16);
                signal::write_pong(&mut pong, token, false);
                self.say(peer, &[&pong]);
            }
            _ => {}
        }
    }

    /// What was awaited is there.
    pub(crate) fn on_answer(&mut self, peer: u32, code: Code) {
        let stage = self.peers[peer as usize].stage;
        let good = code.class() == 2;
        if stage == Stage::SigningIn && good {
            return self.on_settled(peer);
        }
        if !good {
            self.tally.last = Instant::now();
            self.peers[peer as usize].stage = Stage::Idle;
            return self.tally.failed(format!("{code}"));
        }
        self.on_done(peer, self.now());
    }

    /// What a connection had under way was done at this time.
    pub(crate) fn on_done(&mut self, peer: u32, now: u64) {
        self.tally.last = Instant::now();
        let state = &mut self.peers[peer as usize];
        state.stage = Stage::Idle;
        self.tally.done_since(now.saturating_sub(state.due));
        if let Job::Request { until, window, schedule } = self.job {
            self.ready.push(peer);
            if schedule.is_none() && now < until && self.tally.busy < window {
                self.ask_anybody(now);
            }
        }
    }

    /// A connection was lost at this stage.
    pub(crate) fn on_lost(&mut self, peer: u32, stage: Stage, why: &str) {
        let doing = match stage {
            Stage::Off | Stage::Connecting => "connecting",
            Stage::Handshaking => "handshake",
            Stage::SigningIn => "sign-in",
            Stage::Idle => "idle",
            Stage::Asking => "request",
            Stage::Leaving => return,
        };
        if stage == Stage::Idle {
            self.tally.busy += 1;
        }
        self.tally.failed(format!("{doing}: {why}"));
        // Of a handshake the end of its socket is awaited too.
        let has_socket = self.peers[peer as usize].socket.is_some();
        if has_socket && matches!(self.job, Job::Handshake { .. }) {
            self.tally.busy += 1;
        }
    }

    /// A socket is closed for good.
    pub(crate) fn on_gone(&mut self) {
        if matches!(self.job, Job::Handshake { .. } | Job::Disconnect { .. }) {
            self.tally.busy = self.tally.busy.saturating_sub(1);
            self.tally.last = Instant::now();
        }
    }

    /// When something is due that no socket tells.
    pub(crate) fn next_due(&self) -> Option<u64> {
        match self.job {
            Job::Request { until, schedule: Some(schedule), .. } => {
                Some((schedule.next as u64).min(until))
            }
            Job::Request { until, .. } | Job::Handshake { until, .. } => Some(until),
            _ => None,
        }
    }

    /// The report, when the job is over.
    pub(crate) fn report(&mut self) -> anyhow::Result<Option<Report>> {
        let now = self.now();
        let (all_begun, late) = match self.job {
            Job::None => return Ok(None),
            Job::Connect { next, target, until, .. } => (next == target, now > until),
            Job::Visit { next, until } => (next as usize == self.ready.len(), now > until),
            Job::Request { until, .. } | Job::Handshake { until, .. } => {
                (now >= until, now > until + PATIENCE_NANOS)
            }
            Job::Disconnect { until } => (true, now > until),
        };
        if !late && (!all_begun || self.tally.busy > 0) {
            return Ok(None);
        }
        self.job = Job::None;
        let mut tally = std::mem::replace(&mut self.tally, Tally::new());
        if late && tally.busy > 0 {
            *tally.report.failures.entry("no answer".into()).or_default() += u64::from(tally.busy);
        }
        let open = |stage| matches!(stage, Stage::Idle | Stage::Asking);
        let connections = self.peers.iter().filter(|peer| open(peer.stage)).count();
        Ok(Some(tally.finish(u32::try_from(connections)?)))
    }
}
