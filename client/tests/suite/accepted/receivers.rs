//! Ways in which a method can take `self`, and methods that return references into `self`.

use std::collections::HashMap;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use tallyd_client::timed;

#[derive(Default)]
struct Shelf {
    books: HashMap<u8, String>,
    title: String,
}

impl Shelf {
    #[timed]
    fn boxed(self: Box<Self>) -> String {
        self.title
    }

    #[timed(outcome)]
    fn boxed_outcome(self: Box<Self>) -> String {
        self.title
    }

    #[timed]
    fn pinned(self: Pin<&mut Self>) -> usize {
        self.get_mut().title.len()
    }

    #[timed(outcome)]
    fn pinned_outcome(self: Pin<&mut Self>) -> usize {
        self.get_mut().title.len()
    }

    #[timed]
    fn shared(self: Arc<Self>) -> usize {
        Arc::strong_count(&self)
    }

    #[timed(outcome)]
    fn shared_outcome(self: Arc<Self>) -> usize {
        Arc::strong_count(&self)
    }

    #[timed]
    fn counted(self: &Rc<Self>) -> Rc<Self> {
        Rc::clone(self)
    }

    #[timed(outcome)]
    fn counted_outcome(self: Rc<Self>) -> Rc<Self> {
        self
    }

    #[timed]
    fn named(mut self, title: &str) -> Self {
        title.clone_into(&mut self.title);
        self
    }

    #[timed(outcome)]
    fn named_outcome(mut self, title: &str) -> Self {
        title.clone_into(&mut self.title);
        self
    }

    #[timed]
    fn titles(&self) -> impl Iterator<Item = &'_ str> {
        self.books.values().map(String::as_str)
    }

    #[timed(outcome)]
    fn titles_outcome(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        Box::new(self.books.values().map(String::as_str))
    }

    #[timed]
    fn get(&mut self, key: Option<u8>) -> &mut String {
        match key {
            None => return &mut self.title,
            Some(0) => {}
            Some(key) => return self.books.entry(key).or_default(),
        }
        &mut self.title
    }

    #[timed(outcome)]
    fn get_outcome(&mut self, key: Option<u8>) -> &mut String {
        match key {
            None => return &mut self.title,
            Some(0) => {}
            Some(key) => return self.books.entry(key).or_default(),
        }
        &mut self.title
    }

    #[timed(outcome)]
    fn find(&mut self, key: u8) -> Result<&mut String, &'static str> {
        let book = self.books.get_mut(&key).ok_or("none")?;
        Ok(book)
    }
}

#[test]
fn timed_method_can_take_self_in_every_way() {
    let shelf = || Shelf::default().named("four");
    assert_eq!(shelf().named_outcome("five!").title, "five!");
    assert_eq!(Box::new(shelf()).boxed(), "four");
    assert_eq!(Box::new(shelf()).boxed_outcome(), "four");
    assert_eq!(Pin::new(&mut shelf()).pinned(), 4);
    assert_eq!(Pin::new(&mut shelf()).pinned_outcome(), 4);
    assert_eq!(Arc::new(shelf()).shared(), 1);
    assert_eq!(Arc::new(shelf()).shared_outcome(), 1);
    assert_eq!(Rc::new(shelf()).counted().counted_outcome().title, "four");
}

#[test]
fn returned_reference_lives_as_long_as_self() {
    let mut shelf = Shelf::default();
    shelf.get(Some(1)).push('a');
    shelf.get_outcome(Some(1)).push('b');
    shelf.get(None).push('c');
    shelf.get_outcome(Some(0)).push('d');
    shelf.find(1).unwrap().push('e');
    assert_eq!(shelf.find(2), Err("none"));
    assert_eq!(shelf.titles().collect::<Vec<_>>(), ["abe"]);
    assert_eq!(shelf.titles_outcome().collect::<Vec<_>>(), ["abe"]);
    assert_eq!(shelf.title, "cd");
}
