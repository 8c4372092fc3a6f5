//! One download over HTTP, with resume and retries.

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
    /// Another attempt may succeed.
    Temporary(String),
    /// Another attempt would fail, too.
    Permanent(String),
    /// An error outside of the download, such as of the disk.
    Other(Error),
}

/// Downloads a file, whose address is `base` and its name, to `part`. Bytes that are in `part` already are
/// kept, unless the MD5 of the result is not the published one.
///
/// # Errors
/// [`Error::Fetch`], [`Error::Io`]. After a wrong checksum `part` is removed.
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
                    return failed(format!("{problem}; try another --from"));
                }
                // The bytes from before may be of another file: start again without them.
                format!("{problem}, after {before} bytes of an earlier attempt")
            }
            Err(Fault::Temporary(problem)) => problem,
            Err(Fault::Permanent(problem)) => return failed(problem),
            Err(Fault::Other(error)) => return Err(error),
        };
        if length(part) > before {
            (failures, pause) = (0, options.pause);
        }
        failures += 1;
        if failures >= options.attempts.max(1) {
            let kept = match length(part) {
                0 => String::new(),
                bytes => format!("; {bytes} bytes are kept, the same command continues from there"),
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
        // An https address must not redirect to http.
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
        // The server sends the whole file again.
        StatusCode::OK => 0,
        StatusCode::RANGE_NOT_SATISFIABLE if done > 0 => {
            // `part` is complete, or longer than the file.
            if md5(part).map_err(Fault::Other)? == download.md5 {
                return Ok(());
            }
            drop_part(part)?;
            return Err(Fault::Temporary("the part that was kept is not of this file".into()));
        }
        StatusCode::PARTIAL_CONTENT => {
            drop_part(part)?;
            return Err(Fault::Temporary("the server sends another range than requested".into()));
        }
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
            return Err(Fault::Temporary(format!("the server says {status}")));
        }
        _ if status.is_server_error() => {
            return Err(Fault::Temporary(format!("the server says {status}")));
        }
        _ => {
            let advice = "the file may have moved, --from takes the address of a mirror";
            return Err(Fault::Permanent(format!("the server says {status}; {advice}")));
        }
    };
    progress.file(download.file, done, download.bytes);
    let io = |action| move |e: io::Error| Fault::Other(Error::io(action, part)(e));
    let file = File::options().create(true).append(true).open(part).map_err(io("create"))?;
    file.set_len(done).map_err(io("write"))?;
    let body = response.into_body().into_with_config().limit(u64::MAX).reader();
    append(body, file, done, limit(download), progress).map_err(|failure| match failure {
        Failure::Read(e) => Fault::Temporary(broken(&e)),
        Failure::Write(e) => io("write")(e),
        Failure::TooMuch => match drop_part(part) {
            Ok(()) => Fault::Permanent(too_much(download)),
            Err(fault) => fault,
        },
    })
}

fn drop_part(part: &Path) -> Result<(), Fault> {
    fs::remove_file(part).map_err(|e| Fault::Other(Error::io("remove", part)(e)))
}

/// Whether a partial answer begins at byte `start`.
fn begins_at<T>(response: &Response<T>, start: u64) -> bool {
    let range = response.headers().get("Content-Range").and_then(|value| value.to_str().ok());
    let first = range.and_then(|range| range.strip_prefix("bytes "));
    first.and_then(|range| range.split('-').next()) == Some(&start.to_string())
}

/// The fault for a request without an answer.
fn refused(error: ureq::Error) -> Fault {
    match error {
        ureq::Error::RequireHttpsOnly(to) => Fault::Permanent(format!(
            "it redirects to {to}, which is not https; if you trust it, give it as --from"
        )),
        ureq::Error::BadUri(_) | ureq::Error::Http(_) | ureq::Error::InvalidProxyUrl => {
            Fault::Permanent(format!("this is not a valid address ({error})"))
        }
        ureq::Error::TooManyRedirects => Fault::Permanent("too many redirects".into()),
        ureq::Error::HostNotFound => {
            Fault::Temporary("there is no such host, or no network".into())
        }
        ureq::Error::Timeout(what) => Fault::Temporary(format!("no answer in time ({what})")),
        ureq::Error::Io(e) => Fault::Temporary(broken(&e)),
        other => Fault::Temporary(other.to_string()),
    }
}

fn broken(error: &io::Error) -> String {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
    match cause {
        Some(ureq::Error::Timeout(_)) => "it stalled: no more data in time".into(),
        _ => format!("the connection broke: {error}"),
    }
}
