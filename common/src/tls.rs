//! Trust: which server certificates this process accepts, decided once for every connection.
