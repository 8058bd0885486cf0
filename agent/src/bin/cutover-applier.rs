//! `cutover-applier`: see the crate `cutover_applier`.

fn main() -> anyhow::Result<()> {
    cutover_applier::cli::main()
}
