//! Proof Key for Code Exchange with S256 (RFC 7636).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

/// The challenge of an authorization request as bytes; none if it is none of S256.
pub fn challenge(text: &str) -> Option<[u8; 32]> {
    URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()
}

/// The challenge that belongs to a verifier; none if it is no verifier (§4.1).
pub fn challenge_of(verifier: &str) -> Option<[u8; 32]> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let fits = (43..=128).contains(&verifier.len()) && verifier.bytes().all(allowed);
    fits.then(|| Sha256::digest(verifier).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cloud reference 7.3, which is RFC 7636 Appendix B.
    #[test]
    fn the_published_vector_holds() {
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        let text = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
        assert!(challenge(text).is_some());
        assert_eq!(challenge_of(verifier), challenge(text));
    }

    #[test]
    fn what_is_no_verifier_or_challenge_is_none() {
        let long = "a".repeat(129);
        for verifier in ["", "short", &"a".repeat(42), &long, &format!("{}+", "a".repeat(43))] {
            assert_eq!(challenge_of(verifier), None, "{verifier}");
        }
        assert!(challenge_of(&"a".repeat(43)).is_some() && challenge_of(&long[1..]).is_some());
        let padded = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM=";
        for text in ["", "plain", padded, &padded[..42]] {
            assert_eq!(challenge(text), None, "{text}");
        }
    }
}
