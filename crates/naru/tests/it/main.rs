//! Integration tests of the binary; one file of tests per subject.

mod outside;
