//! A rustls client configuration per endpoint.
