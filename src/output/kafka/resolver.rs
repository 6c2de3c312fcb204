//! Host names in a static binary: `files`, then `dns`, whatever nsswitch.conf says.
//!
//! A static glibc resolves names by loading the NSS modules that `/etc/nsswitch.conf` names (`mdns4_minimal`, `resolve`,
//! `sss` …) with `dlopen`, which fails or crashes where the system's libc is not the one linked in. The two that are always
//! compiled in are enough for brokers.

/// Makes `getaddrinfo` of a static binary use `/etc/hosts` and DNS only. Does nothing in a dynamic one. To be called first
/// in `main`, before any thread.
pub fn prepare_static_resolver() {
    #[cfg(all(target_env = "gnu", target_feature = "crt-static"))]
    {
        use std::ffi::{c_char, c_int};

        unsafe extern "C" {
            fn __nss_configure_lookup(database: *const c_char, services: *const c_char) -> c_int;
        }
        // SAFETY: both strings are NUL-terminated and live for ever; glibc copies what it keeps. No other thread runs yet
        // (the contract of this function), and nothing has been resolved before.
        let failed = unsafe { __nss_configure_lookup(c"hosts".as_ptr(), c"files dns".as_ptr()) };
        // It fails only for a database it does not know; `hosts` is one of its own. Names would then be resolved as
        // nsswitch.conf says, which is no worse than before.
        debug_assert_eq!(failed, 0, "glibc knows the database hosts");
    }
}
