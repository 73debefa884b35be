//! A directory that cannot be left: where files of a restore are created, replaced and removed.
