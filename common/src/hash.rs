//! MD5 of many files at once, on threads of their own.
