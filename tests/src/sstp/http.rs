//! The HTTP exchange before SSTP ([MS-SSTP], sections 3.2.4.1 and 3.3.5.1), and ordinary requests.

use std::fmt::Write as _;

/// Path and method of SSTP ([MS-SSTP], 3.2.4.1).
const METHOD: &str = "SSTP_DUPLEX_POST";
const PATH: &str = "/sra_{BA195980-CD49-458b-9E23-C84EE0ADCD75}/";

/// Length of a body without end: 2⁶⁴ − 1 ([MS-SSTP], 3.2.4.1).
const ENDLESS: u64 = u64::MAX;

/// The longest request or response head that is read, in bytes.
pub(super) const LONGEST: usize = 8192;

/// Most header lines of a head.
const HEADERS: usize = 64;

/// The page for whatever is not there.
const NOT_FOUND: &str = "<html><head><title>404</title></head><body>Not Found</body></html>\n";

/// The client's request for SSTP.
pub(super) fn sstp_request(host: &str) -> String {
    format!(
        "{METHOD} {PATH} HTTP/1.1\r\nHost: {host}\r\nSSTPCORRELATIONID: {{{}}}\r\n\
         Content-Length: {ENDLESS}\r\n\r\n",
        correlation_id()
    )
}

/// The server's consent.
pub(super) fn sstp_response() -> String {
    format!("HTTP/1.1 200\r\nContent-Length: {ENDLESS}\r\nServer: Microsoft-HTTPAPI/2.0\r\n\r\n")
}

/// The request of a browser.
pub(super) fn ordinary_request(host: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: keep-alive\r\n\r\n")
}

/// What a server answers to anything but SSTP; the connection stays.
pub(super) fn not_found() -> String {
    format!(
        "HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\
         Connection: keep-alive\r\n\r\n{NOT_FOUND}",
        NOT_FOUND.len()
    )
}

/// What a client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Request {
    /// SSTP.
    Sstp,
    /// Anything else, with a body of so many bytes.
    Ordinary {
        /// Bytes that follow the head.
        body: usize,
    },
}

/// What a server answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Response {
    /// The status code, such as 200.
    pub(super) status: u16,
    /// Bytes that follow the head; none of SSTP's endless body.
    pub(super) body: usize,
}

/// Reads a request's head: what it asks for, and the bytes of the head. `None` if more bytes are
/// needed; an error in words if it is none.
pub(super) fn read_request(bytes: &[u8]) -> Result<Option<(Request, usize)>, String> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let Some(head) = complete(request.parse(bytes), bytes)? else {
        return Ok(None);
    };
    if request.method == Some(METHOD) {
        if request.path != Some(PATH) {
            return Err("the SSTP request is for another path".to_owned());
        }
        return Ok(Some((Request::Sstp, head)));
    }
    let body = body_length(request.headers)?;
    Ok(Some((Request::Ordinary { body }, head)))
}

/// Reads a response's head, as [`read_request`] does.
pub(super) fn read_response(bytes: &[u8]) -> Result<Option<(Response, usize)>, String> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let Some(head) = complete(response.parse(bytes), bytes)? else {
        return Ok(None);
    };
    let status = response.code.unwrap_or_default();
    let body = if status == 200 {
        0
    } else {
        body_length(response.headers)?
    };
    Ok(Some((Response { status, body }, head)))
}

fn complete(parsed: httparse::Result<usize>, bytes: &[u8]) -> Result<Option<usize>, String> {
    match parsed {
        Ok(httparse::Status::Complete(head)) => Ok(Some(head)),
        Ok(httparse::Status::Partial) if bytes.len() < LONGEST => Ok(None),
        Ok(httparse::Status::Partial) => Err(format!("an HTTP head of more than {LONGEST} bytes")),
        Err(error) => Err(format!("no HTTP: {error}")),
    }
}

/// The announced length of a body; one that is not announced is empty.
fn body_length(headers: &[httparse::Header<'_>]) -> Result<usize, String> {
    let header = headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let Some(header) = header else {
        return Ok(0);
    };
    std::str::from_utf8(header.value)
        .ok()
        .and_then(|value| value.trim().parse().ok())
        .filter(|length| *length <= LONGEST)
        .ok_or_else(|| format!("an HTTP body longer than {LONGEST} bytes, or of no length"))
}

/// A random identifier in the form of a GUID.
fn correlation_id() -> String {
    let mut id = String::with_capacity(36);
    for (index, digits) in [8, 4, 4, 4, 12].into_iter().enumerate() {
        if index > 0 {
            id.push('-');
        }
        for _ in 0..digits {
            let _ = write!(id, "{:X}", fastrand::u8(..16));
        }
    }
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_for_sstp_is_told_from_others() {
        let sstp = sstp_request("vpn.example");
        let expected = Ok(Some((Request::Sstp, sstp.len())));
        assert_eq!(read_request(sstp.as_bytes()), expected);
        let other = ordinary_request("vpn.example");
        let ordinary = Request::Ordinary { body: 0 };
        let expected = Ok(Some((ordinary, other.len())));
        assert_eq!(read_request(other.as_bytes()), expected);
    }

    #[test]
    fn a_head_is_waited_for_and_bounded() {
        let sstp = sstp_request("vpn.example");
        assert_eq!(read_request(&sstp.as_bytes()[..40]), Ok(None));
        let mut endless = b"GET / HTTP/1.1\r\nX: ".to_vec();
        endless.resize(LONGEST + 1, b'x');
        assert!(read_request(&endless).is_err());
        assert!(read_request(b"\x16\x03\x01").is_err());
    }

    #[test]
    fn a_page_has_its_length_and_sstp_has_none() {
        let page = not_found();
        let (response, head) = read_response(page.as_bytes())
            .expect("a response")
            .expect("a whole one");
        assert_eq!(response.status, 404);
        assert_eq!(head + response.body, page.len());
        let consent = sstp_response();
        let expected = Response {
            status: 200,
            body: 0,
        };
        let read = read_response(consent.as_bytes());
        assert_eq!(read, Ok(Some((expected, consent.len()))));
    }
}
