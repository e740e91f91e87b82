//! How a call fails: Perl's `die`, and the exceptions that carry a status of their own.

use std::collections::BTreeMap;

/// A failed call, before it is turned into an HTTP answer or the end of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    /// Status of an exception; `None` for a plain `die`, which becomes a 500.
    pub(crate) code: Option<u16>,
    /// Text, with the line end it carries inside PVE.
    pub(crate) message: String,
    /// Errors by parameter.
    pub(crate) errors: BTreeMap<String, String>,
}

pub(crate) type ApiResult<T> = Result<T, ApiError>;

impl ApiError {
    /// A plain `die "text\n"`.
    pub(crate) fn die(text: impl AsRef<str>) -> Self {
        let text = text.as_ref();
        let message = if text.ends_with('\n') { text.to_owned() } else { format!("{text}\n") };
        Self { code: None, message, errors: BTreeMap::new() }
    }

    /// An exception of its own status whose text carries no line end.
    pub(crate) fn status(code: u16, text: impl Into<String>) -> Self {
        Self { code: Some(code), message: text.into(), errors: BTreeMap::new() }
    }

    /// One wrong parameter.
    pub(crate) fn param(name: &str, text: impl Into<String>) -> Self {
        Self::params([(name.to_owned(), text.into())].into())
    }

    /// Wrong parameters.
    pub(crate) fn params(errors: BTreeMap<String, String>) -> Self {
        Self { code: Some(400), message: "Parameter verification failed.\n".to_owned(), errors }
    }

    /// A missing right; `what` is usually `path, privilege`.
    pub(crate) fn permission(what: Option<&str>) -> Self {
        let message = what.map_or_else(
            || "Permission check failed\n".to_owned(),
            |what| format!("Permission check failed ({what})\n"),
        );
        Self { code: Some(403), message, errors: BTreeMap::new() }
    }

    /// HTTP status of the answer.
    pub(crate) fn http_status(&self) -> u16 {
        self.code.unwrap_or(500)
    }

    /// The exception as a string, as it ends up inside other texts (`die "prefix $@"`).
    pub(crate) fn stringify(&self) -> String {
        let mut text = match self.code {
            Some(code) => format!("{code} {}", self.message),
            None => self.message.clone(),
        };
        if !text.ends_with('\n') {
            text.push('\n');
        }
        for (name, error) in &self.errors {
            text.push_str(name);
            text.push_str(": ");
            text.push_str(error);
            text.push('\n');
        }
        text
    }

    /// The same failure with words in front, as a plain `die`.
    pub(crate) fn prefixed(&self, prefix: &str) -> Self {
        Self::die(format!("{prefix}{}", self.stringify()))
    }

    /// The exit text of a task that ended with this error.
    pub(crate) fn task_text(&self) -> String {
        let text = self.stringify();
        text.strip_suffix('\n').unwrap_or(&text).replace('\n', " ")
    }
}

#[cfg(test)]
mod tests {
    use super::ApiError;

    #[test]
    fn a_permission_error_inside_a_task_keeps_its_status() {
        let error = ApiError::permission(Some("/vms/103, VM.Config.Options"));
        assert_eq!(
            error.prefixed("unable to create VM 103 - ").task_text(),
            "unable to create VM 103 - 403 Permission check failed (/vms/103, VM.Config.Options)"
        );
    }
}
