//! Who may log in.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::Path;

use argon2::password_hash::phc::{Output, PasswordHash};
use argon2::password_hash::{self, PasswordHasher};
use argon2::{Algorithm, Argon2, Block, Params, Version};

use crate::limits::NAME_BYTES_MAX;

/// Whether a user's password is right. Threads: the pool's; may block, on a database for instance.
pub trait Users: Send + Sync + 'static {
    /// Whether `token` is the password of `uid`.
    fn check(&self, uid: &str, token: &str) -> bool;

    /// Whether there is such a user, to whom messages may be sent. Called on I/O threads: must not block.
    fn exists(&self, uid: &str) -> bool;
}

/// Whether a user or a room may be called so: 1 to [`NAME_BYTES_MAX`] bytes, no control characters or spaces, and
/// none of those that mean something in commands.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let odd = |char: char| char.is_control() || char.is_whitespace() || "#:/@".contains(char);
    (1..=NAME_BYTES_MAX).contains(&name.len()) && !name.contains(odd)
}

/// Everybody, with a password that is the name: for trying the chat, and for load tests.
#[derive(Clone, Copy, Debug, Default)]
pub struct Anybody;

impl Users for Anybody {
    fn check(&self, uid: &str, token: &str) -> bool {
        uid == token
    }

    fn exists(&self, _uid: &str) -> bool {
        true
    }
}

/// Users with their passwords, hashed by argon2, in a file of lines `name:$argon2id$..`.
pub struct PasswordFile {
    hashes: HashMap<String, String>,
    /// Of nobody's password, so that a check takes as long for a name that is not there.
    nobody: String,
}

impl PasswordFile {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// When it cannot be read; when a line is no name and hash, with its number.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::parse(&std::fs::read_to_string(path)?)
    }

    /// Reads the lines of a file; empty ones and those after `;` say nothing.
    ///
    /// # Errors
    ///
    /// When a line is no name and hash, with its number.
    pub fn parse(text: &str) -> io::Result<Self> {
        let mut hashes = HashMap::new();
        for (nth, line) in text.lines().enumerate() {
            if line.is_empty() || line.starts_with(';') {
                continue;
            }
            let (name, hash) = line
                .split_once(':')
                .filter(|(name, hash)| is_name(name) && PasswordHash::new(hash).is_ok())
                .ok_or_else(|| invalid(format!("line {} is no name:hash", nth + 1)))?;
            hashes.insert(name.to_owned(), hash.to_owned());
        }
        Ok(Self {
            hashes,
            nobody: hash("")?,
        })
    }

    /// How many users there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.hashes.len()
    }

    /// Whether nobody may log in.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }
}

impl Users for PasswordFile {
    fn check(&self, uid: &str, token: &str) -> bool {
        let known = self.hashes.get(uid);
        let right = is_right(known.unwrap_or(&self.nobody), token);
        right.unwrap_or(false) && known.is_some()
    }

    fn exists(&self, uid: &str) -> bool {
        self.hashes.contains_key(uid)
    }
}

impl fmt::Debug for PasswordFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PasswordFile")
            .field("len", &self.hashes.len())
            .finish_non_exhaustive()
    }
}

thread_local! {
    /// What argon2 works in, 19 MiB with its defaults: kept for the thread's next password, since a heap that gives
    /// and takes such pieces on several threads grows to many times of what is in use.
    static BLOCKS: RefCell<Vec<Block>> = const { RefCell::new(Vec::new()) };
}

/// Whether a hash is that of a password.
fn is_right(hash: &str, password: &str) -> Result<bool, password_hash::Error> {
    let hash = PasswordHash::new(hash)?;
    let (salt, expected) = hash
        .salt
        .zip(hash.hash)
        .ok_or(password_hash::Error::EncodingInvalid)?;
    let algorithm = Algorithm::try_from(hash.algorithm.as_str())?;
    let version = hash
        .version
        .map_or_else(|| Ok(Version::default()), Version::try_from)?;
    let params = Params::try_from(&hash)?;
    let count = params.block_count();
    let argon2 = Argon2::new(algorithm, version, params);
    let mut found = vec![0; expected.len()];
    BLOCKS.with_borrow_mut(|blocks| {
        blocks.resize(count.max(blocks.len()), Block::default());
        let blocks = &mut blocks[..count];
        argon2.hash_password_into_with_memory(password.as_bytes(), &salt, &mut found, blocks)
    })?;
    // In a time that does not depend on where they differ.
    Ok(Output::new(&found)? == expected)
}

/// A password's line for the file, behind `name:`. Cost: some 20 MB and tens of milliseconds, like each check.
///
/// # Errors
///
/// When the system has no randomness for the salt.
pub fn hash(password: &str) -> io::Result<String> {
    let hash = Argon2::default().hash_password(password.as_bytes());
    hash.map(|hash| hash.to_string())
        .map_err(|error| invalid(error.to_string()))
}

fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_right_for_its_user_only() {
        let ann = hash("one").expect("randomness");
        let bob = hash("two").expect("randomness");
        let users = format!("; users\nann:{ann}\n\nbob:{bob}\n");
        let users = PasswordFile::parse(&users).expect("two users");
        assert_eq!(users.len(), 2);
        assert!(users.check("ann", "one") && users.check("bob", "two"));
        assert!(!users.check("ann", "two") && !users.check("ann", ""));
        assert!(!users.check("eve", "one") && !users.check("eve", ""));
        assert!(users.exists("ann") && !users.exists("eve"));
    }

    #[test]
    fn hashes_of_other_programs_are_understood() {
        // From the tests of argon2's authors.
        let hash = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        let users = PasswordFile::parse(&format!("ann:{hash}\n")).expect("a user");
        assert!(users.check("ann", "password") && !users.check("ann", "passwort"));
    }

    #[test]
    fn a_line_that_is_none_is_named() {
        let fault = PasswordFile::parse("; users\nann:secret\n").expect_err("no hash");
        assert_eq!(fault.to_string(), "line 2 is no name:hash");
    }
}
