//! What is known of this host, for the processor `host`: from the kernel, `os-release` and the tables of its network.
//!
//! What can't be read is left out: a host without a machine-id is no mistake. Not here: what a cloud knows of it.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;

use crate::process::HostFacts;

/// Looks it up.
pub(super) fn facts() -> HostFacts {
    let uname = rustix::system::uname();
    let text = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let mut release = read("/etc/os-release");
    if release.is_empty() {
        release = read("/usr/lib/os-release");
    }
    let mut facts = HostFacts {
        hostname: text(uname.nodename()),
        id: read("/etc/machine-id").trim().to_owned(),
        architecture: text(uname.machine()),
        kernel: text(uname.release()),
        addresses: ipv4_addresses(&read("/proc/net/fib_trie")),
        macs: macs(Path::new("/sys/class/net")),
        ..HostFacts::default()
    };
    os_release(&release, &mut facts);
    facts.addresses.extend(ipv6_addresses(&read("/proc/net/if_inet6")));
    facts
}

/// What os-release(5) says.
fn os_release(text: &str, facts: &mut HostFacts) {
    let mut like = String::new();
    for (key, value) in text.lines().filter_map(|line| line.trim().split_once('=')) {
        // Values are quoted as in a shell; none of these needs more than its quotes taken away.
        let value = value.trim_matches(['"', '\'']).to_owned();
        match key {
            "NAME" => facts.os_name = value,
            "ID" => facts.os_platform = value,
            "ID_LIKE" => like = value,
            "VERSION" => facts.os_version = value,
            "VERSION_ID" if facts.os_version.is_empty() => facts.os_version = value,
            "VERSION_CODENAME" => facts.os_codename = value,
            _ => {}
        }
    }
    let family = like.split_whitespace().next().unwrap_or(&facts.os_platform);
    facts.os_family = match family {
        "rhel" | "fedora" | "centos" => "redhat".to_owned(),
        "sles" | "opensuse" => "suse".to_owned(),
        other => other.to_owned(),
    };
}

/// The host's own addresses in the kernel's routing tables: each leaf that is local, once.
fn ipv4_addresses(fib_trie: &str) -> Vec<String> {
    let mut found: Vec<Ipv4Addr> = Vec::new();
    let mut leaf = None;
    for line in fib_trie.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            leaf = address.parse::<Ipv4Addr>().ok();
        } else if line == "/32 host LOCAL"
            && let Some(address) = leaf.filter(|address| !address.is_loopback())
            && !found.contains(&address)
        {
            found.push(address);
        }
    }
    found.iter().map(Ipv4Addr::to_string).collect()
}

/// The addresses of the interfaces: 32 hex digits, index, prefix, scope, flags, name.
fn ipv6_addresses(if_inet6: &str) -> Vec<String> {
    let addresses = if_inet6.lines().filter_map(|line| line.split_whitespace().next());
    let addresses = addresses.filter_map(|digits| u128::from_str_radix(digits, 16).ok()).map(Ipv6Addr::from);
    addresses.filter(|address| !address.is_loopback()).map(|address| address.to_string()).collect()
}

/// The hardware addresses of the interfaces, without those that have none.
fn macs(interfaces: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(interfaces).into_iter().flatten().flatten();
    let texts = entries.filter_map(|entry| std::fs::read_to_string(entry.path().join("address")).ok());
    let mut macs: Vec<String> = texts.filter_map(|text| mac(text.trim())).collect();
    macs.sort_unstable();
    macs.dedup();
    macs
}

fn mac(text: &str) -> Option<String> {
    let is_hardware = text.len() == 17 && text.bytes().any(|byte| !matches!(byte, b'0' | b':'));
    is_hardware.then(|| text.to_ascii_uppercase().replace(':', "-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_os_release() {
        let mut debian = HostFacts::default();
        os_release(
            "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nNAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12\"\nVERSION=\"12 (bookworm)\"\n\
             VERSION_CODENAME=bookworm\nID=debian\n",
            &mut debian,
        );
        assert_eq!((debian.os_name.as_str(), debian.os_platform.as_str()), ("Debian GNU/Linux", "debian"));
        assert_eq!((debian.os_version.as_str(), debian.os_codename.as_str()), ("12 (bookworm)", "bookworm"));
        assert_eq!(debian.os_family, "debian");
        let mut rocky = HostFacts::default();
        os_release("NAME='Rocky Linux'\nID=rocky\nID_LIKE=\"rhel centos fedora\"\nVERSION_ID=9.4\n", &mut rocky);
        assert_eq!((rocky.os_family.as_str(), rocky.os_version.as_str()), ("redhat", "9.4"));
        let mut none = HostFacts::default();
        os_release("", &mut none);
        assert_eq!(none, HostFacts::default());
    }

    #[test]
    fn reads_the_tables_of_the_network() {
        let table = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n           |-- 127.0.0.1\n              \
                     /32 host LOCAL\n           |-- 192.0.2.0\n              /24 link UNICAST\n           |-- 192.0.2.2\n              \
                     /32 host LOCAL\n        |-- 192.0.2.255\n           /32 link BROADCAST\nLocal:\n           |-- 192.0.2.2\n              \
                     /32 host LOCAL\n           |-- 192.0.2.7\n              /32 host LOCAL\n";
        assert_eq!(ipv4_addresses(table), ["192.0.2.2", "192.0.2.7"]);
        let table = "20010db8000000000000000000000002 04 40 00 82     eth0\n\
                     00000000000000000000000000000001 01 80 10 80       lo\nodd\n\n";
        assert_eq!(ipv6_addresses(table), ["2001:db8::2"]);
        assert_eq!(mac("00:00:5e:00:53:23").as_deref(), Some("00-00-5E-00-53-23"));
        assert_eq!(mac("00:00:00:00:00:00"), None);
        assert_eq!(mac(""), None);
    }

    /// Guarantee: this host is known by what `uname` says of it.
    #[test]
    fn this_host_has_a_name_and_a_kernel() {
        let facts = facts();
        let uname = rustix::system::uname();
        assert_eq!(facts.hostname, uname.nodename().to_string_lossy());
        assert_eq!(facts.kernel, uname.release().to_string_lossy());
        assert!(!facts.hostname.is_empty() && !facts.architecture.is_empty());
    }
}
