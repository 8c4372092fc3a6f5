//! A profile as JSON trace events, which Perfetto and Chrome's tracing page show.

use serde_json::{Value, json};

use super::{Event, Profile};

/// Process ids in the trace.
const HOST: u32 = 0;
const DEVICE: u32 = 1;

/// The trace of one step: the host's events, and one track per block with its ops and their dispatches.
/// Device and host are measured in different steps and by different clocks; the first dispatch is drawn
/// where the host has submitted the step.
pub fn trace(profile: &Profile) -> Value {
    let blocks: Vec<&str> = profile.by_block.iter().map(|line| line.name.as_str()).collect();
    let mut events = vec![
        name("process_name", HOST, 0, "host"),
        name("process_name", DEVICE, 0, &profile.device),
        name("thread_name", HOST, 0, "encode, submit, wait"),
    ];
    for (block, of) in blocks.iter().enumerate() {
        events.push(name("thread_name", DEVICE, block, of));
        let sort = json!({"ph": "M", "name": "thread_sort_index", "pid": DEVICE, "tid": block, "args": {"sort_index": block}});
        events.push(sort);
    }
    for event in &profile.host_events {
        events.push(complete(HOST, 0, &event.name, "host", &event.span, json!({})));
    }
    let submitted = profile.host_events.iter().find(|event| event.name == "wait");
    let submitted = submitted.map_or(0.0, |event| event.span.start);
    // The dispatches of an op are adjacent. In another micro-batch the same op is another event.
    for dispatches in profile.dispatches.chunk_by(|a, b| a.op == b.op) {
        let (Some(first), Some(last)) = (dispatches.first(), dispatches.last()) else { continue };
        let Some(op) = profile.ops.iter().find(|op| op.index == first.op) else { continue };
        let track = blocks.iter().position(|name| *name == op.block).unwrap_or(blocks.len());
        let span = first.span.start + submitted..last.span.end + submitted;
        let args = json!({"op": op.index, "block": op.block});
        events.push(complete(DEVICE, track, &op.line.name, "op", &span, args));
        for Event { name, span, work, .. } in dispatches {
            let span = span.start + submitted..span.end + submitted;
            let args = json!({"flops": work.flops, "bytes": work.bytes});
            events.push(complete(DEVICE, track, name, "dispatch", &span, args));
        }
    }
    json!({"displayTimeUnit": "ms", "traceEvents": events, "otherData": {"timed by": profile.clock}})
}

fn name(what: &str, pid: u32, tid: usize, name: &str) -> Value {
    json!({"ph": "M", "name": what, "pid": pid, "tid": tid, "args": {"name": name}})
}

/// A complete event (`ph` is `X`); the format has its times in microseconds.
fn complete(
    pid: u32,
    tid: usize,
    name: &str,
    kind: &str,
    span: &std::ops::Range<f64>,
    args: Value,
) -> Value {
    let (start, length) = (1e6 * span.start, 1e6 * (span.end - span.start));
    json!({"ph": "X", "name": name, "cat": kind, "pid": pid, "tid": tid, "ts": start, "dur": length, "args": args})
}
