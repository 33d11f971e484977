//! Users and their passwords.

use std::collections::BTreeMap;
use std::str;

use base64::prelude::{BASE64_STANDARD, Engine};
use bcrypt::HashParts;
use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;
use parking_lot::Mutex;
use ring::hmac;
use ring::rand::SystemRandom;
use serde_saphyr::Spanned;

use super::Problem;

/// To check one password takes some 50 ms of a core at a cost of 10, and twice as long with each more.
const MAX_COST: u32 = 18;

/// A right password is remembered, since to check it is slow on purpose: by its keyed hash, one for each user, so that nobody
/// can make them be forgotten, or many.
#[derive(Debug)]
pub(super) struct Users {
    known: BTreeMap<String, User>,
    /// What the passwords of users who are not known are compared with, so that these take as long as others.
    stranger: String,
    /// Made anew whenever users are.
    key: hmac::Key,
}

#[derive(Debug)]
struct User {
    /// Of the password, by bcrypt.
    hash: String,
    /// Of the password that was right.
    right: Mutex<Option<hmac::Tag>>,
}

/// What a client says who it is.
#[derive(Debug)]
pub(super) struct Credentials {
    user: Vec<u8>,
    password: Vec<u8>,
}

impl Credentials {
    /// What stands in the header (RFC 7617), if that is well-formed.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let (scheme, encoded) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
        let decoded =
            BASE64_STANDARD.decode(encoded).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
        let colon = decoded.iter().position(|byte| *byte == b':')?;
        Some(Self { user: decoded[..colon].to_vec(), password: decoded[colon + 1..].to_vec() })
    }
}

impl Users {
    pub(super) fn new(hashes: BTreeMap<String, Spanned<String>>) -> Result<Self, Problem> {
        let mut highest_cost = 10;
        let mut known = BTreeMap::new();
        for (name, hash) in hashes {
            let problem = |text: &str| Problem::at(&hash, format!("basic_auth_users: {name:?}: {text}"));
            let cost = hash.value.parse::<HashParts>().map(|parts| parts.get_cost()).map_err(|_| {
                problem("no bcrypt hash such as \"$2y$10$...\"; `htpasswd -nBC 10 USER` makes one")
            })?;
            if !(4..=MAX_COST).contains(&cost) {
                return Err(problem(&format!(
                    "the cost of its hash is {cost}, not between 4 and {MAX_COST}"
                )));
            }
            if name.contains(':') {
                return Err(problem("nobody can log in, since a name ends at its first \":\""));
            }
            highest_cost = if known.is_empty() { cost } else { cost.max(highest_cost) };
            known.insert(name, User { hash: hash.value, right: Mutex::new(None) });
        }
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).map_err(|_| Problem {
            line: None,
            text: "basic_auth_users: the system gives no random numbers".to_owned(),
        })?;
        // Nobody's, since no password is known whose hash is this.
        let stranger = format!("$2b${highest_cost:02}${}", ".".repeat(53));
        Ok(Self { known, stranger, key })
    }

    /// How many there are. If there are none, nobody is asked who it is.
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether the same users have the same hashes.
    pub(super) fn are(&self, other: &Self) -> bool {
        let hashes = |users: &Self| -> Vec<_> {
            users.known.iter().map(|(name, user)| (name.clone(), user.hash.clone())).collect()
        };
        hashes(self) == hashes(other)
    }

    /// Whether it is a user's password that was right before. Takes a microsecond.
    pub(super) fn remember(&self, credentials: &Credentials) -> bool {
        let Some(user) = self.find(credentials) else { return false };
        let right = *user.right.lock();
        right.is_some_and(|tag| {
            hmac::verify(&self.key, &user.message(&credentials.password), tag.as_ref()).is_ok()
        })
    }

    /// Whether it is a user's password. Takes long, and as long for users who are not known.
    pub(super) fn check(&self, credentials: &Credentials) -> bool {
        if self.remember(credentials) {
            return true;
        }
        let user = self.find(credentials);
        let hash = user.map_or(&self.stranger, |user| &user.hash);
        let is_right = bcrypt::verify(&credentials.password, hash).unwrap_or(false);
        match user {
            Some(user) if is_right => {
                *user.right.lock() = Some(hmac::sign(&self.key, &user.message(&credentials.password)));
                true
            }
            _ => false,
        }
    }

    fn find(&self, credentials: &Credentials) -> Option<&User> {
        self.known.get(str::from_utf8(&credentials.user).ok()?)
    }
}

impl User {
    /// All hashes have the same length.
    fn message(&self, password: &[u8]) -> Vec<u8> {
        [self.hash.as_bytes(), password].concat()
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;
    use serde_saphyr::Location;

    use super::*;

    fn users(hashes: &[(&str, &str)]) -> Result<Users, Problem> {
        let place = |hash: &str| Spanned::new(hash.to_owned(), Location::UNKNOWN, Location::UNKNOWN);
        Users::new(hashes.iter().map(|(name, hash)| ((*name).to_owned(), place(hash))).collect())
    }

    fn credentials(user: &str, password: &str) -> Credentials {
        Credentials { user: user.into(), password: password.into() }
    }

    #[test]
    fn a_right_password_is_remembered_and_no_other() {
        let hash = bcrypt::hash("secret", 4).unwrap();
        let users = users(&[("ann", &hash), ("ben", &hash)]).unwrap();
        let right = credentials("ann", "secret");
        assert!(!users.remember(&right));
        for wrong in [credentials("ann", "Secret"), credentials("ann", ""), credentials("eve", "secret")] {
            assert!(!users.check(&wrong) && !users.remember(&wrong));
        }
        assert!(users.check(&right) && users.remember(&right));
        assert!(!users.remember(&credentials("ben", "secret")), "each user is checked");
        assert!(!users.check(&credentials("ann", "other")) && users.remember(&right));
    }

    #[test]
    fn who_is_not_known_is_compared_with_a_hash_of_the_highest_cost() {
        let [cheap, dear] = [4, 5].map(|cost| bcrypt::hash("x", cost).unwrap());
        let users = users(&[("ann", &dear), ("ben", &cheap)]).unwrap();
        assert!(users.stranger.starts_with("$2b$05$"));
        assert_eq!(bcrypt::verify("x", &users.stranger).ok(), Some(false), "{}", users.stranger);
    }

    #[test]
    fn a_hash_that_cannot_be_checked_in_time_is_refused() {
        let hash = bcrypt::hash("x", 4).unwrap();
        let of_cost = |cost: &str| hash.replace("$04$", cost);
        for (name, hash, hint) in [
            ("ann", "secret", "htpasswd"),
            ("ann", "$1$abc$abc", "htpasswd"),
            ("ann", &of_cost("$19$"), "between 4 and 18"),
            ("ann", &of_cost("$03$"), "between 4 and 18"),
            ("a:b", &hash, "\":\""),
        ] {
            let problem = users(&[(name, hash)]).unwrap_err().text;
            assert!(problem.contains(hint), "{problem}");
        }
    }

    #[test]
    fn credentials_are_read_from_the_header() {
        let cases = [
            ("Basic YW5uOnNlY3JldA==", Some(("ann", "secret"))),
            ("bAsIc YW5uOnNlOmNyZXQ=", Some(("ann", "se:cret"))),
            ("Basic Og==", Some(("", ""))),
            ("Basic YW5u", None),
            ("Basic YW5uOnNlY3JldA", None),
            ("Bearer YW5uOnNlY3JldA==", None),
            ("Basic", None),
            ("", None),
        ];
        for (header, expected) in cases {
            let headers = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static(header))]);
            let read = Credentials::of(&headers).map(|read| (read.user, read.password));
            assert_eq!(read, expected.map(|(user, password)| (user.into(), password.into())), "{header}");
        }
    }
}
