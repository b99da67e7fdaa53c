//! Certificates of devices: any DER, or a good certificate that is changed, as leaf and as
//! intermediate.
//!
//! What must hold: without an anchor nobody is believed, whatever the certificate says.

use std::sync::LazyLock;

use gateway::identity::{TrustAnchors, chain_digest};
use rustls::pki_types::CertificateDer;
use shared::time::UnixTime;

use crate::{Choices, bounded_with};

static GOOD: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let made = rcgen::generate_simple_self_signed(["uuid".to_owned()]).expect("a key");
    made.cert.der().to_vec()
});

/// The parser keeps the parts of names and extensions beside the bytes, some hundred for each.
const PER_BYTE: usize = 64;

/// One input.
pub fn run(data: &[u8]) {
    let mut choices = Choices::new(data);
    let leaf = match choices.byte() % 2 {
        0 => choices.bytes(usize::MAX).to_vec(),
        _ => {
            let mut leaf = GOOD.clone();
            while !choices.is_empty() {
                let at = choices.number() % leaf.len();
                leaf[at] ^= choices.byte();
            }
            leaf
        }
    };
    let anchors = TrustAnchors::default();
    let chain = [CertificateDer::from(leaf), CertificateDer::from(data.to_vec())];
    let len = chain.iter().map(|der| der.len()).sum::<usize>();
    for chain in [&chain[..1], &chain] {
        let verified =
            bounded_with(PER_BYTE * len, || anchors.verify_chain(chain, UnixTime(1_700_000_000)));
        assert!(verified.is_err());
        let _ = chain_digest(chain);
    }
}
