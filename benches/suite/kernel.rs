//! What the kernel says of a process: its memory, its share of the processor; and on which cores it is to run.

use std::time::Duration;

/// Resident now, in bytes.
pub fn resident(pid: u32) -> anyhow::Result<u64> {
    field(pid, "VmRSS:")
}

/// The most it ever was, in bytes.
pub fn peak(pid: u32) -> anyhow::Result<u64> {
    field(pid, "VmHWM:")
}

fn field(pid: u32, name: &str) -> anyhow::Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let kilobytes = line.and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kilobytes.map(|kb| kb * 1024).ok_or_else(|| anyhow::anyhow!("no {name} of process {pid}"))
}

/// Processor time that it has used so far, in the kernel's ticks of 10 ms.
pub fn processor(pid: u32) -> anyhow::Result<Duration> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name may hold anything and stands in brackets; user and system time are the 12th and 13th word behind it.
    let words = text.rsplit(')').next().unwrap_or_default().split_ascii_whitespace().skip(11).take(2);
    let ticks = words.map(str::parse::<u64>).sum::<Result<u64, _>>()?;
    Ok(Duration::from_millis(ticks * 10))
}

/// This process, and what it starts from now on, on these cores: `0-3` or `1`.
pub fn run_on(cores: &str) -> anyhow::Result<()> {
    let own = std::process::id().to_string();
    let done = std::process::Command::new("taskset").args(["-a", "-c", "-p", cores, &own]).output()?;
    anyhow::ensure!(done.status.success(), "taskset: {}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}
