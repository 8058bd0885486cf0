//! Points at which a test kills: before and after each effect of the deployment machine.
//!
//! Only in builds with debug assertions; in a release build [`point`] is empty and the variables mean
//! nothing. A process whose environment has `CUTOVER_FAULT_POINT=before/switch/1` stops at the first
//! `before` of the effect `switch`: it writes its id into the pipe `$CUTOVER_FAULT_GATE.reached`, and goes on
//! when it has read a line from `$CUTOVER_FAULT_GATE.go`, if it still lives.

/// On which side of an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// Nothing of it was done.
    Before,
    /// It was carried out, and its answer not yet taken.
    After,
}

/// Passes a point, or stops there.
#[cfg(debug_assertions)]
pub(crate) fn point(side: Side, effect: &str) {
    use std::io::BufRead as _;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};
    static WANTED: OnceLock<Option<(String, u32, String)>> = OnceLock::new();
    static PASSED: AtomicU32 = AtomicU32::new(0);
    let wanted = WANTED.get_or_init(|| {
        let wanted = std::env::var("CUTOVER_FAULT_POINT").ok()?;
        let (name, count) = wanted.rsplit_once('/')?;
        let gate = std::env::var("CUTOVER_FAULT_GATE").ok()?;
        Some((name.to_owned(), count.parse().ok()?, gate))
    });
    let Some((name, count, gate)) = wanted else { return };
    let side = match side {
        Side::Before => "before",
        Side::After => "after",
    };
    if *name != format!("{side}/{effect}") || PASSED.fetch_add(1, Ordering::SeqCst) + 1 != *count {
        return;
    }
    let stop = || -> std::io::Result<()> {
        std::fs::write(format!("{gate}.reached"), format!("{}\n", std::process::id()))?;
        let go = std::fs::File::open(format!("{gate}.go"))?;
        std::io::BufReader::new(go).read_line(&mut String::new()).map(drop)
    };
    if let Err(error) = stop() {
        tracing::error!(%error, gate, "a fault point has no gate");
    }
}

/// Nothing, in a release build.
#[cfg(not(debug_assertions))]
pub(crate) fn point(_side: Side, _effect: &str) {}
