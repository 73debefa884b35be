//! What a user configured: `rclone.conf`, the environment, remote strings.
