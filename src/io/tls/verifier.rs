//! The certificate verifier around the WebPKI one.
