//! A user of the cloud: whose devices everything is about.

use loadtest::device::Kind;
use shared::channel::message::{Command, Reply};
use shared::ids::{DeviceId, UserId};

use crate::peer::Peer;
use crate::simulated::{FussyClient, FussyDevice};
use crate::world::World;

/// A user.
#[derive(Clone)]
pub struct User {
    /// Where the user lives.
    pub world: World,
    /// The user's id.
    pub id: UserId,
}

impl User {
    /// A single-use token for whichever device uses it first.
    pub fn token(&self) -> String {
        self.issue(None)
    }

    /// A single-use token for this device.
    pub fn token_for(&self, device: DeviceId) -> String {
        self.issue(Some(device))
    }

    fn issue(&self, device: Option<DeviceId>) -> String {
        match self.world.command(self.id, Command::IssueDeviceToken { device }) {
            Reply::DeviceToken { token, .. } => token,
            other => panic!("no token: {other:?}"),
        }
    }

    /// A scripted device that has signed up and in.
    pub fn signed_in_device(&self) -> Peer {
        let peer = self.world.connect();
        peer.sign_up(&self.token());
        peer.sign_in();
        peer
    }

    /// A scripted device whose certificate proves its id, signed up and in.
    pub fn signed_in_device_with_identity(&self) -> Peer {
        let peer = self.world.connect_with_identity(self.world.device_id());
        peer.sign_up(&self.token());
        peer.sign_in();
        peer
    }

    /// A scripted client that has signed up and in. It differs from a device in what it does only.
    pub fn signed_in_client(&self) -> Peer {
        self.signed_in_device()
    }

    /// A light as real ones are, signed in, its links published.
    pub fn light(&self) -> FussyDevice {
        self.device_of(Kind::Light)
    }

    /// A device of this kind as real ones are, signed in, its links published.
    pub fn device_of(&self, kind: Kind) -> FussyDevice {
        let device = self.world.device(kind, self.world.seed());
        device.configure(&self.token_for(device.id()));
        device.published();
        device
    }

    /// A client as real ones are, signed in.
    pub fn client(&self) -> FussyClient {
        let client = self.world.client(self.world.seed());
        client.configure(&self.token_for(client.id()));
        client.signed_in();
        client
    }
}
