//! Who may follow a link: what the writer makes and proxies check, in one place, so that they cannot disagree.
//!
//! - [`token`]: the secret of an API token as a request shows it
//! - [`signature`]: signed links, and the cookies that remember a password
//! - [`password`]: what is kept of a password
//!
//! Pure: keys, times and random bytes are arguments. Secrets are compared in constant time and never appear in a debug form.

pub mod password;
pub mod signature;
pub mod token;
