//! What `tallyd top` knows and shows, and how keys and news change it.

use std::ops::ControlFlow;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::views::{Sort, VIEWS, View};
use crate::app::ask::answers::Answers;
use crate::app::ask::table::Table;

/// What the threads of `tallyd top` tell its loop.
#[derive(Debug)]
pub(super) enum Message {
    /// tallyd has answered after an interval.
    Answers(Box<Answers>),
    /// The connection is lost, for this reason.
    Lost(String),
    /// A person has pressed a key.
    Key(KeyEvent),
    /// The terminal has another size.
    Resized,
    /// A signal, a closed terminal or a failed thread ends the program.
    End,
}

/// What the keys do at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Keys are commands.
    Browse,
    /// Keys are the text of the filter.
    Filter,
    /// The help is shown until the next key.
    Help,
}

/// The state of `tallyd top`.
#[derive(Debug)]
pub(super) struct Top {
    /// The endpoint.
    pub(super) url: String,
    /// A warning about a connection that works.
    pub(super) warning: Option<&'static str>,
    pub(super) answers: Answers,
    /// The reason, while the connection is lost.
    pub(super) lost: Option<String>,
    pub(super) mode: Mode,
    /// The text that a row must have.
    pub(super) filter: String,
    /// The number of rows above the first one on the screen.
    pub(super) offset: usize,
    view: usize,
    /// The order of each view.
    sorts: [Sort; VIEWS.len()],
}

impl Top {
    /// Creates the state at the start: the first view, without a filter.
    pub(super) fn new(url: String, warning: Option<&'static str>, answers: Answers) -> Self {
        Self {
            url,
            warning,
            answers,
            lost: None,
            mode: Mode::Browse,
            filter: String::new(),
            offset: 0,
            view: 0,
            sorts: VIEWS.map(View::first_sort),
        }
    }

    /// Returns the shown view.
    pub(super) fn view(&self) -> View {
        VIEWS[self.view]
    }

    /// Returns the order of the shown view.
    pub(super) fn sort(&self) -> Sort {
        self.sorts[self.view]
    }

    /// Returns the rows of the shown view, sorted and filtered.
    pub(super) fn table(&self) -> Table {
        let mut table = self.view().table(&self.answers);
        let Sort { column, is_descending } = self.sort();
        table.sort(column, is_descending);
        table.keep(&self.filter);
        table
    }

    /// Takes a message into account. Breaks if the program shall end.
    pub(super) fn receive(&mut self, message: Message) -> ControlFlow<()> {
        match message {
            Message::Answers(answers) => {
                self.answers = *answers;
                self.lost = None;
            }
            Message::Lost(reason) => self.lost = Some(reason),
            Message::Key(key) => return self.press(key),
            Message::Resized => {}
            Message::End => return ControlFlow::Break(()),
        }
        ControlFlow::Continue(())
    }

    fn press(&mut self, KeyEvent { code, modifiers, .. }: KeyEvent) -> ControlFlow<()> {
        if modifiers.contains(KeyModifiers::CONTROL) {
            return if code == KeyCode::Char('c') {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            };
        }
        match self.mode {
            Mode::Browse => return self.command(code),
            Mode::Filter => self.type_filter(code),
            Mode::Help => self.mode = Mode::Browse,
        }
        ControlFlow::Continue(())
    }

    fn command(&mut self, code: KeyCode) -> ControlFlow<()> {
        let last_row = self.table().rows.len().saturating_sub(1);
        match code {
            KeyCode::Char('q') => return ControlFlow::Break(()),
            KeyCode::Char('?') => self.mode = Mode::Help,
            KeyCode::Char('/') => self.mode = Mode::Filter,
            KeyCode::Char('s') => {
                let columns = self.table().columns;
                let column = (self.sort().column + 1) % columns.len();
                self.sorts[self.view] = Sort { column, is_descending: columns[column].is_number };
            }
            KeyCode::Char('r') => self.sorts[self.view].is_descending ^= true,
            KeyCode::Char(digit @ '1'..='9') => self.show(digit as usize - '1' as usize),
            KeyCode::Tab | KeyCode::Right => self.show((self.view + 1) % VIEWS.len()),
            KeyCode::BackTab | KeyCode::Left => self.show((self.view + VIEWS.len() - 1) % VIEWS.len()),
            KeyCode::Down => self.offset = last_row.min(self.offset + 1),
            KeyCode::Up => self.offset = self.offset.saturating_sub(1),
            KeyCode::PageDown => self.offset = last_row.min(self.offset + PAGE),
            KeyCode::PageUp => self.offset = self.offset.saturating_sub(PAGE),
            KeyCode::Home => self.offset = 0,
            KeyCode::End => self.offset = last_row,
            KeyCode::Esc => self.filter.clear(),
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn show(&mut self, view: usize) {
        if view < VIEWS.len() {
            self.view = view;
            self.offset = 0;
        }
    }

    fn type_filter(&mut self, code: KeyCode) {
        match code {
            KeyCode::Enter => self.mode = Mode::Browse,
            KeyCode::Esc => {
                self.filter.clear();
                self.mode = Mode::Browse;
            }
            KeyCode::Backspace => _ = self.filter.pop(),
            KeyCode::Char(letter) => self.filter.push(letter),
            _ => {}
        }
        self.offset = 0;
    }
}

/// The number of rows that the page keys move.
const PAGE: usize = 10;

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    fn press(top: &mut Top, code: KeyCode) -> ControlFlow<()> {
        top.receive(Message::Key(KeyEvent::new(code, KeyModifiers::NONE)))
    }

    fn first_cells(top: &Top) -> Vec<String> {
        top.table().rows.iter().map(|row| row[0].shown().to_owned()).collect()
    }

    #[test]
    fn keys_sort_by_another_column_and_reverse_the_order() {
        let mut top = sample::top();
        assert_eq!(first_cells(&top), ["page.views", "disk", "users", "page\\u{1b}[31m"]);
        _ = press(&mut top, KeyCode::Char('r'));
        assert_eq!(first_cells(&top), ["users", "page\\u{1b}[31m", "disk", "page.views"]);
        for _ in 0..5 {
            _ = press(&mut top, KeyCode::Char('s'));
        }
        assert_eq!(top.sort(), Sort { column: 0, is_descending: false });
        assert_eq!(first_cells(&top), ["disk", "page.views", "page\\u{1b}[31m", "users"]);
    }

    #[test]
    fn each_view_keeps_its_order() {
        let mut top = sample::top();
        _ = press(&mut top, KeyCode::Char('r'));
        _ = press(&mut top, KeyCode::Tab);
        assert_eq!((top.view(), top.sort()), (View::Senders, View::Senders.first_sort()));
        _ = press(&mut top, KeyCode::BackTab);
        _ = press(&mut top, KeyCode::BackTab);
        assert_eq!(top.view(), View::Losses);
        _ = press(&mut top, KeyCode::Char('9'));
        assert_eq!(top.view(), View::Losses);
        _ = press(&mut top, KeyCode::Char('1'));
        assert!(!top.sort().is_descending);
    }

    #[test]
    fn letters_are_commands_or_the_text_of_the_filter() {
        let mut top = sample::top();
        for letter in "/q1".chars() {
            assert!(press(&mut top, KeyCode::Char(letter)).is_continue());
        }
        _ = press(&mut top, KeyCode::Backspace);
        assert_eq!((top.filter.as_str(), top.mode, top.view()), ("q", Mode::Filter, View::Names));
        _ = press(&mut top, KeyCode::Esc);
        assert_eq!((top.filter.as_str(), top.mode), ("", Mode::Browse));
        assert!(press(&mut top, KeyCode::Char('q')).is_break());
        _ = press(&mut top, KeyCode::Char('/'));
        let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert!(top.receive(Message::Key(interrupt)).is_break());
    }

    #[test]
    fn scrolling_ends_at_the_first_and_the_last_row() {
        let mut top = sample::top();
        for (code, offset) in [
            (KeyCode::Up, 0),
            (KeyCode::Down, 1),
            (KeyCode::PageDown, 3),
            (KeyCode::Down, 3),
            (KeyCode::PageUp, 0),
            (KeyCode::End, 3),
            (KeyCode::Home, 0),
        ] {
            _ = press(&mut top, code);
            assert_eq!(top.offset, offset, "{code:?}");
        }
        _ = press(&mut top, KeyCode::End);
        _ = press(&mut top, KeyCode::Tab);
        assert_eq!(top.offset, 0);
    }
}
