//! Proxies from the environment, in the meaning that Go gives the variables.
