use std::fs;

/// Waits until a process is idle: all of its threads sleep, and still do after this thread, which runs the
/// process's peers, has finished its work.
///
/// Data over loopback wakes a process at once. A woken thread counts as running from then on, and a thread
/// without a context switch has slept all the time.
pub(crate) async fn at_rest(pid: u32) {
    let mut before = None;
    loop {
        let now = asleep(pid);
        if now.is_some() && now == before {
            return;
        }
        before = now;
        for _ in 0..TURNS {
            tokio::task::yield_now().await;
        }
    }
}

/// Returns the number of context switches of each thread, if all of them sleep.
fn asleep(pid: u32) -> Option<Vec<(String, Vec<String>)>> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    threads
        .map(|thread| {
            let path = thread.ok()?.path();
            let status = fs::read_to_string(path.join("status")).ok()?;
            let is_asleep = status.lines().any(|line| line == "State:\tS (sleeping)");
            let switches = status
                .lines()
                .filter(|line| line.contains("ctxt_switches"))
                .map(str::to_owned)
                .collect();
            is_asleep.then(|| (path.display().to_string(), switches))
        })
        .collect()
}

/// A request is read and answered after a few of them.
const TURNS: usize = 20;
