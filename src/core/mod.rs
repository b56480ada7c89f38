//! The pure half: decides everything, touches nothing.
//!
//! No sockets, files, threads, environment, clock or logging. Time comes in as an argument,
//! decisions go out as values. `core::` always means this module; the standard library is `std::`.

pub mod access;
pub(crate) mod archive;
pub mod belief;
pub mod bridge;
pub(crate) mod calendar;
pub mod certificates;
pub(crate) mod decimal;
pub mod endpoint;
pub(crate) mod few;
pub mod hub;
pub(crate) mod json;
pub mod memory;
pub mod message;
pub mod outcome;
pub mod packet;
pub mod reply;
pub mod request;
pub mod retained;
pub mod retry;
pub mod route;
pub mod secret;
pub mod select;
pub mod session;
pub mod status;
pub mod store;
pub mod subscriptions;
pub mod template;
pub(crate) mod timetable;
pub mod topic;
