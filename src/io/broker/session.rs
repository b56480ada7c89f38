//! One task per client: bytes ↔ packets ↔ hub.
