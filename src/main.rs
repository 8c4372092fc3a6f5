//! The `sff` command.

use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    if std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        // Without a desktop session, Mesa's layer that picks a GPU for windows prints an error
        // that means nothing here.
        // SAFETY: no other thread runs yet.
        unsafe { std::env::set_var("NODEVICE_SELECT", "1") };
    }
    let panicked = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        // wgpu's answer to a device that is lost while somebody waits for it; a session catches it.
        let said = info.payload().downcast_ref::<String>();
        let wgpu = said.is_some_and(|said| said.contains("Device::poll"));
        if !wgpu {
            panicked(info);
        }
    }));
    match sff::cli::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let (message, code) = (sff::cli::worded(&error), error.exit_code());
            let line = match error {
                sff::Error::Weights { .. } => message,
                // One line, whatever a library put into it.
                _ => message.split_whitespace().collect::<Vec<_>>().join(" "),
            };
            // The exit code tells as much if nobody can read this.
            let _ = writeln!(std::io::stderr(), "error: {line}");
            if code == sff::Error::DEVICE_EXIT {
                // Work may still be under way: the driver's own tidying at exit could crash on it.
                signal_hook::low_level::exit(code.into());
            }
            ExitCode::from(code)
        }
    }
}
