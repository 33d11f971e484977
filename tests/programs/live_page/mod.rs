//! Tests the live page in a real browser.

mod browser;
mod screenshots;

use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::json;
use tallyd_harness::Daemon;
use tallyd_harness::fake::{FakeServer, stream, wait_for_end};
use tallyd_harness::scraped::start;

use browser::{Browser, Key};

/// Starts tallyd with a short interval, and a browser that shows its page live.
fn start_live(settings: &[&str]) -> (Daemon, SocketAddr, Browser) {
    let (daemon, address) = start(&[&["flush.interval=1s"], settings].concat());
    let mut browser = Browser::start();
    open_live(&mut browser, address, "");
    (daemon, address, browser)
}

/// Opens the page with a fragment, and waits until it is connected and shows an interval.
fn open_live(browser: &mut Browser, address: SocketAddr, fragment: &str) {
    browser.open(&format!("http://{address}/{fragment}"));
    browser.wait_until("document.querySelector('#connection').dataset.state === 'live'");
    browser.wait_until("document.querySelector('#card-lines .note data') !== null");
}

/// Returns an expression for the exact numbers in the elements that a selector finds.
fn numbers(selector: &str) -> String {
    format!("[...document.querySelectorAll({selector:?})].map((data) => Number(data.value))")
}

/// Returns an expression for the texts of the elements that a selector finds.
fn texts(selector: &str) -> String {
    format!("[...document.querySelectorAll({selector:?})].map((element) => element.textContent)")
}

#[test]
#[ignore = "needs chromium; run make test"]
fn numbers_on_the_page_equal_those_sent_and_follow_further_samples() {
    let (daemon, _, mut browser) = start_live(&[]);
    let lines_and_samples = numbers("#card-lines .note data");
    let lost = numbers("#losses .number:last-child data");
    browser.wait_for_value(&lines_and_samples, &json!([0, 0]));
    daemon.send("views:2|c\nviews:3|c\ntime:10:20:30|ms\nviews:one|c");
    browser.wait_for_value(&lines_and_samples, &json!([4, 5]));
    browser.wait_for_value(&lost, &json!([1]));
    browser.evaluate("location.hash = '#match=views'");
    let found = numbers("#found data");
    browser.wait_for_value(&found, &json!([5]));

    daemon.send("views:7|c\nviews:|c\nviews:8|x");
    browser.wait_for_value(&lines_and_samples, &json!([7, 6]));
    browser.wait_until(&format!("{lost}.reduce((sum, count) => sum + count) === 3"));
    browser.wait_for_value(&found, &json!([12]));
    browser.assert_undisturbed();
}

#[test]
#[ignore = "needs chromium; run make test"]
fn opened_timing_shows_its_percentiles_and_a_heat_map_of_its_values() {
    let (daemon, address, mut browser) = start_live(&[]);
    daemon.send("time:5|ms|#zone:b");
    open_live(&mut browser, address, "#series=time%7Cms%7C%23zone%3Ab");
    browser.wait_for_value(&texts("#opened h3"), &json!(["time|ms|#zone:b"]));
    browser.wait_until(IS_COLLECTING);
    daemon.send("time:10:20:40|ms|#zone:b");
    browser.wait_until("/[34] values/.test(document.querySelector('#opened .heatmap .note').textContent)");
    let most = "document.querySelector('#opened .compact tr[data-key=maximum] data').value";
    browser.wait_until(&format!("Math.abs({most} / 0.04 - 1) < 0.02"));
    let is_drawn = "(() => { const canvas = document.querySelector('#opened .heatmap canvas'); \
        return canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.some((part) => part > 0) })()";
    browser.wait_until(is_drawn);
    browser.assert_undisturbed();
}

/// True once a timing is opened that had no values since.
const IS_COLLECTING: &str = "document.querySelector('#opened .note').textContent.includes('from now on')";

/// True once the percentiles of the opened series are shown.
const HAS_PERCENTILES: &str = "document.querySelector('#opened .compact data') !== null";

/// Texts that become HTML, an attribute, a script or another direction of text if they are not only shown.
const HOSTILE: [&str; 7] = [
    "<img src=x onerror=alert(1)>",
    "\"><script>alert(2)</script>",
    "'-alert(3)-'",
    "</style></script><svg onload=alert(4)>",
    "${alert(5)}{{alert(6)}}",
    "a\u{202e}b",
    // It looks like an escaped character, but there is no such character.
    "\\u{ffffff}",
];

#[test]
#[ignore = "needs chromium; run make test"]
fn names_from_clients_can_inject_nothing() {
    let (daemon, address, mut browser) = start_live(&[]);
    let tags = "[...new Set([...document.querySelectorAll('*')].map((element) => element.localName))].sort()";
    daemon.send("plain:1|ms|#k:v\nplain:x|c");
    open_live(&mut browser, address, "#series=plain%7Cms%7C%23k%3Av");
    browser.wait_until(IS_COLLECTING);
    daemon.send("plain:1|ms|#k:v");
    browser.wait_until(HAS_PERCENTILES);
    browser.wait_until("document.querySelector('#rejected mark') !== null");
    let has_talkers = "document.querySelectorAll('#talkers tbody tr').length > 1";
    browser.wait_while_doing(has_talkers, || daemon.send("plain:1|ms|#k:v"));
    let before = browser.evaluate(tags);

    for text in HOSTILE {
        daemon.send(format!("{text}:1|ms|#{text}:{text}\n{text}:x|c"));
    }
    let shows = |place: &str, text: &str| {
        format!(
            "document.querySelector({place:?}).textContent.includes({:?})",
            text.replace('\u{202e}', "\\u{202e}")
        )
    };
    for text in HOSTILE {
        for place in ["#found", "#talkers-names", "#rejected"] {
            browser
                .wait_while_doing(&shows(place, text), || daemon.send(format!("{text}:1|ms|#{text}:{text}")));
        }
    }
    for text in HOSTILE {
        // A client's text in the link, too.
        browser.evaluate(&format!("location.hash = '#series=' + encodeURIComponent({text:?})"));
        browser.wait_until(&shows("#opened h3", text));
        browser.evaluate(&format!(
            "[...document.querySelectorAll('#found a')].find((link) => link.textContent.includes({:?})).click()",
            text.replace('\u{202e}', "\\u{202e}")
        ));
        browser.wait_until(IS_COLLECTING);
        daemon.send(format!("{text}:1|ms|#{text}:{text}"));
        browser.wait_until(HAS_PERCENTILES);
    }
    assert_eq!(browser.evaluate(tags), before);
    browser.wait_for_value("document.querySelectorAll('script').length", &json!(2));
    browser.assert_undisturbed();
}

#[test]
#[ignore = "needs chromium; run make test"]
fn page_stays_small_and_answers_with_100_000_series() {
    let (daemon, _, mut browser) =
        start_live(&["listeners.tcp.enabled=true", "listeners.tcp.bind=127.0.0.1:0"]);
    let mut client = TcpStream::connect(daemon.address_of("tcp")).unwrap();
    let lines: Vec<_> =
        (0..100_000).map(|number| format!("many.{}:1|c|#user:{number}", number % 1000)).collect();
    client.write_all((lines.join("\n") + "\n").as_bytes()).unwrap();
    browser.wait_until("Number(document.querySelector('#card-series .figure data').value) >= 100_000");
    browser.evaluate("document.querySelector('#find').focus()");
    browser.type_text("many.777");
    browser.wait_until("document.querySelector('#found-caption').textContent.startsWith('100 series')");
    assert!(browser.evaluate("document.querySelectorAll('*').length").as_u64() < Some(3000));
    browser.evaluate("document.querySelector('#found a').click()");
    browser.wait_until("document.querySelector('#opened .legend .value') !== null");
    // Frames are still drawn, and intervals still arrive.
    browser.evaluate("new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)))");
    client.write_all(b"one.more:1|c\n").unwrap();
    browser.wait_for_value(&format!("{}[0]", numbers("#card-lines .note data")), &json!(100_001));
    browser.assert_undisturbed();
}

#[test]
#[ignore = "needs chromium; run make test"]
fn caret_is_below_the_offending_character() {
    let (daemon, _, mut browser) = start_live(&[]);
    // The characters before it have one to four bytes, and an escaped one counts as one byte.
    for (line, before, offending) in [
        ("page.views:one|c", "page.views:", "o"),
        ("é→🎈:one|c", "é→🎈:", "o"),
        ("views\u{1b}[31m:1|c", "views", "\\u{1b}"),
        ("views", "views", " "),
    ] {
        daemon.send(line);
        let marked = "document.querySelector('#rejected mark')";
        browser.wait_for_value(&format!("{marked}.previousSibling.textContent"), &json!(before));
        browser.wait_for_value(&format!("{marked}.textContent"), &json!(offending));
        let caret = browser.evaluate(&format!("getComputedStyle({marked}, '::after').content"));
        assert!(caret.as_str().unwrap().starts_with("\"^\""), "{caret}");
        let item = browser.evaluate("document.querySelector('#rejected li').textContent");
        assert!(item.as_str().unwrap().contains(&format!(", column {}", before.len() + 1)), "{item}");
    }
}

#[test]
#[ignore = "needs chromium; run make test"]
fn keyboard_alone_finds_and_opens_a_series() {
    let (daemon, _, mut browser) = start_live(&[]);
    daemon.send("apples:1|c\noranges:2|c");
    browser.wait_until(&format!("{}.includes('oranges|c')", texts("#found a")));
    browser.press(Key::TAB);
    browser.wait_for_value("document.activeElement.textContent", &json!("Skip to the search"));
    browser.press(Key::ENTER);
    browser.wait_for_value("document.activeElement.id", &json!("find"));
    browser.type_text("orange");
    browser.press(Key::ENTER);
    browser.wait_for_value("document.activeElement.textContent", &json!("oranges|c"));
    browser.wait_for_value("location.hash", &json!("#series=oranges%7Cc"));
    // The next stop is the link that closes the series.
    browser.press(Key::TAB);
    browser.press(Key::ENTER);
    browser.wait_until("document.querySelector('#opened').hidden");
    browser.wait_for_value("document.activeElement.id", &json!("find"));
    browser.assert_undisturbed();
}

#[test]
#[ignore = "needs chromium; run make test"]
fn headings_sort_all_series_that_match_with_the_pointer_and_the_keyboard() {
    let (daemon, _, mut browser) = start_live(&[]);
    let lines: Vec<_> = (0..60).map(|number| format!("fruit.{number:02}:{number}|c")).collect();
    lines.chunks(20).for_each(|lines| daemon.send(lines.join("\n")));
    browser.evaluate("document.querySelector('#find').focus()");
    browser.type_text("fruit.*");
    let caption = |which: &str| json!([format!("60 series match, of which the {which} 50 are shown")]);
    browser.wait_for_value(&texts("#found-caption"), &caption("first"));
    let sorted = "[...document.querySelectorAll('#found-headings th')].map((heading) => heading.ariaSort)";
    browser.wait_for_value(sorted, &json!(["ascending", null, null]));
    let values = format!("{}.slice(0, 3)", numbers("#found data"));
    browser.wait_for_value(&values, &json!([0, 1, 2]));

    browser.evaluate("document.querySelector('#found-headings button[value=value]').click()");
    browser.wait_for_value(&values, &json!([59, 58, 57]));
    browser.wait_for_value(&texts("#found-caption"), &caption("largest"));
    browser.wait_for_value(sorted, &json!([null, null, "descending"]));
    // The order stays while values change.
    daemon.send("fruit.00:100|c");
    browser.wait_for_value(&values, &json!([100, 59, 58]));

    browser.press(Key::TAB);
    browser.wait_for_value("document.activeElement.value", &json!("name"));
    browser.press(Key::ENTER);
    browser.wait_for_value(&values, &json!([100, 1, 2]));
    browser.wait_for_value("document.activeElement.value", &json!("name"));
    browser.assert_undisturbed();
}

#[test]
#[ignore = "needs chromium; run make test"]
fn page_says_how_many_intervals_it_did_not_get() {
    let (_daemon, address) = start(&["flush.interval=1s"]);
    // It passes all questions on, and says that events were lost.
    let proxy = FakeServer::start(move |request, connection| {
        if request.starts_with("GET /api/v1/live") {
            stream(connection, "event: lost\ndata: {\"events\":3}\n\nevent: lost\ndata: {\"events\":1}\n\n");
            return wait_for_end(connection);
        }
        let mut tallyd = TcpStream::connect(address).unwrap();
        write!(tallyd, "{request} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
        // A browser that is being stopped reads no answer.
        _ = io::copy(&mut tallyd, connection);
    });
    let mut browser = Browser::start();
    browser.open(&format!("{}/", proxy.url()));
    browser.wait_until(
        "/^4 intervals missing since this page was opened, the latest at \\d\\d:\\d\\d:\\d\\d: /\
         .test(document.querySelector('#overview-note').textContent)",
    );
    browser.assert_undisturbed();
}

#[test]
#[ignore = "needs chromium; run make test"]
fn page_says_why_the_api_does_not_answer_and_when_tallyd_has_stopped() {
    let (_daemon, address) = start(&["exporters.prometheus.api=off"]);
    let mut browser = Browser::start();
    browser.open(&format!("http://{address}/"));
    browser.wait_for_value(
        "document.querySelector('#closed').textContent",
        &json!("No live data: turned off: set exporters.prometheus.api."),
    );
    browser.wait_for_value(
        "[...document.querySelectorAll('nav a')].map((link) => link.getAttribute('href'))",
        &json!(["metrics", "-/healthy", "-/ready"]),
    );
    let (daemon, address) = start(&["flush.interval=1s"]);
    open_live(&mut browser, address, "");
    daemon.stop();
    browser.wait_for_value(&texts("#connection"), &json!(["Not connected, trying again"]));
}

#[test]
#[ignore = "needs chromium; run make test"]
fn page_fits_a_phone_in_both_color_schemes() {
    let (daemon, address, mut browser) = start_live(&[]);
    daemon.send(format!("{}:1|ms\n{}:x|c", "long".repeat(50), "long".repeat(50)));
    for scheme in ["light", "dark"] {
        browser.show_as(360, 800, scheme);
        open_live(&mut browser, address, "");
        browser.wait_until("document.querySelector('#rejected li') !== null");
        browser.wait_for_value("document.documentElement.scrollWidth", &json!(360));
        let colors =
            "(({ color, backgroundColor }) => [color, backgroundColor])(getComputedStyle(document.body))";
        let dark = json!(["rgb(227, 232, 239)", "rgb(14, 17, 22)"]);
        assert_eq!(browser.evaluate(colors) == dark, scheme == "dark");
    }
}
