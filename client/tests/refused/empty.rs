#[tallyd_client::timed(metric_name = "")]
fn function() {}

#[tallyd_client::timed(tags(source = 5))]
fn tagged() {}

fn main() {
    function();
    tagged();
}
