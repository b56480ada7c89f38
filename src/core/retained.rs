//! The last retained message of each topic.
