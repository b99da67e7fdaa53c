//! Grants: the links between users and clients, and what a refresh token is good for
//! (RFC 6749 §6, cloud reference 3.8).

use std::collections::{BTreeMap, BTreeSet};

use shared::ids::{GrantId, UserId};
use shared::scope::Scopes;
use shared::time::UnixTime;

use crate::limits::{GRANT_UNUSED_SECS, REFRESH_OVERLAP_SECS};

/// What was granted; also the row that the store keeps.
#[derive(Clone, PartialEq, Eq, Debug, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub struct Grant {
    /// By whom.
    pub user: UserId,
    /// To whom.
    pub client: String,
    /// What.
    pub scopes: Scopes,
    /// Seconds since 1970.
    pub created: u64,
    /// Counts the refreshes: names the refresh token that is good.
    pub generation: u32,
    /// Seconds since 1970: when that token was given out first.
    pub renewed: u64,
}

/// What a refresh token is good for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refreshed {
    /// The grant with its next generation.
    New(Grant),
    /// The token after it, which somebody else has got already: consumers refresh from several
    /// workers at once, and answers get lost.
    Again,
    /// It was used long ago: it has been stolen, or its successor has. The grant has to end.
    Reused,
    /// Nothing.
    Refused,
}

impl Grant {
    /// Whether it was not used for so long that it has ended.
    pub fn is_expired(&self, now: UnixTime) -> bool {
        self.renewed + GRANT_UNUSED_SECS <= now.0
    }

    /// What the refresh token of a generation is good for.
    pub fn refresh(&self, generation: u32, now: UnixTime) -> Refreshed {
        if self.is_expired(now) || generation > self.generation {
            return Refreshed::Refused;
        }
        if generation == self.generation {
            let generation = self.generation + 1;
            return Refreshed::New(Self { generation, renewed: now.0, ..self.clone() });
        }
        let superseded = generation + 1 == self.generation;
        if superseded && now.0 < self.renewed + REFRESH_OVERLAP_SECS {
            Refreshed::Again
        } else {
            Refreshed::Reused
        }
    }
}

/// The grants of a shard's users.
#[derive(Default)]
pub struct Grants {
    by_id: BTreeMap<GrantId, Grant>,
    by_user: BTreeSet<(UserId, GrantId)>,
    by_use: BTreeSet<(u64, GrantId)>,
}

impl Grants {
    /// Adds a grant, or replaces it.
    pub fn put(&mut self, id: GrantId, grant: Grant) {
        self.remove(id);
        self.by_user.insert((grant.user, id));
        self.by_use.insert((grant.renewed, id));
        self.by_id.insert(id, grant);
    }

    /// Takes a grant out.
    pub fn remove(&mut self, id: GrantId) {
        if let Some(grant) = self.by_id.remove(&id) {
            self.by_user.remove(&(grant.user, id));
            self.by_use.remove(&(grant.renewed, id));
        }
    }

    /// A grant.
    pub fn get(&self, id: GrantId) -> Option<&Grant> {
        self.by_id.get(&id)
    }

    /// Whether a user has such a grant, and it stands.
    pub fn is_live(&self, user: UserId, id: GrantId, now: UnixTime) -> bool {
        self.get(id).is_some_and(|grant| grant.user == user && !grant.is_expired(now))
    }

    /// The grants of a user in the order of their ids.
    pub fn of_user(&self, user: UserId) -> impl Iterator<Item = (GrantId, &Grant)> {
        let first = GrantId::from_bytes([0; 16]);
        let last = GrantId::from_bytes([0xff; 16]);
        self.by_user.range((user, first)..=(user, last)).map(|(_, id)| (*id, &self.by_id[id]))
    }

    /// Grants that were not used for too long, the oldest first.
    pub fn expired(&self, now: UnixTime) -> impl Iterator<Item = (UserId, GrantId)> {
        let oldest = self.by_use.iter().map(|(_, id)| (*id, &self.by_id[id]));
        let expired = oldest.take_while(move |(_, grant)| grant.is_expired(now));
        expired.map(|(id, grant)| (grant.user, id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant() -> Grant {
        Grant {
            user: UserId::from_bytes([1; 16]),
            client: "partner".into(),
            scopes: Scopes::READ,
            created: 1000,
            generation: 5,
            renewed: 2000,
        }
    }

    /// Case 42, and the table of cloud reference 3.8.
    #[test]
    fn a_refresh_token_is_good_once_and_the_one_before_for_a_minute() {
        let renewed = Grant { generation: 6, renewed: 2030, ..grant() };
        for (generation, now, outcome) in [
            (5, 2030, Refreshed::New(renewed)),
            (4, 2059, Refreshed::Again),
            (4, 2060, Refreshed::Reused),
            (3, 2001, Refreshed::Reused),
            (0, 2001, Refreshed::Reused),
            (6, 2001, Refreshed::Refused),
            (5, 2000 + GRANT_UNUSED_SECS, Refreshed::Refused),
        ] {
            assert_eq!(grant().refresh(generation, UnixTime(now)), outcome, "{generation} {now}");
        }
    }

    #[test]
    fn a_grant_is_its_users_and_ends_when_it_is_not_used() {
        let id = GrantId::from_bytes([7; 16]);
        let mut grants = Grants::default();
        grants.put(id, grant());
        let late = UnixTime(2000 + GRANT_UNUSED_SECS);
        assert!(grants.is_live(grant().user, id, UnixTime(2001)));
        assert!(!grants.is_live(UserId::from_bytes([2; 16]), id, UnixTime(2001)));
        assert!(!grants.is_live(grant().user, id, late));
        assert_eq!(grants.expired(UnixTime(2001)).count(), 0);
        assert_eq!(grants.expired(late).collect::<Vec<_>>(), [(grant().user, id)]);
        grants.put(id, Grant { renewed: 3000, ..grant() });
        assert_eq!(grants.expired(late).count(), 0, "it was used since");
        grants.remove(id);
        assert_eq!(grants.of_user(grant().user).count(), 0);
    }
}
