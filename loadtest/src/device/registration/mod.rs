//! What a device has to do with its cloud: configuration, account, and the steps that lead to a
//! session and keep it (device reference 13).
//!
//! ```text
//! Rest ─configured─► Waiting(sign-up) ─► Trying ─2.04─► Waiting(sign-in) ─► Trying ─2.04─► SignedIn
//!  ▲                    ▲        │ 5.03, time-out, no connection   ▲                          │
//!  │                    └────────┘ up to six times                 │ connection lost, token old│
//!  └── gave up, erased                     Waiting(refresh) ─► Trying ◄───────────────────────┘
//! ```
//!
//! How answers are read is in `answered`; what is kept of them in `account`; Pings are in `pings`.

mod account;
mod answered;
mod pings;

use std::time::Duration;

use shared::coap::Token;
use shared::ids::DeviceId;
use shared::time::Instant;

use super::breach::Breach;
use super::conf::{CloudConf, CloudState, Conf, LastError};
use super::input::Event;
use super::line::Line;
use super::pace::{Pace, SIGN_OFF_LIMIT, TRIES_MAX, answer_limit, refresh_after};
use super::requests;
use super::rng::Rng;
use super::step::{Failure, Step};
pub(super) use account::Account;
use pings::{Pinged, Pings};

/// The relation of one device or client to its cloud.
pub(super) struct Registration {
    pub(super) di: DeviceId,
    pace: Pace,
    pub(super) rng: Rng,
    pub(super) conf: Option<Conf>,
    state: CloudState,
    last_error: LastError,
    pub(super) account: Option<Account>,
    activity: Activity,
    /// The cloud counts this device as signed in, also while it refreshes its token.
    session: bool,
    /// When the access token is due for a refresh.
    refresh_at: Option<Instant>,
    /// A request of the step under way got no answer earlier: the cloud may have acted on it.
    answer_lost: bool,
    /// Tries to get in since the last session, or since power came.
    tries: u8,
}

/// What the device is doing about its cloud.
#[derive(Debug)]
enum Activity {
    /// Nothing: not configured, given up, signed out.
    Rest,
    /// The next try of a step is due at some time.
    Waiting { step: Step, attempt: u8, at: Instant },
    /// A try is under way.
    Trying(Try),
    /// Signed in.
    SignedIn(Pings),
}

#[derive(Clone, Copy, Debug)]
struct Try {
    step: Step,
    attempt: u8,
    /// When the request was due: with the try, or when the connection for it was there.
    since: Instant,
    until: Instant,
    /// The token of the request, once it was sent.
    token: Option<Token>,
}

/// What the rest of the device has to know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Progress {
    /// The message was not for the registration.
    NotMine,
    /// Nothing that concerns others.
    Done,
    /// A session has begun.
    SignedIn,
}

impl Registration {
    pub(super) fn new(di: DeviceId, pace: Pace, rng: Rng) -> Self {
        Self {
            di,
            pace,
            rng,
            conf: None,
            state: CloudState::Uninitialized,
            last_error: LastError::None,
            account: None,
            activity: Activity::Rest,
            session: false,
            refresh_at: None,
            answer_lost: false,
            tries: 0,
        }
    }

    /// As it was before a power cut.
    pub(super) fn restore(
        &mut self,
        conf: Option<Conf>,
        account: Option<Account>,
        last_error: LastError,
    ) {
        self.state = match (&conf, &account) {
            _ if last_error != LastError::None => CloudState::Failed,
            (Some(_), Some(_)) => CloudState::Registered,
            (Some(_), None) => CloudState::ReadyToRegister,
            (None, _) => CloudState::Uninitialized,
        };
        (self.conf, self.account, self.last_error) = (conf, account, last_error);
    }

    pub(super) fn state(&self) -> CloudState {
        self.state
    }

    pub(super) fn last_error(&self) -> LastError {
        self.last_error
    }

    pub(super) fn is_signed_in(&self) -> bool {
        self.session
    }

    /// The connection is gone, for whatever reason, and the session with it.
    pub(super) fn session_ended(&mut self) {
        if std::mem::take(&mut self.session) {
            self.tries = 0;
        }
    }

    /// Tries to get in since the last session, the one under way included: each is a connection, or
    /// one more request on one that is there. A refresh and the sign-in behind it are one try.
    pub(super) fn tries(&self) -> u8 {
        self.tries
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        match &self.activity {
            Activity::Rest => None,
            Activity::Waiting { at, .. } => Some(*at),
            Activity::Trying(attempt) => Some(attempt.until),
            Activity::SignedIn(pings) => {
                Some(self.refresh_at.map_or(pings.next(), |at| at.min(pings.next())))
            }
        }
    }

    /// A whole new configuration: everything begins anew.
    pub(super) fn configure(&mut self, line: &mut Line, conf: CloudConf, now: Instant) {
        line.close();
        (self.conf, self.account) = (Some(conf.into()), None);
        (self.state, self.last_error) = (CloudState::ReadyToRegister, LastError::None);
        self.answer_lost = false;
        line.event(Event::MemoryChanged);
        self.wait(Step::SignUp, 0, now);
    }

    /// Power is there. What was configured before begins with its first step.
    pub(super) fn switched_on(&mut self, now: Instant) {
        if !matches!(self.activity, Activity::Rest) {
            return;
        }
        match self.state {
            CloudState::ReadyToRegister => self.wait(Step::SignUp, 0, now),
            CloudState::Registered => self.wait(self.first_step(), 0, now),
            _ => {}
        }
    }

    pub(super) fn timeout(&mut self, line: &mut Line, now: Instant) {
        match &mut self.activity {
            Activity::Rest => {}
            Activity::Waiting { step, attempt, at } if now >= *at => {
                let (step, attempt, at) = (*step, *attempt, *at);
                self.begin_try(line, step, attempt, at, now);
            }
            Activity::Trying(attempt) if now >= attempt.until => {
                let attempt = *attempt;
                self.try_timed_out(line, attempt, now);
            }
            Activity::SignedIn(pings) => {
                if self.refresh_at.is_some_and(|at| now >= at) {
                    self.wait(Step::Refresh, 0, now);
                } else if pings.timeout(line, &mut self.rng, now) == Pinged::GivenUp {
                    line.close();
                    self.wait(self.first_step(), 0, now);
                }
            }
            Activity::Waiting { .. } | Activity::Trying(_) => {}
        }
    }

    /// TLS is up: what waited for it goes out.
    pub(super) fn established(&mut self, line: &mut Line, now: Instant) {
        if let Activity::Trying(attempt @ Try { token: None, .. }) = self.activity {
            self.ask(line, Try { since: now, ..attempt });
        }
    }

    /// TCP or TLS did not come about: a try is lost.
    pub(super) fn not_established(&mut self, line: &mut Line, now: Instant) {
        if let Activity::Trying(attempt) = self.activity {
            self.next_try(line, attempt, now);
        }
    }

    /// An established connection is gone, closed by the cloud, by its Release, or by this device
    /// because of something that it cannot stand.
    pub(super) fn disconnected(&mut self, line: &mut Line, end: End, now: Instant) {
        match self.activity {
            Activity::Rest => {}
            Activity::SignedIn(_) => self.wait(self.first_step(), 0, now),
            Activity::Waiting { step, .. } => {
                if end == End::ClosedAfterPutOff {
                    line.breach(Breach::ClosedDuring { step });
                }
                if step != Step::SignUp {
                    self.wait(self.first_step(), 0, now);
                }
            }
            Activity::Trying(attempt) => {
                if attempt.token.is_some() {
                    let took = now.since(attempt.since);
                    line.step(attempt.step, took, Err(Failure::Closed));
                    self.answer_lost = true;
                    if end != End::Orderly && attempt.step != Step::SignOff {
                        line.breach(Breach::ClosedDuring { step: attempt.step });
                    }
                }
                match attempt.step {
                    Step::SignUp => self.next_try(line, attempt, now),
                    // Its time limit ends it.
                    Step::SignOff => {}
                    Step::SignOut => self.activity = Activity::Rest,
                    _ => self.wait(self.first_step(), 0, now),
                }
            }
        }
    }

    pub(super) fn pong(&mut self, line: &mut Line, token: Token, now: Instant) {
        if let Activity::SignedIn(pings) = &mut self.activity {
            pings.pong(line, token, self.pace, now);
        }
    }

    /// Leaves the cloud. Without an account there is nothing to sign off from.
    pub(super) fn sign_off(&mut self, line: &mut Line, now: Instant) {
        let Some(account) = &self.account else {
            self.erase(line);
            return;
        };
        self.state = CloudState::Deregistering;
        if !requests::sign_off_carries(&account.tokens().0) && !self.session {
            self.begin_try(line, self.first_step(), 0, now, now);
        } else {
            self.begin_try(line, Step::SignOff, 0, now, now);
        }
    }

    /// Ends the session and keeps the account.
    pub(super) fn sign_out(&mut self, line: &mut Line, now: Instant) {
        if self.session {
            self.begin_try(line, Step::SignOut, 0, now, now);
        }
    }

    /// After a lost connection a token that expires is refreshed before it is used (rule 9).
    fn first_step(&self) -> Step {
        match &self.account {
            None => Step::SignUp,
            Some(account) if account.expires_in() >= 0 => Step::Refresh,
            Some(_) => Step::SignIn,
        }
    }

    fn wait(&mut self, step: Step, attempt: u8, now: Instant) {
        let at = now + self.pace.before_try(attempt, &mut self.rng);
        self.activity = Activity::Waiting { step, attempt, at };
    }

    fn begin_try(&mut self, line: &mut Line, step: Step, attempt: u8, due: Instant, now: Instant) {
        if step == Step::SignUp {
            self.state = CloudState::Registering;
        }
        if attempt > 0 || !line.is_ready() {
            self.tries = self.tries.saturating_add(1);
        }
        let limit = match step {
            Step::SignOff => SIGN_OFF_LIMIT,
            _ => answer_limit(attempt),
        };
        let attempt = Try { step, attempt, since: due, until: now + limit, token: None };
        self.activity = Activity::Trying(attempt);
        if line.is_ready() {
            self.ask(line, attempt);
        } else if line.is_down() {
            line.connect(due);
        }
    }

    /// Sends the request of a try.
    fn ask(&mut self, line: &mut Line, attempt: Try) {
        let token = Token::from_u64(self.rng.next_u64());
        let provider = self.conf.as_ref().and_then(|conf| conf.cloud.provider.as_deref());
        let single_use = self.conf.as_ref().and_then(|conf| conf.token.as_deref());
        let di = self.di;
        match (attempt.step, &self.account) {
            (Step::SignUp, _) => {
                let access_token = single_use.unwrap_or_default();
                line.send(|out| requests::sign_up(out, token, di, provider, None, access_token));
            }
            (_, None) => {}
            (step, Some(account)) => {
                let (uid, (access, refresh)) = (account.uid(), account.tokens());
                line.send(|out| match step {
                    Step::Refresh => requests::refresh(out, token, uid, di, provider, &refresh),
                    Step::SignOff => requests::sign_off(out, token, uid, di, &access),
                    Step::SignOut => requests::sign_out(out, token, uid, di, &access),
                    _ => requests::sign_in(out, token, uid, di, &access),
                });
            }
        }
        self.activity = Activity::Trying(Try { token: Some(token), ..attempt });
    }

    fn try_timed_out(&mut self, line: &mut Line, attempt: Try, now: Instant) {
        if attempt.token.is_some() {
            line.step(attempt.step, now.since(attempt.since), Err(Failure::TimedOut));
            self.answer_lost = true;
        } else {
            line.abandon(now);
        }
        match attempt.step {
            Step::SignOff => self.erase(line),
            Step::SignOut => self.activity = Activity::Rest,
            _ => self.next_try(line, attempt, now),
        }
    }

    fn next_try(&mut self, line: &mut Line, last: Try, now: Instant) {
        let attempt = last.attempt + 1;
        match last.step {
            Step::SignOff => {}
            step if attempt < TRIES_MAX => self.wait(step, attempt, now),
            Step::SignUp => self.give_up(line, Step::SignUp, LastError::CannotConnect),
            _ => {
                // The cycle begins again on a new connection.
                line.close();
                self.wait(self.first_step(), 0, now);
            }
        }
    }

    /// Nothing more happens before the device is configured anew. The connection stays as it is.
    fn give_up(&mut self, line: &mut Line, step: Step, why: LastError) {
        (self.state, self.last_error) = (CloudState::Failed, why);
        (self.activity, self.session) = (Activity::Rest, false);
        line.event(Event::GivenUp(step));
        line.event(Event::MemoryChanged);
    }

    /// Forgets everything about the cloud.
    fn erase(&mut self, line: &mut Line) {
        line.close();
        (self.conf, self.account, self.refresh_at) = (None, None, None);
        (self.state, self.last_error) = (CloudState::Uninitialized, LastError::None);
        self.activity = Activity::Rest;
        line.event(Event::Erased);
        line.event(Event::MemoryChanged);
    }

    fn signed_in(&mut self, expires_in: i64, now: Instant) {
        self.refresh_at = refresh_after(expires_in).map(|after: Duration| now + after);
        (self.activity, self.session) = (Activity::SignedIn(Pings::begin(self.pace, now)), true);
    }
}

/// How an established connection came to its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    /// The cloud announced it, or this device brought it about.
    Orderly,
    /// The cloud closed it without a word.
    Closed,
    /// The cloud closed it after it had asked the device to try again later.
    ClosedAfterPutOff,
}
