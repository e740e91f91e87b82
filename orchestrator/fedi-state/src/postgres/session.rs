//! A session with the server through its own `psql`, which stays open: the
//! snapshot that a dump is taken of lasts as long as the session that exported it.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread::JoinHandle;

use serde::de::DeserializeOwned;

use super::Access;
use crate::error::StateError;
use crate::work::Work;

/// What `psql` prints after each answer; no row of JSON begins so.
const END: &str = "-- end of answer --";

impl Access {
    /// A command of one of the server's programs with this access.
    pub(super) fn command(&self, work: &Work, program: &str) -> Command {
        let mut command = work.tools.command(program);
        for name in ["PGDATABASE", "PGSERVICE", "PGOPTIONS", "PGPASSWORD", "PGHOSTADDR"] {
            command.env_remove(name);
        }
        command.env("PGHOST", &self.host).env("PGPORT", self.port.to_string()).env("PGUSER", &self.user);
        command.env("PGAPPNAME", "fedi").env("PGCLIENTENCODING", "UTF8").env("PGCONNECT_TIMEOUT", "15");
        command.current_dir("/");
        if let Some(passfile) = &self.passfile {
            command.env("PGPASSFILE", passfile);
        }
        match self.run_as {
            Some(account) => account.applied(command),
            None => command,
        }
    }
}

/// An open session.
pub(super) struct Session {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    stderr: Option<JoinHandle<String>>,
}

impl Session {
    pub(super) fn open(work: &Work, access: &Access, database: &str) -> Result<Self, StateError> {
        work.check()?;
        let mut command = access.command(work, "psql");
        command.args(["--no-psqlrc", "--no-password", "--quiet", "--tuples-only", "--no-align"]);
        command.args(["--set=ON_ERROR_STOP=1", "--dbname"]).arg(database);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let failed = |source| StateError::Start { program: "psql".to_owned(), source };
        let mut child = command.spawn().map_err(failed)?;
        let (Some(stdin), Some(stdout), Some(mut stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(failed(std::io::Error::other("its pipes are not there")));
        };
        let stderr = std::thread::spawn(move || {
            let mut text = String::new();
            // What came before an error is still worth showing.
            let _ = (&mut stderr).take(64 * 1024).read_to_string(&mut text);
            let _ = std::io::copy(&mut stderr, &mut std::io::sink());
            text
        });
        let mut session = Self { child, stdin: Some(stdin), stdout: BufReader::new(stdout), stderr: Some(stderr) };
        // So that a name in a query means what it says.
        session.execute("SET search_path = pg_catalog, pg_temp")?;
        Ok(session)
    }

    /// Runs a statement; returns the lines that it answers.
    pub(super) fn lines(&mut self, statement: &str) -> Result<Vec<String>, StateError> {
        let text = format!("{statement};\n\\echo {END}\n");
        let written = match &mut self.stdin {
            Some(stdin) => stdin.write_all(text.as_bytes()).and_then(|()| stdin.flush()),
            None => return Err(self.end()),
        };
        if written.is_err() {
            return Err(self.end());
        }
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            match self.stdout.read_line(&mut line) {
                Ok(0) | Err(_) => return Err(self.end()),
                Ok(_) => {}
            }
            let line = line.trim_end_matches('\n');
            if line == END {
                return Ok(lines);
            }
            if !line.is_empty() {
                lines.push(line.to_owned());
            }
        }
    }

    pub(super) fn execute(&mut self, statement: &str) -> Result<(), StateError> {
        self.lines(statement).map(drop)
    }

    /// The rows of a query, each as JSON: a column is a field.
    pub(super) fn rows<T: DeserializeOwned>(&mut self, query: &str) -> Result<Vec<T>, StateError> {
        let lines = self.lines(&format!("SELECT row_to_json(rows)::text FROM ({query}) AS rows"))?;
        let unreadable = |error| StateError::damaged(format!("The database server's answer does not read: {error}"));
        lines.iter().map(|line| serde_json::from_str(line).map_err(unreadable)).collect()
    }

    /// The one value of a query.
    pub(super) fn value(&mut self, query: &str) -> Result<String, StateError> {
        Ok(self.lines(query)?.into_iter().next().unwrap_or_default())
    }

    /// Why the session ended.
    fn end(&mut self) -> StateError {
        self.stdin = None;
        let status = match self.child.wait() {
            Ok(status) => status.code().map_or_else(|| "a signal".to_owned(), |code| format!("exit status {code}")),
            Err(error) => error.to_string(),
        };
        let output = self.stderr.take().and_then(|thread| thread.join().ok()).unwrap_or_default();
        StateError::Tool { program: "psql".to_owned(), status, output: output.trim().to_owned() }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.stdin = None;
        let pid = rustix::process::Pid::from_child(&self.child);
        // It may have ended already; an open transaction is rolled back by the server.
        if let Ok(None) = self.child.try_wait() {
            let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::TERM);
        }
        let _ = self.child.wait();
    }
}
