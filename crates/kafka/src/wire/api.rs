//! The APIs that this codec knows: their keys, the versions it reads and writes, and their header versions.

use std::ops::RangeInclusive;

/// No version of the API is flexible.
const NEVER: i16 = i16::MAX;

macro_rules! apis {
    ($($name:ident = $key:literal, $min:literal..=$max:literal, $flexible:expr;)*) => {
        /// An API of the protocol.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(i16)]
        pub enum ApiKey {
            $(
                #[doc = concat!("API ", stringify!($key), ".")]
                $name = $key,
            )*
        }

        impl ApiKey {
            /// Every API, by rising key.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The API of a key; `None` if this codec does not know it.
            pub const fn from_i16(key: i16) -> Option<Self> {
                match key {
                    $($key => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// The name in Kafka's documentation.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }

            /// The versions that this codec reads and writes. A broker offers these or fewer.
            pub const fn versions(self) -> RangeInclusive<i16> {
                match self {
                    $(Self::$name => $min..=$max,)*
                }
            }

            /// The first version with compact lengths and tagged fields.
            pub const fn flexible_from(self) -> i16 {
                match self {
                    $(Self::$name => $flexible,)*
                }
            }
        }
    };
}

// The versions of kafka-protocol 0.18 for the cold ones; Produce and Fetch as Kafka 3.9 and 4.x offer them.
apis! {
    Produce = 0, 3..=13, 9;
    Fetch = 1, 4..=18, 12;
    ListOffsets = 2, 1..=10, 6;
    Metadata = 3, 0..=13, 9;
    OffsetCommit = 8, 2..=9, 8;
    OffsetFetch = 9, 1..=9, 6;
    FindCoordinator = 10, 0..=6, 3;
    JoinGroup = 11, 0..=9, 6;
    Heartbeat = 12, 0..=4, 4;
    LeaveGroup = 13, 0..=5, 4;
    SyncGroup = 14, 0..=5, 4;
    DescribeGroups = 15, 0..=6, 5;
    ListGroups = 16, 0..=5, 3;
    SaslHandshake = 17, 0..=1, NEVER;
    ApiVersions = 18, 0..=4, 3;
    CreateTopics = 19, 2..=7, 5;
    DeleteTopics = 20, 1..=6, 4;
    DeleteRecords = 21, 0..=2, 2;
    InitProducerId = 22, 0..=5, 2;
    OffsetForLeaderEpoch = 23, 2..=4, 4;
    DescribeAcls = 29, 1..=3, 2;
    CreateAcls = 30, 1..=3, 2;
    DeleteAcls = 31, 1..=3, 2;
    DescribeConfigs = 32, 1..=4, 4;
    AlterConfigs = 33, 0..=2, 2;
    DescribeLogDirs = 35, 1..=4, 2;
    SaslAuthenticate = 36, 0..=2, 2;
    CreatePartitions = 37, 0..=3, 2;
    DeleteGroups = 42, 0..=2, 2;
    IncrementalAlterConfigs = 44, 0..=1, 1;
    OffsetDelete = 47, 0..=0, NEVER;
    DescribeCluster = 60, 0..=2, 0;
    DescribeProducers = 61, 0..=0, 0;
    DescribeTopicPartitions = 75, 0..=0, 0;
}

impl ApiKey {
    /// Whether a version has compact lengths and tagged fields.
    pub const fn is_flexible(self, version: i16) -> bool {
        version >= self.flexible_from()
    }

    /// Whether this codec reads and writes a version.
    pub fn supports(self, version: i16) -> bool {
        self.versions().contains(&version)
    }
}

/// The version of a request's header: 2 has tagged fields, 1 has not.
pub const fn request_header_version(api: ApiKey, version: i16) -> i16 {
    if api.is_flexible(version) { 2 } else { 1 }
}

/// The version of an answer's header: 1 has tagged fields, 0 has not. ApiVersions always answers with 0, since its
/// caller does not know yet what the broker speaks.
pub const fn response_header_version(api: ApiKey, version: i16) -> i16 {
    if matches!(api, ApiKey::ApiVersions) || !api.is_flexible(version) { 0 } else { 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_cold_codec_about_keys_versions_and_headers() {
        for &api in ApiKey::ALL {
            let theirs = kafka_protocol::messages::ApiKey::try_from(api as i16).expect("a known key");
            assert_eq!(ApiKey::from_i16(api as i16), Some(api));
            let valid = theirs.valid_versions();
            // It counts a version as valid that only one direction has; `cold` checks the messages themselves.
            assert_eq!(valid.min, *api.versions().start(), "{}", api.name());
            assert!(valid.max >= *api.versions().end(), "{}", api.name());
            for version in api.versions() {
                assert_eq!(theirs.request_header_version(version), request_header_version(api, version), "{api:?}");
                assert_eq!(theirs.response_header_version(version), response_header_version(api, version), "{api:?}");
            }
        }
    }
}
