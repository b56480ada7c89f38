//! SIGTERM, SIGINT and SIGHUP as values.
