//! netwheel beside its rivals: `versus run` measures, `versus serve KIND` is one of the servers.

mod case;
mod goal;
mod load;
mod machine;
mod measure;
mod metric;
mod outcome;
mod probe;
mod process;
mod report;
mod rival;
mod rpc;
mod runner;
mod server;
mod statistics;
mod sys;
mod timer_case;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Args, Parser, Subcommand};

use case::CASES;
use load::Timing;
use machine::Machine;
use measure::Bench;
use report::Report;
use rival::RIVALS;
use runner::Plan;
use server::ServeArgs;

/// Compares netwheel with tokio and others, in CPU time per message, latency, memory and system calls.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Part>,
    #[command(flatten)]
    run: RunArgs,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// Runs one server until SIGTERM; the runner starts these
    #[command(hide = true)]
    Serve {
        kind: String,
        #[command(flatten)]
        args: ServeArgs,
    },
}

#[derive(Debug, Args)]
struct RunArgs {
    /// A look of about a minute: the essential servers, few and short rounds, no long cases
    #[arg(long)]
    quick: bool,
    /// Only cases whose name begins so; may be repeated, or a list with commas
    #[arg(long, value_delimiter = ',')]
    case: Vec<String>,
    /// Only these servers, and the baseline of each case
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Rounds of each case [default: 15, quick 5]
    #[arg(long)]
    rounds: Option<usize>,
    /// Seconds of a measured window [default: 1, quick 0.1]
    #[arg(long)]
    seconds: Option<f64>,
    /// Count system calls (strace) and instructions (perf or callgrind) per message too
    #[arg(long)]
    counts: bool,
    /// Prints JSON instead of tables
    #[arg(long)]
    json: bool,
    /// Folder of the report and charts [default: benches/results for a full run, else its target folder]
    #[arg(long)]
    out: Option<PathBuf>,
    /// Shows the cases, servers and goals, and what would be skipped
    #[arg(long)]
    list: bool,
    /// The server that the goals are judged for
    #[arg(long, default_value = goal::OURS)]
    judge: String,
    #[arg(long, default_value_t = 0)]
    server_core: usize,
    #[arg(long, default_value_t = 1)]
    load_core: usize,
}

fn main() -> Result<ExitCode> {
    let cli = Cli::parse();
    match cli.command {
        Some(Part::Serve { kind, args }) => {
            let serve =
                server::find(&kind).with_context(|| format!("there is no server {kind}"))?;
            serve(&args)?;
            Ok(ExitCode::SUCCESS)
        }
        None if cli.run.list => {
            list();
            Ok(ExitCode::SUCCESS)
        }
        None => run(&cli.run),
    }
}

impl RunArgs {
    fn plan(&self) -> Result<Plan> {
        let seconds = self.seconds.unwrap_or(if self.quick { 0.1 } else { 1.0 });
        ensure!(
            (0.01..=60.0).contains(&seconds),
            "--seconds between 0.01 and 60"
        );
        ensure!(
            self.server_core != self.load_core,
            "the server and the load need a core each"
        );
        for name in &self.only {
            rival::find(name)?;
        }
        Ok(Plan {
            bench: Bench {
                server_core: self.server_core,
                load_core: self.load_core,
                timing: Timing {
                    warm_up: Duration::from_secs_f64(seconds / 4.0),
                    window: Duration::from_secs_f64(seconds),
                    messages_max: u64::MAX,
                },
            },
            rounds: self
                .rounds
                .unwrap_or(if self.quick { 5 } else { 15 })
                .max(1),
            cases: self.case.clone(),
            servers: self.only.clone(),
            is_quick: self.quick,
            counts: self.counts,
            ours: rival::find(&self.judge)?.name,
        })
    }

    fn is_full(&self) -> bool {
        !self.quick && self.case.is_empty() && self.only.is_empty()
    }

    /// A partial run never overwrites the committed results.
    fn folder(&self) -> PathBuf {
        match &self.out {
            Some(folder) => folder.clone(),
            None if self.is_full() => Path::new(env!("CARGO_MANIFEST_DIR")).join("../results"),
            None => {
                let own = std::env::current_exe().unwrap_or_default();
                own.with_file_name("versus-results")
            }
        }
    }
}

#[allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the report of a program"
)]
fn run(args: &RunArgs) -> Result<ExitCode> {
    let plan = args.plan()?;
    let descriptors = sys::raise_descriptor_limit()?;
    ensure!(
        descriptors >= 12_000,
        "10,000 connections need 12,000 descriptors: ulimit -Hn is {descriptors}"
    );
    let machine = Machine::describe();
    let Timing {
        warm_up, window, ..
    } = plan.bench.timing;
    let settings = format!(
        "{} rounds of {window:?} after {warm_up:?}, server on core {}, load generator on core {}.",
        plan.rounds, plan.bench.server_core, plan.bench.load_core
    );
    eprintln!(
        "{}\n{settings}\nAbout {:.0} min{}.",
        machine.words(),
        (plan.seconds()? / 60.0).ceil().max(1.0),
        if args.is_full() {
            "; with `--quick` about one, and with `--case NAME` for a part of it (`--list` shows all)"
        } else {
            ""
        }
    );
    let outcomes = plan.run(|bar, outcome| {
        if !args.json {
            bar.suspend(|| print!("{}", report::case_text(outcome)));
        }
    })?;
    let report = Report {
        machine,
        settings,
        outcomes,
    };
    let folder = args.folder();
    report.write(&folder)?;
    if args.json {
        println!("{}", report.json()?);
    }
    eprintln!("\nReport and charts: {}", folder.display());
    let failed = report
        .outcomes
        .iter()
        .any(|outcome| !outcome.failures.is_empty());
    Ok(if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

#[allow(clippy::print_stdout, reason = "the answer of --list")]
fn list() {
    println!("Cases (the first server is the baseline):");
    for case in CASES {
        println!(
            "  {:<20} {}\n{:23}{}",
            case.name,
            case.title,
            "",
            case.servers.join(", ")
        );
        for goal in case.goals {
            println!("{:23}goal of {}: {}", "", goal.of, goal.words());
        }
    }
    println!(
        "  {:<20} what a timer costs, in {} structures and without a server",
        "timers",
        timers::STRUCTURES.len()
    );
    println!("\nServers:");
    for rival in RIVALS {
        let missing = rival.missing(server::Mode::Raw);
        let missing = missing.map(|reason| format!(" [skipped: {reason}]"));
        println!(
            "  {:<20} {}{}",
            rival.name,
            rival.about,
            missing.unwrap_or_default()
        );
    }
}
