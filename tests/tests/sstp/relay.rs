//! A relay between both ends that notes every TLS record.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use anyhow::{Context as _, Result};
use lab::Direction;
use sstpulse_common::tls::{ContentType, HEADER, RecordHeader};

use crate::LOOPBACK;

/// A record as it went over the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) direction: Direction,
    pub(crate) content_type: u8,
    /// Bytes after the header, as the header says.
    pub(crate) length: u16,
}

/// Relays one connection to the server.
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    records: Arc<Mutex<Vec<Record>>>,
    thread: JoinHandle<Result<()>>,
}

impl Relay {
    pub(crate) fn start(server: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(LOOPBACK).context("cannot listen")?;
        let address = listener.local_addr()?;
        let records = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&records);
        let thread = thread::spawn(move || {
            let (client, _) = listener.accept()?;
            let server = TcpStream::connect(server)?;
            thread::scope(|scope| {
                let up = scope.spawn(|| carry(&client, &server, Direction::FromClient, &noted));
                let down = carry(&server, &client, Direction::FromServer, &noted);
                let up = up.join().expect("no panic while records are relayed");
                anyhow::Ok(up.and(down)?)
            })
        });
        Ok(Self {
            address,
            records,
            thread,
        })
    }

    /// All records, once both ends have closed.
    pub(crate) fn finish(self) -> Result<Vec<Record>> {
        self.thread.join().expect("no panic in the relay")?;
        let records = self.records.lock().expect("no holder of this lock panics");
        Ok(records.clone())
    }
}

/// Carries records one way, until a FIN, which is carried too.
fn carry(
    mut from: &TcpStream,
    mut to: &TcpStream,
    direction: Direction,
    records: &Mutex<Vec<Record>>,
) -> io::Result<()> {
    let mut header = [0; HEADER];
    while read_or_end(&mut from, &mut header)? {
        let parsed = RecordHeader::at(&header[..], 0);
        let parsed = parsed.ok_or_else(|| io::Error::other("no TLS record"))?;
        let mut body = vec![0; usize::from(parsed.length)];
        from.read_exact(&mut body)?;
        records
            .lock()
            .expect("no holder of this lock panics")
            .push(Record {
                direction,
                content_type: parsed.content_type,
                length: parsed.length,
            });
        to.write_all(&[&header[..], &body].concat())?;
    }
    to.shutdown(Shutdown::Write)
}

/// Fills the buffer; false if the stream ends before its first byte.
fn read_or_end(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    if from.read(&mut buffer[..1])? == 0 {
        return Ok(false);
    }
    from.read_exact(&mut buffer[1..])?;
    Ok(true)
}

/// Lengths of the records of application data from one end.
pub(crate) fn data(records: &[Record], direction: Direction) -> Vec<u16> {
    let wanted = |record: &&Record| {
        record.direction == direction && record.content_type == ContentType::APPLICATION_DATA
    };
    records
        .iter()
        .filter(wanted)
        .map(|record| record.length)
        .collect()
}

/// Lengths of the alerts from one end that are not hidden among application data.
pub(crate) fn alerts(records: &[Record], direction: Direction) -> Vec<u16> {
    let wanted = |record: &&Record| {
        record.direction == direction && record.content_type == ContentType::ALERT
    };
    records
        .iter()
        .filter(wanted)
        .map(|record| record.length)
        .collect()
}
