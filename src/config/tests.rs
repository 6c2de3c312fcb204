//! The whole config layer on whole files.
