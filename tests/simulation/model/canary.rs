//! Whose value is whose: everything that a user says carries the user's canary, and everything that
//! the cloud says to somebody is searched for those of others.

const MARK: &[u8] = b"canary";
const DIGITS: usize = 4;

/// The canary of a user.
pub(in crate::simulation) fn of(user: usize) -> String {
    format!("canary{user:04}")
}

/// A canary in these bytes that is not this user's.
pub(in crate::simulation) fn foreign(user: usize, bytes: &[u8]) -> Option<String> {
    let own = of(user);
    let mut rest = bytes;
    while let Some(at) = find(rest) {
        let end = (at + MARK.len() + DIGITS).min(rest.len());
        let found = &rest[at..end];
        if found != own.as_bytes() {
            return Some(String::from_utf8_lossy(found).into_owned());
        }
        rest = &rest[end..];
    }
    None
}

fn find(bytes: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(at) = bytes[from..].iter().position(|&byte| byte == MARK[0]) {
        if bytes[from + at..].starts_with(MARK) {
            return Some(from + at);
        }
        from += at + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canaries_of_others_are_found_wherever_they_are() {
        let text = format!("x{}cacan{}y{}", of(3), of(3), of(12));
        assert_eq!(foreign(3, text.as_bytes()), Some(of(12)));
        assert_eq!(foreign(3, format!("{}{}", of(3), of(3)).as_bytes()), None);
        assert_eq!(foreign(3, b"canary00"), Some("canary00".into()));
        assert_eq!(foreign(3, b"ccanar"), None);
    }
}
