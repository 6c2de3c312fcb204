//! `rate_limit`: lets so many events per time pass, for each value of its key; what is beyond is dropped, counted as
//! `rate_limit`, or tagged.
//!
//! It is a token bucket, kept as the time at which the bucket will be full again (GCRA): one number a key. The buckets are
//! only looked at while a batch is processed: what the batch takes is noted in its [`Tally`](super::Tally) and spent when
//! deliver has taken it, so a batch that is read again has spent nothing. Two workers may then see the same tokens; what
//! they spend together is a debt that the next events pay, so over time the rate is kept.
//!
//! At most [`KEYS_MAX`] keys are known (48 bytes each, about). Those whose bucket is full again are forgotten first, which
//! changes nothing, then those that come next to it. Not here: the clock; a batch brings the time at which it was read.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use xxhash_rust::xxh3::xxh3_128;

use super::{Failed, Outcome, Process, Work};
use crate::event::{FieldPath, SyntaxError, Template, Timestamp, write_text};

/// Keys that a limit knows at once.
pub const KEYS_MAX: usize = 10_000;
/// The reason of what it drops.
const REASON: &str = "rate_limit";
/// Debts are remembered up to so many bursts: more than workers can make at once. What is beyond comes of a clock that went back.
const DEBT_BURSTS_MAX: i128 = 16;

/// `rate_limit: {limit, fields, key, …}`.
#[derive(Clone, Debug)]
pub struct RateLimit {
    key: Key,
    buckets: Arc<Buckets>,
    /// The tag of what is beyond the limit; `None`: it is dropped.
    tag: Option<String>,
}

/// What has a limit of its own.
#[derive(Clone, Debug)]
pub enum Key {
    /// The values of these fields, together; a missing one is a value like others. Without fields all events have one key.
    Fields(Vec<FieldPath>),
    /// This text; the events that lack a field of it have one key.
    Template(Template),
}

/// So many events per time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    events: u32,
    unit_ns: i64,
}

/// The buckets of one limit, shared by all workers.
pub struct Buckets {
    rate: Rate,
    burst: u32,
    keys_max: usize,
    /// When each bucket is full again, in nanoseconds times the rate's events: so a token is exactly the rate's unit.
    full_at: Mutex<BTreeMap<u128, i128>>,
}

/// What a batch takes of the limits that it meets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spending(Vec<Spent>);

#[derive(Clone, Debug)]
struct Spent {
    buckets: Arc<Buckets>,
    now: Timestamp,
    keys: BTreeMap<u128, Share>,
}

/// What a batch takes of one bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Share {
    taken: u64,
    left: u64,
}

impl PartialEq for Spent {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.buckets, &other.buckets) && (self.now, &self.keys) == (other.now, &other.keys)
    }
}

impl Eq for Spent {}

impl Rate {
    /// Reads `NUMBER/UNIT`, with `s`, `m`, `h` or `d` as the unit.
    ///
    /// # Errors
    /// What is none, and nothing per time.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        let Some((number, unit)) = text.split_once('/') else {
            return Err(SyntaxError::new(text.len(), "the unit is missing: `/s`, `/m`, `/h` or `/d`"));
        };
        let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        let events = number.parse().ok().filter(|events| is_number && *events > 0);
        let Some(events) = events else {
            return Err(SyntaxError::new(0, "the number is a whole one from 1 to 4294967295"));
        };
        let seconds = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3_600,
            "d" => 86_400,
            _ => return Err(SyntaxError::new(number.len() + 1, "the units are `s`, `m`, `h` and `d`")),
        };
        Ok(Self { events, unit_ns: seconds * 1_000_000_000 })
    }

    /// What comes in a second, at least one.
    pub fn per_second(self) -> u32 {
        let events = i64::from(self.events) * 1_000_000_000 / self.unit_ns;
        u32::try_from(events.max(1)).unwrap_or(u32::MAX)
    }
}

impl fmt::Debug for Buckets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buckets").field("rate", &self.rate).field("burst", &self.burst).finish_non_exhaustive()
    }
}

impl Buckets {
    fn scaled(&self, now: Timestamp) -> i128 {
        i128::from(now.0) * i128::from(self.rate.events)
    }

    fn token(&self) -> i128 {
        i128::from(self.rate.unit_ns)
    }

    /// A bucket that will be full at `full_at` is full from `now` on if that is past; if it is too far off to be a debt, it is empty.
    fn seen(&self, full_at: i128, now: i128) -> i128 {
        let burst = self.token() * i128::from(self.burst);
        match full_at - now {
            ahead if ahead > burst * DEBT_BURSTS_MAX => now + burst,
            _ => full_at.max(now),
        }
    }

    /// Tokens that the key's bucket has.
    fn left(&self, key: u128, now: Timestamp) -> u64 {
        let now = self.scaled(now);
        let mut known = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        let missing = known.get_mut(&key).map_or(0, |full_at| {
            // Noted, so that after a clock that went back time goes on from there.
            *full_at = self.seen(*full_at, now);
            *full_at - now
        });
        drop(known);
        let left = i128::from(self.burst) - (missing + self.token() - 1) / self.token();
        u64::try_from(left).unwrap_or(0)
    }

    fn spend(&self, keys: &BTreeMap<u128, Share>, now: Timestamp) {
        let now = self.scaled(now);
        let mut known = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, share) in keys.iter().filter(|(_, share)| share.taken > 0) {
            if known.len() >= self.keys_max && !known.contains_key(key) {
                forget(&mut known, now, self.keys_max);
            }
            let full_at = known.entry(*key).or_insert(now);
            *full_at = self.seen(*full_at, now) + self.token() * i128::from(share.taken);
        }
    }
}

/// Forgets the full buckets; of the others, if they are more than three quarters of what may be, those nearest to it.
fn forget(known: &mut BTreeMap<u128, i128>, now: i128, keys_max: usize) {
    known.retain(|_, full_at| *full_at > now);
    let most = keys_max / 4 * 3;
    if known.len() > most {
        let mut times: Vec<i128> = known.values().copied().collect();
        let gone = times.len() - most;
        let (_, last, _) = times.select_nth_unstable(gone - 1);
        let last = *last;
        known.retain(|_, full_at| *full_at > last);
    }
}

impl Spending {
    /// Takes a token of the key's bucket, if there is one beside those that this batch has taken.
    fn take(&mut self, buckets: &Arc<Buckets>, key: u128, now: Timestamp) -> bool {
        let known = self.0.iter().position(|spent| Arc::ptr_eq(&spent.buckets, buckets));
        let at = known.unwrap_or_else(|| {
            self.0.push(Spent { buckets: Arc::clone(buckets), now, keys: BTreeMap::new() });
            self.0.len() - 1
        });
        let keys = &mut self.0[at].keys;
        let share = keys.entry(key).or_insert_with(|| Share { taken: 0, left: buckets.left(key, now) });
        let has_one = share.left > 0;
        share.left -= u64::from(has_one);
        share.taken += u64::from(has_one);
        has_one
    }

    /// Spends what was taken: the batch is on its way.
    pub(super) fn take_effect(&self) {
        self.0.iter().for_each(|spent| spent.buckets.spend(&spent.keys, spent.now));
    }
}

impl RateLimit {
    /// Lets `rate` pass for each value of `key`, and `burst` at once. What is beyond is tagged with `tag`, or dropped.
    pub fn new(rate: Rate, burst: u32, key: Key, tag: Option<String>) -> Self {
        Self::with_keys_max(rate, burst, key, tag, KEYS_MAX)
    }

    fn with_keys_max(rate: Rate, burst: u32, key: Key, tag: Option<String>, keys_max: usize) -> Self {
        let buckets = Buckets { rate, burst: burst.max(1), keys_max, full_at: Mutex::default() };
        Self { key, buckets: Arc::new(buckets), tag }
    }

    fn key(&self, work: &Work<'_>) -> u128 {
        let mut text = Vec::new();
        let fields = match &self.key {
            Key::Fields(fields) => fields,
            Key::Template(template) => {
                // Before a text and before none, so that no text is like none.
                text.push(1);
                if template.render(&work.view(), &mut text).is_err() {
                    text.clear();
                }
                return xxh3_128(&text);
            }
        };
        for field in fields {
            let start = text.len();
            text.push(0);
            if let Some(value) = work.get(field) {
                write_text(&value, &mut text);
                text[start] = 1;
            }
            // So that values of two fields never run into each other.
            let length = (text.len() - start) as u64;
            text.extend_from_slice(&length.to_le_bytes());
        }
        xxh3_128(&text)
    }
}

impl Process for RateLimit {
    fn name(&self) -> &'static str {
        "rate_limit"
    }

    fn run(&self, work: &mut Work<'_>) -> Result<Outcome, Failed> {
        let key = self.key(work);
        if work.tally.spending.take(&self.buckets, key, work.read_at) {
            return Ok(Outcome::Keep);
        }
        match &self.tag {
            Some(tag) => {
                work.tag(tag);
                Ok(Outcome::Keep)
            }
            None => Ok(Outcome::Drop(REASON)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{BUF, common, event, path, step};
    use super::super::{Chain, Tally};
    use super::*;
    use crate::event::{EventView, ValueRef};
    use proptest::prelude::*;
    use serde_json::json;

    const SECOND: i64 = 1_000_000_000;

    fn made(rate: &str, burst: u32, fields: &[&str]) -> RateLimit {
        let fields = fields.iter().map(|field| path(field)).collect();
        RateLimit::new(Rate::parse(rate).expect("a rate"), burst, Key::Fields(fields), None)
    }

    /// A batch of so many events that have these texts in the field `user`, read then.
    struct Read {
        tally: Tally,
        passed: Vec<String>,
    }

    fn read(limit: &RateLimit, users: &[&str], at_ns: i64) -> Read {
        let (common, chain) = (common(), Chain::new(vec![step(limit.clone())]));
        let (mut tally, mut passed) = (Tally::default(), Vec::new());
        for user in users {
            let mut event = event();
            event.set(&path("user"), (*user).into(), BUF, &common).expect("sets");
            let read_at = Timestamp(at_ns);
            let mut work = Work { event: &mut event, buf: BUF, common: &common, read_at, tally: &mut tally };
            match chain.run(&mut work) {
                Outcome::Keep => passed.push((*user).to_owned()),
                dropped => assert_eq!(dropped, Outcome::Drop("rate_limit")),
            }
        }
        Read { tally, passed }
    }

    /// How many of `count` events pass, in a batch that deliver takes.
    fn passed(limit: &RateLimit, count: usize, at_ns: i64) -> usize {
        let read = read(limit, &vec!["a"; count], at_ns);
        Tally::default().add(&read.tally);
        read.passed.len()
    }

    #[test]
    fn rates() {
        let check = |text, events, seconds| {
            assert_eq!(Rate::parse(text), Ok(Rate { events, unit_ns: seconds * SECOND }), "{text}");
        };
        check("10000/m", 10_000, 60);
        check("1/s", 1, 1);
        check("5/h", 5, 3_600);
        check("7/d", 7, 86_400);
        for text in ["", "10", "/s", "0/s", "-1/s", "+1/s", "1.5/s", "10/w", "10/ s", "99999999999/s"] {
            assert!(Rate::parse(text).is_err(), "{text}");
        }
        for (text, per_second) in [("10000/m", 166), ("5/h", 1), ("20/s", 20)] {
            assert_eq!(Rate::parse(text).expect("a rate").per_second(), per_second);
        }
    }

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let limit = made("10/s", 5, &[]);
        assert_eq!(passed(&limit, 20, 0), 5);
        assert_eq!(passed(&limit, 20, SECOND / 20), 0, "half a token");
        assert_eq!(passed(&limit, 20, SECOND / 10), 1);
        assert_eq!(passed(&limit, 20, SECOND / 10), 0);
        assert_eq!(passed(&limit, 20, 10 * SECOND), 5, "no more than a burst");
        let slow = made("3/h", 1, &[]);
        let hours: usize = (0..=3_600).map(|second| passed(&slow, 1, second * SECOND)).sum();
        assert_eq!(hours, 4, "one at once, and three in an hour");
    }

    /// Scenario: a batch is processed and held three times before it is taken.
    /// Guarantee: it takes the same tokens each time, and they are spent once.
    #[test]
    fn a_batch_that_is_read_again_spends_once() {
        let limit = made("10/s", 5, &[]);
        for _ in 0..3 {
            assert_eq!(read(&limit, &["a"; 3], 0).passed.len(), 3);
        }
        assert_eq!(passed(&limit, 3, 0), 3);
        assert_eq!(passed(&limit, 3, 0), 2);
    }

    /// Scenario: two workers process a batch each before one is taken.
    /// Guarantee: what they spent together is paid back before more passes.
    #[test]
    fn what_two_workers_spend_is_a_debt() {
        let limit = made("10/s", 5, &[]);
        let (one, other) = (read(&limit, &["a"; 5], 0), read(&limit, &["a"; 5], 0));
        Tally::default().add(&one.tally);
        Tally::default().add(&other.tally);
        assert_eq!(passed(&limit, 5, SECOND / 2), 0);
        assert_eq!(passed(&limit, 5, SECOND), 5);
        assert_eq!(passed(&limit, 5, SECOND), 0);
    }

    #[test]
    fn each_key_has_its_own() {
        let limit = made("1/s", 1, &["user", "none"]);
        let read = read(&limit, &["a", "b", "a", "c", "b"], 0);
        assert_eq!(read.passed, ["a", "b", "c"]);
        assert_eq!(passed(&made("1/s", 2, &["none"]), 4, 0), 2, "a missing field is a key");
    }

    #[test]
    fn a_key_is_a_text_too() {
        let keyed = |text: &str| {
            let rate = Rate::parse("1/s").expect("a rate");
            RateLimit::new(rate, 1, Key::Template(Template::parse(text).expect("a template")), None)
        };
        let passed = |text: &str, users: &[&str]| read(&keyed(text), users, 0).passed;
        assert_eq!(passed("x/%{[user]}", &["a", "b", "a", "c", "b", ""]), ["a", "b", "c", ""]);
        assert_eq!(passed("%{[none]}/%{[user]}", &["a", "b"]), ["a"], "those that lack a field have one key");
        assert_eq!(passed("%{[none]:x}/%{[user]}", &["a", "b", "b"]), ["a", "b"]);
    }

    #[test]
    fn beyond_the_limit_a_tag_instead() {
        let rate = Rate::parse("1/s").expect("a rate");
        let limit = RateLimit::new(rate, 1, Key::Fields(vec![]), Some("_rate_limited".to_owned()));
        let (common, chain) = (common(), Chain::new(vec![step(limit)]));
        let mut tally = Tally::default();
        for expect in [json!(["a"]), json!(["a", "_rate_limited"])] {
            let mut event = event();
            let mut work =
                Work { event: &mut event, buf: BUF, common: &common, read_at: Timestamp(0), tally: &mut tally };
            assert_eq!(chain.run(&mut work), Outcome::Keep);
            let tags = EventView { event: &event, buf: BUF, common: &common }.get(&path("tags"));
            assert_eq!(tags.map(|tags| ValueRef::into_value(tags).to_json()), Some(expect));
        }
        assert!(tally.failed.is_empty() && tally.dropped.is_empty(), "it is no failure");
    }

    /// Scenario: many more keys than are known at once.
    /// Guarantee: never more are known; those that spent the most are known longest.
    #[test]
    fn keys_are_bounded() {
        let rate = Rate::parse("10/s").expect("a rate");
        let limit = RateLimit::with_keys_max(rate, 10, Key::Fields(vec![path("user")]), None, 8);
        let busy = read(&limit, &["busy"; 10], 0);
        Tally::default().add(&busy.tally);
        for number in 0..100 {
            let user = format!("user-{number}");
            let one = read(&limit, &[user.as_str()], 0);
            Tally::default().add(&one.tally);
            assert!(limit.buckets.full_at.lock().expect("no panic").len() <= 8);
        }
        assert!(read(&limit, &["busy"], 0).passed.is_empty());
        let later = read(&limit, &["other"], 3_600 * SECOND);
        Tally::default().add(&later.tally);
    }

    /// Scenario: the clock goes back an hour.
    /// Guarantee: it costs no more than a burst.
    #[test]
    fn a_clock_that_goes_back() {
        let limit = made("1/s", 2, &[]);
        assert_eq!(passed(&limit, 9, 3_600 * SECOND), 2);
        assert_eq!(passed(&limit, 9, 0), 0);
        assert_eq!(passed(&limit, 9, SECOND), 1);
        assert_eq!(passed(&limit, 9, 3_600 * SECOND), 2);
    }

    proptest! {
        /// Scenario: batches of any sizes at any times, each taken or read again.
        /// Guarantee: what passes in all is at most a burst and the rate's share of the time.
        #[test]
        fn the_rate_is_kept(
            batches in proptest::collection::vec((0usize..40, 0i64..3_000, any::<bool>()), 1..40), events in 1u32..50, burst in 1u32..20,
        ) {
            let limit = RateLimit::new(Rate { events, unit_ns: SECOND }, burst, Key::Fields(vec![]), None);
            let (mut now_ms, mut all) = (0, 0);
            for (count, wait_ms, is_taken) in batches {
                now_ms += wait_ms;
                let read = read(&limit, &vec!["a"; count], now_ms * 1_000_000);
                if is_taken {
                    Tally::default().add(&read.tally);
                    all += read.passed.len() as u64;
                }
            }
            prop_assert!(all <= u64::from(burst) + now_ms as u64 * u64::from(events) / 1_000, "{all} in {now_ms} ms");
        }
    }
}
