#[tallyd_client::timed(sample_rate = 1.5)]
fn too_much() {}

#[tallyd_client::timed(sample_rate = "often")]
fn no_number() {}

fn main() {
    too_much();
    no_number();
}
