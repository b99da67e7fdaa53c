//! Whether a token gives the right that a request needs. Pure decisions.

use shared::ids::{DeviceId, UserId};
use shared::ocf::account::NEVER_EXPIRES;
use shared::time::UnixTime;

use super::table::{Account, Accounts, DeviceKey};
use super::token::{self, Kind, Origin};
use crate::config::TokenLifetime;
use crate::reject::Reject;
use crate::seeded::{Bug, is_planted};
use crate::store::StoreKey;

/// When a token of this lifetime that is made now expires.
pub fn expiry(lifetime: TokenLifetime, now: UnixTime) -> Option<UnixTime> {
    match lifetime {
        TokenLifetime::Permanent => None,
        TokenLifetime::Limited(lifetime) => Some(now.plus_secs(lifetime.as_secs())),
    }
}

/// `expiresin` of an answer: remaining seconds, never 0, because real devices then do nothing when
/// the time comes (device reference 6.1).
pub fn expires_in(expires: Option<UnixTime>, now: UnixTime) -> i64 {
    expires.map_or(NEVER_EXPIRES, |at| i64::try_from(at.secs_after(now)).unwrap_or(i64::MAX).max(1))
}

/// The pair of tokens of an account.
pub struct Pair {
    /// For sign-in.
    pub access: String,
    /// For token refresh.
    pub refresh: String,
}

/// Makes the pair of tokens of an account.
pub fn pair(key: &StoreKey, origin: &Origin) -> Pair {
    Pair { access: key.token(origin, Kind::Access), refresh: key.token(origin, Kind::Refresh) }
}

/// A device presents its access token to sign in.
pub fn check_access(
    accounts: &Accounts,
    key: &StoreKey,
    user: UserId,
    device: DeviceId,
    presented: &str,
    now: UnixTime,
) -> Result<DeviceKey, Reject> {
    // One text for all of it: who has no right learns nothing about why.
    const REFUSED: Reject = Reject::unauthorized("invalid access token");
    let found = accounts.device_of_user(user, device).ok_or(REFUSED)?;
    if !key.is_token(&accounts.origin(found), Kind::Access, presented) {
        return Err(REFUSED);
    }
    match accounts[found].account.expires {
        Some(at) if at <= now => Err(Reject::unauthorized("access token expired")),
        _ => Ok(found),
    }
}

/// What a right refresh token leads to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refreshed {
    /// The answer of the refresh before may have been lost: the same pair again.
    Again(DeviceKey),
    /// A new account state, to be committed before its tokens are given out.
    New(DeviceKey, Account),
}

/// A device presents a refresh token. 4.01 makes it erase its configuration: only what is known to
/// be bad is refused (device reference 1.3, rules 9 and 10).
pub fn check_refresh(
    accounts: &Accounts,
    key: &StoreKey,
    user: UserId,
    device: DeviceId,
    presented: &str,
    lifetime: TokenLifetime,
    now: UnixTime,
) -> Result<Refreshed, Reject> {
    const REFUSED: Reject = Reject::unauthorized("invalid refresh token").and_close();
    let found = accounts.device_of_user(user, device).ok_or(REFUSED)?;
    let account = &accounts[found].account;
    let origin = accounts.origin(found);
    if key.is_token(&origin, Kind::Refresh, presented) {
        let account = Account {
            generation: account.generation.wrapping_add(1),
            previous_counts: !is_planted(Bug::RefreshesCannotBeRepeated),
            expires: expiry(lifetime, now),
            repeatable: None,
            ..account.clone()
        };
        return Ok(Refreshed::New(found, account));
    }
    let before = Origin { generation: origin.generation.wrapping_sub(1), ..origin };
    if !account.previous_counts || !key.is_token(&before, Kind::Refresh, presented) {
        return Err(REFUSED);
    }
    // The device may have been away for days since: the pair that it never got must be worth having.
    match account.expires {
        Some(at) if at <= now.plus_secs(60) => {
            let account = Account { expires: expiry(lifetime, now), ..account.clone() };
            Ok(Refreshed::New(found, account))
        }
        _ => Ok(Refreshed::Again(found)),
    }
}

/// The partition in a token must be that of the user who is named beside it, else the token is bad.
pub fn routes_to(presented: &str, user: UserId) -> bool {
    token::partition(presented) == Some(shared::placement::PartitionId::of_user(user))
}
