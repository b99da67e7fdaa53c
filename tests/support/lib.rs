//! Words for tests.
