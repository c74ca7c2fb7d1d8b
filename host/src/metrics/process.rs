//! The metrics that every Prometheus client has of its process.

use super::text::{Kind, Page};
use crate::readings::Readings;
use rustix::{
    param::{clock_ticks_per_second, page_size},
    process::{Resource, getrlimit},
};
use std::fs;

/// Writes them; those that the system does not tell are left out.
pub fn write(page: &mut Page, readings: &Readings) {
    page.family(Kind::Counter, "process_cpu_seconds", "CPU time, of the user and the system.");
    page.value(&[], readings.cpu.as_secs_f64());
    page.family(Kind::Gauge, "process_resident_memory_bytes", "Resident memory.");
    page.value(&[], readings.status.memory_rss_bytes);
    for (name, help, value) in [
        ("process_virtual_memory_bytes", "Virtual memory.", virtual_memory()),
        ("process_start_time_seconds", "The start, in seconds since 1970.", start()),
        ("process_open_fds", "Open file descriptors.", open_files()),
        (
            "process_max_fds",
            "File descriptors that may be open.",
            getrlimit(Resource::Nofile).current,
        ),
    ] {
        if let Some(value) = value {
            page.family(Kind::Gauge, name, help);
            page.value(&[], value);
        }
    }
}

fn virtual_memory() -> Option<u64> {
    let pages = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = pages.split(' ').next()?.parse().ok()?;
    Some(pages * page_size() as u64)
}

fn start() -> Option<u64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // Behind the program's name, which may hold anything: the third field, and the start is the twenty-second.
    let (_, fields) = stat.rsplit_once(')')?;
    let ticks: u64 = fields.split_whitespace().nth(19)?.parse().ok()?;
    let system = fs::read_to_string("/proc/stat").ok()?;
    let booted = system.lines().find_map(|line| line.strip_prefix("btime "))?;
    Some(booted.trim().parse::<u64>().ok()? + ticks / clock_ticks_per_second())
}

fn open_files() -> Option<u64> {
    // Less the one that reads them.
    Some((fs::read_dir("/proc/self/fd").ok()?.count() as u64).saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{SystemTime, UNIX_EPOCH};

    #[test]
    fn this_process_has_all_of_them() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let started = start().unwrap();
        assert!(started <= now + 1 && now - started < 3600, "{started} of {now}");
        assert!(virtual_memory().unwrap() > 1 << 20);
        assert!(open_files().unwrap() > 2);
    }
}
