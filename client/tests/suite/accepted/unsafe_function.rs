#![deny(warnings)]
#![allow(unsafe_op_in_unsafe_fn)]

use tallyd_client::timed;

#[timed]
unsafe fn plain(pointer: *const i32) -> i32 {
    *pointer
}

#[timed(outcome)]
unsafe fn with_outcome(pointer: *const i32) -> Result<i32, ()> {
    if pointer.is_null() {
        return Err(());
    }
    Ok(*pointer)
}

#[timed(outcome)]
async unsafe fn future(pointer: *const i32) -> i32 {
    *pointer
}

fn main() {
    let value = 5;
    assert_eq!(unsafe { plain(&value) }, 5);
    assert_eq!(unsafe { with_outcome(&value) }, Ok(5));
    drop(unsafe { future(&value) });
}
