//! Draws the state of `tallyd top`. Drawing reads only the state, so tests compare whole screens.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style, Stylize};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Clear, Paragraph, Row, Table as Grid};

use super::state::{Mode, Top};
use super::views::{Sort, VIEWS, time_of_day};
use crate::app::ask::answers::{Interval, Memory};
use crate::app::ask::table::{Column, Table};
use crate::app::ask::units::{age, bytes, seconds, short};
use crate::text::visible::visible;

/// The narrowest that the widest column of texts gets before columns at the right are left out.
const NARROWEST: usize = 16;
/// The widest that the other columns of texts get.
const WIDEST: usize = 24;

/// The lowest height at which rows have carets: that of the titles, a row and its caret.
const MARKED: u16 = 3;

const KEYS: [(&str, &str); 9] = [
    ("1-5, Tab", "show another view"),
    ("s", "sort by the next column"),
    ("r", "reverse the order"),
    ("/", "show only rows with a text; Enter keeps it, Esc ends it"),
    ("Up, Down", "scroll"),
    ("PgUp, PgDn", "scroll by ten rows"),
    ("Home, End", "scroll to the first or the last row"),
    ("?", "show this help"),
    ("q", "quit"),
];

/// Draws the whole screen.
pub(super) fn draw(top: &Top, frame: &mut Frame<'_>) {
    let [one, fill] = [Constraint::Length(1), Constraint::Fill(1)];
    let if_warning = Constraint::Length(u16::from(top.warning.is_some()));
    let [title, warning, numbers, views, body, keys] =
        Layout::vertical([one, if_warning, one, one, fill, one]).areas(frame.area());
    frame.render_widget(title_line(top), title);
    if let Some(text) = top.warning {
        frame.render_widget(Line::from(format!("warning: {text}")).red(), warning);
    }
    frame.render_widget(numbers_line(top), numbers);
    frame.render_widget(views_line(top), views);
    draw_rows(top, frame, body);
    frame.render_widget(keys_line(top), keys);
    if top.mode == Mode::Help {
        draw_help(frame, body);
    }
}

fn title_line(top: &Top) -> Line<'static> {
    let status = &top.answers.status;
    let mut fields =
        vec![format!("tallyd {}", visible(&status.version)), format!("up {}", age(status.uptime_seconds))];
    if let Some(Memory { used, max }) = status.interval.as_ref().and_then(|interval| interval.memory) {
        fields.push(format!("memory {} of {}", bytes(used), bytes(max)));
    }
    fields.push(visible(&top.url).into_owned());
    Line::from(fields.join("  ")).bold()
}

/// Returns the numbers of the latest interval, or the news that they are old.
fn numbers_line(top: &Top) -> Line<'static> {
    if let Some(reason) = &top.lost {
        return Line::from(format!("not connected, retrying: {}", visible(reason))).red().bold();
    }
    let Some(interval) = &top.answers.status.interval else {
        return Line::from("the first interval has not ended");
    };
    let Interval {
        time, seconds: length, lines, samples, series, losses, drops_known, flush_seconds, ..
    } = interval;
    let lost: f64 = losses.iter().map(|loss| loss.count).sum();
    let lost = format!("{} lost{}", short(lost), if *drops_known { "" } else { " or more" });
    let numbers = [
        format!("{} lines/s  ", short(lines / length)),
        format!("{} samples/s  ", short(samples / length)),
        format!("{} series  ", short(*series)),
    ];
    let mut spans: Vec<Span<'_>> = numbers.map(Span::from).to_vec();
    spans.push(if losses.is_empty() { lost.into() } else { lost.red().bold() });
    if let Some(flush) = flush_seconds {
        spans.push(format!("  flush {}", seconds(*flush)).into());
    }
    spans.push(format!("  {}", visible(time_of_day(time))).into());
    Line::from(spans)
}

fn views_line(top: &Top) -> Line<'static> {
    let mut spans: Vec<Span<'_>> = Vec::new();
    for (number, view) in VIEWS.iter().enumerate() {
        let label = Span::from(format!("{} {}", number + 1, view.title()));
        let label = if *view == top.view() { label.reversed() } else { label };
        spans.push(if view.has_failures(&top.answers) { label.red() } else { label });
        spans.push("  ".into());
    }
    if !top.filter.is_empty() && top.mode != Mode::Filter {
        spans.push(format!("only {:?}", visible(&top.filter)).bold());
    }
    Line::from(spans)
}

fn keys_line(top: &Top) -> Line<'static> {
    match top.mode {
        Mode::Filter => Line::from(format!("/{}_", visible(&top.filter))).bold(),
        _ => Line::from("q quit  1-5 view  s sort  r reverse  / filter  ? help").dim(),
    }
}

fn draw_rows(top: &Top, frame: &mut Frame<'_>, area: Rect) {
    let table = top.table();
    if table.rows.is_empty() {
        let text =
            if top.filter.is_empty() { top.view().empty() } else { "no row has this text; Esc shows all" };
        frame.render_widget(Paragraph::new(text).dim(), area);
        return;
    }
    let Sort { column: sorted, is_descending } = top.sort();
    let widths = fit(&table, sorted, usize::from(area.width));
    let titles = table.columns.iter().enumerate().map(|(index, Column { title, is_number })| {
        let arrow = if is_descending { "▼" } else { "▲" };
        let title = if index == sorted { format!("{title}{arrow}") } else { title.to_string() };
        aligned(title, *is_number)
    });
    let has_room = area.height >= MARKED;
    let rows = table.rows.iter().skip(top.offset).map(|row| {
        let cells = row.iter().zip(&table.columns).zip(&widths).map(|((cell, column), width)| {
            let marked = cell.marked().filter(|_| has_room);
            marked.map_or_else(
                || aligned(cell.shown().to_owned(), column.is_number),
                |marked| with_caret(cell.shown(), marked, *width),
            )
        });
        let cells: Vec<_> = cells.collect();
        let height = cells.iter().map(Text::height).max().unwrap_or(1);
        Row::new(cells).height(height as u16)
    });
    let header = Row::new(titles.take(widths.len())).style(Style::new().add_modifier(Modifier::UNDERLINED));
    let constraints = widths.iter().map(|width| Constraint::Length(*width as u16));
    frame.render_widget(Grid::new(rows, constraints).column_spacing(2).header(header), area);
}

fn aligned(text: String, is_number: bool) -> Text<'static> {
    let text = Text::from(text);
    if is_number { text.right_aligned() } else { text }
}

/// Returns a text with a caret below a character. Of a text that is too wide, it shows the part around the character.
fn with_caret(text: &str, marked: usize, width: usize) -> Text<'static> {
    let skipped = if marked < width { 0 } else { marked - width / 2 };
    let before = if skipped > 0 { "…" } else { "" };
    let rest: String = text.chars().skip(skipped + before.chars().count()).collect();
    let shown = format!("{before}{rest}");
    let before: String = shown.chars().take(marked - skipped).collect();
    // A character can be two columns wide.
    let caret = " ".repeat(Span::from(before).width()) + "^";
    Text::from(vec![Line::from(shown), Line::from(caret)])
}

/// Returns the widths of the columns that fit side by side, with two spaces between them. Columns of texts are at most
/// [`WIDEST`], except for the widest one, which gets the rest. If that is too narrow, columns at the right are left out.
fn fit(table: &Table, sorted: usize, width: usize) -> Vec<usize> {
    let mut widths = table.widths();
    // The title of the sorted column has an arrow.
    widths[sorted] = widths[sorted].max(table.columns[sorted].title.chars().count() + 1);
    let texts = |count: usize| (0..count).filter(|index| !table.columns[*index].is_number);
    let widest = texts(widths.len()).max_by_key(|index| (widths[*index], usize::MAX - index)).unwrap_or(0);
    for index in texts(widths.len()).filter(|index| *index != widest) {
        widths[index] = widths[index].min(WIDEST);
    }
    loop {
        // The widest column may be left out. Then the first one takes its place.
        let flexible = if widest < widths.len() { widest } else { 0 };
        let spaces = 2 * (widths.len() - 1);
        let others: usize = widths.iter().sum::<usize>() - widths[flexible] + spaces;
        let rest = width.saturating_sub(others);
        if rest >= NARROWEST.min(widths[flexible]) || widths.len() == 1 {
            widths[flexible] = rest;
            return widths;
        }
        widths.pop();
    }
}

fn draw_help(frame: &mut Frame<'_>, area: Rect) {
    let lines = KEYS.iter().map(|(key, meaning)| Line::from(format!("  {key:<10}  {meaning}")));
    let end = [
        "",
        "± is the margin of error of an estimate (95 %). - means not in the list.",
        "",
        "Press any key.",
    ];
    let text: Vec<_> = lines.chain(end.map(Line::from)).collect();
    frame.render_widget(Clear, area);
    frame.render_widget(Paragraph::new(text), area);
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
    use ratatui::style::Color;

    use super::super::sample;
    use super::super::state::Message;
    use super::*;

    /// Returns the lines of a screen without the spaces at their ends.
    fn drawn(top: &Top, width: u16, height: u16) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(top, frame)).unwrap();
        let text = terminal.backend().to_string();
        text.lines().map(|line| line.trim_matches('"').trim_end().to_owned()).collect()
    }

    fn press(top: &mut Top, keys: &str) {
        for key in keys.chars() {
            let code = if key == '\n' { KeyCode::Enter } else { KeyCode::Char(key) };
            _ = top.receive(Message::Key(KeyEvent::new(code, KeyModifiers::NONE)));
        }
    }

    #[test]
    fn the_first_view_has_the_busiest_names() {
        let expected = [
            "tallyd 0.1.0  up 1h 2m  memory 120MB of 400MB  http://127.0.0.1:9102",
            "50k lines/s  50k samples/s  1.2k series  43 lost  flush 4.2ms  01:02:10Z",
            "1 names  2 senders  3 rejected  4 exporters  5 losses",
            "NAME                                     SAMPLES/S▼     ±  SERIES  NEW  REJECTED",
            "page.views                                      12k  ±400     900   12         -",
            "disk                                              1             -    -         -",
            "users                                             -     -       7    -         -",
            "page\\u{1b}[31m                                    -     -       -    -         3",
            "",
            "q quit  1-5 view  s sort  r reverse  / filter  ? help",
        ];
        assert_eq!(drawn(&sample::top(), 80, 10), expected);
    }

    #[test]
    fn each_view_has_its_rows() {
        let mut top = sample::top();
        for (key, rows) in [
            ("2", &["10.0.0.7", "pid 812, uid 1000", "unknown"][..]),
            ("3", &["01:02:10Z  bad_value  127.0.0.1:52037  udp           12  page.views:one|c"]),
            ("4", &["prometheus         3s        0         0", "textfile            -      120         3"]),
            ("5", &["datagrams_dropped", "lines_rejected"]),
        ] {
            press(&mut top, key);
            let lines = drawn(&top, 80, 24);
            for (line, row) in lines[4..].iter().zip(rows) {
                assert!(line.starts_with(row), "{key}: {lines:?}");
            }
        }
    }

    #[test]
    fn a_caret_is_below_the_offending_character_of_a_rejected_line() {
        let mut top = sample::top();
        press(&mut top, "3");
        let line = "01:02:10Z  bad_value  127.0.0.1:52037  udp           12  page.views:one|c";
        let caret = format!("{}^", " ".repeat(line.find("one").unwrap()));
        assert_eq!(drawn(&top, 80, 24)[4..7], [line, &caret, ""]);
        // Without room for both, the line remains.
        assert_eq!(drawn(&top, 80, 6)[4], line);
        let rejected = &mut top.answers.rejected.lines[0];
        rejected.line = format!("{}:🎈é|c", "long.".repeat(20));
        rejected.caret = Some(102);
        let lines = drawn(&top, 80, 24);
        let [text, caret] = [&lines[4], &lines[5]].map(|line| line.chars().collect::<Vec<_>>());
        assert_eq!((text[57], caret.len()), ('…', 70), "{lines:?}");
        assert_eq!(caret[69], '^');
        let shown: String = text[57..].iter().collect();
        assert!(shown.contains(":🎈é|c"), "{shown}");
        top.answers.rejected.lines[0].caret = None;
        assert_eq!(drawn(&top, 80, 24)[5], "");
    }

    #[test]
    fn a_warning_is_below_the_title() {
        let mut top = sample::top();
        top.warning = Some("the password travels unencrypted");
        let lines = drawn(&top, 80, 10);
        assert_eq!(lines[1], "warning: the password travels unencrypted");
        assert!(lines[2].starts_with("50k lines/s") && lines[9].starts_with("q quit"), "{lines:?}");
    }

    #[test]
    fn a_lost_connection_takes_the_place_of_old_numbers() {
        let mut top = sample::top();
        _ = top.receive(Message::Lost("it closed\u{1b} the connection".to_owned()));
        assert_eq!(drawn(&top, 80, 9)[1], "not connected, retrying: it closed\\u{1b} the connection");
        _ = top.receive(Message::Answers(Box::new(sample::answers())));
        assert!(drawn(&top, 80, 9)[1].starts_with("50k lines/s"));
    }

    #[test]
    fn the_filter_and_the_help_are_shown() {
        let mut top = sample::top();
        press(&mut top, "/VIEW");
        let lines = drawn(&top, 80, 9);
        assert_eq!(lines[8], "/VIEW_");
        assert!(lines[4].starts_with("page.views") && lines[5].is_empty(), "{lines:?}");
        press(&mut top, "\n");
        assert!(drawn(&top, 80, 9)[2].ends_with("only \"VIEW\""));
        press(&mut top, "/x\n");
        assert_eq!(drawn(&top, 80, 9)[3], "no row has this text; Esc shows all");
        press(&mut top, "?");
        assert!(drawn(&top, 80, 24)[3].starts_with("  1-5, Tab    show another view"));
    }

    #[test]
    fn hostile_answers_are_drawn() {
        let mut top = sample::top();
        let name = "\u{200d}é🎈e\u{301}\u{1b}\u{202e}".repeat(10_000);
        top.answers.talkers.names[0].name.clone_from(&name);
        top.answers.talkers.names[0].samples = f64::MAX;
        top.answers.talkers.seconds = 0.0;
        top.answers.status.version.clone_from(&name);
        top.answers.status.uptime_seconds = f64::MAX;
        top.answers.status.exporters[0].error = Some(name.clone());
        top.answers.rejected.lines[0].line = name;
        let interval = top.answers.status.interval.as_mut().unwrap();
        interval.seconds = 0.0;
        interval.losses[0].count = -f64::MAX;
        for view in ["1", "2", "3", "4", "5"] {
            press(&mut top, view);
            for width in [1, 40, 80, 500] {
                let lines = drawn(&top, width, 24);
                assert!(!lines.concat().contains(|character: char| character.is_control()), "{lines:?}");
            }
        }
    }

    #[test]
    fn failing_exporters_and_losses_are_red() {
        let colors = |top: &Top| {
            let line = views_line(top);
            let red = line.spans.iter().filter(|span| span.style.fg == Some(Color::Red));
            red.map(|span| span.content.clone().into_owned()).collect::<Vec<_>>()
        };
        let mut top = sample::top();
        assert_eq!(colors(&top), ["4 exporters", "5 losses"]);
        top.answers.status.exporters.pop();
        top.answers.status.interval = None;
        assert!(colors(&top).is_empty());
    }

    #[test]
    fn any_size_of_the_terminal_shows_what_fits() {
        let mut top = sample::top();
        for mode in ["", "/a", "\n?"] {
            press(&mut top, mode);
            for (width, height) in (1..100).zip((1..30).cycle()) {
                for view in ["", "1", "2", "3", "4", "5"] {
                    press(&mut top, view);
                    assert_eq!(drawn(&top, width, height).len(), usize::from(height));
                }
            }
        }
        let mut top = sample::top();
        press(&mut top, "1");
        assert_eq!(drawn(&top, 30, 6)[3], "NAME                SAMPLES/S▼");
        top.offset = 2;
        assert!(drawn(&top, 30, 6)[4].starts_with("users"));
    }
}
