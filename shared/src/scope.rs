//! Scopes: what a token allows (cloud reference 3.12).

use std::fmt;

/// A set of scopes. The asterisks in their names are part of the names, not patterns.
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, Default, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize,
)]
pub struct Scopes(u8);

/// A text that names something else than scopes, or nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not a list of known scopes")]
pub struct UnknownScope;

impl Scopes {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// `r:*`: devices and their resources may be read.
    pub const READ: Self = Self(1);
    /// `w:*`: resources may be updated.
    pub const WRITE: Self = Self(2);
    /// `offline_access`: access may be refreshed while the user is away.
    pub const OFFLINE_ACCESS: Self = Self(4);
    /// `mediator`: devices may be brought into the cloud and taken out of it.
    pub const MEDIATOR: Self = Self(8);

    /// All of them with their names, in the order in which they are written.
    pub const NAMED: [(Self, &'static str); 4] = [
        (Self::READ, "r:*"),
        (Self::WRITE, "w:*"),
        (Self::OFFLINE_ACCESS, "offline_access"),
        (Self::MEDIATOR, "mediator"),
    ];

    /// Reads a list with single spaces between names; every name must be known.
    pub fn parse(text: &str) -> Result<Self, UnknownScope> {
        text.split(' ').try_fold(Self::NONE, |all, name| {
            Ok(all.union(Self::of_name(name).ok_or(UnknownScope)?))
        })
    }

    /// Of these names; unknown ones allow nothing.
    pub fn of_known<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        names.into_iter().filter_map(Self::of_name).fold(Self::NONE, Self::union)
    }

    fn of_name(name: &str) -> Option<Self> {
        Self::NAMED.into_iter().find(|(_, known)| *known == name).map(|(scope, _)| scope)
    }

    /// Whether all of these are among them.
    pub const fn contain(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }

    /// These and the others.
    pub const fn union(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// Nothing is allowed.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The names in their order.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let named = Self::NAMED.into_iter().filter(move |(scope, _)| self.contain(*scope));
        named.map(|(_, name)| name)
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, name) in self.names().enumerate() {
            f.write_str(if nth == 0 { "" } else { " " })?;
            f.write_str(name)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scopes({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_exact_names_are_scopes() {
        for text in ["", "r", "r:", "R:*", "r:* ", "r:*  w:*", "user:email", "r:resources:*"] {
            assert_eq!(Scopes::parse(text), Err(UnknownScope), "{text:?}");
        }
        let both = Scopes::parse("w:* r:*").unwrap();
        assert_eq!(both.to_string(), "r:* w:*");
        assert!(both.contain(Scopes::READ) && !both.contain(Scopes::OFFLINE_ACCESS));
        assert_eq!(Scopes::of_known(["r:*", "user:email", "xr:*"]), Scopes::READ);
    }

    proptest! {
        #[test]
        fn every_set_reads_back(bits in 1u8..16) {
            let set = Scopes(bits);
            prop_assert_eq!(Scopes::parse(&set.to_string()), Ok(set));
        }
    }
}
