//! Clients, which send datagrams of random lines.

use fastrand::Rng;

/// The number of clients.
pub(super) const CLIENTS: usize = 8;

/// The words that names, members and values of tags are made of.
const WORDS: [&str; 5] = ["a", "b", "c", "d", "e"];

/// Returns a datagram of a few lines. Values and rates have exact sums, so the order of additions decides nothing.
pub(super) fn datagram(rng: &mut Rng, client: usize) -> Vec<u8> {
    let lines: Vec<_> = (0..rng.usize(1..9)).map(|_| line(rng, client)).collect();
    let mut datagram = lines.join("\n").into_bytes();
    if rng.u8(..) < 80 {
        datagram.push(b'\n');
    }
    datagram
}

fn line(rng: &mut Rng, client: usize) -> String {
    let word = WORDS[rng.usize(..WORDS.len())];
    let rate = ["", "", "", "|@0.5", "|@0.125"][rng.usize(..5)];
    let tags = match rng.usize(..6) {
        0 => format!("|#k:{word}"),
        1 => format!("|#j:2,k:{word}"),
        2 => format!("|#k:{word},j:2"),
        _ => String::new(),
    };
    let number = f64::from(rng.i32(-4..400)) / 4.0;
    match rng.usize(..20) {
        0..=3 => format!("hits.{word}:{number}|c{rate}"),
        4 | 5 => format!("calls.{word}:{number}|c{rate}{tags}"),
        // Only one client sends to a gauge, so its order does not depend on the receivers.
        6 => format!("level.{client}.{word}:{}|g", number.abs()),
        7 => format!("level.{client}.{word}:{}{}|g", ["+", "-"][rng.usize(..2)], number.abs()),
        8 | 9 => format!("time.{word}:{number}|ms{rate}{tags}"),
        10 => format!("time.{word}:{number}:7:0.5|ms{tags}"),
        11 => format!("size.{word}:{number}|{}{rate}{tags}", ["h", "d"][rng.usize(..2)]),
        12 => format!("users.{word}:{}|s{tags}", rng.u32(..40)),
        13 => format!("noise.{word}:1|{}", ["c", "ms", "s"][rng.usize(..3)]),
        14 => format!("db.{word}.time:{number}|ms{rate}"),
        15 => format!("brief.{}:1|c", rng.u32(..60)),
        // Their names on the page collide.
        16 => {
            let name = ["x.y", "x_y", "x.y_total", "x.y.count", "tallyd_lines"][rng.usize(..5)];
            format!("{name}:1|{}", ["c", "g", "ms", "s", "h"][rng.usize(..5)])
        }
        17 => format!("_e{{1,1}}:{word}|x|t:error"),
        18 => format!("_sc|{word}|{}", rng.u8(..4)),
        _ => {
            ["tallyd.lines:1|c", "wrong", "a:b|c", "a:1|q", ":1|c", "", "a:1|c|@0"][rng.usize(..7)].to_owned()
        }
    }
}
