//! `fedi reference`: docs/cli.md out of the same definitions as `--help`.

use std::fmt::Write as _;

use clap::{Arg, Args, Command, CommandFactory};

use crate::cli::Cli;
use crate::error::{CommandError, Exit};
use crate::ui::write_out;

/// Print docs/cli.md
#[derive(Debug, Args)]
pub(crate) struct Reference {}

const INTRODUCTION: &str = "\
<!-- Made by `fedi reference`; `FEDI_UPDATE_DOCS=1 cargo test -p fedi --test docs` renews it. -->

# The command line

stdout is data, stderr is talk. With `--json`, stdout has one JSON object a line, each with
`\"schema\": 1`: the plan, the events of a run, and at the end a result or an `error`.
Without a terminal nothing is asked: a command that would have to ask ends with exit code 2
and names the flag that answers.
";

pub(crate) fn run(_: &Reference) -> Result<Exit, CommandError> {
    write_out(reference().as_bytes())?;
    Ok(Exit::Done)
}

fn reference() -> String {
    let mut root = Cli::command();
    root.build();
    let mut text = String::from(INTRODUCTION);
    let _ =
        writeln!(text, "\n```text\n{}\n```", root.get_after_long_help().map(ToString::to_string).unwrap_or_default());
    text.push_str("\n## Options of every command\n\n");
    let global = root.get_arguments().filter(|argument| argument.is_global_set());
    options(&mut text, global);
    for command in visible(&root) {
        section(&mut text, command, "fedi");
    }
    text
}

fn section(text: &mut String, command: &Command, parent: &str) {
    let name = format!("{parent} {}", command.get_name());
    let about = command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default();
    let (first, rest) = about.split_once("\n\n").unwrap_or((&about, ""));
    let _ = writeln!(text, "\n## `{name}`\n\n{}.", escaped(first.trim_end_matches('.')));
    if !rest.is_empty() {
        let _ = writeln!(text, "\n{}", escaped(rest.trim_end()));
    }
    if visible(command).next().is_none() {
        let usage = command.clone().render_usage().to_string();
        let _ = writeln!(text, "\n```text\n{}\n```", usage.trim_start_matches("Usage: "));
    }
    let own: Vec<&Arg> = command.get_arguments().filter(|argument| is_own(argument)).collect();
    if !own.is_empty() {
        text.push('\n');
        options(text, own.into_iter());
    }
    if let Some(after) = command.get_after_long_help() {
        let _ = writeln!(text, "\n```text\n{}\n```", after.to_string().trim_end());
    }
    for below in visible(command) {
        section(text, below, &name);
    }
}

fn visible(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|it| !it.is_hide_set() && it.get_name() != "help")
}

fn is_own(argument: &Arg) -> bool {
    !argument.is_global_set() && !argument.is_hide_set() && !["help", "version"].contains(&argument.get_id().as_str())
}

/// A list: positional arguments first, as clap keeps them.
fn options<'a>(text: &mut String, arguments: impl Iterator<Item = &'a Arg>) {
    for argument in arguments {
        let about = argument.get_long_help().or(argument.get_help()).map(ToString::to_string).unwrap_or_default();
        let about = about.split_whitespace().collect::<Vec<_>>().join(" ");
        let _ = write!(text, "- `{}`: {}", spelled(argument), escaped(about.trim_end_matches('.')));
        let values = argument.get_possible_values();
        if !values.is_empty() && argument.get_action().takes_values() {
            let words: Vec<String> = values
                .iter()
                .map(|value| match value.get_help() {
                    Some(help) => format!("`{}` ({})", value.get_name(), escaped(&help.to_string())),
                    None => format!("`{}`", value.get_name()),
                })
                .collect();
            let _ = write!(text, ": {}", words.join(", "));
        }
        let defaults: Vec<_> = argument.get_default_values().iter().map(|it| it.to_string_lossy()).collect();
        if !defaults.is_empty() && argument.get_action().takes_values() {
            let _ = write!(text, " (default: `{}`)", defaults.join(" "));
        }
        if let Some(variable) = argument.get_env() {
            let _ = write!(text, " (variable: `{}`)", variable.to_string_lossy());
        }
        text.push('\n');
    }
}

/// Text that Markdown takes for no tag, outside of `code`.
fn escaped(text: &str) -> String {
    let parts = text.split('`').enumerate();
    let parts = parts.map(|(index, part)| if index % 2 == 0 { part.replace('<', "\\<") } else { part.to_owned() });
    parts.collect::<Vec<_>>().join("`")
}

/// `-C, --inventory <FOLDER>`, `[HOST]`.
fn spelled(argument: &Arg) -> String {
    let mut text = String::new();
    if let (Some(short), true) = (argument.get_short(), argument.get_long().is_some()) {
        let _ = write!(text, "-{short}, ");
    }
    text + &argument.to_string()
}
