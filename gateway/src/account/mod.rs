//! Sign-up, sign-in, token refresh, sign-off: what an account is, and who may do what with it
//! (device reference 5 to 7).
//!
//! [`table`] holds users and devices, [`token`] makes and compares tokens, [`device_tokens`] holds
//! the single-use ones, [`record`] is what the store keeps, [`pace`] how often somebody may try.
//! [`rights`] decides; what follows from a
//! decision is done in `shard`, because it concerns connections and the directory too.

pub mod device_tokens;
pub mod pace;
pub mod record;
pub mod rights;
pub mod table;
pub mod token;

pub use device_tokens::{DeviceTokens, Presented};
pub use table::{Account, Accounts, Device, DeviceKey, Repeatable, User, UserKey};
