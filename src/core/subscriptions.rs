//! Who holds which topic filter.
