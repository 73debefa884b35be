//! What every mover shares: nothing in here knows S3, SSH or Kubernetes.

pub mod ahead;
pub mod budget;
pub mod cancel;
pub mod debug;
pub mod dest;
pub mod exit;
pub mod hash;
pub mod meta;
pub mod path;
pub mod proxy;
pub mod report;
pub mod root;
pub mod source;
pub mod telemetry;
pub mod time;
pub mod tls;
pub mod walk;

#[cfg(test)]
mod unprivileged;
