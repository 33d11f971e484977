use tallyd_client::timed;

#[timed(sample_rate = 1.5)]
fn too_much() {}

#[timed(sample_rate = -0.5)]
fn too_little() {}

#[timed(sample_rate = "often")]
fn no_number() {}

fn main() {
    too_much();
    too_little();
    no_number();
}
