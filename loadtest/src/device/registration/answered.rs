//! How the answers on the three security resources are read: the table of device reference 4.5.

use shared::coap::Message;
use shared::ids::UserId;
use shared::time::Instant;

use super::super::answers::{Keys, Missing, Verdict, has_unreadable_items, is_cloud_trouble};
use super::super::breach::Breach;
use super::super::conf::{CloudState, LastError};
use super::super::input::Event;
use super::super::line::Line;
use super::super::step::{Failure, Step};
use super::{Account, Activity, Progress, Registration, Try};

impl Registration {
    /// A response has arrived. Those to earlier tries are nobody's.
    pub(in super::super) fn answered(
        &mut self,
        line: &mut Line,
        message: &Message<'_>,
        now: Instant,
    ) -> Progress {
        let attempt = match self.activity {
            Activity::Trying(attempt) if attempt.token == Some(message.token) => attempt,
            _ => return Progress::NotMine,
        };
        let took = now.since(attempt.since);
        let verdict = Verdict::of(message.code);
        if let Some(link) = line.link() {
            link.put_off = verdict == Verdict::Later;
        }
        self.check(line, attempt.step, message, verdict);
        let refused = Failure::Answered(message.code.byte());
        match verdict {
            Verdict::Success => {
                let keys = Keys::parse(message.payload);
                return match self.succeeded(line, attempt, &keys, now) {
                    Ok(progress) => {
                        line.step(attempt.step, took, Ok(()));
                        self.answer_lost = false;
                        progress
                    }
                    Err(key) => {
                        line.step(attempt.step, took, Err(Failure::Incomplete));
                        line.breach(Breach::MissingKey { step: attempt.step, key });
                        self.refused(line, attempt.step, now);
                        Progress::Done
                    }
                };
            }
            // 5.03 and 5.04: once more on the same connection, up to six times.
            Verdict::Later => self.next_try(line, attempt, now),
            Verdict::Unauthorized => self.unauthorized(line, attempt.step, now),
            Verdict::Final => self.refused(line, attempt.step, now),
        }
        line.step(attempt.step, took, Err(refused));
        self.answer_lost &= verdict == Verdict::Later;
        Progress::Done
    }

    /// Looks for what a careful cloud never does.
    fn check(&self, line: &mut Line, step: Step, message: &Message<'_>, verdict: Verdict) {
        let code = message.code;
        let breach = match (step, verdict) {
            (Step::SignOff | Step::SignOut, _) | (_, Verdict::Later) => None,
            (_, Verdict::Success) => {
                has_unreadable_items(message.payload).then_some(Breach::UnreadableCbor)
            }
            (Step::SignUp, Verdict::Unauthorized) => {
                self.answer_lost.then_some(Breach::SignUpNotRepeatable)
            }
            (Step::Refresh, Verdict::Unauthorized) => {
                self.answer_lost.then_some(Breach::LostRefreshNotRepeatable)
            }
            (_, Verdict::Unauthorized) => None,
            // A device says nothing wrong in a sign-up but its token and id; of the other two it
            // can repair nothing at all.
            (Step::SignUp, Verdict::Final) => {
                is_cloud_trouble(code).then_some(Breach::FinalCode { step, code })
            }
            (_, Verdict::Final) => Some(Breach::FinalCode { step, code }),
        };
        if let Some(breach) = breach {
            line.breach(breach);
        }
    }

    fn succeeded(
        &mut self,
        line: &mut Line,
        attempt: Try,
        keys: &Keys,
        now: Instant,
    ) -> Result<Progress, Missing> {
        match attempt.step {
            Step::SignUp => self.signed_up(line, keys, now)?,
            Step::SignIn => {
                let expires_in = keys.expires_in()?;
                if let Some(account) = &mut self.account {
                    account.set_expires_in(expires_in);
                }
                self.signed_in(expires_in, now);
                if self.state == CloudState::Deregistering {
                    self.begin_try(line, Step::SignOff, 0, now, now);
                } else {
                    line.event(Event::SignedIn);
                    return Ok(Progress::SignedIn);
                }
            }
            Step::Refresh => {
                if let Some(account) = &mut self.account {
                    *account = account_of(account.uid(), keys)?;
                }
                line.event(Event::MemoryChanged);
                self.wait(Step::SignIn, 0, now);
            }
            Step::SignOff => self.erase(line),
            _ => (self.activity, self.session) = (Activity::Rest, false),
        }
        Ok(Progress::Done)
    }

    fn signed_up(&mut self, line: &mut Line, keys: &Keys, now: Instant) -> Result<(), Missing> {
        self.account = Some(account_of(keys.uid()?, keys)?);
        self.state = CloudState::Registered;
        if let Some(conf) = &mut self.conf {
            conf.token = None;
            if let Some(uri) = &keys.redirect_uri {
                // Device reference 13.5: the old server is forgotten, the sign-in goes to the new.
                conf.redirect(uri.clone());
                line.close();
            }
        }
        line.event(Event::MemoryChanged);
        self.wait(Step::SignIn, 0, now);
        Ok(())
    }

    fn unauthorized(&mut self, line: &mut Line, step: Step, now: Instant) {
        match step {
            Step::SignIn => {
                self.session = false;
                self.wait(Step::Refresh, 0, now);
            }
            Step::Refresh => self.erase(line),
            _ => self.refused(line, step, now),
        }
    }

    /// A final error.
    fn refused(&mut self, line: &mut Line, step: Step, now: Instant) {
        match step {
            Step::SignUp => self.give_up(line, step, LastError::ErrorAnswer),
            Step::Refresh => {
                self.account = None;
                self.give_up(line, step, LastError::RefreshFailed);
            }
            Step::SignIn => {
                line.close();
                self.wait(self.first_step(), 0, now);
            }
            // Its time limit ends it.
            Step::SignOff => {}
            _ => self.activity = Activity::Rest,
        }
    }
}

/// The account that an answer gives to this user.
fn account_of(uid: UserId, keys: &Keys) -> Result<Account, Missing> {
    Ok(Account::new(uid, keys.access_token()?, keys.refresh_token()?, keys.expires_in()?))
}
