//! A minimal HTTP/1.1 client for one server on this machine: one request for each connection.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, BufWriter, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;

/// What a browser is answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The cookie of this name that is set.
    pub(crate) fn cookie(&self, name: &str) -> Option<&str> {
        let set = self.headers.iter().filter(|(header, _)| header == "set-cookie");
        let mut cookies = set.filter_map(|(_, value)| value.split(';').next());
        cookies.find(|cookie| cookie.split_once('=').is_some_and(|(given, _)| given == name))
    }
}

/// The server, and who asks it.
pub(crate) struct Client {
    pub(crate) address: SocketAddr,
    pub(crate) token: String,
}

impl Client {
    /// Asks; what it answers must be JSON with the status that is expected.
    pub(crate) fn get(&self, path: &str, expected: u16) -> anyhow::Result<Value> {
        let (status, body) = self.exchange("GET", path, None).with_context(|| format!("GET {path}"))?;
        read(status, &body, expected).with_context(|| format!("GET {path}"))
    }

    /// Asks for something to be done.
    pub(crate) fn post(&self, path: &str, expected: u16) -> anyhow::Result<Value> {
        let (status, body) = self.exchange("POST", path, None).with_context(|| format!("POST {path}"))?;
        read(status, &body, expected).with_context(|| format!("POST {path}"))
    }

    /// The status of a probe; `None` where nobody answers.
    pub(crate) fn probe(&self, path: &str) -> Option<u16> {
        self.exchange("GET", path, None).ok().map(|(status, _)| status)
    }

    /// Sends a CSV file. The body is streamed.
    pub(crate) fn post_file(&self, path: &str, file: &Path, expected: u16) -> anyhow::Result<Value> {
        let (status, body) =
            self.exchange("POST", path, Some(file)).with_context(|| format!("POST {path}"))?;
        read(status, &body, expected).with_context(|| format!("POST {path}"))
    }

    /// Asks as a browser does: with a cookie, and with a form where one is sent.
    pub(crate) fn browse(&self, path: &str, cookie: &str, form: Option<&str>) -> anyhow::Result<Answer> {
        let method = if form.is_some() { "POST" } else { "GET" };
        let stream = self.connect()?;
        let mut head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nCookie: {cookie}\r\nConnection: close\r\n",
            self.address
        );
        if let Some(form) = form {
            let length = form.len();
            head +=
                &format!("Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {length}\r\n");
        }
        let request = format!("{head}\r\n{}", form.unwrap_or_default());
        (&stream).write_all(request.as_bytes()).context("sending the request")?;
        answer(&mut BufReader::new(&stream)).with_context(|| format!("{method} {path}"))
    }

    fn connect(&self) -> anyhow::Result<TcpStream> {
        let stream =
            TcpStream::connect_timeout(&self.address, Duration::from_secs(5)).context("connecting")?;
        stream.set_nodelay(true).context("setting the connection up")?;
        stream.set_read_timeout(Some(Duration::from_secs(600))).context("setting the connection up")?;
        Ok(stream)
    }

    fn exchange(&self, method: &str, path: &str, file: Option<&Path>) -> anyhow::Result<(u16, Vec<u8>)> {
        let stream = self.connect()?;
        let mut head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nConnection: close\r\n",
            self.address, self.token
        );
        let mut sent = Ok(());
        if let Some(file) = file {
            let mut body = File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
            let length = body.metadata().context("asking for the file's size")?.len();
            head += &format!("Content-Type: text/csv\r\nContent-Length: {length}\r\n\r\n");
            sent = send(&stream, &head, &mut body);
        } else {
            if method == "POST" {
                head += "Content-Length: 0\r\n";
            }
            head += "\r\n";
            (&stream).write_all(head.as_bytes()).context("sending the request")?;
        }
        // A server that refuses may answer, and close, before it has read everything: the answer says more than the
        // broken pipe.
        match (sent, answer(&mut BufReader::new(&stream))) {
            (_, Ok(answer)) => Ok((answer.status, answer.body)),
            (Err(error), Err(_)) => Err(error).context("sending the file"),
            (Ok(()), Err(error)) => Err(error),
        }
    }
}

fn send(stream: &TcpStream, head: &str, body: &mut File) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(256 << 10, stream);
    out.write_all(head.as_bytes())?;
    io::copy(body, &mut out)?;
    out.flush()
}

fn read(status: u16, body: &[u8], expected: u16) -> anyhow::Result<Value> {
    let text = String::from_utf8_lossy(body);
    ensure!(status == expected, "answered {status} instead of {expected}: {}", text.trim());
    serde_json::from_slice(body).with_context(|| format!("the answer is not JSON: {}", text.trim()))
}

/// An answer to its end.
fn answer(input: &mut impl io::BufRead) -> anyhow::Result<Answer> {
    loop {
        let first = line(input)?;
        let status = first.split(' ').nth(1).and_then(|code| code.parse::<u16>().ok());
        let status = status.with_context(|| format!("not an HTTP answer: {first:?}"))?;
        let (mut length, mut chunked) = (None, false);
        let mut headers = Vec::new();
        loop {
            let header = line(input)?;
            let Some((name, value)) = header.split_once(':') else { break };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
            match (name.to_ascii_lowercase().as_str(), value.trim()) {
                ("content-length", value) => {
                    length = Some(value.parse::<u64>().context("reading Content-Length")?)
                }
                ("transfer-encoding", value) => chunked = value.eq_ignore_ascii_case("chunked"),
                _ => {}
            }
        }
        if status < 200 {
            continue; // 100 Continue and its like come before the answer
        }
        let mut body = Vec::new();
        match (chunked, length) {
            (true, _) => chunks(input, &mut body)?,
            (false, Some(length)) => {
                let got = input.take(length).read_to_end(&mut body).context("reading the answer")?;
                ensure!(got as u64 == length, "the answer stops half-way");
            }
            (false, None) => drop(input.read_to_end(&mut body).context("reading the answer")?),
        }
        return Ok(Answer { status, headers, body });
    }
}

fn chunks(input: &mut impl io::BufRead, body: &mut Vec<u8>) -> anyhow::Result<()> {
    loop {
        let size = line(input)?;
        let size = u64::from_str_radix(size.split(';').next().unwrap_or_default().trim(), 16);
        let size = size.context("reading the size of a part")?;
        let got = input.take(size).read_to_end(body).context("reading the answer")?;
        ensure!(got as u64 == size, "the answer stops half-way");
        line(input)?;
        if size == 0 {
            return Ok(());
        }
    }
}

fn line(input: &mut impl io::BufRead) -> anyhow::Result<String> {
    let mut text = String::new();
    let got = input.take(64 << 10).read_line(&mut text).context("reading the answer")?;
    ensure!(got > 0, "the server closed the connection without an answer");
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (u16, String) {
        let answer = answer(&mut text.as_bytes()).unwrap();
        (answer.status, String::from_utf8(answer.body).unwrap())
    }

    #[test]
    fn answers_of_each_framing_are_read() {
        assert_eq!(parsed("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}more"), (200, "{}".into()));
        assert_eq!(parsed("HTTP/1.1 404 No\r\nX: y\r\n\r\nto the end"), (404, "to the end".into()));
        let parts = "HTTP/1.1 202 A\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x\r\nde\r\n0\r\n\r\n";
        assert_eq!(parsed(parts), (202, "abcde".into()));
        let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(parsed(interim), (200, String::new()));
    }

    #[test]
    fn a_cookie_is_found_by_its_name() {
        let text = "HTTP/1.1 303 See\r\nSet-Cookie: a=1; Path=/\r\nset-cookie: session=2; HttpOnly\r\nContent-Length: 0\r\n\r\n";
        let answer = answer(&mut text.as_bytes()).unwrap();
        assert_eq!(
            (answer.cookie("session"), answer.cookie("a"), answer.cookie("b")),
            (Some("session=2"), Some("a=1"), None)
        );
    }

    #[test]
    fn what_is_cut_off_is_an_error() {
        for text in ["", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc", "SSH-2.0\r\n\r\n"] {
            assert!(answer(&mut text.as_bytes()).is_err(), "{text:?}");
        }
    }
}
