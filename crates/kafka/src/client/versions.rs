//! Which versions of which APIs a broker offers, and the best one that both sides speak.

use kafka_protocol::messages::ApiVersionsResponse;

/// A broker lists each API once; there are fewer than 100.
const APIS_MAX: usize = 1_024;

/// The ranges that one broker offers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ApiRanges(Vec<(i16, i16, i16)>);

impl ApiRanges {
    pub(super) const fn none() -> Self {
        Self(Vec::new())
    }

    /// From `(api key, lowest version, highest version)`.
    pub fn new(ranges: impl IntoIterator<Item = (i16, i16, i16)>) -> Self {
        let mut ranges: Vec<_> = ranges.into_iter().take(APIS_MAX).collect();
        ranges.sort_unstable();
        Self(ranges)
    }

    pub(super) fn from_response(response: &ApiVersionsResponse) -> Self {
        Self::new(response.api_keys.iter().map(|api| (api.api_key, api.min_version, api.max_version)))
    }

    /// The range offered for an API.
    pub fn offered(&self, api_key: i16) -> Option<(i16, i16)> {
        let index = self.0.binary_search_by_key(&api_key, |range| range.0).ok()?;
        let (_, min, max) = self.0[index];
        Some((min, max))
    }

    /// The highest version within both ranges.
    pub fn pick(&self, api_key: i16, ours_min: i16, ours_max: i16) -> Option<i16> {
        let (min, max) = self.offered(api_key)?;
        let best = max.min(ours_max);
        (best >= min.max(ours_min)).then_some(best)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_common_version_is_picked() {
        let ranges = ApiRanges::new([(3, 0, 13), (0, 3, 12), (1, 4, 18)]);
        let check = |api_key, ours: (i16, i16), expect| {
            assert_eq!(ranges.pick(api_key, ours.0, ours.1), expect, "api {api_key}, ours {ours:?}");
        };
        check(0, (3, 13), Some(12));
        check(0, (3, 9), Some(9));
        check(0, (13, 13), None);
        check(0, (0, 2), None);
        check(1, (4, 4), Some(4));
        check(2, (1, 7), None);
    }
}
