//! Bodies of account, session and token refresh (`oic.r.account`, `oic.r.session`,
//! `oic.r.tokenrefresh`; device reference 5 to 7).

use serde::{Deserialize, Serialize};

/// Seconds of a token that never expires.
pub const NEVER_EXPIRES: i64 = -1;

/// POST `/oic/sec/account`: a device signs up.
#[derive(Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct SignUpRequest {
    /// The device's id, as text.
    pub di: String,
    /// The single-use token that the Mediator wrote as `at`. Older stacks call it `authcode`.
    #[serde(rename = "accesstoken", alias = "authcode")]
    pub access_token: String,
    /// The `apn`; the cloud's own provider when absent.
    #[serde(rename = "authprovider", default, skip_serializing_if = "Option::is_none")]
    pub auth_provider: Option<String>,
}

/// 2.04 to a sign-up. Devices need all four (device reference 1.3, rule 6).
#[derive(Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct SignUpResponse {
    /// For sign-in.
    #[serde(rename = "accesstoken")]
    pub access_token: String,
    /// For token refresh.
    #[serde(rename = "refreshtoken")]
    pub refresh_token: String,
    /// The user, the same for all the user's devices.
    pub uid: String,
    /// Seconds; [`NEVER_EXPIRES`] for ever. Never 0.
    #[serde(rename = "expiresin")]
    pub expires_in: i64,
    /// Another server of this cloud, to be used from now on.
    #[serde(rename = "redirecturi", default, skip_serializing_if = "Option::is_none")]
    pub redirect_uri: Option<String>,
}

/// POST `/oic/sec/session`: sign-in or sign-out. A sign-out may leave out all but `login`.
#[derive(Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct SessionRequest {
    /// The user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// The device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub di: Option<String>,
    /// From sign-up or the latest refresh.
    #[serde(rename = "accesstoken", default, skip_serializing_if = "Option::is_none")]
    pub access_token: Option<String>,
    /// True for sign-in, false for sign-out.
    pub login: bool,
}

/// 2.04 to a sign-in.
#[derive(Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct SessionResponse {
    /// Remaining seconds of the access token; [`NEVER_EXPIRES`] for ever. Never 0.
    #[serde(rename = "expiresin")]
    pub expires_in: i64,
}

/// POST `/oic/sec/tokenrefresh`.
#[derive(Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct RefreshRequest {
    /// The user.
    pub uid: String,
    /// The device.
    pub di: String,
    /// The current refresh token, or the previous one when the answer with it got lost.
    #[serde(rename = "refreshtoken")]
    pub refresh_token: String,
}

/// 2.04 to a token refresh.
#[derive(Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct RefreshResponse {
    /// The new one.
    #[serde(rename = "accesstoken")]
    pub access_token: String,
    /// The new one.
    #[serde(rename = "refreshtoken")]
    pub refresh_token: String,
    /// Seconds; [`NEVER_EXPIRES`] for ever. Never 0.
    #[serde(rename = "expiresin")]
    pub expires_in: i64,
}
