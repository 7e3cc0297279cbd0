//! What it takes to see a run again, as one short word.

use core::{fmt, str::FromStr};

use crate::config::Order;

/// A run's seed and order, with a hash of its configuration: `v1:<seed>:<order>:<config>`.
///
/// The configuration itself is in the program; its hash tells whether it is still the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    seed: u64,
    order: Order,
    config: u64,
}

impl Token {
    pub(crate) const fn new(seed: u64, order: Order, config: u64) -> Self {
        Self {
            seed,
            order,
            config,
        }
    }

    /// The seed.
    pub const fn seed(&self) -> u64 {
        self.seed
    }

    /// The order.
    pub const fn order(&self) -> Order {
        self.order
    }

    /// Whether `other` is of a run with the same configuration.
    pub const fn same_configuration(&self, other: &Self) -> bool {
        self.config == other.config
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let order = match self.order {
            Order::Random => "random",
            Order::Fifo => "fifo",
        };
        write!(f, "v1:{:x}:{order}:{:016x}", self.seed, self.config)
    }
}

impl FromStr for Token {
    type Err = BadToken;

    fn from_str(text: &str) -> Result<Self, BadToken> {
        let mut parts = text.trim().split(':');
        let mut next = || parts.next().ok_or(BadToken);
        if next()? != "v1" {
            return Err(BadToken);
        }
        let seed = u64::from_str_radix(next()?, 16).map_err(|_| BadToken)?;
        let order = match next()? {
            "random" => Order::Random,
            "fifo" => Order::Fifo,
            _ => return Err(BadToken),
        };
        let config = u64::from_str_radix(next()?, 16).map_err(|_| BadToken)?;
        if parts.next().is_some() {
            return Err(BadToken);
        }
        Ok(Self::new(seed, order, config))
    }
}

/// A text that is no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a replay token: it looks like v1:<seed>:<random|fifo>:<config>, as a failed run prints it"
)]
#[non_exhaustive]
pub struct BadToken;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_survives_being_printed() {
        for order in [Order::Random, Order::Fifo] {
            let token = Token::new(u64::MAX - 3, order, 77);
            assert_eq!(token.to_string().parse(), Ok(token));
        }
    }

    #[test]
    fn other_text_is_refused() {
        for text in [
            "",
            "7",
            "v2:7:random:1",
            "v1:7:random",
            "v1:7:fast:1",
            "v1:7:fifo:1:2",
        ] {
            assert_eq!(text.parse::<Token>(), Err(BadToken));
        }
    }
}
