//! Lines that clients may send: those of a well-behaved shop, and hostile ones that attack the Prometheus page.

use std::net::SocketAddr;

use tallyd_harness::Daemon;
use tallyd_harness::scraped::{start, wait_for_value};

/// The datagrams of a well-behaved shop.
pub(crate) const SHOP: [&str; 4] = [
    "orders:5|c|#region:eu\norders:7|c|#region:us\norders:1|c|@0.1|#region:us\nitems.sold:2.5|c",
    "stock.level:40|g\nstock.level:-15|g\ntemperature:-7.25|kv\ncustomers:ann|s\ncustomers:bob|s\ncustomers:ann|s",
    "checkout:20:30:400|ms|#region:eu\ncheckout:1500|ms|#region:us\ncheckout:1500|ms|@0.5|#region:us",
    "basket.size:1:2:3:4|h\nlatency:0.25|d|#url:http://h:80/\"a\\b\"\nlatency:0.75|d",
];

/// Lines that would make a page invalid if tallyd showed them unchanged. They do the most harm in this order.
pub(crate) const HOSTILE: [&[&[u8]]; 2] = [
    &[
        // Illegal names and label names.
        b"9lives:1|g\n\xc3\xbcmlaut.\xe2\x82\xac:1|g\na b/c-d{e}\"f\\g#h:1|g\n-:1|c\n.:1|ms",
        b"labels:1|c|#9:1,a.b:1,a_b:2,\xc3\xa9:1,:1,__name__:x,__:1,le:1,quantile:1,a b:1,exported_le:3",
        b"labels.timed:1|ms|#le:1,quantile:1,exported_le:3,exported_quantile:3,__name__:x,name:",
        b"labels.sized:1|h|#le:1,quantile:1\nlabels.level:1|g|#le:+Inf,quantile:0.5",
        // Label values.
        b"values:1|g|#a:\",b:\\,c:\\n,d:a\\\",e:},f:{x=\"y\"}",
        b"values:1|g|#a:\x00\x01\x1b\x7f\t,b:x\ry,c:\xff\xfe,d:\xe2\x80\xa8,e:\xef\xbb\xbf,f:\xf0\x9f\xa6\x80",
        // Names that a later timing needs, and timings whose names are taken.
        b"x_seconds_count:1|g\nx_seconds_sum:1|c\nx_seconds_bucket:1|s\nx_count:1|g\nx_sum:1|c\nx_bucket:1|s",
        b"y_sum:1|ms\ny_seconds_sum:1|h\nz:1|h\nz_count:1|h\nz_count_sum:1|h",
        // One name with several types, and several names for one family.
        b"same:1|c\nsame:2|g\nsame:3|ms\nsame:4|h\nsame:5|s\nsame:6|d\nsame_total:7|g\nsame_seconds:8|g",
        b"twin.a:1|c\ntwin-a:2|c\ntwin_a:3|c\ntwin.b:1|g\ntwin_b:2|g\ntwin.c:1|ms\ntwin/c:2|ms\ntwin:1|c\ntwin--a:4|c",
        // Numbers at their limits.
        b"least:-3|c\nhuge:1e300|c\nhuge:1e300|c\nhuge.gauge:-1e308|g\ntiny:1e-308|g\nhuge.timing:1e300:-1e300|ms",
        // Names reserved for tallyd.
        b"tallyd_lines_total:1|g\ntallyd-lines:1|c\ntallyd_textfile_timestamp_seconds:1|g\ntallyd.lines:1|c\ntallyd:1|h",
        b"first.part:1|g",
    ],
    &[
        b"x:1|ms\nx:1|h\ny:1|ms\ny_seconds:1|h\nz_count_count:1|g\nx_count:2|g\nx_seconds_sum:2|c",
        b"same_total:1|c\nsame_seconds:1|ms\nsame.total:1|g\ntwin.a:1|c\nleast:4|c\nhuge:1e300|c",
        b"second.part:1|g",
    ],
];

pub(crate) const TYPES: [&str; 6] = ["c", "g", "ms", "h", "d", "s"];

/// The number of combinations with an empty name, one of each type. tallyd rejects them.
pub(crate) const NAMELESS: usize = TYPES.len();

/// Returns lines with names, types and tags that clash in every possible way.
pub(crate) fn combinations() -> Vec<Vec<u8>> {
    // Each pair of parts is a name of every type. Among the names are `a` and `a_count`, `a.` and `a_`, `_total_total`.
    const PARTS: [&str; 17] = [
        "", "a", "_", ".", "-", "7", "\u{e9}", "\"", "\\", "{", "_count", "_sum", "_bucket", "_total",
        "_seconds", "le", "tallyd",
    ];
    const KEYS: [&str; 12] =
        ["", "a", "le", "quantile", "exported_le", "__name__", "_", "9", "\u{e9}", "a.b", "a_b", "{}"];
    const VALUES: [&[u8]; 10] =
        [b"", b"1", b"\"", b"\\", b"\\n", b"}", b"\r", b"\0", b"\xff", b"\xf0\x9f\xa6\x80"];
    let mut lines: Vec<Vec<u8>> = Vec::new();
    for kind in TYPES {
        for (first, second) in PARTS.iter().flat_map(|first| PARTS.map(|second| (first, second))) {
            lines.push(format!("{first}{second}:1|{kind}").into());
        }
        for (first, second) in KEYS.iter().flat_map(|first| KEYS.map(|second| (first, second))) {
            // Different types combine a pair of keys with different values.
            let value = VALUES[lines.len() % VALUES.len()];
            let tags = [first.as_bytes(), b":", value, b",", second.as_bytes(), b":", value].concat();
            lines.push([format!("tagged:1|{kind}|#").as_bytes(), &tags].concat());
        }
    }
    lines
}

fn datagrams_of_combinations() -> Vec<Vec<u8>> {
    combinations().chunks(40).map(|chunk| chunk.join(&b'\n')).collect()
}

/// Starts a tallyd for each naming style and each of two expositions, with further settings. Sends it all lines of this
/// file, and calls `look_at` after each part. Returns the name, the tallyd and the address of each.
pub(crate) fn start_with_all_that_clients_send(
    settings: &[&str],
    look_at: impl Fn(SocketAddr),
) -> Vec<(String, Daemon, SocketAddr)> {
    let start_one = |page @ (naming, timings)| {
        let own = page_settings(page);
        let own = ["flush.interval=100ms", &own[0], &own[1]];
        let (daemon, address) = start(&[&own, settings].concat());
        for (part, marker) in HOSTILE.iter().zip(["first_part", "second_part"]) {
            part.iter().for_each(|datagram| daemon.send(datagram));
            wait_for_value(address, marker, 1.0);
            look_at(address);
        }
        SHOP.iter().for_each(|datagram| daemon.send(datagram));
        datagrams_of_combinations().iter().for_each(|datagram| daemon.send(datagram));
        daemon.send("parts:0.25|h|@0.3\nthird.part:1|g");
        wait_for_value(address, "third_part", 1.0);
        look_at(address);
        (format!("{naming}_{timings}"), daemon, address)
    };
    PAGES.into_iter().map(start_one).collect()
}

/// Each naming style with each of two expositions.
pub(crate) const PAGES: [(&str, &str); 4] = [
    ("prometheus", "summary"),
    ("prometheus", "histogram"),
    ("statsd_exporter", "summary"),
    ("statsd_exporter", "histogram"),
];

/// Returns the settings of a naming style and an exposition.
pub(crate) fn page_settings((naming, timings): (&str, &str)) -> [String; 2] {
    [format!("exporters.prometheus.naming={naming}"), format!("exporters.prometheus.timings={timings}")]
}
