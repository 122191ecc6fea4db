//! The verifier of this machine's kernel accepts the programs well within its limits.

use lab::{require_root, verifier};

#[test]
fn the_programs_stay_within_their_limits() {
    if !require_root() {
        return;
    }
    for program in verifier::measure().unwrap() {
        println!("{program:?}");
    }
}
