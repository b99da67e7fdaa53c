//! Thin start.

fn main() {}
