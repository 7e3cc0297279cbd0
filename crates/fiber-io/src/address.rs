//! Where to listen and where to connect to: anything that spells out socket addresses.

use alloc::string::String;
use core::{
    iter,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6},
    option, slice,
};

use fiber_core::IoErrorKind;

use crate::error::Error;

const NOT_LITERAL: Error = Error::refused(
    IoErrorKind::InvalidInput,
    "not a literal address and port, such as 127.0.0.1:80 or [::1]:80: \
     names are to be resolved by the caller",
);

const NOT_AN_IP: Error = Error::refused(
    IoErrorKind::InvalidInput,
    "not a literal IP address, such as 127.0.0.1 or ::1: names are to be resolved by the caller",
);

const NO_ADDRESS: Error = Error::refused(
    IoErrorKind::InvalidInput,
    "the list of addresses is empty: give at least one",
);

/// What converts into one or more socket addresses, without asking anybody: the shape of std's
/// trait, for literal addresses.
///
/// # Examples
/// ```
/// use core::net::SocketAddr;
/// use fiber_io::ToSocketAddrs;
///
/// let expected: SocketAddr = "127.0.0.1:80".parse().unwrap();
/// assert!("127.0.0.1:80".to_socket_addrs().unwrap().eq([expected]));
/// assert!(("127.0.0.1", 80).to_socket_addrs().unwrap().eq([expected]));
/// assert!("localhost:80".to_socket_addrs().is_err());
/// ```
pub trait ToSocketAddrs {
    /// The addresses, in the order in which they are tried.
    type Iter: Iterator<Item = SocketAddr>;

    /// Converts.
    ///
    /// # Errors
    /// `InvalidInput` for text that is not a literal address: names must be resolved by the caller.
    fn to_socket_addrs(&self) -> Result<Self::Iter, Error>;
}

/// Calls `attempt` with each address until one succeeds; gives the last failure.
pub(crate) fn each_address<T>(
    addresses: impl ToSocketAddrs,
    mut attempt: impl FnMut(SocketAddr) -> Result<T, Error>,
) -> Result<T, Error> {
    let mut failure = NO_ADDRESS;
    for address in addresses.to_socket_addrs()? {
        match attempt(address) {
            Ok(made) => return Ok(made),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

macro_rules! one_address {
    ($($from:ty: |$value:ident| $address:expr;)*) => {$(
        impl ToSocketAddrs for $from {
            type Iter = option::IntoIter<SocketAddr>;

            fn to_socket_addrs(&self) -> Result<Self::Iter, Error> {
                let $value = self;
                Ok(Some($address).into_iter())
            }
        }
    )*};
}

one_address! {
    SocketAddr: |address| *address;
    SocketAddrV4: |address| SocketAddr::V4(*address);
    SocketAddrV6: |address| SocketAddr::V6(*address);
    (IpAddr, u16): |pair| SocketAddr::from(*pair);
    (Ipv4Addr, u16): |pair| SocketAddr::from(*pair);
    (Ipv6Addr, u16): |pair| SocketAddr::from(*pair);
    str: |text| text.parse().map_err(|_| NOT_LITERAL)?;
    String: |text| text.parse().map_err(|_| NOT_LITERAL)?;
    (&str, u16): |pair| SocketAddr::new(pair.0.parse().map_err(|_| NOT_AN_IP)?, pair.1);
    (String, u16): |pair| SocketAddr::new(pair.0.parse().map_err(|_| NOT_AN_IP)?, pair.1);
}

impl<'list> ToSocketAddrs for &'list [SocketAddr] {
    type Iter = iter::Copied<slice::Iter<'list, SocketAddr>>;

    fn to_socket_addrs(&self) -> Result<Self::Iter, Error> {
        Ok(self.iter().copied())
    }
}

impl<T: ToSocketAddrs + ?Sized> ToSocketAddrs for &T {
    type Iter = T::Iter;

    fn to_socket_addrs(&self) -> Result<Self::Iter, Error> {
        (**self).to_socket_addrs()
    }
}

#[cfg(test)]
mod tests {
    use alloc::{string::ToString, vec::Vec};

    use super::*;

    fn addresses(from: impl ToSocketAddrs) -> Vec<SocketAddr> {
        from.to_socket_addrs().unwrap().collect()
    }

    #[test]
    fn every_spelling_of_an_address_means_the_same() {
        let v4 = Ipv4Addr::new(77, 88, 21, 11);
        let v4_text = "77.88.21.11:24352".to_string();
        let expected = [SocketAddr::from((v4, 24352))];
        assert_eq!(addresses(expected[0]), expected);
        assert_eq!(addresses(SocketAddrV4::new(v4, 24352)), expected);
        assert_eq!(addresses((v4, 24352)), expected);
        assert_eq!(addresses((IpAddr::V4(v4), 24352)), expected);
        assert_eq!(addresses("77.88.21.11:24352"), expected);
        assert_eq!(addresses(&v4_text), expected);
        assert_eq!(addresses(v4_text), expected);
        assert_eq!(addresses(("77.88.21.11", 24352)), expected);
        assert_eq!(addresses(("77.88.21.11".to_string(), 24352)), expected);
        assert_eq!(addresses(&expected[..]), expected);
    }

    #[test]
    fn version_six_is_spelled_in_brackets_with_a_port_and_bare_without() {
        let v6 = Ipv6Addr::new(0x2a02, 0x6b8, 0, 1, 0, 0, 0, 1);
        let expected = [SocketAddr::from((v6, 53))];
        assert_eq!(addresses(SocketAddrV6::new(v6, 53, 0, 0)), expected);
        assert_eq!(addresses((v6, 53)), expected);
        assert_eq!(addresses("[2a02:6b8:0:1::1]:53"), expected);
        assert_eq!(addresses(("2a02:6b8:0:1::1", 53)), expected);
    }

    #[test]
    fn a_name_is_refused_with_a_word_about_resolving() {
        for error in [
            "localhost:80".to_socket_addrs().unwrap_err(),
            "127.0.0.1".to_socket_addrs().unwrap_err(),
            ("localhost", 80).to_socket_addrs().unwrap_err(),
        ] {
            assert_eq!(error.kind(), IoErrorKind::InvalidInput);
            assert!(error.to_string().contains("resolved by the caller"));
        }
    }

    #[test]
    fn addresses_are_tried_in_order_until_one_succeeds() {
        let list: Vec<SocketAddr> = (1..=3)
            .map(|port| (Ipv4Addr::LOCALHOST, port).into())
            .collect();
        let mut tried = Vec::new();
        let second = each_address(&list[..], |address| {
            tried.push(address);
            match address.port() {
                2 => Ok(address),
                _ => Err(IoErrorKind::AddrInUse.into()),
            }
        });
        assert_eq!(second, Ok(list[1]));
        assert_eq!(tried, list[..2]);
    }

    #[test]
    fn the_last_failure_is_the_answer_and_an_empty_list_is_one_too() {
        let list: Vec<SocketAddr> = (1..=2)
            .map(|port| (Ipv4Addr::LOCALHOST, port).into())
            .collect();
        let kinds = [IoErrorKind::AddrInUse, IoErrorKind::AddrNotAvailable];
        let failed = each_address(&list[..], |address| -> Result<(), Error> {
            Err(kinds[usize::from(address.port()) - 1].into())
        });
        assert_eq!(failed.unwrap_err().kind(), IoErrorKind::AddrNotAvailable);
        let empty: &[SocketAddr] = &[];
        let failed = each_address(empty, Ok);
        assert_eq!(failed.unwrap_err().kind(), IoErrorKind::InvalidInput);
    }
}
