//! Who calls: an API token, or a user with a password.

use std::fmt;
use std::str::FromStr;

use crate::secret::Secret;

/// How the client logs in.
#[derive(Clone, Debug)]
pub enum Credentials {
    Token(ApiToken),
    /// A ticket is fetched with the password, and renewed by itself.
    Password {
        user: String,
        password: Secret,
    },
}

impl Credentials {
    /// The token or user, for messages: `Token fedi@pve!deploy`, `User root@pam`.
    pub fn principal(&self) -> String {
        match self {
            Self::Token(token) => format!("Token `{}`", token.id()),
            Self::Password { user, .. } => format!("User `{user}`"),
        }
    }
}

/// An API token: `user@realm!name=secret`.
#[derive(Clone, Debug)]
pub struct ApiToken {
    id: String,
    secret: Secret,
}

/// A text that is no API token. It is not repeated: there may be a secret in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an API token of the form `user@realm!name=secret`")]
pub struct NotAToken;

impl ApiToken {
    /// `user@realm!name`.
    pub fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn header(&self) -> String {
        format!("PVEAPIToken={}={}", self.id, self.secret.expose())
    }
}

impl fmt::Display for ApiToken {
    /// Without the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id)
    }
}

impl FromStr for ApiToken {
    type Err = NotAToken;

    fn from_str(text: &str) -> Result<Self, NotAToken> {
        let (id, secret) = text.trim().split_once('=').ok_or(NotAToken)?;
        let (user, name) = id.split_once('!').ok_or(NotAToken)?;
        let (login, realm) = user.rsplit_once('@').ok_or(NotAToken)?;
        let printable = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_graphic());
        let sound = [login, realm, name, secret].into_iter().all(printable);
        sound.then(|| Self { id: id.to_owned(), secret: Secret::new(secret) }).ok_or(NotAToken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_and_never_shown() {
        let token: ApiToken = "fedi@pve!deploy=00000000-0000-0000-0000-000000000001\n".parse().unwrap();
        assert_eq!(token.to_string(), "fedi@pve!deploy");
        assert!(!format!("{token:?}").contains("0001"));
        assert!(token.header().starts_with("PVEAPIToken=fedi@pve!deploy=0000"));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused_and_its_secret_never_shown(text in "[a-z@!=: ]{0,40}") {
            if let Ok(token) = text.parse::<ApiToken>() {
                let (id, shown) = (token.to_string(), format!("{token:?}"));
                let rest = text.trim().strip_prefix(&id);
                proptest::prop_assert!(rest.is_some_and(|rest| rest.starts_with('=')));
                proptest::prop_assert!(shown.contains("<secret>"));
            }
        }
    }

    #[test]
    fn what_is_no_token_is_refused() {
        for text in ["", "fedi@pve!deploy", "fedi!deploy=x", "@pve!deploy=x", "fedi@pve!=x", "fedi@pve!a=b c"] {
            assert!(text.parse::<ApiToken>().is_err(), "{text}");
        }
    }
}
