//! One endpoint as a ureq agent: performs a request, returns an outcome.
