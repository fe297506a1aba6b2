use std::fs;

/// Waits until a process has nothing to do: all of its threads sleep, and still do when this thread, on
/// which those run that it talks to, has done what it had to do.
///
/// Whatever is sent to a process over loopback wakes it at once; a thread that is woken counts as running
/// from then on, and one that has not changed places in the meantime has slept all the while.
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

/// How many times each thread has changed places with another, if all of them sleep.
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

/// A request is read, answered and gone after a few; each looks for what has come.
const TURNS: usize = 20;
