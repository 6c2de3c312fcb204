//! CPU of the whole process for each record that is produced and reported: what DESIGN §5 allows 0.8 µs for.
//!
//! `cargo bench --bench producer -- [--brokers HOST:PORT] [--records N] [--bytes N] [--window BYTES] [--partitions N] [--batch N]
//! [--compression lz4]`. Without `--brokers` the embedded broker runs in this process, and its CPU is in the numbers, so that
//! they say little of the producer; use a real one (KAFKA.md). It prints numbers and judges nothing.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use logferry::batch::{Encoded, NONE, Record, SourceKey};
use logferry::budget::Budget;
use logferry::output::kafka::admin::{Admin, TopicSpec};
use logferry::output::kafka::mock::MockBroker;
use logferry::output::kafka::options::{Compression, Connection, KafkaOptions};
use logferry::output::kafka::{KafkaProducer, wait_closed};
use logferry::output::{OutputEvent, Parcel, Producer};

const PATIENCE: Duration = Duration::from_secs(10);

struct Arguments {
    brokers: Option<String>,
    records: u64,
    bytes: usize,
    window: usize,
    partitions: i32,
    batch: u32,
    compression: Compression,
}

fn main() -> ExitCode {
    match arguments().and_then(|arguments| run(&arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("producer bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn arguments() -> Result<Arguments, String> {
    let mut arguments = Arguments {
        brokers: None,
        records: 1_000_000,
        bytes: 520,
        window: 10_000_000,
        partitions: 6,
        batch: 500,
        compression: Compression::Lz4,
    };
    let mut given = std::env::args().skip(1).filter(|argument| argument != "--bench");
    while let Some(name) = given.next() {
        let value = given.next().ok_or_else(|| format!("{name} needs a value"))?;
        let number = |value: &str| value.parse::<u64>().map_err(|error| format!("{name} {value}: {error}"));
        match name.as_str() {
            "--brokers" => arguments.brokers = Some(value),
            "--records" => arguments.records = number(&value)?,
            "--bytes" => arguments.bytes = usize::try_from(number(&value)?).map_err(|error| error.to_string())?,
            "--window" => arguments.window = usize::try_from(number(&value)?).map_err(|error| error.to_string())?,
            "--partitions" => {
                arguments.partitions = i32::try_from(number(&value)?).map_err(|error| error.to_string())?
            }
            "--batch" => arguments.batch = u32::try_from(number(&value)?).map_err(|error| error.to_string())?,
            "--compression" => {
                arguments.compression = match value.as_str() {
                    "none" => Compression::None,
                    "gzip" => Compression::Gzip,
                    "snappy" => Compression::Snappy,
                    "lz4" => Compression::Lz4,
                    "zstd" => Compression::Zstd,
                    _ => return Err(format!("--compression {value}: none, gzip, snappy, lz4 or zstd")),
                }
            }
            _ => return Err(format!("no argument {name}")),
        }
    }
    Ok(arguments)
}

fn run(arguments: &Arguments) -> Result<(), String> {
    let topic = format!("bench-producer-{}", std::process::id());
    let mock = match arguments.brokers {
        None => Some(MockBroker::start(1).map_err(|error| error.to_string())?),
        Some(_) => None,
    };
    let brokers = match (&arguments.brokers, &mock) {
        (Some(brokers), _) => brokers.clone(),
        (None, Some(mock)) => mock.bootstrap(),
        (None, None) => return Err("neither a broker nor an embedded one".to_owned()),
    };
    let connection = Connection {
        brokers: vec![brokers],
        client_id: "logferry-bench".to_owned(),
        tls: None,
        sasl: None,
        rdkafka: Vec::new(),
    };
    let admin = Admin::open(&connection).map_err(|error| error.to_string())?;
    match &mock {
        Some(mock) => mock.create_topic(&topic, arguments.partitions).map_err(|error| error.to_string())?,
        None => {
            let spec =
                TopicSpec { name: topic.clone(), partitions: arguments.partitions, replication: 1, config: Vec::new() };
            admin.create_topic(&spec, PATIENCE).map_err(|error| error.to_string())?;
        }
    }
    let outcome = measure(arguments, connection, &topic);
    if mock.is_none() {
        admin.delete_topic(&topic, PATIENCE).map_err(|error| error.to_string())?;
    }
    wait_closed(PATIENCE);
    outcome
}

fn measure(arguments: &Arguments, connection: Connection, topic: &str) -> Result<(), String> {
    let options = KafkaOptions {
        name: "bench".to_owned(),
        connection,
        compression: arguments.compression,
        linger: Duration::from_millis(20),
        batch_bytes: 1_000_000,
        max_record_bytes: 1_000_000,
        create_topics: false,
        window_bytes: arguments.window,
        dead_letter: Default::default(),
    };
    let producer = KafkaProducer::open(&options).map_err(|error| error.to_string())?;
    let topic: Arc<str> = topic.into();
    let budget = Budget::new(arguments.window);
    let mut events = Vec::new();
    let mut reported = warm_up(&producer, &topic, arguments, &budget)?;
    let warm = reported;

    let encode_cpu = encode_cost(arguments, &budget) / ENCODE_SAMPLE as f64;
    let (cpu, wall) = (cpu_seconds(), Instant::now());
    let (mut sent, mut parcel, mut runs) = (0, 1_000, 0u64);
    while reported - warm < arguments.records {
        let bytes = arguments.batch as usize * arguments.bytes;
        let permit = if sent < arguments.records { budget.try_take(bytes) } else { None };
        let timeout = if permit.is_some() { Duration::ZERO } else { Duration::from_millis(100) };
        if let Some(permit) = permit {
            let encoded = Arc::new(encode(arguments, sent, permit));
            let partition = i32::try_from(parcel % arguments.partitions.unsigned_abs() as u64).unwrap_or(0);
            producer.produce(Parcel(parcel), &encoded, &topic, partition, 0..arguments.batch);
            parcel += 1;
            sent += u64::from(arguments.batch);
        }
        producer.poll(timeout, &mut events);
        for event in events.drain(..) {
            if let OutputEvent::Report { records, result, .. } = event {
                result.map_err(|fault| format!("{fault:?}"))?;
                reported += u64::from(records.end - records.start);
                runs += 1;
            }
        }
    }
    let (cpu, wall) = (cpu_seconds() - cpu, wall.elapsed().as_secs_f64());
    let records = (reported - warm) as f64;
    println!(
        "{records} records of {} bytes, window {} kB, batches of {}: {:.3} us CPU a record (making them: {:.3} more), \
         {:.0} records a run, wall {wall:.2} s",
        arguments.bytes,
        arguments.window / 1000,
        arguments.batch,
        (cpu / records - encode_cpu) * 1e6,
        encode_cpu * 1e6,
        records / runs as f64,
    );
    Ok(())
}

/// Connections and partitions are known before anything is measured.
fn warm_up(producer: &KafkaProducer, topic: &Arc<str>, arguments: &Arguments, budget: &Budget) -> Result<u64, String> {
    let deadline = Instant::now() + PATIENCE;
    let mut events = Vec::new();
    let (mut known, mut reported, mut sent) = (false, 0, 0);
    producer.lookup(topic);
    while !known || reported < sent {
        if Instant::now() > deadline {
            return Err(format!("the cluster does not take records within {PATIENCE:?}"));
        }
        producer.poll(Duration::from_millis(100), &mut events);
        for event in events.drain(..) {
            match event {
                OutputEvent::Topic { result: Ok(_), .. } => {
                    known = true;
                    for partition in 0..arguments.partitions {
                        let permit = budget.try_take(0).ok_or("the window is empty")?;
                        let encoded = Arc::new(encode(arguments, 0, permit));
                        producer.produce(Parcel(sent), &encoded, topic, partition, 0..1);
                        sent += 1;
                    }
                }
                OutputEvent::Report { records, result, .. } => {
                    result.map_err(|fault| format!("{fault:?}"))?;
                    reported += u64::from(records.end - records.start);
                }
                OutputEvent::Topic { .. } | OutputEvent::Replicas { .. } | OutputEvent::Fatal { .. } => {}
            }
        }
    }
    Ok(reported)
}

const ENCODE_SAMPLE: u64 = 100_000;

/// CPU seconds to make [`ENCODE_SAMPLE`] records: not the producer's.
fn encode_cost(arguments: &Arguments, budget: &Budget) -> f64 {
    let start = cpu_seconds();
    let mut made = 0;
    while made < ENCODE_SAMPLE {
        let permit = budget.try_take(0);
        if let Some(permit) = permit {
            std::hint::black_box(encode(arguments, made, permit));
        }
        made += u64::from(arguments.batch);
    }
    cpu_seconds() - start
}

/// A batch like an access log's in ECS JSON, with a key and a timestamp.
fn encode(arguments: &Arguments, first: u64, permit: logferry::budget::BytePermit) -> Encoded {
    use std::io::Write as _;

    const KEY: &[u8] = b"shop/checkout-7d9f";
    let mut buf = Vec::with_capacity(arguments.batch as usize * (arguments.bytes + KEY.len()));
    let mut records = Vec::with_capacity(arguments.batch as usize);
    for number in first..first + u64::from(arguments.batch) {
        let value_start = buf.len();
        let (a, b) = (number.wrapping_mul(0x9E37_79B9_7F4A_7C15), number.wrapping_mul(0xD1B5_4A32_D192_ED03));
        write!(
            buf,
            "{{\"@timestamp\":\"2026-01-01T00:00:00.{:03}Z\",\"message\":\"10.{}.{}.{} - - [01/Jan/2026:00:00:00 +0000] \
             \\\"GET /cart/{:x} HTTP/1.1\\\" 200 {} \\\"-\\\" \\\"Mozilla/5.0 (X11; Linux x86_64)\\\"\",\"log\":{{\"offset\":{}}},\
             \"event\":{{\"id\":\"{:016x}\"}},\"service\":\"checkout\",",
            number % 1000,
            a >> 56,
            b >> 56,
            (a ^ b) >> 56,
            a >> 40,
            b >> 48,
            number * 171,
            a
        )
        .expect("writing to memory does not fail");
        while buf.len() - value_start + 1 < arguments.bytes {
            let rest = arguments.bytes - 1 - (buf.len() - value_start);
            let filler: &[u8] =
                b"\"host\":{\"name\":\"node-17\"},\"agent\":{\"type\":\"logferry\",\"version\":\"0.1.0\"},";
            buf.extend_from_slice(&filler[..filler.len().min(rest)]);
        }
        buf.push(b'}');
        let (value_len, key_start) = (buf.len() - value_start, buf.len());
        buf.extend_from_slice(KEY);
        let small = |number: usize| u32::try_from(number).expect("a batch is small");
        records.push(Record {
            value_start: small(value_start),
            value_len: small(value_len),
            key_start: small(key_start),
            key_len: small(KEY.len()),
            timestamp_ms: 1_767_225_600_000 + i64::try_from(number % 1000).expect("below 1000"),
            headers: NONE,
            offset: number,
        });
    }
    Encoded {
        buf,
        records,
        headers: Vec::new(),
        shares: Vec::new(),
        source: SourceKey(1),
        resume: logferry::batch::Position::default(),
        permit,
    }
}

/// User and system time of the process.
fn cpu_seconds() -> f64 {
    // SAFETY: all zeroes is a valid `rusage`, and the call fills it.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &raw mut usage);
        usage
    };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}
