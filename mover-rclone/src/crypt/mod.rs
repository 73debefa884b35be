//! rclone's crypt remote: encrypted names and contents around another store.
