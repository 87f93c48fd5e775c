//! A value that remembers where it was written, for checks that hold one part of a configuration against another.

use std::ops::Deref;

use super::error::{Mistake, Origin, Problem};
use super::field::{Field, Given, Place, Problems, Shape};

/// A value with its place.
#[derive(Debug, Clone)]
pub struct Located<T> {
    value: T,
    origin: Origin,
    key: String,
}

impl<T> Located<T> {
    /// A mistake at this value.
    pub fn problem(&self, mistake: Mistake) -> Problem {
        Problem { origin: self.origin.clone(), key: self.key.clone(), mistake }
    }
}

impl<T> Deref for Located<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: Field> Field for Located<T> {
    const REQUIRED: bool = T::REQUIRED;

    fn shape() -> Shape {
        T::shape()
    }

    fn about() -> String {
        T::about()
    }

    fn read(given: Given<'_>, at: &Place, problems: &mut Problems) -> Option<Self> {
        let value = T::read(given, at, problems)?;
        let origin = match given {
            Given::Present(node) => &node.origin,
            Given::Absent(origin) => origin,
        };
        Some(Self { value, origin: origin.clone(), key: at.to_string() })
    }
}
