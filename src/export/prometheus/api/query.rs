//! Reads the parameters of a request.

use std::collections::BTreeMap;

/// The parameters of a request that have not been read yet.
#[derive(Debug, Default)]
pub(super) struct Query(BTreeMap<String, String>);

impl Query {
    /// Reads the part of an address after `?`.
    ///
    /// # Errors
    ///
    /// Fails if a parameter is given twice.
    pub(super) fn parse(query: &str) -> Result<Self, String> {
        let mut parameters = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if parameters.insert(name.clone().into_owned(), value.into_owned()).is_some() {
                return Err(format!("the parameter {name} is given twice"));
            }
        }
        Ok(Self(parameters))
    }

    /// Takes a parameter. Returns `None` if it is not given.
    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        self.0.remove(name)
    }

    /// Returns true if a parameter is given.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Fails if parameters are left, because they are unknown.
    pub(super) fn end(self) -> Result<(), String> {
        match self.0.keys().next() {
            Some(name) => Err(format!("the parameter {name} is unknown")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded_and_unknown_or_repeated_ones_are_refused() {
        let mut query = Query::parse("match=a%20b.*&limit=5").unwrap();
        assert_eq!(query.take("match").as_deref(), Some("a b.*"));
        assert_eq!(query.take("other"), None);
        assert_eq!(query.end(), Err("the parameter limit is unknown".to_owned()));
        assert_eq!(Query::parse("a=1&a=2").unwrap_err(), "the parameter a is given twice");
    }
}
