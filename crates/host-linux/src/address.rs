//! Socket addresses as the kernel lays them out.

use core::{
    mem,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6},
};

/// Room for any internet address, with the length that the kernel reads and writes.
pub(crate) struct RawAddress {
    any: Any,
    pub(crate) len: libc::socklen_t,
}

/// Every variant begins with the address family, which says which one is meant.
#[repr(C)]
union Any {
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
    room: [u64; 16],
}

const _: () = assert!(size_of::<Any>() >= size_of::<libc::sockaddr_storage>());

#[expect(
    clippy::cast_possible_truncation,
    reason = "the lengths of C structures and the constants of C headers fit C's own types"
)]
const LEN_V4: libc::socklen_t = size_of::<libc::sockaddr_in>() as libc::socklen_t;
#[expect(
    clippy::cast_possible_truncation,
    reason = "the lengths of C structures and the constants of C headers fit C's own types"
)]
const LEN_V6: libc::socklen_t = size_of::<libc::sockaddr_in6>() as libc::socklen_t;
#[expect(
    clippy::cast_possible_truncation,
    reason = "the lengths of C structures and the constants of C headers fit C's own types"
)]
const LEN_ANY: libc::socklen_t = size_of::<Any>() as libc::socklen_t;
#[expect(
    clippy::cast_possible_truncation,
    reason = "the lengths of C structures and the constants of C headers fit C's own types"
)]
const FAMILY_V4: libc::sa_family_t = libc::AF_INET as libc::sa_family_t;
#[expect(
    clippy::cast_possible_truncation,
    reason = "the lengths of C structures and the constants of C headers fit C's own types"
)]
const FAMILY_V6: libc::sa_family_t = libc::AF_INET6 as libc::sa_family_t;

impl RawAddress {
    /// Room for the kernel to write to.
    pub(crate) const fn room() -> Self {
        Self {
            any: Any { room: [0; 16] },
            len: LEN_ANY,
        }
    }

    /// Makes room again after the kernel has written.
    pub(crate) fn clear(&mut self) {
        *self = Self::room();
    }

    /// Sets the address that the kernel will read.
    pub(crate) fn set(&mut self, address: &SocketAddr) {
        *self = Self::from(address);
    }

    pub(crate) fn as_ptr(&self) -> *const libc::sockaddr {
        (&raw const self.any).cast()
    }

    pub(crate) fn as_mut_ptr(&mut self) -> *mut libc::sockaddr {
        (&raw mut self.any).cast()
    }

    /// What the kernel wrote; `None` if it is no internet address.
    pub(crate) fn to_socket_addr(&self) -> Option<SocketAddr> {
        // SAFETY: `room` was written whole at construction, and every later write was of plain
        // integers, by us or by the kernel (I-3: it writes only while it is lent).
        let family = unsafe { self.any.v4.sin_family };
        if family == FAMILY_V4 && self.len >= LEN_V4 {
            // SAFETY: as above: any bytes are valid integers (I-3).
            let v4 = unsafe { self.any.v4 };
            let ip = Ipv4Addr::from_bits(u32::from_be(v4.sin_addr.s_addr));
            Some(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into())
        } else if family == FAMILY_V6 && self.len >= LEN_V6 {
            // SAFETY: as above: any bytes are valid integers (I-3).
            let v6 = unsafe { self.any.v6 };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            let port = u16::from_be(v6.sin6_port);
            Some(SocketAddrV6::new(ip, port, v6.sin6_flowinfo, v6.sin6_scope_id).into())
        } else {
            None
        }
    }
}

impl From<&SocketAddr> for RawAddress {
    fn from(address: &SocketAddr) -> Self {
        let mut raw = Self::room();
        match address {
            SocketAddr::V4(v4) => {
                raw.any.v4 = libc::sockaddr_in {
                    sin_family: FAMILY_V4,
                    sin_port: v4.port().to_be(),
                    sin_addr: libc::in_addr {
                        s_addr: v4.ip().to_bits().to_be(),
                    },
                    sin_zero: [0; 8],
                };
                raw.len = LEN_V4;
            }
            SocketAddr::V6(v6) => {
                raw.any.v6 = libc::sockaddr_in6 {
                    sin6_family: FAMILY_V6,
                    sin6_port: v6.port().to_be(),
                    sin6_flowinfo: v6.flowinfo(),
                    sin6_addr: libc::in6_addr {
                        s6_addr: v6.ip().octets(),
                    },
                    sin6_scope_id: v6.scope_id(),
                };
                raw.len = LEN_V6;
            }
        }
        raw
    }
}

const _: () = assert!(mem::offset_of!(libc::sockaddr_in, sin_family) == 0);
const _: () = assert!(mem::offset_of!(libc::sockaddr_in6, sin6_family) == 0);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_survives_the_way_through_the_kernel_layout() {
        for text in [
            "127.0.0.1:80",
            "255.1.2.3:65535",
            "[::1]:1",
            "[fe80::1%7]:443",
        ] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(RawAddress::from(&address).to_socket_addr(), Some(address));
        }
    }

    #[test]
    fn what_is_no_internet_address_is_none() {
        assert_eq!(RawAddress::room().to_socket_addr(), None);
    }
}
