//! The error codes that Kafka's answers carry.

use std::fmt;

/// An error code of the protocol. Unknown codes are kept as they are.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct ErrorCode(pub i16);

macro_rules! codes {
    ($($name:ident = $code:literal $retriable:ident,)*) => {
        impl ErrorCode {
            $(
                #[doc = concat!("Kafka's error ", stringify!($code), ".")]
                pub const $name: Self = Self($code);
            )*

            /// The name that Kafka's documentation uses; `UNKNOWN` for a code that this list does not have.
            pub const fn name(self) -> &'static str {
                match self.0 {
                    $($code => stringify!($name),)*
                    _ => "UNKNOWN",
                }
            }

            /// Whether a client may send the same request again and hope. Follows Kafka's list; unknown codes are not.
            pub const fn is_retriable(self) -> bool {
                match self.0 {
                    $($code => retriable!($retriable),)*
                    _ => false,
                }
            }
        }

        #[cfg(test)]
        const ALL: &[ErrorCode] = &[$(ErrorCode::$name,)*];
    };
}

macro_rules! retriable {
    (retry) => {
        true
    };
    (final) => {
        false
    };
}

codes! {
    UNKNOWN_SERVER_ERROR = -1 final,
    NONE = 0 final,
    OFFSET_OUT_OF_RANGE = 1 final,
    CORRUPT_MESSAGE = 2 retry,
    UNKNOWN_TOPIC_OR_PARTITION = 3 retry,
    INVALID_FETCH_SIZE = 4 final,
    LEADER_NOT_AVAILABLE = 5 retry,
    NOT_LEADER_OR_FOLLOWER = 6 retry,
    REQUEST_TIMED_OUT = 7 retry,
    BROKER_NOT_AVAILABLE = 8 final,
    REPLICA_NOT_AVAILABLE = 9 retry,
    MESSAGE_TOO_LARGE = 10 final,
    STALE_CONTROLLER_EPOCH = 11 final,
    OFFSET_METADATA_TOO_LARGE = 12 final,
    NETWORK_EXCEPTION = 13 retry,
    COORDINATOR_LOAD_IN_PROGRESS = 14 retry,
    COORDINATOR_NOT_AVAILABLE = 15 retry,
    NOT_COORDINATOR = 16 retry,
    INVALID_TOPIC_EXCEPTION = 17 final,
    RECORD_LIST_TOO_LARGE = 18 final,
    NOT_ENOUGH_REPLICAS = 19 retry,
    NOT_ENOUGH_REPLICAS_AFTER_APPEND = 20 retry,
    INVALID_REQUIRED_ACKS = 21 final,
    ILLEGAL_GENERATION = 22 final,
    INCONSISTENT_GROUP_PROTOCOL = 23 final,
    INVALID_GROUP_ID = 24 final,
    UNKNOWN_MEMBER_ID = 25 final,
    INVALID_SESSION_TIMEOUT = 26 final,
    REBALANCE_IN_PROGRESS = 27 final,
    INVALID_COMMIT_OFFSET_SIZE = 28 final,
    TOPIC_AUTHORIZATION_FAILED = 29 final,
    GROUP_AUTHORIZATION_FAILED = 30 final,
    CLUSTER_AUTHORIZATION_FAILED = 31 final,
    INVALID_TIMESTAMP = 32 final,
    UNSUPPORTED_SASL_MECHANISM = 33 final,
    ILLEGAL_SASL_STATE = 34 final,
    UNSUPPORTED_VERSION = 35 final,
    TOPIC_ALREADY_EXISTS = 36 final,
    INVALID_PARTITIONS = 37 final,
    INVALID_REPLICATION_FACTOR = 38 final,
    INVALID_REPLICA_ASSIGNMENT = 39 final,
    INVALID_CONFIG = 40 final,
    NOT_CONTROLLER = 41 retry,
    INVALID_REQUEST = 42 final,
    UNSUPPORTED_FOR_MESSAGE_FORMAT = 43 final,
    POLICY_VIOLATION = 44 final,
    OUT_OF_ORDER_SEQUENCE_NUMBER = 45 final,
    DUPLICATE_SEQUENCE_NUMBER = 46 final,
    INVALID_PRODUCER_EPOCH = 47 final,
    INVALID_TXN_STATE = 48 final,
    INVALID_PRODUCER_ID_MAPPING = 49 final,
    INVALID_TRANSACTION_TIMEOUT = 50 final,
    CONCURRENT_TRANSACTIONS = 51 final,
    TRANSACTION_COORDINATOR_FENCED = 52 final,
    TRANSACTIONAL_ID_AUTHORIZATION_FAILED = 53 final,
    SECURITY_DISABLED = 54 final,
    OPERATION_NOT_ATTEMPTED = 55 final,
    KAFKA_STORAGE_ERROR = 56 retry,
    LOG_DIR_NOT_FOUND = 57 final,
    SASL_AUTHENTICATION_FAILED = 58 final,
    UNKNOWN_PRODUCER_ID = 59 final,
    REASSIGNMENT_IN_PROGRESS = 60 final,
    DELEGATION_TOKEN_AUTH_DISABLED = 61 final,
    DELEGATION_TOKEN_NOT_FOUND = 62 final,
    DELEGATION_TOKEN_OWNER_MISMATCH = 63 final,
    DELEGATION_TOKEN_REQUEST_NOT_ALLOWED = 64 final,
    DELEGATION_TOKEN_AUTHORIZATION_FAILED = 65 final,
    DELEGATION_TOKEN_EXPIRED = 66 final,
    INVALID_PRINCIPAL_TYPE = 67 final,
    NON_EMPTY_GROUP = 68 final,
    GROUP_ID_NOT_FOUND = 69 final,
    FETCH_SESSION_ID_NOT_FOUND = 70 retry,
    INVALID_FETCH_SESSION_EPOCH = 71 retry,
    LISTENER_NOT_FOUND = 72 retry,
    TOPIC_DELETION_DISABLED = 73 final,
    FENCED_LEADER_EPOCH = 74 retry,
    UNKNOWN_LEADER_EPOCH = 75 retry,
    UNSUPPORTED_COMPRESSION_TYPE = 76 final,
    STALE_BROKER_EPOCH = 77 final,
    OFFSET_NOT_AVAILABLE = 78 retry,
    MEMBER_ID_REQUIRED = 79 final,
    PREFERRED_LEADER_NOT_AVAILABLE = 80 retry,
    GROUP_MAX_SIZE_REACHED = 81 final,
    FENCED_INSTANCE_ID = 82 final,
    ELIGIBLE_LEADERS_NOT_AVAILABLE = 83 retry,
    ELECTION_NOT_NEEDED = 84 retry,
    NO_REASSIGNMENT_IN_PROGRESS = 85 final,
    GROUP_SUBSCRIBED_TO_TOPIC = 86 final,
    INVALID_RECORD = 87 final,
    UNSTABLE_OFFSET_COMMIT = 88 retry,
    THROTTLING_QUOTA_EXCEEDED = 89 retry,
    PRODUCER_FENCED = 90 final,
    RESOURCE_NOT_FOUND = 91 final,
    DUPLICATE_RESOURCE = 92 final,
    UNACCEPTABLE_CREDENTIAL = 93 final,
    INCONSISTENT_VOTER_SET = 94 final,
    INVALID_UPDATE_VERSION = 95 final,
    FEATURE_UPDATE_FAILED = 96 final,
    PRINCIPAL_DESERIALIZATION_FAILURE = 97 final,
    SNAPSHOT_NOT_FOUND = 98 final,
    POSITION_OUT_OF_RANGE = 99 final,
    UNKNOWN_TOPIC_ID = 100 retry,
    DUPLICATE_BROKER_REGISTRATION = 101 final,
    BROKER_ID_NOT_REGISTERED = 102 final,
    INCONSISTENT_TOPIC_ID = 103 retry,
    INCONSISTENT_CLUSTER_ID = 104 final,
    TRANSACTIONAL_ID_NOT_FOUND = 105 final,
    FETCH_SESSION_TOPIC_ID_ERROR = 106 retry,
    INELIGIBLE_REPLICA = 107 final,
    NEW_LEADER_ELECTED = 108 final,
    OFFSET_MOVED_TO_TIERED_STORAGE = 109 final,
    FENCED_MEMBER_EPOCH = 110 final,
    UNRELEASED_INSTANCE_ID = 111 final,
    UNSUPPORTED_ASSIGNOR = 112 final,
    STALE_MEMBER_EPOCH = 113 final,
    MISMATCHED_ENDPOINT_TYPE = 114 final,
    UNSUPPORTED_ENDPOINT_TYPE = 115 final,
    UNKNOWN_CONTROLLER_ID = 116 final,
    UNKNOWN_SUBSCRIPTION_ID = 117 final,
    TELEMETRY_TOO_LARGE = 118 final,
    INVALID_REGISTRATION = 119 final,
    TRANSACTION_ABORTABLE = 120 final,
    INVALID_RECORD_STATE = 121 final,
    SHARE_SESSION_NOT_FOUND = 122 retry,
    INVALID_SHARE_SESSION_EPOCH = 123 retry,
    FENCED_STATE_EPOCH = 124 final,
    INVALID_VOTER_KEY = 125 final,
    DUPLICATE_VOTER = 126 final,
    VOTER_NOT_FOUND = 127 final,
    INVALID_REGULAR_EXPRESSION = 128 final,
    REBOOTSTRAP_REQUIRED = 129 final,
    STREAMS_INVALID_TOPOLOGY = 130 final,
    STREAMS_INVALID_TOPOLOGY_EPOCH = 131 final,
    STREAMS_TOPOLOGY_FENCED = 132 final,
    SHARE_SESSION_LIMIT_REACHED = 133 retry,
}

impl ErrorCode {
    /// Whether this is no error.
    pub const fn is_ok(self) -> bool {
        self.0 == 0
    }

    /// Whether it says, in an answer about a partition: not here, or not yet, or not any more.
    pub const fn is_about_leadership(self) -> bool {
        matches!(
            self,
            Self::NOT_LEADER_OR_FOLLOWER
                | Self::LEADER_NOT_AVAILABLE
                | Self::UNKNOWN_TOPIC_OR_PARTITION
                | Self::REPLICA_NOT_AVAILABLE
                | Self::FENCED_LEADER_EPOCH
                | Self::UNKNOWN_LEADER_EPOCH
                | Self::KAFKA_STORAGE_ERROR
                | Self::UNKNOWN_TOPIC_ID
                | Self::INCONSISTENT_TOPIC_ID
        )
    }
}

impl From<i16> for ErrorCode {
    fn from(code: i16) -> Self {
        Self(code)
    }
}

impl From<ErrorCode> for i16 {
    fn from(code: ErrorCode) -> Self {
        code.0
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name(), self.0)
    }
}

impl fmt::Debug for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_cold_codec_about_every_code_and_its_retriability() {
        for code in ALL.iter().copied().filter(|code| !code.is_ok()) {
            let theirs = kafka_protocol::ResponseError::try_from_code(code.0);
            assert_eq!(theirs.map(|error| error.is_retriable()), Some(code.is_retriable()), "{code}");
        }
    }

    #[test]
    fn an_unknown_code_is_kept_and_not_retriable() {
        let code = ErrorCode::from(9_999);
        assert_eq!((code.name(), code.is_retriable(), i16::from(code)), ("UNKNOWN", false, 9_999));
    }
}
