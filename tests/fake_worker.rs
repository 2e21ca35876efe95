//! A worker that obeys a script instead of loading models: how the server takes hangs, deaths and lies.
//! Its one argument names the fault; without it, it would be a worker that loads nothing.

use std::io::{self, Write as _};
use std::process;
use std::thread::sleep;
use std::time::Duration;

use phi3::api::worker::{self, Message, PROTOCOL_VERSION, Request};

fn main() {
    let fault = std::env::args().nth(1).unwrap_or_default();
    match fault.as_str() {
        "mute" => hang(),
        "stranger" => write(b"hello, I am a shell\n"),
        "future" => say(&Message::Hello { protocol: PROTOCOL_VERSION + 1, build: "9.9.9".to_owned() }),
        _ => say(&Message::Hello { protocol: PROTOCOL_VERSION, build: "fake".to_owned() }),
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
