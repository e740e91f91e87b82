//! A session with the agent in this process, which can be hung up on.

use std::io::{BufRead, BufReader, PipeReader, PipeWriter, Write};
use std::thread::JoinHandle;

use fedi_guest::protocol::{ClientLine, ErrorReply, Event, GuestLine, Hello, Op, Request};
use fedi_guest::serve;

use crate::machine::Machine;

pub(crate) struct Talk {
    input: Option<PipeWriter>,
    output: BufReader<PipeReader>,
    agent: JoinHandle<()>,
}

impl Talk {
    /// Says hello, and asks for something.
    pub(crate) fn ask(machine: &Machine, op: impl Into<Op>) -> Self {
        let (read, mut input) = std::io::pipe().unwrap();
        let (output, mut write) = std::io::pipe().unwrap();
        let guest = machine.guest();
        let agent = std::thread::spawn(move || serve(&guest, BufReader::new(read), &mut write).unwrap());
        let request = ClientLine::Request(Request { id: 1, op: op.into() });
        for line in [ClientLine::Hello { hello: Hello::ours() }, request] {
            let mut text = serde_json::to_vec(&line).unwrap();
            text.push(b'\n');
            input.write_all(&text).unwrap();
        }
        Self { input: Some(input), output: BufReader::new(output), agent }
    }

    /// Closes our side.
    pub(crate) fn hang_up(&mut self) {
        self.input = None;
    }

    /// Reads on to the answer; what happened before it, and the answer.
    pub(crate) fn answer(mut self) -> (Vec<Event>, Result<serde_json::Value, ErrorReply>) {
        let mut events = Vec::new();
        loop {
            let mut line = String::new();
            assert!(self.output.read_line(&mut line).unwrap() > 0, "the agent ended without an answer");
            match GuestLine::parse(line.trim_end().as_bytes()).unwrap() {
                GuestLine::Hello(_) => {}
                GuestLine::Event { event, .. } => events.push(event),
                GuestLine::Response { result, .. } => {
                    self.hang_up();
                    self.agent.join().unwrap();
                    return (events, result);
                }
            }
        }
    }
}
