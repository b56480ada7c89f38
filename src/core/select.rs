//! JSON pointers (RFC 6901) into a response, answered byte for byte.
