//! How fast each shape of work is here, in MiB of input per second on one core: medians of nine.

use std::hint::black_box;
use std::time::Instant;

use md5::Digest as _;
use volsync_md5::{Kernel, Md5, Parts, md5_many_with};

/// Bytes of each message: together they stay in the second-level cache, so that the figure is the kernel's.
const MESSAGE: usize = 32 << 10;

fn main() {
    let data: Vec<Vec<u8>> = (0..32_u8).map(|n| vec![n; MESSAGE]).collect();
    let slices: Vec<&[u8]> = data.iter().map(Vec::as_slice).collect();
    report("md-5 crate", 32, || {
        for message in &data {
            black_box(md5::Md5::digest(message));
        }
    });
    report("one message", 32, || {
        for message in &data {
            let mut sum = Md5::new();
            sum.update(message);
            black_box(sum.finalize());
        }
    });
    report("whole and parts", 32, || {
        let mut sums = Parts::new(MESSAGE as u64);
        for message in &data {
            sums.update(message);
        }
        black_box(sums.finalize());
    });
    for kernel in Kernel::available() {
        for count in [2, 4, 8, 16, 32] {
            report(&format!("{kernel:?} {count} messages"), count, || {
                black_box(md5_many_with(kernel, &slices[..count]));
            });
        }
    }
}

fn report(what: &str, messages: usize, mut work: impl FnMut()) {
    const ROUNDS: usize = 20;
    let mut rates: Vec<f64> = (0..9)
        .map(|_| {
            let start = Instant::now();
            (0..ROUNDS).for_each(|_| work());
            let mib = f64::from(u32::try_from((ROUNDS * messages * MESSAGE) >> 10).unwrap_or(u32::MAX)) / 1024.0;
            mib / start.elapsed().as_secs_f64()
        })
        .collect();
    rates.sort_by(f64::total_cmp);
    println!("{what:40} {:8.0} MiB/s", rates[rates.len() / 2]);
}
