//! What the kernel says of a process's memory.

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
