//! A profile as a trace that Perfetto and Chrome's tracing page show: JSON trace events.

use serde_json::{Value, json};

use super::{Event, Profile};

/// Processes of the trace.
const HOST: u32 = 0;
const DEVICE: u32 = 1;

/// The trace of one step: what the host did, and the ops of each block on a track of its own,
/// with their dispatches inside. Device and host are measured in different steps and by different
/// clocks; the first dispatch is drawn where the host has submitted it.
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
    // An op's dispatches are adjacent; the ops of another micro-batch are events of their own.
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

/// Something with a beginning and an end, in microseconds.
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
