//! Accepts connections, with limits.
