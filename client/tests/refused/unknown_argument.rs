#[tallyd_client::timed(name = "x")]
fn function() {}

fn main() {
    function();
}
