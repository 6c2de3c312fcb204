//! From a checked config to threads that run, and back.
//!
//! What changes while it runs: `reload`.
//!
//! Start: data_dir and its lock, store, output, workers, inputs, admin endpoint: whoever can fail comes before whoever reads.
//! Stop: inputs, workers, then what is in flight is waited for, then the last commit. Whatever is not acknowledged by then
//! is read again at the next start.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, LazyLock, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::acks::Ledger;
use super::cloud;
use super::databases::Databases;
use super::plan::{Plan, Target};
use super::report::{Inner, Live, LiveOutput, OutputTraits};
use super::sources::Sources;
use super::threads::Threads;
use super::worker::{BUFFER_BYTES, Pool, Shop, Worker};
use crate::batch::OutputId;
use crate::budget::{Budget, BudgetPart};
use crate::checkpoint::{DataDir, Store};
use crate::config::Checked;
use crate::config::checked::{CheckedInput, CheckedOutput, InputKind, OutputKind, SpoolOptions};
use crate::deliver::burial::{LetterTopic, Letters};
use crate::deliver::driver::{Deliver, Hooks, Produce};
use crate::deliver::machine::Limits;
use crate::deliver::spooler::{Spool, now_ms};
use crate::disk::{Disk, RealDisk};
use crate::event::{Shared, SharedOptions};
use crate::input::file::{Descriptors, FileInput, Legacy, adopt_renamed};
use crate::input::source::{Host, Token};
use crate::input::stdin::StdinInput;
use crate::output::Producer;
use crate::output::dead_letter::{DeadLetterOptions, FileDeadLetter};
use crate::output::file::FileProducer;
use crate::output::kafka::{KafkaProducer, wait_closed};
use crate::process::Chain;
use crate::route;
use crate::spool::{self, Log, Recovered};
use crate::telemetry::status::ConfigStatus;
use crate::telemetry::{AdminServer, Histogram, Status, StatusSource};

/// Makes producers: at the start, and for each rebuild.
pub type ProducerFactory = Produce;

/// Makes what makes producers for an output.
pub type Maker = Box<dyn Fn(&CheckedOutput) -> Produce + Send>;

/// How often positions are committed.
const COMMIT_EVERY: Duration = Duration::from_secs(1);
/// Checkpoints that can't be saved are complained of so often.
const ALARM_EVERY: Duration = Duration::from_secs(60);
/// Workers at most, whatever the cores.
const WORKERS_MAX: usize = 4;
/// The part of the memory that all sources together may keep from read to read: records that are being joined.
const KEPT_SHARE: usize = 8;
/// Topics without records are forgotten after this long.
const TOPIC_KEPT: Duration = Duration::from_secs(600);
/// How long the spool may take for what only memory has, at the end.
const SPILL_WITHIN: Duration = Duration::from_secs(5);
/// How long librdkafka may take to let go of its threads at the end.
const CLOSE_WITHIN: Duration = Duration::from_secs(6);
pub(super) const CLOSE_POLL: Duration = Duration::from_millis(5);

/// A running pipeline.
pub struct Pipeline {
    pub(super) inner: Arc<Inner>,
    /// To the thread that commits positions.
    committer: Sender<Order>,
    admin: Option<AdminServer>,
    /// What looks after the databases of processors.
    databases: Option<Databases>,
    pub(super) store: Arc<Store>,
    /// What all file inputs may have open together.
    descriptors: Arc<Descriptors>,
    pub(super) make: Maker,
    /// Where the spools are.
    pub(super) disk: Arc<dyn Disk>,
    pub(super) pool: Arc<Pool>,
    /// The last number that a waiting source got, at any output.
    pub(super) last_seq: Arc<AtomicU64>,
    /// What it runs with.
    pub(super) current: Checked,
    /// Held until everything has ended: its lock keeps a second agent away.
    data_dir: DataDir,
}

/// An input that runs.
pub enum Running {
    File(FileInput),
    Stdin(StdinInput),
}

/// What the committer is told.
enum Order {
    /// Commit now, and say when it is done.
    Now(SyncSender<()>),
    End(Last),
}

/// How the pipeline ends.
#[derive(Clone, Copy)]
enum Last {
    Commit,
    Nothing,
}

impl Pipeline {
    /// Starts everything, with producers for the config's outputs.
    ///
    /// # Errors
    /// What can't be opened, bound or started, naming it. Nothing runs then.
    pub fn start(checked: Checked) -> anyhow::Result<Self> {
        Self::start_making(checked, Box::new(|output| produce(&output.kind)))
    }

    /// The same with other producers, whatever the options.
    ///
    /// # Errors
    /// As [`Pipeline::start`].
    pub fn start_with(checked: Checked, produce: ProducerFactory) -> anyhow::Result<Self> {
        let produce = Arc::new(produce);
        let make = move |_: &CheckedOutput| {
            let produce = Arc::clone(&produce);
            Box::new(move || produce()) as Produce
        };
        Self::start_making(checked, Box::new(make))
    }

    /// The same with producers that `make` makes for each output.
    ///
    /// # Errors
    /// As [`Pipeline::start`].
    pub fn start_making(checked: Checked, make: Maker) -> anyhow::Result<Self> {
        Self::start_on(checked, make, Arc::new(RealDisk))
    }

    /// The same with the spools on this disk. Checkpoints and dead letters stay on the real one.
    ///
    /// # Errors
    /// As [`Pipeline::start`].
    pub fn start_on(checked: Checked, make: Maker, disk: Arc<dyn Disk>) -> anyhow::Result<Self> {
        let data_dir = DataDir::open(&checked.data_dir)?;
        let store = Arc::new(Store::open(&data_dir)?);
        let ledger = Arc::new(Ledger::default());
        let sources = Sources::new(Arc::clone(&ledger), Arc::clone(&store));
        let pool = Arc::new(Pool::new(checked.window_bytes / BUFFER_BYTES + WORKERS_MAX));
        let last_seq = Arc::default();
        let budget = Budget::new(checked.memory_bytes_max);
        let names: Vec<&str> = checked.outputs.iter().map(|output| output.name.as_str()).collect();
        let mut outputs: Vec<Arc<LiveOutput>> = Vec::new();
        for (output, id) in checked.outputs.iter().zip(store.outputs(&names)?) {
            let (produce, disk) = (make(output), Arc::clone(&disk));
            let started = start_output(&checked, output, id, produce, &sources, &pool, &last_seq, &budget, disk);
            // Those before have threads that would go on for ever.
            outputs.push(started.inspect_err(|_| outputs.iter().for_each(|output| output.end()))?);
        }
        let planned = |input| Live { plan: Arc::new(plan_of(&checked, input, &outputs)), running: None };
        let inputs: Vec<Live> = checked.inputs.iter().map(planned).collect();
        let inner = Arc::new(Inner {
            host: host().name,
            started: Instant::now(),
            state: AtomicU8::new(0),
            ready: AtomicBool::new(false),
            sources: Arc::clone(&sources),
            ledger: Arc::clone(&ledger),
            budget,
            inputs: Mutex::new(inputs),
            config: Mutex::new(ConfigStatus::loaded_at(now_seconds())),
            outputs: Mutex::new(outputs),
            workers: Threads::default(),
            committer: Threads::default(),
        });
        let started = start_committer(Arc::clone(&ledger), Arc::clone(&store));
        let (committer, thread) = started.inspect_err(|_| inner.outputs().iter().for_each(|output| output.end()))?;
        inner.committer.push(thread);
        let mut pipeline = Self {
            inner,
            committer,
            admin: None,
            databases: None,
            store,
            descriptors: Descriptors::of_process(),
            make,
            disk,
            pool,
            last_seq,
            current: checked,
            data_dir,
        };
        match pipeline.begin() {
            Ok(()) => Ok(pipeline),
            Err(error) => {
                pipeline.kill();
                Err(error)
            }
        }
    }

    /// Starts the rest, those who read last.
    fn begin(&mut self) -> anyhow::Result<()> {
        let inner = &self.inner;
        if let Some(listen) = self.current.admin {
            let source = Arc::clone(inner) as Arc<dyn StatusSource>;
            self.admin = Some(AdminServer::start(listen, self.data_dir.path(), source)?);
        }
        let (sources, budget, pool) = (Arc::clone(&inner.sources), inner.budget.clone(), Arc::clone(&self.pool));
        let kept = BudgetPart::new(&budget, self.current.memory_bytes_max / KEPT_SHARE);
        start_workers(&Arc::new(Shop { sources, budget, kept, pool }), &inner.workers)?;
        cloud::look_up(&self.current.clouds, &[], &|| false);
        adopt_files(&self.current, &self.store)?;
        feed(&inner.inputs().iter().map(|live| Arc::clone(&live.plan)).collect::<Vec<_>>(), &self.store)?;
        for (at, input) in self.current.inputs.iter().enumerate() {
            let plan = Arc::clone(&inner.inputs()[at].plan);
            let running = self.start_input(input, plan, Legacy::default())?;
            inner.inputs()[at].running = Some(running);
        }
        self.databases = Some(Databases::start(inner)?);
        inner.set_running();
        Ok(())
    }

    /// Whether everything that is known is read and acknowledged. With [`Pipeline::rescan`] before it: everything there is.
    pub fn is_idle(&self) -> bool {
        let all_read = self.inner.inputs().iter().all(|live| match &live.running {
            Some(Running::File(file)) => file.idle(),
            Some(Running::Stdin(stdin)) => stdin.idle(),
            None => false,
        });
        all_read && self.inner.sources.is_quiet() && self.is_delivered(|output| output.traits().required)
    }

    /// Whether nothing is in flight at these outputs.
    fn is_delivered(&self, which: impl Fn(&LiveOutput) -> bool) -> bool {
        self.inner.outputs().iter().filter(|output| which(output)).all(|output| output.deliver.is_idle())
    }

    /// Looks for files now.
    pub fn rescan(&self) {
        for live in self.inner.inputs().iter() {
            if let Some(Running::File(file)) = &live.running {
                file.rescan_now();
            }
        }
    }

    /// The state of it all.
    pub fn status(&self) -> Status {
        self.inner.status()
    }

    /// Records read and handed over since the start.
    pub fn records_read(&self) -> u64 {
        self.inner.inputs().iter().map(|live| live.plan.counters.read_records.load(Ordering::Relaxed)).sum()
    }

    /// The config's `shutdown_after`.
    pub fn shutdown_after(&self) -> Duration {
        self.current.shutdown_after
    }

    /// Starts an input with `plan`, from its checkpoints. `legacy`: of the input that had its name before.
    pub(super) fn start_input(&self, input: &CheckedInput, plan: Arc<Plan>, legacy: Legacy) -> anyhow::Result<Running> {
        let outputs: Vec<OutputId> = plan.watched().map(|target| target.id).collect();
        self.inner.sources.set_plan(plan);
        let shared = shared_of(input);
        let host_side = Arc::clone(&self.inner.sources) as Arc<dyn Host>;
        match &input.kind {
            InputKind::File(file) => Ok(Running::File(FileInput::start_again(
                file.clone(),
                shared,
                Arc::clone(&self.store),
                host_side,
                &outputs,
                Arc::clone(&self.descriptors),
                legacy,
            )?)),
            InputKind::Stdin(stdin) => {
                let run = format!("{}-{}", input.name, jiff::Timestamp::now().as_nanosecond());
                let key = self.store.number()?;
                let stdin = StdinInput::start(stdin.clone(), &shared, std::io::stdin(), key, &run, host_side)
                    .with_context(|| format!("input {}", input.name))?;
                Ok(Running::Stdin(stdin))
            }
        }
    }

    /// Commits what is settled, and waits for it.
    pub(super) fn commit_now(&self) {
        let (done, is_done) = sync_channel(1);
        // A thread that is gone has said why.
        if self.committer.send(Order::Now(done)).is_ok() {
            is_done.recv().ok();
        }
    }

    /// Ends in order: nothing more is read, what is in flight is waited for (`within` at most), what is acknowledged is
    /// committed. Whether nothing is repeated: all that was handed over is acknowledged, the rest in the spool.
    pub fn stop(self, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        self.inner.set_stopping();
        self.end_reading();
        let is_settled = |output: &Arc<LiveOutput>| output.deliver.is_settled();
        let outputs = self.inner.outputs().clone();
        outputs.iter().for_each(|output| output.deliver.close_spool());
        while !outputs.iter().all(|output| output.deliver.is_at_rest()) && Instant::now() < deadline {
            std::thread::sleep(CLOSE_POLL);
        }
        let deadline = Instant::now() + SPILL_WITHIN;
        let unsettled = || outputs.iter().filter(|output| !is_settled(output));
        let spill = || -> usize { unsettled().map(|output| output.deliver.spill_urgent()).sum() };
        while spill() > 0 && Instant::now() < deadline {
            std::thread::sleep(CLOSE_POLL);
        }
        let all = outputs.iter().filter(|output| output.traits().required).all(|output| output.deliver.is_clean());
        for output in outputs.iter().filter(|output| !output.traits().required) {
            output.say_what_is_lost();
        }
        drop(outputs);
        self.finish(Last::Commit);
        all
    }

    /// Ends as a crash would: nothing is waited for, nothing more is committed.
    pub fn kill(self) {
        self.end_reading();
        self.finish(Last::Nothing);
    }

    /// Nothing is read or handed over from here on.
    fn end_reading(&self) {
        let running: Vec<Running> = self.inner.inputs().iter_mut().filter_map(|live| live.running.take()).collect();
        self.inner.sources.stop();
        for input in running {
            input.stop();
        }
        // A turn that is going on hands over: what is in flight is known once it is done.
        self.inner.workers.join();
    }

    fn finish(self, last: Last) {
        // The last commit comes before the output goes: what it gives up is not settled.
        // A thread that is gone has said why.
        self.committer.send(Order::End(last)).ok();
        self.inner.committer.join();
        let outputs = self.inner.outputs().clone();
        for output in &outputs {
            match last {
                Last::Commit => output.deliver.stop(),
                Last::Nothing => output.deliver.abort(),
            }
        }
        outputs.iter().for_each(|output| output.join());
        drop(outputs);
        if let Some(admin) = self.admin {
            admin.stop();
        }
        if let Some(databases) = self.databases {
            databases.stop();
        }
        drop(self.inner);
        wait_closed(CLOSE_WITHIN);
    }
}

impl Running {
    /// Looks for nothing more, and adds no source. What it leaves to the one that takes its place.
    pub fn stop(self) -> Legacy {
        match self {
            Self::File(file) => file.leave(),
            Self::Stdin(stdin) => {
                stdin.stop();
                Legacy::default()
            }
        }
    }
}

fn start_committer(ledger: Arc<Ledger>, store: Arc<Store>) -> anyhow::Result<(Sender<Order>, JoinHandle<()>)> {
    let (stop, stopped) = channel();
    let thread = std::thread::Builder::new().name("checkpoints".into()).spawn(move || {
        let mut alarmed_at = None;
        loop {
            match stopped.recv_timeout(COMMIT_EVERY) {
                Err(RecvTimeoutError::Timeout) => commit(&ledger, &store, &mut alarmed_at),
                Ok(Order::Now(done)) => {
                    commit(&ledger, &store, &mut alarmed_at);
                    // Who asked may have gone.
                    done.send(()).ok();
                }
                Ok(Order::End(Last::Commit)) => return commit(&ledger, &store, &mut alarmed_at),
                Ok(Order::End(Last::Nothing)) | Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    })?;
    Ok((stop, thread))
}

/// `alarmed_at`: when it was last said that this fails; `None`: it does not.
fn commit(ledger: &Ledger, store: &Store, alarmed_at: &mut Option<Instant>) {
    let (positions, bytes) = ledger.take();
    match store.commit(&positions) {
        Ok(()) => {
            *alarmed_at = None;
            if ledger.committed(bytes) {
                tracing::info!(file = %store.path().display(), "checkpoints can be saved again");
            }
        }
        Err(error) => {
            if alarmed_at.is_none_or(|at| at.elapsed() >= ALARM_EVERY) {
                *alarmed_at = Some(Instant::now());
                tracing::error!(file = %store.path().display(), %error, "checkpoints can't be saved; a crash now would repeat more");
            }
            ledger.put_back(positions, error.to_string());
        }
    }
}

/// Makes producers with these options.
fn produce(kind: &OutputKind) -> Produce {
    match kind.clone() {
        OutputKind::Kafka(options) => Box::new(move || {
            let producer = KafkaProducer::open(&options).map_err(|error| error.to_string())?;
            Ok(Arc::new(producer) as Arc<dyn Producer>)
        }),
        OutputKind::File(options) => Box::new(move || {
            let producer = FileProducer::start(&options).map_err(|error| error.to_string())?;
            Ok(Arc::new(producer) as Arc<dyn Producer>)
        }),
    }
}

/// Starts an output.
#[expect(clippy::too_many_arguments, reason = "what an output needs of the whole")]
pub(super) fn start_output(
    checked: &Checked,
    output: &CheckedOutput,
    id: OutputId,
    produce: ProducerFactory,
    sources: &Arc<Sources>,
    pool: &Arc<Pool>,
    last_seq: &Arc<AtomicU64>,
    budget: &Budget,
    disk: Arc<dyn Disk>,
) -> anyhow::Result<Arc<LiveOutput>> {
    let wake = {
        let sources = Arc::downgrade(sources);
        move |who| {
            if let Some(sources) = sources.upgrade() {
                sources.unpark(Token(who));
            }
        }
    };
    let recycle = {
        let pool = Arc::clone(pool);
        move |buf| pool.give(buf)
    };
    let hooks = Hooks { last_seq: Arc::clone(last_seq), produce, wake: Box::new(wake), recycle: Box::new(recycle) };
    let spool = open_spool(checked, output, budget, disk)?;
    let started = Deliver::start(
        &output.name,
        limits_of(checked, output),
        hooks,
        letters_of(checked, output, budget),
        Some(spool),
    );
    let (deliver, started) = started.map_err(|error| anyhow::anyhow!("output {}: {error}", output.name))?;
    let threads = Threads::default();
    started.into_iter().for_each(|thread| threads.push(thread));
    Ok(Arc::new(LiveOutput {
        name: output.name.clone(),
        id,
        traits: Mutex::new(OutputTraits::of(output)),
        deliver,
        delivery_seconds: Arc::new(Histogram::new()),
        threads,
    }))
}

/// Tells the store which outputs the inputs of these plans feed from now on.
pub(super) fn feed(plans: &[Arc<Plan>], store: &Store) -> anyhow::Result<()> {
    let of_plan = |plan: &Arc<Plan>| plan.watched().map(|target| target.id).collect();
    let feeds: Vec<(&str, Vec<OutputId>)> =
        plans.iter().filter(|plan| plan.is_durable).map(|plan| (plan.name.as_str(), of_plan(plan))).collect();
    // Sources that change hands with this start are among what is queued.
    store.commit(&[])?;
    Ok(store.feed(&feeds)?)
}

/// Where the output's refused records go.
pub(super) fn letters_of(checked: &Checked, output: &CheckedOutput, budget: &Budget) -> Letters {
    let letter = match &output.kind {
        OutputKind::Kafka(options) => options.dead_letter.clone(),
        OutputKind::File(_) => DeadLetterOptions::default(),
    };
    Letters {
        file: Box::new(FileDeadLetter::new(letter.path(&checked.data_dir, &output.name), letter.bytes_max)),
        topic: letter.topic.as_ref().map(|topic| LetterTopic {
            name: Arc::from(topic.as_str()),
            place: route::partition,
            budget: budget.clone(),
        }),
        host: host().name,
    }
}

/// The spool of an output, as it was left.
fn open_spool(
    checked: &Checked,
    output: &CheckedOutput,
    budget: &Budget,
    disk: Arc<dyn Disk>,
) -> anyhow::Result<(Spool, Recovered)> {
    let started = Instant::now();
    let SpoolOptions { bytes_max, when_full, .. } = output.spool;
    let output = &output.name;
    let directory = checked.data_dir.join("spool").join(output);
    let options = spool::Options { max_bytes: bytes_max, clock: Some(monotonic), ..Default::default() };
    let (log, found) = Log::open(disk, &directory, options, now_ms()).with_context(|| format!("output {output}"))?;
    let (frames, records): (u64, u64) =
        found.lanes.iter().fold((0, 0), |(frames, records), lane| (frames + lane.frames, records + lane.records));
    if frames > 0 || found.damaged_frames > 0 {
        tracing::info!(
            output, records, frames, damaged_frames = found.damaged_frames, damaged_bytes = found.damaged_bytes,
            took = ?started.elapsed(), "the spool has records of the last run"
        );
    }
    let spool = Spool { log, bytes_max, when_full, budget: budget.clone(), place: route::partition };
    Ok((spool, found))
}

/// A clock that only goes forward.
fn monotonic() -> Duration {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    START.elapsed()
}

/// What bounds the output's machine.
pub(super) fn limits_of(checked: &Checked, output: &CheckedOutput) -> Limits {
    Limits {
        window_bytes_max: checked.window_share_bytes() as u64,
        sticky_bytes: match &output.kind {
            OutputKind::Kafka(kafka) => kafka.batch_bytes as u64,
            // It has one partition.
            OutputKind::File(_) => u64::MAX,
        },
        stalled_after: output.spool.after,
        probe_first: Duration::from_secs(1),
        probe_longest: Duration::from_secs(60),
        topic_kept: TOPIC_KEPT,
        append_bytes_max: checked.window_share_bytes() as u64,
        spool_always: output.spool.always,
        when_full: output.spool.when_full,
    }
}

fn start_workers(shop: &Arc<Shop>, threads: &Threads) -> anyhow::Result<()> {
    let count = std::thread::available_parallelism().map_or(1, usize::from).min(WORKERS_MAX);
    for number in 0..count {
        let worker = Worker::new(Arc::clone(shop));
        let builder = std::thread::Builder::new().name(format!("worker-{number}"));
        threads.push(builder.spawn(move || worker.run()).context("a worker can't be started")?);
    }
    Ok(())
}

/// Lets inputs that were renamed go on in their files.
pub(super) fn adopt_files(checked: &Checked, store: &Store) -> anyhow::Result<()> {
    let names = checked.inputs.iter().map(|input| input.name.as_str()).collect();
    let files: Vec<_> = checked
        .inputs
        .iter()
        .filter_map(|input| match &input.kind {
            InputKind::File(file) => Some(file),
            InputKind::Stdin(_) => None,
        })
        .collect();
    Ok(adopt_renamed(store, &files, &names)?)
}

/// The plan of one input that feeds running outputs.
pub(super) fn plan_of(checked: &Checked, input: &CheckedInput, outputs: &[Arc<LiveOutput>]) -> Plan {
    let mut plan = dry_plan(checked, input);
    for target in &mut plan.targets {
        let output = outputs.iter().find(|output| output.name == target.output);
        let output = output.expect("the check has found each output that an input names, and each is started before");
        target.id = output.id;
        target.deliver = Some(Arc::clone(&output.deliver));
        target.delivery_seconds = Arc::clone(&output.delivery_seconds);
    }
    plan
}

/// The plan of one input, without outputs that run.
pub(crate) fn dry_plan(checked: &Checked, input: &CheckedInput) -> Plan {
    let chain = Chain::new(input.processors.clone()).then(&Chain::new(checked.processors.clone()));
    let targets = input.routes.iter().cloned().map(Target::new).collect();
    let mut plan = Plan::new(&input.name, chain, targets, &checked.fallback_topic);
    plan.is_durable = matches!(input.kind, InputKind::File(_));
    plan
}

/// What the events of one input's sources share.
pub(crate) fn shared_of(input: &CheckedInput) -> Shared {
    let host = host();
    Shared::new(SharedOptions {
        host_name: host.name,
        agent_version: env!("CARGO_PKG_VERSION").into(),
        input_name: input.name.clone(),
        fields: input.fields.clone(),
        fields_under_root: input.fields_under_root,
        tags: input.tags.clone(),
        host_id: host.id,
    })
}

/// Seconds since the epoch.
pub(super) fn now_seconds() -> f64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// This machine.
pub(crate) struct ThisHost {
    /// `host.name`.
    pub name: String,
    /// The machine-id; the name, where there is none.
    pub id: String,
}

/// The name and the id of this machine.
pub(crate) fn host() -> ThisHost {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let id = std::fs::read_to_string("/etc/machine-id").map(|id| id.trim().to_owned()).unwrap_or_default();
    let id = if id.is_empty() { name.clone() } else { id };
    ThisHost { name, id }
}
