use tallyd_client::timed;

#[timed(metric_name = "")]
fn function() {}

#[timed(tags(source = 5))]
fn tagged() {}

#[timed(tags("" = "value"))]
fn no_key() {}

#[timed(component = concat!("a", "b"))]
fn made() {}

fn main() {
    function();
    tagged();
    no_key();
    made();
}
