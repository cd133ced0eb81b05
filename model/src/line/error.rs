//! Why a log format can't be used.

/// Why a text isn't a log format that can be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LogFormatError {
    /// Nothing in it.
    #[error("the log format is empty; write `combined`, `json`, or paste the log_format of nginx.conf")]
    Empty,
    /// A word without `$` that isn't a known name.
    #[error(
        "`{0}` is no known log format and has no $variables; write `combined`, `json`, or paste the log_format of nginx.conf"
    )]
    Unknown(String),
    /// An unknown `escape=`.
    #[error("escape={0} is unknown (nginx has default, json and none)")]
    Escape(String),
    /// A quoted string without its end.
    #[error("a quoted string of the log format isn't closed")]
    Unclosed,
    /// Something behind the directive.
    #[error(
        "something stands behind the log format's strings that doesn't belong there (paste one directive)"
    )]
    Behind,
    /// Several lines without quotes.
    #[error("a log format is one line; write it as in nginx.conf: log_format name '…' '…';")]
    Lines,
    /// A `$` without a name.
    #[error("`{0}` isn't a variable ($name or ${{name}})")]
    Variable(String),
    /// Two variables with nothing between them.
    #[error("${0}${1}: it can't be told where the first ends; put a space or quotes between them")]
    Adjacent(String, String),
    /// The client can't be told.
    #[error("the log format has no $remote_addr, so no client can be told")]
    NoAddress,
    /// The time can't be told.
    #[error("the log format has no $time_local, $time_iso8601 or $msec, so no time can be told")]
    NoTime,
}
