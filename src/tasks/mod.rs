//! What runs without being asked: on a tick or a wake, by the same code as on demand. A task takes no input, may be run
//! twice, and holds no transaction while it waits for a network. Start at `poll` (sources) and `schedule` (when).

pub mod schedule;
