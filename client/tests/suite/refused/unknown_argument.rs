use tallyd_client::timed;

#[timed(name = "x")]
fn function() {}

#[timed(type = "x")]
fn keyword() {}

fn main() {
    function();
    keyword();
}
