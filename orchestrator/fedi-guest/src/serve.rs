//! `fedi-guest serve`: one conversation over standard input and output.

use std::io::{self, BufRead, Read, Write};
use std::sync::mpsc::{self, SyncSender};

use fedi_state::Cancel;
use zeroize::Zeroizing;

use crate::agent;
use crate::guest::Guest;
use crate::protocol::{BadRequest, ClientLine, ErrorKind, ErrorReply, GuestLine, Hello, MAX_LINE, ProtocolError};

/// Why the conversation goes on or ends.
enum Next {
    GoOn,
    End,
}

/// Lines that are read ahead of the one that is being answered.
const AHEAD: usize = 4;

/// Answers requests until the client closes its side or goes away; what can be called
/// off ([`crate::protocol::Op::is_state`]) is called off then. Only failures to read are
/// errors: a client that is gone has nobody to report to.
pub fn serve(guest: &Guest, input: impl BufRead + Send + 'static, output: &mut dyn Write) -> io::Result<()> {
    let cancel = Cancel::default();
    let mut session = Session { guest, output, cancel: cancel.clone(), greeted: false };
    if session.send(&GuestLine::Hello(Hello::ours())).is_err() {
        return Ok(());
    }
    let (send, lines) = mpsc::sync_channel(AHEAD);
    // Reads on while an operation is under way, to notice the end. It is not waited for:
    // after a refusal the session ends, whatever the client still says.
    std::thread::spawn(move || read(input, &send, &cancel));
    for line in lines {
        let line = match line? {
            Line::Whole(line) => line,
            Line::TooLong => {
                // The rest of the line cannot be told from the next one.
                let _ = session.refuse(None, &ProtocolError::TooLong, None);
                return Ok(());
            }
        };
        match session.answer(line.trim_ascii_end()) {
            Ok(Next::GoOn) => {}
            Ok(Next::End) | Err(_) => return Ok(()),
        }
    }
    Ok(())
}

/// What was read. A line may hold secrets, and is wiped when it is dropped.
enum Line {
    Whole(Zeroizing<Vec<u8>>),
    TooLong,
}

fn read(mut input: impl BufRead, lines: &SyncSender<io::Result<Line>>, cancel: &Cancel) {
    loop {
        let mut line = Zeroizing::new(Vec::new());
        let read = (&mut input).take(MAX_LINE as u64 + 1).read_until(b'\n', &mut line);
        let (line, over) = match read {
            Ok(0) => break,
            Ok(_) if line.len() > MAX_LINE => (Ok(Line::TooLong), true),
            Ok(_) => (Ok(Line::Whole(line)), false),
            Err(error) => (Err(error), true),
        };
        // Nobody takes it any more when the session has ended.
        if lines.send(line).is_err() || over {
            break;
        }
    }
    cancel.cancel();
}

struct Session<'a> {
    guest: &'a Guest,
    output: &'a mut dyn Write,
    cancel: Cancel,
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
                // Remembered, not reported: what cannot be called off goes on without listeners.
                let mut lost = Ok(());
                let result = agent::perform_cancellable(self.guest, request.op, &self.cancel, &mut |event| {
                    if lost.is_ok() {
                        lost = send(self.output, &GuestLine::Event { id, event });
                        if lost.is_err() {
                            self.cancel.cancel();
                        }
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
