//! The `sff` command.

use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    if std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        // Without a desktop session, Mesa's device-select layer, which picks a GPU for windows, prints
        // an error that does not matter here.
        // SAFETY: no other thread is running yet.
        unsafe { std::env::set_var("NODEVICE_SELECT", "1") };
    }
    let default_hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        // wgpu panics in `Device::poll` if the device is lost while the host waits for it. A session
        // catches this panic and returns an error, so it prints no message.
        let message = info.payload().downcast_ref::<String>();
        let lost = message.is_some_and(|message| message.contains("Device::poll"));
        if !lost {
            default_hook(info);
        }
    }));
    match sff::cli::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let (message, code) = (sff::cli::worded(&error), error.exit_code());
            let line = match error {
                sff::Error::Weights { .. } => message,
                // One line, even if the message of a library has several.
                _ => message.split_whitespace().collect::<Vec<_>>().join(" "),
            };
            // If standard error is closed, the exit code still reports the failure.
            let _ = writeln!(std::io::stderr(), "error: {line}");
            if code == sff::Error::DEVICE_EXIT {
                // Submitted work may still be running: the driver's exit handlers could crash on it.
                signal_hook::low_level::exit(code.into());
            }
            ExitCode::from(code)
        }
    }
}
