trait Parse {
    #[tallyd_client::timed]
    fn parse(&self);
}

fn main() {}
