//! The log: level, format, escapes, caps per cause; other crates' noise filtered.
