//! What decisions cost, to be compared on one machine: `cargo bench -p cutover-tests --bench decisions`.
//!
//! The fold runs in a process of its own, so that the peak of its memory is told apart. `-- --fold COUNT`
//! folds another number of statements than a million, and nothing else. It ends with the fold's snapshot,
//! written to memory and read back: what a disk adds is not in it.
//!
//! Spans of the fold are told twice: by the clock, and how long this thread had a processor. On a machine
//! that does nothing else they are the same; on others the second is the one to compare.

#![expect(clippy::print_stdout, reason = "figures are for people to read")]
#![expect(clippy::unwrap_used, reason = "in the small world a failure to prepare is a failure")]

mod authority;
mod history;
mod slots;
#[expect(dead_code, reason = "the decisions' own tests use more of their world")]
#[path = "../../../shared/tests/decisions/world.rs"]
mod world;

use std::hint::black_box;
use std::process::Command;
use std::time::{Duration, Instant};
use std::{env, fmt, fs};

use authority::Asked;
use cutover_shared::digest::Digest;
use cutover_shared::fold::{State, Vouched, snapshot};
use cutover_shared::log::TreeHead;
use history::History;
use slots::Wanted;

const FOLD: &str = "--fold";
const STATEMENTS: u64 = 1_000_000;
/// Statements that come after, one by one.
const MORE: u64 = 10_000;
/// Statements that are made between two spans that are measured.
const BATCH: u64 = 1_000;
const ROUNDS: usize = 2_000;

fn main() {
    let mut arguments = env::args().skip(1);
    if arguments.next().as_deref() == Some(FOLD) {
        let count = arguments.next().and_then(|it| it.parse().ok());
        fold(count.unwrap_or(STATEMENTS));
        return;
    }
    divan::main();
    ratios();
    let program = env::current_exe().expect("this program's path");
    let status = Command::new(program).args([FOLD, &STATEMENTS.to_string()]).status();
    assert!(status.expect("start the fold").success(), "the fold failed");
}

#[divan::bench]
fn bare_signatures(bencher: divan::Bencher<'_, '_>) {
    let signatures = Asked::new().signatures();
    bencher.bench_local(|| authority::verify(black_box(&signatures)));
}

#[divan::bench]
fn authorise_on_evidence_as_it_came(bencher: divan::Bencher<'_, '_>) {
    let asked = Asked::new();
    bencher.bench_local(|| asked.authorise(&asked.open()));
}

#[divan::bench]
fn judge_on_opened_evidence(bencher: divan::Bencher<'_, '_>) {
    let asked = Asked::new();
    let opened = asked.open();
    bencher.bench_local(|| asked.judge(black_box(&opened)));
}

#[divan::bench]
fn authorise_on_opened_evidence(bencher: divan::Bencher<'_, '_>) {
    let asked = Asked::new();
    let opened = asked.open();
    bencher.bench_local(|| asked.authorise(black_box(&opened)));
}

#[divan::bench]
fn suggest_over_ninety_days(bencher: divan::Bencher<'_, '_>) {
    let wanted = Wanted::new();
    bencher.bench_local(|| wanted.suggest());
}

/// Both in turns, so that whatever else the machine does falls on both alike.
fn ratios() {
    let asked = Asked::new();
    let signatures = asked.signatures();
    let (mut bare, mut whole) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        bare.push(spent(|| assert!(authority::verify(black_box(&signatures)))));
        whole.push(spent(|| drop(black_box(asked.authorise(&asked.open())))));
    }
    let (bare, whole) = (median(&mut bare), median(&mut whole));
    println!(
        "authorise on {} statements: {whole:?}; its {} signatures alone: {bare:?}; ratio {:.2}",
        asked.statements(),
        signatures.len(),
        whole.as_secs_f64() / bare.as_secs_f64()
    );
}

fn fold(count: u64) {
    let mut history = History::new();
    let mut state = State::empty();
    let (mut reading, mut folding, mut bytes) = (Spent::default(), Spent::default(), 0);
    while state.next_index() < count {
        let batch = (count - state.next_index()).min(BATCH);
        let entries: Vec<_> = (0..batch).map(|_| history.next()).collect();
        bytes += entries.iter().map(Vec::len).sum::<usize>();
        let read: Vec<_> = reading.add(|| entries.iter().map(|it| read(it)).collect());
        folding.add(|| read.into_iter().for_each(|it| add(&mut state, it)));
    }
    let (peak, releases) = (peak_kib(), state.cases().count());
    let mut more: Vec<_> = (0..MORE)
        .map(|_| {
            let entry = history.next();
            spent(|| add(&mut state, read(&entry)))
        })
        .collect();
    println!(
        "fold of {count} verified statements ({} MiB of log, {releases} releases): {folding}, and {reading} \
         to read them before; peak {} MiB",
        bytes >> 20,
        peak >> 10
    );
    println!("one more statement on top: {:?} (the median of {MORE})", median(&mut more));
    written_and_read(&state);
}

/// The snapshot of the fold: how long it takes to write, and to read back.
fn written_and_read(state: &State) {
    let (key, root) = (world::key("log"), Digest::of(b"root"));
    let head = TreeHead { size: state.next_index(), root };
    let (mut writing, mut reading) = (Spent::default(), Spent::default());
    let bytes = writing.add(|| snapshot::write(state, world::ORIGIN, &head, &key));
    let read = || snapshot::read(&bytes, world::ORIGIN, &key.public(), |_| Some(root));
    let (read, _) = reading.add(read).expect("what was just written");
    println!("its snapshot, {} MiB: written in {writing}, read in {reading}", bytes.len() >> 20);
    assert!(read == *state, "the fold that was read is another one");
}

fn read(entry: &[u8]) -> Vouched {
    Vouched::read(entry).expect("a likely history can be read")
}

fn add(state: &mut State, entry: Vouched) {
    state.apply_vouched(state.next_index(), entry).expect("a likely history is a good one");
}

/// Time, by the clock and by this thread's share of a processor.
#[derive(Default)]
struct Spent {
    clock: Duration,
    processor: Duration,
}

impl Spent {
    /// Does `work`, and adds what it took.
    fn add<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let (began, had) = (Instant::now(), on_processor());
        let outcome = work();
        self.clock += began.elapsed();
        self.processor += on_processor().saturating_sub(had);
        outcome
    }
}

impl fmt::Display for Spent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1?} ({:.1?} of a processor)", self.clock, self.processor)
    }
}

fn on_processor() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).expect("a thread's time goes forward from zero")
}

fn spent(work: impl FnOnce()) -> Duration {
    let began = Instant::now();
    work();
    began.elapsed()
}

fn median(spans: &mut [Duration]) -> Duration {
    spans.sort_unstable();
    spans[spans.len() / 2]
}

/// The most memory that this process has had, in KiB, as the kernel tells it.
fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("the kernel's account of it");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).expect("a number of KiB")
}
