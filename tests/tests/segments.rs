//! What segments mean: each row of the table goes through the native tracker and, packet by
//! packet, through the programs in the kernel; both must leave the same record, the same
//! attempt, the same counters, and tell the same.

use lab::{
    conversation::Conversation,
    require_root,
    rows::{Left, run_in_kernel, table},
};

#[test]
fn the_native_tracker_leaves_what_it_must() {
    for row in table() {
        println!("{}", row.what);
        let mut conversation = Conversation::new(40_000);
        (row.talk)(&mut conversation);
        (row.expect)(&Left::natively(&conversation));
    }
}

#[tokio::test]
async fn the_kernel_leaves_the_same_as_the_native_tracker() {
    if require_root() {
        assert_eq!(run_in_kernel().unwrap().left_out, 0);
    }
}
