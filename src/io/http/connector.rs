//! TCP and TLS under ureq: deadlines, phases, live pooled connections.
