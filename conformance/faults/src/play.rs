use std::io;
use std::sync::Arc;
use std::time::Duration;

use pod_identity_core::{Clock, SystemClock};
use pod_identity_testkit::{
    Fault, Gate, InPlaceWrite, MockAgent, SettableClock, Stage, TokenPolicy,
};
use tokio::io::{AsyncWriteExt, copy, sink};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::client::Client;
use crate::client_process::{ClientProcess, Reply};
use crate::row::{Row, Second, TokenFileState, Trouble};
use crate::seen::{Cell, Seen};

/// Runs a client through a row, in a process of its own and with an agent of its own.
pub(crate) async fn play(client: &Client, row: &Row) -> io::Result<Cell> {
    match &row.trouble {
        Trouble::Answers(faults) => answers(client, row, faults).await,
        Trouble::Hint(faults, after) => hint(client, faults, *after).await,
        Trouble::Pause(stage) => pause(client, *stage).await,
        Trouble::Elsewhere(status) => elsewhere(client, *status).await,
        Trouble::Absent => absent(client).await,
        Trouble::Unreachable => unreachable(client).await,
        Trouble::Outage(time) => outage(client, *time).await,
        Trouble::Limiter => limiter(client).await,
        Trouble::TokenFile(spoil) => token_file(client, *spoil).await,
        Trouble::Renewal(life, second) => renewal(client, *life, second).await,
    }
}

/// Starts a mock that accepts faults without effect: whether a client meets a fault is what the table says.
async fn mock_agent() -> io::Result<MockAgent> {
    MockAgent::builder().unverified().start().await
}

/// Injects the faults for every request, then none; and for one request, if the client retries.
async fn answers(client: &Client, row: &Row, faults: &[Fault]) -> io::Result<Cell> {
    let agent = mock_agent().await?;
    always(&agent, faults);
    let mut process = ClientProcess::start(client, &agent)?;
    let seen = Seen::of(&agent, process.ask(&agent).await?).expecting(life(faults));
    let mut cell = seen.cell();
    if row.timed {
        cell.add(&seen.time());
    }
    agent.clear_faults();
    recovers(&mut cell, &mut process, &agent, &seen).await?;
    leaks_secret(&mut cell, &mut process, &agent)?;
    if seen.requests > 1 && !seen.has_credentials() {
        cell.add(&once(client, faults).await?);
    }
    Ok(cell)
}

/// Returns a remark if a client does not recover from faults that occur once.
async fn once(client: &Client, faults: &[Fault]) -> io::Result<String> {
    let agent = mock_agent().await?;
    for fault in faults {
        agent.inject(fault.clone());
    }
    let seen = Seen::of(
        &agent,
        ClientProcess::start(client, &agent)?.ask(&agent).await?,
    );
    Ok(match (seen.has_credentials(), seen.requests) {
        (true, 2) => String::new(),
        _ => format!("once: {}", seen.cell().text),
    })
}

/// Injects the faults once, and checks when the second request comes.
async fn hint(client: &Client, faults: &[Fault], after: Duration) -> io::Result<Cell> {
    let agent = mock_agent().await?;
    for fault in faults {
        agent.inject(fault.clone());
    }
    let mut process = ClientProcess::start(client, &agent)?;
    let seen = Seen::of(&agent, process.ask(&agent).await?);
    let mut cell = seen.cell();
    let times: Vec<_> = agent.requests().iter().map(|request| request.at).collect();
    if let [first, second, ..] = *times.as_slice() {
        let is_honoured = second.saturating_since(first) >= after;
        cell.add(if is_honoured {
            "honours the delay"
        } else {
            "ignores the delay"
        });
    }
    recovers(&mut cell, &mut process, &agent, &seen).await?;
    Ok(cell)
}

/// Every answer pauses until the client waits for the rest of it.
async fn pause(client: &Client, stage: Stage) -> io::Result<Cell> {
    let agent = mock_agent().await?;
    let gate = Gate::new();
    agent.inject_always(Fault::hold(stage, &gate));
    let mut process = ClientProcess::start(client, &agent)?;
    let release = async {
        gate.wait_for(1).await;
        gate.release();
    };
    let (reply, ()) = tokio::join!(process.ask(&agent), release);
    Ok(Seen::of(&agent, reply?).cell())
}

/// Redirects to an agent that would answer normally.
async fn elsewhere(client: &Client, status: u16) -> io::Result<Cell> {
    let (agent, other) = (mock_agent().await?, mock_agent().await?);
    agent.inject_always(Fault::redirect(status, other.uri()));
    let mut process = ClientProcess::start(client, &agent)?;
    let seen = Seen::of(&agent, process.ask(&agent).await?);
    let mut cell = seen.cell();
    let requests = other.requests();
    if requests.iter().any(|request| request.token.is_some()) {
        cell.add("**sends the token there**");
    } else if !requests.is_empty() {
        cell.add("follows it");
    }
    agent.clear_faults();
    recovers(&mut cell, &mut process, &agent, &seen).await?;
    Ok(cell)
}

async fn absent(client: &Client) -> io::Result<Cell> {
    let agent = mock_agent().await?;
    agent.stop().await;
    let mut process = ClientProcess::start(client, &agent)?;
    let seen = Seen::of(&agent, process.ask(&agent).await?).uncounted();
    let mut cell = seen.cell();
    agent.restart().await?;
    recovers(&mut cell, &mut process, &agent, &seen).await?;
    Ok(cell)
}

/// The client is refused once before, so that the time it takes to start does not count.
async fn unreachable(client: &Client) -> io::Result<Cell> {
    let agent = mock_agent().await?;
    agent.inject_always(Fault::status(400));
    let mut process = ClientProcess::start(client, &agent)?;
    process.ask(&agent).await?;
    agent.clear_faults();
    agent.inject(Fault::unreachable(UNREACHABLE));
    agent.catch_up().await?;
    let asked = Instant::now();
    let reply = process.ask_within(CONNECT_LIMIT).await?;
    let seen = Seen::of(&agent, reply).uncounted().taking(asked.elapsed());
    let mut cell = seen.cell();
    cell.add(&seen.time());
    agent.restart().await?;
    recovers(&mut cell, &mut process, &agent, &seen).await?;
    Ok(cell)
}

/// The outage begins after the first request, so that the client has started.
async fn outage(client: &Client, time: Duration) -> io::Result<Cell> {
    let agent = mock_agent().await?;
    let gate = agent.gate();
    agent.inject(Fault::reset(Stage::BeforeHeaders));
    let mut process = ClientProcess::start(client, &agent)?;
    let pass = async {
        gate.wait_for(1).await;
        agent.stop().await;
        gate.release();
        sleep(time).await;
        agent.restart().await
    };
    let (reply, passed) = tokio::join!(process.ask(&agent), pass);
    passed?;
    let seen = Seen::of(&agent, reply?);
    if client.pauses_at_random {
        return Ok(Cell::random());
    }
    let mut cell = seen.cell();
    recovers(&mut cell, &mut process, &agent, &seen).await?;
    Ok(cell)
}

/// The limiter uses a clock that is stopped, so that no request passes until it is set.
async fn limiter(client: &Client) -> io::Result<Cell> {
    let clock = Arc::new(SettableClock::at(SystemClock.now()));
    let agent = MockAgent::builder()
        .unverified()
        .limited()
        .clock(clock.clone())
        .start()
        .await?;
    exhaust(&agent).await?;
    let mut process = ClientProcess::start(client, &agent)?;
    let seen = Seen::after(LIMIT, &agent, process.ask(&agent).await?);
    let mut cell = seen.cell();
    clock.advance(Duration::from_secs(1));
    recovers(&mut cell, &mut process, &agent, &seen).await?;
    Ok(cell)
}

async fn exhaust(agent: &MockAgent) -> io::Result<()> {
    let (mut answers, mut requests) = TcpStream::connect(agent.address()).await?.into_split();
    let ask = async {
        for _ in 0..LIMIT {
            requests
                .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
                .await?;
        }
        agent.wait_for_answers(LIMIT).await;
        requests.shutdown().await
    };
    let mut nowhere = sink();
    let (asked, read) = tokio::join!(ask, copy(&mut answers, &mut nowhere));
    read?;
    asked
}

/// Writes a defective file; and one that is corrected when the first request with its content arrives.
async fn token_file(client: &Client, spoil: TokenFileState) -> io::Result<Cell> {
    let agent = mock_agent().await?;
    let _writing = damage(&agent, spoil)?;
    let mut process = ClientProcess::start(client, &agent)?;
    let seen = Seen::of(&agent, process.ask(&agent).await?);
    let mut cell = seen.cell();
    agent.volume().write(agent.token().expose())?;
    recovers(&mut cell, &mut process, &agent, &seen).await?;
    leaks_secret(&mut cell, &mut process, &agent)?;
    if seen.requests > 0 && !seen.has_credentials() {
        cell.add(&rereads(client, spoil).await?);
    }
    Ok(cell)
}

async fn rereads(client: &Client, spoil: TokenFileState) -> io::Result<String> {
    let agent = mock_agent().await?;
    let _writing = damage(&agent, spoil)?;
    let gate = agent.gate();
    let mut process = ClientProcess::start(client, &agent)?;
    let correct = async {
        gate.wait_for(1).await;
        let token = agent.token();
        let written = agent.volume().write(token.expose());
        gate.release();
        written
    };
    let (reply, written) = tokio::join!(process.ask(&agent), correct);
    written?;
    let seen = Seen::of(&agent, reply?);
    Ok(match seen.has_credentials() {
        true => "rereads the file".to_owned(),
        false => String::new(),
    })
}

/// Changes the token file. Keeps it open if a writer would.
fn damage(agent: &MockAgent, spoil: TokenFileState) -> io::Result<Option<InPlaceWrite>> {
    let (volume, token) = (agent.volume(), agent.token());
    match spoil {
        TokenFileState::Defect(defect) => volume.spoil(defect).map(|()| None),
        TokenFileState::Begun => volume.write_in_place(token.expose()).map(Some),
        TokenFileState::HalfWritten => {
            let mut writing = volume.write_in_place(token.expose())?;
            writing.advance(token.expose().len() / 2)?;
            Ok(Some(writing))
        }
        TokenFileState::Moved => volume.replace_file(token.expose()).map(|()| None),
        TokenFileState::Removed => volume.remove().map(|()| None),
    }
}

async fn renewal(client: &Client, life: Duration, second: &Second) -> io::Result<Cell> {
    let agent = MockAgent::builder()
        .unverified()
        .token_policy(TokenPolicy::Current)
        .start()
        .await?;
    agent.inject_always(Fault::expires_in(life));
    if let Second::Closed = second {
        agent.inject_always(Fault::close(Stage::AfterBody));
    }
    let mut process = ClientProcess::start(client, &agent)?;
    let first = process.ask(&agent).await?;
    let got = Instant::now();
    let Reply::Key(held, _) = first else {
        return Ok(Seen::of(&agent, first).cell());
    };
    if client.renews_at_random.contains(&life.as_secs()) {
        return Ok(Cell::random());
    }

    agent.clear_faults();
    match second {
        Second::Answers(faults) => always(&agent, faults),
        Second::Closed => {}
        Second::Absent => agent.stop().await,
        Second::Later(faults) => {
            always(&agent, faults);
            sleep((life + Duration::from_secs(1)).saturating_sub(got.elapsed())).await;
        }
        Second::Rotated => drop(agent.rotate()),
    }
    let before = agent.request_count();
    let reply = process.ask(&agent).await?;
    let seen = match second {
        // Requests are not counted, or there were some while the first set expired.
        Second::Absent | Second::Later(_) => Seen::of(&agent, reply).uncounted(),
        Second::Answers(_) | Second::Closed | Second::Rotated => {
            settle(&agent).await;
            Seen::after(before, &agent, reply)
        }
    };
    let mut cell = seen.renewed(&held);
    if seen.keeps(&held) && seen.requests > 0 {
        let third = process.ask(&agent).await?;
        if !matches!(third, Reply::Key(id, _) if id == held) {
            cell.add("a new set the next time");
        }
    }
    agent.clear_faults();
    agent.restart().await?;
    recovers(&mut cell, &mut process, &agent, &seen).await?;
    Ok(cell)
}

/// Waits for the requests of clients that renew credentials in the background.
async fn settle(agent: &MockAgent) {
    let another = || agent.wait_for_requests(agent.request_count() + 1);
    while timeout(QUIET, another()).await.is_ok() {}
}

fn always(agent: &MockAgent, faults: &[Fault]) {
    for fault in faults {
        agent.inject_always(fault.clone());
    }
}

/// Has a client that failed try again without a fault.
async fn recovers(
    cell: &mut Cell,
    process: &mut ClientProcess,
    agent: &MockAgent,
    seen: &Seen,
) -> io::Result<()> {
    if let Reply::Failed(_) | Reply::Without(_) = seen.reply {
        let reply = process.ask(agent).await?;
        if !matches!(reply, Reply::Key(..)) {
            cell.add("**does not recover**");
        }
    }
    Ok(())
}

/// Checks that the client's error output does not contain the token or another secret.
fn leaks_secret(cell: &mut Cell, process: &mut ClientProcess, agent: &MockAgent) -> io::Result<()> {
    let stderr = process.stderr()?;
    let secrets = agent.secrets();
    // An empty token is recorded as well.
    let mut secrets = secrets.iter().filter(|secret| !secret.expose().is_empty());
    if secrets.any(|secret| stderr.contains(secret.expose())) {
        cell.add("**leaks the token**");
    }
    Ok(())
}

/// Returns the lifetime in seconds of a success with these faults.
fn life(faults: &[Fault]) -> i64 {
    let now = SystemClock.now();
    let changed = faults.iter().find_map(|fault| fault.expiry(now));
    changed.map_or(6 * 60 * 60, |expiry| {
        expiry.as_unix_secs() - now.as_unix_secs()
    })
}

/// Until the end of the row.
pub(crate) const UNREACHABLE: Duration = Duration::from_secs(3600);

/// Go needs a minute and a half for three attempts of 30 s each. The kernel gives up an attempt that has no limit
/// after two minutes.
const CONNECT_LIMIT: Duration = Duration::from_secs(200);

/// The burst of the official limiter.
const LIMIT: usize = 500;

/// Longer than any client waits between two attempts.
const QUIET: Duration = Duration::from_millis(2500);
