#[tallyd_client::timed(component = "a", component = "b")]
fn function() {}

fn main() {
    function();
}
