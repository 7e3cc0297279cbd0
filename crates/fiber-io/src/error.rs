//! The error of every call: the host's or the runtime's, and advice where the kind says too little.

use core::fmt;

use fiber_core::{IoError, IoErrorKind, StaleReason};

/// Why a call failed.
///
/// With the feature `std` it converts into a `std::io::Error` of the kind that std would give; the
/// original stays inside as the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error {
    cause: IoError,
    advice: &'static str,
}

impl Error {
    /// A refusal of this crate's own that says what to do.
    pub(crate) const fn refused(kind: IoErrorKind, advice: &'static str) -> Self {
        Self {
            cause: IoError::new(kind, 0),
            advice,
        }
    }

    /// What to match on.
    pub const fn kind(&self) -> IoErrorKind {
        self.cause.kind()
    }

    /// The host's error number; 0 when the runtime itself refused.
    pub const fn code(&self) -> i32 {
        self.cause.code()
    }

    /// Why an id was refused, if the kind is `Stale`.
    pub const fn stale_reason(&self) -> Option<StaleReason> {
        self.cause.stale_reason()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.advice.is_empty() {
            return f.write_str(self.advice);
        }
        fmt::Display::fmt(&self.cause, f)?;
        match self.cause.code() {
            0 => Ok(()),
            code => write!(f, " (host error {code})"),
        }
    }
}

impl core::error::Error for Error {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        Some(&self.cause)
    }
}

impl From<IoError> for Error {
    fn from(cause: IoError) -> Self {
        Self { cause, advice: "" }
    }
}

impl From<IoErrorKind> for Error {
    fn from(kind: IoErrorKind) -> Self {
        IoError::from(kind).into()
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn a_host_error_shows_its_number() {
        let error = Error::from(IoError::new(IoErrorKind::ConnectionRefused, 111));
        assert_eq!(
            error.to_string(),
            "connection refused: nobody listens there (host error 111)"
        );
        assert_eq!(
            (error.kind(), error.code()),
            (IoErrorKind::ConnectionRefused, 111)
        );
    }

    #[test]
    fn an_error_of_the_runtime_shows_no_number() {
        let error = Error::from(IoErrorKind::TimedOut);
        assert_eq!(error.to_string(), "timed out");
    }
}
