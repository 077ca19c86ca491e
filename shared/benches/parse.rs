//! Speed of the parse step; filled in with the formats.
fn main() {}
