//! A worker that obeys a script instead of loading models: how the server takes hangs, deaths and lies.
//! Its one argument names the fault. `good` has none: it says all that a worker says, and loads nothing; `deaf` does so
//! until it has loaded, `starved` until it has generated three tokens; `full` finds no memory for weights; `large` says that
//! its model fills a GPU. `steady` has a token every tenth of a second, and says in its log how many there were when it was
//! told to stop.

use std::io::{self, Write as _};
use std::process;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::sleep;
use std::time::Duration;

use phi3::api::worker::{self, Message, PROTOCOL_VERSION, Request};
use serde_json::{Value, json};

fn main() {
    let fault = std::env::args().nth(1).unwrap_or_default();
    match fault.as_str() {
        "mute" => hang(),
        "stranger" => write(b"hello, I am a shell\n"),
        "future" => say(&Message::Hello { protocol: PROTOCOL_VERSION + 1, build: "9.9.9".to_owned() }),
        _ => say(&Message::Hello { protocol: PROTOCOL_VERSION, build: "fake".to_owned() }),
    }
    if ["good", "deaf", "starved", "full", "large", "steady"].contains(&fault.as_str()) {
        return pretend(&fault);
    }
    let Ok(Some(_load)) = worker::read::<Request>(&mut io::stdin().lock()) else { return };
    match fault.as_str() {
        "hang" => hang(),
        "idle" => loop {
            say(&Message::Heartbeat);
            sleep(Duration::from_millis(20));
        },
        "exit" => {
            writeln!(io::stderr(), "\x1b[31mcannot go on\x1b[0m: no such device").ok();
            process::exit(7);
        }
        "abort" => process::abort(),
        "malformed" => write(b"\x05\x00\x00\x00{nope"),
        "unknown" => write(b"\x10\x00\x00\x00{\"type\":\"gossip\"}"),
        "oversized" => write(b"\xff\xff\xff\xff"),
        "cut" => {
            write(b"\x40\x00\x00\x00{\"type\":");
            process::exit(0);
        }
        "flood" => {
            let line = [b"\x1b[1m\xff\x00".as_slice(), &[b'x'; 60_000], b"\n"].concat();
            for _ in 0..300 {
                io::stderr().write_all(&line).ok();
            }
            io::stderr().write_all(b"the last words\n").ok();
            process::exit(3);
        }
        _ => {}
    }
    hang();
}

/// Answers as a worker does.
fn pretend(fault: &str) {
    // Heard while a stream goes on.
    let (sender, requests) = channel();
    std::thread::spawn(move || {
        while let Ok(Some(request)) = worker::read::<Request>(&mut io::stdin().lock()) {
            if sender.send(request).is_err() {
                return;
            }
        }
    });
    let (device, weights) = if fault == "large" { ("cuda:0", 20_u64 << 30) } else { ("cpu", 1) };
    let memory = json!({
        "weights_bytes": weights, "kv_cache_bytes": 2, "activation_bytes": 3, "overhead_bytes": 4,
        "total_bytes": weights + 9,
    });
    let memory = json!({ "predicted": memory, "measured": memory });
    while let Ok(request) = requests.recv() {
        match request {
            Request::Load(_) if fault == "full" => {
                let message = "needs 4 GiB for weights, 1 GiB free";
                tell(&json!({ "type": "error", "code": "oom", "message": message, "path": "weights" }));
            }
            Request::Load(_) => {
                for done in 1..=3 {
                    tell(
                        &json!({ "type": "progress", "stage": "weights", "done_bytes": done, "total_bytes": 3 }),
                    );
                    sleep(Duration::from_millis(2));
                }
                let engine = json!({ "engine": "fake", "device": device, "dtype": "f32", "threads": 1 });
                tell(&json!({
                    "type": "loaded", "engine": engine, "load_ms": 6.0, "params_total": 1, "context": 4096,
                    "memory": memory, "host_peak_bytes": 10,
                }));
                if fault == "deaf" {
                    hang();
                }
            }
            Request::Validate(_) => {
                for id in 1..=3 {
                    say(&Message::Token { id, text: "a".to_owned() });
                    sleep(Duration::from_millis(1));
                }
                tell(&json!({
                    "type": "report", "device": "cpu", "dtype": "f32", "prompt_tokens": [1],
                    "generated_tokens": [1, 2, 3], "text": "aaa", "stop_reason": "length", "load_ms": 6.0,
                    "ttft_ms": 1.0, "prefill_tokens_per_s": 1.0, "decode_tokens_per_s": 1.0, "nan_count": 0,
                    "inf_count": 0, "memory": memory, "probes": [], "verdict": "pass", "reason": "pretended",
                }));
            }
            Request::Generate(asked) => {
                let say = |event: Value| tell(&json!({ "type": "stream", "id": asked.id, "event": event }));
                say(json!({ "kind": "started", "prompt_tokens": 1 }));
                if fault == "steady" {
                    let told = until_stopped(&requests, || {
                        say(json!({ "kind": "token", "token": 1, "text": "a", "logprobs": null }));
                    });
                    writeln!(io::stderr(), "stopped after {told} tokens").ok();
                    say(
                        json!({ "kind": "finished", "reason": "cancelled", "text": "", "completion_tokens": told }),
                    );
                    continue;
                }
                for token in 1..=3 {
                    say(json!({ "kind": "token", "token": token, "text": "a", "logprobs": null }));
                }
                say(match fault {
                    "starved" => json!({
                        "kind": "failed",
                        "error": { "code": "oom", "message": "needs 4 GiB for kv_cache, 1 GiB free", "path": "kv_cache" },
                    }),
                    _ => {
                        json!({ "kind": "finished", "reason": "length", "text": "", "completion_tokens": 3 })
                    }
                });
            }
            Request::Shutdown => return,
            _ => say(&Message::Done),
        }
    }
}

/// Has tokens until it is told to stop; their number.
fn until_stopped(requests: &Receiver<Request>, mut token: impl FnMut()) -> usize {
    let mut told = 0;
    loop {
        token();
        told += 1;
        match requests.recv_timeout(Duration::from_millis(100)) {
            Ok(Request::Stop { .. }) | Err(RecvTimeoutError::Disconnected) => return told,
            _ => {}
        }
    }
}

/// Says a message that is written as JSON; it must be one.
fn tell(message: &Value) {
    say(&serde_json::from_value(message.clone()).expect("a message of the protocol"));
}

fn hang() -> ! {
    loop {
        sleep(Duration::from_secs(3600));
    }
}

fn say(message: &Message) {
    write(&worker::encode(message).expect("a small message"));
}

fn write(bytes: &[u8]) {
    let mut stdout = io::stdout().lock();
    if stdout.write_all(bytes).and_then(|()| stdout.flush()).is_err() {
        process::exit(0);
    }
}
