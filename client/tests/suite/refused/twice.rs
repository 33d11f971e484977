use tallyd_client::timed;

#[timed(component = "a", component = "b")]
fn component() {}

#[timed(outcome, sample_rate = 0.5, outcome)]
fn outcome() {}

#[timed(tags(a = "b"), tags(c = "d"))]
fn tags() {}

#[timed(tags(source = "a", "source" = "b"))]
fn key() {}

#[timed(tags(outcome = "mine"), outcome)]
fn key_of_the_outcome() {}

fn main() {
    component();
    outcome();
    tags();
    key();
    key_of_the_outcome();
}
