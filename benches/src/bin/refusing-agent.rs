//! An agent that answers every second request with 429, to test the benches beside another agent.

use std::env;
use std::io::{BufRead as _, BufReader, Result, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

fn main() -> Result<()> {
    let port = env::args().skip_while(|flag| flag != "--port").nth(1);
    let port: u16 = port
        .and_then(|port| port.parse().ok())
        .expect("the bench must name a port");
    for stream in TcpListener::bind((Ipv4Addr::LOCALHOST, port))?.incoming() {
        let stream = stream?;
        thread::spawn(move || answer(&stream));
    }
    Ok(())
}

fn answer(mut stream: &TcpStream) -> Result<()> {
    for line in BufReader::new(stream).lines() {
        if line?.is_empty() {
            // Relaxed: only the number of answers matters, not which connection gets which.
            let status = match REQUESTS.fetch_add(1, Ordering::Relaxed) % 2 {
                0 => "200 OK",
                _ => "429 Too Many Requests",
            };
            stream
                .write_all(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").as_bytes())?;
        }
    }
    Ok(())
}

static REQUESTS: AtomicU64 = AtomicU64::new(0);
