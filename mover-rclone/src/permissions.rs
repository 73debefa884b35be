//! `permissions.facl`: written from the walk of a push, applied at the end of a pull.
