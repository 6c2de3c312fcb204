//! The access log that the demo writes: line N of it, in Apache's combined format, always the same for the same N.
//!
//! So whoever reads a line back can tell which one it is, and whether a byte of it changed, without having kept it. No
//! clock and no randomness: the time in a line follows from its number.

/// The web server's sites. Each has a log of its own.
pub const SITES: [&str; 4] = ["www", "shop", "api", "static"];

/// Stands before the number of a line.
const MARK: &[u8] = b"?id=";
const NUMBER_DIGITS: usize = 10;
const DAY_SECONDS: i64 = 86_400;

const PATHS: [&str; 8] =
    ["/", "/cart", "/search", "/orders/new", "/assets/app.js", "/img/logo.svg", "/v1/items", "/login"];
const METHODS: [&str; 8] = ["GET", "GET", "GET", "GET", "GET", "HEAD", "POST", "GET"];
const STATUS: [&str; 16] =
    ["200", "200", "200", "200", "200", "200", "200", "200", "200", "200", "304", "304", "301", "404", "403", "500"];
const REFERERS: [&str; 4] = ["-", "https://www.example.com/", "https://www.example.com/search", "-"];
const AGENTS: [&str; 4] = [
    "Mozilla/5.0 (X11; Linux x86_64; rv:140.0)",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5)",
    "curl/8.14.1",
    "Mozilla/5.0 (compatible; bingbot/2.0)",
];

/// The most lines that one log can number.
pub const LINES_MAX: u64 = 10_u64.pow(NUMBER_DIGITS as u32);

/// The log, as a function of the line's number.
pub struct AccessLog {
    /// Seconds since the epoch of line 0.
    from_seconds: i64,
    lines_per_second: u64,
    /// The day that was written last, and its text: `25/Nov/2026:`.
    day: (i64, String),
}

impl AccessLog {
    /// A log that begins at `from_seconds` since the epoch, with so many lines for each second of its clock (at least 1).
    pub fn new(from_seconds: i64, lines_per_second: u64) -> Self {
        Self { from_seconds, lines_per_second: lines_per_second.max(1), day: (i64::MIN, String::new()) }
    }

    /// Which of [`SITES`] the line belongs to.
    pub fn site_of(number: u64) -> usize {
        // Not round-robin: sites are visited as they please.
        (mix(number) >> 60) as usize % SITES.len()
    }

    /// Appends line `number` (below [`LINES_MAX`]), newline included.
    pub fn write(&mut self, number: u64, out: &mut Vec<u8>) {
        let dice = mix(number);
        // Visitors come again.
        let visitor = mix(dice % 5_000);
        push_number(out, 11 + visitor % 200, 0);
        for shift in [8, 16, 24] {
            out.push(b'.');
            push_number(out, (visitor >> shift) % 256, 0);
        }
        out.extend_from_slice(b" - - [");
        self.push_time(number, out);
        out.extend_from_slice(b"] \"");
        out.extend_from_slice(pick(&METHODS, dice >> 3));
        out.push(b' ');
        out.extend_from_slice(pick(&PATHS, dice >> 6));
        out.extend_from_slice(MARK);
        push_number(out, number, NUMBER_DIGITS);
        out.extend_from_slice(b" HTTP/1.1\" ");
        out.extend_from_slice(pick(&STATUS, dice >> 12));
        out.push(b' ');
        push_number(out, 120 + (dice >> 16) % 40_000, 0);
        out.extend_from_slice(b" \"");
        out.extend_from_slice(pick(&REFERERS, dice >> 34));
        out.extend_from_slice(b"\" \"");
        out.extend_from_slice(pick(&AGENTS, visitor >> 40));
        out.extend_from_slice(b"\"\n");
    }

    /// The number of a line; `None` if it has none.
    pub fn number_of(line: &[u8]) -> Option<u64> {
        let at = memchr::memmem::find(line, MARK)? + MARK.len();
        let digits = line.get(at..at + NUMBER_DIGITS)?;
        digits.iter().try_fold(0, |number, digit| digit.is_ascii_digit().then(|| number * 10 + u64::from(digit - b'0')))
    }

    fn push_time(&mut self, number: u64, out: &mut Vec<u8>) {
        let seconds = self.from_seconds.saturating_add_unsigned(number / self.lines_per_second);
        let (day, second) = (seconds.div_euclid(DAY_SECONDS), seconds.rem_euclid(DAY_SECONDS) as u64);
        if day != self.day.0 {
            let midnight = jiff::Timestamp::from_second(day * DAY_SECONDS).unwrap_or_default();
            self.day = (day, midnight.strftime("%d/%b/%Y:").to_string());
        }
        out.extend_from_slice(self.day.1.as_bytes());
        push_number(out, second / 3_600, 2);
        out.push(b':');
        push_number(out, second / 60 % 60, 2);
        out.push(b':');
        push_number(out, second % 60, 2);
        out.extend_from_slice(b" +0000");
    }
}

fn pick<'a>(from: &[&'a str], dice: u64) -> &'a [u8] {
    from[dice as usize % from.len()].as_bytes()
}

/// Decimal, with zeros in front up to `digits`.
fn push_number(out: &mut Vec<u8>, mut number: u64, digits: usize) {
    let mut text = [b'0'; 20];
    let mut at = text.len();
    while number > 0 || at == text.len() || text.len() - at < digits {
        at -= 1;
        text[at] = b'0' + (number % 10) as u8;
        number /= 10;
    }
    out.extend_from_slice(&text[at..]);
}

/// Spreads consecutive numbers over all bits (the finalizer of splitmix64).
fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(log: &mut AccessLog, number: u64) -> String {
        let mut out = Vec::new();
        log.write(number, &mut out);
        String::from_utf8(out).expect("ASCII")
    }

    #[test]
    fn lines_are_in_the_combined_format_and_know_their_number() {
        let combined = regex::Regex::new(
            r#"^\d+\.\d+\.\d+\.\d+ - - \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000\] "[A-Z]+ /[^ "]* HTTP/1\.1" \d{3} \d+ "[^"]+" "[^"]+"\n$"#,
        )
        .expect("a pattern");
        let mut log = AccessLog::new(1_795_000_000, 1_000);
        let mut bytes = 0;
        for number in (0..3_000).chain([LINES_MAX - 1]) {
            let line = line(&mut log, number);
            assert!(combined.is_match(&line), "{line}");
            assert_eq!(AccessLog::number_of(line.as_bytes()), Some(number), "{line}");
            bytes += line.len();
        }
        assert!((130..190).contains(&(bytes / 3_001)), "{}", bytes / 3_001);
    }

    #[test]
    fn a_line_is_the_same_whenever_it_is_asked_for() {
        let (mut forth, mut back) = (AccessLog::new(86_390, 10), AccessLog::new(86_390, 10));
        let written: Vec<String> = (0..300).map(|number| line(&mut forth, number)).collect();
        for number in (0..300).rev() {
            assert_eq!(line(&mut back, number), written[number as usize]);
        }
        assert!(written[0].contains("[01/Jan/1970:23:59:50 +0000]"), "{}", written[0]);
        assert!(written[299].contains("[02/Jan/1970:00:00:19 +0000]"), "{}", written[299]);
    }

    #[test]
    fn what_is_no_line_of_ours_has_no_number() {
        for line in ["", "?id=", "?id=12", "?id=12345678x0", "GET /"] {
            assert_eq!(AccessLog::number_of(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn every_site_gets_its_share() {
        let mut counts = [0; SITES.len()];
        (0..4_000).for_each(|number| counts[AccessLog::site_of(number)] += 1);
        assert!(counts.iter().all(|count| (800..1_200).contains(count)), "{counts:?}");
    }
}
