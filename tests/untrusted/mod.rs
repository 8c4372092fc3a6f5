//! Files from strangers: a small corpus, and thousands of damaged forms of it, always the same
//! ones. Nothing panics, nothing takes memory that the file does not justify, nothing is unpacked
//! outside of its folder.

pub mod entry_points;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fs;
use std::path::Path;

use sff::internals::base::random::{Rng, Stream};

/// Counts what each thread allocates: other tests run beside this one.
struct Counting;

thread_local! {
    static NOW: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
}

/// Adds to what the thread has allocated. What one thread allocates another may free.
fn count(bytes: isize) {
    NOW.set(NOW.get() + bytes);
    MOST.set(MOST.get().max(NOW.get()));
}

// SAFETY: all is passed on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: as the caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: as the caller's.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Numbers that headers lie with.
const LIES: [u64; 8] = [0, 1, 0x7f, 0xff, 0xffff, 0x7fff_ffff, 1 << 60, u64::MAX];

/// Damages bytes in one to four ways.
fn mutated(rng: &mut Rng, bytes: &[u8], other: &[u8]) -> Vec<u8> {
    let mut out = bytes.to_vec();
    for _ in 0..=rng.below(4) {
        let at = rng.below(out.len().max(1) as u64) as usize;
        // Most of what matters is in the first bytes.
        let at = if rng.below(2) == 0 { at.min(rng.below(64) as usize) } else { at };
        let end = |n: usize, len: usize| (at + n).min(len);
        match rng.below(7) {
            0 => out.truncate(at),
            1 if at < out.len() => out[at] ^= 1 << rng.below(8),
            2 if at < out.len() => out[at] = rng.next_u64() as u8,
            3 => {
                let lie = LIES[rng.below(8) as usize];
                let lie = if rng.below(2) == 0 { lie.to_le_bytes() } else { lie.to_be_bytes() };
                let to = end(1 << rng.below(4), out.len());
                let some = to.saturating_sub(at);
                out[at..to].copy_from_slice(&lie[..some]);
            }
            4 => {
                let text = rng.next_u64().to_string();
                out.splice(at..end(3, out.len()), text.bytes());
            }
            5 => {
                let to = end(rng.below(600) as usize, out.len());
                let again = out[at..to].to_vec();
                out.splice(at..at, again);
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

/// Sends the corpus of a target, and so many damaged forms of it, through its door; no more than
/// `most` bytes are to be allocated at a time.
fn through(name: &str, door: fn(&[u8]), rounds: usize, most: usize) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let files = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    paths.sort();
    let corpus: Vec<Vec<u8>> = paths.iter().map(|path| fs::read(path).unwrap()).collect();
    assert!(!corpus.is_empty(), "{}: no files", folder.display());
    let mut rng = Rng::new(1, Stream::Init, 0, name.len() as u64);
    let pick = |rng: &mut Rng| &corpus[rng.below(corpus.len() as u64) as usize];
    let damaged = (0..rounds).map(|_| {
        let (one, other) = (pick(&mut rng), pick(&mut rng));
        mutated(&mut rng, one, other)
    });
    let damaged: Vec<_> = damaged.collect();
    for (number, bytes) in corpus.iter().chain(&damaged).enumerate() {
        let before = NOW.get();
        MOST.set(before);
        door(bytes);
        let took = (MOST.get() - before) as usize;
        assert!(took <= most, "{name}, input {number}: {took} bytes allocated");
    }
}

/// One after another, so that the memory of each is its own.
#[test]
fn whatever_comes_in_gives_a_value_or_an_error() {
    const MIB: usize = 1 << 20;
    through("idx", entry_points::idx, 1500, MIB);
    through("cifar", entry_points::cifar, 1000, MIB);
    through("tar", entry_points::tar, 400, 8 * MIB);
    through("archive", entry_points::archive, 300, 8 * MIB);
    through("safetensors", entry_points::safetensors, 1500, 4 * MIB);
    through("checkpoint", entry_points::checkpoint, 1000, 4 * MIB);
    through("recipe", entry_points::recipe, 1500, 4 * MIB);
    // A picture may be as large as it says, within the program's own limit, and is then resized.
    through("picture", entry_points::picture, 1000, 1200 * MIB);
    #[cfg(unix)]
    through("folder", entry_points::folder, 200, 1200 * MIB);
    through("mat", entry_points::mat, 1000, 4 * MIB);
}
