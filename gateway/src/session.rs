//! Who is signed in on a connection.

use crate::account::{DeviceKey, UserKey};

/// The session of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Session {
    /// Nobody.
    SignedOut,
    /// This device.
    SignedIn(SignedIn),
}

/// The proof that a device has signed in; what needs a session takes one of these.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SignedIn {
    device: DeviceKey,
    user: UserKey,
}

impl SignedIn {
    /// Only a sign-in with a token that was found right makes one.
    pub(crate) fn new(device: DeviceKey, user: UserKey) -> Self {
        Self { device, user }
    }

    /// The device.
    pub fn device(self) -> DeviceKey {
        self.device
    }

    /// Its user.
    pub fn user(self) -> UserKey {
        self.user
    }
}
