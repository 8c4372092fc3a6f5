//! A server on this machine that fails in every way it is asked to.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle, sleep};
use std::time::Duration;

/// How a server treats a request.
#[derive(Clone, Debug)]
pub enum Way {
    /// As it should.
    Well,
    /// Sends all, whatever part is asked for.
    WithoutRanges,
    /// Sends so many bytes and closes the connection.
    Truncated(usize),
    /// Sends so many bytes and then nothing, without closing the connection.
    Stalled(usize),
    /// Sends the same number of other bytes.
    Corrupt,
    /// Says that it sends the part asked for, but it is another.
    WrongPart,
    /// Without an answer.
    Silent,
    /// An error, or whatever status this is.
    Status(&'static str),
    /// To another address.
    Redirect(String),
    /// More and more, without an end.
    Endless,
}

/// A server that treats one request after the other in the given ways, and the last one for ever.
pub struct Server {
    pub address: String,
    requests: Arc<Mutex<Vec<String>>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub fn new(files: Vec<(&'static str, Vec<u8>)>, ways: Vec<Way>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = format!("http://{}/", listener.local_addr().unwrap());
        let (requests, over) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (log, stop) = (requests.clone(), over.clone());
        let thread = thread::spawn(move || {
            let mut ways = ways.into_iter().peekable();
            let mut last = Way::Well;
            while !stop.load(Ordering::SeqCst) {
                let Ok((stream, _)) = listener.accept() else {
                    sleep(Duration::from_millis(1));
                    continue;
                };
                stream.set_nonblocking(false).unwrap();
                last = ways.next().unwrap_or(last);
                // A client that goes away is what some of the tests are about.
                let _ = answer(stream, &files, &last, &log);
            }
        });
        Self { address, requests, over, thread: Some(thread) }
    }

    /// The path and range of each request so far.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        self.thread.take().unwrap().join().unwrap();
    }
}

fn answer(
    mut stream: TcpStream,
    files: &[(&'static str, Vec<u8>)],
    way: &Way,
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
    // Until the client gives up.
    let wait = |mut stream: &TcpStream| drop(stream.read(&mut [0]));
    let Some((_, content)) = files.iter().find(|(name, _)| *name == path) else {
        return write!(stream, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    };
    let whole = content.len();
    if matches!(way, Way::WithoutRanges) {
        start = 0;
    }
    let sent: Vec<u8> = match way {
        Way::Corrupt => content.iter().map(|byte| byte ^ 1).skip(start).collect(),
        _ => content.iter().copied().skip(start).collect(),
    };
    match way {
        Way::Silent => {
            wait(&stream);
            return Ok(());
        }
        Way::Status(status) => {
            return write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 3\r\n\r\nno!");
        }
        Way::Redirect(to) => {
            return write!(
                stream,
                "HTTP/1.1 302 Found\r\nLocation: {to}{path}\r\nContent-Length: 0\r\n\r\n"
            );
        }
        Way::Endless => {
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
    let head = match (start, way) {
        (0, _) => "200 OK\r\n".to_owned(),
        (_, Way::WrongPart) => {
            format!("206 Partial Content\r\nContent-Range: bytes 1-{}/{whole}\r\n", whole - 1)
        }
        _ => {
            format!("206 Partial Content\r\nContent-Range: bytes {start}-{}/{whole}\r\n", whole - 1)
        }
    };
    write!(stream, "HTTP/1.1 {head}Content-Length: {length}\r\nConnection: close\r\n\r\n")?;
    let part = match way {
        Way::Truncated(bytes) | Way::Stalled(bytes) => &sent[..(*bytes).min(length)],
        _ => &sent[..],
    };
    stream.write_all(part)?;
    if let Way::Stalled(_) = way {
        wait(&stream);
    }
    Ok(())
}
