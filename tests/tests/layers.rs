//! What may be linked into what: the compiler holds the layers, this holds the programs.

use cutover_tests::build::binaries;

/// Whether a program has code of a crate in it, by the names that its symbols and messages carry.
fn has(program: &str, name: &str) -> bool {
    let path = binaries().join(program);
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    bytes.windows(name.len()).any(|window| window == name.as_bytes())
}

#[test]
fn the_trusted_half_has_no_network_protocol_in_it() {
    // A name of four letters would be found in the random names that the compiler gives to its parts.
    for name in ["quinn_proto", "rustls", "ureq_proto"] {
        assert!(!has("cutover-applier", name), "{name} is linked into the applier");
    }
    // The control: the search finds what is there.
    assert!(has("cutover-agent", "quinn_proto") && has("cutover-agent", "rustls"));
    assert!(has("cutover-probe", "ureq_proto"));
}
