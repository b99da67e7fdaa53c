//! How a peer gets in: sign-up, sign-in, refresh, and what it makes of the answers.

use shared::coap::ResponseType;

use super::{Session, Stored};
use crate::message::{Msg, map, post};
use crate::simulation::agenda::LinkId;
use crate::simulation::model::asked::What;
use crate::simulation::run::Simulation;

impl Simulation {
    /// The next step of a peer that has a link and no session.
    pub(super) fn enter_cloud(&mut self, number: usize, link: LinkId) {
        let peer = &self.peers[number];
        let di = peer.di.to_string();
        let (what, message) = match (&peer.token, &peer.stored) {
            (Some(token), _) => {
                let body = map([("di", di.into()), ("accesstoken", token.clone().into())]);
                (What::SignUp { token: token.clone() }, post("/oic/sec/account", body))
            }
            (None, Some(stored)) if peer.refreshes => {
                let body = map([
                    ("uid", stored.uid.clone().into()),
                    ("di", di.into()),
                    ("refreshtoken", stored.refresh.clone().into()),
                ]);
                let what = What::Refresh { refresh: stored.refresh.clone() };
                (what, post("/oic/sec/tokenrefresh", body))
            }
            (None, Some(stored)) => {
                let what = What::SignIn { access: stored.access.clone() };
                (what, post("/oic/sec/session", session(&di, stored, true)))
            }
            (None, None) => return self.leave(number, true),
        };
        self.peers[number].session = Session::Entering;
        let signs_up = matches!(what, What::SignUp { .. });
        let device = peer_device(self, number);
        let token = self.ask(link, what, message);
        if signs_up {
            self.model.facts.doubt(device, (link as u64, token), self.instant);
        }
    }

    /// An answer to something that a peer has asked.
    pub(super) fn entered(&mut self, number: usize, link: LinkId, what: &What, message: &Msg) {
        let changed = message.code == ResponseType::Changed;
        match what {
            What::SignUp { .. } | What::Refresh { .. } if changed => {
                self.keep(number, link, message);
            }
            What::SignUp { .. } => {
                self.peers[number].session = Session::Out;
                if message.code != ResponseType::ServiceUnavailable {
                    self.peers[number].token = None;
                    self.leave(number, true);
                }
                self.pause(number, 1, 10);
            }
            What::SignIn { .. } if changed => {
                let peer = &mut self.peers[number];
                peer.session = Session::In;
                if self.dice.below(2) == 0 {
                    self.publish(number, link);
                }
            }
            What::SignIn { .. } => {
                self.peers[number].session = Session::Out;
                match message.code == ResponseType::Unauthorized {
                    true => self.peers[number].refreshes = true,
                    false => self.pause(number, 1, 10),
                }
            }
            What::Refresh { .. } if message.code == ResponseType::Unauthorized => {
                // A real device erases its configuration.
                self.peers[number].stored = None;
                self.peers[number].refreshes = false;
                self.leave(number, true);
            }
            What::Refresh { .. } => {
                self.leave(number, true);
                self.pause(number, 1, 10);
            }
            What::Download(_) | What::Upload(_) => self.go_on_in_blocks(link, what, message),
            What::SignOut => self.peers[number].session = Session::Out,
            What::SignOff { .. } if message.code == ResponseType::Deleted => {
                self.peers[number].stored = None;
                self.leave(number, true);
            }
            _ => {}
        }
    }

    /// Stores the tokens of an answer.
    fn keep(&mut self, number: usize, link: LinkId, message: &Msg) {
        let uid = message.member("uid").and_then(|uid| uid.into_text().ok());
        let seed = self.links[link].seed;
        let peer = &mut self.peers[number];
        let uid = uid.or_else(|| peer.stored.as_ref().map(|stored| stored.uid.clone()));
        peer.stored = Some(Stored {
            uid: uid.unwrap_or_default(),
            access: message.member_text("accesstoken"),
            refresh: message.member_text("refreshtoken"),
            seed,
        });
        peer.token = None;
        peer.refreshes = false;
        // One that refreshes while it is signed in stays so.
        if peer.session == Session::Entering {
            peer.session = Session::Out;
        }
    }

    /// Refreshes while signed in.
    pub(super) fn refresh_early(&mut self, number: usize, link: LinkId) {
        let peer = &self.peers[number];
        let Some(stored) = peer.stored.clone() else { return };
        let body = map([
            ("uid", stored.uid.into()),
            ("di", peer.di.to_string().into()),
            ("refreshtoken", stored.refresh.clone().into()),
        ]);
        let what = What::Refresh { refresh: stored.refresh };
        self.ask(link, what, post("/oic/sec/tokenrefresh", body));
    }

    /// Signs out, and stays on the link.
    pub(super) fn sign_out(&mut self, number: usize, link: LinkId) {
        let peer = &self.peers[number];
        let Some(stored) = peer.stored.clone() else { return };
        let body = session(&peer.di.to_string(), &stored, false);
        self.peers[number].session = Session::Entering;
        self.ask(link, What::SignOut, post("/oic/sec/session", body));
    }
}

fn peer_device(simulation: &Simulation, number: usize) -> shared::ids::DeviceId {
    simulation.peers[number].di
}

fn session(di: &str, stored: &Stored, login: bool) -> ciborium::Value {
    map([
        ("uid", stored.uid.clone().into()),
        ("di", di.into()),
        ("accesstoken", stored.access.clone().into()),
        ("login", login.into()),
    ])
}
