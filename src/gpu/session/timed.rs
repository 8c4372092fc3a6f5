//! Runs ops and times each dispatch. Only these runs use timestamp queries.

use std::ops::Range;
use std::time::Instant;

use super::{Session, allocate};
use crate::base::choice::choice;
use crate::base::hint::{Hint, message};
use crate::{Error, Result};

choice! {
    /// How dispatches are timed.
    pub enum Clock {
        /// The device's timestamps around each dispatch, all of them in one pass.
        Timestamps = "timestamps",
        /// The device's timestamps at the start and end of a pass for each dispatch.
        Passes = "passes",
        /// The host's clock around a submit of each dispatch and a wait for it.
        Wall = "wall",
    }
}

impl std::fmt::Display for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Timestamps => "GPU timestamps around each dispatch",
            Self::Passes => "GPU timestamps, a pass for each dispatch",
            Self::Wall => "wall clock, a submit and a wait for each dispatch",
        })
    }
}

/// Dispatches with timestamps in one query set.
const PER_SET: usize = wgpu::QUERY_SET_MAX_QUERIES as usize / 2;

impl Session {
    /// The best clock that the device has.
    pub fn clock(&self) -> Clock {
        let features = self.gpu.device.features();
        if features.contains(wgpu::Features::TIMESTAMP_QUERY_INSIDE_PASSES) {
            Clock::Timestamps
        } else if features.contains(wgpu::Features::TIMESTAMP_QUERY) {
            Clock::Passes
        } else {
            Clock::Wall
        }
    }

    /// Runs some ops, waits, and returns start and end of each dispatch, in seconds since the start
    /// of the first.
    ///
    /// # Errors
    /// [`Error::Gpu`], also if the device's timestamps are inconsistent.
    pub fn run_timed(&mut self, ops: Range<usize>, clock: Clock) -> Result<Vec<Range<f64>>> {
        let mut spans: Vec<Range<f64>> = Vec::new();
        for piece in self.pieces(self.span(ops)) {
            let before = spans.last().map_or(0.0, |span| span.end);
            let some = match clock {
                Clock::Timestamps => self.timestamps(piece, true),
                Clock::Passes => self.timestamps(piece, false),
                Clock::Wall => self.wall(piece),
            }?;
            spans.extend(some.into_iter().map(|s| s.start + before..s.end + before));
        }
        Ok(spans)
    }

    fn timestamps(&mut self, span: Range<usize>, one_pass: bool) -> Result<Vec<Range<f64>>> {
        let count = span.len();
        let device = &self.gpu.device;
        let sets: Vec<wgpu::QuerySet> = (0..count)
            .step_by(PER_SET)
            .map(|first| {
                device.create_query_set(&wgpu::QuerySetDescriptor {
                    label: Some("timestamps"),
                    ty: wgpu::QueryType::Timestamp,
                    count: 2 * PER_SET.min(count - first) as u32,
                })
            })
            .collect();
        // Sets resolve to offsets that are multiples of 256 bytes: all but the last are full.
        let bytes = 2 * wgpu::QUERY_SIZE as usize * count;
        let usage = wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC;
        let resolved = allocate(&self.gpu, "timestamps", bytes.max(4), usage)?;
        let staging = self.staging(bytes.max(4))?;
        let mut encoder = self.gpu.device.create_command_encoder(&Default::default());
        let place = |index: usize| (&sets[index / PER_SET], 2 * (index % PER_SET) as u32);
        if one_pass {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            for (index, ready) in self.ready[span].iter().enumerate() {
                let (set, query) = place(index);
                pass.write_timestamp(set, query);
                ready.encode(&mut pass);
                pass.write_timestamp(set, query + 1);
            }
        } else {
            for (index, ready) in self.ready[span].iter().enumerate() {
                let (query_set, query) = place(index);
                let writes = wgpu::ComputePassTimestampWrites {
                    query_set,
                    beginning_of_pass_write_index: Some(query),
                    end_of_pass_write_index: Some(query + 1),
                };
                let descriptor =
                    wgpu::ComputePassDescriptor { label: None, timestamp_writes: Some(writes) };
                ready.encode(&mut encoder.begin_compute_pass(&descriptor));
            }
        }
        for (set, first) in sets.iter().zip((0..count).step_by(PER_SET)) {
            let queries = 0..2 * PER_SET.min(count - first) as u32;
            let offset = 2 * u64::from(wgpu::QUERY_SIZE) * first as u64;
            encoder.resolve_query_set(set, queries, &resolved, offset);
        }
        encoder.copy_buffer_to_buffer(&resolved, 0, &staging, 0, staging.size());
        let fetch = self.submit(encoder, staging);
        let ticks = bytemuck::pod_collect_to_vec::<u8, u64>(&self.wait(&fetch)?);
        self.spare.push(fetch.buffer);
        let mut pairs = ticks.chunks_exact(2);
        if pairs.any(|pair| pair[0] > pair[1]) || count > 0 && ticks.first() >= ticks.last() {
            return Err(Error::usage(message![
                "this device's timestamps are of no use; use ",
                Hint::set("clock", "wall"),
            ]));
        }
        let seconds = 1e-9 * f64::from(self.gpu.queue.get_timestamp_period());
        let since = |tick: u64| tick.saturating_sub(ticks[0]) as f64 * seconds;
        Ok(ticks.chunks_exact(2).map(|pair| since(pair[0])..since(pair[1])).collect())
    }

    fn wall(&mut self, span: Range<usize>) -> Result<Vec<Range<f64>>> {
        let mut spans = Vec::with_capacity(span.len());
        let first = Instant::now();
        for index in span {
            let mut encoder = self.gpu.device.create_command_encoder(&Default::default());
            self.ready[index].encode(&mut encoder.begin_compute_pass(&Default::default()));
            let commands = encoder.finish();
            let start = first.elapsed().as_secs_f64();
            self.gpu.queue.submit([commands]);
            self.gpu.idle(self.patience)?;
            spans.push(start..first.elapsed().as_secs_f64());
        }
        Ok(spans)
    }
}
