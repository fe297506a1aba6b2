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

use crate::asker::{Asker, Told};
use crate::client::Client;
use crate::row::{Row, Second, Spoil, Trouble};
use crate::seen::{Cell, Seen};

/// Has a client meet what a row says, in a process and before an agent of their own.
pub(crate) async fn play(client: &Client, row: &Row) -> io::Result<Cell> {
    match &row.trouble {
        Trouble::Answers(faults) => answers(client, row, faults).await,
        Trouble::Hint(faults, after) => hint(client, faults, *after).await,
        Trouble::Pause(stage) => pause(client, *stage).await,
        Trouble::Elsewhere(status) => elsewhere(client, *status).await,
        Trouble::Absent => absent(client).await,
        Trouble::Outage(time) => outage(client, *time).await,
        Trouble::Limiter => limiter(client).await,
        Trouble::TokenFile(spoil) => token_file(client, *spoil).await,
        Trouble::Renewal(life, second) => renewal(client, *life, second).await,
    }
}

/// Always, then no more; and if the client tries again by itself, once.
async fn answers(client: &Client, row: &Row, faults: &[Fault]) -> io::Result<Cell> {
    let agent = MockAgent::start().await;
    always(&agent, faults);
    let mut asker = Asker::start(client, &agent)?;
    let seen = Seen::of(&agent, asker.ask(&agent).await?).expecting(life(faults));
    let mut cell = seen.cell();
    if row.timed {
        cell.add(&seen.time());
    }
    agent.clear_faults();
    recovers(&mut cell, &mut asker, &agent, &seen).await?;
    gives_away(&mut cell, &mut asker, &agent)?;
    if seen.requests > 1 && !seen.has_credentials() {
        cell.add(&once(client, faults).await?);
    }
    Ok(cell)
}

/// What is to be said of a client that meets this once, if it does not get over it.
async fn once(client: &Client, faults: &[Fault]) -> io::Result<String> {
    let agent = MockAgent::start().await;
    for fault in faults {
        agent.inject(fault.clone());
    }
    let seen = Seen::of(&agent, Asker::start(client, &agent)?.ask(&agent).await?);
    Ok(match (seen.has_credentials(), seen.requests) {
        (true, 2) => String::new(),
        _ => format!("once: {}", seen.cell().words),
    })
}

/// Once, and whether the second request comes when it was told to.
async fn hint(client: &Client, faults: &[Fault], after: Duration) -> io::Result<Cell> {
    let agent = MockAgent::start().await;
    for fault in faults {
        agent.inject(fault.clone());
    }
    let mut asker = Asker::start(client, &agent)?;
    let seen = Seen::of(&agent, asker.ask(&agent).await?);
    let mut cell = seen.cell();
    let times: Vec<_> = agent.requests().iter().map(|request| request.at).collect();
    if let [first, second, ..] = *times.as_slice() {
        let heeded = second.saturating_since(first) >= after;
        cell.add(if heeded {
            "waits so long"
        } else {
            "does not wait so long"
        });
    }
    recovers(&mut cell, &mut asker, &agent, &seen).await?;
    Ok(cell)
}

/// Every answer pauses until the client is seen to wait for the rest of it.
async fn pause(client: &Client, stage: Stage) -> io::Result<Cell> {
    let agent = MockAgent::start().await;
    let gate = Gate::new();
    agent.inject_always(Fault::hold(stage, &gate));
    let mut asker = Asker::start(client, &agent)?;
    let release = async {
        gate.wait_for(1).await;
        gate.release();
    };
    let (told, ()) = tokio::join!(asker.ask(&agent), release);
    Ok(Seen::of(&agent, told?).cell())
}

/// A redirect to somebody who would answer properly.
async fn elsewhere(client: &Client, status: u16) -> io::Result<Cell> {
    let (agent, other) = (MockAgent::start().await, MockAgent::start().await);
    agent.inject_always(Fault::redirect(status, other.uri()));
    let mut asker = Asker::start(client, &agent)?;
    let seen = Seen::of(&agent, asker.ask(&agent).await?);
    let mut cell = seen.cell();
    let requests = other.requests();
    if requests.iter().any(|request| request.token.is_some()) {
        cell.add("**takes the token there**");
    } else if !requests.is_empty() {
        cell.add("goes there");
    }
    agent.clear_faults();
    recovers(&mut cell, &mut asker, &agent, &seen).await?;
    Ok(cell)
}

async fn absent(client: &Client) -> io::Result<Cell> {
    let agent = MockAgent::start().await;
    agent.stop().await;
    let mut asker = Asker::start(client, &agent)?;
    let seen = Seen::of(&agent, asker.ask(&agent).await?).uncounted();
    let mut cell = seen.cell();
    agent.restart().await?;
    recovers(&mut cell, &mut asker, &agent, &seen).await?;
    Ok(cell)
}

/// It begins with a request, so that it is known that the client has begun.
async fn outage(client: &Client, time: Duration) -> io::Result<Cell> {
    let agent = MockAgent::start().await;
    let gate = agent.gate();
    agent.inject(Fault::reset(Stage::BeforeHeaders));
    let mut asker = Asker::start(client, &agent)?;
    let pass = async {
        gate.wait_for(1).await;
        agent.stop().await;
        gate.release();
        sleep(time).await;
        agent.restart().await
    };
    let (told, passed) = tokio::join!(asker.ask(&agent), pass);
    passed?;
    let seen = Seen::of(&agent, told?);
    if client.pauses_at_random {
        return Ok(Cell::of_chance());
    }
    let mut cell = seen.cell();
    recovers(&mut cell, &mut asker, &agent, &seen).await?;
    Ok(cell)
}

/// The limiter goes by a clock that stands still, so that nothing is let through until it moves.
async fn limiter(client: &Client) -> io::Result<Cell> {
    let clock = Arc::new(SettableClock::at(SystemClock.now()));
    let agent = MockAgent::builder()
        .limited()
        .clock(clock.clone())
        .start()
        .await?;
    exhaust(&agent).await?;
    let mut asker = Asker::start(client, &agent)?;
    let seen = Seen::after(LIMIT, &agent, asker.ask(&agent).await?);
    let mut cell = seen.cell();
    clock.advance(Duration::from_secs(1));
    recovers(&mut cell, &mut asker, &agent, &seen).await?;
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

/// A spoilt file for good; and one that is put right when the first request with what was in it arrives.
async fn token_file(client: &Client, spoil: Spoil) -> io::Result<Cell> {
    let agent = MockAgent::start().await;
    let _writing = spoilt(&agent, spoil)?;
    let mut asker = Asker::start(client, &agent)?;
    let seen = Seen::of(&agent, asker.ask(&agent).await?);
    let mut cell = seen.cell();
    agent.volume().write(agent.token().expose())?;
    recovers(&mut cell, &mut asker, &agent, &seen).await?;
    gives_away(&mut cell, &mut asker, &agent)?;
    if seen.requests > 0 && !seen.has_credentials() {
        cell.add(&mended(client, spoil).await?);
    }
    Ok(cell)
}

async fn mended(client: &Client, spoil: Spoil) -> io::Result<String> {
    let agent = MockAgent::start().await;
    let _writing = spoilt(&agent, spoil)?;
    let gate = agent.gate();
    let mut asker = Asker::start(client, &agent)?;
    let mend = async {
        gate.wait_for(1).await;
        let token = agent.token();
        let written = agent.volume().write(token.expose());
        gate.release();
        written
    };
    let (told, written) = tokio::join!(asker.ask(&agent), mend);
    written?;
    let seen = Seen::of(&agent, told?);
    Ok(match seen.has_credentials() {
        true => "reads it again".to_owned(),
        false => String::new(),
    })
}

/// Keeps the file open where a writer would.
fn spoilt(agent: &MockAgent, spoil: Spoil) -> io::Result<Option<InPlaceWrite>> {
    let (volume, token) = (agent.volume(), agent.token());
    match spoil {
        Spoil::Defect(defect) => volume.spoil(defect).map(|()| None),
        Spoil::Begun => volume.write_in_place(token.expose()).map(Some),
        Spoil::HalfWritten => {
            let mut writing = volume.write_in_place(token.expose())?;
            writing.advance(token.expose().len() / 2)?;
            Ok(Some(writing))
        }
        Spoil::Moved => volume.replace_file(token.expose()).map(|()| None),
        Spoil::Removed => volume.remove().map(|()| None),
    }
}

async fn renewal(client: &Client, life: Duration, second: &Second) -> io::Result<Cell> {
    let agent = MockAgent::builder()
        .token_policy(TokenPolicy::Current)
        .start()
        .await?;
    agent.inject_always(Fault::expires_in(life));
    if let Second::Closed = second {
        agent.inject_always(Fault::close(Stage::AfterBody));
    }
    let mut asker = Asker::start(client, &agent)?;
    let first = asker.ask(&agent).await?;
    let got = Instant::now();
    let Told::Key(held, _) = first else {
        return Ok(Seen::of(&agent, first).cell());
    };
    if client.renews_at_random.contains(&life.as_secs()) {
        return Ok(Cell::of_chance());
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
    let told = asker.ask(&agent).await?;
    let seen = match second {
        // Nobody counts, or some have been asking while the first set expired.
        Second::Absent | Second::Later(_) => Seen::of(&agent, told).uncounted(),
        Second::Answers(_) | Second::Closed | Second::Rotated => {
            settle(&agent).await;
            Seen::after(before, &agent, told)
        }
    };
    let mut cell = seen.renewed(&held);
    if seen.keeps(&held) && seen.requests > 0 {
        let third = asker.ask(&agent).await?;
        if !matches!(third, Told::Key(id, _) if id == held) {
            cell.add("another the next time");
        }
    }
    agent.clear_faults();
    agent.restart().await?;
    recovers(&mut cell, &mut asker, &agent, &seen).await?;
    Ok(cell)
}

/// Some have credentials renewed behind the back of who asked.
async fn settle(agent: &MockAgent) {
    let another = || agent.wait_for_requests(agent.request_count() + 1);
    while timeout(QUIET, another()).await.is_ok() {}
}

fn always(agent: &MockAgent, faults: &[Fault]) {
    for fault in faults {
        agent.inject_always(fault.clone());
    }
}

/// A client that failed asks again when all is well.
async fn recovers(
    cell: &mut Cell,
    asker: &mut Asker,
    agent: &MockAgent,
    seen: &Seen,
) -> io::Result<()> {
    if let Told::Failed(_) | Told::Without(_) = seen.told {
        let told = asker.ask(agent).await?;
        if !matches!(told, Told::Key(..)) {
            cell.add("**stays so**");
        }
    }
    Ok(())
}

/// What it says of its error must not hold the token, nor anything else that is secret.
fn gives_away(cell: &mut Cell, asker: &mut Asker, agent: &MockAgent) -> io::Result<()> {
    let words = asker.words()?;
    let secrets = agent.secrets();
    // An empty token is recorded as well.
    let mut secrets = secrets.iter().filter(|secret| !secret.expose().is_empty());
    if secrets.any(|secret| words.contains(secret.expose())) {
        cell.add("**shows the token**");
    }
    Ok(())
}

/// How long a success lives that these faults have changed.
fn life(faults: &[Fault]) -> i64 {
    let now = SystemClock.now();
    let changed = faults.iter().find_map(|fault| fault.expiry(now));
    changed.map_or(6 * 60 * 60, |expiry| {
        expiry.as_unix_secs() - now.as_unix_secs()
    })
}

/// How many requests the official limiter lets through at once.
const LIMIT: usize = 500;

/// More than any client waits between two attempts.
const QUIET: Duration = Duration::from_millis(2500);
