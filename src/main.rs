//! The `sff` command.

mod cli;

use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    if std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        // Without a desktop session, Mesa's layer that picks a GPU for windows prints an error
        // that means nothing here.
        // SAFETY: no other thread runs yet.
        unsafe { std::env::set_var("NODEVICE_SELECT", "1") };
    }
    match cli::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let (message, code) = (error.to_string(), error.exit_code());
            let line = match error {
                sff::Error::Weights { .. } => message,
                // One line, whatever a library put into it.
                _ => message.split_whitespace().collect::<Vec<_>>().join(" "),
            };
            // The exit code tells as much if nobody can read this.
            let _ = writeln!(std::io::stderr(), "error: {line}");
            ExitCode::from(code)
        }
    }
}
