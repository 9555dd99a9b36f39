//! Child processes that never outlive the tests: every server that a test starts goes through `Server`. It is stopped by
//! its own process id when dropped; if the test process itself dies (panic, kill -9, Ctrl-C), a watchdog that waits at
//! the other end of a pipe ends what is left and removes the folders. Nothing is ever stopped by name.
//! Also included by `src/store/testing.rs` for the unit tests of the library.

use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// How long a server may take to obey its stop signal before it is killed.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running child in a process group of its own (a Ctrl-C meant for the tests must not reach it before its client).
pub struct Server {
    child: Child,
    /// What asks it to stop: `TERM`, `INT`.
    stop: &'static str,
    /// Once its exit status was seen, its process id means nothing any more.
    ended: Option<ExitStatus>,
}

impl Server {
    /// Starts `command`; `stop` is the signal that ends it in good order.
    pub fn start(command: &mut Command, stop: &'static str) -> Server {
        let child = command
            .process_group(0)
            .stdin(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{} cannot be started: {error}", command.get_program().display()));
        tell(&format!("watch {} {stop}", child.id()));
        Server { child, stop, ended: None }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by name: `TERM`, `KILL`, `STOP`, `CONT`, `HUP`. Nothing happens if it has ended already.
    pub fn signal(&mut self, name: &str) {
        if self.status().is_none() {
            let words = format!("kill -s {name} {}", self.pid());
            let _ = Command::new("sh").args(["-c", &words]).stderr(Stdio::null()).status();
        }
    }

    /// `None` while it runs.
    pub fn status(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().ok().flatten();
            if self.ended.is_some() {
                tell(&format!("forget {}", self.child.id()));
            }
        }
        self.ended
    }

    /// Waits until it ends by itself. `None`: it still runs.
    pub fn wait(&mut self, at_most: Duration) -> Option<ExitStatus> {
        let start = Instant::now();
        while self.status().is_none() && start.elapsed() < at_most {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.status()
    }

    /// The good way out; kills what does not obey.
    pub fn stop(&mut self) -> Option<ExitStatus> {
        self.signal(self.stop);
        self.wait(PATIENCE).or_else(|| self.kill())
    }

    /// kill -9, and the body is collected.
    pub fn kill(&mut self) -> Option<ExitStatus> {
        self.signal("KILL");
        self.wait(PATIENCE)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The watchdog removes `folder` when this process ends, however it ends. For what lives in statics.
pub fn remove_at_end(folder: &Path) {
    tell(&format!("remove {}", folder.display()));
}

/// Reads `watch PID SIGNAL`, `forget PID` and `remove FOLDER`; when the pipe closes, the process that held it is gone.
const WATCHDOG: &str = r#"
trap '' INT TERM HUP
list= ; folders=
while read -r word one two; do
    case $word in
        watch) list="$list $one:$two" ;;
        forget) rest= ; for item in $list; do [ "${item%:*}" = "$one" ] || rest="$rest $item"; done; list=$rest ;;
        remove) folders="$folders
$one${two:+ $two}" ;;
    esac
done
for item in $list; do kill -s "${item#*:}" "${item%:*}" 2>/dev/null; done
tries=0
while [ -n "$list" ] && [ $tries -lt 50 ]; do
    rest= ; for item in $list; do kill -0 "${item%:*}" 2>/dev/null && rest="$rest $item"; done
    list=$rest ; tries=$((tries + 1)) ; [ -n "$list" ] && sleep 0.1
done
for item in $list; do kill -s KILL "${item%:*}" 2>/dev/null; done
printf '%s\n' "$folders" | while IFS= read -r folder; do [ -n "$folder" ] && rm -rf -- "$folder"; done
"#;

#[expect(clippy::zombie_processes, reason = "the watchdog outlives this process: that is what it is for")]
fn tell(line: &str) {
    static PIPE: OnceLock<Mutex<ChildStdin>> = OnceLock::new();
    let pipe = PIPE.get_or_init(|| {
        let mut child = Command::new("sh")
            .args(["-c", WATCHDOG])
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell is there");
        Mutex::new(child.stdin.take().expect("its input is a pipe"))
    });
    let mut pipe = pipe.lock().unwrap_or_else(PoisonError::into_inner);
    writeln!(pipe, "{line}").expect("the watchdog listens");
}

/// A port of the loopback interface that nobody listened on a moment ago.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a loopback port");
    listener.local_addr().expect("its address").port()
}

/// Whether the process runs as root, which some servers refuse to do.
pub fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self").is_ok_and(|of| of.uid() == 0)
}
