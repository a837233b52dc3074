//! Many clients at once on the real model: nothing is lost, memory stays flat, and clients that leave
//! free their places.
//!
//! `LOAD_MODEL` names the model, the plan's is taken else; without one the test is skipped.
//! `LOAD_SECONDS` is how long it lasts (3) and `LOAD_CLIENTS` how many ask (64).

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mistral_server::plan;
use serde_json::{Value, json};

const KEY: &str = "a key of the test";

/// One in so many requests is left by its client after the first bytes of the answer.
const LEAVES: usize = 7;

/// When memory is looked at first: what is taken once has been taken by then.
const SETTLED: Duration = Duration::from_secs(20);

struct Server {
    child: Child,
    address: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What came of the requests of one client.
#[derive(Debug, Default)]
struct Tally {
    whole: usize,
    refused: usize,
    left: usize,
    lost: Vec<String>,
}

fn number(name: &str, default: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.map_or(default, |text| text.parse().expect("a whole number"))
}

impl Server {
    /// The program of this project on a model.
    fn start(model: &PathBuf) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_mistral-server"))
            .envs([("PORT", "0"), ("SLOTS", "16"), ("MAX_WAITING", "24")])
            .envs(plan::KEY_VARIABLE.map(|name| (name, KEY)))
            .env("MODEL_PATH", model)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("starts");
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let mut listening = |line: std::io::Result<String>| {
            let line = line.expect("text");
            line.strip_prefix("listening on http://").map(str::to_owned)
        };
        let address = lines.find_map(&mut listening).expect("listens");
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, address }
    }

    fn connect(&self) -> std::io::Result<TcpStream> {
        let socket = TcpStream::connect(&self.address)?;
        socket.set_read_timeout(Some(Duration::from_secs(120)))?;
        Ok(socket)
    }

    /// A counter of the metrics' page.
    fn metric(&self, name: &str) -> Option<f64> {
        let mut socket = self.connect().ok()?;
        socket
            .write_all(b"GET /metrics HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
            .ok()?;
        let mut page = String::new();
        socket.read_to_string(&mut page).ok()?;
        let line = page.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().parse().ok()
    }

    /// One request, whole or left in its middle.
    fn ask(&self, i: usize, tally: &mut Tally) -> std::io::Result<()> {
        let streamed = !i.is_multiple_of(3);
        let body = json!({
            "prompt": format!("KING {i}:\n{}", "What news? ".repeat(i % 5)),
            "max_tokens": 4 + i % 60,
            "stream": streamed,
            "seed": i,
        })
        .to_string();
        let mut socket = self.connect()?;
        write!(
            socket,
            "POST /v1/completions HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {KEY}\r\n\
             connection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )?;
        if i.is_multiple_of(LEAVES) {
            if streamed {
                socket.read_exact(&mut [0; 16])?;
            }
            tally.left += 1;
            return Ok(());
        }
        let mut answer = String::new();
        socket.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
        let complete = match streamed {
            true => body.contains("data: [DONE]") && body.contains("\"finish_reason\":\""),
            false => serde_json::from_str::<Value>(body)
                .is_ok_and(|body| body["usage"]["completion_tokens"].is_u64()),
        };
        match head.split(' ').nth(1) {
            Some("200") if complete => tally.whole += 1,
            Some("429" | "503") if head.contains("retry-after: ") => {
                tally.refused += 1;
                std::thread::sleep(Duration::from_millis(20));
            }
            _ => tally.lost.push(answer),
        }
        Ok(())
    }
}

/// Asks until the time is up.
fn client(server: &Server, number: usize, clients: usize, end: Instant) -> Tally {
    let mut tally = Tally::default();
    let mut i = number;
    while Instant::now() < end {
        if let Err(error) = server.ask(i, &mut tally) {
            tally.lost.push(error.to_string());
        }
        i += clients;
    }
    tally
}

#[test]
fn many_clients_are_answered_or_refused() {
    let named = std::env::var("LOAD_MODEL").unwrap_or_else(|_| plan::MODEL_PATH.to_owned());
    let model = PathBuf::from(named);
    if !model.exists() {
        println!("skipped: no model at {}", model.display());
        return;
    }
    let seconds = Duration::from_secs(number("LOAD_SECONDS", 3));
    let clients = number("LOAD_CLIENTS", 64) as usize;
    let server = Server::start(&model);
    let resident = || server.metric("process_resident_memory_bytes ");
    let start = Instant::now();
    let (tallies, settled) = std::thread::scope(|scope| {
        let server = &server;
        let asking: Vec<_> = (0..clients)
            .map(|n| scope.spawn(move || client(server, n, clients, start + seconds)))
            .collect();
        let settled = (seconds > SETTLED).then(|| {
            std::thread::sleep(SETTLED);
            resident()
        });
        let tallies: Vec<Tally> = asking
            .into_iter()
            .map(|client| client.join().expect("asks"))
            .collect();
        (tallies, settled.flatten())
    });
    let after = resident();
    let sum = |of: fn(&Tally) -> usize| tallies.iter().map(of).sum::<usize>();
    let (whole, refused, left) = (sum(|t| t.whole), sum(|t| t.refused), sum(|t| t.left));
    let lost: Vec<&String> = tallies.iter().flat_map(|tally| &tally.lost).collect();
    println!(
        "{clients} clients, {} s: {whole} whole, {refused} refused, {left} left, {} lost; \
         {:?} tokens; resident {settled:?} then {after:?} bytes",
        seconds.as_secs(),
        lost.len(),
        server.metric("mistral_generation_tokens_total "),
    );
    assert!(lost.is_empty(), "{:?}", &lost[..lost.len().min(5)]);
    assert!(whole > 0);

    // Those who left hold nothing.
    let idle = || {
        ["running", "waiting"]
            .iter()
            .all(|state| server.metric(&format!("mistral_num_requests_{state} ")) == Some(0.0))
    };
    let begin = Instant::now();
    while !idle() {
        assert!(
            begin.elapsed() < Duration::from_secs(20),
            "slots stay taken"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    let mut tally = Tally::default();
    server.ask(1, &mut tally).expect("is answered");
    assert_eq!(tally.whole, 1, "{tally:?}");
    if let (Some(settled), Some(after)) = (settled, after) {
        assert!(after < settled * 1.05, "{settled} bytes became {after}");
    }
}
