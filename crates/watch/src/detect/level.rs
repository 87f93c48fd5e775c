//! Whether a level is exceeded for long enough.

/// One level.
#[derive(Debug, Clone)]
pub struct Level {
    above: f64,
    lasting_ms: i64,
    since_ms: Option<i64>,
}

impl Level {
    /// Exceeded above `above`, for `lasting_ms`.
    pub fn new(above: f64, lasting_ms: i64) -> Self {
        Self { above, lasting_ms, since_ms: None }
    }

    /// Takes the level of now in; no level is not exceeded. Gives since when it is exceeded, once it lasts.
    pub fn judge(&mut self, level: Option<f64>, now_ms: i64) -> Option<i64> {
        match level.is_some_and(|level| level > self.above) {
            true => {
                let since = *self.since_ms.get_or_insert(now_ms);
                (now_ms - since >= self.lasting_ms).then_some(since)
            }
            false => {
                self.since_ms = None;
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_must_be_exceeded_without_a_break() {
        let check = |levels: &[Option<f64>], expect: Option<i64>| {
            let mut level = Level::new(1.0, 2);
            let mut judged = None;
            levels.iter().enumerate().for_each(|(at, one)| judged = level.judge(*one, at as i64));
            assert_eq!(judged, expect);
        };
        check(&[Some(2.0), Some(2.0)], None);
        check(&[Some(1.0), Some(2.0), Some(2.0), Some(3.0)], Some(1));
        check(&[Some(2.0), None, Some(2.0), Some(2.0)], None);
        check(&[Some(2.0), Some(2.0), Some(2.0), Some(1.0)], None);
    }
}
