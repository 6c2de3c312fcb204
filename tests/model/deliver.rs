//! The delivery machine under random worlds.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use logferry::deliver::machine::{Limits, WhenFull};
use logferry::output::{RecordFault, TopicFault};

use crate::log::Log;
use crate::random::Random;
use crate::seeds::for_seeds;
use crate::world::{LineSpec, World};

fn limits(random: &mut Random) -> Limits {
    Limits {
        window_bytes_max: 100 + random.below(2_000),
        sticky_bytes: 1 + random.below(200),
        stalled_after: Duration::from_secs(2),
        probe_first: Duration::from_secs(1),
        probe_longest: Duration::from_secs(60),
        topic_kept: Duration::from_secs(1 + random.below(30)),
        append_bytes_max: 1 + random.below(1_000),
        spool_always: random.chance(20),
        when_full: [WhenFull::Block, WhenFull::Block, WhenFull::DropOldest, WhenFull::DropNewest][random.index(4)],
    }
}

/// Scenario: sources with keyed and keyless lines, some of them guilty (or a processor failed for them), over topics that come and go, grow and shrink, refuse
/// and fall silent; producers that die; a dead letter that fills up; a disk that fails, is full, or loses what was not synced;
/// the process killed between any two actions, or the power cut. Then the faults end. Guarantee: what settles is kept (I1, I2), in order (I3); nobody innocent is buried (I5); the window holds (I4);
/// every receipt settles once; everything drains, and nothing is left behind.
#[test]
fn whatever_happens_nothing_is_lost_and_everything_drains() {
    for_seeds(1_500, |seed| {
        let mut world = random_world(seed);
        let steps = 50 + world.random.below(400);
        for _ in 0..steps {
            step(&mut world);
        }
        world.heal();
        // Four probes a minute apart, and the work.
        let drained = world.run(6_000, World::is_drained);
        assert!(drained, "after 10 min without faults: {:#?}", world.machine);
        world.assert_clean();
    });
}

fn random_world(seed: u64) -> World {
    let mut random = Random::new(seed);
    let mut world = World::new(seed, limits(&mut random));
    let topics: Vec<Arc<str>> =
        (0..1 + random.below(3)).map(|n| world.add_topic(&format!("t{n}"), 1 + random.below(4) as u32)).collect();
    let guilty_percent = [0, 0, 2, 10][random.index(4)];
    for _ in 0..1 + random.below(5) {
        let own_topic = random.chance(50).then(|| random.index(topics.len()));
        let keys = 1 + random.below(6);
        let lines = (0..5 + random.below(80)).map(|_| LineSpec {
            topic: Arc::clone(&topics[own_topic.unwrap_or_else(|| random.index(topics.len()))]),
            key: random.chance(80).then(|| random.below(keys) as u32),
            bytes: 1 + random.below(40),
            guilt: random.chance(guilty_percent).then(|| match random.below(4) {
                0 => RecordFault::TooLarge,
                1 => RecordFault::Invalid,
                2 => RecordFault::Processor,
                _ => RecordFault::InvalidTimestamp,
            }),
        });
        let lines = lines.collect();
        world.add_source(lines, 1 + random.below(12));
    }
    world.crash_percent = [0, 0, 5, 20][random.index(4)];
    if random.chance(70) {
        world.log = Some(Log::new(seed, 3 + random.below(9)));
        world.tell_room();
    }
    world
}

fn step(world: &mut World) {
    let records_max = 1 + world.random.index(12);
    match world.random.below(100) {
        0..30 => {
            let who = world.random.index(world.sources.len());
            world.read(who);
        }
        30..48 => world.send(records_max),
        48..68 => drop(world.report()),
        68..76 => {
            // Also as long as a machine may sleep.
            let ms = if world.random.chance(2) { 3_600_000 } else { [1, 50, 300, 2_500][world.random.index(4)] };
            world.pass(ms);
        }
        76..78 => drop(world.bury()),
        78..80 => drop(world.write_log()),
        80 => drop(world.read_log(records_max)),
        81..85 => {
            world.topic_news();
            while world.random.chance(80) && world.place_waiting() {}
        }
        85..88 => drop(world.rebuild()),
        88..90 => world.commit(),
        90..92 => world.send_late(records_max),
        92 => {
            world.kill_producer();
            let who = world.random.index(world.sources.len());
            if world.log.is_some() && world.random.chance(50) {
                world.make_urgent(who);
            }
        }
        93 => world.lose_producer(),
        94 if world.log.is_some() && world.random.chance(50) => {
            let World { log: Some(log), random, .. } = world else { return };
            match random.below(20) {
                0 => log.remove(random),
                _ => log.change_disk(random),
            }
        }
        94 if world.random.chance(30) => {
            let who = world.random.index(world.sources.len());
            world.give_up(who);
        }
        94 => world.dead_letter_full = world.random.chance(50),
        95 if world.crash_percent > 0 => world.crash(),
        96 if world.random.chance(50) => world.replace(),
        96 => {
            let broker = i32::try_from(world.random.below(3)).expect("small");
            if !world.silent_brokers.remove(&broker) {
                world.silent_brokers.insert(broker);
            }
        }
        _ => change_topic(world),
    }
}

fn change_topic(world: &mut World) {
    let names: Vec<Arc<str>> = world.broker.topics.keys().cloned().collect();
    let name = &names[world.random.index(names.len())];
    let (what, partition, partitions) =
        (world.random.below(8), world.random.below(4) as i32, 1 + world.random.below(5) as u32);
    let topic = world.topic_mut(name);
    match what {
        0 => topic.exists = false,
        1 => {
            topic.refuses = [TopicFault::NotAuthorized, TopicFault::Refused, TopicFault::NotWritable]
                .get(partition as usize)
                .copied();
        }
        2 if partition == 0 => topic.hides = Some(TopicFault::NotAuthorized),
        2 => (topic.refuses, topic.hides) = (None, None),
        3 => drop(topic.silent.insert(partition)),
        4 => topic.silent.clear(),
        5 => topic.partitions = topic.partitions.max(partitions),
        6 => topic.exists = true,
        _ if topic.exists => {}
        _ => (topic.exists, topic.partitions) = (true, partitions),
    }
}

/// Scenario: some lanes hang or are refused for ever; some sources feed them, others don't. Guarantee: who doesn't feed them
/// goes on to the end (I6).
#[test]
fn sick_lanes_hold_only_who_feeds_them() {
    for_seeds(400, |seed| {
        let mut random = Random::new(seed);
        // The rule leaves room after n sick lanes: window / 2^n, and a batch is no more than that. The refusing topic has two.
        let sick_count = 1 + random.index(3);
        let limits = Limits { window_bytes_max: (8 * 40) << (sick_count + 2), ..limits(&mut random) };
        let mut world = World::new(seed, limits);
        let partitions = 8;
        let topics = [world.add_topic("a", partitions), world.add_topic("b", partitions)];
        let mut sick = HashSet::new();
        for _ in 0..sick_count {
            let (topic, partition) = (random.index(2), random.below(u64::from(partitions)) as i32);
            sick.insert((topic, partition));
            world.topic_mut(&topics[topic]).silent.insert(partition);
        }
        let mut healthy = Vec::new();
        for _ in 0..2 + random.below(8) {
            let topic = random.index(2);
            let keys: Vec<u32> = (0..1 + random.below(3)).map(|_| random.below(u64::from(partitions)) as u32).collect();
            let feeds_sick = keys.iter().any(|key| sick.contains(&(topic, *key as i32)));
            let lines = (0..20 + random.below(200)).map(|_| LineSpec {
                topic: Arc::clone(&topics[topic]),
                key: Some(keys[random.index(keys.len())]),
                bytes: 1 + random.below(40),
                guilt: None,
            });
            let lines = lines.collect();
            let who = world.add_source(lines, 1 + random.below(8));
            if !feeds_sick {
                healthy.push(who);
            }
        }
        // A topic that refuses everything, or is not there at all: its lanes hold what they have in flight.
        let refusing = world.add_topic("c", partitions);
        let exists = random.chance(50);
        (world.topic_mut("c").exists, world.topic_mut("c").refuses) =
            (exists, exists.then_some(TopicFault::NotAuthorized));
        for _ in 0..random.below(3) {
            let lines = (0..50).map(|number| LineSpec {
                topic: Arc::clone(&refusing),
                key: (number % 2 == 0).then_some(number % 2),
                bytes: 1 + random.below(10),
                guilt: None,
            });
            world.add_source(lines.collect(), 4);
        }
        // Wide ones: more in one batch than the sick lanes leave, but little of it for each lane.
        for _ in 0..random.below(3) {
            let lines = (0..200).map(|number| LineSpec {
                topic: Arc::clone(&topics[0]),
                key: Some(number % partitions),
                bytes: 1 + random.below(40),
                guilt: None,
            });
            world.add_source(lines.collect(), 24 << random.below(4));
        }
        let done = world.run(3_000, |world| healthy.iter().all(|who| world.sources[*who].is_finished()));
        assert!(done, "sick: {sick:?}; {:#?}", world.machine);
        world.heal();
        assert!(world.run(3_000, World::is_drained), "{:#?}", world.machine);
        world.assert_clean();
    });
}
