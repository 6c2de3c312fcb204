//! What the benchmarks of the whole process have in common: an access log, and the median.
//!
//! The log is the same for every run and every shipper. No clock, no judgement.

use std::fmt::Write as _;
use std::path::Path;

/// The middle one, or the mean of the two in the middle; NaN of none.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

/// A web server's access log in the combined format, about 170 bytes a line, the same for every run; `before` begins each.
pub fn generate(path: &Path, lines: u64, before: &str) -> u64 {
    use std::io::Write;
    const PATHS: [&str; 5] =
        ["/", "/assets/app.js?v=41", "/api/v1/orders/7731", "/search?q=ferry+times&page=2", "/img/harbour.webp"];
    const AGENTS: [&str; 3] = [
        "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15",
        "curl/8.5.0",
    ];
    let file = std::fs::File::create(path).expect("the scratch folder is writable");
    let mut out = std::io::BufWriter::with_capacity(1 << 20, file);
    let mut line = String::new();
    let mut bytes = 0;
    for number in 0..lines {
        let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16;
        let pick = |count: usize, shift: u32| usize::try_from(mixed >> shift).expect("64 bits") % count;
        line.clear();
        writeln!(
            line,
            "{before}10.{}.{}.{} - - [12/Mar/2026:{:02}:{:02}:{:02} +0000] \"GET {} HTTP/1.1\" {} {} \"https://example.org/start\" \"{}\"",
            pick(256, 0),
            pick(256, 8),
            pick(256, 16),
            number / 360_000 % 24,
            number / 6_000 % 60,
            number / 100 % 60,
            PATHS[pick(PATHS.len(), 20)],
            [200, 200, 200, 304, 404][pick(5, 24)],
            300 + pick(50_000, 12),
            AGENTS[pick(AGENTS.len(), 28)],
        )
        .expect("a string takes everything");
        out.write_all(line.as_bytes()).expect("the disk has room");
        bytes += line.len() as u64;
    }
    out.flush().expect("the disk has room");
    bytes
}
