use tallyd_client::timed;

#[timed(metric_name)]
fn no_value() {}

#[timed(outcome = true)]
fn too_much() {}

#[timed(tags = "a")]
fn no_list() {}

#[timed(tags(source))]
fn no_value_of_a_tag() {}

#[timed("a")]
fn no_name() {}

#[timed(crate = "not a path")]
fn no_path() {}

fn main() {
    no_value();
    too_much();
    no_list();
    no_value_of_a_tag();
    no_name();
    no_path();
}
