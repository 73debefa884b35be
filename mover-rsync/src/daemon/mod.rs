//! Sessions with a daemon: a server that waits for clients and knows directories by names, called modules.
//!
//! [`client`] asks any daemon for one of its modules, [`server`] is such a daemon for one client. Neither encrypts: in a
//! mover of VolSync both stand behind [`crate::tls`].

pub(crate) mod client;
pub(crate) mod password;
pub(crate) mod server;
