//! From errors of ureq, rustls and the system to a failure code.
