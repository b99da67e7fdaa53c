//! What a device keeps over a power cut, as real ones keep it in flash.

use serde::{Deserialize, Serialize};
use shared::ids::{CloudId, DeviceId, UserId};

use super::conf::{Cloud, CloudConf, Conf};
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

impl From<&Conf> for CloudMemory {
    fn from(conf: &Conf) -> Self {
        let Cloud { cis, sid, provider } = &*conf.cloud;
        Self { cis: cis.clone(), sid: *sid, apn: provider.clone(), at: conf.token.clone() }
    }
}

impl From<CloudMemory> for Conf {
    fn from(memory: CloudMemory) -> Self {
        let CloudMemory { cis, sid, apn: provider, at: token } = memory;
        CloudConf { cis, sid, provider, token }.into()
    }
}

impl From<&Account> for AccountMemory {
    fn from(account: &Account) -> Self {
        let (access, refresh) = account.tokens();
        Self {
            uid: account.uid(),
            accesstoken: access.into(),
            refreshtoken: refresh.into(),
            expiresin: account.expires_in(),
        }
    }
}

impl From<AccountMemory> for Account {
    fn from(memory: AccountMemory) -> Self {
        let AccountMemory { uid, accesstoken, refreshtoken, expiresin } = memory;
        Self::new(uid, &accesstoken, &refreshtoken, expiresin)
    }
}
