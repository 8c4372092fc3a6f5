//! Where the time of a step goes: by block and by kernel.

use std::fmt::Write;

use super::run::count;
use crate::Result;
use crate::app::pages::svg::escape;
use crate::app::profile::{Line, Profile};

/// Kernels that are shown: those that take most.
const KERNELS: usize = 10;

/// Both tables, or why there are none.
pub fn section(profile: &Result<Profile>) -> String {
    let profile = match profile {
        Ok(profile) => profile,
        Err(e) => {
            return format!("<p>The device could not be timed: {}.</p>\n", escape(&e.to_string()));
        }
    };
    let Profile { clock, batch, steps, device_ms, step_ms, by_block, by_kernel, .. } = profile;
    let shown = by_kernel.len().min(KERNELS);
    format!(
        "<p>A step of {} takes {step_ms:.2} ms; its dispatches, each timed by itself, {device_ms:.2} ms. Medians of {steps} steps after the last of training, by {clock}. <code>sff profile</code> shows more of such a step, next to the device's peak.</p>\n{}<p>The {shown} kernels that take most of the time, of {}:</p>\n{}",
        count(*batch, "image"),
        table("block", by_block),
        by_kernel.len(),
        table("kernel", &by_kernel[..shown])
    )
}

fn table(by: &str, lines: &[Line]) -> String {
    let mut out = format!("<div class=\"scroll\"><table>\n<tr><th scope=\"col\">{by}</th>");
    for head in ["calls", "ms", "share", "GFLOP/s", "GB/s"] {
        // Writing to a String cannot fail.
        let _ = write!(out, "<th scope=\"col\">{head}</th>");
    }
    out.push_str("</tr>\n");
    for Line { name, calls, ms, share, gflops, gbs, .. } in lines {
        let _ = writeln!(
            out,
            "<tr><th scope=\"row\" class=\"text\">{}</th><td>{calls}</td><td>{ms:.3}</td><td class=\"bar\" style=\"--v:{share:.3}\">{:.1}%</td><td>{gflops:.2}</td><td>{gbs:.2}</td></tr>",
            escape(name),
            100.0 * share
        );
    }
    out + "</table></div>\n"
}
