//! `fedi-guest serve`: one conversation over standard input and output.

use std::io::{self, BufRead, Read, Write};

use zeroize::Zeroize;

use crate::agent;
use crate::guest::Guest;
use crate::protocol::{BadRequest, ClientLine, ErrorKind, ErrorReply, GuestLine, Hello, MAX_LINE, ProtocolError};

/// Why the conversation goes on or ends.
enum Next {
    GoOn,
    End,
}

/// Answers requests until the client closes its side or goes away. Only failures
/// to read are errors: a client that is gone has nobody to report to.
pub fn serve(guest: &Guest, input: &mut dyn BufRead, output: &mut dyn Write) -> io::Result<()> {
    let mut session = Session { guest, output, greeted: false };
    if session.send(&GuestLine::Hello(Hello::ours())).is_err() {
        return Ok(());
    }
    let mut line = Vec::new();
    loop {
        // A line may hold secrets.
        line.zeroize();
        let read = (&mut *input).take(MAX_LINE as u64 + 1).read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(());
        }
        if line.len() > MAX_LINE {
            line.zeroize();
            // The rest of the line cannot be told from the next one.
            let _ = session.refuse(None, &ProtocolError::TooLong, None);
            return Ok(());
        }
        match session.answer(line.trim_ascii_end()) {
            Ok(Next::GoOn) => {}
            Ok(Next::End) | Err(_) => {
                line.zeroize();
                return Ok(());
            }
        }
    }
}

struct Session<'a> {
    guest: &'a Guest,
    output: &'a mut dyn Write,
    greeted: bool,
}

impl Session<'_> {
    fn answer(&mut self, line: &[u8]) -> io::Result<Next> {
        if line.is_empty() {
            return Ok(Next::GoOn);
        }
        match ClientLine::parse(line) {
            Ok(ClientLine::Hello { hello }) => match hello.check() {
                Ok(()) => {
                    self.greeted = true;
                    Ok(Next::GoOn)
                }
                Err(error) => {
                    let hint = "Update the guest's system first, with a fedi that speaks its protocol";
                    self.refuse(None, &error, Some(hint))?;
                    Ok(Next::End)
                }
            },
            Ok(ClientLine::Request(request)) if self.greeted => {
                let id = request.id;
                // Remembered, not reported: the operation goes on without listeners.
                let mut lost = Ok(());
                let result = agent::perform(self.guest, request.op, &mut |event| {
                    if lost.is_ok() {
                        lost = send(self.output, &GuestLine::Event { id, event });
                    }
                });
                lost?;
                let result = result.map_err(|error| error.reply());
                self.send(&GuestLine::Response { id: Some(id), result })?;
                Ok(Next::GoOn)
            }
            Ok(ClientLine::Request(request)) => {
                let error = ProtocolError::Malformed { what: "the first line must be a hello", column: 0 };
                self.refuse(Some(request.id), &error, None)?;
                Ok(Next::End)
            }
            Err(BadRequest { id, unknown_op: Some(name), .. }) => {
                let name: String = name.chars().take(40).collect();
                let error = ErrorReply {
                    kind: ErrorKind::Unsupported,
                    message: format!("This guest's fedi does not know the operation `{}`", name.escape_default()),
                    causes: Vec::new(),
                    hint: Some("Update the guest's system".to_owned()),
                };
                self.send(&GuestLine::Response { id, result: Err(error) })?;
                Ok(Next::GoOn)
            }
            Err(BadRequest { id, error, .. }) => {
                self.refuse(id, &error, None)?;
                Ok(Next::GoOn)
            }
        }
    }

    fn refuse(&mut self, id: Option<u64>, error: &ProtocolError, hint: Option<&str>) -> io::Result<()> {
        let kind = match error {
            ProtocolError::Fields { .. } => ErrorKind::Invalid,
            _ => ErrorKind::Protocol,
        };
        let error = ErrorReply { kind, message: error.to_string(), causes: Vec::new(), hint: hint.map(str::to_owned) };
        self.send(&GuestLine::Response { id, result: Err(error) })
    }

    fn send(&mut self, line: &GuestLine) -> io::Result<()> {
        send(self.output, line)
    }
}

fn send(output: &mut dyn Write, line: &GuestLine) -> io::Result<()> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    output.write_all(&text)?;
    output.flush()
}
