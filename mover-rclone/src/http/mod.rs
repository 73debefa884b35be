//! HTTP/1.1 over TCP or TLS, through a proxy or not: connections and nothing else.
