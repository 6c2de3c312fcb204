//! The command line: which commands there are, what they take, and what their exit code means. One file a command; each
//! takes its parsed arguments and returns an [`Exit`], or an error that is printed.
//!
//! The names here are a contract. Not here: options of the agent itself, which belong into the config, where they are
//! checked with file and line.

pub mod check;
pub mod completions;
pub mod demo;
pub mod grok;
pub mod run;
pub mod schema;
pub mod spool;
pub mod status;
pub mod test;
pub mod r#try;
pub mod watch;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::event::Timestamp;

/// The config that is used when none is named.
pub const CONFIG_DEFAULT: &str = "/etc/logferry/logferry.yaml";

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All is well.
    Fine = 0,
    /// It did not work; stderr says why.
    Failed = 1,
    /// The arguments make no sense.
    Usage = 2,
    /// The config has mistakes, all of them reported (`EX_CONFIG` of sysexits.h). A supervisor need not try again.
    BadConfig = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// Carries logs to Kafka: files in, acknowledged records out, nothing lost, in order.
#[derive(Debug, Parser)]
#[command(name = "logferry", version, arg_required_else_help = true, after_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "\
Examples:
  logferry demo                              see it work, without Kafka and without a config
  logferry check -c logferry.yaml            every mistake of a config at once
  tail -n5 app.log | logferry try -c logferry.yaml
                                             the records that a config makes of lines
  logferry test web.test.yaml                does a config still make of lines what it should?
  logferry grok '%{COMBINEDAPACHELOG}' access.log
                                             what a pattern makes of lines, and where it stops
  logferry run -c logferry.yaml              the agent
  logferry status                            what the agent of this machine is doing

Exit codes: 0 fine, 1 failed, 2 usage, 78 bad config.";

#[derive(Debug, Subcommand)]
pub enum Command {
    Run(RunArgs),
    Check(CheckArgs),
    Demo(DemoArgs),
    Try(TryArgs),
    Test(TestArgs),
    Grok(GrokArgs),
    Status(StatusArgs),
    Spool(SpoolArgs),
    Schema(SchemaArgs),
    Completions(CompletionsArgs),
}

/// Run the agent
///
/// Reads what the config's inputs name and carries it to its output, until it is told to stop: SIGTERM or Ctrl-C once to
/// finish what is in flight (at most `shutdown_after`), twice to end at once. Either way nothing is lost: what is not
/// acknowledged is read again at the next start.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  logferry run                               with /etc/logferry/logferry.yaml
  logferry run -c logferry.yaml --until-idle ship what is there, then end
  logferry run -c base.yaml -c conf.d/       several files, one config

Several -c are read in order. `inputs` and `outputs` unite by name, `processors` follow each
other, every other section may stand in one file only; what two files say of the same thing is
a mistake that names both places.

SIGHUP reloads: the whole config is checked, and what has changed in it takes effect; a bad one
changes nothing. Certificates and passwords in files are taken in by themselves.

Exit codes: 0 stopped in order, 1 failed, 2 usage, 78 bad config (nothing was opened).
The log goes to stderr; LOGFERRY_LOG=debug, or info,logferry::input=debug, overrides its level.")]
pub struct RunArgs {
    /// A config file, or a directory: the *.yaml and *.yml in it, by name. May be given several times: all together are
    /// one config
    #[arg(short, long, value_name = "FILE|DIR", default_value = CONFIG_DEFAULT)]
    pub config: Vec<PathBuf>,

    /// End, with exit code 0, once everything is read and acknowledged and nothing came for this long
    /// [without a TIME: 5s]
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true, default_missing_value = "5s",
          value_parser = duration)]
    pub until_idle: Option<Duration>,
}

/// Check a config and report every mistake in it
///
/// Each mistake comes with its file, line and column, what was expected, and the nearest valid word. Nothing is opened, bound
/// or connected to, unless --connect says so.
///
/// With --connect, a config without mistakes is followed to its Kafka: for each broker its name, TCP, TLS, login and version;
/// for each topic that is known beforehand, whether it is there, whether this user may write to it, and whether its replicas,
/// sizes, times and compaction suit the records. Nothing is changed there and no record is sent.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  logferry check
  logferry check -c logferry.yaml && systemctl restart logferry
  logferry check -c base.yaml -c conf.d/
  logferry check -c logferry.yaml --connect  and would Kafka take the records?

Exit codes: 0 no mistake, 78 mistakes; with --connect 1 if something at Kafka is wrong.")]
pub struct CheckArgs {
    /// A config file, or a directory: the *.yaml and *.yml in it, by name. May be given several times: all together are
    /// one config
    #[arg(short, long, value_name = "FILE|DIR", default_value = CONFIG_DEFAULT)]
    pub config: Vec<PathBuf>,

    /// Ask the output's brokers whether they would take the records
    #[arg(long)]
    pub connect: bool,

    /// How long the brokers have to answer
    #[arg(long, value_name = "TIME", requires = "connect", default_value = "10s", value_parser = duration)]
    pub within: Duration,
}

/// See the main job in one command: a log that rotates, through Kafka's protocol, to a consumer
///
/// Without --brokers it brings its own Kafka (an embedded broker on this machine's loopback). It writes a web server's access
/// log that rotates while it is read, ships it with the real pipeline, reads it back as a consumer would, and counts: lines
/// written and arrived, repeated, out of order, speed. Nothing is left behind.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  logferry demo
  logferry demo --lines 2000000              for the speed
  logferry demo --rate 1000                  for the latency, p50 and p99 from append to acknowledged
  logferry demo --brokers kafka-0:9092       on a real cluster, in a topic of its own that is removed after
  logferry demo /var/log/syslog              your own files

Exit codes: 0 every line arrived, 1 not so.")]
pub struct DemoArgs {
    /// Ship these files, as they are now, instead of a generated log
    #[arg(value_name = "FILE", conflicts_with_all = ["lines", "rate"])]
    pub files: Vec<PathBuf>,

    /// How many lines to generate
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub lines: Option<u64>,

    /// Generate so many lines a second, and show the latency
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub rate: Option<u64>,

    /// Use this cluster instead of the embedded broker
    #[arg(long, value_name = "HOST:PORT,…")]
    pub brokers: Option<String>,
}

/// Lines in, records out: what a config makes of them, without Kafka
///
/// One record a line, in order, the value as the codec writes it. Events that a processor could not handle are tagged, as the
/// agent does. Nothing is connected to and no checkpoint is touched.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  tail -n5 access.log | logferry try -c logferry.yaml
  logferry try -c logferry.yaml --input nginx --envelope access.log
  echo '{\"message\":\"hello\",\"level\":\"warn\"}' | logferry try -c logferry.yaml --json

Exit codes: 0 fine, 1 the input can't be read, 2 usage, 78 bad config.")]
pub struct TryArgs {
    /// A config file, or a directory: the *.yaml and *.yml in it, by name. May be given several times: all together are
    /// one config
    #[arg(short, long, value_name = "FILE|DIR", default_value = CONFIG_DEFAULT)]
    pub config: Vec<PathBuf>,

    /// The output whose records are shown [default: the only one of the input]
    #[arg(long, value_name = "NAME")]
    pub output: Option<String>,

    /// The input that the lines are taken to come from [default: the config's only one]
    #[arg(long, value_name = "NAME")]
    pub input: Option<String>,

    /// Each line is an event's fields, as a JSON object
    #[arg(long)]
    pub json: bool,

    /// The time of reading: a date without a year is the one near to it [default: that of this machine]
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub now: Option<Timestamp>,

    /// Show topic, key, headers and timestamp around each record, in the form of `kcat -J`
    #[arg(long)]
    pub envelope: bool,

    /// Where the lines are; - or nothing for the standard input
    #[arg(value_name = "FILE|-")]
    pub file: Option<PathBuf>,
}

/// Test a config: do these lines become the records that they should?
///
/// A test file is YAML. It names a config, and has tests: lines (or events) for one input, and what is expected of each of them, in
/// order. `fields` compares the fields that are named, `record` the whole value but for what differs from host to host (time, host,
/// agent, ids and places in files, unless they are named). Nothing is connected to and no checkpoint is touched.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  logferry test web.test.yaml
  logferry test config/examples/*.test.yaml

A test file:
  config: web.yaml                           from here; several as a list
  now: 2026-03-01T12:00:00Z                  the time of reading: what a date without a year is near to
  tests:
  - name: requests are parsed, health checks are not sent
    input: access                            may be left out if there is only one; so may `output`
    path: /var/log/nginx/access.log          the file that the lines are said to come from
    lines:                                   or `events:`, a list of maps of fields
    - '10.0.0.7 - - [01/Mar/2026:10:00:00 +0000] \"GET / HTTP/1.1\" 200 12 \"-\" \"curl\"'
    - '10.0.0.8 - - [01/Mar/2026:10:00:00 +0000] \"GET /healthz HTTP/1.1\" 200 2 \"-\" \"-\"'
    expect:                                  one for each line, in order
    - fields: { verb: GET, response: '200', \"[url][query]\": null }
      topic: logs.parsed
      key: 10.0.0.7                          null: none
      headers: { env: test }
    - dropped

Exit codes: 0 all passed, 1 some failed, 2 usage, 78 a config or a test file has mistakes.")]
pub struct TestArgs {
    /// Files of tests
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,

    /// The time of reading for tests that do not say it (`now`) [default: that of this machine]
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub now: Option<Timestamp>,
}

/// Try a grok pattern on lines: the fields it finds, or how far it gets
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  logferry grok '%{COMBINEDAPACHELOG}' /var/log/nginx/access.log
  tail -n5 app.log | logferry grok '%{TIMESTAMP_ISO8601:time} %{LOGLEVEL:level} %{GREEDYDATA:text}' --json
  logferry grok '%{ID:id} %{GREEDYDATA:rest}' --define 'ID=[A-Z]{3}-[0-9]+' app.log
  logferry grok --list HAPROXY

Where a line does not match, what matched of it is underlined, and the next part of the pattern is named.
Exit codes: 0 every line matched, 1 some did not, 2 usage, or the pattern can't be used.")]
pub struct GrokArgs {
    /// The pattern, as in `grok: { patterns: [...] }`
    #[arg(value_name = "PATTERN", required_unless_present = "list")]
    pub pattern: Option<String>,

    /// Where the lines are; - or nothing for the standard input
    #[arg(value_name = "FILE|-")]
    pub file: Option<PathBuf>,

    /// One JSON object a line
    #[arg(long)]
    pub json: bool,

    /// How long matching took: a line on average, and the slowest
    #[arg(long)]
    pub timing: bool,

    /// List the patterns with WORD in their names, as they are defined and written out
    #[arg(long, value_name = "WORD", num_args = 0..=1, default_missing_value = "", conflicts_with_all = ["pattern", "file"])]
    pub list: Option<String>,

    /// Built-in patterns with the names of the Elastic Common Schema (`ecs_compatibility: v8`)
    #[arg(long)]
    pub v8: bool,

    /// Patterns of your own: a directory or a file of lines NAME REGEX. May be given several times
    #[arg(long, value_name = "DIR")]
    pub patterns_dir: Vec<PathBuf>,

    /// A pattern of your own. May be given several times
    #[arg(long, value_name = "NAME=REGEX")]
    pub define: Vec<String>,

    /// Show `%{SYNTAX}` without a name, too (`named_captures_only: false`)
    #[arg(long)]
    pub all_names: bool,

    /// What matches
    #[arg(long, value_enum, default_value_t = GrokEngine::Linear)]
    pub engine: GrokEngine,
}

/// What matches patterns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum GrokEngine {
    /// In linear time, without backreferences
    Linear,
    /// With backreferences, up to a million steps a line
    Backtracking,
}

impl TryArgs {
    /// The file of the lines; `None` is the standard input.
    pub fn input_file(&self) -> Option<&Path> {
        self.file.as_deref().filter(|file| *file != Path::new("-"))
    }
}

/// Show what the running agent is doing
///
/// Its inputs and how far they lag, the files that lag most, lanes (partitions) that do not flow with their cause and what can
/// be done about it, brokers, memory, and what was given up. Asks the agent over its admin endpoint, whose address is found in
/// the agent's data_dir.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  logferry status
  logferry status -c logferry.yaml
  logferry status --watch                    drawn anew every 2 s, until Ctrl-C
  logferry status --json | jq '.inputs[] | {name, lag_bytes}'
  logferry status --address 10.0.0.7:9660    an agent elsewhere, if its admin.listen allows it

Exit codes: 0 the agent answered, 1 it did not.")]
pub struct StatusArgs {
    /// The agent's config, for its data_dir: files and directories, as `run` takes them
    /// [default: /etc/logferry/logferry.yaml, if it is there]
    #[arg(short, long, value_name = "FILE|DIR")]
    pub config: Vec<PathBuf>,

    /// The agent's data_dir [default: the config's, or /var/lib/logferry]
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    pub data_dir: Option<PathBuf>,

    /// The address of the agent's admin endpoint [default: found in the data_dir]
    #[arg(long, value_name = "HOST:PORT", conflicts_with_all = ["config", "data_dir"])]
    pub address: Option<String>,

    /// The status as the agent gives it, as JSON
    #[arg(long)]
    pub json: bool,

    /// Show it again every 2 s, until Ctrl-C
    ///
    /// On a terminal it is drawn anew; elsewhere one follows the other. An agent that does not answer for a while, because it
    /// is being restarted, is asked on.
    #[arg(long, short)]
    pub watch: bool,
}

/// Look into the spool and the dead letters: what waits on disk until Kafka takes it, and what it refused
///
/// `ls`, `cat`, `verify` and `dead` read what is in the agent's data_dir and change nothing; they work beside a running agent and
/// on the directory of a stopped one. `drain` and `dead --resend` send what is there, for a stopped agent.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  logferry spool ls                          segments, lanes and their age, per output
  logferry spool cat --topic logs.web        the records that wait, in the form of `kcat -J`
  logferry spool verify                      every checksum
  logferry spool dead                        the records that Kafka refused for good, and why
  logferry spool drain -c logferry.yaml      send all of it now, reading nothing

Exit codes: 0 fine, 1 something can't be read, is damaged or torn, or remains, 2 usage, 78 bad config.")]
pub struct SpoolArgs {
    #[command(subcommand)]
    pub command: SpoolCommand,
}

#[derive(Debug, Subcommand)]
pub enum SpoolCommand {
    /// List segments and lanes
    Ls(SpoolPlace),
    /// Print the records that wait, one JSON object a line
    ///
    /// In the form of `try --envelope` and `kcat -J`, with partition (-1: not chosen yet), frame, source and offset beside.
    Cat(SpoolCatArgs),
    /// Check every checksum
    ///
    /// Bytes at the end that are no whole frame are named; they are a fault where no agent runs that may be writing them.
    Verify(SpoolPlace),
    Dead(SpoolDeadArgs),
    Drain(SpoolDrainArgs),
}

/// Which spools.
#[derive(Args, Debug)]
pub struct SpoolPlace {
    /// The agent's config, for its data_dir: files and directories, as `run` takes them
    /// [default: /etc/logferry/logferry.yaml, if it is there]
    #[arg(short, long, value_name = "FILE|DIR")]
    pub config: Vec<PathBuf>,

    /// The agent's data_dir [default: the config's, or /var/lib/logferry]
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    pub data_dir: Option<PathBuf>,

    /// The spool of this output only
    #[arg(long, value_name = "NAME")]
    pub output: Option<String>,
}

#[derive(Args, Debug)]
pub struct SpoolCatArgs {
    #[command(flatten)]
    pub place: SpoolPlace,

    /// Only this topic
    #[arg(long, value_name = "TOPIC")]
    pub topic: Option<String>,

    /// Only this partition; -1 is not chosen yet
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub partition: Option<i32>,

    /// Also what is acknowledged and still there
    #[arg(long)]
    pub all: bool,
}

/// List the records that Kafka refused for good; --resend sends them again
///
/// They are in local files of JSON lines. (A dead letter that is a topic is read with any consumer.) --resend produces each to the
/// topic that it was for, waits for the acknowledgements and removes what is acknowledged; what is refused again stays, and so do
/// lines that can't be read. The agent must not run meanwhile.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  logferry spool dead
  logferry spool dead --json | jq -r .reason | sort | uniq -c
  logferry spool dead --resend -c logferry.yaml
                                             after the topic's max.message.bytes was raised

Exit codes: 0 fine, 1 a line can't be read, or something remains after --resend, 2 usage, 78 bad config.")]
pub struct SpoolDeadArgs {
    #[command(flatten)]
    pub place: SpoolPlace,

    /// The lines as they are in the files: one JSON object a record
    #[arg(long, conflicts_with = "resend")]
    pub json: bool,

    /// Send them again, with the config's output
    #[arg(long, conflicts_with = "data_dir")]
    pub resend: bool,

    /// How long Kafka may be silent until --resend gives up
    #[arg(long, value_name = "TIME", requires = "resend", default_value = "1m", value_parser = duration)]
    pub timeout: Duration,
}

/// Send everything that is in the spool, reading no input, and wait for the acknowledgements
///
/// For a stopped agent: before a machine goes, or its data_dir. What Kafka refuses for good goes to the dead letter, as always.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  systemctl stop logferry && logferry spool drain -c logferry.yaml && rm -r /var/lib/logferry

Exit codes: 0 the spool is empty, 1 something remains (it says what, and why), 2 usage, 78 bad config.")]
pub struct SpoolDrainArgs {
    /// A config file, or a directory: the *.yaml and *.yml in it, by name. May be given several times: all together are
    /// one config
    #[arg(short, long, value_name = "FILE|DIR", default_value = CONFIG_DEFAULT)]
    pub config: Vec<PathBuf>,

    /// How long that may take
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = duration)]
    pub timeout: Duration,
}

/// Print the JSON schema of the config, for editors
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  logferry schema > logferry.schema.json
and as the first line of logferry.yaml, for editors with a YAML language server:
  # yaml-language-server: $schema=logferry.schema.json")]
pub struct SchemaArgs {
    /// Print the reference page (docs/configuration.md) instead of the schema
    #[arg(long)]
    pub markdown: bool,
}

/// Print the completions for a shell
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  logferry completions bash > /etc/bash_completion.d/logferry
  logferry completions zsh > \"${fpath[1]}/_logferry\"
  logferry completions fish > ~/.config/fish/completions/logferry.fish")]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

/// Parses the arguments, runs the command, and says on stderr what went wrong.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> Exit {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // --help and --version are errors to clap, but fine. A closed pipe is nobody's fault.
            drop(error.print());
            return if error.use_stderr() { Exit::Usage } else { Exit::Fine };
        }
    };
    match dispatch(&cli.command) {
        Ok(exit) => exit,
        Err(error) if is_closed_pipe(&error) => Exit::Fine,
        Err(error) => {
            // If stderr is gone the exit code still tells.
            drop(writeln!(io::stderr(), "error: {error:#}"));
            Exit::Failed
        }
    }
}

fn dispatch(command: &Command) -> anyhow::Result<Exit> {
    match command {
        Command::Run(args) => run::run(args),
        Command::Check(args) => check::run(args),
        Command::Demo(args) => demo::run(args),
        Command::Try(args) => r#try::run(args),
        Command::Test(args) => test::run(args),
        Command::Grok(args) => grok::run(args),
        Command::Status(args) => status::run(args),
        Command::Spool(args) => spool::run(args),
        Command::Schema(args) => schema::run(args),
        Command::Completions(args) => completions::run(args),
    }
}

/// Whoever read our output (`head`, a pager) has enough of it.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .any(|cause| cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe))
}

/// `2026-03-01T12:00:00Z`.
fn time(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse(text).ok_or_else(|| "expected a time such as 2026-03-01T12:00:00Z".to_owned())
}

/// `5s`, `250ms`, `1m30s`, `1h`.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "expected a duration such as 250ms, 5s, 10m or 1h".to_owned();
    if text.starts_with('-') {
        return Err(wrong());
    }
    let span: jiff::SignedDuration = text.parse().map_err(|_| wrong())?;
    Duration::try_from(span).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Command, clap::Error> {
        Cli::try_parse_from(["logferry"].iter().chain(arguments)).map(|cli| cli.command)
    }

    #[test]
    fn the_definitions_are_sound() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn until_idle_takes_a_time_after_an_equals_sign_or_none() {
        let until_idle = |arguments: &[&str]| match parse(arguments) {
            Ok(Command::Run(run)) => run.until_idle.map(|time| time.as_millis()),
            other => panic!("{other:?}"),
        };
        assert_eq!(until_idle(&["run"]), None);
        assert_eq!(until_idle(&["run", "--until-idle"]), Some(5_000));
        assert_eq!(until_idle(&["run", "--until-idle=250ms"]), Some(250));
        assert_eq!(until_idle(&["run", "--until-idle=1m30s"]), Some(90_000));
        for wrong in ["--until-idle=5", "--until-idle=-5s", "--until-idle=soon", "--until-idle="] {
            assert!(parse(&["run", wrong]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_config_has_a_default_and_may_come_several_times() {
        let config = |arguments: &[&str]| match parse(arguments) {
            Ok(Command::Check(check)) => check.config,
            other => panic!("{other:?}"),
        };
        assert_eq!(config(&["check"]), [PathBuf::from(CONFIG_DEFAULT)]);
        assert_eq!(config(&["check", "-c", "a", "--config=b"]), [PathBuf::from("a"), PathBuf::from("b")]);
    }

    #[test]
    fn a_dash_is_the_standard_input() {
        let input = |arguments: &[&str]| match parse(arguments) {
            Ok(Command::Try(args)) => args.input_file().map(Path::to_owned),
            other => panic!("{other:?}"),
        };
        assert_eq!(input(&["try"]), None);
        assert_eq!(input(&["try", "-"]), None);
        assert_eq!(input(&["try", "a.log"]), Some(PathBuf::from("a.log")));
    }

    #[test]
    fn what_makes_no_sense_together_is_refused() {
        for wrong in [
            &["demo", "--lines", "5", "file"][..],
            &["demo", "--lines", "0"],
            &["status", "--address", "a:1", "-c", "b"],
            &["status", "-c", "b", "--data-dir", "c"],
            &["completions", "csh"],
            &["spool"],
            &["spool", "ls", "--data-dir", "a", "-c", "b"],
            &["spool", "cat", "--partition", "x"],
            &["spool", "dead", "--resend", "--data-dir", "a"],
            &["spool", "dead", "--resend", "--json"],
            &["spool", "drain", "--timeout", "soon"],
            &["test"],
            &["test", "--now", "noon", "a.yaml"],
            &["fly"],
            &[],
        ] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn exit_codes_are_those_of_the_contract() {
        let exit = |arguments: &[&str]| main(["logferry"].iter().chain(arguments).map(OsString::from));
        assert_eq!(exit(&["--version"]), Exit::Fine);
        assert_eq!(exit(&["run", "--help"]), Exit::Fine);
        assert_eq!(exit(&["run", "--no-such-flag"]), Exit::Usage);
        assert_eq!(exit(&["status", "--data-dir", "/nonexistent"]), Exit::Failed);
        assert_eq!((Exit::Fine as u8, Exit::Failed as u8, Exit::Usage as u8, Exit::BadConfig as u8), (0, 1, 2, 78));
    }
}
