//! The one loop that owns hub and bridge and executes their decisions.
