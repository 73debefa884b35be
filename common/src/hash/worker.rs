//! The loop of one hashing thread: take jobs, top up, run the kernel, answer.

use volsync_md5::{Kernel, Lane, MAX_LANES};

use super::lane::{Active, Buffer, buffer};
use super::queue::Queue;

pub(super) fn run(queue: &Queue) {
    let kernel = Kernel::best();
    let mut active: Vec<Active> = Vec::with_capacity(MAX_LANES);
    let mut spare: Vec<Buffer> = Vec::new();
    let mut done = 0;
    queue.wait();
    while let Some(jobs) = queue.take(done, active.len()) {
        active.extend(jobs.into_iter().map(|job| Active::begin(job, spare.pop().unwrap_or_else(buffer))));
        let before = active.len();
        top_up(&mut active, &mut spare);
        step(kernel, &mut active);
        done = before - active.len();
    }
}

/// Gives every lane blocks to work on, and takes those out that are through, failed, or forgotten.
fn top_up(active: &mut Vec<Active>, spare: &mut Vec<Buffer>) {
    for at in (0..active.len()).rev() {
        let lane = &mut active[at];
        let outcome = if lane.abandoned() { Ok(()) } else { lane.fill() };
        if outcome.is_err() || lane.abandoned() || lane.finished() {
            spare.push(active.swap_remove(at).end(outcome.err()));
        }
    }
}

/// As many blocks as every lane has.
fn step(kernel: Kernel, active: &mut [Active]) {
    let mut lanes: Vec<Lane<'_>> = active.iter().map(Active::lane).collect();
    let count = kernel.advance(&mut lanes);
    let mut states = [volsync_md5::State::START; MAX_LANES];
    for (state, lane) in states.iter_mut().zip(&lanes) {
        *state = lane.state;
    }
    for (lane, state) in active.iter_mut().zip(states) {
        lane.advanced(state, count);
    }
}
