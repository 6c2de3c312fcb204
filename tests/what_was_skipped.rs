//! The last of the test targets, so that the last lines of `cargo test` say which tests could not run here and what they
//! need. It judges nothing: with `REQUIRE_KAFKA=1` those tests have failed already.

fn main() {
    // What the integration tests left; see tests/integration/kit/skip.rs. Asked for a list of tests, it has none.
    let notice = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("skipped.txt");
    if let Ok(text) = std::fs::read_to_string(notice)
        && !std::env::args().any(|argument| argument == "--list")
    {
        eprint!("{text}");
    }
}
