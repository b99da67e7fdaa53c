//! What a device keeps over a power cut, as real ones keep it in flash.

use serde::{Deserialize, Serialize};
use shared::ids::{CloudId, DeviceId, UserId};

use super::conf::CloudConf;
use super::registration::Account;

/// The lasting part of a device or client. Holds tokens: whoever stores it keeps it secret.
#[derive(Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct Memory {
    /// Its id.
    pub di: DeviceId,
    /// Its cloud configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloud: Option<CloudMemory>,
    /// Its account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountMemory>,
    /// `clec`.
    #[serde(default)]
    pub last_error: u8,
    /// Its links were published, and never are again.
    #[serde(default)]
    pub published: bool,
}

/// The cloud configuration, by the names of `oic.r.coapcloudconf`.
#[derive(Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct CloudMemory {
    cis: Box<str>,
    sid: CloudId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    apn: Option<Box<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at: Option<Box<str>>,
}

/// What the cloud gave, by the names of `oic.r.account`.
#[derive(Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct AccountMemory {
    uid: UserId,
    accesstoken: Box<str>,
    refreshtoken: Box<str>,
    expiresin: i64,
}

impl From<CloudConf> for CloudMemory {
    fn from(conf: CloudConf) -> Self {
        Self { cis: conf.cis, sid: conf.sid, apn: conf.provider, at: conf.token }
    }
}

impl From<CloudMemory> for CloudConf {
    fn from(memory: CloudMemory) -> Self {
        Self { cis: memory.cis, sid: memory.sid, provider: memory.apn, token: memory.at }
    }
}

impl From<Account> for AccountMemory {
    fn from(account: Account) -> Self {
        Self {
            uid: account.uid,
            accesstoken: account.access_token,
            refreshtoken: account.refresh_token,
            expiresin: account.expires_in,
        }
    }
}

impl From<AccountMemory> for Account {
    fn from(memory: AccountMemory) -> Self {
        Self {
            uid: memory.uid,
            access_token: memory.accesstoken,
            refresh_token: memory.refreshtoken,
            expires_in: memory.expiresin,
        }
    }
}
