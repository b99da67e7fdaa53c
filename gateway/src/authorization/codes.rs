//! Authorization codes by digest (RFC 6749 §4.1.2, RFC 7636 §4.6).
//!
//! A code that was exchanged is kept for a while: whoever presents it again may have stolen it, and
//! ends what was granted for it (cloud reference 3.5).

use std::collections::{BTreeMap, BTreeSet};

use shared::ids::{GrantId, UserId};
use shared::scope::Scopes;
use shared::time::UnixTime;

use crate::seeded::{Bug, is_planted};

/// What a code stands for; also the row that the store keeps.
#[derive(Clone, PartialEq, Eq, Debug, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub struct Code {
    /// Who consented.
    pub user: UserId,
    /// To whom it was issued.
    pub client: String,
    /// Where it was sent.
    pub redirect_uri: String,
    /// What was consented to.
    pub scopes: Scopes,
    /// SHA-256 of the verifier that must come with it.
    pub challenge: Option<[u8; 32]>,
    /// Seconds since 1970: when it stops being good, or, once redeemed, being remembered.
    pub expires: u64,
    /// What was granted for it.
    pub redeemed: Option<GrantId>,
}

/// What comes with a code.
#[derive(Clone, Copy, Debug)]
pub struct Presented<'a> {
    /// By whom it is presented.
    pub client: &'a str,
    /// Where it came from.
    pub redirect_uri: &'a str,
    /// SHA-256 of the verifier.
    pub challenge: Option<[u8; 32]>,
}

/// What a presented code is good for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// A grant.
    Good(Code),
    /// It was exchanged before: the grant has to end.
    Replayed(GrantId),
    /// Nothing.
    Refused,
}

/// The codes of a shard's users.
#[derive(Default)]
pub struct Codes {
    by_digest: BTreeMap<[u8; 32], Code>,
    by_user: BTreeSet<(UserId, [u8; 32])>,
    by_expiry: BTreeSet<(u64, [u8; 32])>,
}

impl Codes {
    /// Adds a code, or replaces it.
    pub fn put(&mut self, digest: [u8; 32], code: Code) {
        self.remove(&digest);
        self.by_user.insert((code.user, digest));
        self.by_expiry.insert((code.expires, digest));
        self.by_digest.insert(digest, code);
    }

    /// Takes a code out.
    pub fn remove(&mut self, digest: &[u8; 32]) {
        if let Some(code) = self.by_digest.remove(digest) {
            self.by_user.remove(&(code.user, *digest));
            self.by_expiry.remove(&(code.expires, *digest));
        }
    }

    /// A code, whatever its state.
    pub fn get(&self, digest: &[u8; 32]) -> Option<&Code> {
        self.by_digest.get(digest)
    }

    /// What a presented code is good for. A code that is presented wrongly stays good for whoever
    /// presents it right: its client may have been in error, and others cannot guess it.
    pub fn judge(&self, digest: &[u8; 32], presented: Presented<'_>, now: UnixTime) -> Verdict {
        let Some(code) = self.by_digest.get(digest) else { return Verdict::Refused };
        if code.client != presented.client {
            return Verdict::Refused;
        }
        if let Some(grant) = code.redeemed
            && !is_planted(Bug::CodesAreGoodTwice)
        {
            return Verdict::Replayed(grant);
        }
        let fits = code.expires > now.0
            && code.redirect_uri == presented.redirect_uri
            && code.challenge == presented.challenge;
        if fits { Verdict::Good(code.clone()) } else { Verdict::Refused }
    }

    /// Codes of a user that have not expired, exchanged or not.
    pub fn count_of(&self, user: UserId, now: UnixTime) -> usize {
        let of_user = self.by_user.range((user, [0; 32])..=(user, [0xff; 32]));
        of_user.filter(|(_, digest)| self.by_digest[digest].expires > now.0).count()
    }

    /// All codes of a user, whatever their state.
    pub fn of_user(&self, user: UserId) -> impl Iterator<Item = [u8; 32]> {
        let of_user = self.by_user.range((user, [0; 32])..=(user, [0xff; 32]));
        of_user.map(|(_, digest)| *digest)
    }

    /// Codes that have expired, the oldest first.
    pub fn expired(&self, now: UnixTime) -> impl Iterator<Item = (UserId, [u8; 32])> {
        let expired = self.by_expiry.range(..=(now.0, [0xff; 32]));
        expired.map(|(_, digest)| (self.by_digest[digest].user, *digest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: [u8; 32] = [1; 32];
    const NOW: UnixTime = UnixTime(1000);

    fn code() -> Code {
        Code {
            user: UserId::from_bytes([1; 16]),
            client: "partner".into(),
            redirect_uri: "https://partner.example/cb".into(),
            scopes: Scopes::READ,
            challenge: Some([7; 32]),
            expires: 1060,
            redeemed: None,
        }
    }

    fn codes(code: Code) -> Codes {
        let mut codes = Codes::default();
        codes.put(DIGEST, code);
        codes
    }

    fn presented() -> Presented<'static> {
        Presented {
            client: "partner",
            redirect_uri: "https://partner.example/cb",
            challenge: Some([7; 32]),
        }
    }

    #[test]
    fn a_code_is_good_exactly_as_it_was_issued() {
        let codes = codes(code());
        let judge = |presented| codes.judge(&DIGEST, presented, NOW);
        assert_eq!(judge(presented()), Verdict::Good(code()));
        for wrong in [
            Presented { client: "other", ..presented() },
            Presented { redirect_uri: "https://partner.example/cb/", ..presented() },
            Presented { challenge: Some([8; 32]), ..presented() },
            Presented { challenge: None, ..presented() },
        ] {
            assert_eq!(judge(wrong), Verdict::Refused, "{wrong:?}");
        }
        assert_eq!(codes.judge(&[2; 32], presented(), NOW), Verdict::Refused);
        assert_eq!(codes.judge(&DIGEST, presented(), UnixTime(1060)), Verdict::Refused);
    }

    #[test]
    fn a_verifier_without_a_challenge_is_refused() {
        let codes = codes(Code { challenge: None, ..code() });
        assert_eq!(codes.judge(&DIGEST, presented(), NOW), Verdict::Refused);
        let without = Presented { challenge: None, ..presented() };
        assert!(matches!(codes.judge(&DIGEST, without, NOW), Verdict::Good(_)));
    }

    #[test]
    fn a_code_that_was_exchanged_names_its_grant_to_its_own_client_only() {
        let grant = GrantId::from_bytes([9; 16]);
        let codes = codes(Code { redeemed: Some(grant), ..code() });
        assert_eq!(codes.judge(&DIGEST, presented(), NOW), Verdict::Replayed(grant));
        let wrong = Presented { client: "other", ..presented() };
        assert_eq!(codes.judge(&DIGEST, wrong, NOW), Verdict::Refused);
    }

    #[test]
    fn a_code_that_is_taken_out_leaves_nothing() {
        let mut codes = codes(code());
        assert_eq!(codes.count_of(code().user, NOW), 1);
        assert_eq!(codes.count_of(code().user, UnixTime(1060)), 0, "it has expired");
        assert_eq!(codes.expired(UnixTime(1060)).count(), 1);
        codes.remove(&DIGEST);
        assert_eq!(codes.count_of(code().user, NOW), 0);
        assert_eq!(codes.expired(UnixTime(1060)).count(), 0);
    }
}
