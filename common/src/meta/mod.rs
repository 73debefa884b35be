//! Mode, owner and access control lists.
