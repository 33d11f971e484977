#[tallyd_client::timed]
struct Structure;

fn main() {
    let _ = Structure;
}
