//! What the system says of this process: memory and CPU time, for the status. Zero where it says nothing (no `/proc`).

use std::fs;

/// Resident memory, in bytes.
pub fn rss_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().unwrap_or(0);
    kib * 1024
}

/// CPU time of all threads, user and system, in seconds.
pub fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_and_cpu_time_are_of_this_process() {
        let before = cpu_seconds();
        let ballast = vec![1u8; 64 << 20];
        assert!(rss_bytes() > 64 << 20, "64 MiB were just written");
        assert!(ballast.iter().map(|byte| u64::from(*byte)).sum::<u64>() > 0);
        assert!(cpu_seconds() > before);
    }
}
