//! The time of a step by block and by kernel.

use maud::{Markup, html};

use super::parts::{count, percent, scroll};
use crate::Result;
use crate::app::profile::{Line, Profile};

/// Number of kernels that are shown, those with the most time.
const KERNELS: usize = 10;

/// Both tables, or the reason why the step could not be timed.
pub fn section(profile: &Result<Profile>) -> Markup {
    let profile = match profile {
        Ok(profile) => profile,
        Err(e) => return html! { p { "The device could not be timed: " (e.to_string()) "." } },
    };
    let Profile { clock, batch, steps, device_ms, step_ms, by_block, by_kernel, .. } = profile;
    let shown = by_kernel.len().min(KERNELS);
    html! {
        p {
            "A step of " (count(*batch, "image")) " takes " (format_args!("{step_ms:.2}")) " ms; "
            "its dispatches, each timed by itself, " (format_args!("{device_ms:.2}")) " ms. "
            "Medians of " (steps) " steps after the last of training, by " (clock) ". "
            code { "sff profile" } " shows more of such a step, next to the device's peak."
        }
        (table("block", by_block))
        p { "The " (shown) " kernels that take most of the time, of " (by_kernel.len()) ":" }
        (table("kernel", &by_kernel[..shown]))
    }
}

/// A table of lines, with shares also as bars.
fn table(by: &str, lines: &[Line]) -> Markup {
    let table = html! {
        table {
            tr {
                @for head in [by, "calls", "ms", "share", "GFLOP/s", "GB/s"] {
                    th scope="col" { (head) }
                }
            }
            @for Line { name, calls, ms, share, gflops, gbs, .. } in lines {
                tr {
                    th.text scope="row" { (name) }
                    td { (calls) }
                    td { (format_args!("{ms:.3}")) }
                    td.bar style={"--v:" (format_args!("{share:.3}"))} { (percent(*share, 1)) }
                    td { (format_args!("{gflops:.2}")) }
                    td { (format_args!("{gbs:.2}")) }
                }
            }
        }
    };
    scroll(&format!("Time by {by}"), &table)
}
