//! Why a session ends (`ntcp2#termination`, `ssu2#termination`): one list, the last five of which only SSU2 has.

/// Why a session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TerminationReason {
    /// 0: normal or not said.
    Normal,
    /// 1: in answer to a termination.
    TerminationReceived,
    /// 2: nothing was said for long.
    IdleTimeout,
    /// 3: the router stops.
    RouterShutdown,
    /// 4: a frame or packet was not authentic.
    AeadFailure,
    /// 5: options do not fit.
    IncompatibleOptions,
    /// 6: a signature type is not known.
    IncompatibleSignatureType,
    /// 7: the clocks differ too much.
    ClockSkew,
    /// 8: padding outside of what was agreed.
    PaddingViolation,
    /// 9: a frame or payload of an impossible length.
    Framing,
    /// 10: a block is malformed.
    PayloadFormat,
    /// 11: SessionRequest was wrong.
    SessionRequest,
    /// 12: SessionCreated was wrong.
    SessionCreated,
    /// 13: SessionConfirmed was wrong.
    SessionConfirmed,
    /// 14: something did not come in time.
    Timeout,
    /// 15: the RouterInfo's signature is wrong.
    RouterInfoSignature,
    /// 16: the static key is not the one of the RouterInfo.
    StaticKeyMismatch,
    /// 17: the router is not welcome.
    Banned,
    /// 18: the token is not known.
    BadToken,
    /// 19: too many sessions.
    ConnectionLimits,
    /// 20: another version of the protocol.
    IncompatibleVersion,
    /// 21: another network.
    WrongNetId,
    /// 22: there is a newer session.
    Replaced,
    /// Any other code.
    Other(u8),
}

impl TerminationReason {
    const KNOWN: [Self; 23] = [
        Self::Normal,
        Self::TerminationReceived,
        Self::IdleTimeout,
        Self::RouterShutdown,
        Self::AeadFailure,
        Self::IncompatibleOptions,
        Self::IncompatibleSignatureType,
        Self::ClockSkew,
        Self::PaddingViolation,
        Self::Framing,
        Self::PayloadFormat,
        Self::SessionRequest,
        Self::SessionCreated,
        Self::SessionConfirmed,
        Self::Timeout,
        Self::RouterInfoSignature,
        Self::StaticKeyMismatch,
        Self::Banned,
        Self::BadToken,
        Self::ConnectionLimits,
        Self::IncompatibleVersion,
        Self::WrongNetId,
        Self::Replaced,
    ];

    /// The reason with this code.
    pub fn from_code(code: u8) -> Self {
        Self::KNOWN.get(usize::from(code)).copied().unwrap_or(Self::Other(code))
    }

    /// Its code.
    pub fn code(self) -> u8 {
        if let Self::Other(code) = self {
            return code;
        }
        Self::KNOWN.iter().position(|r| *r == self).unwrap_or(0) as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_their_positions() {
        for code in 0..=u8::MAX {
            assert_eq!(TerminationReason::from_code(code).code(), code);
        }
        assert_eq!((TerminationReason::Banned.code(), TerminationReason::Replaced.code()), (17, 22));
    }
}
