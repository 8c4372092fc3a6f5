//! A local HTTP server that fails on request.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle, sleep};
use std::time::Duration;

/// A server's reply to a request.
#[derive(Clone, Debug)]
pub enum Reply {
    /// The requested bytes.
    Complete,
    /// The whole file, ignoring the range of the request.
    WithoutRanges,
    /// This number of bytes, then closes the connection.
    Truncated(usize),
    /// This number of bytes, then keeps the connection open and silent.
    Stalled(usize),
    /// Other bytes of the same length.
    Corrupt,
    /// A `Content-Range` other than the requested one.
    WrongPart,
    /// No reply.
    Silent,
    /// This status line.
    Status(&'static str),
    /// A redirect to this address.
    Redirect(String),
    /// An endless body.
    Endless,
}

/// A server that gives one reply after the other, and repeats the last one.
pub struct Server {
    pub address: String,
    requests: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub fn new(files: Vec<(&'static str, Vec<u8>)>, replies: Vec<Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = format!("http://{}/", listener.local_addr().unwrap());
        let (requests, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (log, stopped) = (requests.clone(), stop.clone());
        let thread = thread::spawn(move || {
            let mut replies = replies.into_iter();
            let mut last = Reply::Complete;
            while !stopped.load(Ordering::SeqCst) {
                let Ok((stream, _)) = listener.accept() else {
                    sleep(Duration::from_millis(1));
                    continue;
                };
                stream.set_nonblocking(false).unwrap();
                last = replies.next().unwrap_or(last);
                // In some tests the client closes the connection early.
                let _ = answer(stream, &files, &last, &log);
            }
        });
        Self { address, requests, stop, thread: Some(thread) }
    }

    /// The path and range of each request so far.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.take().unwrap().join().unwrap();
    }
}

fn answer(
    mut stream: TcpStream,
    files: &[(&'static str, Vec<u8>)],
    reply: &Reply,
    log: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.set_write_timeout(Some(Duration::from_secs(5)))?;
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let first = lines.next().unwrap_or(Ok(String::new()))?;
    let path = first.split(' ').nth(1).unwrap_or_default().trim_start_matches('/').to_owned();
    let mut start = 0;
    let mut range = String::new();
    for line in lines {
        let line = line?.to_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(bytes) = line.strip_prefix("range: bytes=") {
            range = format!(" from {bytes}");
            start = bytes.trim_end_matches('-').parse().unwrap();
        }
    }
    log.lock().unwrap().push(format!("{path}{range}"));
    // Blocks until the client closes the connection.
    let wait = |mut stream: &TcpStream| drop(stream.read(&mut [0]));
    let Some((_, content)) = files.iter().find(|(name, _)| *name == path) else {
        return write!(stream, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    };
    let whole = content.len();
    if matches!(reply, Reply::WithoutRanges) {
        start = 0;
    }
    let sent: Vec<u8> = match reply {
        Reply::Corrupt => content.iter().map(|byte| byte ^ 1).skip(start).collect(),
        _ => content.iter().copied().skip(start).collect(),
    };
    match reply {
        Reply::Silent => {
            wait(&stream);
            return Ok(());
        }
        Reply::Status(status) => {
            return write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 3\r\n\r\nno!");
        }
        Reply::Redirect(to) => {
            return write!(
                stream,
                "HTTP/1.1 302 Found\r\nLocation: {to}{path}\r\nContent-Length: 0\r\n\r\n"
            );
        }
        Reply::Endless => {
            write!(stream, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
            loop {
                stream.write_all(&[7; 1 << 16])?;
            }
        }
        _ if start > 0 && start >= whole => {
            return write!(stream, "HTTP/1.1 416 No\r\nContent-Length: 0\r\n\r\n");
        }
        _ => {}
    }
    let length = sent.len();
    let head = match (start, reply) {
        (0, _) => "200 OK\r\n".to_owned(),
        (_, Reply::WrongPart) => {
            format!("206 Partial Content\r\nContent-Range: bytes 1-{}/{whole}\r\n", whole - 1)
        }
        _ => {
            format!("206 Partial Content\r\nContent-Range: bytes {start}-{}/{whole}\r\n", whole - 1)
        }
    };
    write!(stream, "HTTP/1.1 {head}Content-Length: {length}\r\nConnection: close\r\n\r\n")?;
    let part = match reply {
        Reply::Truncated(bytes) | Reply::Stalled(bytes) => &sent[..(*bytes).min(length)],
        _ => &sent[..],
    };
    stream.write_all(part)?;
    if let Reply::Stalled(_) = reply {
        wait(&stream);
    }
    Ok(())
}
