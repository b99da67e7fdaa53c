//! What `api` asks as an authorization server (design: identity): of the user's shard about codes and
//! grants, and of the shard of partition 0 about the few records of the whole cloud.
//!
//! The records are also what the store keeps: their layout is on every disk.
#![expect(missing_docs, reason = "rkyv gives archived enum variants fields without comments")]

use std::fmt;

use crate::ids::{GrantId, UserId};
use crate::scope::Scopes;
use crate::secret::Secret;

/// About codes and grants. Commands with a token in them go to the partition that the token names,
/// the others to the user's.
#[derive(Clone, PartialEq, Eq, Debug, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub enum AuthorizationCommand {
    /// The user has consented: a code, good for one grant. To the user's partition;
    /// [`super::message::Reply::AuthorizationCode`].
    IssueCode {
        client: String,
        redirect_uri: String,
        scopes: Scopes,
        /// SHA-256 of the verifier that must come with the code (RFC 7636, S256).
        challenge: Option<[u8; 32]>,
        lifetime_secs: u32,
    },
    /// A client exchanges a code: [`super::message::Reply::Granted`].
    RedeemCode {
        code: Secret,
        client: String,
        redirect_uri: String,
        /// SHA-256 of the verifier that came with it.
        challenge: Option<[u8; 32]>,
    },
    /// A client exchanges a refresh token: [`super::message::Reply::Granted`].
    Refresh {
        token: Secret,
        client: String,
        /// Not more than the grant has; all of it when none.
        scopes: Option<Scopes>,
    },
    /// What a refresh token stands for, without exchanging it: [`super::message::Reply::Granted`].
    ReadRefreshToken { token: Secret },
    /// A client gives up the grant that a refresh token stands for: [`super::message::Reply::Done`].
    RevokeRefreshToken { token: Secret, client: String },
    /// Whether the grant that the command itself is made under still stands:
    /// [`super::message::Reply::Done`].
    CheckGrant,
    /// A client gives up a grant: [`super::message::Reply::Done`].
    RevokeGrant { grant: GrantId, client: String },
    /// All grants of the user end: [`super::message::Reply::Done`].
    RevokeGrants,
}

/// What a client has been granted.
#[derive(Clone, PartialEq, Eq, Debug, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub struct Granted {
    /// Whose devices.
    pub user: UserId,
    /// Names the grant.
    pub grant: GrantId,
    /// To whom.
    pub client: String,
    /// What.
    pub scopes: Scopes,
    /// What the next access token is got with.
    pub refresh_token: Secret,
}

/// About the records of the whole cloud, in partition 0.
#[derive(Clone, PartialEq, Eq, Debug, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub enum RegistryCommand {
    /// [`super::message::Reply::Client`].
    ReadClient { id: String },
    /// In the order of their ids: [`super::message::Reply::Clients`].
    ListClients { after: Option<String> },
    /// Adds a client, or replaces the one with this revision: [`super::message::Reply::Done`].
    PutClient {
        client: ClientRecord,
        /// The revision that is replaced; none to add one.
        replaces: Option<u64>,
    },
    /// [`super::message::Reply::Done`].
    RemoveClient { id: String },
    /// [`super::message::Reply::Login`].
    ReadLogin { name: String },
    /// In the order of their names: [`super::message::Reply::Logins`].
    ListLogins { after: Option<String> },
    /// Adds a login, or replaces the one with this revision: [`super::message::Reply::Done`].
    PutLogin {
        login: LoginRecord,
        /// The revision that is replaced; none to add one.
        replaces: Option<u64>,
    },
    /// [`super::message::Reply::Done`].
    RemoveLogin { name: String },
    /// The keys that access tokens are signed with, the newest first:
    /// [`super::message::Reply::SigningKeys`].
    ReadSigningKeys,
    /// Adds a key if the newest one is the one named; the keys afterwards, as
    /// [`super::message::Reply::SigningKeys`].
    AddSigningKey {
        key: SigningKey,
        /// The newest key that is known; none if none is.
        newest: Option<String>,
    },
}

/// A partner cloud or an app (RFC 6749 §2).
#[derive(Clone, PartialEq, Eq, Debug, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub struct ClientRecord {
    /// `client_id`.
    pub id: String,
    /// Rises with every change.
    pub revision: u64,
    /// As users see it.
    pub name: String,
    /// Whom to talk to, as operators see it.
    pub contact: String,
    /// At most two, so that one can be replaced while the other is in use.
    pub secrets: Vec<ClientSecret>,
    /// Compared character by character.
    pub redirect_uris: Vec<String>,
    /// What may be asked for.
    pub scopes: Scopes,
    /// Whether it may ask about any token, as resource servers do (RFC 7662).
    pub introspects: bool,
    /// Authorities of its own servers' certificates, in PEM; empty for none.
    pub authorities: String,
    /// Where its events may go: hosts, and all those below them; anywhere when empty.
    pub events_hosts: Vec<String>,
    /// A client that is not is unknown to everybody but operators.
    pub enabled: bool,
    /// Seconds since 1970.
    pub created: u64,
}

/// What is kept of a client's secret.
#[derive(Clone, PartialEq, Eq, Debug, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub struct ClientSecret {
    /// Random.
    pub salt: [u8; 16],
    /// SHA-256 of salt and secret. The secret is random enough to need no slower one.
    pub digest: [u8; 32],
    /// Seconds since 1970.
    pub created: u64,
}

/// How a user logs in.
#[derive(Clone, PartialEq, Eq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub struct LoginRecord {
    /// In lower case.
    pub name: String,
    /// Rises with every change.
    pub revision: u64,
    /// Who it is.
    pub user: UserId,
    /// The password's hash with its parameters, as a PHC string.
    pub password_hash: String,
    /// A login that is not does not open.
    pub enabled: bool,
    /// Seconds since 1970.
    pub created: u64,
}

impl fmt::Debug for LoginRecord {
    /// Without the hash.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LoginRecord({:?}, {}, revision {})", self.name, self.user, self.revision)
    }
}

/// A key that signs access tokens.
#[derive(Clone, PartialEq, Eq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub struct SigningKey {
    /// `kid`: the thumbprint of the public key (RFC 7638).
    pub id: String,
    /// Seconds since 1970.
    pub created: u64,
    /// The pair as PKCS #8.
    pub pkcs8: Vec<u8>,
}

impl fmt::Debug for SigningKey {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({:?}, of {})", self.id, self.created)
    }
}
