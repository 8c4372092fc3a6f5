//! One download over HTTP: resumed where it broke off, tried again when that may help.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::thread::sleep;

use ureq::Agent;
use ureq::http::{Response, StatusCode};

use super::{Failure, FetchOptions, Progress, append, limit, too_much};
use crate::base::files::md5;
use crate::data::catalog::Download;
use crate::{Error, Result};

/// How an attempt failed.
enum Fault {
    /// Another attempt may do better.
    Passing(String),
    /// It would not.
    Lasting(String),
    /// Something else than the download.
    Other(Error),
}

/// Downloads `base` and the file's name to `part`, after what is there already, until its MD5 is
/// the published one.
///
/// # Errors
/// [`Error::Fetch`], [`Error::Io`]. After a wrong checksum nothing is left.
pub fn download(
    base: &str,
    download: &Download,
    part: &Path,
    options: &FetchOptions,
    progress: &mut dyn Progress,
) -> Result<()> {
    let url = format!("{base}{}", download.file);
    let failed = |problem: String| Err(Error::Fetch { url: url.clone(), problem });
    let agent = agent(base, options);
    if length(part) == download.bytes && md5(part)? == download.md5 {
        return Ok(());
    }
    let (mut failures, mut pause) = (0, options.pause);
    loop {
        let before = length(part);
        let problem = match attempt(&agent, &url, download, part, progress) {
            Ok(()) => {
                let sum = md5(part)?;
                if sum == download.md5 {
                    return Ok(());
                }
                fs::remove_file(part).map_err(Error::io("remove", part))?;
                let expected = download.md5;
                let problem = format!("its MD5 is {sum}, that of the published file {expected}");
                if before == 0 {
                    return failed(format!("{problem}; another --from may have it"));
                }
                // What was there before may have been of another file.
                format!("{problem}, after {before} bytes of an earlier attempt")
            }
            Err(Fault::Passing(problem)) => problem,
            Err(Fault::Lasting(problem)) => return failed(problem),
            Err(Fault::Other(error)) => return Err(error),
        };
        if length(part) > before {
            (failures, pause) = (0, options.pause);
        }
        failures += 1;
        if failures >= options.attempts.max(1) {
            let kept = match length(part) {
                0 => String::new(),
                bytes => format!("; {bytes} bytes are kept, the same command goes on from there"),
            };
            return failed(format!("{problem} (attempt {failures}){kept}"));
        }
        progress.note(&format!("{problem}; trying again"));
        sleep(pause);
        pause *= 2;
    }
}

fn agent(base: &str, options: &FetchOptions) -> Agent {
    Agent::config_builder()
        // A secure address must not lead to one that is not.
        .https_only(base.starts_with("https://"))
        .http_status_as_error(false)
        .user_agent(concat!("sff/", env!("CARGO_PKG_VERSION")))
        .timeout_resolve(Some(options.connect))
        .timeout_connect(Some(options.connect))
        .timeout_recv_response(Some(options.stall))
        .timeout_per_read(Some(options.stall))
        .build()
        .into()
}

fn length(path: &Path) -> u64 {
    path.metadata().map_or(0, |metadata| metadata.len())
}

fn attempt(
    agent: &Agent,
    url: &str,
    download: &Download,
    part: &Path,
    progress: &mut dyn Progress,
) -> Result<(), Fault> {
    let done = length(part);
    let mut request = agent.get(url).header("Accept-Encoding", "identity");
    if done > 0 {
        request = request.header("Range", format!("bytes={done}-"));
    }
    let response = request.call().map_err(refused)?;
    let status = response.status();
    let done = match status {
        StatusCode::PARTIAL_CONTENT if begins_at(&response, done) => done,
        // The server sends all of it again.
        StatusCode::OK => 0,
        StatusCode::RANGE_NOT_SATISFIABLE if done > 0 => {
            // All is there already, or what is there is longer than the file.
            if md5(part).map_err(Fault::Other)? == download.md5 {
                return Ok(());
            }
            drop_part(part)?;
            return Err(Fault::Passing("what is there of it does not belong to it".into()));
        }
        StatusCode::PARTIAL_CONTENT => {
            drop_part(part)?;
            return Err(Fault::Passing("the server sends another part than asked for".into()));
        }
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
            return Err(Fault::Passing(format!("the server says {status}")));
        }
        _ if status.is_server_error() => {
            return Err(Fault::Passing(format!("the server says {status}")));
        }
        _ => {
            let advice = "the file may have moved, --from takes the address of a mirror";
            return Err(Fault::Lasting(format!("the server says {status}; {advice}")));
        }
    };
    progress.file(download.file, done, download.bytes);
    let io = |action| move |e: io::Error| Fault::Other(Error::io(action, part)(e));
    let file = File::options().create(true).append(true).open(part).map_err(io("create"))?;
    file.set_len(done).map_err(io("write"))?;
    let body = response.into_body().into_with_config().limit(u64::MAX).reader();
    append(body, file, done, limit(download), progress).map_err(|failure| match failure {
        Failure::Read(e) => Fault::Passing(broken(&e)),
        Failure::Write(e) => io("write")(e),
        Failure::TooMuch => match drop_part(part) {
            Ok(()) => Fault::Lasting(too_much(download)),
            Err(fault) => fault,
        },
    })
}

fn drop_part(part: &Path) -> Result<(), Fault> {
    fs::remove_file(part).map_err(|e| Fault::Other(Error::io("remove", part)(e)))
}

/// Whether a partial answer is the part from byte `start` on.
fn begins_at<T>(response: &Response<T>, start: u64) -> bool {
    let range = response.headers().get("Content-Range").and_then(|value| value.to_str().ok());
    let first = range.and_then(|range| range.strip_prefix("bytes "));
    first.and_then(|range| range.split('-').next()) == Some(&start.to_string())
}

/// What it means that there is no answer.
fn refused(error: ureq::Error) -> Fault {
    match error {
        ureq::Error::RequireHttpsOnly(to) => Fault::Lasting(format!(
            "it leads to {to}, which is not secure; if you trust it, give it as --from"
        )),
        ureq::Error::BadUri(_) | ureq::Error::Http(_) | ureq::Error::InvalidProxyUrl => {
            Fault::Lasting(format!("this is no usable address ({error})"))
        }
        ureq::Error::TooManyRedirects => {
            Fault::Lasting("it leads from one place to another".into())
        }
        ureq::Error::HostNotFound => Fault::Passing("there is no such host, or no network".into()),
        ureq::Error::Timeout(what) => Fault::Passing(format!("no answer in time ({what})")),
        ureq::Error::Io(e) => Fault::Passing(broken(&e)),
        other => Fault::Passing(other.to_string()),
    }
}

fn broken(error: &io::Error) -> String {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
    match cause {
        Some(ureq::Error::Timeout(_)) => "it stalled: nothing more came in time".into(),
        _ => format!("the connection broke: {error}"),
    }
}
