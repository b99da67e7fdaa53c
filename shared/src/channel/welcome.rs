//! What the gateway answers to an `api` process that introduces itself.

use crate::ids::CloudId;

/// Longest endpoint, in bytes.
const ENDPOINT_BYTES_MAX: usize = 512;

/// The answer to a Hello of the right version.
#[derive(Clone, PartialEq, Eq, Debug, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub(super) enum Answer {
    /// The descriptors follow.
    Welcome(Welcome),
    /// Nothing follows.
    Refused(Refusal),
}

/// What an `api` process has to know of the gateway.
#[derive(Clone, PartialEq, Eq, Debug, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub(super) struct Welcome {
    /// The cloud's own id.
    pub cloud: CloudId,
    /// Where devices find the cloud.
    pub endpoint: String,
    /// Number of shards.
    pub shards: u16,
    /// Size of each ring.
    pub ring_bytes: u32,
}

/// Why the gateway does not want an `api` process.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    Debug,
    thiserror::Error,
    rkyv::Archive,
    rkyv::Serialize,
    rkyv::Deserialize,
)]
pub enum Refusal {
    /// Neither its user nor one of its groups is allowed.
    #[error("its user and groups are not among those that the gateway allows")]
    NotAllowed,
    /// There are as many as the gateway is configured for.
    #[error("as many api processes as the gateway allows are connected")]
    TooManyProcesses,
    /// The gateway is about to stop.
    #[error("the gateway is stopping")]
    Stopping,
}

/// Whether devices can be told this address: `coaps+tcp://host:port`.
pub(super) fn is_endpoint(text: &str) -> bool {
    text.len() <= ENDPOINT_BYTES_MAX
        && text.bytes().all(|byte| byte.is_ascii_graphic())
        && text.strip_prefix("coaps+tcp://").is_some_and(|authority| {
            let (host, port) = authority.rsplit_once(':').unwrap_or_default();
            !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_names_scheme_host_and_port() {
        for endpoint in ["coaps+tcp://cloud.example:5684", "coaps+tcp://[2001:db8::1]:443"] {
            assert!(is_endpoint(endpoint), "{endpoint}");
        }
        for text in [
            "",
            "cloud.example:5684",
            "coap+tcp://cloud.example:5683",
            "coaps+tcp://cloud.example",
            "coaps+tcp://:5684",
            "coaps+tcp://cloud.example:0",
            "coaps+tcp://cloud.example:99999",
            "coaps+tcp://cloud example:5684",
        ] {
            assert!(!is_endpoint(text), "{text}");
        }
    }
}
