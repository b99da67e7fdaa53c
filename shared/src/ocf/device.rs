//! Whether a device can be reached, and what it says of itself (`oic.wk.d`).

/// State of a device's cloud session, the `status` of cloud reference 4.3.
#[derive(Clone, Copy, PartialEq, Eq, Debug, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub enum Status {
    /// Connected and signed in.
    Online,
    /// Signed up, not signed in.
    Offline,
}

impl Status {
    /// As the cloud API spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Offline => "offline",
        }
    }
}
