#[tallyd_client::timed]
const fn constant() {}

fn main() {
    constant();
}
