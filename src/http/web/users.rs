//! Checks the passwords of users.

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

use super::file::WebProblem;

/// The highest cost of a hash. At a cost of 10, checking a password takes about 50 ms of a core. Each further step
/// doubles the time.
const MAX_COST: u32 = 18;

/// The users of a web configuration file.
///
/// Checking a password is slow on purpose, so tallyd remembers the right password of each user by its keyed hash. It
/// keeps one hash per user. So clients can neither make tallyd forget a password nor fill its memory.
#[derive(Debug)]
pub(super) struct Users {
    known: BTreeMap<String, User>,
    /// The hash with which the passwords of unknown users are compared. It makes their check take as long as for known
    /// users.
    decoy_hash: String,
    /// The key of the keyed hashes. Every `Users` has a different key.
    key: hmac::Key,
}

#[derive(Debug)]
struct User {
    /// The bcrypt hash of the password.
    hash: String,
    /// The keyed hash of the right password, once a client has sent it.
    remembered: Mutex<Option<hmac::Tag>>,
}

/// The user and password that a client sends.
#[derive(Debug)]
pub(super) struct Credentials {
    user: Vec<u8>,
    password: Vec<u8>,
}

impl Credentials {
    /// Reads the header `Authorization` (RFC 7617). Returns `None` if it is missing or malformed.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let (scheme, encoded) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
        let decoded =
            BASE64_STANDARD.decode(encoded).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
        let colon = decoded.iter().position(|byte| *byte == b':')?;
        Some(Self { user: decoded[..colon].to_vec(), password: decoded[colon + 1..].to_vec() })
    }
}

impl Users {
    /// Checks the hashes of the users' passwords.
    pub(super) fn new(hashes: BTreeMap<String, Spanned<String>>) -> Result<Self, WebProblem> {
        let mut highest_cost = 10;
        let mut known = BTreeMap::new();
        for (name, hash) in hashes {
            let problem = |text: &str| WebProblem::at(&hash, format!("basic_auth_users: {name:?}: {text}"));
            let cost = hash.value.parse::<HashParts>().map(|parts| parts.get_cost()).map_err(|_| {
                problem("not a bcrypt hash such as \"$2y$10$...\"; `htpasswd -nBC 10 USER` makes one")
            })?;
            if !(4..=MAX_COST).contains(&cost) {
                return Err(problem(&format!(
                    "the cost of its hash is {cost}, not between 4 and {MAX_COST}"
                )));
            }
            if name.contains(':') {
                return Err(problem("a name with \":\" cannot log in, because names end at the first \":\""));
            }
            highest_cost = if known.is_empty() { cost } else { cost.max(highest_cost) };
            known.insert(name, User { hash: hash.value, remembered: Mutex::new(None) });
        }
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())
            .map_err(|_| WebProblem::of_file("basic_auth_users: the system provides no random numbers"))?;
        // No known password has this hash.
        let decoy_hash = format!("$2b${highest_cost:02}${}", ".".repeat(53));
        Ok(Self { known, decoy_hash, key })
    }

    /// Returns the number of users. Without users, every client is admitted.
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// Returns true if both have the same users with the same hashes.
    pub(super) fn have_same_hashes(&self, other: &Self) -> bool {
        self.known.len() == other.known.len()
            && self
                .known
                .iter()
                .all(|(name, user)| other.known.get(name).is_some_and(|known| known.hash == user.hash))
    }

    /// Returns true if the password equals the remembered one. This takes a microsecond.
    pub(super) fn is_remembered(&self, credentials: &Credentials) -> bool {
        let Some(user) = self.find(credentials) else { return false };
        let remembered = *user.remembered.lock();
        remembered.is_some_and(|tag| {
            hmac::verify(&self.key, &user.message(&credentials.password), tag.as_ref()).is_ok()
        })
    }

    /// Returns true if the password is right, and then remembers it. This is slow, even for unknown users.
    pub(super) fn check(&self, credentials: &Credentials) -> bool {
        if self.is_remembered(credentials) {
            return true;
        }
        let user = self.find(credentials);
        let hash = user.map_or(&self.decoy_hash, |user| &user.hash);
        let is_right = bcrypt::verify(&credentials.password, hash).unwrap_or(false);
        match user {
            Some(user) if is_right => {
                *user.remembered.lock() = Some(hmac::sign(&self.key, &user.message(&credentials.password)));
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
    /// Returns the text of the keyed hash. All bcrypt hashes have the same length, so the text is unambiguous.
    fn message(&self, password: &[u8]) -> Vec<u8> {
        [self.hash.as_bytes(), password].concat()
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;
    use serde_saphyr::Location;

    use super::*;

    fn users(hashes: &[(&str, &str)]) -> Result<Users, WebProblem> {
        let spanned = |hash: &str| Spanned::new(hash.to_owned(), Location::UNKNOWN, Location::UNKNOWN);
        Users::new(hashes.iter().map(|(name, hash)| ((*name).to_owned(), spanned(hash))).collect())
    }

    fn credentials(user: &str, password: &str) -> Credentials {
        Credentials { user: user.into(), password: password.into() }
    }

    #[test]
    fn only_a_right_password_is_remembered() {
        let hash = bcrypt::hash("secret", 4).unwrap();
        let users = users(&[("ann", &hash), ("ben", &hash)]).unwrap();
        let right = credentials("ann", "secret");
        assert!(!users.is_remembered(&right));
        for wrong in [credentials("ann", "Secret"), credentials("ann", ""), credentials("eve", "secret")] {
            assert!(!users.check(&wrong) && !users.is_remembered(&wrong));
        }
        assert!(users.check(&right) && users.is_remembered(&right));
        assert!(!users.is_remembered(&credentials("ben", "secret")), "each user is remembered separately");
        assert!(!users.check(&credentials("ann", "other")) && users.is_remembered(&right));
    }

    #[test]
    fn unknown_users_are_compared_with_a_hash_of_the_highest_cost() {
        let [cheap, dear] = [4, 5].map(|cost| bcrypt::hash("x", cost).unwrap());
        let users = users(&[("ann", &dear), ("ben", &cheap)]).unwrap();
        assert!(users.decoy_hash.starts_with("$2b$05$"));
        assert_eq!(bcrypt::verify("x", &users.decoy_hash).ok(), Some(false), "{}", users.decoy_hash);
    }

    #[test]
    fn malformed_and_too_costly_hashes_are_refused() {
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
