//! Where a request comes from, as far as strangers are counted by it. Nobody is let in or kept out for it.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// Bits of an IPv6 address that one subscriber cannot choose; he can choose all others, and be a new one each time.
const SUBSCRIBER: u128 = !0 << 64;

/// One place from which strangers come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// A user of this machine, by its id.
    User(u32),
    /// An IPv4 address, or the first address of an IPv6 subscriber's network.
    Network(IpAddr),
    /// All that were one too many to be counted one by one.
    Others,
}

impl Source {
    pub fn network(address: IpAddr) -> Self {
        Self::Network(match address.to_canonical() {
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & SUBSCRIBER).into(),
            address @ IpAddr::V4(_) => address,
        })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(uid) => write!(f, "user {uid}"),
            Self::Network(IpAddr::V6(first)) => write!(f, "{first}/64"),
            Self::Network(IpAddr::V4(address)) => write!(f, "{address}"),
            Self::Others => f.write_str("others"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscriber_is_one_source_whatever_address_he_takes() {
        let source = |text: &str| Source::network(text.parse().unwrap()).to_string();
        assert_eq!(source("10.0.0.7"), "10.0.0.7");
        assert_eq!(source("::ffff:10.0.0.7"), "10.0.0.7", "the same address in another coat");
        assert_eq!(source("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64");
        assert_eq!(source("2001:db8:1:2:ffff::1"), source("2001:db8:1:2::"));
        assert_ne!(source("2001:db8:1:3::1"), source("2001:db8:1:2::1"));
        assert_eq!((Source::User(7).to_string(), Source::Others.to_string()), ("user 7".into(), "others".into()));
    }
}
