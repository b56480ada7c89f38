//! Name look-ups: cached, one at a time per name, bounded.
