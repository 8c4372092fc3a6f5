//! Untrusted files: a small corpus, and thousands of seeded mutations of it. No input may panic,
//! allocate more than a limit, or be unpacked outside its folder.

pub mod entry_points;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fs;
use std::path::Path;

use sff::internals::base::random::{Rng, Stream};

/// An allocator that counts bytes per thread, because other tests run in parallel.
struct Counting;

thread_local! {
    static CURRENT: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

/// Adds to the thread's allocated bytes. The sum may be negative, because a thread may free what
/// another one allocated.
fn count(bytes: isize) {
    CURRENT.set(CURRENT.get() + bytes);
    PEAK.set(PEAK.get().max(CURRENT.get()));
}

// SAFETY: every call is forwarded to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's contract is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller's contract is the same.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Extreme sizes and counts to write into headers.
const EXTREMES: [u64; 8] = [0, 1, 0x7f, 0xff, 0xffff, 0x7fff_ffff, 1 << 60, u64::MAX];

/// Applies one to four random mutations; one kind copies bytes from `other`.
fn mutated(rng: &mut Rng, bytes: &[u8], other: &[u8]) -> Vec<u8> {
    let mut out = bytes.to_vec();
    for _ in 0..=rng.below(4) {
        let at = rng.below(out.len().max(1) as u64) as usize;
        // Half of the mutations hit the first 64 bytes, where headers are.
        let at = if rng.below(2) == 0 { at.min(rng.below(64) as usize) } else { at };
        let end = |n: usize, len: usize| (at + n).min(len);
        match rng.below(7) {
            0 => out.truncate(at),
            1 if at < out.len() => out[at] ^= 1 << rng.below(8),
            2 if at < out.len() => out[at] = rng.next_u64() as u8,
            3 => {
                let number = EXTREMES[rng.below(8) as usize];
                let little = rng.below(2) == 0;
                let number = if little { number.to_le_bytes() } else { number.to_be_bytes() };
                let to = end(1 << rng.below(4), out.len());
                let length = to.saturating_sub(at);
                out[at..to].copy_from_slice(&number[..length]);
            }
            4 => {
                let text = rng.next_u64().to_string();
                out.splice(at..end(3, out.len()), text.bytes());
            }
            5 => {
                let to = end(rng.below(600) as usize, out.len());
                let repeated = out[at..to].to_vec();
                out.splice(at..at, repeated);
            }
            _ => {
                let from = rng.below(other.len().max(1) as u64) as usize;
                let to = end(other.len() - from, out.len());
                out.splice(at..to, other[from..].iter().copied());
            }
        }
    }
    out
}

/// Parses the corpus of a target and `mutations` mutated files of it. Asserts that no input
/// allocates more than `limit` bytes at a time.
fn check(name: &str, parse: fn(&[u8]), mutations: usize, limit: usize) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let files = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    paths.sort();
    let corpus: Vec<Vec<u8>> = paths.iter().map(|path| fs::read(path).unwrap()).collect();
    assert!(!corpus.is_empty(), "{}: no files", folder.display());
    let mut rng = Rng::new(1, Stream::Init, 0, name.len() as u64);
    let pick = |rng: &mut Rng| &corpus[rng.below(corpus.len() as u64) as usize];
    let mutated_files = (0..mutations).map(|_| {
        let (one, other) = (pick(&mut rng), pick(&mut rng));
        mutated(&mut rng, one, other)
    });
    let mutated_files: Vec<_> = mutated_files.collect();
    for (number, bytes) in corpus.iter().chain(&mutated_files).enumerate() {
        let before = CURRENT.get();
        PEAK.set(before);
        parse(bytes);
        let allocated = (PEAK.get() - before) as usize;
        assert!(allocated <= limit, "{name}, input {number}: {allocated} bytes allocated");
    }
}

/// One parser after the other, so that their memory does not add up.
#[test]
fn mutated_files_give_a_value_or_an_error_within_the_memory_limit() {
    const MIB: usize = 1 << 20;
    check("idx", entry_points::idx, 1500, MIB);
    check("cifar", entry_points::cifar, 1000, MIB);
    check("tar", entry_points::tar, 400, 8 * MIB);
    check("archive", entry_points::archive, 300, 8 * MIB);
    check("safetensors", entry_points::safetensors, 1500, 4 * MIB);
    check("checkpoint", entry_points::checkpoint, 1000, 4 * MIB);
    check("recipe", entry_points::recipe, 1500, 4 * MIB);
    // Pictures are decoded at full size, up to the decoder's limit, before they are resized.
    check("picture", entry_points::picture, 1000, 1200 * MIB);
    #[cfg(unix)]
    check("folder", entry_points::folder, 200, 1200 * MIB);
    check("mat", entry_points::mat, 1000, 4 * MIB);
}
