//! What VolSync's controller expects of the container: environment, log lines, exit codes.
