//! What a careful observer sees the cloud do wrong: the sixteen rules of device reference 1.3, each
//! with the number that the reference gives it.
//!
//! Rules 8 and 16 cannot be seen from inside one connection of one device: that links outlive a
//! disconnect is seen by a client, and the 40 ms of a delayed acknowledgement by a stop watch.

use std::fmt;

use shared::coap::Code;

use super::step::Step;

/// A rule that the cloud has broken, and how.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Breach {
    /// Rule 1: the connection was aborted before its first answer; devices send no CSM.
    AbortedWithoutCsm,
    /// Rule 2: a frame below 7 bytes. The receiver hangs for the rest of the connection.
    ShortFrame {
        /// Its length.
        bytes: usize,
    },
    /// Rule 3: more than one frame in a TLS record. The second waits for the next record.
    SeveralFramesInRecord,
    /// Rule 4: an option, or a value of one, that devices cannot stand. They hang up.
    ForbiddenOption {
        /// Its number.
        number: u16,
    },
    /// Rule 5: an error text with a Content-Format.
    FormattedErrorText,
    /// Rule 6: a key is missing or empty in the answer to a sign-up, sign-in or refresh.
    MissingKey {
        /// Whose answer.
        step: Step,
        /// Which key.
        key: &'static str,
    },
    /// Rule 7: a publish was answered with something other than 2.04.
    PublishCode {
        /// With what.
        code: Code,
    },
    /// Rule 7: `href` and `ins` of a published link are missing from the answer.
    PublishedLinkMissing {
        /// Which link.
        href: &'static str,
    },
    /// Rule 9: the refresh token was refused though the device knows no newer one, after an answer
    /// to an earlier refresh got lost.
    LostRefreshNotRepeatable,
    /// Rule 10: a code that devices take as final, for what must be trouble of the cloud's own.
    FinalCode {
        /// The step that it answered.
        step: Step,
        /// The code.
        code: Code,
    },
    /// Rule 11: the connection was closed while a step waited for its answer or, after 5.03, for
    /// its next try.
    ClosedDuring {
        /// The step.
        step: Step,
    },
    /// Rule 12: the single-use token was refused when it was repeated after a lost answer.
    SignUpNotRepeatable,
    /// Rule 13: a discovered link that client stacks misread.
    UnreadableLink {
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Rule 14: the cloud's certificate has another name than `uuid:<sid>`.
    CloudName {
        /// What its subject's CN is, if it has one.
        common_name: Option<String>,
    },
    /// Rule 15: fewer than 6 bytes of a record arrived at first.
    SplitRecordHeader {
        /// How many there were.
        bytes: usize,
    },
    /// Section 2.7: a frame above what the device can hold.
    LargeFrame {
        /// Its length, as announced.
        bytes: usize,
    },
    /// Section 2.2: bytes that are no CoAP over TCP.
    NotCoap,
    /// Section 4.3: CBOR that device stacks misread: null, undefined, tags.
    UnreadableCbor,
}

impl Breach {
    /// The number of the rule in device reference 1.3; none for what other sections demand.
    pub fn rule(&self) -> Option<u8> {
        Some(match self {
            Self::AbortedWithoutCsm => 1,
            Self::ShortFrame { .. } => 2,
            Self::SeveralFramesInRecord => 3,
            Self::ForbiddenOption { .. } => 4,
            Self::FormattedErrorText => 5,
            Self::MissingKey { .. } => 6,
            Self::PublishCode { .. } | Self::PublishedLinkMissing { .. } => 7,
            Self::LostRefreshNotRepeatable => 9,
            Self::FinalCode { .. } => 10,
            Self::ClosedDuring { .. } => 11,
            Self::SignUpNotRepeatable => 12,
            Self::UnreadableLink { .. } => 13,
            Self::CloudName { .. } => 14,
            Self::SplitRecordHeader { .. } => 15,
            Self::LargeFrame { .. } | Self::NotCoap | Self::UnreadableCbor => return None,
        })
    }
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.rule(), self) {
            (Some(rule), _) => write!(f, "rule {rule} broken: ")?,
            (None, Self::LargeFrame { .. }) => f.write_str("section 2.7 broken: ")?,
            (None, Self::UnreadableCbor) => f.write_str("section 4.3 broken: ")?,
            (None, _) => f.write_str("section 2.2 broken: ")?,
        }
        match self {
            Self::AbortedWithoutCsm => f.write_str("aborted before the first answer"),
            Self::ShortFrame { bytes } => write!(f, "a frame of {bytes} bytes"),
            Self::SeveralFramesInRecord => f.write_str("several frames in one TLS record"),
            Self::ForbiddenOption { number } => write!(f, "option {number}"),
            Self::FormattedErrorText => f.write_str("an error text with a Content-Format"),
            Self::MissingKey { step, key } => write!(f, "no {key} in the answer to {step}"),
            Self::PublishCode { code } => write!(f, "publish answered {code}"),
            Self::PublishedLinkMissing { href } => write!(f, "no href and ins for {href}"),
            Self::LostRefreshNotRepeatable => {
                f.write_str("the previous refresh token is refused after a lost answer")
            }
            Self::FinalCode { step, code } => write!(f, "{step} answered {code}"),
            Self::ClosedDuring { step } => write!(f, "closed during {step}"),
            Self::SignUpNotRepeatable => {
                f.write_str("the single-use token is refused after a lost answer")
            }
            Self::UnreadableLink { problem } => write!(f, "a discovered link {problem}"),
            Self::CloudName { common_name: Some(name) } => {
                write!(f, "the cloud's certificate is for CN={name}")
            }
            Self::CloudName { common_name: None } => {
                f.write_str("the cloud's certificate has no CN")
            }
            Self::SplitRecordHeader { bytes } => {
                write!(f, "a record began with {bytes} bytes only")
            }
            Self::LargeFrame { bytes } => write!(f, "a frame of {bytes} bytes"),
            Self::NotCoap => f.write_str("bytes that are no CoAP over TCP"),
            Self::UnreadableCbor => f.write_str("null, undefined or a tag in an answer"),
        }
    }
}
